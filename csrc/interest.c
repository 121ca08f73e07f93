/* interest.c: the mesh's control messages, see mesh.h: who is told of which interest, and what is known of others'. */
#include "mesh.h"
#include <stdlib.h>
#include <string.h>

#define WINDOW 64

enum { CTL_SNAPSHOT = 1, CTL_DELTA, CTL_ACK, CTL_RESYNC };

struct ctl {
    uint8_t type, version;
    uint16_t from;
    uint32_t serial;            /* of the sender */
    uint64_t seq, base, digest; /* of a batch: base is the one before it */
    uint32_t count, spare;
};
struct ctl_account {
    uint32_t kind, id, len;
};
struct ctl_interest {
    uint32_t kind, account, subject_len, queue_len, weight;
};

static void control_push(struct core *k, uint32_t peer, const void *data, size_t len)
{
    struct control *c = malloc(sizeof *c + len);
    if (!c) { /* it may be an acknowledgement that a client over there waits for: mesh_repair says it again */
        k->starved |= 1ull << peer;
        return;
    }
    c->next = NULL, c->peer = peer, c->len = len;
    memcpy(c->data, data, len);
    if (k->control)
        k->control_last->next = c;
    else
        k->control = c;
    k->control_last = c;
}

int spl_control_next(spl_core *k, uint32_t *peer, const char **data, size_t *len)
{
    free(k->control_taken);
    struct control *c = k->control;
    k->control_taken = c;
    if (!c) return 0;
    k->control = c->next;
    *peer = c->peer, *data = c->data, *len = c->len;
    return 1;
}

struct batch {
    struct core *k;
    uint64_t peers; /* whom it is for */
    struct account *acc;
    struct batch *also; /* of the system account: whose records this one gets, too */
    char *p;
    size_t len, cap;
    uint32_t count;
    bool failed;
    uint64_t digest;
};

static char *batch_room(struct batch *b, size_t n)
{
    if (b->failed) return NULL;
    if (b->cap - b->len < n) {
        size_t cap = (b->cap ? b->cap * 2 : 1024) + n;
        char *more = realloc(b->p, cap);
        if (!more) {
            b->failed = true;
            return NULL;
        }
        b->p = more, b->cap = cap;
    }
    b->len += n;
    return b->p + b->len - n;
}

static void batch_account(struct batch *b, const struct account *a)
{
    struct ctl_account r = {1, a->id, a->name_len};
    char *w = batch_room(b, sizeof r + a->name_len);
    if (!w) return;
    memcpy(w, &r, sizeof r);
    memcpy(w + sizeof r, a->name, a->name_len);
    b->count++;
}

static uint64_t interest_hash(const struct account *a, const char *s, size_t n, const char *q, size_t nq,
                              uint32_t weight)
{
    if (!weight) return 0;
    uint64_t h = hash64(a->name, a->name_len, weight);
    h = hash64(s, n, h + 1);
    return hash64(q, nq, h + 2) | 1;
}

static void batch_interest(void *arg, const char *s, size_t n, const char *q, size_t nq, uint32_t weight, uint32_t was)
{
    struct batch *b = arg;
    struct ctl_interest r = {2, b->acc->id, (uint32_t)n, (uint32_t)nq, weight};
    b->digest ^= interest_hash(b->acc, s, n, q, nq, was) ^ interest_hash(b->acc, s, n, q, nq, weight);
    if (b->also && b->acc->id == (uint32_t)b->k->system_account) {
        b->also->acc = b->acc;
        batch_interest(b->also, s, n, q, nq, weight, was);
    }
    if (!b->peers) return;
    char *w = batch_room(b, sizeof r + n + nq);
    if (!w) return;
    memcpy(w, &r, sizeof r);
    memcpy(w + sizeof r, s, n);
    memcpy(w + sizeof r + n, q, nq);
    b->count++;
}

static void batch_begin(struct core *k, struct batch *b, uint64_t peers, uint64_t digest)
{
    memset(b, 0, sizeof *b);
    b->k = k, b->peers = peers, b->digest = digest;
    batch_room(b, sizeof(struct ctl));
}

