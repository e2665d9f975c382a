/* SPDX-License-Identifier: MIT */
/* Slab and heap under real threads, each one CPU: blocks that wander, a reaper
 * at work meanwhile, and (without TSan, which defers signals) interrupts: a
 * signal handler that allocates and frees wherever it strikes. */
#define _GNU_SOURCE
#include <mem/heap.h>
#include <mem/host.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/machine/plain.h"
#include "tests/test.h"
#include "tests/unit/pages.h"

#ifdef __SANITIZE_THREAD__
enum { ROUNDS = 60000 };
#else
enum { ROUNDS = 200000 };
#endif

/* One body, two tests: each profile's. */
#define HEAP_TEST(id)                                                                              \
	static void body_##id(void);                                                               \
	TEST(id)                                                                                   \
	{                                                                                          \
		profile = HEAP_HARDENED;                                                           \
		body_##id();                                                                       \
	}                                                                                          \
	TEST(id##_fast)                                                                            \
	{                                                                                          \
		profile = HEAP_FAST;                                                               \
		body_##id();                                                                       \
	}                                                                                          \
	static void body_##id(void)

enum { CPUS = 4, SLOTS = 512, CACHE_BYTES = 96, STEP = 1024 };

static struct test_pages pages;
static struct heap *heap;
static enum heap_profile profile;
static struct slab_cache *cache;

static uint64_t next_random(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15;
	uint64_t z = *state;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	return z ^ (z >> 31);
}

/* A block carries its size and a sum of its address: whoever gets it checks.
 * Blocks of CACHE_BYTES are the cache's, others the heap's. */
struct block {
	uint64_t bytes;
	uint64_t sum;
};

static uint64_t sum_of(const struct block *b)
{
	return (uintptr_t)b * 0x9e3779b97f4a7c15 ^ b->bytes;
}

static struct block *get(uint64_t random)
{
	size_t bytes = sizeof(struct block) + (random >> 8) % (random % 64 ? 1000 : 60000);
	struct block *b;
	if (random % 5 == 0 || bytes == CACHE_BYTES) {
		bytes = CACHE_BYTES;
		b = slab_alloc(cache);
	} else {
		b = heap_alloc(heap, bytes);
	}
	if (!b)
		return NULL;
	b->bytes = bytes;
	b->sum = sum_of(b);
	memset(b + 1, (int)(b->sum & 0xff), bytes - sizeof(*b));
	return b;
}

static void put(struct block *b)
{
	if (b->sum != sum_of(b))
		host_panic("a block's head was overwritten");
	const unsigned char *p = (const unsigned char *)(b + 1);
	for (size_t i = 0; i < b->bytes - sizeof(*b); i += i < 32 ? 1 : 37)
		if (p[i] != (b->sum & 0xff))
			host_panic("a block's contents were overwritten");
	b->sum = 0;
	if (b->bytes == CACHE_BYTES)
		slab_free(cache, b);
	else
		heap_free(heap, b);
}

/* Blocks that any thread may exchange for one of its own. */
static _Atomic(struct block *) slots[SLOTS];
static _Atomic unsigned running;
static uint64_t seed;
static _Atomic uint64_t failures;

static _Thread_local bool is_cpu; /* this thread takes interrupts */
static _Atomic uint64_t interrupts;
static uint64_t wanted_interrupts; /* no worker ends before there were as many */

static void *worker(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	plain_set_cpu(cpu);
	is_cpu = true;
	uint64_t random = seed + cpu;
	for (unsigned i = 0; i < ROUNDS || interrupts < wanted_interrupts; i++) {
		if (i % STEP == 0)
			test_step();
		uint64_t r = next_random(&random);
		struct block *b = r % 100 < 60 ? get(r >> 8) : NULL;
		if (r % 100 < 60 && !b)
			failures++;
		b = atomic_exchange(&slots[(r >> 40) % SLOTS], b);
		if (b)
			put(b);
	}
	running--;
	return NULL;
}

static void *reaper(void *arg)
{
	plain_set_cpu(CPUS);
	unsigned *reaps = arg;
	while (running) {
		heap_reap(heap, *reaps & 1);
		slab_reap(cache);
		slab_reap_all();
		++*reaps;
		usleep(500);
	}
	return NULL;
}

static void start(void)
{
	plain_init(1 << 20, CPUS + 1);
	test_pages_init(&pages);
	CHECK_OK(heap_create_as(&heap, &pages.area, profile));
	struct slab_cache_spec spec = {
	    .name = "cache", .object_bytes = CACHE_BYTES, .source = &pages.source};
	CHECK_OK(slab_cache_create(&cache, &spec));
	seed = test_random();
}

static void finish(void)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (slots[i])
			put(slots[i]);
	CHECK(heap_is_valid(heap));
	CHECK(slab_is_valid(cache));
	struct heap_stats stats;
	heap_get_stats(heap, &stats);
	CHECK_EQ(stats.live_blocks, 0);
	heap_destroy(heap);
	slab_cache_destroy(cache);
	CHECK_EQ(pages.held_npages, 0);
}

