/* SPDX-License-Identifier: MIT */
/*
 * latency CASE: what makes a kernel hold a CPU the longest, case by case.
 *
 * Each case is done by an ordinary user (uid 1000) in processes of its own, which the
 * kernel then has to end as well. How long interrupts and preemption were off
 * meanwhile, the kernel measures itself (/proc/quire of a test build); this program
 * only provokes. Without a CASE: their names.
 *
 * Some cases call hold() when they have made the kernel hold much. Then a bystander, of
 * another user, does some short calls, and the case is killed. Printed are the longest of
 * the bystander's calls, before and then, and the time from SIGKILL until all is given
 * back, in nanoseconds, which are instructions under --icount.
 */
#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>

#define LOTS    1000
#define SIGNALS 65000 /* queued at once */

static volatile struct {
	int held;
} * shared;

/* Wait to be killed. */
static void hold(void)
{
	if (failures)
		return;
	shared->held = 1;
	for (;;)
		pause();
}

static long now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000l + t.tv_nsec;
}

/* ---- signals ------------------------------------------------------------------- */

static unsigned queue_all(int number)
{
	unsigned n = 0;
	while (n < SIGNALS && !sigqueue(getpid(), number, (union sigval){0}))
		n++;
	return n;
}

static void block_realtime(void)
{
	sigset_t set;
	sigemptyset(&set);
	for (int i = SIGRTMIN; i <= SIGRTMAX; i++)
		sigaddset(&set, i);
	sigaddset(&set, SIGALRM);
	CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
}

/* As many queued signals as there may be, dropped at once. */
static void signals_dropped(void *unused)
{
	(void)unused;
	block_realtime();
	CHECK(queue_all(SIGRTMIN) == SIGNALS);
	signal(SIGRTMIN, SIG_IGN);
}

static void signals_exit(void *unused)
{
	(void)unused;
	block_realtime();
	CHECK(queue_all(SIGRTMIN) == SIGNALS);
	hold();
}

/* One that waits behind all the others; a timer that asks whether its own waits. */
static void signals_taken(void *unused)
{
	(void)unused;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1};
	timer_t timer;
	siginfo_t info;
	sigset_t set;
	block_realtime();
	CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
	CHECK(queue_all(SIGRTMIN + 2) > SIGNALS - 10);
	struct itimerspec soon = {{0, 1000000}, {0, 1000000}};
	CHECK(timer_settime(timer, 0, &soon, NULL) == 0);
	usleep(20000);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	CHECK(sigwaitinfo(&set, &info) == SIGRTMIN + 1 && info.si_code == SI_TIMER);
}

/* ---- timers --------------------------------------------------------------------- */

static void arm_many(void *at)
{
	long first = 0, begin = now_ns();
	for (int i = 0; i < 1024; i++) {
		if (i == 100)
			first = now_ns() - begin;
		if (i == 924)
			begin = now_ns();
		struct sigevent event = {.sigev_notify = SIGEV_NONE};
		timer_t timer;
		struct itimerspec later = {{0, 0}, {100000 + (i * 7919) % 1024, 0}};
		CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 &&
		      timer_settime(timer, 0, &later, NULL) == 0);
	}
	CHECK(now_ns() - begin < 2 * first);
	*(volatile char *)at = failures ? 2 : 1;
	for (;;)
		pause();
}

/* 10 x 1,024: what the bystander arms is one more. */
static void timers(void *unused)
{
	(void)unused;
	char *done = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int k = 0; k < 10; k++)
		if (!fork())
			arm_many(done + k);
	for (int k = 0; k < 10; k++) {
		while (!((volatile char *)done)[k])
			usleep(1000);
		CHECK(done[k] == 1);
	}
	for (int k = 0; k < 50; k++)
		usleep(100);
	hold();
}

