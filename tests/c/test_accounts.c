/* Accounts: mappings, streams and services that cross them, and what a failed allocation costs. */
#include "../../csrc/answers.h"
#include "../../csrc/mapping.h"
#include "../../csrc/service.h"
#include "alloc.h"
#include "check.h"
#include "pair_client.h"

static struct transform *literal(const char *text)
{
    struct transform *t = transform_new(-1);
    if (!t || transform_step(t, STEP_TEXT, text, strlen(text), NULL, 0, 0) < 0) abort();
    return t;
}

/* head.TOKEN, TOKEN having this position in the source */
static struct transform *renamed(const char *head, uint32_t token)
{
    struct transform *t = literal(head);
    if (transform_step(t, STEP_TOKEN, "", 0, &token, 1, 0) < 0) abort();
    return t;
}

static bool gives(const struct transform *t, const char *subject, const char *expected)
{
    struct text out;
    text_init(&out);
    transform_apply(t, subject, strlen(subject), 7, &out);
    bool same = !out.failed && out.len == strlen(expected) && memcmp(out.p, expected, out.len) == 0;
    if (!same) printf("%s: %.*s, not %s\n", subject, (int)out.len, out.p, expected);
    text_free(&out);
    return same;
}

static void steps(void)
{
    static const struct {
        int kind;
        int64_t number;
        const char *text, *subject, *expected;
    } cases[] = {
        {STEP_TOKEN, 0, "", "a.bc", "bc"},
        {STEP_TOKEN, 0, "", "a", ""},
        {STEP_SPLIT, 0, "-", "a.-b--c-", "b.c"},
        {STEP_SPLIT, 0, "-", "a.---", ""},
        {STEP_SPLIT, 0, "--", "a.b--c-d", "b.c-d"},
        {STEP_SPLIT, 0, "", "a.bcd", "b.c.d"},
        {STEP_SPLIT_FROM_LEFT, 2, "", "a.bcde", "bc.de"},
        {STEP_SPLIT_FROM_LEFT, 4, "", "a.bcde", "bcde"},
        {STEP_SPLIT_FROM_RIGHT, 1, "", "a.bcde", "bcd.e"},
        {STEP_SPLIT_FROM_RIGHT, -1, "", "a.bcde", "bcde"},
        {STEP_SLICE_FROM_LEFT, 3, "", "a.bcdefgh", "bcd.efg.h"},
        {STEP_SLICE_FROM_RIGHT, 3, "", "a.bcdefgh", "b.cde.fgh"},
        {STEP_SLICE_FROM_RIGHT, 3, "", "a.bcdefg", "bcd.efg"},
        {STEP_SLICE_FROM_LEFT, 0, "", "a.bcd", "bcd"},
        {STEP_LEFT, 2, "", "a.bcd", "bc"},
        {STEP_RIGHT, 2, "", "a.bcd", "cd"},
        {STEP_RANDOM, 5, "", "a.b", "2"},
        {STEP_RANDOM, 0, "", "a.b", "0"},
        {STEP_PARTITION, 0, "", "a.b", "0"},
        {STEP_PARTITION, 1, "", "a.b", "0"},
    };
    uint32_t second = 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct transform *t = transform_new(-1);
        CHECK(transform_step(t, cases[i].kind, cases[i].text, strlen(cases[i].text), &second, 1, cases[i].number) == 0);
        CHECK(gives(t, cases[i].subject, cases[i].expected));
        transform_free(t);
    }
    struct transform *t = transform_new(1);
    CHECK(gives(t, "a.b.c", "b.c"));
    CHECK(transform_step(t, STEP_TEXT, "x", 1, NULL, 0, 0) == 0);
    CHECK(gives(t, "a.b.c", "x.b.c"));
    CHECK(transform_step(t, STEP_SPLIT, "-", 1, NULL, 0, 0) < 0);
    CHECK(transform_step(t, 99, "", 0, NULL, 0, 0) < 0);
    transform_free(t);
}

