/* SPDX-License-Identifier: MIT */
#include "tests/unit/pmm.h"

#define MAX_REGIONS 4096

static struct memmap_region regions[MAX_REGIONS];
struct memmap test_map = {.regions = regions, .capacity = MAX_REGIONS};
struct pmm *pmm;

void boot_map(const struct memmap_entry *entries, size_t count, uint64_t span, unsigned ncpus)
{
	plain_init(span, ncpus);
	CHECK_OK(memmap_sanitise(&test_map, entries, count, span >> PAGE_SHIFT));
	CHECK_OK(pmm_init(&pmm, &test_map));
	CHECK(memmap_is_valid(&test_map));
	CHECK(pmm_is_valid(pmm));
}

void boot(uint64_t bytes, unsigned ncpus)
{
	struct memmap_entry entry = {0, bytes, MEMMAP_USABLE};
	boot_map(&entry, 1, bytes, ncpus);
}

struct pmm_stats stats(void)
{
	struct pmm_stats s;
	pmm_get_stats(pmm, &s);
	return s;
}

uint64_t drained_free(void)
{
	pmm_drain(pmm);
	struct pmm_stats s = stats();
	CHECK_EQ(s.cached, 0);
	CHECK(pmm_is_valid(pmm));
	return s.free;
}

paddr_t take(unsigned order, unsigned flags)
{
	paddr_t pa = pmm_alloc(pmm, order, flags);
	CHECK(pa != PADDR_NONE);
	CHECK_EQ(pa & ((PAGE_SIZE << order) - 1), 0);
	return pa;
}
