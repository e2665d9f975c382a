/* SPDX-License-Identifier: MIT */
/*
 * A program that takes all there is, of one thing:
 *
 *   exhaust addresses   reserve address space until there is no more
 *   exhaust mappings    split mappings until the kernel refuses
 *   exhaust memory      touch memory until the kernel ends it (in a child)
 *   exhaust processes   fork until fork fails
 *   exhaust stack       recurse until it dies (in a child)
 *   exhaust files       open until open fails
 *   exhaust pipes       fill pipes until nothing more goes in
 *
 * What counts is what comes after: everything is let go of, and the same must
 * then work again. Only that is printed.
 */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>

struct span {
	void *base;
	size_t bytes;
};

static void addresses(void)
{
	enum { MOST = 4096 };
	static struct span taken[MOST];
	for (int round = 0; round < 2; round++) {
		size_t count = 0, total = 0;
		for (size_t bytes = 1ul << 44; bytes >= 1ul << 30; bytes >>= 1) {
			void *p;
			while ((p = mmap(NULL, bytes, PROT_NONE,
					 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) !=
				   MAP_FAILED &&
			       count < MOST) {
				taken[count++] = (struct span){p, bytes};
				total += bytes;
			}
			CHECK(count < MOST && errno == ENOMEM);
		}
		CHECK(total > 126ul << 40 && total < 128ul
							 << 40); /* nearly all of the lower half */
		while (count-- > 0)
			CHECK(munmap(taken[count].base, taken[count].bytes) == 0);
	}
}

static void mappings(void)
{
	enum { N = 200000 };
	char *p =
	    mmap(NULL, N * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(p != MAP_FAILED);
	size_t i;
	for (i = 0; i < N; i += 2)
		if (mprotect(p + i * PAGE, PAGE, PROT_READ) != 0)
			break;
	CHECK(i == N || errno == ENOMEM);
	CHECK(munmap(p, N * PAGE) == 0);
	p = anonymous(PAGE, PROT_READ | PROT_WRITE);
	p[0] = 1;
}

static void take_memory(void *unused)
{
	(void)unused;
	for (;;) {
		char *p = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED)
			_exit(33); /* refused: as good an end as being killed */
		for (size_t i = 0; i < 4 << 20; i += PAGE)
			p[i] = 1;
	}
}

static void memory(void)
{
	for (int round = 0; round < 2; round++) {
		int status = in_child(take_memory, NULL);
		CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ||
		      (WIFEXITED(status) && WEXITSTATUS(status) == 33));
		char *p = anonymous(16 << 20, PROT_READ | PROT_WRITE);
		memset(p, 1, 16 << 20);
		munmap(p, 16 << 20);
	}
}

static void idle(void *unused)
{
	(void)unused;
}

static void processes(void)
{
	for (int round = 0; round < 2; round++) {
		int hold[2];
		long count = 0;
		CHECK(pipe(hold) == 0);
		fflush(stdout);
		for (;;) {
			pid_t pid = fork();
			if (pid == 0) {
				char c;
				close(hold[1]);
				_exit(read(hold[0], &c, 1) != 0); /* until the end is closed */
			}
			if (pid < 0)
				break;
			count++;
		}
		CHECK(errno == EAGAIN || errno == ENOMEM);
		CHECK(count > 100);
		close(hold[1]);
		int status;
		while (count > 0 && wait(&status) > 0) {
			/* Some may have been ended to make room. */
			CHECK(status == 0 || WIFSIGNALED(status));
			count--;
		}
		CHECK(count == 0);
		close(hold[0]);
		CHECK(in_child(idle, NULL) == 0);
	}
}

__attribute__((noinline)) static long deeper(volatile long depth)
{
	volatile char room[512];
	room[0] = (char)depth;
	return depth < 0 ? 0 : deeper(depth + 1) + room[0];
}

static void recurse(void *unused)
{
	(void)unused;
	exit(deeper(0) == 1);
}

static void stack(void)
{
	int status = in_child(recurse, NULL);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	struct rlimit small = {64 << 10, RLIM_INFINITY}, large = {64 << 20, RLIM_INFINITY};
	setrlimit(RLIMIT_STACK, &small);
	status = in_child(recurse, NULL);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	setrlimit(RLIMIT_STACK, &large);
	status = in_child(recurse, NULL);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void files(void)
{
	for (int round = 0; round < 2; round++) {
		int first = -1, last = -1, fd;
		while ((fd = open("/dev/null", O_RDONLY)) >= 0) {
			if (first < 0)
				first = fd;
			last = fd;
		}
		CHECK(errno == EMFILE);
		CHECK(last >= 200);
		for (fd = first; fd <= last; fd++)
			CHECK(close(fd) == 0);
	}
}

static void pipes(void)
{
	int list[200][2], count = 0;
	static char block[PAGE];
	for (; count < 200 && pipe2(list[count], O_NONBLOCK) == 0; count++) {
		long total = 0;
		for (ssize_t n; (n = write(list[count][1], block, PAGE)) > 0;)
			total += n;
		CHECK(errno == EAGAIN && total == 65536);
	}
	CHECK(count == 200);
	while (count-- > 0) {
		long total = 0;
		close(list[count][1]);
		for (ssize_t n; (n = read(list[count][0], block, PAGE)) > 0;)
			total += n;
		CHECK(total == 65536);
		close(list[count][0]);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*body)(void);
	} all[] = {{"addresses", addresses}, {"mappings", mappings}, {"memory", memory},
		   {"processes", processes}, {"stack", stack},       {"files", files},
		   {"pipes", pipes}};
	for (size_t i = 0; argc == 2 && i < sizeof(all) / sizeof(all[0]); i++)
		if (!strcmp(argv[1], all[i].name)) {
			all[i].body();
			printf("%s: %s\n", argv[1], failures ? "failed" : "taken and given back");
			return failures != 0;
		}
	fprintf(stderr, "usage: exhaust addresses|mappings|memory|processes|stack|files|pipes\n");
	return 2;
}
