/*
 * natsload - a small, exact load generator for servers that speak the NATS
 * client protocol over plain TCP.
 *
 *   gcc -O2 -Wall -pthread -o natsload natsload.c
 *
 *   natsload --port P --mode pub|pubsub|fanout|queue|reqrep|wild|idle|connect
 *            [--host 127.0.0.1] [--pubs N] [--subs N] [--msgs M] [--size S]
 *            [--subject foo] [--subjects K] [--nsubs N] [--threads T]
 *            [--wbuf BYTES | --batch MSGS] [--rbuf BYTES] [--timeout SEC] [--settle MS]
 *            [--window N] [--linger MS] [--warmup N] [--verify] [--sub-port P2] [--pad N]
 *            [--user U --pass P] [--sub-user U2] [--accounts K] [--sub-subject S2]
 *            [--server-pids a,b,c] [--server-cpu N] [--tag TEXT]
 *
 * Modes (M = --msgs is always "per publisher" / "per requester"):
 *   pub     N publishers, nobody listens.  Ends when each got the PONG that
 *           answers a PING sent after its last PUB (all PUBs were processed).
 *   pubsub  publisher i -> subject.i -> subscriber i        (needs pubs==subs)
 *   fanout  all publishers -> one subject -> every subscriber gets everything
 *   queue   like fanout, but all subscribers are in one queue group: each
 *           message must arrive exactly once in total
 *   reqrep  requester i -> subject.i -> responder i -> requester i (pubs pairs;
 *           --subs is ignored), --window (1) requests in flight per requester; with
 *           more than one, each has a reply subject of its own, and what one read
 *           causes goes out in one write
 *   wild    --nsubs subscriptions (1/4 literal, 3/4 with wildcards) spread over
 *           the subscribers, --subjects K distinct published subjects; subject
 *           i matches exactly subscription i (if i < nsubs)
 *   idle    open --subs idle connections, report the server's RSS growth
 *   connect open and close --msgs connections in all, --threads of them at a time,
 *           each with its whole handshake (INFO, CONNECT, PING, PONG)
 *
 * Connections are opened one after the other: subscribers (responders) first, then
 * --pad N connections that do nothing, then publishers (requesters).  A server that
 * hands connections to its processes in turn puts the two ends of a subject into
 * the same process or into different ones, depending on the pad.
 *
 * Accounts: --sub-user lets subscribers and responders log in as another user than
 * publishers and requesters (the password is the same), --sub-subject is what they
 * subscribe to if another name for the same messages leads there.  --accounts K
 * appends a number to every user name: the place within its role, modulo K.
 *
 * Exactness: a run succeeds only if every expected message arrived, none
 * arrived in excess (sockets are read for --linger ms after the end), every
 * frame had the expected size and ended in CRLF, and, with --verify, payloads
 * carry publisher+sequence and arrived in order.  Otherwise: exit status 1.
 *
 * Output: one JSON line on stdout.  Times: wall runs from just before the
 * first PUB until the last expected message (and PONG) has been received.
 * The generator's own CPU is reported so that its cost is visible.
 * server_cpu_s sums /proc/PID/task/<tid>/schedstat run time (ns resolution;
 * falls back to utime+stime); server_utime_s/stime_s are from /proc/PID/stat
 * (10 ms ticks).  server_cpu_us_per_msg divides by published + delivered.
 * --server-cpu N also reports how busy that core was as a whole (user+sys+irq+
 * softirq; useful if the server is pinned alone to that core).
 *
 * Design: T threads (default 1), each with one epoll set and a share of the
 * connections.  A publisher's byte stream is prebuilt once as a cyclic block of
 * PUB frames and written in --wbuf (64 KiB) pieces, or in --batch whole
 * messages a write (1 = a client that flushes every message), so that the generator costs
 * much less than the server.  One write or read per readiness event.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum mode { PUB, PUBSUB, FANOUT, QUEUE, REQREP, WILD, IDLE, CONNECT };
static const char *const mode_names[] = {"pub", "pubsub", "fanout", "queue", "reqrep", "wild", "idle", "connect"};
enum role { R_PUB, R_SUB, R_REQ, R_RESP };

/* ------------------------------------------------------------- options -- */
static struct {
    const char *host, *subject, *sub_subject, *tag, *user, *sub_user, *pass;
    int port, sub_port, pad, accounts, window, pubs, subs, threads, timeout, settle_ms, linger_ms, verify, warmup, server_cpu;
    enum mode mode;
    uint64_t msgs, subjects, nsubs;
    size_t size, wbuf, rbuf, batch;
    int pids[64], npids;
} o = {.host = "127.0.0.1", .subject = "foo", .tag = "", .user = "", .pass = "", .port = 4222, .pubs = 1, .subs = 1, .threads = 1, .window = 1,
       .timeout = 60, .settle_ms = 20, .linger_ms = 20, .warmup = 200, .server_cpu = -1, .mode = PUB,
       .msgs = 100000, .subjects = 1, .size = 128, .wbuf = 65536, .rbuf = 65536};

static void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "natsload: ");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    exit(1);
}
static void *xalloc(size_t n)
{
    void *p = calloc(1, n ? n : 1);
    if (!p) die("out of memory");
    return p;
}
static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

