/* What is told of connections: which, in which order, in pieces of any size; and of those that are gone. */
#include "alloc.h"
#include "check.h"
#include "pair_client.h"
#include <unistd.h>

static struct pair member(struct core *k, uint64_t cid, const char *user)
{
    struct pair p = pair_open(k, 0);
    conn_set_cid(k, pair_conn(&p), cid);
    CHECK_EQ(spl_conn_describe(k, p.handle, user, strlen(user), "{}", 2), 0);
    return p;
}

/* All that is selected; returns how many. */
static uint32_t selected(struct core *k, struct spl_select q, struct spl_key *to, uint64_t *total)
{
    static struct spl_key keys[SPL_SELECT_MOST];
    uint32_t found = 0;
    while (!q.done) {
        int n = spl_select(k, &q, keys);
        for (int i = 0; i < n; i++) to[found++] = keys[i];
    }
    *total = q.total;
    return found;
}

static void in_order(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    struct pair p[5];
    struct spl_key keys[16];
    uint64_t total;
    for (int i = 0; i < 5; i++) p[i] = member(k, 10 + (uint64_t)i, i % 2 ? "odd" : "even");
    pair_say(&p[3], "SUB a 1\r\nSUB b 2\r\nPUB a 5\r\nhello\r\n");
    pair_say(&p[1], "SUB b 1\r\nPUB x 0\r\n\r\nPUB x 0\r\n\r\n");
    struct spl_select all = {.states = SPL_OPEN, .account = -1, .want = 100};
    CHECK_EQ(selected(k, all, keys, &total), 5);
    CHECK_EQ(total, 5);
    for (int i = 0; i < 5; i++) CHECK_EQ(keys[i].cid, 10 + (uint64_t)i);
    all.sort = SPL_SORT_SUBS;
    selected(k, all, keys, &total);
    CHECK(keys[0].cid == 13 && keys[1].cid == 11 && keys[2].cid == 10);
    all.sort = SPL_SORT_IN_MSGS;
    selected(k, all, keys, &total);
    CHECK(keys[0].cid == 11 && keys[1].cid == 13);
    all.sort = SPL_SORT_OUT_BYTES;
    selected(k, all, keys, &total);
    CHECK(keys[0].cid == 13 && keys[0].key < keys[1].key);
    all.user = "odd", all.user_len = 3;
    CHECK_EQ(selected(k, all, keys, &total), 2);
    CHECK_EQ(total, 5);
    all.user_len = 0, all.cid = 12;
    CHECK_EQ(selected(k, all, keys, &total), 1);
    all.cid = 0, all.want = 2;
    CHECK_EQ(selected(k, all, keys, &total), 2);
    all.account = 7;
    CHECK(selected(k, all, keys, &total) == 0 && total == 0);
    for (int i = 0; i < 5; i++) pair_close(&p[i]);
    spl_free(k);
}

/* However small the pieces, everything is told once; a handle that is no longer known is left out. */
static void in_pieces(size_t cap)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    struct pair a = member(k, 1, "a"), b = member(k, 2, "b");
    char subs[8192], *w = subs;
    for (int i = 0; i < 100; i++) w += sprintf(w, "SUB s.%d %d\r\n", i, i);
    pair_say(&a, subs);
    pair_say(&b, "SUB x.y q 7\r\nUNSUB 7 9\r\n");
    uint64_t handles[] = {a.handle, 12345, b.handle};
    struct spl_place at = {0, 0};
    uint64_t buffer[512];
    uint32_t conns = 0, told = 0;
    bool seen[100] = {false}, queue = false;
    while (at.index < 3) {
        size_t n = spl_records(k, handles, 3, 1, &at, (char *)buffer, cap);
        CHECK(n <= cap && n > 0);
        for (size_t i = 0; i < n;) {
            struct spl_sub_record s;
            const char *texts = (const char *)buffer + i + sizeof s;
            memcpy(&s, (const char *)buffer + i, sizeof s);
            i += s.size;
            if (s.kind == SPL_RECORD_CONN) {
                conns++;
                continue;
            }
            told++;
            if (s.cid == 1) seen[atoi(texts + s.subject_len)] = true;
            if (s.cid == 2) queue = s.queue_len == 1 && texts[s.subject_len] == 'q' && s.max == 9 && s.sid_len == 1;
        }
    }
    CHECK_EQ(conns, 2);
    CHECK_EQ(told, 101);
    for (int i = 0; i < 100; i++) CHECK(seen[i]);
    CHECK(queue);
    pair_close(&a), pair_close(&b);
    spl_free(k);
}

