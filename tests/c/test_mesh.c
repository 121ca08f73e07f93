/* Several cores in one process, joined as workers are: interest, barrier, streams, death, and what a lost message or a failed
 * allocation costs. The test carries the control messages, so that it can delay and lose them. */
#include "alloc.h"
#include "check.h"
#include "pair_client.h"

#define MOST 3

struct mesh {
    struct core *k[MOST];
    int n;
    bool failing; /* allocations fail: messages may be refused for that */
    char folder[64];
};

static void path_of(const struct mesh *m, uint32_t serial, char out[96])
{
    snprintf(out, 96, "%s/%u", m->folder, serial);
}

/* Hand over the control messages of one core; `lose`: throw them away instead. Returns how many there were. */
static int carry(struct mesh *m, int from, bool lose)
{
    uint32_t peer;
    const char *data;
    size_t len;
    int count = 0;
    while (m->k[from] && spl_control_next(m->k[from], &peer, &data, &len)) {
        count++;
        if (!lose && m->k[peer] && spl_control(m->k[peer], data, len) < 0) CHECK(m->failing);
    }
    return count;
}

/* Everybody works until there is nothing left to do. */
static void settle(struct mesh *m)
{
    for (int quiet = 0, rounds = 0; quiet < 3 && rounds < 10000; rounds++) {
        int moved = 0;
        for (int i = 0; i < m->n; i++) {
            if (!m->k[i]) continue;
            uint64_t before = m->k[i]->stats->mesh_in;
            pair_run(m->k[i]);
            moved += carry(m, i, false) + (m->k[i]->stats->mesh_in != before);
        }
        quiet = moved ? 0 : quiet + 1;
    }
}

static struct core *member(struct mesh *m, uint32_t index, uint32_t serial)
{
    struct spl_config cfg = test_config(index, (uint32_t)m->n);
    cfg.serial = serial, cfg.max_pending = 16 << 20;
    struct core *k = pair_core(&cfg);
    char path[96];
    path_of(m, serial, path);
    if (spl_mesh_listen(k, path) != 0) abort();
    return k;
}

static void introduce(struct mesh *m, int a, int b)
{
    char path[96];
    path_of(m, m->k[b]->cfg.serial, path);
    CHECK_EQ(spl_peer_up(m->k[a], (uint32_t)b, m->k[b]->cfg.serial, path), 0);
}

static struct mesh mesh_new(int n)
{
    struct mesh m = {.n = n, .folder = "/tmp/test-mesh-XXXXXX"};
    if (!mkdtemp(m.folder)) abort();
    for (int i = 0; i < n; i++) m.k[i] = member(&m, (uint32_t)i, (uint32_t)i + 1);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            if (i != j) introduce(&m, i, j);
    settle(&m);
    for (int i = 0; i < n; i++) CHECK(spl_mesh_joined(m.k[i]));
    return m;
}

static void mesh_end(struct mesh *m)
{
    char path[96];
    for (int i = 0; i < m->n; i++) spl_free(m->k[i]);
    for (uint32_t serial = 1; serial < 10; serial++) path_of(m, serial, path), unlink(path);
    rmdir(m->folder);
}

/* Worker `i` is gone, and the others are told. */
static void die(struct mesh *m, int i)
{
    uint32_t serial = m->k[i]->cfg.serial;
    spl_free(m->k[i]);
    m->k[i] = NULL;
    for (int j = 0; j < m->n; j++)
        if (m->k[j]) spl_peer_down(m->k[j], (uint32_t)i, serial);
}

static size_t count(const struct pair *p, const char *what)
{
    size_t n = 0, len = strlen(what);
    for (size_t i = 0; i + len <= p->nheard; i++) n += memcmp(p->heard + i, what, len) == 0;
    return n;
}

