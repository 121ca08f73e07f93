/* latency.c: see latency.h. Which headers ask for a measurement is in sampling.c. */
#include "latency.h"
#include "answers.h"
#include "rewrite.h"
#include "sampling.h"
#include "service.h"
#include <stdlib.h>
#include <string.h>

#define PONG_NS 2000000000 /* a client that had no PONG by then does not wait for one before it can answer a PING */

struct measure {
    uint64_t at_ns, rtt_ns, conn; /* when the request came; the requestor */
    int64_t real_ns;              /* at_ns as time of day */
    uint32_t requestor_len, headers_len;
    bool share;
    char text[]; /* the requestor as it was then, and the headers that asked for this */
};

int spl_service_latency(spl_core *k, int account, int number, const char *results, size_t len, uint32_t percent,
                        const char *server)
{
    struct service_export *e = service_export_at(k, account, number);
    struct tracker *t = e && !e->streamed && len <= UINT16_MAX ? malloc(sizeof *t + len) : NULL;
    if (!t) return -1;
    t->percent = percent, t->results_len = (uint32_t)len;
    memcpy(t->results, results, len);
    t->tail[0] = '.', t->tail[9] = '.', t->tail[10] = 'T';
    memcpy(t->tail + 1, server, 8);
    free(e->tracker);
    e->tracker = t;
    return 0;
}

/* ---- the requestor ---- */

/* Without a round trip time the measurement would be poor: ask for it now. */
static void ask_rtt(struct core *k, struct conn *c)
{
    if (c->rtt_ns || c->pinged_ns || c->closed) return;
    if (c->ponged || clock_real_ns() - c->start_ns > PONG_NS) conn_ping(k, c);
}

struct measure *latency_begin(struct core *k, const struct tracker *t, const struct message *m, bool share)
{
    struct text headers, who;
    text_init(&headers);
    if (t->percent < 100 && random_below(k, 100) >= t->percent &&
        (!m->with_headers || !sampling_headers(message_headers(m), m->hdr_len, &headers)))
        return NULL;
    text_init(&who);
    requestor_info(&who, k, m, share);
    size_t n = who.len + headers.len;
    struct measure *measure = who.failed || headers.failed || n > UINT32_MAX ? NULL : malloc(sizeof *measure + n);
    if (measure) {
        if (m->from) ask_rtt(k, m->from);
        *measure = (struct measure){.at_ns = clock_ns(),
                                    .real_ns = clock_real_ns(),
                                    .rtt_ns = m->from ? m->from->rtt_ns : 0,
                                    .conn = m->from ? conn_handle(m->from) : 0,
                                    .requestor_len = (uint32_t)who.len,
                                    .headers_len = (uint32_t)headers.len,
                                    .share = share};
        memcpy(measure->text, who.p, who.len);
        memcpy(measure->text + who.len, headers.p, headers.len);
    }
    text_free(&who);
    text_free(&headers);
    return measure;
}

size_t latency_bytes(const struct measure *measure)
{
    return sizeof *measure + measure->requestor_len + measure->headers_len;
}

/* ---- the responder ---- */

static void responder_of(struct core *k, const struct message *answer, struct text *json, struct responder *r)
{
    *r = (struct responder){.at_ns = clock_ns()};
    if (answer->responder) {
        *r = *answer->responder;
    } else if (answer->from && answer->from->kind == KIND_CLIENT) {
        client_info(json, k, answer->from, true);
        r->rtt_ns = answer->from->rtt_ns;
        r->json = json->p, r->len = json->len;
    }
}

void responder_write(struct core *k, const struct message *answer, struct text *out)
{
    struct text json;
    struct responder r;
    text_init(&json);
    responder_of(k, answer, &json, &r);
    text_add(out, (const char *)&r.rtt_ns, sizeof r.rtt_ns);
    text_add(out, (const char *)&r.at_ns, sizeof r.at_ns);
    if (r.len) text_add(out, r.json, r.len);
    out->failed |= json.failed;
    text_free(&json);
}

bool responder_read(struct responder *r, const char *p, size_t n)
{
    size_t fixed = sizeof r->rtt_ns + sizeof r->at_ns;
    if (n < fixed) return false;
    memcpy(&r->rtt_ns, p, sizeof r->rtt_ns);
    memcpy(&r->at_ns, p + sizeof r->rtt_ns, sizeof r->at_ns);
    r->json = p + fixed, r->len = n - fixed;
    return true;
}

/* ---- the end ---- */

/* Times of an answered request. None is ever negative: round trips are estimates. */
static void times(struct spl_latency *l, const struct measure *measure, uint64_t rtt_ns, const struct responder *r)
{
    uint64_t now = clock_ns();
    uint64_t round = r->at_ns > measure->at_ns ? r->at_ns - measure->at_ns : 0;
    l->service_ns = round > r->rtt_ns ? round - r->rtt_ns : 0;
    l->system_ns = now > r->at_ns ? now - r->at_ns : 0;
    l->total_ns = rtt_ns + round + l->system_ns;
}

static void tell(struct core *k, const struct account *exporter, const struct tracker *t, const struct measure *measure,
                 uint32_t status, const struct message *answer)
{
    struct text who, json, all;
    struct responder r = {0};
    text_init(&who);
    text_init(&json);
    text_init(&all);
    uint64_t rtt_ns = measure->rtt_ns;
    const struct conn *c = conn_known(k, measure->conn);
    if (c) {
        rtt_ns = c->rtt_ns;
        client_info(&who, k, c, measure->share);
    } else {
        text_add(&who, measure->text, measure->requestor_len);
    }
    if (answer) responder_of(k, answer, &json, &r);
    struct spl_latency l = {.start_ns = measure->real_ns - (int64_t)rtt_ns,
                            .status = status,
                            .results_len = t->results_len,
                            .requestor_len = (uint32_t)who.len,
                            .responder_len = (uint32_t)r.len,
                            .headers_len = measure->headers_len};
    if (answer) times(&l, measure, rtt_ns, &r);
    text_add(&all, (const char *)&l, sizeof l);
    text_add(&all, t->results, t->results_len);
    text_add(&all, who.p, who.len);
    if (r.len) text_add(&all, r.json, r.len);
    text_add(&all, measure->text + measure->requestor_len, measure->headers_len);
    if (!who.failed && !json.failed && !all.failed) event_push(k, SPL_LATENCY, NULL, exporter->id, all.p, all.len);
    text_free(&all);
    text_free(&json);
    text_free(&who);
}

void latency_end(struct core *k, const struct account *exporter, const struct tracker *t, struct measure *measure,
                 uint32_t status, const struct message *answer)
{
    if (t && spl_interest(k, (int)exporter->id, t->results, t->results_len))
        tell(k, exporter, t, measure, status, answer);
    free(measure);
}
