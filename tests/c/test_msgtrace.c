/* Traces of messages: what asks for one, the steps that become an event, and waiting for the reports of peers. */
#include "../../csrc/msgtrace.h"
#include "alloc.h"
#include "check.h"
#include "pair_client.h"

#define HEADERS "NATS/1.0\r\nNats-Trace-Dest: t\r\n\r\n" /* 32 bytes */

static void asks(const char *headers, enum trace_asked want, const char *dest, bool only)
{
    char *exact = malloc(strlen(headers)); /* not a byte more, for the sanitizer */
    if (!exact) abort();
    memcpy(exact, headers, strlen(headers));
    struct trace_request r;
    CHECK_EQ(msgtrace_parse(exact, strlen(headers), &r), want);
    if (want == TRACE_ASKED) {
        CHECK(r.dest_len == strlen(dest) && memcmp(r.dest, dest, r.dest_len) == 0);
        CHECK_EQ(r.only, only);
    }
    free(exact);
}

static void headers(void)
{
    asks("", TRACE_NOT_ASKED, "", false);
    asks("NATS/1.0\r\n", TRACE_NOT_ASKED, "", false);
    asks("NATS/1.0\r\n\r\n", TRACE_NOT_ASKED, "", false);
    asks(HEADERS, TRACE_ASKED, "t", false);
    asks("NATS/1.1\r\nNats-Trace-Dest: t\r\n\r\n", TRACE_NOT_ASKED, "", false);
    asks("NATS/1.0 100 x\r\nNats-Trace-Dest: t\r\n\r\n", TRACE_NOT_ASKED, "", false);
    asks("NATS/1.0\r\nNats-Trace-Dest: t\r\n", TRACE_ASKED, "t", false);
    asks("NATS/1.0\r\nNats-Trace-Dest: t\r", TRACE_NOT_ASKED, "", false);
    asks("NATS/1.0\r\nNats-Trace-Dest:\r\nNats-Trace-Dest:t\r\nNats-Trace-Only:oN\r\n", TRACE_ASKED, "t", true);
    asks("NATS/1.0\r\nNats-Trace-Only: \r\nNats-Trace-Only: 1\r\nNats-Trace-Dest: t u \t\r\n", TRACE_ASKED, "t u",
         true);
    asks("NATS/1.0\r\nNats-Trace-Only: 0\r\nNats-Trace-Only: 1\r\nNats-Trace-Dest: t\r\n", TRACE_ASKED, "t", false);
    asks("NATS/1.0\r\nNats-Trace-Dest: trace disabled\r\nNats-Trace-Dest: t\r\n", TRACE_NOT_ASKED, "", false);
    asks("NATS/1.0\r\ntraceparent: a-b-c-01\r\nNats-Trace-Only: 1\r\n", TRACE_ASKED_BY_PARENT, "", false);
    asks("NATS/1.0\r\nTRACEPARENT: ---01\r\n", TRACE_ASKED_BY_PARENT, "", false);
    asks("NATS/1.0\r\ntraceparent: --01\r\ntraceparent: ----01\r\ntraceparent: 01\r\n", TRACE_NOT_ASKED, "", false);
    asks("NATS/1.0\r\ntraceparent: ---80\r\ntraceparent: ---0\r\ntraceparent: ---001\r\n", TRACE_NOT_ASKED, "", false);
}

/* The TRACED events of the next turn; of the last one its steps' types as digits. */
static int told(struct core *k, char steps[16], char error[16])
{
    struct spl_event *events;
    int count = 0;
    memset(steps, 0, 16);
    memset(error, 0, 16);
    for (int i = spl_turn(k, 0, &events) - 1; i >= 0; i--) {
        if (events[i].type != SPL_TRACED) continue;
        count++;
        size_t at = 0, n = 0;
        while (at < events[i].len) {
            struct spl_step s;
            CHECK(events[i].len - at >= sizeof s);
            memcpy(&s, events[i].data + at, sizeof s);
            CHECK(s.size % 8 == 0 && s.size >= sizeof s && s.size <= events[i].len - at);
            if (n < 15) steps[n] = (char)('0' + s.type), error[n] = (char)('0' + s.error), n++;
            at += s.size;
        }
        CHECK(events[i].message.subject_len == 1 && events[i].message.subject[0] == 't');
        CHECK(events[i].message.headers_len == 32 && memcmp(events[i].message.headers, HEADERS, 32) == 0);
    }
    return count;
}

