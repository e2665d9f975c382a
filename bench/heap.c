/* SPDX-License-Identifier: MIT */
/*
 * How fast the heap is, and how much it holds, beside others.
 *
 *     bench_heap [--quick] [--peer NAME=LIBRARY.so]... [ROW...]
 *     bench_heap --child PEER ROW            (what the first form starts)
 *
 * Each row runs in a process of its own per peer: ours calls the heap, `null`
 * an allocator that only counts up (what the harness costs; taken off all
 * others), the rest are malloc and free of the C library or of a library put
 * before it. Rounds of all peers are interleaved and medians taken; time is the
 * thread's own CPU time, so that a busy machine disturbs little. A line per
 * row: `row ours peer ratio goal ok|MISS|SKIP`, the peer being the best of them.
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
	return (void *)start;
}

static void area_unmap(struct heap_area *area, void *pages, uint64_t npages)
{
	madvise(pages, npages * PAGE_SIZE, MADV_DONTNEED);
}

static bool area_drop(struct heap_area *heap_area, void *pages, uint64_t npages)
{
	return !madvise(pages, npages * PAGE_SIZE, MADV_DONTNEED);
}

static bool area_restore(struct heap_area *heap_area, void *pages, uint64_t npages, bool atomic)
{
	return true; /* they come back as they are touched */
}

static struct heap_area area = {area_map, area_unmap, area_drop, area_restore};

static void *our_alloc(size_t bytes)
{
	return heap_alloc(heap, bytes);
}
static void our_give(void *block)
{
	heap_free(heap, block);
}

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

static unsigned scale = 1; /* operations are divided by this */

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
	unsigned n = 400000 / scale;
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
	unsigned n = 3000 / scale;
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
	unsigned times = 2000000 / scale;
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
	handed = 1500000 / scale;
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

/* Instructions of a 64-byte pair with the loop around it, by single-stepping. */
static double instructions(void)
{
	enum { PAIRS = 200 };
	pid_t pid = fork();
	if (pid == 0) {
		pair_loop(100);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		pair_loop(PAIRS);
		_exit(0);
	}
	int status;
	uint64_t steps = 0, empty = 0;
	waitpid(pid, &status, 0);
	while (WIFSTOPPED(status)) {
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL))
			return -1;
		waitpid(pid, &status, 0);
		steps++;
	}
	/* What surrounds the loop: the way out of raise, the way to _exit. */
	pid = fork();
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		pair_loop(0);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	while (WIFSTOPPED(status)) {
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL))
			return -1;
		waitpid(pid, &status, 0);
		empty++;
	}
	return (double)(steps - empty) / PAIRS;
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
	double goal;   /* ratio to the best peer, or the value itself */
	bool absolute; /* goal is the value; nothing is taken off */
} rows[] = {
    {"lifo_16_1024", "ns", row_lifo_small, 0.80, false},
    {"lifo_4k_8k", "ns", row_lifo_4k, 0.60, false},
    {"fifo_16_256", "ns", row_fifo_256, 0.80, false},
    {"fifo_1k", "ns", row_fifo_1k, 0.55, false},
    {"fifo_4k_8k", "ns", row_fifo_4k, 0.65, false},
    {"random_10k", "ns", row_random_10k, 0.85, false},
    {"random_200k", "ns", row_random_200k, 0.65, false},
    {"remote_64", "ns", row_remote_64, 0.75, false},
    {"remote_mixed", "ns", row_remote_mixed, 0.30, false},
    {"held_10k", "x", row_held_10k, 1.20, true},
    {"held_200k", "x", row_held_200k, 1.06, true},
    {"held_shrunk", "x", held_after_shrinking, 1.5, true},
    {"instructions_64", "", instructions, 60, true},
};

/* ---- children ---------------------------------------------------------------------------- */

