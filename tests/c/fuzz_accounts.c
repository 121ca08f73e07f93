/* Fuzz target: random accounts that share streams and services, in any direction, and clients that subscribe, publish, ask and answer,
 * through the parser, while other imports and mappings are prepared, and take effect or do not. A model of loops and lists says who
 * gets what; nobody gets anything else, and an answer finds who asked.
 *
 * Every account offers the streams s.> and q.*, and q.* as a service, too; imports may form circles, which a configuration may not.
 */
#include "fake_client.h"
#include "meets.h"
#include <stdio.h>

enum { ACCOUNTS = 5, CLIENTS = 2 * ACCOUNTS, SUBS = 24, IMPORTS = 8, MAPPINGS = 4, COPIES = 4096, TEXT = 48 };

static const char *const patterns[] = {"s.a.b", "s.*.b", "s.>",   "q.*",     "q.a", "r.>",  "y",    ">",
                                       "*.*",   "*.*.*", "in0.>", "in1.*.*", "x.*", "in.*", "in.1", "*.a"};
static const char *const subjects[] = {"s.a.b", "s.b.a", "s.a",     "q.a",     "q.b", "r.a",   "r.b",   "y",
                                       "x.b",   "m.a",   "in0.s.a", "in1.b.a", "n",   "s.a.a", "q.a.b", "m"};
static const char *const groups[] = {"", "", "g", "h"};

struct import {
    uint8_t from, to, form; /* accounts; which of the forms below */
};
struct mapping {
    uint8_t account, source, target; /* subjects; MAPPED_ALL: m.* to q.$1; target 255: lost */
};
struct tables { /* what a configuration says */
    unsigned nimports, nmappings;
    struct import imports[IMPORTS];
    struct mapping mappings[MAPPINGS];
};
struct subscription {
    int client; /* -1: none */
    uint8_t pattern, group;
};
struct copy {
    uint8_t sub;
    bool seen;
    char subject[TEXT];
};
struct choice { /* one of these: copies from..upto of `options` */
    unsigned from, upto;
};
struct request { /* one that can be answered */
    uint8_t account;
    char reply[TEXT], inbox[TEXT];
};
struct hop {
    uint8_t account;
    const struct hop *before;
};

struct world {
    const uint8_t *at, *end;
    struct core *k;
    struct conn *clients[CLIENTS];
    unsigned naccounts;
    struct tables now;
    struct subscription subs[SUBS];
    /* what the model expects of the message in hand */
    unsigned ncopies, noptions, nchoices;
    struct copy copies[COPIES], options[COPIES];
    struct choice choices[COPIES];
    bool overflow;
    /* what came */
    unsigned ngot;
    struct copy got[COPIES];
    struct request asked;
    bool has_asked, refused;
    unsigned number;
};

static uint8_t byte(struct world *w) { return w->at < w->end ? *w->at++ : 0; }

/* ---- the model ---- */

/* The importer's name of a stream's subject. */
static bool shown(const struct import *i, const char *s, char *out)
{
    char a[8], b[8], rest;
    switch (i->form) {
    case 0: return meets("s.>", s) && snprintf(out, TEXT, "%s", s) > 0;
    case 1: return meets("s.>", s) && snprintf(out, TEXT, "in%u.%s", i->from, s) > 0;
    case 2:
        return sscanf(s, "s.%7[^.].%7[^.]%c", a, b, &rest) == 2 && snprintf(out, TEXT, "in%u.%s.%s", i->from, b, a) > 0;
    case 3: return sscanf(s, "q.%7[^.]%c", a, &rest) == 1 && snprintf(out, TEXT, "x.%s", a) > 0;
    default: return false;
    }
}

/* The exporter's name of a request. */
static bool asked(const struct import *i, const char *s, char *out)
{
    char a[8], rest;
    switch (i->form) {
    case 4: return sscanf(s, "q.%7[^.]%c", a, &rest) == 1 && snprintf(out, TEXT, "%s", s) > 0;
    case 5: return sscanf(s, "r.%7[^.]%c", a, &rest) == 1 && snprintf(out, TEXT, "q.%s", a) > 0;
    case 6: return strcmp(s, "y") == 0 && snprintf(out, TEXT, "q.a") > 0;
    case 7: return strcmp(s, "q.b") == 0 && snprintf(out, TEXT, "q.b") > 0;
    default: return false;
    }
}

