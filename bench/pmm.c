/* SPDX-License-Identifier: MIT */
/*
 * How fast the frame allocator is, beside others, in one run.
 *
 *     bench_pmm [ROW...]
 *
 * Every row runs on each peer in turn, several rounds, and the median counts; the
 * null allocator's median, which is what the harness itself costs, is taken off
 * all of them. Time is the thread's own CPU time, so that a busy machine
 * disturbs little. A line per row: `row ours peer ratio goal ok|MISS|SKIP`.
 */
#define _GNU_SOURCE
#include "bench/pmm.h"
#include "tests/machine/plain.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

#define GIB_PAGES ((uint64_t)1 << 18)
#define ROUNDS    5

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

static uint64_t *frames;

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
	p->init(GIB_PAGES, 1);
	for (int warm = 0; warm < 2; warm++) {
		double a = now_ns();
		for (int i = 0; i < N; i++) {
			uint64_t f = p->alloc(0, 0);
			p->free(0, f, 0);
		}
		out[0] = (now_ns() - a) / N;
	}
	p->fini();
}

static void bulk(const struct peer *p, double *out, uint64_t npages, bool in_order)
{
	p->init(npages, 1);
	/* The first round touches the metadata for the first time. */
	for (int warm = 0; warm < 2; warm++) {
		uint64_t n = 0;
		double a = now_ns();
		while (n < npages - npages / 128) {
			uint64_t f = p->alloc(0, 0);
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
			p->free(0, frames[i], 0);
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
	double both[2];
	bulk(p, both, GIB_PAGES, false);
	out[0] = both[1];
}

static void replace(const struct peer *p, double *out, uint64_t npages)
{
	enum { N = 1000000 };
	p->init(npages, 1);
	uint64_t n = npages / 10 * 9;
	for (uint64_t i = 0; i < n; i++)
		frames[i] = p->alloc(0, 0);
	shuffle(frames, n);
	for (int warm = 0; warm < 2; warm++) {
		double a = now_ns();
		for (int i = 0; i < N; i++) {
			uint64_t k = random_below(n);
			p->free(0, frames[k], 0);
			frames[k] = p->alloc(0, 0);
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
	p->init(16 * GIB_PAGES, 1);
	for (int warm = 0; warm < 2; warm++) {
		double a = now_ns();
		for (int i = 0; i < N; i++) {
			uint64_t f = p->alloc(0, 9);
			p->free(0, f, 9);
		}
		out[0] = (now_ns() - a) / N;
	}
	for (int warm = 0; warm < 2; warm++) {
		uint64_t n = 16 * 512 - 8;
		double a = now_ns();
		for (uint64_t i = 0; i < n; i++)
			frames[i] = p->alloc(0, 9);
		for (uint64_t i = 0; i < n; i++)
			p->free(0, frames[i], 9);
		out[1] = (now_ns() - a) / (double)n;
	}
	p->fini();
}

static void row_mixed(const struct peer *p, double *out)
{
	enum { N = 1000000, SLOTS = 1024 };
	static uint64_t held[SLOTS];
	static uint8_t order[SLOTS];
	p->init(4 * GIB_PAGES, 1);
	for (int i = 0; i < SLOTS; i++)
		held[i] = BENCH_NONE;
	for (int warm = 0; warm < 2; warm++) {
		double a = now_ns();
		for (int i = 0; i < N; i++) {
			uint64_t r = random_next();
			unsigned k = (unsigned)(r >> 20) % SLOTS;
			if (held[k] == BENCH_NONE) {
				order[k] = (uint8_t)((r >> 40) % 10);
				held[k] = p->alloc(0, order[k]);
			} else {
				p->free(0, held[k], order[k]);
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
	p->init(GIB_PAGES, 2);
	for (int warm = 0; warm < 2; warm++) {
		double a = now_ns();
		for (int i = 0; i < N; i++) {
			plain_set_cpu(0);
			for (int k = 0; k < BATCH; k++)
				frames[k] = p->alloc(0, 0);
			plain_set_cpu(1);
			for (int k = 0; k < BATCH; k++)
				p->free(1, frames[k], 0);
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
				mine[k] = thread_peer->alloc(cpu, 0);
			for (int k = 0; k < BATCH; k++)
				thread_peer->free(cpu, mine[k], 0);
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
	p->init(GIB_PAGES, 2);
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

static void row_worst(const struct peer *p, double *out)
{
	enum { N = 1000000 };
	static uint32_t alloc_time[N], free_time[N];
	p->init(GIB_PAGES, 1);
	uint64_t n = GIB_PAGES / 10 * 9;
	for (uint64_t i = 0; i < n; i++)
		frames[i] = p->alloc(0, 0);
	shuffle(frames, n);
	double start = now_ns();
	uint64_t tsc = __builtin_ia32_rdtsc();
	for (int i = 0; i < N; i++) {
		uint64_t k = random_below(n), f = frames[k];
		uint64_t a = __builtin_ia32_rdtsc();
		p->free(0, f, 0);
		uint64_t b = __builtin_ia32_rdtsc();
		f = p->alloc(0, 0);
		uint64_t c = __builtin_ia32_rdtsc();
		frames[k] = f;
		free_time[i] = (uint32_t)(b - a);
		alloc_time[i] = (uint32_t)(c - b);
	}
	double per_tick = (now_ns() - start) / (double)(__builtin_ia32_rdtsc() - tsc);
	qsort(alloc_time, N, sizeof(uint32_t), compare_u32);
	qsort(free_time, N, sizeof(uint32_t), compare_u32);
	out[0] = alloc_time[N / 1000 * 999] * per_tick;
	out[1] = free_time[N / 1000 * 999] * per_tick;
	p->fini();
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
	p->init(npages, 1);
	for (uint64_t i = 0; i < n; i++)
		frames[i] = p->alloc(0, 0);
	for (uint64_t i = 0; i < 10 * n; i++) {
		uint64_t k = random_below(n);
		p->free(0, frames[k], 0);
		frames[k] = p->alloc(0, 0);
	}
	out[0] = (double)p->free_huge() / (double)((npages - n) / 512);
	p->fini();
	/* Filled and thinned out to a tenth at random, fifty times. */
	p->init(npages, 1);
	uint64_t live = 0, keep = npages / 10;
	for (int round = 0; round < 50; round++) {
		while (live < npages / 2)
			frames[live++] = p->alloc(0, 0);
		shuffle(frames, live);
		while (live > keep)
			p->free(0, frames[--live], 0);
	}
	/* Then replaced until it has settled. */
	for (uint64_t i = 0; i < 50 * live; i++) {
		uint64_t k = random_below(live);
		p->free(0, frames[k], 0);
		frames[k] = p->alloc(0, 0);
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
	p->init(GIB_PAGES, 1);
	for (int i = 0; i < 1000; i++)
		p->free(0, p->alloc(0, 0), 0);
	steps = 0;
	set_trap_flag(true);
	for (int i = 0; i < N; i++) {
		uint64_t f = p->alloc(0, 0);
		p->free(0, f, 0);
	}
	set_trap_flag(false);
	out[0] = (double)steps / N;
	p->fini();
}

/* ---- all rows ---------------------------------------------------------------------------- */

struct row {
	const char *name;
	void (*run)(const struct peer *p, double *out);
	unsigned index; /* in out[] */
	double goal;    /* ratio to the peer; or absolute where peer is NULL */
	const struct peer *peer;
	bool at_least; /* the goal is a lower bound */
	bool net;      /* take the null row off */
};

#ifdef BENCH_LLFREE
#define LL &peer_llfree
#else
#define LL (const struct peer *)1 /* SKIP */
#endif

static const struct row rows[] = {
    {"order-0 pair", row_pair, 0, 0.10, LL, false, true},
    {"order-0 pair vs buddy", row_pair, 0, 1.5, &peer_buddy, false, true},
    {"order-0 pair, instructions", row_instructions, 0, 60, NULL, false, true},
    {"bulk alloc 1 GiB", row_bulk_1, 0, 0.06, LL, false, true},
    {"sequential free 1 GiB", row_bulk_1, 1, 0.06, LL, false, true},
    {"bulk alloc 16 GiB", row_bulk_16, 0, 0.06, LL, false, true},
    {"sequential free 16 GiB", row_bulk_16, 1, 0.06, LL, false, true},
    {"random free", row_random_free, 0, 0.20, LL, false, true},
    {"random replace 1 GiB", row_replace_1, 0, 0.15, LL, false, true},
    {"random replace 16 GiB", row_replace_16, 0, 0.08, LL, false, true},
    {"2 MiB pair", row_huge, 0, 0.10, LL, false, true},
    {"bulk 2 MiB", row_huge, 1, 0.20, LL, false, true},
    {"mixed orders 0-9", row_mixed, 0, 0.30, LL, false, true},
    {"freed on another CPU", row_remote, 0, 0.10, LL, false, true},
    {"p99.9 alloc", row_worst, 0, 0.5, LL, false, true},
    {"p99.9 free, ns", row_worst, 1, 400, NULL, false, true},
    {"whole blocks, replace at 50 %", row_whole, 0, 0.97, NULL, true, false},
    {"whole blocks, churn at 10 %", row_whole, 1, 0.85, NULL, true, false},
};

static int compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* Medians of a row function over all peers, interleaved; cached between rows. */
#define MAX_PEERS 5
static const struct peer *peers[MAX_PEERS];
static unsigned npeers;
static struct {
	void (*run)(const struct peer *, double *);
	double median[MAX_PEERS][2];
} results[32];
static unsigned nresults;

static double measure(const struct row *row, const struct peer *p)
{
	unsigned r, who = 0;
	for (r = 0; r < nresults && results[r].run != row->run; r++)
		;
	if (r == nresults) {
		static double samples[MAX_PEERS][2][ROUNDS];
		results[nresults++].run = row->run;
		bool once = row->run == row_whole || row->run == row_instructions;
		unsigned rounds = once ? 1 : ROUNDS;
		for (unsigned round = 0; round < rounds; round++)
			for (unsigned i = 0; i < npeers; i++) {
				double out[2] = {0, 0};
				row->run(peers[i], out);
				samples[i][0][round] = out[0];
				samples[i][1][round] = out[1];
			}
		for (unsigned i = 0; i < npeers; i++)
			for (unsigned k = 0; k < 2; k++) {
				qsort(samples[i][k], rounds, sizeof(double), compare_double);
				results[r].median[i][k] = samples[i][k][rounds / 2];
			}
	}
	while (peers[who] != p)
		who++;
	double value = results[r].median[who][row->index];
	if (row->net && p != &peer_null)
		value -= results[r].median[0][row->index];
	return value;
}

static bool wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strstr(name, argv[i]))
			return true;
	return argc <= 1;
}

static unsigned over, skipped, shown;

static void show(const char *name, double ours, double other, bool absolute, double goal,
		 bool at_least, bool skip)
{
	double value = absolute ? ours : ours / other;
	bool ok = at_least ? value >= goal : value <= goal;
	char peer[32] = "-", ratio[32] = "-";
	if (!absolute && !skip) {
		snprintf(peer, sizeof(peer), "%.2f", other);
		snprintf(ratio, sizeof(ratio), "%.3f", value);
	}
	printf("%-32s %9.2f %9s %7s %s%.2f %s\n", name, ours, peer, ratio,
	       at_least ? ">=" : "<=", goal,
	       skip ? "SKIP"
	       : ok ? "ok"
		    : "MISS");
	fflush(stdout);
	shown++;
	skipped += skip;
	over += !skip && !ok;
}

int main(int argc, char **argv)
{
	frames = malloc(16 * GIB_PAGES * sizeof(*frames));
	memset(frames, 0, 16 * GIB_PAGES * sizeof(*frames));
	peers[npeers++] = &peer_null;
	peers[npeers++] = &peer_quire;
	peers[npeers++] = &peer_quire_user;
	peers[npeers++] = &peer_buddy;
#ifdef BENCH_LLFREE
	peers[npeers++] = &peer_llfree;
#endif
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		if (!wanted(row->name, argc, argv))
			continue;
		bool skip = row->peer == (const struct peer *)1;
		double ours = measure(row, &peer_quire);
		show(row->name, ours, row->peer && !skip ? measure(row, row->peer) : 0, !row->peer,
		     row->goal, row->at_least, skip);
		printf("#   %-28s null %.2f, with records %.2f, buddy %.2f\n", "",
		       measure(row, &peer_null), measure(row, &peer_quire_user),
		       measure(row, &peer_buddy));
	}
	if (wanted("two threads", argc, argv)) {
		double one[ROUNDS], two[ROUNDS];
		for (int r = 0; r < ROUNDS; r++) {
			double out[2];
			row_threads(&peer_quire, out);
			one[r] = out[0];
			two[r] = out[1];
		}
		qsort(one, ROUNDS, sizeof(double), compare_double);
		qsort(two, ROUNDS, sizeof(double), compare_double);
		show("two threads vs one", two[ROUNDS / 2], one[ROUNDS / 2], false, 1.15, false,
		     false);
	}
	if (wanted("metadata", argc, argv)) {
		peer_quire.init(16 * GIB_PAGES, 8);
		show("metadata, KiB per GiB", (double)peer_quire.metadata() / 16384, 0, true, 36,
		     false, false);
		peer_quire.fini();
	}
	printf("bench: %u rows, %u over goal, %u skipped\n", shown, over, skipped);
	return over != 0;
}
