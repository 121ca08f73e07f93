/* Trace lines: what clients say and hear, in nats-server's words.
 *
 * Every line is an event. So that a busy connection fills no memory with them, parsing pauses when a turn has many (trace_full);
 * a text longer than TRACE_MAX is cut.
 */
#include "core.h"
#include "quote.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRACE_MAX 48000u
#define TRACE_EVENTS 2048
#define TRACED_BYTES (256u << 10) /* of traced messages, which are events, too */

bool trace_full(const struct core *k)
{
    return (k->trace && k->nevents > TRACE_EVENTS) || k->traced_bytes > TRACED_BYTES;
}

static void trace_line(struct core *k, struct conn *c, const char *before, const char *verb, const char *args, size_t n)
{
    size_t nb = strlen(before), nv = strlen(verb);
    if (n > TRACE_MAX) n = TRACE_MAX;
    char room[1024], *line = room;
    if (nb + nv + n + 2 > sizeof room && !(line = malloc(nb + nv + n + 2))) return;
    char *w = line;
    memcpy(w, before, nb), w += nb;
    memcpy(w, verb, nv), w += nv;
    if (n && nv) *w++ = ' ';
    memcpy(w, args, n), w += n;
    *w++ = ']';
    event_push(k, SPL_LOG, c, 2, line, (size_t)(w - line));
    if (line != room) free(line);
}

void trace_in(struct core *k, struct conn *c, const char *verb, const char *args, size_t n)
{
    trace_line(k, c, "<<- [", verb, args, n);
}

void trace_out(struct core *k, struct conn *c, const char *verb, const char *args, size_t n)
{
    trace_line(k, c, "->> [", verb, args, n);
}

/* `headers`: how much of it is headers, with the empty line behind them. */
void trace_payload(struct core *k, struct conn *c, bool in, const char *payload, size_t n, size_t headers)
{
    if (k->cfg.trace_headers) n = headers > 4 ? headers - 4 : 0;
    if (!n) return;
    size_t max = k->cfg.max_traced ? k->cfg.max_traced : TRACE_MAX / 4; /* quoted, a byte may become four */
    if (max > TRACE_MAX / 4) max = TRACE_MAX / 4;
    bool cut = n > max;
    if (cut) n = max;
    size_t size = 4 * n + 16;
    char *text = malloc(size);
    if (!text) return;
    size_t len = quote(text, size - 4, payload, n);
    if (cut) memcpy(text + len - 1, "...\"", 4), len += 3;
    trace_line(k, c, in ? "<<- MSG_PAYLOAD: [" : "->> MSG_PAYLOAD: [", "", text, len);
    free(text);
}
