/* msgtrace.c: see msgtrace.h. */
#include "msgtrace.h"
#include "bytes.h"
#include "internal.h"
#include "quote.h"
#include "rewrite.h"
#include "stage.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COLLECT_MS 1000           /* a peer that does not report for so long reports nothing */
#define COLLECT_MOST 4096         /* traces that wait for peers */
#define COLLECT_BYTES (64u << 20) /* and what they hold */
#define STEPS_MAX (4u << 20) /* bytes of steps of one message: what comes after that (35,000 subscribers) is not told */

struct collecting { /* a trace that waits for reports */
    struct collecting *next;
    uint64_t id, until;
    uint32_t account, dest_len, headers_len;
    int32_t missing[MAX_PEERS]; /* reports of each peer; a report may come before we hear that there is one */
    struct text steps;
    char text[]; /* destination, headers */
};

/* ---- what is asked for ---- */

static bool same(const char *p, size_t n, const char *text) { return n == strlen(text) && memcmp(p, text, n) == 0; }
static bool alike(const char *p, size_t n, const char *text)
{
    return n == strlen(text) && strncasecmp(p, text, n) == 0;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four parts between dashes, the last one two hexadecimal digits below 80 with the lowest bit: the trace is sampled. */
static bool sampled(const char *p, size_t n)
{
    unsigned dashes = 0;
    for (size_t i = 0; i < n; i++) dashes += p[i] == '-';
    if (dashes != 3 || n < 3 || p[n - 3] != '-') return false;
    int high = hex(p[n - 2]), low = hex(p[n - 1]);
    return high >= 0 && high < 8 && low >= 0 && low & 1;
}

static __attribute__((noinline)) bool parent_named(const char *p, size_t n)
{
    static const char name[] = "traceparent:";
    const char *end = p + n;
    while ((p = memchr(p, '\n', (size_t)(end - p))) && (size_t)(end - ++p) >= sizeof name - 1)
        if (strncasecmp(p, name, sizeof name - 1) == 0) return true;
    return false;
}

static __attribute__((noinline)) bool dest_named(const char *p, size_t n)
{
    return memmem(p, n, "\n" TRACE_DEST ":", sizeof TRACE_DEST + 1);
}

#ifdef __SSE2__
/* At 16 places from p on: is there the end of a line, and 6 bytes on a letter as in the name? */
static inline __m128i places(const char *p)
{
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i y = _mm_loadu_si128((const __m128i *)(const void *)(p + 6));
    return _mm_and_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('\n')), _mm_cmpeq_epi8(y, _mm_set1_epi8('T')));
}

static inline bool maybe_dest_named(const char *p, size_t n)
{
    const char *last = p + n - 22; /* behind these places is no room for a name and a value */
    p += 9;                        /* "NATS/1.0\r" */
    __m128i found = places(last);
    for (; last - p > 16; p += 32) found = _mm_or_si128(found, _mm_or_si128(places(p), places(p + 16)));
    if (p < last) found = _mm_or_si128(found, places(p));
    return _mm_movemask_epi8(found);
}
#else
static bool maybe_dest_named(const char *p, size_t n) { return p && n; }
#endif

bool msgtrace_named(const char *p, size_t n, bool parent)
{
    return (unlikely(maybe_dest_named(p, n)) && dest_named(p, n)) || (unlikely(parent) && parent_named(p, n));
}