/* ---------------------------------------------------------- connections -- */
struct conn {
    int fd, id, idx;        /* id: over all connections, idx: within its role */
    enum role role;
    int done;
    /* input: unparsed bytes are rbuf[rpos..rlen) */
    char *rbuf;
    size_t rpos, rlen;
    uint64_t got, expect;   /* messages received / to be received */
    uint64_t *next_seq;     /* --verify: next sequence, per publisher */
    /* publisher: stream of `total` bytes, cyclic over block[0..blen) */
    char *block;
    size_t blen;
    uint32_t *moff;         /* offset of message i in the block, i <= bmsgs */
    uint64_t bmsgs, total, pos, patched;
    int pinged, pong_due;   /* pong_due: answer a PING at the next frame boundary */
    /* requester: one prebuilt request; both: bytes that could not be sent yet */
    char *req;
    size_t req_len, req_token; /* where the token of its reply subject is; 0: it never changes */
    uint64_t sent, *sent_at; /* when, of the last o.window requests */
    int corked;
    uint32_t *lat;          /* ns, o.msgs entries */
    char *pend;
    size_t pend_len, pend_cap;
    int want_out;
};

struct thread {
    pthread_t tid;
    int id, ep, nconns;
    struct conn **conns;
};

static struct conn *conns;
static int nconns, npub, nsub;
static struct thread *threads;
static atomic_uint_fast64_t queue_got, end_ns;
static atomic_int left; /* completions still awaited; the run ends at 0 */
static atomic_int failed, finished;
static pthread_barrier_t go;
static uint64_t deadline;
static uint32_t *connect_ns; /* mode connect: duration of each handshake */

static void fail(const char *fmt, ...)
{
    if (atomic_exchange(&failed, 1)) return;
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "natsload: FAIL: ");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
}

/* --------------------------------------------------- blocking handshake -- */
static void send_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k < 0) {
            if (errno == EINTR) continue;
            die("send during set-up: %s", strerror(errno));
        }
        p += k;
        n -= k;
    }
}
/* Reads lines until one starts with `what`; answers PINGs; dies on -ERR.  Bytes
 * are peeked so that nothing behind that line is consumed. */
static void wait_line(int fd, const char *what)
{
    char buf[32768];
    for (;;) {
        ssize_t n = recv(fd, buf, sizeof buf - 1, MSG_PEEK);
        if (n <= 0) die("waiting for %s: %s", what, n ? strerror(errno) : "closed by the server");
        char *nl = memchr(buf, '\n', n);
        if (!nl) {
            if (n == sizeof buf - 1) die("line too long");
            usleep(200);
            continue;
        }
        size_t len = nl + 1 - buf;
        if (recv(fd, buf, len, 0) != (ssize_t)len) die("short read");
        buf[len] = 0;
        if (!strncmp(buf, "-ERR", 4)) die("server says %s", buf);
        if (!strncmp(buf, "PING", 4)) send_all(fd, "PONG\r\n", 6);
        if (!strncmp(buf, what, strlen(what))) return;
    }
}
static int dial(int port, const char *user, int number)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, o.host, &sa.sin_addr) != 1) die("--host must be an IPv4 address");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0) die("socket: %s", strerror(errno));
    struct timeval tv = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (void *)&sa, sizeof sa)) die("connect %s:%d: %s", o.host, port, strerror(errno));
    wait_line(fd, "INFO");
    char hello[512], login[256] = "", suffix[16] = "";
    if (o.accounts) snprintf(suffix, sizeof suffix, "%d", number % o.accounts);
    if (*user) snprintf(login, sizeof login, ",\"user\":\"%.80s%s\",\"pass\":\"%.80s\"", user, suffix, o.pass);
    int n = snprintf(hello, sizeof hello,
        "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"c\",\"version\":\"1\",\"name\":\"natsload\","
        "\"protocol\":1,\"echo\":true,\"headers\":true,\"no_responders\":false%s}\r\nPING\r\n", login);
    send_all(fd, hello, n);
    wait_line(fd, "PONG");
    return fd;
}

/* Subject number i as published, and as subscribed to in mode "wild": a quarter
 * each of literal, '*' near the end, '>' and '*' near the start. */
static int wild_subject(char *b, size_t n, uint64_t i)
{
    return snprintf(b, n, "%s.a%llu.b%llu.c", o.subject, (unsigned long long)i, (unsigned long long)i);
}
static int wild_pattern(char *b, size_t n, uint64_t i)
{
    unsigned long long k = i;
    switch (i % 4) {
    case 0: return wild_subject(b, n, i);
    case 1: return snprintf(b, n, "%s.a%llu.*.c", o.subject, k);
    case 2: return snprintf(b, n, "%s.a%llu.>", o.subject, k);
    default: return snprintf(b, n, "%s.*.b%llu.c", o.subject, k);
    }
}
static int subject_of(char *b, size_t n, const char *base, int pub_idx, uint64_t k)
{
    if (o.mode == WILD) return wild_subject(b, n, k);
    if (o.mode == PUBSUB || o.mode == REQREP)
        return o.subjects > 1 ? snprintf(b, n, "%s.%d.%llu", base, pub_idx, (unsigned long long)k)
                              : snprintf(b, n, "%s.%d", base, pub_idx);
    return o.subjects > 1 ? snprintf(b, n, "%s.%llu", base, (unsigned long long)k) : snprintf(b, n, "%s", base);
}

