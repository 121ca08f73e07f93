/* alloc.h: makes a chosen allocation fail. Every test and fuzz target is linked with alloc.c, which wraps the allocator. */
#ifndef SPLINE_ALLOC_H
#define SPLINE_ALLOC_H
#include <stdint.h>

/* The next `after` allocations succeed, the `times` following ones fail. */
void alloc_fail(uint64_t after, uint64_t times);
void alloc_fail_off(void);
/* How many allocations were made to fail so far. */
uint64_t alloc_failures(void);
#endif