enum trace_asked msgtrace_parse(const char *p, size_t n, struct trace_request *out)
{
    static const char first[] = "NATS/1.0\r\n";
    const char *end = p + n, *only = NULL;
    size_t only_len = 0;
    bool parent = false;
    *out = (struct trace_request){0};
    if (n < sizeof first - 1 || memcmp(p, first, sizeof first - 1) != 0) return TRACE_NOT_ASKED;
    p += sizeof first - 1;
    for (const char *colon; p < end && (colon = memchr(p, ':', (size_t)(end - p)));) {
        const char *key = p, *value = colon + 1, *stop;
        size_t key_len = (size_t)(colon - p);
        while (value < end && (*value == ' ' || *value == '\t')) value++;
        if (!(stop = memmem(value, (size_t)(end - value), "\r\n", 2))) break;
        p = stop + 2;
        while (stop > value && (stop[-1] == ' ' || stop[-1] == '\t')) stop--;
        size_t len = (size_t)(stop - value);
        if (!key_len || !len) continue;
        if (!parent && alike(key, key_len, "traceparent")) {
            parent = sampled(value, len);
        } else if (!out->dest && same(key, key_len, TRACE_DEST)) {
            if (same(value, len, TRACE_DISABLED)) return TRACE_NOT_ASKED;
            out->dest = value, out->dest_len = len;
        } else if (!only && same(key, key_len, "Nats-Trace-Only")) {
            only = value, only_len = len;
        }
    }
    if (!out->dest) return parent ? TRACE_ASKED_BY_PARENT : TRACE_NOT_ASKED;
    out->only = only && (alike(only, only_len, "1") || alike(only, only_len, "true") || alike(only, only_len, "on"));
    return TRACE_ASKED;
}

/* The headers with a destination that names none, so that nobody traces the message (any more). As in nats-server, the lines of that
 * name go, and one is appended. */
bool msgtrace_off(struct message *m, struct text *head)
{
    const char *p = message_headers(m), *end = p + m->hdr_len;
    struct text headers;
    text_init(&headers);
    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p)), *next = lf ? lf + 1 : end;
        size_t n = (size_t)(next - p);
        bool dest = n >= sizeof TRACE_DEST && memcmp(p, TRACE_DEST ":", sizeof TRACE_DEST) == 0;
        bool last = next == end && n == 2 && *p == '\r';
        if (!dest && !last) text_add(&headers, p, n);
        p = next;
    }
    static const char off[] = TRACE_DEST ": " TRACE_DISABLED "\r\n\r\n";
    text_add(&headers, off, sizeof off - 1);
    bool done = rewrite_headers(m, &headers, head);
    text_free(&headers);
    return done;
}

/* ---- steps ---- */

static void step(struct msgtrace *t, struct spl_step s, const char *account, const char *subject, const char *other,
                 const char *about)
{
    size_t texts = (size_t)s.account_len + s.subject_len + s.other_len + s.about_len;
    size_t pad = -texts & 7, size = sizeof s + texts + pad;
    if (t->steps.failed || t->steps.len + size > STEPS_MAX) return;
    s.size = (uint32_t)size;
    s.at_ns = clock_real_ns();
    text_add(&t->steps, (const char *)&s, sizeof s);
    text_add(&t->steps, account, s.account_len);
    text_add(&t->steps, subject, s.subject_len);
    text_add(&t->steps, other, s.other_len);
    text_add(&t->steps, about, s.about_len);
    text_add(&t->steps, "\0\0\0\0\0\0\0", pad);
}

static void came_in(struct msgtrace *t, const struct conn *c, const struct message *m)
{
    step(t,
         (struct spl_step){.type = SPL_STEP_IN,
                           .cid = c->cid,
                           .bytes = m->total,
                           .account_len = c->acc->name_len,
                           .subject_len = m->subject_len,
                           .about_len = c->about_len},
         c->acc->name, m->subject, "", c->about ? c->about + c->user_len : "");
}

void msgtrace_error(struct msgtrace *t, const char *text)
{
    step(t, (struct spl_step){.type = SPL_STEP_ERROR, .other_len = (uint32_t)strlen(text)}, "", "", text, "");
}

void msgtrace_mapped(struct msgtrace *t, const char *to, size_t n)
{
    step(t, (struct spl_step){.type = SPL_STEP_MAPPED, .other_len = (uint32_t)n}, "", "", to, "");
}

