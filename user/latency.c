/* SPDX-License-Identifier: MIT */
/*
 * latency CASE: what makes a kernel hold a CPU the longest, case by case.
 *
 * Each case is done by an ordinary user (uid 1000) in processes of its own, which the
 * kernel then has to end as well. How long interrupts and preemption were off
 * meanwhile, the kernel measures itself (/proc/quire of a test build); this program
 * only provokes. Without a CASE: their names.
 */
#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>

#define LOTS 1000

/* ---- signals ------------------------------------------------------------------- */

static unsigned queue_all(int number)
{
	unsigned n = 0;
	while (n < 70000 && !sigqueue(getpid(), number, (union sigval){0}))
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
	CHECK(queue_all(SIGRTMIN) > LOTS);
	signal(SIGRTMIN, SIG_IGN);
}

static void signals_exit(void *unused)
{
	(void)unused;
	block_realtime();
	CHECK(queue_all(SIGRTMIN) > LOTS);
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
	CHECK(queue_all(SIGRTMIN + 2) > LOTS);
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
	for (int i = 0; i < 1024; i++) {
		struct sigevent event = {.sigev_notify = SIGEV_NONE};
		timer_t timer;
		struct itimerspec later = {{0, 0}, {100000 + (i * 7919) % 1024, 0}};
		if (timer_create(CLOCK_MONOTONIC, &event, &timer) ||
		    timer_settime(timer, 0, &later, NULL))
			break; /* RLIMIT_SIGPENDING counts them, for all processes of a user */
	}
	*(volatile char *)at = 1;
	pause();
}

static void timers(void *unused)
{
	(void)unused;
	char *done = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid[10];
	for (int k = 0; k < 10; k++) {
		pid[k] = fork();
		if (!pid[k])
			arm_many(done + k);
	}
	for (int k = 0; k < 10; k++)
		while (!((volatile char *)done)[k])
			usleep(1000);
	for (int k = 0; k < 50; k++)
		usleep(100);
	for (int k = 0; k < 10; k++)
		kill(pid[k], SIGKILL);
	for (int k = 0; k < 10; k++)
		CHECK(waitpid(pid[k], NULL, 0) == pid[k]);
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

static int watch_all(int sets, int files)
{
	struct rlimit limit = {4096, 4096};
	int first = -1, p[2];
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	CHECK(pipe(p) == 0);
	for (int i = 0; i < files; i++) {
		int fd = dup(p[0]);
		first = first < 0 ? fd : first;
	}
	for (int s = 0; s < sets; s++) {
		int e = epoll_create1(0);
		CHECK(e >= 0);
		for (int i = 0; i < files; i++) {
			struct epoll_event event = {.events = EPOLLIN};
			if (epoll_ctl(e, EPOLL_CTL_ADD, first + i, &event)) {
				CHECK(false);
				return -1;
			}
		}
	}
	return p[1];
}

/* Many sets that watch many files, and a thread that waits for one of them. */
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
	int writer = watch_all(200, 200);
	CHECK(pthread_create(&thread, NULL, wait_on_set, (void *)(intptr_t)(writer + 201)) == 0);
	usleep(20000);
	close(open("/dev/null", O_RDONLY));
	CHECK(write(writer, "x", 1) == 1);
	pthread_join(thread, NULL);
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
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, NULL, 0) == pid);
}

/* ---- files --------------------------------------------------------------------------- */

static void directory(void *unused)
{
	(void)unused;
	char name[40];
	CHECK(mkdir("/tmp/many", 0777) == 0 && chdir("/tmp/many") == 0);
	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "a-name-of-usual-length-%d", i);
		if (mknod(name, S_IFREG | 0600, 0)) {
			CHECK(false);
			break;
		}
	}
	DIR *d = opendir(".");
	int n = 0;
	while (d && readdir(d))
		n++;
	closedir(d);
	CHECK(n == 10002);
	CHECK(rename("a-name-of-usual-length-5", "z") == 0);
	d = opendir(".");
	for (struct dirent *e; (e = readdir(d));)
		unlink(e->d_name);
	closedir(d);
	CHECK(chdir("/") == 0 && rmdir("/tmp/many") == 0);
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

static void areas(void *unused)
{
	(void)unused;
	char *at = anonymous(60000 * PAGE, PROT_READ | PROT_WRITE);
	for (long i = 0; i < 60000; i += 2)
		CHECK(mprotect(at + i * (long)PAGE, PAGE, PROT_READ) == 0);
	char text[4096];
	int f = open("/proc/self/maps", O_RDONLY);
	while (read(f, text, sizeof(text)) > 0)
		continue;
	close(f);
	CHECK(mprotect(at, 60000 * PAGE, PROT_READ | PROT_WRITE) == 0);
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
    {"processes_orphaned", processes_orphaned},
    {"threads", threads},
    {"threads_killed", threads_killed},
    {"directory", directory},
    {"records_locked", records_locked},
    {"copies", copies},
    {"areas", areas},
    {"memory", memory},
    {"reaped", reaped},
    {"statistics", statistics},
};

static void as_user(void *body)
{
	CHECK(setgid(1000) == 0 && setuid(1000) == 0);
	((void (*)(void *))body)(NULL);
}

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (argc < 2)
			puts(cases[i].name);
		else if (!strcmp(argv[1], cases[i].name))
			return in_child(as_user, (void *)cases[i].body) != 0;
	}
	return argc >= 2;
}
