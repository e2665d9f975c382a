/* SPDX-License-Identifier: MIT */
/*
 * How fast the frame allocator is, and others.
 *
 *     bench_pmm --list                the peers, measurements and rows there are
 *     bench_pmm PEER MEASUREMENT      run one; prints its values
 *
 * tools/bench.py runs each measurement on each peer in turn, a process each, several
 * rounds, and takes medians; the null allocator's, which is what the harness itself
 * costs, is taken off where a row says `net`. Time is the thread's own CPU time, so
 * that a busy machine disturbs little.
 */
#define _GNU_SOURCE
#include "bench/pmm.h"
#include "base/util.h"
#include "tests/machine/plain.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

#define GIB_PAGES ((uint64_t)1 << 18)

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

/* The plain clock: where most may be the kernel's work, or waiting. */
static double wall_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static uint64_t *frames;
static void *of; /* what init made, for alloc and free */

static void shuffle(uint64_t *a, uint64_t n)
{
	for (uint64_t i = n; i > 1; i--) {
		uint64_t k = random_below(i), t = a[k];
		a[k] = a[i - 1];
		a[i - 1] = t;
	}
}

/* ---- rows: ns per operation; `out` may hold several ----------------------------- */

static void row_pair(const struct peer *p, double *out)
{
	enum { N = 2000000 };
	of = p->init(GIB_PAGES, 1);
	for (int warm = 0; warm < 2; warm++) {
		double a = now_ns();
		for (int i = 0; i < N; i++) {
			uint64_t f = p->alloc(of, 0, 0);
			p->free(of, 0, f, 0);
		}
		out[0] = (now_ns() - a) / N;
	}
	p->fini();
}

static void bulk(const struct peer *p, double *out, uint64_t npages, bool in_order)
{
	of = p->init(npages, 1);
	/* The first round touches the metadata for the first time. */
	for (int warm = 0; warm < 2; warm++) {
		uint64_t n = 0;
		double a = now_ns();
		while (n < npages - npages / 128) {
			uint64_t f = p->alloc(of, 0, 0);
			if (f == BENCH_NONE)
				break;
			frames[n++] = f;
		}
		double b = now_ns();
		if (n < npages - npages / 128)
			abort();
		if (!in_order)
			shuffle(frames, n);
		double c = now_ns();
		for (uint64_t i = 0; i < n; i++)
			p->free(of, 0, frames[i], 0);
		double d = now_ns();
		out[0] = (b - a) / (double)n;
		out[1] = (d - c) / (double)n;
	}
	p->fini();
}

static void row_bulk_1(const struct peer *p, double *out)
{
	bulk(p, out, GIB_PAGES, true);
}

static void row_bulk_16(const struct peer *p, double *out)
{
	bulk(p, out, 16 * GIB_PAGES, true);
}

static void row_random_free(const struct peer *p, double *out)
{
	bulk(p, out, GIB_PAGES, false);
}

static void replace(const struct peer *p, double *out, uint64_t npages)
{
	enum { N = 1000000 };
	of = p->init(npages, 1);
	uint64_t n = npages / 10 * 9;
	for (uint64_t i = 0; i < n; i++)
		frames[i] = p->alloc(of, 0, 0);
	shuffle(frames, n);
	for (int warm = 0; warm < 2; warm++) {
		double a = now_ns();
		for (int i = 0; i < N; i++) {
			uint64_t k = random_below(n);
			p->free(of, 0, frames[k], 0);
			frames[k] = p->alloc(of, 0, 0);
		}
		out[0] = (now_ns() - a) / N;
	}
	p->fini();
}

static void row_replace_1(const struct peer *p, double *out)
{
	replace(p, out, GIB_PAGES);
}

static void row_replace_16(const struct peer *p, double *out)
{
	replace(p, out, 16 * GIB_PAGES);
}

