/* mesh.c: peers come and go, see mesh.h. */
#include "mesh.h"
#include "msgtrace.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void peer_attach(struct core *k, struct peer *p, int fd, bool watched)
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
        record_hello(k, c);
        peer_attach(k, p, fd, false);
    }
    k->peers_up |= 1ull << peer;
    interest_begin(k, peer, missed);
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
    interest_forget(k, p);
    while (p->waiting) {
        struct conn *w = p->waiting;
        p->waiting = w->next_waiting;
        w->next_waiting = NULL;
        conn_release_hold(k, w, HOLD_PEER);
    }
    interest_untold(k, (uint32_t)(p - k->peers));
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
    interest_free(k);
}
