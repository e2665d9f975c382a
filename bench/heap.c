/* SPDX-License-Identifier: MIT */
/*
 * How fast the heap is and how much it holds, and others.
 *
 *     bench_heap --list               the peers, measurements and rows there are
 *     bench_heap PEER MEASUREMENT     run one; prints its value
 *
 * tools/bench.py runs each measurement on each peer in turn, a process each, several
 * rounds, and takes medians. `ours` calls the heap, `null` an allocator that only
 * counts up (what the harness costs), `malloc` the C library's or that of a library
 * put before it. Time is the thread's own CPU time, so that a busy machine disturbs
 * little.
 */
#define _GNU_SOURCE
#include <mem/heap.h>
#include <mem/host.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "tests/machine/plain.h"

/* ---- what is measured ----------------------------------------------------------- */

static void *(*volatile alloc)(size_t bytes);
static void (*volatile give)(void *block);

static struct heap *heap;

static void *area_map(struct heap_area *area, uint64_t npages, uint64_t align_pages, bool atomic)
{
	/* Address space is taken from one reservation, pages as they are touched. */
	static _Atomic uintptr_t next;
	static uintptr_t end;
	if (!end) {
		size_t bytes = (size_t)1 << 38;
		char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (at == MAP_FAILED)
			return NULL;
		next = (uintptr_t)at;
		end = next + bytes;
	}
	uintptr_t at = next, start;
	do {
		start = align_up(at, align_pages * PAGE_SIZE);
		if (start + (npages + 1) * PAGE_SIZE > end)
			return NULL;
	} while (!atomic_compare_exchange_weak(&next, &at, start + (npages + 1) * PAGE_SIZE));
	if (npages * PAGE_SIZE >= HUGE_SIZE) /* as a kernel's area maps them (vm/heap_area.c) */
		madvise((void *)start, npages * PAGE_SIZE, MADV_HUGEPAGE);
	return (void *)start;
}

static void area_unmap(struct heap_area *area, void *pages, uint64_t npages)
{
	madvise(pages, npages * PAGE_SIZE, MADV_DONTNEED);
}

static bool area_decommit(struct heap_area *heap_area, void *pages, uint64_t npages)
{
	return !madvise(pages, npages * PAGE_SIZE, MADV_DONTNEED);
}

static bool area_recommit(struct heap_area *heap_area, void *pages, uint64_t npages, bool atomic)
{
	return true; /* they come back as they are touched */
}

static struct heap_area area = {
    .map = area_map, .unmap = area_unmap, .decommit = area_decommit, .recommit = area_recommit};

/* Addresses of memory that is there, so that touching blocks costs the same. */
static char null_memory[1 << 20];
static size_t null_at;
static void *null_alloc(size_t bytes)
{
	null_at = (null_at + bytes) & (sizeof(null_memory) / 2 - 1) & ~(size_t)15;
	return null_memory + null_at;
}
static void null_give(void *block)
{
}

/* ---- helpers ---------------------------------------------------------------------- */

static uint64_t random_state = 88172645463325252;
static inline uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}
static inline uint64_t random_below(uint64_t n)
{
	return (uint64_t)(((unsigned __int128)random_next() * n) >> 64);
}

static double now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline void touch(void *block)
{
	*(volatile char *)block = 1;
}

static unsigned short *random_sizes(size_t n, unsigned least, unsigned most)
{
	unsigned short *sizes = calloc(n, sizeof(*sizes));
	for (size_t i = 0; i < n; i++)
		sizes[i] = (unsigned short)(least + random_below(most - least + 1));
	return sizes;
}

/* ---- rows: ns per allocation and free, or a ratio ----------------------------------- */

static double lifo(unsigned least, unsigned most)
{
	enum { SIZES = 4096, DEPTH = 16 };
	unsigned short *sizes = random_sizes(SIZES, least, most);
	void *stack[DEPTH];
	unsigned n = 400000;
	double start = 0;
	for (unsigned i = 0; i < n + n / 4; i++) {
		if (i == n / 4)
			start = now_ns();
		for (unsigned k = 0; k < DEPTH; k++) {
			stack[k] = alloc(sizes[(i * DEPTH + k) % SIZES]);
			touch(stack[k]);
		}
		for (unsigned k = DEPTH; k-- > 0;)
			give(stack[k]);
	}
	return (now_ns() - start) / ((double)n * DEPTH);
}

static double fifo(unsigned least, unsigned most)
{
	enum { BATCH = 1000 };
	unsigned short *sizes = random_sizes(BATCH, least, most);
	static void *got[BATCH];
	unsigned n = 3000;
	double start = 0;
	for (unsigned i = 0; i < n + n / 4; i++) {
		if (i == n / 4)
			start = now_ns();
		for (unsigned k = 0; k < BATCH; k++) {
			got[k] = alloc(sizes[k]);
			touch(got[k]);
		}
		for (unsigned k = 0; k < BATCH; k++)
			give(got[k]);
	}
	return (now_ns() - start) / ((double)n * BATCH);
}

