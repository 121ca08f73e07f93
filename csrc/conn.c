/* Connections: their table, their subscriptions by sid, and closing by mark. */
#include "answers.h"
#include "core.h"
#include "import.h"
#include "service.h"
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define LINGER_MS 100 /* how long a refused client may take to read its error */

struct conn *conn_new(struct core *k, int fd, enum kind kind)
{
    if (!k->free_conn) {
        uint32_t cap = k->cap_conns ? k->cap_conns * 2 : 64;
        struct conn **conns = realloc(k->conns, cap * sizeof *conns);
        if (!conns) return NULL;
        k->conns = conns;
        uint32_t *gens = realloc(k->gens, cap * sizeof *gens);
        if (!gens) return NULL;
        k->gens = gens;
        uint32_t *next = realloc(k->next_free, cap * sizeof *next);
        if (!next) return NULL;
        k->next_free = next;
        uint64_t *cids = realloc(k->cids, cap * sizeof *cids);
        if (!cids) return NULL;
        k->cids = cids;
        for (uint32_t i = cap; i-- > k->cap_conns;) {
            conns[i] = NULL, gens[i] = 0, cids[i] = 0, next[i] = k->free_conn;
            k->free_conn = i + 1;
        }
        k->cap_conns = cap;
    }
    struct conn *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    uint32_t i = k->free_conn - 1;
    k->free_conn = k->next_free[i];
    k->conns[i] = c;
    k->nconns++;
    c->idx = i, c->gen = ++k->gens[i];
    c->fd = fd, c->kind = (uint8_t)kind;
    k->cids[i] = 0;
    c->read_size = READ_MIN;
    account_limits(k, c);
    return c;
}

struct conn *conn_known(const struct core *k, uint64_t handle)
{
    uint32_t i = (uint32_t)handle;
    return i < k->cap_conns && k->conns[i] && k->conns[i]->gen == (uint32_t)(handle >> 32) ? k->conns[i] : NULL;
}

struct conn *conn_by_handle(const struct core *k, uint64_t handle)
{
    struct conn *c = conn_known(k, handle);
    return c && !c->closed ? c : NULL;
}

void conn_set_cid(struct core *k, struct conn *c, uint64_t cid) { k->cids[c->idx] = c->cid = cid; }

uint64_t spl_conn_find(const spl_core *k, uint64_t cid)
{
    for (uint32_t i = 0; cid && i < k->cap_conns; i++) {
        const struct conn *c = k->cids[i] == cid ? k->conns[i] : NULL;
        if (c && !c->closed) return conn_handle(c);
    }
    return 0;
}

void conn_set_permissions(struct conn *c, struct permissions *perms)
{
    permissions_hold(perms);
    permissions_release(c->perms);
    c->perms = perms;
    c->last = NULL; /* it remembers a verdict */
}

void conn_ip(const struct conn *c, char out[48])
{
    out[0] = 0;
    if (c->family) inet_ntop(c->family, c->addr, out, 48);
}

void conn_close(struct core *k, struct conn *c, uint32_t reason)
{
    if (c->closed) return;
    c->closed = true;
    c->reason = reason;
    c->next_dying = k->dying;
    k->dying = c;
}

void conn_error(struct core *k, struct conn *c, const char *text, uint32_t reason)
{
    output_write(k, c, "-ERR '", 6);
    output_write(k, c, text, strlen(text));
    output_write(k, c, "'\r\n", 3);
    if (unlikely(k->trace)) trace_out(k, c, "-ERR", text, strlen(text));
    if (reason) conn_close(k, c, reason);
}

void conn_ok(struct core *k, struct conn *c)
{
    output_write(k, c, "+OK\r\n", 5);
    if (unlikely(k->trace)) trace_out(k, c, "OK", "", 0);
}

/* ---- input that waits ---- */

bool conn_keep_input(struct core *k, struct conn *c, const char *p, size_t n)
{
    if (n == 0) {
        free(c->in);
        c->in = NULL, c->in_len = c->in_cap = 0;
        return true;
    }
    size_t want = c->need > n ? c->need : n;
    if (p >= c->in && c->in && p < c->in + c->in_cap) { /* what is left of what already waits */
        memmove(c->in, p, n);
        c->in_len = (uint32_t)n;
        if (want <= c->in_cap) return true;
        char *more = realloc(c->in, want);
        if (!more) goto broke;
        c->in = more, c->in_cap = (uint32_t)want;
        return true;
    }
    char *fresh = malloc(want);
    if (!fresh) goto broke;
    memcpy(fresh, p, n);
    free(c->in);
    c->in = fresh, c->in_len = (uint32_t)n, c->in_cap = (uint32_t)want;
    return true;
broke:
    conn_close(k, c, READ_ERROR);
    return false;
}

