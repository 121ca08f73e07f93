/* The reactor: one epoll set, served in turns.
 *
 * A turn reads each ready connection once, parses, delivers, then writes every buffer that was filled. After work it looks again
 * before returning, and may wait a little in epoll itself: going back to the owner's loop for every message costs
 * more than serving it. Anything that needs policy ends the turn.
 */
#include "core.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READY_AT_ONCE 256
#define ACCEPTS_AT_ONCE 32
#define TURN_MS 4 /* the owner's own work waits no longer than about this under load */
#define STALE_BEAT 2000
#define DEFER_ROUNDS 8
#define DEFER_BYTES (16 * 1024)
#define BURST_BYTES READ_MIN
#define BURST_GAP_NS 200000
#define BURST_ENOUGH 32
#define CALM_NS 500000 /* nobody else has sent anything for so long */
#define NAP_NS 20000
#define SPIN_LUCK_MAX 1024
#define SPIN_WORTH 512 /* spinning found something at least every other time */
#define SPIN_RETRY 64  /* else it is tried now and then */

uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void clock_read(struct core *k)
{
    k->now_ns = clock_ns();
    k->now = k->now_ns / 1000000;
}

uint64_t clock_ms(void) { return clock_ns() / 1000000; }

void reactor_watch(struct core *k, struct conn *c)
{
    if (c->fd < 0) return;
    struct epoll_event e = {.data.u64 = conn_handle(c)};
    bool reads = c->kind != KIND_CLIENT && c->kind != KIND_PEER;
    if (reads || !(c->feed ? c->hold & ~HOLD_START : c->hold))
        e.events |= EPOLLIN; /* a fed one has to shake hands first */
    if (c->kind == KIND_LISTENER) e.events |= EPOLLEXCLUSIVE;
    if (c->kind == KIND_WATCH) e.events |= EPOLLET;
    if (c->blocked) e.events |= EPOLLOUT;
    int op = c->in_watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(k->epfd, op, c->fd, &e) < 0 && c->kind == KIND_CLIENT) conn_close(k, c, READ_ERROR);
    c->in_watched = true;
}

void reactor_close_fd(struct core *k, struct conn *c)
{
    (void)k;
    if (c->fd >= 0) close(c->fd); /* which also takes it out of the epoll set */
    c->fd = -1;
}

void reactor_runnable(struct core *k, struct conn *c)
{
    if (c->runnable || c->closed) return;
    c->runnable = true;
    c->next_runnable = k->runnable;
    k->runnable = c;
}

/* ---- new connections ---- */

static void begin_client(struct core *k, int fd, const struct sockaddr_storage *from)
{
    struct conn *c = conn_new(k, fd, KIND_CLIENT);
    if (!c) {
        close(fd);
        return;
    }
    conn_set_cid(k, c, atomic_fetch_add(&k->shared->next_cid, 1) + 1);
    c->verbose = c->pedantic = c->echo = true;
    c->family = (uint8_t)from->ss_family;
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)from;
        memcpy(c->addr, &a->sin_addr, 4);
        c->port = ntohs(a->sin_port);
    } else if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)from;
        static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
        if (memcmp(&a->sin6_addr, mapped, 12) == 0)
            c->family = AF_INET, memcpy(c->addr, (const char *)&a->sin6_addr + 12, 4);
        else
            memcpy(c->addr, &a->sin6_addr, 16);
        c->port = ntohs(a->sin6_port);
    }
    c->hold = HOLD_START;
    c->start_ns = clock_real_ns();
    c->last_active = k->now;
    k->stats->total_connections++;
    k->stats->connections++;
    atomic_fetch_add(&k->slot->live, 1);
    c->counted = true;
    reactor_watch(k, c);
    event_push(k, SPL_ACCEPTED, c, 0, NULL, 0);
}

/* Who has the fewest connections? Ourselves on a tie, so that one worker hands nothing to anybody. Measured against
 * SO_REUSEPORT and plain shared accept: only handing over keeps long-lived connections balanced, at 8 us a connection. */
