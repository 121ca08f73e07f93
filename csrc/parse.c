/* The client protocol: bytes in, actions out.
 *
 * client_parse() works on any prefix of the stream and returns how much it has consumed; the rest is given again with more
 * behind it. It stops early when the connection is closed or held (`c->hold`). An error depends only on the bytes, never on
 * how they were cut. (Upstream: server/parser.go; the behaviours are client-protocol sections 4 and 4.1.)
 */
#include "bytes.h"
#include "core.h"
#include "import.h"
#include "msgtrace.h"
#include "quote.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS_MAX 4096 /* between a verb and its arguments */
#define ONE_PACKET 1400
#define LATE_PONG_MS 2 /* the clock counts whole milliseconds: this is more than 1 */

enum verb { V_PARTIAL, V_BAD, V_PUB, V_HPUB, V_SUB, V_UNSUB, V_PING, V_PONG, V_CONNECT, V_INFO, V_OK, V_ERR };
struct verb_name {
    const char *text;
    uint8_t len, verb, needs_space;
};
static const struct verb_name verbs[] = {
    {"pub", 3, V_PUB, 1},   {"hpub", 4, V_HPUB, 1}, {"sub", 3, V_SUB, 1},         {"unsub", 5, V_UNSUB, 1},
    {"ping", 4, V_PING, 0}, {"pong", 4, V_PONG, 0}, {"connect", 7, V_CONNECT, 0}, {"info", 4, V_INFO, 0},
    {"+ok", 3, V_OK, 0},    {"-err", 4, V_ERR, 1},
};

struct arg {
    const char *p;
    uint32_t n;
};

static inline bool blank(char ch) { return ch == ' ' || ch == '\t'; }

/* Which verb does this begin with? *len: its length. */
static enum verb verb_of(const char *p, size_t n, size_t *len)
{
    enum verb found = V_BAD;
    for (size_t v = 0; v < sizeof verbs / sizeof *verbs; v++) {
        const struct verb_name *w = &verbs[v];
        size_t i = 0;
        while (i < w->len && i < n && (p[i] | ((p[i] >= 'A' && p[i] <= 'Z') ? 0x20 : 0)) == w->text[i]) i++;
        if (i == w->len) {
            *len = w->len;
            if (!w->needs_space) return w->verb;
            if (i == n) return V_PARTIAL;
            return blank(p[i]) ? (enum verb)w->verb : V_BAD;
        }
        if (i == n) found = V_PARTIAL;
    }
    return found;
}

static inline bool blank_or_cr(char ch) { return blank(ch) || ch == '\r'; }

/* Split at blanks into at most `max` arguments; returns how many there are (max + 1: too many). */
static inline int split_at(const char *p, size_t n, struct arg *args, int max, bool (*gap)(char))
{
    int count = 0;
    size_t i = 0;
    for (;;) {
        while (i < n && gap(p[i])) i++;
        if (i == n) return count;
        if (count == max) return max + 1;
        size_t from = i;
        while (i < n && !gap(p[i])) i++;
        args[count].p = p + from, args[count].n = (uint32_t)(i - from);
        count++;
    }
}

/* A stray CR inside the line separates arguments of SUB and UNSUB, and is part of one in PUB and HPUB. */
static int split(const char *p, size_t n, struct arg *args, int max) { return split_at(p, n, args, max, blank_or_cr); }
static int split_publish(const char *p, size_t n, struct arg *args, int max)
{
    return split_at(p, n, args, max, blank);
}

/* 1 to 9 digits, else -1. */
static int64_t number(const char *p, size_t n)
{
    if (n == 0 || n > 9) return -1;
    int64_t v = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9') return -1;
        v = v * 10 + (p[i] - '0');
    }
    return v;
}

static void violation(struct core *k, struct conn *c) { conn_close(k, c, PROTOCOL_VIOLATION); }

static void unknown_operation(struct core *k, struct conn *c)
{
    event_log(k, c, 0, "Client parser ERROR, unknown protocol operation");
    conn_error(k, c, "Unknown Protocol Operation", PROTOCOL_VIOLATION);
}

static void publish_error(struct core *k, struct conn *c, const char *verb, const char *line, size_t n)
{
    event_log(k, c, 0, "%s Parse Error: \"%.*s\"", verb, (int)(n < 256 ? n : 256), line);
    violation(k, c);
}

/* ---- SUB, UNSUB ---- */

