/* The settings of cores under test: few limits that are ever met, and no timer that goes off by itself. */
#ifndef TEST_CONFIG_H
#define TEST_CONFIG_H
#include "../../csrc/core.h"

static inline struct spl_config test_config(uint32_t index, uint32_t workers)
{
    return (struct spl_config){.index = index,
                               .serial = index + 1,
                               .workers = workers,
                               .max_control_line = 512,
                               .max_payload = 1 << 20,
                               .max_connections = 100,
                               .max_pending = 1 << 20,
                               .ping_interval = 100000,
                               .ping_max = 2,
                               .write_deadline = 10000,
                               .cache_entries = 16,
                               .headers = 1,
                               .shared_fd = -1,
                               .write_deadline_text = "10s"};
}
#endif