static void batch_send(struct batch *b, uint8_t type, uint64_t seq, uint64_t base)
{
    struct core *k = b->k;
    if (!b->failed) {
        struct ctl h = {.type = type,
                        .version = MESH_VERSION,
                        .from = (uint16_t)k->cfg.index,
                        .serial = k->cfg.serial,
                        .seq = seq,
                        .base = base,
                        .digest = b->digest,
                        .count = b->count};
        memcpy(b->p, &h, sizeof h);
        for (uint64_t left = b->peers; left; left &= left - 1)
            control_push(k, (uint32_t)__builtin_ctzll(left), b->p, b->len);
    } else {
        k->starved |= b->peers;
    }
    free(b->p);
}

/* The peers that are told of the system account alone: from a worker's point of view the gateway is one. */
static uint64_t observers(const struct core *k)
{
    return k->cfg.gateway && k->cfg.index < k->cfg.workers ? 1ull << k->cfg.workers : 0;
}

/* Let those go on whose interest every peer knows. */
static void barrier_release(struct core *k)
{
    struct conn **at = &k->at_barrier;
    while (*at) {
        struct conn *c = *at;
        if (c->barrier <= k->min_acked) {
            *at = c->next_waiting;
            c->next_waiting = NULL;
            conn_release_hold(k, c, HOLD_BARRIER);
            if (c->pong_soon && !c->closed) client_pongs(k, c);
        } else {
            at = &c->next_waiting;
        }
    }
}

void mesh_interest_changed(struct core *k, struct account *a)
{
    if (a->dirty_queued || !sublist_dirty(a->subs)) return;
    k->dirty_accounts[k->ndirty_accounts++] = a; /* has room for every account */
    a->dirty_queued = true;
}

/* Whoever waits for the batch that would have come next waits for nothing: its interest came and went unannounced. */
static void nothing_to_tell(struct core *k)
{
    bool waits = false;
    for (struct conn *c = k->at_barrier; c; c = c->next_waiting)
        if (c->barrier > k->batch_seq) c->barrier = k->batch_seq, waits = true;
    if (waits) barrier_release(k);
}

/* Send what there is to tell; `last` is the batch that those peers were sent before. */
static bool batch_end(struct batch *b, uint64_t seq, uint64_t *last)
{
    if (!b->peers || (!b->count && !b->failed)) {
        free(b->p);
        return false;
    }
    batch_send(b, CTL_DELTA, seq, *last);
    *last = seq;
    return true;
}

void mesh_flush_interest(struct core *k)
{
    if (k->peers_up && k->batch_seq - k->min_acked >= WINDOW && k->min_acked < k->batch_seq) return;
    uint64_t seq = k->batch_seq + 1;
    struct batch b, system;
    batch_begin(k, &b, k->peers_up & ~observers(k), k->digest);
    batch_begin(k, &system, k->peers_up & observers(k), k->system_digest);
    b.also = &system;
    for (uint32_t i = k->announced_accounts; i < k->naccounts; i++) batch_account(&b, k->accounts[i]);
    k->announced_accounts = k->naccounts;
    for (uint32_t i = 0; i < k->ndirty_accounts; i++) {
        b.acc = k->dirty_accounts[i];
        b.acc->dirty_queued = false;
        sublist_flush_interest(b.acc->subs, seq, batch_interest, &b);
    }
    k->ndirty_accounts = 0;
    k->digest = b.digest, k->system_digest = system.digest;
    bool told = batch_end(&b, seq, &k->told_all), told_system = batch_end(&system, seq, &k->told_system);
    if (!told && !told_system) {
        nothing_to_tell(k);
        return;
    }
    k->batch_seq = seq;
    k->stats->interest_batches++;
}

static void snapshot_interest(void *arg, const char *s, size_t n, const char *q, size_t nq, uint32_t weight,
                              uint32_t was)
{
    struct batch *b = arg;
    uint64_t digest = b->digest;
    (void)was;
    batch_interest(arg, s, n, q, nq, weight, 0);
    b->digest = digest;
}

static void send_snapshot(struct core *k, uint32_t peer)
{
    struct batch b;
    bool observer = observers(k) >> peer & 1;
    uint64_t last = observer ? k->told_system : k->told_all;
    batch_begin(k, &b, 1ull << peer, observer ? k->system_digest : k->digest);
    for (uint32_t i = 0; i < k->naccounts; i++) {
        b.acc = k->accounts[i];
        if (observer && i != (uint32_t)k->system_account) continue;
        batch_account(&b, b.acc);
        sublist_each_interest(b.acc->subs, snapshot_interest, &b);
    }
    if (k->announced_accounts < k->naccounts && k->peers_up == 1ull << peer && !observer)
        k->announced_accounts = k->naccounts;
    batch_send(&b, CTL_SNAPSHOT, last, last);
}

