/* answers.c: see answers.h. */
#include "answers.h"
#include "service.h"
#include <stdlib.h>
#include <string.h>

#define USUAL_TEXT (ANSWER_NAME_MAX + 64) /* bytes; answers whose name and reply are not longer are used again */
#define SPARE_MAX 1024

struct answers {
    uint32_t count, mask, nspare;
    struct answer *spare;
    struct answer **by_name, **by_reply;
    struct service_export *due; /* exports with answers outstanding */
};

void random_text(struct core *k, char *out, size_t n)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint64_t v = random_next(k) * 0x2545f4914f6cdd1dull;
    for (size_t i = 0; i < n; i++, v /= 62) out[i] = digits[v % 62];
}

static uint32_t reply_hash(const struct account *requester, const char *s, size_t n)
{
    return hash32(s, n) ^ (requester->id * 2654435761u);
}

/* ---- tables ---- */

static void reply_in(struct answer *a, struct answer **bucket)
{
    a->next_reply = *bucket, a->reply_at = bucket;
    if (*bucket) (*bucket)->reply_at = &a->next_reply;
    *bucket = a;
}

static void reply_out(struct answer *a)
{
    *a->reply_at = a->next_reply;
    if (a->next_reply) a->next_reply->reply_at = a->reply_at;
}

static bool grow(struct core *k)
{
    struct answers *t = k->answers;
    if (!t && !(t = k->answers = calloc(1, sizeof *t))) return false;
    if (t->by_name && t->count <= t->mask) return true;
    uint32_t n = t->by_name ? (t->mask + 1) * 4 : 256;
    struct answer **name = calloc(n, sizeof *name), **reply = calloc(n, sizeof *reply);
    if (!name || !reply) {
        free(name);
        free(reply);
        return t->by_name != NULL; /* longer chains still answer */
    }
    for (uint32_t i = 0; t->by_name && i <= t->mask; i++) {
        for (struct answer *a = t->by_name[i], *next; a; a = next) {
            next = a->next_name;
            a->next_name = name[a->name_hash & (n - 1)], name[a->name_hash & (n - 1)] = a;
            reply_in(a, &reply[a->reply_hash & (n - 1)]);
        }
    }
    free(t->by_name);
    free(t->by_reply);
    t->by_name = name, t->by_reply = reply, t->mask = n - 1;
    return true;
}

static struct answer *find(const struct answers *t, const char *name, size_t n)
{
    if (!t || (n != ANSWER_NAME && n != ANSWER_NAME_MAX)) return NULL;
    uint32_t h = hash32(name, n);
    struct answer *a = t->by_name[h & t->mask];
    while (a && (a->name_hash != h || a->name_len != n || memcmp(a->text, name, n) != 0)) a = a->next_name;
    return a;
}

struct answer *answer_find(struct core *k, const struct account *exporter, const char *name, size_t n)
{
    struct answer *a = find(k->answers, name, n);
    return a && a->by->acc == exporter ? a : NULL;
}

/* ---- age ---- */

static void age_out(struct answer *a)
{
    *(a->older ? &a->older->younger : &a->by->oldest) = a->younger;
    *(a->younger ? &a->younger->older : &a->by->youngest) = a->older;
}

static void age_in(struct core *k, struct answer *a)
{
    struct service_export *e = a->by;
    a->at = k->now;
    a->younger = NULL, a->older = e->youngest;
    *(e->youngest ? &e->youngest->younger : &e->oldest) = a;
    e->youngest = a;
    if (!e->due_listed) e->due_listed = true, e->next_due = k->answers->due, k->answers->due = e;
    uint64_t due = e->oldest->at + e->threshold;
    if (k->internal->resume_at && k->internal->resume_at <= due) return;
    k->internal->resume_at = due;
    timer_set(k, k->internal);
}

void answer_renew(struct core *k, struct answer *a)
{
    age_out(a);
    age_in(k, a);
}

void service_expire(struct core *k)
{
    uint64_t soonest = 0;
    struct service_export **at = &k->answers->due;
    while (*at) {
        struct service_export *e = *at;
        while (e->oldest && e->oldest->at + e->threshold <= k->now) answer_drop(k, e->oldest, 504);
        if (!e->oldest) {
            e->due_listed = false;
            *at = e->next_due;
            if (e->retired) service_export_free(e);
            continue;
        }
        uint64_t due = e->oldest->at + e->threshold;
        if (!soonest || due < soonest) soonest = due;
        at = &e->next_due;
    }
    k->internal->resume_at = soonest;
}

/* ---- life ---- */

static struct answer *answer_new(struct answers *t, size_t text_len)
{
    struct answer *a = t->spare;
    if (text_len > USUAL_TEXT || !a) return malloc(sizeof *a + (text_len > USUAL_TEXT ? text_len : USUAL_TEXT));
    t->spare = a->next_name;
    t->nspare--;
    return a;
}

static void answer_free(struct answers *t, struct answer *a)
{
    if (a->name_len + (size_t)a->reply_len > USUAL_TEXT || t->nspare == SPARE_MAX) {
        free(a);
        return;
    }
    a->next_name = t->spare, t->spare = a;
    t->nspare++;
}

