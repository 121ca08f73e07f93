/* The mesh: what worker processes tell each other.
 *
 * Two planes. Control messages (interest, snapshots, acknowledgements) are built and understood here but carried by the owner over
 * ZeroMQ, one ordered pipe a direction. Messages travel as records on AF_UNIX streams in the reactor's own epoll set.
 *
 *   control   ctl | record*        record: 1 account id, name      2 interest account, subject, queue, weight
 *   stream    rec | queues | subject SP head body                 (the last three stand as in a client's MSG frame)
 *             behind the names of queues stands of a traced message who collects its steps (msgtrace.h), and of an answer that
 *             is measured who gives it (latency.h)
 *             rec | traced | peers that it was passed on to | steps    what became of a traced message
 *
 * Interest goes out in numbered batches that every peer acknowledges; a connection with a new subscription does not go past its
 * next PUB or PING before all have. At most WINDOW batches are unacknowledged: what changes meanwhile is coalesced. Both sides
 * keep a digest of what was announced; a difference is counted, and repaired by a snapshot. A batch says which one came before it:
 * the gateway, which has no clients, is told of the system account alone, and so gets a batch now and then.
 *
 * Account ids in a record are the receiver's own: it told them to us with its interest.
 */
#include "core.h"
#include "latency.h"
#include "msgtrace.h"
#include "service.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MESH_VERSION 3
#define WINDOW 64
#define NO_ACCOUNT UINT32_MAX
#define RECORD_MAX (1u << 31) /* the largest message has 999,999,999 bytes */

enum { CTL_SNAPSHOT = 1, CTL_DELTA, CTL_ACK, CTL_RESYNC };
enum { REC_HELLO = 1, REC_MESSAGE, REC_STEPS };
enum {
    REC_QUEUE_ONLY = 1,
    REC_HEADERS = 2,
    REC_CROSSED = 4, /* it has crossed accounts */
    REC_TRACED = 8,
    REC_TRACE_ONLY = 16
};

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

struct rec {
    uint32_t len; /* of the whole record */
    uint8_t type, flags, spare, version;
    uint64_t tried; /* of a message for queue groups: the workers that have no member who takes it */
    uint32_t account, subject_len, reply_len, head_len, hdr_len, queues_len, nqueues;
    uint32_t no_echo; /* see struct message */
};
struct rec_traced { /* where the steps are collected */
    uint64_t id;
    uint32_t origin, serial;
};

/* ---- control messages ---- */

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
static void barrier_update(struct core *k)
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

static void forget_interest(struct core *k, struct peer *p)
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
        forget_interest(k, p);
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

static void attach(struct core *k, struct peer *p, int fd, bool watched)
{
    struct conn *c = p->conn;
    c->fd = fd;
    c->in_watched = watched;
    reactor_watch(k, c);
    if (!c->dirty) output_mark(k, c);
}

static int stream_to(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path) return -1;
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void larger_buffers(int fd)
{
    int size = 512 * 1024;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

int spl_mesh_listen(spl_core *k, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path) return -1;
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    struct conn *c;
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 256) < 0 ||
        !(c = conn_new(k, fd, KIND_MESH_LISTENER))) {
        close(fd);
        return -1;
    }
    reactor_watch(k, c);
    return 0;
}

void mesh_accept(struct core *k, struct conn *listener)
{
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) reactor_rest(k, listener);
        return;
    }
    larger_buffers(fd);
    struct conn *c = conn_new(k, fd, KIND_PEER);
    if (!c) {
        close(fd);
        return;
    }
    c->peer = UINT32_MAX;
    reactor_watch(k, c);
}

int spl_peer_up(spl_core *k, uint32_t peer, uint32_t serial, const char *path)
{
    if (peer >= MAX_PEERS || peer == k->cfg.index) return -1;
    struct peer *p = &k->peers[peer];
    if (p->up && p->serial == serial) return 0;
    if (p->up) spl_peer_down(k, peer, p->serial);
    struct conn *c = conn_new(k, -1, KIND_PEER);
    if (!c) return -1;
    c->peer = peer;
    bool missed = p->missed == serial;
    free(p->ours);
    free(p->theirs);
    memset(p, 0, sizeof *p);
    p->conn = c, p->serial = serial, p->up = true;
    if (k->cfg.serial > serial) { /* the younger one calls */
        int fd = stream_to(path);
        if (fd < 0) {
            p->up = false;
            conn_close(k, c, READ_ERROR);
            return -1;
        }
        larger_buffers(fd);
        struct rec hello = {.len = sizeof hello,
                            .type = REC_HELLO,
                            .version = MESH_VERSION,
                            .account = k->cfg.index,
                            .subject_len = k->cfg.serial};
        output_write(k, c, (const char *)&hello, sizeof hello);
        attach(k, p, fd, false);
    }
    k->peers_up |= 1ull << peer;
    barrier_update(k);
    send_snapshot(k, peer);
    if (missed) send_small(k, peer, CTL_RESYNC, 0);
    for (uint32_t i = 0; i < k->cap_conns; i++) { /* it may have called before we knew of it */
        struct conn *w = k->conns[i];
        if (w && !w->closed && w->kind == KIND_PEER && w->peer == UINT32_MAX && w->hold)
            conn_release_hold(k, w, HOLD_START);
    }
    end_of_command(k);
    return 0;
}

