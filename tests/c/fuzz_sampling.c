/* Fuzz target: whatever a client sends as headers, the decision is made within it, and what is kept is part of it. */
#include "../../csrc/sampling.h"
#include "guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct guard guard;
    if (!guard.map) guard = guard_new(1 << 16);
    if (n > 1 << 16) return 0;
    const char *block = guard_put(&guard, data, n);
    struct text kept;
    text_init(&kept);
    bool asked = sampling_headers(block, n, &kept);
    if (!asked && kept.len) abort();
    if (kept.len > n || kept.len > SAMPLING_KEPT_MAX) abort();
    text_free(&kept);
    return 0;
}