static uint32_t least_loaded(struct core *k)
{
    uint32_t best = k->cfg.index, fewest = atomic_load(&k->slot->live) + atomic_load(&k->slot->inflight);
    for (uint32_t i = 0; i < k->cfg.workers && i < MAX_PEERS; i++) {
        struct shared_slot *s = &k->shared->slot[i];
        if (i == k->cfg.index || k->handoff[i] < 0 || !atomic_load(&s->accepting)) continue;
        if (k->now > atomic_load(&s->beat_ms) + STALE_BEAT) continue;
        uint32_t load = atomic_load(&s->live) + atomic_load(&s->inflight);
        if (load < fewest) best = i, fewest = load;
    }
    return best;
}

static bool hand_over(struct core *k, uint32_t worker, int fd)
{
    char byte = 0;
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } u;
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = u.room, .msg_controllen = sizeof u.room};
    memset(&u, 0, sizeof u);
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(h), &fd, sizeof fd);
    atomic_fetch_add(&k->shared->slot[worker].inflight, 1);
    if (sendmsg(k->handoff[worker], &m, MSG_DONTWAIT | MSG_NOSIGNAL) == 1) {
        close(fd);
        k->stats->accepted_for_others++;
        return true;
    }
    atomic_fetch_sub(&k->shared->slot[worker].inflight, 1);
    return false;
}

/* No descriptor is left for this listener's next connection: look again when something may have been closed. */
void reactor_rest(struct core *k, struct conn *l)
{
    epoll_ctl(k->epfd, EPOLL_CTL_DEL, l->fd, NULL);
    l->in_watched = false;
    l->resume_at = k->now + 100;
    timer_set(k, l);
}

static void accept_clients(struct core *k, struct conn *l)
{
    for (int i = 0; i < ACCEPTS_AT_ONCE && k->accepting; i++) {
        struct sockaddr_storage from;
        socklen_t n = sizeof from;
        int fd = accept4(l->fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                event_log(k, NULL, 0, "Error accepting connection: %s", strerror(errno));
                reactor_rest(k, l);
            }
            return;
        }
        uint32_t who = k->cfg.workers > 1 ? least_loaded(k) : k->cfg.index;
        if (who == k->cfg.index || !hand_over(k, who, fd)) begin_client(k, fd, &from);
    }
}

static void take_handed(struct core *k, struct conn *h)
{
    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        char byte;
        union {
            char room[CMSG_SPACE(sizeof(int))];
            struct cmsghdr align;
        } u;
        struct iovec v = {&byte, 1};
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = u.room, .msg_controllen = sizeof u.room};
        if (recvmsg(h->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0) return;
        atomic_fetch_sub(&k->slot->inflight, 1);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        if (!c || c->cmsg_type != SCM_RIGHTS) continue; /* the kernel had no descriptor left for us */
        int fd;
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
        struct sockaddr_storage from;
        socklen_t n = sizeof from;
        if (getpeername(fd, (struct sockaddr *)&from, &n) < 0)
            close(fd); /* it left while it waited */
        else
            begin_client(k, fd, &from);
    }
}

/* ---- input ---- */

static size_t parse(struct core *k, struct conn *c, const char *p, size_t n)
{
    return c->kind == KIND_PEER ? mesh_parse(k, c, p, n) : client_parse(k, c, p, n);
}

static void held_input(struct core *k, struct conn *c, const char *p, size_t n)
{
    if (c->closed) return;
    if (c->need && c->need < BIG_MESSAGE) c->need = 0; /* small: goes through the shared buffer again */
    if (!n) c->need = 0;
    conn_keep_input(k, c, p, n);
}

void reactor_input(struct core *k, struct conn *c, const char *p, size_t n)
{
    size_t used = parse(k, c, p, n);
    if (used == n && !c->in) return;
    held_input(k, c, p + used, n - used);
}

static void read_failed(struct core *k, struct conn *c, ssize_t n)
{
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    c->eof = true;
    conn_close(k, c, n == 0 ? CLIENT_CLOSED : READ_ERROR);
}

