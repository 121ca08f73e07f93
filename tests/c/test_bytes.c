/* Short runs of bytes: copied, compared and written exactly, and nothing beside them. */
#include "../../csrc/bytes.h"
#include "check.h"
#include <inttypes.h>
#include <stdlib.h>

static void numbers(void)
{
    uint64_t values[] = {0, 5, 4294967295, 4294967296, UINT64_MAX - 1, UINT64_MAX};
    char text[NUMBER_MAX + 1], expected[NUMBER_MAX + 1];
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        *put_number(text, values[i]) = 0;
        snprintf(expected, sizeof expected, "%" PRIu64, values[i]);
        CHECK(strcmp(text, expected) == 0);
    }
    uint64_t power = 1;
    for (int digits = 1; digits <= NUMBER_MAX; digits++, power *= 10)
        for (int below = 0; below < 2; below++) { /* where numbers grow by a digit */
            *put_number(text, power - (uint64_t)below) = 0;
            snprintf(expected, sizeof expected, "%" PRIu64, power - (uint64_t)below);
            CHECK(strcmp(text, expected) == 0);
        }
    for (unsigned v = 0; v < 2000; v++) {
        *put_number(text, v) = 0;
        CHECK_EQ((unsigned)atoi(text), v);
        CHECK_EQ(strlen(text), 1u + (v > 9) + (v > 99) + (v > 999));
    }
}

static void runs(void)
{
    char from[64], to[64], same[64];
    for (size_t i = 0; i < sizeof from; i++) from[i] = (char)i;
    for (size_t n = 0; n < sizeof from - 1; n++) {
        memset(to, -1, sizeof to);
        CHECK(put(to, from, n) == to + n);
        CHECK(memcmp(to, from, n) == 0 && to[n] == -1);
        memcpy(same, from, sizeof same);
        same[n]++;
        CHECK(bytes_same(from, same, n));
        for (size_t i = 0; i < n; i++) {
            same[i]++;
            CHECK(!bytes_same(from, same, n));
            same[i]--;
        }
    }
}

int main(void)
{
    numbers();
    runs();
    return check_report();
}
