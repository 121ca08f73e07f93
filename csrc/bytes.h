/* bytes.h: short runs of bytes without a call into libc, which for a subject or a size costs more than the bytes themselves.
 *
 * Nothing is read or written outside the given ranges: a run of 8 to 16 bytes is two words that may overlap.
 */
#ifndef SPLINE_BYTES_H
#define SPLINE_BYTES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Copy n bytes and return where they end. */
static inline char *put(char *w, const char *p, size_t n)
{
    if (n > 16) {
        memcpy(w, p, n);
    } else if (n >= 8) {
        uint64_t head, tail;
        memcpy(&head, p, 8);
        memcpy(&tail, p + n - 8, 8);
        memcpy(w, &head, 8);
        memcpy(w + n - 8, &tail, 8);
    } else if (n >= 4) {
        uint32_t head, tail;
        memcpy(&head, p, 4);
        memcpy(&tail, p + n - 4, 4);
        memcpy(w, &head, 4);
        memcpy(w + n - 4, &tail, 4);
    } else {
        for (size_t i = 0; i < n; i++) w[i] = p[i];
    }
    return w + n;
}

/* Write a number and return where it ends: at most NUMBER_MAX bytes. */
#define NUMBER_MAX 20
static inline char *put_number(char *w, uint64_t v)
{
    if (v < 1000) { /* as most are: without a branch that depends on it */
        unsigned ones = (unsigned)v, tens = ones / 10, hundreds = ones / 100;
        *w = (char)('0' + hundreds), w += ones >= 100;
        *w = (char)('0' + tens - hundreds * 10), w += ones >= 10;
        *w = (char)('0' + ones - tens * 10);
        return w + 1;
    }
    unsigned n = 4;
    for (uint64_t power = 10000; v >= power && n < NUMBER_MAX; power *= 10) n++;
    for (char *at = w + n; at > w; v /= 10) *--at = (char)('0' + v % 10);
    return w + n;
}

/* Are these n bytes the same? */
static inline bool bytes_same(const char *a, const char *b, size_t n)
{
    if (n > 16) return memcmp(a, b, n) == 0;
    if (n >= 8) {
        uint64_t x, y, u, v;
        memcpy(&x, a, 8);
        memcpy(&y, b, 8);
        memcpy(&u, a + n - 8, 8);
        memcpy(&v, b + n - 8, 8);
        return ((x ^ y) | (u ^ v)) == 0;
    }
    if (n >= 4) {
        uint32_t x, y, u, v;
        memcpy(&x, a, 4);
        memcpy(&y, b, 4);
        memcpy(&u, a + n - 4, 4);
        memcpy(&v, b + n - 4, 4);
        return ((x ^ y) | (u ^ v)) == 0;
    }
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i]) return false;
    return true;
}

/* How many bytes come before the first one that is a blank or a control character, or before `end`. */
static inline size_t bytes_token(const char *p, const char *end)
{
    const char *at = p;
#ifdef __SSE2__
    const __m128i blank = _mm_set1_epi8(' ');
    for (; end - at >= 16; at += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)at);
        unsigned low = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(x, blank), x));
        if (low) return (size_t)(at - p) + (size_t)__builtin_ctz(low);
    }
#endif
    while (at < end && (unsigned char)*at > ' ') at++;
    return (size_t)(at - p);
}
#endif
