/* Quoting as Go's %q does it, which is how nats-server shows names in its error lines. */
#ifndef SPLINE_QUOTE_H
#define SPLINE_QUOTE_H
#include <stddef.h>

#define QUOTED_MAX(n) (4 * (size_t)(n) + 8) /* room for any text of n bytes */

/* Write `"text"` with escapes and a closing zero into out (room >= 8 bytes); what does not fit is left out. Returns the length. */
size_t quote(char *out, size_t room, const char *text, size_t n);
#endif
