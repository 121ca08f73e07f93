/* Fuzz target: what headers ask for is found the same by the quick look and by the parser, without a byte read outside. */
#include "../../csrc/msgtrace.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *exact = malloc(n ? n : 1); /* so that the sanitizer sees a read past it */
    if (!exact) return 0;
    if (n) memcpy(exact, data, n);
    char dest[] = "d";
    struct account with = {.trace = {.dest = dest, .dest_len = 1}}, without = {0};
    struct trace_request r;
    enum trace_asked asked = msgtrace_parse(exact, n, &r);
    if (asked == TRACE_ASKED && !msgtrace_asked(&without, exact, n)) abort();
    if (asked == TRACE_ASKED_BY_PARENT && !msgtrace_asked(&with, exact, n)) abort();
    if (asked == TRACE_ASKED && (r.dest < exact || !r.dest_len || r.dest + r.dest_len > exact + n)) abort();
    free(exact);
    return 0;
}
