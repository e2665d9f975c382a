/* SPDX-License-Identifier: MIT */
/*
 * What a malloc has to do, as a program that runs on any: with libkmalloc.so before
 * it. Each test prints `ok NAME`; a failure says where and ends with status 1.
 *
 *     LD_PRELOAD=build/libkmalloc.so build/libkmalloc-selftest [--list] [NAME...]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);    \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

/* Not to be optimised away. */
static void *volatile kept;
/* What the compiler shall not know. */
static volatile size_t most = SIZE_MAX, hundred = 100;

static bool is_aligned(const void *p, size_t align)
{
	return !((uintptr_t)p & (align - 1));
}

/* The dynamic linker goes on without a library that it cannot put before us. */
static void test_is_preloaded(void)
{
	const char *wanted = getenv("LD_PRELOAD");
	char line[512];
	bool found = !wanted || !*wanted;
	FILE *f = fopen("/proc/self/maps", "r");
	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		char *name = strrchr(line, '/');
		found = found || (name && strstr(wanted, name));
	}
	fclose(f);
	CHECK(found);
}

/* ---- one thread ------------------------------------------------------------------- */

static void test_sizes(void)
{
	enum { N = 3000 };
	static unsigned char *block[N];
	static size_t bytes[N];
	size_t total = 0;
	for (unsigned i = 0; i < N; i++) {
		bytes[i] = i < 2000 ? i : (size_t)i * i / 40;
		block[i] = malloc(bytes[i]);
		CHECK(block[i] && is_aligned(block[i], 16));
		CHECK(malloc_usable_size(block[i]) >= bytes[i]);
		memset(block[i], (int)i, bytes[i]);
		total += bytes[i];
	}
	CHECK(total > 100 << 20);
	for (unsigned i = 0; i < N; i++) {
		for (size_t k = 0; k < bytes[i]; k += bytes[i] < 5000 ? 1 : 997)
			CHECK(block[i][k] == (unsigned char)i);
		free(block[i]);
	}
	CHECK(malloc_usable_size(NULL) == 0);
	free(NULL);
}

static void test_calloc(void)
{
	/* Used memory comes back zeroed, whatever its size. */
	for (size_t bytes = 1; bytes < 8 << 20; bytes = bytes * 3 + 1) {
		unsigned char *p = malloc(bytes);
		CHECK(p);
		memset(p, 0xff, bytes);
		kept = p;
		free(p);
		unsigned char *q = calloc(bytes, 1);
		CHECK(q);
		for (size_t i = 0; i < bytes; i++)
			CHECK(!q[i]);
		memset(q, 0xff, bytes);
		free(q);
	}
	errno = 0;
	kept = calloc(most / 2, 3);
	CHECK(!kept && errno == ENOMEM);
}

static void test_realloc(void)
{
	unsigned char *p = NULL;
	for (size_t bytes = 1; bytes < 4 << 20; bytes = bytes * 5 / 4 + 1) {
		size_t old = p ? malloc_usable_size(p) : 0;
		p = realloc(p, bytes);
		CHECK(p && malloc_usable_size(p) >= bytes);
		for (size_t i = 0; i < old && i < bytes; i += 61)
			CHECK(p[i] == (unsigned char)(i * 7));
		for (size_t i = 0; i < malloc_usable_size(p); i++)
			p[i] = (unsigned char)(i * 7);
	}
	for (size_t bytes = 4 << 20; bytes; bytes = bytes * 3 / 4) {
		p = realloc(p, bytes);
		CHECK(p);
		for (size_t i = 0; i < bytes && i < 3 << 20; i += 61)
			CHECK(p[i] == (unsigned char)(i * 7));
	}
	CHECK(!realloc(p, 0));
	p = reallocarray(NULL, 100, 7);
	CHECK(p);
	errno = 0;
	CHECK(!reallocarray(p, most / 4, 5) && errno == ENOMEM);
	free(p); /* it was left alone */
}

