/* SPDX-License-Identifier: MIT */
/*
 * What processes belong to and are held to: groups, sessions, limits, identities,
 * clocks, scheduling, each other's memory.
 */
#define _GNU_SOURCE
#pragma GCC diagnostic ignored "-Wunused-parameter" /* cases that need no argument */
#include "check.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

static void sleep_ms(int ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
	nanosleep(&ts, NULL);
}

/* ---- groups, sessions ------------------------------------------------------------------- */

static void groups(void *unused)
{
	int status, ends[2];
	char byte;
	CHECK(setpgid(0, 0) == 0 && getpgrp() == getpid());
	CHECK(pipe(ends) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		if (read(ends[0], &byte, 1) != 1)
			_exit(9);
		CHECK(getpgrp() == getpid());
		_exit(failures);
	}
	CHECK(setpgid(pid, pid) == 0 && getpgid(pid) == pid);
	CHECK(setpgid(pid, 99999) == -1 && errno == EPERM);
	CHECK(setpgid(pid, -1) == -1 && errno == EINVAL);
	CHECK(setpgid(99999, 0) == -1 && errno == ESRCH);
	CHECK(write(ends[1], "x", 1) == 1);
	CHECK(waitpid(-pid, &status, 0) == pid && WEXITSTATUS(status) == 0);
	CHECK(getpgid(99999) == -1 && errno == ESRCH);
}

static void sessions(void *unused)
{
	int status;
	CHECK(setpgid(0, 0) == 0);
	CHECK(setsid() == -1 && errno == EPERM); /* a group leader */
	pid_t pid = fork();
	if (pid == 0) {
		CHECK(setsid() == getpid());
		CHECK(getsid(0) == getpid() && getpgrp() == getpid());
		CHECK(setsid() == -1 && errno == EPERM);
		CHECK(setpgid(0, getppid()) == -1 && errno == EPERM);
		_exit(failures);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 0);
}

static void stopped_orphans_hear(void *unused)
{
	int ends[2];
	char byte = 0;
	CHECK(pipe(ends) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		setsid();
		pid_t child = fork();
		if (child == 0) {
			setpgid(0, 0);
			signal(SIGHUP, SIG_IGN);
			raise(SIGSTOP); /* SIGCONT comes when the parent has gone */
			_exit(write(ends[1], "x", 1) != 1);
		}
		int status;
		waitpid(child, &status, WUNTRACED);
		_exit(WIFSTOPPED(status) ? 0 : 1);
	}
	int status;
	waitpid(pid, &status, 0);
	CHECK(WEXITSTATUS(status) == 0);
	CHECK(read(ends[0], &byte, 1) == 1 && byte == 'x');
}

/* ---- limits, identity, clocks ------------------------------------------------------------ */

static void limits(void *unused)
{
	struct rlimit now, new;
	CHECK(getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_cur > 2);
	new = (struct rlimit){16, now.rlim_max};
	CHECK(setrlimit(RLIMIT_NOFILE, &new) == 0);
	int fd, last = -1;
	while ((fd = open("/dev/null", O_RDONLY)) >= 0)
		last = fd;
	CHECK(last == 15 && errno == EMFILE);
	for (fd = 3; fd < 16; fd++)
		close(fd);
	new = (struct rlimit){20, 10};
	CHECK(setrlimit(RLIMIT_NOFILE, &new) == -1 && errno == EINVAL);
	CHECK(getrlimit(99, &now) == -1 && errno == EINVAL);
	new = (struct rlimit){64 << 20, 64 << 20};
	CHECK(setrlimit(RLIMIT_AS, &new) == 0);
	CHECK(mmap(NULL, 128 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED &&
	      errno == ENOMEM);
	CHECK(prlimit(99999, RLIMIT_AS, NULL, &now) == -1 && errno == ESRCH);
}

static void cpu_limit(void *unused)
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		struct rlimit one = {1, 3};
		setrlimit(RLIMIT_CPU, &one);
		for (;;)
			continue;
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
	      WTERMSIG(status) == SIGXCPU);
}

static void stack_limit(void *unused)
{
	int status;
	struct rlimit small = {256 * 1024, RLIM_INFINITY};
	CHECK(setrlimit(RLIMIT_STACK, &small) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		__asm__ volatile("1: push %%rax; jmp 1b" ::: "memory");
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
	      WTERMSIG(status) == SIGSEGV);
}

static void identity(void *unused)
{
	uid_t r, e, s;
	gid_t list[4] = {7, 8, 9, 10};
	CHECK(setgroups(3, list) == 0 && getgroups(0, NULL) == 3);
	CHECK(getgroups(2, list) == -1 && errno == EINVAL);
	CHECK(setresuid(1000, 2000, 3000) == 0);
	CHECK(getresuid(&r, &e, &s) == 0 && r == 1000 && e == 2000 && s == 3000);
	CHECK(setuid(0) == -1 && errno == EPERM);
	CHECK(setreuid((uid_t)-1, 3000) == 0 && geteuid() == 3000);
	CHECK(kill(1, SIGTERM) == -1 && errno == EPERM);
	CHECK(setgroups(1, list) == -1 && errno == EPERM);
	CHECK(sethostname("x", 1) == -1 && errno == EPERM);
	struct rlimit more = {RLIM_INFINITY, RLIM_INFINITY}, now;
	getrlimit(RLIMIT_NOFILE, &now);
	CHECK(now.rlim_max == RLIM_INFINITY ||
	      (setrlimit(RLIMIT_NOFILE, &more) == -1 && errno == EPERM));
}