static void row_huge(const struct peer *p, double *out)
{
	enum { N = 1000000 };
	of = p->init(16 * GIB_PAGES, 1);
	for (int warm = 0; warm < 2; warm++) {
		double a = now_ns();
		for (int i = 0; i < N; i++) {
			uint64_t f = p->alloc(of, 0, 9);
			p->free(of, 0, f, 9);
		}
		out[0] = (now_ns() - a) / N;
	}
	for (int warm = 0; warm < 2; warm++) {
		uint64_t n = 16 * 512 - 8;
		double a = now_ns();
		for (uint64_t i = 0; i < n; i++)
			frames[i] = p->alloc(of, 0, 9);
		for (uint64_t i = 0; i < n; i++)
			p->free(of, 0, frames[i], 9);
		out[1] = (now_ns() - a) / (double)n;
	}
	p->fini();
}

static void row_mixed(const struct peer *p, double *out)
{
	enum { N = 1000000, SLOTS = 1024 };
	static uint64_t held[SLOTS];
	static uint8_t order[SLOTS];
	of = p->init(4 * GIB_PAGES, 1);
	for (int i = 0; i < SLOTS; i++)
		held[i] = BENCH_NONE;
	for (int warm = 0; warm < 2; warm++) {
		double a = now_ns();
		for (int i = 0; i < N; i++) {
			uint64_t r = random_next();
			unsigned k = (unsigned)(r >> 20) % SLOTS;
			if (held[k] == BENCH_NONE) {
				order[k] = (uint8_t)((r >> 40) % 10);
				held[k] = p->alloc(of, 0, order[k]);
			} else {
				p->free(of, 0, held[k], order[k]);
				held[k] = BENCH_NONE;
			}
		}
		out[0] = (now_ns() - a) / N * 2; /* an operation here is half a pair */
	}
	p->fini();
}

static void row_remote(const struct peer *p, double *out)
{
	enum { N = 2000, BATCH = 1000 };
	of = p->init(GIB_PAGES, 2);
	for (int warm = 0; warm < 2; warm++) {
		double a = now_ns();
		for (int i = 0; i < N; i++) {
			plain_set_cpu(0);
			for (int k = 0; k < BATCH; k++)
				frames[k] = p->alloc(of, 0, 0);
			plain_set_cpu(1);
			for (int k = 0; k < BATCH; k++)
				p->free(of, 1, frames[k], 0);
		}
		out[0] = (now_ns() - a) / ((double)N * BATCH);
	}
	plain_set_cpu(0);
	p->fini();
}

/* ---- two threads at once ------------------------------------------------------------ */

static const struct peer *thread_peer;
static double thread_ns[2];
static pthread_barrier_t thread_barrier;

static void *thread_body(void *arg)
{
	enum { N = 40, BATCH = 20000 };
	unsigned cpu = (unsigned)(uintptr_t)arg;
	uint64_t *mine = malloc(BATCH * sizeof(*mine));
	plain_set_cpu(cpu);
	pthread_barrier_wait(&thread_barrier);
	for (int warm = 0; warm < 2; warm++) {
		double a = now_ns();
		for (int i = 0; i < N; i++) {
			for (int k = 0; k < BATCH; k++)
				mine[k] = thread_peer->alloc(of, cpu, 0);
			for (int k = 0; k < BATCH; k++)
				thread_peer->free(of, cpu, mine[k], 0);
		}
		thread_ns[cpu] = (now_ns() - a) / ((double)N * BATCH);
	}
	free(mine);
	return NULL;
}

static double run_threads(const struct peer *p, uintptr_t n)
{
	pthread_t threads[2];
	thread_peer = p;
	of = p->init(GIB_PAGES, 2);
	pthread_barrier_init(&thread_barrier, NULL, (unsigned)n);
	for (uintptr_t i = 1; i < n; i++)
		pthread_create(&threads[i], NULL, thread_body, (void *)i);
	thread_body((void *)0);
	for (uintptr_t i = 1; i < n; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&thread_barrier);
	p->fini();
	return n == 1 ? thread_ns[0] : (thread_ns[0] + thread_ns[1]) / 2;
}

static void row_threads(const struct peer *p, double *out)
{
	out[0] = run_threads(p, 1);
	out[1] = run_threads(p, 2);
}

