/* Monitoring: what the owner is told of connections, subscriptions and accounts, and which connections are gone.
 *
 * Every call does a bounded amount of work and says where to go on, so that asking about all of a hundred thousand connections
 * delays no message noticeably. Asking goes in two steps: which connections, in which order (a key each), and then
 * everything about the few that are wanted.
 *
 *   ring[]   the last max_closed connections that are gone: their record as it is told, their subscriptions behind it
 *
 * Handles of closed connections are their number in the order of closing, with CLOSED_BIT.
 */
#include "answers.h"
#include "core.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CLOSED_BIT (1ull << 63)
#define LOOK_AT 4096                    /* connections or subscriptions looked at in one call */
#define CLOSED_SUBS (16 * 1024)         /* bytes of subscriptions kept of a connection that is gone */
#define CLOCK_SET 20000000              /* ns: a clock that moved by more was set */
#define CLOSED_BYTES (32 * 1024 * 1024) /* of all that are gone: then the oldest are forgotten early */

struct closed {
    uint32_t account; /* id, UINT32_MAX: it never had one */
    uint32_t subs_len;
    struct spl_conn_record head; /* its texts follow, then its subscriptions */
};

int64_t clock_real_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static size_t padded(size_t n) { return (n + 7) & ~(size_t)7; }

/* ---- records ---- */

/* Activity is noted in milliseconds of the monotonic clock. How far that is from the time of day is looked up anew only
 * when the clock was set, so that the same moment is always told as the same time. */
static void clock_compare(struct core *k)
{
    int64_t ahead = clock_real_ns() - (int64_t)clock_ns(), moved = ahead - k->real_ahead;
    if (moved > CLOCK_SET || moved < -CLOCK_SET) k->real_ahead = ahead;
}

static int64_t last_activity(const struct core *k, const struct conn *c)
{
    int64_t at = (int64_t)c->last_active * 1000000 + k->real_ahead;
    return at > c->start_ns ? at : c->start_ns;
}

static size_t conn_record_size(const struct conn *c)
{
    size_t account = c->acc ? c->acc->name_len : 0;
    return padded(sizeof(struct spl_conn_record) + account + c->user_len + c->about_len);
}

static void conn_record(const struct core *k, const struct conn *c, char *to)
{
    size_t size = conn_record_size(c), account = c->acc ? c->acc->name_len : 0;
    struct spl_conn_record r = {.size = (uint32_t)size,
                                .kind = SPL_RECORD_CONN,
                                .cid = c->cid,
                                .in_msgs = c->in_msgs,
                                .in_bytes = c->in_bytes,
                                .out_msgs = c->out_msgs,
                                .out_bytes = c->out_bytes,
                                .pending = output_pending(c),
                                .stalls = c->stalled,
                                .rtt_ns = c->rtt_ns,
                                .start_ns = c->start_ns,
                                .last_ns = last_activity(k, c),
                                .nsubs = c->nsubs,
                                .port = c->port,
                                .account_len = (uint32_t)account,
                                .user_len = c->user_len,
                                .about_len = c->about_len};
    conn_ip(c, r.ip);
    memset(to + size - 8, 0, 8);
    memcpy(to, &r, sizeof r);
    to += sizeof r;
    if (account) memcpy(to, c->acc->name, account);
    if (c->user_len) memcpy(to + account, c->about, c->user_len);
    if (c->about_len) memcpy(to + account + c->user_len, c->about + c->user_len, c->about_len);
}

static size_t sub_record_size(const struct sub *s, const struct account *a)
{
    return padded(sizeof(struct spl_sub_record) + s->subject_len + s->queue_len + s->sid_len + a->name_len);
}

static void sub_record(const struct conn *c, const struct sub *s, char *to)
{
    size_t size = sub_record_size(s, c->acc);
    struct spl_sub_record r = {.size = (uint32_t)size,
                               .kind = SPL_RECORD_SUB,
                               .cid = c->cid,
                               .msgs = s->delivered,
                               .max = s->max,
                               .subject_len = s->subject_len,
                               .queue_len = s->queue_len,
                               .sid_len = s->sid_len,
                               .account_len = c->acc->name_len};
    memset(to + size - 8, 0, 8);
    memcpy(to, &r, sizeof r);
    to += sizeof r;
    memcpy(to, s->subject, (size_t)s->subject_len + s->queue_len);
    to += s->subject_len + s->queue_len;
    memcpy(to, s->sid, s->sid_len);
    memcpy(to + s->sid_len, c->acc->name, c->acc->name_len);
}