static void send_small(struct core *k, uint32_t peer, uint8_t type, uint64_t seq)
{
    struct ctl h = {
        .type = type, .version = MESH_VERSION, .from = (uint16_t)k->cfg.index, .serial = k->cfg.serial, .seq = seq};
    control_push(k, peer, &h, sizeof h);
}

/* Say everything again to those to whom something could not be said: what we have, and how much of theirs we know. */
void mesh_repair(struct core *k)
{
    uint64_t starved = k->starved & k->peers_up;
    k->starved = 0;
    for (uint64_t left = starved; left; left &= left - 1) {
        uint32_t peer = (uint32_t)__builtin_ctzll(left);
        send_snapshot(k, peer);
        if (k->peers[peer].synced)
            send_small(k, peer, CTL_ACK, k->peers[peer].seen);
        else
            send_small(k, peer, CTL_RESYNC, 0);
    }
}

/* How far has this peer acknowledged? One that has acknowledged what it was sent last misses nothing of what others were sent since. */
static uint64_t acknowledged(struct core *k, uint32_t peer, bool observer)
{
    struct peer *p = &k->peers[peer];
    if (!p->acknowledged) return observer ? UINT64_MAX : 0; /* an observer says nothing before it has heard us */
    if (p->acked >= (observer ? k->told_system : k->told_all))
        p->passed = k->batch_seq;
    else if (p->acked > p->passed)
        p->passed = p->acked;
    return p->passed;
}

/* How far has the slowest peer? */
void barrier_update(struct core *k)
{
    uint64_t least = UINT64_MAX;
    for (uint64_t left = k->peers_up; left; left &= left - 1) {
        uint32_t peer = (uint32_t)__builtin_ctzll(left);
        uint64_t acked = acknowledged(k, peer, observers(k) >> peer & 1);
        if (acked < least) least = acked;
    }
    k->min_acked = least;
    barrier_release(k);
    if (k->ndirty_accounts) mesh_flush_interest(k);
}

struct account *account_get(struct core *k, uint32_t id) { return id < k->naccounts ? k->accounts[id] : NULL; }

static int map_put(uint32_t **map, uint32_t *n, uint32_t id, uint32_t to)
{
    if (id > 1u << 24) return -1;
    if (id >= *n) {
        uint32_t cap = (id + 16) * 2;
        uint32_t *more = realloc(*map, cap * sizeof *more);
        if (!more) return -1;
        for (uint32_t i = *n; i < cap; i++) more[i] = NO_ACCOUNT;
        *map = more, *n = cap;
    }
    (*map)[id] = to;
    return 0;
}

static int apply_account(struct core *k, struct peer *p, const struct ctl_account *r, const char *name)
{
    int ours = spl_account(k, name, r->len);
    if (ours < 0) return -1;
    if (map_put(&p->ours, &p->nours, r->id, (uint32_t)ours) < 0) return -1;
    return map_put(&p->theirs, &p->ntheirs, (uint32_t)ours, r->id);
}

static int apply_interest(struct core *k, struct peer *p, const struct ctl_interest *r, const char *s)
{
    if (r->account >= p->nours || p->ours[r->account] == NO_ACCOUNT) return -1;
    struct account *a = k->accounts[p->ours[r->account]];
    const char *q = s + r->subject_len;
    if (!subject_valid(s, r->subject_len)) return -1;
    int64_t was = sublist_set_remote(a->subs, (uint32_t)(p - k->peers), s, r->subject_len, q, r->queue_len, r->weight);
    if (was < 0) return -1;
    p->digest ^= interest_hash(a, s, r->subject_len, q, r->queue_len, (uint32_t)was) ^
                 interest_hash(a, s, r->subject_len, q, r->queue_len, r->weight);
    return 0;
}

