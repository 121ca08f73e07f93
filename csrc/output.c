/* Output buffers: pooled chunks that a connection holds only while it has something to say.
 *
 * Chunks come in four sizes, so that a fan-out to ten thousand idle subscribers does not take ten thousand large ones; a busy
 * connection climbs to the largest at once. What the kernel did not take stays queued, and is what max_pending limits.
 */
#include "core.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

static const uint32_t sizes[4] = {1024, 4096, 16384, CHUNK_MAX};
#define STALL_MS 2
#define STALLS_UNREAD 10
#define POOL_KEEP (4 * 1024 * 1024)

struct chunk *chunk_new(struct core *k, size_t n, int class)
{
    while (class < 3 && sizes[class] < n) class++;
    if (sizes[class] >= n) {
        struct chunk *h = k->pool[class];
        if (h) {
            k->pool[class] = h->next;
            k->npool[class]--;
            h->next = NULL, h->len = h->off = 0;
            return h;
        }
        n = sizes[class];
    }
    struct chunk *h = malloc(sizeof *h + n);
    if (h) h->next = NULL, h->cap = (uint32_t)n, h->len = h->off = 0;
    return h;
}

void chunk_free(struct core *k, struct chunk *h)
{
    for (int i = 0; i < 4; i++)
        if (h->cap == sizes[i] && (size_t)k->npool[i] * sizes[i] < POOL_KEEP) {
            h->next = k->pool[i];
            k->pool[i] = h;
            k->npool[i]++;
            return;
        }
    free(h);
}

void output_pool_free(struct core *k)
{
    for (int i = 0; i < 4; i++)
        for (struct chunk *h = k->pool[i], *next; h; h = next) next = h->next, free(h);
}

/* Account for what was written through c->wp. */
void output_seal(struct conn *c)
{
    struct chunk *h = c->out_last;
    if (!h) return;
    uint32_t len = (uint32_t)(c->wp - h->data);
    c->queued += len - h->len;
    h->len = len;
    c->wend = c->wp; /* nothing may be appended without asking again */
}

size_t output_pending(const struct conn *c)
{
    size_t own = c->queued + (c->out_last ? (size_t)(c->wp - c->out_last->data) - c->out_last->len : 0);
    return own + (c->feed ? c->feed->wire_bytes : 0);
}

static size_t output_chunks(const struct conn *c)
{
    size_t count = 0;
    for (const struct chunk *h = c->out; h; h = h->next) count++;
    return count;
}

/* Is it so far behind that, where producers are not to be paused, messages for it are dropped? */
bool output_lags(const struct core *k, const struct conn *c)
{
    return output_pending(c) > (size_t)k->cfg.max_pending / 4 * 3;
}

void output_discard(struct core *k, struct conn *c)
{
    for (struct chunk *h = c->out, *next; h; h = next) next = h->next, chunk_free(k, h);
    c->out = c->out_last = NULL;
    c->wp = c->wend = NULL;
    c->queued = 0;
}

static void slow_consumer(struct core *k, struct conn *c, uint32_t reason)
{
    k->stats->slow_consumers++;
    if (c->acc) c->acc->counts->slow_consumers++;
    /* nats-server's words, then what it does not say. */
    char why[160];
    if (reason == SLOW_CONSUMER_PENDING)
        snprintf(why, sizeof why, "MaxPending of %lld Exceeded", (long long)k->cfg.max_pending);
    else
        snprintf(why, sizeof why, "WriteDeadline of %s exceeded with %zu chunks of %zu total bytes.",
                 k->cfg.write_deadline_text, output_chunks(c), output_pending(c));
    event_log(k, c, 4,
              "Slow Consumer Detected: %s (account %.100s, %zu bytes pending, %u subscriptions, %llu messages sent)",
              why, c->acc ? c->acc->name : "unknown", output_pending(c), c->nsubs, (unsigned long long)c->out_msgs);
    c->unsent = output_pending(c);
    output_discard(k, c);
    conn_close(k, c, reason);
}

