/* alloc.c: see alloc.h. Linked with -Wl,--wrap for each of these functions. */
#include "alloc.h"
#include <stdbool.h>
#include <stddef.h>

static struct {
    uint64_t after, times, failures;
} plan;

static bool alloc_refused(void)
{
    if (!plan.times) return false;
    if (plan.after) {
        plan.after--;
        return false;
    }
    plan.times--;
    plan.failures++;
    return true;
}

void alloc_fail(uint64_t after, uint64_t times)
{
    plan.after = after;
    plan.times = times;
}

void alloc_fail_off(void) { plan.times = 0; }
uint64_t alloc_failures(void) { return plan.failures; }

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);

void *__wrap_malloc(size_t size) { return alloc_refused() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size) { return alloc_refused() ? NULL : __real_calloc(count, size); }
void *__wrap_realloc(void *old, size_t size) { return alloc_refused() ? NULL : __real_realloc(old, size); }
void *__wrap_aligned_alloc(size_t align, size_t size)
{
    return alloc_refused() ? NULL : __real_aligned_alloc(align, size);
}
