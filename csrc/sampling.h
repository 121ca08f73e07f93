/* Headers by which a tracing system asks for a request to be measured.
 *
 * They are looked for in this order, and the first that is there decides (upstream: shouldSample in server/accounts.go):
 *
 *   Uber-Trace-Id   four parts between ':', the last one or two digits of which the last one is odd
 *   X-B3-Sampled    1: yes, 0: no, anything else: go on
 *   X-B3-TraceId    yes
 *   B3              unless it is 0, or the third part between '-' is
 *   Traceparent     four parts between '-', the last two digits that are odd and at most 7f
 */
#ifndef SPLINE_SAMPLING_H
#define SPLINE_SAMPLING_H
#include "transform.h"

#define SAMPLING_KEPT_MAX 16384 /* bytes of headers that are remembered of one request; the lines that follow are not */

/* Does a block of headers ask for it? If so, the lines that belong to the one that did are added to `kept`. A block that
 * is not well formed asks for nothing. */
bool sampling_headers(const char *block, size_t n, struct text *kept);
#endif
