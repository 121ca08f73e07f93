/* allow_responses: how often, how long, how many, and what is remembered when there is no memory. */
#include "alloc.h"
#include "check.h"
#include "core.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct permissions *answers(int64_t max, int64_t expires_ms)
{
    struct permissions *p = permissions_new();
    if (!p) abort();
    permissions_set_responses(p, max, expires_ms);
    return p;
}

static void grant(struct conn *c, int number, uint64_t now)
{
    char subject[32];
    responses_grant(c, subject, (size_t)sprintf(subject, "_INBOX.%d", number), now);
}

static bool use(struct conn *c, int number, uint64_t now)
{
    char subject[32];
    return responses_use(c, subject, (size_t)sprintf(subject, "_INBOX.%d", number), now);
}

static void counted(void)
{
    struct conn c = {.perms = answers(2, -1)};
    CHECK(!use(&c, 1, 0));
    grant(&c, 1, 0);
    CHECK(!use(&c, 2, 0));
    CHECK(use(&c, 1, 1) && use(&c, 1, 1u << 31) && !use(&c, 1, 2));
    grant(&c, 1, 0);
    CHECK(use(&c, 1, 0));
    grant(&c, 1, 0); /* asked again: the count starts anew */
    CHECK(use(&c, 1, 0) && use(&c, 1, 0) && !use(&c, 1, 0));
    responses_free(&c);
    permissions_release(c.perms);
}

static void expiring(void)
{
    struct conn c = {.perms = answers(-1, 100)};
    grant(&c, 1, 1000);
    for (int i = 0; i < 50; i++) CHECK(use(&c, 1, 1100));
    CHECK(!use(&c, 1, 1101) && !use(&c, 1, 1100)); /* gone is gone */
    responses_free(&c);
    permissions_release(c.perms);
}

static void without_the_right(void)
{
    struct conn c = {.perms = permissions_new()};
    grant(&c, 1, 0);
    CHECK(!use(&c, 1, 0) && !c.responses);
    permissions_release(c.perms);
    c.perms = NULL;
}

/* Never more than 16384 are kept: the oldest go. */
static void bounded(void)
{
    struct conn c = {.perms = answers(1, -1)};
    const int kept = 16384, more = 5000;
    for (int i = 0; i < kept + more; i++) grant(&c, i, 0);
    int found = 0;
    for (int i = 0; i < more; i++) found += use(&c, i, 0);
    CHECK_EQ(found, 0);
    for (int i = more; i < kept + more; i++) found += use(&c, i, 0);
    CHECK_EQ(found, kept);
    responses_free(&c);
    permissions_release(c.perms);
}

static void no_memory(void)
{
    for (uint64_t after = 0; after < 40; after++) {
        struct conn c = {.perms = answers(1, -1)};
        uint64_t before = alloc_failures();
        alloc_fail(after, 1);
        for (int i = 0; i < 400; i++) grant(&c, i, 0);
        alloc_fail_off();
        int missing = 0;
        for (int i = 0; i < 400; i++) missing += !use(&c, i, 0);
        CHECK(alloc_failures() > before && missing <= 1);
        grant(&c, 1000, 0);
        CHECK(use(&c, 1000, 0));
        responses_free(&c);
        permissions_release(c.perms);
    }
}

int main(void)
{
    counted();
    expiring();
    without_the_right();
    bounded();
    no_memory();
    return check_report();
}