static void test_aligned(void)
{
	for (size_t align = 8; align <= 64 << 20; align *= 2)
		for (size_t bytes = 0; bytes < 100000; bytes = bytes * 3 + 5) {
			void *p = NULL, *q = memalign(align, bytes),
			     *r = aligned_alloc(align, bytes);
			CHECK(!posix_memalign(&p, align, bytes));
			CHECK(p && q && r && p != q && q != r);
			CHECK(is_aligned(p, align) && is_aligned(q, align) && is_aligned(r, align));
			memset(p, 1, bytes);
			memset(q, 2, bytes);
			memset(r, 3, bytes);
			free(p);
			free(q);
			free(r);
		}
	errno = 0;
	kept = memalign(most / 2 + 1, hundred); /* 2^63 */
	CHECK(!kept && errno == ENOMEM);
	void *p = &p;
	CHECK(posix_memalign(&p, 24, 8) == EINVAL && posix_memalign(&p, 4, 8) == EINVAL);
	CHECK(p == &p);
	char *v = valloc(10), *w = pvalloc(5000), *m = memalign(hundred, 10);
	CHECK(is_aligned(v, 4096) && is_aligned(w, 4096) && is_aligned(m, 128));
	memset(w, 1, 8192); /* whole pages */
	free(v);
	free(w);
	free(m);
}

static void test_no_memory(void)
{
	errno = 0;
	kept = malloc(most / 2);
	CHECK(!kept && errno == ENOMEM);
	errno = 0;
	kept = malloc(most);
	CHECK(!kept && errno == ENOMEM);
	errno = 0;
	kept = memalign(1 << 20, most - (1 << 20));
	CHECK(!kept && errno == ENOMEM);
	/* Less address space than is asked for: an error, and afterwards all is well. */
	struct rlimit limit, small = {(rlim_t)300 << 20, (rlim_t)300 << 20};
	CHECK(!getrlimit(RLIMIT_AS, &limit));
	small.rlim_max = limit.rlim_max;
	CHECK(!setrlimit(RLIMIT_AS, &small));
	static void *block[4096];
	unsigned n = 0;
	while (n < 4096 && (block[n] = malloc(1 << 20)))
		n++;
	CHECK(n > 10 && n < 300 && errno == ENOMEM);
	while (n)
		free(block[--n]);
	CHECK(!setrlimit(RLIMIT_AS, &limit));
	kept = malloc(100);
	CHECK(kept);
	free(kept);
}

static void test_errno_is_kept(void)
{
	for (size_t bytes = 10; bytes < 64 << 20; bytes *= 4) {
		void *p = malloc(bytes);
		CHECK(p);
		kept = p;
		errno = 77;
		free(p);
		CHECK(errno == 77);
	}
}

static size_t resident_kib(void)
{
	unsigned long size, pages;
	char text[128] = "";
	FILE *f = fopen("/proc/self/statm", "r");
	CHECK(f && fgets(text, sizeof(text), f));
	fclose(f);
	CHECK(sscanf(text, "%lu %lu", &size, &pages) == 2);
	return pages * 4;
}

static void test_gives_back(void)
{
	enum { N = 200000 };
	static void *block[N];
	size_t before = resident_kib();
	for (unsigned i = 0; i < N; i++) {
		block[i] = malloc(512);
		memset(block[i], 1, 512);
	}
	CHECK(resident_kib() > before + 90000);
	for (unsigned i = 0; i < N; i++)
		free(block[i]);
	malloc_trim(0);
	CHECK(resident_kib() < before + 20000);
	/* Large blocks without being asked, after a while. */
	for (unsigned i = 0; i < 20; i++) {
		void *p = malloc(64 << 20);
		memset(p, 1, 64 << 20);
		kept = p;
		free(p);
		usleep(60000);
		void *q = malloc(20000);
		kept = q;
		free(q);
		CHECK(resident_kib() < before + 90000);
	}
}

/* ---- many threads ------------------------------------------------------------------ */

enum { SLOTS = 256 };
static void *exchange[SLOTS];

/* Blocks of a stamp each, freed by whoever gets hold of them. */
static void churn(unsigned seed, unsigned times)
{
	uint64_t x = seed * 2654435761u + 1;
	for (unsigned i = 0; i < times; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		size_t bytes = 16 + (x >> 20) % ((x & 63) ? 600 : 40000);
		uint64_t *p = malloc(bytes);
		CHECK(p);
		p[0] = bytes;
		p[1] = bytes * 3;
		memset(p + 2, (int)bytes, bytes - 16);
		uint64_t *old =
		    __atomic_exchange_n(&exchange[x % SLOTS], (void *)p, __ATOMIC_ACQ_REL);
		if (!old)
			continue;
		CHECK(old[1] == old[0] * 3);
		for (size_t k = 16; k < old[0]; k += 31)
			CHECK(((unsigned char *)old)[k] == (unsigned char)old[0]);
		free(old);
	}
}

