/* The page that all processes of one server share: connection numbers and who is how loaded.
 *
 *   offset 0   next_cid, limits of the layout
 *   offset 64 * (1 + i)   slot of worker i, written by worker i alone, but for
 *                         `inflight` (sockets handed to it that it has not taken yet: any worker adds, it subtracts)
 *                         `accepting`, `live`: zeroed by the supervisor when the worker has died
 *
 *   behind the slots      a row for each worker: how many connections it has in each account (by place), 4 bytes each, the row
 *                         rounded up to 64 bytes; zeroed by the supervisor when the worker has died
 *
 * A limit over all workers is kept exact by adding to one's own slot first and then summing all: two workers that race for the last
 * place may both step back, but never both take it.
 */
#ifndef SPLINE_SHARED_H
#define SPLINE_SHARED_H
#include <stdatomic.h>
#include <stdint.h>

struct shared_slot {
    _Atomic uint32_t accepting, live, inflight, spare;
    _Atomic uint64_t beat_ms; /* CLOCK_MONOTONIC */
    uint8_t pad[40];
};
struct shared_page {
    _Atomic uint64_t next_cid;
    _Atomic uint64_t handshakes;      /* second << 32 | how many were begun in it */
    _Atomic uint64_t system_messages; /* the gateway's alone: how many it has sent in the system account */
    uint8_t pad[40];
    struct shared_slot slot[];
};
static inline uint64_t shared_row_bytes(uint32_t accounts) { return ((uint64_t)accounts * 4 + 63) & ~63ull; }
static inline uint64_t shared_bytes(uint32_t workers, uint32_t accounts)
{
    return sizeof(struct shared_page) + (workers + 1ull) * (sizeof(struct shared_slot) + shared_row_bytes(accounts));
}
/* The number of connections that a worker has in the account at `place` (less than `accounts`). */
static inline _Atomic uint32_t *shared_account(struct shared_page *p, uint32_t workers, uint32_t accounts,
                                               uint32_t worker, uint32_t place)
{
    char *rows = (char *)&p->slot[workers + 1]; /* one is the gateway's */
    return (_Atomic uint32_t *)(void *)(rows + worker * shared_row_bytes(accounts)) + place;
}
_Static_assert(sizeof(struct shared_slot) == 64, "the supervisor knows this layout");
_Static_assert(sizeof(struct shared_page) == 64, "the supervisor knows this layout");
#endif
