/* test_sublist: what the sublist promises, by example, at scale, and at random against the naive model. */
#include "check.h"
#include "sublist_model.h"
#include <time.h>

static struct sub *sub_new(const char *subject, const char *queue)
{
    size_t n = strlen(subject), nq = strlen(queue);
    struct sub *s = calloc(1, sizeof *s + n + nq);
    if (!s) abort();
    s->subject = (char *)(s + 1);
    memcpy(s->subject, subject, n);
    memcpy(s->subject + n, queue, nq);
    s->subject_len = (uint16_t)n;
    s->queue_len = (uint16_t)nq;
    return s;
}

static struct sub *add(struct sublist *l, const char *subject, const char *queue)
{
    struct sub *s = sub_new(subject, queue);
    if (sublist_insert(l, s) != 0) abort();
    return s;
}

static void drop(struct sublist *l, struct sub *s)
{
    sublist_remove(l, s);
    free(s);
}

static const struct match *match(struct sublist *l, const char *subject)
{
    return sublist_match(l, subject, strlen(subject));
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct sublist_stats stats_of(struct sublist *l)
{
    struct sublist_stats s;
    sublist_stats(l, &s);
    return s;
}

static void test_matching(void)
{
    struct sublist *l = sublist_new(16);
    const char *patterns[] = {"foo", "foo.*", "foo.>", ">", "*.bar", "foo.bar", "*", "*.*", "foo.*.baz", "foo*.bar"};
    struct sub *subs[10];
    for (int i = 0; i < 10; i++) subs[i] = add(l, patterns[i], "");
    CHECK_EQ(match(l, "foo")->nplain, 3);     /* foo > * */
    CHECK_EQ(match(l, "foo.bar")->nplain, 6); /* foo.* foo.> > *.bar foo.bar *.* */
    CHECK_EQ(match(l, "foo.bar.baz")->nplain, 3);
    CHECK_EQ(match(l, "foo*.bar")->nplain, 4);
    CHECK_EQ(match(l, "foo.*")->nplain, 4); /* published as text: foo.* foo.> > *.* */
    CHECK_EQ(match(l, "foo.>")->nplain, 4);
    CHECK_EQ(match(l, "")->nplain, 0);
    CHECK_EQ(match(l, "foo..bar")->nplain, 0);
    CHECK_EQ(match(l, ".foo")->nplain, 0);
    CHECK_EQ(match(l, "foo.")->nplain, 0);
    CHECK_EQ(stats_of(l).subs, 10);
    for (int i = 0; i < 10; i++) drop(l, subs[i]);
    CHECK_EQ(match(l, "foo")->nplain, 0);
    CHECK_EQ(stats_of(l).nodes, 0);
    sublist_free(l);
}

static void test_groups_are_merged_by_name(void)
{
    struct sublist *l = sublist_new(16);
    struct sub *a = add(l, "a.b", "q"), *b = add(l, "a.*", "q"), *c = add(l, "a.>", "other");
    CHECK_EQ(sublist_set_remote(l, 3, "a.*", 3, "q", 1, 2), 0);
    CHECK_EQ(sublist_set_remote(l, 3, "a.b", 3, "q", 1, 1), 0);
    CHECK_EQ(sublist_set_remote(l, 3, "a.b", 3, "q", 1, 5), 1);
    CHECK_EQ(sublist_set_remote(l, 4, "a.b", 3, "", 0, 1), 0);
    const struct match *m = match(l, "a.b");
    CHECK_EQ(m->nplain, 0);
    CHECK_EQ(m->ngroups, 2);
    CHECK_EQ(m->peers, 1 << 4);
    for (uint32_t i = 0; i < m->ngroups; i++) {
        bool q = m->groups[i].name_len == 1;
        CHECK_EQ(m->groups[i].nlocal, q ? 2 : 1);
        CHECK_EQ(m->groups[i].nremote, q ? 1 : 0);
        CHECK_EQ(m->groups[i].remote_weight, q ? 7 : 0);
    }
    sublist_drop_peer(l, 3);
    sublist_drop_peer(l, 4);
    m = match(l, "a.b");
    CHECK_EQ(m->peers, 0);
    CHECK_EQ(m->ngroups, 2);
    drop(l, a);
    drop(l, b);
    drop(l, c);
    CHECK_EQ(stats_of(l).nodes, 0);
    sublist_free(l);
}

/* Many group names on overlapping patterns: found and merged by table, not by search. */
static void test_many_group_names(void)
{
    enum { NAMES = 20000 };
    struct sublist *l = sublist_new(4);
    static struct sub *subs[2][NAMES];
    double start = seconds();
    for (int i = 0; i < NAMES; i++) {
        char name[16];
        snprintf(name, sizeof name, "q%d", i);
        subs[0][i] = add(l, "a.b", name);
        subs[1][i] = add(l, "a.*", name);
    }
    const struct match *m = match(l, "a.b");
    CHECK_EQ(m->ngroups, NAMES);
    bool two = true;
    for (uint32_t i = 0; i < m->ngroups; i++) two &= m->groups[i].nlocal == 2;
    CHECK(two);
    for (int i = 0; i < NAMES; i++) {
        drop(l, subs[0][i]);
        drop(l, subs[1][i]);
    }
    CHECK(seconds() - start < 5);
    CHECK_EQ(match(l, "a.b")->ngroups, 0);
    CHECK_EQ(stats_of(l).nodes, 0);
    sublist_free(l);
}

/* 100k subscriptions on one subject come and go without anything quadratic, each order of removal. */
static void test_many_on_one_subject(void)
{
    enum { MANY = 100000 };
    static struct sub *subs[MANY];
    for (int order = 0; order < 3; order++) {
        struct sublist *l = sublist_new(1024);
        sublist_track(l, true);
        double start = seconds();
        for (int i = 0; i < MANY; i++) subs[i] = add(l, "x.y", order == 2 ? "q" : "");
        const struct match *m = match(l, "x.y");
        CHECK_EQ(order == 2 ? m->groups[0].nlocal : m->nplain, MANY);
        for (int i = 0; i < MANY; i++) drop(l, subs[order == 1 ? MANY - 1 - i : (int)((long)i * 7919 % MANY)]);
        CHECK(seconds() - start < 5);
        CHECK_EQ(match(l, "x.y")->nplain + match(l, "x.y")->ngroups, 0);
        sublist_free(l);
    }
}

static void test_cache(void)
{
    struct sublist *l = sublist_new(4);
    struct sub *a = add(l, "a.*", ""), *b = add(l, "b.x", "");
    match(l, "a.1");
    const struct match *m = match(l, "a.1"); /* the second miss earns an entry */
    uint32_t serial = m->serial;
    CHECK_EQ(stats_of(l).cache_entries, 1);
    CHECK(match(l, "a.1") == m);
    CHECK_EQ(stats_of(l).cache_hits, 1);
    uint64_t generation = *sublist_generation(l);
    struct sub *other = add(l, "b.y", ""), *wild = add(l, "b.*", "");
    CHECK(*sublist_generation(l) != generation);
    CHECK(sublist_match_current(l, m, serial)); /* others' changes do not outdate it */
    CHECK(match(l, "a.1") == m && m->serial == serial);
    for (int i = 0; i < 63; i++) {
        drop(l, wild);
        wild = add(l, i % 2 ? "b.*" : "c.>", "");
        if (i % 16 == 0) CHECK(sublist_match_current(l, m, serial));
    }
    CHECK(sublist_match_current(l, m, serial));
    struct sub *literal = add(l, "a.1", "");
    CHECK(!sublist_match_current(l, m, serial));
    m = match(l, "a.1");
    CHECK_EQ(m->nplain, 2);
    CHECK(m->serial != serial);
    serial = m->serial;
    drop(l, a);
    CHECK(!sublist_match_current(l, m, serial));
    CHECK_EQ(match(l, "a.1")->nplain, 1);
    /* more changes than are remembered: asked again, and right */
    serial = match(l, "a.1")->serial;
    for (int i = 0; i < 200; i++) {
        drop(l, wild);
        wild = add(l, "b.*", "");
    }
    CHECK(!sublist_match_current(l, m, serial));
    CHECK_EQ(match(l, "a.1")->nplain, 1);
    for (int round = 0; round < 4; round++) { /* more subjects than entries */
        for (int i = 0; i < 8; i++) {
            char s[16];
            snprintf(s, sizeof s, "b.%c", 'u' + i);
            CHECK_EQ(match(l, s)->nplain, s[2] == 'x' || s[2] == 'y' ? 2 : 1);
            CHECK_EQ(match(l, s)->nplain, s[2] == 'x' || s[2] == 'y' ? 2 : 1);
        }
    }
    CHECK_EQ(stats_of(l).cache_entries, 4);
    drop(l, literal);
    drop(l, other);
    drop(l, wild);
    drop(l, b);
    sublist_free(l);
}

/* A change is not forgotten however many others follow it, nor if its pattern is too long to be remembered. */
static void test_changes_are_not_missed(void)
{
    char long_wild[160], long_text[160];
    snprintf(long_wild, sizeof long_wild, "*.%0130d", 7);
    snprintf(long_text, sizeof long_text, "a.%0130d", 7);
    struct sublist *l = sublist_new(4);
    struct sub *any = add(l, ">", "");
    for (int after = 0; after < 140; after++) {
        match(l, "a.b");
        const struct match *m = match(l, "a.b");
        uint32_t serial = m->serial;
        CHECK(sublist_match_current(l, m, serial));
        struct sub *met = add(l, "a.*", "");
        for (int i = 0; i < after; i += 2) drop(l, add(l, "z.*", ""));
        if (after % 2) sublist_set_remote(l, (uint32_t)after % 64, "z.*", 3, "", 0, 1);
        CHECK(!sublist_match_current(l, m, serial));
        CHECK_EQ(match(l, "a.b")->nplain, 2);
        drop(l, met);
        match(l, long_text);
        m = match(l, long_text);
        serial = m->serial;
        met = add(l, long_wild, "");
        CHECK(!sublist_match_current(l, m, serial));
        CHECK_EQ(match(l, long_text)->nplain, 2);
        drop(l, met);
    }
    drop(l, any);
    sublist_free(l);
}

/* Large merged results do not fill memory: 1500 subjects, each met by 2 x 4000 subscriptions. */
static void test_cache_is_bounded_in_bytes(void)
{
    enum { FAN = 4000, SUBJECTS = 1500 };
    static struct sub *subs[2 * FAN];
    struct sublist *l = sublist_new(8192);
    for (int i = 0; i < FAN; i++) {
        subs[2 * i] = add(l, ">", "");
        subs[2 * i + 1] = add(l, "s.*", "");
    }
    bool right = true;
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < SUBJECTS; i++) {
            char s[16];
            snprintf(s, sizeof s, "s.%d", i);
            right &= match(l, s)->nplain == 2 * FAN;
        }
    CHECK(right);
    CHECK(stats_of(l).cache_entries > 100 && stats_of(l).cache_entries < SUBJECTS);
    for (int i = 0; i < 2 * FAN; i++) drop(l, subs[i]);
    CHECK_EQ(match(l, "s.1")->nplain, 0);
    sublist_free(l);
}

