/* test_permissions: client-protocol section 10 by example. */
#include "alloc.h"
#include "check.h"
#include "guard.h"
#include "permissions.h"

static struct guard guard, guard_queue;

static struct permissions *make(void)
{
    struct permissions *p = permissions_new();
    if (!p) abort();
    return p;
}
/* "subject" or "subject queue" */
static void add(struct permissions *p, enum perm_list list, const char *entry)
{
    const char *space = strchr(entry, ' ');
    size_t n = space ? (size_t)(space - entry) : strlen(entry);
    const char *queue = space ? space + 1 : "";
    CHECK_EQ(permissions_add(p, list, entry, n, queue, strlen(queue)), 0);
}
static bool publish(struct permissions *p, const char *s)
{
    bool first = permissions_can_publish(p, guard_put(&guard, s, strlen(s)), strlen(s));
    CHECK_EQ(permissions_can_publish(p, s, strlen(s)), first); /* remembered as it was found */
    return first;
}
static bool subscribe(struct permissions *p, const char *s, const char *q)
{
    return permissions_can_subscribe(p, guard_put(&guard, s, strlen(s)), strlen(s),
                                     guard_put(&guard_queue, q, strlen(q)), strlen(q));
}
static bool filter(struct permissions *p, const char *s, const char *q)
{
    return permissions_needs_filter(p, guard_put(&guard, s, strlen(s)), strlen(s),
                                    guard_put(&guard_queue, q, strlen(q)), strlen(q));
}
static bool deliver(struct permissions *p, const char *s, const char *q)
{
    bool first = permissions_can_deliver(p, guard_put(&guard, s, strlen(s)), strlen(s),
                                         guard_put(&guard_queue, q, strlen(q)), strlen(q));
    CHECK_EQ(permissions_can_deliver(p, s, strlen(s), q, strlen(q)), first);
    return first;
}

static void test_no_lists(void)
{
    struct permissions *p = make();
    CHECK(publish(p, "any.thing"));
    CHECK(publish(p, "a..b"));
    CHECK(subscribe(p, ">", ""));
    CHECK(subscribe(p, "a", "q"));
    CHECK(!filter(p, ">", ""));
    CHECK(deliver(p, "a", ""));
    int64_t max, expires;
    CHECK(!permissions_has_responses(p, &max, &expires));
    permissions_release(p);
    permissions_release(NULL);
}

static void test_publish(void)
{
    struct permissions *p = make();
    add(p, PERM_PUB_ALLOW, "foo.*");
    add(p, PERM_PUB_ALLOW, "bar.>");
    add(p, PERM_PUB_DENY, "bar.secret");
    CHECK(publish(p, "foo.a"));
    CHECK(!publish(p, "foo.a.b"));
    CHECK(publish(p, "foo.*")); /* text */
    CHECK(publish(p, "bar.a.b"));
    CHECK(!publish(p, "bar.secret"));
    CHECK(!publish(p, "bar"));
    CHECK(!publish(p, "foo."));
    CHECK(!publish(p, ""));
    CHECK(subscribe(p, ">", "")); /* the other direction stays open */
    permissions_release(p);

    p = make();
    add(p, PERM_PUB_DENY, "x.>");
    CHECK(publish(p, "y"));
    CHECK(publish(p, "x"));
    CHECK(!publish(p, "x.y"));
    permissions_release(p);
}

static void test_responses(void)
{
    struct permissions *p = make();
    int64_t max = 0, expires = 0;
    permissions_set_responses(p, 3, 120000);
    CHECK(permissions_has_responses(p, &max, &expires) && max == 3 && expires == 120000);
    CHECK(!publish(p, "a")); /* closed without an allow list */
    add(p, PERM_PUB_DENY, "b");
    CHECK(!publish(p, "c"));
    permissions_release(p);
    p = make();
    permissions_set_responses(p, -1, -1);
    add(p, PERM_PUB_ALLOW, "a");
    CHECK(publish(p, "a"));
    CHECK(!publish(p, "b"));
    permissions_release(p);
}

static void test_subscribe(void)
{
    struct permissions *p = make();
    add(p, PERM_SUB_ALLOW, "foo.>");
    add(p, PERM_SUB_ALLOW, "bar.*");
    CHECK(!subscribe(p, ">", ""));
    CHECK(subscribe(p, "foo.a.b", ""));
    CHECK(subscribe(p, "foo.*", ""));
    CHECK(subscribe(p, "foo.>", ""));
    CHECK(subscribe(p, "bar.>", "")); /* its '>' counts as one token */
    CHECK(!subscribe(p, "bar.a.b", ""));
    CHECK(!subscribe(p, "foo", "q"));
    CHECK(subscribe(p, "foo.a", "q"));
    CHECK(publish(p, "anything"));
    permissions_release(p);

    p = make();
    add(p, PERM_SUB_ALLOW, "foo v1");
    CHECK(!subscribe(p, "foo", ""));
    CHECK(subscribe(p, "foo", "v1"));
    CHECK(!subscribe(p, "foo", "v2"));
    add(p, PERM_SUB_ALLOW, "foo");
    CHECK(subscribe(p, "foo", ""));
    CHECK(subscribe(p, "foo", "v1"));
    CHECK(!subscribe(p, "foo", "v2"));
    permissions_release(p);

    p = make();
    add(p, PERM_SUB_ALLOW, "foo v2.*");
    add(p, PERM_SUB_ALLOW, "foo v3.>");
    CHECK(subscribe(p, "foo", "v2.x"));
    CHECK(subscribe(p, "foo", "v2.*"));
    CHECK(subscribe(p, "foo", "v3.a.b"));
    CHECK(!subscribe(p, "foo", "v2.x.y"));
    CHECK(!subscribe(p, "foo", "v2"));
    permissions_release(p);
}