/* Prebuilds a publisher's cyclic block: at least 4 write buffers, and a whole
 * number of rounds over the K subjects. */
static void build_block(struct conn *c)
{
    char sub[256];
    uint64_t K = o.subjects, n = (4 * o.wbuf) / (o.size + 16) + 1;
    n = (n + K - 1) / K * K;
    c->bmsgs = n;
    c->moff = xalloc((n + 1) * sizeof *c->moff);
    size_t cap = n * (o.size + 128);
    c->block = malloc(cap);
    if (!c->block) die("out of memory");
    for (uint64_t i = 0; i < n; i++) {
        subject_of(sub, sizeof sub, o.subject, c->idx, i % K);
        c->moff[i] = c->blen;
        c->blen += sprintf(c->block + c->blen, "PUB %s %zu\r\n", sub, o.size);
        memset(c->block + c->blen, 'x', o.size);
        c->blen += o.size;
        memcpy(c->block + c->blen, "\r\n", 2);
        c->blen += 2;
    }
    c->moff[n] = c->blen;
    c->total = (o.msgs / n) * c->blen + c->moff[o.msgs % n];
}

static void setup_conn(struct conn *c)
{
    char line[512], sub[256];
    int is_sub = c->role == R_SUB || c->role == R_RESP;
    c->fd = dial(is_sub && o.sub_port ? o.sub_port : o.port, is_sub ? o.sub_user : o.user, c->idx);
    if (o.mode == IDLE) return;
    c->rbuf = malloc(o.rbuf + o.size + 8192);
    if (o.verify) c->next_seq = xalloc(npub * sizeof *c->next_seq);
    switch (c->role) {
    case R_PUB: build_block(c); break;
    case R_SUB:
        if (o.mode == WILD) {
            size_t cap = 1 << 20, n = 0;
            char *b = malloc(cap);
            for (uint64_t i = c->idx; i < o.nsubs; i += nsub) {
                wild_pattern(sub, sizeof sub, i);
                n += sprintf(b + n, "SUB %s %llu\r\n", sub, (unsigned long long)i + 1);
                if (n > cap - 512) send_all(c->fd, b, n), n = 0;
                if (i < o.subjects) /* messages that carry subject i */
                    c->expect += npub * (o.msgs / o.subjects + (i < o.msgs % o.subjects));
            }
            send_all(c->fd, b, n);
            free(b);
        } else {
            if (o.subjects > 1)
                o.mode == PUBSUB ? snprintf(sub, sizeof sub, "%s.%d.*", o.sub_subject, c->idx)
                                 : snprintf(sub, sizeof sub, "%s.*", o.sub_subject);
            else subject_of(sub, sizeof sub, o.sub_subject, c->idx, 0);
            int n = sprintf(line, "SUB %s%s 1\r\n", sub, o.mode == QUEUE ? " workers" : "");
            send_all(c->fd, line, n);
            c->expect = o.mode == PUBSUB ? o.msgs : o.mode == FANOUT ? o.msgs * npub : UINT64_MAX;
        }
        break;
    case R_REQ: {
        int n = sprintf(line, "SUB _INBOX.nl%d.* 1\r\n", c->idx);
        send_all(c->fd, line, n);
        subject_of(sub, sizeof sub, o.subject, c->idx, 0);
        c->req = malloc(o.size + 256);
        c->req_len = sprintf(c->req, "PUB %s _INBOX.nl%d.", sub, c->idx);
        if (o.window > 1) c->req_token = c->req_len;
        c->req_len += sprintf(c->req + c->req_len, "%s %zu\r\n", o.window > 1 ? "00000000" : "1", o.size);
        memset(c->req + c->req_len, 'q', o.size);
        memcpy(c->req + c->req_len + o.size, "\r\n", 2);
        c->req_len += o.size + 2;
        c->expect = o.msgs + o.warmup;
        c->lat = xalloc(o.msgs * sizeof *c->lat);
        c->sent_at = xalloc(o.window * sizeof *c->sent_at);
        break;
    }
    case R_RESP: {
        subject_of(sub, sizeof sub, o.sub_subject, c->idx, 0);
        int n = sprintf(line, "SUB %s 1\r\n", sub);
        send_all(c->fd, line, n);
        c->expect = o.msgs + o.warmup;
        break;
    }
    }
    send_all(c->fd, "PING\r\n", 6);
    wait_line(c->fd, "PONG");
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

/* -------------------------------------------------------------- running -- */
static void set_events(struct thread *t, struct conn *c, int out, int add)
{
    struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c};
    if (!add && c->want_out == out) return;
    c->want_out = out;
    if (epoll_ctl(t->ep, add ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->fd, &e)) die("epoll_ctl: %s", strerror(errno));
}
static void one_done(void)
{
    if (atomic_fetch_sub(&left, 1) == 1) {
        atomic_store(&end_ns, now_ns());
        atomic_store(&finished, 1);
    }
}
static void conn_done(struct conn *c)
{
    if (!c->done) c->done = 1, one_done();
}
/* Small writes (requests, replies, PING/PONG): try at once, keep the rest. */
static void conn_send(struct thread *t, struct conn *c, const char *p, size_t n)
{
    if (!c->pend_len && !c->corked) {
        ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL);
        if (k < 0 && errno != EAGAIN) return fail("send: %s", strerror(errno));
        if (k > 0) p += k, n -= k;
        if (!n) return;
    }
    if (c->pend_len + n > c->pend_cap) c->pend = realloc(c->pend, c->pend_cap = 2 * (c->pend_len + n));
    memcpy(c->pend + c->pend_len, p, n);
    c->pend_len += n;
    if (!c->corked) set_events(t, c, 1, 0);
}
static void put_hex(char *p, uint64_t v, int digits)
{
    while (digits--) p[digits] = "0123456789abcdef"[v & 15], v >>= 4;
}
static uint64_t get_hex(const char *p, int digits)
{
    uint64_t v = 0;
    while (digits--) v = v << 4 | (*p <= '9' ? *p - '0' : *p - 'a' + 10), p++;
    return v;
}
/* --verify: stamp publisher and sequence on every message that the next write
 * touches.  (The block is larger than a write, so nothing unsent is changed.) */
