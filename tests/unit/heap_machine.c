/* SPDX-License-Identifier: MIT */
/* Slab and heap on the coroutine machine: seeded interleavings at every atomic
 * operation, threads that migrate, interrupts that allocate and free wherever
 * they strike, a reaper meanwhile; the validators after each run. */
#include <mem/heap.h>
#include <mem/host.h>
#include <string.h>

#include "tests/machine/machine.h"
#include "tests/test.h"
#include "tests/unit/pages.h"

enum { THREADS = 5, SLOTS = 24, CACHE_BYTES = 15000 };

static struct test_pages pages;
static struct heap *heap;
static enum heap_profile profile;
static struct slab_cache *cache;
static unsigned char *slots[SLOTS]; /* exchanged at points: never torn */
static unsigned ops_per_thread, interrupts, failures, reaps;
static uint64_t allocs;
static bool running;

/* First byte: 1 for the cache's, then has_canary with a pattern. */
static unsigned char *get(void)
{
	unsigned r = machine_random_below(100);
	bool of_cache = r < 60;
	size_t bytes = of_cache ? CACHE_BYTES : 32 + machine_random_below(r < 95 ? 300 : 20000);
	unsigned char *p = of_cache ? slab_alloc(cache) : heap_alloc(heap, bytes);
	if (!p) {
		failures++;
		return NULL;
	}
	allocs++;
	if (of_cache)
		bytes = CACHE_BYTES;
	memset(p, (int)((uintptr_t)p >> 4) | 1, 32);
	p[0] = of_cache;
	return p;
}

static void put(unsigned char *p)
{
	for (unsigned i = 1; i < 32; i++)
		if (p[i] != (unsigned char)((int)((uintptr_t)p >> 4) | 1))
			machine_die("a block's contents were overwritten");
	memset(p + 1, 0, 31);
	if (p[0])
		slab_free(cache, p);
	else
		heap_free(heap, p);
}

static void step(void)
{
	unsigned slot = machine_random_below(SLOTS);
	unsigned char *p = machine_random_below(100) < 60 ? get() : NULL, *old = slots[slot];
	slots[slot] = p;
	if (old)
		put(old);
}

static void worker(void *arg)
{
	for (unsigned i = 0; i < ops_per_thread; i++) {
		step();
		machine_progress();
		test_step();
	}
}

/* What was freed before a reap is given back when that returns, whatever another reaper has
 * begun: larger blocks than anybody else's, which nobody takes but when nothing else is left. */
static void reap_beside(void *arg)
{
	const size_t bytes = 100 * PAGE_SIZE;
	for (unsigned i = 0; i < 8; i++) {
		char *large[2];
		for (unsigned k = 0; k < 2; k++)
			large[k] = heap_alloc(heap, bytes);
		for (unsigned k = 0; k < 2; k++)
			heap_free(heap, large[k]);
		(void)heap_reap(heap, i % 2);
		for (unsigned k = 0; k < 2; k++)
			CHECK(pages.limit || !test_pages_present(large[k]));
		struct heap_stats stats;
		heap_get_stats(heap, &stats);
		CHECK(stats.live_blocks <= THREADS * 3 + SLOTS + 20);
		machine_progress();
		machine_yield();
	}
}

static void interrupt(void)
{
	if (!running)
		return;
	interrupts++;
	step();
	step();
}

static void run(unsigned ncpus, uint64_t seed, bool reap, uint64_t limit)
{
	struct machine_config config = {
	    .bytes = 1 << 20,
	    .ncpus = ncpus,
	    .seed = seed,
	    .switch_mean = 1 + (unsigned)(seed % 40),
	    .stall_mean = seed % 3 ? 20 : 0,
	    .interrupt_mean = seed % 2 ? 30 : 0,
	};
	machine_init(&config);
	machine_hooks.interrupt = interrupt;
	test_pages_init(&pages);
	profile = test_random_below(2) ? HEAP_FAST : HEAP_HARDENED;
	CHECK_OK(heap_create_as(&heap, &pages.area, profile));
	struct slab_cache_spec spec = {
	    .name = "cache", .object_bytes = CACHE_BYTES, .source = &pages.source};
	CHECK_OK(slab_cache_create(&cache, &spec));
	pages.limit = limit ? pages.held_npages + limit : 0;
	running = true;
	for (unsigned i = 0; i < THREADS; i++)
		machine_spawn(worker, NULL, NULL);
	if (reap)
		machine_spawn(reap_beside, NULL, NULL);
	/* The caller reaps while the others work. */
	for (unsigned i = 0; reap && i < 60; i++) {
		if (i % 3 == 0)
			heap_reap(heap, machine_random_below(2));
		else if (i % 3 == 1)
			slab_reap(cache);
		else
			slab_reap_all();
		reaps++;
		machine_progress();
		machine_yield();
	}
	machine_join();
	running = false;
	for (unsigned i = 0; i < SLOTS; i++) {
		if (slots[i])
			put(slots[i]);
		slots[i] = NULL;
	}
	CHECK(heap_is_valid(heap));
	CHECK(slab_is_valid(cache));
	heap_destroy(heap);
	slab_cache_destroy(cache);
	CHECK_EQ(pages.held_npages, 0);
	machine_end();
}

