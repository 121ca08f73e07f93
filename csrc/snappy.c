/* snappy.c: one chunk of Snappy's framing format, for answers that operators' tools ask for in this encoding.
 *
 *   type 0 (compressed) or 1 (not) | length, 3 bytes | CRC-32C of the data, masked | block
 *   block: length of the data as a varint | literals and copies
 *
 * A literal is a tag with its length and its bytes, a copy a tag with length and distance of bytes that came before. Copies are found
 * with a table of the places where four bytes were last seen; the longer nothing is found, the fewer places are looked at.
 * All integers are little-endian.
 */
#include "spline.h"
#include <stdbool.h>
#include <string.h>

#define HASH_BITS 13
#define MARGIN 15 /* at the end nothing is looked for: there are four bytes to read wherever we look */

static uint32_t crc32c(const uint8_t *p, size_t n)
{
    static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
                                       0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                       0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static uint8_t *little(uint8_t *to, uint32_t value, unsigned bytes)
{
    for (; bytes--; value >>= 8) *to++ = (uint8_t)value;
    return to;
}

static uint32_t four(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint8_t *literal(uint8_t *to, const uint8_t *p, size_t n)
{
    if (!n) return to;
    uint32_t less = (uint32_t)n - 1;
    if (less < 60)
        *to++ = (uint8_t)(less << 2);
    else if (less < 256)
        *to++ = 60 << 2, *to++ = (uint8_t)less;
    else
        *to++ = 61 << 2, to = little(to, less, 2);
    memcpy(to, p, n);
    return to + n;
}

static uint8_t *copy(uint8_t *to, uint32_t distance, size_t n)
{
    while (n > 64) {
        uint32_t part = n < 68 ? 60 : 64; /* what is left is never less than four */
        *to++ = (uint8_t)((part - 1) << 2 | 2), to = little(to, distance, 2);
        n -= part;
    }
    if (n > 11 || distance > 2047) {
        *to++ = (uint8_t)((n - 1) << 2 | 2);
        return little(to, distance, 2);
    }
    *to++ = (uint8_t)(distance >> 8 << 5 | (n - 4) << 2 | 1);
    *to++ = (uint8_t)distance;
    return to;
}

static uint8_t *block(uint8_t *to, const uint8_t *in, uint32_t n)
{
    uint16_t seen[1 << HASH_BITS] = {0};
    const uint8_t *end = in + n, *plain = in;
    uint32_t left = n;
    for (; left > 127; left >>= 7) *to++ = (uint8_t)(left | 128);
    *to++ = (uint8_t)left;
    uint32_t misses = 32;
    for (const uint8_t *p = in + 1; n > MARGIN && p < end - MARGIN;) {
        uint32_t here = four(p), hash = here * 0x1e35a7bdu >> (32 - HASH_BITS);
        const uint8_t *before = in + seen[hash];
        seen[hash] = (uint16_t)(p - in);
        if (four(before) != here) {
            p += misses++ >> 5;
            continue;
        }
        size_t same = 4;
        while (p + same < end && before[same] == p[same]) same++;
        to = literal(to, plain, (size_t)(p - plain));
        to = copy(to, (uint32_t)(p - before), same);
        plain = p += same;
        misses = 32;
    }
    return literal(to, plain, (size_t)(end - plain));
}

size_t spl_snappy(const char *data, size_t n, char *out)
{
    if (n > SPL_SNAPPY_DATA) return 0;
    const uint8_t *in = (const uint8_t *)data;
    uint8_t *head = (uint8_t *)out, *body = head + 8, *end = block(body, in, (uint32_t)n);
    bool worth = (size_t)(end - body) < n;
    if (!worth) {
        memcpy(body, in, n);
        end = body + n;
    }
    uint32_t crc = crc32c(in, n);
    *head++ = worth ? 0 : 1;
    head = little(head, (uint32_t)(end - body) + 4, 3);
    little(head, (crc >> 15 | crc << 17) + 0xa282ead8u, 4);
    return (size_t)(end - (uint8_t *)out);
}