static void test_deny(void)
{
    struct permissions *p = make();
    add(p, PERM_SUB_DENY, "foo.secret");
    add(p, PERM_SUB_DENY, "bar dq");
    add(p, PERM_SUB_DENY, "baz.*.x");
    CHECK(!subscribe(p, "foo.secret", ""));
    CHECK(!subscribe(p, "foo.secret", "q"));
    CHECK(subscribe(p, "foo.*", "")); /* broader: accepted, and filtered */
    CHECK(filter(p, "foo.*", ""));
    CHECK(filter(p, ">", "q"));
    CHECK(!filter(p, "foo.other", ""));
    CHECK(!filter(p, "other.>", ""));
    CHECK(filter(p, "baz.1.*", ""));
    CHECK(filter(p, "baz.>", ""));
    CHECK(!filter(p, "baz.*.y", ""));
    CHECK(!deliver(p, "foo.secret", ""));
    CHECK(deliver(p, "foo.open", ""));
    CHECK(!deliver(p, "baz.7.x", "q"));
    CHECK(subscribe(p, "bar", ""));
    CHECK(subscribe(p, "bar", "q"));
    CHECK(!subscribe(p, "bar", "dq"));
    CHECK(!filter(p, "ba*", ""));
    CHECK(!filter(p, "*", ""));
    CHECK(filter(p, "*", "dq"));
    CHECK(deliver(p, "bar", ""));
    CHECK(deliver(p, "bar", "q"));
    CHECK(!deliver(p, "bar", "dq"));
    permissions_release(p);

    p = make(); /* deny wins, also over an entry for another queue */
    add(p, PERM_SUB_ALLOW, ">");
    add(p, PERM_SUB_DENY, "a");
    add(p, PERM_SUB_DENY, "a q");
    CHECK(!subscribe(p, "a", ""));
    CHECK(!subscribe(p, "a", "q"));
    CHECK(!subscribe(p, "a", "z"));
    CHECK(subscribe(p, "b", "q"));
    permissions_release(p);

    p = make();
    add(p, PERM_PUB_DENY, ">");
    add(p, PERM_SUB_DENY, ">");
    CHECK(!publish(p, "a"));
    CHECK(!subscribe(p, "a", ""));
    CHECK(!subscribe(p, ">", ""));
    permissions_release(p);
}

/* More subjects than verdicts are kept, asked again and again, with the same text as subject and as subject + queue. */
static void test_verdicts(void)
{
    struct permissions *p = make();
    add(p, PERM_PUB_ALLOW, "even.>");
    add(p, PERM_SUB_DENY, "ab");
    add(p, PERM_SUB_DENY, "odd.>");
    bool right = true;
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 5000; i++) {
            char s[200];
            int n = snprintf(s, sizeof s, "%s.%d%s", i % 2 ? "odd" : "even", i,
                             i % 7 ? ""
                                   : ".a-long-tail-a-long-tail-a-long-tail-"
                                     "a-long-tail-a-long-tail-a-long-tail-a-long-tail-a-long-tail-a-long-tail-a-long-"
                                     "tail-a-long-tail");
            right &= permissions_can_publish(p, s, (size_t)n) == (i % 2 == 0);
            right &= permissions_can_deliver(p, s, (size_t)n, "q", i % 3 == 0) == (i % 2 == 0);
        }
    CHECK(right);
    CHECK(deliver(p, "a", "b"));
    CHECK(!deliver(p, "ab", ""));
    CHECK(deliver(p, "a", "b"));
    permissions_release(p);
}

/* A thousand entries cost no more than one, and without memory nothing that is forbidden becomes allowed. */
static void test_large_and_out_of_memory(void)
{
    struct permissions *p = make();
    for (int i = 0; i < 1000; i++) {
        char s[32];
        snprintf(s, sizeof s, "room.%d.*", i);
        add(p, PERM_PUB_ALLOW, s);
    }
    CHECK(publish(p, "room.999.x"));
    CHECK(!publish(p, "room.1000.x"));
    permissions_release(p);

    uint64_t before = alloc_failures();
    for (uint64_t nth = 0; nth < 40; nth++) {
        alloc_fail(nth, 1);
        p = permissions_new();
        bool added = p && permissions_add(p, PERM_PUB_ALLOW, "a.*", 3, NULL, 0) == 0 &&
                     permissions_add(p, PERM_PUB_DENY, "a.no", 4, NULL, 0) == 0 &&
                     permissions_add(p, PERM_SUB_DENY, "b.no", 4, "q", 1) == 0;
        if (added) {
            CHECK(!permissions_can_publish(p, "a.no", 4));
            CHECK(!permissions_can_publish(p, "b", 1));
            CHECK(!permissions_can_deliver(p, "b.no", 4, "q", 1));
            CHECK(!permissions_can_subscribe(p, "b.no", 4, "q", 1));
        }
        alloc_fail_off();
        CHECK(!added || permissions_can_publish(p, "a.yes", 5));
        permissions_release(p);
    }
    CHECK(alloc_failures() - before > 15);
}

int main(void)
{
    guard = guard_new(4096);
    guard_queue = guard_new(4096);
    test_no_lists();
    test_publish();
    test_responses();
    test_subscribe();
    test_deny();
    test_verdicts();
    test_large_and_out_of_memory();
    guard_free(&guard);
    guard_free(&guard_queue);
    return check_report();
}