static void subscribe_refused(struct core *k, struct conn *c, const struct arg *subject, const struct arg *queue,
                              const struct arg *sid, const char *why)
{
    size_t n = QUOTED_MAX(subject->n), nq = QUOTED_MAX(queue->n);
    char *name = malloc(n + nq), *text = malloc(128 + n + nq), *group;
    if (!name || !text) {
        free(name);
        free(text);
        conn_close(k, c, READ_ERROR);
        return;
    }
    group = name + n;
    quote(name, n, subject->p, subject->n);
    quote(group, nq, queue->p, queue->n);
    if (queue->n && !*why) {
        sprintf(text, "Permissions Violation for Subscription to %s using queue %s", name, group);
        event_log(k, c, 0, "Subscription Violation - Subject %s, Queue: %s, SID %.*s", name, group, (int)sid->n,
                  sid->p);
    } else {
        sprintf(text, "Permissions Violation for Subscription to %s%s", name, why);
        event_log(k, c, 0, "Subscription Violation - Subject %s, SID %.*s", name, (int)sid->n, sid->p);
    }
    conn_error(k, c, text, 0);
    free(name);
    free(text);
}

static void do_sub(struct core *k, struct conn *c, const char *line, size_t n)
{
    struct arg a[3];
    int count = split(line, n, a, 3);
    if (count < 2 || count > 3) {
        publish_error(k, c, "processSub", line, n);
        return;
    }
    struct arg subject = a[0], queue = count == 3 ? a[1] : (struct arg){a[0].p, 0}, sid = a[count - 1];
    c->last_in = c->last_active = k->now;
    if (k->ndead) conn_bury_subs(k); /* a sid is free again as soon as its subscription has had its last message */
    if (queue.n == 5 && memcmp(queue.p, "_sys_", 5) == 0) {
        subscribe_refused(k, c, &subject, &queue, &sid, "");
        return;
    }
    if (!subject_valid(subject.p, subject.n)) {
        conn_error(k, c, "Invalid Subject", 0);
        return;
    }
    if (k->cfg.max_sub_tokens && subject_tokens(subject.p, subject.n) > k->cfg.max_sub_tokens) {
        subscribe_refused(k, c, &subject, &queue, &sid, ", too many tokens");
        return;
    }
    if (c->perms && !permissions_can_subscribe(c->perms, subject.p, subject.n, queue.p, queue.n)) {
        subscribe_refused(k, c, &subject, &queue, &sid, "");
        return;
    }
    if (c->nsubs >= c->max_subs) {
        if (account_may_log(k, c->acc)) event_log(k, c, 0, "maximum subscriptions exceeded");
        conn_error(k, c, "maximum subscriptions exceeded", 0);
        return;
    }
    uint32_t h = hash32(sid.p, sid.n);
    if (!conn_find_sub(c, sid.p, sid.n, h)) {
        if (sid.n > UINT16_MAX || subject.n > UINT16_MAX || queue.n > UINT16_MAX) {
            violation(k, c);
            return;
        }
        struct sub *s = calloc(1, sizeof *s + subject.n + queue.n + sid.n);
        if (!s) {
            conn_close(k, c, READ_ERROR);
            return;
        }
        s->subject = (char *)(s + 1);
        s->sid = s->subject + subject.n + queue.n;
        s->subject_len = (uint16_t)subject.n, s->queue_len = (uint16_t)queue.n;
        s->sid_len = (uint16_t)sid.n, s->sid_hash = h;
        memcpy(s->subject, subject.p, subject.n);
        memcpy(s->subject + subject.n, queue.p, queue.n);
        memcpy(s->sid, sid.p, sid.n);
        if (c->perms && permissions_needs_filter(c->perms, subject.p, subject.n, queue.p, queue.n))
            s->special = SUB_FILTERED;
        if (conn_add_sub(k, c, s) < 0) {
            free(s);
            conn_close(k, c, READ_ERROR);
            return;
        }
        if (k->peers_up) {
            uint64_t batch = sublist_announced(c->acc->subs, s, k->batch_seq + 1);
            if (batch > c->barrier) c->barrier = batch;
            if (s->shadows && (batch = shadows_announced(k, s)) > c->barrier) c->barrier = batch;
        }
    }
    if (c->verbose) conn_ok(k, c);
}

