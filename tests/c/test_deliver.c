/* Delivery, output buffers and timers over real sockets: who gets what, who is cut when, and what a failed allocation costs. */
#include "alloc.h"
#include "check.h"
#include "pair_client.h"
#include <sys/epoll.h>

#define BIG 60000

/* Two messages, in either order. */
static bool heard_both(struct pair *p, const char *one, const char *two)
{
    pair_listen(p);
    bool both = p->nheard == strlen(one) + strlen(two) && memmem(p->heard, p->nheard, one, strlen(one)) &&
                memmem(p->heard, p->nheard, two, strlen(two));
    p->nheard = 0;
    return both;
}

static void everybody_once(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    struct pair a = pair_open(k, 0), b = pair_open(k, 0), c = pair_open(k, 0);
    pair_say(&a, "SUB x 1\r\nSUB * 2\r\n");
    pair_say(&b, "SUB > 7\r\nSUB x q 8\r\n");
    pair_say(&c, "SUB x q 9\r\nPUB x 2\r\nhi\r\n");
    CHECK(heard_both(&a, "MSG x 1 2\r\nhi\r\n", "MSG x 2 2\r\nhi\r\n"));
    pair_listen(&b);
    pair_listen(&c);
    CHECK(b.nheard + c.nheard == 2 * strlen("MSG x 7 2\r\nhi\r\n"));
    b.nheard = c.nheard = 0;
    struct conn *plain = pair_conn(&b);
    plain->headers = false;
    pair_say(&c, "UNSUB 9\r\nHPUB x re 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
    CHECK(heard_both(&b, "MSG x 7 re 2\r\nhi\r\n", "MSG x 8 re 2\r\nhi\r\n"));
    CHECK(heard_both(&a, "HMSG x 1 re 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", "HMSG x 2 re 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"));
    pair_conn(&a)->echo = false;
    pair_say(&a, "PUB x 0\r\n\r\n");
    CHECK(pair_heard(&a, ""));
    pair_listen(&b);
    CHECK(b.nheard > 0);
    pair_close(&a), pair_close(&b), pair_close(&c);
    spl_free(k);
}

/* A subscription that reaches its maximum while its match is walked, and connections that go in the same turn. */
static void going_while_delivering(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    struct pair a = pair_open(k, 0), b = pair_open(k, 0), p = pair_open(k, 0);
    char subs[8192], *w = subs;
    for (int i = 0; i < 100; i++) w += sprintf(w, "SUB m %d\r\nUNSUB %d %d\r\n", i, i, 1 + i % 2);
    pair_say(&a, subs);
    pair_say(&b, "SUB m 1\r\n");
    pair_say(&p, "PUB m 0\r\n\r\nPUB m 0\r\n\r\nPUB m 0\r\n\r\nPING\r\n");
    CHECK(pair_heard(&p, "PONG\r\n"));
    CHECK(pair_heard(&b, "MSG m 1 0\r\n\r\nMSG m 1 0\r\n\r\nMSG m 1 0\r\n\r\n"));
    pair_listen(&a);
    size_t messages = 0;
    for (size_t i = 0; i + 2 < a.nheard; i++) messages += memcmp(a.heard + i, "MSG", 3) == 0;
    CHECK_EQ(messages, 150);
    CHECK_EQ(k->stats->subscriptions, 1);
    /* One that breaks the protocol is gone, its own last message and those of others are not. */
    a.nheard = 0;
    pair_say(&a, "SUB m 1\r\n");
    pair_say(&p, "PUB m 1\r\nx\r\nNONSENSE\r\nPUB m 1\r\ny\r\n");
    CHECK(pair_heard(&p, "-ERR 'Unknown Protocol Operation'\r\n") && p.ended);
    CHECK(pair_heard(&a, "MSG m 1 1\r\nx\r\n") && pair_heard(&b, "MSG m 1 1\r\nx\r\n"));
    /* A peer that vanished is found when something is written to it. */
    close(b.fd);
    pair_say(&a, "PUB m 0\r\n\r\n");
    CHECK(pair_heard(&a, "MSG m 1 0\r\n\r\n") && !pair_conn(&b));
    CHECK_EQ(k->stats->subscriptions, 1);
    free(b.heard), pair_close(&a), pair_close(&p);
    spl_free(k);
}

static void publish_big(struct pair *p, char fill)
{
    static char frame[BIG + 64];
    int n = sprintf(frame, "PUB big %d\r\n", BIG);
    memset(frame + n, fill, BIG);
    memcpy(frame + n + BIG, "\r\n", 2);
    for (size_t at = 0, all = (size_t)n + BIG + 2; at < all;) {
        at += pair_send(p, frame + at, all - at);
        pair_run(p->k);
    }
}

/* A reader that never reads is cut at max_pending; the others get everything, in order. */
static void pending_limit(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    struct pair slow = pair_open(k, 8192), good = pair_open(k, 0), p = pair_open(k, 0);
    pair_say(&slow, "SUB big 1\r\n");
    pair_say(&good, "SUB big 1\r\n");
    char head[64];
    size_t header = (size_t)sprintf(head, "MSG big 1 %d\r\n", BIG);
    int cut = 0;
    for (int i = 0; i < 40; i++) {
        publish_big(&p, (char)('a' + i % 26));
        good.nheard = 0;
        CHECK(pair_wait(&good, header + BIG + 2) && good.heard[header] == 'a' + i % 26);
        if (!cut && !pair_conn(&slow)) cut = i + 1;
        CHECK(cut || output_pending(pair_conn(&slow)) <= 1 << 20);
    }
    CHECK(cut >= (1 << 20) / (BIG + 32) && cut <= (1 << 20) / BIG + 2);
    CHECK_EQ(k->stats->slow_consumers, 1);
    pair_listen(&slow);
    CHECK(slow.ended && slow.nheard < 1 << 20 && !memmem(slow.heard, slow.nheard, "-ERR", 4));
    pair_close(&slow), pair_close(&good), pair_close(&p);
    spl_free(k);
}

/* As if so much time had passed. */
static void later(struct core *k, uint64_t ms)
{
    k->now = clock_ms() + ms;
    timer_run(k);
    timer_arm(k);
    pair_run(k);
}

static void write_deadline(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    struct pair slow = pair_open(k, 8192), p = pair_open(k, 0);
    pair_say(&slow, "SUB big 1\r\n");
    publish_big(&p, 'x');
    publish_big(&p, 'y');
    CHECK(pair_conn(&slow) && pair_conn(&slow)->blocked);
    later(k, 9000);
    CHECK(pair_conn(&slow));
    later(k, 11000);
    CHECK(!pair_conn(&slow) && pair_conn(&p));
    CHECK_EQ(k->stats->slow_consumers, 1);
    pair_close(&slow), pair_close(&p);
    spl_free(k);
}

/* A slow reader that does read keeps its place, and gets everything however small its socket's buffer is. */
static void slow_but_reading(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    struct pair slow = pair_open(k, 4096), p = pair_open(k, 0);
    pair_say(&slow, "SUB big 1\r\n");
    for (int i = 0; i < 8; i++) publish_big(&p, (char)('0' + i));
    for (int i = 0; i < 2000 && pair_conn(&slow)->blocked; i++) {
        ssize_t n = recv(slow.fd, slow.heard + slow.nheard, 777, 0);
        if (n > 0) slow.nheard += (size_t)n;
        pair_run(k);
    }
    pair_listen(&slow);
    char head[64];
    size_t header = (size_t)sprintf(head, "MSG big 1 %d\r\n", BIG), each = header + BIG + 2;
    CHECK_EQ(slow.nheard, 8 * each);
    for (int i = 0; i < 8; i++)
        CHECK(memcmp(slow.heard + each * (size_t)i, head, header) == 0 &&
              slow.heard[each * (size_t)i + header + 5] == '0' + i);
    CHECK_EQ(output_pending(pair_conn(&slow)), 0);
    pair_close(&slow), pair_close(&p);
    spl_free(k);
}

/* A control line may be longer than what is read at once. */
static void long_line(void)
{
    struct spl_config cfg = test_config(0, 1);
    cfg.max_control_line = 1 << 20;
    struct core *k = pair_core(&cfg);
    struct pair p = pair_open(k, 0);
    static char line[1000000];
    int n = sprintf(line, "CONNECT {\"jwt\":\"");
    memset(line + n, 'j', sizeof line - (size_t)n);
    memcpy(line + sizeof line - 10, "\"}\r\nPING\r\n", 10);
    for (size_t at = 0; at < sizeof line && pair_conn(&p);) {
        at += pair_send(&p, line + at, sizeof line - at);
        pair_run(k);
    }
    CHECK(pair_heard(&p, "PONG\r\n"));
    pair_close(&p);
    spl_free(k);
}

/* A second CONNECT drops the subscriptions, also those that have just had their last message: input of fed connections is
 * parsed between the turns. */
static void starts_afresh(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    struct pair a = pair_open(k, 0), p = pair_open(k, 0);
    pair_say(&a, "SUB x 1\r\nUNSUB 1 1\r\nSUB x 2\r\n");
    pair_conn(&a)->hold |= HOLD_CONNECT;
    client_parse(k, pair_conn(&p), "PUB x 0\r\n\r\n", 11);
    CHECK_EQ(spl_conn_accept(k, a.handle, 0, NULL, SPL_ECHO, "", 0, "", 0), 0);
    pair_run(k);
    CHECK(heard_both(&a, "MSG x 1 0\r\n\r\n", "MSG x 2 0\r\n\r\n"));
    CHECK_EQ(k->stats->subscriptions, 0);
    pair_say(&p, "PUB x 0\r\n\r\nPING\r\n");
    CHECK(pair_heard(&p, "PONG\r\n") && pair_heard(&a, ""));
    pair_close(&a), pair_close(&p);
    spl_free(k);
}

/* The time to authenticate ends with CONNECT, however long the owner takes to decide. */
static void authentication_time(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    struct pair a = pair_open(k, 0), b = pair_open(k, 0);
    struct pair *both[] = {&a, &b};
    for (int i = 0; i < 2; i++) {
        struct conn *c = pair_conn(both[i]);
        c->open = c->connected = false, c->acc = NULL;
        k->accounts[0]->counts->conns--;
        c->auth_at = clock_ms() + 2000;
        timer_set(k, c);
    }
    struct spl_event *events;
    pair_send(&a, "CONNECT {}\r\n", 12);
    CHECK(spl_turn(k, 0, &events) == 1 && events[0].type == SPL_CONNECT);
    later(k, 3000);
    CHECK(pair_heard(&a, "") && !a.ended);
    CHECK(pair_heard(&b, "-ERR 'Authentication Timeout'\r\n") && b.ended);
    CHECK_EQ(spl_conn_accept(k, a.handle, 0, NULL, SPL_ECHO | SPL_VERBOSE, "", 0, "", 0), 0);
    CHECK(pair_heard(&a, "+OK\r\n"));
    pair_close(&a), pair_close(&b);
    spl_free(k);
}

/* A listener that had to rest for want of descriptors does not begin again when nobody is to be let in any more. */
static void resting_listener(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 8) < 0) abort();
    CHECK_EQ(spl_listen(k, fd), 0);
    struct conn *l = k->listeners[0];
    for (int on = 1; on >= 0; on--) {
        spl_accepting(k, 1);
        CHECK_EQ(epoll_ctl(k->epfd, EPOLL_CTL_DEL, fd, NULL), 0); /* as accept_clients() does */
        l->in_watched = false;
        l->resume_at = clock_ms() + 100;
        timer_set(k, l);
        spl_accepting(k, on);
        if (on) spl_accepting(k, 1);
        later(k, 200);
        CHECK_EQ(l->in_watched, on);
    }
    spl_free(k);
}

