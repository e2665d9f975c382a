/* SPDX-License-Identifier: MIT */
/*
 * kills CASE...: SIGKILL ends a process whatever call it is in: calls whose work a program can make
 * as long as it likes, each in a child of uid 1000 that is killed in the middle of it.
 */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <time.h>

#define GONE_MS 4000 /* what is bounded takes milliseconds; the machine may be busy */

static volatile char *begun;

static char *reserve(size_t bytes, int protection)
{
	char *p = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		_exit(1);
	return p;
}

/* Much memory to write to that takes little: one file, mapped over and over. */
static char *alias(size_t bytes)
{
	size_t piece = 32 << 20;
	int f = memfd_create("alias", 0);
	char *at = reserve(bytes, PROT_NONE);
	if (ftruncate(f, (off_t)piece))
		_exit(1);
	for (size_t i = 0; i < bytes; i += piece)
		if (mmap(at + i, piece, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, f, 0) ==
		    MAP_FAILED)
			_exit(1);
	return at;
}

static void call_mincore(void)
{
	size_t bytes = (size_t)1 << 43;
	char *at = reserve(bytes, PROT_NONE);
	unsigned char *vec = (unsigned char *)alias(bytes / PAGE);
	*begun = 1;
	mincore(at, bytes, vec);
}

static void call_process_vm(void)
{
	size_t bytes = (size_t)1 << 37;
	struct iovec from = {reserve(bytes, PROT_READ), bytes}, to = {alias(bytes), bytes};
	*begun = 1;
	for (;;)
		process_vm_writev(getpid(), &from, 1, &to, 1, 0);
}

static void call_populate(void)
{
	size_t bytes = (size_t)4 << 40; /* more than tables can be made for */
	*begun = 1;
	mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_POPULATE, -1,
	     0);
}

static void call_madvise(void)
{
	char *at = alias((size_t)1 << 38);
	*begun = 1;
	for (;;)
		madvise(at, (size_t)1 << 38, 22 /* MADV_POPULATE_READ */);
}

static int sparse(void)
{
	int f = memfd_create("sparse", 0);
	if (ftruncate(f, INT64_MAX & ~4095ll))
		_exit(1);
	return f;
}

static void call_seek(void)
{
	int f = sparse();
	*begun = 1;
	for (;;)
		if (lseek(f, 0, SEEK_DATA) != -1 || errno != ENXIO)
			_exit(1);
}

static void call_sendfile(void)
{
	int f = sparse(), n = open("/dev/null", O_WRONLY);
	*begun = 1;
	for (;;)
		sendfile(n, f, NULL, 0x7ffff000);
}

static void call_read(void)
{
	int f = sparse();
	char *to = alias((size_t)1 << 32);
	*begun = 1;
	for (;;)
		if (pread(f, to, 0x7ffff000, 0) <= 0)
			_exit(1);
}

static void call_smaps(void)
{
	char text[4096];
	char *at = reserve((size_t)1 << 44, PROT_READ);
	for (size_t i = 0; i < 200; i++)
		(void)*(volatile char *)(at + (i << 30));
	*begun = 1;
	for (;;) {
		int f = open("/proc/self/smaps", O_RDONLY);
		while (read(f, text, sizeof(text)) > 0)
			continue;
		close(f);
	}
}

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void killed_in(const char *name, void (*call)(void))
{
	*begun = 0;
	pid_t pid = fork();
	if (!pid) {
		if (setgid(1000) || setuid(1000))
			_exit(1);
		call();
		_exit(0);
	}
	int status;
	while (!*begun && !waitpid(pid, &status, WNOHANG))
		usleep(1000);
	usleep(300000);
	int64_t at = now_ms();
	kill(pid, SIGKILL);
	while (!waitpid(pid, &status, WNOHANG)) {
		usleep(1000);
		if (now_ms() - at > GONE_MS) {
			printf("FAIL %s: still there %d ms after SIGKILL\n", name, GONE_MS);
			failures++;
			return;
		}
	}
	bool good = WIFSIGNALED(status) || WEXITSTATUS(status) == 0;
	printf("%s %s\n", good ? "ok" : "FAIL", name);
	failures += !good;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*call)(void);
	} cases[] = {
	    {"mincore", call_mincore},   {"process_vm_writev", call_process_vm},
	    {"populate", call_populate}, {"madvise", call_madvise},
	    {"seek_data", call_seek},    {"sendfile", call_sendfile},
	    {"read", call_read},         {"smaps", call_smaps},
	};
	begun = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (int k = 1; k < argc; k++)
			if (!strcmp(argv[k], cases[i].name))
				killed_in(cases[i].name, cases[i].call);
	return failures != 0;
}