static void do_unsub(struct core *k, struct conn *c, const char *line, size_t n)
{
    struct arg a[2];
    int count = split(line, n, a, 2);
    if (count < 1 || count > 2) {
        publish_error(k, c, "processUnsub", line, n);
        return;
    }
    c->last_in = c->last_active = k->now;
    struct sub *s = conn_find_sub(c, a[0].p, a[0].n, hash32(a[0].p, a[0].n));
    if (s && !s->dead) {
        int64_t max = count == 2 ? number(a[1].p, a[1].n) : 0;
        if (max > 0 && (uint64_t)max > s->delivered)
            s->max = (uint64_t)max;
        else
            conn_drop_sub(k, c, s);
        if (k->trace && !(max > 0)) event_log(k, c, 2, "<-> [DELSUB %.*s]", (int)a[0].n, a[0].p);
    }
    if (c->verbose) conn_ok(k, c);
}

/* ---- PING, PONG ---- */

/* Does every peer know this connection's newest subscription? */
static inline bool barrier_passed(const struct core *k, struct conn *c)
{
    if (likely(c->barrier <= k->min_acked) || !k->peers_up) return true;
    if (c->barrier > k->batch_seq && !k->ndirty_accounts) /* it was withdrawn before it was ever announced */
        c->barrier = k->batch_seq;
    return c->barrier <= k->min_acked;
}

/* Must this verb wait? */
static inline bool at_barrier(struct core *k, struct conn *c)
{
    if (likely(barrier_passed(k, c))) return false;
    c->hold |= HOLD_BARRIER;
    c->next_waiting = k->at_barrier;
    k->at_barrier = c;
    k->stats->barrier_waits++;
    return true;
}

/* Some client libraries write the PING of a flush before what they still have in a buffer: perhaps a SUB. One process would have
 * handled that SUB by the time the PONG is read; several need a little longer, so the PONG waits for it: until it was there
 * (pongs_now), or if nothing comes, as long as it would take. */
static void pong_later(struct core *k, struct conn *c)
{
    c->pongs_owed++;
    if (c->pong_at) return;
    c->pong_at = k->now + LATE_PONG_MS;
    timer_set(k, c);
}

void client_pongs(struct core *k, struct conn *c)
{
    if (!barrier_passed(k, c)) {
        c->pong_at = k->now + 1;
        return;
    }
    c->pong_at = 0;
    c->pong_soon = c->pong_slow = false;
    while (c->pongs_owed && output_write(k, c, "PONG\r\n", 6)) {
        c->pongs_owed--;
        if (unlikely(k->trace)) trace_out(k, c, "PONG", "", 0);
    }
}

/* Was what followed the PING handled, all of it? It was if it came in one piece small enough for one packet; of a larger one the
 * rest may be on its way. `n`: what was parsed, `all`: to its end. */
static void pongs_now(struct core *k, struct conn *c, size_t n, bool all)
{
    if (n > ONE_PACKET) c->pong_slow = true;
    if (c->pong_slow || !all || c->ping_last || c->skipping || c->hold || c->closed) return;
    if (at_barrier(k, c))
        c->pong_soon = true;
    else
        client_pongs(k, c);
}

static void do_ping(struct core *k, struct conn *c)
{
    c->last_in = k->now;
    if (c->late_pong && !c->after_pong) {
        pong_later(k, c);
        return;
    }
    if (!output_write(k, c, "PONG\r\n", 6)) return;
    if (unlikely(k->trace)) trace_out(k, c, "PONG", "", 0);
    if (!c->connected) return;
    c->ponged = true;
    if (c->after_pong) {
        output_write(k, c, c->after_pong, c->after_pong_len);
        free(c->after_pong);
        c->after_pong = NULL;
    }
}

static void do_pong(struct core *k, struct conn *c)
{
    c->pings_out = 0, c->last_in = k->now;
    if (c->pinged_ns) c->rtt_ns = clock_ns() - c->pinged_ns;
    c->pinged_ns = 0;
}

/* ---- publishing ---- */

/* The message whose control line is line[0..n) and whose payload starts at `body`. Returns false if it was refused for good. */
struct publish {
    struct arg subject, reply, size, hdr_size;
    int64_t total, hdr;
};