/* The first mapping of this very subject counts; else the first pattern. */
static void mapped(const struct world *w, unsigned account, const char *s, char *out)
{
    char a[8], rest;
    const struct mapping *found = NULL;
    for (unsigned i = w->now.nmappings; i-- > 0;) /* of two of one source the later one is found */
        if (!found && w->now.mappings[i].account == account && w->now.mappings[i].source != 255 &&
            strcmp(subjects[w->now.mappings[i].source], s) == 0)
            found = &w->now.mappings[i];
    for (unsigned i = 0; i < w->now.nmappings && !found; i++)
        if (w->now.mappings[i].account == account && w->now.mappings[i].source == 255 &&
            sscanf(s, "m.%7[^.]%c", a, &rest) == 1)
            found = &w->now.mappings[i];
    if (!found)
        snprintf(out, TEXT, "%s", s);
    else if (found->target == 255)
        *out = 0;
    else if (found->source == 255)
        snprintf(out, TEXT, "q.%s", a);
    else
        snprintf(out, TEXT, "%s", subjects[found->target]);
}

static void add(struct world *w, struct copy *list, unsigned *n, unsigned sub, const char *subject)
{
    if (*n == COPIES) {
        w->overflow = true;
        return;
    }
    list[*n] = (struct copy){.sub = (uint8_t)sub};
    snprintf(list[(*n)++].subject, TEXT, "%s", subject);
}

static void deliver(struct world *w, unsigned account, const char *subject, const struct hop *way)
{
    char names[IMPORTS + 1][TEXT];
    unsigned where[IMPORTS + 1] = {account}, n = 1;
    if (!*subject || w->overflow) return;
    snprintf(names[0], TEXT, "%s", subject);
    for (unsigned i = 0; i < w->now.nimports && !way; i++)
        if (w->now.imports[i].from == account && shown(&w->now.imports[i], subject, names[n]))
            where[n++] = w->now.imports[i].to;
    for (unsigned g = 2; g < 4; g++) { /* one member of each group, wherever it is */
        struct choice *c = &w->choices[w->nchoices];
        c->from = w->noptions;
        for (unsigned v = 0; v < n; v++)
            for (unsigned s = 0; s < SUBS; s++)
                if (w->subs[s].client >= 0 && w->subs[s].group == g && (unsigned)w->subs[s].client / 2 == where[v] &&
                    meets(patterns[w->subs[s].pattern], names[v]))
                    add(w, w->options, &w->noptions, s, names[v]);
        c->upto = w->noptions;
        if (c->upto > c->from && ++w->nchoices == COPIES) w->overflow = true, w->nchoices--;
    }
    for (unsigned v = 0; v < n; v++)
        for (unsigned s = 0; s < SUBS; s++)
            if (w->subs[s].client >= 0 && w->subs[s].group < 2 && (unsigned)w->subs[s].client / 2 == where[v] &&
                meets(patterns[w->subs[s].pattern], names[v]))
                add(w, w->copies, &w->ncopies, s, names[v]);
    for (unsigned i = 0; i < w->now.nimports; i++) {
        char remote[TEXT], there[TEXT];
        if (w->now.imports[i].to != account || !asked(&w->now.imports[i], subject, remote)) continue;
        bool been = false;
        for (const struct hop *h = way; h; h = h->before) been |= h->account == w->now.imports[i].from;
        if (been) continue;
        struct hop hop = {w->now.imports[i].from, way};
        mapped(w, hop.account, remote, there);
        deliver(w, hop.account, there, &hop);
    }
}

/* ---- what came ---- */

static void take(struct world *w, unsigned client, const char *payload)
{
    struct conn *c = w->clients[client];
    if (c->closed) abort();
    size_t n = output_pending(c), at = 0;
    char *all = malloc(n + 1);
    if (!all) abort();
    for (struct chunk *h = c->out; h; h = h->next) {
        size_t len = (h == c->out_last ? (size_t)(c->wp - h->data) : h->len) - h->off;
        memcpy(all + at, h->data + h->off, len);
        at += len;
    }
    all[n] = 0;
    output_discard(w->k, c);
    for (char *p = all; p < all + n;) {
        char subject[TEXT], reply[TEXT] = "";
        unsigned sid, size, headers = 0;
        char *end = strstr(p, "\r\n");
        if (!end) abort();
        *end = 0;
        bool with = *p == 'H';
        int words = sscanf(p + with, "MSG %47s %u %47s %u %u", subject, &sid, reply, &headers, &size);
        if (with ? words < 4 : words < 3) abort();
        if (words == (with ? 4 : 3))
            size = with ? headers : (unsigned)atoi(reply), headers = with ? (unsigned)atoi(reply) : 0, *reply = 0;
        else if (!with)
            size = headers, headers = 0;
        p = end + 2;
        if (p + size + 2 > all + n || memcmp(p + size, "\r\n", 2) != 0 || headers > size ||
            (with && memcmp(p, "NATS/1.0", 8) != 0))
            abort();
        if (sid >= SUBS || w->subs[sid].client != (int)client) abort();
        if (with && memcmp(p, "NATS/1.0 503\r\n", 14) == 0) {
            w->refused = true;
        } else {
            if (size - headers != strlen(payload) || memcmp(p + headers, payload, size - headers) != 0) abort();
            if (strncmp(reply, "_R_.", 4) == 0) { /* the last one can be answered */
                w->asked.account = (uint8_t)(client / 2);
                snprintf(w->asked.reply, TEXT, "%s", reply);
                w->has_asked = true;
            }
            if (strncmp(subject, "_R_.", 4) != 0)
                add(w, w->got, &w->ngot, sid, subject); /* who listens to all sees answers pass */
        }
        p += size + 2;
    }
    free(all);
}

