/* The definition of matching, for models: does the pattern `p` meet the subject `s`? */
#ifndef TEST_MEETS_H
#define TEST_MEETS_H
#include <stdbool.h>
#include <string.h>

static inline bool meets(const char *p, const char *s)
{
    size_t np = strcspn(p, "."), ns = strcspn(s, ".");
    if (!ns) return false;
    bool last = !p[np];
    if (last && np == 1 && *p == '>') return !s[ns] || meets(p, s + ns + 1);
    if (!(np == 1 && *p == '*') && (np != ns || memcmp(p, s, np) != 0)) return false;
    if (last || !s[ns]) return last && !s[ns];
    return meets(p + np + 1, s + ns + 1);
}
#endif
