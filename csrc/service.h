/* Service imports: requests that cross accounts, and the way back of their answers.
 *
 *   requester publishes "local", reply "inbox"          (importer's account)
 *       `-- import's subscription: hidden from peers, resolved in the worker that holds the requester
 *             `-- published as "remote", reply "_R_.prefix.random", in the exporter's account
 *   responder publishes "_R_.prefix.random"             (exporter's account, any worker)
 *       `-- the account's subscription on "_R_.prefix.>"; prefixes differ by worker, so it comes to us
 *             `-- published as "inbox" in the importer's account
 *
 * Both steps happen after the message in hand has been delivered to all others: nothing walks a sublist meanwhile. An import can
 * lead to an import of the exporter's account; a chain takes no export twice. What is remembered of a request lives until it
 * has been answered for good, until nobody waits for the answer any more, or until the export's threshold is over.
 */
#ifndef SPLINE_SERVICE_H
#define SPLINE_SERVICE_H
#include "core.h"

struct service_import;
struct service_export;

struct hop {                         /* of the way that a message has come */
    const struct service_export *by; /* NULL: as an answer */
    const struct account *origin;    /* where it was published; NULL: nothing of its way was seen here */
    const struct hop *before;
    bool share; /* the first hop's: the exporter may know who asks */
};

/* The account in which a message was published, as far as that was seen here. */
static inline const struct account *message_origin(const struct message *m) { return m->way ? m->way->origin : m->acc; }

/* A special subscription met a message that has been delivered to all others. Returns whether anybody got it. */
bool service_deliver(struct core *k, struct sub *s, const struct message *m);
/* A subscription has gone: forget requests for whose answers nobody waits. */
void service_interest_lost(struct core *k, struct account *a, const char *subject, size_t n);
void service_expire(struct core *k);
/* The export of an account that has this number, or NULL. */
struct service_export *service_export_at(struct core *k, int account, int number);
void services_free(struct core *k);
/* Replace an account's exports and imports; those that were prepared begin to live. Requests under way are answered all the same. */
void services_swap(struct account *a, struct service_export *exports, struct service_import *imports);
void service_imports_drop(struct service_import *all);
void service_exports_drop(struct service_export *all);
/* The export with this number: of those that are being prepared, if any are. NULL: there is none. */
struct service_export *service_export_at(struct core *k, int account, int number);
void service_export_free(struct service_export *e);
#endif