static void peer_lost(struct core *k, struct peer *p)
{
    if (!p->up) return;
    p->up = false;
    k->peers_up &= ~(1ull << (p - k->peers));
    forget_interest(k, p);
    while (p->waiting) {
        struct conn *w = p->waiting;
        p->waiting = w->next_waiting;
        w->next_waiting = NULL;
        conn_release_hold(k, w, HOLD_PEER);
    }
    for (struct control **at = &k->control; *at;) {
        struct control *c = *at;
        if (c->peer == (uint32_t)(p - k->peers)) {
            *at = c->next;
            free(c);
        } else {
            at = &c->next;
        }
    }
    k->control_last = k->control;
    while (k->control_last && k->control_last->next) k->control_last = k->control_last->next;
    struct conn *c = p->conn;
    p->conn = NULL;
    if (c) conn_close(k, c, CLIENT_CLOSED);
    msgtrace_peer_lost(k, (uint32_t)(p - k->peers));
    barrier_update(k);
}

void spl_peer_down(spl_core *k, uint32_t peer, uint32_t serial)
{
    if (peer < MAX_PEERS && k->peers[peer].up && k->peers[peer].serial == serial) peer_lost(k, &k->peers[peer]);
    end_of_command(k);
}

void mesh_stream_lost(struct core *k, struct conn *c)
{
    if (c->peer >= MAX_PEERS) return;
    struct peer *p = &k->peers[c->peer];
    if (p->conn != c) return;
    event_push(k, SPL_PEER_LOST, c, c->peer, NULL, 0);
    peer_lost(k, p);
}

void mesh_free(struct core *k)
{
    for (uint32_t i = 0; i < MAX_PEERS; i++) {
        free(k->peers[i].ours);
        free(k->peers[i].theirs);
    }
    for (struct control *c = k->control, *next; c; c = next) next = c->next, free(c);
    free(k->control_taken);
}

/* ---- records ---- */

static inline __attribute__((always_inline)) void record_write(struct core *k, uint32_t peer, const struct message *m,
                                                               struct match_group **queues, uint32_t nqueues,
                                                               bool queue_only, uint64_t tried, const char *more,
                                                               size_t more_len)
{
    struct peer *p = &k->peers[peer];
    uint32_t id = m->acc->id;
    if (!p->up || id >= p->ntheirs || p->theirs[id] == NO_ACCOUNT) return;
    size_t queues_len = more_len;
    for (uint32_t i = 0; i < nqueues; i++) queues_len += 2 + queues[i]->name_len;
    struct rec r = {.type = REC_MESSAGE,
                    .version = MESH_VERSION,
                    .account = p->theirs[id],
                    .subject_len = m->subject_len,
                    .reply_len = m->reply_len,
                    .head_len = m->line_len ? m->line_len : m->head_len,
                    .hdr_len = m->hdr_len,
                    .queues_len = (uint32_t)queues_len,
                    .nqueues = nqueues,
                    .tried = tried,
                    .no_echo = m->from && !m->from->echo ? (uint32_t)m->from->cid : m->no_echo};
    if (queue_only) r.flags |= REC_QUEUE_ONLY;
    if (m->with_headers) r.flags |= REC_HEADERS;
    if (m->way) r.flags |= REC_CROSSED;
    if (unlikely(m->traced != NULL)) r.flags |= m->traced->only ? REC_TRACED | REC_TRACE_ONLY : REC_TRACED;
    size_t n = sizeof r + queues_len + m->subject_len + 1 + m->head_len + m->body_len;
    if (n > RECORD_MAX) return;
    r.len = (uint32_t)n;
    char *w = output_room(k, p->conn, n);
    if (!w) return;
    memcpy(w, &r, sizeof r);
    w += sizeof r;
    for (uint32_t i = 0; i < nqueues; i++) {
        uint16_t len = (uint16_t)queues[i]->name_len;
        memcpy(w, &len, 2);
        memcpy(w + 2, queues[i]->name, len);
        w += 2 + len;
    }
    if (more_len) memcpy(w, more, more_len), w += more_len;
    memcpy(w, m->subject, m->subject_len);
    w += m->subject_len;
    *w++ = ' ';
    if (m->joined) {
        memcpy(w, m->head, m->head_len + m->body_len);
    } else {
        memcpy(w, m->head, m->head_len);
        memcpy(w + m->head_len, m->body, m->body_len);
    }
    p->conn->wp = w + m->head_len + m->body_len;
    k->stats->mesh_out++;
}