static void across(void)
{
    struct mesh m = mesh_new(3);
    struct pair a = pair_open(m.k[0], 0), b = pair_open(m.k[1], 0), c = pair_open(m.k[2], 0);
    pair_say(&b, "SUB x.* 1\r\nSUB x.y 2\r\nPING\r\n");
    pair_say(&c, "SUB x.> q 3\r\nPING\r\n");
    CHECK(pair_heard(&b, "")); /* the barrier: nobody has acknowledged yet */
    settle(&m);
    CHECK(pair_heard(&b, "PONG\r\n") && pair_heard(&c, "PONG\r\n"));
    pair_say(&a, "PUB x.y re 2\r\nhi\r\nHPUB x.z 12 13\r\nNATS/1.0\r\n\r\n!\r\nPING\r\n");
    CHECK(pair_heard(&a, "PONG\r\n"));
    settle(&m);
    pair_listen(&b);
    CHECK(count(&b, "MSG x.y 1 re 2\r\nhi\r\n") == 1 && count(&b, "MSG x.y 2 re 2\r\nhi\r\n") == 1);
    CHECK(count(&b, "HMSG x.z 1 12 13\r\nNATS/1.0\r\n\r\n!\r\n") == 1 && count(&b, "MSG") == 3);
    CHECK(pair_heard(&c, "MSG x.y 3 re 2\r\nhi\r\nHMSG x.z 3 12 13\r\nNATS/1.0\r\n\r\n!\r\n"));
    /* Interest that ends is no longer sent for. */
    uint64_t sent = m.k[0]->stats->mesh_out;
    pair_say(&b, "UNSUB 1\r\nUNSUB 2\r\n");
    pair_say(&c, "UNSUB 3\r\n");
    settle(&m);
    pair_say(&a, "SUB re 9\r\nPUB x.y re 0\r\n\r\nPING\r\n");
    settle(&m);
    CHECK_EQ(m.k[0]->stats->mesh_out, sent);
    CHECK(pair_heard(&a, "HMSG re 9 35 35\r\nNATS/1.0 503\r\nNats-Subject: x.y\r\n\r\n\r\nPONG\r\n"));
    for (int i = 0; i < 3; i++) CHECK_EQ(m.k[i]->stats->interest_drift, 0);
    pair_close(&a), pair_close(&b), pair_close(&c);
    mesh_end(&m);
}

/* A queue message for a worker whose last member has just left goes on to a member elsewhere. */
static void queue_moves_on(void)
{
    struct mesh m = mesh_new(3);
    struct pair a = pair_open(m.k[0], 0), b = pair_open(m.k[1], 0), c = pair_open(m.k[2], 0);
    pair_say(&b, "SUB job q 1\r\n");
    pair_say(&c, "SUB job q 1\r\n");
    settle(&m);
    pair_say(&b, "UNSUB 1\r\n"); /* and nobody hears of it for now */
    for (int i = 0; i < 100; i++) pair_say(&a, "PUB job 0\r\n\r\n");
    for (int i = 0; i < 5; i++) pair_run(m.k[1]), pair_run(m.k[2]), pair_run(m.k[1]);
    pair_listen(&c);
    CHECK_EQ(count(&c, "MSG job 1 0\r\n\r\n"), 100);
    CHECK(m.k[1]->stats->mesh_forwarded > 20 && m.k[1]->stats->mesh_forwarded < 80);
    settle(&m);
    CHECK(pair_heard(&b, ""));
    pair_close(&a), pair_close(&b), pair_close(&c);
    mesh_end(&m);
}

/* It comes back to the publisher's worker, too, but not to the publisher if that wants no echo. */
static void queue_comes_back(bool echo)
{
    struct mesh m = mesh_new(2);
    struct pair a = pair_open(m.k[0], 0), b = pair_open(m.k[1], 0), c = pair_open(m.k[0], 0);
    pair_conn(&a)->echo = echo;
    pair_conn(&a)->cid = 7, pair_conn(&c)->cid = 8;
    pair_say(&a, "SUB job q 1\r\n");
    pair_say(&b, "SUB job q 1\r\n");
    pair_say(&c, "SUB job q 1\r\n");
    settle(&m);
    pair_say(&b, "UNSUB 1\r\n"); /* and nobody hears of it for now */
    for (int i = 0; i < 100; i++) pair_say(&a, "PUB job 0\r\n\r\n");
    for (int i = 0; i < 5; i++) pair_run(m.k[1]), pair_run(m.k[0]);
    pair_listen(&a), pair_listen(&c);
    unsigned own = count(&a, "MSG job 1 0\r\n\r\n"), other = count(&c, "MSG job 1 0\r\n\r\n");
    CHECK_EQ(own + other, 100);
    CHECK(echo ? own > 20 && own < 80 : own == 0);
    CHECK(m.k[1]->stats->mesh_forwarded > 10);
    settle(&m);
    CHECK(pair_heard(&b, ""));
    pair_close(&a), pair_close(&b), pair_close(&c);
    mesh_end(&m);
}

