/* service.c: see service.h. What is remembered of requests is in answers.c, how their frames change in rewrite.c. */
#include "service.h"
#include "answers.h"
#include "internal.h"
#include "msgtrace.h"
#include "rewrite.h"
#include "stage.h"
#include <stdlib.h>
#include <string.h>

#define MAX_HOPS 1024 /* accounts in a chain, as many as imports are searched for cycles; each is 2 KiB of C stack */
#define MAX_CROSSINGS 16384 /* in all, for one message: chains that part and meet again are more with every account */

struct service_import {
    struct sub sub; /* first */
    struct service_import *next;
    struct account *importer;
    struct service_export *by;
    struct transform *target; /* NULL: the subject is the same */
    bool share;
    struct recent met; /* by the last request */
};

/* ---- set-up ---- */

static bool insert(struct core *k, struct account *a, struct sub *s, const char *subject, size_t n, uint8_t special)
{
    s->subject = malloc(n + 1);
    if (!s->subject) return false;
    memcpy(s->subject, subject, n);
    s->subject_len = (uint16_t)n, s->special = special, s->owner = k->internal;
    if (sublist_insert(a->subs, s) < 0) {
        free(s->subject);
        return false;
    }
    a->own_subs++;
    mesh_interest_changed(k, a);
    return true;
}

/* The account can be answered by others: its own part of the space of replies, and what keeps dialogs going. */
static bool open_replies(struct core *k, struct account *a)
{
    if (!internal_open(k)) return false;
    if (a->services) return true;
    struct services *s = calloc(1, sizeof *s);
    if (!s) return false;
    memcpy(s->prefix, "_R_.", 4);
    random_text(k, s->prefix + 4, 6);
    memcpy(s->prefix + 10, ".>", 2);
    s->dialog.acc = a;
    s->dialog.threshold = DEFAULT_THRESHOLD;
    if (!insert(k, a, &s->replies, s->prefix, 12, SUB_RESPONSE)) {
        free(s);
        return false;
    }
    a->services = s;
    return true;
}

int spl_service_export(spl_core *k, int account, int streamed, uint64_t threshold_ms, int traced)
{
    struct account *a = account_get(k, (uint32_t)account);
    if (!a || !open_replies(k, a)) return -1;
    struct stage *s = NULL;
    if (k->staging && !(s = stage_of(k, a))) return -1;
    struct service_export *e = calloc(1, sizeof *e);
    if (!e) return -1;
    e->acc = a, e->streamed = streamed, e->traced = traced,
    e->threshold = threshold_ms ? threshold_ms : DEFAULT_THRESHOLD;
    struct service_export **end = s ? &s->exports : &a->services->exports;
    int number = 0;
    while (*end) end = &(*end)->next, number++;
    *end = e;
    return number;
}

struct service_export *service_export_at(struct core *k, int account, int number)
{
    struct account *a = account_get(k, (uint32_t)account);
    struct service_export *e = a && a->services ? a->services->exports : NULL;
    if (k->staging) e = a && a->stage ? a->stage->exports : NULL;
    while (e && number--) e = e->next;
    return e;
}

int spl_service_import(spl_core *k, int importer, int exporter, int number, const char *local, size_t len,
                       spl_transform *target, int share)
{
    struct account *a = account_get(k, (uint32_t)importer);
    struct service_export *e = service_export_at(k, exporter, number);
    struct stage *s = NULL;
    if (a && e && k->staging && !(s = stage_of(k, a))) e = NULL;
    struct service_import *i = a && e && len <= UINT16_MAX && open_replies(k, a) ? calloc(1, sizeof *i) : NULL;
    if (i) i->sub.dead = k->staging; /* it is there, but nothing is delivered to it */
    if (!i || !insert(k, a, &i->sub, local, len, SUB_SERVICE | SUB_HIDDEN)) {
        free(i);
        transform_free(target);
        return -1;
    }
    i->importer = a, i->by = e, i->target = target, i->share = share;
    struct service_import **first = s ? &s->imports : &a->services->imports;
    i->next = *first;
    *first = i;
    return 0;
}

