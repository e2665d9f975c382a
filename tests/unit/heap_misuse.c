/* SPDX-License-Identifier: MIT */
/* The heap finds misuse: double and invalid frees in every build and profile, overflows
 * in the hardened profile and in debug builds. */
#include <mem/heap.h>
#include <mem/host.h>
#include <string.h>

#include "base/util.h"
#include "tests/machine/plain.h"
#include "tests/test.h"
#include "tests/unit/heap_help.h"

static void small_twice(void)
{
	void *p = kmalloc(100);
	kfree(p);
	kfree(p);
}
static void large_twice(void)
{
	void *p = kmalloc(100000);
	kfree(p);
	kfree(p);
}
static void large_twice_after_reap(void)
{
	void *p = kmalloc(100000);
	kfree(p);
	heap_reap(heap, true);
	kfree(p);
}
static void inside_small(void)
{
	kfree((char *)kmalloc(100) + 16);
}
static void inside_large(void)
{
	kfree((char *)kmalloc(100000) + PAGE_SIZE);
}
static void stack_pointer(void)
{
	int x;
	kfree(&x);
}
static void wild_pointer(void)
{
	kfree((void *)0x123456789000); // NOLINT(performance-no-int-to-ptr)
}
static void segment_head(void)
{
	uintptr_t p = (uintptr_t)kmalloc(100);
	kfree((void *)align_down(p, HUGE_SIZE)); // NOLINT(performance-no-int-to-ptr)
}
static void free_page_of_a_segment(void)
{
	uintptr_t p = (uintptr_t)kmalloc(100);
	kfree((void *)(align_down(p, HUGE_SIZE) + 60 * PAGE_SIZE)); // NOLINT
}
static void realloc_after_free(void)
{
	void *p = kmalloc(100);
	kfree(p);
	(void)!krealloc(p, 200);
}
static void other_heap(void)
{
	struct heap *other;
	CHECK_OK(heap_create_as(&other, &heap_pages.area, heap_profile));
	heap_free(other, kmalloc(100));
}
static void destroy_in_use(void)
{
	if (kmalloc(100))
		heap_destroy(heap);
}
static void large_overflow(void)
{
	char *p = kmalloc(100000);
	p[100000] ^= 1;
	kfree(p);
}

HEAP_TEST_LOOSE(heap_misuse_is_caught)
{
	heap_start(2);
	test_expect_panic(small_twice, "double free");
	test_expect_panic(large_twice, "double free");
	test_expect_panic(large_twice_after_reap, "invalid free");
	test_expect_panic(inside_small, "invalid free");
	test_expect_panic(inside_large, "invalid free");
	test_expect_panic(stack_pointer, "invalid free");
	test_expect_panic(wild_pointer, "invalid free");
	test_expect_panic(segment_head, "invalid free");
	test_expect_panic(free_page_of_a_segment, "invalid free");
	test_expect_panic(realloc_after_free, "use after free");
	test_expect_panic(other_heap, "invalid free");
	test_expect_panic(destroy_in_use, "1 live blocks");
	test_expect_panic(large_overflow, "overflow");
}

/* Of blocks side by side, in use and free, every address that is none of those in use. */
static char *suspect;
static void free_suspect(void)
{
	kfree(suspect);
}

HEAP_TEST_LOOSE(heap_no_address_but_a_blocks_is_freed)
{
	static const size_t sizes[] = {1,   24,   40,   100,  130,  250,
				       500, 1000, 1800, 2500, 5000, 15000};
	enum { N = 200, TRIES = 25 };
	static char *got[N];
	heap_start(1);
	for (unsigned s = 0; s < ARRAY_COUNT(sizes); s++) {
		for (unsigned i = 0; i < N; i++)
			CHECK((got[i] = kmalloc(sizes[s])));
		char *freed = got[N / 2];
		kfree(freed);
		got[N / 2] = got[0];
		for (unsigned try = 0; try < TRIES; try++) {
			size_t step = try % 4 ? 16 : 1;
			suspect = freed + test_random_below(2 * sizes[s] + 48) / step * step;
			if (try == 0)
				suspect = freed;
			bool live = heap_own(suspect);
			for (unsigned i = 0; i < N; i++)
				live = live || got[i] == suspect;
			if (!live)
				test_expect_panic(free_suspect, "free");
		}
		for (unsigned i = 0; i < N; i++)
			if (i != N / 2)
				kfree(got[i]);
	}
	heap_finish();
}

