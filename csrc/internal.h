/* The server's own subscribers and publishers, such as the system account's: they have no socket, no limits, no permissions and
 * are not counted. What is delivered to them becomes an event. */
#ifndef SPLINE_INTERNAL_H
#define SPLINE_INTERNAL_H
#include "core.h"

/* Without echo: no message of the server comes back to it, or leads through imports. */
bool internal_open(struct core *k); /* k->internal, the owner of all such subscriptions, is there; false: no memory */
/* A message for one of them. False: there is no memory for it. */
bool internal_deliver(struct core *k, struct sub *s, const struct message *m);
void internal_free(struct core *k);
#endif