void service_imports_drop(struct service_import *all)
{
    for (struct service_import *i = all, *next; i; i = next) {
        next = i->next;
        sublist_remove(i->importer->subs, &i->sub);
        i->importer->own_subs--, i->importer->own_gone++;
        transform_free(i->target);
        free(i->sub.subject);
        free(i);
    }
}

void service_exports_drop(struct service_export *all)
{
    for (struct service_export *e = all, *next; e; e = next) {
        next = e->next;
        e->retired = true;
        if (!e->due_listed) service_export_free(e); /* else when its last answer has gone: service_expire */
    }
}

void services_swap(struct account *a, struct service_export *exports, struct service_import *imports)
{
    if (!a->services) return; /* then there were none, and there are none */
    service_imports_drop(a->services->imports);
    service_exports_drop(a->services->exports);
    for (struct service_import *i = imports; i; i = i->next) i->sub.dead = false;
    a->services->exports = exports, a->services->imports = imports;
}

void service_export_free(struct service_export *e)
{
    free(e->tracker);
    free(e);
}

void services_free(struct core *k)
{
    answers_forget_retired(k);
    for (uint32_t n = 0; n < k->naccounts; n++) {
        struct services *s = k->accounts[n]->services;
        if (!s) continue;
        for (struct service_import *i = s->imports, *next; i; i = next) {
            next = i->next;
            transform_free(i->target);
            free(i->sub.subject);
            free(i);
        }
        for (struct service_export *e = s->exports, *next; e; e = next) next = e->next, service_export_free(e);
        free(s->replies.subject);
        free(s);
    }
    answers_free(k);
}

/* ---- requests ---- */

static bool may_pass(const struct service_import *i, const struct hop *way)
{
    unsigned count = 0;
    for (; way; way = way->before)
        if (way->by == i->by || ++count == MAX_HOPS) return false;
    return true;
}

static void show_subject(struct message *m, const struct text *subject)
{
    m->subject = subject->p, m->subject_len = (uint32_t)subject->len;
}

/* Whatever comes to an account passes its own mappings: they may give it another subject, in this text. */
static bool map(struct core *k, const struct account *a, struct message *m, struct text *mapped)
{
    if (a->mappings && mappings_apply(a->mappings, m->subject, m->subject_len, random_next(k), mapped))
        show_subject(m, mapped);
    return !mapped->failed && mapped->len <= UINT32_MAX;
}

/* The exporter's subject of a request, after the exporter's own mappings: in one of these texts unless it is the same. */
static bool retarget(struct core *k, const struct service_import *i, struct message *m, struct text *plain,
                     struct text *mapped)
{
    if (i->target) {
        transform_apply(i->target, m->subject, m->subject_len, 0, plain);
        show_subject(m, plain);
    }
    return !plain->failed && plain->len <= UINT32_MAX && map(k, i->by->acc, m, mapped);
}

/* A traced message `from` crosses into another account as `m`; `seen`: its trace goes on there. Whether somebody has it. */
static __attribute__((noinline)) bool cross_traced(struct core *k, struct message *m, const struct message *from,
                                                   bool seen)
{
    msgtrace_import(from->traced, m->acc, from, m);
    bool only = from->traced->only;
    if (seen) return deliver_message(k, m) && !only;
    m->traced = NULL;
    struct text head;
    text_init(&head);
    bool done = !only && msgtrace_off(m, &head) && deliver_message(k, m);
    text_free(&head);
    return done;
}

/* Publish it there. `keep` is the text of the reply that the responder is to use. */
static bool forward(struct core *k, struct service_import *i, const struct message *m, const struct answer *a)
{
    struct account *there = i->by->acc;
    struct hop hop = {
        .by = i->by, .origin = message_origin(m), .before = m->way, .share = m->way ? m->way->share : i->share};
    bool on_behalf = m->way && m->way->by; /* an answer that asks in turn is its publisher's own request */
    bool where = (i->share && on_behalf) || (int64_t)there->id == k->system_account;
    struct asker who = {.client = m->from,
                        .acc = hop.origin,
                        .via = on_behalf ? i->importer : NULL,
                        .tell = hop.share ? TELL_ALL
                                : where   ? TELL_SERVER
                                          : TELL_ACCOUNT};
    struct text plain, mapped, head;
    text_init(&plain);
    text_init(&mapped);
    text_init(&head);
    struct message n = *m;
    n.acc = there, n.way = &hop;
    bool done = retarget(k, i, &n, &plain, &mapped) &&
                rewrite_request(k, &n, a ? a->text : "", a ? a->name_len : 0, &who, &head) &&
                (likely(!m->traced) ? deliver_again(k, &n, &i->met) : cross_traced(k, &n, m, i->by->traced));
    text_free(&plain);
    text_free(&mapped);
    text_free(&head);
    return done;
}