void conn_release_hold(struct core *k, struct conn *c, uint8_t hold)
{
    if (!(c->hold & hold)) return;
    c->hold &= (uint8_t)~hold;
    if (c->hold || c->closed) return;
    reactor_runnable(k, c);
}

/* ---- subscriptions by sid: open addressing, linear probes, backward-shift removal ---- */

struct sub *conn_find_sub(struct conn *c, const char *sid, size_t n, uint32_t h)
{
    if (!c->sid_cap) return NULL;
    for (uint32_t i = h & (c->sid_cap - 1); c->sids[i]; i = (i + 1) & (c->sid_cap - 1)) {
        struct sub *s = c->sids[i];
        if (s->sid_hash == h && s->sid_len == n && memcmp(s->sid, sid, n) == 0) return s;
    }
    return NULL;
}

static void sid_put(struct sub **table, uint32_t cap, struct sub *s)
{
    uint32_t i = s->sid_hash & (cap - 1);
    while (table[i]) i = (i + 1) & (cap - 1);
    table[i] = s;
}

int conn_add_sub(struct core *k, struct conn *c, struct sub *s)
{
    if ((c->nsubs + 1) * 4 > c->sid_cap * 3) {
        uint32_t cap = c->sid_cap ? c->sid_cap * 2 : 4;
        struct sub **more = calloc(cap, sizeof *more);
        if (!more) return -1;
        for (uint32_t i = 0; i < c->sid_cap; i++)
            if (c->sids[i]) sid_put(more, cap, c->sids[i]);
        free(c->sids);
        c->sids = more, c->sid_cap = cap;
    }
    s->owner = c;
    if (sublist_insert(c->acc->subs, s) < 0) return -1;
    if (c->acc->streams && shadows_cast(k, c->acc, s) < 0) {
        sublist_remove(c->acc->subs, s);
        mesh_interest_changed(k, c->acc);
        return -1;
    }
    sid_put(c->sids, c->sid_cap, s);
    c->nsubs++;
    c->acc->counts->subs++;
    k->stats->subscriptions++;
    mesh_interest_changed(k, c->acc);
    return 0;
}

static void sid_remove(struct conn *c, struct sub *s)
{
    uint32_t mask = c->sid_cap - 1, i = s->sid_hash & mask;
    while (c->sids[i] != s) i = (i + 1) & mask;
    for (uint32_t j = (i + 1) & mask; c->sids[j]; j = (j + 1) & mask) {
        uint32_t home = c->sids[j]->sid_hash & mask;
        if (((j - home) & mask) >= ((j - i) & mask)) {
            c->sids[i] = c->sids[j];
            i = j;
        }
    }
    c->sids[i] = NULL;
    c->nsubs--;
}

static void sub_unlink(struct core *k, struct account *a, struct sub *s)
{
    if (s->shadows) shadows_drop(k, s);
    sublist_remove(a->subs, s);
    a->counts->subs--;
    k->stats->subscriptions--;
    mesh_interest_changed(k, a);
    if (a->services && a->services->own) service_interest_lost(k, a, s->subject, s->subject_len);
    free(s);
}

void conn_drop_sub(struct core *k, struct conn *c, struct sub *s)
{
    sid_remove(c, s);
    sub_unlink(k, c->acc, s);
}

void conn_drop_subs(struct core *k, struct conn *c)
{
    if (k->ndead) conn_bury_subs(k); /* some may be its own */
    for (uint32_t i = 0; i < c->sid_cap; i++)
        if (c->sids[i]) sub_unlink(k, c->acc, c->sids[i]);
    free(c->sids);
    c->sids = NULL, c->sid_cap = c->nsubs = 0;
}

/* ---- the end ---- */

static void unlink_from(struct conn **list, struct conn *c, size_t offset)
{
    for (struct conn **at = list; *at; at = (struct conn **)((char *)*at + offset))
        if (*at == c) {
            *at = *(struct conn **)((char *)c + offset);
            return;
        }
}