/* A worker that takes nothing makes its producers wait, loses nothing, and lets them go when it goes on or dies. */
static void back_pressure(bool dies)
{
    struct mesh m = mesh_new(2);
    struct pair a = pair_open(m.k[0], 0), b = pair_open(m.k[1], 0), local = pair_open(m.k[0], 0);
    pair_say(&b, "SUB big 1\r\n");
    pair_say(&local, "SUB big 1\r\n");
    settle(&m);
    static char frame[50100];
    int head = sprintf(frame, "PUB big 50000\r\n");
    memset(frame + head, 'x', 50000);
    memcpy(frame + head + 50000, "\r\n", 2);
    size_t all = (size_t)head + 50002, at = 0, expected = all + 2; /* "MSG big 1 50000" is two bytes longer */
    int whole = 0, total = 60;
    bool paused = false;
    while (whole < total) {
        size_t n = pair_send(&a, frame + at, all - at);
        at += n;
        if (at == all) at = 0, whole++;
        pair_run(m.k[0]);
        pair_listen(&local);
        struct conn *c = pair_conn(&a);
        if (n == 0 && c->hold & HOLD_PEER) {
            CHECK(output_pending(m.k[0]->peers[1].conn) < (2 << 20));
            paused = true;
            if (dies)
                die(&m, 1), dies = false;
            else
                settle(&m);
        }
        pair_listen(&b);
    }
    CHECK(paused);
    settle(&m);
    CHECK(pair_wait(&local, expected * (size_t)total));
    CHECK_EQ(local.nheard, expected * (size_t)total);
    if (m.k[1]) {
        for (size_t before = 0; pair_listen(&b), before != b.nheard; settle(&m)) before = b.nheard;
        CHECK_EQ(b.nheard, expected * (size_t)total);
        CHECK_EQ(count(&b, "MSG big 1 50000\r\nxx"), total);
    }
    CHECK(pair_conn(&a) && !pair_conn(&a)->hold);
    pair_close(&a), pair_close(&b), pair_close(&local);
    mesh_end(&m);
}

/* A successor gets everything anew; what is still on its way from the dead does no harm. */
static void succession(void)
{
    struct mesh m = mesh_new(3);
    struct pair a = pair_open(m.k[0], 0), c = pair_open(m.k[2], 0);
    pair_say(&a, "SUB a 1\r\n");
    settle(&m);
    struct pair old = pair_open(m.k[1], 0);
    pair_say(&old, "SUB old 1\r\n");
    uint32_t peer;
    const char *data;
    size_t len;
    CHECK_EQ(spl_control_next(m.k[1], &peer, &data, &len), 1);
    char *late = malloc(len);
    memcpy(late, data, len);
    /* Somebody at the barrier waits for the dead one's acknowledgement, too. */
    pair_say(&c, "SUB c 1\r\nPING\r\n");
    carry(&m, 2, true);
    CHECK(pair_heard(&c, ""));
    die(&m, 1);
    pair_close(&old);
    CHECK_EQ(spl_control(m.k[peer], late, len), 0);
    free(late);
    m.k[1] = member(&m, 1, 4);
    introduce(&m, 1, 0), introduce(&m, 1, 2);
    introduce(&m, 0, 1), introduce(&m, 2, 1);
    settle(&m);
    for (int i = 0; i < 3; i++) CHECK(spl_mesh_joined(m.k[i]));
    struct pair fresh = pair_open(m.k[1], 0);
    pair_say(&fresh, "SUB f 1\r\nPUB a 1\r\nx\r\nPUB c 1\r\ny\r\n");
    settle(&m);
    CHECK(pair_heard(&a, "MSG a 1 1\r\nx\r\n"));
    pair_listen(&c);
    CHECK(count(&c, "MSG c 1 1\r\ny\r\n") == 1);
    pair_say(&a, "PUB f 1\r\nz\r\nPUB old 0\r\n\r\n");
    settle(&m);
    CHECK(pair_heard(&fresh, "MSG f 1 1\r\nz\r\n"));
    pair_close(&a), pair_close(&c), pair_close(&fresh);
    mesh_end(&m);
}

