/* SPDX-License-Identifier: MIT */
/* The slab engine, on one CPU and on several: contents, exact return of pages,
 * misuse, running out, interrupts. */
#include <mem/host.h>
#include <mem/slab.h>
#include <string.h>

#include "slab/paths.h"
#include "tests/machine/plain.h"
#include "tests/test.h"
#include "tests/unit/pages.h"

static struct test_pages pages;

static struct slab_cache *make(size_t bytes, size_t align)
{
	struct slab_cache_spec spec = {
	    .name = "test", .object_bytes = bytes, .align = align, .source = &pages.source};
	struct slab_cache *cache;
	CHECK_OK(slab_cache_create(&cache, &spec));
	return cache;
}

static void start(unsigned ncpus)
{
	plain_init(1 << 20, ncpus);
	test_pages_init(&pages);
}

static const size_t sizes[] = {1,   7,   8,   16,   24,   40,   64,   100,  128,   200,
			       256, 500, 512, 1000, 1024, 2000, 3000, 4096, 10000, 16384};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

TEST(slab_objects_are_distinct_and_aligned)
{
	start(1);
	for (unsigned s = 0; s < SIZES; s++) {
		struct slab_cache *cache = make(sizes[s], 0);
		unsigned n = 1000;
		static unsigned char *got[1000];
		for (unsigned i = 0; i < n; i++) {
			got[i] = slab_alloc(cache);
			CHECK(got[i]);
			CHECK_EQ((uintptr_t)got[i] % 8, 0);
			memset(got[i], (int)(i * 7 + s), sizes[s]);
		}
		CHECK(slab_is_valid(cache));
		for (unsigned i = 0; i < n; i++) {
			for (size_t b = 0; b < sizes[s]; b++)
				CHECK_EQ(got[i][b], (unsigned char)(i * 7 + s));
			slab_free(cache, got[i]);
		}
		CHECK(slab_is_valid(cache));
		struct slab_stats stats;
		slab_get_stats(cache, &stats);
		CHECK_EQ(stats.live, 0);
		CHECK_EQ(stats.allocs, n);
		CHECK_EQ(stats.frees, n);
		CHECK(slab_reap(cache) > 0);
		slab_get_stats(cache, &stats);
		CHECK_EQ(stats.npages, 0);
		slab_cache_destroy(cache);
		CHECK_EQ(pages.held_npages, 0);
	}
}

TEST(slab_alignment_is_kept)
{
	start(1);
	for (size_t align = 8; align <= 4096; align *= 2) {
		struct slab_cache *cache = make(40, align);
		void *got[100];
		for (unsigned i = 0; i < 100; i++) {
			got[i] = slab_alloc(cache);
			CHECK(got[i]);
			CHECK_EQ((uintptr_t)got[i] % align, 0);
		}
		for (unsigned i = 0; i < 100; i++)
			slab_free(cache, got[i]);
		slab_cache_destroy(cache);
	}
	CHECK_EQ(pages.held_npages, 0);
}

TEST(slab_refuses_what_is_too_large)
{
	start(1);
	struct slab_cache_spec spec = {
	    .name = "test", .object_bytes = 16385, .source = &pages.source};
	struct slab_cache *cache;
	CHECK_EQ(slab_cache_create(&cache, &spec), MEM_EINVAL);
	spec.object_bytes = 64;
	pages.fail_all = true;
	CHECK_EQ(slab_cache_create(&cache, &spec), MEM_ENOMEM);
	CHECK_EQ(pages.held_npages, 0);
}

static unsigned constructed;
static void construct(void *object)
{
	memset(object, 0x5a, 48);
	constructed++;
}

TEST(slab_constructs_each_object_once)
{
	start(1);
	struct slab_cache_spec spec = {
	    .name = "made", .object_bytes = 48, .construct = construct, .source = &pages.source};
	struct slab_cache *cache;
	CHECK_OK(slab_cache_create(&cache, &spec));
	for (unsigned round = 0; round < 100; round++) {
		void *got[40];
		for (unsigned i = 0; i < 40; i++) {
			unsigned char *p = got[i] = slab_alloc(cache);
			for (unsigned b = 0; b < 48; b++)
				CHECK_EQ(p[b], 0x5a);
		}
		for (unsigned i = 0; i < 40; i++)
			slab_free(cache, got[i]);
	}
	struct slab_stats stats;
	slab_get_stats(cache, &stats);
	CHECK_EQ(constructed, stats.total);
	slab_cache_destroy(cache);
}