static void patterns_meet(void)
{
    static const char *cases[][3] = {
        {"a.*", "*.b", "a.b"}, {"a.>", "*.b.c", "a.b.c"}, {">", "a.*", "a.*"},   {"a.>", "a.b.>", "a.b.>"},
        {"*", ">", "*"},       {"a.b", "a.b", "a.b"},     {"*.*", "a.>", "a.*"}, {"a.>", "*.>", "a.>"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int turn = 0; turn < 2; turn++) {
            const char *a = cases[i][turn], *b = cases[i][1 - turn];
            char out[64];
            size_t n = subject_intersect(a, strlen(a), b, strlen(b), NULL);
            CHECK(n == subject_intersect(a, strlen(a), b, strlen(b), out));
            CHECK(n == strlen(cases[i][2]) && memcmp(out, cases[i][2], n) == 0);
        }
    }
}

static bool maps(struct mappings *all, const char *subject, uint64_t random, const char *expected)
{
    struct text out;
    text_init(&out);
    bool mapped = mappings_apply(all, subject, strlen(subject), random, &out);
    bool same = mapped == (expected != NULL) &&
                (!mapped || (out.len == strlen(expected) && memcmp(out.p, expected, out.len) == 0));
    if (!same) printf("%s: %d %.*s\n", subject, mapped, (int)out.len, out.p);
    text_free(&out);
    return same;
}

/* What is remembered of the last subject is never the answer about another one, nor after a change, nor a matter of chance. */
static void mapped_again(void)
{
    struct mappings *all = NULL;
    CHECK(mappings_add(&all, "a.*", 3) == 0 && mappings_to(all, renamed("b", 1), 100) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK(maps(all, "a.1", 0, "b.1") && maps(all, "a.1", 0, "b.1"));
        CHECK(maps(all, "a.2", 0, "b.2") && maps(all, "a.22", 0, "b.22") && maps(all, "a", 0, NULL));
        CHECK(maps(all, "x", 0, NULL) && maps(all, "x", 0, NULL));
    }
    CHECK(mappings_add(&all, "x", 1) == 0);
    CHECK(maps(all, "x", 0, "") && maps(all, "x", 0, "")); /* no destination yet: lost */
    CHECK(mappings_to(all, literal("y"), 50) == 0);
    CHECK(maps(all, "x", 49, "y") && maps(all, "x", 50, "") && maps(all, "x", 49, "y"));
    CHECK(mappings_to(all, literal("z"), 100) == 0);
    CHECK(maps(all, "x", 50, "z") && maps(all, "x", 49, "y"));
    CHECK(mappings_add(&all, "r", 1) == 0);
    struct transform *random = transform_new(-1);
    CHECK(transform_step(random, STEP_RANDOM, "", 0, NULL, 0, 5) == 0 && mappings_to(all, random, 100) == 0);
    CHECK(maps(all, "r", 100, "1") && maps(all, "r", 200, "2"));
    CHECK(maps(all, "a.1", 0, "b.1"));
    mappings_free(all);
}

/* $G exports the stream s.* and the service q; MID passes q on as hop; IMP imports the stream as in.* and the service as ask. */
static struct core *three_accounts(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    int mid = spl_account(k, "MID", 3), imp = spl_account(k, "IMP", 3);
    CHECK(mid == 1 && imp == 2);
    CHECK(spl_account_label(k, mid, "\"MID\"", 5) == 0 && spl_account_label(k, imp, "\"IMP\"", 5) == 0);
    CHECK(spl_stream_import(k, imp, 0, "in.*", 4, renamed("in", 1), renamed("s", 1), 0) == 0);
    CHECK(spl_service_export(k, 0, 0, 0, 0) == 0 && spl_service_export(k, mid, 1, 60000, 0) == 0);
    CHECK(spl_service_import(k, mid, 0, 0, "hop", 3, literal("q"), 0) == 0);
    CHECK(spl_service_import(k, imp, mid, 0, "ask", 3, literal("hop"), 1) == 0);
    CHECK(spl_service_import(k, imp, mid, 5, "no", 2, literal("hop"), 1) < 0);
    CHECK(spl_mapping(k, imp, "m", 1) == 0 && spl_mapping_to(k, imp, literal("ask"), 100) == 0);
    return k;
}

static struct pair open_in(struct core *k, int account)
{
    struct pair p = pair_open(k, 0);
    struct conn *c = pair_conn(&p);
    c->acc->counts->conns--;
    c->acc = k->accounts[account];
    c->acc->counts->conns++;
    c->start_ns = 1792931696120000000, c->rtt_ns = 7;
    conn_set_cid(k, c, (uint64_t)account + 40);
    return p;
}