/* A batch that is lost is noticed with the next one, and repaired by a snapshot. */
static void repair(void)
{
    struct mesh m = mesh_new(2);
    struct pair a = pair_open(m.k[0], 0), b = pair_open(m.k[1], 0);
    pair_say(&b, "SUB lost 1\r\n");
    CHECK_EQ(carry(&m, 1, true), 1);
    pair_say(&b, "SUB next 2\r\nPING\r\n");
    settle(&m);
    CHECK(pair_heard(&b, "PONG\r\n"));
    CHECK_EQ(m.k[0]->stats->interest_drift, 1);
    pair_say(&a, "PUB lost 0\r\n\r\nPUB next 0\r\n\r\n");
    settle(&m);
    CHECK(pair_heard(&b, "MSG lost 1 0\r\n\r\nMSG next 2 0\r\n\r\n"));
    CHECK(spl_mesh_joined(m.k[0]) && spl_mesh_joined(m.k[1]));
    static const char nonsense[64] = {9, 3};
    CHECK_EQ(spl_control(m.k[0], nonsense, 3), -1);
    CHECK_EQ(spl_control(m.k[0], nonsense, sizeof nonsense), 0); /* of a start that nobody told us of */
    pair_close(&a), pair_close(&b);
    mesh_end(&m);
}

/* Two that lost their stream but live meet again, whoever tries first. */
static void reunion(int first)
{
    struct mesh m = mesh_new(2);
    struct pair a = pair_open(m.k[0], 0), b = pair_open(m.k[1], 0);
    pair_say(&b, "SUB x 1\r\n");
    settle(&m);
    conn_close(m.k[first], m.k[first]->peers[!first].conn, READ_ERROR);
    settle(&m);
    CHECK(!m.k[0]->peers_up && !m.k[1]->peers_up);
    pair_say(&a, "SUB y 1\r\nPUB x 0\r\n\r\nPING\r\n");
    CHECK(pair_heard(&a, "PONG\r\n"));
    introduce(&m, first, !first);
    settle(&m); /* the other one hears from somebody whom it has given up */
    introduce(&m, !first, first);
    settle(&m);
    CHECK(spl_mesh_joined(m.k[0]) && spl_mesh_joined(m.k[1]));
    pair_say(&a, "PUB x 1\r\n1\r\n");
    pair_say(&b, "SUB z 2\r\nPING\r\n");
    settle(&m);
    CHECK(pair_heard(&b, "MSG x 1 1\r\n1\r\nPONG\r\n"));
    pair_say(&b, "PUB y 1\r\n2\r\n");
    settle(&m);
    CHECK(pair_heard(&a, "MSG y 1 1\r\n2\r\n"));
    pair_close(&a), pair_close(&b);
    mesh_end(&m);
}

/* One allocation fails somewhere while interest and messages cross. A connection may be lost, or the stream to a peer (whom the
 * owner would meet again); whatever is left must work, and nobody may wait for ever. */