/* Random allocs and frees against a shadow that remembers contents. */
static void model(struct slab_cache *cache, size_t bytes, unsigned ops, unsigned most)
{
	enum { MOST = 4096 };
	static struct {
		unsigned char *p;
		unsigned char byte;
	} live[MOST];
	unsigned n = 0;
	CHECK(most <= MOST);
	unsigned target = most / 2;
	for (unsigned op = 0; op < ops; op++) {
		test_step();
		if (test_random_below(500) == 0)
			target = (unsigned)test_random_below(most);
		if (test_random_below(2000) == 0)
			slab_reap(cache);
		if (test_random_below(1000) == 0)
			CHECK(slab_is_valid(cache));
		if (n < most && (n == 0 || test_random_below(100) < (n < target ? 70 : 30))) {
			unsigned char *p = slab_alloc(cache);
			if (!p)
				continue;
			live[n].p = p;
			live[n].byte = (unsigned char)test_random();
			memset(p, live[n].byte, bytes);
			n++;
		} else {
			unsigned i = (unsigned)test_random_below(n);
			for (size_t b = 0; b < bytes; b++)
				CHECK_EQ(live[i].p[b], live[i].byte);
			slab_free(cache, live[i].p);
			live[i] = live[--n];
		}
	}
	struct slab_stats stats;
	slab_get_stats(cache, &stats);
	CHECK_EQ(stats.live, n);
	CHECK_EQ(slab_for_each_live(cache, NULL, NULL), n);
	while (n)
		slab_free(cache, live[--n].p);
	CHECK(slab_is_valid(cache));
}

TEST(slab_random_model)
{
	start(2); /* one CPU works, the other's part is reaped all the same */
	for (unsigned s = 0; s < SIZES; s++) {
		struct slab_cache *cache = make(sizes[s], 0);
		model(cache, sizes[s], 20000, sizes[s] > 1000 ? 300 : 4000);
		slab_cache_destroy(cache);
		CHECK_EQ(pages.held_npages, 0);
	}
}

TEST(slab_every_page_allocation_fails_once)
{
	start(2);
	unsigned points = 0;
	for (uint64_t fail = 1;; fail++) {
		test_progress(fail);
		pages.calls = 0;
		pages.fail_at = fail;
		struct slab_cache_spec spec = {
		    .name = "test", .object_bytes = 200, .source = &pages.source};
		struct slab_cache *cache;
		mem_status status = slab_cache_create(&cache, &spec);
		if (status != MEM_OK) {
			CHECK_EQ(status, MEM_ENOMEM);
			CHECK_EQ(pages.held_npages, 0);
			points++;
			continue;
		}
		void *got[200];
		unsigned n = 0, failed = 0;
		for (unsigned i = 0; i < 200; i++) {
			void *p = slab_alloc(cache);
			if (p)
				got[n++] = p;
			else
				failed++;
			CHECK(slab_is_valid(cache));
		}
		bool hit = pages.calls >= fail;
		CHECK_EQ(failed, hit ? 1 : 0);
		while (n)
			slab_free(cache, got[--n]);
		slab_cache_destroy(cache);
		CHECK_EQ(pages.held_npages, 0);
		if (!hit)
			break;
		points++;
	}
	test_note("%u failure points", points);
	CHECK(points > 5);
}