/* The reply of the request that this responder has heard; "" if there is none. */
static void reply_of(struct pair *p, char reply[18])
{
    pair_listen(p);
    const char *at = memmem(p->heard, p->nheard, "_R_.", 4);
    bool there = at && at + 17 <= p->heard + p->nheard;
    if (there) memcpy(reply, at, 17);
    reply[there ? 17 : 0] = 0;
    p->nheard = 0;
}

static void a_dialog(void)
{
    struct core *k = three_accounts();
    struct pair exp = open_in(k, 0), imp = open_in(k, 2);
    pair_say(&exp, "SUB q 1\r\n");
    pair_say(&imp, "SUB in.> 1\r\nSUB in.7 2\r\nSUB box 9\r\n");
    pair_say(&exp, "PUB s.7 1\r\nx\r\n");
    pair_listen(&imp);
    CHECK(imp.nheard == 2 * strlen("MSG in.7 1 1\r\nx\r\n"));
    imp.nheard = 0;
    pair_say(&imp, "PUB m box 1\r\n?\r\n");
    pair_listen(&exp);
    /* Nobody has told who this is: what a connection itself shows. */
    static const char told[] =
        "Nats-Request-Info: {\"start\":\"2026-10-25T12:34:56.12Z\",\"id\":42,\"acc\":\"IMP\",\"svc\":\"MID\","
        "\"rtt\":7,\"kind\":\"Client\",\"client_type\":\"nats\"}\r\n";
    CHECK(memmem(exp.heard, exp.nheard, told, sizeof told - 1) != NULL);
    char reply[18], line[64];
    reply_of(&exp, reply);
    CHECK(reply[0]);
    CHECK(k->accounts[2]->services->own && k->accounts[1]->services->own);
    snprintf(line, sizeof line, "PUB %s 2\r\nok\r\n", reply);
    pair_say(&exp, line);
    CHECK(pair_heard(&imp, "MSG box 9 2\r\nok\r\n"));
    CHECK(!k->accounts[1]->services->own && k->accounts[2]->services->own); /* the second hop is streamed */
    pair_say(&imp, "UNSUB 9\r\n");
    CHECK(!k->accounts[2]->services->own);
    pair_say(&imp, "SUB b.> 9\r\nPUB ask b.1 0\r\n\r\nPUB ask b.2 0\r\n\r\n");
    CHECK(k->accounts[1]->services->own && k->accounts[2]->services->own);
    pair_say(&imp, "UNSUB 9\r\n");
    CHECK(!k->accounts[2]->services->own && !k->accounts[1]->services->own);
    pair_say(&exp, "UNSUB 1\r\n");
    pair_say(&imp, "SUB box 9\r\nPUB ask box 0\r\n\r\n");
    CHECK(pair_heard(&imp, "HMSG box 9 35 35\r\nNATS/1.0 503\r\nNats-Subject: ask\r\n\r\n\r\n"));
    CHECK(!k->accounts[2]->services->own && !k->accounts[1]->services->own);
    pair_close(&exp), pair_close(&imp);
    spl_free(k);
}

/* Requests that nobody answers: an account's oldest make room for its newest, and take those along that wait for their sake. */
static void too_many_to_wait_for(void)
{
    struct core *k = three_accounts();
    struct account *mid = k->accounts[1], *imp = k->accounts[2];
    struct service_export *far = k->accounts[0]->services->exports, *near = mid->services->exports;
    static char reply[4000];
    memset(reply, 'r', sizeof reply);
    struct answer *first = answer_expect(k, near, imp, reply, sizeof reply, false, NULL);
    CHECK(first && answer_expect(k, far, mid, first->text, first->name_len, false, NULL));
    char name[ANSWER_NAME];
    memcpy(name, first->text, sizeof name);
    uint32_t count = 0;
    for (size_t most = ANSWERS_ROOM / sizeof reply + 10; answer_find(k, mid, name, sizeof name) && count < most;
         count++)
        CHECK(answer_expect(k, near, imp, reply, sizeof reply, false, NULL) != NULL);
    CHECK(count > ANSWERS_ROOM / (sizeof reply + 300) && !answer_find(k, mid, name, sizeof name));
    CHECK(!mid->services->own && !mid->services->own_oldest && !mid->services->own_bytes);
    CHECK(imp->services->own_bytes <= ANSWERS_ROOM);
    size_t before = imp->services->own_bytes;
    CHECK(answer_expect(k, far, mid, reply, 1, false, NULL) &&
          imp->services->own_bytes == before); /* another account's affair */
    while (imp->services->own) answer_drop(k, imp->services->own, 503);
    CHECK(!imp->services->own_oldest && !imp->services->own_bytes);
    spl_free(k);
}

