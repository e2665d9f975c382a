/* SPDX-License-Identifier: MIT */
/*
 * One user's load is not everybody's: who has used up what a user may have fails alone.
 * Each case lets uid 1000 take all of one kind, and then looks what uid 2000 and root
 * still get.
 */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>

#define HOG   1000
#define OTHER 2000

static void become(uid_t uid)
{
	CHECK(setgroups(0, NULL) == 0 && setgid(uid) == 0 && setuid(uid) == 0);
}

/* Do `body` as `uid` in a child: what it returned, 0 to 255. */
static int as_user(uid_t uid, int (*body)(void))
{
	int status;
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		failures = 0;
		if (uid)
			become(uid);
		int result = body();
		fflush(stdout);
		_exit(failures ? 255 : result);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* A hog that has taken all stays until it is killed. */
static pid_t hog(void (*body)(void))
{
	int ready[2];
	char c;
	CHECK(pipe(ready) == 0);
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		become(HOG);
		body();
		fflush(stdout);
		CHECK(write(ready[1], failures ? "x" : "k", 1) == 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	CHECK(read(ready[0], &c, 1) == 1 && c == 'k');
	close(ready[0]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, NULL, 0) == pid);
}

static void many_files(void)
{
	struct rlimit r;
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

/* ---- queued signals ---- */

#define QUEUED 500

static int queue_one(void)
{
	union sigval value = {0};
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return sigqueue(getpid(), SIGRTMIN + 1, value) ? errno : 0;
}

static void queue_all(void)
{
	struct rlimit r = {QUEUED, QUEUED};
	int n = 0;
	CHECK(setrlimit(RLIMIT_SIGPENDING, &r) == 0);
	while (!queue_one())
		n++;
	CHECK(n == QUEUED && errno == EAGAIN);
}

static int queue_with_a_limit(void)
{
	struct rlimit r = {QUEUED, QUEUED};
	CHECK(setrlimit(RLIMIT_SIGPENDING, &r) == 0);
	return queue_one();
}

static void signals(void *unused)
{
	(void)unused;
	pid_t pid = hog(queue_all);
	CHECK(as_user(HOG, queue_with_a_limit) == EAGAIN); /* another process of his */
	CHECK(as_user(OTHER, queue_with_a_limit) == 0);
	CHECK(as_user(0, queue_with_a_limit) == 0);
	end(pid);
	CHECK(as_user(HOG, queue_with_a_limit) == 0);
}

/* ---- pipes ---- */

#define PIPE_SOFT 16384

static int grow_one(void)
{
	int end[2];
	CHECK(pipe(end) == 0);
	return fcntl(end[1], F_SETPIPE_SZ, 1 << 20) < 0 ? errno : 0;
}

static void grow_all(void)
{
	int end[2], n = 0;
	many_files();
	do
		CHECK(pipe(end) == 0);
	while (fcntl(end[1], F_SETPIPE_SZ, 1 << 20) > 0 && ++n < 100);
	CHECK(n == PIPE_SOFT / 256 && errno == EPERM);
	/* More can be had, at last small ones. */
	for (n = 0; n < 300; n++)
		CHECK(pipe(end) == 0);
	CHECK(fcntl(end[0], F_GETPIPE_SZ) == (int)(2 * PAGE));
	CHECK(write(end[1], "x", 1) == 1);
}

static void pipes(void *unused)
{
	(void)unused;
	pid_t pid = hog(grow_all);
	CHECK(as_user(HOG, grow_one) == EPERM);
	CHECK(as_user(OTHER, grow_one) == 0);
	CHECK(as_user(0, grow_one) == 0);
	end(pid);
	CHECK(as_user(HOG, grow_one) == 0);
}

/* ---- watches ---- */

static int watch_one(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	int set = epoll_create1(0), file = eventfd(0, 0);
	CHECK(set >= 0 && file >= 0);
	return epoll_ctl(set, EPOLL_CTL_ADD, file, &event) ? errno : 0;
}

static void watch_all(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	static int file[1000];
	bool full = false;
	many_files();
	for (int i = 0; i < 1000; i++)
		CHECK((file[i] = eventfd(0, 0)) >= 0);
	for (int s = 0; s < 2000 && !full; s++) {
		int set = epoll_create1(0);
		for (int i = 0; i < 1000 && !full; i++)
			full = epoll_ctl(set, EPOLL_CTL_ADD, file[i], &event) != 0;
	}
	CHECK(full && errno == ENOSPC);
}

static void watches(void *unused)
{
	(void)unused;
	pid_t pid = hog(watch_all);
	CHECK(as_user(HOG, watch_one) == ENOSPC);
	CHECK(as_user(OTHER, watch_one) == 0);
	end(pid);
	CHECK(as_user(HOG, watch_one) == 0);
}

/* ---- who ends when memory has run out ---- */

static int score_of(pid_t pid)
{
	char name[64], text[16] = "";
	snprintf(name, sizeof(name), "/proc/%d/oom_score", (int)pid);
	int fd = open(name, O_RDONLY);
	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return atoi(text);
}

static void set_adjust(const char *value)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);
	CHECK(fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value));
	close(fd);
}

