/* Transforms: from a subject that matches a pattern to another subject.
 *
 * A transform is a list of steps, one a token of the destination, that were compiled by the owner: literal text, a token of the
 * source, or a function of tokens. Tokens are numbered from 0 over the whole source subject. With `rest`, the source's tokens
 * from there on follow (a '>' on both sides).
 */
#ifndef SPLINE_TRANSFORM_H
#define SPLINE_TRANSFORM_H
#include "bytes.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum step_kind { /* numbers are those of broker/options/transforms.py */
                 STEP_TEXT,
                 STEP_TOKEN,
                 STEP_PARTITION,
                 STEP_SPLIT,
                 STEP_SPLIT_FROM_LEFT,
                 STEP_SPLIT_FROM_RIGHT,
                 STEP_SLICE_FROM_LEFT,
                 STEP_SLICE_FROM_RIGHT,
                 STEP_RANDOM,
                 STEP_LEFT,
                 STEP_RIGHT
};

/* Text that grows; the first bytes need no allocation. Must be freed, and must not be copied. */
struct text {
    char *p;
    size_t len, cap;
    bool failed; /* out of memory: the text is of no use */
    char small[256];
};
static inline void text_init(struct text *t)
{
    t->p = t->small, t->len = 0, t->cap = sizeof t->small, t->failed = false;
}
bool text_grow(struct text *t, size_t n);
/* Where n more bytes may be written, whose writer then says how long the text is. NULL: out of memory. */
static inline char *text_room(struct text *t, size_t n)
{
    if ((t->failed || t->cap - t->len < n) && !text_grow(t, n)) return NULL;
    return t->p + t->len;
}
static inline void text_add(struct text *t, const char *p, size_t n)
{
    char *w = text_room(t, n);
    if (!w) return;
    put(w, p, n);
    t->len += n;
}
void text_number(struct text *t, uint64_t v);
static inline void text_free(struct text *t)
{
    if (t->p != t->small) free(t->p);
}
static inline void text_set(struct text *t, const char *p, size_t n)
{
    t->len = 0, t->failed = false;
    text_add(t, p, n);
}

struct transform;
struct transform *transform_new(int64_t rest); /* rest < 0: none. NULL: out of memory */
void transform_free(struct transform *t);
int transform_step(struct transform *t, int kind, const char *text, size_t len, const uint32_t *tokens, size_t ntokens,
                   int64_t number);
/* Is what comes out the same every time? */
bool transform_is_fixed(const struct transform *t);
/* Append the transformed subject. `random` is any number. */
void transform_apply(const struct transform *t, const char *subject, size_t n, uint64_t random, struct text *out);
#endif