static void subscriptions(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    struct pair a = member(k, 1, "a");
    pair_say(&a, "SUB foo.* 1\r\nSUB foo.> 2\r\nSUB foo.bar 3\r\nSUB > 4\r\nSUB foo 5\r\nSUB bar.* 6\r\n");
    char buffer[4096];
    struct spl_subs q = {.account = -1, .test = "foo.bar", .test_len = 7, .offset = 1, .limit = 2};
    size_t n = 0;
    while (!q.done) n += spl_subs(k, &q, buffer + n, sizeof buffer - n);
    CHECK_EQ(q.total, 4);
    struct spl_sub_record s;
    memcpy(&s, buffer, sizeof s);
    CHECK(n > s.size && n < 3 * (size_t)s.size);
    q = (struct spl_subs){.account = 0, .test = "", .limit = UINT64_MAX, .offset = UINT64_MAX};
    CHECK_EQ(spl_subs(k, &q, buffer, sizeof buffer), 0);
    CHECK(q.done && q.total == 6);
    q = (struct spl_subs){.account = 0, .test = "foo.*", .test_len = 5, .within = 1};
    CHECK_EQ(spl_subs(k, &q, buffer, sizeof buffer), 0);
    CHECK(q.done && q.total == 2);
    pair_say(&a, "SUB foo.bar q1 7\r\nSUB foo.bar q1 8\r\nSUB foo.* q2 9\r\n");
    q = (struct spl_subs){.account = 0, .test = "foo.bar", .test_len = 7, .queue = "q1", .queue_len = 2};
    CHECK_EQ(spl_subs(k, &q, buffer, sizeof buffer), 0);
    CHECK_EQ(q.total, 2);
    q = (struct spl_subs){.account = 0, .test = ">", .test_len = 1, .queue = "q2", .queue_len = 2, .within = 1};
    CHECK_EQ(spl_subs(k, &q, buffer, sizeof buffer), 0);
    CHECK_EQ(q.total, 1);
    uint64_t cid = pair_conn(&a)->cid;
    CHECK(spl_conn_find(k, cid) == a.handle && !spl_conn_find(k, cid + 1) && !spl_conn_find(k, 0));
    pair_close(&a);
    spl_free(k);
}

static void gone(void)
{
    struct spl_config cfg = test_config(0, 1);
    cfg.max_closed = 3;
    struct core *k = pair_core(&cfg);
    struct spl_key keys[16];
    uint64_t total;
    struct spl_select closed = {.states = SPL_GONE, .account = -1, .want = 100, .sort = SPL_SORT_STOP};
    CHECK(selected(k, closed, keys, &total) == 0 && total == 0);
    for (uint64_t i = 1; i <= 5; i++) {
        struct pair p = member(k, i, i == 4 ? "four" : "other");
        pair_say(&p, "SUB gone.> 1\r\nPUB gone.x 1\r\nx\r\n");
        CHECK(pair_heard(&p, "MSG gone.x 1 1\r\nx\r\n"));
        pair_close(&p);
        pair_run(k);
    }
    CHECK_EQ(selected(k, closed, keys, &total), 3);
    CHECK(total == 3 && keys[0].cid == 5 && keys[2].cid == 3 && keys[0].reason == CLIENT_CLOSED);
    char buffer[4096];
    struct spl_place at = {0, 0};
    CHECK(spl_records(k, &keys[0].handle, 1, 1, &at, buffer, sizeof buffer) > 0);
    struct spl_conn_record r;
    struct spl_sub_record s;
    memcpy(&r, buffer, sizeof r);
    memcpy(&s, buffer + r.size, sizeof s);
    CHECK(r.cid == 5 && r.nsubs == 1 && r.in_msgs == 1 && r.out_msgs == 1 && r.stop_ns >= r.last_ns);
    CHECK(s.kind == SPL_RECORD_SUB && s.msgs == 1 && memcmp(buffer + r.size + sizeof s, "gone.>", 6) == 0);
    closed.user = "four", closed.user_len = 4;
    CHECK_EQ(selected(k, closed, keys, &total), 1);
    closed.states |= SPL_OPEN;
    CHECK_EQ(selected(k, closed, keys, &total), 1);
    CHECK_EQ(k->stats->out_msgs, 5);
    CHECK_EQ(k->accounts[0]->counts->out_bytes, 5);
    spl_free(k);
}

