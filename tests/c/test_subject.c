/* test_subject: the subject rules by table, and against definitions that are too simple to be wrong. All input lies at a guard page. */
#include "check.h"
#include "guard.h"
#include "subject.h"
#include <stdint.h>

static struct guard left, right;

static bool valid(const char *s) { return subject_valid(guard_put(&left, s, strlen(s)), strlen(s)); }
static bool literal(const char *s) { return subject_literal(guard_put(&left, s, strlen(s)), strlen(s)); }
static bool wild(const char *s) { return subject_has_wildcard(guard_put(&left, s, strlen(s)), strlen(s)); }
static bool matches(const char *p, const char *s)
{
    return subject_matches(guard_put(&left, p, strlen(p)), strlen(p), guard_put(&right, s, strlen(s)), strlen(s));
}
static bool covers(const char *p, const char *s)
{
    return subject_covers(guard_put(&left, p, strlen(p)), strlen(p), guard_put(&right, s, strlen(s)), strlen(s));
}
static bool collides(const char *a, const char *b)
{
    bool one = subject_collides(guard_put(&left, a, strlen(a)), strlen(a), guard_put(&right, b, strlen(b)), strlen(b));
    bool other =
        subject_collides(guard_put(&left, b, strlen(b)), strlen(b), guard_put(&right, a, strlen(a)), strlen(a));
    CHECK_EQ(one, other);
    return one;
}

static void test_tables(void)
{
    static const struct {
        const char *s;
        bool valid, literal, wild;
    } rules[] = {
        {"a", true, true, false},     {"a.b.c", true, true, false},
        {"*", true, false, true},     {">", true, false, true},
        {"a.*", true, false, true},   {"*.a", true, false, true},
        {"a.>", true, false, true},   {"foo*", true, true, false},
        {"*foo", true, true, false},  {"a>b", true, true, false},
        {">>", true, true, false},    {"a.**", true, true, false},
        {"*.*.>", true, false, true}, {"", false, false, false},
        {".", false, false, false},   {"a..b", false, false, false},
        {".a", false, false, false},  {"a.", false, false, false},
        {">.a", false, false, true},  {"a.>.b", false, false, true},
        {"a.>.", false, false, true}, {"\x01\xff.\x80", true, true, false},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        CHECK_EQ(valid(rules[i].s), rules[i].valid);
        CHECK_EQ(literal(rules[i].s), rules[i].literal);
        CHECK_EQ(wild(rules[i].s), rules[i].wild);
    }
    CHECK_EQ(subject_valid(guard_put(&left, "a\0b", 3), 3), true);
    CHECK_EQ(subject_tokens("a", 1), 1);
    CHECK_EQ(subject_tokens("a.b.c", 5), 3);

    CHECK(matches("foo.*", "foo.*"));
    CHECK(matches("foo.>", "foo.*"));
    CHECK(matches(">", "foo.>"));
    CHECK(!matches("foo.bar", "foo.*"));
    CHECK(matches("bar.*", "bar.>"));
    CHECK(!matches("foo.>", ">"));
    CHECK(!matches("foo.>", "foo"));
    CHECK(!matches(">", ""));
    CHECK(!matches(">", "a..b"));
    CHECK(!matches(">", "a."));
    CHECK(!matches("*", ""));
    CHECK(!matches("*.b", ".b"));
    CHECK(matches("foo*", "foo*"));
    CHECK(!matches("foo*", "food"));

    CHECK(covers("w.*", "w.a") && covers("w.*", "w.*") && covers("w.>", "w.*") && covers(">", "w.>"));
    CHECK(!covers("w.*", "w.>") && !covers("w.a", "w.*") && !covers("w.>", "w") && !covers("w.*.*", "w.>"));
    CHECK(!covers("w", "") && !covers(">", "") && !covers("w.>", "w.."));

    CHECK(collides("foo.*", "*.bar"));
    CHECK(collides("foo.>", "foo.bar.*"));
    CHECK(!collides("foo.>", "foo"));
    CHECK(!collides("foo.*", "foo.bar.baz"));
    CHECK(!collides("foo.a.>", "*.b.>"));
    CHECK(collides(">", "*"));
}

/* ---- against definitions ---- */

static uint32_t split(const char *s, char out[8][4])
{
    uint32_t n = 0;
    size_t k = 0;
    for (;; s++) {
        if (*s && *s != '.') {
            out[n][k++] = *s;
            continue;
        }
        out[n++][k] = 0;
        k = 0;
        if (!*s) return n;
    }
}

static bool naive_matches(const char *p, const char *s)
{
    char pt[8][4], st[8][4];
    uint32_t np = split(p, pt), ns = split(s, st);
    for (uint32_t i = 0; i < ns; i++)
        if (!st[i][0]) return false;
    for (uint32_t i = 0; i < np; i++) {
        if (i + 1 == np && strcmp(pt[i], ">") == 0) return ns >= np;
        if (i >= ns || (strcmp(pt[i], "*") != 0 && strcmp(pt[i], st[i]) != 0)) return false;
    }
    return np == ns;
}

