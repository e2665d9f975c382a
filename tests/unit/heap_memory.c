/* SPDX-License-Identifier: MIT */
/* The heap and its pages: exact return, part by part, in handlers, running out. */
#include <mem/heap.h>
#include <mem/host.h>
#include <string.h>

#include "base/util.h"
#include "heap/internal.h"
#include "tests/machine/plain.h"
#include "tests/test.h"
#include "tests/unit/heap_help.h"

HEAP_TEST_LOOSE(heap_gives_back_exactly)
{
	heap_start(4);
	enum { N = 20000 };
	static void *got[N];
	uint64_t before = heap_pages.held_npages;
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
		CHECK(heap_pages.held_npages <= before + 512);
		CHECK(heap_reap(heap, true) > 0);
		CHECK_EQ(heap_pages.held_npages, before);
	}
	heap_finish();
}

/* A slab stands on one CPU's notify stack, has gone to another CPU since, and
 * becomes empty there: it may not be released before the first CPU looked. */
HEAP_TEST_LOOSE(heap_announced_slab_changes_hands)
{
	heap_start(2);
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
	heap_finish();
}

/* One live block keeps its segment, but not the pages that other slabs' descriptors took. */
HEAP_TEST_LOOSE(heap_descriptor_pages_go_back)
{
	heap_start(1);
	void *kept = kmalloc(64);
	heap_reap(heap, true);
	uint64_t held = heap_pages.held_npages;
	kfree(kept);
	heap_finish();
	heap_start(1);
	kept = kmalloc(64);
	enum { N = 400, SIZES = 16 }; /* of a page each: most descriptors a segment can have */
	static void *got[N][SIZES];
	for (unsigned i = 0; i < N; i++)
		for (unsigned c = 0; c < SIZES; c++)
			CHECK((got[i][c] = kmalloc(16 * c + 5)));
	CHECK(heap_is_valid(heap));
	for (unsigned i = 0; i < N; i++)
		for (unsigned c = 0; c < SIZES; c++)
			kfree(got[i][c]);
	heap_reap(heap, true);
	CHECK(heap_is_valid(heap));
	CHECK_EQ(heap_pages.held_npages, held);
	kfree(kept);
	heap_finish();
}

static struct slab_stats grown;
static void find_grown(struct slab_cache *cache, void *arg)
{
	struct slab_stats stats;
	slab_get_stats(cache, &stats);
	if (!strcmp(stats.name, "heap-grown"))
		grown = stats;
}

/* A magazine through which ever so many blocks go gets more capacity, of its own or a CPU's
 * that has it, if there are pages for that; and loses it when the reaper comes. */
TEST_TIMED(heap_magazines_grow_and_shrink, 120)
{
	enum { N = 900, CPUS = 2 };
	static char *got[CPUS][N];
	heap_profile = HEAP_FAST;
	heap_start(CPUS);
	for (unsigned round = 0; round < 60; round++) {
		if (round == 20) { /* the first that asks gets none */
			heap_pages.limit = heap_pages.held_npages;
		} else if (round == 40) {
			slab_for_each(find_grown, NULL);
			CHECK(grown.live <= CPUS);
			heap_pages.limit = 0;
		}
		for (unsigned i = 0; i < CPUS * N; i++) {
			plain_set_cpu(i % CPUS);
			char *p = kmalloc(round < 40 ? 600 : 606);
			CHECK(p || round >= 20);
			got[i % CPUS][i / CPUS] = p;
			if (p)
				p[0] = p[599] = (char)i;
		}
		for (unsigned i = 0; i < CPUS * N; i++) {
			plain_set_cpu(i % CPUS);
			char *p = got[i % CPUS][i / CPUS];
			CHECK(!p || (p[0] == (char)i && p[599] == (char)i));
			kfree(p);
		}
		CHECK(heap_is_valid(heap));
	}
	slab_for_each(find_grown, NULL);
	CHECK_EQ(grown.live, CPUS);
	plain_set_cpu(0);
	CHECK_EQ(heap_live_blocks(), 0);
	heap_cpu_leave(heap);
	slab_for_each(find_grown, NULL);
	CHECK_EQ(grown.live, 1);
	heap_reap(heap, true);
	slab_for_each(find_grown, NULL);
	CHECK_EQ(grown.live, 0);
	CHECK_EQ(grown.npages, 0);
	heap_finish();
}

