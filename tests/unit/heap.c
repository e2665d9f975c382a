/* SPDX-License-Identifier: MIT */
/* The heap on one CPU: sizes, alignment, contents, exact return of pages,
 * misuse, running out. */
#include <mem/heap.h>
#include <mem/host.h>
#include <string.h>

#include "base/util.h"
#include "tests/machine/plain.h"
#include "tests/test.h"
#include "tests/unit/pages.h"

static struct test_pages pages;
static struct heap *heap;

static void start(unsigned ncpus)
{
	plain_init(1 << 20, ncpus);
	test_pages_init(&pages);
	CHECK_OK(heap_create(&heap, &pages.area));
	heap_set_default(heap);
}

static void finish(void)
{
	CHECK(heap_is_valid(heap));
	heap_destroy(heap);
	CHECK_EQ(pages.held_npages, 0);
}

static uint64_t live_blocks(void)
{
	struct heap_stats stats;
	heap_get_stats(heap, &stats);
	CHECK_EQ(stats.held_npages, pages.held_npages);
	return stats.live_blocks;
}

TEST(heap_every_size)
{
	start(1);
	for (size_t bytes = 0; bytes <= 20000; bytes += 1 + bytes / 600) {
		unsigned char *p = kmalloc(bytes);
		CHECK(p);
		size_t usable = heap_usable(heap, p);
		CHECK(usable >= bytes);
		CHECK_EQ(usable, bytes);
		CHECK_EQ((uintptr_t)p % 16, 0);
		size_t align = is_pow2(bytes) ? mem_min(bytes, (size_t)PAGE_SIZE) : 1;
		CHECK_EQ((uintptr_t)p % align, 0);
		memset(p, 1, usable);
		kfree(p);
	}
	CHECK_EQ(live_blocks(), 0);
	finish();
}

TEST(heap_blocks_do_not_overlap)
{
	start(1);
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
	CHECK_EQ(live_blocks(), N);
	for (unsigned i = 0; i < N; i++) {
		for (size_t b = 0; b < live[i].bytes; b++)
			CHECK_EQ(live[i].p[b], (unsigned char)i);
		kfree(live[i].p);
	}
	finish();
}

TEST(heap_alignment)
{
	start(1);
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
	finish();
}

TEST(heap_zeroed)
{
	start(1);
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
	finish();
}

TEST(heap_pitfall_23_sizes)
{
	start(1);
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
	CHECK_EQ(live_blocks(), 0);
	finish();
}

TEST(heap_failed_realloc_leaves_the_block)
{
	start(1);
	char *p = kmalloc(100);
	memset(p, 7, 100);
	pages.fail_all = true;
	CHECK(!krealloc(p, 1 << 20));
	CHECK(!krealloc(p, SIZE_MAX));
	CHECK_EQ(p[99], 7);
	pages.fail_all = false;
	kfree(p);
	finish();
}

/* ---- giving back ---------------------------------------------------------------- */

TEST(heap_gives_back_exactly)
{
	start(4);
	enum { N = 20000 };
	static void *got[N];
	uint64_t before = pages.held_npages;
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < N; i++) {
			plain_set_cpu((unsigned)test_random_below(4));
			CHECK((got[i] = kmalloc(test_random_below(900))));
		}
		for (unsigned i = 0; i < N; i++) {
			plain_set_cpu((unsigned)test_random_below(4));
			kfree(got[i]);
		}
		plain_set_cpu(0);
		CHECK(heap_is_valid(heap));
		heap_reap(heap, false);
		CHECK(pages.held_npages <= before + 512);
		CHECK(heap_reap(heap, true) > 0);
		CHECK_EQ(pages.held_npages, before);
	}
	finish();
}

/* A slab stands on one CPU's notify stack, has gone to another CPU since, and
 * becomes empty there: it may not be released before the first CPU looked. */
TEST(heap_announced_slab_changes_hands)
{
	start(2);
	enum { N = 6000, MORE = 20000 };
	static void *got[N], *more[MORE];
	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = 0; i < N; i++)
			CHECK((got[i] = kmalloc(64)));
		plain_set_cpu(1); /* announces every slab to CPU 0 */
		for (unsigned i = 0; i < N; i += 16) {
			kfree(got[i]);
			got[i] = NULL;
		}
		plain_set_cpu(0); /* makes them sparse: most go to the cache */
		for (unsigned i = 0; i < N; i++)
			if (i % 64) {
				kfree(got[i]);
				got[i] = NULL;
			}
		plain_set_cpu(1); /* takes them up, and empties them */
		for (unsigned i = 0; i < MORE; i++)
			CHECK((more[i] = kmalloc(64)));
		for (unsigned i = 0; i < N; i++)
			kfree(got[i]);
		for (unsigned i = 0; i < MORE; i++)
			kfree(more[i]);
		CHECK(heap_is_valid(heap));
		plain_set_cpu(0); /* looks */
		for (unsigned i = 0; i < N; i++)
			CHECK((got[i] = kmalloc(64)));
		CHECK(heap_is_valid(heap));
		for (unsigned i = 0; i < N; i++)
			kfree(got[i]);
		CHECK(heap_is_valid(heap));
	}
	finish();
}

