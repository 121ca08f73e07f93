/* The server's own subscriptions and messages. */
#include "alloc.h"
#include "check.h"
#include "pair_client.h"

static struct spl_parts parts(const char *subject, const char *reply, const char *headers, const char *payload)
{
    return (struct spl_parts){.subject = subject,
                              .reply = reply,
                              .headers = headers,
                              .payload = payload,
                              .subject_len = (uint32_t)strlen(subject),
                              .reply_len = (uint32_t)strlen(reply),
                              .headers_len = (uint32_t)strlen(headers),
                              .payload_len = (uint32_t)strlen(payload)};
}

static bool is(const char *p, uint32_t n, const char *text) { return n == strlen(text) && memcmp(p, text, n) == 0; }

static struct core *core_new(void)
{
    struct spl_config cfg = test_config(0, 1);
    return pair_core(&cfg);
}

/* The messages that the next turns tell of; checks the last one. */
static int told(struct core *k, uint32_t tag, const struct spl_parts *want)
{
    int count = 0;
    for (int quiet = 0; quiet < 3; quiet++) {
        struct spl_event *events;
        for (int i = spl_turn(k, 0, &events) - 1; i >= 0; i--) {
            if (events[i].type != SPL_MESSAGE) continue;
            const struct spl_parts *m = &events[i].message;
            quiet = 0, count++;
            CHECK_EQ(events[i].reason, tag);
            CHECK(is(m->subject, m->subject_len, want->subject) && is(m->reply, m->reply_len, want->reply));
            CHECK(is(m->headers, m->headers_len, want->headers) && is(m->payload, m->payload_len, want->payload));
        }
    }
    return count;
}

/* Without a turn: the events are to be seen. */
static void publish(struct pair *p, const char *text) { CHECK_EQ(pair_send(p, text, strlen(text)), strlen(text)); }

static void from_a_client(void)
{
    struct core *k = core_new();
    struct pair p = pair_open(k, 0);
    CHECK_EQ(spl_subscribe(k, 0, 7, "sys.*", 5), 0);
    CHECK_EQ(spl_subscribe(k, 0, 8, "bad..subject", 12), -1);
    CHECK_EQ(spl_subscribe(k, 9, 8, "sys", 3), -1);
    publish(&p, "PUB sys.a re 2\r\nhi\r\n");
    struct spl_parts plain = parts("sys.a", "re", "", "hi");
    CHECK_EQ(told(k, 7, &plain), 1);
    publish(&p, "HPUB sys.b 12 12\r\nNATS/1.0\r\n\r\n\r\n");
    struct spl_parts headed = parts("sys.b", "", "NATS/1.0\r\n\r\n", "");
    CHECK_EQ(told(k, 7, &headed), 1);
    spl_unsubscribe(k, 0, 7);
    publish(&p, "PUB sys.a 2\r\nhi\r\n");
    CHECK_EQ(told(k, 7, &plain), 0);
    pair_close(&p);
    spl_free(k);
}

static void to_clients(void)
{
    struct core *k = core_new();
    struct pair p = pair_open(k, 0);
    struct spl_parts m = parts("a.b", "back", "NATS/1.0\r\nX: y\r\n\r\n", "data"), n = parts("a.c", "", "", "");
    CHECK_EQ(spl_publish(k, 0, &m), 0);
    CHECK_EQ(spl_interest(k, 0, "a.b", 3), 0);
    CHECK_EQ(spl_subscribe(k, 0, 1, "a.>", 3), 0);
    CHECK_EQ(spl_interest(k, 0, "a.b", 3), 0); /* only our own */
    CHECK_EQ(spl_publish(k, 0, &m), 0);
    CHECK_EQ(told(k, 1, &m), 0); /* no echo */
    pair_say(&p, "SUB a.> 1\r\nSUB a.* q 2\r\nPING\r\n");
    CHECK(pair_heard(&p, "PONG\r\n"));
    CHECK_EQ(spl_interest(k, 0, "a.b", 3), 1);
    CHECK_EQ(spl_publish(k, 0, &m), 1);
    CHECK_EQ(spl_publish(k, 0, &n), 1);
    CHECK(pair_heard(&p, "HMSG a.b 1 back 18 22\r\nNATS/1.0\r\nX: y\r\n\r\ndata\r\n"
                         "HMSG a.b 2 back 18 22\r\nNATS/1.0\r\nX: y\r\n\r\ndata\r\n"
                         "MSG a.c 1 0\r\n\r\nMSG a.c 2 0\r\n\r\n"));
    spl_together(k, 1);
    CHECK_EQ(spl_publish(k, 0, &n), 1);
    CHECK_EQ(spl_publish(k, 0, &n), 1);
    CHECK(pair_heard(&p, "")); /* not before the last of them */
    spl_together(k, 0);
    CHECK(pair_heard(&p, "MSG a.c 1 0\r\n\r\nMSG a.c 2 0\r\n\r\nMSG a.c 1 0\r\n\r\nMSG a.c 2 0\r\n\r\n"));
    struct spl_parts bad = parts("a..b", "", "", "");
    CHECK_EQ(spl_publish(k, 0, &bad), -1);
    pair_close(&p);
    spl_free(k);
}

/* Whatever allocation fails: a message may be lost, nothing else. */
static void short_of_memory(void)
{
    for (long nth = 0; nth < 40; nth++) {
        struct core *k = core_new();
        struct pair p = pair_open(k, 0);
        alloc_fail((uint64_t)nth, 1);
        int open = spl_subscribe(k, 0, 1, "s", 1);
        struct spl_parts m = parts("t", "", "", "x");
        spl_publish(k, 0, &m);
        alloc_fail_off();
        publish(&p, "SUB t 1\r\nPUB s 0\r\n\r\n");
        struct spl_parts want = parts("s", "", "", "");
        CHECK_EQ(told(k, 1, &want), open == 0);
        CHECK_EQ(spl_publish(k, 0, &m), 1);
        pair_close(&p);
        spl_free(k);
    }
}

int main(void)
{
    from_a_client();
    to_clients();
    short_of_memory();
    return check_report();
}