/* Is this one of many small pieces that come in quick succession, from somebody who does not wait for what we answer? */
static void note_read(struct core *k, struct conn *c, size_t n)
{
    k->pass_bytes += n;
    if (n >= BURST_BYTES || c->written != c->burst_written)
        c->burst = 0;
    else if (k->now_ns - c->burst_ns > BURST_GAP_NS) /* perhaps it was not running */
        c->burst -= c->burst / 8;
    else if (c->burst < BURST_ENOUGH)
        c->burst++;
    c->burst_ns = k->now_ns, c->burst_written = c->written;
    if (c->burst < BURST_ENOUGH) k->urgent_ns = k->now_ns;
}

static void read_conn(struct core *k, struct conn *c)
{
    c->stalled_ms = 0;
    if (c->need) { /* a large message: straight into its own buffer */
        ssize_t n = recv(c->fd, c->in + c->in_len, c->need - c->in_len, MSG_DONTWAIT);
        if (n <= 0) {
            read_failed(k, c, n);
            return;
        }
        c->in_len += (uint32_t)n;
        note_read(k, c, (size_t)n);
        c->last_in = k->now;
        if (c->in_len < c->need) return;
        reactor_input(k, c, c->in, c->in_len);
        return;
    }
    size_t kept = c->in_len;
    if (kept > k->keep_max) { /* cannot be */
        conn_close(k, c, READ_ERROR);
        return;
    }
    ssize_t n = recv(c->fd, k->rbuf + kept, c->read_size, MSG_DONTWAIT);
    if (n <= 0) {
        read_failed(k, c, n);
        return;
    }
    note_read(k, c, (size_t)n);
    if (kept) memcpy(k->rbuf, c->in, kept);
    if ((size_t)n == c->read_size) {
        if (c->read_size < READ_MAX) c->read_size *= 2;
    } else if ((size_t)n < c->read_size / 4 && c->read_size > READ_MIN) {
        c->read_size /= 2;
    }
    reactor_input(k, c, k->rbuf, kept + (size_t)n);
}

/* What was held back may go on. */
static void run_held(struct core *k)
{
    struct conn *list = k->runnable;
    k->runnable = NULL;
    while (list) {
        struct conn *c = list;
        list = c->next_runnable;
        c->runnable = false;
        c->next_runnable = NULL;
        if (c->closed || c->hold) continue;
        if (c->in_len && !c->need) reactor_input(k, c, c->in, c->in_len);
        if (!c->closed && !c->hold) reactor_watch(k, c);
    }
}

static void linger_read(struct core *k, struct conn *c)
{
    ssize_t n;
    int rounds = 8;
    while ((n = recv(c->fd, k->rbuf, READ_MAX, MSG_DONTWAIT)) > 0 && --rounds) continue;
    if (n == 0 || (n < 0 && errno != EAGAIN)) conn_close(k, c, CLIENT_CLOSED);
}

static void serve(struct core *k, struct conn *c, uint32_t ready)
{
    switch (c->kind) {
    case KIND_LISTENER: accept_clients(k, c); return;
    case KIND_HANDOFF: take_handed(k, c); return;
    case KIND_MESH_LISTENER: mesh_accept(k, c); return;
    case KIND_WATCH: k->woken = true; return;
    case KIND_LINGER: linger_read(k, c); return;
    case KIND_TIMER: {
        uint64_t times;
        if (read(c->fd, &times, sizeof times) > 0) k->timer_armed = 0;
        timer_run(k);
        return;
    }
    default: break;
    }
    if (ready & EPOLLOUT) {
        if (c->feed)
            feed_write(k, c);
        else
            output_flush(k, c);
        if (c->closed) return;
    }
    if (ready & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        if (c->runnable) return; /* what waits comes first, at the end of this pass */
        if (c->feed ? c->hold & ~HOLD_START : c->hold) {
            if (ready & (EPOLLHUP | EPOLLERR)) {
                c->eof = true;
                conn_close(k, c, CLIENT_CLOSED);
            } else {
                reactor_watch(k, c); /* input waits in the kernel until the hold is over */
            }
            return;
        }
        if (c->feed)
            feed_ready(k, c);
        else
            read_conn(k, c);
    }
}