static bool take_out(struct copy *list, unsigned n, const struct copy *c)
{
    for (unsigned i = 0; i < n; i++)
        if (!list[i].seen && list[i].sub == c->sub && strcmp(list[i].subject, c->subject) == 0)
            return list[i].seen = true;
    return false;
}

/* Can what is left be one of each choice? `steps` bounds the search. */
static bool explained(struct world *w, unsigned choice, unsigned *steps)
{
    if (choice == w->nchoices || !*steps) return true;
    for (unsigned i = w->choices[choice].from; i < w->choices[choice].upto; i++) {
        --*steps;
        for (unsigned j = 0; j < w->ngot; j++) {
            struct copy *g = &w->got[j];
            if (g->seen || g->sub != w->options[i].sub || strcmp(g->subject, w->options[i].subject) != 0) continue;
            g->seen = true;
            if (explained(w, choice + 1, steps)) return true;
            g->seen = false;
            break; /* another one like it would lead to nothing else */
        }
    }
    return false;
}

static void forget(struct world *w)
{
    w->ncopies = w->noptions = w->nchoices = w->ngot = 0;
    w->overflow = w->refused = false;
}

static void compare(struct world *w)
{
    if (w->overflow) return;
    if (w->ngot != w->ncopies + w->nchoices) abort();
    for (unsigned i = 0; i < w->ncopies; i++)
        if (!take_out(w->got, w->ngot, &w->copies[i])) abort();
    unsigned steps = 10000;
    if (!explained(w, 0, &steps)) abort();
}

static void settle(struct world *w, const char *payload)
{
    for (unsigned i = 0; i < 2 * w->naccounts; i++) take(w, i, payload);
    conn_bury(w->k);
}

/* ---- what happens ---- */

static void say(struct world *w, unsigned client, const char *text)
{
    size_t n = strlen(text);
    char *exact = malloc(n);
    if (!exact) abort();
    memcpy(exact, text, n);
    if (client_parse(w->k, w->clients[client], exact, n) != n || w->clients[client]->hold) abort();
    free(exact);
}

static void publish(struct world *w)
{
    char line[256], payload[16], subject[TEXT], inbox[TEXT] = "";
    unsigned client = byte(w) % (2 * w->naccounts), b = byte(w);
    const char *name = subjects[b % 16];
    if (b & 16) snprintf(inbox, TEXT, "in.%u", b >> 5 & 3);
    if ((b & 112) == 112) snprintf(inbox, TEXT, "%s", subjects[byte(w) % 16]); /* mapped, or a service's, perhaps */
    size_t n = (size_t)snprintf(payload, sizeof payload, "%u", w->number++);
    if (b & 128)
        snprintf(line, sizeof line, "HPUB %s %s 18 %zu\r\nNATS/1.0\r\nA: b\r\n\r\n%s\r\n", name, inbox, n + 18,
                 payload);
    else
        snprintf(line, sizeof line, "PUB %s %s %zu\r\n%s\r\n", name, inbox, n, payload);
    forget(w);
    w->has_asked = false;
    mapped(w, client / 2, name, subject);
    deliver(w, client / 2, subject, NULL);
    say(w, client, line);
    settle(w, payload);
    compare(w);
    if (w->has_asked) {
        snprintf(w->asked.inbox, TEXT, "%u %s", client / 2, inbox);
    } else if (!w->overflow) {
        bool waits = false;
        for (unsigned s = 0; s < SUBS; s++)
            waits |= w->subs[s].client == (int)client && w->subs[s].group < 2 && *inbox &&
                     meets(patterns[w->subs[s].pattern], inbox);
        if (w->refused != (waits && !w->ngot)) abort();
    }
}