static bool publish_args(struct core *k, struct conn *c, const char *line, size_t n, bool with_headers,
                         struct publish *p, const char *body, const char *end)
{
    struct arg a[4];
    int fixed = with_headers ? 3 : 2;
    const char *verb = with_headers ? "processHeaderPub" : "processPub";
    if (with_headers && !(k->cfg.headers && c->headers)) {
        event_log(k, c, 0, "message headers not supported");
        violation(k, c);
        return false;
    }
    int count = split_publish(line, n, a, fixed + 1);
    if (count < fixed || count > fixed + 1) {
        publish_error(k, c, verb, line, n);
        return false;
    }
    p->subject = a[0];
    p->reply = count == fixed + 1 ? a[1] : (struct arg){a[0].p, 0};
    p->size = a[count - 1];
    p->hdr_size = with_headers ? a[count - 2] : (struct arg){a[0].p, 0};
    p->total = number(p->size.p, p->size.n);
    p->hdr = with_headers ? number(p->hdr_size.p, p->hdr_size.n) : 0;
    if (p->total < 0 || p->hdr < 0 || p->hdr > p->total) {
        publish_error(k, c, verb, line, n);
        return false;
    }
    if (p->total > c->max_payload) {
        if (p->hdr) {
            int64_t have = end - body < p->hdr ? end - body : p->hdr;
            struct message m = {.subject = p->subject.p,
                                .subject_len = p->subject.n,
                                .payload = body,
                                .hdr_len = (uint32_t)have,
                                .total = (size_t)p->total};
            msgtrace_too_large(k, c, &m);
        }
        event_log(k, c, 0, "maximum payload exceeded: %lld vs %lld", (long long)p->total, (long long)c->max_payload);
        conn_error(k, c, "Maximum Payload Violation", MAX_PAYLOAD);
        return false;
    }
    return true;
}

static void publish(struct core *k, struct conn *c, const struct publish *p, const char *line_end, const char *body,
                    bool with_headers)
{
    char scratch[64 + 4096], *big = NULL;
    if (c->pedantic && !subject_literal(p->subject.p, p->subject.n)) conn_error(k, c, "Invalid Publish Subject", 0);
    struct message m = {.from = c,
                        .acc = c->acc,
                        .subject = p->subject.p,
                        .subject_len = p->subject.n,
                        .reply = p->reply.p,
                        .reply_len = p->reply.n,
                        .body = body,
                        .body_len = (size_t)p->total + 2,
                        .payload = body,
                        .hdr_len = (uint32_t)p->hdr,
                        .total = (size_t)p->total,
                        .with_headers = with_headers && p->hdr > 0};
    /* Is "[reply ][hdr ]size CRLF" in the input just as it goes out? */
    const char *first = p->reply.n ? p->reply.p : with_headers ? p->hdr_size.p : p->size.p;
    size_t want = (p->reply.n ? p->reply.n + 1 : 0) + (with_headers ? p->hdr_size.n + 1 : 0) + p->size.n + 2;
    bool plain_zero = with_headers && p->hdr == 0;
    if (!plain_zero && (size_t)(body - first) == want && body[-2] == '\r' && line_end == body - 2 &&
        (!p->reply.n || p->reply.p[p->reply.n] == ' ') && (!with_headers || p->hdr_size.p[p->hdr_size.n] == ' ')) {
        m.head = first, m.head_len = (uint32_t)want, m.joined = true;
    } else {
        char *w = scratch;
        if (want > sizeof scratch && !(w = big = malloc(want))) {
            conn_close(k, c, READ_ERROR);
            return;
        }
        m.head = w;
        if (p->reply.n) memcpy(w, p->reply.p, p->reply.n), w += p->reply.n, *w++ = ' ';
        if (m.with_headers) memcpy(w, p->hdr_size.p, p->hdr_size.n), w += p->hdr_size.n, *w++ = ' ';
        memcpy(w, p->size.p, p->size.n), w += p->size.n, *w++ = '\r', *w++ = '\n';
        m.head_len = (uint32_t)(w - m.head);
    }
    if (unlikely(msgtrace_asked(c->acc, body, m.hdr_len)))
        msgtrace_publish(k, c, &m);
    else
        deliver_publish(k, c, &m);
    free(big);
}

/* At most nine digits and CR LF, all of it before `end`; moves *p behind them. */
static inline bool size_line(const char **p, const char *end, size_t *size)
{
    const char *at = *p;
    if (end - at < 11) return false;
    size_t v = 0;
    for (unsigned digit; (digit = (unsigned)(unsigned char)*at - '0') <= 9 && at - *p < 10; at++) v = v * 10 + digit;
    if (at == *p || at - *p > 9 || at[0] != '\r' || at[1] != '\n') return false;
    *size = v, *p = at + 2;
    return true;
}