static bool request(struct core *k, struct service_import *i, const struct message *m)
{
    if ((!m->from && !m->way) || !message_origin(m)) return false; /* from a peer: it was resolved there */
    if (!may_pass(i, m->way)) return false;
    if (++k->crossings > MAX_CROSSINGS) return false;
    const struct tracker *tracker = i->by->tracker;
    struct measure *measure = unlikely(tracker != NULL) ? latency_begin(k, tracker, m, i->share) : NULL;
    struct answer *a = NULL;
    if (m->reply_len) {
        a = answer_expect(k, i->by, i->importer, m->reply, m->reply_len, i->by->streamed, measure);
        if (!a) {
            free(measure);
            return false;
        }
    } else if (measure) {
        latency_end(k, i->by->acc, tracker, measure, 400, NULL);
    }
    char name[ANSWER_NAME_MAX];
    size_t name_len = a ? a->name_len : 0;
    if (a) memcpy(name, a->text, name_len);
    if (a) a->share = i->share;
    bool done = forward(k, i, m, a);
    if (!done && a && (a = answer_find(k, i->by->acc, name, name_len))) answer_drop(k, a, 503);
    return done;
}

/* ---- answers ---- */

static bool answer(struct core *k, const struct message *m)
{
    struct answer *a = answer_find(k, m->acc, m->subject, m->subject_len);
    if (!a) return true; /* too late, or one too many: nobody is told */
    unsigned count = 0;
    for (const struct hop *h = m->way; h; h = h->before)
        if (++count == MAX_HOPS) return false;
    struct account *back = a->requester;
    bool streamed = a->streamed, last = !streamed || m->total == 0;
    const struct account *origin = message_origin(m);
    struct hop hop = {.origin = origin ? origin : m->acc, .before = m->way};
    struct text subject, mapped, head;
    text_init(&subject);
    text_init(&mapped);
    text_init(&head);
    text_add(&subject, a->text + a->name_len, a->reply_len);
    if (unlikely(a->measure != NULL)) {
        latency_end(k, m->acc, a->by->tracker, a->measure, 200, m);
        a->measure = NULL;
    }
    if (last)
        answer_drop(k, a, 200);
    else
        answer_renew(k, a);
    struct answer *next = NULL; /* the requester may answer in turn */
    if (m->reply_len) next = answer_expect(k, &back->services->dialog, m->acc, m->reply, m->reply_len, streamed, NULL);
    char name[ANSWER_NAME];
    if (next) memcpy(name, next->text, sizeof name);
    struct message n = *m;
    n.acc = back, n.way = &hop;
    show_subject(&n, &subject);
    bool done = !subject.failed && map(k, back, &n, &mapped) &&
                rewrite_reply(&n, next ? next->text : "", next ? next->name_len : 0, &head) &&
                (likely(!m->traced) ? deliver_message(k, &n) : cross_traced(k, &n, m, false));
    if (!done && next && (next = answer_find(k, back, name, sizeof name))) answer_drop(k, next, 503);
    text_free(&subject);
    text_free(&mapped);
    text_free(&head);
    return done;
}

bool service_deliver(struct core *k, struct sub *s, const struct message *m)
{
    if (!m->way) k->crossings = 0;
    /* Whoever answers has found the server that waits for it, which may be another worker: that nobody else does is not said. */
    if (s->special & SUB_RESPONSE) return answer(k, m) || !m->way;
    return request(k, (struct service_import *)s, m);
}
