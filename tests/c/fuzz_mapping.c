/* Fuzz target: whatever the table of mappings and the subject, the right entry and destination are taken, and every step of a transform
 * does what its name says. */
#include "../../csrc/mapping.h"
#include "../../csrc/subject.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENTRIES = 6, STEPS = 4, TEXT = 256 };

struct step {
    int kind;
    uint32_t token;
    int64_t number;
    char text[4];
};
struct entry {
    char source[TEXT];
    uint32_t upto; /* its destination takes so many percent; the rest is lost */
    int64_t rest;
    unsigned nsteps;
    struct step steps[STEPS];
};
struct input {
    const uint8_t *at, *end;
};

static uint8_t byte(struct input *in) { return in->at < in->end ? *in->at++ : 0; }

static void subject(struct input *in, char *out, bool pattern)
{
    static const char *const tokens[] = {"a", "b-c", "*", ">", "-x--y-", "*", "longer-token", "abcdef"};
    unsigned count = 1 + byte(in) % 5;
    *out = 0;
    for (unsigned i = 0; i < count; i++) {
        const char *token = tokens[byte(in) % 8];
        if ((*token == '>' && (!pattern || i + 1 < count)) || (*token == '*' && !pattern)) token = "a";
        if (i) strcat(out, ".");
        strcat(out, token);
    }
}

static struct transform *destination(struct input *in, struct entry *e)
{
    static const char *const delimiters[] = {"-", "--", "", "."};
    e->rest = byte(in) % 4 == 0 ? byte(in) % 5 : -1;
    e->nsteps = byte(in) % (STEPS + 1);
    struct transform *t = transform_new(e->rest);
    if (!t) abort();
    for (unsigned i = 0; i < e->nsteps; i++) {
        struct step *s = &e->steps[i];
        s->kind = byte(in) % (STEP_RIGHT + 1), s->token = byte(in) % 6, s->number = (int8_t)byte(in);
        strcpy(s->text, delimiters[byte(in) % 4]);
        if (s->kind == STEP_TEXT) strcpy(s->text, "new");
        if (transform_step(t, s->kind, s->text, strlen(s->text), &s->token, 1, s->number) != 0) abort();
    }
    return t;
}

/* ---- what must come out ---- */

static void token_of(const char *s, uint32_t number, char *out)
{
    for (; number && s; number--) s = strchr(s, '.') ? strchr(s, '.') + 1 : NULL;
    size_t n = s ? strcspn(s, ".") : 0;
    if (n) memcpy(out, s, n);
    out[n] = 0;
}

static uint32_t fnv(const char *s)
{
    uint32_t h = 2166136261u;
    for (; *s; s++) h = (h ^ (uint8_t)*s) * 16777619u;
    return h;
}

/* Insert dots before these positions: from `first` on, each `every`. */
static void dotted(const char *token, size_t first, size_t every, char *out)
{
    for (size_t i = 0; token[i]; i++) {
        if (i && (i == first || (i > first && every && (i - first) % every == 0))) *out++ = '.';
        *out++ = token[i];
    }
    *out = 0;
}

static void split(const char *token, const char *delimiter, char *out)
{
    size_t n = strlen(delimiter);
    if (!n) {
        dotted(token, 1, 1, out);
        return;
    }
    char *w = out;
    while (*token) {
        const char *at = strstr(token, delimiter);
        size_t part = at ? (size_t)(at - token) : strlen(token);
        if (part && w > out) *w++ = '.';
        memcpy(w, token, part);
        w += part, token += part + (at ? n : 0);
    }
    *w = 0;
}

static void step_gives(const struct step *s, const char *from, uint64_t random, char *out)
{
    char token[TEXT];
    token_of(from, s->token, token);
    size_t n = strlen(token), number = (size_t)s->number;
    bool fits = s->number > 0 && number < n;
    switch (s->kind) {
    case STEP_TEXT: strcpy(out, "new"); return;
    case STEP_PARTITION: sprintf(out, "%u", s->number > 0 ? fnv(token) % (uint32_t)s->number : 0); return;
    case STEP_RANDOM: sprintf(out, "%u", s->number > 0 ? (uint32_t)(random % (uint64_t)s->number) : 0); return;
    case STEP_SPLIT: split(token, s->text, out); return;
    default: break;
    }
    strcpy(out, token);
    if (!fits) return;
    switch (s->kind) {
    case STEP_SPLIT_FROM_LEFT: dotted(token, number, 0, out); break;
    case STEP_SPLIT_FROM_RIGHT: dotted(token, n - number, 0, out); break;
    case STEP_SLICE_FROM_LEFT: dotted(token, number, number, out); break;
    case STEP_SLICE_FROM_RIGHT: dotted(token, n % number ? n % number : number, number, out); break;
    case STEP_LEFT: out[number] = 0; break;
    case STEP_RIGHT: strcpy(out, token + n - number); break;
    default: break;
    }
}

static void gives(const struct entry *e, const char *from, uint64_t random, char *out)
{
    *out = 0;
    for (unsigned i = 0; i < e->nsteps; i++) {
        if (i) strcat(out, ".");
        step_gives(&e->steps[i], from, random, out + strlen(out));
    }
    if (e->rest < 0) return;
    if (e->nsteps) strcat(out, ".");
    const char *s = from;
    for (int64_t left = e->rest; left && s; left--) s = strchr(s, '.') ? strchr(s, '.') + 1 : NULL;
    if (s) strcat(out, s);
}

static const struct entry *entry_for(const struct entry *all, unsigned n, const char *s)
{
    for (unsigned i = n; i-- > 0;)
        if (strcmp(all[i].source, s) == 0) return &all[i]; /* of two of one source, the later one */
    for (unsigned i = 0; i < n; i++)
        if (strpbrk(all[i].source, "*>") && subject_matches(all[i].source, strlen(all[i].source), s, strlen(s)))
            return &all[i];
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct input in = {data, data + n};
    struct entry all[ENTRIES];
    struct mappings *table = NULL;
    unsigned count = 1 + byte(&in) % ENTRIES;
    if (n > 512) return 0;
    for (unsigned i = 0; i < count; i++) {
        subject(&in, all[i].source, true);
        all[i].upto = byte(&in) % 101;
        if (mappings_add(&table, all[i].source, strlen(all[i].source)) != 0) abort();
        if (mappings_to(table, destination(&in, &all[i]), all[i].upto) != 0) abort();
    }
    do {
        char text[TEXT], wanted[4 * TEXT] = "";
        subject(&in, text, false);
        uint64_t random = byte(&in) | (uint64_t)byte(&in) << 8;
        size_t len = strlen(text);
        char *exact = malloc(len);
        if (!exact) abort();
        memcpy(exact, text, len);
        struct text out;
        text_init(&out);
        const struct entry *e = entry_for(all, count, text);
        if (mappings_apply(table, exact, len, random, &out) != (e != NULL) || out.failed) abort();
        if (e && random % 100 < e->upto) gives(e, text, random / 100, wanted);
        if (out.len != strlen(wanted) || memcmp(out.p, wanted, out.len) != 0) abort();
        text_free(&out);
        free(exact);
    } while (in.at < in.end);
    mappings_free(table);
    return 0;
}
