/* The page that all processes of one server share: connection numbers, who is how loaded, and what has been counted.
 *
 *   offset 0   next_cid, limits of the layout
 *   offset 64 * (1 + i)   slot of worker i, written by worker i alone, but for
 *                         `inflight` (sockets handed to it that it has not taken yet: any worker adds, it subtracts)
 *                         `accepting`, `live`: zeroed by the supervisor when the worker has died
 *
 *   behind the slots      a row for each worker: its counters (struct spl_stats, in 192 bytes), then those of each account (by
 *                         place). A worker that is started again counts on where the dead one was; what is counted up and
 *                         down (connections, subscriptions, ...) is zeroed by the supervisor when the worker has died
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
static inline uint64_t shared_row_bytes(uint32_t accounts)
{
    return SHARED_STATS + (uint64_t)accounts * sizeof(struct shared_account);
}
static inline uint64_t shared_bytes(uint32_t workers, uint32_t accounts)
{
    return sizeof(struct shared_page) + (workers + 1ull) * (sizeof(struct shared_slot) + shared_row_bytes(accounts));
}
static inline char *shared_row(struct shared_page *p, uint32_t workers, uint32_t accounts, uint32_t worker)
{
    return (char *)&p->slot[workers + 1] + worker * shared_row_bytes(accounts); /* one is the gateway's */
}
static inline struct spl_stats *shared_stats(struct shared_page *p, uint32_t workers, uint32_t accounts,
                                             uint32_t worker)
{
    return (struct spl_stats *)(void *)shared_row(p, workers, accounts, worker);
}
/* What a worker has counted of the account at `place` (less than `accounts`). */
static inline struct shared_account *shared_account(struct shared_page *p, uint32_t workers, uint32_t accounts,
                                                    uint32_t worker, uint32_t place)
{
    char *first = shared_row(p, workers, accounts, worker) + SHARED_STATS;
    return (struct shared_account *)(void *)first + place;
}
_Static_assert(sizeof(struct spl_stats) <= SHARED_STATS, "they have room");
_Static_assert(sizeof(struct shared_account) == 64, "the supervisor knows this layout");
_Static_assert(sizeof(struct shared_slot) == 64, "the supervisor knows this layout");
_Static_assert(sizeof(struct shared_page) == 64, "the supervisor knows this layout");
#endif