/* ---- connections that are gone ---- */

static void ring_drop_oldest(struct core *k)
{
    struct closed **at = &k->ring[k->ring_first % k->ring_cap];
    k->ring_bytes -= sizeof **at - sizeof(*at)->head + (*at)->head.size + (*at)->subs_len;
    free(*at);
    *at = NULL;
    k->ring_first++;
}

/* Room for one more; the ring grows up to what was configured. */
static bool ring_room(struct core *k)
{
    uint32_t most = k->cfg.max_closed;
    if (k->ring_next - k->ring_first < k->ring_cap) return true;
    if (k->ring_cap >= most) {
        if (!most) return false;
        ring_drop_oldest(k);
        return true;
    }
    uint32_t cap = k->ring_cap ? k->ring_cap * 2 : 64;
    if (cap > most) cap = most;
    struct closed **more = calloc(cap, sizeof *more);
    if (!more) return false;
    for (uint64_t i = k->ring_first; i < k->ring_next; i++) more[i % cap] = k->ring[i % k->ring_cap];
    free(k->ring);
    k->ring = more, k->ring_cap = cap;
    return true;
}

size_t spl_conn_record(spl_core *k, uint64_t handle, uint32_t *conns, char *buf, size_t cap)
{
    const struct conn *c = conn_known(k, handle);
    if (!c) return 0;
    size_t size = conn_record_size(c);
    *conns = c->acc_conns;
    if (size > cap) return size;
    clock_compare(k);
    conn_record(k, c, buf);
    struct spl_conn_record *r = (struct spl_conn_record *)(void *)buf;
    if (c->closed) r->stop_ns = c->stop_ns, r->reason = c->reason;
    return size;
}

/* Remember a client that is being unlinked and still has its subscriptions. Without memory it is forgotten. */
void monitor_closed(struct core *k, struct conn *c)
{
    c->stop_ns = clock_real_ns();
    if (!k->cfg.max_closed || !ring_room(k)) return;
    size_t size = conn_record_size(c), subs = 0;
    for (uint32_t i = 0; c->acc && i < c->sid_cap && subs < CLOSED_SUBS; i++)
        if (c->sids[i]) subs += sub_record_size(c->sids[i], c->acc);
    struct closed *e = malloc(sizeof *e - sizeof e->head + size + subs);
    if (!e) return;
    clock_compare(k);
    conn_record(k, c, (char *)&e->head);
    e->account = c->acc ? c->acc->id : UINT32_MAX;
    e->subs_len = (uint32_t)subs;
    if (c->stop_ns < e->head.last_ns) c->stop_ns = e->head.last_ns; /* the clock was set */
    e->head.stop_ns = c->stop_ns;
    e->head.reason = c->reason;
    if (c->unsent) e->head.pending = c->unsent;
    char *to = (char *)&e->head + size;
    for (uint32_t i = 0; subs && i < c->sid_cap; i++) {
        if (!c->sids[i]) continue;
        size_t n = sub_record_size(c->sids[i], c->acc);
        sub_record(c, c->sids[i], to);
        to += n, subs -= n;
    }
    k->ring[k->ring_next++ % k->ring_cap] = e;
    k->ring_bytes += sizeof *e - sizeof e->head + size + e->subs_len;
    while (k->ring_bytes > CLOSED_BYTES) ring_drop_oldest(k);
}

void monitor_free(struct core *k)
{
    while (k->ring_first < k->ring_next) ring_drop_oldest(k);
    free(k->ring);
}

int spl_conn_describe(spl_core *k, uint64_t handle, const char *user, size_t user_len, const char *about,
                      size_t about_len)
{
    struct conn *c = conn_by_handle(k, handle);
    if (!c || user_len > UINT16_MAX || about_len > UINT32_MAX - UINT16_MAX) return -1;
    char *both = malloc(user_len + about_len + 1);
    if (!both) return -1;
    memcpy(both, user, user_len);
    memcpy(both + user_len, about, about_len);
    c->last_active = clock_ms();
    free(c->about);
    c->about = both, c->user_len = (uint32_t)user_len, c->about_len = (uint32_t)about_len;
    if (!c->rtt_ns) c->rtt_ns = (uint64_t)(clock_real_ns() > c->start_ns ? clock_real_ns() - c->start_ns : 1);
    return 0;
}