/* The PUB that clients really send: one blank between arguments, CR LF, and the whole payload is there. Returns how much of the
 * input it was; 0: something about it is not so, and publish_args() shall look at it. */
static inline size_t publish_plain(struct core *k, struct conn *c, const char *p, const char *end)
{
    const char *subject = p + 4, *at, *head;
    size_t n = bytes_token(subject, end), reply = 0, total;
    if (n == 0 || n >= (size_t)(end - subject) || subject[n] != ' ') return 0;
    at = head = subject + n + 1;
    if (!size_line(&at, end, &total)) {
        reply = bytes_token(head, end);
        if (reply == 0 || reply >= (size_t)(end - head) || head[reply] != ' ') return 0;
        at = head + reply + 1;
        if (!size_line(&at, end, &total)) return 0;
    }
    if ((size_t)(at - 2 - subject) > k->cfg.max_control_line) return 0;
    if ((int64_t)total > c->max_payload) return 0;
    if ((size_t)(end - at) < total + 2 || at[total] != '\r' || at[total + 1] != '\n') return 0;
    struct message m = {.from = c,
                        .acc = c->acc,
                        .subject = subject,
                        .subject_len = (uint32_t)n,
                        .reply = head,
                        .reply_len = (uint32_t)reply,
                        .head = head,
                        .head_len = (uint32_t)(at - head),
                        .body = at,
                        .body_len = total + 2,
                        .payload = at,
                        .total = total,
                        .joined = true};
    deliver_publish(k, c, &m);
    return (size_t)(at - p) + total + 2;
}

/* Did delivery find that this producer is too fast for somebody? */
static inline void after_publish(struct core *k, struct conn *c)
{
    if (unlikely(k->stall_ms)) {
        if (c->stalled_ms < 10) { /* at most 10 ms for one read */
            c->stalled_ms += k->stall_ms;
            c->hold |= HOLD_STALL;
            c->resume_at = k->now + k->stall_ms;
            k->stats->stalls++;
            c->stalled++;
            timer_set(k, c);
        }
        k->stall_ms = 0;
    }
    if (unlikely(k->full_peer != NULL)) {
        c->hold |= HOLD_PEER;
        c->waits_peer = (uint32_t)(k->full_peer - k->peers);
        c->next_waiting = k->full_peer->waiting;
        k->full_peer->waiting = c;
        k->full_peer = NULL;
    }
    if (unlikely(k->full_owner)) feed_wait(k, c);
}

/* ---- the loop ---- */

/* The first verb of a client that has to authenticate is not CONNECT. */
static bool first_verb_allowed(struct core *k, struct conn *c)
{
    if (k->no_auth_acc) {
        conn_set_permissions(c, k->no_auth_perms);
        if (!account_bind(k, c, k->no_auth_acc)) return false;
        event_push(k, SPL_GUEST, c, 0, NULL, 0);
        return !c->closed;
    }
    conn_error(k, c, "Authorization Violation", AUTHENTICATION_FAILURE);
    return false;
}

