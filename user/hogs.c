/* SPDX-License-Identifier: MIT */
/*
 * hogs [KIND|all [TIMES]]: who ends when somebody takes all memory, of whatever kind?
 *
 * User 1000 takes one kind without end, until he is ended or refused. User 2000 holds
 * 12 MiB meanwhile, and wants 4 MiB more afterwards: he must live, and get them.
 */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#define HOG       1000
#define BYSTANDER 2000
#define MIB       (1ul << 20)
#define PLACE     "/tmp/hogs"

/* What the test itself cannot do. */
__attribute__((noreturn)) static void broken(const char *what)
{
	printf("    %s: %s\n", what, strerrorname_np(errno));
	exit(2);
}

static void become(uid_t uid)
{
	if (setgroups(0, NULL) || setgid(uid) || setuid(uid))
		_exit(3);
}

/* ---- hogs: each returns when it is refused ---------------------------------------------- */

static void memory(void)
{
	for (;;) {
		char *p = mmap(NULL, MIB, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED)
			return;
		for (size_t i = 0; i < MIB; i += PAGE)
			p[i] = 1;
	}
}

static void spared(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);
	if (write(fd, "-1000", 5) >= 0)
		printf("    may be spared\n");
	memory();
}

static const char *long_name(long i)
{
	static char name[256];
	memset(name, 'a', 200);
	sprintf(name + 180, "%ld", i);
	return name;
}

static void files(void)
{
	for (long i = 0;; i++) {
		int fd = open(long_name(i), O_CREAT | O_WRONLY, 0600);
		if (fd < 0)
			return;
		close(fd);
	}
}

static void links(void)
{
	char text[4000], name[32];
	memset(text, 'x', 3990);
	text[3990] = 0;
	for (long i = 0;; i++) {
		sprintf(name, "%ld", i);
		if (symlink(text, name))
			return;
	}
}

static void many_descriptors(void)
{
	struct rlimit r;
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

static void texts(void)
{
	char *p =
	    mmap(NULL, 65000 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char b[10];
	many_descriptors();
	for (size_t i = 0; i < 60000; i += 2)
		if (mprotect(p + i * PAGE, PAGE, PROT_READ))
			return;
	for (int fd;;)
		if ((fd = open("/proc/self/smaps", O_RDONLY)) < 0 || read(fd, b, 10) < 0)
			return;
}

static void watches(void)
{
	static int file[2000];
	many_descriptors();
	for (int i = 0; i < 2000; i++)
		if ((file[i] = eventfd(0, 0)) < 0)
			return;
	for (;;) {
		struct epoll_event e = {0};
		int set = epoll_create1(0);
		for (int i = 0; i < 2000; i++)
			if (set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, file[i], &e))
				return;
	}
}

static void pipes(void)
{
	static char block[MIB];
	many_descriptors();
	for (int end[2];;) {
		if (pipe2(end, O_NONBLOCK))
			return;
		(void)fcntl(end[1], F_SETPIPE_SZ, MIB);
		(void)!write(end[1], block, MIB);
	}
}

static void locks(void)
{
	many_descriptors();
	for (long i = 0, fd = -1;; i++) {
		if (i % 100 == 0) /* each is compared with all others of a file */
			fd = open(long_name(i), O_CREAT | O_RDWR, 0600);
		struct flock l = {
		    .l_type = i & 1 ? F_RDLCK : F_WRLCK, .l_start = 1000000000l - i, .l_len = 1};
		if (fcntl((int)fd, F_SETLK, &l))
			return;
	}
}

static void memory_files(void)
{
	static char block[MIB];
	many_descriptors();
	for (;;) {
		int fd = memfd_create("hog", 0);
		if (fd < 0 || write(fd, block, MIB) < (ssize_t)MIB)
			return;
	}
}

/* Eight processes with page tables and nothing else, until each has ended. */
static void tables(void)
{
	for (int k = 0; k < 8; k++) {
		if (fork())
			continue;
		for (uintptr_t i = 1;; i++) {
			char *p =
			    mmap((void *)(i << 30), 1ul << 30, PROT_READ,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
				 -1, 0);
			if (p == MAP_FAILED && errno == EEXIST)
				continue;
			if (p == MAP_FAILED)
				_exit(0);
			for (size_t at = 0; at < 1ul << 30; at += 2 << 20)
				(void)*(volatile char *)(p + at);
		}
	}
	while (wait(NULL) > 0)
		continue;
}

static void *sleep_on(void *unused)
{
	for (;;)
		pause();
	return unused;
}

/* Threads until there are no more, with stacks that take little of what may be promised. */
static void many_threads(void *(*body)(void *))
{
	pthread_attr_t a;
	pthread_t t;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 16384);
	while (!pthread_create(&t, &a, body, NULL))
		continue;
}

static void threads(void)
{
	many_threads(sleep_on);
}

static void signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	while (!sigqueue(getpid(), SIGRTMIN + 1, (union sigval){0}))
		continue;
}

static void timers(void)
{
	struct sigevent e = {.sigev_notify = SIGEV_NONE};
	timer_t t;
	while (!timer_create(CLOCK_MONOTONIC, &e, &t))
		continue;
}

static struct pollfd *polled;
static nfds_t polled_count;