/* Timers that are all due at once. */
static void timers_due(void *unused)
{
	(void)unused;
	struct timespec now;
	block_realtime();
	clock_gettime(CLOCK_MONOTONIC, &now);
	struct itimerspec soon = {{0, 0}, {now.tv_sec + 1, 0}};
	for (int i = 0; i < 1024; i++) {
		struct sigevent event = {.sigev_notify = SIGEV_SIGNAL,
					 .sigev_signo = SIGRTMIN + 1 + i % 8};
		timer_t timer;
		CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
		CHECK(timer_settime(timer, TIMER_ABSTIME, &soon, NULL) == 0);
	}
	sleep(2);
}

/* ---- epoll ------------------------------------------------------------------------- */

/* `sets` sets that watch `files` files each; the first set, and what makes all ready. */
static int watch_all(int sets, int files, int *writer)
{
	struct rlimit limit = {4096, 4096};
	int first = -1, first_set = -1, p[2];
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	CHECK(pipe(p) == 0);
	for (int i = 0; i < files; i++) {
		int fd = dup(p[0]);
		first = first < 0 ? fd : first;
	}
	for (int s = 0; s < sets; s++) {
		int e = epoll_create1(0);
		CHECK(e >= 0);
		first_set = first_set < 0 ? e : first_set;
		for (int i = 0; i < files; i++) {
			struct epoll_event event = {.events = EPOLLIN};
			if (epoll_ctl(e, EPOLL_CTL_ADD, first + i, &event)) {
				CHECK(false);
				return -1;
			}
		}
	}
	*writer = p[1];
	return first_set;
}

/* A thread that waits for one of many sets. */
static void *wait_on_set(void *argument)
{
	struct epoll_event event;
	epoll_wait((int)(intptr_t)argument, &event, 1, 2000);
	return NULL;
}

static void epoll_sets(void *unused)
{
	(void)unused;
	pthread_t thread;
	int writer = -1, set = watch_all(LOTS, LOTS, &writer);
	CHECK(pthread_create(&thread, NULL, wait_on_set, (void *)(intptr_t)set) == 0);
	usleep(20000);
	CHECK(write(writer, "x", 1) == 1);
	pthread_join(thread, NULL);
	hold();
}

/* One poll with thousands of waiters on one queue, and who wakes them. */
static void *poll_many(void *argument)
{
	static struct pollfd fds[4000];
	for (int i = 0; i < 4000; i++)
		fds[i] = (struct pollfd){.fd = (int)(intptr_t)argument, .events = POLLIN};
	poll(fds, 4000, 10000);
	return NULL;
}

static void poll_waiters(void *unused)
{
	(void)unused;
	struct rlimit limit = {4096, 4096};
	pthread_t thread;
	int p[2];
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	CHECK(pipe(p) == 0);
	CHECK(pthread_create(&thread, NULL, poll_many, (void *)(intptr_t)p[0]) == 0);
	usleep(50000);
	CHECK(write(p[1], "x", 1) == 1);
	pthread_join(thread, NULL);
}

/* ---- processes and threads ---------------------------------------------------------- */

static void processes(void *unused)
{
	(void)unused;
	int started = 0;
	setsid();
	for (int i = 0; i < LOTS; i++) {
		pid_t pid = fork();
		if (!pid) {
			setpgid(0, 0);
			setpgid(0, getppid());
			pause();
			_exit(0);
		}
		started += pid > 0;
	}
	CHECK(started == LOTS);
	DIR *d = opendir("/proc");
	while (d && readdir(d))
		continue;
	closedir(d);
	signal(SIGTERM, SIG_IGN);
	CHECK(getpriority(PRIO_PGRP, 0) == 0 && getpriority(PRIO_USER, 1000) == 0);
	CHECK(kill(0, SIGCONT) == 0);
	CHECK(waitpid(-1, NULL, WNOHANG) == 0);
	CHECK(kill(-1, SIGTERM) == 0);
	int ended = 0;
	while (waitpid(-1, NULL, 0) > 0)
		ended++;
	CHECK(ended == LOTS);
}

/* Each the child of the one before. */
static void processes_nested(void *unused)
{
	(void)unused;
	for (int i = 0; i < LOTS; i++) {
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid) {
			pause();
			_exit(0);
		}
	}
	hold();
}