/* More unanswered PINGs than a byte can count. */
static void patient_keep_alive(void)
{
    struct spl_config cfg = test_config(0, 1);
    cfg.ping_interval = 1000, cfg.ping_max = 300;
    struct core *k = pair_core(&cfg);
    struct pair p = pair_open(k, 0);
    struct conn *c = pair_conn(&p);
    c->ping_at = clock_ms() + 1000;
    timer_set(k, c);
    for (uint64_t second = 1; second <= 302 && !p.ended; second++) later(k, second * 1000 + 900), pair_listen(&p);
    pair_listen(&p);
    CHECK(p.ended && p.nheard == 300 * 6 + strlen("-ERR 'Stale Connection'\r\n"));
    pair_close(&p);
    spl_free(k);
}

static void keep_alive(void)
{
    struct spl_config cfg = test_config(0, 1);
    cfg.ping_interval = 1000;
    struct core *k = pair_core(&cfg);
    struct pair p[20];
    for (int i = 0; i < 20; i++) { /* many deadlines, in an order that is no order */
        p[i] = pair_open(k, 0);
        struct conn *c = pair_conn(&p[i]);
        c->ping_at = clock_ms() + 5000 + (uint64_t)(i * 7 % 20) * 100;
        timer_set(k, c);
    }
    pair_close(&p[3]); /* one leaves: the others' deadlines stay */
    pair_run(k);
    later(k, 5950);
    for (int i = 0; i < 20; i++)
        if (i != 3) CHECK(pair_heard(&p[i], i * 7 % 20 < 10 ? "PING\r\n" : ""));
    pair_say(&p[0], "PONG\r\n");
    for (int second = 7; second < 11; second++) later(k, (uint64_t)second * 1000 + 900);
    pair_listen(&p[1]);
    CHECK(p[1].ended && memmem(p[1].heard, p[1].nheard, "-ERR 'Stale Connection'\r\n", 25));
    for (int i = 0; i < 20; i++)
        if (i != 3) pair_close(&p[i]);
    spl_free(k);
}

