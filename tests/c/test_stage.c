/* Other tables for accounts that are in use: prepared beside the old ones, swapped at once, or forgotten. */
#include "../../csrc/answers.h"
#include "../../csrc/import.h"
#include "../../csrc/service.h"
#include "../../csrc/stage.h"
#include "alloc.h"
#include "check.h"
#include "pair_client.h"

static struct transform *literal(const char *text)
{
    struct transform *t = transform_new(-1);
    if (t && transform_step(t, STEP_TEXT, text, strlen(text), NULL, 0, 0) < 0) {
        transform_free(t);
        return NULL;
    }
    return t;
}

static struct transform *renamed(const char *head)
{
    uint32_t second = 1;
    struct transform *t = literal(head);
    if (t && transform_step(t, STEP_TOKEN, "", 0, &second, 1, 0) < 0) {
        transform_free(t);
        return NULL;
    }
    return t;
}

static struct pair open_in(struct core *k, int account)
{
    struct pair p = pair_open(k, 0);
    struct conn *c = pair_conn(&p);
    account_leave(c);
    c->acc = NULL;
    if (!account_bind(k, c, k->accounts[account])) abort();
    return p;
}

/* Account 0 exports the stream s.* and the services q and r; 1 imports s.* as `head`.*, and `remote` as ask, and maps m to ask.
 * Returns whether all could be said. */
static bool describe(struct core *k, const char *head, const char *remote)
{
    char to[16];
    snprintf(to, sizeof to, "%s.*", head);
    struct transform *show = renamed(head), *find = show ? renamed("s") : NULL;
    if (!find) {
        transform_free(show);
        return false;
    }
    if (spl_account_limits(k, 0, 0, -1, -1, -1) < 0 || spl_account_limits(k, 1, 1, 3, 4, 50) < 0) {
        transform_free(show);
        transform_free(find);
        return false;
    }
    if (spl_stream_import(k, 1, 0, to, strlen(to), show, find, 0) < 0) return false;
    int q = spl_service_export(k, 0, 0, 0, 0), r = q < 0 ? -1 : spl_service_export(k, 0, 0, 0, 0);
    struct transform *target = r < 0 ? NULL : literal(remote);
    if (!target || spl_service_import(k, 1, 0, remote[0] == 'q' ? q : r, "ask", 3, target, 0) < 0) return false;
    struct transform *mapped = spl_mapping(k, 1, "m", 1) < 0 ? NULL : literal("ask");
    return mapped && spl_mapping_to(k, 1, mapped, 100) == 0 && spl_account_label(k, 1, "\"IMP\"", 5) == 0 &&
           spl_where(k, ",\"server\":\"n\"", 13) == 0;
}

static bool change(struct core *k, const char *head, const char *remote)
{
    spl_accounts_begin(k);
    if (describe(k, head, remote) && spl_accounts_ready(k) == 0) return true;
    spl_accounts_abort(k);
    return false;
}

static struct core *two_accounts(void)
{
    struct spl_config cfg = test_config(0, 1);
    cfg.accounts = 2;
    struct core *k = pair_core(&cfg);
    if (spl_account(k, "IMP", 3) != 1 || !describe(k, "in", "q")) abort();
    return k;
}

static void ask(struct pair *imp, struct pair *exp, const char *subject, const char *to, char reply[18])
{
    char line[64];
    snprintf(line, sizeof line, "PUB %s box 1\r\n?\r\n", subject);
    pair_say(imp, line);
    pair_listen(exp);
    const char *at = memmem(exp->heard, exp->nheard, "_R_.", 4);
    snprintf(line, sizeof line, "HMSG %s ", to);
    CHECK(memmem(exp->heard, exp->nheard, line, strlen(line)) != NULL && at);
    if (at) memcpy(reply, at, 17);
    reply[at ? 17 : 0] = 0;
    exp->nheard = 0;
}

