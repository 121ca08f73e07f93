/* Permission sets: may this user publish there, subscribe to that, and what must be filtered from what he receives?
 *
 * A set is built once a user from pattern lists and shared by his connections. Rules (client-protocol section 10): no list = everything;
 * an empty list restricts nothing; allow must match if there is one, deny must not; deny wins. A publish is checked as literal text, a
 * subscription's subject is matched as plain text tokens against the patterns. Subscribe entries may carry a queue pattern.
 * Verdicts for publishes are cached by subject in a bounded table.
 */
#ifndef SPLINE_PERMISSIONS_H
#define SPLINE_PERMISSIONS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum perm_list { PERM_PUB_ALLOW, PERM_PUB_DENY, PERM_SUB_ALLOW, PERM_SUB_DENY };
struct permissions;
/* A new set has one holder. It is freed when the last one has released it (NULL: nothing happens). */
struct permissions *permissions_new(void);
struct permissions *permissions_hold(struct permissions *p);
void permissions_release(struct permissions *p);
/* Add a pattern (queue_len 0 = none; a queue may have wildcards). 0 or -1 (out of memory). Only before first use. */
int permissions_add(struct permissions *p, enum perm_list list, const char *subject, size_t n, const char *queue,
                    size_t nq);
/* allow_responses: max messages (<0 unlimited), expiry in milliseconds (<0 never). Without a publish allow list it closes publishing. */
void permissions_set_responses(struct permissions *p, int64_t max, int64_t expires_ms);
bool permissions_has_responses(const struct permissions *p, int64_t *max, int64_t *expires_ms);

bool permissions_can_publish(struct permissions *p, const char *subject, size_t n);
bool permissions_can_subscribe(struct permissions *p, const char *subject, size_t n, const char *queue, size_t nq);
/* Must deliveries to this subscription (already allowed) be filtered because a deny pattern overlaps it? */
bool permissions_needs_filter(struct permissions *p, const char *subject, size_t n, const char *queue, size_t nq);
/* The filter: false if a deny pattern forbids delivering `subject` to a subscription in `queue` (nq 0 = plain). */
bool permissions_can_deliver(struct permissions *p, const char *subject, size_t n, const char *queue, size_t nq);
#endif
