/* Delivery: who gets this message, and the frame it is sent in.
 *
 * Plain subscriptions each get a copy; of every queue group (by name, over all patterns and all workers) one member does. Peers
 * that have interest get the message once, with the names of the groups it was picked for.
 */
#include "bytes.h"
#include "core.h"
#include "import.h"
#include "internal.h"
#include "msgtrace.h"
#include "quote.h"
#include "service.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS_AT_ONCE 64

static void trace_delivery(struct core *k, struct conn *c, const struct sub *s, const struct message *m, bool strip)
{
    char line[512];
    size_t skip = strip ? m->hdr_len : 0;
    bool headers = m->with_headers && !strip;
    int n = snprintf(line, sizeof line, "%.*s %.*s %.*s%s", (int)(m->subject_len < 160 ? m->subject_len : 160),
                     m->subject, (int)(s->sid_len < 200 ? s->sid_len : 200), s->sid,
                     (int)(m->reply_len < 64 ? m->reply_len : 64), m->reply, m->reply_len ? " " : "");
    if (headers) n += snprintf(line + n, sizeof line - (size_t)n, "%u ", m->hdr_len);
    n += snprintf(line + n, sizeof line - (size_t)n, "%zu", m->total - skip);
    trace_out(k, c, headers ? "HMSG" : "MSG", line, (size_t)n);
    const char *shown = m->body + m->body_len - 2 - (m->total - skip);
    char *whole = NULL;
    if (headers && m->line_len) { /* they are not in one piece with the data */
        size_t data = m->total - m->hdr_len;
        if (!(whole = malloc(m->total))) return;
        memcpy(whole, m->head + m->line_len, m->hdr_len);
        memcpy(whole + m->hdr_len, m->body + m->body_len - 2 - data, data);
        shown = whole;
    }
    trace_payload(k, c, false, shown, m->total - skip, headers ? m->hdr_len : 0);
    free(whole);
    if (s->dead) event_log(k, c, 2, "<-> [DELSUB %.*s]", (int)s->sid_len, s->sid);
}

/* The frame of one subscription's copy. False if its owner cannot take it. */
static inline bool deliver_frame(struct core *k, struct sub *s, const struct message *m)
{
    struct conn *c = s->owner;
    if (unlikely(c->blocked) && k->cfg.no_stall && output_lags(k, c)) return false;
    bool strip = unlikely(m->with_headers && !c->headers);
    size_t counted = m->total - (strip ? m->hdr_len : 0);
    size_t n = m->subject_len + s->sid_len; /* and "HMSG ", blanks, and a line that a peer cannot have made too short */
    n += strip ? 32 + m->reply_len + counted : 7 + m->head_len + m->body_len;
    char *w = output_room(k, c, n);
    if (unlikely(!w)) return false;
    if (likely(!strip)) {
        if (m->with_headers) *w++ = 'H';
        w = put(w, "MSG ", 4);
        w = put(w, m->subject, m->subject_len);
        *w++ = ' ';
        w = put(w, s->sid, s->sid_len);
        *w++ = ' ';
        if (likely(m->joined)) {
            w = put(w, m->head, m->head_len + m->body_len);
        } else {
            w = put(w, m->head, m->head_len);
            w = put(w, m->body, m->body_len);
        }
    } else {
        w = put(w, "MSG ", 4);
        w = put(w, m->subject, m->subject_len);
        *w++ = ' ';
        w = put(w, s->sid, s->sid_len);
        *w++ = ' ';
        if (m->reply_len) {
            w = put(w, m->reply, m->reply_len);
            *w++ = ' ';
        }
        w = put_number(w, counted);
        w = put(w, "\r\n", 2);
        w = put(w, m->body + m->body_len - 2 - counted, counted + 2);
    }
    c->wp = w;
    c->out_msgs++;
    c->out_bytes += counted;
    if (unlikely(c->responses || (c->perms && m->reply_len)) && m->reply_len)
        responses_grant(c, m->reply, m->reply_len, k->now);
    s->delivered++;
    if (unlikely(s->max && s->delivered >= s->max)) {
        s->dead = true;
        if (k->ndead == k->cap_dead) {
            uint32_t cap = k->cap_dead ? k->cap_dead * 2 : 64;
            struct sub **more = realloc(k->dead, cap * sizeof *more);
            if (!more) { /* it stays linked but deaf until its connection goes */
                return true;
            }
            k->dead = more, k->cap_dead = cap;
        }
        k->dead[k->ndead++] = s;
        if (k->debug)
            event_log(k, c, 1, "Auto-unsubscribe limit of %llu reached for sid '%.*s'", (unsigned long long)s->max,
                      (int)s->sid_len, s->sid);
    }
    if (unlikely(k->trace)) trace_delivery(k, c, s, m, strip);
    return true;
}

