/* What is remembered of requests that crossed accounts, until they have been answered.
 *
 *   by name   "_R_.prefix.random" in the exporter's account -> answer     when the responder publishes
 *   by reply  reply subject in the requester's account      -> answers    when interest in the reply is lost
 *   by age    in each export, the one that was idle longest first         when the export's threshold is over
 *   by requester, a list                                                  when a wildcard subscription has gone
 *
 * A threshold alone would not bound them: requests that nobody answers come faster than they grow old. So each requesting account has
 * room for some hundred thousand of them, far more than any client waits for at once, and then the oldest are given up.
 */
#ifndef SPLINE_ANSWERS_H
#define SPLINE_ANSWERS_H
#include "core.h"
#include "latency.h"

#define ANSWER_NAME 17                               /* bytes: _R_.SSSSSS.RRRRRR */
#define ANSWER_NAME_MAX (ANSWER_NAME + TRACKED_TAIL) /* of one that is measured */
#define DEFAULT_THRESHOLD (120 * 1000ull)
#define ANSWERS_ROOM ((size_t)64 << 20) /* bytes, of one account on one worker */

struct answer {
    struct answer *next_name, *next_reply;  /* in their buckets */
    struct answer **reply_at;               /* what points to it there: many may wait for one reply subject */
    struct answer *older, *younger;         /* in the export */
    struct answer *previous_own, *next_own; /* of the requester */
    struct service_export *by;
    struct account *requester;
    uint64_t at; /* last activity, ms */
    uint32_t name_hash, reply_hash, name_len, reply_len;
    bool streamed, share;    /* `share`: the responder knows who asks */
    struct measure *measure; /* NULL: it is not measured, or that is over */
    size_t bytes;            /* of memory that it takes, with its measure */
    char text[];             /* name, reply */
};
struct service_export {
    struct service_export *next, *next_due; /* of the account; with answers outstanding */
    struct account *acc;
    uint64_t threshold;
    bool streamed, due_listed, traced;
    bool retired; /* of no account any more: goes with its last answer */
    struct answer *oldest, *youngest;
    struct tracker *tracker; /* NULL: its requests are not measured */
};
struct services { /* of one account */
    struct service_export *exports, dialog;
    struct service_import *imports;
    struct answer *own, *own_oldest; /* answers that its clients wait for, the newest request first */
    size_t own_bytes;
    struct sub replies;
    char prefix[16];
};

void random_text(struct core *k, char *out, size_t n);
/* Remember a request; its name begins a->text. It has `measure` (may be NULL) from now on. NULL: out of memory. */
struct answer *answer_expect(struct core *k, struct service_export *by, struct account *requester, const char *reply,
                             size_t n, bool streamed, struct measure *measure);
struct answer *answer_find(struct core *k, const struct account *exporter, const char *name, size_t n);
void answer_renew(struct core *k, struct answer *a);
void answer_drop(struct core *k, struct answer *a, uint32_t status); /* `status`: see latency_end() */
/* All that are outstanding, bucket by bucket; NULL also for an empty one. They do not move, but a growing table appends buckets, to which
 * some of those that were passed already may move. */
const struct answer *answers_at(const struct core *k, uint32_t bucket);
uint32_t answers_buckets(const struct core *k);
void answers_forget_retired(struct core *k); /* before answers_free: exports that are there for their answers alone */
void answers_free(struct core *k);
#endif
