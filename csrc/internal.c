/* internal.c: see internal.h. */
#include "internal.h"
#include "bytes.h"
#include "rewrite.h"
#include <stdlib.h>
#include <string.h>

struct internal_sub {
    struct sub sub; /* first */
    struct internal_sub *next;
    struct account *acc;
    uint32_t tag;
    char subject[];
};

bool internal_open(struct core *k) { return k->internal || (k->internal = conn_new(k, -1, KIND_INTERNAL)); }

int spl_subscribe(spl_core *k, int account, uint32_t tag, const char *subject, size_t len)
{
    struct account *a = account_get(k, (uint32_t)account);
    if (!a || len > UINT16_MAX || !subject_valid(subject, len) || !internal_open(k)) return -1;
    struct internal_sub *s = calloc(1, sizeof *s + len);
    if (!s) return -1;
    memcpy(s->subject, subject, len);
    s->acc = a, s->tag = tag;
    s->sub.owner = k->internal, s->sub.special = SUB_INTERNAL;
    s->sub.subject = s->subject, s->sub.subject_len = (uint16_t)len;
    if (sublist_insert(a->subs, &s->sub) < 0) {
        free(s);
        return -1;
    }
    s->next = k->internal_subs;
    k->internal_subs = s;
    a->own_subs++;
    mesh_interest_changed(k, a);
    end_of_command(k);
    return 0;
}

void spl_unsubscribe(spl_core *k, int account, uint32_t tag)
{
    for (struct internal_sub **at = &k->internal_subs; *at;) {
        struct internal_sub *s = *at;
        if ((int)s->acc->id != account || s->tag != tag) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        sublist_remove(s->acc->subs, &s->sub);
        s->acc->own_subs--, s->acc->own_gone++;
        mesh_interest_changed(k, s->acc);
        free(s);
    }
    end_of_command(k);
}

void internal_free(struct core *k)
{
    for (struct internal_sub *s = k->internal_subs, *next; s; s = next) next = s->next, free(s);
}

bool internal_deliver(struct core *k, struct sub *sub, const struct message *m)
{
    const struct internal_sub *s = (const struct internal_sub *)sub;
    uint32_t headers = m->with_headers ? m->hdr_len : 0;
    size_t data = m->total - headers;
    if (m->total > UINT32_MAX - 2 * UINT16_MAX) return false;
    return event_message(k, s->tag,
                         (struct spl_parts){.subject = m->subject,
                                            .subject_len = m->subject_len,
                                            .reply = m->reply,
                                            .reply_len = m->reply_len,
                                            .headers = message_headers(m),
                                            .headers_len = headers,
                                            .payload = m->body + m->body_len - 2 - data,
                                            .payload_len = (uint32_t)data});
}

/* The frame's head for all whom the message meets. */
static void frame(struct text *out, const struct spl_parts *p)
{
    if (p->reply_len) {
        text_add(out, p->reply, p->reply_len);
        text_add(out, " ", 1);
    }
    if (p->headers_len) {
        text_number(out, p->headers_len);
        text_add(out, " ", 1);
    }
    text_number(out, (uint64_t)p->headers_len + p->payload_len);
    text_add(out, "\r\n", 2);
}

int spl_publish(spl_core *k, int account, const struct spl_parts *p)
{
    struct account *a = account_get(k, (uint32_t)account);
    if (!a || !internal_open(k) || !subject_valid(p->subject, p->subject_len)) return -1;
    k->now = clock_ms();
    struct text whole;
    text_init(&whole);
    frame(&whole, p);
    size_t head_len = whole.len;
    text_add(&whole, p->headers, p->headers_len);
    text_add(&whole, p->payload, p->payload_len);
    text_add(&whole, "\r\n", 2);
    if (whole.failed) {
        text_free(&whole);
        return -1;
    }
    struct message m = {.from = k->internal,
                        .acc = a,
                        .subject = p->subject,
                        .subject_len = p->subject_len,
                        .reply = whole.p,
                        .reply_len = p->reply_len,
                        .head = whole.p,
                        .head_len = (uint32_t)head_len,
                        .hdr_len = p->headers_len,
                        .body = whole.p + head_len,
                        .body_len = whole.len - head_len,
                        .payload = whole.p + head_len,
                        .total = (size_t)p->headers_len + p->payload_len,
                        .with_headers = p->headers_len != 0,
                        .joined = true};
    bool delivered = deliver_message(k, &m);
    k->stall_ms = 0, k->full_peer = NULL, k->full_owner = false; /* nobody here could wait */
    text_free(&whole);
    if (!k->together) end_of_command(k);
    return delivered;
}

uint64_t spl_next_message(spl_core *k) { return atomic_fetch_add(&k->shared->system_messages, 1) + 1; }

void spl_together(spl_core *k, int on)
{
    k->together = on;
    if (!on) end_of_command(k);
}

int spl_interest(spl_core *k, int account, const char *subject, size_t len)
{
    struct account *a = account_get(k, (uint32_t)account);
    const struct match *r = a ? sublist_match(a->subs, subject, len) : NULL;
    if (!r) return 0;
    for (uint32_t i = 0; i < r->nplain; i++)
        if (!(r->plain[i]->special & SUB_INTERNAL)) return 1;
    return r->ngroups || (r->peers & k->peers_up);
}
