/* Fed connections, through the public face only: a client on a real socket whose "wire" is the protocol with every byte inverted, and an
 * owner that translates it. What a client sees must not depend on how its bytes were cut, nor on being fed at all. */
#include "../../csrc/spline.h"
#include "check.h"
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define INFO "INFO {} \r\n"
#define HELLO "CONNECT {\"verbose\":false}\r\n"

struct owner {
    spl_core *k;
    int listener, port;
    size_t piece;    /* how the owner cuts what it feeds; 0: not at all */
    bool plain;      /* do not feed: the same test over the reactor's own path */
    bool slow;       /* the owner does not drain */
    uint32_t closed; /* the last SPL_CLOSED's reason */
    unsigned ncloses;
    uint32_t control_line; /* 0: 512 */
    char last[64];         /* said on closing, beyond what was waiting */
};

static void invert(char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) p[i] = (char)~p[i];
}

static void owner_open(struct owner *o, int64_t max_pending)
{
    struct spl_config cfg = {.workers = 1,
                             .max_control_line = o->control_line ? o->control_line : 512,
                             .max_payload = 1 << 20,
                             .max_connections = 100,
                             .max_pending = max_pending,
                             .ping_interval = 100000,
                             .ping_max = 2,
                             .write_deadline = 300,
                             .cache_entries = 16,
                             .headers = 1,
                             .shared_fd = -1};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    o->k = spl_new(&cfg);
    if (!o->k || spl_account(o->k, "$G", 2) != 0) abort();
    o->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(o->listener, (struct sockaddr *)&a, sizeof a) < 0 || listen(o->listener, 16) < 0 ||
        getsockname(o->listener, (struct sockaddr *)&a, &n) < 0)
        abort();
    o->port = ntohs(a.sin_port);
    spl_listen(o->k, o->listener);
    spl_accepting(o->k, 1);
}

static void output(struct owner *o, uint64_t conn)
{
    static char buf[100000];
    size_t n;
    while ((n = spl_drain(o->k, conn, buf, sizeof buf))) {
        invert(buf, n);
        if (spl_send(o->k, conn, buf, n) < 0) return;
    }
}

static void input(struct owner *o, uint64_t conn)
{
    static char buf[128 * 1024];
    int64_t n = spl_receive(o->k, conn, buf, 1, 1);
    if (n <= 0) return;
    n = spl_receive(o->k, conn, buf, sizeof buf, 0);
    if (n <= 0) return;
    invert(buf, (size_t)n);
    size_t piece = o->piece ? o->piece : (size_t)n;
    for (size_t at = 0; at < (size_t)n; at += piece) {
        size_t some = (size_t)n - at < piece ? (size_t)n - at : piece;
        char *exact = malloc(some); /* so that the sanitizer sees a read past it */
        memcpy(exact, buf + at, some);
        int rc = spl_feed(o->k, conn, exact, some);
        free(exact);
        if (rc < 0) break;
    }
}

static void event(struct owner *o, const struct spl_event *e)
{
    if (e->type == SPL_ACCEPTED) {
        if (!o->plain) spl_conn_feed(o->k, e->conn, 1);
        spl_conn_start(o->k, e->conn, INFO, strlen(INFO), "", 0);
    } else if (e->type == SPL_CONNECT) {
        spl_conn_accept(o->k, e->conn, 0, NULL, SPL_ECHO | SPL_HEADERS | SPL_NO_RESPONDERS, "", 0, "", 0);
    } else if (e->type == SPL_CLOSED) {
        o->closed = e->reason;
        o->ncloses++;
        if (o->plain) return;
        output(o, e->conn);
        if (o->last[0]) spl_send(o->k, e->conn, o->last, strlen(o->last));
    }
}

