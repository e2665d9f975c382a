/* SPDX-License-Identifier: MIT */
/* Which class serves a size: few classes while there are few blocks, one each when there are
 * more, few again; and blocks of larger classes where they lie idle. */
#include <mem/heap.h>
#include <mem/host.h>
#include <string.h>

#include "heap/internal.h"
#include "tests/machine/plain.h"
#include "tests/test.h"
#include "tests/unit/heap_help.h"

/* Bytes of the class that a block is of. */
static size_t class_of(const void *block)
{
	struct slab *slab = heap_find_slab(heap, block);
	CHECK(slab);
	return slab->cache->object_bytes;
}

/* Bytes of the class that serves so many now. */
static size_t served_by(size_t bytes)
{
	return heap->classes[heap_class_of(heap, bytes)]->object_bytes;
}

/* Bytes of the class that serves so many while there are few blocks. */
static size_t coarse(size_t bytes)
{
	return heap_class_bytes(heap_coarse_class(heap, heap_finest_class(heap, bytes)));
}

static uint64_t blocks_of(size_t class_bytes)
{
	return heap->classes[heap_class_for(class_bytes)]->nblocks;
}

HEAP_TEST(heap_few_blocks_share_a_class)
{
	heap_start(1);
	static const size_t sizes[] = {560, 600, 700, 800, 900, 1000};
	void *got[ARRAY_COUNT(sizes)];
	for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
		got[i] = kmalloc(sizes[i]);
		CHECK_EQ(class_of(got[i]), coarse(600));
	}
	CHECK(heap_is_valid(heap));
	for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++)
		kfree(got[i]);
	heap_finish();
}

/* More than a slab of them, and each size gets its class; other sizes' blocks still share.
 * When all but a few are gone they share again. */
HEAP_TEST(heap_classes_open_and_close)
{
	heap_start(2);
	enum { N = 100 };
	void *got[N], *other = kmalloc(150);
	for (unsigned i = 0; i < N; i++) {
		plain_set_cpu(i % 2);
		got[i] = kmalloc(600);
		CHECK(got[i] && class_of(got[i]) >= 600);
	}
	CHECK(heap_is_valid(heap));
	CHECK_EQ(class_of(got[0]), coarse(600));
	CHECK_EQ(class_of(got[N - 1]), 608);
	CHECK_EQ(served_by(790), 800);
	CHECK_EQ(served_by(150), coarse(150));
	CHECK_EQ(served_by(1200), coarse(1200));
	plain_set_cpu(0);
	for (unsigned i = 0; i < N - 1; i++)
		kfree(got[i]);
	heap_reap(heap, true);
	CHECK(heap_is_valid(heap));
	CHECK_EQ(served_by(600), 608); /* one is left of it */
	kfree(got[N - 1]);
	heap_reap(heap, true);
	CHECK_EQ(served_by(600), coarse(600));
	CHECK(heap_is_valid(heap));
	kfree(other);
	heap_finish();
}

static void check_size(size_t bytes)
{
	unsigned char *p = kmalloc(bytes);
	CHECK(p && heap_usable(heap, p) >= bytes);
	CHECK_EQ((uintptr_t)p % 16, 0);
	p[0] = p[bytes - 1] = 1;
	kfree(p);
}

/* Whoever serves them, all sizes get what they were promised. */
HEAP_TEST(heap_every_size_open_or_not)
{
	heap_start(1);
	for (size_t bytes = 1; bytes <= HEAP_MAX_SMALL; bytes++)
		check_size(bytes);
	static void *got[HEAP_CLASSES][70];
	for (unsigned c = 0; heap_class_bytes(c) <= HEAP_MAX_SMALL; c++)
		for (unsigned i = 0; i < 70; i++)
			CHECK((got[c][i] = kmalloc(heap_class_bytes(c) - 3)));
	for (unsigned c = 3; heap_class_bytes(c) <= HEAP_MAX_SMALL;
	     c++) /* the first slab of 16 bytes has 256 */
		CHECK_EQ(served_by(heap_class_bytes(c) - 3), heap_class_bytes(c));
	CHECK(heap_is_valid(heap));
	for (size_t bytes = 1; bytes <= HEAP_MAX_SMALL; bytes++)
		check_size(bytes);
	for (unsigned c = 0; heap_class_bytes(c) <= HEAP_MAX_SMALL; c++)
		for (unsigned i = 0; i < 70; i++)
			kfree(got[c][i]);
	heap_finish();
}

/* A class that opens and gets no pages: the one that served so far does. */
HEAP_TEST(heap_classes_open_without_pages)
{
	heap_start(1);
	enum { N = 4096 };
	static void *got[N];
	unsigned n = 0;
	heap_pages.limit = heap_pages.held_npages + 64;
	while (n < N && (got[n] = kmalloc(1024 - 3)))
		n++;
	/* These open their class, which gets the last pages. */
	while (n < N && (got[n] = kmalloc(600)))
		n++;
	CHECK(n > 30 && n < N);
	CHECK_EQ(served_by(600), 608);
	for (unsigned i = 0; i < 10; i++) {
		kfree(got[i]);
		got[i] = kmalloc(600);
		CHECK(SLAB_DEBUG || got[i]); /* there it is in quarantine */
	}
	CHECK(heap_is_valid(heap));
	while (n)
		kfree(got[--n]);
	heap_finish();
}

