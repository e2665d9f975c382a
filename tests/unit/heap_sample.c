/* SPDX-License-Identifier: MIT */
/* Sampled blocks: each mistake on one is found, at the access where the hardware can. */
#include <mem/heap.h>
#include <mem/host.h>
#include <signal.h>
#include <string.h>

#include "base/util.h"
#include "tests/machine/plain.h"
#include "tests/test.h"
#include "tests/unit/heap_help.h"

enum { SLOTS = 16 };

/* What a host's fault report does. */
static void on_fault(int number, siginfo_t *info, void *context)
{
	struct heap_trap trap;
	if (!heap_find_trap(heap, (uintptr_t)info->si_addr, &trap))
		host_panic("a fault that nothing is known of");
	host_panic("fault: %s the sampled block %p (%lu bytes), allocated at %p, freed at %p",
		   trap.what, trap.block, (unsigned long)trap.bytes, trap.alloc_site,
		   trap.free_site);
}

static void start_sampling(unsigned interval)
{
	heap_start(2);
	CHECK_OK(heap_sample_start(heap, SLOTS, interval));
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
	CHECK(!sigaction(SIGSEGV, &action, NULL));
}

static uint64_t sampled(void)
{
	struct heap_stats stats;
	heap_get_stats(heap, &stats);
	return stats.sampled;
}

static bool at_end; /* which end of its page the block shall lie at */

/* A sampled block of `bytes`; the others that it took are not freed. */
static unsigned char *sample(size_t bytes)
{
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t before = sampled();
		unsigned char *p = kmalloc(bytes);
		CHECK(p);
		if (sampled() == before)
			continue;
		if (at_end == (((uintptr_t)p & PAGE_MASK) != 0))
			return p;
		kfree(p);
		heap_reap(heap, false);
	}
	test_fail(__FILE__, __LINE__, "no block was sampled");
}

HEAP_TEST(heap_sample_blocks_are_blocks)
{
	start_sampling(3);
	enum { N = 3000 };
	static unsigned char *got[N];
	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = 0; i < N; i++) {
			size_t bytes = test_random_below(5000);
			CHECK((got[i] = kmalloc(bytes)));
			CHECK(heap_usable(heap, got[i]) >= bytes);
			memset(got[i], (int)i, bytes);
			got[i] = krealloc(got[i], bytes / 2 + 1);
			CHECK(got[i]);
			if (bytes)
				CHECK_EQ(got[i][bytes / 2 - (bytes == 1 ? 0 : 1)],
					 (unsigned char)i);
		}
		CHECK(heap_is_valid(heap));
		CHECK_EQ(heap_live_blocks(), N);
		for (unsigned i = 0; i < N; i++)
			kfree(got[i]);
		CHECK_EQ(heap_live_blocks(), 0);
		heap_reap(heap, round & 1);
		CHECK_EQ(heap_live_blocks(), 0);
	}
	test_note("%lu sampled", (unsigned long)sampled());
	CHECK(sampled() >= 5 * SLOTS / 2);
	heap_finish();
}

/* Powers of two are aligned to themselves here too. */
HEAP_TEST(heap_sample_keeps_alignment)
{
	start_sampling(1);
	for (size_t bytes = 16; bytes <= PAGE_SIZE; bytes *= 2) {
		at_end = bytes < PAGE_SIZE;
		void *p = sample(bytes);
		CHECK_EQ((uintptr_t)p % bytes, 0);
		kfree(p);
	}
}

/* After every reap as many pages are held, whatever was sampled. */
HEAP_TEST(heap_sample_holds_as_much_as_ever)
{
	start_sampling(1);
	heap_reap(heap, true);
	uint64_t held = heap_pages.held_npages;
	for (unsigned round = 0; round < 50; round++) {
		void *got[3 * SLOTS];
		for (unsigned i = 0; i < 3 * SLOTS; i++)
			CHECK((got[i] = kmalloc(test_random_below(4000))));
		for (unsigned i = 0; i < 3 * SLOTS; i++)
			kfree(got[i]);
		heap_reap(heap, true);
		CHECK_EQ(heap_pages.held_npages, held);
	}
	CHECK(heap_pages.decommitted_npages > 50);
	heap_finish();
}

/* In a handler, and when no memory is left, nothing new is needed. */
HEAP_TEST(heap_sample_in_interrupts)
{
	start_sampling(1);
	kfree(kmalloc(64));
	heap_reap(heap, false);
	heap_pages.refuse_atomic = true;
	plain_set_interrupt(true);
	uint64_t before = sampled();
	static void *got[1000];
	for (unsigned i = 0; i < 1000; i++)
		got[i] = kmalloc(64);
	CHECK(sampled() > before);
	for (unsigned i = 0; i < 1000; i++)
		kfree(got[i]);
	plain_set_interrupt(false);
	heap_pages.fail_all = true; /* a reap that gets no page for the next */
	heap_reap(heap, false);
	heap_pages.fail_all = false;
	heap_reap(heap, false);
	CHECK(heap_is_valid(heap));
}

static void overflow_faults(void)
{
	at_end = true;
	sample(112)[112] = 1;
}
static void overflow_within_the_page(void)
{
	at_end = true;
	unsigned char *p = sample(100); /* up to 16 */
	p[100] ^= 1;
	kfree(p);
}
static void overflow_far(void)
{
	at_end = false;
	unsigned char *p = sample(100);
	p[3000] ^= 1;
	kfree(p);
}
static void underflow(void)
{
	at_end = true;
	unsigned char *p = sample(100);
	p[-1] ^= 1;
	kfree(p);
}
static void underflow_faults(void)
{
	at_end = false;
	sample(100)[-1] = 1;
}
static void late_write(void)
{
	unsigned char *p = sample(100);
	kfree(p);
	p[50] = 1;
	heap_reap(heap, false);
}
static void late_read_faults(void)
{
	volatile unsigned char *p = sample(100);
	kfree((void *)(uintptr_t)p);
	heap_reap(heap, false);
	(void)p[50];
}
static void twice(void)
{
	void *p = sample(100);
	kfree(p);
	kfree(p);
}
static void twice_after_reap(void)
{
	void *p = sample(100);
	kfree(p);
	heap_reap(heap, false);
	kfree(p);
}
static void inside(void)
{
	kfree(sample(100) + 16);
}
static void size_after_free(void)
{
	void *p = sample(100);
	kfree(p);
	(void)heap_usable(heap, p);
}
static void leaked(void)
{
	(void)sample(100);
	heap_destroy(heap);
}

HEAP_TEST(heap_sample_finds_mistakes)
{
	start_sampling(1);
	test_expect_panic(overflow_faults, "fault: access behind the end of the sampled block");
	test_expect_panic(underflow_faults, "fault: access before the sampled block");
	test_expect_panic(overflow_within_the_page, "overflow: sampled block");
	test_expect_panic(overflow_far, "overflow: sampled block");
	test_expect_panic(underflow, "underflow: sampled block");
	test_expect_panic(late_write, "use after free: sampled block");
	test_expect_panic(late_read_faults, "fault: use after free of the sampled block");
	test_expect_panic(twice, "double free or use after free: sampled block");
	test_expect_panic(twice_after_reap, "double free or use after free: sampled block");
	test_expect_panic(inside, "is inside a sampled block");
	test_expect_panic(size_after_free, "double free or use after free: sampled block");
	test_expect_panic(leaked, "live blocks");
}
