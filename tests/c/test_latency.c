/* Service latency: each request that is measured ends as one event, whatever becomes of it. */
#include "../../csrc/answers.h"
#include "../../csrc/latency.h"
#include "alloc.h"
#include "check.h"
#include "pair_client.h"

#define SERVER "ABCDEFGH"
#define MS 1000000ull

/* What the last turns told. */
static struct {
    int count;
    struct spl_latency head;
    uint32_t account;
    char text[8192];
    const char *results, *requestor, *responder, *headers;
} told;

static void tell(const struct spl_event *e)
{
    if (!e->len) return; /* there was no memory for it */
    memcpy(&told.head, e->data, sizeof told.head);
    const char *from = e->data + sizeof told.head;
    char *to = told.text;
    const uint32_t lens[] = {told.head.results_len, told.head.requestor_len, told.head.responder_len,
                             told.head.headers_len};
    const char **texts[] = {&told.results, &told.requestor, &told.responder, &told.headers};
    size_t sum = sizeof told.head;
    for (int i = 0; i < 4; i++) {
        *texts[i] = to;
        memcpy(to, from, lens[i]);
        from += lens[i], to += lens[i], *to++ = 0, sum += lens[i];
    }
    CHECK_EQ(sum, e->len);
    told.account = e->reason;
    told.count++;
}

static void run(struct core *k)
{
    for (int quiet = 0; quiet < 3; quiet++) {
        struct spl_event *events;
        int n = spl_turn(k, 0, &events);
        for (int i = 0; i < n; i++)
            if (events[i].type == SPL_LATENCY) tell(&events[i]);
        if (n || k->runnable || k->dying) quiet = 0;
    }
}

static void say(struct pair *p, const char *text)
{
    told.count = 0;
    CHECK_EQ(pair_send(p, text, strlen(text)), strlen(text));
    run(p->k);
}

static bool was(uint32_t status) { return told.count == 1 && told.head.status == status; }

/* $G exports q (all requests), h (those with headers), deep; MID passes deep on as hop; IMP imports all, q also as shared. */
static struct core *measured(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    int mid = spl_account(k, "MID", 3), imp = spl_account(k, "IMP", 3);
    CHECK(mid == 1 && imp == 2);
    CHECK(spl_account_label(k, 0, "\"$G\"", 4) == 0 && spl_account_label(k, imp, "\"IMP\"", 5) == 0);
    CHECK(spl_account_label(k, mid, "\"MID\"", 5) == 0 && spl_where(k, ",\"server\":\"s\"", 13) == 0);
    CHECK(spl_service_export(k, 0, 0, 40, 0) == 0 && spl_service_export(k, 0, 0, 0, 0) == 1);
    CHECK(spl_service_export(k, 0, 0, 60, 0) == 2 && spl_service_export(k, 0, 1, 0, 0) == 3);
    CHECK(spl_service_export(k, mid, 0, 20, 0) == 0);
    CHECK(spl_service_latency(k, 0, 0, "lat.q", 5, 100, SERVER) == 0);
    CHECK(spl_service_latency(k, 0, 1, "lat.h", 5, 0, SERVER) == 0);
    CHECK(spl_service_latency(k, 0, 2, "lat.deep", 8, 1, SERVER) == 0);
    CHECK(spl_service_latency(k, 0, 2, "lat.deep", 8, 100, SERVER) == 0);
    CHECK(spl_service_latency(k, 0, 3, "lat.s", 5, 100, SERVER) < 0); /* streamed */
    CHECK(spl_service_latency(k, 0, 4, "lat.s", 5, 100, SERVER) < 0);
    CHECK(spl_service_latency(k, 9, 0, "lat.s", 5, 100, SERVER) < 0);
    CHECK(spl_service_latency(k, mid, 0, "lat.hop", 7, 100, SERVER) == 0);
    CHECK(spl_service_import(k, imp, 0, 0, "q", 1, NULL, 0) == 0);
    CHECK(spl_service_import(k, imp, 0, 1, "h", 1, NULL, 1) == 0);
    struct transform *deep = transform_new(-1);
    CHECK(transform_step(deep, 0, "deep", 4, NULL, 0, 0) == 0);
    CHECK(spl_service_import(k, mid, 0, 2, "hop", 3, deep, 0) == 0);
    CHECK(spl_service_import(k, imp, mid, 0, "hop", 3, NULL, 0) == 0);
    return k;
}

