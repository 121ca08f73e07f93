/* transform.c: see transform.h. The functions are those of nats-server's subject mappings (server/subject_transform.go). */
#include "transform.h"
#include <stdlib.h>
#include <string.h>

struct step {
    int kind;
    int64_t number;
    uint32_t ntokens, len;
    uint32_t *tokens;
    char *text;
};
struct transform {
    int64_t rest;
    uint32_t nsteps, cap;
    struct step *steps;
};
struct piece {
    const char *p;
    size_t n;
};

/* ---- text ---- */

bool text_grow(struct text *t, size_t n)
{
    if (t->failed) return false;
    size_t cap = (t->len + n) * 2;
    char *more = t->p == t->small ? malloc(cap) : realloc(t->p, cap);
    if (!more) {
        t->failed = true;
        return false;
    }
    if (t->p == t->small) memcpy(more, t->small, t->len);
    t->p = more, t->cap = cap;
    return true;
}

void text_number(struct text *t, uint64_t v)
{
    char *w = text_room(t, NUMBER_MAX);
    if (w) t->len = (size_t)(put_number(w, v) - t->p);
}

/* ---- making one ---- */

struct transform *transform_new(int64_t rest)
{
    struct transform *t = calloc(1, sizeof *t);
    if (t) t->rest = rest;
    return t;
}

void transform_free(struct transform *t)
{
    if (!t) return;
    for (uint32_t i = 0; i < t->nsteps; i++) {
        free(t->steps[i].tokens);
        free(t->steps[i].text);
    }
    free(t->steps);
    free(t);
}

int transform_step(struct transform *t, int kind, const char *text, size_t len, const uint32_t *tokens, size_t ntokens,
                   int64_t number)
{
    if (kind < STEP_TEXT || kind > STEP_RIGHT || len > UINT16_MAX || ntokens > UINT16_MAX) return -1;
    bool wants_token = kind != STEP_TEXT && kind != STEP_RANDOM && kind != STEP_PARTITION;
    if (wants_token && !ntokens) return -1;
    if (t->nsteps == t->cap) {
        uint32_t cap = t->cap ? t->cap * 2 : 4;
        struct step *more = realloc(t->steps, cap * sizeof *more);
        if (!more) return -1;
        t->steps = more, t->cap = cap;
    }
    struct step s = {.kind = kind, .number = number, .ntokens = (uint32_t)ntokens, .len = (uint32_t)len};
    s.tokens = malloc((ntokens + 1) * sizeof *s.tokens);
    s.text = malloc(len + 1);
    if (!s.tokens || !s.text) {
        free(s.tokens);
        free(s.text);
        return -1;
    }
    if (ntokens) memcpy(s.tokens, tokens, ntokens * sizeof *tokens);
    memcpy(s.text, text, len);
    t->steps[t->nsteps++] = s;
    return 0;
}

/* ---- applying it ---- */

bool transform_is_fixed(const struct transform *t)
{
    for (uint32_t i = 0; i < t->nsteps; i++)
        if (t->steps[i].kind == STEP_RANDOM) return false;
    return true;
}

static struct piece token_at(const char *s, size_t n, uint32_t number)
{
    const char *end = s + n;
    for (;;) {
        const char *dot = memchr(s, '.', (size_t)(end - s));
        const char *stop = dot ? dot : end;
        if (!number) return (struct piece){s, (size_t)(stop - s)};
        if (!dot) return (struct piece){end, 0};
        s = dot + 1;
        number--;
    }
}

static uint32_t fnv(uint32_t h, struct piece p)
{
    for (size_t i = 0; i < p.n; i++) h = (h ^ (uint8_t)p.p[i]) * 16777619u;
    return h;
}

static void partition(const struct step *s, const char *subject, size_t n, struct text *out)
{
    uint32_t h = 2166136261u;
    if (!s->ntokens) h = fnv(h, (struct piece){subject, n});
    for (uint32_t i = 0; i < s->ntokens; i++) h = fnv(h, token_at(subject, n, s->tokens[i]));
    text_number(out, s->number > 0 ? h % (uint64_t)s->number : 0);
}

/* The parts between delimiters as tokens; empty ones vanish. */
static void split(const struct step *s, struct piece t, struct text *out)
{
    bool any = false;
    while (t.n) {
        const char *at = s->len ? memmem(t.p, t.n, s->text, s->len) : t.n > 1 ? t.p + 1 : NULL;
        size_t part = at ? (size_t)(at - t.p) : t.n;
        if (part) {
            if (any) text_add(out, ".", 1);
            text_add(out, t.p, part);
            any = true;
        }
        if (!at) return;
        t.p += part + s->len, t.n -= part + s->len;
    }
}

static void cut(struct piece t, size_t at, struct text *out)
{
    text_add(out, t.p, at);
    text_add(out, ".", 1);
    text_add(out, t.p + at, t.n - at);
}

/* Tokens of `size` bytes each; `first` bytes stand alone in front of them. */
static void slice(struct piece t, size_t size, size_t first, struct text *out)
{
    for (size_t at = 0, n = first ? first : size; at < t.n; at += n, n = size) {
        if (at) text_add(out, ".", 1);
        text_add(out, t.p + at, n < t.n - at ? n : t.n - at);
    }
}

static void step_apply(const struct step *s, const char *subject, size_t n, uint64_t random, struct text *out)
{
    struct piece t = s->ntokens ? token_at(subject, n, s->tokens[0]) : (struct piece){subject, 0};
    bool fits = s->number > 0 && (uint64_t)s->number < t.n;
    size_t number = fits ? (size_t)s->number : 0;
    switch (s->kind) {
    case STEP_TEXT: text_add(out, s->text, s->len); return;
    case STEP_PARTITION: partition(s, subject, n, out); return;
    case STEP_SPLIT: split(s, t, out); return;
    case STEP_RANDOM: text_number(out, s->number > 0 ? random % (uint64_t)s->number : 0); return;
    default: break;
    }
    if (!fits) {
        text_add(out, t.p, t.n);
        return;
    }
    switch (s->kind) {
    case STEP_SPLIT_FROM_LEFT: cut(t, number, out); break;
    case STEP_SPLIT_FROM_RIGHT: cut(t, t.n - number, out); break;
    case STEP_SLICE_FROM_LEFT: slice(t, number, 0, out); break;
    case STEP_SLICE_FROM_RIGHT: slice(t, number, t.n % number, out); break;
    case STEP_LEFT: text_add(out, t.p, number); break;
    case STEP_RIGHT: text_add(out, t.p + t.n - number, number); break;
    default: text_add(out, t.p, t.n); break;
    }
}

void transform_apply(const struct transform *t, const char *subject, size_t n, uint64_t random, struct text *out)
{
    for (uint32_t i = 0; i < t->nsteps; i++) {
        if (i) text_add(out, ".", 1);
        step_apply(&t->steps[i], subject, n, random, out);
    }
    if (t->rest < 0) return;
    const char *from = token_at(subject, n, (uint32_t)t->rest).p;
    if (t->nsteps) text_add(out, ".", 1);
    text_add(out, from, (size_t)(subject + n - from));
}
