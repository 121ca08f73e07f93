/* test_snappy: what was compressed is there again, whatever it was. The decoder here is the format's definition, without speed. */
#include "check.h"
#include "guard.h"
#include "spline.h"
#include <stdbool.h>
#include <stdint.h>

static struct guard in, out;
static uint8_t plain[SPL_SNAPPY_DATA];

static uint32_t crc32c(const uint8_t *p, size_t n)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

/* The length of the data in a block, or -1: it is no block. */
static long decode(const uint8_t *p, const uint8_t *end, uint8_t *to)
{
    uint32_t want = 0, n = 0;
    int shift = 0;
    do {
        if (p == end) return -1;
        want |= (uint32_t)(*p & 127) << shift, shift += 7;
    } while (*p++ & 128);
    if (want > SPL_SNAPPY_DATA) return -1;
    while (p < end) {
        uint8_t tag = *p++;
        uint32_t len, distance;
        if ((tag & 3) == 0) {
            len = (tag >> 2) + 1u;
            if (len == 61)
                len = p[0] + 1u, p += 1;
            else if (len == 62)
                len = (p[0] | (uint32_t)p[1] << 8) + 1u, p += 2;
            if (len > (size_t)(end - p) || len > want - n) return -1;
            memcpy(to + n, p, len);
            p += len, n += len;
            continue;
        }
        if ((tag & 3) == 1)
            len = (tag >> 2 & 7) + 4u, distance = (uint32_t)tag >> 5 << 8 | p[0], p += 1;
        else if ((tag & 3) == 2)
            len = (tag >> 2) + 1u, distance = p[0] | (uint32_t)p[1] << 8, p += 2;
        else
            return -1;
        if (!distance || distance > n || len > want - n) return -1;
        for (; len--; n++) to[n] = to[n - distance];
    }
    return n == want ? (long)n : -1;
}

/* Compress, look at every byte of the result, and return its length. */
static size_t round_trip(const void *data, size_t n)
{
    char *room = guard_put(&out, plain, 0) - SPL_SNAPPY_ROOM;
    const char *at = guard_put(&in, data, n);
    size_t size = spl_snappy(at, n, room);
    const uint8_t *p = (const uint8_t *)room, *end = p + size;
    CHECK(size >= 8 && size <= n + 8);
    CHECK_EQ(p[1] | p[2] << 8 | p[3] << 16, size - 4);
    uint32_t crc = crc32c((const uint8_t *)data, n), masked = (crc >> 15 | crc << 17) + 0xa282ead8u;
    CHECK_EQ(p[4] | p[5] << 8 | p[6] << 16 | (uint32_t)p[7] << 24, masked);
    if (p[0] == 1) {
        CHECK(size == n + 8 && memcmp(p + 8, data, n) == 0);
        return size;
    }
    CHECK_EQ(p[0], 0);
    CHECK_EQ(decode(p + 8, end, plain), n);
    CHECK(memcmp(plain, data, n) == 0);
    return size;
}

static uint64_t state = 88172645463325252ull;
static uint32_t any(uint32_t n)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 33) % n;
}

int main(void)
{
    static uint8_t data[SPL_SNAPPY_DATA + 1];
    in = guard_new(SPL_SNAPPY_DATA);
    out = guard_new(SPL_SNAPPY_ROOM);
    CHECK_EQ(crc32c((const uint8_t *)"123456789", 9), 0xe3069283u);
    round_trip("", 0);
    round_trip("a", 1);
    CHECK(round_trip(data, sizeof data - 1) < 4000);
    CHECK_EQ(spl_snappy((const char *)data, sizeof data, guard_put(&out, data, 0) - SPL_SNAPPY_ROOM), 0);
    for (uint32_t n = 0; n < 300; n++) round_trip(data, n);
    for (int round = 0; round < 3000; round++) { /* runs of new bytes and of old ones, of an alphabet of any size */
        uint32_t n = 0, most = 1 + any(any(8) ? 2000 : SPL_SNAPPY_DATA), letters = 1 + any(256);
        while (n < most) {
            uint32_t run = 1 + any(any(4) ? 20 : 400), distance = 1 + any(any(2) ? 3000 : SPL_SNAPPY_DATA);
            bool again = distance <= n && any(2);
            for (; run-- && n < most; n++) data[n] = again ? data[n - distance] : (uint8_t)any(letters);
        }
        round_trip(data, n);
    }
    guard_free(&in);
    guard_free(&out);
    return check_report();
}