#define SINCE "{\"start\":\"1970-01-01T00:00:00Z\","

static struct pair open_in(struct core *k, int account, uint64_t cid, uint64_t rtt_ns, const char *identity)
{
    struct pair p = pair_open(k, 0);
    struct conn *c = pair_conn(&p);
    c->acc->counts->conns--;
    c->acc = k->accounts[account];
    c->acc->counts->conns++;
    c->rtt_ns = rtt_ns, c->cid = cid;
    CHECK_EQ(spl_conn_identity(k, p.handle, identity, strlen(identity)), 0);
    return p;
}

/* A core with a requestor, a responder, and somebody who wants the results in both accounts. */
struct scene {
    struct core *k;
    struct pair requestor, responder, monitor, middle;
};

static struct scene scene_new(void)
{
    struct scene s = {.k = measured()};
    s.requestor = open_in(s.k, 2, 1, 3 * MS, ",\"user\":\"u\"");
    s.responder = open_in(s.k, 0, 2, 1, ",\"user\":\"r\"");
    s.monitor = open_in(s.k, 0, 3, 1, "");
    s.middle = open_in(s.k, 1, 4, 1, "");
    say(&s.monitor, "SUB lat.> 1\r\n");
    say(&s.middle, "SUB lat.> 1\r\n");
    say(&s.responder, "SUB q 1\r\nSUB h 2\r\nSUB deep 3\r\n");
    say(&s.requestor, "SUB box 9\r\n");
    return s;
}

static void scene_end(struct scene *s)
{
    pair_close(&s->requestor), pair_close(&s->responder), pair_close(&s->monitor), pair_close(&s->middle);
    spl_free(s->k);
}

/* The reply subject of the last request that the responder has heard; "" if there is none. */
static const char *reply_of(struct scene *s)
{
    static char reply[64];
    size_t n = 0;
    pair_listen(&s->responder);
    const char *end = s->responder.heard + s->responder.nheard, *at = s->responder.heard;
    for (; (at = memmem(at, (size_t)(end - at), " _R_.", 5)); at += n) {
        const char *blank = memchr(at + 1, ' ', (size_t)(end - at - 1));
        n = blank ? (size_t)(blank - at - 1) : 0;
        if (!n || n >= sizeof reply) break;
        memcpy(reply, at + 1, n);
    }
    reply[n] = 0;
    s->responder.nheard = 0;
    return reply;
}

static void answer(struct scene *s, const char *reply)
{
    char line[128];
    snprintf(line, sizeof line, "PUB %s 2\r\nok\r\n", reply);
    say(&s->responder, line);
}

static bool nothing_left(const struct core *k)
{
    return !k->accounts[0]->services->exports->oldest && !k->accounts[1]->services->own &&
           !k->accounts[2]->services->own;
}

static void answered(void)
{
    struct scene s = scene_new();
    say(&s.requestor, "PUB q box 1\r\n?\r\n");
    CHECK_EQ(told.count, 0);
    const char *reply = reply_of(&s);
    CHECK(latency_tracked(reply, strlen(reply)) && strcmp(reply + 17, "." SERVER ".T") == 0);
    answer(&s, reply);
    CHECK(was(200) && told.account == 0 && !strcmp(told.results, "lat.q") && !strcmp(told.headers, ""));
    CHECK(!strcmp(told.requestor, "{\"acc\":\"IMP\",\"rtt\":3000000}"));
    CHECK(!strcmp(told.responder, SINCE "\"id\":2,\"acc\":\"$G\",\"user\":\"r\",\"rtt\":1,\"server\":\"s\",\"kind\":"
                                        "\"Client\",\"client_type\":\"nats\"}"));
    CHECK(told.head.service_ns > 0 && told.head.total_ns > told.head.service_ns + told.head.system_ns + 3 * MS);
    CHECK(llabs(clock_real_ns() - told.head.start_ns - 3 * (int64_t)MS) < 60000 * (int64_t)MS);
    CHECK(pair_heard(&s.requestor, "MSG box 9 2\r\nok\r\n"));
    answer(&s, reply); /* once more: nobody gets it, and it is no second measurement */
    CHECK(told.count == 0 && pair_heard(&s.requestor, "") && nothing_left(s.k));
    /* Round trips are estimates: a service cannot have taken less than no time. */
    pair_conn(&s.responder)->rtt_ns = 1000000 * MS;
    say(&s.requestor, "PUB q box 1\r\n?\r\n");
    answer(&s, reply_of(&s));
    CHECK(was(200) && told.head.service_ns == 0);
    scene_end(&s);
}

