/* Service latency: which requests to a service are measured, and what became of them.
 *
 *   request    latency_begin: is it one of the sample? Then its answer (answers.h) holds a measure
 *   answer     latency_end: 200, with what is known of the responder
 *   no answer  latency_end: 400 no reply subject, 408 nobody waits any more, 503 nobody there, 504 the threshold is over
 *
 * Each measure ends once, as one event for the owner, who publishes it in the exporting account. The responder may be a client of
 * another worker: the record that brings its answer here (mesh.c) says who it is and when it answered, and no subscriber ever
 * sees that. All clocks are the machine's monotonic one, so that times of two workers can be compared.
 */
#ifndef SPLINE_LATENCY_H
#define SPLINE_LATENCY_H
#include "core.h"

#define TRACKED_TAIL 11 /* bytes behind the name of an answer that is measured: .HHHHHHHH.T */

struct measure;

struct tracker {             /* of an export whose requests are measured */
    uint32_t percent;        /* of the requests; of the others those with a header that asks for it */
    char tail[TRACKED_TAIL]; /* with the hash of our name: other servers send what they measure there */
    uint32_t results_len;
    char results[]; /* subject, in the exporter's account */
};
struct responder {          /* who answered */
    uint64_t rtt_ns, at_ns; /* at_ns: when the answer came to its worker */
    const char *json;
    size_t len;
};

/* A request goes to an export with this tracker. NULL: it is not measured (or there is no memory). */
struct measure *latency_begin(struct core *k, const struct tracker *t, const struct message *m, bool share);
size_t latency_bytes(const struct measure *measure); /* of memory that it takes */
/* It is over, and freed. `status` as in HTTP; `answer`: only of 200; `t` NULL: the export is not measured any more. */
void latency_end(struct core *k, const struct account *exporter, const struct tracker *t, struct measure *measure,
                 uint32_t status, const struct message *answer);

/* Is this the reply subject of a request that is measured? */
static inline bool latency_tracked(const char *subject, size_t n)
{
    return n == 17 + TRACKED_TAIL && subject[n - 1] == 'T' && subject[n - 2] == '.' && subject[0] == '_' &&
           subject[1] == 'R' && subject[2] == '_' && subject[3] == '.';
}
/* The responder of an answer that goes to another worker, as bytes, and the reverse. False: they are no such bytes. */
void responder_write(struct core *k, const struct message *answer, struct text *out);
bool responder_read(struct responder *r, const char *p, size_t n);
#endif