/* What this connection was sent since we last looked goes into the sums. */
void monitor_count_out(struct core *k, struct conn *c)
{
    uint64_t msgs = c->out_msgs - c->summed_msgs, bytes = c->out_bytes - c->summed_bytes;
    if (!msgs) return;
    c->summed_msgs = c->out_msgs, c->summed_bytes = c->out_bytes;
    c->last_active = k->now;
    k->stats->out_msgs += msgs, k->stats->out_bytes += bytes;
    if (c->acc) c->acc->counts->out_msgs += msgs, c->acc->counts->out_bytes += bytes;
}

/* What a client has just been sent of another account's stream was sent by that account, as nats-server counts. */
void monitor_count_shadow(struct core *k, struct conn *c, struct account *exporter, uint64_t bytes)
{
    c->summed_msgs++, c->summed_bytes += bytes;
    c->last_active = k->now;
    k->stats->out_msgs++, k->stats->out_bytes += bytes;
    exporter->counts->out_msgs++, exporter->counts->out_bytes += bytes;
}

/* ---- which connections ---- */

static uint64_t record_key(const struct spl_conn_record *r, const struct spl_select *q)
{
    int64_t end = r->stop_ns ? r->stop_ns : q->now_ns;
    switch (q->sort) {
    case SPL_SORT_SUBS: return ~(uint64_t)r->nsubs;
    case SPL_SORT_PENDING: return ~r->pending;
    case SPL_SORT_OUT_MSGS: return ~r->out_msgs;
    case SPL_SORT_IN_MSGS: return ~r->in_msgs;
    case SPL_SORT_OUT_BYTES: return ~r->out_bytes;
    case SPL_SORT_IN_BYTES: return ~r->in_bytes;
    case SPL_SORT_LAST: return ~(uint64_t)r->last_ns;
    case SPL_SORT_IDLE: return ~(uint64_t)(end > r->last_ns ? end - r->last_ns : 0);
    case SPL_SORT_UPTIME: return (uint64_t)(end > r->start_ns ? end - r->start_ns : 0);
    case SPL_SORT_STOP: return ~(uint64_t)r->stop_ns;
    case SPL_SORT_RTT: return ~r->rtt_ns;
    default: return r->cid;
    }
}

static bool is_user(const struct spl_select *q, const char *user, uint32_t len)
{
    return !q->user_len || (len == q->user_len && memcmp(user, q->user, len) == 0);
}

static int by_key(const void *a, const void *b)
{
    const struct spl_key *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return x->cid < y->cid ? -1 : x->cid > y->cid;
}

static void key_put(struct spl_key *to, const struct spl_conn_record *r, const struct spl_select *q, uint64_t handle)
{
    *to = (struct spl_key){
        .key = record_key(r, q), .cid = r->cid, .handle = handle, .stop_ns = r->stop_ns, .reason = r->reason};
}

static uint32_t select_open(struct core *k, struct spl_select *q, struct spl_key *keys)
{
    uint32_t found = 0, end = k->cap_conns - q->at > LOOK_AT ? (uint32_t)q->at + LOOK_AT : k->cap_conns;
    for (; q->at < end; q->at++) {
        const struct conn *c = k->conns[q->at];
        if (!c || c->kind != KIND_CLIENT || c->closed) continue;
        if (q->account >= 0 && (!c->acc || (int64_t)c->acc->id != q->account)) continue;
        q->total++;
        if ((q->cid && c->cid != q->cid) || !is_user(q, c->about, c->user_len)) continue;
        struct spl_conn_record r = {.cid = c->cid,
                                    .in_msgs = c->in_msgs,
                                    .in_bytes = c->in_bytes,
                                    .out_msgs = c->out_msgs,
                                    .out_bytes = c->out_bytes,
                                    .rtt_ns = c->rtt_ns,
                                    .start_ns = c->start_ns,
                                    .nsubs = c->nsubs};
        if (q->sort == SPL_SORT_PENDING) r.pending = output_pending(c);
        if (q->sort == SPL_SORT_LAST || q->sort == SPL_SORT_IDLE) r.last_ns = last_activity(k, c);
        key_put(&keys[found++], &r, q, conn_handle(c));
    }
    return found;
}

static uint32_t select_closed(struct core *k, struct spl_select *q, struct spl_key *keys)
{
    uint32_t found = 0;
    uint64_t at = q->at & ~CLOSED_BIT;
    if (at < k->ring_first) at = k->ring_first;
    uint64_t end = k->ring_next - at > LOOK_AT ? at + LOOK_AT : k->ring_next;
    for (; at < end; at++) {
        const struct closed *e = k->ring[at % k->ring_cap];
        const char *texts = (const char *)(&e->head + 1);
        if (q->account >= 0 && (int64_t)e->account != q->account) continue;
        q->total++;
        if ((q->cid && e->head.cid != q->cid) || !is_user(q, texts + e->head.account_len, e->head.user_len)) continue;
        key_put(&keys[found++], &e->head, q, at | CLOSED_BIT);
    }
    q->at = at | CLOSED_BIT;
    return found;
}