static void *poll_on(void *unused)
{
	for (;;)
		poll(polled, polled_count, -1);
	return unused;
}

static void polls(void)
{
	struct rlimit r;
	int fd = eventfd(0, 0);
	many_descriptors();
	getrlimit(RLIMIT_NOFILE, &r);
	polled_count = r.rlim_cur < 65536 ? r.rlim_cur : 65536;
	polled = calloc(polled_count, sizeof(*polled));
	for (nfds_t i = 0; i < polled_count; i++)
		polled[i] = (struct pollfd){.fd = fd, .events = POLLIN};
	many_threads(poll_on);
}

static void events(void)
{
	many_descriptors();
	while (eventfd(0, 0) >= 0)
		continue;
}

/* Files that have lost their names, but are open. */
static void deleted(void)
{
	many_descriptors();
	for (long i = 0;; i++) {
		const char *name = long_name(i);
		int fd = open(name, O_CREAT | O_RDWR, 0600);
		if (fd < 0 || unlink(name))
			return;
		char *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
		if (p == MAP_FAILED)
			return;
	}
}

/* As many areas as there may be, an object for each. */
static void objects(void)
{
	for (;;)
		if (mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			 0) == MAP_FAILED)
			return;
}

static const struct kind {
	const char *name;
	void (*take)(void);
} kinds[] = {
    {"memory", memory},   {"spared", spared},   {"files", files},
    {"links", links},     {"texts", texts},     {"watches", watches},
    {"pipes", pipes},     {"locks", locks},     {"memory_files", memory_files},
    {"tables", tables},   {"threads", threads}, {"signals", signals},
    {"timers", timers},   {"polls", polls},     {"events", events},
    {"deleted", deleted}, {"objects", objects},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* ---- one run ------------------------------------------------------------------------------ */

struct other {
	pid_t pid;
	int says, told; /* pipes from it and to it */
};

static struct other start(uid_t uid, void (*body)(int says, int told, const struct kind *k),
			  const struct kind *k)
{
	int up[2], down[2];
	if (pipe(up) || pipe(down))
		broken("pipe");
	fflush(stdout);
	pid_t pid = fork();
	if (pid < 0)
		broken("fork");
	if (!pid) {
		close(up[0]);
		close(down[1]);
		setpgid(0, 0);
		become(uid);
		body(up[1], down[0], k);
		fflush(stdout);
		_exit(0);
	}
	setpgid(pid, pid);
	close(up[1]);
	close(down[0]);
	return (struct other){pid, up[0], down[1]};
}

static bool heard(int from)
{
	char c;
	return read(from, &c, 1) == 1;
}

static void say(int to)
{
	if (write(to, "x", 1) != 1)
		_exit(4);
}

static void touch(size_t bytes)
{
	char *p = anonymous(bytes, PROT_READ | PROT_WRITE);
	for (size_t i = 0; i < bytes; i += PAGE)
		p[i] = 1;
}

static void stand_by(int says, int told, const struct kind *k)
{
	(void)k;
	touch(12 * MIB);
	say(says);
	if (!heard(told))
		broken("the other is told nothing");
	touch(4 * MIB);
	say(says);
	if (!heard(told))
		broken("the other is told no end");
}

static void take_all(int says, int told, const struct kind *k)
{
	if (chdir(PLACE))
		_exit(5);
	k->take();
	fflush(stdout);
	say(says);
	heard(told);
}

static int end(struct other o)
{
	int status = -1;
	(void)!write(o.told, "x", 1); /* others may hold this end too */
	close(o.told);
	while (waitpid(o.pid, &status, 0) < 0 && errno == EINTR)
		continue;
	kill(-o.pid, SIGKILL); /* what it has left */
	close(o.says);
	return status;
}

/* True: the hog was refused and lives; false: it was ended. */
static bool run_once(const struct kind *k, int *lived)
{
	if (mkdir(PLACE, 0700) || chown(PLACE, HOG, HOG))
		broken("mkdir");
	struct other by = start(BYSTANDER, stand_by, k);
	bool ready = heard(by.says);
	struct other hog = start(HOG, take_all, k);
	bool refused = heard(hog.says);
	ready = ready && write(by.told, "x", 1) == 1 && heard(by.says);
	int status = end(by);
	if (status || !ready)
		printf("    the other, %s: %s\n", ready ? "ready" : "not ready", outcome(status));
	*lived += status == 0 && ready;
	kill(-hog.pid, SIGKILL);
	end(hog);
	status = system("rm -rf " PLACE);
	if (status)
		broken(status == -1 ? "system" : outcome(status));
	return refused;
}

static void run_kind(const struct kind *k, int times)
{
	int refused = 0, lived = 0;
	for (int i = 0; i < times; i++)
		refused += run_once(k, &lived);
	printf("%s: ended %d times, refused %d times; the other lives %d times\n", k->name,
	       times - refused, refused, lived);
	failures += lived < times;
}

int main(int argc, char **argv)
{
	bool all = argc < 2 || !strcmp(argv[1], "all");
	int times = argc > 2 ? atoi(argv[2]) : 1;
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	umask(022);
	for (size_t i = 0; i < KINDS; i++)
		if (all || !strcmp(argv[1], kinds[i].name))
			run_kind(&kinds[i], times);
	return failures != 0;
}
