/* bench_sublist: nanoseconds a match takes with 100k wildcard subscriptions, each of 100k subjects in turn, and in the easy cases. */
#include "../../csrc/sublist.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SUBS 100000

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Every subscription gets `pattern` with its number in it; published are `subject`s with numbers in a scattered order. */
static void run(const char *title, const char *pattern, const char *subject, uint32_t distinct, uint32_t cache,
                uint32_t rounds)
{
    struct sublist *l = sublist_new(cache);
    struct sub *subs = calloc(SUBS, sizeof *subs);
    char (*subjects)[48] = calloc(distinct, sizeof *subjects);
    size_t *lens = calloc(distinct, sizeof *lens);
    if (!l || !subs || !subjects || !lens) exit(1);
    double start = now_ns();
    for (uint32_t i = 0; i < SUBS; i++) {
        char text[64];
        int n = snprintf(text, sizeof text, pattern, i, i % 100, i / 100);
        subs[i].subject = strdup(text);
        subs[i].subject_len = (uint16_t)n;
        if (sublist_insert(l, &subs[i]) != 0) exit(1);
    }
    double inserted = now_ns();
    for (uint32_t i = 0; i < distinct; i++) {
        uint32_t k = (uint32_t)((uint64_t)i * 7919 % distinct);
        lens[i] = (size_t)snprintf(subjects[i], sizeof subjects[i], subject, k, k % 100, k / 100);
    }
    uint64_t met = 0;
    for (uint32_t i = 0; i < distinct; i++) met += sublist_match(l, subjects[i], lens[i])->nplain;
    double from = now_ns();
    for (uint32_t r = 0; r < rounds; r++)
        for (uint32_t i = 0; i < distinct; i++) met += sublist_match(l, subjects[i], lens[i])->nplain;
    double done = now_ns();
    for (uint32_t i = 0; i < SUBS; i++) sublist_remove(l, &subs[i]);
    double removed = now_ns();
    printf("%-34s match %6.1f ns   insert %6.1f ns   remove %6.1f ns   (%.2f met)\n", title,
           (done - from) / rounds / distinct, (inserted - start) / SUBS, (removed - done) / SUBS,
           (double)met / (rounds + 1) / distinct);
    for (uint32_t i = 0; i < SUBS; i++) free(subs[i].subject);
    sublist_free(l);
    free(subs);
    free(subjects);
    free(lens);
}

int main(void)
{
    run("foo.<100k>.*, no cache", "foo.%u.*", "foo.%u.bar", SUBS, 0, 10);
    run("foo.<100k>.*, cache 8192", "foo.%u.*", "foo.%u.bar", SUBS, 8192, 10);
    run("a.*.<100k>, cache 8192", "a.*.%u", "a.b.%u", SUBS, 8192, 10);
    run("<100>.<1000>.>, cache 8192", "r.%2$u.%3$u.>", "r.%2$u.%3$u.x.y", SUBS, 8192, 10);
    run("one subject of 1000, cache 8192", "foo.%u.*", "foo.%u.bar", 1000, 8192, 1000);
    return 0;
}
