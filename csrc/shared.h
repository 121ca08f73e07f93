/* The page that all processes of one server share: connection numbers, who is how loaded, and what has been counted.
 *
 *   offset 0   next_cid, limits of the layout
 *   offset 64 * (1 + i)   slot of worker i, written by worker i alone, but for
 *                         `inflight` (sockets handed to it that it has not taken yet: any worker adds, it subtracts)
 *                         `accepting`, `live`: zeroed by the supervisor when the worker has died
 *
 *   behind the slots      for each process its counters (struct spl_stats, in 192 bytes); behind those for each account, by its place,
 *                         a slot of counters for each process, so that the page grows at its end when there are more accounts.
 *                         A worker that is started again counts on where the dead one was; what is counted up and down
 *                         (connections, subscriptions, ...) is zeroed by the supervisor when the worker has died
 *
 * A limit over all workers is kept exact by adding to one's own slot first and then summing all: two workers that race for the last
 * place may both step back, but never both take it.
 */
#ifndef SPLINE_SHARED_H
#define SPLINE_SHARED_H
#include "spline.h"
#include <stdatomic.h>
#include <stdint.h>

#define SHARED_STATS 192

struct shared_slot {
    _Atomic uint32_t accepting, live, inflight, pid;
    _Atomic uint64_t beat_ms; /* CLOCK_MONOTONIC */
    uint8_t pad[40];
};
struct shared_page {
    _Atomic uint64_t next_cid;
    _Atomic uint64_t handshakes;      /* second << 32 | how many were begun in it */
    _Atomic uint64_t system_messages; /* and about traces: how many were sent */
    uint8_t pad[40];
    struct shared_slot slot[];
};
struct shared_account {
    _Atomic uint32_t conns, subs, shadows;                           /* `shadows`: for stream imports of others */
    _Atomic uint32_t asked;                                          /* has a request of another account come here? */
    uint64_t in_msgs, in_bytes, out_msgs, out_bytes, slow_consumers; /* one worker's: a word is never half written */
    uint8_t pad[8];
};
/* Of one process, before there is any account: its slot and its own counters. */
#define SHARED_FIXED (sizeof(struct shared_slot) + SHARED_STATS)
static inline uint64_t shared_bytes(uint32_t workers, uint32_t accounts)
{
    return sizeof(struct shared_page) + (workers + 1ull) * (SHARED_FIXED + accounts * sizeof(struct shared_account));
}
static inline struct spl_stats *shared_stats(struct shared_page *p, uint32_t workers, uint32_t worker)
{
    char *first = (char *)&p->slot[workers + 1]; /* one is the gateway's */
    return (struct spl_stats *)(void *)(first + (size_t)worker * SHARED_STATS);
}
/* What a worker has counted of the account at `place` (for which the page has room). */
static inline struct shared_account *shared_account(struct shared_page *p, uint32_t workers, uint32_t worker,
                                                    uint32_t place)
{
    char *first = (char *)shared_stats(p, workers, workers + 1);
    return (struct shared_account *)(void *)first + (place * (workers + 1ull) + worker);
}
_Static_assert(sizeof(struct spl_stats) <= SHARED_STATS, "they have room");
_Static_assert(sizeof(struct shared_account) == 64, "the supervisor knows this layout");
_Static_assert(sizeof(struct shared_slot) == 64, "the supervisor knows this layout");
_Static_assert(sizeof(struct shared_page) == 64, "the supervisor knows this layout");
#endif