TEST(slab_uses_every_block_before_it_fails)
{
	start(1);
	struct slab_cache *cache = make(64, 0);
	pages.limit = pages.held_npages + 8;
	static void *got[8 * 64];
	unsigned n = 0;
	for (void *p; (p = slab_alloc(cache));)
		got[n++] = p;
	struct slab_stats stats;
	slab_get_stats(cache, &stats);
	CHECK_EQ(stats.total, n);
	CHECK_EQ(stats.live, n);
	/* One free block in each slab, far from what puts a slab on a list. */
	for (unsigned round = 0; round < 3; round++) {
		unsigned step = (unsigned)(stats.total / stats.npages), freed = 0;
		for (unsigned i = round; i < n; i += step, freed++)
			slab_free(cache, got[i]);
		for (unsigned i = round; i < n; i += step)
			CHECK((got[i] = slab_alloc(cache)));
		CHECK(!slab_alloc(cache));
	}
	CHECK(slab_is_valid(cache));
	while (n)
		slab_free(cache, got[--n]);
	slab_cache_destroy(cache);
}

TEST(slab_fullest_first_lets_sparse_slabs_drain)
{
	start(1);
	struct slab_cache *cache = make(64, 0);
	enum { N = 20000 };
	static void *got[N];
	for (unsigned i = 0; i < N; i++)
		got[i] = slab_alloc(cache);
	struct slab_stats peak, stats;
	slab_get_stats(cache, &peak);
	unsigned n = N;
	while (n > N / 10) { /* keep a random tenth */
		unsigned i = (unsigned)test_random_below(n);
		slab_free(cache, got[i]);
		got[i] = got[--n];
	}
	for (unsigned op = 0; op < 20 * N; op++) { /* churn */
		unsigned i = (unsigned)test_random_below(n);
		slab_free(cache, got[i]);
		got[i] = slab_alloc(cache);
	}
	slab_reap(cache);
	slab_get_stats(cache, &stats);
	test_note("%lu pages at the peak, %lu after churn at a tenth", (unsigned long)peak.npages,
		  (unsigned long)stats.npages);
	CHECK(stats.npages * 10 <= peak.npages * 2);
	while (n)
		slab_free(cache, got[--n]);
	slab_cache_destroy(cache);
}

/* ---- interrupts ----------------------------------------------------------- */

TEST(slab_in_interrupts)
{
	start(2);
	struct slab_cache *cache = make(64, 0);
	void *a = slab_alloc(cache);
	plain_set_interrupt(true);
	void *b = slab_alloc(cache);
	CHECK(a && b && a != b);
	slab_free(cache, a);
	plain_set_interrupt(false);
	slab_free(cache, b);
	CHECK(slab_is_valid(cache));
	slab_cache_destroy(cache);
	CHECK_EQ(pages.held_npages, 0);
}

/* ---- freed on another CPU --------------------------------------------------- */

TEST(slab_remote_frees_come_back)
{
	start(4);
	struct slab_cache *cache = make(64, 0);
	enum { N = 3000 };
	static void *got[N];
	struct slab_stats stats;
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < N; i++)
			CHECK((got[i] = slab_alloc(cache)));
		for (unsigned i = 0; i < N; i++) {
			plain_set_cpu((unsigned)test_random_below(4));
			slab_free(cache, got[i]);
		}
		plain_set_cpu(0);
		CHECK(slab_is_valid(cache));
		slab_get_stats(cache, &stats);
		CHECK_EQ(stats.live, 0);
	}
	/* The owner took them over: twenty rounds held no more than two would. */
	test_note("%lu objects for %u live", (unsigned long)stats.total, N);
	CHECK(stats.total <= 2 * N);
	slab_reap(cache);
	slab_get_stats(cache, &stats);
	CHECK_EQ(stats.npages, 0);
	slab_cache_destroy(cache);
	CHECK_EQ(pages.held_npages, 0);
}

TEST(slab_random_cpus)
{
	start(4);
	struct slab_cache *cache = make(96, 0);
	enum { MOST = 5000 };
	static unsigned char *got[MOST];
	unsigned n = 0;
	for (unsigned op = 0; op < 200000; op++) {
		plain_set_cpu((unsigned)test_random_below(4));
		plain_set_interrupt(test_random_below(4) == 0);
		if (n < MOST && (!n || test_random_below(MOST) > n)) {
			CHECK((got[n] = slab_alloc(cache)));
			got[n][0] = got[n][95] = (unsigned char)n;
			n++;
		} else {
			unsigned i = (unsigned)test_random_below(n);
			CHECK_EQ(got[i][0], got[i][95]);
			slab_free(cache, got[i]);
			got[i] = got[--n];
			got[i][0] = got[i][95];
		}
		plain_set_interrupt(false);
		if (test_random_below(5000) == 0)
			slab_reap(cache);
		if (test_random_below(5000) == 0)
			CHECK(slab_is_valid(cache));
	}
	struct slab_stats stats;
	slab_get_stats(cache, &stats);
	CHECK_EQ(stats.live, n);
	while (n) {
		plain_set_cpu(n % 4);
		slab_free(cache, got[--n]);
	}
	slab_cache_destroy(cache);
	CHECK_EQ(pages.held_npages, 0);
}