void msgtrace_export(struct msgtrace *t, const struct account *importer, const char *to, size_t n)
{
    step(t, (struct spl_step){.type = SPL_STEP_EXPORT, .account_len = importer->name_len, .other_len = (uint32_t)n},
         importer->name, "", to, "");
}

void msgtrace_import(struct msgtrace *t, const struct account *exporter, const struct message *from,
                     const struct message *to)
{
    step(t,
         (struct spl_step){.type = SPL_STEP_IMPORT,
                           .account_len = exporter->name_len,
                           .subject_len = from->subject_len,
                           .other_len = to->subject_len},
         exporter->name, from->subject, to->subject, "");
}

void msgtrace_out(struct msgtrace *t, const struct sub *s, const struct conn *to, enum spl_step_error error)
{
    step(t,
         (struct spl_step){.type = SPL_STEP_OUT,
                           .error = error,
                           .cid = to->cid,
                           .account_len = to->acc ? to->acc->name_len : 0,
                           .subject_len = s->subject_len,
                           .other_len = s->queue_len,
                           .about_len = to->about_len},
         to->acc ? to->acc->name : "", s->subject, s->subject + s->subject_len,
         to->about ? to->about + to->user_len : "");
}

void msgtrace_sent(struct msgtrace *t, uint32_t peer)
{
    char number = (char)peer;
    text_add(&t->sent, &number, 1);
}

/* ---- waiting for peers ---- */

static void tell(struct core *k, uint32_t account, const char *dest, uint32_t dest_len, const char *headers,
                 uint32_t headers_len, const struct text *steps)
{
    if (steps->failed) return; /* out of memory costs the trace */
    k->traced_bytes += 1024 + dest_len + headers_len + steps->len;
    struct spl_parts parts = {.subject = dest, .subject_len = dest_len, .headers = headers, .headers_len = headers_len};
    event_traced(k, account, parts, steps->p, steps->len);
}

static size_t held(const struct collecting *w) { return sizeof *w + w->dest_len + w->headers_len + w->steps.cap; }

static bool complete(const struct collecting *w)
{
    for (uint32_t i = 0; i < MAX_PEERS; i++)
        if (w->missing[i]) return false;
    return true;
}

/* The oldest one is told. */
static void end(struct core *k)
{
    struct collecting *w = k->collecting;
    k->collecting = w->next;
    k->ncollecting--;
    k->collecting_bytes -= held(w);
    tell(k, w->account, w->text, w->dest_len, w->text + w->dest_len, w->headers_len, &w->steps);
    text_free(&w->steps);
    free(w);
}

/* In the order of the messages: what is complete waits for what is not. */
static void end_complete(struct core *k)
{
    while (k->collecting && complete(k->collecting)) end(k);
}

static void note_sent(struct core *k, struct collecting *w, const char *sent, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t peer = (unsigned char)sent[i];
        if (peer < MAX_PEERS && (peer == k->cfg.index || k->peers_up >> peer & 1)) w->missing[peer]++;
    }
}

/* Wait for those to whom the message went, and for those who wait already. False: there are none, or it cannot be done. */
static bool collect(struct core *k, struct msgtrace *t, uint32_t account, const char *dest, uint32_t dest_len,
                    const char *headers, uint32_t headers_len)
{
    if (!t->sent.len && !k->collecting) return false;
    if (t->sent.failed || t->steps.failed || !internal_open(k)) return false;
    struct collecting *w = calloc(1, sizeof *w + dest_len + headers_len);
    if (!w) return false;
    w->id = t->id, w->until = k->now + COLLECT_MS, w->account = account;
    w->dest_len = dest_len, w->headers_len = headers_len;
    put(put(w->text, dest, dest_len), headers, headers_len);
    text_init(&w->steps);
    text_add(&w->steps, t->steps.p, t->steps.len);
    note_sent(k, w, t->sent.p, t->sent.len);
    while (k->ncollecting >= COLLECT_MOST || k->collecting_bytes > COLLECT_BYTES) end(k);
    if (k->collecting)
        k->collecting_last->next = w;
    else
        k->collecting = w;
    k->collecting_last = w;
    k->ncollecting++;
    k->collecting_bytes += held(w);
    if (!k->internal->resume_at || k->internal->resume_at > w->until) {
        k->internal->resume_at = w->until;
        timer_set(k, k->internal);
    }
    return true;
}