int spl_select(spl_core *k, struct spl_select *q, struct spl_key *keys)
{
    uint32_t found = 0;
    clock_compare(k);
    if (!(q->at & CLOSED_BIT) && (q->states & SPL_OPEN))
        found = select_open(k, q, keys);
    else
        q->at |= CLOSED_BIT;
    if (!(q->at & CLOSED_BIT) && q->at >= k->cap_conns)
        q->at = CLOSED_BIT;
    else if (q->at & CLOSED_BIT && (q->states & SPL_GONE))
        found = select_closed(k, q, keys);
    q->done = q->at & CLOSED_BIT && (!(q->states & SPL_GONE) || (q->at & ~CLOSED_BIT) >= k->ring_next);
    qsort(keys, found, sizeof *keys, by_key);
    return (int)(found < q->want ? found : q->want);
}

/* ---- everything about some ---- */

/* The subscriptions of one connection from position *sub_at on; false: no more room. */
static bool put_subs(const struct conn *c, uint32_t *sub_at, char **to, const char *end)
{
    for (; c->acc && *sub_at < c->sid_cap; ++*sub_at) {
        const struct sub *s = c->sids[*sub_at];
        if (!s) continue;
        size_t n = sub_record_size(s, c->acc);
        if (n > (size_t)(end - *to)) return false;
        sub_record(c, s, *to);
        *to += n;
    }
    return true;
}

static const struct closed *closed_find(const struct core *k, uint64_t handle)
{
    uint64_t at = handle & ~CLOSED_BIT;
    return at >= k->ring_first && at < k->ring_next ? k->ring[at % k->ring_cap] : NULL;
}

size_t spl_records(spl_core *k, const uint64_t *handles, uint32_t n, int subs, struct spl_place *at, char *buf,
                   size_t cap)
{
    char *to = buf, *end = buf + cap;
    clock_compare(k);
    for (; at->index < n; at->index++, at->sub = 0) {
        uint64_t h = handles[at->index];
        if (h & CLOSED_BIT) {
            const struct closed *e = closed_find(k, h);
            if (!e) continue;
            size_t size = (size_t)e->head.size + (subs ? e->subs_len : 0);
            if (size > (size_t)(end - to)) break;
            memcpy(to, &e->head, size);
            to += size;
            continue;
        }
        const struct conn *c = conn_by_handle(k, h);
        if (!c) continue;
        if (at->sub == 0) {
            size_t size = conn_record_size(c);
            if (size > (size_t)(end - to)) break;
            conn_record(k, c, to);
            to += size;
        }
        if (!subs) continue;
        uint32_t sub = at->sub ? at->sub - 1 : 0;
        if (!put_subs(c, &sub, &to, end)) {
            at->sub = sub + 1; /* go on here; 0 stands for the connection itself */
            break;
        }
    }
    return (size_t)(to - buf);
}

static bool sub_wanted(const struct sub *s, const struct spl_subs *q)
{
    if (q->queue_len &&
        (s->queue_len != q->queue_len || memcmp(s->subject + s->subject_len, q->queue, q->queue_len) != 0))
        return false;
    if (q->within) return subject_covers(q->test, q->test_len, s->subject, s->subject_len);
    return !q->test_len || subject_matches(s->subject, s->subject_len, q->test, q->test_len);
}

size_t spl_subs(spl_core *k, struct spl_subs *q, char *buf, size_t cap)
{
    char *to = buf, *end = buf + cap;
    for (uint32_t looked = 0; q->at.index < k->cap_conns; q->at.index++, q->at.sub = 0) {
        const struct conn *c = k->conns[q->at.index];
        if (++looked > LOOK_AT) return (size_t)(to - buf);
        if (!c || c->kind != KIND_CLIENT || c->closed || !c->acc) continue;
        if (q->account >= 0 && (int64_t)c->acc->id != q->account) continue;
        for (; q->at.sub < c->sid_cap; q->at.sub++) {
            const struct sub *s = c->sids[q->at.sub];
            if (++looked > LOOK_AT) return (size_t)(to - buf);
            if (!s || !sub_wanted(s, q)) continue;
            if (q->total >= q->offset && q->total - q->offset < q->limit) {
                size_t n = sub_record_size(s, c->acc);
                if (n > (size_t)(end - to)) return (size_t)(to - buf);
                sub_record(c, s, to);
                to += n;
            }
            q->total++;
        }
    }
    q->done = 1;
    return (size_t)(to - buf);
}

