/* SPDX-License-Identifier: MIT */
/*
 * What the basic memory operations cost.
 *
 *     ./run --icount -- cost            ./run --icount --kernel linux -- cost
 *
 * Under --icount the time-stamp counter counts instructions, so the numbers are
 * exact and repeat; without it they are nanoseconds-ish and only ratios mean
 * anything. Each row is the median of ROUNDS rounds, after one that warms up.
 * `cost --check` compares with the bounds below and fails when one is passed.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 9
#define PAGES  512
#define PAGE   4096

static uint64_t now(void)
{
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
	return (uint64_t)high << 32 | low;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static char *map(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

/* First write to each page of a fresh anonymous mapping. */
static uint64_t first_touch(void)
{
	char *p = map(PAGES * PAGE);
	uint64_t start = now();
	for (size_t i = 0; i < PAGES; i++)
		((volatile char *)p)[i * PAGE] = 1;
	uint64_t took = now() - start;
	munmap(p, PAGES * PAGE);
	return took / PAGES;
}

/* First read of each page: the shared zero page. */
static uint64_t first_read(void)
{
	char *p = map(PAGES * PAGE);
	uint64_t start = now();
	for (size_t i = 0; i < PAGES; i++)
		(void)((volatile char *)p)[i * PAGE];
	uint64_t took = now() - start;
	munmap(p, PAGES * PAGE);
	return took / PAGES;
}

static uint64_t map_unmap(void)
{
	uint64_t start = now();
	for (int i = 0; i < 100; i++)
		munmap(map(PAGE), PAGE);
	return (now() - start) / 100;
}

/* munmap of touched pages, per page. */
static uint64_t unmap_touched(void)
{
	char *p = map(PAGES * PAGE);
	memset(p, 1, PAGES * PAGE);
	uint64_t start = now();
	munmap(p, PAGES * PAGE);
	return (now() - start) / PAGES;
}

/* mprotect of 16 touched pages to read-only and back. */
static uint64_t protect(void)
{
	char *p = map(16 * PAGE);
	memset(p, 1, 16 * PAGE);
	uint64_t start = now();
	for (int i = 0; i < 50; i++)
		if (mprotect(p, 16 * PAGE, PROT_READ) ||
		    mprotect(p, 16 * PAGE, PROT_READ | PROT_WRITE))
			die("mprotect");
	uint64_t took = now() - start;
	munmap(p, 16 * PAGE);
	return took / 50;
}

/* Break copy-on-write of each page after a fork, per page. */
static uint64_t cow_break(void)
{
	char *p = map(PAGES * PAGE);
	memset(p, 1, PAGES * PAGE);
	int fds[2];
	if (pipe(fds))
		die("pipe");
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		char c;
		close(fds[1]);
		_exit(read(fds[0], &c, 1) != 0);
	}
	uint64_t start = now();
	for (size_t i = 0; i < PAGES; i++)
		((volatile char *)p)[i * PAGE] = 2;
	uint64_t took = now() - start;
	close(fds[0]);
	close(fds[1]);
	waitpid(pid, NULL, 0);
	munmap(p, PAGES * PAGE);
	return took / PAGES;
}

static uint64_t fork_exit_wait(void)
{
	uint64_t start = now();
	for (int i = 0; i < 10; i++) {
		pid_t pid = fork();
		if (pid < 0)
			die("fork");
		if (pid == 0)
			_exit(0);
		if (waitpid(pid, NULL, 0) != pid)
			die("waitpid");
	}
	return (now() - start) / 10;
}

static uint64_t system_call(void)
{
	uint64_t start = now();
	for (int i = 0; i < 100; i++)
		getppid();
	return (now() - start) / 100;
}

static const struct row {
	const char *name;
	uint64_t (*measure)(void);
	uint64_t bound; /* instructions, 0: none */
} rows[] = {
    {"getppid", system_call, 0},
    {"first write to an anonymous page", first_touch, 1500},
    {"first read of an anonymous page", first_read, 0},
    {"mmap+munmap, untouched page", map_unmap, 4000},
    {"munmap, per touched page", unmap_touched, 0},
    {"mprotect 16 pages, there and back", protect, 0},
    {"break copy-on-write, per page", cow_break, 0},
    {"fork+exit+wait", fork_exit_wait, 100000},
};

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	int check = argc > 1 && !strcmp(argv[1], "--check"), over = 0;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t took[ROUNDS];
		rows[i].measure();
		for (int r = 0; r < ROUNDS; r++)
			took[r] = rows[i].measure();
		qsort(took, ROUNDS, sizeof(took[0]), compare);
		uint64_t median = took[ROUNDS / 2];
		int miss = rows[i].bound && median > rows[i].bound;
		over += miss;
		printf("%-36s %8llu", rows[i].name, (unsigned long long)median);
		if (check && rows[i].bound)
			printf("  bound %llu %s", (unsigned long long)rows[i].bound,
			       miss ? "MISS" : "ok");
		printf("\n");
	}
	return check && over;
}