static size_t victim_bytes;
static void overflow_by_one(void)
{
	/* Whatever stood there, it is changed. */
	unsigned char *p = kmalloc(victim_bytes);
	p[victim_bytes] ^= 0x10;
	kfree(p);
}
static void overflow_by_many(void)
{
	unsigned char *p = kmalloc(victim_bytes);
	for (unsigned i = 0; i < 24; i++)
		p[victim_bytes + i] ^= 0xff;
	kfree(p);
}
static void overflow_found_by_realloc(void)
{
	unsigned char *p = kmalloc(victim_bytes);
	p[victim_bytes] ^= 0x10;
	(void)!krealloc(p, 2 * victim_bytes);
}

/* In release builds too, whatever the size. */
TEST_TIMED(heap_small_overflow_is_caught, 120)
{
	heap_start(1);
	static const size_t sizes[] = {
	    1,    3,    15,   16,   17,   24,   32,   33,   47,    48,    63,    64,   65,   100,
	    128,  200,  238,  239,  240,  241,  250,  256,  500,   511,   512,   513,  1000, 1022,
	    1023, 1024, 1025, 2048, 3000, 4096, 8000, 8192, 16000, 16382, 16383, 16384};
	for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
		victim_bytes = sizes[i];
		test_expect_panic(overflow_by_one, "overflow");
		test_expect_panic(overflow_by_many, "overflow");
		test_expect_panic(overflow_found_by_realloc, "overflow");
	}
}

/* Reports name the caller of a shim, which passes that on. */
static void overflow_behind_a_shim(void)
{
	char *p = heap_alloc_at(heap, 20000, 16, (void *)0x5117e);
	p[20000] ^= 1;
	heap_free_at(heap, p, (void *)0x5117f);
}
static void double_free_behind_a_shim(void)
{
	void *p = heap_alloc_at(heap, 20000, 64, (void *)0x5117e);
	heap_free_at(heap, p, (void *)0x5117f);
	heap_free(heap, p);
}

HEAP_TEST(heap_reports_name_who_called_the_shim)
{
	heap_start(1);
	test_expect_panic(overflow_behind_a_shim, "allocated at 0x5117e");
	test_expect_panic(double_free_behind_a_shim, "last used at 0x5117f");
	char *page = kmalloc_page();
	CHECK(page && !((uintptr_t)page & PAGE_MASK));
	page[0] = page[PAGE_SIZE - 1] = 1;
	kfree(page);
	char *p = heap_realloc_at(heap, NULL, 100, (void *)0x5117e);
	CHECK(p && (p = heap_realloc_at(heap, p, 20000, (void *)0x5117e)));
	heap_free_at(heap, p, (void *)0x5117f);
	heap_finish();
}

/* Which block comes next cannot be arranged for: neither the neighbour of the one before, nor
 * the one just freed. */
TEST_TIMED(heap_hardened_placement_is_not_foreseen, 120)
{
	static const size_t sizes[] = {16, 64, 100, 1000, 5000};
	enum { N = 256, TRIES = 100 };
	static char *got[N];
	heap_profile = HEAP_HARDENED;
	heap_start(1);
	for (unsigned s = 0; s < ARRAY_COUNT(sizes); s++) {
		unsigned in_order = 0, again = 0;
		for (unsigned i = 0; i < N; i++) {
			CHECK((got[i] = kmalloc(sizes[s])));
			in_order += i > 1 && got[i] - got[i - 1] == got[i - 1] - got[i - 2];
		}
		CHECK(in_order < N / 4);
		for (unsigned i = 0; i < N; i += 2)
			kfree(got[i]);
		for (unsigned i = 0; i < TRIES; i++) {
			void *one = kmalloc(sizes[s]);
			uintptr_t at = (uintptr_t)one;
			kfree(one);
			void *next = kmalloc(sizes[s]);
			again += (uintptr_t)next == at;
			kfree(next);
		}
		CHECK(again < TRIES / 2);
		for (unsigned i = 1; i < N; i += 2)
			kfree(got[i]);
	}
	heap_finish();
}