static void run_threads(bool reap)
{
	pthread_t threads[CPUS], reaping;
	unsigned reaps = 0;
	running = CPUS;
	for (unsigned i = 0; i < CPUS; i++)
		CHECK(!pthread_create(&threads[i], NULL, worker, (void *)(uintptr_t)i));
	if (reap)
		CHECK(!pthread_create(&reaping, NULL, reaper, &reaps));
	for (unsigned i = 0; i < CPUS; i++)
		pthread_join(threads[i], NULL);
	if (reap)
		pthread_join(reaping, NULL);
	test_note("%u threads, %u operations each, %u reaps, %lu failures", CPUS, ROUNDS, reaps,
		  (unsigned long)failures);
}

HEAP_TEST(heap_threads_exchange)
{
	start();
	run_threads(false);
	CHECK_EQ(failures, 0);
	finish();
}

HEAP_TEST(heap_threads_and_reaper)
{
	start();
	run_threads(true);
	CHECK_EQ(failures, 0);
	finish();
}

HEAP_TEST(heap_threads_running_out)
{
	start();
	pages.limit = pages.held_npages + 140;
	run_threads(true);
	CHECK(failures > 0);
	finish();
}

/* Rounds: everybody allocates so that classes open, and frees all; a reaper closes them
 * while the next round has begun. */
enum { BURSTS = ROUNDS / 1000, BURST = 60 };
static pthread_barrier_t round_end;

static void *burster(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	plain_set_cpu(cpu);
	uint64_t random = seed + cpu;
	struct block *got[BURST];
	for (unsigned i = 0; i < BURSTS; i++) {
		test_step();
		for (unsigned k = 0; k < BURST; k++)
			got[k] = get(next_random(&random) | 1);
		for (unsigned k = 0; k < BURST; k++)
			if (got[k])
				put(got[k]);
			else
				failures++;
		pthread_barrier_wait(&round_end);
		if (cpu == i % CPUS)
			heap_reap(heap, i % 2);
	}
	return NULL;
}

HEAP_TEST(heap_threads_open_and_close_classes)
{
	start();
	pthread_t threads[CPUS];
	CHECK(!pthread_barrier_init(&round_end, NULL, CPUS));
	for (unsigned i = 0; i < CPUS; i++)
		CHECK(!pthread_create(&threads[i], NULL, burster, (void *)(uintptr_t)i));
	for (unsigned i = 0; i < CPUS; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(failures, 0);
	finish();
}

/* One side allocates, the other frees. */
static _Atomic(struct block *) ring[1024];

static void *producer(void *arg)
{
	plain_set_cpu(0);
	uint64_t random = seed;
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (i % STEP == 0)
			test_step();
		struct block *b = get(next_random(&random) | 1);
		while (ring[i % 1024])
			host_relax();
		ring[i % 1024] = b;
	}
	return NULL;
}

static void *consumer(void *arg)
{
	plain_set_cpu(1);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct block *b;
		while (!(b = ring[i % 1024]))
			host_relax();
		ring[i % 1024] = NULL;
		put(b);
	}
	return NULL;
}

HEAP_TEST(heap_threads_one_allocates_one_frees)
{
	start();
	pthread_t a, b;
	CHECK(!pthread_create(&a, NULL, producer, NULL));
	CHECK(!pthread_create(&b, NULL, consumer, NULL));
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	/* 1024 in flight, of up to 60 KB each. */
	test_note("%lu pages held at the end", (unsigned long)pages.held_npages);
	finish();
}

#ifndef __SANITIZE_THREAD__
static _Atomic uint64_t blocked, handler_random;

/* An interrupt, unless interrupts are off on this thread. */
static void handler(int signal)
{
	if (!is_cpu || !host_irq_enabled()) {
		blocked++;
		return;
	}
	plain_set_interrupt(true);
	interrupts++;
	for (unsigned i = 0; i < 3; i++) {
		uint64_t random = handler_random++, r = next_random(&random);
		struct block *b = r % 8 < 5 ? get(r >> 8) : NULL;
		b = atomic_exchange(&slots[(r >> 40) % SLOTS], b);
		if (b)
			put(b);
	}
	plain_set_interrupt(false);
}

static void *interrupter(void *arg)
{
	pthread_t *threads = arg;
	uint64_t random = seed;
	while (running == CPUS) {
		pthread_kill(threads[next_random(&random) % CPUS], SIGUSR1);
		struct timespec pause = {0, 20000};
		nanosleep(&pause, NULL);
	}
	return NULL;
}

HEAP_TEST(heap_threads_with_interrupts)
{
	start();
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
	CHECK(!sigaction(SIGUSR1, &action, NULL));
	static pthread_t threads[CPUS];
	pthread_t reaping, interrupting;
	unsigned reaps = 0;
	handler_random = seed;
	wanted_interrupts = 1000;
	running = CPUS;
	for (unsigned i = 0; i < CPUS; i++)
		CHECK(!pthread_create(&threads[i], NULL, worker, (void *)(uintptr_t)i));
	CHECK(!pthread_create(&reaping, NULL, reaper, &reaps));
	CHECK(!pthread_create(&interrupting, NULL, interrupter, threads));
	pthread_join(interrupting, NULL); /* before any thread it signals is gone */
	for (unsigned i = 0; i < CPUS; i++)
		pthread_join(threads[i], NULL);
	pthread_join(reaping, NULL);
	test_note("%lu interrupts taken, %lu while off, %u reaps", (unsigned long)interrupts,
		  (unsigned long)blocked, reaps);
	finish();
}
#endif
