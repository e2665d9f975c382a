/* SPDX-License-Identifier: MIT */
/* The heap over plain frames: what it gives out of how much, whatever lies in between. */
#include <mem/heap.h>
#include <mem/host.h>
#include <string.h>

#include "base/util.h"
#include "heap/internal.h"
#include "tests/unit/heap_help.h"
#include "tests/unit/pmm.h"

static struct frame_area area;

__attribute__((unused)) static void start(uint64_t bytes, unsigned ncpus)
{
	boot(bytes, ncpus);
	frame_area_init(&area, pmm);
	CHECK_OK(heap_create_as(&heap, &area.area, heap_profile));
	heap_set_default(heap);
}

/* Nothing is left; `before`: what was free before the heap was made. */
__attribute__((unused)) static void finish(uint64_t before)
{
	CHECK(heap_is_valid(heap));
	heap_destroy(heap);
	CHECK_EQ(drained_free(), before);
}

/* ---- how much ------------------------------------------------------------------- */

enum pins { NONE, ONE_IN_512, EVERY_SECOND };

/* One frame in so many is somebody else's: all are taken, and the others given back. */
static void pin(unsigned every)
{
	paddr_t head = PADDR_NONE, pa;
	while ((pa = pmm_alloc(pmm, 0, PMM_KERNEL)) != PADDR_NONE) {
		*(paddr_t *)paddr_to_ptr(pa) = head;
		head = pa;
	}
	while ((pa = head) != PADDR_NONE) {
		head = *(paddr_t *)paddr_to_ptr(pa);
		if ((pa >> PAGE_SHIFT) % every != every / 2)
			pmm_free(pmm, pa, 0);
	}
}

/* Percent of what was free that is given out in blocks of `bytes`, by the size of their
 * class, or (*asked) by that asked for of the classes'. */
static unsigned give_out(uint64_t ram, enum pins pins, size_t bytes, unsigned *asked)
{
	boot(ram, 1);
	if (pins == ONE_IN_512)
		pin(512);
	uint64_t before = drained_free();
	frame_area_init(&area, pmm);
	CHECK_OK(heap_create_as(&heap, &area.area, heap_profile));
	if (pins == EVERY_SECOND) {
		pin(2);
		before = drained_free();
	}
	void *head = NULL, *block;
	uint64_t n = 0;
	for (; (block = heap_alloc(heap, bytes)); n++) {
		*(void **)block = head;
		head = block;
	}
	struct heap_stats stats;
	heap_get_stats(heap, &stats);
	CHECK_EQ(stats.live_blocks, n);
	CHECK(heap_is_valid(heap));
	*asked = n ? (unsigned)(n * bytes * 100 / stats.live_bytes) : 0;
	unsigned percent = (unsigned)(stats.live_bytes * 100 / (before * PAGE_SIZE));
	while ((block = head)) {
		head = *(void **)block;
		heap_free(heap, block);
	}
	CHECK(heap_is_valid(heap));
	heap_destroy(heap);
	uint64_t after = drained_free();
	CHECK(pins == EVERY_SECOND ? after > before : after == before);
	return percent;
}

HEAP_TEST(heap_frames_are_given_out)
{
	static const size_t sizes[] = {16, 48, 100, 500, 1000, 2000, 4000, 12000};
	static const char *const names[] = {"no pins", "one in 2 MiB", "every second"};
	for (unsigned mib = 1; mib <= 64; mib *= 4)
		for (enum pins pins = NONE; pins <= EVERY_SECOND; pins++)
			for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
				unsigned asked, percent = give_out(mib * MIB, pins, sizes[i], &asked);
				unsigned least = pins == EVERY_SECOND || mib < 4 ? 70 : 85;
				if (pins == EVERY_SECOND && sizes[i] > 2000)
					continue;
				test_note("%u MiB, %s: %lu bytes: %u %%, of that %u asked for", mib,
					  names[pins], (unsigned long)sizes[i], percent, asked);
#ifndef MEM_DEBUG
				CHECK(percent >= least);
				CHECK(sizes[i] < 48 || asked >= 74);
#endif
				test_step();
			}
}