static void count_call(void *arg, const char *s, size_t n, const char *q, size_t nq, uint32_t weight, uint32_t was)
{
    char *out = arg;
    sprintf(out + strlen(out), "%.*s/%.*s %u<%u;", (int)n, s, (int)nq, q, weight, was);
}

static void test_announcements(void)
{
    char told[512] = "";
    struct sublist *l = sublist_new(0);
    struct sub *early = add(l, "a.>", "");
    CHECK(!sublist_dirty(l));
    CHECK_EQ(sublist_announced(l, early, 9), 0);
    sublist_track(l, true);
    CHECK(sublist_dirty(l));
    struct sub *q1 = add(l, "b", "q"), *q2 = add(l, "b", "q"), *brief = add(l, "gone.*.x", "");
    drop(l, brief);
    CHECK_EQ(sublist_announced(l, q1, 1), 1);
    CHECK_EQ(sublist_flush_interest(l, 1, count_call, told), 2);
    CHECK(strcmp(told, "a.>/ 1<0;b/q 2<0;") == 0);
    CHECK(!sublist_dirty(l));
    struct sub *second = add(l, "a.>", "");
    CHECK(!sublist_dirty(l)); /* told already */
    CHECK_EQ(sublist_announced(l, second, 2), 1);
    drop(l, q1);
    drop(l, early);
    told[0] = 0;
    CHECK_EQ(sublist_flush_interest(l, 2, count_call, told), 1);
    CHECK(strcmp(told, "b/q 1<2;") == 0);
    CHECK_EQ(sublist_announced(l, q2, 3), 1); /* it has been known since batch 1 */
    drop(l, second);
    told[0] = 0;
    sublist_each_interest(l, count_call, told); /* still announced: a joining peer hears it, and of its end later */
    CHECK(strcmp(told, "a.>/ 1<1;b/q 1<1;") == 0 || strcmp(told, "b/q 1<1;a.>/ 1<1;") == 0);
    second = add(l, "a.>", "");
    told[0] = 0;
    CHECK_EQ(sublist_flush_interest(l, 3, count_call, told), 0); /* it went and came back */
    CHECK_EQ(sublist_announced(l, second, 4), 1);
    drop(l, second);
    drop(l, q2);
    CHECK_EQ(sublist_flush_interest(l, 4, count_call, told), 2);
    CHECK_EQ(stats_of(l).nodes, 0);
    sublist_free(l);
}