static uint64_t held_of_208;
static void visit_208(const struct slab_stats *stats, void *arg)
{
	if (stats->object_bytes == 208)
		held_of_208 = stats->total;
}

/* Blocks in magazines keep their slabs; when pages run out, these serve other sizes all the
 * same. (What is in a debug build's quarantine keeps a few.) */
HEAP_TEST(heap_cached_pages_serve_other_sizes)
{
	heap_start(1);
	enum { N = 8192 };
	static void *got[N];
	void *kept = kmalloc(100);
	heap_pages.limit = heap_pages.held_npages + 300;
	unsigned n = 0, again = 0;
	while (n < N && (got[n] = kmalloc(200)))
		n++;
	CHECK(n > 1000 && n < N);
	for (unsigned i = 0; i < n; i++)
		kfree(got[i]);
	CHECK(heap_is_valid(heap));
	while (again < N && (got[again] = kmalloc(900)))
		again++;
	heap_for_each_class(heap, visit_208, NULL);
	test_note("%u blocks of 200 bytes, then %u of 900 and room for %lu of 200", n, again,
		  (unsigned long)held_of_208);
	CHECK(held_of_208 <= 150);
	heap_pages.limit = 0;
	for (unsigned i = 0; i < again; i++)
		kfree(got[i]);
	kfree(kept);
	heap_finish();
}

/* What a CPU that leaves had in its magazine serves the others. (A debug build's quarantine keeps
 * 64 blocks.) */
HEAP_TEST(heap_cpu_leaves_what_it_has_cached)
{
	heap_start(2);
	enum { N = 600 };
	static void *got[2 * N];
	plain_set_cpu(1);
	for (unsigned i = 0; i < N; i++)
		CHECK((got[i] = kmalloc(200)));
	for (unsigned i = 0; i < N; i++)
		kfree(got[i]);
	heap_cpu_leave(heap);
	plain_set_cpu(0);
	CHECK(heap_is_valid(heap));
	heap_for_each_class(heap, visit_208, NULL);
	uint64_t room = held_of_208;
	CHECK(room > 200 && room < 2 * N);
	for (unsigned i = 0; i < room - 64; i++)
		CHECK((got[i] = kmalloc(200)));
	heap_for_each_class(heap, visit_208, NULL);
	CHECK_EQ(held_of_208, room);
	for (unsigned i = 0; i < room - 64; i++)
		kfree(got[i]);
	heap_finish();
}

/* What a CPU leaves behind serves the others: no new page for as much again. */
HEAP_TEST(heap_cpu_leaves_its_slabs)
{
	heap_start(3);
	enum { N = 3000 };
	static void *got[N];
	for (unsigned i = 0; i < N; i++)
		CHECK((got[i] = kmalloc(200)));
	plain_set_cpu(2);
	for (unsigned i = 0; i < N; i += 7) { /* some wait in remote bits */
		kfree(got[i]);
		got[i] = NULL;
	}
	heap_cpu_leave(heap); /* from its magazine to there */
	plain_set_cpu(0);
	for (unsigned i = 0; i < N; i++)
		if (i % 7 && i % 5)
			kfree(got[i]);
	uint64_t held = heap_slab_npages(heap);
	heap_cpu_leave(heap);
	CHECK(heap_is_valid(heap));
	plain_set_cpu(1);
	for (unsigned i = 0; i < N; i++)
		if (i % 5 || i % 7 == 0)
			CHECK((got[i] = kmalloc(200)));
	test_note("%lu pages, then %lu", (unsigned long)held,
		  (unsigned long)heap_slab_npages(heap));
	CHECK(heap_slab_npages(heap) <= held + 16);
	CHECK(heap_is_valid(heap));
	heap_cpu_leave(heap);
	plain_set_cpu(0); /* back without notice */
	for (unsigned i = 0; i < N; i++)
		kfree(got[i]);
	heap_finish();
}

