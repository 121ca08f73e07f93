/* What is being prepared for accounts while the old is in force: see spl_accounts_begin.
 *
 *   account --- streams, mappings, label, limits, trace, services' exports and imports      in force
 *        `-- stage --- the same                                                      swapped for them by spl_accounts_commit
 *
 * Whatever needs memory happens before the swap. A prepared service import is in the sublist already, marked as dead; the swap
 * brings it to life. The subscriptions of clients are looked at again by the swap itself: there, no memory costs that one client.
 */
#ifndef SPLINE_STAGE_H
#define SPLINE_STAGE_H
#include "core.h"

struct stage {
    struct stream_import *streams;
    struct service_export *exports;
    struct service_import *imports;
    struct mappings *mappings;
    char *label;
    uint32_t label_len;
    struct trace_rule trace;
    int64_t max_conns, max_subs, max_payload;
    bool streams_stay;
};
/* The account's; made if there is none. NULL: out of memory. */
struct stage *stage_of(struct core *k, struct account *a);
#endif
