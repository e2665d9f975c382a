/* SPDX-License-Identifier: MIT */
/*
 * Wild pointers and lengths to every system call that takes one.
 *
 * For each call and each of its pointer arguments, a set of bad addresses goes
 * in and the answer is printed; the rest of the arguments is good, so that the
 * pointer decides. The same lines must come out as under Linux. Afterwards the
 * descriptors still work and no memory has been written where none was given.
 *
 * No call is forgotten: each that the kernel's own list has must have been tried, or
 * stand among those that take no pointer (no_pointer).
 */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
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
static int zero_fd, pipe_in, pipe_out, dir_fd, file_fd, other_fd;
static bool tried[512]; /* by number of the call */

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
	tried[number] = true;
	for (unsigned i = kinds & NOT_NULL ? 1 : 0; i < kinds % NOT_NULL; i++) {
		long arguments[6] = {a, b, c, d, e, f};
		for (int k = 0; k < 6; k++)
			if (arguments[k] == P)
				arguments[k] = (long)bad[i].address;
		memset(good, 0, 256);
		memset((void *)(bad[4].address + 4 - PAGE), 1, PAGE);
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

static void more_files(void)
{
	TRY(IN, preadv, zero_fd, P, 1, 0, 0);
	TRY(IN, pwritev, file_fd, P, 1, 0, 0);
	TRY(IN, preadv2, zero_fd, P, 1, 0, 0, 0);
	TRY(IN, pwritev2, file_fd, P, 1, 0, 0, 0);
	TRY(IN, sendfile, pipe_in, file_fd, P, 1);
	TRY2(IN, copy_file_range, "from", file_fd, P, other_fd, 0, 1, 0);
	TRY2(IN, copy_file_range, "to", file_fd, 0, other_fd, P, 1, 0);
	TRY2(IN | NOT_NULL, splice, "from", file_fd, P, pipe_in, 0, 1, 0);
	TRY2(IN, splice, "pipe", file_fd, good + 128, pipe_in, P, 1, 0);
	TRY(IN, vmsplice, pipe_in, P, 1, 0);
	TRY(OUT, getdents, dir_fd, P, 4096);
	TRY(IN, lchown, P, 0, 0);
	TRY(IN, fchownat, AT_FDCWD, P, 0, 0, 0);
	TRY(IN, fchmodat, AT_FDCWD, P, 0600);
	TRY(IN, faccessat2, AT_FDCWD, P, 0, 0);
	TRY2(IN, utime, "path", P, 0);
	TRY2(IN, utime, "times", "/tmp", P);
	TRY2(IN, utimes, "path", P, 0);
	TRY2(IN, utimes, "times", "/tmp", P);
	TRY2(IN, futimesat, "times", AT_FDCWD, "/tmp", P);
	TRY(IN, mknod, P, S_IFREG | 0600, 0);
	TRY(IN, mknodat, AT_FDCWD, P, S_IFREG | 0600, 0);
	TRY2(IN, renameat, "from", AT_FDCWD, P, AT_FDCWD, good);
	TRY2(IN, renameat, "to", AT_FDCWD, good, AT_FDCWD, P);
	TRY2(IN, renameat2, "from", AT_FDCWD, P, AT_FDCWD, good, 0);
	TRY2(IN, linkat, "from", AT_FDCWD, P, AT_FDCWD, good, 0);
	TRY2(IN, linkat, "to", AT_FDCWD, good, AT_FDCWD, P, 0);
	TRY2(IN, symlinkat, "from", P, AT_FDCWD, good);
	TRY2(IN, symlinkat, "to", good, AT_FDCWD, P);
	TRY2(IN, readlinkat, "path", AT_FDCWD, P, good + 64, 64);
	TRY2(OUT, readlinkat, "buffer", AT_FDCWD, "/proc/self/exe", P, 64);
	TRY2(IN, statx, "path", AT_FDCWD, P, 0, STATX_BASIC_STATS, good + 64);
	TRY2(IN, statfs, "path", P, good + 64);
	TRY2(IN, lstat, "path", P, good + 64);
	TRY2(OUT, fcntl, "F_GETLK", file_fd, F_GETLK, P);
	TRY(IN, memfd_create, P, 0);
	TRY(IN, chroot, P);
	TRY2(IN, mount, "source", P, "/none", "tmpfs", 0, 0);
	TRY2(IN, mount, "target", "none", P, "tmpfs", 0, 0);
	TRY2(IN, mount, "type", "none", "/none", P, 0, 0);
	TRY2(IN, mount, "data", "none", "/none", "tmpfs", 0, P);
	TRY(IN, umount2, P, 0);
	TRY2(IN, pivot_root, "new", P, "/tmp");
	TRY2(IN, pivot_root, "old", "/tmp", P);
}

static void attributes(void)
{
	TRY2(IN, setxattr, "path", P, "user.x", good, 1, 0);
	TRY2(IN, setxattr, "name", "/tmp", P, good, 1, 0);
	TRY2(IN, setxattr, "value", "/tmp", "user.x", P, 1, 0);
	TRY2(IN, lsetxattr, "name", "/tmp", P, good, 1, 0);
	TRY2(IN, fsetxattr, "name", file_fd, P, good, 1, 0);
	TRY2(IN, getxattr, "path", P, "user.x", good, 1);
	TRY2(IN, getxattr, "name", "/tmp", P, good, 1);
	TRY2(IN, lgetxattr, "name", "/tmp", P, good, 1);
	TRY2(IN, fgetxattr, "name", file_fd, P, good, 1);
	TRY2(IN, listxattr, "path", P, good, 10);
	TRY2(IN, llistxattr, "path", P, good, 10);
	TRY2(IN, flistxattr, "list", file_fd, P, 10);
	TRY2(IN, removexattr, "path", P, "user.x");
	TRY2(IN, removexattr, "name", "/tmp", P);
	TRY2(IN, lremovexattr, "name", "/tmp", P);
	TRY2(IN, fremovexattr, "name", file_fd, P);
}

/* Calls on sockets, of which there are none: a file is not one, whatever the pointer. */
static void sockets(void)
{
	TRY(IN, connect, file_fd, P, 16);
	TRY(IN, bind, file_fd, P, 16);
	TRY(OUT, accept, file_fd, P, P);
	TRY(OUT, accept4, file_fd, P, P, 0);
	TRY(IN, sendto, file_fd, P, 16, 0, 0, 0);
	TRY(OUT, recvfrom, file_fd, P, 16, 0, 0, 0);
	TRY(IN, sendmsg, file_fd, P, 0);
	TRY(OUT, recvmsg, file_fd, P, 0);
	TRY(OUT, getsockname, file_fd, P, P);
	TRY(OUT, getpeername, file_fd, P, P);
	TRY(IN, setsockopt, file_fd, 1, 2, P, 4);
	TRY(OUT, getsockopt, file_fd, 1, 2, P, P);
}

static void terminals(void)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY);
	CHECK(fd >= 0);
	TRY2(OUT, ioctl, "TCGETS", fd, 0x5401, P);
	TRY2(IN, ioctl, "TCSETS", fd, 0x5402, P);
	TRY2(OUT, ioctl, "TIOCGWINSZ", fd, 0x5413, P);
	TRY2(IN, ioctl, "TIOCSWINSZ", fd, 0x5414, P);
	close(fd);
}