/* One turn of the owner's loop. */
static void turn(struct owner *o)
{
    struct spl_event *events;
    uint64_t conns[4]; /* few, so that asking again is tested, too */
    size_t n;
    int count = spl_turn(o->k, 0, &events);
    for (int i = 0; i < count; i++) event(o, &events[i]);
    while ((n = spl_fed_input(o->k, conns, 4)))
        for (size_t i = 0; i < n; i++) input(o, conns[i]);
    while (!o->slow && (n = spl_fed_output(o->k, conns, 4)))
        for (size_t i = 0; i < n; i++) output(o, conns[i]);
}

static int dial(const struct owner *o)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)o->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) abort();
    return fd;
}

static void say(struct owner *o, int fd, const char *p, size_t n)
{
    char *wire = malloc(n);
    memcpy(wire, p, n);
    if (!o->plain) invert(wire, n);
    for (size_t at = 0; at < n;) {
        ssize_t sent = send(fd, wire + at, n - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0)
            at += (size_t)sent;
        else if (errno != EAGAIN)
            break;
        turn(o);
    }
    free(wire);
}

/* Serve until the client has got `n` bytes, or the end, or nothing for a while. Returns how many. */
static size_t hear(struct owner *o, int fd, char *to, size_t n)
{
    size_t got = 0;
    for (int quiet = 0; got < n && quiet < 200;) {
        turn(o);
        ssize_t some = recv(fd, to + got, n - got, MSG_DONTWAIT);
        if (some == 0) break;
        if (some < 0) {
            struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = spl_fd(o->k), .events = POLLIN}};
            if (errno != EAGAIN) break;
            if (poll(p, 2, 10) == 0) quiet++;
            continue;
        }
        quiet = 0;
        if (!o->plain) invert(to + got, (size_t)some);
        got += (size_t)some;
    }
    return got;
}

static void owner_close(struct owner *o)
{
    spl_free(o->k);
    close(o->listener);
}

/* ---- the tests ---- */

static void conversation(bool plain, size_t piece)
{
    static const char in[] =
        HELLO "SUB foo.* 1\r\nPUB foo.a 2\r\nhi\r\nHPUB foo.b r 12 14\r\nNATS/1.0\r\n\r\nyo\r\nPING\r\n"
              "SUB r 2\r\nPUB none r 0\r\n\r\nPING\r\nFOO\r\n";
    static const char out[] = INFO "MSG foo.a 1 2\r\nhi\r\nHMSG foo.b 1 r 12 14\r\nNATS/1.0\r\n\r\nyo\r\nPONG\r\n"
                                   "HMSG r 2 36 36\r\nNATS/1.0 503\r\nNats-Subject: none\r\n\r\n\r\nPONG\r\n"
                                   "-ERR 'Unknown Protocol Operation'\r\n";
    char got[1000];
    struct owner o = {.plain = plain, .piece = piece};
    owner_open(&o, 1 << 20);
    int fd = dial(&o);
    say(&o, fd, in, strlen(in));
    size_t n = hear(&o, fd, got, sizeof got);
    CHECK(n == strlen(out) && memcmp(got, out, n) == 0);
    CHECK(o.ncloses == 1 && o.closed == 11);
    close(fd);
    owner_close(&o);
}

/* A message larger than every buffer, cut in all the ways that matter. */
static void large(size_t piece)
{
    enum { SIZE = 700000 };
    char *msg = malloc(SIZE + 64), *got = malloc(SIZE + 64);
    struct owner o = {.piece = piece};
    owner_open(&o, 64 << 20);
    int fd = dial(&o);
    say(&o, fd, HELLO "SUB a 1\r\n", strlen(HELLO "SUB a 1\r\n"));
    size_t n = (size_t)sprintf(msg, "PUB a %d\r\n", SIZE), head;
    for (size_t i = 0; i < SIZE; i++) msg[n + i] = (char)(i * 7 + i / 251);
    memcpy(msg + n + SIZE, "\r\n", 2);
    say(&o, fd, msg, n + SIZE + 2);
    head = strlen(INFO) + strlen("MSG a 1 700000\r\n");
    size_t want = head + SIZE + 2, have = hear(&o, fd, got, want);
    CHECK(have == want && memcmp(got + head, msg + n, SIZE + 2) == 0);
    close(fd);
    owner_close(&o);
    free(msg);
    free(got);
}

