/* check.h: counting checks for the C tests. A test program ends with `return check_report();`. */
#ifndef SPLINE_CHECK_H
#define SPLINE_CHECK_H
#include <stdio.h>

static int check_passed, check_failed;

#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (what) {                                                                                                    \
            check_passed++;                                                                                            \
        } else {                                                                                                       \
            check_failed++;                                                                                            \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #what);                                         \
        }                                                                                                              \
    } while (0)

#define CHECK_EQ(got, want)                                                                                            \
    do {                                                                                                               \
        long long check_got = (long long)(got), check_want = (long long)(want);                                        \
        if (check_got == check_want) {                                                                                 \
            check_passed++;                                                                                            \
        } else {                                                                                                       \
            check_failed++;                                                                                            \
            fprintf(stderr, "%s:%d: failed: %s is %lld, not %lld\n", __FILE__, __LINE__, #got, check_got, check_want); \
        }                                                                                                              \
    } while (0)

static inline int check_report(void)
{
    printf("%d passed, %d failed\n", check_passed, check_failed);
    return check_failed != 0;
}
#endif