/* Are these steps, whole ones? */
static bool steps_fit(const char *p, size_t n)
{
    struct spl_step s;
    for (size_t at = 0; at < n; at += s.size) {
        if (n - at < sizeof s) return false;
        memcpy(&s, p + at, sizeof s);
        uint64_t texts = (uint64_t)s.account_len + s.subject_len + s.other_len + s.about_len;
        if (s.size % 8 || s.size > n - at || s.size < sizeof s + texts) return false;
    }
    return true;
}

bool msgtrace_report(struct core *k, uint32_t peer, uint64_t id, const char *sent, size_t nsent, const char *steps,
                     size_t len)
{
    if (!steps_fit(steps, len)) return false;
    struct collecting *w = k->collecting;
    while (w && w->id != id) w = w->next;
    if (!w) return true; /* too late */
    w->missing[peer]--;
    note_sent(k, w, sent, nsent);
    k->collecting_bytes -= held(w);
    if (w->steps.len + len <= STEPS_MAX) text_add(&w->steps, steps, len);
    k->collecting_bytes += held(w);
    end_complete(k);
    return true;
}

void msgtrace_peer_lost(struct core *k, uint32_t peer)
{
    for (struct collecting *w = k->collecting; w; w = w->next) w->missing[peer] = 0;
    end_complete(k);
}

void msgtrace_expire(struct core *k)
{
    while (k->collecting && k->collecting->until <= k->now) end(k);
    end_complete(k);
    struct conn *c = k->internal;
    if (k->collecting && (!c->resume_at || c->resume_at > k->collecting->until)) c->resume_at = k->collecting->until;
}

void msgtrace_free(struct core *k)
{
    for (struct collecting *w = k->collecting, *next; w; w = next) {
        next = w->next;
        text_free(&w->steps);
        free(w);
    }
}

void msgtrace_finish(struct core *k, struct msgtrace *t)
{
    if (t->origin == k->cfg.index) /* it has come back to us */
        msgtrace_report(k, t->origin, t->id, t->sent.p, t->sent.len, t->steps.p, t->steps.failed ? 0 : t->steps.len);
    else
        mesh_report(k, t);
    text_free(&t->steps);
    text_free(&t->sent);
}

/* ---- a client's message ---- */

/* What becomes of a message whose headers may ask for a trace. */
enum verdict {
    PLAIN,    /* it is published, and not traced */
    SILENCED, /* the same, and others shall not trace it, either */
    TRACED,
    DROPPED, /* only a trace was wanted, and there cannot be one: the log says why */
    REFUSED  /* the publisher was told why */
};

/* Can the steps be published where the publisher says, and by him? */
static enum verdict judge(struct core *k, struct conn *c, const struct trace_request *r)
{
    if (r->dest_len > UINT16_MAX) return r->only ? DROPPED : PLAIN;
    if (!subject_literal(r->dest, r->dest_len) || bytes_token(r->dest, r->dest + r->dest_len) != r->dest_len) {
        char name[QUOTED_MAX(200)];
        quote(name, sizeof name, r->dest, r->dest_len < 200 ? r->dest_len : 200);
        event_log(k, c, 0, "Destination %s is not valid, won't be able to trace events", name);
        return r->only ? DROPPED : PLAIN;
    }
    if (deliver_allowed(c, r->dest, r->dest_len)) return TRACED;
    deliver_refused(k, c, r->dest, r->dest_len);
    return REFUSED;
}