static void stamp(struct conn *c, uint64_t upto)
{
    while (c->patched < o.msgs) {
        uint64_t i = c->patched % c->bmsgs;
        if (c->patched / c->bmsgs * c->blen + c->moff[i] >= upto) break;
        char *payload = c->block + c->moff[i + 1] - 2 - o.size;
        put_hex(payload, c->idx, 4);
        put_hex(payload + 4, c->patched, 12);
        c->patched++;
    }
}
/* Stream position at which the n-th message, counted from the one that holds
 * byte `pos`, ends.  (n = 1: the end of that message itself.) */
static uint64_t boundary(struct conn *c, uint64_t pos, uint64_t n)
{
    uint64_t round = pos / c->blen, off = pos % c->blen, lo = 0, hi = c->bmsgs;
    while (hi - lo > 1) {
        uint64_t mid = (lo + hi) / 2;
        if (c->moff[mid] <= off) lo = mid;
        else hi = mid;
    }
    lo += n;
    return (round + lo / c->bmsgs) * c->blen + c->moff[lo % c->bmsgs];
}
static void pub_write(struct thread *t, struct conn *c)
{
    if (c->pong_due && (!c->pos || c->pos == boundary(c, c->pos - 1, 1))) {
        c->pong_due = 0;
        conn_send(t, c, "PONG\r\n", 6);
        if (c->pend_len) return;
    }
    uint64_t left = c->total - c->pos;
    if (!left) {
        if (!c->pinged) c->pinged = 1, conn_send(t, c, "PING\r\n", 6);
        if (!c->pend_len) set_events(t, c, 0, 0);
        return;
    }
    uint64_t want = o.batch ? boundary(c, c->pos, o.batch) - c->pos : c->pong_due ? boundary(c, c->pos, 1) - c->pos : o.wbuf;
    size_t n = left < want ? left : want, off = c->pos % c->blen, first = c->blen - off;
    if (n > c->blen / 2) n = c->blen / 2;
    if (o.verify) stamp(c, c->pos + n);
    struct iovec v[2] = {{c->block + off, n < first ? n : first}, {c->block, n < first ? 0 : n - first}};
    struct msghdr mh = {.msg_iov = v, .msg_iovlen = v[1].iov_len ? 2 : 1};
    ssize_t k = sendmsg(c->fd, &mh, MSG_NOSIGNAL);
    if (k < 0) {
        if (errno != EAGAIN && errno != EINTR) fail("publisher %d: send: %s", c->idx, strerror(errno));
        return;
    }
    c->pos += k;
    if (c->pos == c->total) pub_write(t, c); /* the closing PING */
}
static void send_request(struct thread *t, struct conn *c)
{
    if (c->req_token) put_hex(c->req + c->req_token, c->sent, 8);
    c->sent_at[c->sent++ % o.window] = now_ns();
    conn_send(t, c, c->req, c->req_len);
}
/* One complete MSG or HMSG: control line [h, he) without CRLF, payload of n bytes behind the headers. */
static void on_msg(struct thread *t, struct conn *c, const char *h, const char *he, const char *payload, size_t n)
{
    if (n != o.size || payload[n] != '\r' || payload[n + 1] != '\n')
        return fail("bad frame on connection %d: %.*s", c->id, (int)(he - h), h);
    c->got++;
    switch (c->role) {
    case R_SUB:
        if (c->got > c->expect) return fail("subscriber %d got too many messages", c->idx);
        if (o.verify) {
            uint64_t p = get_hex(payload, 4), s = get_hex(payload + 4, 12);
            if (p >= (uint64_t)npub || (o.mode == FANOUT || o.mode == PUBSUB ? s != c->next_seq[p] : s < c->next_seq[p]))
                return fail("subscriber %d: sequence %llu of publisher %llu out of order", c->idx,
                            (unsigned long long)s, (unsigned long long)p);
            c->next_seq[p] = s + 1;
        }
        if (c->got == c->expect) conn_done(c);
        break;
    case R_REQ: {
        uint64_t d = now_ns() - c->sent_at[(c->got - 1) % o.window];
        if (c->got > c->expect) return fail("requester %d got too many replies", c->idx);
        if (c->got > (uint64_t)o.warmup) c->lat[c->got - o.warmup - 1] = d > UINT32_MAX ? UINT32_MAX : d;
        if (c->got == c->expect) conn_done(c);
        if (c->sent < c->expect) send_request(t, c);
        break;
    }
    case R_RESP: { /* MSG subject sid reply [headers] size -> reply with the same payload */
        const char *f[6];
        int k = 0;
        for (const char *p = h; p < he && k < 6;) {
            f[k++] = p;
            while (p < he && *p != ' ') p++;
            while (p < he && *p == ' ') p++;
        }
        if (k != (*h == 'H' ? 6 : 5)) return fail("request without reply subject");
        char b[512 + 65536];
        int m = sprintf(b, "PUB %.*s %zu\r\n", (int)(f[4] - 1 - f[3]), f[3], n);
        if (n > 65536) return fail("--size too large for reqrep");
        memcpy(b + m, payload, n + 2);
        conn_send(t, c, b, m + n + 2);
        if (c->got == c->expect) conn_done(c);
        break;
    }
    default: fail("publisher %d got a message", c->idx);
    }
}
/* Consumes every complete protocol line in the buffer. */
static void parse(struct thread *t, struct conn *c)
{
    char *p = c->rbuf + c->rpos, *end = c->rbuf + c->rlen;
    uint64_t before = c->got;
    while (p < end) {
        char *nl = memchr(p, '\n', end - p);
        if (!nl) {
            if (end - p > 8192) fail("line too long on connection %d", c->id);
            break;
        }
        if (*p == 'M' || *p == 'H') {
            size_t n = 0, mul = 1, headers = 0;
            const char *q = nl - 2; /* digits of the size, right to left */
            for (; q > p && *q >= '0' && *q <= '9'; q--, mul *= 10) n += mul * (*q - '0');
            if (nl[-1] != '\r' || *q != ' ' || mul == 1) return fail("bad MSG line");
            if (*p == 'H')
                for (mul = 1, q--; q > p && *q >= '0' && *q <= '9'; q--, mul *= 10) headers += mul * (*q - '0');
            if (headers > n || headers > 4096) return fail("bad HMSG line");
            if ((size_t)(end - (nl + 1)) < n + 2) {
                if (n - headers > o.size) fail("unexpected payload size %zu", n);
                break;
            }
            on_msg(t, c, p, nl - 1, nl + 1 + headers, n - headers);
            if (atomic_load_explicit(&failed, memory_order_relaxed)) return;
            p = nl + 1 + n + 2;
        } else {
            if (!strncmp(p, "PING", 4)) {
                if (c->role == R_PUB && !c->pinged) c->pong_due = 1; /* not inside a PUB */
                else conn_send(t, c, "PONG\r\n", 6);
            } else if (!strncmp(p, "PONG", 4)) {
                if (c->role == R_PUB && c->pinged) conn_done(c);
            } else if (!strncmp(p, "-ERR", 4)) return fail("server says: %.*s", (int)(nl - p), p);
            else if (strncmp(p, "INFO", 4) && strncmp(p, "+OK", 3)) return fail("unknown line: %.*s", (int)(nl - p), p);
            p = nl + 1;
        }
    }
    c->rpos = p - c->rbuf;
    if (c->rpos == c->rlen) c->rpos = c->rlen = 0;
    if (o.mode == QUEUE && c->role == R_SUB && c->got != before) {
        uint64_t all = o.msgs * npub, sum = atomic_fetch_add(&queue_got, c->got - before) + c->got - before;
        if (sum > all) fail("queue group got too many messages");
        if (sum == all) one_done(); /* one completion for the whole group */
    }
}
static void on_write(struct thread *t, struct conn *c);
static void on_read(struct thread *t, struct conn *c)
{
    if (c->rpos && c->rlen) {
        memmove(c->rbuf, c->rbuf + c->rpos, c->rlen - c->rpos);
        c->rlen -= c->rpos;
        c->rpos = 0;
    }
    ssize_t n = recv(c->fd, c->rbuf + c->rlen, o.rbuf + o.size + 8192 - c->rlen, 0);
    if (n == 0) return fail("connection %d closed by the server", c->id);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) fail("recv: %s", strerror(errno));
        return;
    }
    c->rlen += n;
    c->corked = o.window > 1;
    parse(t, c);
    if (!c->corked) return;
    c->corked = 0;
    if (c->pend_len && !c->want_out) on_write(t, c);
    if (c->pend_len) set_events(t, c, 1, 0);
}
static void on_write(struct thread *t, struct conn *c)
{
    if (c->pend_len) {
        ssize_t k = send(c->fd, c->pend, c->pend_len, MSG_NOSIGNAL);
        if (k < 0) {
            if (errno != EAGAIN) fail("send: %s", strerror(errno));
            return;
        }
        memmove(c->pend, c->pend + k, c->pend_len -= k);
        if (c->pend_len) return;
        if (c->role != R_PUB || c->pinged) set_events(t, c, 0, 0);
    }
    if (c->role == R_PUB && !c->pinged) pub_write(t, c);
}
static void *run_thread(void *arg)
{
    struct thread *t = arg;
    struct epoll_event ev[256];
    t->ep = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < t->nconns; i++) set_events(t, t->conns[i], t->conns[i]->role == R_PUB, 1);
    pthread_barrier_wait(&go);
    for (int i = 0; i < t->nconns; i++)
        for (int w = 0; w < o.window && t->conns[i]->role == R_REQ && t->conns[i]->sent < t->conns[i]->expect; w++)
            send_request(t, t->conns[i]);
    uint64_t stop = 0;
    for (;;) {
        int n = epoll_wait(t->ep, ev, 256, 20);
        for (int i = 0; i < n; i++) {
            struct conn *c = ev[i].data.ptr;
            if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_read(t, c);
            if (ev[i].events & EPOLLOUT) on_write(t, c);
        }
        if (atomic_load(&failed)) break;
        if (atomic_load(&finished)) { /* linger: catch messages in excess */
            uint64_t now = now_ns();
            if (!stop) stop = now + o.linger_ms * 1000000ull;
            if (now >= stop) break;
        } else if (n < 256 && now_ns() > deadline) {
            fail("timeout");
            break;
        }
    }
    return NULL;
}

