/* SPDX-License-Identifier: MIT */
/*
 * Wild pointers and lengths to every system call that takes one.
 *
 * For each call and each of its pointer arguments, a set of bad addresses goes
 * in and the answer is printed; the rest of the arguments is good, so that the
 * pointer decides. The same lines must come out as under Linux. Afterwards the
 * descriptors still work and no memory has been written where none was given.
 */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>

static struct {
	const char *name;
	unsigned long address;
} bad[] = {
    {"null", 0},
    {"one", 1},
    {"unmapped", 0},
    {"none", 0},
    {"edge", 0}, /* the last bytes of a page before a hole */
    {"user_end", 0x7fffffffefff},
    {"past_user", 0x7ffffffff000},
    {"hole", 0x800000000000},
    {"hole_top", 0xffff7fffffffffff},
    {"kernel", 0xffff800000000000},
    {"kernel_image", 0xffffffff80000000},
    {"top", 0xfffffffffffffff8},
    {"read_only", 0},
};
enum { BAD = sizeof(bad) / sizeof(bad[0]), OUT = BAD, IN = BAD - 1, NOT_NULL = 256 };

#define P -0x5a5a5a5al /* stands for the bad pointer in a call's arguments */

static char *good; /* a page of good memory */
static int zero_fd, pipe_in, pipe_out, dir_fd, file_fd;