static void by_headers(void)
{
    struct scene s = scene_new();
    say(&s.requestor, "PUB h box 1\r\n?\r\n");
    CHECK_EQ(strlen(reply_of(&s)), ANSWER_NAME);
    say(&s.requestor, "HPUB h box 29 30\r\nNATS/1.0\r\nX-B3-TraceId: 7\r\n\r\n?\r\n");
    answer(&s, reply_of(&s));
    CHECK(was(200) && !strcmp(told.headers, "X-B3-TraceId: 7\r\n") && !strcmp(told.results, "lat.h"));
    CHECK(!strcmp(told.requestor, SINCE "\"id\":1,\"acc\":\"IMP\",\"user\":\"u\",\"rtt\":3000000,\"server\":\"s\","
                                        "\"kind\":\"Client\",\"client_type\":\"nats\"}"));
    scene_end(&s);
}

static void unanswered(void)
{
    struct scene s = scene_new();
    say(&s.requestor, "PUB q 1\r\n?\r\n");
    CHECK(was(400) && !told.head.responder_len && !told.head.total_ns && nothing_left(s.k));
    say(&s.requestor, "SUB two 8\r\nPUB q two 1\r\n?\r\n");
    say(&s.requestor, "UNSUB 8\r\n");
    CHECK(was(408) && !told.head.service_ns && nothing_left(s.k));
    say(&s.responder, "UNSUB 1\r\n");
    say(&s.requestor, "PUB q box 1\r\n?\r\n");
    CHECK(was(503) && nothing_left(s.k));
    say(&s.responder, "SUB q 1\r\n");
    say(&s.requestor, "PUB q box 1\r\n?\r\n");
    told.count = 0;
    for (int i = 0; i < 50 && !told.count; i++) {
        struct pollfd ready = {.fd = spl_fd(s.k), .events = POLLIN};
        poll(&ready, 1, 1000);
        run(s.k);
    }
    CHECK(was(504) && nothing_left(s.k));
    /* The requestor leaves. */
    struct pair other = open_in(s.k, 2, 5, 4 * MS, "");
    say(&other, "SUB o 1\r\nPUB q o 1\r\n?\r\n");
    told.count = 0;
    pair_close(&other);
    run(s.k);
    CHECK(was(408) && !strcmp(told.requestor, "{\"acc\":\"IMP\",\"rtt\":4000000}"));
    /* It leaves, but somebody else waits for the answer. */
    other = open_in(s.k, 2, 6, 5 * MS, "");
    say(&other, "PUB q box 1\r\n?\r\n");
    pair_close(&other);
    run(s.k);
    answer(&s, reply_of(&s));
    CHECK(was(200) && !strcmp(told.requestor, "{\"acc\":\"IMP\",\"rtt\":5000000}"));
    scene_end(&s);
}

/* An event for nobody is not made. */
static void unheard(void)
{
    struct scene s = scene_new();
    say(&s.monitor, "UNSUB 1\r\n");
    say(&s.requestor, "PUB q 1\r\n?\r\nPUB q box 1\r\n?\r\n");
    answer(&s, reply_of(&s));
    CHECK(told.count == 0 && nothing_left(s.k));
    scene_end(&s);
}

static void chained(void)
{
    struct scene s = scene_new();
    say(&s.requestor, "PUB hop box 1\r\n?\r\n");
    answer(&s, reply_of(&s));
    CHECK(told.count == 2 && told.account == 1 && told.head.status == 200 && strstr(told.responder, "\"user\":\"r\""));
    CHECK(pair_heard(&s.requestor, "MSG box 9 2\r\nok\r\n") && nothing_left(s.k));
    /* Nobody waits any more, but how long the responder takes is told to its account all the same. */
    say(&s.requestor, "PUB hop box 1\r\n?\r\n");
    say(&s.requestor, "UNSUB 9\r\n");
    CHECK(was(408) && told.account == 1);
    answer(&s, reply_of(&s));
    CHECK(was(200) && told.account == 0 && nothing_left(s.k));
    say(&s.responder, "UNSUB 3\r\n");
    say(&s.requestor, "SUB box 9\r\nPUB hop box 1\r\n?\r\n");
    CHECK(told.count == 2 && told.account == 1 && told.head.status == 503 && nothing_left(s.k));
    scene_end(&s);
}

