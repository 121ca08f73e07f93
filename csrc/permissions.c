/* permissions.c: see permissions.h. Each list is a sublist of its own (without a cache), so that thousands of patterns cost no more than one.
 *
 *   permissions --- lists[4] -> sublist      the patterns, as subscriptions that nobody receives for
 *               |-- patterns                 who owns them; also walked to see whether a wildcard subscription overlaps a deny
 *               `-- verdicts[]               direct-mapped by subject; grows while it is too small, up to VERDICTS_MAX
 */
#include "permissions.h"
#include "subject.h"
#include "sublist.h"
#include <stdlib.h>
#include <string.h>

#define VERDICTS_MIN 16
#define VERDICTS_MAX 1024
#define VERDICT_TEXT 112 /* longer ones are worked out each time */

enum question { ASK_NOTHING, ASK_PUBLISH, ASK_DELIVER };

struct pattern {
    struct pattern *next;
    enum perm_list list;
    struct sub sub;
    char text[]; /* subject, queue */
};

struct verdict {
    uint64_t hash;
    uint16_t len, queue_len; /* text: subject, queue */
    uint8_t question, allowed;
    char text[VERDICT_TEXT];
};

struct permissions {
    struct sublist *lists[4];
    struct pattern *patterns;
    struct verdict *verdicts;
    uint32_t nverdicts, misses, holders;
    bool responses;
    int64_t responses_max, responses_expire_ms;
};

struct permissions *permissions_new(void)
{
    struct permissions *p = calloc(1, sizeof *p);
    if (p) p->holders = 1;
    return p;
}

struct permissions *permissions_hold(struct permissions *p)
{
    if (p) p->holders++;
    return p;
}

void permissions_release(struct permissions *p)
{
    if (!p || --p->holders) return;
    for (int i = 0; i < 4; i++) sublist_free(p->lists[i]);
    for (struct pattern *at = p->patterns, *next; at; at = next) {
        next = at->next;
        free(at);
    }
    free(p->verdicts);
    free(p);
}

int permissions_add(struct permissions *p, enum perm_list list, const char *subject, size_t n, const char *queue,
                    size_t nq)
{
    if (n > UINT16_MAX || nq > UINT16_MAX) return -1;
    if (!p->lists[list] && !(p->lists[list] = sublist_new(0))) return -1;
    struct pattern *at = calloc(1, sizeof *at + n + nq);
    if (!at) return -1;
    memcpy(at->text, subject, n);
    if (nq) memcpy(at->text + n, queue, nq);
    at->list = list;
    at->sub.subject = at->text;
    at->sub.subject_len = (uint16_t)n;
    at->sub.queue_len = (uint16_t)nq;
    if (sublist_insert(p->lists[list], &at->sub) != 0) {
        free(at);
        return -1;
    }
    at->next = p->patterns;
    p->patterns = at;
    return 0;
}

void permissions_set_responses(struct permissions *p, int64_t max, int64_t expires_ms)
{
    p->responses = true;
    p->responses_max = max;
    p->responses_expire_ms = expires_ms;
}

bool permissions_has_responses(const struct permissions *p, int64_t *max, int64_t *expires_ms)
{
    if (p->responses) {
        *max = p->responses_max;
        *expires_ms = p->responses_expire_ms;
    }
    return p->responses;
}

/* ---- the rules ---- */

/* A queue name against a queue pattern; its wildcard characters are plain text, and a name equal to the pattern always fits. */
static bool queue_fits(const char *pattern, size_t np, const char *queue, size_t nq)
{
    return (np == nq && memcmp(pattern, queue, nq) == 0) || subject_matches(pattern, np, queue, nq);
}

static bool any_queue_fits(const struct match *m, const char *queue, size_t nq)
{
    for (uint32_t i = 0; i < m->ngroups; i++)
        if (queue_fits(m->groups[i].name, m->groups[i].name_len, queue, nq)) return true;
    return false;
}

/* Running out of memory must never open a door: an allow list that cannot be read allows nothing, a deny list denies. */
static bool list_has(struct sublist *list, const char *subject, size_t n)
{
    const struct match *m = sublist_match(list, subject, n);
    return m && m->nplain;
}

static bool list_denies(struct sublist *list, const char *subject, size_t n, const char *queue, size_t nq)
{
    const struct match *m = sublist_match(list, subject, n);
    return !m || m->nplain || (nq && any_queue_fits(m, queue, nq));
}

