/* import.c: see import.h. */
#include "import.h"
#include "bytes.h"
#include "quote.h"
#include "stage.h"
#include <stdlib.h>
#include <string.h>

/* The last subject that was translated: a fan-out asks for the same again and again. */
struct shown {
    const struct stream_import *by;
    struct text from, to;
};

int spl_stream_import(spl_core *k, int importer, int exporter, const char *to, size_t to_len, spl_transform *show,
                      spl_transform *find, int traced)
{
    struct account *a = account_get(k, (uint32_t)importer), *b = account_get(k, (uint32_t)exporter);
    struct stream_import *i = a && b && to_len <= UINT16_MAX ? malloc(sizeof *i + to_len) : NULL;
    struct stage *s = NULL;
    if (!i || (k->staging && !(s = stage_of(k, a)))) {
        free(i);
        transform_free(show);
        transform_free(find);
        return -1;
    }
    *i =
        (struct stream_import){.exporter = b, .show = show, .find = find, .traced = traced, .to_len = (uint32_t)to_len};
    memcpy(i->to, to, to_len);
    struct stream_import **end = s ? &s->streams : &a->streams;
    while (*end) end = &(*end)->next;
    *end = i;
    return 0;
}

void imports_free(struct stream_import *all)
{
    for (struct stream_import *i = all, *next; i; i = next) {
        next = i->next;
        transform_free(i->show);
        transform_free(i->find);
        free(i);
    }
}

void imports_forget_shown(struct core *k)
{
    if (!k->shown) return;
    text_free(&k->shown->from);
    text_free(&k->shown->to);
    free(k->shown);
    k->shown = NULL;
}

/* What the import is asked for: the exporter's subjects behind those that both the subscription and the import name. */
static void wanted(const struct stream_import *i, const struct sub *s, struct text *out)
{
    size_t n = subject_intersect(s->subject, s->subject_len, i->to, i->to_len, NULL);
    char *room = malloc(n + 1);
    if (!room) {
        out->failed = true;
        return;
    }
    subject_intersect(s->subject, s->subject_len, i->to, i->to_len, room);
    if (i->find)
        transform_apply(i->find, room, n, 0, out);
    else
        text_add(out, room, n);
    free(room);
}

static struct shadow *shadow_new(struct sub *s, const struct stream_import *i, const struct text *subject)
{
    if (subject->failed || subject->len > UINT16_MAX) return NULL;
    struct shadow *w = calloc(1, sizeof *w + subject->len + s->queue_len);
    if (!w) return NULL;
    w->caster = s, w->by = i;
    w->sub.owner = s->owner;
    w->sub.special = SUB_SHADOW;
    w->sub.subject = (char *)(w + 1);
    w->sub.subject_len = (uint16_t)subject->len, w->sub.queue_len = s->queue_len;
    memcpy(w->sub.subject, subject->p, subject->len);
    memcpy(w->sub.subject + subject->len, s->subject + s->subject_len, s->queue_len);
    return w;
}

static __attribute__((noinline)) void log_shadow(struct core *k, const struct shadow *w)
{
    char subject[300], account[100];
    quote(subject, sizeof subject, w->sub.subject, w->sub.subject_len);
    quote(account, sizeof account, w->by->exporter->name, w->by->exporter->name_len);
    event_log(k, w->caster->owner, 1, "Creating import subscription on %s from account %s", subject, account);
}

static int shadow_cast(struct core *k, struct sub *s, const struct stream_import *i)
{
    struct text subject;
    text_init(&subject);
    wanted(i, s, &subject);
    struct shadow *w = shadow_new(s, i, &subject);
    text_free(&subject);
    if (!w) return -1;
    if (sublist_insert(i->exporter->subs, &w->sub) < 0) {
        free(w);
        return -1;
    }
    w->next = s->shadows;
    s->shadows = w;
    i->exporter->counts->shadows++;
    mesh_interest_changed(k, i->exporter);
    if (unlikely(k->debug)) log_shadow(k, w);
    return 0;
}

int shadows_cast(struct core *k, struct account *a, struct sub *s)
{
    for (const struct stream_import *i = a->streams; i; i = i->next) {
        if (!subject_collides(s->subject, s->subject_len, i->to, i->to_len)) continue;
        if (shadow_cast(k, s, i) == 0) continue;
        shadows_drop(k, s);
        return -1;
    }
    return 0;
}

void shadows_drop(struct core *k, struct sub *s)
{
    for (struct shadow *w = s->shadows, *next; w; w = next) {
        next = w->next;
        sublist_remove(w->by->exporter->subs, &w->sub);
        w->by->exporter->counts->shadows--;
        mesh_interest_changed(k, w->by->exporter);
        free(w);
    }
    s->shadows = NULL;
}

uint64_t shadows_announced(struct core *k, const struct sub *s)
{
    uint64_t newest = 0;
    for (const struct shadow *w = s->shadows; w; w = w->next) {
        uint64_t batch = sublist_announced(w->by->exporter->subs, &w->sub, k->batch_seq + 1);
        if (batch > newest) newest = batch;
    }
    return newest;
}

const char *shadow_subject(struct core *k, const struct shadow *s, const char *subject, uint32_t n, uint32_t *len)
{
    *len = n;
    if (!s->by->show) return subject;
    struct shown *t = k->shown;
    if (!t) {
        t = k->shown = malloc(sizeof *t);
        if (!t) return NULL;
        t->by = NULL;
        text_init(&t->from);
        text_init(&t->to);
    }
    if (t->by != s->by || t->from.len != n || !bytes_same(t->from.p, subject, n)) {
        t->by = s->by;
        text_set(&t->from, subject, n);
        text_set(&t->to, "", 0);
        transform_apply(s->by->show, subject, n, 0, &t->to);
    }
    if (t->from.failed || t->to.failed || t->to.len > UINT32_MAX) {
        t->by = NULL;
        return NULL;
    }
    *len = (uint32_t)t->to.len;
    return t->to.p;
}