static int waiting(const struct core *k, int account)
{
    int n = 0;
    for (const struct answer *a = k->accounts[account]->services->own; a; a = a->next_own) n++;
    return n;
}

/* Many requests wait for answers on one subject, others each on their own; answered in any order, the others go on waiting. */
static void many_wait(void)
{
    struct core *k = three_accounts();
    struct pair exp = open_in(k, 0), mid = open_in(k, 1);
    char replies[400][18], line[256], lengthy[100];
    memset(lengthy, 'x', sizeof lengthy);
    pair_say(&exp, "SUB q 1\r\n");
    pair_say(&mid, "SUB box 1\r\nSUB own.> 2\r\n");
    for (int i = 0; i < 400; i++) {
        if (i % 2)
            snprintf(line, sizeof line, "PUB hop own.%d.%.*s 0\r\n\r\n", i, i % 100, lengthy);
        else
            snprintf(line, sizeof line, "PUB hop box 0\r\n\r\n");
        pair_say(&mid, line);
        reply_of(&exp, replies[i]);
        CHECK(replies[i][0]);
    }
    CHECK(waiting(k, 1) == 400);
    for (int i = 0; i < 300; i++) { /* 7 and 400 have no common factor: every number once */
        snprintf(line, sizeof line, "PUB %s 1\r\nx\r\n", replies[i * 7 % 400]);
        pair_say(&exp, line);
        pair_say(&exp, line); /* the second is one too many */
        pair_listen(&mid);
    }
    static const char box[] = "MSG box 1 1\r\nx\r\n";
    size_t heard = 0;
    for (const char *at = mid.heard; (at = memmem(at, (size_t)(mid.heard + mid.nheard - at), box, sizeof box - 1));
         at++)
        heard++;
    CHECK(heard == 150);
    CHECK(waiting(k, 1) == 100);
    pair_say(&mid, "UNSUB 1\r\n");
    CHECK(waiting(k, 1) == 50);
    pair_say(&mid, "UNSUB 2\r\n");
    CHECK(waiting(k, 1) == 0);
    pair_close(&exp), pair_close(&mid);
    spl_free(k);
}

static bool is_told(struct pair *service, struct pair *client, const char *ask, const char *expected)
{
    pair_say(client, ask);
    pair_listen(service);
    char line[256];
    int n = snprintf(line, sizeof line, "\r\nNats-Request-Info: {%s}\r\n", expected);
    bool told = memmem(service->heard, service->nheard, line, (size_t)n) != NULL;
    if (!told) printf("not %s: %.*s\n", expected, (int)service->nheard, service->heard);
    service->nheard = 0;
    return told;
}

static int identify(struct pair *p, const char *json) { return spl_conn_identity(p->k, p->handle, json, strlen(json)); }

