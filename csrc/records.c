/* records.c: the mesh's message plane, see mesh.h. */
#include "latency.h"
#include "mesh.h"
#include "msgtrace.h"
#include "service.h"
#include <string.h>

#define RECORD_MAX (1u << 31) /* the largest message has 999,999,999 bytes */

enum { REC_HELLO = 1, REC_MESSAGE, REC_STEPS };
enum {
    REC_QUEUE_ONLY = 1,
    REC_HEADERS = 2,
    REC_CROSSED = 4, /* it has crossed accounts */
    REC_TRACED = 8,
    REC_TRACE_ONLY = 16
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

void record_hello(struct core *k, struct conn *c)
{
    struct rec hello = {.len = sizeof hello,
                        .type = REC_HELLO,
                        .version = MESH_VERSION,
                        .account = k->cfg.index,
                        .subject_len = k->cfg.serial};
    output_write(k, c, (const char *)&hello, sizeof hello);
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
    peer_attach(k, p, fd, true);
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