static void runs(unsigned n, bool reap, uint64_t limit)
{
	ops_per_thread = 120;
	for (unsigned i = 0; i < n; i++)
		run(1 + (unsigned)test_random_below(4), test_random(), reap, limit);
	test_note("%u runs, %lu allocations, %u interrupts, %u reaps, %u failures", n,
		  (unsigned long)allocs, interrupts, reaps, failures);
}

TEST(heap_machine_exchange)
{
	runs(100, false, 0);
	CHECK_EQ(failures, 0);
	CHECK(interrupts > 0);
}

TEST(heap_machine_and_reaper)
{
	runs(100, true, 0);
	CHECK_EQ(failures, 0);
	CHECK(reaps > 0);
}

TEST(heap_machine_running_out)
{
	runs(100, true, 140);
	CHECK(failures > 0);
}

/* Bursts of allocations and frees of one size over a common pool: slabs become
 * sparse, change hands while they stand on notify stacks, and become empty. */
enum { POOL = 4000 };
static void *pool[POOL];
static unsigned pooled;

static void burst(void)
{
	unsigned n = 1 + machine_random_below(1200), what = machine_random_below(8);
	unsigned stride = 1 + machine_random_below(50);
	for (unsigned i = 0; i < n; i++) {
		if (what < 3) {
			if (pooled >= POOL - THREADS - 1)
				return;
			void *p = heap_alloc(heap, 64);
			if (p)
				pool[pooled++] = p; /* no point since the test above but one */
		} else if (pooled) {
			/* From the end, from the start, or spread. */
			unsigned at = what < 5 ? pooled - 1 : what == 5 ? 0 : i * stride % pooled;
			void *p = pool[at];
			pool[at] = pool[--pooled];
			heap_free(heap, p);
		}
	}
}

static void burster(void *arg)
{
	for (unsigned i = 0; i < 25; i++) {
		burst();
		machine_progress();
		machine_yield();
	}
}

TEST(heap_machine_changes_hands)
{
	enum { RUNS = 12 };
	for (unsigned i = 0; i < RUNS; i++) {
		struct machine_config config = {
		    .bytes = 1 << 20,
		    .ncpus = 2 + i % 2,
		    .seed = test_random(),
		    .switch_mean = i % 3 ? 3000 : 15,
		};
		machine_init(&config);
		test_pages_init(&pages);
		profile = test_random_below(4) ? HEAP_FAST : HEAP_HARDENED;
		CHECK_OK(heap_create_as(&heap, &pages.area, profile));
		for (unsigned t = 0; t < THREADS; t++)
			machine_spawn(burster, NULL, NULL);
		machine_join();
		CHECK(heap_is_valid(heap));
		while (pooled)
			heap_free(heap, pool[--pooled]);
		CHECK(heap_is_valid(heap));
		heap_destroy(heap);
		CHECK_EQ(pages.held_npages, 0);
		machine_end();
	}
}

/* The same on purpose: two threads that stay on their CPUs and take turns. */
enum { MANY = 6000, MORE = 12000 };
static void *many[MANY], *more[MORE];
static unsigned turn;

static void wait_turn(unsigned wanted)
{
	while (turn != wanted)
		host_relax();
}

static void fill(void)
{
	for (unsigned i = 0; i < MANY; i++)
		CHECK((many[i] = heap_alloc(heap, 64)));
}

static void first_cpu(void *arg)
{
	host_preempt_disable();
	fill();
	turn++;
	wait_turn(2);
	/* Makes its slabs sparse: most go to the cache. */
	for (unsigned i = 0; i < MANY; i++)
		if (i % 64 && i % 16)
			heap_free(heap, many[i]);
	turn++;
	wait_turn(4);
	fill(); /* looks at its notify stack */
	for (unsigned i = 0; i < MANY; i++)
		heap_free(heap, many[i]);
	host_preempt_enable();
}

static void second_cpu(void *arg)
{
	host_preempt_disable();
	wait_turn(1);
	/* Announces every slab to the first CPU. */
	for (unsigned i = 0; i < MANY; i += 16)
		if (i % 64)
			heap_free(heap, many[i]);
	turn++;
	wait_turn(3);
	/* Takes them up, and empties them. */
	for (unsigned i = 0; i < MORE; i++)
		CHECK((more[i] = heap_alloc(heap, 64)));
	for (unsigned i = 0; i < MANY; i += 64)
		heap_free(heap, many[i]);
	for (unsigned i = 0; i < MORE; i++)
		heap_free(heap, more[i]);
	CHECK(heap_is_valid(heap));
	turn++;
	host_preempt_enable();
}

TEST(heap_machine_takes_turns)
{
	struct machine_config config = {
	    .bytes = 1 << 20, .ncpus = 2, .seed = test_random(), .switch_mean = 100};
	machine_init(&config);
	test_pages_init(&pages);
	CHECK_OK(heap_create_as(&heap, &pages.area, profile));
	machine_spawn(first_cpu, NULL, NULL);
	machine_spawn(second_cpu, NULL, NULL);
	machine_join();
	CHECK(heap_is_valid(heap));
	heap_destroy(heap);
	CHECK_EQ(pages.held_npages, 0);
	machine_end();
}