/* Say that this is the end, but keep the socket a moment, reading and throwing away: closing with unread input would reset it, and the reset could
 * destroy the error line before the client has read it. */
static void linger(struct core *k, int fd)
{
    struct conn *l = conn_new(k, fd, KIND_LINGER);
    if (!l) {
        struct conn gone = {.fd = fd};
        reactor_close_fd(k, &gone);
        return;
    }
    shutdown(fd, SHUT_WR); /* the client sees the end at once */
    l->in_watched = true;  /* the descriptor is still in the epoll set, under the old name */
    l->resume_at = k->now + LINGER_MS;
    reactor_watch(k, l);
    timer_set(k, l);
}

/* Is there nobody any more who could read a last word? */
static bool conn_lost(const struct conn *c)
{
    return c->reason == SLOW_CONSUMER_PENDING || c->reason == SLOW_CONSUMER_DEADLINE || c->reason == WRITE_ERROR ||
           c->reason == READ_ERROR;
}

static void conn_hang_up(struct core *k, struct conn *c)
{
    if (c->fd < 0) return;
    if (c->kind == KIND_CLIENT && !conn_lost(c) && !c->eof && !k->draining) {
        linger(k, c->fd);
        c->fd = -1;
    } else {
        reactor_close_fd(k, c);
    }
}

static void conn_unlink(struct core *k, struct conn *c)
{
    if (c->fd >= 0 && c->kind == KIND_CLIENT && !conn_lost(c) && !c->blocked && !c->feed) output_flush(k, c);
    if (c->kind == KIND_CLIENT) {
        monitor_count_out(k, c);
        monitor_closed(k, c);
        if (c->acc) conn_drop_subs(k, c);
        account_leave(c);
        if (c->counted) {
            atomic_fetch_sub(&k->slot->live, 1);
            k->stats->connections--;
        }
        event_push(k, SPL_CLOSED, c, c->reason, NULL, 0);
    }
    if (c->hold & HOLD_BARRIER) unlink_from(&k->at_barrier, c, offsetof(struct conn, next_waiting));
    if (c->hold & HOLD_PEER) unlink_from(&k->peers[c->waits_peer].waiting, c, offsetof(struct conn, next_waiting));
    if (c->runnable) unlink_from(&k->runnable, c, offsetof(struct conn, next_runnable));
    if (c->kind == KIND_PEER) mesh_stream_lost(k, c);
    if (c->hold & HOLD_OWNER) unlink_from(&k->waiting_owner, c, offsetof(struct conn, next_owned));
    timer_drop(k, c);
    if (c->feed && !conn_lost(c)) return; /* its last words are still to be translated: see conn_empty_grave() */
    output_discard(k, c);
    conn_hang_up(k, c);
}

static void conn_free(struct core *k, struct conn *c)
{
    k->conns[c->idx] = NULL;
    k->next_free[c->idx] = k->free_conn;
    k->free_conn = c->idx + 1;
    k->nconns--;
    free(c->in);
    free(c->meta);
    free(c->cookie);
    free(c->about);
    free(c->after_pong);
    free(c->identity);
    free(c->sids);
    responses_free(c);
    permissions_release(c->perms);
    free(c);
}

/* Subscriptions that reached their maximum. Not while a match is being walked. */
void conn_bury_subs(struct core *k)
{
    while (k->ndead) {
        struct sub *s = k->dead[--k->ndead];
        conn_drop_sub(k, s->owner, s);
    }
}

/* Subscriptions that reached their maximum, then connections. What is closed now is freed at the start of the next
 * turn, when its owner has read the events. */
void conn_bury(struct core *k)
{
    conn_bury_subs(k);
    while (k->dying) {
        struct conn *c = k->dying;
        k->dying = c->next_dying;
        conn_unlink(k, c);
        c->next_dying = k->grave;
        k->grave = c;
    }
}

/* The owners of fed connections have said their last words. */
void conn_end_fed(struct core *k)
{
    for (struct conn *c = k->grave; c; c = c->next_dying) {
        if (!c->feed) continue;
        feed_free(k, c);
        output_discard(k, c);
        conn_hang_up(k, c);
    }
}

void conn_empty_grave(struct core *k)
{
    conn_end_fed(k);
    while (k->grave) {
        struct conn *c = k->grave;
        k->grave = c->next_dying;
        if (c->dirty) unlink_from(&k->dirty, c, offsetof(struct conn, next_dirty));
        conn_free(k, c);
    }
}
