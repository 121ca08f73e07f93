/* mapping.c: see mapping.h. Literal sources are found by hash, patterns one after the other. */
#include "mapping.h"
#include "subject.h"
#include <stdlib.h>
#include <string.h>

struct destination {
    struct transform *to;
    uint32_t upto; /* of 100 */
};
struct mapping {
    char *source;
    size_t len;
    bool wild;
    uint32_t count, next; /* next with the same hash: number + 1 */
    struct destination *to;
};
#define BUCKETS 64
/* The last subject, if chance has no part in what becomes of it: publishers say the same one again and again. */
struct last {
    bool known, mapped;
    struct text from, to;
};
struct mappings {
    uint32_t count, wild; /* wild: how many of them are patterns */
    struct mapping *all;
    uint32_t bucket[BUCKETS];
    struct last last;
};

int mappings_add(struct mappings **at, const char *source, size_t n)
{
    struct mappings *all = *at;
    if (!all) {
        if (!(all = *at = calloc(1, sizeof *all))) return -1;
        text_init(&all->last.from);
        text_init(&all->last.to);
    }
    all->last.known = false;
    struct mapping *more = realloc(all->all, (all->count + 1) * sizeof *more);
    if (!more) return -1;
    all->all = more;
    struct mapping m = {.source = malloc(n + 1), .len = n, .wild = subject_has_wildcard(source, n)};
    if (!m.source) return -1;
    memcpy(m.source, source, n);
    if (m.wild) {
        all->wild++;
    } else {
        uint32_t *bucket = &all->bucket[hash32(source, n) % BUCKETS];
        m.next = *bucket;
        *bucket = all->count + 1;
    }
    all->all[all->count++] = m;
    return 0;
}

int mappings_to(struct mappings *all, struct transform *to, uint32_t upto)
{
    struct mapping *m = &all->all[all->count - 1];
    struct destination *more = realloc(m->to, (m->count + 1) * sizeof *more);
    if (!more) {
        transform_free(to);
        return -1;
    }
    m->to = more;
    m->to[m->count++] = (struct destination){to, upto};
    all->last.known = false;
    return 0;
}

void mappings_free(struct mappings *all)
{
    if (!all) return;
    for (uint32_t i = 0; i < all->count; i++) {
        for (uint32_t d = 0; d < all->all[i].count; d++) transform_free(all->all[i].to[d].to);
        free(all->all[i].to);
        free(all->all[i].source);
    }
    free(all->all);
    text_free(&all->last.from);
    text_free(&all->last.to);
    free(all);
}

static const struct mapping *find(const struct mappings *all, const char *subject, size_t n)
{
    for (uint32_t i = all->bucket[hash32(subject, n) % BUCKETS]; i; i = all->all[i - 1].next) {
        const struct mapping *m = &all->all[i - 1];
        if (m->len == n && memcmp(m->source, subject, n) == 0) return m;
    }
    for (uint32_t i = 0; all->wild && i < all->count; i++) {
        const struct mapping *m = &all->all[i];
        if (m->wild && subject_covers(m->source, m->len, subject, n)) return m;
    }
    return NULL;
}

static bool is_fixed(const struct mapping *m)
{
    return !m || !m->count || (m->count == 1 && m->to->upto >= 100 && transform_is_fixed(m->to->to));
}

static void remember(struct last *l, const struct mapping *m, const char *subject, size_t n)
{
    text_set(&l->from, subject, n);
    text_set(&l->to, "", 0);
    if (m && m->count) transform_apply(m->to->to, subject, n, 0, &l->to);
    l->mapped = m != NULL;
    l->known = !l->from.failed && !l->to.failed;
}

static bool recall(const struct last *l, struct text *out)
{
    if (l->mapped) text_add(out, l->to.p, l->to.len);
    return l->mapped;
}

bool mappings_apply(struct mappings *all, const char *subject, size_t n, uint64_t random, struct text *out)
{
    struct last *l = &all->last;
    if (l->known && l->from.len == n && bytes_same(l->from.p, subject, n)) return recall(l, out);
    const struct mapping *m = find(all, subject, n);
    if (is_fixed(m)) {
        remember(l, m, subject, n);
        if (l->known) return recall(l, out);
    }
    if (!m) return false;
    uint32_t pick = (uint32_t)(random % 100);
    for (uint32_t i = 0; i < m->count; i++) {
        if (pick >= m->to[i].upto) continue;
        transform_apply(m->to[i].to, subject, n, random / 100, out);
        return true;
    }
    return true;
}