static void everything_is_swapped(void)
{
    struct core *k = two_accounts();
    struct pair exp = open_in(k, 0), imp = open_in(k, 1);
    char reply[18], line[64];
    pair_say(&exp, "SUB q 1\r\nSUB r 2\r\n");
    pair_say(&imp, "SUB in.* 1\r\nSUB out.a 2\r\nSUB box 9\r\n");
    pair_say(&exp, "PUB s.a 1\r\nx\r\n");
    CHECK(pair_heard(&imp, "MSG in.a 1 1\r\nx\r\n"));
    ask(&imp, &exp, "m", "q", reply);
    CHECK(change(k, "out", "r"));
    pair_say(&exp, "PUB s.a 1\r\ny\r\n"); /* nothing has happened yet */
    CHECK(pair_heard(&imp, "MSG in.a 1 1\r\ny\r\n"));
    char other[18];
    ask(&imp, &exp, "ask", "q", other);
    spl_accounts_commit(k);
    CHECK(!k->staging && !k->accounts[1]->stage);
    pair_say(&exp, "PUB s.a 1\r\nz\r\n");
    CHECK(pair_heard(&imp, "MSG out.a 2 1\r\nz\r\n"));
    snprintf(line, sizeof line, "PUB %s 2\r\nok\r\n", reply);
    pair_say(&exp, line); /* what was asked before is answered */
    CHECK(pair_heard(&imp, "MSG box 9 2\r\nok\r\n"));
    ask(&imp, &exp, "m", "r", reply);
    /* Nothing is said of account 1: it has nothing any more, but it is counted where it was. */
    spl_accounts_begin(k);
    CHECK(spl_account_limits(k, 0, 1, -1, -1, -1) == 0 && spl_accounts_ready(k) == 0);
    spl_accounts_commit(k);
    pair_say(&exp, "PUB s.a 1\r\n0\r\n");
    pair_say(&imp, "PUB m 1\r\n0\r\nPUB ask 1\r\n0\r\n");
    CHECK(pair_heard(&imp, "") && pair_heard(&exp, ""));
    CHECK(!k->accounts[1]->streams);
    CHECK_EQ(shared_account(k->shared, 1, 0, 0)->conns, 1);
    CHECK_EQ(shared_account(k->shared, 1, 0, 1)->conns, 1);
    CHECK_EQ(shared_account(k->shared, 1, 0, 1)->subs, 3);
    snprintf(line, sizeof line, "PUB %s 2\r\nok\r\n", reply);
    pair_say(&exp, line);
    CHECK(pair_heard(&imp, "MSG box 9 2\r\nok\r\n"));
    pair_close(&exp), pair_close(&imp);
    spl_free(k);
}

static void limits_and_places(void)
{
    struct core *k = two_accounts();
    struct pair a = open_in(k, 1), b = open_in(k, 1);
    pair_say(&a, "SUB x 1\r\nPUB x 2\r\nhi\r\n");
    CHECK_EQ(pair_conn(&a)->max_payload, 50);
    CHECK_EQ(shared_account(k->shared, 1, 0, 1)->conns, 2);
    int more = spl_account(k, "MORE", 4);
    CHECK_EQ(spl_accounts_room(k, 5000), 0); /* the page may have moved */
    CHECK_EQ(spl_accounts_room(k, 5), 0);
    CHECK_EQ(k->cfg.accounts, 5000);
    struct pair c = open_in(k, more);
    pair_say(&c, "SUB y 1\r\nPUB y 2\r\nhi\r\n");
    spl_accounts_begin(k);
    CHECK(spl_account_limits(k, 1, 1, 1, 2, 10) == 0 && spl_account_limits(k, more, 4999, 2, -1, -1) == 0);
    CHECK_EQ(pair_conn(&a)->max_payload, 50);
    CHECK(spl_accounts_ready(k) == 0);
    spl_accounts_commit(k);
    CHECK_EQ(pair_conn(&a)->max_payload, 10);
    CHECK_EQ(pair_conn(&b)->max_subs, 2);
    CHECK_EQ(spl_account_limits(k, 1, 7, 1, 2, 10), 0); /* it has its place already */
    pair_say(&a, "PUB x 2\r\nhi\r\n");
    pair_say(&c, "PUB y 2\r\nhi\r\n");
    struct spl_account_info one, other;
    CHECK(spl_account_total(k, 1, &one) == 0 && spl_account_total(k, 4999, &other) == 0);
    CHECK(one.conns == 2 && one.subs == 1 && one.in_msgs == 2 && one.in_bytes == 4 && one.out_msgs == 2);
    CHECK(other.conns == 1 && other.subs == 1 && other.in_msgs == 2 && other.in_bytes == 4 && other.out_msgs == 2);
    CHECK_EQ(shared_account(k->shared, 1, 0, 7)->conns, 0);
    CHECK(k->stats->in_msgs == 4 && spl_worker_pid(k, 0) == (uint32_t)getpid());
    pair_close(&a), pair_close(&c);
    pair_run(k);
    CHECK_EQ(shared_account(k->shared, 1, 0, 1)->conns, 1);
    CHECK_EQ(shared_account(k->shared, 1, 0, 4999)->conns, 0);
    spl_beat(k);
    pair_close(&b);
    spl_free(k);
}

/* What is said while the preparations rest is in force at once, and replaced like everything else. */
static void preparations_rest(void)
{
    struct core *k = two_accounts();
    struct pair imp = open_in(k, 1);
    spl_accounts_begin(k);
    CHECK(describe(k, "out", "r"));
    spl_accounts_stage(k, 0);
    CHECK(spl_mapping(k, 1, "n", 1) == 0 && spl_mapping_to(k, 1, literal("o"), 100) == 0);
    pair_say(&imp, "SUB o 1\r\nPUB n 1\r\nx\r\n");
    CHECK(pair_heard(&imp, "MSG o 1 1\r\nx\r\n"));
    spl_accounts_stage(k, 1);
    CHECK(spl_mapping(k, 1, "p", 1) == 0 && spl_mapping_to(k, 1, literal("o"), 100) == 0);
    CHECK(spl_accounts_ready(k) == 0);
    spl_accounts_stage(k, 0);
    spl_accounts_commit(k);
    pair_say(&imp, "PUB n 1\r\nx\r\nPUB p 1\r\ny\r\n");
    CHECK(pair_heard(&imp, "MSG o 1 1\r\ny\r\n"));
    spl_accounts_stage(k, 1); /* nothing has been begun */
    CHECK(!k->staging);
    pair_close(&imp);
    spl_free(k);
}

