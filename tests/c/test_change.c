/* What may change while a core serves: limits, permissions, listeners. */
#include "check.h"
#include "pair_client.h"

static spl_perms *only(struct core *k, const char *pattern)
{
    spl_perms *p = spl_perms_new(k);
    spl_perms_add(p, PERM_SUB_ALLOW, pattern, strlen(pattern), "", 0);
    return p;
}

static int permit(struct core *k, const struct pair *p, spl_perms *perms)
{
    return spl_conn_permit(k, p->handle, perms, "User \"u\"", 8);
}

/* Subscriptions that are forbidden now go, wherever they are in the table; the others stay and deliver. */
static void permissions_narrow(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    struct pair a = pair_open(k, 0);
    char line[64];
    for (int i = 0; i < 500; i++) {
        snprintf(line, sizeof line, "SUB %s.%d %d\r\n", i % 3 ? "no" : "yes", i, i);
        pair_say(&a, line);
    }
    spl_perms *perms = only(k, "yes.*");
    CHECK_EQ(permit(k, &a, perms), 0);
    CHECK_EQ(pair_conn(&a)->nsubs, 167);
    CHECK_EQ(k->stats->subscriptions, 167);
    struct spl_event *events;
    int told = 0, n = spl_turn(k, 0, &events);
    for (int i = 0; i < n; i++)
        told += events[i].type == SPL_LOG && memmem(events[i].data, events[i].len, "Removed sub", 11);
    CHECK_EQ(told, 333);
    pair_listen(&a);
    CHECK(memmem(a.heard, a.nheard, "-ERR 'Permissions Violation for Subscription to \"no.1\" (sid \"1\")'\r\n", 66) !=
          NULL);
    a.nheard = 0;
    pair_say(&a, "PUB yes.498 1\r\nx\r\nPUB no.499 1\r\ny\r\n");
    CHECK(pair_heard(&a, "MSG yes.498 498 1\r\nx\r\n"));
    for (int i = 0; i < 500; i += 3) {
        snprintf(line, sizeof line, "UNSUB %d\r\n", i);
        pair_say(&a, line);
    }
    CHECK_EQ(k->stats->subscriptions, 0);
    pair_close(&a);
    pair_run(k);
    spl_free(k);
}

/* A set lives as long as a connection has it, and no longer than the core. */
static void sets_are_freed(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    struct pair a = pair_open(k, 0), b = pair_open(k, 0);
    for (int i = 0; i < 100; i++) {
        spl_perms *perms = only(k, ">");
        CHECK_EQ(permit(k, &a, perms), 0);
        CHECK_EQ(permit(k, &b, i % 2 ? perms : NULL), 0);
        spl_no_auth(k, 0, perms);
        spl_perms_drop(k, perms);
        CHECK_EQ(k->nperms, 0);
        pair_say(&a, "SUB x 1\r\nUNSUB 1\r\n");
    }
    spl_no_auth(k, -1, NULL);
    CHECK(!k->no_auth_acc && !k->no_auth_perms);
    pair_close(&a);
    pair_run(k);
    CHECK_EQ(permit(k, &a, NULL), -1);
    CHECK_EQ(spl_conn_next(k, 0), b.handle);
    CHECK_EQ(spl_conn_next(k, b.handle), 0);
    spl_perms *last = only(k, ">");
    CHECK_EQ(permit(k, &b, last), 0);
    pair_close(&b);
    spl_free(k); /* with everything that is still there */
}

/* A verdict that was remembered is forgotten; a deny applies to wildcards that are there. */
static void verdicts_change(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    struct pair a = pair_open(k, 0);
    pair_say(&a, "SUB w.* 1\r\nPUB w.a 1\r\nx\r\n");
    CHECK(pair_heard(&a, "MSG w.a 1 1\r\nx\r\n"));
    spl_perms *perms = spl_perms_new(k);
    spl_perms_add(perms, PERM_PUB_DENY, "w.b", 3, "", 0);
    spl_perms_add(perms, PERM_SUB_DENY, "w.a", 3, "", 0);
    CHECK_EQ(permit(k, &a, perms), 0);
    pair_say(&a, "PUB w.a 1\r\nx\r\nPUB w.b 1\r\nx\r\nPUB w.c 1\r\nx\r\n");
    CHECK(pair_heard(&a, "-ERR 'Permissions Violation for Publish to \"w.b\"'\r\nMSG w.c 1 1\r\nx\r\n"));
    CHECK_EQ(permit(k, &a, NULL), 0);
    pair_say(&a, "PUB w.a 1\r\nx\r\nPUB w.b 1\r\nx\r\n");
    CHECK(pair_heard(&a, "MSG w.a 1 1\r\nx\r\nMSG w.b 1 1\r\nx\r\n"));
    pair_close(&a);
    spl_free(k);
}