static void empty_exchange(void)
{
	for (unsigned i = 0; i < SLOTS; i++)
		free(__atomic_exchange_n(&exchange[i], NULL, __ATOMIC_ACQ_REL));
}

static void *churn_thread(void *arg)
{
	churn((unsigned)(uintptr_t)arg, 3000);
	return NULL;
}

/* More at once than the heap can have CPUs; and a hundred times as many in a row. */
static void test_many_threads(void)
{
	enum { N = 150 };
	pthread_t thread[N];
	for (uintptr_t i = 0; i < N; i++)
		CHECK(!pthread_create(&thread[i], NULL, churn_thread, (void *)(i + 1)));
	for (unsigned i = 0; i < N; i++)
		CHECK(!pthread_join(thread[i], NULL));
	empty_exchange();
}

static void *short_thread(void *arg)
{
	void *block[200];
	for (unsigned i = 0; i < 200; i++) {
		block[i] = malloc(100 + i);
		memset(block[i], 1, 100 + i);
	}
	for (unsigned i = 0; i < 200; i++)
		free(block[i]);
	return malloc(1000);
}

/* What a thread had does not stay behind with it. */
static void test_threads_come_and_go(void)
{
	size_t before = 0;
	for (unsigned i = 0; i < 3000; i++) {
		pthread_t thread;
		void *block;
		CHECK(!pthread_create(&thread, NULL, short_thread, NULL));
		CHECK(!pthread_join(thread, &block));
		free(block);
		if (i == 500)
			before = resident_kib();
	}
	CHECK(resident_kib() < before + 4000);
}

enum { LEFT = 60000, LEAVERS = 12 };
static void **left_behind[LEAVERS];
static pthread_barrier_t all_have;

static void *thread_that_leaves(void *arg)
{
	void **block = left_behind[(uintptr_t)arg];
	for (unsigned i = 0; i < LEFT; i++) {
		block[i] = malloc(100);
		memset(block[i], 1, 100);
	}
	pthread_barrier_wait(&all_have);
	/* A few of each page stay: no page becomes empty. */
	for (unsigned i = 0; i < LEFT; i++)
		if (i % 16) {
			free(block[i]);
			block[i] = NULL;
		}
	return NULL;
}

/* What is free in the pages of threads that are no more serves others. */
static void test_others_use_what_threads_leave(void)
{
	pthread_t thread[LEAVERS];
	CHECK(!pthread_barrier_init(&all_have, NULL, LEAVERS));
	for (uintptr_t i = 0; i < LEAVERS; i++)
		CHECK((left_behind[i] = calloc(LEFT, sizeof(void *))));
	for (uintptr_t i = 0; i < LEAVERS; i++)
		CHECK(!pthread_create(&thread[i], NULL, thread_that_leaves, (void *)i));
	for (unsigned i = 0; i < LEAVERS; i++)
		CHECK(!pthread_join(thread[i], NULL));
	CHECK(!pthread_barrier_destroy(&all_have));
	size_t before = resident_kib();
	for (unsigned k = 0; k < LEAVERS; k++)
		for (unsigned i = 0; i < LEFT; i++)
			if (!left_behind[k][i]) {
				left_behind[k][i] = malloc(100);
				memset(left_behind[k][i], 2, 100);
			}
	/* Some 70 MiB. */
	CHECK(resident_kib() < before + 12000);
	for (unsigned k = 0; k < LEAVERS; k++) {
		for (unsigned i = 0; i < LEFT; i++)
			free(left_behind[k][i]);
		free(left_behind[k]);
	}
}

static pthread_key_t keys[40];

static void destroy(void *value)
{
	free(value);
	kept = malloc(333);
	free(kept);
}

static void *thread_with_data(void *arg)
{
	for (unsigned i = 0; i < 40; i++)
		CHECK(!pthread_setspecific(keys[i], malloc(50 + i)));
	char name[100];
	/* Blocks that the C library keeps for a thread until its very end. */
	CHECK(strerror_r(123456, name, sizeof(name)) && strerror(123457) && strsignal(1000));
	return NULL;
}

static void test_thread_ends(void)
{
	for (unsigned i = 0; i < 40; i++)
		CHECK(!pthread_key_create(&keys[i], destroy));
	for (unsigned round = 0; round < 100; round++) {
		pthread_t thread[8];
		for (unsigned i = 0; i < 8; i++)
			CHECK(!pthread_create(&thread[i], NULL, thread_with_data, NULL));
		for (unsigned i = 0; i < 8; i++)
			CHECK(!pthread_join(thread[i], NULL));
	}
	for (unsigned i = 0; i < 40; i++)
		CHECK(!pthread_key_delete(keys[i]));
}