/* One thread of mode "connect": its share of the connections, one at a time. */
static void *run_connects(void *arg)
{
    struct thread *t = arg;
    pthread_barrier_wait(&go);
    for (uint64_t i = t->id; i < o.msgs; i += o.threads) {
        uint64_t from = now_ns();
        int fd = dial(o.port, o.user, i);
        uint64_t d = now_ns() - from;
        connect_ns[i] = d > UINT32_MAX ? UINT32_MAX : d;
        close(fd);
    }
    return NULL;
}

/* ---------------------------------------------------- server accounting -- */
struct usage { double run, ut, st, core; long rss_kb; };
static struct usage server_usage(void)
{
    struct usage u = {0};
    double hz = sysconf(_SC_CLK_TCK);
    for (int i = 0; i < o.npids; i++) {
        char path[300], line[2048];
        unsigned long ut = 0, st = 0;
        snprintf(path, sizeof path, "/proc/%d/stat", o.pids[i]);
        FILE *f = fopen(path, "r");
        if (!f || !fgets(line, sizeof line, f)) die("cannot read %s", path);
        fclose(f);
        sscanf(strrchr(line, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &ut, &st);
        u.ut += ut / hz;
        u.st += st / hz;
        double run = 0;
        snprintf(path, sizeof path, "/proc/%d/task", o.pids[i]);
        DIR *d = opendir(path);
        for (struct dirent *e; d && (e = readdir(d));) {
            if (e->d_name[0] == '.') continue;
            snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", o.pids[i], e->d_name);
            unsigned long long ns = 0;
            if ((f = fopen(path, "r"))) {
                if (fscanf(f, "%llu", &ns) == 1) run += ns / 1e9;
                fclose(f);
            }
        }
        if (d) closedir(d);
        u.run += run > 0 ? run : (ut + st) / hz;
        snprintf(path, sizeof path, "/proc/%d/status", o.pids[i]);
        if ((f = fopen(path, "r"))) {
            long kb;
            while (fgets(line, sizeof line, f))
                if (sscanf(line, "VmRSS: %ld", &kb) == 1) u.rss_kb += kb;
            fclose(f);
        }
    }
    if (o.server_cpu >= 0) {
        char line[512], want[16];
        FILE *f = fopen("/proc/stat", "r");
        int w = snprintf(want, sizeof want, "cpu%d ", o.server_cpu);
        unsigned long us, ni, sy, id, io, hi, si;
        while (f && fgets(line, sizeof line, f))
            if (!strncmp(line, want, w) && sscanf(line + w, "%lu %lu %lu %lu %lu %lu %lu", &us, &ni, &sy, &id, &io, &hi, &si) == 7)
                u.core = (us + ni + sy + hi + si) / hz;
        if (f) fclose(f);
    }
    return u;
}
static double own_cpu(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}
static int cmp_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void parse_args(int argc, char **argv)
{
    static const struct option L[] = {
        {"host", 1, 0, 'h'}, {"port", 1, 0, 'p'}, {"mode", 1, 0, 'm'}, {"pubs", 1, 0, 'P'}, {"subs", 1, 0, 'S'},
        {"msgs", 1, 0, 'M'}, {"size", 1, 0, 's'}, {"subject", 1, 0, 'j'}, {"subjects", 1, 0, 'K'}, {"nsubs", 1, 0, 'N'},
        {"threads", 1, 0, 't'}, {"wbuf", 1, 0, 'w'}, {"batch", 1, 0, 'B'}, {"rbuf", 1, 0, 'r'}, {"timeout", 1, 0, 'T'}, {"settle", 1, 0, 'e'},
        {"linger", 1, 0, 'l'}, {"warmup", 1, 0, 'u'}, {"verify", 0, 0, 'v'}, {"sub-port", 1, 0, 'b'},
        {"pad", 1, 0, 'd'}, {"user", 1, 0, 'U'}, {"pass", 1, 0, 'W'},
        {"sub-user", 1, 0, 'V'}, {"sub-subject", 1, 0, 'J'}, {"accounts", 1, 0, 'a'}, {"window", 1, 0, 'x'},
        {"server-pids", 1, 0, 'i'}, {"server-cpu", 1, 0, 'c'}, {"tag", 1, 0, 'g'}, {0}};
    for (int ch; (ch = getopt_long(argc, argv, "", L, 0)) != -1;) switch (ch) {
        case 'h': o.host = optarg; break;
        case 'p': o.port = atoi(optarg); break;
        case 'm':
            for (o.mode = PUB; o.mode <= CONNECT && strcmp(optarg, mode_names[o.mode]); o.mode++) {}
            if (o.mode > CONNECT) die("unknown mode %s", optarg);
            break;
        case 'P': o.pubs = atoi(optarg); break;
        case 'S': o.subs = atoi(optarg); break;
        case 'M': o.msgs = strtoull(optarg, 0, 10); break;
        case 's': o.size = strtoull(optarg, 0, 10); break;
        case 'j': o.subject = optarg; break;
        case 'K': o.subjects = strtoull(optarg, 0, 10); break;
        case 'N': o.nsubs = strtoull(optarg, 0, 10); break;
        case 't': o.threads = atoi(optarg); break;
        case 'w': o.wbuf = strtoull(optarg, 0, 10); break;
        case 'B': o.batch = strtoull(optarg, 0, 10); break;
        case 'r': o.rbuf = strtoull(optarg, 0, 10); break;
        case 'T': o.timeout = atoi(optarg); break;
        case 'e': o.settle_ms = atoi(optarg); break;
        case 'l': o.linger_ms = atoi(optarg); break;
        case 'u': o.warmup = atoi(optarg); break;
        case 'v': o.verify = 1; break;
        case 'b': o.sub_port = atoi(optarg); break;
        case 'd': o.pad = atoi(optarg); break;
        case 'U': o.user = optarg; break;
        case 'W': o.pass = optarg; break;
        case 'V': o.sub_user = optarg; break;
        case 'J': o.sub_subject = optarg; break;
        case 'a': o.accounts = atoi(optarg); break;
        case 'x': o.window = atoi(optarg); break;
        case 'i':
            for (char *p = strtok(optarg, ","); p && o.npids < 64; p = strtok(0, ",")) o.pids[o.npids++] = atoi(p);
            break;
        case 'c': o.server_cpu = atoi(optarg); break;
        case 'g': o.tag = optarg; break;
        default: exit(2);
        }
    if (!o.sub_user) o.sub_user = o.user;
    if (!o.sub_subject) o.sub_subject = o.subject;
    if (o.mode == PUBSUB && o.pubs != o.subs) die("pubsub needs --pubs equal to --subs");
    if (o.verify && (o.size < 16 || o.mode == REQREP || o.mode >= IDLE)) die("--verify needs --size >= 16 and a publish mode");
    if (o.subjects < 1 || o.threads < 1 || o.pubs < 1 || o.msgs < 1 || o.window < 1 || o.wbuf < 64) die("bad number");
    if (o.mode == WILD && !o.nsubs) o.nsubs = o.subjects;
}

static int connect_main(void)
{
    if ((uint64_t)o.threads > o.msgs) o.threads = o.msgs;
    threads = xalloc(o.threads * sizeof *threads);
    connect_ns = xalloc(o.msgs * sizeof *connect_ns);
    pthread_barrier_init(&go, 0, o.threads + 1);
    for (int i = 0; i < o.threads; i++) {
        threads[i].id = i;
        if (pthread_create(&threads[i].tid, 0, run_connects, &threads[i])) die("pthread_create");
    }
    struct usage before = server_usage();
    uint64_t t0 = now_ns();
    pthread_barrier_wait(&go);
    for (int i = 0; i < o.threads; i++) pthread_join(threads[i].tid, 0);
    double wall = (now_ns() - t0) / 1e9;
    usleep(o.settle_ms * 1000); /* the server closes the last ones */
    struct usage after = server_usage();
    qsort(connect_ns, o.msgs, sizeof *connect_ns, cmp_u32);
    printf("{\"tag\":\"%s\",\"ok\":true,\"mode\":\"connect\",\"conns\":%llu,\"threads\":%d,\"wall_s\":%.4f,\"connects_s\":%.0f,"
           "\"p50_us\":%.1f,\"p99_us\":%.1f,\"server_cpu_us_per_connect\":%.2f}\n",
           o.tag, (unsigned long long)o.msgs, o.threads, wall, o.msgs / wall, connect_ns[o.msgs / 2] / 1e3,
           connect_ns[o.msgs * 99 / 100] / 1e3, (after.run - before.run) * 1e6 / o.msgs);
    return 0;
}

int main(int argc, char **argv)
{
    parse_args(argc, argv);
    if (o.mode == CONNECT) return connect_main();
    npub = o.mode == IDLE ? 0 : o.pubs;
    nsub = o.mode == PUB ? 0 : o.mode == REQREP ? o.pubs : o.subs;
    nconns = npub + nsub;
    if (o.threads > nconns) o.threads = nconns;
    conns = xalloc(nconns * sizeof *conns);
    struct usage before = server_usage(), after;
    long rss_before = before.rss_kb;
    /* Subscribers first: all interest is registered before anything is sent. */
    for (int i = 0; i < nsub; i++) {
        struct conn *c = &conns[npub + i];
        c->id = npub + i, c->idx = i, c->role = o.mode == REQREP ? R_RESP : R_SUB;
        setup_conn(c);
    }
    for (int i = 0; i < o.pad; i++) dial(o.port, o.user, i);
    for (int i = 0; i < npub; i++) {
        struct conn *c = &conns[i];
        c->id = c->idx = i, c->role = o.mode == REQREP ? R_REQ : R_PUB;
        setup_conn(c);
    }
    usleep(o.settle_ms * 1000);
    if (o.mode == IDLE) {
        usleep(500000);
        after = server_usage();
        printf("{\"tag\":\"%s\",\"mode\":\"idle\",\"conns\":%d,\"rss_before_kb\":%ld,\"rss_after_kb\":%ld,\"rss_bytes_per_conn\":%.0f}\n",
               o.tag, nsub, before.rss_kb, after.rss_kb, nsub ? (after.rss_kb - before.rss_kb) * 1024.0 / nsub : 0);
        return 0;
    }
    threads = xalloc(o.threads * sizeof *threads);
    for (int i = 0; i < nconns; i++) {
        struct thread *t = &threads[i % o.threads];
        t->conns = realloc(t->conns, (t->nconns + 1) * sizeof *t->conns);
        t->conns[t->nconns++] = &conns[i];
    }
    int awaited = o.mode == QUEUE; /* all members of the group complete together */
    for (int i = 0; i < nconns; i++)
        awaited += conns[i].role != R_SUB || (o.mode != QUEUE && conns[i].expect > 0);
    atomic_store(&left, awaited);
    pthread_barrier_init(&go, 0, o.threads + 1);
    deadline = now_ns() + o.timeout * 1000000000ull;
    for (int i = 0; i < o.threads; i++) {
        threads[i].id = i;
        if (pthread_create(&threads[i].tid, 0, run_thread, &threads[i])) die("pthread_create");
    }
    before = server_usage();
    double cpu0 = own_cpu();
    uint64_t t0 = now_ns();
    pthread_barrier_wait(&go);
    while (!atomic_load(&finished) && !atomic_load(&failed)) usleep(2000);
    after = server_usage();
    double cpu = own_cpu() - cpu0;
    for (int i = 0; i < o.threads; i++) pthread_join(threads[i].tid, 0);
    uint64_t delivered = 0, qmin = UINT64_MAX, qmax = 0;
    for (int i = 0; i < nconns; i++) {
        struct conn *c = &conns[i];
        delivered += c->got;
        if (c->role == R_SUB) {
            if (c->got < qmin) qmin = c->got;
            if (c->got > qmax) qmax = c->got;
        }
        if (!atomic_load(&failed) && (c->role != R_SUB || o.mode != QUEUE) && c->got < c->expect && c->role != R_PUB)
            fail("connection %d got %llu of %llu", i, (unsigned long long)c->got, (unsigned long long)c->expect);
    }
    if (!atomic_load(&failed) && o.mode == QUEUE && delivered != o.msgs * npub) fail("queue group got %llu", (unsigned long long)delivered);
    double wall = atomic_load(&failed) ? (now_ns() - t0) / 1e9 : (atomic_load(&end_ns) - t0) / 1e9;
    uint64_t published = o.mode == REQREP ? 2 * npub * (o.msgs + o.warmup) : npub * o.msgs;
    printf("{\"tag\":\"%s\",\"ok\":%s,\"mode\":\"%s\",\"pubs\":%d,\"subs\":%d,\"msgs\":%llu,\"size\":%zu,\"wall_s\":%.4f,"
           "\"published\":%llu,\"delivered\":%llu,\"pub_msgs_s\":%.0f,\"dlv_msgs_s\":%.0f,\"mb_s\":%.1f,\"client_cpu_s\":%.4f",
           o.tag, atomic_load(&failed) ? "false" : "true", mode_names[o.mode], npub, nsub, (unsigned long long)o.msgs, o.size, wall,
           (unsigned long long)published, (unsigned long long)delivered, published / wall, delivered / wall,
           (published + delivered) * (double)o.size / wall / 1e6, cpu);
    if (o.mode == QUEUE) printf(",\"queue_min\":%llu,\"queue_max\":%llu", (unsigned long long)qmin, (unsigned long long)qmax);
    if (o.mode == REQREP) {
        uint64_t n = o.msgs * npub;
        uint32_t *all = xalloc(n * sizeof *all);
        for (int i = 0; i < npub; i++) memcpy(all + i * o.msgs, conns[i].lat, o.msgs * sizeof *all);
        qsort(all, n, sizeof *all, cmp_u32);
        printf(",\"req_s\":%.0f,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f",
               npub * (o.msgs + o.warmup) / wall, all[n / 2] / 1e3, all[n * 90 / 100] / 1e3, all[n * 99 / 100] / 1e3,
               all[n * 999 / 1000] / 1e3, all[n - 1] / 1e3);
    }
    if (o.npids) {
        double run = after.run - before.run;
        printf(",\"server_cpu_s\":%.4f,\"server_utime_s\":%.2f,\"server_stime_s\":%.2f,\"server_cpu_us_per_msg\":%.4f,\"server_rss_kb\":%ld,\"server_rss_bytes_per_conn\":%.0f",
               run, after.ut - before.ut, after.st - before.st, run * 1e6 / (published + delivered), after.rss_kb,
               (after.rss_kb - rss_before) * 1024.0 / nconns);
    }
    if (o.server_cpu >= 0) printf(",\"server_core_busy_s\":%.2f", after.core - before.core);
    printf("}\n");
    return atomic_load(&failed) ? 1 : 0;
}