/* What is remembered of the last who asked is never told of another one, nor after it has changed. */
static void who_asks(void)
{
    static const char hop[] = "PUB hop 0\r\n\r\n", ask[] = "PUB ask 0\r\n\r\n";
#define FAR(user, server)                                                                                              \
    "\"start\":\"2026-10-25T12:34:56.12Z\",\"id\":42,\"acc\":\"IMP\",\"svc\":\"MID\"" user ",\"rtt\":7" server         \
    ",\"kind\":\"Client\",\"client_type\":\"nats\""
    struct core *k = three_accounts();
    struct pair exp = open_in(k, 0), one = open_in(k, 1), two = open_in(k, 1), far = open_in(k, 2);
    pair_say(&exp, "SUB q 1\r\n");
    for (int i = 0; i < 2; i++) {
        CHECK(is_told(&exp, &one, hop, "\"acc\":\"MID\",\"rtt\":7"));
        pair_conn(&one)->rtt_ns = 5;
        CHECK(is_told(&exp, &one, hop, "\"acc\":\"MID\",\"rtt\":5"));
        CHECK(is_told(&exp, &two, hop, "\"acc\":\"MID\",\"rtt\":7"));
        CHECK(identify(&far, ",\"user\":\"a\"") == 0);
        CHECK(is_told(&exp, &far, ask, FAR(",\"user\":\"a\"", "")));
        CHECK(is_told(&exp, &far, ask, FAR(",\"user\":\"a\"", "")));
        CHECK(identify(&far, ",\"user\":\"b\"") == 0);
        CHECK(is_told(&exp, &far, ask, FAR(",\"user\":\"b\"", "")));
        CHECK(spl_where(k, ",\"server\":\"s\"", 13) == 0);
        CHECK(is_told(&exp, &far, ask, FAR(",\"user\":\"b\"", ",\"server\":\"s\"")));
        CHECK(spl_where(k, "", 0) == 0);
        CHECK(is_told(&exp, &one, "HPUB hop 17 17\r\nNATS/1.0\r\nA:b\r\n\r\n\r\n", "\"acc\":\"MID\",\"rtt\":5"));
        pair_conn(&one)->rtt_ns = 7;
    }
#undef FAR
    pair_close(&exp), pair_close(&one), pair_close(&two), pair_close(&far);
    spl_free(k);
}

/* The line says how long the request is, whatever the one before it was like. */
static void lengths(void)
{
    static const size_t sizes[] = {0, 1, 9, 10, 900, 940, 941, 9999, 10, 100, 0};
    static char data[10000], ask[10100], expected[10200];
    struct core *k = three_accounts();
    struct pair exp = open_in(k, 0), mid = open_in(k, 1);
    pair_say(&exp, "SUB q 1\r\n");
    pair_say(&mid, "SUB box 1\r\n");
    memset(data, 'x', sizeof data);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes * 4; i++) {
        size_t n = sizes[i / 4];
        bool reply = i & 1, headed = i & 2;
        const char *own = headed ? "NATS/1.0\r\nA:b\r\n" : "NATS/1.0\r\n";
        char name[18] = "";
        if (headed)
            snprintf(ask, sizeof ask, "HPUB hop %s17 %zu\r\n%s\r\n%.*s\r\n", reply ? "box " : "", 17 + n, own, (int)n,
                     data);
        else
            snprintf(ask, sizeof ask, "PUB hop %s%zu\r\n%.*s\r\n", reply ? "box " : "", n, (int)n, data);
        pair_say(&mid, ask);
        if (reply) {
            pair_listen(&exp);
            const char *at = memmem(exp.heard, exp.nheard, "_R_.", 4);
            CHECK(at);
            if (at) memcpy(name, at, 17);
        }
        size_t headers = strlen(own) + strlen("Nats-Request-Info: {\"acc\":\"MID\",\"rtt\":7}\r\n\r\n");
        snprintf(expected, sizeof expected,
                 "HMSG q 1 %s%s%zu %zu\r\n%sNats-Request-Info: {\"acc\":\"MID\",\"rtt\":7}\r\n\r\n%.*s\r\n", name,
                 reply ? " " : "", headers, headers + n, own, (int)n, data);
        CHECK(pair_heard(&exp, expected));
    }
    pair_close(&exp), pair_close(&mid);
    spl_free(k);
}

static void say_if_there(struct pair *p, const char *text)
{
    if (pair_conn(p)) pair_say(p, text);
}

/* Whatever cannot be allocated: nothing is lost but messages and connections. */
static void without_memory(void)
{
    uint64_t before = alloc_failures();
    for (uint64_t after = 0; after < 60; after++) {
        struct core *k = three_accounts();
        struct pair exp = open_in(k, 0), imp = open_in(k, 2);
        alloc_fail(after, 1 + after % 3);
        say_if_there(&exp, "SUB q 1\r\nSUB q g 2\r\n");
        say_if_there(
            &imp,
            "SUB in.> 1\r\nSUB in.7 2\r\nSUB box 9\r\nPUB m box 1\r\n?\r\nHPUB m box 12 13\r\nNATS/1.0\r\n\r\n?\r\n");
        say_if_there(&exp, "PUB s.7 1\r\nx\r\n");
        char reply[18], line[64];
        reply_of(&exp, reply);
        snprintf(line, sizeof line, "PUB %s box 2\r\nok\r\n", reply[0] ? reply : "q");
        say_if_there(&exp, line);
        say_if_there(&imp, "UNSUB 1\r\nUNSUB 9\r\n");
        alloc_fail_off();
        pair_close(&exp), pair_close(&imp);
        spl_free(k);
    }
    CHECK(alloc_failures() - before > 30);
}

