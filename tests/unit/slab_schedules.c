/* SPDX-License-Identifier: MIT */
/*
 * The short ways beside a reaper, in every schedule with one preemption of either
 * (tests/machine/explore.c): what guard.pml says of the idea, this says of the code.
 */
#include <mem/slab.h>

#include "base/util.h"
#include "heap/internal.h"
#include "tests/machine/boot.h"
#include "tests/machine/machine.h"
#include "tests/test.h"

enum { BYTES = 64, WARM = 40 };

/* Pages of the machine's own memory, so that they come back with it. None is given
 * twice, and nobody may touch one that was taken back. */
static uint64_t next_page, held_npages;

static void *give(uint64_t npages, uint64_t align_pages)
{
	uint64_t first = align_up(next_page, align_pages);
	next_page = first + npages + 1;
	CHECK(next_page << PAGE_SHIFT <= machine_bytes());
	held_npages += npages;
	return paddr_to_ptr(first << PAGE_SHIFT);
}

static void take_back(void *at, uint64_t npages)
{
	held_npages -= npages;
	machine_forbid(at, npages * PAGE_SIZE);
}

static void *source_alloc(struct page_source *source, unsigned order, bool atomic)
{
	return give((uint64_t)1 << order, (uint64_t)1 << order);
}

static void source_free(struct page_source *source, void *at, unsigned order)
{
	take_back(at, (uint64_t)1 << order);
}

static void *area_map(struct heap_area *area, uint64_t npages, uint64_t align_pages, bool atomic)
{
	return give(npages, align_pages);
}

static void area_unmap(struct heap_area *area, void *at, uint64_t npages)
{
	take_back(at, npages);
}

/* Of one block at a time, from its end; until that is unmapped. */
static uint64_t decommitted_npages;

static bool area_decommit(struct heap_area *area, void *at, uint64_t npages)
{
	take_back(at, npages);
	decommitted_npages += npages;
	return true;
}

static bool area_recommit(struct heap_area *area, void *at, uint64_t npages, bool atomic)
{
	return false;
}

static void area_unmap_rest(struct heap_area *area, void *at, uint64_t npages)
{
	uint64_t gone = decommitted_npages;
	decommitted_npages = 0;
	take_back(at, npages - gone);
}

static struct page_source source = {source_alloc, source_free};
static struct heap_area area = {.map = area_map, .unmap = area_unmap};
static struct heap_area area_in_parts = {.map = area_map,
					 .unmap = area_unmap_rest,
					 .decommit = area_decommit,
					 .recommit = area_recommit};

static struct slab_cache *cache;
static void *block;

/* A CPU with a magazine of blocks: it was asked often enough. */
static void warm(void)
{
	static void *blocks[WARM];
	for (unsigned i = 0; i < WARM; i++)
		CHECK((blocks[i] = slab_alloc(cache)) != NULL);
	for (unsigned i = 0; i < WARM; i++)
		slab_free(cache, blocks[i]);
	CHECK((block = slab_alloc(cache)) != NULL);
}

static void take_one(void *arg)
{
	warm();
	machine_explore(2, 1);
	void *p = slab_alloc(cache);
	CHECK(p && p != block);
	slab_free(cache, block);
	block = p;
}

static void reap(void *arg)
{
	machine_explore(2, 1);
	slab_reap(cache);
}

static void start(void)
{
	struct machine_config config = {.bytes = 16 << 20, .ncpus = 2, .seed = 1};
	machine_init(&config);
	next_page = held_npages = 0;
}

static void run_both(void (*first)(void *), void (*second)(void *))
{
	machine_spawn(first, NULL, NULL);
	machine_spawn(second, NULL, NULL);
	machine_join();
	machine_explore_end();
}

static void finish(void)
{
	CHECK_EQ(held_npages, 0);
	machine_end();
}

static void beside_a_reap(uint64_t i)
{
	start();
	struct slab_cache_spec spec = {.name = "cache", .object_bytes = BYTES, .source = &source};
	CHECK_OK(slab_cache_create(&cache, &spec));
	run_both(take_one, reap);
	CHECK(slab_is_valid(cache));
	slab_free(cache, block);
	slab_cache_destroy(cache);
	finish();
}

/* The same of the heap: its frees go the short way, too. */
static struct heap *heap;

static void exchange_one(void *arg)
{
	static void *blocks[WARM];
	for (unsigned i = 0; i < WARM; i++)
		CHECK((blocks[i] = heap_alloc(heap, BYTES)) != NULL);
	for (unsigned i = 0; i < WARM; i++)
		heap_free(heap, blocks[i]);
	CHECK((block = heap_alloc(heap, BYTES)) != NULL);
	machine_explore(2, 1);
	heap_free(heap, block);
	CHECK((block = heap_alloc(heap, BYTES)) != NULL);
}

static void reap_one(void *arg)
{
	machine_explore(2, 1);
	slab_reap(heap->classes[heap_class_of(heap, BYTES)]);
}

static void heap_beside_a_reap(uint64_t i)
{
	start();
	CHECK_OK(heap_create_as(&heap, &area, HEAP_FAST));
	run_both(exchange_one, reap_one);
	CHECK(heap_is_valid(heap));
	heap_free(heap, block);
	heap_destroy(heap);
	finish();
}

/* A block of a kind that is filled and checked without a lock, while another CPU takes what
 * is free: nobody fills or gives back what has a user again. */
static size_t bytes;

static unsigned char *kept[2];

static void take_and_keep(unsigned i)
{
	kept[i] = heap_alloc(heap, bytes);
	CHECK(kept[i] != NULL);
	memset(kept[i], 0x11 << i, bytes);
}

static void check_and_free(unsigned i)
{
	for (size_t at = 0; at < bytes; at++)
		CHECK_EQ(kept[i][at], 0x11 << i);
	heap_free(heap, kept[i]);
}

static void free_and_take(void *arg)
{
	machine_explore(2, 1);
	heap_free(heap, block);
	take_and_keep(0);
}

static void take_beside(void *arg)
{
	machine_explore(2, 1);
	take_and_keep(1);
}

static void reap_and_take(void *arg)
{
	machine_explore(2, 1);
	heap_reap(heap, false);
	take_and_keep(1);
}

static void whole_blocks(uint64_t i, size_t of, struct heap_area *from, unsigned samples)
{
	start();
	bytes = of;
	CHECK_OK(heap_create_as(&heap, from, HEAP_FAST));
	if (samples)
		CHECK_OK(heap_sample_start(heap, samples, 1));
	CHECK((block = heap_alloc(heap, bytes)) != NULL);
	run_both(free_and_take, i ? reap_and_take : take_beside);
	check_and_free(0);
	check_and_free(1);
	CHECK(heap_is_valid(heap));
	heap_destroy(heap);
	finish();
}

static void large_blocks(uint64_t i)
{
	whole_blocks(i, 70 * PAGE_SIZE + 1, &area_in_parts, 0);
}

static void sampled_blocks(uint64_t i)
{
	whole_blocks(i, 100, &area, 2);
}

TEST(heap_every_schedule_of_large_blocks)
{
	machine_each(2, large_blocks);
	machine_expect_schedules(142);
}

TEST(heap_every_schedule_of_sampled_blocks)
{
	machine_each(2, sampled_blocks);
	machine_expect_schedules(67);
}

TEST(slab_every_schedule_of_a_free_and_a_reap)
{
	machine_each(1, heap_beside_a_reap);
	machine_expect_schedules(454);
}

TEST(slab_every_schedule_of_a_short_way_and_a_reap)
{
	machine_each(1, beside_a_reap);
	machine_expect_schedules(413);
}