static void limits_change(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    struct pair a = pair_open(k, 0), b = pair_open(k, 0);
    pair_say(&a, "SUB x 1\r\nPUB x 20\r\n0123456789"); /* its size was accepted */
    struct spl_config other = cfg;
    other.max_payload = 10, other.max_control_line = 40, other.max_subscriptions = 1, other.workers = 7;
    spl_configure(k, &other);
    CHECK_EQ(k->cfg.workers, 1);
    CHECK_EQ(k->cfg.max_subscriptions, 0);
    pair_say(&a, "0123456789\r\n");
    pair_say(&b, "PUB x 10\r\n0123456789\r\nPUB x 11\r\n");
    CHECK(pair_heard(&b, "-ERR 'Maximum Payload Violation'\r\n"));
    pair_listen(&a);
    CHECK(memmem(a.heard, a.nheard, "MSG x 1 10\r\n0123456789\r\n", 24) != NULL || a.ended);
    pair_close(&a), pair_close(&b);
    spl_free(k);
}

/* News go to those who had their first PONG; what else is to follow a PONG is replaced. */
static void news(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    struct pair a = pair_open(k, 0), b = pair_open(k, 0);
    pair_say(&a, "PING\r\n");
    CHECK(pair_heard(&a, "PONG\r\n"));
    struct conn *c = pair_conn(&b);
    c->after_pong = malloc(3);
    memcpy(c->after_pong, "old", 3), c->after_pong_len = 3;
    CHECK_EQ(spl_conn_tell(k, a.handle, "INFO 1\r\n", 8), 0);
    CHECK_EQ(spl_conn_tell(k, b.handle, "INFO 2\r\n", 8), 0);
    CHECK(pair_heard(&a, "INFO 1\r\n"));
    CHECK(pair_heard(&b, ""));
    pair_say(&b, "PING\r\n");
    CHECK(pair_heard(&b, "PONG\r\nINFO 2\r\n"));
    pair_close(&a), pair_close(&b);
    pair_run(k);
    CHECK_EQ(spl_conn_tell(k, a.handle, "INFO 3\r\n", 8), -1);
    spl_free(k);
}

/* Tracing: every line of a busy connection is told, in order, and no turn tells too many. */
static void traces(void)
{
    struct spl_config cfg = test_config(0, 1);
    struct core *k = pair_core(&cfg);
    struct pair a = pair_open(k, 0);
    spl_set_trace(k, 1, 1);
    static char burst[200000];
    size_t n = 0;
    int sent = 0;
    for (; sent < 6000; sent++) n += (size_t)snprintf(burst + n, sizeof burst - n, "PUB t.%d 1\r\nx\r\n", sent);
    n += (size_t)snprintf(burst + n, sizeof burst - n, "PING\r\n");
    size_t done = 0;
    int seen = 0, pongs = 0;
    for (int rounds = 0; rounds < 1000 && !pongs; rounds++) {
        if (done < n) done += pair_send(&a, burst + done, n - done);
        struct spl_event *events;
        int count = spl_turn(k, 0, &events);
        CHECK(count < 3000);
        for (int i = 0; i < count; i++) {
            char wanted[32];
            int len = snprintf(wanted, sizeof wanted, "<<- [PUB t.%d 1]", seen);
            if (events[i].len == (uint32_t)len && memcmp(events[i].data, wanted, (size_t)len) == 0) seen++;
            pongs += memmem(events[i].data, events[i].len, "->> [PONG]", 10) != NULL;
        }
    }
    CHECK_EQ(seen, sent);
    CHECK_EQ(pongs, 1);
    pair_close(&a);
    pair_run(k);
    spl_free(k);
}

int main(void)
{
    permissions_narrow();
    sets_are_freed();
    verdicts_change();
    limits_change();
    news();
    traces();
    return check_report();
}