static void scores(void *unused)
{
	(void)unused;
	int idle = score_of(getpid());
	CHECK(score_of(1) == 0 && idle >= 666 && idle < 680);
	size_t bytes = 128 << 20;
	memset(anonymous(bytes, PROT_READ | PROT_WRITE), 1, bytes);
	CHECK(score_of(getpid()) > idle + 50);
	set_adjust("1000");
	CHECK(score_of(getpid()) > 1300);
	set_adjust("-1000");
	CHECK(score_of(getpid()) == 0);
}

/* ---- what nobody has any more comes back by itself ---- */

static long free_kib(void)
{
	char line[128];
	long kib = -1;
	FILE *f = fopen("/proc/meminfo", "r");
	while (f && fgets(line, sizeof(line), f) && kib < 0)
		(void)!sscanf(line, "MemFree: %ld kB", &kib);
	if (f)
		fclose(f);
	return kib;
}

static void fill_pipes(void *unused)
{
	(void)unused;
	static char block[1 << 20];
	many_files();
	for (int i = 0, end[2]; i < 60; i++) {
		CHECK(pipe(end) == 0 && fcntl(end[1], F_SETPIPE_SZ, sizeof(block)) > 0);
		CHECK(write(end[1], block, sizeof(block)) == (ssize_t)sizeof(block));
	}
}

static void idle_memory(void *unused)
{
	(void)unused;
	long before = free_kib(), seconds = 0;
	CHECK(in_child(fill_pipes, NULL) == 0);
	while (free_kib() < before - 8192 && seconds++ < 10)
		sleep(1);
	CHECK(free_kib() >= before - 8192);
}

/* ---- forks that a limit refuses are cheap: nobody gives anything back for them ---- */

/* How often translations were flushed since boot; 0 where the kernel does not say. */
static long flushes(void)
{
	char line[128];
	long n = 0;
	FILE *f = fopen("/proc/quire", "r");
	while (f && fgets(line, sizeof(line), f) && !sscanf(line, "flushes %ld", &n))
		continue;
	if (f)
		fclose(f);
	return n;
}

static void refused_forks(void *unused)
{
	(void)unused;
	/* Most of what may be promised, where that has a limit. */
	for (int i = 0; i < 200; i++)
		if (mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0) == MAP_FAILED)
			break;
	long before = flushes();
	for (int i = 0; i < 100; i++) {
		pid_t pid = fork();
		if (!pid)
			_exit(0);
		CHECK(pid > 0 || errno == ENOMEM);
		CHECK(pid < 0 || waitpid(pid, NULL, 0) == pid);
	}
	CHECK(flushes() - before < 50);
}

static const struct {
	const char *name;
	void (*body)(void *);
} cases[] = {
    {"signals", signals},         {"pipes", pipes},
    {"watches", watches},         {"scores", scores},
    {"idle_memory", idle_memory}, {"refused_forks", refused_forks},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (argc < 2 || !strcmp(argv[1], cases[i].name))
			run_case(cases[i].name, cases[i].body);
	return failures != 0;
}
