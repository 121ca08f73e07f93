/* Message traces: what becomes of one message that asks for it, step by step. (The protocol trace of the log is trace.c.)
 *
 *   publisher's worker   a struct msgtrace on the stack collects steps (spline.h: struct spl_step) while the message is delivered
 *        `-- peer        is told with the message who collects, collects what happens over there, and reports it:
 *                        its steps, and to which peers it has passed the message on
 *   publisher's worker   waits until as many reports came as messages went, or no longer than COLLECT_MS, and makes one event
 *
 * A message that crosses into an account that allows no traces goes on without one. A message without the headers that ask for a trace
 * pays one look for their names (msgtrace_asked), one without headers a pointer that is not set.
 */
#ifndef SPLINE_MSGTRACE_H
#define SPLINE_MSGTRACE_H
#include "core.h"

#define TRACE_DEST "Nats-Trace-Dest"
#define TRACE_DISABLED "trace disabled"

struct msgtrace {
    bool only;               /* nobody is to get the message */
    uint32_t origin, serial; /* the process that collects */
    uint64_t id;             /* its number there */
    struct text steps, sent; /* sent: a byte for each message to a peer: which one */
};

/* What the headers ask for. */
struct trace_request {
    const char *dest; /* NULL: the account's, for `traceparent` */
    size_t dest_len;
    bool only;
};
enum trace_asked { TRACE_NOT_ASKED, TRACE_ASKED, TRACE_ASKED_BY_PARENT };
enum trace_asked msgtrace_parse(const char *headers, size_t n, struct trace_request *out);

/* May the headers ask for a trace? The look at every message with headers: is there a line that begins with a name that counts?
 * `parent`: traceparent does, too. */
bool msgtrace_named(const char *headers, size_t n, bool parent);
static inline bool msgtrace_asked(const struct account *a, const char *headers, size_t n)
{
    return n >= sizeof "NATS/1.0\r\n" TRACE_DEST ":d\r\n" - 1 && msgtrace_named(headers, n, a->trace.dest != NULL);
}

/* Publish a client's message whose headers may ask for a trace. */
void msgtrace_publish(struct core *k, struct conn *c, struct message *m);
/* A client's message is too large: `m` has as much of its headers (hdr_len) as was read. */
void msgtrace_too_large(struct core *k, struct conn *c, const struct message *m);

/* Nobody shall trace it (any more). `head` holds what is new. False: out of memory. */
bool msgtrace_off(struct message *m, struct text *head);

/* Steps. */
void msgtrace_error(struct msgtrace *t, const char *text); /* of what the publisher did */
void msgtrace_mapped(struct msgtrace *t, const char *to, size_t n);
void msgtrace_export(struct msgtrace *t, const struct account *importer, const char *to, size_t n);
void msgtrace_import(struct msgtrace *t, const struct account *exporter, const struct message *from,
                     const struct message *to);
void msgtrace_out(struct msgtrace *t, const struct sub *s, const struct conn *to, enum spl_step_error error);
void msgtrace_sent(struct msgtrace *t, uint32_t peer);

/* A message that was traced came from a peer and has been delivered here: report. */
void msgtrace_finish(struct core *k, struct msgtrace *t);
/* A report came. False: it is none. */
bool msgtrace_report(struct core *k, uint32_t peer, uint64_t id, const char *sent, size_t nsent, const char *steps,
                     size_t len);
void msgtrace_peer_lost(struct core *k, uint32_t peer);
void msgtrace_expire(struct core *k);
void msgtrace_free(struct core *k);

/* mesh.c */
void mesh_report(struct core *k, const struct msgtrace *t);
#endif