/* Pages where nothing else will be mapped into holes that are made there. */
static char *far_away(unsigned long where, unsigned pages)
{
	void *p = mmap((void *)where, pages * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (p == MAP_FAILED)
		exit(1);
	return p;
}

static void answer(long result)
{
	if (result < 0)
		printf(" %s", strerrorname_np((int)-result) ?: "?");
	else
		printf(" ok");
}

static long raw(long number, const long *a)
{
	long result;
	register long r10 __asm__("r10") = a[3];
	register long r8 __asm__("r8") = a[4];
	register long r9 __asm__("r9") = a[5];
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

/* `kinds`: OUT when the kernel writes there, IN when it reads; NOT_NULL when no
 * pointer means to wait for ever. */
static void try_call(const char *name, unsigned kinds, long number, long a, long b, long c, long d,
		     long e, long f)
{
	printf("%s:", name);
	for (unsigned i = kinds & NOT_NULL ? 1 : 0; i < kinds % NOT_NULL; i++) {
		long arguments[6] = {a, b, c, d, e, f};
		for (int k = 0; k < 6; k++)
			if (arguments[k] == P)
				arguments[k] = (long)bad[i].address;
		memset(good, 0, 256);
		strcpy(good, "/proc");
		fflush(stdout);
		answer(raw(number, arguments));
	}
	printf("\n");
}

#define TRY(kinds, call, ...)       TRY_(kinds, call, #call, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define TRY2(kinds, call, tag, ...) TRY_(kinds, call, #call " " tag, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define TRY_(kinds, call, name, a, b, c, d, e, f, ...)                                             \
	try_call(name, kinds, SYS_##call, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e),   \
		 (long)(f))

static void files(void)
{
	TRY(OUT, read, zero_fd, P, 16);
	TRY2(OUT, read, "long", zero_fd, P, 1l << 40);
	TRY(IN, write, pipe_in, P, 16);
	TRY2(IN, write, "long", pipe_in, P, 1l << 62);
	TRY(OUT, pread64, file_fd, P, 16, 0);
	TRY(IN, pwrite64, file_fd, P, 16, 0);
	TRY(IN, readv, zero_fd, P, 1);
	TRY(IN, writev, pipe_in, P, 1);
	TRY2(IN, writev, "many", pipe_in, P, 100000);
	TRY(IN, open, P, O_RDONLY, 0);
	TRY(IN, openat, AT_FDCWD, P, O_RDONLY, 0);
	TRY(IN, openat2, AT_FDCWD, good, P, 24);
	TRY(IN, creat, P, 0600);
	TRY2(IN, stat, "path", P, good + 64);
	TRY2(OUT, stat, "buffer", good, P);
	TRY2(OUT, lstat, "buffer", good, P);
	TRY(OUT, fstat, file_fd, P);
	TRY2(IN, newfstatat, "path", AT_FDCWD, P, good + 64, 0);
	TRY2(OUT, newfstatat, "buffer", AT_FDCWD, good, P, 0);
	TRY2(OUT, statx, "buffer", AT_FDCWD, good, 0, STATX_BASIC_STATS, P);
	TRY2(OUT, statfs, "buffer", good, P);
	TRY(OUT, fstatfs, file_fd, P);
	TRY(IN, access, P, 0);
	TRY(IN, faccessat, AT_FDCWD, P, 0);
	TRY(IN, chdir, P);
	TRY(IN, mkdir, P, 0700);
	TRY(IN, mkdirat, AT_FDCWD, P, 0700);
	TRY(IN, rmdir, P);
	TRY(IN, unlink, P);
	TRY(IN, unlinkat, AT_FDCWD, P, 0);
	TRY2(IN, rename, "from", P, good);
	TRY2(IN, rename, "to", good, P);
	TRY2(IN, link, "from", P, good);
	TRY2(IN, symlink, "from", P, good);
	TRY2(IN, symlink, "to", good, P);
	TRY2(IN, readlink, "path", P, good + 64, 64);
	TRY2(OUT, readlink, "buffer", "/proc/self/exe", P, 64);
	TRY(IN, chmod, P, 0600);
	TRY(IN, chown, P, 0, 0);
	TRY(IN, truncate, P, 0);
	TRY(IN, utimensat, AT_FDCWD, P, 0, 0);
	TRY2(IN, utimensat, "times", AT_FDCWD, "/tmp", P, 0);
	TRY(OUT, getcwd, P, 64);
	TRY(OUT, getdents64, dir_fd, P, 4096);
	TRY(OUT, pipe, P);
	TRY(OUT, pipe2, P, O_CLOEXEC);
	TRY(OUT, ioctl, pipe_out, 0x541b /* FIONREAD */, P);
	TRY2(IN, fcntl, "F_SETLK", file_fd, F_SETLK, P);
}

static void waiting(void)
{
	TRY(IN, poll, P, 1, 0);
	TRY2(IN, poll, "many", P, 1l << 24, 0);
	TRY2(IN | NOT_NULL, ppoll, "times", good, 0, P, 0, 8);
	TRY2(IN, ppoll, "mask", good, 0, good + 64, P, 8);
	TRY2(IN, select, "read", 1, P, 0, 0, good + 64);
	TRY2(IN | NOT_NULL, select, "time", 0, 0, 0, 0, P);
	TRY2(IN | NOT_NULL, pselect6, "time", 0, 0, 0, 0, P, 0);
	TRY(IN, nanosleep, P, 0);
	TRY2(IN, clock_nanosleep, "time", CLOCK_MONOTONIC, 0, P, 0);
	TRY2(IN, futex, "wait", P, 0, 1, 0);
	TRY2(IN, futex, "wake", P, 1, 1, 0);
	TRY2(IN | NOT_NULL, futex, "time", good + 64, 0, 0, P);
}

static void clocks(void)
{
	TRY(OUT, clock_gettime, CLOCK_MONOTONIC, P);
	TRY(OUT, clock_getres, CLOCK_MONOTONIC, P);
	TRY(OUT, gettimeofday, P, 0);
	TRY(OUT, time, P);
	TRY(OUT, times, P);
	TRY(OUT, getitimer, ITIMER_REAL, P);
	TRY(IN, setitimer, ITIMER_REAL, P, 0);
}

static void processes(void)
{
	TRY2(IN, rt_sigaction, "new", SIGUSR1, P, 0, 8);
	TRY2(OUT, rt_sigaction, "old", SIGUSR1, 0, P, 8);
	TRY2(IN, rt_sigprocmask, "new", SIG_BLOCK, P, 0, 8);
	TRY2(OUT, rt_sigprocmask, "old", SIG_BLOCK, 0, P, 8);
	TRY(OUT, rt_sigpending, P, 8);
	TRY2(IN, rt_sigtimedwait, "set", P, 0, good + 64, 8);
	TRY2(IN, sigaltstack, "new", P, 0);
	TRY2(OUT, sigaltstack, "old", 0, P);
	TRY2(OUT, wait4, "no child", -1, P, WNOHANG, 0);
	TRY2(IN, execve, "path", P, 0, 0);
	TRY2(OUT, execve, "arguments", "/none", P, 0);
	TRY2(OUT, arch_prctl, "get", 0x1003, P);
	TRY2(IN, set_robust_list, "head", P, 24);
	TRY2(OUT, getrlimit, "", RLIMIT_STACK, P);
	TRY2(IN, setrlimit, "", RLIMIT_CORE, P);
	TRY2(IN, prlimit64, "new", 0, RLIMIT_CORE, P, 0);
	TRY2(OUT, prlimit64, "old", 0, RLIMIT_STACK, 0, P);
	TRY2(OUT, getrusage, "", RUSAGE_SELF, P);
	TRY(OUT, sysinfo, P);
	TRY(OUT, uname, P);
	TRY(IN, sethostname, P, 5);
	TRY2(OUT, getrandom, "", P, 16, 0);
	TRY2(OUT, sched_getaffinity, "", 0, 128, P);
	TRY2(IN, sched_setaffinity, "", 0, 128, P);
	TRY2(OUT, getgroups, "", 0, P);
	TRY2(OUT, getresuid, "", P, good + 64, good + 72);
	TRY2(OUT, prctl, "name", 16 /* PR_GET_NAME */, P);
	TRY2(IN, prctl, "set name", 15, P);
}

static void memory(void)
{
	TRY(IN, munmap, P, 4096);
	TRY2(IN, munmap, "long", P, 1l << 62);
	TRY2(IN, munmap, "whole", P, -1);
	TRY2(IN, mprotect, "", P, 0, 0);
	TRY2(IN, mprotect, "long", P, 1l << 62, 0);
	TRY2(IN, madvise, "", P, 0, 0);
	TRY2(IN, madvise, "long", P, 1l << 62, MADV_NORMAL);
	TRY2(IN, mmap, "fixed", P, 1l << 62, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1,
	     0);
	TRY2(IN, mremap, "", P, 1l << 62, 4096, 0);
	TRY2(IN, mincore, "", P, 1l << 62, good);
	TRY2(IN, msync, "", P, 1l << 62, 4);
}

/* A buffer that ends in the middle: what is there may be used, what is not may
 * not, and nothing else changes. */
static void halves(void)
{
	char *p = far_away(0x11000000000, 2);
	munmap(p + PAGE, PAGE);
	memset(p, 'x', PAGE);
	printf("half write to pipe: %zd\n", write(pipe_in, p + PAGE - 100, 200));
	char drain[4096];
	ssize_t n = read(pipe_out, drain, sizeof(drain));
	printf("half write arrived: %zd\n", n);
	printf("half write to file: %zd\n", pwrite(file_fd, p + PAGE - 100, 200, 0));
	printf("half read of zero: %zd\n", read(zero_fd, p + PAGE - 100, 200));
	for (int i = 0; i < 100; i++)
		CHECK(p[PAGE - 100 + (size_t)i] == 0);
	CHECK(p[PAGE - 101] == 'x');
	struct iovec v[2] = {{p, 10}, {(void *)1, 10}};
	printf("half writev: %zd\n", writev(pipe_in, v, 2));
	printf("path at the edge: %s\n",
	       open(p + PAGE - 3, O_RDONLY) < 0 ? strerrorname_np(errno) : "ok");
	strcpy(p + PAGE - 5, "/tmp");
	printf("path up to the edge: %s\n",
	       access(p + PAGE - 5, F_OK) < 0 ? strerrorname_np(errno) : "ok");
	printf("struct across the edge: %s\n",
	       syscall(SYS_clock_gettime, CLOCK_REALTIME, p + PAGE - 8) < 0 ? strerrorname_np(errno)
									    : "ok");
}

/* A status that cannot be stored must not cost the child: but Linux reaps it. */
static void child_status(void)
{
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0)
		_exit(3);
	printf("wait4 of a child:");
	long a[6] = {pid, 1, 0, 0, 0, 0};
	answer(raw(SYS_wait4, a));
	printf("\n");
	waitpid(pid, NULL, 0);
}

int main(void)
{
	int fds[2];
	char name[] = "/tmp/wild.XXXXXX";
	good = anonymous(PAGE, PROT_READ | PROT_WRITE);
	char *p = far_away(0x10000000000, 3);
	munmap(p + PAGE, PAGE);
	memset(p, 1, PAGE);
	mprotect(p + 2 * PAGE, PAGE, PROT_NONE);
	bad[2].address = (unsigned long)p + PAGE;
	bad[3].address = (unsigned long)p + 2 * PAGE;
	bad[4].address = (unsigned long)p + PAGE - 4;
	bad[12].address = (unsigned long)anonymous(PAGE, PROT_READ);
	zero_fd = open("/dev/zero", O_RDONLY);
	dir_fd = open("/etc", O_RDONLY | O_DIRECTORY);
	file_fd = mkstemp(name);
	CHECK(write(file_fd, "some bytes in a file", 20) == 20);
	CHECK(pipe2(fds, O_NONBLOCK) == 0);
	pipe_out = fds[0];
	pipe_in = fds[1];
	files();
	waiting();
	clocks();
	processes();
	memory();
	halves();
	child_status();
	CHECK(write(pipe_in, "still", 5) == 5);
	CHECK(access("/proc", F_OK) == 0);
	unlink(name);
	printf("%d failures\n", failures);
	return failures != 0;
}
