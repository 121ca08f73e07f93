/* Fuzz target: a fed connection sees what one sees whose socket carries the protocol itself, however its owner cuts what it feeds, drains
 * and sends, and however slowly the client reads. The input: how it is cut, then what the client says. */
#include "fake_client.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEARD = 4 << 20 };

struct world {
    const uint8_t *cuts;
    size_t ncuts, cut;
    struct core *k;
    struct conn *c;
    uint64_t handle;
    int fd; /* the client's end */
    char *heard;
    size_t nheard;
    bool closed, ended;
};

static size_t cut(struct world *w, size_t n)
{
    if (!w->ncuts || !n) return n;
    size_t some = w->cuts[w->cut++ % w->ncuts];
    some = some > 200 ? some * 40 : some + 1;
    return some < n ? some : n;
}

static void drain(struct world *w)
{
    char buf[9000];
    size_t n;
    while ((n = spl_drain(w->k, w->handle, buf, cut(w, sizeof buf))))
        for (size_t at = 0, some; at < n; at += some) {
            some = cut(w, n - at);
            for (size_t i = 0; i < some; i++) buf[at + i] = (char)~buf[at + i];
            if (spl_send(w->k, w->handle, buf + at, some) < 0) return;
        }
}

static void feed(struct world *w)
{
    static char buf[8192];
    int64_t n = spl_receive(w->k, w->handle, buf, cut(w, sizeof buf), 0);
    for (int64_t at = 0, some; at < n; at += some) {
        some = (int64_t)cut(w, (size_t)(n - at));
        char *exact = malloc((size_t)some); /* so that the sanitizer sees a read past it */
        if (!exact) abort();
        for (int64_t i = 0; i < some; i++) exact[i] = (char)~buf[at + i];
        int rc = spl_feed(w->k, w->handle, exact, (size_t)some);
        free(exact);
        if (rc < 0) return;
    }
}

static void listen_some(struct world *w, size_t most)
{
    ssize_t n = recv(w->fd, w->heard + w->nheard, most < HEARD - w->nheard ? most : HEARD - w->nheard, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) w->ended = true;
    for (ssize_t i = 0; i < n; i++) w->heard[w->nheard + (size_t)i] = (char)~w->heard[w->nheard + (size_t)i];
    if (n > 0) w->nheard += (size_t)n;
}

/* One turn of the owner's loop. */
static void turn(struct world *w)
{
    struct spl_event *events;
    uint64_t conn;
    int n = spl_turn(w->k, 0, &events);
    for (int i = 0; i < n; i++) {
        if (events[i].type == SPL_CONNECT)
            spl_conn_accept(w->k, events[i].conn, 0, NULL, SPL_ECHO | SPL_HEADERS | SPL_NO_RESPONDERS, "", 0, "", 0);
        if (events[i].type == SPL_INFO) spl_conn_resume(w->k, events[i].conn);
        if (events[i].type == SPL_CLOSED) w->closed = true, drain(w);
    }
    while (spl_fed_input(w->k, &conn, 1)) feed(w);
    while (spl_fed_output(w->k, &conn, 1)) drain(w);
}

static void world_open(struct world *w)
{
    int fds[2], small = 4096;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0) abort();
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    w->k = fake_core();
    w->c = conn_new(w->k, fds[0], KIND_CLIENT);
    w->heard = malloc(HEARD);
    if (!w->c || !w->heard) abort();
    w->fd = fds[1], w->handle = conn_handle(w->c);
    w->c->hold = HOLD_START;
    if (spl_conn_feed(w->k, w->handle, 1) != 0) abort();
    w->c->hold = 0;
    w->c->acc = w->k->accounts[0];
    w->c->acc->counts->conns++;
    w->c->open = w->c->verbose = w->c->pedantic = w->c->echo = true;
    reactor_watch(w->k, w->c);
}

/* Does nothing more come? The client has read all; whatever is left would have to be on its way. */
static bool settled(struct world *w)
{
    struct pollfd ready = {.fd = spl_fd(w->k), .events = POLLIN};
    return poll(&ready, 1, 0) == 0 && !w->k->runnable && !w->k->dying;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2 || n > 4096 || data[0] % 16 >= n) return 0;
    struct world w = {.cuts = data + 1, .ncuts = data[0] % 16};
    data += 1 + w.ncuts, n -= 1 + w.ncuts;
    world_open(&w);
    char *wire = malloc(n + 1);
    if (!wire) abort();
    for (size_t i = 0; i < n; i++) wire[i] = (char)~data[i];
    size_t said = 0;
    for (int quiet = 0; quiet < 4 && !w.ended;) {
        size_t some = cut(&w, n - said), before = w.nheard;
        ssize_t sent = some && !w.closed ? send(w.fd, wire + said, some, MSG_NOSIGNAL) : 0;
        if (sent > 0) said += (size_t)sent;
        turn(&w);
        listen_some(&w, cut(&w, 100000));
        quiet = sent > 0 || w.nheard != before || !settled(&w) ? 0 : quiet + 1;
    }
    struct fake f;
    fake_open(&f);
    fake_feed(&f, (const char *)data, n);
    size_t len;
    char *seen = fake_output(&f, &len);
    /* The last words of a connection that is closed go as far as the socket takes them at once. */
    if (w.closed ? w.nheard > len : w.nheard != len) abort();
    if (memcmp(seen, w.heard, w.nheard) != 0 || f.c->closed != w.closed) abort();
    free(seen);
    fake_close(&f);
    close(w.fd);
    spl_free(w.k);
    free(w.heard);
    free(wire);
    return 0;
}
