/* bench_accounts: what a message costs within an account, and what on its way into another one. Times are those of the core and of its
 * sockets; the instructions of the core alone can be counted with
 *   valgrind --tool=callgrind --toggle-collect=spl_turn build/bench_accounts MESSAGES WORKLOAD */
#include "pair_client.h"
#include <time.h>

#define DATA 128

enum workload { WITHIN, STREAM, SHOWN, SERVICE, RENAMED, REQUEST, REQUESTS };
static const char *const names[] = {"one account",
                                    "stream import",
                                    "renamed stream",
                                    "service import",
                                    "renamed service",
                                    "request and answer, one account",
                                    "request and answer, service import"};

static double cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static struct transform *literal(const char *text)
{
    struct transform *t = transform_new(-1);
    if (!t || transform_step(t, 0, text, strlen(text), NULL, 0, 0) < 0) abort();
    return t;
}

/* $G exports; SINK imports. */
static struct core *sharing(void)
{
    struct spl_config cfg = test_config(0, 1);
    cfg.cache_entries = 4096, cfg.max_pending = 64 << 20;
    struct core *k = pair_core(&cfg);
    int sink = spl_account(k, "SINK", 4);
    if (spl_account_label(k, sink, "\"SINK\"", 6) < 0 ||
        spl_stream_import(k, sink, 0, "event.a", 7, NULL, NULL, 0) < 0 ||
        spl_stream_import(k, sink, 0, "shown.a", 7, literal("shown.a"), literal("raw.a"), 0) < 0 ||
        spl_service_export(k, 0, 0, 0, 0) != 0 || spl_service_import(k, sink, 0, 0, "service.a", 9, NULL, 0) < 0 ||
        spl_service_import(k, sink, 0, 0, "outer.a", 7, literal("inner.a"), 0) < 0)
        abort();
    return k;
}

static struct pair open_in(struct core *k, int account)
{
    struct pair p = pair_open(k, 1 << 20);
    struct conn *c = pair_conn(&p);
    c->acc->counts->conns--;
    c->acc = k->accounts[account];
    c->acc->counts->conns++;
    c->start_ns = 1792931696120000000, c->rtt_ns = 123456;
    conn_set_cid(k, c, (uint64_t)account + 1);
    return p;
}

/* Send all, and let the core do its work: ns that this took it. */
static double work(struct pair *p, const char *text, size_t n)
{
    double took = 0;
    while (n) {
        size_t sent = pair_send(p, text, n);
        text += sent, n -= sent;
        double began = cpu_ns();
        pair_run(p->k);
        took += cpu_ns() - began;
    }
    return took;
}

static void check(const struct pair *p, size_t messages)
{
    if (pair_conn(p)->out_msgs == messages) return;
    fprintf(stderr, "%llu messages instead of %zu\n", (unsigned long long)pair_conn(p)->out_msgs, messages);
    exit(1);
}

static double one_way(enum workload w, size_t messages)
{
    static const char *const subject[] = {"plain.a", "event.a", "raw.a", "service.a", "outer.a"};
    static const char *const pattern[] = {"plain.a", "event.a", "shown.a", "service.a", "inner.a"};
    struct core *k = sharing();
    struct pair to = open_in(k, w == STREAM || w == SHOWN), from = open_in(k, w == SERVICE || w == RENAMED);
    char line[256], *block = malloc(256 * 400);
    size_t len = 0;
    double took = 0;
    if (!block) abort();
    snprintf(line, sizeof line, "SUB %s 1\r\n", pattern[w]);
    pair_say(&to, line);
    for (int i = 0; i < 400; i++)
        len += (size_t)sprintf(block + len, "PUB %s %d\r\n%0*d\r\n", subject[w], DATA, DATA, 7);
    for (size_t i = 0; i < messages; i += 400) {
        took += work(&from, block, len);
        pair_listen(&to);
        to.nheard = 0;
    }
    check(&to, (messages + 399) / 400 * 400);
    free(block);
    pair_close(&to), pair_close(&from);
    spl_free(k);
    return took / (double)messages;
}

/* A hundred requests at once, each with a reply subject of its own; then their answers. */
static double two_ways(enum workload w, size_t messages)
{
    struct core *k = sharing();
    const char *subject = w == REQUEST ? "plain.a" : "service.a";
    struct pair to = open_in(k, 0), from = open_in(k, w == REQUESTS);
    char line[256], *block = malloc(512 * 100);
    double took = 0;
    if (!block) abort();
    snprintf(line, sizeof line, "SUB %s 1\r\n", subject);
    pair_say(&to, line);
    pair_say(&from, "SUB _INBOX.benchmark.* 1\r\n");
    for (size_t i = 0; i < messages; i += 100) {
        size_t len = 0;
        for (int j = 0; j < 100; j++)
            len += (size_t)sprintf(block + len, "PUB %s _INBOX.benchmark.%06zu %d\r\n%0*d\r\n", subject, i + (size_t)j,
                                   DATA, DATA, 7);
        took += work(&from, block, len);
        pair_listen(&to);
        len = 0;
        const char *at = to.heard, *end = to.heard + to.nheard;
        while ((at = memmem(at, (size_t)(end - at), "MSG ", 4))) {
            const char *reply = memmem(at, (size_t)(end - at), " 1 ", 3);
            const char *stop = reply ? memchr(reply + 3, ' ', (size_t)(end - reply - 3)) : NULL;
            if (!stop) abort();
            len += (size_t)sprintf(block + len, "PUB %.*s %d\r\n%0*d\r\n", (int)(stop - reply - 3), reply + 3, DATA,
                                   DATA, 7);
            at = stop;
        }
        to.nheard = 0;
        took += work(&to, block, len);
        pair_listen(&from);
        from.nheard = 0;
    }
    check(&from, (messages + 99) / 100 * 100);
    free(block);
    pair_close(&to), pair_close(&from);
    spl_free(k);
    return took / (double)messages;
}

int main(int argc, char **argv)
{
    size_t messages = argc > 1 ? (size_t)atol(argv[1]) : 400000;
    for (int w = WITHIN; w <= REQUESTS; w++) {
        if (argc > 2 && atoi(argv[2]) != w) continue;
        double ns = w < REQUEST ? one_way((enum workload)w, messages) : two_ways((enum workload)w, messages / 4);
        printf("%-36s %7.1f ns\n", names[w], ns);
    }
    return 0;
}