static bool decide_publish(struct permissions *p, const char *subject, size_t n)
{
    struct sublist *allow = p->lists[PERM_PUB_ALLOW], *deny = p->lists[PERM_PUB_DENY];
    if (allow ? !list_has(allow, subject, n) : p->responses) return false;
    return !deny || !list_denies(deny, subject, n, NULL, 0);
}

bool permissions_can_subscribe(struct permissions *p, const char *subject, size_t n, const char *queue, size_t nq)
{
    struct sublist *allow = p->lists[PERM_SUB_ALLOW], *deny = p->lists[PERM_SUB_DENY];
    if (allow) {
        const struct match *m = sublist_match(allow, subject, n);
        if (!m) return false;
        /* Entries with a queue, where there are any, decide for queue subscriptions alone. */
        if (nq && m->ngroups ? !any_queue_fits(m, queue, nq) : !m->nplain) return false;
    }
    return !deny || !list_denies(deny, subject, n, queue, nq);
}

bool permissions_needs_filter(struct permissions *p, const char *subject, size_t n, const char *queue, size_t nq)
{
    if (!p->lists[PERM_SUB_DENY] || !subject_has_wildcard(subject, n)) return false;
    for (const struct pattern *at = p->patterns; at; at = at->next) {
        if (at->list != PERM_SUB_DENY) continue;
        const struct sub *deny = &at->sub;
        if (deny->queue_len && !(nq && queue_fits(deny->subject + deny->subject_len, deny->queue_len, queue, nq)))
            continue;
        if (subject_collides(deny->subject, deny->subject_len, subject, n)) return true;
    }
    return false;
}

/* ---- remembered verdicts ---- */

/* Where this question's verdict is kept, or NULL if it is not to be kept at all. */
static struct verdict *verdict_place(struct permissions *p, uint64_t hash, size_t len)
{
    if (len > VERDICT_TEXT) return NULL;
    uint32_t want = p->nverdicts;
    if (!want)
        want = VERDICTS_MIN;
    else if (p->misses > p->nverdicts * 4 && p->nverdicts < VERDICTS_MAX)
        want *= 4;
    if (want != p->nverdicts) {
        struct verdict *fresh = calloc(want, sizeof *fresh);
        if (fresh) {
            free(p->verdicts);
            p->verdicts = fresh;
            p->nverdicts = want;
        }
        p->misses = 0;
        if (!p->verdicts) return NULL;
    }
    return &p->verdicts[hash & (p->nverdicts - 1)];
}

static bool verdict_is(const struct verdict *v, uint64_t hash, enum question what, const char *s, size_t n,
                       const char *q, size_t nq)
{
    return v->hash == hash && v->question == what && v->len == n && v->queue_len == nq && memcmp(v->text, s, n) == 0 &&
           (!nq || memcmp(v->text + n, q, nq) == 0);
}

static void verdict_keep(struct verdict *v, uint64_t hash, enum question what, const char *s, size_t n, const char *q,
                         size_t nq, bool ok)
{
    v->hash = hash;
    v->question = (uint8_t)what;
    v->allowed = ok;
    v->len = (uint16_t)n;
    v->queue_len = (uint16_t)nq;
    memcpy(v->text, s, n);
    if (nq) memcpy(v->text + n, q, nq);
}

bool permissions_can_publish(struct permissions *p, const char *subject, size_t n)
{
    if (!p->lists[PERM_PUB_ALLOW] && !p->lists[PERM_PUB_DENY]) return !p->responses;
    uint64_t hash = hash64(subject, n, (uint64_t)(uintptr_t)p);
    struct verdict *v = verdict_place(p, hash, n);
    if (v && verdict_is(v, hash, ASK_PUBLISH, subject, n, NULL, 0)) return v->allowed;
    bool ok = decide_publish(p, subject, n);
    if (v) {
        p->misses++;
        verdict_keep(v, hash, ASK_PUBLISH, subject, n, NULL, 0, ok);
    }
    return ok;
}

bool permissions_can_deliver(struct permissions *p, const char *subject, size_t n, const char *queue, size_t nq)
{
    struct sublist *deny = p->lists[PERM_SUB_DENY];
    if (!deny) return true;
    uint64_t hash = hash64(subject, n, (uint64_t)(uintptr_t)p + 1);
    if (nq) hash = hash64(queue, nq, hash);
    struct verdict *v = verdict_place(p, hash, n + nq);
    if (v && verdict_is(v, hash, ASK_DELIVER, subject, n, queue, nq)) return v->allowed;
    bool ok = !list_denies(deny, subject, n, queue, nq);
    if (v) {
        p->misses++;
        verdict_keep(v, hash, ASK_DELIVER, subject, n, queue, nq, ok);
    }
    return ok;
}
