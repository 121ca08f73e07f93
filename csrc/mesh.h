/* The mesh: what worker processes tell each other.
 *
 * Two planes. Control messages (interest, snapshots, acknowledgements) are built and understood here but carried by the owner over
 * ZeroMQ, one ordered pipe a direction. Messages travel as records on AF_UNIX streams in the reactor's own epoll set.
 *
 *   control   ctl | record*        record: 1 account id, name      2 interest account, subject, queue, weight
 *   stream    rec | queues | subject SP head body                 (the last three stand as in a client's MSG frame)
 *             behind the names of queues stands of a traced message who collects its steps (msgtrace.h), and of an answer that
 *             is measured who gives it (latency.h)
 *             rec | traced | peers that it was passed on to | steps    what became of a traced message
 *
 * Interest goes out in numbered batches that every peer acknowledges; a connection with a new subscription does not go past its
 * next PUB or PING before all have. At most WINDOW batches are unacknowledged: what changes meanwhile is coalesced. Both sides
 * keep a digest of what was announced; a difference is counted, and repaired by a snapshot. A batch says which one came before it:
 * the gateway, which has no clients, is told of the system account alone, and so gets a batch now and then.
 *
 * Account ids in a record are the receiver's own: it told them to us with its interest.
 */
#ifndef SPLINE_MESH_H
#define SPLINE_MESH_H
#include "core.h"

#define MESH_VERSION 3
#define NO_ACCOUNT UINT32_MAX

/* mesh.c */
void peer_attach(struct core *k, struct peer *p, int fd, bool watched); /* its stream */

/* interest.c */
/* A new peer is told of everything; `missed`: some of what it told came before we knew of it. */
void interest_begin(struct core *k, uint32_t peer, bool missed);
/* All that it told us. */
void interest_forget(struct core *k, struct peer *p);
/* What waits to be told to it. */
void interest_untold(struct core *k, uint32_t peer);
void interest_free(struct core *k);
/* A peer has acknowledged, or is gone: clients may have waited for it. */
void barrier_update(struct core *k);

/* records.c */
void record_hello(struct core *k, struct conn *c);
#endif