static uint64_t failing(uint64_t after)
{
    struct mesh m = mesh_new(2);
    struct pair a = pair_open(m.k[0], 0), b = pair_open(m.k[1], 0);
    uint64_t before = alloc_failures();
    m.failing = true;
    alloc_fail(after, 1);
    pair_say(&b, "SUB x.* 1\r\nSUB x.y q 2\r\nSUB z.> 3\r\nPING\r\n");
    settle(&m);
    pair_say(&a, "SUB back 1\r\nPUB x.y back 2\r\nhi\r\nPING\r\n");
    settle(&m);
    alloc_fail_off();
    m.failing = false;
    for (int i = 0; i < 2; i++) spl_beat(m.k[i]); /* what could not be said is said again */
    settle(&m);
    if (pair_conn(&b)) pair_say(&b, "PUB back 2\r\nho\r\nPING\r\n");
    settle(&m);
    uint64_t failures = alloc_failures() - before;
    bool apart = !m.k[0]->peers[1].up || !m.k[1]->peers[0].up;
    pair_listen(&a), pair_listen(&b);
    CHECK(!pair_conn(&a) + !pair_conn(&b) + apart <= 1);
    if (!apart && pair_conn(&a)) CHECK(count(&a, "PONG\r\n") == 1);
    if (!apart && pair_conn(&b)) CHECK(count(&b, "PONG\r\n") == 2);
    if (!apart) { /* newcomers find each other */
        struct pair x = pair_open(m.k[0], 0), y = pair_open(m.k[1], 0);
        pair_say(&x, "SUB new 1\r\nPING\r\n");
        settle(&m);
        CHECK(pair_heard(&x, "PONG\r\n"));
        pair_say(&y, "PUB new 1\r\nn\r\nPUB x.y 1\r\nm\r\n");
        settle(&m);
        CHECK(pair_heard(&x, "MSG new 1 1\r\nn\r\n"));
        pair_close(&x), pair_close(&y);
    }
    pair_close(&a), pair_close(&b);
    mesh_end(&m);
    return failures;
}

/* A late PONG comes when what followed its PING was handled and the barrier is passed; if nothing follows, in its time. */
static void late_pong(void)
{
    struct mesh m = mesh_new(2);
    struct pair a = pair_open(m.k[0], 0);
    struct conn *c = pair_conn(&a);
    c->late_pong = true;
    static const struct {
        const char *follows;
        int pongs; /* -1: one, with the barrier */
    } rows[] = {{"PING\r\n", 0},
                {"PI", 0},
                {"NG\r\n", 0},
                {"PUB x 0\r\n\r\n", 3},
                {"SUB x 1\r\n", -1},
                {"SUB y 2\r\nPING\r\n", 0},
                {"PUB z 0\r\n\r\nUNSUB 2\r\n", 2}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!c->pongs_owed) pair_say(&a, "PING\r\n");
        CHECK(pair_heard(&a, "") && c->pongs_owed);
        c->pong_at = clock_ms() + 60000; /* time plays no part here */
        pair_say(&a, rows[i].follows);
        if (rows[i].pongs < 0) CHECK(pair_heard(&a, ""));
        settle(&m);
        pair_listen(&a);
        CHECK_EQ(a.nheard, 6 * (rows[i].pongs < 0 ? 1 : rows[i].pongs));
        a.nheard = 0;
    }
    /* Of a large piece the end may be missing. */
    static char large[1500];
    memset(large, '9', sizeof large - 1);
    for (size_t at = 0; at + 100 < sizeof large; at += 100) memcpy(large + at, "\r\nUNSUB ", 8);
    memcpy(large, "UNSUB 99", 8), memcpy(large + sizeof large - 3, "\r\n", 3);
    pair_say(&a, "PING\r\n");
    c->pong_at = clock_ms() + 60000;
    pair_say(&a, large);
    CHECK(pair_heard(&a, "") && c->pongs_owed == 1 && !c->closed);
    c->pong_at = clock_ms() + 1;
    timer_set(m.k[0], c);
    CHECK(pair_wait(&a, 6) && pair_heard(&a, "PONG\r\n"));
    pair_close(&a);
    mesh_end(&m);
}

/* ---- the gateway: told of the system account alone ---- */

#define GATEWAY 2