#ifndef MEM_DEBUG
/* Debug builds poison what is freed; the hardened profile clears it. */
TEST_TIMED(heap_hardened_clears_what_is_freed, 120)
{
	enum { N = 100 }; /* enough for the long and the short way */
	static volatile unsigned char *got[N];
	heap_profile = HEAP_HARDENED;
	heap_start(1);
	for (size_t bytes = 1; bytes <= 16000; bytes += 1 + bytes / 3) {
		for (unsigned i = 0; i < N; i++) {
			CHECK((got[i] = kmalloc(bytes)));
			memset((void *)(uintptr_t)got[i], 0xa5, bytes);
		}
		for (unsigned i = 0; i < N; i++) {
			kfree((void *)(uintptr_t)got[i]);
			for (size_t k = 0; k < bytes; k++)
				CHECK_EQ(got[i][k], 0);
		}
	}
	heap_finish();
}
#endif

#ifdef MEM_DEBUG
static void small_overflow(void)
{
	char *p = kmalloc(100); /* within the class, beyond what was asked for */
	p[100] = 1;
	kfree(p);
}
static void overflow_after_shrink(void)
{
	char *p = krealloc(kmalloc(100), 99);
	p[99] = 1;
	kfree(p);
}

static void large_late_write(void)
{
	char *p = kmalloc(100000);
	kfree(p);
	p[70000] = 1;
	heap_reap(heap, true);
}
static void large_late_write_found_by_reuse(void)
{
	char *p = kmalloc(100000);
	kfree(p);
	p[7] = 1;
	(void)!kmalloc(100000);
}
static void small_late_write(void)
{
	char *p = kmalloc(100);
	kfree(p);
	p[7] = 1;
	heap_reap(heap, true);
}

HEAP_TEST(heap_debug_finds_overflows)
{
	heap_start(1);
	test_expect_panic(small_overflow, "overflow");
	test_expect_panic(overflow_after_shrink, "overflow");
	test_expect_panic(large_late_write, "use after free");
	test_expect_panic(large_late_write_found_by_reuse, "use after free");
	test_expect_panic(small_late_write, "use after free");
}

/* Fresh memory and freed memory look different, and neither like zeros. */
HEAP_TEST(heap_debug_poisons)
{
	heap_start(1);
	static const size_t sizes[] = {10, 1000, 100000};
	for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
		unsigned char *p = kmalloc(sizes[i]), fresh = p[0];
		CHECK(fresh && p[sizes[i] - 1] == fresh && p[sizes[i] / 2] == fresh);
		memset(p, 0, sizes[i]);
		kfree(p); /* mapped still, and not handed out again */
		CHECK(p[0] && p[0] != fresh && p[sizes[i] - 1] == p[0]);
	}
	heap_finish();
}

static __attribute__((noinline)) void forget(size_t bytes)
{
	(void)!kmalloc(bytes);
	__asm__(""); /* the site lies in here */
}
static void leak_small(void)
{
	forget(123);
	heap_destroy(heap);
}
static void leak_large(void)
{
	forget(123456);
	heap_destroy(heap);
}

/* What leaked, how much, and from where. */
HEAP_TEST(heap_debug_lists_leaks)
{
	heap_start(1);
	test_expect_panic(leak_small, ", 123 bytes, allocated at 0x");
	test_expect_panic(leak_large, ", 123456 bytes, allocated at 0x");
}
#endif