struct answer *answer_expect(struct core *k, struct service_export *by, struct account *requester, const char *reply,
                             size_t n, bool streamed, struct measure *measure)
{
    struct services *s = requester->services;
    size_t name_len = measure ? ANSWER_NAME_MAX : ANSWER_NAME, text_len = name_len + n;
    size_t bytes = sizeof(struct answer) + (text_len > USUAL_TEXT ? text_len : USUAL_TEXT);
    if (measure) bytes += latency_bytes(measure);
    while (s->own_oldest && s->own_bytes + bytes > ANSWERS_ROOM) answer_drop(k, s->own_oldest, 504);
    struct answer *a = grow(k) && n <= UINT32_MAX ? answer_new(k->answers, text_len) : NULL;
    if (!a) return NULL;
    struct answers *t = k->answers;
    a->by = by, a->requester = requester, a->streamed = streamed, a->measure = measure, a->bytes = bytes;
    a->share = false;
    atomic_store_explicit(&by->acc->counts->asked, 1, memory_order_relaxed);
    a->name_len = (uint32_t)name_len, a->reply_len = (uint32_t)n;
    if (measure) memcpy(a->text + ANSWER_NAME, by->tracker->tail, TRACKED_TAIL);
    memcpy(a->text, by->acc->services->prefix, 11);
    do random_text(k, a->text + 11, 6);
    while (find(t, a->text, name_len));
    memcpy(a->text + name_len, reply, n);
    a->name_hash = hash32(a->text, name_len);
    a->reply_hash = reply_hash(requester, reply, n);
    struct answer **name = &t->by_name[a->name_hash & t->mask];
    a->next_name = *name, *name = a;
    reply_in(a, &t->by_reply[a->reply_hash & t->mask]);
    a->previous_own = NULL, a->next_own = s->own;
    *(s->own ? &s->own->previous_own : &s->own_oldest) = a;
    s->own = a;
    s->own_bytes += bytes;
    t->count++;
    age_in(k, a);
    return a;
}

static struct answer *waits_for(const struct answers *t, const struct account *requester, const char *reply, size_t n)
{
    uint32_t h = reply_hash(requester, reply, n);
    struct answer *a = t->by_reply[h & t->mask];
    while (a && (a->reply_hash != h || a->requester != requester || a->reply_len != n ||
                 memcmp(a->text + a->name_len, reply, n) != 0))
        a = a->next_reply;
    return a;
}

void answer_drop(struct core *k, struct answer *a, uint32_t status)
{
    struct answers *t = k->answers;
    while (a) {
        struct answer **at = &t->by_name[a->name_hash & t->mask];
        while (*at != a) at = &(*at)->next_name;
        *at = a->next_name;
        reply_out(a);
        struct services *s = a->requester->services;
        *(a->previous_own ? &a->previous_own->next_own : &s->own) = a->next_own;
        *(a->next_own ? &a->next_own->previous_own : &s->own_oldest) = a->previous_own;
        s->own_bytes -= a->bytes;
        age_out(a);
        t->count--;
        /* In a chain of imports the next account waits for this one's sake. */
        struct answer *next = waits_for(t, a->by->acc, a->text, a->name_len);
        if (next && next->measure) next = NULL; /* how long its own responder takes is asked for all the same */
        if (a->measure) latency_end(k, a->by->acc, a->by->tracker, a->measure, status, NULL);
        answer_free(t, a);
        a = next;
    }
}

static bool wanted(struct core *k, const struct answer *a)
{
    (void)k;
    const struct match *r = sublist_match(a->requester->subs, a->text + a->name_len, a->reply_len);
    return !r || r->nplain || r->ngroups || r->peers;
}

void service_interest_lost(struct core *k, struct account *account, const char *subject, size_t n)
{
    if (!subject_has_wildcard(subject, n)) {
        struct answer *a;
        while ((a = waits_for(k->answers, account, subject, n)) && !wanted(k, a)) answer_drop(k, a, 408);
        return;
    }
    for (struct answer *a = account->services->own, *next; a; a = next) {
        next = a->next_own;
        if (!subject_matches(subject, n, a->text + a->name_len, a->reply_len) || wanted(k, a)) continue;
        answer_drop(k, a, 408);
        next = account->services->own; /* a chain may have taken others along */
    }
}

const struct answer *answers_at(const struct core *k, uint32_t bucket) { return k->answers->by_name[bucket]; }

uint32_t answers_buckets(const struct core *k) { return k->answers && k->answers->by_name ? k->answers->mask + 1 : 0; }

void answers_forget_retired(struct core *k)
{
    for (struct service_export *e = k->answers ? k->answers->due : NULL, *next; e; e = next) {
        next = e->next_due;
        if (e->retired) service_export_free(e);
    }
}

void answers_free(struct core *k)
{
    struct answers *t = k->answers;
    if (!t) return;
    for (uint32_t i = 0; t->by_name && i <= t->mask; i++)
        for (struct answer *a = t->by_name[i], *next; a; a = next) next = a->next_name, free(a->measure), free(a);
    for (struct answer *a = t->spare, *next; a; a = next) next = a->next_name, free(a);
    free(t->by_name);
    free(t->by_reply);
    free(t);
}