/* A receiver that is close to its limit makes the producer pause, but only as long as it keeps reading: one that reads
 * nothing costs its publishers STALLS_UNREAD pauses once. It may be a reader that has no processor for a moment, perhaps because the
 * publisher takes it: without a pause, a fast publisher fills the rest of the limit in that moment. */
static void output_pressure(struct core *k, struct conn *c)
{
    size_t pending = output_pending(c);
    if (c->kind == KIND_PEER) {
        if (pending > PEER_HIGH) k->full_peer = &k->peers[c->peer];
        return;
    }
    if (c->kind != KIND_CLIENT) return;
    if (c->feed && !c->blocked) { /* it is not behind: its owner has only not had a turn yet */
        if (pending > FED_HIGH) k->full_owner = true;
        return;
    }
    if ((int64_t)pending > k->cfg.max_pending) {
        slow_consumer(k, c, SLOW_CONSUMER_PENDING);
        return;
    }
    if (output_lags(k, c) && !k->cfg.no_stall) {
        if (c->written != c->stall_progress) c->stall_progress = c->written, c->stalls = 0;
        if (c->stalls == STALLS_UNREAD) return;
        c->stalls++;
        if (k->stall_ms < STALL_MS) k->stall_ms = STALL_MS;
    }
}

char *output_more(struct core *k, struct conn *c, size_t n)
{
    if (c->closed) return NULL;
    output_seal(c);
    int class = c->out_last ? 3 : 0;
    struct chunk *h = c->out_last;
    if (h && !c->blocked && c->kind != KIND_LINGER) {
        if (h->cap < CHUNK_MAX && c->out == h) { /* still small: grow it instead of writing little */
            class = h->cap == sizes[0] ? 1 : h->cap == sizes[1] ? 2 : 3;
            struct chunk *bigger = chunk_new(k, h->len - h->off + n, class);
            if (bigger) {
                bigger->len = h->len - h->off;
                memcpy(bigger->data, h->data + h->off, bigger->len);
                chunk_free(k, h);
                c->out = c->out_last = bigger;
                c->wp = bigger->data + bigger->len, c->wend = bigger->data + bigger->cap;
                if (!c->dirty) output_mark(k, c);
                return c->wp;
            }
        }
        if (c->fd >= 0) {
            output_flush(k, c);
            if (c->closed) return NULL;
        }
        class = 3;
    }
    if (c->blocked || c->fd < 0 || c->feed) {
        output_pressure(k, c);
        if (c->closed) return NULL;
    }
    h = chunk_new(k, n, c->out_last ? 3 : class);
    if (!h) {
        output_discard(k, c);
        conn_close(k, c, WRITE_ERROR);
        return NULL;
    }
    if (c->out_last)
        c->out_last->next = h;
    else
        c->out = h;
    c->out_last = h;
    c->wp = h->data, c->wend = h->data + h->cap;
    if (!c->dirty) output_mark(k, c);
    return c->wp;
}

bool output_write(struct core *k, struct conn *c, const char *p, size_t n)
{
    char *w = output_room(k, c, n);
    if (!w) return false;
    memcpy(w, p, n);
    c->wp += n;
    return true;
}

/* The kernel would not take all: keep only as much memory as the rest needs, wait for room. */
static void output_blocked(struct core *k, struct conn *c)
{
    struct chunk *h = c->out;
    if (h == c->out_last && h->len - h->off < 2048 && h->cap > 4096) {
        struct chunk *small = chunk_new(k, h->len - h->off, 0);
        if (small) {
            small->len = h->len - h->off;
            memcpy(small->data, h->data + h->off, small->len);
            chunk_free(k, h);
            c->out = c->out_last = small;
        }
    }
    c->wp = c->out_last->data + c->out_last->len;
    c->wend = c->out_last->data + c->out_last->cap;
    if (!c->blocked) {
        c->blocked = true;
        reactor_watch(k, c);
    }
    if (c->kind == KIND_CLIENT && !c->write_at) {
        c->write_at = k->now + k->cfg.write_deadline;
        timer_set(k, c);
    }
}

static void output_empty(struct core *k, struct conn *c)
{
    if (c->out) chunk_free(k, c->out);
    c->out = c->out_last = NULL;
    c->wp = c->wend = NULL;
    c->queued = 0;
    c->write_at = 0;
    if (c->blocked) {
        c->blocked = false;
        reactor_watch(k, c);
    }
}