/* Ended all at once, with nobody who waits for them. */
static void processes_orphaned(void *unused)
{
	(void)unused;
	for (int i = 0; i < LOTS; i++)
		if (!fork())
			_exit(0);
	usleep(100000);
}

static int word;
static void *sleep_on_word(void *unused)
{
	syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
	return unused;
}

static int start_threads(pthread_t *thread, void *(*body)(void *))
{
	pthread_attr_t attributes;
	int n = 0;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 16384);
	while (n < LOTS && !pthread_create(&thread[n], &attributes, body, NULL))
		n++;
	usleep(200000);
	return n;
}

static void threads(void *unused)
{
	(void)unused;
	static pthread_t thread[LOTS];
	int other = 0;
	int n = start_threads(thread, sleep_on_word);
	CHECK(n == LOTS);
	CHECK(syscall(SYS_futex, &word, FUTEX_CMP_REQUEUE, 1, (void *)LOTS, &other, 0) > 0);
	CHECK(syscall(SYS_futex, &other, FUTEX_WAKE, INT_MAX, NULL, NULL, 0) > 0);
	for (int i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
}

/* All of them are ended by one signal; others stop and go on. */
static void threads_killed(void *unused)
{
	(void)unused;
	static pthread_t thread[LOTS];
	pid_t pid = fork();
	if (!pid) {
		block_realtime();
		start_threads(thread, sleep_on_word);
		pause();
	}
	usleep(1500000);
	kill(pid, SIGSTOP);
	CHECK(waitpid(pid, NULL, WUNTRACED) == pid);
	kill(pid, SIGRTMIN);
	kill(pid, SIGCONT);
	hold();
}

/* ---- files --------------------------------------------------------------------------- */

#define NAMES 300000 /* most of them links: a link is a name without a file of its own */
#define LINKS 60000  /* of one file */

static void directory(void *unused)
{
	(void)unused;
	char name[40], file[40];
	CHECK(mkdir("/tmp/many", 0777) == 0 && chdir("/tmp/many") == 0);
	long begin = now_ns(), first = 0, last = 0;
	for (int i = 0; i < NAMES && !failures; i++) {
		if (i == LOTS)
			first = now_ns() - begin;
		if (i == NAMES - LOTS)
			begin = now_ns();
		snprintf(name, sizeof(name), "a-name-of-usual-length-%d", i);
		if (i % LINKS)
			CHECK(link(file, name) == 0);
		else
			CHECK(mknod(strcpy(file, name), S_IFREG | 0600, 0) == 0);
	}
	last = now_ns() - begin;
	CHECK(last < 2 * first);
	DIR *d = opendir(".");
	int n = 0;
	begin = now_ns();
	while (d && readdir(d)) {
		if (++n == 10 * LOTS)
			first = now_ns() - begin;
		if (n == NAMES - 10 * LOTS)
			begin = now_ns();
	}
	last = now_ns() - begin;
	closedir(d);
	CHECK(n == NAMES + 2 && last < 2 * first);
	CHECK(rename("a-name-of-usual-length-5", "z") == 0);
	d = opendir(".");
	for (struct dirent *e; (e = readdir(d));)
		unlink(e->d_name);
	closedir(d);
	CHECK(chdir("/") == 0 && rmdir("/tmp/many") == 0);
}

/* As many as there may be, if root lets him: opened, inherited, closed. */
#define DESCRIPTORS (1 << 20)
#define OPENED      150000

static void descriptors(void *unused)
{
	(void)unused;
	int f = open("/dev/null", O_RDONLY);
	for (int i = 0; i < OPENED; i++)
		CHECK(dup(f) > f);
	CHECK(dup2(f, DESCRIPTORS - 1) == DESCRIPTORS - 1);
	CHECK(fcntl(f, F_DUPFD_CLOEXEC, DESCRIPTORS / 2) == DESCRIPTORS / 2);
	pid_t pid = fork();
	if (!pid) {
		CHECK(close_range((unsigned)f + 1, OPENED / 2, 0) == 0);
		CHECK(dup(f) == f + 1);
		CHECK(close_range((unsigned)f + 2, ~0u, CLOSE_RANGE_CLOEXEC) == 0);
		_exit(failures);
	}
	int status = -1;
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	hold();
}

static void records_locked(void *unused)
{
	(void)unused;
	int f = open("/tmp/locks", O_RDWR | O_CREAT, 0600);
	for (int i = 0; i < 4000; i++) {
		struct flock lock = {.l_type = F_WRLCK, .l_start = i * 2, .l_len = 1};
		if (fcntl(f, F_SETLK, &lock)) {
			CHECK(false);
			break;
		}
	}
	struct flock all = {.l_type = F_RDLCK};
	CHECK(fcntl(f, F_SETLK, &all) == 0);
	unlink("/tmp/locks");
}

/* Much at once through every way that copies. */
static void copies(void *unused)
{
	(void)unused;
	size_t bytes = 64 << 20;
	int f = open("/tmp/copied", O_RDWR | O_CREAT, 0600), n = open("/dev/null", O_WRONLY), p[2];
	char *from = anonymous(bytes, PROT_READ | PROT_WRITE);
	static struct iovec iov[IOV_MAX];
	memset(from, 1, bytes);
	for (int i = 0; i < IOV_MAX; i++)
		iov[i] = (struct iovec){from + i * 65536, 65536};
	CHECK(write(f, from, bytes) == (ssize_t)bytes);
	CHECK(pwritev(f, iov, IOV_MAX, 0) == (ssize_t)bytes);
	CHECK(pread(f, from, bytes, 0) == (ssize_t)bytes);
	CHECK(sendfile(n, f, NULL, bytes) >= 0);
	CHECK(pipe(p) == 0);
	CHECK(splice(f, &(off_t){0}, p[1], NULL, 65536, 0) > 0);
	CHECK(fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes) == 0);
	CHECK(ftruncate(f, 0) == 0);
	CHECK(unlink("/tmp/copied") == 0);
}

