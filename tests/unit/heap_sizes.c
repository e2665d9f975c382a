/* SPDX-License-Identifier: MIT */
/* The heap on one CPU: sizes, alignment, contents, statistics. */
#include <mem/heap.h>
#include <mem/host.h>
#include <string.h>

#include "base/util.h"
#include "tests/machine/plain.h"
#include "tests/test.h"
#include "tests/unit/heap_help.h"

HEAP_TEST_LOOSE(heap_every_size)
{
	heap_start(1);
	for (size_t bytes = 0; bytes <= 20000; bytes += 1 + bytes / 600) {
		unsigned char *p = kmalloc(bytes);
		CHECK(p);
		size_t usable = heap_usable(heap, p);
		CHECK(usable >= bytes);
#ifndef MEM_DEBUG
		if (heap_profile == HEAP_HARDENED)
#endif
			CHECK_EQ(usable, bytes);
		CHECK_EQ((uintptr_t)p % 16, 0);
		memset(p, 1, usable);
		kfree(p);
	}
	CHECK_EQ(heap_live_blocks(), 0);
	heap_finish();
}

HEAP_TEST_LOOSE(heap_blocks_do_not_overlap)
{
	heap_start(1);
	enum { N = 4000 };
	static struct {
		unsigned char *p;
		size_t bytes;
	} live[N];
	for (unsigned i = 0; i < N; i++) {
		live[i].bytes = test_random_below(test_random_below(10) ? 1024 : 30000);
		live[i].p = kmalloc(live[i].bytes);
		CHECK(live[i].p);
		memset(live[i].p, (int)i, live[i].bytes);
	}
	CHECK(heap_is_valid(heap));
	CHECK_EQ(heap_live_blocks(), N);
	for (unsigned i = 0; i < N; i++) {
		for (size_t b = 0; b < live[i].bytes; b++)
			CHECK_EQ(live[i].p[b], (unsigned char)i);
		kfree(live[i].p);
	}
	heap_finish();
}

HEAP_TEST_LOOSE(heap_alignment)
{
	heap_start(1);
	for (size_t align = 1; align <= HUGE_SIZE; align *= 2)
		for (size_t bytes = 1; bytes < 70000; bytes = bytes * 3 + 1) {
			char *p = kmalloc_aligned(bytes, align), *q = kmalloc_aligned(bytes, align);
			CHECK(p && q && p != q);
			CHECK_EQ((uintptr_t)p % align, 0);
			CHECK_EQ((uintptr_t)q % align, 0);
			memset(p, 1, bytes);
			memset(q, 2, bytes);
			CHECK_EQ(p[bytes - 1], 1);
			kfree(p);
			kfree(q);
		}
	heap_finish();
}

HEAP_TEST(heap_zeroed)
{
	heap_start(1);
	static const size_t sizes[] = {1, 16, 100, 4096, 20000, 100000};
	for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++)
		for (unsigned round = 0; round < 3; round++) {
			unsigned char *p = round == 1 ? kcalloc(sizes[i], 1) : kzalloc(sizes[i]);
			CHECK(p);
			for (size_t b = 0; b < sizes[i]; b++)
				CHECK_EQ(p[b], 0);
			memset(p, 0xff, sizes[i]);
			kfree(p);
		}
	heap_finish();
}

HEAP_TEST(heap_pitfall_23_sizes)
{
	heap_start(1);
	/* kcalloc checks the product. */
	CHECK(!kcalloc(SIZE_MAX / 2, 3));
	CHECK(!kcalloc((size_t)1 << 33, (size_t)1 << 31));
	CHECK(!kmalloc(SIZE_MAX));
	CHECK(!kmalloc(SIZE_MAX - PAGE_SIZE));
	CHECK(!kmalloc_aligned(SIZE_MAX - 5, 64));
	/* krealloc to smaller copies the new size: the bytes behind it are another
	 * block's or nobody's. */
	static const size_t sizes[] = {17, 1000, 5000, 16384, 17000, 50000, 200000};
	for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++)
		for (unsigned j = 0; j < ARRAY_COUNT(sizes); j++) {
			unsigned char *p = kmalloc(sizes[i]);
			for (size_t b = 0; b < sizes[i]; b++)
				p[b] = (unsigned char)(b * 31);
			p = krealloc(p, sizes[j]);
			CHECK(p);
			for (size_t b = 0; b < sizes[i] && b < sizes[j]; b++)
				CHECK_EQ(p[b], (unsigned char)(b * 31));
			CHECK(heap_is_valid(heap));
			kfree(p);
		}
	/* As the C standard says. */
	void *p = krealloc(NULL, 10);
	CHECK(p);
	CHECK(!krealloc(p, 0));
	kfree(NULL);
	CHECK_EQ(heap_live_blocks(), 0);
	heap_finish();
}

HEAP_TEST_LOOSE(heap_failed_realloc_leaves_the_block)
{
	heap_start(1);
	char *p = kmalloc(100);
	memset(p, 7, 100);
	heap_pages.fail_all = true;
	CHECK(!krealloc(p, 1 << 20));
	CHECK(!krealloc(p, SIZE_MAX));
	CHECK_EQ(p[99], 7);
	heap_pages.fail_all = false;
	kfree(p);
	heap_finish();
}

static void sum_class(const struct slab_stats *stats, void *arg)
{
	*(uint64_t *)arg += stats->live;
}

HEAP_TEST_LOOSE(heap_statistics_add_up)
{
	heap_start(1);
	static void *got[500];
	for (unsigned i = 0; i < 500; i++)
		got[i] = kmalloc(i * 20 + 1);
	uint64_t sum = 0;
	heap_for_each_class(heap, sum_class, &sum);
	CHECK_EQ(sum, 500);
	struct heap_stats stats;
	heap_get_stats(heap, &stats);
	CHECK_EQ(stats.live_blocks, 500);
	CHECK_EQ(stats.allocs, 500);
	CHECK(stats.live_bytes >= 499 * 500 / 2 * 20);
	CHECK_EQ(stats.large_npages, 0);
	void *large = kmalloc(40000);
	heap_get_stats(heap, &stats);
	CHECK_EQ(stats.large_npages, 10);
	heap_pages.fail_all = true;
	CHECK(!kmalloc(1 << 20));
	heap_pages.fail_all = false;
	heap_get_stats(heap, &stats);
	CHECK_EQ(stats.failures, 1);
	kfree(large);
	for (unsigned i = 0; i < 500; i++)
		kfree(got[i]);
	heap_get_stats(heap, &stats);
	CHECK_EQ(stats.allocs, 501);
	CHECK_EQ(stats.frees, 501);
	heap_finish();
}
