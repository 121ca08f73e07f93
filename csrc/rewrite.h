/* Frames of messages that change on their way into another account: another reply, another header.
 *
 * Both write the new head into `head`, which must live as long as the message, and let the message point to it. The payload stays where
 * it is. False: out of memory.
 */
#ifndef SPLINE_REWRITE_H
#define SPLINE_REWRITE_H
#include "core.h"

/* A request: with the header that says who asks. `via`: the account that asks on somebody's behalf; `share`: with all that is
 * known of the client; `where`: of that, only its server. */
bool rewrite_request(struct core *k, struct message *m, const char *reply, size_t n, const struct account *via,
                     bool share, bool where, struct text *head);
/* The same of a client by itself, as JSON. */
void client_info(struct text *out, const struct core *k, const struct conn *c, bool share);
/* Where a message's headers are. */
const char *message_headers(const struct message *m);
bool rewrite_reply(struct message *m, const char *reply, size_t n, struct text *head);
#endif