static bool filtered(const struct sub *s, const struct message *m)
{
    const struct conn *c = s->owner;
    return s->special & SUB_FILTERED &&
           !permissions_can_deliver(c->perms, m->subject, m->subject_len, s->subject + s->subject_len, s->queue_len);
}

/* What leads to other accounts waits until this message has been delivered in its own: nobody may walk a result meanwhile. */
static void special_push(struct core *k, struct sub *s)
{
    if (k->nspecial == k->cap_special) {
        uint32_t cap = k->cap_special ? k->cap_special * 2 : 16;
        struct sub **more = realloc(k->special, cap * sizeof *more);
        if (!more) return; /* as if nobody were there */
        k->special = more, k->cap_special = cap;
    }
    k->special[k->nspecial++] = s;
}

static __attribute__((noinline)) bool special_run(struct core *k, uint32_t mark, const struct message *m)
{
    bool delivered = false;
    while (k->nspecial > mark) delivered |= service_deliver(k, k->special[--k->nspecial], m);
    return delivered;
}

/* A subscription of another account, or one of which some subjects are denied. */
static __attribute__((noinline)) bool deliver_special(struct core *k, struct sub *s, const struct message *m)
{
    if (s->special & (SUB_SERVICE | SUB_RESPONSE)) {
        special_push(k, s);
        return false;
    }
    if (s->special & SUB_INTERNAL) return internal_deliver(k, s, m);
    if (!(s->special & SUB_SHADOW)) return !filtered(s, m) && deliver_frame(k, s, m);
    if (m->way) return false; /* a request to a service is not passed on as a stream */
    const struct shadow *shadow = (const struct shadow *)s;
    if (!shadow->by->show) {
        struct sub *to = shadow->caster;
        return !to->dead && !filtered(to, m) && deliver_frame(k, to, m);
    }
    struct message shown = *m;
    shown.subject = shadow_subject(k, shadow, m->subject, m->subject_len, &shown.subject_len);
    struct sub *caster = shadow->caster;
    struct conn *to = caster->owner;
    uint64_t before = to->out_bytes;
    if (!shown.subject || caster->dead || filtered(caster, &shown) || !deliver_frame(k, caster, &shown)) return false;
    monitor_count_shadow(k, to, shadow->by->exporter, to->out_bytes - before);
    return true;
}

/* One subscription's copy. False if it does not want it (closed, its own message without echo, denied). */
static inline bool deliver_sub(struct core *k, struct sub *s, const struct message *m)
{
    struct conn *c = s->owner;
    if (unlikely(s->dead || c->closed)) return false;
    if (unlikely(c == m->from && !c->echo)) return false;
    if (unlikely(s->special)) return deliver_special(k, s, m);
    return deliver_frame(k, s, m);
}

/* A traced message's copy for the owner of `to`, which stands for the subscription `s`. */
static bool traced_copy(struct core *k, struct sub *s, struct sub *to, const struct message *m)
{
    struct conn *c = to->owner;
    enum spl_step_error error = SPL_STEP_DONE;
    if (c == m->from && !c->echo)
        error = SPL_STEP_NO_ECHO;
    else if (filtered(to, m))
        error = SPL_STEP_DENIED;
    else if (c->blocked && k->cfg.no_stall && output_lags(k, c) && !m->traced->only)
        error = SPL_STEP_TOO_SLOW;
    else if (c->closed || (!m->traced->only && !deliver_frame(k, to, m)))
        error = SPL_STEP_CLOSED;
    msgtrace_out(m->traced, s, c, error);
    return error == SPL_STEP_DONE;
}