/* ---- worst cases ----------------------------------------------------------------------- */

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* The time stamp once all loads before it have come, and before any after it starts: what the
 * harness waits for is not counted in with an operation, nor half of one with the next. */
static inline uint64_t ticks(void)
{
	uint32_t low, high;
	__asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high)::"memory");
	return (uint64_t)high << 32 | low;
}

/* Each operation takes the least time of several passes over the same sequence on a fresh
 * allocator: what it does itself is in each of them, what interrupts it in hardly more
 * than one. */
static void row_worst(const struct peer *p, double *out)
{
	enum { N = 1000000, PASSES = 3 };
	static uint32_t alloc_time[N], free_time[N];
	uint64_t n = GIB_PAGES / 10 * 9, seed = random_state;
	double per_tick = 0;
	for (int pass = 0; pass < PASSES; pass++) {
		random_state = seed;
		of = p->init(GIB_PAGES, 1);
		for (uint64_t i = 0; i < n; i++)
			frames[i] = p->alloc(of, 0, 0);
		shuffle(frames, n);
		double start = wall_ms();
		uint64_t tsc = ticks();
		for (int i = 0; i < N; i++) {
			uint64_t k = random_below(n), f = frames[k];
			uint64_t a = ticks();
			p->free(of, 0, f, 0);
			uint64_t b = ticks();
			f = p->alloc(of, 0, 0);
			uint64_t c = ticks();
			frames[k] = f;
			if (!pass || b - a < free_time[i])
				free_time[i] = (uint32_t)(b - a);
			if (!pass || c - b < alloc_time[i])
				alloc_time[i] = (uint32_t)(c - b);
		}
		per_tick = (wall_ms() - start) * 1e6 / (double)(ticks() - tsc);
		p->fini();
	}
	qsort(alloc_time, N, sizeof(uint32_t), compare_u32);
	qsort(free_time, N, sizeof(uint32_t), compare_u32);
	out[0] = alloc_time[N / 1000 * 999] * per_tick;
	out[1] = free_time[N / 1000 * 999] * per_tick;
	for (int q = 0; q < 9; q++) {
		static const double x[] = {.5, .9, .95, .98, .99, .995, .999, .9999, .99999};
		fprintf(stderr, "%g: %.1f %.1f\n", x[q], alloc_time[(int)(N * x[q])] * per_tick,
			free_time[(int)(N * x[q])] * per_tick);
	}
}

/* ---- how much stays whole ---------------------------------------------------------------- */

static void row_whole(const struct peer *p, double *out)
{
	if (!p->free_huge) {
		out[0] = out[1] = 0;
		return;
	}
	/* Half full, then each frame replaced ten times on average. */
	uint64_t npages = GIB_PAGES, n = npages / 2;
	of = p->init(npages, 1);
	for (uint64_t i = 0; i < n; i++)
		frames[i] = p->alloc(of, 0, 0);
	for (uint64_t i = 0; i < 10 * n; i++) {
		uint64_t k = random_below(n);
		p->free(of, 0, frames[k], 0);
		frames[k] = p->alloc(of, 0, 0);
	}
	out[0] = (double)p->free_huge() / (double)((npages - n) / 512);
	p->fini();
	/* Filled and thinned out to a tenth at random, fifty times. */
	of = p->init(npages, 1);
	uint64_t live = 0, keep = npages / 10;
	for (int round = 0; round < 50; round++) {
		while (live < npages / 2)
			frames[live++] = p->alloc(of, 0, 0);
		shuffle(frames, live);
		while (live > keep)
			p->free(of, 0, frames[--live], 0);
	}
	/* Then replaced until it has settled. */
	for (uint64_t i = 0; i < 50 * live; i++) {
		uint64_t k = random_below(live);
		p->free(of, 0, frames[k], 0);
		frames[k] = p->alloc(of, 0, 0);
	}
	out[1] = (double)p->free_huge() / (double)((npages - live) / 512);
	p->fini();
}

/* ---- instructions, by single steps ---------------------------------------------------------- */

static volatile uint64_t steps;

