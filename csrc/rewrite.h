/* Frames of messages that change on their way into another account: another reply, another header.
 *
 * Both write the new head into `head`, which must live as long as the message, and let the message point to it. The payload stays where
 * it is. False: out of memory.
 */
#ifndef SPLINE_REWRITE_H
#define SPLINE_REWRITE_H
#include "core.h"

struct asker {                       /* of whom a service is told */
    const struct conn *client;       /* NULL: one of another worker */
    const struct account *acc, *via; /* the client's; the one that asks on its behalf, NULL: none */
    enum { TELL_ACCOUNT, TELL_SERVER, TELL_ALL } tell;
};

/* A request: with the header that says who asks. */
bool rewrite_request(struct core *k, struct message *m, const char *reply, size_t n, const struct asker *who,
                     struct text *head);
/* The same of a client by itself, as JSON, and of whoever published a message. */
void client_info(struct text *out, const struct core *k, const struct conn *c, bool share);
void requestor_info(struct text *out, const struct core *k, const struct message *m, bool share);
/* Where a message's headers are. */
const char *message_headers(const struct message *m);
/* It gets these headers. */
bool rewrite_headers(struct message *m, const struct text *headers, struct text *head);
bool rewrite_reply(struct message *m, const char *reply, size_t n, struct text *head);
/* What is told of clients has changed, or the core goes. */
void rewrite_forget_asker(struct core *k);
#endif
