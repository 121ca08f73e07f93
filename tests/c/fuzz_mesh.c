/* Fuzz target: whatever a peer sends, on either plane, is applied or refused. */
#include "fake_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2) return 0;
    struct spl_config cfg = {.workers = 2,
                             .index = 0,
                             .serial = 1,
                             .max_control_line = 512,
                             .max_payload = 4096,
                             .max_connections = 10,
                             .max_pending = 1 << 20,
                             .ping_interval = 100000,
                             .ping_max = 2,
                             .write_deadline = 10000,
                             .cache_entries = 16,
                             .headers = 1,
                             .shared_fd = -1};
    struct core *k = spl_new(&cfg);
    if (!k || spl_account(k, "$G", 2) != 0 || spl_peer_up(k, 1, 2, "/nowhere") != 0) abort();
    struct conn *c = conn_new(k, -1, KIND_CLIENT);
    c->acc = k->accounts[0];
    c->open = c->echo = true;
    static const char subs[] = "SUB a.b 1\r\nSUB a.* q 2\r\nSUB > 3\r\n";
    client_parse(k, c, subs, sizeof subs - 1);
    uint8_t kind = data[0];
    char *exact = malloc(n - 1);
    memcpy(exact, data + 1, n - 1);
    if (kind & 1) {
        /* A well-formed head in front makes the records reachable. */
        if (kind & 2 && n > 41)
            exact[0] = 1 + (kind >> 2 & 3), exact[1] = 1, exact[2] = 1, exact[3] = 0, exact[4] = 2,
            exact[5] = exact[6] = exact[7] = 0;
        spl_control(k, exact, n - 1);
    } else {
        struct conn *peer = k->peers[1].conn;
        peer->hold = 0;
        size_t used = mesh_parse(k, peer, exact, n - 1);
        if (used > n - 1) abort();
    }
    free(exact);
    spl_free(k);
    return 0;
}