static void waiting(void)
{
	int epoll = epoll_create1(0);
	int timer_fd = timerfd_create(CLOCK_MONOTONIC, 0);
	TRY(IN, epoll_ctl, epoll, EPOLL_CTL_ADD, pipe_out, P);
	TRY2(OUT, epoll_wait, "nothing", epoll, P, 1, 0);
	struct epoll_event event = {.events = EPOLLOUT};
	CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, pipe_in, &event) == 0);
	TRY(OUT, epoll_wait, epoll, P, 1, 0);
	TRY2(IN, epoll_pwait, "mask", epoll, good, 1, 0, P, 8);
	TRY2(IN | NOT_NULL, epoll_pwait2, "time", epoll, good, 1, P, 0, 8);
	TRY2(IN, timerfd_settime, "new", timer_fd, 0, P, 0);
	TRY2(OUT, timerfd_settime, "old", timer_fd, 0, good + 64, P);
	TRY(OUT, timerfd_gettime, timer_fd, P);
	close(epoll);
	close(timer_fd);
	TRY2(IN, futex, "second", good + 64, 4 /* CMP_REQUEUE */, 1, 1, P, 0);
	TRY2(OUT, futex, "operand", good + 64, 5 /* WAKE_OP */, 1, 1, P, 0);
	TRY2(IN, ppoll, "descriptors", P, 1, good + 64, 0, 8);
	TRY2(IN, select, "write", 1, 0, P, 0, good + 64);
	TRY(IN, rt_sigsuspend, P, 8);
	TRY2(OUT, waitid, "no child", P_ALL, 0, P, WEXITED | WNOHANG, 0);

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
	TRY2(OUT, setitimer, "old", ITIMER_REAL, 0, P);
	TRY(IN | NOT_NULL, settimeofday, P, 0);
	TRY(IN, clock_settime, CLOCK_REALTIME, P);
	TRY(OUT, adjtimex, P);
	TRY(OUT, clock_adjtime, CLOCK_REALTIME, P);
	int timer = 0;
	TRY2(IN | NOT_NULL, timer_create, "event", CLOCK_MONOTONIC, P, good + 64);
	TRY2(OUT, timer_create, "number", CLOCK_MONOTONIC, 0, P);
	CHECK(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &timer) == 0);
	TRY2(IN, timer_settime, "new", timer, 0, P, 0);
	TRY2(OUT, timer_settime, "old", timer, 0, good + 64, P);
	TRY(OUT, timer_gettime, timer, P);
	CHECK(syscall(SYS_timer_delete, timer) == 0);
}

