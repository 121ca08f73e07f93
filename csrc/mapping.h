/* Subject mappings of one account: what clients publish on one subject goes out on another.
 *
 * The entry whose source is the subject itself counts first, else the first whose pattern matches. Its destinations share its
 * messages by weight; what no destination covers is lost.
 */
#ifndef SPLINE_MAPPING_H
#define SPLINE_MAPPING_H
#include "transform.h"

struct mappings;
/* Add an entry, or a destination to the newest one, with the share of the messages up to `upto` percent that those before it left;
 * `to` is the table's from then on. 0 or -1 (out of memory). */
int mappings_add(struct mappings **all, const char *source, size_t n);
int mappings_to(struct mappings *all, struct transform *to, uint32_t upto);
void mappings_free(struct mappings *all);
/* True if an entry holds: `out` is the new subject, empty if the message is lost. */
bool mappings_apply(struct mappings *all, const char *subject, size_t n, uint64_t random, struct text *out);
#endif