static void **live;
static unsigned *live_bytes;
static uint64_t live_total;

static void fill(unsigned n)
{
	live = calloc(n, sizeof(*live));
	live_bytes = calloc(n, sizeof(*live_bytes));
	live_total = 0;
	for (unsigned i = 0; i < n; i++) {
		live_bytes[i] = (unsigned)(16 + random_below(1009));
		live[i] = alloc(live_bytes[i]);
		touch(live[i]);
		live_total += live_bytes[i];
	}
}

static void replace(unsigned n, unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		unsigned k = (unsigned)random_below(n);
		give(live[k]);
		live_total -= live_bytes[k];
		live_bytes[k] = (unsigned)(16 + random_below(1009));
		live[k] = alloc(live_bytes[k]);
		touch(live[k]);
		live_total += live_bytes[k];
	}
}

static double replacement(unsigned n)
{
	fill(n);
	replace(n, n);
	unsigned times = 2000000;
	double start = now_ns();
	replace(n, times);
	return (now_ns() - start) / times;
}

/* Resident pages above what the process had before the first allocation, or what
 * our heap holds, over what is live. */
static uint64_t resident(void)
{
	if (heap) {
		struct heap_stats stats;
		heap_reap(heap, true); /* as the host's reaper does now and then */
		heap_get_stats(heap, &stats);
		return stats.held_npages * PAGE_SIZE;
	}
	unsigned long size = 0, pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (!f || fscanf(f, "%lu %lu", &size, &pages) != 2)
		return 0;
	fclose(f);
	return pages * PAGE_SIZE;
}

static double held(unsigned n)
{
	/* The arrays first, so that they are not counted. */
	uint64_t before = heap ? 0 : resident() + n * (sizeof(*live) + sizeof(*live_bytes));
	fill(n);
	replace(n, n * 4);
	return (double)(resident() - before) / (double)live_total;
}

static double held_after_shrinking(void)
{
	unsigned n = 200000;
	uint64_t before = heap ? 0 : resident() + n * (sizeof(*live) + sizeof(*live_bytes));
	fill(n);
	while (n > 20000) {
		unsigned k = (unsigned)random_below(n);
		give(live[k]);
		live_total -= live_bytes[k];
		n--;
		live[k] = live[n];
		live_bytes[k] = live_bytes[n];
	}
	replace(n, 10 * n);
	return (double)(resident() - before) / (double)live_total;
}

/* One thread allocates, the other frees: CPU time of both per block. */
enum { RING = 4096 };
static void *_Atomic ring[RING];
static double consumer_ns;
static unsigned handed;

static void *consumer(void *arg)
{
	plain_set_cpu(1);
	double start = 0;
	for (unsigned i = 0; i < handed; i++) {
		void *block;
		while (!(block = atomic_load_explicit(&ring[i % RING], memory_order_acquire)))
			sched_yield();
		if (i == RING)
			start = now_ns();
		atomic_store_explicit(&ring[i % RING], NULL, memory_order_relaxed);
		give(block);
	}
	consumer_ns = now_ns() - start;
	return NULL;
}

static double remote(unsigned least, unsigned most)
{
	enum { SIZES = 4096 };
	unsigned short *sizes = random_sizes(SIZES, least, most);
	handed = 1500000;
	pthread_t thread;
	pthread_create(&thread, NULL, consumer, NULL);
	double start = 0;
	for (unsigned i = 0; i < handed; i++) {
		if (i == RING)
			start = now_ns();
		while (atomic_load_explicit(&ring[i % RING], memory_order_relaxed))
			sched_yield();
		void *block = alloc(sizes[i % SIZES]);
		touch(block);
		atomic_store_explicit(&ring[i % RING], block, memory_order_release);
	}
	double ns = now_ns() - start;
	pthread_join(thread, NULL);
	return (ns + consumer_ns) / (handed - RING);
}

static __attribute__((noinline)) void pair_loop(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		give(alloc(64));
}

/* Instructions of a process that runs the loop once it is warm, by single-stepping; 0: they
 * cannot be counted. */
static uint64_t steps_of(unsigned pairs)
{
	pid_t pid = fork();
	if (pid == 0) {
		pair_loop(100);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		pair_loop(pairs);
		_exit(0);
	}
	int status;
	uint64_t steps = 0;
	waitpid(pid, &status, 0);
	for (; WIFSTOPPED(status); steps++) {
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL))
			return 0;
		waitpid(pid, &status, 0);
	}
	return steps;
}

/* Instructions of a 64-byte pair with the loop around it; the ways into the loop and out of
 * it are in both counts. */