static int apply_records(struct core *k, struct peer *p, const char *at, const char *end, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t kind;
        if (end - at < (ptrdiff_t)sizeof kind) return -1;
        memcpy(&kind, at, sizeof kind);
        if (kind == 1) {
            struct ctl_account r;
            if (end - at < (ptrdiff_t)sizeof r) return -1;
            memcpy(&r, at, sizeof r);
            at += sizeof r;
            if ((uint64_t)(end - at) < r.len || apply_account(k, p, &r, at) < 0) return -1;
            at += r.len;
        } else if (kind == 2) {
            struct ctl_interest r;
            if (end - at < (ptrdiff_t)sizeof r) return -1;
            memcpy(&r, at, sizeof r);
            at += sizeof r;
            if ((uint64_t)(end - at) < (uint64_t)r.subject_len + r.queue_len || apply_interest(k, p, &r, at) < 0)
                return -1;
            at += r.subject_len + r.queue_len;
        } else {
            return -1;
        }
    }
    return at == end ? 0 : -1;
}

void interest_forget(struct core *k, struct peer *p)
{
    for (uint32_t i = 0; i < k->naccounts; i++) sublist_drop_peer(k->accounts[i]->subs, (uint32_t)(p - k->peers));
    p->digest = 0;
}

static int control(struct core *k, const char *data, size_t len)
{
    struct ctl h;
    if (len < sizeof h) return -1;
    memcpy(&h, data, sizeof h);
    if (h.version != MESH_VERSION || h.from >= MAX_PEERS) return -1;
    struct peer *p = &k->peers[h.from];
    if (!p->up || p->serial != h.serial) { /* from the dead, or from one whom we shall hear of: it will say it again */
        if (h.serial >= p->serial) p->missed = h.serial;
        return 0;
    }
    switch (h.type) {
    case CTL_ACK:
        if (h.seq > k->batch_seq) return -1;
        p->acknowledged = true;
        if (h.seq > p->acked) p->acked = h.seq;
        barrier_update(k);
        return 0;
    case CTL_RESYNC: send_snapshot(k, h.from); return 0;
    case CTL_SNAPSHOT:
        interest_forget(k, p);
        p->seen = h.base;
        p->synced = true;
        break;
    case CTL_DELTA:
        if (!p->synced) return 0; /* on its way to us before the snapshot that we asked for */
        break;
    default: return -1;
    }
    int rc = apply_records(k, p, data + sizeof h, data + len, h.count);
    if (rc < 0 || h.base != p->seen || p->digest != h.digest) {
        k->stats->interest_drift++;
        p->synced = false;
        send_small(k, h.from, CTL_RESYNC, h.seq);
        return rc < 0 ? rc : 1;
    }
    p->seen = h.seq;
    send_small(k, h.from, CTL_ACK, h.seq);
    return 0;
}

int spl_control(spl_core *k, const char *data, size_t len)
{
    int rc = control(k, data, len);
    end_of_command(k);
    return rc;
}

uint64_t spl_interest_mark(const spl_core *k) { return k->batch_seq + (k->ndirty_accounts != 0); }

int spl_interest_known(const spl_core *k, uint64_t mark)
{
    if (mark > k->batch_seq && !k->ndirty_accounts) mark = k->batch_seq; /* it came and went unannounced */
    return k->min_acked >= mark;
}

int spl_mesh_joined(const spl_core *k)
{
    for (uint64_t left = k->peers_up; left; left &= left - 1) {
        const struct peer *p = &k->peers[__builtin_ctzll(left)];
        if (!p->synced || !p->acknowledged || p->conn->fd < 0) return 0;
    }
    return 1;
}

int spl_mesh_flushed(const spl_core *k)
{
    for (uint64_t left = k->peers_up; left; left &= left - 1) {
        const struct conn *c = k->peers[__builtin_ctzll(left)].conn;
        if (c && output_pending(c)) return 0;
    }
    return 1;
}

/* ---- peers come and go ---- */

void interest_begin(struct core *k, uint32_t peer, bool missed)
{
    barrier_update(k);
    send_snapshot(k, peer);
    if (missed) send_small(k, peer, CTL_RESYNC, 0);
}

void interest_untold(struct core *k, uint32_t peer)
{
    for (struct control **at = &k->control; *at;) {
        struct control *c = *at;
        if (c->peer == peer) {
            *at = c->next;
            free(c);
        } else {
            at = &c->next;
        }
    }
    k->control_last = k->control;
    while (k->control_last && k->control_last->next) k->control_last = k->control_last->next;
}

void interest_free(struct core *k)
{
    for (struct control *c = k->control, *next; c; c = next) next = c->next, free(c);
    free(k->control_taken);
}
