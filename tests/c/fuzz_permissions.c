/* Fuzz target: permission sets answer as their definition says, for publishing, subscribing and what subscribers may be given; asked again,
 * from whatever is remembered, they say the same. */
#include "../../csrc/permissions.h"
#include "meets.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENTRIES = 12, TEXT = 160 };

struct entry {
    enum perm_list list;
    char subject[TEXT], queue[16];
};
struct set {
    const uint8_t *at, *end;
    struct permissions *p;
    unsigned n;
    bool responses;
    struct entry entries[ENTRIES];
};

static uint8_t byte(struct set *s) { return s->at < s->end ? *s->at++ : 0; }

static void subject(struct set *s, char *out, bool pattern)
{
    static const char *const tokens[] = {"a", "b", "*", ">", "a", "*", "secret", "a*"};
    uint8_t shape = byte(s);
    unsigned count = shape > 250 ? 20 : 1 + shape % 4; /* too long to be remembered */
    *out = 0;
    for (unsigned i = 0; i < count; i++) {
        const char *token = tokens[byte(s) % 8];
        if (pattern && *token == '>' && i + 1 < count) token = "b";
        if (strlen(out) + strlen(token) + 2 > TEXT) return;
        if (i) strcat(out, ".");
        strcat(out, token);
    }
}

static void queue(struct set *s, char *out)
{
    static const char *const names[] = {"", "", "q", "v1", "v1.x", "v1.*", "v1.>", "*"};
    strcpy(out, names[byte(s) % 8]);
}

/* ---- the definition ---- */

static bool fits(const char *pattern, const char *name) { return strcmp(pattern, name) == 0 || meets(pattern, name); }

/* How many entries of a list speak of this subject: plain ones, ones for queues, and those of these for this queue. */
struct tally {
    unsigned all, plain, queues, mine;
};

static struct tally count(const struct set *s, enum perm_list list, const char *subject, const char *queue)
{
    struct tally t = {0};
    for (unsigned i = 0; i < s->n; i++) {
        const struct entry *e = &s->entries[i];
        if (e->list != list) continue;
        t.all++;
        if (!meets(e->subject, subject)) continue;
        if (!*e->queue)
            t.plain++;
        else if (t.queues++, *queue && fits(e->queue, queue))
            t.mine++;
    }
    return t;
}

static bool may_publish(const struct set *s, const char *subject)
{
    struct tally allow = count(s, PERM_PUB_ALLOW, subject, ""), deny = count(s, PERM_PUB_DENY, subject, "");
    return (allow.all ? allow.plain > 0 : !s->responses) && !deny.plain;
}

static bool denied(const struct set *s, const char *subject, const char *queue)
{
    struct tally deny = count(s, PERM_SUB_DENY, subject, queue);
    return deny.plain || deny.mine;
}

static bool may_subscribe(const struct set *s, const char *subject, const char *queue)
{
    struct tally allow = count(s, PERM_SUB_ALLOW, subject, queue);
    bool ok = !allow.all || (*queue && allow.queues ? allow.mine > 0 : allow.plain > 0);
    return ok && !denied(s, subject, queue);
}

/* ---- questions ---- */

static void ask(struct set *s)
{
    char text[TEXT], name[16], published[TEXT];
    subject(s, text, true);
    queue(s, name);
    subject(s, published, false);
    size_t n = strlen(text), nq = strlen(name), np = strlen(published);
    for (int again = 0; again < 2; again++) {
        if (permissions_can_publish(s->p, published, np) != may_publish(s, published)) abort();
        bool allowed = permissions_can_subscribe(s->p, text, n, name, nq);
        if (allowed != may_subscribe(s, text, name)) abort();
        if (!allowed || !meets(text, published)) continue;
        bool given = !permissions_needs_filter(s->p, text, n, name, nq) ||
                     permissions_can_deliver(s->p, published, np, name, nq);
        bool literal = strcmp(text, published) == 0; /* then the answer to the subscription was the answer to this */
        if (given != (literal || !denied(s, published, name))) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n > 1024) return 0;
    struct set s = {.at = data, .end = data + n, .p = permissions_new()};
    if (!s.p) abort();
    uint8_t head = byte(&s);
    s.responses = head & 128;
    if (s.responses) permissions_set_responses(s.p, 1, 1000);
    for (unsigned i = 0; i < head % (ENTRIES + 1u); i++) {
        struct entry *e = &s.entries[s.n];
        e->list = byte(&s) % 4;
        subject(&s, e->subject, true);
        if (e->list >= PERM_SUB_ALLOW) queue(&s, e->queue);
        char *exact = malloc(strlen(e->subject) + 1);
        if (!exact) abort();
        memcpy(exact, e->subject, strlen(e->subject) + 1);
        if (permissions_add(s.p, e->list, exact, strlen(exact), e->queue, strlen(e->queue)) != 0) abort();
        free(exact);
        s.n++;
    }
    while (s.at < s.end) ask(&s);
    permissions_release(s.p);
    return 0;
}
