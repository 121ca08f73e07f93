/* Fed connections: those whose bytes on the wire are not the protocol itself (TLS, WebSocket).
 *
 * The core keeps all that makes a connection: the socket and its readiness, the parser, holds, limits, output and its
 * accounting, slow consumers, closing. Only the translation is the owner's, once per turn and connection:
 *
 *     socket --spl_receive--> owner --spl_feed--> parser ... output --spl_drain--> owner --spl_send--> socket
 *
 * What the socket does not take stays with the core (`wire`); until that is gone the connection counts as blocked like any
 * other, nothing more is handed out, and its plain output grows towards max_pending. A socket that does take everything
 * must not be called slow because its owner had no turn yet: there the producers wait instead (HOLD_OWNER).
 */
#include "core.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* ---- who has work for the owner ---- */

static void forget(struct conn **list, struct conn *c, size_t offset)
{
    for (struct conn **at = list; *at;) {
        struct feed *f = (*at)->feed;
        struct conn **next = (struct conn **)((char *)f + offset);
        if (*at == c) {
            *at = *next;
            *next = NULL;
            return;
        }
        at = next;
    }
}

void feed_ready(struct core *k, struct conn *c)
{
    if (c->feed->wants_input || c->closed) return;
    c->feed->wants_input = true;
    c->feed->next_input = NULL;
    if (k->fed_input)
        k->fed_input_last->feed->next_input = c;
    else
        k->fed_input = c;
    k->fed_input_last = c;
}

void feed_flush(struct core *k, struct conn *c)
{
    struct feed *f = c->feed;
    output_seal(c);
    output_reopen(c);
    if (f->wants_output || c->closed || c->blocked || !c->queued) return;
    f->wants_output = true;
    f->next_output = k->fed_output;
    k->fed_output = c;
}

static size_t take_list(struct conn **list, uint64_t *conns, size_t max, bool input)
{
    size_t n = 0;
    while (*list && n < max) {
        struct conn *c = *list;
        struct feed *f = c->feed;
        if (input)
            *list = f->next_input, f->next_input = NULL, f->wants_input = false;
        else
            *list = f->next_output, f->next_output = NULL, f->wants_output = false;
        if (!c->closed) conns[n++] = conn_handle(c);
    }
    return n;
}

size_t spl_fed_input(spl_core *k, uint64_t *conns, size_t max) { return take_list(&k->fed_input, conns, max, true); }

size_t spl_fed_output(spl_core *k, uint64_t *conns, size_t max)
{
    k->now = clock_ms();
    if (k->ndirty_accounts) mesh_flush_interest(k);
    output_flush_dirty(k);
    size_t n = take_list(&k->fed_output, conns, max, false);
    if (n) return n;
    conn_end_fed(k);   /* the owner is done: those that were closed are hung up, */
    end_of_command(k); /* and what was fed may have left work for the next turn */
    return 0;
}

/* ---- producers that wait for the owner ---- */

void feed_wait(struct core *k, struct conn *c)
{
    k->full_owner = false;
    if (c->hold & HOLD_OWNER) return;
    c->hold |= HOLD_OWNER;
    c->next_owned = k->waiting_owner;
    k->waiting_owner = c;
}

/* A new turn: the owner has drained what it could. */
void feed_resume(struct core *k)
{
    while (k->waiting_owner) {
        struct conn *c = k->waiting_owner;
        k->waiting_owner = c->next_owned;
        c->next_owned = NULL;
        conn_release_hold(k, c, HOLD_OWNER);
    }
    k->full_owner = false;
}

/* ---- a connection becomes fed, or ceases to be ---- */

/* Also one that has just been closed: its owner says the last words. */
static struct conn *fed(struct core *k, uint64_t handle)
{
    struct conn *c = conn_known(k, handle);
    return c && c->feed && c->fd >= 0 ? c : NULL;
}

static void feed_unlist(struct core *k, struct conn *c)
{
    if (c->feed->wants_input) {
        forget(&k->fed_input, c, offsetof(struct feed, next_input));
        k->fed_input_last = k->fed_input;
        while (k->fed_input_last && k->fed_input_last->feed->next_input)
            k->fed_input_last = k->fed_input_last->feed->next_input;
    }
    if (c->feed->wants_output) forget(&k->fed_output, c, offsetof(struct feed, next_output));
    c->feed->wants_input = c->feed->wants_output = false;
}

void feed_free(struct core *k, struct conn *c)
{
    struct feed *f = c->feed;
    feed_unlist(k, c);
    for (struct chunk *h = f->wire, *next; h; h = next) next = h->next, chunk_free(k, h);
    free(f);
    c->feed = NULL;
}

int spl_conn_feed(spl_core *k, uint64_t handle, int on)
{
    struct conn *c = conn_by_handle(k, handle);
    if (!c || c->kind != KIND_CLIENT || !(c->hold & HOLD_START)) return -1;
    if (on && !c->feed) {
        c->feed = calloc(1, sizeof *c->feed);
        if (!c->feed) {
            conn_close(k, c, READ_ERROR);
            end_of_command(k);
            return -1;
        }
    } else if (!on && c->feed) {
        struct feed *f = c->feed;
        feed_unlist(k, c);
        for (struct chunk *h = f->wire; h; h = h->next) /* what was sent in the clear and not taken yet */
            output_write(k, c, h->data + h->off, h->len - h->off);
        feed_free(k, c);
    }
    reactor_watch(k, c);
    return 0;
}

