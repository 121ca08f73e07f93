/* sublist_model.h: the sublist beside a model that is too simple to be wrong.
 *
 * model_run() reads bytes as operations, does each on a real sublist and on plain arrays, and compares every answer. Random bytes
 * make it a randomised test, libFuzzer's make it a fuzz target. Operations: subscribe, unsubscribe, remote interest, loss of a
 * peer, match, use of a kept match, flush and snapshot of announcements, tracking on and off, failing allocations.
 * Any difference calls MODEL_FAIL.
 */
#ifndef SPLINE_SUBLIST_MODEL_H
#define SPLINE_SUBLIST_MODEL_H
#include "alloc.h"
#include "guard.h"
#include "subject.h"
#include "sublist.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL_SUBS 64
#define MODEL_REMOTES 64
#define MODEL_KEPT 4
#define MODEL_TEXT 400

#define MODEL_FAIL(...)                                                                                                \
    do {                                                                                                               \
        fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                                                \
        fprintf(stderr, __VA_ARGS__);                                                                                  \
        fputc('\n', stderr);                                                                                           \
        abort();                                                                                                       \
    } while (0)
#define MODEL_CHECK(what)                                                                                              \
    do {                                                                                                               \
        if (!(what)) MODEL_FAIL("differs from the model: %s", #what);                                                  \
    } while (0)

struct model_text {
    size_t n, nq;
    char subject[MODEL_TEXT], queue[64];
};
struct model_remote {
    struct model_text text;
    uint32_t peer, weight; /* 0: free */
    bool shadows;
};
struct model_claim { /* what was announced */
    struct model_text text;
    uint32_t weight;
    uint64_t seq;
};
struct model_kept {
    const struct match *m;
    uint32_t serial;
    struct model_text text;
};

struct model {
    const uint8_t *at, *end;
    struct sublist *l;
    struct sub *subs[MODEL_SUBS];
    struct model_text texts[MODEL_SUBS];
    struct model_remote remotes[MODEL_REMOTES];
    struct model_claim claims[MODEL_SUBS * 4];
    uint32_t nclaims;
    struct model_kept kept[MODEL_KEPT];
    bool track, failing;
    uint64_t seq;
    struct guard guard;
    uint32_t told;
};

static inline uint8_t model_byte(struct model *m) { return m->at < m->end ? *m->at++ : 0; }

/* Few tokens, so that patterns meet; one too long to lie in a node, and texts that only look like wildcards. */
static void model_subject(struct model *m, struct model_text *t, bool pattern)
{
    static const char *const tokens[] = {"a",
                                         "b",
                                         "*",
                                         "cc",
                                         ">",
                                         "*",
                                         "dddddddddddddddddddddddddddd",
                                         "a*",
                                         ">>",
                                         "a",
                                         "b",
                                         "*",
                                         "x",
                                         ">",
                                         "a-token-that-is-too-long-to-lie-within-a-trie-node",
                                         ""};
    uint8_t shape = model_byte(m);
    uint32_t count = 1 + shape % 4;
    if (shape >= 250) count = 24; /* too long to be remembered as a change */
    t->n = 0;
    t->nq = 0;
    for (uint32_t i = 0; i < count; i++) {
        const char *token = tokens[(i < 4 ? model_byte(m) : i) % 16];
        if (pattern && ((*token == '>' && !token[1] && i + 1 < count) || !*token)) token = "a";
        size_t len = strlen(token);
        if (t->n + len + 1 > MODEL_TEXT) break;
        if (i) t->subject[t->n++] = '.';
        memcpy(t->subject + t->n, token, len);
        t->n += len;
    }
}

static void model_queue(struct model *m, struct model_text *t)
{
    uint8_t b = model_byte(m);
    if (b % 3 == 0) return;
    t->nq = (size_t)snprintf(t->queue, sizeof t->queue, b & 128 ? "queue-%u-of-a-long-name" : "q%u", b / 3 % 12u);
}

static bool text_same(const struct model_text *a, const char *s, size_t n, const char *q, size_t nq)
{
    return a->n == n && a->nq == nq && memcmp(a->subject, s, n) == 0 && (!nq || memcmp(a->queue, q, nq) == 0);
}
static bool text_equal(const struct model_text *a, const struct model_text *b)
{
    return text_same(a, b->subject, b->n, b->queue, b->nq);
}

/* The definition of matching, by recursion over tokens; shares no code with subject.c. */
static bool model_matches(const char *p, size_t np, const char *s, size_t ns)
{
    size_t pe = 0, se = 0;
    while (pe < np && p[pe] != '.') pe++;
    while (se < ns && s[se] != '.') se++;
    if (se == 0) return false;
    bool last = pe == np, star = pe == 1 && p[0] == '*';
    if (last && pe == 1 && p[0] == '>') return se == ns || model_matches(p, np, s + se + 1, ns - se - 1);
    if (!star && (pe != se || memcmp(p, s, se) != 0)) return false;
    if (last || se == ns) return last && se == ns;
    return model_matches(p + pe + 1, np - pe - 1, s + se + 1, ns - se - 1);
}

static bool model_meets(const struct model_text *pattern, const struct model_text *subject)
{
    return model_matches(pattern->subject, pattern->n, subject->subject, subject->n);
}

static uint32_t model_weight(const struct model *m, const struct model_text *t)
{
    uint32_t weight = 0;
    bool shadows = true;
    for (uint32_t i = 0; i < MODEL_SUBS; i++) {
        if (!m->subs[i] || m->subs[i]->special & SUB_HIDDEN || !text_equal(&m->texts[i], t)) continue;
        weight++;
        shadows &= m->subs[i]->special & SUB_SHADOW ? true : false;
    }
    if (!t->nq) weight = weight != 0;
    return weight && shadows ? weight | SHADOWS_ONLY : weight;
}

static struct model_claim *model_claim(struct model *m, const struct model_text *t)
{
    for (uint32_t i = 0; i < m->nclaims; i++)
        if (text_equal(&m->claims[i].text, t)) return &m->claims[i];
    return NULL;
}

/* ---- operations ---- */

static void model_insert(struct model *m)
{
    uint8_t b = model_byte(m);
    uint32_t i = b % MODEL_SUBS;
    struct model_text t;
    model_subject(m, &t, true);
    model_queue(m, &t);
    if (m->subs[i]) return;
    struct sub *s = malloc(sizeof *s);
    char *text = malloc(t.n + t.nq + 1);
    if (!s || !text) {
        free(s);
        free(text);
        return;
    }
    memset(s, 0, sizeof *s);
    memcpy(text, t.subject, t.n);
    memcpy(text + t.n, t.queue, t.nq);
    s->owner = (void *)(uintptr_t)(i + 1);
    s->subject = text;
    s->subject_len = (uint16_t)t.n;
    s->queue_len = (uint16_t)t.nq;
    if (b / MODEL_SUBS % 4 == 1) s->special = SUB_SHADOW;
    if (b / MODEL_SUBS % 4 == 2 && !t.nq) s->special = SUB_HIDDEN;
    if (sublist_insert(m->l, s) != 0) {
        MODEL_CHECK(m->failing && !s->at);
        free(text);
        free(s);
        return;
    }
    m->subs[i] = s;
    m->texts[i] = t;
}

static void model_remove(struct model *m, uint32_t i)
{
    if (!m->subs[i]) return;
    sublist_remove(m->l, m->subs[i]);
    MODEL_CHECK(!m->subs[i]->at);
    free(m->subs[i]->subject); /* freed at once: whoever still looks at it is caught */
    free(m->subs[i]);
    m->subs[i] = NULL;
}

static void model_remote(struct model *m)
{
    struct model_text t;
    uint8_t b = model_byte(m);
    uint32_t peer = b % 3 == 2 ? 63 : b % 3, weight = b / 3 % 4;
    bool shadows = b / 12 % 4 == 1;
    model_subject(m, &t, true);
    model_queue(m, &t);
    if (!t.nq && weight) weight = 1;
    struct model_remote *have = NULL, *room = NULL;
    for (uint32_t i = 0; i < MODEL_REMOTES; i++) {
        struct model_remote *r = &m->remotes[i];
        if (r->weight && r->peer == peer && text_equal(&r->text, &t)) have = r;
        if (!r->weight && !room) room = r;
    }
    if (!have) have = room;
    if (!have) return;
    int64_t was =
        sublist_set_remote(m->l, peer, t.subject, t.n, t.queue, t.nq, shadows ? weight | SHADOWS_ONLY : weight);
    if (was < 0) {
        MODEL_CHECK(m->failing && weight);
        return;
    }
    MODEL_CHECK(was == (int64_t)(have->weight && have->shadows ? have->weight | SHADOWS_ONLY : have->weight));
    have->text = t;
    have->peer = peer;
    have->weight = weight;
    have->shadows = shadows;
}

static void model_drop_peer(struct model *m)
{
    uint8_t b = model_byte(m);
    uint32_t peer = b % 3 == 2 ? 63 : b % 3;
    sublist_drop_peer(m->l, peer);
    for (uint32_t i = 0; i < MODEL_REMOTES; i++)
        if (m->remotes[i].peer == peer) m->remotes[i].weight = 0;
}

static uint32_t sub_number(const struct model *m, const struct sub *s)
{
    uint32_t i = (uint32_t)(uintptr_t)s->owner - 1;
    MODEL_CHECK(i < MODEL_SUBS && m->subs[i] == s);
    return i;
}

static void compare_group(const struct model *m, const struct match_group *g, const struct model_text *t, bool *seen)
{
    uint32_t locals = 0, weights[SUBLIST_MAX_PEERS] = {0}, total = 0;
    bool askable[SUBLIST_MAX_PEERS] = {0};
    for (uint32_t i = 0; i < MODEL_SUBS; i++)
        locals += m->subs[i] && m->texts[i].nq == g->name_len && memcmp(m->texts[i].queue, g->name, g->name_len) == 0 &&
                  model_meets(&m->texts[i], t);
    MODEL_CHECK(g->nlocal == locals);
    for (uint32_t i = 0; i < g->nlocal; i++) {
        uint32_t k = sub_number(m, g->local[i]);
        MODEL_CHECK(!seen[k] && m->texts[k].nq == g->name_len && memcmp(m->texts[k].queue, g->name, g->name_len) == 0);
        MODEL_CHECK(model_meets(&m->texts[k], t));
        seen[k] = true;
    }
    for (uint32_t i = 0; i < MODEL_REMOTES; i++) {
        const struct model_remote *r = &m->remotes[i];
        if (!r->weight || r->text.nq != g->name_len || memcmp(r->text.queue, g->name, g->name_len) != 0) continue;
        if (model_meets(&r->text, t)) weights[r->peer] += r->weight, askable[r->peer] |= !r->shadows;
    }
    for (uint32_t i = 0; i < g->nremote; i++) {
        MODEL_CHECK(g->remote[i].peer < SUBLIST_MAX_PEERS && weights[g->remote[i].peer] == g->remote[i].weight);
        MODEL_CHECK(g->remote[i].weight && g->remote[i].shadows == !askable[g->remote[i].peer]);
        total += g->remote[i].weight;
        weights[g->remote[i].peer] = 0; /* a peer may be named once */
    }
    for (uint32_t i = 0; i < SUBLIST_MAX_PEERS; i++) MODEL_CHECK(!weights[i]);
    MODEL_CHECK(g->remote_weight == total && (g->nlocal || g->nremote));
}

static void compare(const struct model *m, const struct match *r, const struct model_text *t)
{
    bool seen[MODEL_SUBS] = {0};
    MODEL_CHECK(r->subject_len == t->n && memcmp(r->subject, t->subject, t->n) == 0);
    for (uint32_t i = 0; i < r->nplain; i++) {
        uint32_t k = sub_number(m, r->plain[i]);
        MODEL_CHECK(!seen[k] && !m->texts[k].nq && model_meets(&m->texts[k], t));
        seen[k] = true;
    }
    for (uint32_t i = 0; i < r->ngroups; i++) {
        for (uint32_t j = 0; j < i; j++)
            MODEL_CHECK(r->groups[i].name_len != r->groups[j].name_len ||
                        memcmp(r->groups[i].name, r->groups[j].name, r->groups[i].name_len) != 0);
        compare_group(m, &r->groups[i], t, seen);
    }
    for (uint32_t i = 0; i < MODEL_SUBS; i++) MODEL_CHECK(seen[i] == (m->subs[i] && model_meets(&m->texts[i], t)));
    uint64_t peers = 0, askable = 0;
    for (uint32_t i = 0; i < MODEL_REMOTES; i++) {
        const struct model_remote *e = &m->remotes[i];
        if (!e->weight || !model_meets(&e->text, t)) continue;
        if (!e->text.nq) peers |= 1ULL << e->peer;
        if (!e->text.nq && !e->shadows) askable |= 1ULL << e->peer;
        bool named = !e->text.nq;
        for (uint32_t g = 0; g < r->ngroups; g++)
            named |= r->groups[g].name_len == e->text.nq && memcmp(r->groups[g].name, e->text.queue, e->text.nq) == 0;
        MODEL_CHECK(named);
    }
    MODEL_CHECK(r->peers == peers && r->askable == askable);
}

static void model_match(struct model *m)
{
    struct model_text t;
    struct model_kept *keep = &m->kept[model_byte(m) % MODEL_KEPT];
    model_subject(m, &t, false);
    const struct match *r = sublist_match(m->l, guard_put(&m->guard, t.subject, t.n), t.n);
    if (!r) {
        MODEL_CHECK(m->failing);
        return;
    }
    compare(m, r, &t);
    MODEL_CHECK(sublist_match_current(m->l, r, r->serial));
    keep->m = r;
    keep->serial = r->serial;
    keep->text = t;
}

/* A kept result says by itself whether it still holds; if it does, it must be right. */
static void model_kept(struct model *m)
{
    struct model_kept *keep = &m->kept[model_byte(m) % MODEL_KEPT];
    if (keep->m && sublist_match_current(m->l, keep->m, keep->serial)) compare(m, keep->m, &keep->text);
}

static void model_told(void *arg, const char *s, size_t n, const char *q, size_t nq, uint32_t weight, uint32_t was)
{
    struct model *m = arg;
    struct model_text t = {.n = n, .nq = nq};
    MODEL_CHECK(n <= sizeof t.subject && nq <= sizeof t.queue);
    memcpy(t.subject, s, n);
    memcpy(t.queue, q, nq);
    struct model_claim *c = model_claim(m, &t);
    MODEL_CHECK(weight != was && was == (c ? c->weight : 0) && weight == model_weight(m, &t));
    if (!c) {
        MODEL_CHECK(m->nclaims < MODEL_SUBS * 4);
        c = &m->claims[m->nclaims++];
        c->text = t;
        c->seq = m->seq;
    }
    if (c->weight & SHADOWS_ONLY && !(weight & SHADOWS_ONLY)) c->seq = m->seq;
    c->weight = weight;
    if (!weight) *c = m->claims[--m->nclaims];
    m->told++;
}

static void model_flush(struct model *m)
{
    bool dirty = sublist_dirty(m->l);
    m->told = 0;
    m->seq++;
    uint32_t calls = sublist_flush_interest(m->l, m->seq, model_told, m);
    MODEL_CHECK(calls == m->told && (dirty || !calls) && !sublist_dirty(m->l));
    if (!m->track) {
        MODEL_CHECK(!calls);
        return;
    }
    for (uint32_t i = 0; i < m->nclaims; i++) MODEL_CHECK(m->claims[i].weight == model_weight(m, &m->claims[i].text));
    for (uint32_t i = 0; i < MODEL_SUBS; i++)
        MODEL_CHECK(!m->subs[i] || m->subs[i]->special & SUB_HIDDEN || model_claim(m, &m->texts[i]));
}

static void model_snapshot(void *arg, const char *s, size_t n, const char *q, size_t nq, uint32_t weight, uint32_t was)
{
    struct model *m = arg;
    (void)was;
    for (uint32_t i = 0; i < m->nclaims; i++) {
        if (!text_same(&m->claims[i].text, s, n, q, nq)) continue;
        MODEL_CHECK(m->claims[i].weight == weight);
        m->told++;
        return;
    }
    MODEL_FAIL("a snapshot holds what was not announced");
}

static void model_each(struct model *m)
{
    m->told = 0;
    sublist_each_interest(m->l, model_snapshot, m);
    MODEL_CHECK(m->told == m->nclaims);
}

static void model_announced(struct model *m)
{
    uint32_t i = model_byte(m) % MODEL_SUBS;
    if (!m->subs[i] || !m->track || m->subs[i]->special & SUB_HIDDEN) return;
    struct model_claim *c = model_claim(m, &m->texts[i]);
    bool known = c && (m->subs[i]->special & SUB_SHADOW || !(c->weight & SHADOWS_ONLY));
    MODEL_CHECK(sublist_announced(m->l, m->subs[i], m->seq + 1) == (known ? c->seq : m->seq + 1));
}

static void model_step(struct model *m)
{
    switch (model_byte(m) % 20) {
    case 0:
    case 1:
    case 2:
    case 3: model_insert(m); break;
    case 4:
    case 5: model_remove(m, model_byte(m) % MODEL_SUBS); break;
    case 6:
    case 7: model_remote(m); break;
    case 8:
        if (model_byte(m) % 4 == 0) model_drop_peer(m);
        break;
    case 9: model_flush(m); break;
    case 10: model_each(m); break;
    case 11: model_announced(m); break;
    case 12:
        if (model_byte(m) % 4) break;
        m->track = !m->track;
        sublist_track(m->l, m->track);
        break;
    case 13: { /* the next step meets a failing allocation */
        uint8_t b = model_byte(m);
        if (m->failing || b % 2) break;
        m->failing = true;
        alloc_fail(b / 2 % 8, 1 + b / 16);
        model_step(m);
        alloc_fail_off();
        m->failing = false;
        break;
    }
    case 14:
    case 15: model_kept(m); break;
    default: model_match(m);
    }
}

/* Runs all operations in the bytes, then takes everything away and checks that nothing is left. */
static void model_run(const uint8_t *data, size_t n)
{
    static const uint32_t sizes[] = {0, 1, 4, 1024};
    struct model *m = malloc(sizeof *m);
    if (!m) abort();
    memset(m, 0, sizeof *m);
    m->at = data;
    m->end = data + n;
    m->guard = guard_new(MODEL_TEXT);
    uint8_t head = model_byte(m);
    m->l = sublist_new(sizes[head % 4]);
    if (!m->l) abort();
    m->track = head & 4;
    sublist_track(m->l, m->track);
    while (m->at < m->end) model_step(m);
    for (uint32_t i = 0; i < MODEL_SUBS; i++) model_remove(m, i);
    for (uint32_t i = 0; i < SUBLIST_MAX_PEERS; i++) sublist_drop_peer(m->l, i);
    sublist_track(m->l, true);
    m->track = true;
    model_flush(m);
    MODEL_CHECK(m->nclaims == 0);
    struct sublist_stats stats;
    sublist_stats(m->l, &stats);
    MODEL_CHECK(stats.subs == 0 && stats.nodes == 0 && stats.cache_entries <= sizes[head % 4]);
    memset(m->remotes, 0, sizeof m->remotes);
    for (uint32_t i = 0; i < MODEL_KEPT; i++) model_kept(m);
    sublist_free(m->l);
    guard_free(&m->guard);
    free(m);
}
#endif