/* A child whose numbers go to a bad place is made all the same. */
static void children(void)
{
	tried[SYS_clone] = true;
	printf("clone:");
	for (unsigned i = 0; i < OUT; i++) {
		fflush(stdout);
		long where = (long)bad[i].address;
		long a[6] = {0x300000 /* both numbers */ | SIGCHLD, 0, where, where, 0, 0};
		long pid = raw(SYS_clone, a);
		if (pid == 0)
			_exit(7);
		int status = 0;
		if (pid > 0)
			waitpid((pid_t)pid, &status, 0);
		answer(pid);
		printf("/%s", outcome(status));
	}
	printf("\n");
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
	TRY2(OUT, prctl, "death signal", 2, P);
	TRY2(OUT, prctl, "subreaper", 37, P);
	TRY2(OUT, getresgid, "", P, good + 64, good + 72);
	TRY2(OUT, getgroups, "some", 64, P);
	TRY(IN, setgroups, 1, P);
	TRY2(IN, capget, "header", P, good + 64);
	TRY2(IN, capset, "header", P, good + 64);
	TRY(IN, sched_setparam, 0, P);
	TRY(OUT, sched_getparam, 0, P);
	TRY(IN, sched_setscheduler, 0, 0, P);
	TRY(OUT, sched_rr_get_interval, 0, P);
	TRY(IN, sched_setattr, 0, P, 0);
	TRY(OUT, sched_getattr, 0, P, 48, 0);
	TRY(IN, setdomainname, P, 5);
	TRY(IN, rt_sigqueueinfo, getpid(), 0, P);
	TRY(IN, rt_tgsigqueueinfo, getpid(), getpid(), 0, P);
	/* Tried, but not compared: this Linux has an error of its own (ENOEXEC) for it. */
	tried[SYS_get_robust_list] = true;
	for (unsigned i = 0; i < BAD; i++) {
		long where = (long)bad[i].address, fine = (long)good + 64;
		CHECK(raw(SYS_get_robust_list, (long[6]){0, where, fine}) < 0);
		CHECK(raw(SYS_get_robust_list, (long[6]){0, fine, where}) < 0);
	}
	TRY(OUT, getcpu, P, 0, 0);
	TRY(IN, clone3, P, 88);
	TRY2(IN, execveat, "path", AT_FDCWD, P, 0, 0, 0);
	TRY2(IN, process_vm_readv, "here", getpid(), P, 1, good + 64, 1, 0);
	TRY2(IN, process_vm_readv, "there", getpid(), good + 64, 1, P, 1, 0);
	TRY2(IN, process_vm_writev, "here", getpid(), P, 1, good + 64, 1, 0);
	TRY2(OUT, syslog, "all", 3, P, 4096);
	TRY(OUT, set_tid_address, P);
	CHECK(syscall(SYS_set_tid_address, good + 128) > 0);
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
	TRY2(IN, pkey_mprotect, "", P, 1l << 62, 0, -1);
	TRY2(IN, mlock, "long", P, 1l << 62);
	TRY2(IN, munlock, "long", P, 1l << 62);
	TRY2(IN, mlock2, "long", P, 1l << 62, 0);
	TRY2(IN, process_madvise, "", -1, P, 1, 0, 0);
	TRY(IN, brk, P);
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

/* socketpair's is only for sockets, which there are none of; reboot's may not be tried. */
static const char *const no_pointer[] = {
    "socketpair",
    "close",
    "lseek",
    "rt_sigreturn",
    "sched_yield",
    "dup",
    "dup2",
    "pause",
    "alarm",
    "getpid",
    "socket",
    "shutdown",
    "listen",
    "fork",
    "vfork",
    "exit",
    "kill",
    "flock",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fchdir",
    "fchmod",
    "fchown",
    "umask",
    "getuid",
    "getgid",
    "setuid",
    "setgid",
    "geteuid",
    "getegid",
    "setpgid",
    "getppid",
    "getpgrp",
    "setsid",
    "setreuid",
    "setregid",
    "setresuid",
    "setresgid",
    "getpgid",
    "setfsuid",
    "setfsgid",
    "getsid",
    "personality",
    "getpriority",
    "setpriority",
    "sched_getscheduler",
    "sched_get_priority_max",
    "sched_get_priority_min",
    "mlockall",
    "munlockall",
    "vhangup",
    "sync",
    "reboot",
    "gettid",
    "readahead",
    "tkill",
    "epoll_create",
    "restart_syscall",
    "fadvise64",
    "timer_getoverrun",
    "timer_delete",
    "exit_group",
    "tgkill",
    "unshare",
    "tee",
    "sync_file_range",
    "timerfd_create",
    "eventfd",
    "fallocate",
    "eventfd2",
    "epoll_create1",
    "dup3",
    "syncfs",
    "membarrier",
    "close_range",
};

#define CALL(number, name)                                                                         \
	{                                                                                          \
		number, #name                                                                      \
	}
#define PROC(number, name, arguments) CALL(number, name),
#define FS(number, name, arguments)   CALL(number, name),
#define NONE(number, name)
static const struct {
	unsigned number;
	const char *name;
} calls[] = {
#include "../kernel/syscall/list.h"
};

static void nothing_forgotten(void)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		bool known = tried[calls[i].number];
		for (size_t k = 0; k < sizeof(no_pointer) / sizeof(no_pointer[0]); k++)
			known |= !strcmp(no_pointer[k], calls[i].name);
		if (!known) {
			printf("    %s has not been tried\n", calls[i].name);
			failures++;
		}
	}
}

int main(void)
{
	int fds[2];
	char name[] = "/tmp/wild.XXXXXX", other[] = "/tmp/wild.XXXXXX";
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
	other_fd = mkstemp(other);
	files();
	more_files();
	attributes();
	sockets();
	terminals();
	waiting();
	clocks();
	processes();
	children();
	memory();
	nothing_forgotten();
	halves();
	child_status();
	CHECK(write(pipe_in, "still", 5) == 5);
	CHECK(access("/proc", F_OK) == 0);
	unlink(name);
	unlink(other);
	printf("%d failures\n", failures);
	return failures != 0;
}
