/* Timers: one binary heap over connections, keyed by each one's earliest deadline, behind one timerfd.
 *
 * A deadline that moves into the future is not moved in the heap: the entry fires early, finds nothing due and is
 * put back. Re-arming on every message therefore costs a store.
 */
#include "core.h"
#include "msgtrace.h"
#include "service.h"
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>

static void place(struct core *k, uint32_t pos, struct conn *c)
{
    k->heap[pos - 1] = c;
    c->heap_pos = pos;
}

static void sift_up(struct core *k, uint32_t pos, struct conn *c)
{
    while (pos > 1 && k->heap[pos / 2 - 1]->timer_at > c->timer_at) {
        place(k, pos, k->heap[pos / 2 - 1]);
        pos /= 2;
    }
    place(k, pos, c);
}

static void sift_down(struct core *k, uint32_t pos, struct conn *c)
{
    for (;;) {
        uint32_t kid = pos * 2;
        if (kid > k->nheap) break;
        if (kid < k->nheap && k->heap[kid]->timer_at < k->heap[kid - 1]->timer_at) kid++;
        if (k->heap[kid - 1]->timer_at >= c->timer_at) break;
        place(k, pos, k->heap[kid - 1]);
        pos = kid;
    }
    place(k, pos, c);
}

static uint64_t earliest(const struct conn *c)
{
    uint64_t t = UINT64_MAX;
    if (c->ping_at && c->ping_at < t) t = c->ping_at;
    if (c->auth_at && c->auth_at < t) t = c->auth_at;
    if (c->write_at && c->write_at < t) t = c->write_at;
    if (c->resume_at && c->resume_at < t) t = c->resume_at;
    if (c->pong_at && c->pong_at < t) t = c->pong_at;
    return t;
}

void timer_set(struct core *k, struct conn *c)
{
    uint64_t t = earliest(c);
    if (t == UINT64_MAX) return; /* an entry that is left fires once for nothing */
    if (c->heap_pos) {
        if (t >= c->timer_at) return;
        c->timer_at = t;
        sift_up(k, c->heap_pos, c);
        return;
    }
    if (k->nheap == k->cap_heap) {
        uint32_t cap = k->cap_heap ? k->cap_heap * 2 : 256;
        struct conn **more = realloc(k->heap, cap * sizeof *more);
        if (!more && c->kind == KIND_INTERNAL) { /* it must stay: the next request tries again */
            c->resume_at = 0;
            return;
        }
        if (!more) {
            conn_close(k, c, READ_ERROR); /* a connection without timers could stay for ever */
            return;
        }
        k->heap = more, k->cap_heap = cap;
    }
    c->timer_at = t;
    sift_up(k, ++k->nheap, c);
}

void timer_drop(struct core *k, struct conn *c)
{
    uint32_t pos = c->heap_pos;
    if (!pos) return;
    c->heap_pos = 0;
    struct conn *last = k->heap[--k->nheap];
    if (last == c) return;
    if (pos > 1 && k->heap[pos / 2 - 1]->timer_at > last->timer_at)
        sift_up(k, pos, last);
    else
        sift_down(k, pos, last);
}

void conn_ping(struct core *k, struct conn *c)
{
    if (c->pings_out < UINT16_MAX) c->pings_out++;
    c->pinged_ns = clock_ns();
    output_write(k, c, "PING\r\n", 6);
    if (k->trace) trace_out(k, c, "PING", "", 0);
}

static void ping_tick(struct core *k, struct conn *c)
{
    bool first = c->connected && !c->pinged;
    if (k->debug) event_log(k, c, 1, "Client Ping Timer");
    bool recent = c->last_in && k->now - c->last_in < k->cfg.ping_interval;
    c->ping_at = k->now + k->cfg.ping_interval;
    if (recent && !first) return;
    if (c->pings_out + 1u > k->cfg.ping_max) {
        k->stats->stale_connections++;
        conn_error(k, c, "Stale Connection", STALE_CONNECTION);
        return;
    }
    c->pinged = true;
    conn_ping(k, c);
}

static void due(struct core *k, struct conn *c)
{
    if (c->resume_at && c->resume_at <= k->now) {
        c->resume_at = 0;
        if (c->kind == KIND_LINGER) {
            conn_close(k, c, CLIENT_CLOSED);
            return;
        }
        if (c->kind == KIND_INTERNAL) {
            if (k->answers) service_expire(k);
            msgtrace_expire(k);
            return;
        }
        if (c->kind == KIND_LISTENER || c->kind == KIND_MESH_LISTENER) {
            if ((k->accepting || c->kind == KIND_MESH_LISTENER) && !c->in_watched) reactor_watch(k, c);
            return;
        }
        conn_release_hold(k, c, HOLD_STALL);
    }
    if (c->auth_at && c->auth_at <= k->now) {
        c->auth_at = 0;
        conn_error(k, c, "Authentication Timeout", AUTHENTICATION_TIMEOUT);
        return;
    }
    if (c->write_at && c->write_at <= k->now) {
        c->write_at = 0;
        output_deadline(k, c);
        return;
    }
    if (c->pong_at && c->pong_at <= k->now) client_pongs(k, c);
    if (c->ping_at && c->ping_at <= k->now) ping_tick(k, c);
}

void timer_run(struct core *k)
{
    while (k->nheap && k->heap[0]->timer_at <= k->now) {
        struct conn *c = k->heap[0];
        timer_drop(k, c);
        if (c->closed) continue;
        due(k, c);
        if (!c->closed) timer_set(k, c);
    }
}

void timer_soon(struct core *k)
{
    struct itimerspec soon = {.it_value = {.tv_nsec = 1}};
    timerfd_settime(k->timerfd, 0, &soon, NULL);
    k->timer_armed = 1;
}

/* Called last, before the owner waits. What waits for no descriptor must not wait for a deadline either. */
void timer_arm(struct core *k)
{
    if (k->runnable || k->dying) {
        timer_soon(k);
        return;
    }
    uint64_t at = k->nheap ? k->heap[0]->timer_at : 0;
    if (at == k->timer_armed) return;
    k->timer_armed = at;
    struct itimerspec t;
    memset(&t, 0, sizeof t);
    if (at) t.it_value.tv_sec = (time_t)(at / 1000), t.it_value.tv_nsec = (long)(at % 1000) * 1000000;
    timerfd_settime(k->timerfd, TFD_TIMER_ABSTIME, &t, NULL);
}