static struct rec_traced traced_of(const struct msgtrace *t)
{
    return (struct rec_traced){.id = t->id, .origin = t->origin, .serial = t->serial};
}

/* A message that is traced, or an answer that is measured where it goes to: who gives it, and when. */
static __attribute__((noinline)) void told_write(struct core *k, uint32_t peer, const struct message *m,
                                                 struct match_group **queues, uint32_t nqueues, bool queue_only,
                                                 uint64_t tried)
{
    struct text more;
    text_init(&more);
    struct message n = *m;
    if (m->traced) {
        struct rec_traced traced = traced_of(m->traced);
        text_add(&more, (const char *)&traced, sizeof traced);
        if (more.failed) /* out of memory costs the trace, or the message that is nothing else */
            n.traced = NULL;
        else
            msgtrace_sent(m->traced, peer);
    }
    size_t traced_len = more.len;
    if (latency_tracked(m->subject, m->subject_len)) responder_write(k, m, &more);
    if (!m->traced || n.traced || !m->traced->only)
        record_write(k, peer, &n, queues, nqueues, queue_only, tried, more.p, more.failed ? traced_len : more.len);
    text_free(&more);
}

void mesh_report(struct core *k, const struct msgtrace *t)
{
    struct peer *p = &k->peers[t->origin];
    size_t steps = t->steps.failed ? 0 : t->steps.len, sent = t->sent.failed ? 0 : t->sent.len;
    struct rec_traced traced = traced_of(t);
    struct rec r = {.type = REC_STEPS, .version = MESH_VERSION, .queues_len = (uint32_t)sent};
    size_t n = sizeof r + sizeof traced + sent + steps;
    if (!p->up || p->serial != t->serial || n > RECORD_MAX) return;
    r.len = (uint32_t)n;
    char *w = output_room(k, p->conn, n);
    if (!w) return;
    w = put(put(w, (const char *)&r, sizeof r), (const char *)&traced, sizeof traced);
    p->conn->wp = put(put(w, t->sent.p, sent), t->steps.p, steps);
}

void mesh_send(struct core *k, uint32_t peer, const struct message *m, struct match_group **queues, uint32_t nqueues,
               bool queue_only, uint64_t tried)
{
    if (unlikely(m->traced != NULL || latency_tracked(m->subject, m->subject_len)))
        told_write(k, peer, m, queues, nqueues, queue_only, tried);
    else
        record_write(k, peer, m, queues, nqueues, queue_only, tried, NULL, 0);
}

static size_t hello(struct core *k, struct conn *c, const struct rec *r, const char *buf, size_t n)
{
    if (c->peer != UINT32_MAX || r->account >= MAX_PEERS || r->len != sizeof *r) {
        conn_close(k, c, PARSE_ERROR);
        return 0;
    }
    struct peer *p = &k->peers[r->account];
    if (!p->up || p->serial < r->subject_len) { /* the supervisor has not told us of it yet */
        c->hold |= HOLD_START;
        return 0;
    }
    if (p->serial != r->subject_len || p->conn->fd >= 0) {
        conn_close(k, c, PARSE_ERROR);
        return 0;
    }
    int fd = c->fd;
    c->fd = -1;
    conn_close(k, c, CLIENT_CLOSED);
    attach(k, p, fd, true);
    if (n > sizeof *r && conn_keep_input(k, p->conn, buf + sizeof *r, n - sizeof *r)) reactor_runnable(k, p->conn);
    return n;
}

/* False: this record cannot be right, and the stream is lost. */
static bool check(const struct rec *r)
{
    if (r->len < sizeof *r || r->len > RECORD_MAX || r->version != MESH_VERSION) return false;
    if (r->type == REC_HELLO) return true;
    uint64_t body = r->len - sizeof *r;
    if (r->type == REC_STEPS) return sizeof(struct rec_traced) + (uint64_t)r->queues_len <= body;
    uint64_t parts = (uint64_t)r->queues_len + r->subject_len + 1 + r->head_len + 2;
    return r->type == REC_MESSAGE && parts <= body && (uint64_t)r->reply_len + 2 <= r->head_len &&
           r->hdr_len <= body - parts && (uint64_t)r->nqueues * 2 <= r->queues_len;
}

