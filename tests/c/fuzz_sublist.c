/* fuzz_sublist: whatever the operations, the sublist answers as the naive model does. See sublist_model.h. */
#include "sublist_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    model_run(data, n);
    return 0;
}