/* ---- forking ------------------------------------------------------------------------- */

static bool over;

static void *churn_until_over(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	while (!__atomic_load_n(&over, __ATOMIC_RELAXED))
		churn(seed++, 500);
	return NULL;
}

static void handler_that_allocates(void)
{
	kept = malloc(12345);
	free(kept);
}

/* The child of a process whose threads are all in the heap. */
static void fork_once(unsigned seed)
{
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		alarm(20);
		churn(seed, 2000);
		pthread_t thread;
		CHECK(!pthread_create(&thread, NULL, churn_thread, (void *)9));
		CHECK(!pthread_join(thread, NULL));
		_exit(0);
	}
	int status;
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_fork(void)
{
	enum { N = 24 };
	pthread_t thread[N];
	CHECK(!pthread_atfork(handler_that_allocates, handler_that_allocates,
			      handler_that_allocates));
	over = false;
	for (uintptr_t i = 0; i < N; i++)
		CHECK(!pthread_create(&thread[i], NULL, churn_until_over, (void *)(i + 1)));
	for (unsigned i = 0; i < 30; i++)
		fork_once(i);
	over = true;
	for (unsigned i = 0; i < N; i++)
		CHECK(!pthread_join(thread[i], NULL));
	empty_exchange();
}

/* ---- mistakes --------------------------------------------------------------------------- */

static void free_twice(void)
{
	void *p = malloc(100);
	kept = malloc(100);
	free(p);
	kept = p;
	free(kept);
}

static void free_inside(void)
{
	kept = (char *)malloc(100) + 16;
	free(kept);
}

static void free_nothing(void)
{
	static int data[100];
	kept = data;
	free(kept);
}

static void write_behind(void)
{
	char *p = malloc(100);
	kept = p;
	((char *)kept)[100] = 1;
	free(kept);
}

static void free_large_twice(void)
{
	void *p = malloc(100000);
	free(p);
	kept = p;
	free(kept);
}

/* Each ends the process, and says why. */
static void test_mistakes(void)
{
	static const struct {
		void (*make)(void);
		const char *says;
	} mistakes[] = {{free_twice, "double free"},
			{free_inside, "not the start"},
			{free_nothing, "no block"},
			{write_behind, "overwritten"},
			{free_large_twice, "double free"}};
	const char *profile = getenv("KMALLOC_PROFILE");
	for (unsigned i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		if (mistakes[i].make == write_behind && (!profile || strcmp(profile, "hardened")))
			continue; /* the fast profile does not see it */
		int out[2], status;
		CHECK(!pipe(out));
		pid_t pid = fork();
		if (pid == 0) {
			dup2(out[1], STDERR_FILENO);
			signal(SIGABRT, SIG_DFL);
			mistakes[i].make();
			_exit(0);
		}
		close(out[1]);
		char said[600] = "";
		CHECK(read(out[0], said, sizeof(said) - 1) > 0);
		close(out[0]);
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		if (!strstr(said, mistakes[i].says)) {
			fprintf(stderr, "mistake %u: %s", i, said);
			_exit(1);
		}
	}
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
    {"is_preloaded", test_is_preloaded},
    {"sizes", test_sizes},
    {"calloc", test_calloc},
    {"realloc", test_realloc},
    {"aligned", test_aligned},
    {"no_memory", test_no_memory},
    {"errno_is_kept", test_errno_is_kept},
    {"gives_back", test_gives_back},
    {"many_threads", test_many_threads},
    {"threads_come_and_go", test_threads_come_and_go},
    {"others_use_what_threads_leave", test_others_use_what_threads_leave},
    {"thread_ends", test_thread_ends},
    {"fork", test_fork},
    {"mistakes", test_mistakes},
};

int main(int argc, char **argv)
{
	for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		bool wanted = argc == 1;
		for (int k = 1; k < argc; k++)
			wanted = wanted || strstr(tests[i].name, argv[k]);
		if (argc == 2 && !strcmp(argv[1], "--list")) {
			puts(tests[i].name);
			continue;
		}
		if (!wanted)
			continue;
		tests[i].run();
		printf("ok %s\n", tests[i].name);
		fflush(stdout);
	}
	return 0;
}