/* A control line longer than what is read at once, and many publishes behind a CONNECT that is not answered yet. */
static void held(bool plain, size_t piece)
{
    enum { LINE = 300000, MANY = 6000 };
    struct owner o = {.plain = plain, .piece = piece, .control_line = LINE + 100};
    owner_open(&o, 64 << 20);
    char *text = malloc(LINE + MANY * 20), *got = malloc(LINE + MANY * 20);
    int fd = dial(&o);
    size_t n = (size_t)sprintf(text, "CONNECT ");
    memset(text + n, 'b', LINE);
    n += LINE;
    n += (size_t)sprintf(text + n, "\r\nSUB a 1\r\n");
    for (int i = 0; i < MANY; i++) n += (size_t)sprintf(text + n, "PUB a 1\r\nx\r\n");
    n += (size_t)sprintf(text + n, "PING\r\n");
    say(&o, fd, text, n);
    size_t want = strlen(INFO "PONG\r\n") + MANY * strlen("MSG a 1 1\r\nx\r\n");
    CHECK_EQ(hear(&o, fd, got, want), want);
    CHECK(memcmp(got + want - 6, "PONG\r\n", 6) == 0);
    CHECK(o.ncloses == 0);
    close(fd);
    owner_close(&o);
    free(text);
    free(got);
}

/* The owner says something of its own last. */
static void last_words(void)
{
    char got[200];
    struct owner o = {.last = "bye"};
    owner_open(&o, 1 << 20);
    int fd = dial(&o);
    say(&o, fd, HELLO "PUB a 2\r\nxxx\r\n", strlen(HELLO "PUB a 2\r\nxxx\r\n"));
    size_t n = hear(&o, fd, got, sizeof got);
    CHECK(n > 3);
    if (n > 3) invert(got + n - 3, 3);
    CHECK(n > 3 && memcmp(got + n - 3, "bye", 3) == 0);
    CHECK(n > 3 && memcmp(got + strlen(INFO), "-ERR 'Unknown", 13) == 0);
    close(fd);
    owner_close(&o);
}

static uint64_t pending_of(struct owner *o)
{
    struct spl_stats s;
    spl_get_stats(o->k, 0, &s);
    return s.slow_consumers;
}

/* A reader that does not read is cut when its pending output exceeds the limit, or by the deadline. */
static void slow_reader(bool deadline)
{
    struct owner o = {.closed = 0};
    owner_open(&o, deadline ? 1 << 30 : 1 << 20);
    int reader = dial(&o), writer = dial(&o);
    say(&o, reader, HELLO "SUB a 1\r\nPING\r\n", strlen(HELLO "SUB a 1\r\nPING\r\n"));
    char got[256], *msg = calloc(1, 100020);
    hear(&o, reader, got, strlen(INFO "PONG\r\n"));
    say(&o, writer, HELLO, strlen(HELLO));
    size_t n = (size_t)sprintf(msg, "PUB a 100000\r\n");
    memcpy(msg + n + 100000, "\r\n", 2);
    for (int i = 0; i < 400 && !o.ncloses; i++)
        if (!deadline || i < 100) say(&o, writer, msg, n + 100002);
    for (int i = 0; i < 500 && !o.ncloses; i++) {
        struct pollfd p = {.fd = spl_fd(o.k), .events = POLLIN};
        poll(&p, 1, 10);
        turn(&o);
    }
    CHECK(o.ncloses == 1);
    CHECK(o.closed == (deadline ? 6u : 5u)); /* Slow Consumer (Write Deadline), (Pending Bytes) */
    CHECK(pending_of(&o) == 1);
    free(msg);
    close(reader);
    close(writer);
    owner_close(&o);
}