static void on_step(int sig)
{
	steps++;
}

static void set_trap_flag(bool on)
{
	if (on)
		__asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "cc", "memory");
	else
		__asm__ volatile("pushfq; andq $~0x100, (%%rsp); popfq" ::: "cc", "memory");
}

static void row_instructions(const struct peer *p, double *out)
{
	enum { N = 640 };
	struct sigaction action = {.sa_handler = on_step};
	sigaction(SIGTRAP, &action, NULL);
	of = p->init(GIB_PAGES, 1);
	for (int i = 0; i < 1000; i++)
		p->free(of, 0, p->alloc(of, 0, 0), 0);
	steps = 0;
	set_trap_flag(true);
	for (int i = 0; i < N; i++) {
		uint64_t f = p->alloc(of, 0, 0);
		p->free(of, 0, f, 0);
	}
	set_trap_flag(false);
	out[0] = (double)steps / N;
	p->fini();
}

/* ---- before the first frame --------------------------------------------------------------- */

/* From a memory map of 1 TiB to its first frame. */
static void row_setup(const struct peer *p, double *out)
{
	double start = wall_ms();
	of = p->init(1024 * GIB_PAGES, 2);
	if (p->alloc(of, 0, 0) == BENCH_NONE)
		abort();
	out[0] = wall_ms() - start;
	p->fini();
}

static void row_metadata(const struct peer *p, double *out)
{
	of = p->init(16 * GIB_PAGES, 8);
	out[0] = p->metadata ? (double)p->metadata() / 16384 : 0;
	/* Of a machine that is full: what there is for each frame, too. */
	while (p != &peer_null && p->alloc(of, 0, 0) != BENCH_NONE)
		;
	out[1] = p->metadata ? (double)p->metadata() * 100 / (16.0 * GIB_PAGES * PAGE_SIZE) : 0;
	p->fini();
}

/* ---- all rows ---------------------------------------------------------------------------- */

/* What is run: once for each peer and round, in a process of its own. */
static const struct measurement {
	const char *name;
	void (*run)(const struct peer *p, double *out);
	bool once; /* counts, the same each time */
} measurements[] = {
    {"pair", row_pair, false},
    {"instructions", row_instructions, true},
    {"bulk-1g", row_bulk_1, false},
    {"bulk-16g", row_bulk_16, false},
    {"random", row_random_free, false},
    {"replace-1g", row_replace_1, false},
    {"replace-16g", row_replace_16, false},
    {"huge", row_huge, false},
    {"mixed", row_mixed, false},
    {"remote", row_remote, false},
    {"threads", row_threads, false},
    {"worst", row_worst, false},
    {"whole", row_whole, true},
    {"metadata", row_metadata, true},
    {"setup", row_setup, false},
};