/* deliver_sub() of a traced message. */
static __attribute__((noinline)) bool traced_sub(struct core *k, struct sub *s, const struct message *m)
{
    if (s->dead) return false;
    if (s->special & (SUB_SERVICE | SUB_RESPONSE | SUB_INTERNAL)) {
        struct conn *c = s->owner;
        return !(c == m->from && !c->echo) && deliver_special(k, s, m);
    }
    if (!(s->special & SUB_SHADOW)) return traced_copy(k, s, s, m);
    const struct shadow *shadow = (const struct shadow *)s;
    struct conn *c = s->owner;
    if (m->way || shadow->caster->dead || c->closed) return false;
    struct message shown = *m;
    shown.subject = shadow_subject(k, shadow, m->subject, m->subject_len, &shown.subject_len);
    if (!shown.subject) return false;
    msgtrace_export(m->traced, c->acc, shown.subject, shown.subject_len);
    if (shadow->by->traced) return traced_copy(k, s, shadow->caster, &shown);
    return m->traced->only || (!(c == m->from && !c->echo) && !filtered(shadow->caster, &shown) &&
                               deliver_frame(k, shadow->caster, &shown));
}

/* One local member of a group, beginning anywhere; false if none accepts. */
static bool deliver_group_local(struct core *k, struct match_group *g, const struct message *m)
{
    if (!g->nlocal) return false;
    uint32_t at = g->nlocal > 1 ? random_below(k, g->nlocal) : 0;
    for (uint32_t i = 0; i < g->nlocal; i++) {
        struct sub *s = g->local[at]; /* what nobody takes elsewhere comes back to the worker of its publisher */
        const struct conn *c = s->owner;
        bool own = unlikely(m->no_echo) && (uint32_t)c->cid == m->no_echo;
        if (!own && (unlikely(m->traced != NULL) ? traced_sub(k, s, m) : deliver_sub(k, s, m))) return true;
        if (unlikely(own && m->traced)) msgtrace_out(m->traced, s, c, SPL_STEP_NO_ECHO);
        if (++at == g->nlocal) at = 0;
    }
    return false;
}

/* May members over there have this message? `except`: peers that are left out. */
static bool remote_takes(const struct core *k, const struct remote *r, const struct message *m, uint64_t except)
{
    return !(except >> r->peer & 1) && k->peers_up >> r->peer & 1 && !(m->way && r->shadows);
}

/* The peer that holds the member number `pick` of the group's remote members who may have the message. */
static int group_peer(struct core *k, const struct match_group *g, const struct message *m, uint32_t pick,
                      uint64_t except)
{
    for (uint32_t i = 0; i < g->nremote; i++) {
        if (!remote_takes(k, &g->remote[i], m, except)) continue;
        if (pick < g->remote[i].weight) return (int)g->remote[i].peer;
        pick -= g->remote[i].weight;
    }
    return -1;
}

static uint32_t remote_members(struct core *k, const struct match_group *g, const struct message *m, uint64_t except)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < g->nremote; i++)
        if (remote_takes(k, &g->remote[i], m, except)) sum += g->remote[i].weight;
    return sum;
}

/* Pick one member of a group over all workers, uniformly. Local picks are delivered here; returns the peer that shall have
 * it, -1: delivered, -2: nobody takes it. */
static int deliver_group(struct core *k, struct match_group *g, const struct message *m)
{
    uint32_t remote = g->nremote ? remote_members(k, g, m, 0) : 0;
    if (remote) {
        uint32_t pick = random_below(k, g->nlocal + remote);
        if (pick >= g->nlocal) return group_peer(k, g, m, pick - g->nlocal, 0);
    }
    if (deliver_group_local(k, g, m)) return -1;
    return remote ? group_peer(k, g, m, random_below(k, remote), 0) : -2;
}

