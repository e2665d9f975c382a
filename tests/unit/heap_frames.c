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

static void start(void)
{
	frame_area_init(&area, pmm);
	CHECK_OK(heap_create_as(&heap, &area.area, heap_profile));
	heap_set_default(heap);
}

/* Nothing is left; `before`: what was free before the heap was made. */
static void finish(uint64_t before)
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
	start();
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

/* At least so much of what is free comes out as blocks. */
static unsigned least_percent(uint64_t ram, enum pins pins)
{
	return pins == EVERY_SECOND || ram < 4 * MIB ? 70 : 85;
}

HEAP_TEST(heap_frames_are_given_out)
{
	static const size_t sizes[] = {16, 48, 100, 500, 1000, 2000, 4000, 12000};
	static const char *const names[] = {"no pins", "one in 2 MiB", "every second"};
	bool debug = SLAB_DEBUG; /* its blocks are larger */
	for (uint64_t ram = MIB; ram <= (debug ? 4 : 16) * MIB; ram *= 4)
		for (enum pins pins = NONE; pins <= EVERY_SECOND; pins++)
			for (unsigned i = 0; i < (pins == EVERY_SECOND ? 6 : 8); i++) {
				unsigned asked, percent = give_out(ram, pins, sizes[i], &asked);
				test_note("%lu MiB, %s, %lu bytes: %u %%, of that %u asked for",
					  (unsigned long)(ram / MIB), names[pins],
					  (unsigned long)sizes[i], percent, asked);
				test_step();
				CHECK(debug || percent >= least_percent(ram, pins));
				/* The first slab is of a coarser class. */
				CHECK(debug || sizes[i] < 48 || asked >= 74);
			}
}

/* ---- and back ---------------------------------------------------------------------- */

HEAP_TEST(heap_frames_come_back)
{
	enum { N = 6000 };
	static void *got[N];
	boot(32 * MIB, 4);
	uint64_t before = drained_free();
	start();
	for (unsigned round = 0; round < 4; round++) {
		uint64_t idle = drained_free();
		for (unsigned i = 0; i < N; i++) {
			plain_set_cpu((unsigned)test_random_below(4));
			size_t bytes = test_random_below(i % 64 ? 900 : 60000);
			CHECK((got[i] = kmalloc(bytes)));
			memset(got[i], (int)i, bytes);
		}
		CHECK(heap_is_valid(heap));
		plain_set_cpu(0);
		CHECK(drained_free() < idle);
		for (unsigned i = 0; i < N; i++) {
			plain_set_cpu((unsigned)test_random_below(4));
			kfree(got[i]);
		}
		plain_set_cpu(0);
		CHECK(heap_reap(heap, true) > 0);
		CHECK(heap_is_valid(heap));
		CHECK_EQ(drained_free(), idle);
	}
	finish(before);
}

/* What a large block leaves is what a small one needs, without a reap. */
HEAP_TEST(heap_frames_of_freed_blocks_serve_others)
{
	boot(8 * MIB, 1);
	uint64_t before = drained_free();
	start();
	for (unsigned round = 0; round < 20; round++) {
		size_t bytes = 20000u << test_random_below(5);
		void *head = NULL, *block;
		uint64_t sum = 0;
		for (; (block = kmalloc(round % 3 ? bytes : 700)); sum += round % 3 ? bytes : 700) {
			*(void **)block = head;
			head = block;
		}
		CHECK(sum > 5 * MIB);
		while ((block = head)) {
			head = *(void **)block;
			kfree(block);
		}
		CHECK(heap_is_valid(heap));
	}
	finish(before);
}

/* ---- pages that lie apart ------------------------------------------------------------- */

/* Of some windows two frames are left, of one in between three. */
static uint64_t leave_few(unsigned nwindows, unsigned richest)
{
	paddr_t head = PADDR_NONE, pa;
	while ((pa = pmm_alloc(pmm, 0, PMM_KERNEL)) != PADDR_NONE) {
		*(paddr_t *)paddr_to_ptr(pa) = head;
		head = pa;
	}
	uint64_t left = 0;
	while ((pa = head) != PADDR_NONE) {
		head = *(paddr_t *)paddr_to_ptr(pa);
		uint64_t window = pa >> HUGE_SHIFT, frame = (pa >> PAGE_SHIFT) % 512;
		uint64_t n = window >= nwindows ? 0 : window == richest ? 3 : 2;
		if (frame % 100 == 50 && frame / 100 < n) {
			pmm_free(pmm, pa, 0);
			left++;
		}
	}
	return left;
}

HEAP_TEST(heap_frames_that_lie_apart)
{
	for (unsigned nwindows = 1; nwindows <= 6; nwindows++) {
		boot(16 * MIB, 1);
		start();
		/* Two of a window are no use: one is its map, the other describes slabs. */
		unsigned richest = (unsigned)test_random_below(nwindows);
		uint64_t left = leave_few(nwindows, richest);
		CHECK_EQ(left, 2 * nwindows + 1);
		CHECK_EQ(drained_free(), left);
		void *block = kmalloc(2000);
		CHECK(block);
		CHECK_EQ(ptr_to_paddr(block) >> HUGE_SHIFT, richest);
		CHECK(heap_is_valid(heap));
		/* All others went back. */
		CHECK_EQ(drained_free(), left - 3);
		kfree(block);
		heap_reap(heap, true);
		CHECK_EQ(drained_free(), left);
	}
}

/* ---- misuse --------------------------------------------------------------------------- */

static char *victim;
static size_t victim_bytes;

static void overflow(void)
{
	victim[victim_bytes] ^= 1;
	kfree(victim);
}

static void free_victim(void)
{
	kfree(victim);
}

TEST(heap_frames_misuse_is_caught)
{
	static const size_t sizes[] = {16, 4096, 16384, 20480, 65536};
	heap_profile = HEAP_HARDENED;
	boot(16 * MIB, 1);
	start();
	for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
		victim_bytes = sizes[i];
		CHECK((victim = kmalloc(victim_bytes)));
		test_expect_panic(overflow, "overflow");
		CHECK((victim = krealloc(victim, victim_bytes - 1)));
		CHECK((victim = krealloc(victim, victim_bytes)));
		test_expect_panic(overflow, "overflow");
		kfree(victim);
		test_expect_panic(free_victim, "free");
	}
	/* Pages of their own cost no more than what they are. */
	struct heap_stats stats;
	CHECK((victim = kmalloc_page()));
	heap_get_stats(heap, &stats);
	CHECK_EQ(stats.large_npages, 1);
	kfree(victim);
	/* Pages that are the heap's, but no block's. */
	CHECK((victim = kmalloc(100)));
	char *block = victim, *window = (char *)((uintptr_t)block & ~(HUGE_SIZE - 1));
	for (unsigned page = 0; page < 512; page++) {
		victim = window + page * PAGE_SIZE;
		if (victim != block && !heap_own(victim) && page % 16 == test_random_below(16))
			test_expect_panic(free_victim, "free");
	}
	kfree(block);
	CHECK(heap_is_valid(heap));
}
