/* Fuzz target: any bytes are parsed or refused, and how they were cut changes nothing.
 *
 * The input is fed whole, byte by byte, and in pieces whose sizes come from the input itself; the client must see the same. */
#include "fake_client.h"

static char *run(const uint8_t *data, size_t n, int mode, size_t *out, bool *closed)
{
    struct fake f;
    fake_open(&f);
    for (size_t at = 0; at < n && !f.c->closed;) {
        size_t piece = mode == 0 ? n : mode == 1 ? 1 : 1 + data[at] % 37;
        if (piece > n - at) piece = n - at;
        fake_feed(&f, (const char *)data + at, piece);
        at += piece;
    }
    *closed = f.c->closed;
    char *seen = fake_output(&f, out);
    fake_close(&f);
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n > 4096) return 0;
    size_t whole_len, len;
    bool whole_closed, closed;
    char *whole = run(data, n, 0, &whole_len, &whole_closed);
    for (int mode = 1; mode <= 2; mode++) {
        char *other = run(data, n, mode, &len, &closed);
        if (len != whole_len || closed != whole_closed || memcmp(whole, other, len) != 0) abort();
        free(other);
    }
    free(whole);
    return 0;
}