/* The last responder answers, twice: once too often. */
static void answer(struct world *w)
{
    char line[256], payload[16], inbox[TEXT], subject[TEXT];
    unsigned account;
    if (!w->has_asked || sscanf(w->asked.inbox, "%u %47s", &account, inbox) != 2) return;
    w->has_asked = false;
    for (int turn = 0; turn < 2; turn++) {
        size_t n = (size_t)snprintf(payload, sizeof payload, "%u", w->number++);
        snprintf(line, sizeof line, "PUB %s %zu\r\n%s\r\n", w->asked.reply, n, payload);
        forget(w);
        struct hop back = {255, NULL};
        /* Unless nobody waits for it any more. */
        mapped(w, account, inbox, subject);
        deliver(w, account, subject, &back);
        if (turn) w->ncopies = w->nchoices = 0;
        say(w, w->asked.account * 2u, line);
        settle(w, payload);
        compare(w);
    }
}

static void subscribe(struct world *w)
{
    char line[128];
    unsigned s = byte(w) % SUBS, client = byte(w) % (2 * w->naccounts), b = byte(w);
    if (w->subs[s].client >= 0) {
        snprintf(line, sizeof line, "UNSUB %u\r\n", s);
        say(w, (unsigned)w->subs[s].client, line);
        w->subs[s].client = -1;
        w->has_asked = false; /* perhaps it was the one that waited for the answer */
        return;
    }
    w->subs[s] = (struct subscription){(int)client, b % 16, b / 16 % 4};
    snprintf(line, sizeof line, "SUB %s %s %u\r\n", patterns[b % 16], groups[b / 16 % 4], s);
    say(w, client, line);
}

/* ---- the accounts ---- */

static struct transform *made(int64_t rest, const char *texts, int first, int second)
{
    struct transform *t = transform_new(rest);
    if (!t) abort();
    char copy[TEXT], *at = copy;
    snprintf(copy, sizeof copy, "%s", texts);
    for (char *token; (token = strsep(&at, ".")) && *token;)
        if (transform_step(t, STEP_TEXT, token, strlen(token), NULL, 0, 0) < 0) abort();
    for (int i = 0; i < 2; i++) {
        uint32_t token = (uint32_t)(i ? second : first);
        if ((i ? second : first) >= 0 && transform_step(t, STEP_TOKEN, "", 0, &token, 1, 0) < 0) abort();
    }
    return t;
}

static void share(struct world *w, const struct import *i)
{
    char in[8], to[16];
    int to_len, from = i->from, rc;
    snprintf(in, sizeof in, "in%d", from);
    switch (i->form) {
    case 0: rc = spl_stream_import(w->k, i->to, from, "s.>", 3, NULL, NULL, 0); break;
    case 1:
        to_len = snprintf(to, sizeof to, "%s.s.>", in);
        rc = spl_stream_import(w->k, i->to, from, to, (size_t)to_len, made(0, in, -1, -1), made(1, "", -1, -1), 0);
        break;
    case 2:
        to_len = snprintf(to, sizeof to, "%s.*.*", in);
        rc = spl_stream_import(w->k, i->to, from, to, (size_t)to_len, made(-1, in, 2, 1), made(-1, "s", 2, 1), 0);
        break;
    case 3: rc = spl_stream_import(w->k, i->to, from, "x.*", 3, made(-1, "x", 1, -1), made(-1, "q", 1, -1), 0); break;
    case 4: rc = spl_service_import(w->k, i->to, from, 0, "q.*", 3, NULL, i->from % 2); break;
    case 5: rc = spl_service_import(w->k, i->to, from, 0, "r.*", 3, made(-1, "q", 1, -1), 0); break;
    case 6: rc = spl_service_import(w->k, i->to, from, 0, "y", 1, made(-1, "q.a", -1, -1), 1); break;
    default: rc = spl_service_import(w->k, i->to, from, 0, "q.b", 3, made(-1, "q.b", -1, -1), 0); break;
    }
    if (rc < 0) abort();
}

static void map(struct world *w, const struct mapping *m)
{
    const char *source = m->source == 255 ? "m.*" : subjects[m->source];
    if (spl_mapping(w->k, m->account, source, strlen(source)) < 0) abort();
    struct transform *t =
        m->source == 255 ? made(-1, "q", 1, -1) : made(-1, m->target == 255 ? "x" : subjects[m->target], -1, -1);
    if (spl_mapping_to(w->k, m->account, t, m->target == 255 ? 0 : 100) < 0) abort();
}

