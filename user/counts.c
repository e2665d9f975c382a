/* SPDX-License-Identifier: MIT */
/*
 * What an ordinary user can fill or keep busy is his own alone.
 *
 *     counts fill FILE   user 1000 maps the first page of FILE from as many places as
 *                        he may, in 17 processes; meanwhile and afterwards root and
 *                        another user run it, read it and map it
 *     counts limit FILE  the same until the kernel says no; what it says
 *     counts move FILE   user 1000 moves pages of FILE about without end, in four
 *                        threads; root truncates it
 *     counts fork FILE   user 1000 maps FILE in process after process without end;
 *                        root truncates it
 */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/prctl.h>

#define PLACES 65000l
#define AREA   (2ul << 20)
#define AREAS  200l

static const char *file;
static int processes = 17;

static void become(int uid)
{
	if (setgid((gid_t)uid) || setuid((uid_t)uid))
		exit(3);
}

static int open_file(int flags)
{
	int fd = open(file, flags);
	if (fd < 0) {
		printf("    open of %s: %s\n", file, strerrorname_np(errno));
		exit(1);
	}
	return fd;
}

/* A child that does this as `uid` and does not end: the number of a process group. It
 * says when it is ready. */
static pid_t start(int uid, void (*body)(int ready))
{
	int ready[2];
	char c;
	if (pipe(ready))
		exit(1);
	pid_t pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		become(uid);
		close(ready[0]);
		body(ready[1]);
		for (;;)
			pause();
	}
	setpgid(pid, pid);
	close(ready[1]);
	while (read(ready[0], &c, 1) < 0 && errno == EINTR)
		;
	close(ready[0]);
	return pid;
}

static void finish(pid_t group)
{
	kill(-group, SIGKILL);
	while (waitpid(-group, NULL, 0) > 0) /* also those whose parents went first */
		;
}

/* ---- fill ------------------------------------------------------------------------ */

static void fill(int ready)
{
	int fd = open_file(O_RDONLY);
	char *at = mmap(NULL, PLACES * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			-1, 0);
	for (long i = 0; at != MAP_FAILED && i < PLACES; i++) {
		char *p =
		    mmap(at + i * (long)PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0);
		if (p == MAP_FAILED)
			break;
		(void)*(volatile char *)p;
	}
	for (int k = 1; k < processes; k++) {
		pid_t pid = fork();
		if (pid == 0)
			for (;;)
				pause();
		if (pid < 0) {
			printf("no more: %s\n", strerrorname_np(errno));
			break;
		}
	}
	(void)!write(ready, "x", 1);
}

static void use_it(void *uid)
{
	become((int)(intptr_t)uid);
	char first[4] = "";
	int fd = open_file(O_RDONLY);
	CHECK(read(fd, first, 4) == 4 && !memcmp(first, "\177ELF", 4));
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED);
	if (p != MAP_FAILED) {
		CHECK(p[1] == 'E');
		p[1] = 'e'; /* a copy */
		CHECK(p[1] == 'e' && p[2] == 'L');
	}
	fflush(stdout);
	execl(file, "true", NULL);
	printf("    exec of %s: %s\n", file, strerrorname_np(errno));
	fflush(stdout);
	_exit(1);
}

static void all_use_it(const char *when)
{
	static const int uids[] = {0, 1001};
	for (int i = 0; i < 2; i++)
		printf("%s: user %d uses it: %x\n", when, uids[i],
		       in_child(use_it, (void *)(intptr_t)uids[i]));
}

static void test_fill(void)
{
	all_use_it("before");
	pid_t group = start(1000, fill);
	all_use_it("meanwhile");
	finish(group);
	all_use_it("afterwards");
}

/* ---- work without end -------------------------------------------------------------- */

/* Pages of the file in many tables, and one that goes to and fro between two. */
static void *mover(void *fd)
{
	char *at = mmap(NULL, AREAS * (long)AREA, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	for (long i = 0; i < AREAS; i++)
		mmap(at + i * (long)AREA, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED,
		     (int)(intptr_t)fd, 0);
	char *from = at, *to = at + AREA / 2;
	for (;;) {
		if (mremap(from, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED)
			return NULL;
		char *was = from;
		from = to;
		to = was;
	}
}

static void move(int ready)
{
	int fd = open_file(O_RDONLY);
	pthread_t thread;
	for (int i = 0; i < 4; i++)
		pthread_create(&thread, NULL, mover, (void *)(intptr_t)fd);
	usleep(300000);
	(void)!write(ready, "x", 1);
}

static void forks(int ready)
{
	int fd = open_file(O_RDONLY);
	for (int i = 0; i < 200; i++)
		if (mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED)
			break;
	for (int i = 0; i < 4; i++)
		if (fork() == 0)
			break;
	usleep(100000);
	(void)!write(ready, "x", 1);
	for (;;) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
}

static void test_truncate(void (*body)(int))
{
	int fd = open_file(O_RDWR | O_CREAT);
	CHECK(ftruncate(fd, 16 * PAGE) == 0);
	pid_t group = start(1000, body);
	for (int i = 0; i < 20; i++) {
		char c = 1;
		CHECK(ftruncate(fd, 0) == 0);
		CHECK(ftruncate(fd, 16 * PAGE) == 0);
		CHECK(pread(fd, &c, 1, PAGE) == 1 && c == 0);
	}
	printf("truncated\n");
	finish(group);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	file = argv[2];
	if (!strcmp(argv[1], "fill"))
		test_fill();
	else if (!strcmp(argv[1], "limit"))
		processes = 40, test_fill();
	else if (!strcmp(argv[1], "move"))
		test_truncate(move);
	else if (!strcmp(argv[1], "fork"))
		test_truncate(forks);
	else
		return 2;
	return failures != 0;
}