/* ---- turns ---- */

static void serve_ready(struct core *k, const struct epoll_event *ready, int n)
{
    for (int i = 0; i < n; i++) {
        struct conn *c = conn_by_handle(k, ready[i].data.u64);
        if (c) serve(k, c, ready[i].events);
    }
}

/* One pass: serve what is ready, and write what came of it. Clients that flush every message send the next ones while we serve
 * the first: as long as little has been read, look again before writing, so that their receivers get them in one piece. */
static void pass(struct core *k, struct epoll_event *ready, int n)
{
    k->pass_bytes = 0;
    serve_ready(k, ready, n);
    for (int i = 0;
         i < DEFER_ROUNDS && k->dirty && k->pass_bytes < DEFER_BYTES && !k->nevents && !k->control && !k->fed_input;
         i++) {
        int more = epoll_wait(k->epfd, ready, READY_AT_ONCE, 0);
        if (more <= 0) break;
        clock_read(k);
        serve_ready(k, ready, more);
    }
    if (k->runnable) run_held(k); /* one round a pass: a held connection must not starve the ready ones */
    if (k->ndirty_accounts) mesh_flush_interest(k);
    output_flush_dirty(k);
    if (k->dying || k->ndead) {
        conn_bury(k);
        if (k->ndirty_accounts) mesh_flush_interest(k);
        output_flush_dirty(k);
    }
}

/* A client that flushes every message could wake us, and we its receivers, for each. When there is nothing else, take a nap: what
 * comes meanwhile is served in one piece. */
static void nap(struct core *k)
{
    if (!k->pass_bytes || k->nevents || k->control || k->runnable || k->now_ns - k->urgent_ns < CALM_NS) return;
    struct timespec t = {.tv_nsec = NAP_NS};
    nanosleep(&t, NULL);
}

/* Wait for events, at first without sleeping: whoever wakes a sleeper pays for it, and so does the sleeper. Only while that has
 * mostly been worth it lately, and giving way to whoever else wants this processor. */
static int wait_ready(struct core *k, struct epoll_event *ready, int wait_ms)
{
    if (wait_ms && k->cfg.spin_us && (k->spin_luck >= SPIN_WORTH || ++k->spin_skipped % SPIN_RETRY == 0)) {
        uint64_t until = clock_ns() + k->cfg.spin_us * 1000ull;
        int n;
        while (!(n = epoll_wait(k->epfd, ready, READY_AT_ONCE, 0)) && clock_ns() < until) sched_yield();
        k->spin_luck = n ? k->spin_luck + (SPIN_LUCK_MAX - k->spin_luck) / 8 : k->spin_luck - k->spin_luck / 8;
        if (n) return n;
    }
    return epoll_wait(k->epfd, ready, READY_AT_ONCE, wait_ms);
}

int spl_turn(spl_core *k, int linger_us, struct spl_event **events)
{
    struct epoll_event ready[READY_AT_ONCE];
    conn_empty_grave(k);
    events_begin(k);
    clock_read(k);
    feed_resume(k);
    uint64_t end = k->now + TURN_MS + (uint64_t)linger_us / 1000;
    int wait_ms = 0;
    for (;;) {
        int n = wait_ready(k, ready, k->runnable ? 0 : wait_ms);
        clock_read(k);
        if (n <= 0 && !k->runnable && !k->dirty && !k->dying) break;
        k->woken = false;
        pass(k, ready, n);
        if (!k->runnable && !k->dying) timer_arm(k);
        if (k->nevents || k->control || k->fed_input || k->fed_output || k->woken || k->now >= end) break;
        nap(k);
        wait_ms = linger_us / 1000;
    }
    timer_arm(k);
    uint32_t count;
    events_turn(k, events, &count);
    return (int)count;
}