/* After shrinking to a tenth and churning, memory is given back page by page. */
TEST(heap_gives_back_parts_of_segments)
{
	for (unsigned round = 0; round < 2; round++) {
		start(1);
		pages.refuse_drop = round == 1;
		enum { N = 40000 };
		static struct {
			unsigned char *p;
			unsigned bytes;
		} got[N];
		uint64_t bytes = 0;
		unsigned n = N;
		for (unsigned i = 0; i < N; i++) {
			got[i].bytes = (unsigned)(16 + test_random_below(500));
			got[i].p = kmalloc(got[i].bytes);
			memset(got[i].p, (int)i, got[i].bytes);
		}
		uint64_t peak = pages.held_npages;
		for (unsigned op = 0; op < N + N / 2; op++) {
			unsigned i = (unsigned)test_random_below(n);
			kfree(got[i].p);
			if (n > N / 10) {
				got[i] = got[--n];
				continue;
			}
			got[i].bytes = (unsigned)(16 + test_random_below(500));
			got[i].p = kmalloc(got[i].bytes);
		}
		for (unsigned i = 0; i < n; i++)
			bytes += got[i].bytes;
		heap_reap(heap, true);
		CHECK(heap_is_valid(heap));
		test_note("%lu pages at the peak, %lu held for %lu live", (unsigned long)peak,
			  (unsigned long)pages.held_npages, (unsigned long)(bytes / PAGE_SIZE));
		if (!pages.refuse_drop) {
			CHECK(pages.dropped_npages > 0);
			CHECK(pages.held_npages < peak / 2);
		}
		/* Dropped pages are used again; from half way on they may be refused. */
		for (unsigned i = n; i < N; i++) {
			if (i >= N / 2)
				pages.fail_at = pages.calls + test_random_below(3);
			else
				CHECK(pages.refuse_drop || i < N / 2 - 1 ||
				      pages.restored_npages > 0);
			got[i].p = kmalloc(got[i].bytes = 300);
			if (got[i].p)
				memset(got[i].p, 1, 300);
		}
		pages.fail_at = 0;
		CHECK(heap_is_valid(heap));
		for (unsigned i = 0; i < N; i++)
			kfree(got[i].p);
		finish();
	}
}

TEST(heap_free_never_unmaps)
{
	start(1);
	void *p = kmalloc(100000), *q = kmalloc(100);
	uint64_t held = pages.held_npages;
	kfree(p);
	kfree(q);
	CHECK_EQ(pages.held_npages, held);
	CHECK(!heap_wants_reap(heap)); /* not for so little */
	/* A queued block is used again. */
	uint64_t calls = pages.calls;
	void *r = kmalloc(99000);
	CHECK_EQ((uintptr_t)r, (uintptr_t)p);
	CHECK_EQ(pages.calls, calls);
	kfree(r);
	kfree(kmalloc(8 << 20));
	CHECK(heap_wants_reap(heap));
	CHECK(heap_reap(heap, true) >= 2048 + 25);
	CHECK(!heap_wants_reap(heap));
	finish();
}

TEST(heap_in_interrupts_takes_prepared_pages)
{
	start(1);
	pages.refuse_atomic = true;
	plain_set_interrupt(true);
	CHECK(!kmalloc(64)); /* nothing is prepared yet */
	plain_set_interrupt(false);
	void *first = kmalloc(64);
	CHECK(first);
	plain_set_interrupt(true);
	static void *got[64];
	unsigned n = 0;
	while (n < 16 && (got[n] = kmalloc(2000))) /* a class never used before */
		n++;
	CHECK_EQ(n, 16);
	CHECK(!kmalloc(1 << 20));
	kfree(first);
	while (n)
		kfree(got[--n]);
	plain_set_interrupt(false);
	finish();
}

/* ---- against a shadow --------------------------------------------------------------- */

struct shadow {
	unsigned char *p;
	size_t bytes;
	unsigned char byte;
};

static void check_contents(const struct shadow *s)
{
	/* Ends and a few in between: the middle of a large block is like the rest. */
	for (size_t b = 0; b < s->bytes; b += b < 64 || b + 64 > s->bytes ? 1 : 61)
		CHECK_EQ(s->p[b], s->byte);
}

static size_t random_size(void)
{
	switch (test_random_below(8)) {
	case 0:
		return test_random_below(200000);
	case 1:
		return test_random_below(20000);
	case 2:
		return (size_t)1 << test_random_below(17);
	default:
		return test_random_below(1024);
	}
}