/* Subjects as long as they may be, and deeper than any pattern. */
static void test_deep(void)
{
    enum { LEN = 65535 };
    char *deep = malloc(LEN);
    if (!deep) abort();
    for (int i = 0; i < LEN; i++) deep[i] = i % 2 ? '.' : 'a';
    struct sublist *l = sublist_new(8);
    struct sub *all = add(l, ">", "");
    CHECK_EQ(sublist_match(l, deep, LEN)->nplain, 1);
    struct sub *s = calloc(1, sizeof *s);
    if (!s) abort();
    s->subject = deep;
    s->subject_len = LEN;
    CHECK_EQ(sublist_insert(l, s), 0);
    CHECK_EQ(stats_of(l).nodes, (LEN + 1) / 2);
    CHECK_EQ(sublist_match(l, deep, LEN)->nplain, 2);
    CHECK_EQ(sublist_match(l, deep, LEN - 2)->nplain, 1);
    sublist_remove(l, s);
    CHECK_EQ(stats_of(l).nodes, 0);
    CHECK_EQ(sublist_match(l, deep, LEN)->nplain, 1);
    drop(l, all);
    sublist_free(l);
    free(s);
    free(deep);
}

/* Every single allocation on the way of making a list, inserts and matches fails once: an error or an answer, never a broken list. */
static void test_out_of_memory(void)
{
    enum { SUBS = 12, NTH = 120 };
    uint64_t before = alloc_failures();
    for (uint64_t nth = 0; nth < NTH; nth++) {
        struct sub *subs[SUBS];
        bool in[SUBS] = {0};
        uint32_t refused = 0, want = 0, found = 0;
        for (int i = 0; i < SUBS; i++) {
            char text[64];
            snprintf(text, sizeof text, i % 2 ? "a.%d.*" : "a.*.a-rather-long-token-that-needs-memory-%d", i / 2 % 3);
            subs[i] = sub_new(text, i % 3 ? "" : "q");
        }
        alloc_fail(nth, 1);
        struct sublist *l = sublist_new(4);
        for (int i = 0; i < SUBS && l; i++) {
            in[i] = sublist_insert(l, subs[i]) == 0;
            refused += !in[i];
            want += in[i] && i % 2 && i / 2 % 3 == 1;
        }
        for (int i = 0; i < 3 && l; i++) refused += !match(l, "a.1.x");
        alloc_fail_off();
        CHECK(refused <= 1);
        const struct match *m = l ? match(l, "a.1.x") : NULL;
        CHECK(m || !l);
        if (m) found = m->nplain;
        for (uint32_t g = 0; m && g < m->ngroups; g++) found += m->groups[g].nlocal;
        CHECK_EQ(found, want);
        for (int i = 0; i < SUBS; i++) {
            if (in[i]) sublist_remove(l, subs[i]);
            free(subs[i]);
        }
        CHECK(!l || stats_of(l).nodes == 0);
        sublist_free(l);
    }
    CHECK(alloc_failures() - before > 25);
}

