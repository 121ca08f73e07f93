/* Fuzz target: whatever a peer sends, on either plane, is applied or refused: to clients with and without headers, in accounts that share
 * streams and services. The first byte says which plane, and how much of a well-formed head stands in front. */
#include "fake_client.h"

/* As csrc/mesh.c lays them out. */
struct record {
    uint32_t len;
    uint8_t type, flags, spare, version;
    uint64_t tried;
    uint32_t account, subject_len, reply_len, head_len, hdr_len, queues_len, nqueues, no_echo;
};

static struct core *two_accounts(void)
{
    struct spl_config cfg = test_config(0, 3);
    cfg.max_payload = 4096;
    struct core *k = spl_new(&cfg);
    if (!k || spl_account(k, "$G", 2) != 0 || spl_account(k, "A", 1) != 1) abort();
    if (spl_account_label(k, 0, "\"$G\"", 4) != 0 || spl_service_export(k, 0, 1, 0, 0) != 0) abort();
    if (spl_service_import(k, 1, 0, 0, "a.*", 3, NULL, 0) != 0) abort();
    if (spl_stream_import(k, 1, 0, "a.>", 3, NULL, NULL, 0) != 0) abort();
    if (spl_peer_up(k, 1, 2, "/nowhere") != 0 || spl_peer_up(k, 2, 3, "/nowhere") != 0) abort();
    return k;
}

static struct conn *client(struct core *k, int account, bool headers)
{
    static const char subs[] = "SUB a.b 1\r\nSUB a.* q 2\r\nSUB > 3\r\nUNSUB 3 2\r\n";
    struct conn *c = conn_new(k, -1, KIND_CLIENT);
    if (!c) abort();
    c->acc = k->accounts[account];
    c->open = c->echo = c->connected = true;
    c->headers = headers;
    if (client_parse(k, c, subs, sizeof subs - 1) != sizeof subs - 1) abort();
    return c;
}

/* A pending answer, so that its name can be met: the peers' clients answer. */
static void request(struct core *k, struct conn *c)
{
    static const char line[] = "PUB a.b in.box 0\r\n\r\n";
    c->hold = 0, c->barrier = 0; /* as if all peers knew what it listens to */
    if (client_parse(k, c, line, sizeof line - 1) != sizeof line - 1) abort();
}

/* A traced message has gone to the peer: its report can be met. */
static void trace(struct core *k, struct conn *c)
{
    static const char text[] = "HPUB r 32 32\r\nNATS/1.0\r\nNats-Trace-Dest: t\r\n\r\n\r\n";
    struct peer *p = &k->peers[1];
    if (!(p->theirs = calloc(1, sizeof *p->theirs))) abort();
    p->ntheirs = 1;
    if (sublist_set_remote(k->accounts[0]->subs, 1, "r", 1, "", 0, 1) < 0) abort();
    c->hold = 0, c->barrier = 0; /* as if all peers knew what it listens to */
    client_parse(k, c, text, sizeof text - 1);
    if (!k->collecting) abort();
}

static size_t frame(char *p, size_t n, uint8_t kind)
{
    struct record r = {.len = (uint32_t)n, .type = 2, .flags = kind >> 3 & 7, .version = 3, .account = kind >> 6 & 1};
    if (n < sizeof r + 16) return 0;
    const uint8_t *by = (const uint8_t *)p + sizeof r; /* the lengths come from the bytes, and so may be wrong */
    if (by[6] & 1) r.flags |= by[6] & 24;              /* traced, and nothing but that */
    if (kind >> 7) r.type = 3;                         /* a report */
    r.subject_len = by[0] % 12, r.reply_len = by[1] % 24, r.head_len = r.reply_len + 2 + by[2] % 6;
    r.hdr_len = by[3], r.queues_len = by[4] % 64, r.nqueues = by[5] % 4;
    memcpy(p, &r, sizeof r);
    return sizeof r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2) return 0;
    struct core *k = two_accounts();
    struct conn *plain = client(k, 0, false);
    request(k, client(k, 1, true));
    client(k, 1, false);
    uint8_t kind = data[0];
    plain->headers = true, trace(k, plain), plain->headers = false;
    char *exact = malloc(n - 1);
    if (!exact) abort();
    memcpy(exact, data + 1, n - 1);
    if (kind & 1) {
        if (kind & 2 && n > 41)
            exact[0] = 1 + (kind >> 2 & 3), exact[1] = 3, exact[2] = 1, exact[3] = 0, exact[4] = 2,
            exact[5] = exact[6] = exact[7] = 0;
        spl_control(k, exact, n - 1);
    } else {
        struct conn *peer = k->peers[1].conn;
        peer->hold = 0;
        if (kind & 2) frame(exact, n - 1, kind);
        size_t used = mesh_parse(k, peer, exact, n - 1);
        if (used > n - 1) abort();
    }
    conn_bury(k);
    free(exact);
    spl_free(k);
    return 0;
}