enum { PATTERNS = 2000, TEXTS = 2000 };
static char patterns[PATTERNS][24], texts[TEXTS][24];

/* The n-th subject over the tokens, at most three long. */
static uint32_t enumerate(char (*out)[24], uint32_t most, const char *const *tokens, uint32_t n)
{
    uint32_t count = 0;
    for (uint32_t len = 1; len <= 3; len++) {
        uint32_t all = len == 1 ? n : len == 2 ? n * n : n * n * n;
        for (uint32_t i = 0; i < all && count < most; i++, count++) {
            out[count][0] = 0;
            for (uint32_t k = 0, left_over = i; k < len; k++, left_over /= n) {
                if (k) strcat(out[count], ".");
                strcat(out[count], tokens[left_over % n]);
            }
        }
    }
    return count;
}

static void test_against_definitions(void)
{
    static const char *const pattern_tokens[] = {"a", "b", "*", ">", "a*"};
    static const char *const text_tokens[] = {"a", "b", "z", "*", ">", "a*", ""};
    uint32_t np = enumerate(patterns, PATTERNS, pattern_tokens, 5), nt = enumerate(texts, TEXTS, text_tokens, 7),
             wrong = 0;
    for (uint32_t i = 0; i < np; i++) {
        if (!valid(patterns[i])) continue;
        for (uint32_t j = 0; j < nt; j++)
            wrong += matches(patterns[i], texts[j]) != naive_matches(patterns[i], texts[j]);
    }
    CHECK_EQ(wrong, 0);
    /* Two patterns meet if some subject is matched by both; three tokens with one unused letter are enough to find it. */
    static const char *const plain_tokens[] = {"a", "b", "z", "a*"};
    nt = enumerate(texts, TEXTS, plain_tokens, 4);
    for (uint32_t i = 0; i < np; i += 2) {
        if (!valid(patterns[i])) continue;
        for (uint32_t j = 0; j < np; j += 3) {
            if (!valid(patterns[j])) continue;
            bool meet = false;
            for (uint32_t k = 0; k < nt && !meet; k++)
                meet = naive_matches(patterns[i], texts[k]) && naive_matches(patterns[j], texts[k]);
            wrong += meet != subject_collides(patterns[i], strlen(patterns[i]), patterns[j], strlen(patterns[j]));
        }
    }
    CHECK_EQ(wrong, 0);
    /* One covers another if it matches whatever the other does. */
    for (uint32_t i = 0; i < np; i += 2) {
        if (!valid(patterns[i])) continue;
        for (uint32_t j = 0; j < np; j += 3) {
            /* What stands for four tokens and more is beyond these texts. */
            bool longer = subject_tokens(patterns[j], strlen(patterns[j])) == 3 && strchr(patterns[j], '>');
            if (longer || !valid(patterns[j])) continue;
            bool all = true;
            for (uint32_t k = 0; k < nt && all; k++)
                all = !naive_matches(patterns[j], texts[k]) || naive_matches(patterns[i], texts[k]);
            wrong += all != covers(patterns[i], patterns[j]);
        }
    }
    CHECK_EQ(wrong, 0);
}

static void test_hashes(void)
{
    char text[80];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)('a' + i % 23);
    uint64_t seen[160];
    uint32_t n = 0, same = 0;
    for (size_t len = 0; len < sizeof text; len++) {
        uint64_t h = hash64(guard_put(&left, text, len), len, 1);
        CHECK(h == hash64(text, len, 1)); /* the address does not matter */
        CHECK(h != hash64(text, len, 2));
        CHECK_EQ(hash32(text, len), hash32(guard_put(&left, text, len), len));
        seen[n++] = h;
        if (len) { /* one bit changed anywhere shows */
            char copy[80];
            memcpy(copy, text, sizeof copy);
            copy[len * 7 % len] ^= 1;
            seen[n++] = hash64(copy, len, 1);
        }
    }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < i; j++) same += seen[i] == seen[j];
    CHECK_EQ(same, 0);
    /* Numbers in a row spread over a small table. */
    uint32_t buckets[1024] = {0}, most = 0;
    for (uint32_t i = 0; i < 102400; i++) {
        char s[16];
        int len = snprintf(s, sizeof s, "%u", i);
        uint32_t b = ++buckets[hash32(s, (size_t)len) % 1024];
        if (b > most) most = b;
    }
    CHECK(most < 160);
}

int main(void)
{
    left = guard_new(4096);
    right = guard_new(4096);
    test_tables();
    test_against_definitions();
    test_hashes();
    guard_free(&left);
    guard_free(&right);
    return check_report();
}