/* ---- misuse ------------------------------------------------------------------- */

static struct slab_cache *victim;

static void double_free(void)
{
	void *p = slab_alloc(victim);
	slab_free(victim, p);
	slab_free(victim, p);
}
static void double_free_late(void)
{
	void *p = slab_alloc(victim), *q = slab_alloc(victim);
	slab_free(victim, p);
	slab_free(victim, q);
	slab_free(victim, p);
}
/* In the middle of a slab that stays where it is: on the shortest path. */
static void double_free_among_many(void)
{
	void *p[40];
	for (unsigned i = 0; i < 40; i++)
		p[i] = slab_alloc(victim);
	for (unsigned i = 0; i < 3; i++)
		slab_free(victim, p[i]);
	slab_free(victim, p[1]);
}
static void double_free_among_many_remote_first(void)
{
	void *p[40];
	for (unsigned i = 0; i < 40; i++)
		p[i] = slab_alloc(victim);
	plain_set_cpu(1);
	slab_free(victim, p[1]);
	plain_set_cpu(0);
	slab_free(victim, p[0]);
	slab_free(victim, p[1]);
}
static void double_free_remote_then_local(void)
{
	void *p = slab_alloc(victim);
	plain_set_cpu(1);
	slab_free(victim, p);
	plain_set_cpu(0);
	slab_free(victim, p);
}
static void double_free_local_then_remote(void)
{
	void *p = slab_alloc(victim);
	slab_free(victim, p);
	plain_set_cpu(1);
	slab_free(victim, p);
}
static void double_free_remote_twice(void)
{
	void *p = slab_alloc(victim);
	plain_set_cpu(1);
	slab_free(victim, p);
	slab_free(victim, p);
}
static void free_inside(void)
{
	char *p = slab_alloc(victim);
	slab_free(victim, p + 8);
}
static void free_foreign(void)
{
	static char other[1 << 16] __attribute__((aligned(1 << 16)));
	slab_free(victim, other + 8192 + 64);
}
static void free_of_another_cache(void)
{
	struct slab_cache *other = make(64, 0);
	slab_free(victim, slab_alloc(other));
}
static void free_null(void)
{
	slab_free(victim, NULL);
}
static void destroy_in_use(void)
{
	if (slab_alloc(victim))
		slab_cache_destroy(victim);
}

TEST(slab_misuse_is_caught)
{
	start(2);
	victim = make(64, 0);
	test_expect_panic(double_free, "double free");
	test_expect_panic(double_free_late, "double free");
	test_expect_panic(double_free_among_many, "double free");
	test_expect_panic(double_free_among_many_remote_first, "double free");
	test_expect_panic(double_free_remote_then_local, "double free");
	test_expect_panic(double_free_local_then_remote, "double free");
	test_expect_panic(double_free_remote_twice, "double free");
	test_expect_panic(free_inside, "invalid free");
	test_expect_panic(free_foreign, "invalid free");
	test_expect_panic(free_of_another_cache, "invalid free");
	test_expect_panic(free_null, "invalid free");
	test_expect_panic(destroy_in_use, "1 live objects");
}

#ifdef MEM_DEBUG
static void overflow_by_one(void)
{
	char *p = slab_alloc(victim);
	p[64] = 1;
	slab_free(victim, p);
}
static void overflow_far(void)
{
	char *p = slab_alloc(victim);
	memset(p, 0, 64 + 40);
	slab_free(victim, p);
}
static void write_after_free(void)
{
	char *p = slab_alloc(victim);
	slab_free(victim, p);
	p[10] = 1;
	slab_reap(victim);
	while (slab_alloc(victim))
		;
}