/* Everything that `m` meets, for a message published here. Returns whether anybody got it. There is one of it for messages that are
 * traced, so that the others pay nothing. */
static inline __attribute__((always_inline)) bool deliver_each(struct core *k, const struct match *r, struct message *m,
                                                               bool traced)
{
    bool delivered = false;
    uint32_t mark = k->nspecial;
    uint32_t n = r->nplain;
    struct sub **plain = r->plain;
    for (uint32_t i = 0; i < n; i++) {
        if (likely(i + 1 < n)) __builtin_prefetch(plain[i + 1]->owner);
        delivered |= traced ? traced_sub(k, plain[i], m) : deliver_sub(k, plain[i], m);
    }
    uint64_t peers = (m->way ? r->askable : r->peers) & k->peers_up;
    if (likely(!peers && !r->ngroups)) {
        if (unlikely(k->nspecial != mark)) delivered |= special_run(k, mark, m);
        return delivered;
    }
    struct match_group *chosen[GROUPS_AT_ONCE];
    int to[GROUPS_AT_ONCE];
    for (uint32_t from = 0; from < r->ngroups || peers; from += GROUPS_AT_ONCE) {
        uint32_t some = r->ngroups > from ? r->ngroups - from : 0;
        if (some > GROUPS_AT_ONCE) some = GROUPS_AT_ONCE;
        uint64_t targets = peers;
        for (uint32_t i = 0; i < some; i++) {
            to[i] = deliver_group(k, &r->groups[from + i], m);
            delivered |= to[i] != -2;
            if (to[i] >= 0) targets |= 1ull << to[i];
        }
        for (uint64_t left = targets; left; left &= left - 1) {
            uint32_t p = (uint32_t)__builtin_ctzll(left);
            uint32_t nq = 0;
            for (uint32_t i = 0; i < some; i++)
                if (to[i] == (int)p) chosen[nq++] = &r->groups[from + i];
            mesh_send(k, p, m, chosen, nq, !(peers >> p & 1), 0);
        }
        delivered |= peers != 0;
        peers = 0;
    }
    if (unlikely(k->nspecial != mark)) delivered |= special_run(k, mark, m);
    return delivered;
}

static bool deliver_all(struct core *k, const struct match *r, struct message *m)
{
    return deliver_each(k, r, m, false);
}

static __attribute__((noinline)) bool deliver_all_traced(struct core *k, const struct match *r, struct message *m)
{
    return deliver_each(k, r, m, true);
}

bool deliver_message(struct core *k, struct message *m)
{
    const struct match *r = sublist_match(m->acc->subs, m->subject, m->subject_len);
    if (!r) return false;
    return unlikely(m->traced != NULL) ? deliver_all_traced(k, r, m) : deliver_all(k, r, m);
}

bool deliver_again(struct core *k, struct message *m, struct recent *last)
{
    const struct match *r = last->match;
    uint64_t generation = *m->acc->generation;
    if (!r || r->serial != last->serial || r->subject_len != m->subject_len ||
        !bytes_same(r->subject, m->subject, m->subject_len) ||
        (generation != last->generation && !sublist_match_current(m->acc->subs, r, last->serial))) {
        r = last->match = sublist_match(m->acc->subs, m->subject, m->subject_len);
        if (!r) return false;
        last->serial = r->serial;
    }
    last->generation = generation;
    return deliver_all(k, r, m);
}

/* ---- what a client may not publish ---- */

static bool starts(const char *s, size_t n, const char *with)
{
    size_t w = strlen(with);
    return n >= w && memcmp(s, with, w) == 0;
}