static size_t parse(struct core *k, struct conn *c, const char *buf, size_t n)
{
    const char *p = buf, *end = buf + n;
    c->need = 0;
    while (p < end && !c->closed && !c->hold) {
        if (likely(end - p > 16 && bytes_same(p, "PUB ", 4) && c->open && !c->skipping && !c->pedantic && !k->trace &&
                   (c->barrier <= k->min_acked || !k->peers_up))) {
            size_t used = publish_plain(k, c, p, end);
            if (likely(used)) {
                p += used;
                after_publish(k, c);
                continue;
            }
        }
        if (unlikely(trace_full(k))) {
            reactor_runnable(k, c);
            break;
        }
        if (c->skipping) { /* the rest of a PING, PONG or +OK line may be as long as it likes */
            const char *lf = memchr(p, '\n', (size_t)(end - p));
            if (!lf) return n;
            p = lf + 1;
            c->skipping = false;
            if (unlikely(k->trace))
                trace_in(k, c, c->skip_verb == V_PING ? "PING" : c->skip_verb == V_PONG ? "PONG" : "+OK", "", 0);
            if (c->skip_verb == V_PING) {
                do_ping(k, c);
                c->ping_last = p == end;
            }
            if (c->skip_verb == V_PONG) do_pong(k, c);
            continue;
        }
        if (unlikely(!c->open) && *p != 'C' && *p != 'c' && !first_verb_allowed(k, c)) break;
        size_t vlen = 0;
        enum verb verb;
        verb = verb_of(p, (size_t)(end - p), &vlen);
        if (verb == V_PARTIAL) break;
        if (unlikely(verb == V_BAD)) {
            unknown_operation(k, c);
            break;
        }
        if (verb == V_PING || verb == V_PONG || verb == V_OK) {
            if (verb == V_PING && at_barrier(k, c)) break;
            c->skipping = true, c->skip_verb = (uint8_t)verb;
            p += vlen;
            continue;
        }
        const char *args = p + vlen;
        while (args < end && blank(*args)) args++;
        if (unlikely(args - p > BLANKS_MAX)) { /* endless ones would be held for ever */
            unknown_operation(k, c);
            break;
        }
        const char *lf = memchr(args, '\n', (size_t)(end - args));
        const char *line_end = lf ? lf : end;
        if (line_end > args && line_end[-1] == '\r') line_end--;
        if (unlikely((size_t)(line_end - args) > k->cfg.max_control_line)) {
            event_log(k, c, 0, "maximum control line exceeded");
            conn_error(k, c, "maximum control line exceeded", MAX_CONTROL_LINE);
            break;
        }
        if (!lf) break;
        size_t len = (size_t)(line_end - args);
        const char *next = lf + 1;
        if (verb == V_PUB || verb == V_HPUB) {
            struct publish pub;
            if (!publish_args(k, c, args, len, verb == V_HPUB, &pub, next, end)) break;
            if (at_barrier(k, c)) break;
            size_t have = (size_t)(end - next);
            if (have < (size_t)pub.total + 2) {
                bool wrong = have == (size_t)pub.total + 1 && next[pub.total] != '\r';
                if (wrong)
                    unknown_operation(k, c);
                else
                    c->need = (uint32_t)((size_t)(next - p) + (size_t)pub.total + 2);
                break;
            }
            if (unlikely(next[pub.total] != '\r' || next[pub.total + 1] != '\n')) {
                unknown_operation(k, c);
                break;
            }
            if (unlikely(k->trace)) trace_in(k, c, verb == V_PUB ? "PUB" : "HPUB", args, len);
            publish(k, c, &pub, line_end, next, verb == V_HPUB);
            p = next + pub.total + 2;
            after_publish(k, c);
            continue;
        }
        if (unlikely(k->trace) && verb != V_CONNECT)
            trace_in(k, c,
                     verb == V_SUB     ? "SUB"
                     : verb == V_UNSUB ? "UNSUB"
                     : verb == V_INFO  ? "INFO"
                                       : "-ERR",
                     args, len);
        switch (verb) {
        case V_SUB: do_sub(k, c, args, len); break;
        case V_UNSUB: do_unsub(k, c, args, len); break;
        case V_CONNECT:
            if (len == 0) {
                violation(k, c);
                break;
            }
            c->hold |= HOLD_CONNECT;
            c->auth_at = 0; /* it has done its part in time: a slow password hash is ours */
            event_push(k, SPL_CONNECT, c, 0, args, len);
            break;
        case V_INFO: /* nothing in it concerns us, but it must be JSON, and that is for the owner to say */
            c->hold |= HOLD_CONNECT;
            event_push(k, SPL_INFO, c, 0, args, len);
            break;
        case V_ERR: conn_close(k, c, PARSE_ERROR); break;
        default: break;
        }
        p = next;
    }
    return (size_t)(p - buf);
}

size_t client_parse(struct core *k, struct conn *c, const char *buf, size_t n)
{
    uint64_t msgs = c->in_msgs, bytes = c->in_bytes;
    c->ping_last = false;
    size_t used = parse(k, c, buf, n);
    if (unlikely(c->pongs_owed)) pongs_now(k, c, n, used == n);
    if (c->in_msgs != msgs) {
        c->last_in = c->last_active = k->now;
        c->acc->counts->in_msgs += c->in_msgs - msgs, c->acc->counts->in_bytes += c->in_bytes - bytes;
        k->stats->in_msgs += c->in_msgs - msgs, k->stats->in_bytes += c->in_bytes - bytes;
    }
    return used;
}