static enum verdict ask(struct core *k, struct conn *c, const char *headers, size_t n, struct trace_request *r)
{
    enum trace_asked asked = msgtrace_parse(headers, n, r);
    if (asked == TRACE_ASKED) return judge(k, c, r);
    const struct account *a = c->acc;
    if (asked == TRACE_NOT_ASKED || !a->trace.dest) return PLAIN;
    if (random_below(k, 100) >= a->trace.percent) return SILENCED;
    r->dest = a->trace.dest,
    r->dest_len = a->trace.dest_len; /* checked; the publisher need not be allowed to publish there */
    return TRACED;
}

static void begin(struct core *k, struct msgtrace *t, const struct conn *c, const struct message *m, bool only)
{
    t->only = only;
    t->origin = k->cfg.index, t->serial = k->cfg.serial, t->id = ++k->last_trace;
    text_init(&t->steps);
    text_init(&t->sent);
    came_in(t, c, m);
}

/* All that is done here is done. */
static void conclude(struct core *k, struct msgtrace *t, uint32_t account, const struct trace_request *r,
                     const char *headers, uint32_t headers_len)
{
    uint32_t dest_len = (uint32_t)r->dest_len;
    if (!collect(k, t, account, r->dest, dest_len, headers, headers_len))
        tell(k, account, r->dest, dest_len, headers, headers_len, &t->steps);
    text_free(&t->steps);
    text_free(&t->sent);
}

static void publish_traced(struct core *k, struct conn *c, struct message *m, const struct trace_request *r)
{
    struct msgtrace t;
    uint32_t account = c->acc->id, headers_len = m->hdr_len;
    const char *headers = m->payload;
    begin(k, &t, c, m, r->only);
    m->traced = &t;
    deliver_traced(k, c, m);
    conclude(k, &t, account, r, headers, headers_len);
}

static void publish_silenced(struct core *k, struct conn *c, struct message *m)
{
    struct text head;
    text_init(&head);
    if (msgtrace_off(m, &head))
        deliver_publish(k, c, m);
    else
        conn_close(k, c, READ_ERROR);
    text_free(&head);
}

void msgtrace_publish(struct core *k, struct conn *c, struct message *m)
{
    struct trace_request r;
    enum verdict verdict = ask(k, c, m->payload, m->hdr_len, &r);
    switch (verdict) {
    case PLAIN: deliver_publish(k, c, m); return;
    case SILENCED: publish_silenced(k, c, m); return;
    case TRACED: publish_traced(k, c, m, &r); return;
    default: break;
    }
    c->in_msgs++;
    c->in_bytes += m->total;
    if (verdict == DROPPED && c->verbose) conn_ok(k, c);
}

void msgtrace_too_large(struct core *k, struct conn *c, const struct message *m)
{
    struct trace_request r;
    if (!msgtrace_asked(c->acc, m->payload, m->hdr_len) || ask(k, c, m->payload, m->hdr_len, &r) != TRACED) return;
    struct msgtrace t;
    begin(k, &t, c, m, r.only);
    msgtrace_error(&t, "maximum payload exceeded");
    conclude(k, &t, c->acc->id, &r, m->payload, m->hdr_len);
}

int spl_account_trace(spl_core *k, int account, const char *dest, size_t len, uint32_t percent)
{
    struct account *a = account_get(k, (uint32_t)account);
    char *copy = a && len ? malloc(len) : NULL;
    if (!a || (len && !copy)) return -1;
    struct stage *s = k->staging ? stage_of(k, a) : NULL;
    if (k->staging && !s) {
        free(copy);
        return -1;
    }
    if (len) memcpy(copy, dest, len);
    struct trace_rule *rule = s ? &s->trace : &a->trace;
    free(rule->dest);
    *rule = (struct trace_rule){copy, (uint32_t)len, percent};
    return 0;
}