/* A reader that does read must not be called slow, whatever its producers do within a turn: they wait for the owner. */
static void quick_reader(void)
{
    enum { WRITERS = 8, MESSAGES = 40, SIZE = 20000 };
    struct owner o = {.closed = 0};
    owner_open(&o, 300000); /* less than the writers send at once */
    int reader = dial(&o), writer[WRITERS];
    char *msg = calloc(1, SIZE + 20), *got = malloc(1 << 20);
    say(&o, reader, HELLO "SUB a 1\r\nPING\r\n", strlen(HELLO "SUB a 1\r\nPING\r\n"));
    hear(&o, reader, got, strlen(INFO "PONG\r\n"));
    size_t n = (size_t)sprintf(msg, "PUB a %d\r\n", SIZE);
    memcpy(msg + n + SIZE, "\r\n", 2);
    for (int w = 0; w < WRITERS; w++) {
        writer[w] = dial(&o);
        say(&o, writer[w], HELLO, strlen(HELLO));
    }
    size_t frame = strlen("MSG a 1 20000\r\n") + SIZE + 2, want = frame * WRITERS * MESSAGES, have = 0;
    for (int m = 0; m < MESSAGES; m++) {
        for (int w = 0; w < WRITERS; w++) say(&o, writer[w], msg, n + SIZE + 2);
        have += hear(&o, reader, got, frame * WRITERS);
    }
    CHECK(have == want);
    CHECK(o.ncloses == 0 && pending_of(&o) == 0);
    for (int w = 0; w < WRITERS; w++) close(writer[w]);
    close(reader);
    owner_close(&o);
    free(msg);
    free(got);
}

/* Closed by its peer while it is on the owner's lists; freed while it still has output. */
static void gone(void)
{
    struct owner o = {.slow = true};
    owner_open(&o, 1 << 20);
    int fd = dial(&o), other = dial(&o);
    say(&o, fd, HELLO "SUB a 1\r\nPUB a 1\r\nx\r\n", strlen(HELLO "SUB a 1\r\nPUB a 1\r\nx\r\n"));
    say(&o, other, HELLO, strlen(HELLO));
    for (int i = 0; i < 10; i++) turn(&o);
    close(fd);
    for (int i = 0; i < 500 && !o.ncloses; i++) {
        struct pollfd p = {.fd = spl_fd(o.k), .events = POLLIN};
        poll(&p, 1, 10);
        turn(&o);
    }
    CHECK(o.ncloses == 1);
    uint64_t conn = 1, conns[4];
    char byte;
    CHECK(spl_feed(o.k, conn << 40, "x", 1) < 0 && spl_send(o.k, conn << 40, "x", 1) < 0);
    CHECK(spl_drain(o.k, conn << 40, &byte, 1) == 0 && spl_receive(o.k, conn << 40, &byte, 1, 0) < 0);
    o.slow = false;
    turn(&o);
    CHECK(spl_fed_output(o.k, conns, 4) == 0);
    owner_close(&o);
    close(other);
}

static void handshake_rate(void)
{
    struct owner o = {.closed = 0};
    owner_open(&o, 1 << 20);
    int allowed = 0;
    for (int i = 0; i < 100; i++) allowed += spl_handshake_allowed(o.k, 7);
    CHECK(allowed == 7 || allowed == 14); /* 14: a second began meanwhile */
    owner_close(&o);
}

int main(void)
{
    conversation(true, 0);
    for (size_t piece = 0; piece < 60; piece++) conversation(false, piece);
    large(0);
    large(1000);
    large(130001);
    held(true, 0);
    held(false, 0);
    held(false, 7777);
    last_words();
    slow_reader(false);
    slow_reader(true);
    quick_reader();
    gone();
    handshake_rate();
    return check_report();
}
