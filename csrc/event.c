/* Events: what a turn tells its owner. Their texts live until the next turn.
 *
 * An event may also come of a command, while the owner still walks those of the last turn: it is told with the next turn's.
 */
#include "bytes.h"
#include "core.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *arena_room(struct core *k, size_t n)
{
    struct chunk *h = k->arenas;
    if (!h || h->cap - h->len < n) {
        size_t cap = n > 16384 ? n : 16384;
        h = malloc(sizeof *h + cap);
        if (!h) return NULL;
        h->cap = (uint32_t)cap, h->len = 0, h->next = k->arenas;
        k->arenas = h;
    }
    char *to = h->data + h->len;
    h->len += (uint32_t)n;
    return to;
}

static char *arena_copy(struct core *k, const char *p, size_t n)
{
    char *to = arena_room(k, n);
    if (to) memcpy(to, p, n);
    return to;
}

void event_push(struct core *k, uint32_t type, struct conn *c, uint32_t reason, const char *data, size_t len)
{
    if (k->nevents == k->cap_events) {
        uint32_t cap = k->cap_events ? k->cap_events * 2 : 64;
        struct spl_event *more = realloc(k->events, cap * sizeof *more);
        if (!more) {
            if (c && type != SPL_CLOSED) conn_close(k, c, READ_ERROR); /* an event that is lost costs its connection */
            return;
        }
        k->events = more, k->cap_events = cap;
    }
    struct spl_event *e = &k->events[k->nevents++];
    memset(e, 0, sizeof *e);
    e->type = type, e->reason = reason;
    if (c) {
        e->conn = conn_handle(c), e->cid = c->cid, e->port = c->port;
        if (type == SPL_ACCEPTED || type == SPL_CLOSED) conn_ip(c, e->ip);
    }
    if (len && (e->data = arena_copy(k, data, len))) e->len = (uint32_t)len;
}

static bool push_parts(struct core *k, uint32_t type, uint32_t reason, struct spl_parts p, const char *data, size_t len)
{
    size_t n = (size_t)p.subject_len + p.reply_len + p.headers_len + p.payload_len;
    char *to = arena_room(k, n);
    uint32_t before = k->nevents;
    if (!to) return false;
    event_push(k, type, NULL, reason, data, len);
    if (k->nevents == before) return false;
    struct spl_parts *kept = &k->events[before].message;
    *kept = p;
    kept->subject = to, to = put(to, p.subject, p.subject_len);
    kept->reply = to, to = put(to, p.reply, p.reply_len);
    kept->headers = to, to = put(to, p.headers, p.headers_len);
    kept->payload = to, put(to, p.payload, p.payload_len);
    return true;
}

bool event_message(struct core *k, uint32_t tag, struct spl_parts p)
{
    return push_parts(k, SPL_MESSAGE, tag, p, NULL, 0);
}

void event_traced(struct core *k, uint32_t account, struct spl_parts p, const char *steps, size_t n)
{
    push_parts(k, SPL_TRACED, account, p, steps, n);
}

void events_begin(struct core *k)
{
    for (struct chunk *h = k->told_arenas, *next; h; h = next) next = h->next, free(h);
    k->told_arenas = k->arenas; /* may hold texts of events that are still to be told */
    k->arenas = NULL;
}

void events_turn(struct core *k, struct spl_event **events, uint32_t *n)
{
    struct spl_event *told = k->events;
    uint32_t cap = k->cap_events;
    *events = told, *n = k->nevents;
    k->events = k->told, k->cap_events = k->cap_told, k->nevents = 0, k->traced_bytes = 0;
    k->told = told, k->cap_told = cap;
}

void events_free(struct core *k)
{
    events_begin(k);
    events_begin(k);
    free(k->events);
    free(k->told);
}

void event_log(struct core *k, struct conn *c, uint32_t level, const char *fmt, ...)
{
    char text[1024];
    if (k->nevents > 4096) return; /* a flood of refusals must not become a flood of memory */
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0) return;
    event_push(k, SPL_LOG, c, level, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}