int spl_handshake_allowed(spl_core *k, uint32_t limit)
{
    uint64_t second = clock_ms() / 1000, was = atomic_load(&k->shared->handshakes), is;
    do {
        is = was >> 32 == (second & UINT32_MAX) ? was + 1 : second << 32 | 1;
        if ((uint32_t)is > limit) return 0;
    } while (!atomic_compare_exchange_weak(&k->shared->handshakes, &was, is));
    return 1;
}

/* ---- input ---- */

int64_t spl_receive(spl_core *k, uint64_t handle, char *to, size_t size, int peek)
{
    struct conn *c = conn_by_handle(k, handle);
    if (!c || !c->feed) return -1;
    ssize_t n = recv(c->fd, to, size, MSG_DONTWAIT | (peek ? MSG_PEEK : 0));
    if (n > 0) return n;
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    c->eof = true;
    conn_close(k, c, n == 0 ? CLIENT_CLOSED : READ_ERROR);
    end_of_command(k);
    return -1;
}

/* Held: it waits behind what already does. The core asks for no input of a held connection, so this is what one
 * turn may bring at most. */
static bool keep_behind(struct core *k, struct conn *c, const char *p, size_t n)
{
    if (n > 2 * READ_MAX || c->in_len > k->keep_max + 2 * READ_MAX) return false;
    if (c->in_len + n > c->in_cap) {
        char *more = realloc(c->in, c->in_len + n);
        if (!more) return false;
        c->in = more, c->in_cap = (uint32_t)(c->in_len + n);
    }
    memcpy(c->in + c->in_len, p, n);
    c->in_len += (uint32_t)n;
    return true;
}

static size_t feed_some(struct core *k, struct conn *c, const char *p, size_t n)
{
    if (c->need) { /* a large message is collected in its own buffer */
        size_t some = c->need - c->in_len < n ? c->need - c->in_len : n;
        memcpy(c->in + c->in_len, p, some);
        c->in_len += (uint32_t)some;
        c->last_in = k->now;
        if (c->in_len == c->need) reactor_input(k, c, c->in, c->in_len);
        return some;
    }
    if (!c->in_len) {
        reactor_input(k, c, p, n);
        return n;
    }
    size_t kept = c->in_len, some = n < READ_MAX ? n : READ_MAX;
    if (kept > k->keep_max) {
        conn_close(k, c, READ_ERROR); /* cannot be: see read_conn() */
        return n;
    }
    memcpy(k->rbuf, c->in, kept);
    memcpy(k->rbuf + kept, p, some);
    reactor_input(k, c, k->rbuf, kept + some);
    return some;
}

int spl_feed(spl_core *k, uint64_t handle, const char *p, size_t n)
{
    struct conn *c = conn_by_handle(k, handle);
    if (!c || !c->feed) return -1;
    k->now = clock_ms();
    c->stalled_ms = 0;
    while (n > 0 && !c->closed && !c->hold && !c->runnable) {
        size_t some = feed_some(k, c, p, n);
        p += some, n -= some;
    }
    if (n > 0 && !c->closed && !keep_behind(k, c, p, n)) conn_close(k, c, READ_ERROR);
    return c->closed ? -1 : 0;
}

/* ---- output ---- */

size_t spl_drain(spl_core *k, uint64_t handle, char *to, size_t size)
{
    struct conn *c = fed(k, handle);
    if (!c || c->blocked) return 0;
    return output_take(k, c, to, size);
}

static ssize_t wire_send(struct conn *c, const char *p, size_t n)
{
    ssize_t sent;
    do sent = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
    return sent;
}

static bool wire_keep(struct core *k, struct conn *c, const char *p, size_t n)
{
    struct feed *f = c->feed;
    struct chunk *h = chunk_new(k, n, 0);
    if (!h) return false;
    memcpy(h->data, p, n);
    h->len = (uint32_t)n;
    if (f->wire_last)
        f->wire_last->next = h;
    else
        f->wire = h;
    f->wire_last = h;
    f->wire_bytes += n;
    if (!c->blocked) {
        c->blocked = true;
        reactor_watch(k, c);
    }
    if (!c->write_at) {
        c->write_at = k->now + k->cfg.write_deadline;
        timer_set(k, c);
        timer_arm(k);
    }
    return true;
}

int spl_send(spl_core *k, uint64_t handle, const char *p, size_t n)
{
    struct conn *c = fed(k, handle);
    if (!c || n > UINT32_MAX) return -1;
    if (c->closed) { /* the last words, as far as they go at once */
        if (!c->blocked && wire_send(c, p, n) == (ssize_t)n) return 0;
        c->blocked = true;
        return -1;
    }
    k->now = clock_ms();
    ssize_t sent = c->blocked ? 0 : wire_send(c, p, n);
    if (sent > 0) c->written += (size_t)sent;
    if (sent < 0 || ((size_t)sent < n && !wire_keep(k, c, p + sent, n - (size_t)sent))) {
        conn_close(k, c, WRITE_ERROR);
        end_of_command(k);
        return -1;
    }
    return 0;
}

void feed_write(struct core *k, struct conn *c)
{
    struct feed *f = c->feed;
    while (f->wire) {
        struct chunk *h = f->wire;
        ssize_t sent = wire_send(c, h->data + h->off, h->len - h->off);
        if (sent < 0) {
            conn_close(k, c, WRITE_ERROR);
            return;
        }
        if (sent > 0) c->written += (size_t)sent, c->write_at = k->now + k->cfg.write_deadline;
        h->off += (uint32_t)sent;
        f->wire_bytes -= (size_t)sent;
        if (h->off < h->len) return;
        f->wire = h->next;
        if (!f->wire) f->wire_last = NULL;
        chunk_free(k, h);
    }
    c->write_at = 0;
    c->blocked = false;
    reactor_watch(k, c);
    feed_flush(k, c);
}