static void draw(struct world *w, struct tables *t)
{
    t->nimports = byte(w) % (IMPORTS + 1);
    for (unsigned i = 0; i < t->nimports; i++) {
        struct import *one = &t->imports[i];
        one->form = byte(w) % 8;
        one->from = byte(w) % (uint8_t)w->naccounts, one->to = byte(w) % (uint8_t)w->naccounts;
    }
    t->nmappings = byte(w) % (MAPPINGS + 1);
    for (unsigned i = 0; i < t->nmappings; i++) {
        struct mapping *m = &t->mappings[i];
        m->account = byte(w) % (uint8_t)w->naccounts;
        m->source = byte(w), m->target = byte(w);
        m->source = m->source % 5 == 4 ? 255 : m->source % 16;
        m->target = m->target % 9 == 8 ? 255 : m->target % 16;
    }
}

static bool same_streams(const struct tables *a, const struct tables *b, unsigned account)
{
    unsigned j = 0;
    for (unsigned i = 0; i <= a->nimports; i++) {
        if (i < a->nimports && (a->imports[i].to != account || a->imports[i].form > 3)) continue;
        while (j < b->nimports && (b->imports[j].to != account || b->imports[j].form > 3)) j++;
        if (i == a->nimports || j == b->nimports) return i == a->nimports && j == b->nimports;
        if (memcmp(&a->imports[i], &b->imports[j++], sizeof *a->imports) != 0) return false;
    }
    return true;
}

/* `old`: what is in force, of which streams may be left as they are; NULL: nothing. */
static void describe(struct world *w, const struct tables *t, const struct tables *old)
{
    bool stay[ACCOUNTS] = {false};
    for (unsigned i = 0; i < w->naccounts; i++) {
        char label[8];
        int n = snprintf(label, sizeof label, "\"A%u\"", i);
        if (spl_account_label(w->k, (int)i, label, (size_t)n) < 0 || spl_service_export(w->k, (int)i, 0, 0, 0) != 0)
            abort();
        stay[i] = old && same_streams(old, t, i);
        if (stay[i] && spl_streams_stay(w->k, (int)i) < 0) abort();
    }
    for (unsigned i = 0; i < t->nimports; i++)
        if (t->imports[i].form > 3 || !stay[t->imports[i].to]) share(w, &t->imports[i]);
    for (unsigned i = 0; i < t->nmappings; i++) map(w, &t->mappings[i]);
}

static void build(struct world *w)
{
    w->naccounts = 2 + byte(w) % (ACCOUNTS - 1);
    w->k = fake_core();
    for (unsigned i = 0; i < w->naccounts; i++) {
        char name[8];
        snprintf(name, sizeof name, "A%u", i);
        if (i && spl_account(w->k, name, 2) != (int)i) abort();
        for (unsigned c = 2 * i; c < 2 * i + 2; c++) {
            struct conn *conn = w->clients[c] = conn_new(w->k, -1, KIND_CLIENT);
            if (!conn) abort();
            conn->acc = w->k->accounts[i];
            conn->open = conn->echo = conn->connected = conn->no_responders = true;
            conn->headers = true;
        }
    }
    draw(w, &w->now);
    describe(w, &w->now, NULL);
}

/* Other tables are prepared while the old are in force, and take their place or do not. */
static void reload(struct world *w)
{
    struct tables next = {0};
    unsigned b = byte(w);
    draw(w, &next);
    spl_accounts_begin(w->k);
    describe(w, &next, b & 1 ? &w->now : NULL);
    spl_accounts_stage(w->k, 0);
    if (b & 2) publish(w);
    if (b & 4) answer(w);
    spl_accounts_stage(w->k, 1);
    if (spl_accounts_ready(w->k) < 0) abort();
    if (b & 8) {
        spl_accounts_abort(w->k);
        return;
    }
    spl_accounts_commit(w->k);
    w->now = next;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n > 512) return 0;
    struct world *w = calloc(1, sizeof *w);
    if (!w) abort();
    w->at = data, w->end = data + n;
    build(w);
    for (unsigned s = 0; s < SUBS; s++) w->subs[s].client = -1;
    while (w->at < w->end) {
        switch (byte(w) % 8) {
        case 0:
        case 1: subscribe(w); break;
        case 2:
        case 3: answer(w); break;
        case 4: reload(w); break;
        default: publish(w); break;
        }
    }
    spl_free(w->k);
    free(w);
    return 0;
}