static void refused(struct core *k, struct conn *c, bool reply, const char *s, size_t n, struct msgtrace *traced)
{
    char *text = malloc(64 + QUOTED_MAX(n));
    if (!text) {
        conn_close(k, c, READ_ERROR);
        return;
    }
    char *name = text + sprintf(text, "Permissions Violation for Publish %s ", reply ? "with Reply of" : "to");
    quote(name, QUOTED_MAX(n), s, n);
    conn_error(k, c, text, 0);
    if (unlikely(traced != NULL)) msgtrace_error(traced, text);
    event_log(k, c, 0, "Publish Violation - %s %s", reply ? "Reply" : "Subject", name);
    free(text);
}

static inline bool subject_reserved(const char *s, size_t n) { return starts(s, n, "_GR_.") || starts(s, n, "$NRG."); }
static inline bool reply_reserved(const char *s, size_t n)
{
    return starts(s, n, "_R_.") || starts(s, n, "$JS.ACK.") || starts(s, n, "_GR_.");
}

bool deliver_allowed(struct conn *c, const char *subject, size_t n)
{
    return !subject_reserved(subject, n) && (!c->perms || permissions_can_publish(c->perms, subject, n));
}

void deliver_refused(struct core *k, struct conn *c, const char *subject, size_t n)
{
    refused(k, c, false, subject, n, NULL);
}

/* Nobody is there: tell the requester, on the subscription that waits for the reply. */
static void no_responders(struct core *k, struct conn *c, const struct message *m)
{
    const struct match *r = sublist_match(c->acc->subs, m->reply, m->reply_len);
    if (!r) return;
    for (uint32_t i = 0; i < r->nplain; i++) {
        struct sub *s = r->plain[i];
        if (s->owner != c || s->dead) continue;
        size_t body = 32 + m->subject_len;
        char *w = output_room(k, c, 128 + m->reply_len + s->sid_len + m->subject_len);
        if (!w) return;
        w = put(w, "HMSG ", 5);
        w = put(w, m->reply, m->reply_len);
        *w++ = ' ';
        w = put(w, s->sid, s->sid_len);
        *w++ = ' ';
        w = put_number(w, body);
        *w++ = ' ';
        w = put_number(w, body);
        w = put(w, "\r\nNATS/1.0 503\r\nNats-Subject: ", 30);
        w = put(w, m->subject, m->subject_len);
        w = put(w, "\r\n\r\n\r\n", 6);
        c->wp = w;
        return;
    }
}

static inline const struct match *match_for(struct core *k, struct conn *c, const struct message *m, bool *allowed)
{
    const struct match *r = c->last;
    uint64_t generation = *c->acc->generation;
    (void)k;
    if (likely(r && c->last_len == m->subject_len && r->serial == c->last_serial && r->subject_len == m->subject_len &&
               bytes_same(r->subject, m->subject, m->subject_len) &&
               (generation == c->last_generation || sublist_match_current(c->acc->subs, r, c->last_serial)))) {
        c->last_generation = generation;
        *allowed = c->last_allowed;
        return r;
    }
    bool ok = !subject_reserved(m->subject, m->subject_len);
    if (ok && c->perms) ok = permissions_can_publish(c->perms, m->subject, m->subject_len);
    *allowed = ok;
    r = sublist_match(c->acc->subs, m->subject, m->subject_len);
    c->last = r;
    c->last_generation = generation;
    if (r) c->last_serial = r->serial, c->last_len = m->subject_len, c->last_allowed = ok;
    return r;
}

static inline __attribute__((always_inline)) void publish(struct core *k, struct conn *c, struct message *m,
                                                          bool traced)
{
    bool allowed;
    const struct match *r = match_for(k, c, m, &allowed);
    if (unlikely(!r)) {
        conn_close(k, c, READ_ERROR);
        return;
    }
    if (unlikely(!allowed)) {
        if (subject_reserved(m->subject, m->subject_len) || !responses_use(c, m->subject, m->subject_len, k->now)) {
            refused(k, c, false, m->subject, m->subject_len, m->traced);
            return;
        }
    }
    if (unlikely(m->reply_len && (m->reply[0] == '_' || m->reply[0] == '$') &&
                 reply_reserved(m->reply, m->reply_len))) {
        refused(k, c, true, m->reply, m->reply_len, m->traced);
        return;
    }
    if (unlikely(c->verbose)) conn_ok(k, c);
    bool delivered = traced ? deliver_all_traced(k, r, m) : deliver_all(k, r, m);
    if (unlikely(!delivered) && c->no_responders && m->reply_len) no_responders(k, c, m);
}