/* ---- allocation failure ---- */

struct outcome {
    uint64_t failures;
    int closed;
    bool whole; /* every client that is still there, while the publisher is, got all; and those that go on can */
};

static struct outcome scenario(uint64_t after, uint64_t times)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    spl_perms *perms = spl_perms_new(k);
    spl_perms_add(perms, PERM_PUB_ALLOW, "none", 4, "", 0);
    spl_perms_responses(perms, 5, -1);
    struct pair a = pair_open(k, 0), b = pair_open(k, 4096), p = pair_open(k, 0), r = pair_open(k, 0);
    conn_set_permissions(pair_conn(&r), perms);
    uint64_t before = alloc_failures();
    alloc_fail(after, times);
    pair_say(&a, "SUB a.* 1\r\nSUB a.> 2\r\nUNSUB 2 1\r\nSUB _I.x 3\r\n");
    pair_say(&b, "SUB a.b q 1\r\nSUB > 2\r\n");
    if (pair_conn(&r)) pair_say(&r, "SUB req 1\r\n");
    pair_say(&p, "PUB a.b 2\r\nhi\r\nPUB  a.c  r  2\r\nho\r\nPUB req _I.x 1\r\n?\r\n");
    if (pair_conn(&r)) pair_say(&r, "PUB _I.x 1\r\n!\r\n");
    pair_send(&p, "PUB a.d 40000\r\n", 15); /* its payload comes in pieces */
    pair_run(k);
    static char payload[40002];
    memset(payload, 'x', 40000);
    memcpy(payload + 40000, "\r\n", 2);
    for (size_t at = 0; at < sizeof payload && pair_conn(&p);) {
        at += pair_send(&p, payload + at, sizeof payload - at < 9000 ? sizeof payload - at : 9000);
        pair_run(k);
        pair_listen(&b);
    }
    pair_run(k);
    alloc_fail_off();
    pair_listen(&a), pair_listen(&b);
    struct outcome o = {.failures = alloc_failures() - before};
    o.closed = !pair_conn(&a) + !pair_conn(&b) + !pair_conn(&p) + !pair_conn(&r);
    bool all_sent = pair_conn(&p) != NULL;
    o.whole = true;
    if (all_sent && pair_conn(&a))
        o.whole &= memmem(a.heard, a.nheard, "MSG a.b 1 2\r\nhi\r\n", 17) &&
                   memmem(a.heard, a.nheard, "MSG a.b 2 2\r\nhi\r\n", 17) &&
                   memmem(a.heard, a.nheard, "MSG a.c 1 r 2\r\nho\r\n", 19) &&
                   memmem(a.heard, a.nheard, "MSG a.d 1 40000\r\nxxxx", 21);
    if (all_sent && pair_conn(&b))
        o.whole &= memmem(b.heard, b.nheard, "MSG a.b 1 2\r\nhi\r\n", 17) &&
                   memmem(b.heard, b.nheard, "MSG a.d 2 40000\r\nxxxx", 21);
    /* The core as such is well: newcomers find each other. */
    struct pair x = pair_open(k, 0), y = pair_open(k, 0);
    pair_say(&x, "SUB new 1\r\n");
    pair_say(&y, "PUB new 1\r\nn\r\n");
    o.whole &= pair_heard(&x, "MSG new 1 1\r\nn\r\n");
    pair_close(&a), pair_close(&b), pair_close(&p), pair_close(&r), pair_close(&x), pair_close(&y);
    pair_run(k);
    CHECK_EQ(k->stats->subscriptions, 0);
    CHECK_EQ(k->accounts[0]->counts->subs, 0);
    spl_free(k);
    return o;
}

/* Each allocation fails once: it costs one connection at most. Then all from some point on: nothing but connections is lost. */
static void allocations_fail(void)
{
    struct outcome o = scenario(0, 0);
    CHECK(o.whole && o.closed == 0 && o.failures == 0);
    uint64_t after = 0;
    do {
        o = scenario(after, 1);
        if (!o.whole || o.closed > 1)
            fprintf(stderr, "allocation %llu: %d closed, whole %d\n", (unsigned long long)after, o.closed, o.whole);
        CHECK(o.whole && o.closed <= 1);
        if (after % 3 == 0) scenario(after, UINT64_MAX / 2);
    } while (o.failures && ++after < 10000);
    CHECK(after > 20 && after < 10000);
    printf("%llu allocations failed one by one\n", (unsigned long long)after);
}

int main(void)
{
    everybody_once();
    going_while_delivering();
    pending_limit();
    write_deadline();
    slow_but_reading();
    keep_alive();
    patient_keep_alive();
    long_line();
    starts_afresh();
    authentication_time();
    resting_listener();
    allocations_fail();
    return check_report();
}
