/* Subject rules: what a well-formed subject is, and when two of them meet.
 *
 * A subject is a run of tokens separated by '.'; '*' alone in a token matches exactly one token, '>' alone as the last
 * token matches one or more. `foo*` and `a>b` are literals. (nats-server server/sublist.go; client-protocol section 7.)
 * Everything here is a pure function over (pointer, length); nothing allocates.
 */
#ifndef SPLINE_SUBJECT_H
#define SPLINE_SUBJECT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A subject that may be subscribed to: no empty token, '>' only as the last token. */
bool subject_valid(const char *s, size_t n);
/* A subject without wildcard tokens and without empty tokens (what pedantic publishers may use). */
bool subject_literal(const char *s, size_t n);
/* True if any token is a wildcard. `s` must be valid. */
bool subject_has_wildcard(const char *s, size_t n);
size_t subject_tokens(const char *s, size_t n);
/* Does `pattern` match the published subject, whose own '*' and '>' tokens count as plain text? */
bool subject_matches(const char *pattern, size_t np, const char *subject, size_t ns);
/* Is every subject that `s` (which may be a pattern) matches one that `pattern` matches? */
bool subject_covers(const char *pattern, size_t np, const char *s, size_t ns);
/* Is there any literal subject that both patterns match? */
bool subject_collides(const char *a, size_t na, const char *b, size_t nb);
/* What both patterns match, which must collide, as a pattern. Returns its length, at most na + nb; `out` may be NULL. */
size_t subject_intersect(const char *a, size_t na, const char *b, size_t nb, char *out);
/* 32-bit hash of bytes (FNV-like or better), and its 64-bit sibling for the interest digest. */
uint32_t hash32(const char *s, size_t n);
uint64_t hash64(const char *s, size_t n, uint64_t seed);
#endif