static double instructions(void)
{
	enum { FEW = 100, MORE = 300 };
	uint64_t few = steps_of(FEW), more = steps_of(MORE);
	return few && more > few ? (double)(more - few) / (MORE - FEW) : -1;
}

/* ---- the table ------------------------------------------------------------------------ */

static double row_lifo_small(void)
{
	return lifo(16, 1024);
}
static double row_lifo_4k(void)
{
	return lifo(4096, 8192);
}
static double row_fifo_256(void)
{
	return fifo(16, 256);
}
static double row_fifo_1k(void)
{
	return fifo(1024, 1024);
}
static double row_fifo_4k(void)
{
	return fifo(4096, 8192);
}
static double row_random_10k(void)
{
	return replacement(10000);
}
static double row_random_200k(void)
{
	return replacement(200000);
}
static double row_remote_64(void)
{
	return remote(64, 64);
}
static double row_remote_mixed(void)
{
	return remote(16, 4096);
}
static double row_held_10k(void)
{
	return held(10000);
}
static double row_held_200k(void)
{
	return held(200000);
}

static const struct row {
	const char *name, *unit;
	double (*run)(void);
	const char *peer; /* best: the fastest of the others; `-`: none */
	double goal;      /* of ours over the peer's; of ours alone without a peer */
	bool once;        /* a count, the same each time */
	const char *title;
} rows[] = {
    {"lifo-1k", "ns", row_lifo_small, "best", 0.80, false, "LIFO pairs, 16 to 1024 B"},
    {"lifo-8k", "ns", row_lifo_4k, "best", 0.60, false, "LIFO pairs, 4 to 8 KiB"},
    {"fifo-256", "ns", row_fifo_256, "best", 0.80, false, "FIFO of 1000, to 256 B"},
    {"fifo-1k", "ns", row_fifo_1k, "best", 0.55, false, "FIFO of 1000, 1 KiB"},
    {"fifo-8k", "ns", row_fifo_4k, "best", 0.65, false, "FIFO of 1000, 4 to 8 KiB"},
    {"random-10k", "ns", row_random_10k, "best", 0.85, false, "random sizes, 10 k live"},
    {"random-200k", "ns", row_random_200k, "best", 0.65, false, "random sizes, 200 k live"},
    {"remote-64", "ns", row_remote_64, "best", 0.75, false, "freed elsewhere, 64 B"},
    {"remote-mixed", "ns", row_remote_mixed, "best", 0.30, false, "freed elsewhere, mixed"},
    {"held-10k", "", row_held_10k, "-", 1.20, true, "held over live, 10 k"},
    {"held-200k", "", row_held_200k, "-", 1.06, true, "held over live, 200 k"},
    {"held-shrunk", "", held_after_shrinking, "-", 1.5, true, "held over live, shrunk to 10 %"},
    {"instructions", "", instructions, "-", 60, true, "a 64 B pair, instructions"},
};

static int list(void)
{
	printf("peer\tnull\npeer\tours\npeer\thardened\npeer\tmalloc\n");
	for (unsigned i = 0; i < ARRAY_COUNT(rows); i++)
		printf("measurement\t%s\t%s\n", rows[i].name, rows[i].once ? "once" : "rounds");
	for (unsigned i = 0; i < ARRAY_COUNT(rows); i++)
		printf("row\t%s\t%s\t0\t%s\t%s\t%g\tmax\tgross\t%s\n", rows[i].name, rows[i].name,
		       rows[i].unit, rows[i].peer, rows[i].goal, rows[i].title);
	/* The hardened profile beside the fast one. */
	for (unsigned i = 0; i < ARRAY_COUNT(rows); i++)
		if (!strcmp(rows[i].unit, "ns"))
			printf("row\thardened-%s\t%s\t0\tns\tours\t1.4\tmax\tgross\thardened: %s\t"
			       "hardened\n",
			       rows[i].name, rows[i].name, rows[i].title);
	return 0;
}

static bool select_peer(const char *peer)
{
	if (!strcmp(peer, "null")) {
		alloc = null_alloc;
		give = null_give;
		return true;
	}
	bool hardened = !strcmp(peer, "hardened");
	if (hardened || !strcmp(peer, "ours")) {
		plain_init(1 << 20, 2);
		alloc = kmalloc;
		give = kfree;
		if (heap_create_as(&heap, &area, hardened ? HEAP_HARDENED : HEAP_FAST) != MEM_OK)
			return false;
		heap_set_default(heap);
		return true;
	}
	alloc = malloc;
	give = free;
	return !strcmp(peer, "malloc");
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--list"))
		return list();
	for (unsigned i = 0; argc == 3 && i < ARRAY_COUNT(rows); i++) {
		if (strcmp(rows[i].name, argv[2]) || !select_peer(argv[1]))
			continue;
		printf("%.5f\n", rows[i].run());
		return 0;
	}
	fprintf(stderr, "usage: bench_heap --list | PEER MEASUREMENT\n");
	return 2;
}