TEST(slab_debug_finds_stray_writes)
{
	start(1);
	victim = make(64, 0);
	pages.limit = pages.held_npages + 4;
	test_expect_panic(overflow_by_one, "overflow");
	test_expect_panic(overflow_far, "overflow");
	test_expect_panic(write_after_free, "use after free");
}

static unsigned leaks;
static void count_leak(void *object, size_t bytes, const void *site, void *arg)
{
	leaks++;
	CHECK_EQ(bytes, 64);
	CHECK(site != NULL);
	CHECK(arg == &leaks);
}

TEST(slab_debug_lists_leaks)
{
	start(1);
	struct slab_cache *cache = make(64, 0);
	void *p = slab_alloc(cache), *q = slab_alloc(cache);
	slab_free(cache, p);
	CHECK_EQ(slab_for_each_live(cache, count_leak, &leaks), 1);
	CHECK_EQ(leaks, 1);
	slab_free(cache, q);
	slab_cache_destroy(cache);
}
#endif

static void count_cache(struct slab_cache *cache, void *arg)
{
	struct slab_stats stats;
	slab_get_stats(cache, &stats);
	if (!strcmp(stats.name, "test"))
		++*(unsigned *)arg;
}

/* A walk sees each slab that stays, once, whatever goes and comes meanwhile. */
TEST(slab_walk_while_slabs_come_and_go)
{
	enum { SLABS = 40, CAPACITY = 64 };
	static struct {
		struct slab *slab;
		void *objects[CAPACITY];
		unsigned n, seen;
		bool old;
	} all[2 * SLABS];
	start(1);
	struct slab_cache *cache = make(2000, 0);
	unsigned n = 0;
	struct slab_cursor cursor;
	for (struct slab *next; n < 2 * SLABS;) {
		if (n == SLABS)
			slab_walk_begin(cache, &cursor);
		all[n].old = n < SLABS;
		for (;;) { /* a new slab, when those before are full */
			void *p = slab_alloc(cache);
			CHECK(p && all[n].n < CAPACITY);
			struct slab *slab = slab_of(cache, p);
			unsigned i = 0;
			while (i < n && (all[i].slab != slab || all[i].n == CAPACITY))
				i++;
			all[i].slab = slab;
			all[i].objects[all[i].n++] = p;
			if (all[n].n == cache->shape[0].capacity)
				break;
		}
		if (n++ < SLABS)
			continue;
		/* One more was made; one goes, now and then the next; one is looked at. */
		unsigned i = test_random_below(n);
		for (unsigned k = 0; k < n && n % 3 == 0; k++)
			if (&all[k].slab->all == cursor.next)
				i = k;
		while (all[i].n)
			slab_free(cache, all[i].objects[--all[i].n]);
		(void)slab_reap(cache);
		if ((next = slab_walk_next(cache, &cursor)))
			for (unsigned k = 0; k < n; k++)
				all[k].seen += all[k].slab == next && all[k].n;
	}
	for (struct slab *next; (next = slab_walk_next(cache, &cursor));)
		for (unsigned k = 0; k < n; k++)
			all[k].seen += all[k].slab == next && all[k].n;
	slab_walk_end(&cursor);
	for (unsigned k = 0; k < n; k++) {
		CHECK(all[k].seen <= 1);
		CHECK(all[k].seen == 1 || !all[k].old || !all[k].n);
		while (all[k].n)
			slab_free(cache, all[k].objects[--all[k].n]);
	}
	slab_cache_destroy(cache);
}

TEST(slab_registry)
{
	start(1);
	unsigned n = 0;
	struct slab_cache *a = make(64, 0), *b = make(128, 0);
	slab_for_each(count_cache, &n);
	CHECK_EQ(n, 2);
	slab_free(a, slab_alloc(a));
	slab_free(b, slab_alloc(b));
	CHECK(slab_reap_all() >= 2);
	slab_cache_destroy(a);
	n = 0;
	slab_for_each(count_cache, &n);
	CHECK_EQ(n, 1);
	slab_cache_destroy(b);
}