/* A wildcard change outdates kept results also where there is no memory to note it. */
static void test_changes_without_memory(void)
{
    uint64_t before = alloc_failures();
    for (uint64_t nth = 0; nth < 8; nth++) {
        struct sublist *l = sublist_new(16);
        struct sub *a = add(l, "a.1", ""), *wild = sub_new("a.*", ""), *later = sub_new("*.1", "");
        match(l, "a.1");
        CHECK_EQ(match(l, "a.1")->nplain, 1);
        CHECK_EQ(stats_of(l).cache_entries, 1);
        alloc_fail(nth, 1);
        uint32_t in = sublist_insert(l, wild) == 0;
        alloc_fail_off();
        CHECK_EQ(match(l, "a.1")->nplain, 1 + in);
        CHECK_EQ(sublist_insert(l, later), 0);
        CHECK_EQ(match(l, "a.1")->nplain, 2 + in);
        if (in) sublist_remove(l, wild);
        CHECK_EQ(match(l, "a.1")->nplain, 2);
        drop(l, later);
        drop(l, a);
        free(wild);
        sublist_free(l);
    }
    CHECK(alloc_failures() > before);
}

/* However many subjects there are, they are kept at their second miss, but for a few. */
static void test_second_miss_of_many(void)
{
    enum { SUBJECTS = 3000 };
    struct sublist *l = sublist_new(2 * SUBJECTS);
    struct sub *all = add(l, "s.>", "");
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < SUBJECTS; i++) {
            char s[16];
            snprintf(s, sizeof s, "s.%d", i);
            CHECK_EQ(match(l, s)->nplain, 1);
        }
        uint64_t kept = stats_of(l).cache_entries; /* two subjects may share a place */
        CHECK(round ? kept > SUBJECTS * 3 / 4 : kept < SUBJECTS / 20);
    }
    drop(l, all);
    sublist_free(l);
}

static void test_random(void)
{
    enum { RUNS = 400, LEN = 6000 };
    static uint8_t bytes[LEN];
    uint64_t rng = 88172645463325252ULL;
    for (int run = 0; run < RUNS; run++) {
        for (int i = 0; i < LEN; i++) {
            rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
            bytes[i] = (uint8_t)(rng >> 32);
        }
        bytes[0] = (uint8_t)run;
        model_run(bytes, LEN); /* aborts at the first difference */
        CHECK(true);
    }
}

int main(void)
{
    test_matching();
    test_groups_are_merged_by_name();
    test_many_group_names();
    test_many_on_one_subject();
    test_cache();
    test_changes_are_not_missed();
    test_cache_is_bounded_in_bytes();
    test_announcements();
    test_deep();
    test_out_of_memory();
    test_changes_without_memory();
    test_second_miss_of_many();
    test_random();
    return check_report();
}