static void add_counts(struct spl_account_info *to, const struct shared_account *a)
{
    to->conns += atomic_load(&a->conns), to->subs += atomic_load(&a->subs), to->slow_consumers += a->slow_consumers;
    to->shadows += atomic_load(&a->shadows), to->asked += atomic_load(&a->asked);
    to->in_msgs += a->in_msgs, to->in_bytes += a->in_bytes, to->out_msgs += a->out_msgs, to->out_bytes += a->out_bytes;
}

int spl_account_part(const spl_core *k, uint32_t worker, uint32_t place, struct spl_account_info *out)
{
    memset(out, 0, sizeof *out);
    if (place >= k->cfg.accounts || worker >= k->cfg.workers) return -1;
    add_counts(out, shared_account(k->shared, k->cfg.workers, worker, place));
    return 0;
}

int spl_account_total(const spl_core *k, uint32_t place, struct spl_account_info *out)
{
    memset(out, 0, sizeof *out);
    if (place >= k->cfg.accounts) return -1;
    for (uint32_t i = 0; i < k->cfg.workers; i++) add_counts(out, shared_account(k->shared, k->cfg.workers, i, place));
    return 0;
}

int spl_account_get(spl_core *k, uint32_t id, struct spl_account_info *out)
{
    memset(out, 0, sizeof *out);
    const struct account *a = account_get(k, id);
    if (!a) return -1;
    struct sublist_stats s;
    sublist_stats(a->subs, &s);
    out->name = a->name, out->name_len = a->name_len;
    add_counts(out, a->counts);
    out->inserts = s.inserts, out->removes = s.removes, out->matches = s.matches, out->cache_hits = s.cache_hits;
    out->cache_entries = s.cache_entries;
    sublist_fanout(a->subs, &out->max_fanout, &out->sum_fanout);
    out->own = a->own_subs, out->inserts -= out->own + a->own_gone, out->removes -= a->own_gone;
    return 0;
}

/* ---- answers that somebody waits for ---- */

static size_t answer_record_size(const struct answer *a)
{
    return padded(sizeof(struct spl_answer_record) + a->name_len + (size_t)a->reply_len + a->requester->name_len);
}

static void answer_record(const struct answer *a, char *to)
{
    size_t size = answer_record_size(a);
    struct spl_answer_record r = {.size = (uint32_t)size,
                                  .kind = SPL_RECORD_ANSWER,
                                  .name_len = a->name_len,
                                  .reply_len = a->reply_len,
                                  .account_len = a->requester->name_len,
                                  .flags = (a->share ? SPL_ANSWER_SHARE : 0) | (a->measure ? SPL_ANSWER_TRACKED : 0)};
    memset(to + size - 8, 0, 8);
    memcpy(to, &r, sizeof r);
    to += sizeof r;
    memcpy(to, a->text, (size_t)a->name_len + a->reply_len);
    memcpy(to + a->name_len + a->reply_len, a->requester->name, a->requester->name_len);
}

/* Those of one bucket, or none of them; false: they do not fit. */
static bool put_answers(const struct answer *first, uint32_t account, uint32_t *looked, char **to, const char *end)
{
    size_t needed = 0;
    for (const struct answer *a = first; a; a = a->next_name, ++*looked)
        if (a->by->acc->id == account) needed += answer_record_size(a);
    if (needed > (size_t)(end - *to)) return false;
    for (const struct answer *a = first; a && needed; a = a->next_name) {
        if (a->by->acc->id != account) continue;
        answer_record(a, *to);
        *to += answer_record_size(a);
    }
    return true;
}

size_t spl_answers(spl_core *k, struct spl_answers *q, char *buf, size_t cap)
{
    char *to = buf, *end = buf + cap;
    uint32_t buckets = answers_buckets(k);
    for (uint32_t looked = 0; q->bucket < buckets; q->bucket++) {
        if (++looked > LOOK_AT) return (size_t)(to - buf);
        if (!put_answers(answers_at(k, q->bucket), q->account, &looked, &to, end)) return (size_t)(to - buf);
    }
    q->done = 1;
    return (size_t)(to - buf);
}