static int child(const char *peer, const char *name)
{
	if (getenv("BENCH_QUICK"))
		scale = 10;
	alloc = malloc;
	give = free;
	if (!strcmp(peer, "null")) {
		alloc = null_alloc;
		give = null_give;
	} else if (!strcmp(peer, "ours")) {
		plain_init(1 << 20, 2);
		if (heap_create(&heap, &area) != MEM_OK)
			return 1;
		alloc = our_alloc;
		give = our_give;
	}
	for (unsigned i = 0; i < ARRAY_COUNT(rows); i++)
		if (!strcmp(rows[i].name, name)) {
			printf("%.4f\n", rows[i].run());
			return 0;
		}
	return 2;
}

#define MAX_PEERS 8
#define ROUNDS    5
static struct peer {
	const char *name, *library;
} peers[MAX_PEERS] = {{"null", NULL}, {"ours", NULL}, {"glibc", NULL}};
static unsigned peer_count = 3;

static double run_child(const char *self, const struct peer *peer, const char *row)
{
	char command[4096];
	snprintf(command, sizeof(command), "%s%s%s '%s' --child %s %s",
		 peer->library ? "LD_PRELOAD='" : "", peer->library ? peer->library : "",
		 peer->library ? "'" : "", self, peer->name, row);
	FILE *f = popen(command, "r");
	double value = -1;
	if (!f || fscanf(f, "%lf", &value) != 1)
		value = -1;
	if (f)
		pclose(f);
	return value;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static double median(double *values, unsigned n)
{
	qsort(values, n, sizeof(*values), compare);
	return values[n / 2];
}

/* Returns 1 if the goal is missed. */
static unsigned run_row(const char *self, const struct row *row, unsigned rounds)
{
	static double values[MAX_PEERS][ROUNDS], result[MAX_PEERS];
	for (unsigned r = 0; r < rounds; r++)
		for (unsigned p = 0; p < peer_count; p++)
			values[p][r] = run_child(self, &peers[p], row->name);
	unsigned best = 2;
	for (unsigned p = 0; p < peer_count; p++)
		result[p] = median(values[p], rounds);
	for (unsigned p = 1; p < peer_count; p++)
		if (!row->absolute)
			result[p] -= result[0];
	for (unsigned p = 2; p < peer_count; p++)
		if (result[p] > 0 && (result[best] <= 0 || result[p] < result[best]))
			best = p;
	double ratio = row->absolute ? result[1] : result[1] / result[best];
	bool ok = ratio <= row->goal;
	printf("%-16s %8.2f %8.2f %6.2f %6.2f %s  (best: %s", row->name, result[1], result[best],
	       ratio, row->goal, ok ? "ok" : "MISS", peers[best].name);
	for (unsigned p = 0; p < peer_count; p++)
		printf("; %s %.2f", peers[p].name, result[p]);
	printf(" %s)\n", row->unit);
	fflush(stdout);
	return !ok;
}

static bool wanted(const char *name, int argc, char **argv)
{
	bool any = false;
	for (int i = 1; i < argc; i++)
		if (argv[i]) {
			any = true;
			if (strstr(name, argv[i]))
				return true;
		}
	return !any;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "--child"))
		return child(argv[2], argv[3]);
	unsigned rounds = ROUNDS;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--quick")) {
			setenv("BENCH_QUICK", "1", 1);
			rounds = 3;
			argv[i] = NULL;
		} else if (!strcmp(argv[i], "--peer") && i + 1 < argc && peer_count < MAX_PEERS) {
			char *name = argv[i + 1], *library = strchr(name, '=');
			if (!library)
				return 2;
			*library = 0;
			peers[peer_count++] = (struct peer){name, library + 1};
			argv[i] = argv[i + 1] = NULL;
			i++;
		}
	}
	printf("%-16s %8s %8s %6s %6s\n", "row", "ours", "peer", "ratio", "goal");
	unsigned n = 0, misses = 0;
	for (unsigned i = 0; i < ARRAY_COUNT(rows); i++)
		if (wanted(rows[i].name, argc, argv)) {
			n++;
			misses += run_row(argv[0], &rows[i], rounds);
		}
	printf("bench: %u rows, %u over goal, 0 skipped\n", n, misses);
	return misses != 0;
}
