/* SPDX-License-Identifier: MIT */
/*
 * Changes of mappings against threads that use them, on all CPUs:
 *
 *   stress unmap     a thread that reads a page must see its value or a signal,
 *                    and after munmap has returned only the signal
 *   stress protect   no write gets through once mprotect has returned
 *   stress fork      a child's memory is one moment of the parent's, while
 *                    threads write
 *   stress fault     many threads touch the same fresh pages at once
 *   stress move      mremap back and forth under readers
 *   stress zap       MADV_DONTNEED against writers: zero or what was written
 *   stress fresh     pages that come are zero and keep what is written, while CPUs
 *                    that fall idle clear free frames
 *
 * Each runs for a fixed number of rounds; nothing random is printed.
 */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdatomic.h>

enum { THREADS = 4 };

static char *volatile arena;
static atomic_int running, ready;
static atomic_long wrong;
static __thread sigjmp_buf back;
static __thread volatile int armed;

static void caught(int number)
{
	if (!armed) {
		signal(number, SIG_DFL);
		return;
	}
	siglongjmp(back, 1);
}

static void take_signals(void)
{
	struct sigaction action = {.sa_handler = caught, .sa_flags = SA_NODEFER};
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

/* -1 if it raised a signal. */
static int peek(volatile char *p)
{
	armed = 1;
	int value = -1;
	if (sigsetjmp(back, 0) == 0)
		value = (unsigned char)*p;
	armed = 0;
	return value;
}

static bool poke(volatile char *p, char value)
{
	armed = 1;
	bool done = false;
	if (sigsetjmp(back, 0) == 0) {
		*p = value;
		done = true;
	}
	armed = 0;
	return done;
}

static void start(pthread_t *threads, void *(*body)(void *))
{
	atomic_store(&running, 1);
	atomic_store(&ready, 0);
	for (long i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, body, (void *)i) == 0);
	while (atomic_load(&ready) < THREADS)
		sched_yield();
}