/* ---- memory ----------------------------------------------------------------------------- */

#define AREAS 65400 /* of 65,530; the program has some itself */

static void areas(void *unused)
{
	(void)unused;
	char *at = anonymous(AREAS * PAGE, PROT_READ | PROT_WRITE);
	for (long i = 0; i < AREAS; i += 2)
		CHECK(mprotect(at + i * (long)PAGE, PAGE, PROT_READ) == 0);
	char text[4096];
	int f = open("/proc/self/maps", O_RDONLY);
	while (read(f, text, sizeof(text)) > 0)
		continue;
	close(f);
	CHECK(mprotect(at, AREAS * PAGE, PROT_READ | PROT_WRITE) == 0);
	for (long i = 0; i < AREAS; i += 2)
		CHECK(mprotect(at + i * (long)PAGE, PAGE, PROT_READ) == 0);
	hold();
}

static void memory(void *unused)
{
	(void)unused;
	size_t bytes = 128 << 20;
	char *at = anonymous(bytes, PROT_READ | PROT_WRITE);
	memset(at, 1, bytes);
	pid_t pid = fork();
	if (!pid)
		_exit(0);
	CHECK(waitpid(pid, NULL, 0) == pid);
	CHECK(madvise(at, bytes, MADV_DONTNEED) == 0);
	CHECK(mlock(at, 4 << 20) == 0 || errno == EPERM || errno == ENOMEM);
	memset(at, 1, bytes);
	hold();
}

/* Much of the kernel's memory, given back all at once; the kernel reaps it some seconds later. */
static void make_files(int n)
{
	char name[40];
	CHECK(mkdir("/tmp/many", 0777) == 0 && chdir("/tmp/many") == 0);
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		CHECK(mknod(name, S_IFREG | 0600, 0) == 0);
	}
}

static void remove_files(int n)
{
	char name[40];
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		CHECK(unlink(name) == 0);
	}
	CHECK(chdir("/") == 0 && rmdir("/tmp/many") == 0);
}

static void reaped(void *unused)
{
	(void)unused;
	make_files(40000);
	remove_files(40000);
	sleep(6);
}

