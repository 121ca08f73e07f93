/* guard.h: puts input at the very end of a page before an unreadable one, so that reading one byte too far is a crash even
 * where the sanitizers do not look. */
#ifndef SPLINE_GUARD_H
#define SPLINE_GUARD_H
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct guard {
    char *map;
    size_t room; /* readable bytes */
};

static inline struct guard guard_new(size_t most)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (most + page - 1) / page * page;
    if (!room) room = page;
    char *map = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + room, page, PROT_NONE) != 0) abort();
    return (struct guard){map, room};
}

/* A copy of n bytes that ends at the guard. Valid until the next guard_put on the same guard. */
static inline char *guard_put(struct guard *g, const void *bytes, size_t n)
{
    if (n > g->room) abort();
    char *at = g->map + g->room - n;
    if (n) memcpy(at, bytes, n);
    return at;
}

static inline void guard_free(struct guard *g) { munmap(g->map, g->room + (size_t)sysconf(_SC_PAGESIZE)); }
#endif