static long long ns(const struct timespec *ts)
{
	return ts->tv_sec * 1000000000ll + ts->tv_nsec;
}

static void clocks(void *unused)
{
	struct timespec a, b, until;
	struct timeval tv;
	CHECK(clock_gettime(CLOCK_MONOTONIC, &a) == 0);
	sleep_ms(30);
	CHECK(clock_gettime(CLOCK_MONOTONIC, &b) == 0);
	CHECK(ns(&b) - ns(&a) >= 30000000 && ns(&b) - ns(&a) < 30000000000);
	CHECK(clock_gettime(99, &a) == -1 && errno == EINVAL);
	CHECK(clock_getres(CLOCK_MONOTONIC, &a) == 0 && a.tv_sec == 0 && a.tv_nsec > 0);
	time_t before = time(NULL);
	gettimeofday(&tv, NULL);
	/* time() may be as old as the last tick. */
	CHECK(tv.tv_sec > 1600000000 && before <= tv.tv_sec && tv.tv_sec <= time(NULL) + 1);
	until = b;
	until.tv_sec += 0;
	CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == 0);
	CHECK(clock_nanosleep(99, 0, &until, NULL) == EINVAL);
	until.tv_nsec = 1000000000;
	CHECK(nanosleep(&until, NULL) == -1 && errno == EINVAL);
	until = (struct timespec){-1, 0};
	CHECK(nanosleep(&until, NULL) == -1 && errno == EINVAL);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	for (volatile int i = 0; i < 30000000; i++)
		continue;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	CHECK(ns(&b) > ns(&a));
}

static void names(void *unused)
{
	struct utsname u;
	char name[16];
	CHECK(uname(&u) == 0 && !strcmp(u.sysname, "Linux") && !strcmp(u.machine, "x86_64"));
	CHECK(prctl(PR_SET_NAME, "a-name-longer-than-fits") == 0);
	CHECK(prctl(PR_GET_NAME, name) == 0 && !strcmp(name, "a-name-longer-t"));
	CHECK(sethostname("newname", 7) == 0 && uname(&u) == 0 && !strcmp(u.nodename, "newname"));
	CHECK(sethostname("quire", 5) == 0);
	CHECK(prctl(9999, 0) == -1 && errno == EINVAL);
	struct sysinfo info;
	CHECK(sysinfo(&info) == 0 && info.totalram > info.freeram && info.procs > 0);
}

static void scheduling(void *unused)
{
	cpu_set_t set, one;
	struct sched_param param = {0};
	CHECK(sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) >= 1);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < 64; cpu++)
		if (CPU_ISSET(cpu, &set)) {
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
			CHECK(sched_getcpu() == cpu);
		}
	CPU_ZERO(&one);
	CHECK(sched_setaffinity(0, sizeof(one), &one) == -1 && errno == EINVAL);
	CHECK(sched_setaffinity(0, sizeof(set), &set) == 0);
	CHECK(sched_getscheduler(0) == SCHED_OTHER);
	CHECK(sched_get_priority_max(SCHED_FIFO) == 99 && sched_get_priority_min(SCHED_RR) == 1);
	CHECK(sched_setscheduler(0, SCHED_OTHER, &param) == 0);
	param.sched_priority = 5;
	CHECK(sched_setscheduler(0, SCHED_OTHER, &param) == -1 && errno == EINVAL);
	CHECK(setpriority(PRIO_PROCESS, 0, 5) == 0 && getpriority(PRIO_PROCESS, 0) == 5);
	CHECK(getpriority(7, 0) == -1 && errno == EINVAL);
}

static void other_memory(void *unused)
{
	static char text[] = "in the child";
	char buffer[32] = "";
	int ends[2], ready[2], status;
	char byte;
	CHECK(pipe(ends) == 0 && pipe(ready) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		strcpy(text, "of the child");
		if (write(ready[1], "x", 1) != 1 || read(ends[0], &byte, 1) != 1)
			_exit(2);
		_exit(strcmp(text, "OF the child") != 0);
	}
	CHECK(read(ready[0], &byte, 1) == 1);
	struct iovec local = {buffer, sizeof(text)}, remote = {text, sizeof(text)};
	CHECK(process_vm_readv(pid, &local, 1, &remote, 1, 0) == sizeof(text));
	CHECK(!strcmp(buffer, "of the child"));
	struct iovec from = {(char *)(uintptr_t) "OF", 2}, to = {text, 2};
	CHECK(process_vm_writev(pid, &from, 1, &to, 1, 0) == 2);
	to.iov_base = (void *)8;
	CHECK(process_vm_writev(pid, &from, 1, &to, 1, 0) == -1 && errno == EFAULT);
	CHECK(process_vm_readv(99999, &local, 1, &remote, 1, 0) == -1 && errno == ESRCH);
	CHECK(write(ends[1], "x", 1) == 1);
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 0);
}

int main(void)
{
	run_case("groups", groups);
	run_case("sessions", sessions);
	run_case("stopped_orphans_hear", stopped_orphans_hear);
	run_case("limits", limits);
	run_case("cpu_limit", cpu_limit);
	run_case("stack_limit", stack_limit);
	run_case("identity", identity);
	run_case("clocks", clocks);
	run_case("names", names);
	run_case("scheduling", scheduling);
	run_case("other_memory", other_memory);
	return failures != 0;
}