static void admit(struct mesh *m, int i, uint32_t serial)
{
    struct spl_config cfg = test_config((uint32_t)i, GATEWAY);
    cfg.serial = serial, cfg.gateway = 1;
    struct core *k = m->k[i] = spl_new(&cfg);
    if (!k || (i < GATEWAY && spl_account(k, "$G", 2) != 0)) abort();
    spl_system_account(k, spl_account(k, "$SYS", 4));
    char path[96];
    path_of(m, serial, path);
    if (spl_mesh_listen(k, path) != 0) abort();
}

static struct mesh with_gateway(void)
{
    struct mesh m = {.n = GATEWAY + 1, .folder = "/tmp/test-mesh-XXXXXX"};
    if (!mkdtemp(m.folder)) abort();
    for (int i = 0; i < m.n; i++) admit(&m, i, (uint32_t)i + 1);
    for (int i = 0; i < m.n; i++)
        for (int j = 0; j < m.n; j++)
            if (i != j) introduce(&m, i, j);
    settle(&m);
    for (int i = 0; i < m.n; i++) CHECK(spl_mesh_joined(m.k[i]));
    return m;
}

static struct pair system_client(struct core *k)
{
    struct pair p = pair_open(k, 0);
    pair_conn(&p)->acc = k->accounts[k->system_account];
    return p;
}

static void no_drift(const struct mesh *m)
{
    for (int i = 0; i < m->n; i++)
        if (m->k[i]) CHECK_EQ(m->k[i]->stats->interest_drift, 0);
}

static int say(struct core *k, int account, const char *subject)
{
    struct spl_parts p = {.subject = subject, .subject_len = (uint32_t)strlen(subject)};
    return spl_publish(k, account, &p);
}

static void gateway_and_workers(void)
{
    struct mesh m = with_gateway();
    struct core *gateway = m.k[GATEWAY];
    struct pair a = system_client(m.k[0]), b = system_client(m.k[1]), c = pair_open(m.k[0], 0);
    CHECK_EQ(gateway->naccounts, 1);
    CHECK_EQ(spl_subscribe(gateway, 0, 1, "req", 3), 0);
    settle(&m);
    CHECK_EQ(spl_interest(m.k[0], m.k[0]->system_account, "req", 3), 1);
    pair_say(&a, "SUB re 1\r\nPUB req re 2\r\nhi\r\nPING\r\n");
    pair_say(&c, "SUB re 1\r\nSUB req 2\r\nPING\r\n");
    settle(&m);
    CHECK(pair_heard(&a, "PONG\r\n") && pair_heard(&c, "PONG\r\n"));
    CHECK_EQ(gateway->stats->mesh_in, 1);
    CHECK_EQ(say(gateway, 0, "re"), 1);
    settle(&m);
    CHECK(pair_heard(&a, "MSG re 1 0\r\n\r\n") && pair_heard(&c, ""));
    for (int i = 0; i < 100; i++) { /* both accounts, so that batches for the gateway are some of all */
        char line[96];
        snprintf(line, sizeof line, "SUB g.%d 9%d\r\n%s", i, i, i % 3 ? "" : "PING\r\n");
        pair_say(&c, line);
        snprintf(line, sizeof line, "SUB s.%d 9%d\r\n%s", i / 7, i, i % 5 ? "" : "UNSUB 90\r\nPING\r\n");
        pair_say(&b, line);
        settle(&m);
        pair_listen(&c), pair_listen(&b);
    }
    CHECK_EQ(count(&c, "PONG"), 34);
    CHECK_EQ(count(&b, "PONG"), 20);
    CHECK_EQ(say(gateway, 0, "s.14"), 1);
    CHECK_EQ(say(gateway, 0, "g.1"), 0);
    CHECK_EQ(gateway->naccounts, 1);
    no_drift(&m);
    pair_close(&a), pair_close(&b), pair_close(&c);
    mesh_end(&m);
}