/* To the log, behind the line that came with it and what became of its subject. */
static inline void show_payload(struct core *k, struct conn *c, const struct message *m)
{
    if (unlikely(k->trace)) trace_payload(k, c, true, m->payload, m->total, m->hdr_len);
}

/* The account maps subjects: everything else is about the subject that comes out, which is empty for a lost message. */
static __attribute__((noinline)) void publish_mapped(struct core *k, struct conn *c, struct message *m)
{
    struct text subject;
    text_init(&subject);
    if (mappings_apply(c->acc->mappings, m->subject, m->subject_len, random_next(k), &subject)) {
        if (subject.failed || subject.len > UINT32_MAX) {
            conn_close(k, c, READ_ERROR);
            text_free(&subject);
            return;
        }
        if (unlikely(k->trace))
            event_log(k, c, 2, "<<- [MAPPING %.*s -> %.*s]", (int)(m->subject_len < 256 ? m->subject_len : 256),
                      m->subject, (int)(subject.len < 256 ? subject.len : 256), subject.p);
        m->subject = subject.p, m->subject_len = (uint32_t)subject.len;
        if (unlikely(m->traced != NULL)) msgtrace_mapped(m->traced, m->subject, m->subject_len);
    }
    show_payload(k, c, m);
    if (unlikely(m->traced != NULL))
        publish(k, c, m, true);
    else
        publish(k, c, m, false);
    text_free(&subject);
}

void deliver_publish(struct core *k, struct conn *c, struct message *m)
{
    c->in_msgs++;
    c->in_bytes += m->total;
    if (unlikely(c->acc->mappings != NULL)) {
        publish_mapped(k, c, m);
    } else {
        show_payload(k, c, m);
        publish(k, c, m, false);
    }
}

void deliver_traced(struct core *k, struct conn *c, struct message *m)
{
    c->in_msgs++;
    c->in_bytes += m->total;
    if (c->acc->mappings) {
        publish_mapped(k, c, m);
    } else {
        show_payload(k, c, m);
        publish(k, c, m, true);
    }
}

/* A message from another worker: our own plain subscriptions, and one member of each group it was picked for. If the last member
 * has just left, or none may have it, the message goes on to a member elsewhere; `tried`: the workers where that was so already. */
void deliver_from_peer(struct core *k, struct message *m, const char *queues, uint32_t nqueues, bool queue_only,
                       uint64_t tried)
{
    const struct match *r = sublist_match(m->acc->subs, m->subject, m->subject_len);
    if (!r) return;
    uint32_t mark = k->nspecial;
    if (!queue_only)
        for (uint32_t i = 0; i < r->nplain; i++)
            unlikely(m->traced != NULL) ? traced_sub(k, r->plain[i], m) : deliver_sub(k, r->plain[i], m);
    for (uint32_t q = 0; q < nqueues; q++) {
        uint16_t len;
        memcpy(&len, queues, 2);
        const char *name = queues + 2;
        queues = name + len;
        for (uint32_t i = 0; i < r->ngroups; i++) {
            struct match_group *g = &r->groups[i];
            if (g->name_len != len || memcmp(g->name, name, len) != 0) continue;
            if (deliver_group_local(k, g, m)) break;
            uint64_t except = tried | 1ull << k->cfg.index;
            uint32_t others = remote_members(k, g, m, except);
            if (!others) break;
            int p = group_peer(k, g, m, random_below(k, others), except);
            if (p >= 0) {
                k->stats->mesh_forwarded++;
                mesh_send(k, (uint32_t)p, m, &g, 1, true, except);
            }
            break;
        }
    }
    if (unlikely(k->nspecial != mark)) special_run(k, mark, m);
}