static void random_ops(unsigned ops, unsigned most, unsigned ncpus)
{
	static struct shadow live[8192];
	unsigned n = 0, target = most / 2, failures = 0;
	for (unsigned op = 0; op < ops; op++) {
		plain_set_cpu((unsigned)test_random_below(ncpus));
		if (test_random_below(3000) == 0)
			target = (unsigned)test_random_below(most);
		if (test_random_below(3000) == 0)
			heap_reap(heap, test_random_below(2));
		if (test_random_below(5000) == 0)
			CHECK(heap_is_valid(heap));
		pages.fail_all = test_random_below(50) == 0;
		plain_set_interrupt(test_random_below(10) == 0);
		unsigned what = (unsigned)test_random_below(100);
		struct shadow *s = n ? &live[test_random_below(n)] : NULL;
		if (s && what < 10) {
			size_t bytes = random_size() + 1;
			check_contents(s);
			unsigned char *p = krealloc(s->p, bytes);
			if (p) {
				size_t kept = mem_min(s->bytes, bytes);
				s->p = p;
				s->bytes = kept;
				check_contents(s);
				s->bytes = bytes;
				memset(p, s->byte, bytes);
			} else {
				check_contents(s);
				failures++;
			}
		} else if (!s || (n < most && what < (n < target ? 65 : 40))) {
			s = &live[n];
			s->bytes = random_size();
			s->byte = (unsigned char)test_random();
			size_t align = (size_t)1 << test_random_below(14);
			s->p = what % 4 ? kmalloc(s->bytes) : kmalloc_aligned(s->bytes, align);
			if (s->p) {
				memset(s->p, s->byte, s->bytes);
				n++;
			} else {
				failures++;
			}
		} else {
			check_contents(s);
			kfree(s->p);
			*s = live[--n];
		}
		plain_set_interrupt(false);
	}
	pages.fail_all = false;
	plain_set_cpu(0);
	CHECK(heap_is_valid(heap));
	CHECK_EQ(live_blocks(), n);
	test_note("%u operations, %u failed allocations", ops, failures);
	while (n) {
		check_contents(&live[--n]);
		kfree(live[n].p);
	}
}

TEST_TIMED(heap_random_model_one_cpu, 120)
{
	start(1);
	random_ops(100000, 2000, 1);
	finish();
}

TEST_TIMED(heap_random_model_four_cpus, 120)
{
	start(4);
	random_ops(100000, 2000, 4);
	finish();
}

TEST(heap_every_page_allocation_fails_once)
{
	unsigned points = 0;
	plain_init(1 << 20, 2);
	test_pages_init(&pages);
	for (uint64_t fail = 1;; fail++) {
		pages.calls = 0;
		pages.fail_at = fail;
		mem_status status = heap_create(&heap, &pages.area);
		if (status != MEM_OK) {
			CHECK_EQ(status, MEM_ENOMEM);
			CHECK_EQ(pages.held_npages, 0);
			points++;
			continue;
		}
		static void *got[400];
		unsigned n = 0;
		for (unsigned i = 0; i < 400; i++) {
			size_t bytes = (i * 733) % 24000;
			void *p = heap_alloc(heap, bytes);
			if (p)
				got[n++] = p;
			if (i % 40 == 0)
				CHECK(heap_is_valid(heap));
		}
		bool hit = pages.calls >= fail;
		while (n)
			heap_free(heap, got[--n]);
		finish();
		if (!hit)
			break;
		points++;
	}
	test_note("%u failure points", points);
	CHECK(points > 20);
}

/* ---- misuse ----------------------------------------------------------------------------- */

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
	CHECK_OK(heap_create(&other, &pages.area));
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

TEST(heap_misuse_is_caught)
{
	start(2);
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

/* In release builds too: any size but the powers of two, which have no room. */
TEST_TIMED(heap_small_overflow_is_caught, 120)
{
	start(1);
	static const size_t sizes[] = {1,   3,   15,   17,   24,   33,   47,   48,   63,
				       65,  100, 200,  238,  239,  240,  241,  250,  500,
				       511, 513, 1000, 1022, 1023, 1025, 3000, 8000, 16000};
	for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
		victim_bytes = sizes[i];
		test_expect_panic(overflow_by_one, "overflow");
		test_expect_panic(overflow_by_many, "overflow");
		test_expect_panic(overflow_found_by_realloc, "overflow");
	}
}

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

TEST(heap_debug_finds_overflows)
{
	start(1);
	test_expect_panic(small_overflow, "overflow");
	test_expect_panic(overflow_after_shrink, "overflow");
}
#endif

static void sum_class(const struct slab_stats *stats, void *arg)
{
	*(uint64_t *)arg += stats->live;
}

TEST(heap_statistics_add_up)
{
	start(1);
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
	pages.fail_all = true;
	CHECK(!kmalloc(1 << 20));
	pages.fail_all = false;
	heap_get_stats(heap, &stats);
	CHECK_EQ(stats.failures, 1);
	kfree(large);
	for (unsigned i = 0; i < 500; i++)
		kfree(got[i]);
	heap_get_stats(heap, &stats);
	CHECK_EQ(stats.allocs, 501);
	CHECK_EQ(stats.frees, 501);
	finish();
}