/* After shrinking to a tenth and churning, memory is given back page by page. */
HEAP_TEST(heap_gives_back_parts_of_segments)
{
	for (unsigned round = 0; round < 2; round++) {
		heap_start(1);
		heap_pages.refuse_drop = round == 1;
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
		uint64_t peak = heap_pages.held_npages;
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
			  (unsigned long)heap_pages.held_npages,
			  (unsigned long)(bytes / PAGE_SIZE));
		if (!heap_pages.refuse_drop) {
			CHECK(heap_pages.decommitted_npages > 0);
			CHECK(heap_pages.held_npages < peak / 2);
		}
		/* Dropped pages are used again; from half way on they may be refused. */
		for (unsigned i = n; i < N; i++) {
			if (i >= N / 2)
				heap_pages.fail_at = heap_pages.calls + test_random_below(3);
			else
				CHECK(heap_pages.refuse_drop || i < N / 2 - 1 ||
				      heap_pages.restored_npages > 0);
			got[i].p = kmalloc(got[i].bytes = 300);
			if (got[i].p)
				memset(got[i].p, 1, 300);
		}
		heap_pages.fail_at = 0;
		CHECK(heap_is_valid(heap));
		for (unsigned i = 0; i < N; i++)
			kfree(got[i].p);
		heap_finish();
	}
}

HEAP_TEST(heap_free_never_unmaps)
{
	heap_start(1);
	void *p = kmalloc(100000), *q = kmalloc(100);
	uint64_t held = heap_pages.held_npages;
	kfree(p);
	kfree(q);
	CHECK_EQ(heap_pages.held_npages, held);
	CHECK(!heap_wants_reap(heap)); /* not for so little */
	/* A queued block is used again. */
	uint64_t calls = heap_pages.calls;
	void *r = kmalloc(99000);
	CHECK_EQ((uintptr_t)r, (uintptr_t)p);
	CHECK_EQ(heap_pages.calls, calls);
	kfree(r);
	kfree(kmalloc(8 << 20));
	CHECK(heap_wants_reap(heap));
	CHECK(heap_reap(heap, true) >= 2048 + 25);
	CHECK(!heap_wants_reap(heap));
	heap_finish();
}

HEAP_TEST(heap_in_interrupts_takes_prepared_pages)
{
	heap_start(1);
	heap_pages.refuse_atomic = true;
	plain_set_interrupt(true);
	CHECK(!kmalloc(64)); /* there are no reserve pages yet */
	plain_set_interrupt(false);
	CHECK(!kmalloc(64)); /* does not wait for the area either */
	void *first = heap_alloc_wait(heap, 64);
	CHECK(first);
	plain_set_interrupt(true);
	CHECK(!heap_alloc_wait(heap, 1 << 20)); /* nor that, here */
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
	heap_finish();
}
HEAP_TEST_LOOSE(heap_every_page_allocation_fails_once)
{
	unsigned points = 0;
	plain_init(1 << 20, 2);
	heap_start_pages();
	for (uint64_t fail = 1;; fail++) {
		test_progress(fail);
		heap_pages.calls = 0;
		heap_pages.fail_at = fail;
		mem_status status = heap_create_as(&heap, &heap_pages.area, heap_profile);
		if (status != MEM_OK) {
			CHECK_EQ(status, MEM_ENOMEM);
			CHECK_EQ(heap_pages.held_npages, 0);
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
		bool hit = heap_pages.calls >= fail;
		while (n)
			heap_free(heap, got[--n]);
		heap_finish();
		if (!hit)
			break;
		points++;
	}
	test_note("%u failure points", points);
	CHECK(points > 20);
}