/* An export that does not say how long its answers may take. */
static void two_minutes(void)
{
    struct core *k = three_accounts();
    struct pair exp = open_in(k, 0), mid = open_in(k, 1);
    char reply[18], line[64];
    pair_say(&exp, "SUB q 1\r\n");
    pair_say(&mid, "SUB box 9\r\nPUB hop box 1\r\n?\r\n");
    reply_of(&exp, reply);
    uint64_t asked = k->accounts[1]->services->own->at;
    for (int late = 0; late < 2; late++) {
        k->now = asked + 119999 + (uint64_t)late;
        service_expire(k);
        CHECK((k->accounts[1]->services->own == NULL) == late);
    }
    snprintf(line, sizeof line, "PUB %s 4\r\nlate\r\n", reply);
    pair_say(&exp, line);
    CHECK(pair_heard(&mid, ""));
    pair_close(&exp), pair_close(&mid);
    spl_free(k);
}

/* What monitoring is told: answers that are waited for, in pieces, and what a sublist holds. */
static void are_shown(void)
{
    enum { ASKED = 600 };
    struct core *k = three_accounts();
    k->accounts[1]->services->exports->threshold = DEFAULT_THRESHOLD;
    struct spl_account_info before, info;
    spl_account_get(k, 1, &before);
    CHECK(before.own > 0 && before.subs == 0 && before.shadows == 0 && before.inserts == 0);
    struct pair exp = open_in(k, 0), imp = open_in(k, 2);
    pair_say(&exp, "SUB q 1\r\n");
    pair_say(&imp, "SUB in.> 1\r\nSUB box.* 9\r\n");
    spl_account_get(k, 0, &info);
    CHECK(info.subs == 1 && info.shadows > 0 && info.inserts == info.subs + info.shadows);
    char line[64];
    for (int i = 0; i < ASKED; i++) {
        snprintf(line, sizeof line, "PUB ask box.%d 0\r\n\r\n", i);
        pair_say(&imp, line);
        exp.nheard = 0;
        pair_listen(&exp);
    }
    spl_account_get(k, 1, &info);
    CHECK(!before.asked && info.asked && info.own == before.own);
    static char buf[1 << 12];
    for (uint32_t account = 0; account < 3; account++) {
        struct spl_answers q = {.account = account};
        static bool seen[ASKED];
        uint32_t found = 0, steps = 0;
        memset(seen, 0, sizeof seen);
        while (!q.done && steps++ < 10000) {
            size_t n = spl_answers(k, &q, buf, sizeof buf);
            for (size_t at = 0; at < n;) {
                struct spl_answer_record r;
                memcpy(&r, buf + at, sizeof r);
                const char *name = buf + at + sizeof r, *reply = name + r.name_len;
                CHECK(r.kind == SPL_RECORD_ANSWER && memcmp(name, "_R_.", 4) == 0);
                CHECK(r.account_len == 3 && at + r.size <= n);
                if (account == 1) seen[atoi(reply + 4)] = memcmp(reply, "box.", 4) == 0;
                at += r.size;
                found++;
            }
        }
        CHECK_EQ(found, account == 2 ? 0 : ASKED); /* every request crosses two accounts */
        for (int i = 0; account == 1 && i < ASKED; i++) CHECK(seen[i]);
        CHECK(account == 2 || steps > 5);
    }
    struct spl_answers q = {.account = 0};
    size_t n;
    uint32_t bucket;
    do bucket = q.bucket, n = spl_answers(k, &q, buf, 8);
    while (q.bucket != bucket && !q.done);
    CHECK(n == 0 && !q.done); /* no room for a single one */
    pair_close(&exp), pair_close(&imp);
    spl_free(k);
}

int main(void)
{
    steps();
    patterns_meet();
    mapped_again();
    a_dialog();
    too_many_to_wait_for();
    two_minutes();
    are_shown();
    many_wait();
    who_asks();
    lengths();
    without_memory();
    return check_report();
}