/* A line of the table: which number of a measurement, beside whose, and the goal. */
static const struct row {
	const char *name, *measurement;
	unsigned value;
	const char *unit;
	const char *peer;            /* `-`: none; `self:N`: our own value N of the measurement */
	double goal;                 /* of ours over the peer's; of ours alone without a peer */
	const char *sense, *harness; /* max or min; net: the null allocator's value is taken off */
	const char *title;
} rows[] = {
    {"pair", "pair", 0, "ns", "llfree", 0.10, "max", "net", "one frame, taken and given"},
    {"pair-buddy", "pair", 0, "ns", "buddy", 1.5, "max", "net", "one frame, beside a buddy model"},
    {"pair-instructions", "instructions", 0, "", "-", 60, "max", "net", "one frame, instructions"},
    {"bulk-alloc-1g", "bulk-1g", 0, "ns", "llfree", 0.06, "max", "net", "fill 1 GiB, a frame"},
    {"bulk-free-1g", "bulk-1g", 1, "ns", "llfree", 0.06, "max", "net", "free 1 GiB in order"},
    {"bulk-alloc-16g", "bulk-16g", 0, "ns", "llfree", 0.06, "max", "net", "fill 16 GiB, a frame"},
    {"bulk-free-16g", "bulk-16g", 1, "ns", "llfree", 0.06, "max", "net", "free 16 GiB in order"},
    {"random-free", "random", 1, "ns", "llfree", 0.20, "max", "net", "free 1 GiB in any order"},
    {"replace-1g", "replace-1g", 0, "ns", "llfree", 0.15, "max", "net",
     "random replacement, 1 GiB"},
    {"replace-16g", "replace-16g", 0, "ns", "llfree", 0.08, "max", "net",
     "random replacement, 16 GiB"},
    {"huge-pair", "huge", 0, "ns", "llfree", 0.10, "max", "net", "2 MiB, taken and given"},
    {"huge-bulk", "huge", 1, "ns", "llfree", 0.20, "max", "net", "16 GiB in 2 MiB blocks"},
    {"mixed", "mixed", 0, "ns", "llfree", 0.30, "max", "net", "orders 0 to 9, mixed"},
    {"remote", "remote", 0, "ns", "llfree", 0.10, "max", "net", "freed on another CPU"},
    {"threads", "threads", 1, "ns", "self:0", 1.15, "max", "gross", "two threads over one"},
    {"p999-alloc", "worst", 0, "ns", "llfree", 0.5, "max", "net", "one take, 99.9 % are below"},
    {"p999-free", "worst", 1, "ns", "-", 400, "max", "net", "one free, 99.9 % are below"},
    {"whole-replace", "whole", 0, "", "-", 0.97, "min", "gross", "2 MiB whole, replaced at 50 %"},
    {"whole-churn", "whole", 1, "", "-", 0.85, "min", "gross", "2 MiB whole, churned at 10 %"},
    {"metadata", "metadata", 0, "KiB", "-", 36, "max", "gross", "metadata of 1 GiB"},
    {"setup-1t", "setup", 0, "ms", "-", 1, "max", "gross", "set-up of 1 TiB"},
};

static const struct {
	const char *name;
	const struct peer *peer;
} peers[] = {
    {"null", &peer_null},          {"ours", &peer_quire},
    {"records", &peer_quire_user}, {"buddy", &peer_buddy},
#ifdef BENCH_LLFREE
    {"llfree", &peer_llfree},
#endif
};

static int list(void)
{
	for (unsigned i = 0; i < ARRAY_COUNT(peers); i++)
		printf("peer\t%s\n", peers[i].name);
	for (unsigned i = 0; i < ARRAY_COUNT(measurements); i++)
		printf("measurement\t%s\t%s\n", measurements[i].name,
		       measurements[i].once ? "once" : "rounds");
	for (unsigned i = 0; i < ARRAY_COUNT(rows); i++)
		printf("row\t%s\t%s\t%u\t%s\t%s\t%g\t%s\t%s\t%s\n", rows[i].name,
		       rows[i].measurement, rows[i].value, rows[i].unit, rows[i].peer, rows[i].goal,
		       rows[i].sense, rows[i].harness, rows[i].title);
	/* Judged with another peer's value: ours with records. */
	puts("row\tmetadata-records\tmetadata\t1\t%\t-\t0.25\tmax\tgross\t"
	     "with all records, of RAM\trecords");
	return 0;
}

int main(int argc, char **argv)
{
	const struct peer *peer = NULL;
	if (argc == 2 && !strcmp(argv[1], "--list"))
		return list();
	for (unsigned i = 0; argc == 3 && i < ARRAY_COUNT(peers); i++)
		if (!strcmp(peers[i].name, argv[1]))
			peer = peers[i].peer;
	for (unsigned i = 0; peer && i < ARRAY_COUNT(measurements); i++) {
		if (strcmp(measurements[i].name, argv[2]))
			continue;
		double out[2] = {0, 0};
		frames = malloc(16 * GIB_PAGES * sizeof(*frames));
		memset(frames, 0, 16 * GIB_PAGES * sizeof(*frames));
		measurements[i].run(peer, out);
		printf("%.5f %.5f\n", out[0], out[1]);
		return 0;
	}
	fprintf(stderr, "usage: bench_pmm --list | PEER MEASUREMENT\n");
	return 2;
}