/* ---- borrowing ----------------------------------------------------------------------- */

enum { MANY = 1000 };
static void *large[MANY], *small[2 * MANY];

static void fill(void **blocks, unsigned n, size_t bytes)
{
	for (unsigned i = 0; i < n; i++)
		CHECK((blocks[i] = kmalloc(bytes)));
}

static void check_statistics(uint64_t live)
{
	struct heap_stats stats;
	heap_get_stats(heap, &stats);
	CHECK_EQ(stats.live_blocks, live);
	CHECK_EQ(stats.allocs - stats.frees, live);
	CHECK(heap_is_valid(heap));
}

/* All of both are in use; then a half of the large ones are not. */
static void lay_idle(size_t larger, size_t smaller)
{
	fill(large, MANY, larger);
	fill(small, MANY, smaller);
	for (unsigned i = 0; i < 200; i++) { /* they come and go */
		kfree(small[i]);
		CHECK((small[i] = kmalloc(smaller)));
	}
	for (unsigned i = 0; i < MANY; i += 2) {
		kfree(large[i]);
		large[i] = NULL;
	}
	check_statistics(MANY + MANY / 2);
}

static void free_all(unsigned nsmall)
{
	for (unsigned i = 0; i < nsmall; i++)
		kfree(small[i]);
	for (unsigned i = 0; i < MANY; i++)
		kfree(large[i]);
	check_statistics(0);
	heap_finish();
}

/* What lies idle in a class serves the sizes below it, so no pages are needed. */
TEST_TIMED(heap_idle_blocks_are_borrowed, 120)
{
	heap_profile = HEAP_FAST;
	heap_start(1);
	lay_idle(830, 798);
	uint64_t blocks = blocks_of(800), borrowed = 0;
	for (unsigned i = MANY; i < MANY + 300; i++) {
		kfree(small[i - MANY]); /* some come and go, but they become more */
		CHECK((small[i - MANY] = kmalloc(798)));
		CHECK((small[i] = kmalloc(798)));
		CHECK(class_of(small[i]) >= 800 && class_of(small[i]) <= 1200);
		memset(small[i], (int)i, 798);
	}
	for (unsigned i = 0; i < MANY + 300; i++)
		borrowed += class_of(small[i]) == 832;
	check_statistics(MANY + MANY / 2 + 300);
	test_note("%lu blocks of 800 bytes, then %lu; %lu of 832 borrowed", (unsigned long)blocks,
		  (unsigned long)blocks_of(800), (unsigned long)borrowed);
	CHECK(borrowed > 200);
	CHECK(blocks_of(800) <= blocks + 64);
	for (unsigned i = MANY; i < MANY + 300; i++)
		CHECK_EQ(((unsigned char *)small[i])[797], (unsigned char)i);
	/* They go back to where they are from. */
	free_all(MANY + 300);
}

/* In a program that only grows each class grows by itself: no class is to be full of what
 * others have borrowed when they could not know yet that it would be more. */
TEST_TIMED(heap_growth_borrows_nothing, 120)
{
	heap_profile = HEAP_FAST;
	heap_start(1);
	for (unsigned i = 0; i < MANY; i++) {
		CHECK((large[i] = kmalloc(830)));
		CHECK((small[i] = kmalloc(798)));
		CHECK(i < 100 || class_of(small[i]) == 800);
	}
	free_all(MANY);
}

/* What is asked for aligned is, also powers of two to their size, whatever
 * lies idle in the classes above. */
TEST_TIMED(heap_aligned_blocks_are_not_borrowed, 120)
{
	heap_profile = HEAP_FAST;
	heap_start(1);
	/* The class that has these, and idle blocks in the one above. */
	size_t own = heap_leaves_space(heap) ? 1024 : 512;
	lay_idle(own + own / 16 - 2, own - 2);
	for (unsigned i = MANY; i < 2 * MANY; i++) {
		CHECK((small[i] = kmalloc_aligned(512, 512)));
		CHECK_EQ((uintptr_t)small[i] % 512, 0);
	}
	free_all(2 * MANY);
	heap_start(1);
	lay_idle(208, 192); /* 192 bytes apart: aligned to 64 */
	for (unsigned i = MANY; i < 2 * MANY; i++) {
		small[i] = i % 3 ? kmalloc_aligned(150 + i % 40, 64) : kmalloc(192);
		CHECK(small[i] && (i % 3 == 0 || (uintptr_t)small[i] % 64 == 0));
	}
	free_all(2 * MANY);
}

/* The reaper and a CPU that leaves find what was borrowed and is still in a magazine. */
TEST_TIMED(heap_borrowed_blocks_go_home, 120)
{
	for (unsigned way = 0; way < 3; way++) {
		heap_profile = HEAP_FAST;
		heap_start(2);
		lay_idle(830, 798);
		unsigned n = MANY;
		do /* until the first is borrowed; more of them are in the magazine then */
			CHECK(n < MANY + 300 && (small[n] = kmalloc(798)));
		while (class_of(small[n++]) == 800);
		CHECK(heap_is_valid(heap));
		if (way == 0)
			heap_reap(heap, true);
		else if (way == 1)
			heap_cpu_leave(heap);
		else
			slab_reap(heap->classes[heap_class_for(800)]);
		check_statistics(MANY / 2 + n);
		free_all(n);
	}
}