static void output_wrote(struct core *k, struct conn *c, size_t n)
{
    c->written += n;
    c->queued -= n;
    if (c->write_at) c->write_at = k->now + k->cfg.write_deadline;
    while (n > 0) {
        struct chunk *h = c->out;
        uint32_t have = h->len - h->off;
        if (n < have || (n == have && !h->next)) {
            h->off += (uint32_t)n;
            break;
        }
        n -= have;
        c->out = h->next;
        chunk_free(k, h);
    }
    if (c->kind == KIND_PEER && c->queued < PEER_LOW) {
        struct peer *p = &k->peers[c->peer];
        while (p->waiting) {
            struct conn *w = p->waiting;
            p->waiting = w->next_waiting;
            w->next_waiting = NULL;
            conn_release_hold(k, w, HOLD_PEER);
        }
    }
}

/* Move what waits, as much as there is room for. */
size_t output_take(struct core *k, struct conn *c, char *to, size_t size)
{
    size_t n = 0;
    output_seal(c);
    while (c->out && n < size) {
        struct chunk *h = c->out;
        size_t some = h->len - h->off < size - n ? h->len - h->off : size - n;
        memcpy(to + n, h->data + h->off, some);
        n += some;
        h->off += (uint32_t)some;
        if (h->off < h->len) break;
        c->out = h->next;
        if (!c->out) c->out_last = NULL, c->wp = c->wend = NULL;
        chunk_free(k, h);
    }
    c->queued -= n;
    output_reopen(c);
    return n;
}

/* After output_seal(): the room that is left may be used. */
void output_reopen(struct conn *c)
{
    if (c->out_last) c->wend = c->out_last->data + c->out_last->cap;
}

void output_flush(struct core *k, struct conn *c)
{
    if (unlikely(c->feed != NULL)) {
        feed_flush(k, c);
        return;
    }
    output_seal(c);
    while (c->queued > 0 && c->fd >= 0) {
        ssize_t n;
        if (c->out == c->out_last) {
            n = send(c->fd, c->out->data + c->out->off, c->out->len - c->out->off, MSG_NOSIGNAL | MSG_DONTWAIT);
        } else {
            struct iovec v[32];
            int nv = 0;
            for (struct chunk *h = c->out; h && nv < 32; h = h->next)
                v[nv].iov_base = h->data + h->off, v[nv++].iov_len = h->len - h->off;
            struct msghdr m = {.msg_iov = v, .msg_iovlen = (size_t)nv};
            n = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        if (n < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN || errno == EWOULDBLOCK) {
                output_blocked(k, c);
                return;
            }
            output_discard(k, c);
            conn_close(k, c, WRITE_ERROR);
            return;
        }
        output_wrote(k, c, (size_t)n);
    }
    if (c->fd >= 0) output_empty(k, c);
}

void output_flush_dirty(struct core *k)
{
    while (k->dirty) {
        struct conn *c = k->dirty;
        k->dirty = c->next_dirty;
        c->dirty = false;
        c->next_dirty = NULL;
        if (c->out_msgs != c->summed_msgs) monitor_count_out(k, c);
        if (c->closed && c->fd < 0) continue;
        if (c->fd < 0) continue; /* a peer that is not connected yet */
        if (c->blocked) {        /* only the kernel's word makes it writable again; the limit still holds */
            output_seal(c);
            output_reopen(c);
            if (!c->closed && c->kind == KIND_CLIENT && (int64_t)output_pending(c) > k->cfg.max_pending)
                slow_consumer(k, c, SLOW_CONSUMER_PENDING);
            continue;
        }
        output_flush(k, c);
        if (!c->closed && c->kind == KIND_CLIENT && !c->feed && (int64_t)c->queued > k->cfg.max_pending)
            slow_consumer(k, c, SLOW_CONSUMER_PENDING);
    }
}

void output_deadline(struct core *k, struct conn *c) { slow_consumer(k, c, SLOW_CONSUMER_DEADLINE); }