/* What is summed over all of memory, or all of the kernel's objects. */
static void statistics(void *unused)
{
	(void)unused;
	static const char *const files[] = {"/proc/meminfo", "/proc/vmstat", "/proc/quire",
					    "/proc/slabinfo", "/proc/stat"};
	struct sysinfo info;
	struct statfs fs;
	make_files(20000);
	CHECK(sysinfo(&info) == 0);
	CHECK(statfs("/tmp", &fs) == 0);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char text[4096];
		int f = open(files[i], O_RDONLY);
		while (f >= 0 && read(f, text, sizeof(text)) > 0)
			continue;
		close(f);
	}
	remove_files(20000);
}

/* ----------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*body)(void *);
} cases[] = {
    {"signals_dropped", signals_dropped},
    {"signals_exit", signals_exit},
    {"signals_taken", signals_taken},
    {"timers", timers},
    {"timers_due", timers_due},
    {"epoll_sets", epoll_sets},
    {"poll_waiters", poll_waiters},
    {"processes", processes},
    {"processes_nested", processes_nested},
    {"processes_orphaned", processes_orphaned},
    {"threads", threads},
    {"threads_killed", threads_killed},
    {"directory", directory},
    {"descriptors", descriptors},
    {"records_locked", records_locked},
    {"copies", copies},
    {"areas", areas},
    {"memory", memory},
    {"reaped", reaped},
    {"statistics", statistics},
};

/* ---- who stands beside --------------------------------------------------------------------- */

#define ROUNDS 20

/* The shortest of some rounds of the longest of some short calls. */
static long short_calls(void)
{
	long least = LONG_MAX;
	for (int i = 0; i < ROUNDS; i++) {
		struct itimerval later = {{0, 0}, {10000, 0}}, never = {{0, 0}, {0, 0}};
		int f = open("/dev/null", O_RDONLY), p[2];
		CHECK(f >= 0 && pipe(p) == 0);
		long begin = now_ns(), most = 0, at;
#define STEP(call)                                                                                 \
	begin = now_ns();                                                                          \
	(void)!(call);                                                                             \
	at = now_ns() - begin;                                                                     \
	most = at > most ? at : most
		STEP(close(f));
		STEP(close(p[0]));
		STEP(close(p[1]));
		STEP(setitimer(ITIMER_REAL, &later, NULL));
		STEP(setitimer(ITIMER_REAL, &never, NULL));
		STEP(kill(getpid(), 0));
		STEP(close(-1));
		least = most < least ? most : least;
	}
	return least;
}

/* All that the case has started is in its group, and ours when its parent has gone. */
static void stand_beside(pid_t pid, long before)
{
	long during = short_calls();
	long begin = now_ns();
	kill(-pid, SIGKILL);
	while (waitpid(-1, NULL, __WALL) > 0)
		continue;
	printf("gone %ld\n", now_ns() - begin);
	printf("bystander %ld %ld\n", before, during);
}

static int run(void (*body)(void *))
{
	struct rlimit signals = {SIGNALS, SIGNALS}, files = {DESCRIPTORS, DESCRIPTORS};
	int status = 0;
	CHECK(setrlimit(RLIMIT_SIGPENDING, &signals) == 0);
	CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0);
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	(void)short_calls(); /* once for what is only done once */
	long before = short_calls();
	pid_t pid = fork();
	if (!pid) {
		CHECK(setpgid(0, 0) == 0 && setgid(1000) == 0 && setuid(1000) == 0);
		body(NULL);
		fflush(stdout);
		_exit(failures != 0);
	}
	while (!shared->held && !waitpid(pid, &status, WNOHANG))
		usleep(1000);
	if (shared->held)
		stand_beside(pid, before);
	else
		failures += !WIFEXITED(status) || WEXITSTATUS(status);
	return failures != 0;
}

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (argc < 2)
			puts(cases[i].name);
		else if (!strcmp(argv[1], cases[i].name))
			return run(cases[i].body);
	}
	return argc >= 2;
}