static void publish(struct pair *p, const char *subject)
{
    char text[128];
    int n = snprintf(text, sizeof text, "HPUB %s 32 34\r\n" HEADERS "hi\r\n", subject);
    CHECK_EQ(pair_send(p, text, (size_t)n), (size_t)n);
}

static struct core *core_new(void)
{
    struct spl_config cfg = test_config(0, 3);
    struct core *k = pair_core(&cfg);
    spl_set_trace(k, 0, 0);
    return k;
}

static void one_core(void)
{
    struct core *k = core_new();
    struct pair p = pair_open(k, 0);
    char steps[16], error[16];
    pair_say(&p, "SUB a 1\r\nSUB * q 2\r\n");
    publish(&p, "a");
    CHECK_EQ(told(k, steps, error), 1);
    CHECK(strcmp(steps, "166") == 0 && strcmp(error, "000") == 0);
    pair_conn(&p)->echo = false;
    publish(&p, "a");
    CHECK_EQ(told(k, steps, error), 1);
    CHECK(strcmp(steps, "166") == 0 && strcmp(error, "011") == 0);
    pair_close(&p);
    spl_free(k);
}

/* Two peers that listen to "r"; nothing is ever read from or written to them. */
static struct core *among_peers(void)
{
    struct core *k = core_new();
    for (uint32_t peer = 1; peer <= 2; peer++) {
        CHECK_EQ(spl_peer_up(k, peer, peer + 10, "/nowhere"), 0);
        struct peer *p = &k->peers[peer];
        if (!(p->theirs = calloc(1, sizeof *p->theirs))) abort();
        p->ntheirs = 1;
        CHECK(sublist_set_remote(k->accounts[0]->subs, peer, "r", 1, "", 0, 1) >= 0);
    }
    k->min_acked = UINT64_MAX;
    return k;
}

static const struct spl_step far = {.size = sizeof far, .type = SPL_STEP_OUT};
static void report(struct core *k, uint32_t peer, uint64_t id, const char *sent, size_t n)
{
    CHECK(msgtrace_report(k, peer, id, sent, n, (const char *)&far, sizeof far));
}

static bool fits(struct core *k, const struct spl_step *s, size_t n)
{
    char *exact = malloc(n); /* not a byte more, for the sanitizer */
    if (!exact) abort();
    memcpy(exact, s, n);
    bool whole = msgtrace_report(k, 1, 99, "", 0, exact, n);
    free(exact);
    return whole;
}

static void malformed(void)
{
    struct core *k = core_new();
    struct spl_step s[2] = {far, far};
    CHECK(fits(k, s, sizeof *s) && fits(k, s, sizeof s));
    CHECK(!fits(k, s, sizeof s - 8) && !fits(k, s, sizeof s - 1) && !fits(k, s, 3));
    s[1].about_len = 1;
    CHECK(!fits(k, s, sizeof s));
    s[1] = far, s[1].size = 0;
    CHECK(!fits(k, s, sizeof s));
    s[1].size = sizeof far + 8;
    CHECK(!fits(k, s, sizeof s));
    s[0].size = sizeof far * 2, s[0].other_len = sizeof far;
    CHECK(fits(k, s, sizeof s));
    s[0].other_len++;
    CHECK(!fits(k, s, sizeof s));
    spl_free(k);
}

static void peers(void)
{
    struct core *k = among_peers();
    struct pair p = pair_open(k, 0);
    char steps[16], error[16];
    publish(&p, "r");
    CHECK_EQ(told(k, steps, error), 0);
    report(k, 1, 77, "", 0); /* of another one, long ago */
    report(k, 2, 1, "", 0);
    CHECK_EQ(told(k, steps, error), 0);
    report(k, 1, 1, "", 0);
    CHECK_EQ(told(k, steps, error), 1);
    CHECK(strcmp(steps, "166") == 0);

    /* 1 passed it on to 2 (and back to us): those reports overtake its own */
    publish(&p, "r");
    CHECK_EQ(told(k, steps, error), 0);
    report(k, 2, 2, "", 0);
    report(k, 2, 2, "", 0);
    report(k, 0, 2, "", 0);
    CHECK_EQ(told(k, steps, error), 0);
    report(k, 1, 2, "\2\0\77", 3); /* a peer that is not there is not waited for */
    CHECK_EQ(told(k, steps, error), 1);
    CHECK(strcmp(steps, "16666") == 0);

    /* one has died, the other says nothing */
    publish(&p, "r");
    CHECK_EQ(told(k, steps, error), 0);
    spl_peer_down(k, 2, 12);
    CHECK_EQ(told(k, steps, error), 0);
    k->now += 1000;
    msgtrace_expire(k);
    CHECK_EQ(told(k, steps, error), 1);
    CHECK(strcmp(steps, "1") == 0);
    publish(&p, "r");
    CHECK_EQ(told(k, steps, error), 0);
    spl_peer_down(k, 1, 11);
    CHECK_EQ(told(k, steps, error), 1);
    CHECK_EQ(k->ncollecting, 0);
    pair_close(&p);
    spl_free(k);
}