/* Clients do not wait for a gateway that hangs, but for those of the system account. */
static void gateway_hangs(void)
{
    struct mesh m = with_gateway();
    struct core *gateway = m.k[GATEWAY];
    struct pair c = pair_open(m.k[0], 0);
    m.k[GATEWAY] = NULL; /* whatever it is told is lost */
    pair_say(&c, "SUB x 1\r\nPING\r\n");
    settle(&m);
    CHECK(pair_heard(&c, "PONG\r\n"));
    m.k[GATEWAY] = gateway;
    die(&m, GATEWAY);
    struct pair a = system_client(m.k[0]);
    pair_say(&a, "SUB y 1\r\nPING\r\n");
    settle(&m);
    CHECK(pair_heard(&a, "PONG\r\n"));
    admit(&m, GATEWAY, 7);
    for (int i = 0; i < GATEWAY; i++) introduce(&m, i, GATEWAY), introduce(&m, GATEWAY, i);
    pair_say(&c, "SUB z 2\r\nPING\r\n");
    settle(&m);
    CHECK(pair_heard(&c, "PONG\r\n"));
    for (int i = 0; i < m.n; i++) CHECK(spl_mesh_joined(m.k[i]));
    CHECK_EQ(say(m.k[GATEWAY], 0, "y"), 1);
    settle(&m);
    CHECK(pair_heard(&a, "MSG y 1 0\r\n\r\n"));
    no_drift(&m);
    pair_close(&a), pair_close(&c);
    mesh_end(&m);
}

/* The largest message that a client may send goes to another worker, too: here is how its record begins. */
static void largest(void)
{
    struct mesh m = mesh_new(2);
    struct conn *stream = m.k[0]->peers[1].conn;
    uint32_t head[12] = {0}, total = 999999999; /* length; type, version; tried; account; lengths of the parts */
    head[0] = (uint32_t)sizeof head + 1 + 1 + 11 + total + 2;
    head[1] = 2 | 3u << 24;
    head[5] = 1, head[7] = 11;
    CHECK_EQ(mesh_parse(m.k[0], stream, (const char *)head, sizeof head), 0);
    CHECK(!stream->closed);
    CHECK_EQ(stream->need, head[0]);
    head[0] = UINT32_MAX;
    CHECK_EQ(mesh_parse(m.k[0], stream, (const char *)head, sizeof head), 0);
    CHECK(stream->closed);
    mesh_end(&m);
}

/* A peer is trusted, but a record whose line is too short for what it announces must not write past a receiver's room. */
static void short_line(void)
{
    enum { TOTAL = 100000 };
    static char record[48 + 1 + 1 + 2 + TOTAL + 2];
    struct mesh m = mesh_new(2);
    struct pair plain = pair_open(m.k[0], 0);
    pair_conn(&plain)->headers = false;
    pair_say(&plain, "SUB x 1\r\n");
    settle(&m);
    uint32_t head[12] = {sizeof record, 2 | 2u << 8 | 3u << 24, 0, 0, 0, 1, 0, 2};
    memset(record, '.', sizeof record);
    memcpy(record, head, sizeof head);
    memcpy(record + sizeof head, "x \r\n", 4);
    memcpy(record + sizeof record - 2, "\r\n", 2);
    CHECK_EQ(mesh_parse(m.k[0], m.k[0]->peers[1].conn, record, sizeof record), sizeof record);
    end_of_command(m.k[0]);
    char line[32];
    int n = snprintf(line, sizeof line, "MSG x 1 %d\r\n", TOTAL);
    CHECK(pair_wait(&plain, (size_t)n + TOTAL + 2) && memcmp(plain.heard, line, (size_t)n) == 0);
    pair_close(&plain);
    mesh_end(&m);
}

int main(void)
{
    across();
    queue_moves_on();
    queue_comes_back(true);
    queue_comes_back(false);
    back_pressure(false);
    back_pressure(true);
    succession();
    repair();
    reunion(0);
    reunion(1);
    late_pong();
    gateway_and_workers();
    gateway_hangs();
    largest();
    short_line();
    uint64_t after = 0;
    while (failing(after) && after < 10000) after++;
    CHECK(after > 20 && after < 10000);
    printf("%llu allocations failed one by one\n", (unsigned long long)after);
    return check_report();
}
