/* Stream imports: what another account publishes, as if it were published here under another name.
 *
 *   importer's client --- sub (in its own account's sublist)
 *                          `-- shadow (in the exporter's sublist) -- shadow -- ...    one for each import that it overlaps
 *
 * A shadow is a subscription of the exporter's account whose copies are shown under the importer's subject, with the sid and the
 * limits of the subscription that casts it. It is interest like any other: peers are told of it, and a queue group has members
 * in both accounts. A publish in the exporter's account pays for shadows alone where it meets one.
 */
#ifndef SPLINE_IMPORT_H
#define SPLINE_IMPORT_H
#include "core.h"

struct stream_import {
    struct stream_import *next;
    struct account *exporter;
    struct transform *show, *find; /* exporter's subject to ours, and back; NULL: they are the same */
    bool traced;                   /* the importer's subscribers may be told of in traces */
    uint32_t to_len;
    char to[]; /* our pattern */
};
struct shadow {
    struct sub sub; /* first */
    struct sub *caster;
    const struct stream_import *by;
    struct shadow *next; /* of the same caster */
};

/* After a subscription was added to its account / before it goes. 0 or -1 (out of memory; no shadow is left). */
int shadows_cast(struct core *k, struct account *a, struct sub *s);
void shadows_drop(struct core *k, struct sub *s);
/* The newest batch in which a peer is told of one of them. */
uint64_t shadows_announced(struct core *k, const struct sub *s);
/* The subject under which a shadow's caster sees it; valid until the next call. NULL: out of memory. */
const char *shadow_subject(struct core *k, const struct shadow *s, const char *subject, uint32_t n, uint32_t *len);
void imports_free(struct stream_import *all);
void imports_forget_shown(struct core *k);
#endif
