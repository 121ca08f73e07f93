/* Clients over socket pairs: the real reactor, buffers and timers of a core, without a network and without an owner.
 *
 * pair_run() is the owner: it takes turns until nothing is left to do and answers CONNECT. No allocation is made here, so that
 * alloc.h can make the core's fail.
 */
#ifndef PAIR_CLIENT_H
#define PAIR_CLIENT_H
#include "config.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIR_ROOM (4 << 20)

struct pair {
    struct core *k;
    uint64_t handle;
    int fd;      /* the client's end */
    char *heard; /* PAIR_ROOM */
    size_t nheard;
    bool ended;
};

static inline struct core *pair_core(const struct spl_config *cfg)
{
    struct core *k = spl_new(cfg);
    if (!k || spl_account(k, "$G", 2) != 0) abort();
    return k;
}

/* A connected, quiet client with headers; `buffer`: bytes of its sockets' buffers, 0 = as they are. */
static inline struct pair pair_open(struct core *k, int buffer)
{
    int fds[2];
    struct pair p = {.k = k};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0) abort();
    if (buffer) setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    struct conn *c = conn_new(k, fds[0], KIND_CLIENT);
    if (!c || !(p.heard = malloc(PAIR_ROOM))) abort();
    c->acc = k->accounts[0];
    c->acc->counts->conns++;
    c->open = c->connected = c->echo = c->headers = c->no_responders = true;
    reactor_watch(k, c);
    p.fd = fds[1], p.handle = conn_handle(c);
    return p;
}

static inline struct conn *pair_conn(const struct pair *p) { return conn_by_handle(p->k, p->handle); }

static inline void pair_close(struct pair *p)
{
    close(p->fd);
    free(p->heard);
}

/* Take turns until one has nothing to do. */
static inline void pair_run(struct core *k)
{
    for (int quiet = 0, rounds = 0; quiet < 2 && rounds < 10000; rounds++) {
        struct spl_event *events;
        uint64_t before = k->stats->in_bytes + k->stats->mesh_in;
        int n = spl_turn(k, 0, &events);
        for (int i = 0; i < n; i++)
            if (events[i].type == SPL_CONNECT) spl_conn_accept(k, events[i].conn, 0, NULL, SPL_ECHO, "", 0, "", 0);
        quiet = n == 0 && !k->runnable && !k->dying && before == k->stats->in_bytes + k->stats->mesh_in ? quiet + 1 : 0;
    }
}

/* Read what has come. */
static inline void pair_listen(struct pair *p)
{
    ssize_t n = 1;
    while (p->nheard < PAIR_ROOM && (n = recv(p->fd, p->heard + p->nheard, PAIR_ROOM - p->nheard, 0)) > 0)
        p->nheard += (size_t)n;
    if (n == 0 || (n < 0 && errno != EAGAIN)) p->ended = true;
}

/* Take turns until this much was heard; false: it does not come (5 s without anything to do). */
static inline bool pair_wait(struct pair *p, size_t n)
{
    pair_listen(p);
    while (p->nheard < n && !p->ended) {
        struct pollfd ready = {.fd = spl_fd(p->k), .events = POLLIN};
        if (poll(&ready, 1, 5000) <= 0) return false;
        pair_run(p->k);
        pair_listen(p);
    }
    return p->nheard >= n;
}

/* Send, as far as there is room; returns how much was sent. */
static inline size_t pair_send(struct pair *p, const char *text, size_t n)
{
    ssize_t sent = send(p->fd, text, n, MSG_NOSIGNAL);
    return sent < 0 ? 0 : (size_t)sent;
}

static inline void pair_say(struct pair *p, const char *text)
{
    if (pair_send(p, text, strlen(text)) != strlen(text)) abort();
    pair_run(p->k);
}

/* Was exactly this heard since the last time? */
static inline bool pair_heard(struct pair *p, const char *text)
{
    pair_listen(p);
    bool same = p->nheard == strlen(text) && memcmp(p->heard, text, p->nheard) == 0;
    if (!same) fprintf(stderr, "wanted %s\ngot    %.*s\n", text, (int)(p->nheard < 400 ? p->nheard : 400), p->heard);
    p->nheard = 0;
    return same;
}
#endif