/* What is counted of accounts with a place in the shared page is added up over all workers, and known of each. */
static void totals(void)
{
    struct spl_config cfg = test_config(0, 2);
    cfg.accounts = 2;
    struct core *k = pair_core(&cfg);
    struct spl_account_info sum;
    spl_account_limits(k, 0, 1, -1, -1, -1);
    *shared_account(k->shared, 2, 1, 1) =
        (struct shared_account){.conns = 3, .subs = 4, .in_msgs = 5, .slow_consumers = 6};
    struct pair p = member(k, 1, "someone");
    CHECK_EQ(spl_account_total(k, 1, &sum), 0);
    CHECK_EQ(sum.conns, 4);
    CHECK(sum.subs == 4 && sum.in_msgs == 5 && sum.slow_consumers == 6);
    CHECK(spl_account_part(k, 1, 1, &sum) == 0 && sum.conns == 3);
    CHECK(spl_account_part(k, 0, 1, &sum) == 0 && sum.conns == 1);
    CHECK(spl_account_total(k, 2, &sum) == -1 && spl_account_part(k, 2, 0, &sum) == -1);
    char buffer[512] __attribute__((aligned(8)));
    struct spl_conn_record r;
    uint32_t conns = 0;
    size_t size = spl_conn_record(k, p.handle, &conns, buffer, 8);
    CHECK(size > sizeof r && size <= sizeof buffer);
    CHECK_EQ(spl_conn_record(k, p.handle, &conns, buffer, sizeof buffer), size);
    memcpy(&r, buffer, sizeof r);
    CHECK(r.size == size && r.cid == 1 && !r.stop_ns);
    CHECK_EQ(spl_conn_record(k, UINT64_MAX, &conns, buffer, sizeof buffer), 0);
    struct spl_stats s;
    spl_get_stats(k, 1, &s);
    CHECK_EQ(s.connections, 0);
    spl_get_stats(k, 9, &s);
    CHECK(spl_worker_pid(k, 0) == (uint32_t)getpid() && spl_worker_pid(k, 1) == 0 && spl_worker_pid(k, 9) == 0);
    pair_close(&p);
    spl_free(k);
}

/* Without memory a connection that goes is forgotten, and nothing else happens. */
static void forgotten(void)
{
    for (uint64_t after = 0; after < 40; after++) {
        struct spl_config cfg = test_config(0, 1);
        cfg.max_closed = 200;
        struct core *k = pair_core(&cfg);
        struct spl_key keys[128];
        uint64_t total;
        struct pair p[80];
        for (uint64_t i = 0; i < 80; i++) p[i] = member(k, i, "u");
        alloc_fail(after, 20);
        for (int i = 0; i < 80; i++) {
            shutdown(p[i].fd, SHUT_WR);
            pair_run(k);
        }
        alloc_fail_off();
        struct spl_select closed = {.states = SPL_GONE, .account = -1, .want = 200};
        CHECK(selected(k, closed, keys, &total) <= 80 && k->nconns == 1);
        for (int i = 0; i < 80; i++) pair_close(&p[i]);
        spl_free(k);
    }
}

int main(void)
{
    in_order();
    in_pieces(4096);
    in_pieces(512);
    subscriptions();
    gone();
    forgotten();
    totals();
    return check_report();
}
