/* subject.c: see subject.h. One pass over the bytes each, no allocation, no state. */
#include "subject.h"
#include <string.h>

/* End of the token that starts at `at`: the next '.', or n. */
static inline size_t token_end(const char *s, size_t at, size_t n)
{
    while (at < n && s[at] != '.') at++;
    return at;
}

bool subject_valid(const char *s, size_t n)
{
    for (size_t at = 0;; at++) {
        size_t end = token_end(s, at, n);
        if (end == at) return false;
        if (end == n) return true;
        if (end - at == 1 && s[at] == '>') return false;
        at = end;
    }
}

bool subject_literal(const char *s, size_t n)
{
    for (size_t at = 0;; at++) {
        size_t end = token_end(s, at, n);
        if (end == at) return false;
        if (end - at == 1 && (s[at] == '*' || s[at] == '>')) return false;
        if (end == n) return true;
        at = end;
    }
}

bool subject_has_wildcard(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] != '*' && s[i] != '>') continue;
        if ((i == 0 || s[i - 1] == '.') && (i + 1 == n || s[i + 1] == '.')) return true;
    }
    return false;
}

size_t subject_tokens(const char *s, size_t n)
{
    size_t count = 1;
    for (size_t i = 0; i < n; i++) count += s[i] == '.';
    return count;
}

/* True if a '.' separated run has no empty token. */
static bool tokens_filled(const char *s, size_t n)
{
    if (n == 0 || s[0] == '.' || s[n - 1] == '.') return false;
    for (size_t i = 1; i < n; i++)
        if (s[i] == '.' && s[i - 1] == '.') return false;
    return true;
}

bool subject_matches(const char *pattern, size_t np, const char *subject, size_t ns)
{
    size_t p = 0, s = 0;
    for (;;) {
        size_t pe = token_end(pattern, p, np);
        if (pe == np && pe - p == 1 && pattern[p] == '>') return tokens_filled(subject + s, ns - s);
        size_t se = token_end(subject, s, ns);
        if (se == s) return false;
        if (!(pe - p == 1 && pattern[p] == '*') && (pe - p != se - s || memcmp(pattern + p, subject + s, se - s) != 0))
            return false;
        if (pe == np || se == ns) return pe == np && se == ns;
        p = pe + 1;
        s = se + 1;
    }
}

bool subject_covers(const char *pattern, size_t np, const char *s, size_t ns)
{
    size_t p = 0, i = 0;
    for (;;) {
        size_t pe = token_end(pattern, p, np), ie = token_end(s, i, ns);
        if (ie == i) return false;
        if (pe == np && pe - p == 1 && pattern[p] == '>') return true;
        if (ie == ns && ie - i == 1 && s[i] == '>') return false;
        if (!(pe - p == 1 && pattern[p] == '*') && (pe - p != ie - i || memcmp(pattern + p, s + i, ie - i) != 0))
            return false;
        if (pe == np || ie == ns) return pe == np && ie == ns;
        p = pe + 1;
        i = ie + 1;
    }
}

bool subject_collides(const char *a, size_t na, const char *b, size_t nb)
{
    size_t i = 0, j = 0;
    for (;;) {
        size_t ie = token_end(a, i, na), je = token_end(b, j, nb);
        if (ie == i || je == j) return false;
        if (ie == na && ie - i == 1 && a[i] == '>') return true;
        if (je == nb && je - j == 1 && b[j] == '>') return true;
        bool any = (ie - i == 1 && a[i] == '*') || (je - j == 1 && b[j] == '*');
        if (!any && (ie - i != je - j || memcmp(a + i, b + j, ie - i) != 0)) return false;
        if (ie == na || je == nb) return ie == na && je == nb;
        i = ie + 1;
        j = je + 1;
    }
}

size_t subject_intersect(const char *a, size_t na, const char *b, size_t nb, char *out)
{
    size_t i = 0, j = 0, len = 0;
    for (;;) {
        size_t ie = token_end(a, i, na), je = token_end(b, j, nb);
        bool a_rest = ie - i == 1 && a[i] == '>' && ie == na, b_rest = je - j == 1 && b[j] == '>' && je == nb;
        const char *from = a + i;
        size_t n = a_rest ? 0 : b_rest ? na - i : ie - i;
        if (a_rest) from = b + j, n = nb - j;
        if (!a_rest && !b_rest && n == 1 && *from == '*') from = b + j, n = je - j;
        if (out) memcpy(out + len, from, n);
        len += n;
        if (a_rest || b_rest || ie == na || je == nb) return len;
        if (out) out[len] = '.';
        len++;
        i = ie + 1;
        j = je + 1;
    }
}

/* A multiply that folds its upper half in: the mixing step of both hashes. */
static inline uint64_t fold(uint64_t a, uint64_t b)
{
#ifdef __SIZEOF_INT128__
    unsigned __int128 r = (unsigned __int128)a * b;
    return (uint64_t)r ^ (uint64_t)(r >> 64);
#else
    uint64_t r = (a ^ a >> 32) * (b | 1);
    return r ^ r >> 29;
#endif
}

static inline uint64_t load64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static inline uint64_t load32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

#define MIX_A 0xa0761d6478bd642fULL
#define MIX_B 0xe7037ed1a0b428dbULL
#define MIX_C 0x8ebc6af09c88c6e3ULL

uint64_t hash64(const char *s, size_t n, uint64_t seed)
{
    uint64_t a, b, h = seed ^ MIX_C;
    size_t left = n;
    for (; left > 16; s += 16, left -= 16) h = fold(load64(s) ^ MIX_A, load64(s + 8) ^ h);
    if (left >= 8) { /* overlapping words cover every length without a byte loop */
        a = load64(s);
        b = load64(s + left - 8);
    } else if (left >= 4) {
        a = load32(s);
        b = load32(s + left - 4);
    } else if (left > 0) {
        a = (uint64_t)(uint8_t)s[0] << 16 | (uint64_t)(uint8_t)s[left >> 1] << 8 | (uint8_t)s[left - 1];
        b = 0;
    } else {
        a = b = 0;
    }
    return fold(MIX_B ^ n, fold(a ^ MIX_A, b ^ h));
}

uint32_t hash32(const char *s, size_t n)
{
    uint64_t h = hash64(s, n, 0);
    return (uint32_t)(h ^ h >> 32);
}
