/* allow_responses: who received a request may answer on its reply subject, so often and so long.
 *
 * A chained hash in the order of arrival. Bounded: when full, what expired goes first, then the oldest.
 */
#include "core.h"
#include <stdlib.h>
#include <string.h>

#define RESPONSES_MAX 16384
#define BUCKETS 64

struct response {
    struct response *next;            /* in the bucket */
    struct response *older, *younger; /* by arrival */
    uint64_t until;                   /* 0: never expires */
    int64_t left;                     /* < 0: any number */
    uint32_t hash, len;
    char subject[];
};
struct responses {
    uint32_t count, mask;
    struct response *oldest, *youngest;
    struct response **bucket;
};

static struct response **find(struct responses *r, const char *s, size_t n, uint32_t h)
{
    struct response **at = &r->bucket[h & r->mask];
    while (*at && ((*at)->hash != h || (*at)->len != n || memcmp((*at)->subject, s, n) != 0)) at = &(*at)->next;
    return at;
}

static void drop(struct responses *r, struct response **at)
{
    struct response *e = *at;
    *at = e->next;
    *(e->older ? &e->older->younger : &r->oldest) = e->younger;
    *(e->younger ? &e->younger->older : &r->youngest) = e->older;
    r->count--;
    free(e);
}

static void grow(struct responses *r)
{
    uint32_t n = (r->mask + 1) * 4;
    struct response **more = calloc(n, sizeof *more);
    if (!more) return; /* longer chains still answer */
    for (struct response *e = r->oldest; e; e = e->younger)
        e->next = more[e->hash & (n - 1)], more[e->hash & (n - 1)] = e;
    free(r->bucket);
    r->bucket = more, r->mask = n - 1;
}

void responses_grant(struct conn *c, const char *reply, size_t n, uint64_t now)
{
    int64_t max, ttl;
    if (!permissions_has_responses(c->perms, &max, &ttl)) return;
    struct responses *r = c->responses;
    if (!r) {
        r = calloc(1, sizeof *r);
        if (!r) return;
        r->bucket = calloc(BUCKETS, sizeof *r->bucket);
        if (!r->bucket) {
            free(r);
            return;
        }
        r->mask = BUCKETS - 1;
        c->responses = r;
    }
    uint32_t h = hash32(reply, n);
    struct response **at = find(r, reply, n, h);
    if (*at) drop(r, at);
    while (r->oldest && ((r->oldest->until && r->oldest->until < now) || r->count >= RESPONSES_MAX))
        drop(r, find(r, r->oldest->subject, r->oldest->len, r->oldest->hash));
    if (r->count > r->mask * 2) grow(r);
    struct response *e = malloc(sizeof *e + n);
    if (!e) return;
    e->hash = h, e->len = (uint32_t)n, e->left = max, e->until = ttl < 0 ? 0 : now + (uint64_t)ttl;
    memcpy(e->subject, reply, n);
    e->next = r->bucket[h & r->mask], r->bucket[h & r->mask] = e;
    e->younger = NULL, e->older = r->youngest;
    *(r->youngest ? &r->youngest->younger : &r->oldest) = e;
    r->youngest = e;
    r->count++;
}

bool responses_use(struct conn *c, const char *subject, size_t n, uint64_t now)
{
    struct responses *r = c->responses;
    if (!r || !r->count) return false;
    struct response **at = find(r, subject, n, hash32(subject, n));
    if (!*at) return false;
    struct response *e = *at;
    if ((e->until && e->until < now) || e->left == 0) {
        drop(r, at);
        return false;
    }
    if (e->left > 0 && --e->left == 0) drop(r, at);
    return true;
}

void responses_free(struct conn *c)
{
    struct responses *r = c->responses;
    if (!r) return;
    for (struct response *e = r->oldest, *next; e; e = next) next = e->younger, free(e);
    free(r->bucket);
    free(r);
    c->responses = NULL;
}