/* Streams that stay are not touched; what was prepared is forgotten by the next beginning. */
static void what_stays(void)
{
    struct core *k = two_accounts();
    struct pair exp = open_in(k, 0), imp = open_in(k, 1);
    pair_say(&imp, "SUB in.* 1\r\n");
    const struct stream_import *before = k->accounts[1]->streams;
    CHECK(change(k, "out", "r"));
    spl_accounts_begin(k);
    CHECK(spl_streams_stay(k, 1) == 0 && spl_accounts_ready(k) == 0);
    spl_accounts_commit(k);
    CHECK(k->accounts[1]->streams == before);
    pair_say(&exp, "PUB s.a 1\r\nx\r\n");
    CHECK(pair_heard(&imp, "MSG in.a 1 1\r\nx\r\n"));
    CHECK(spl_streams_stay(k, 1) < 0); /* nothing is being prepared */
    pair_close(&exp), pair_close(&imp);
    spl_free(k);
}

/* Again and again, with requests that are never answered: the exports of old go with the age of their last request. */
static void nothing_piles_up(void)
{
    struct core *k = two_accounts();
    struct pair exp = open_in(k, 0), imp = open_in(k, 1);
    pair_say(&exp, "SUB q 1\r\nSUB r 2\r\n");
    pair_say(&imp, "SUB in.* 1\r\nSUB out.* 2\r\nSUB box 9\r\n");
    char reply[18];
    for (int i = 0; i < 200; i++) {
        bool even = i % 2 == 0;
        CHECK(change(k, even ? "out" : "in", even ? "r" : "q"));
        if (i % 5 == 0)
            spl_accounts_abort(k);
        else
            spl_accounts_commit(k);

        pair_say(&imp, "PUB ask box 1\r\n?\r\n");
        pair_say(&exp, "PUB s.a 1\r\nx\r\n");
        pair_listen(&imp);
        CHECK(memmem(imp.heard, imp.nheard, "MSG ", 4) && imp.nheard < 24);
        imp.nheard = exp.nheard = 0;
    }
    k->now += 200 * 1000;
    for (struct answer *a = k->accounts[1]->services->own; a; a = a->next_own) a->at = 0;
    service_expire(k);
    CHECK(!k->accounts[1]->services->own);

    ask(&imp, &exp, "ask", "q", reply);
    pair_close(&exp), pair_close(&imp);
    spl_free(k);
}

/* A change for which there is no memory is not made at all; one that was prepared needs none. */
static void without_memory(void)
{
    struct core *k = two_accounts();
    struct pair exp = open_in(k, 0), imp = open_in(k, 1);
    pair_say(&exp, "SUB q 1\r\nSUB r 2\r\n");
    pair_say(&imp, "SUB in.* 1\r\nSUB box 9\r\n");
    int refused = 0;
    char reply[18];
    for (uint64_t after = 0; after < 60; after++) {
        alloc_fail(after, 1);
        bool done = change(k, "out", "r");
        alloc_fail_off();
        if (done) break;
        refused++;
        pair_say(&exp, "PUB s.a 1\r\nx\r\n");
        CHECK(pair_heard(&imp, "MSG in.a 1 1\r\nx\r\n"));
        ask(&imp, &exp, "m", "q", reply);
        CHECK(!k->staging && !k->accounts[1]->stage);
    }
    CHECK(refused > 10);
    alloc_fail(0, 1000);
    spl_accounts_commit(k);
    alloc_fail_off();
    pair_run(k);
    CHECK(pair_conn(&exp) != NULL);
    pair_close(&exp), pair_close(&imp);
    spl_free(k);
}

static void thousands_of_names(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    char name[16];
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 1; i < 3000; i++) {
            int n = snprintf(name, sizeof name, "A%d", i);
            if (!turn) CHECK_EQ(spl_account_find(k, name, (size_t)n), -1);
            CHECK_EQ(spl_account(k, name, (size_t)n), i);
        }
    }
    CHECK_EQ(spl_account_find(k, "A3000", 5), -1);
    spl_free(k);
}

int main(void)
{
    everything_is_swapped();
    limits_and_places();
    preparations_rest();
    what_stays();
    nothing_piles_up();
    without_memory();
    thousands_of_names();
    return check_report();
}
