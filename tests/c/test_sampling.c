/* Headers that ask for a measurement, and what is kept of them. */
#include "../../csrc/sampling.h"
#include "alloc.h"
#include "check.h"
#include "guard.h"
#include <stdio.h>

static struct guard guard;

/* Is a block with these lines one that asks for it, and are `kept` the lines that belong to it? NULL: it does not ask. */
static void asks(const char *lines, const char *kept)
{
    char block[4096];
    int n = snprintf(block, sizeof block, "NATS/1.0\r\n%s\r\n", lines);
    struct text out;
    text_init(&out);
    bool asked = sampling_headers(guard_put(&guard, block, (size_t)n), (size_t)n, &out);
    bool right =
        asked == (kept != NULL) && out.len == (kept ? strlen(kept) : 0) && (!kept || !memcmp(out.p, kept, out.len));
    if (!right) printf("%s: %s, kept %.*s\n", lines, asked ? "asked" : "did not ask", (int)out.len, out.p);
    CHECK(right);
    text_free(&out);
    for (int cut = 0; cut < n; cut++) { /* without its blank line it is no block of headers */
        struct text none;
        text_init(&none);
        CHECK(!sampling_headers(guard_put(&guard, block, (size_t)cut), (size_t)cut, &none) && none.len == 0);
        text_free(&none);
    }
}

static void the_decision(void)
{
    static const char *cases[][2] = {
        {"", NULL},
        {"A: b\r\n", NULL},
        {"Uber-Trace-Id: 1:2:3:1\r\n", "Uber-Trace-Id: 1:2:3:1\r\n"},
        {"uber-trace-id:1:2:3:0f\r\n", "uber-trace-id:1:2:3:0f\r\n"},
        {"Uber-Trace-Id: 1:2:3:x1\r\n", "Uber-Trace-Id: 1:2:3:x1\r\n"},
        {"Uber-Trace-Id: 1:2:3:2\r\n", NULL},
        {"Uber-Trace-Id: 1:2:3:\r\n", NULL},
        {"Uber-Trace-Id: 1:2:3:001\r\n", NULL},
        {"Uber-Trace-Id: 1:2:1\r\n", NULL},
        {"Uber-Trace-Id: 1:2:3:4:1\r\n", NULL},
        {"Uber-Trace-Id:\r\n", NULL},
        {"Uber-Trace-Id: 1:2:3:0\r\nX-B3-Sampled: 1\r\n", NULL}, /* the first that is there decides */
        {"X-B3-Sampled: 1\r\n", "X-B3-Sampled: 1\r\n"},
        {"X-B3-Sampled: 0\r\nX-B3-TraceId: 1\r\n", NULL},
        {"X-B3-Sampled: d\r\n", NULL},
        {"X-B3-Sampled: d\r\nX-B3-TraceId: 1\r\n", "X-B3-Sampled: d\r\nX-B3-TraceId: 1\r\n"},
        {"X-B3-Sampled: 0\r\nX-B3-Sampled: 1\r\n", NULL},
        {"X-B3-TraceId:\r\n", "X-B3-TraceId:\r\n"},
        {"X-B3-TraceId : 1\r\n", NULL},
        {"X-B3-TraceIds: 1\r\n", NULL},
        {"B3: 0\r\n", NULL},
        {"B3: 1\r\n", "B3: 1\r\n"},
        {"B3:\r\n", "B3:\r\n"},
        {"B3: a-b\r\n", "B3: a-b\r\n"},
        {"B3: a-b-0\r\n", NULL},
        {"B3: a-b-0-c\r\n", NULL},
        {"B3: a-b-d-c\r\n", "B3: a-b-d-c\r\n"},
        {"Traceparent: 00-4b-00-01\r\n", "Traceparent: 00-4b-00-01\r\n"},
        {"Traceparent: 00-4b-00-7F\r\n", "Traceparent: 00-4b-00-7F\r\n"},
        {"Traceparent: 00-4b-00-00\r\n", NULL},
        {"Traceparent: 00-4b-00-81\r\n", NULL},
        {"Traceparent: 00-4b-00-1\r\n", NULL},
        {"Traceparent: 00-4b-00-01-0\r\n", NULL},
        {"B3: 0\r\nTraceparent: 00-4b-00-01\r\n", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) asks(cases[i][0], cases[i][1]);
}

static void what_is_kept(void)
{
    asks("A: b\r\nUberctx-A: 1\r\nUber-Trace-Id: 1:2:3:1\r\nB3: 1\r\nuberctx-b: 2\r\nUber-Trace-Id: 0\r\n",
         "Uberctx-A: 1\r\nUber-Trace-Id: 1:2:3:1\r\nuberctx-b: 2\r\nUber-Trace-Id: 0\r\n");
    asks("X-B3-SpanId: 1\r\nX-B3-ParentSpanId: 2\r\nX-B3-TraceId: 3\r\nB3: 1\r\nTracestate: 4\r\n",
         "X-B3-SpanId: 1\r\nX-B3-ParentSpanId: 2\r\nX-B3-TraceId: 3\r\n");
    asks("Tracestate: a\r\nTraceparent: 00-4b-00-01\r\nX-B3-SpanId: 1\r\nTracestate: b\r\n",
         "Tracestate: a\r\nTraceparent: 00-4b-00-01\r\nTracestate: b\r\n");
    asks("X-B3-TraceId: 1\r\n  2\r\n\t3\r\nA: b\r\n c\r\n", "X-B3-TraceId: 1\r\n  2\r\n\t3\r\n");
    asks("X-B3-TraceId: 1\nX-B3-SpanId: 3\r\n", "X-B3-TraceId: 1\nX-B3-SpanId: 3\r\n");
}

/* A block that is not well formed asks for nothing, whatever else is in it. */
static void no_headers(void)
{
    static const char *bad[] = {"line\r\n",    ": 1\r\n",           "b\"d: 1\r\n",
                                "A: \x01\r\n", "A: 1\r\n \x7f\r\n", "\xc3\xa4: 1\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char lines[128];
        snprintf(lines, sizeof lines, "X-B3-TraceId: 1\r\n%s", bad[i]);
        asks(lines, NULL);
        snprintf(lines, sizeof lines, "%sX-B3-TraceId: 1\r\n", bad[i]);
        asks(lines, NULL);
    }
    asks(" X-B3-TraceId: 1\r\n", NULL);
    asks("strange key: 1\r\nX-B3-TraceId: \xff\t1\r\n", "X-B3-TraceId: \xff\t1\r\n");
}

/* However long they are, so much is remembered. */
static void bounded(void)
{
    static char block[3 * SAMPLING_KEPT_MAX];
    size_t n = (size_t)sprintf(block, "NATS/1.0\r\nUber-Trace-Id: 1:2:3:1\r\n");
    while (n < 2 * SAMPLING_KEPT_MAX) n += (size_t)sprintf(block + n, "Uberctx-%zu: %01000d\r\n", n, 0);
    n += (size_t)sprintf(block + n, "\r\n");
    struct text out;
    text_init(&out);
    CHECK(sampling_headers(block, n, &out));
    CHECK(out.len <= SAMPLING_KEPT_MAX && out.len > SAMPLING_KEPT_MAX - 2000 && !out.failed);
    text_free(&out);
    text_init(&out);
    alloc_fail(0, 1000);
    CHECK(sampling_headers(block, n, &out) && out.failed);
    alloc_fail_off();
    text_free(&out);
}

int main(void)
{
    guard = guard_new(4096);
    the_decision();
    what_is_kept();
    no_headers();
    bounded();
    guard_free(&guard);
    return check_report();
}