static void stop(pthread_t *threads)
{
	atomic_store(&running, 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK(atomic_load(&wrong) == 0);
}

/* ---- unmap ------------------------------------------------------------------------- */

enum { PLACES = 64 };
/* Counts up: 0 unmapped, 1 being mapped, 2 mapped, 3 being unmapped, 4 unmapped ... */
static atomic_long phase[PLACES];

static void *unmap_reader(void *number)
{
	unsigned i = (unsigned)(long)number * 17;
	atomic_fetch_add(&ready, 1);
	while (atomic_load(&running)) {
		i = (i + 1) % PLACES;
		long before = atomic_load(&phase[i]);
		int value = peek(arena + i * PAGE);
		if (before != atomic_load(&phase[i]) || before % 2)
			continue; /* it may have been either */
		if (value != (before % 4 == 2 ? (int)i + 1 : -1))
			atomic_fetch_add(&wrong, 1);
	}
	return NULL;
}

static void unmap(void)
{
	pthread_t threads[THREADS];
	arena = (char *)0x21000000000; /* where nothing else comes to lie */
	start(threads, unmap_reader);
	for (int r = 0; r < 40; r++) {
		unsigned i = (unsigned)r * 7 % PLACES;
		atomic_fetch_add(&phase[i], 1);
		char *p = mmap(arena + i * PAGE, PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		CHECK(p == arena + i * PAGE);
		p[0] = (char)(i + 1);
		atomic_fetch_add(&phase[i], 1);
		sched_yield();
		atomic_fetch_add(&phase[i], 1);
		CHECK(munmap(p, PAGE) == 0);
		atomic_fetch_add(&phase[i], 1);
		/* Whoever gets the frame next writes something else into it. */
		char *other = mmap((void *)0x20000000000, PAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		memset(other, 0xee, PAGE);
		CHECK(peek(arena + i * PAGE) == -1);
		munmap(other, PAGE);
	}
	stop(threads);
}

/* ---- protect ----------------------------------------------------------------------- */

static void *protect_writer(void *number)
{
	char mine = (char)((long)number + 1);
	atomic_fetch_add(&ready, 1);
	while (atomic_load(&running))
		poke(arena + (long)number, mine);
	return NULL;
}

static void protect(void)
{
	pthread_t threads[THREADS];
	arena = anonymous(PAGE, PROT_READ | PROT_WRITE);
	start(threads, protect_writer);
	for (int r = 0; r < 300; r++) {
		CHECK(mprotect(arena, PAGE, PROT_READ | PROT_WRITE) == 0);
		memset(arena, 0, THREADS);
		sched_yield();
		CHECK(mprotect(arena, PAGE, PROT_READ) == 0);
		char first[THREADS], second[THREADS];
		memcpy(first, arena, THREADS);
		for (int k = 0; k < 200; k++) {
			memcpy(second, arena, THREADS);
			CHECK(!memcmp(first, second, THREADS));
		}
	}
	stop(threads);
}

/* ---- fork -------------------------------------------------------------------------- */

static void *fork_writer(void *number)
{
	/* Two words that are always written in this order: the second never leads. */
	volatile long *pair = (volatile long *)(void *)(arena + (long)number * 2 * PAGE);
	atomic_fetch_add(&ready, 1);
	for (long n = 1; atomic_load(&running); n++) {
		pair[0] = n;
		pair[PAGE / sizeof(long)] = n; /* on the next page */
	}
	return NULL;
}

static void fork_child(void *unused)
{
	(void)unused;
	long seen[THREADS][2];
	for (int again = 0; again < 3; again++)
		for (long i = 0; i < THREADS; i++) {
			volatile long *pair = (volatile long *)(void *)(arena + i * 2 * (long)PAGE);
			long a = pair[0], b = pair[PAGE / sizeof(long)];
			if (again)
				CHECK(a == seen[i][0] && b == seen[i][1]); /* nobody writes here */
			CHECK(a == b || a == b + 1);
			seen[i][0] = a;
			seen[i][1] = b;
		}
}

static void forking(void)
{
	pthread_t threads[THREADS];
	arena = anonymous(THREADS * 2 * PAGE, PROT_READ | PROT_WRITE);
	start(threads, fork_writer);
	for (int r = 0; r < 30; r++)
		CHECK(in_child(fork_child, NULL) == 0);
	stop(threads);
}

/* ---- fault ------------------------------------------------------------------------- */

static pthread_barrier_t barrier;

static void *fault_toucher(void *number)
{
	atomic_fetch_add(&ready, 1);
	for (int r = 0; r < 50; r++) {
		pthread_barrier_wait(&barrier);
		for (size_t i = 0; i < 64; i++)
			__atomic_fetch_add((long *)(void *)(arena + i * PAGE), 1, __ATOMIC_RELAXED);
		pthread_barrier_wait(&barrier);
	}
	(void)number;
	return NULL;
}

static void fault(void)
{
	pthread_t threads[THREADS];
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	start(threads, fault_toucher);
	for (int r = 0; r < 50; r++) {
		arena = anonymous(64 * PAGE, PROT_READ | PROT_WRITE);
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		for (size_t i = 0; i < 64; i++)
			CHECK(*(long *)(void *)(arena + i * PAGE) == THREADS);
		munmap(arena, 64 * PAGE);
	}
	stop(threads);
}

/* ---- move -------------------------------------------------------------------------- */

static void *move_reader(void *number)
{
	char *place[2] = {arena, arena + 64 * PAGE};
	atomic_fetch_add(&ready, 1);
	for (unsigned n = (unsigned)(long)number; atomic_load(&running); n++) {
		int value = peek(place[n & 1] + n % 8 * PAGE);
		if (value != -1 && value != (int)(n % 8) + 1)
			atomic_fetch_add(&wrong, 1);
	}
	return NULL;
}

static void move(void)
{
	pthread_t threads[THREADS];
	arena = (char *)0x21000000000; /* where nothing else comes to lie in between */
	char *here = mmap(arena, 8 * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	char *there = arena + 64 * PAGE;
	for (size_t i = 0; i < 8; i++)
		here[i * PAGE] = (char)(i + 1);
	start(threads, move_reader);
	for (int r = 0; r < 300; r++) {
		CHECK(mremap(here, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, there) ==
		      there);
		CHECK(peek(here) == -1);
		char *old = here;
		here = there;
		there = old;
	}
	stop(threads);
}

/* ---- zap --------------------------------------------------------------------------- */

static void *zap_writer(void *number)
{
	volatile char *p = arena + (long)number * 16 * (long)PAGE;
	atomic_fetch_add(&ready, 1);
	for (unsigned n = 0; atomic_load(&running); n++) {
		volatile char *at = p + n % 16 * PAGE;
		at[1] = 0x5a;
		char value = at[1];
		if (value != 0x5a && value != 0)
			atomic_fetch_add(&wrong, 1);
	}
	return NULL;
}

static void zap(void)
{
	pthread_t threads[THREADS];
	arena = anonymous(THREADS * 16 * PAGE, PROT_READ | PROT_WRITE);
	start(threads, zap_writer);
	for (int r = 0; r < 200; r++) {
		CHECK(madvise(arena, THREADS * 16 * PAGE, MADV_DONTNEED) == 0);
		char *other = anonymous(16 * PAGE, PROT_READ | PROT_WRITE);
		memset(other, 0xee, 16 * PAGE);
		munmap(other, 16 * PAGE);
	}
	stop(threads);
}

/* ---- fresh ------------------------------------------------------------------------- */

static long words_other_than(const volatile uint64_t *p, size_t words, uint64_t value)
{
	long n = 0;
	for (size_t i = 0; i < words; i++)
		n += p[i] != value;
	return n;
}

static void *fresh_user(void *number)
{
	uint64_t seed = (uint64_t)(long)number + 1;
	atomic_fetch_add(&ready, 1);
	for (int r = 0; r < 40; r++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		size_t bytes = (1 + (seed >> 33) % 48) * PAGE, words = bytes / sizeof(uint64_t);
		volatile uint64_t *p = (void *)anonymous(bytes, PROT_READ | PROT_WRITE);
		atomic_fetch_add(&wrong, words_other_than(p, words, 0));
		for (size_t i = 0; i < words; i++)
			p[i] = seed;
		if (r % 4 == 0) /* now CPUs clear what others have given back */
			usleep((useconds_t)((seed >> 40) % 4000));
		atomic_fetch_add(&wrong, words_other_than(p, words, seed));
		munmap((void *)(uintptr_t)p, bytes);
	}
	return NULL;
}

/* Frames for copies need not be zero, and are not when they are given back. */
static void fresh_child(void *unused)
{
	(void)unused;
	memset(arena, 0xee, 64 * PAGE);
}

static void fresh(void)
{
	pthread_t threads[THREADS];
	arena = anonymous(64 * PAGE, PROT_READ | PROT_WRITE);
	memset(arena, 1, 64 * PAGE);
	start(threads, fresh_user);
	for (int r = 0; r < 20; r++)
		CHECK(in_child(fresh_child, NULL) == 0);
	stop(threads);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*body)(void);
	} all[] = {{"unmap", unmap}, {"protect", protect}, {"fork", forking}, {"fault", fault},
		   {"move", move},   {"zap", zap},         {"fresh", fresh}};
	take_signals();
	for (size_t i = 0; argc == 2 && i < sizeof(all) / sizeof(all[0]); i++)
		if (!strcmp(argv[1], all[i].name)) {
			all[i].body();
			printf("%s: %s\n", argv[1], failures ? "failed" : "ok");
			return failures != 0;
		}
	fprintf(stderr, "usage: stress unmap|protect|fork|fault|move|zap|fresh\n");
	return 2;
}