/* Where the names of queues end; NULL: they do not fit. */
static const char *queues_end(const char *q, uint32_t len, uint32_t count)
{
    const char *end = q + len;
    for (uint32_t i = 0; i < count; i++) {
        uint16_t n;
        if (end - q < 2) return NULL;
        memcpy(&n, q, 2);
        if (end - q - 2 < n) return NULL;
        q += 2 + n;
    }
    return q;
}

static const struct hop crossed; /* the way of a message that a peer has taken from account to account */

/* The beginnings of a traced message's trace here. False: they are none. */
static bool traced_begin(struct msgtrace *t, const struct rec *r, const char *p, size_t n)
{
    struct rec_traced from;
    if (n < sizeof from) return false;
    memcpy(&from, p, sizeof from);
    *t = (struct msgtrace){
        .only = r->flags & REC_TRACE_ONLY, .origin = from.origin, .serial = from.serial, .id = from.id};
    text_init(&t->steps);
    text_init(&t->sent);
    return from.origin < MAX_PEERS;
}

static void report_came(struct core *k, struct conn *c, const struct rec *r, const char *p)
{
    struct rec_traced to;
    memcpy(&to, p, sizeof to);
    const char *sent = p + sizeof to, *steps = sent + r->queues_len, *end = p + (r->len - sizeof *r);
    if (c->peer >= MAX_PEERS || !msgtrace_report(k, c->peer, to.id, sent, r->queues_len, steps, (size_t)(end - steps)))
        conn_close(k, c, PARSE_ERROR);
}

size_t mesh_parse(struct core *k, struct conn *c, const char *buf, size_t n)
{
    size_t at = 0;
    c->need = 0;
    while (!c->closed && !c->hold) {
        struct rec r;
        size_t have = n - at;
        if (have < sizeof r.len) break;
        memcpy(&r.len, buf + at, sizeof r.len);
        if (have < sizeof r) break;
        memcpy(&r, buf + at, sizeof r);
        if (!check(&r)) {
            conn_close(k, c, PARSE_ERROR);
            break;
        }
        if (have < r.len) {
            c->need = r.len;
            break;
        }
        if (r.type == REC_HELLO) {
            size_t used = hello(k, c, &r, buf + at, have);
            return at + used;
        }
        if (unlikely(r.type == REC_STEPS)) {
            report_came(k, c, &r, buf + at + sizeof r);
            at += r.len;
            continue;
        }
        const char *queues = buf + at + sizeof r, *subject = queues + r.queues_len, *head = subject + r.subject_len + 1;
        const char *who = queues_end(queues, r.queues_len, r.nqueues);
        struct responder responder;
        struct msgtrace traced;
        bool whole = true;
        if (unlikely(who && r.flags & REC_TRACED)) {
            whole = traced_begin(&traced, &r, who, (size_t)(subject - who));
            if (whole) who += sizeof(struct rec_traced);
        }
        struct account *a = account_get(k, r.account);
        if (c->peer >= MAX_PEERS || !a || !who || !whole ||
            (unlikely(who != subject) && !responder_read(&responder, who, (size_t)(subject - who)))) {
            conn_close(k, c, PARSE_ERROR);
            break;
        }
        size_t body_len = r.len - sizeof r - r.queues_len - r.subject_len - 1 - r.head_len;
        struct message m = {.acc = a,
                            .subject = subject,
                            .subject_len = r.subject_len,
                            .reply = head,
                            .reply_len = r.reply_len,
                            .head = head,
                            .head_len = r.head_len,
                            .body = head + r.head_len,
                            .body_len = body_len,
                            .payload = head + r.head_len,
                            .hdr_len = r.hdr_len,
                            .total = body_len - 2,
                            .with_headers = r.flags & REC_HEADERS,
                            .way = r.flags & REC_CROSSED ? &crossed : NULL,
                            .responder = who == subject ? NULL : &responder,
                            .traced = r.flags & REC_TRACED ? &traced : NULL,
                            .no_echo = r.no_echo,
                            .joined = true};
        k->stats->mesh_in++;
        deliver_from_peer(k, &m, queues, r.nqueues, r.flags & REC_QUEUE_ONLY, r.tried);
        if (unlikely(m.traced != NULL)) msgtrace_finish(k, &traced);
        at += r.len;
        if (unlikely(k->stall_ms)) { /* the producers over there slow down when this stream fills */
            if (c->stalled_ms < 10) {
                c->stalled_ms += k->stall_ms;
                c->hold |= HOLD_STALL;
                c->resume_at = k->now + k->stall_ms;
                k->stats->stalls++;
                timer_set(k, c);
            }
            k->stall_ms = 0;
        }
        if (unlikely(k->full_owner)) feed_wait(k, c);
        k->full_peer =
            NULL; /* forwarding to a full peer never stops us from reading: two such workers would stop for ever */
    }
    return at;
}