/* What is complete is told after what came before it. */
static void order(void)
{
    struct core *k = among_peers();
    struct pair p = pair_open(k, 0);
    char steps[16], error[16];
    publish(&p, "r");
    publish(&p, "none");
    publish(&p, "r");
    CHECK_EQ(told(k, steps, error), 0);
    report(k, 1, 3, "", 0), report(k, 2, 3, "", 0);
    CHECK_EQ(told(k, steps, error), 0);
    report(k, 1, 1, "", 0);
    CHECK_EQ(told(k, steps, error), 0);
    report(k, 2, 1, "", 0);
    CHECK_EQ(told(k, steps, error), 3);
    CHECK(!k->collecting && !k->ncollecting && !k->collecting_bytes);
    publish(&p, "none");
    CHECK_EQ(told(k, steps, error), 1);
    pair_close(&p);
    spl_free(k);
}

/* One message has at most 4 MiB of steps. */
static void huge(void)
{
    static const size_t most = 4 << 20, piece = 1 << 20;
    struct core *k = among_peers();
    struct pair p = pair_open(k, 0);
    struct spl_step *s = calloc(1, piece);
    if (!s) abort();
    s->size = (uint32_t)piece, s->other_len = (uint32_t)(piece - sizeof *s);
    publish(&p, "r");
    char steps[16], error[16];
    CHECK_EQ(told(k, steps, error), 0);
    for (int i = 0; i < 10; i++) CHECK(msgtrace_report(k, 1, 1, "\1", 1, (const char *)s, piece));
    CHECK(k->collecting && k->collecting_bytes > 3 * piece && k->collecting_bytes < 2 * most + piece);
    free(s);
    pair_close(&p);
    spl_free(k);
}

/* More than may wait: the oldest are told without what is missing. What is left is freed with the core. */
static void too_many(void)
{
    struct core *k = among_peers();
    struct pair p = pair_open(k, 0);
    int count = 0;
    for (int i = 0; i < 5000; i++) {
        char steps[16], error[16];
        publish(&p, "r");
        count += told(k, steps, error);
    }
    CHECK_EQ(count, 5000 - 4096);
    pair_close(&p);
    spl_free(k);
}

/* Events of one turn hold a bounded amount, and nothing is lost. */
static void flood(void)
{
    struct core *k = core_new();
    struct pair p = pair_open(k, 0);
    int count = 0, most = 0, turns = 0;
    static char all[1500 * 64]; /* in one piece: a socket holds few small ones */
    size_t len = 0;
    for (int i = 0; i < 1500; i++) len += (size_t)sprintf(all + len, "HPUB a 32 34\r\n" HEADERS "hi\r\n");
    CHECK_EQ(pair_send(&p, all, len), len);
    while (count < 1500 && turns++ < 100) {
        char steps[16], error[16];
        int n = told(k, steps, error);
        count += n;
        if (n > most) most = n;
    }
    CHECK_EQ(count, 1500);
    CHECK(most <= 1024);
    pair_close(&p);
    spl_free(k);
}

/* Whatever allocation fails: a trace may be lost or told without what peers did; the message goes on or its publisher is closed. */
static void short_of_memory(void)
{
    for (long nth = 0; nth < 60; nth++) {
        struct core *k = among_peers();
        struct pair p = pair_open(k, 0);
        char steps[16], error[16];
        spl_account_trace(k, 0, "t", 1, 100);
        pair_say(&p, "SUB r 1\r\nSUB > q 2\r\n");
        publish(&p, "r");
        alloc_fail((uint64_t)nth, 1);
        told(k, steps, error);
        report(k, 1, 1, "", 0);
        report(k, 2, 1, "", 0);
        alloc_fail_off();
        told(k, steps, error);
        pair_close(&p);
        spl_free(k);
    }
}

int main(void)
{
    headers();
    one_core();
    malformed();
    peers();
    order();
    huge();
    too_many();
    flood();
    short_of_memory();
    return check_report();
}