/* One in a hundred is a chance, not a rule; all or none would be. */
static void some(void)
{
    struct core *k = measured();
    struct message m = {.from = conn_new(k, -1, KIND_CLIENT), .acc = k->accounts[2]};
    m.from->acc = k->accounts[2];
    m.from->rtt_ns = 1;
    struct tracker t = {.percent = 30};
    int count = 0;
    for (int i = 0; i < 10000; i++) {
        struct measure *measure = latency_begin(k, &t, &m, false);
        count += measure != NULL;
        free(measure);
    }
    CHECK(count > 2600 && count < 3400);
    spl_free(k);
}

/* A requestor whose distance is not known is asked for it, once. */
static void distance(void)
{
    struct scene s = scene_new();
    struct conn *c = pair_conn(&s.requestor);
    c->rtt_ns = 0;
    c->ponged = true;
    say(&s.requestor, "PUB q box 1\r\n?\r\nPUB q box 1\r\n?\r\n");
    CHECK(pair_heard(&s.requestor, "PING\r\n"));
    say(&s.requestor, "PONG\r\n");
    CHECK(c->rtt_ns > 0);
    answer(&s, reply_of(&s));
    CHECK(was(200) && strstr(told.requestor, "\"rtt\":"));
    scene_end(&s);
}

/* Who answered, on its way between workers. */
static void as_bytes(void)
{
    struct scene s = scene_new();
    struct message m = {.from = pair_conn(&s.responder)};
    struct text bytes, again;
    struct responder r;
    text_init(&bytes);
    responder_write(s.k, &m, &bytes);
    CHECK(responder_read(&r, bytes.p, bytes.len) && r.rtt_ns == 1 && r.at_ns > 0 && r.at_ns <= clock_ns());
    CHECK(r.len > 20 && strstr(r.json, "\"id\":2,") != NULL);
    m.from = NULL, m.responder = &r; /* passed on by a third worker */
    text_init(&again);
    responder_write(s.k, &m, &again);
    CHECK(again.len == bytes.len && memcmp(again.p, bytes.p, bytes.len) == 0);
    for (size_t n = 0; n < bytes.len; n++) CHECK(responder_read(&r, bytes.p, n) == (n >= 16));
    text_free(&bytes), text_free(&again);
    scene_end(&s);
}

static void say_if_there(struct pair *p, const char *text)
{
    if (pair_conn(p)) say(p, text);
}

/* Whatever cannot be allocated: measurements, messages and connections may be lost, and nothing leaks. */
static void without_memory(void)
{
    uint64_t before = alloc_failures();
    for (uint64_t after = 0; after < 60; after++) {
        struct scene s = scene_new();
        alloc_fail(after, 1 + after % 3);
        say_if_there(&s.requestor, "SUB two 8\r\nPUB q two 1\r\n?\r\nPUB q 1\r\n?\r\nPUB q box 1\r\n?\r\n");
        say_if_there(&s.requestor,
                     "HPUB h box 29 30\r\nNATS/1.0\r\nX-B3-TraceId: 7\r\n\r\n?\r\nPUB hop box 1\r\n?\r\n");
        char line[128];
        snprintf(line, sizeof line, "PUB %s box 2\r\nok\r\nUNSUB 1\r\n", reply_of(&s));
        say_if_there(&s.responder, line);
        say_if_there(&s.requestor, "UNSUB 8\r\nPUB q box 1\r\n?\r\n");
        alloc_fail_off();
        scene_end(&s);
    }
    CHECK(alloc_failures() - before > 30);
}

int main(void)
{
    answered();
    by_headers();
    unanswered();
    unheard();
    chained();
    some();
    distance();
    as_bytes();
    without_memory();
    return check_report();
}
