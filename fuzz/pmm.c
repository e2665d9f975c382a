/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as calls of the frame allocator on four CPUs, with a byte per frame
 * that remembers who has it; every so often, and at the end, the validator.
 */
#include "tests/machine/plain.h"

#include <mem/host.h>
#include <mem/pmm.h>
#include <string.h>
#include <sys/mman.h>

#define BYTES ((uint64_t)24 << 20)
#define LIVE  512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static uint8_t taken[BYTES >> PAGE_SHIFT];
static struct pmm *pmm;
static struct {
	paddr_t pa;
	uint64_t npages;
	int order; /* -1: a range */
	bool counted;
} live[LIVE];
static unsigned count;

static void mark(paddr_t pa, uint64_t npages, uint8_t to)
{
	for (uint64_t i = 0; i < npages; i++) {
		if (taken[(pa >> PAGE_SHIFT) + i] == to)
			host_panic("frame 0x%llx twice", (unsigned long long)pa);
		taken[(pa >> PAGE_SHIFT) + i] = to;
	}
}

static void give(unsigned k)
{
	mark(live[k].pa, live[k].npages, 0);
	if (live[k].counted && !frame_put(pmm, live[k].pa))
		host_panic("not the last owner");
	if (live[k].order < 0)
		pmm_free_range(pmm, live[k].pa, live[k].npages);
	else
		pmm_free(pmm, live[k].pa, (unsigned)live[k].order);
	live[k] = live[--count];
}

static void keep(paddr_t pa, uint64_t npages, int order, bool counted)
{
	mark(pa, npages, 1);
	if (counted)
		frame_init(pmm, pa, FRAME_ANON, NULL);
	live[count].pa = pa;
	live[count].npages = npages;
	live[count].counted = counted;
	live[count++].order = order;
}

/* One call, said by three bytes. */
static void call(const uint8_t *b)
{
	unsigned flags =
	    (b[1] & 1 ? PMM_KERNEL : 0) | (b[1] & 2 ? 0 : PMM_WAIT) | (b[1] & 4 ? PMM_FIRST : 0);
	unsigned order = (b[1] >> 3) % 11;
	paddr_t pa;
	plain_set_cpu(b[0] >> 6);
	switch (b[0] & 15) {
	case 0:
		pmm_drain(pmm);
		break;
	case 1:
		pmm_idle(pmm);
		break;
	case 2:
		pa = (paddr_t)(b[1] | (b[2] & 15) << 8) << PAGE_SHIFT;
		if (pmm_reserve(pmm, pa, 1 + (b[2] >> 4) * 100) == MEM_OK &&
		    pmm_add(pmm, pa, 1 + (b[2] >> 4) * 100) != MEM_OK)
			host_panic("what was reserved cannot be added");
		break;
	case 3:
	case 4:
		if (count < LIVE && pmm_alloc_range(pmm, 1 + b[2] * 5, 1u << (b[1] >> 4),
						    PADDR_NONE, flags, &pa) == MEM_OK)
			keep(pa, 1 + b[2] * 5, -1, false);
		break;
	case 5:
	case 6:
	case 7:
		order = b[2] & 3 ? 0 : order;
		for (unsigned n = b[2] >> 2; n && count < LIVE; n--) {
			pa = pmm_alloc(pmm, order, flags);
			if (pa == PADDR_NONE)
				break;
			keep(pa, (uint64_t)1 << order, (int)order, !order && !(flags & PMM_KERNEL));
		}
		break;
	default:
		for (unsigned n = b[2] & 31; n && count; n--)
			give((unsigned)(b[1] * 7 + n) % count);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct memmap_region regions[64];
	struct memmap map = {.regions = regions, .capacity = 64};
	struct memmap_entry e[] = {{0x1000, BYTES - 0x1000, MEMMAP_USABLE},
				   {0x9f000, 0x61000, MEMMAP_RESERVED}};
	if (!pmm)
		plain_init(BYTES, 4);
	memset(taken, 0, sizeof(taken));
	if (memmap_sanitise(&map, e, 2, BYTES >> PAGE_SHIFT) || pmm_init(&pmm, &map))
		host_panic("no allocator");
	struct pmm_stats before, after;
	pmm_get_stats(pmm, &before);
	for (size_t i = 0; i + 3 <= bytes && i < 3000; i += 3)
		call(data + i);
	if (!pmm_is_valid(pmm))
		host_panic("not valid");
	while (count)
		give(count - 1);
	plain_set_cpu(0);
	pmm_drain(pmm);
	pmm_get_stats(pmm, &after);
	if (!pmm_is_valid(pmm) || after.free != before.free || after.records || after.cached)
		host_panic("%llu frames became %llu", (unsigned long long)before.free,
			   (unsigned long long)after.free);
	return 0;
}
