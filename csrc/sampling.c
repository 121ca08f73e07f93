/* sampling.c: see sampling.h. */
#include "sampling.h"
#include <string.h>
#include <strings.h>

struct range {
    const char *p;
    size_t n;
};
struct field { /* `lines`: all of it, with the lines that continue it */
    struct range key, value, lines;
};

enum family { NONE, UBER, X_B3, B3, W3C };
enum name { UBER_TRACE_ID, X_B3_SAMPLED, X_B3_TRACE_ID, B3_SINGLE, TRACEPARENT, DECIDING };

static const struct {
    const char *text;
    size_t n;
    enum family family;
    bool beginning; /* of the key */
} names[] = {
    /* those that decide, in the order of `enum name` */
    {"Uber-Trace-Id", 13, UBER, false},
    {"X-B3-Sampled", 12, X_B3, false},
    {"X-B3-TraceId", 12, X_B3, false},
    {"B3", 2, B3, false},
    {"Traceparent", 11, W3C, false},
    /* those that go with them */
    {"Uberctx-", 8, UBER, true},
    {"X-B3-ParentSpanId", 17, X_B3, false},
    {"X-B3-SpanId", 11, X_B3, false},
    {"Tracestate", 10, W3C, false},
};
#define NAMES (sizeof names / sizeof *names)

/* ---- fields of a block ---- */

static bool blank(char ch) { return ch == ' ' || ch == '\t'; }

static struct range trimmed(struct range r)
{
    while (r.n && blank(r.p[0])) r.p++, r.n--;
    while (r.n && blank(r.p[r.n - 1])) r.n--;
    return r;
}

/* The next line without its end. False: there is none that ends. */
static bool next_line(const char **at, const char *end, struct range *line)
{
    const char *lf = memchr(*at, '\n', (size_t)(end - *at));
    if (!lf) return false;
    *line = (struct range){*at, (size_t)(lf - *at)};
    if (line->n && lf[-1] == '\r') line->n--;
    *at = lf + 1;
    return true;
}

static bool key_valid(struct range key)
{
    for (size_t i = 0; i < key.n; i++) {
        unsigned char ch = (unsigned char)key.p[i];
        bool letter = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9');
        if (!letter && (!ch || !strchr("!#$%&'*+-.^_`|~ ", ch))) return false;
    }
    return key.n > 0;
}

static bool value_valid(struct range value)
{
    for (size_t i = 0; i < value.n; i++) {
        unsigned char ch = (unsigned char)value.p[i];
        if ((ch < ' ' && ch != '\t') || ch == 127) return false;
    }
    return true;
}

/* 1: here is one, 0: there are no more, -1: this is no block of headers. */
static int next_field(const char **at, const char *end, struct field *f)
{
    struct range line;
    f->lines.p = *at;
    if (!next_line(at, end, &line)) return -1;
    if (!line.n) return 0;
    const char *colon = memchr(line.p, ':', line.n);
    if (!colon || blank(line.p[0])) return -1;
    f->key = (struct range){line.p, (size_t)(colon - line.p)};
    f->value = trimmed((struct range){colon + 1, line.n - f->key.n - 1});
    if (!key_valid(f->key) || !value_valid(f->value)) return -1;
    while (*at < end && blank(**at)) {
        if (!next_line(at, end, &line) || !value_valid(line)) return -1;
        f->value.n = (size_t)(line.p + line.n - f->value.p);
    }
    f->lines.n = (size_t)(*at - f->lines.p);
    return 1;
}

static bool first_field(const char *block, size_t n, const char **at)
{
    struct range version;
    *at = block;
    return next_line(at, block + n, &version);
}

static size_t name_of(struct range key)
{
    size_t i = 0;
    while (i < NAMES && !(key.n >= names[i].n && (names[i].beginning || key.n == names[i].n) &&
                          strncasecmp(key.p, names[i].text, names[i].n) == 0))
        i++;
    return i;
}

/* ---- the decision ---- */

static bool is(struct range r, char ch) { return r.n == 1 && r.p[0] == ch; }

/* The part with this number between separators; *parts: how many there are. */
static struct range part(struct range r, char separator, size_t number, size_t *parts)
{
    struct range found = {r.p, 0};
    const char *p = r.p, *end = r.p + r.n;
    for (*parts = 0;; p++) {
        const char *stop = p;
        while (stop < end && *stop != separator) stop++;
        if ((*parts)++ == number) found = (struct range){p, (size_t)(stop - p)};
        if ((p = stop) == end) return found;
    }
}

static bool odd_digit(char ch) { return ch && strchr("13579bBdDfF", ch); }

static bool uber(struct range value)
{
    size_t parts;
    struct range flags = part(value, ':', 3, &parts);
    return parts == 4 && (flags.n == 1 || flags.n == 2) && odd_digit(flags.p[flags.n - 1]);
}

static bool b3(struct range value)
{
    size_t parts;
    struct range state = part(value, '-', 2, &parts);
    return parts > 2 ? !is(state, '0') : parts != 1 || !is(value, '0');
}

static bool w3c(struct range value)
{
    size_t parts;
    struct range flags = part(value, '-', 3, &parts);
    return parts == 4 && flags.n == 2 && flags.p[0] >= '0' && flags.p[0] <= '7' && odd_digit(flags.p[1]);
}

static enum family decide(const struct range *first)
{
    if (first[UBER_TRACE_ID].p) return uber(first[UBER_TRACE_ID]) ? UBER : NONE;
    if (first[X_B3_SAMPLED].p && is(first[X_B3_SAMPLED], '1')) return X_B3;
    if (first[X_B3_SAMPLED].p && is(first[X_B3_SAMPLED], '0')) return NONE;
    if (first[X_B3_TRACE_ID].p) return X_B3;
    if (first[B3_SINGLE].p) return b3(first[B3_SINGLE]) ? B3 : NONE;
    return first[TRACEPARENT].p && w3c(first[TRACEPARENT]) ? W3C : NONE;
}

bool sampling_headers(const char *block, size_t n, struct text *kept)
{
    struct range first[DECIDING] = {{NULL, 0}}; /* of each that decides, the first value */
    struct field f;
    const char *at;
    int more = first_field(block, n, &at) ? 1 : -1;
    while (more > 0 && (more = next_field(&at, block + n, &f)) > 0) {
        size_t name = name_of(f.key);
        if (name < DECIDING && !first[name].p) first[name] = f.value;
    }
    enum family family = more == 0 ? decide(first) : NONE;
    if (family == NONE) return false;
    first_field(block, n, &at);
    while (next_field(&at, block + n, &f) > 0) {
        size_t name = name_of(f.key);
        if (name == NAMES || names[name].family != family) continue;
        if (kept->len + f.lines.n > SAMPLING_KEPT_MAX) break;
        text_add(kept, f.lines.p, f.lines.n);
    }
    return true;
}
