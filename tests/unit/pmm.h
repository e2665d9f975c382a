/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_PMM_H
#define TESTS_UNIT_PMM_H
/* An allocator of its own for each test of tests/unit/pmm*.c. */
#include "tests/machine/plain.h"
#include "tests/test.h"

#include <mem/pmm.h>

#define MIB ((uint64_t)1 << 20)

extern struct memmap test_map;
extern struct pmm *pmm;

/* An allocator over the given entries (with a direct map of the whole span). */
void boot_map(const struct memmap_entry *entries, size_t count, uint64_t span, unsigned ncpus);
void boot(uint64_t bytes, unsigned ncpus);
struct pmm_stats stats(void);
/* Everything back in the bitmap, and valid: how much is free? */
uint64_t drained_free(void);
/* A block that there is. */
paddr_t take(unsigned order, unsigned flags);
#endif
