/* SPDX-License-Identifier: MIT */
/*
 * What the kernel tells about itself, and to whom: the log, the addresses of its
 * functions, and no address of the kernel anywhere else, neither in /proc nor in what
 * calls write out. Each case runs in a child of its own; the program prints one line
 * per case.
 */
#define _GNU_SOURCE
#pragma GCC diagnostic ignored "-Wunused-parameter" /* cases that need no argument */
#include "catch.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/epoll.h>
#include <sys/klog.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>

static void become_user(void)
{
	CHECK(setgroups(0, NULL) == 0 && setgid(1000) == 0 && setuid(1000) == 0);
}

/* 0, or errno. */
static int set(const char *name, const char *value)
{
	char path[100];
	snprintf(path, sizeof(path), "/proc/sys/kernel/%s", name);
	int fd = open(path, O_WRONLY);
	int error = fd < 0 || write(fd, value, strlen(value)) < 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
	return error;
}

static bool is(const char *name, const char *value)
{
	char path[100], text[20] = "";
	snprintf(path, sizeof(path), "/proc/sys/kernel/%s", name);
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	return n > 0 && strcmp(text, value) == 0;
}

static void settings(void *unused)
{
	CHECK(is("dmesg_restrict", "1\n"));
	CHECK(set("dmesg_restrict", "2") == EINVAL && set("dmesg_restrict", "-1") == EINVAL);
	CHECK(set("dmesg_restrict", "x") == EINVAL && set("kptr_restrict", "3") == EINVAL);
	for (char value[] = "0\n"; value[0] <= '2'; value[0]++)
		CHECK(set("kptr_restrict", value) == 0 && is("kptr_restrict", value));
	CHECK(set("kptr_restrict", "1") == 0);
	become_user();
	CHECK(set("dmesg_restrict", "0") == EACCES && set("kptr_restrict", "0") == EACCES);
}

enum { LOG_ALL = 3, LOG_CLEARING = 4, LOG_ERASE = 5, LOG_ROOM = 10 };
static char room[1 << 20];

static int log_call(int action)
{
	return klogctl(action, room, sizeof(room)) < 0 ? errno : 0;
}

static int open_error(const char *path, int how)
{
	int fd = open(path, how | O_NONBLOCK);
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static void the_log(void *unused)
{
	CHECK(log_call(LOG_ALL) == 0 && log_call(LOG_ROOM) == 0);
	CHECK(open_error("/dev/kmsg", O_RDONLY) == 0);
	become_user();
	CHECK(log_call(LOG_ALL) == EPERM && log_call(LOG_ROOM) == EPERM);
	CHECK(log_call(LOG_CLEARING) == EPERM && log_call(LOG_ERASE) == EPERM);
	CHECK(open_error("/dev/kmsg", O_RDONLY) == EPERM);
	CHECK(open_error("/dev/kmsg", O_WRONLY) == EACCES);
	CHECK(open_error("/proc/kmsg", O_RDONLY) == EACCES);
}

static void the_log_for_all(void *unused)
{
	CHECK(set("dmesg_restrict", "0") == 0);
	become_user();
	CHECK(log_call(LOG_ALL) == 0 && log_call(LOG_ROOM) == 0);
	CHECK(log_call(LOG_CLEARING) == EPERM && log_call(LOG_ERASE) == EPERM);
	CHECK(open_error("/dev/kmsg", O_RDONLY) == 0);
}

static void log_as_before(void *unused)
{
	CHECK(set("dmesg_restrict", "1") == 0);
}

/* How many of the first lines have an address in the upper half. */
static int symbols_of(int fd)
{
	FILE *file = fdopen(fd, "r");
	char line[500];
	int shown = 0;
	for (int i = 0; i < 3000 && fgets(line, sizeof(line), file); i++)
		shown += strtoull(line, NULL, 16) >> 47 != 0;
	fclose(file);
	return shown;
}

static int symbols_shown(void)
{
	return symbols_of(open("/proc/kallsyms", O_RDONLY));
}

static void symbols(void *unused)
{
	CHECK(set("kptr_restrict", "1") == 0 && symbols_shown() > 100);
	CHECK(set("kptr_restrict", "2") == 0 && symbols_shown() == 0);
	CHECK(set("kptr_restrict", "0") == 0 && symbols_shown() > 100);
	CHECK(set("kptr_restrict", "1") == 0);
	int before = open("/proc/kallsyms", O_RDONLY);
	become_user();
	CHECK(symbols_shown() == 0);
	CHECK(symbols_of(before) > 100); /* who opened it could see them */
}

/* ---- nothing elsewhere ---------------------------------------------------------------- */

/* In the upper half, but no small negative number, nor -1 in the upper of two words. */
static bool looks_like_kernel(uint64_t value)
{
	return value >= 0xffff800000000000 && value < 0xffffffffff000000 &&
	       value != 0xfffffffffeffffff /* Linux's limit of shared memory */;
}

/* Sets of signals and capabilities are words of many ones. */
static bool is_set(const char *line)
{
	return strncmp(line, "Sig", 3) == 0 || strncmp(line, "Shd", 3) == 0 ||
	       strncmp(line, "Cap", 3) == 0;
}

static bool line_tells(const char *line)
{
	for (const char *p = line; *p;) {
		char *end;
		size_t digits = strspn(p, "0123456789abcdefABCDEF");
		if (digits == 16 && looks_like_kernel(strtoull(p, &end, 16)))
			return true;
		if (digits == 20 && looks_like_kernel(strtoull(p, &end, 10)))
			return true;
		p += digits ? digits : 1;
	}
	return false;
}

static int files_read;

static void read_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK);
	if (fd < 0)
		return;
	FILE *file = fdopen(fd, "r");
	char *line = NULL;
	size_t bytes = 0;
	for (int i = 0; i < 2000 && getline(&line, &bytes, file) > 0; i++)
		if (!is_set(line) && line_tells(line)) {
			printf("    %s: %s", path, line);
			failures++;
			break;
		}
	free(line);
	fclose(file);
	files_read++;
}

static void walk(const char *path, int depth)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	if (!dir || depth > 6)
		return;
	while ((e = readdir(dir))) {
		char deeper[PATH_MAX];
		struct stat st;
		if (e->d_name[0] == '.')
			continue;
		snprintf(deeper, sizeof(deeper), "%s/%s", path, e->d_name);
		if (lstat(deeper, &st))
			continue;
		if (S_ISDIR(st.st_mode))
			walk(deeper, depth + 1);
		else if (S_ISREG(st.st_mode) && strcmp(e->d_name, "pagemap"))
			read_file(deeper);
	}
	closedir(dir);
}

static void proc_for_user(void *unused)
{
	become_user();
	walk("/proc", 0);
	CHECK(files_read > 60);
}

static uint64_t out[4096];

static void fill(void)
{
	memset(out, 0x55, sizeof(out));
}

static void look(const char *call, long result)
{
	if (result < 0)
		printf("    %s: %s\n", call, strerrorname_np(errno)), failures++;
	for (size_t i = 0; i < sizeof(out) / 8; i++)
		if (looks_like_kernel(out[i])) {
			printf("    %s: an address of the kernel at byte %zu\n", call, i * 8);
			failures++;
			return;
		}
}

#define LOOK(call)                                                                                 \
	do {                                                                                       \
		fill();                                                                            \
		look(#call, (long)(call));                                                         \
	} while (0)

/* What calls write out, with the gaps between. */
static void structures(void *unused)
{
	struct itimerspec timer_in = {.it_value = {100, 0}};
	struct sigevent none = {.sigev_notify = SIGEV_NONE};
	struct epoll_event ready = {.events = EPOLLIN};
	int pipes[2], timer, status;
	CHECK(pipe(pipes) == 0 && write(pipes[1], "x", 1) == 1);
	int epoll = epoll_create1(0), root = open("/", O_RDONLY);
	CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, pipes[0], &ready) == 0);
	LOOK(syscall(SYS_fstat, pipes[0], out));
	LOOK(syscall(SYS_newfstatat, AT_FDCWD, "/proc/self/maps", out, 0));
	LOOK(syscall(SYS_statx, AT_FDCWD, "/", 0, 0x7ff, out));
	LOOK(syscall(SYS_statfs, "/proc", out));
	LOOK(syscall(SYS_uname, out));
	LOOK(syscall(SYS_sysinfo, out));
	LOOK(syscall(SYS_getrusage, RUSAGE_SELF, out));
	LOOK(syscall(SYS_times, out));
	LOOK(syscall(SYS_getitimer, ITIMER_REAL, out));
	LOOK(syscall(SYS_gettimeofday, out, out + 8));
	LOOK(syscall(SYS_clock_gettime, CLOCK_REALTIME, out));
	LOOK(syscall(SYS_getdents64, root, out, sizeof(out)));
	LOOK(syscall(SYS_epoll_wait, epoll, out, 8, 0));
	LOOK(syscall(SYS_sigaltstack, NULL, out));
	LOOK(syscall(SYS_rt_sigaction, SIGUSR1, NULL, out, 8));
	LOOK(syscall(SYS_rt_sigpending, out, 8));
	LOOK(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, out));
	LOOK(syscall(SYS_sched_getparam, 0, out));
	LOOK(syscall(SYS_sched_getaffinity, 0, 128, out));
	LOOK(syscall(SYS_get_robust_list, 0, out, out + 8));
	LOOK(syscall(SYS_timer_create, CLOCK_MONOTONIC, &none, &timer));
	CHECK(syscall(SYS_timer_settime, timer, 0, &timer_in, NULL) == 0);
	LOOK(syscall(SYS_timer_gettime, timer, out));
	if (fork() == 0)
		_exit(3);
	LOOK(syscall(SYS_waitid, P_ALL, 0, out, WEXITED | WNOWAIT, out + 100));
	LOOK(syscall(SYS_wait4, -1, &status, 0, out));
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGUSR2);
	LOOK(syscall(SYS_rt_sigtimedwait, &set, out, NULL, 8));
}

static void look_at_frame(int number, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	fill();
	memcpy(out, info, sizeof(*info));
	memcpy(out + 100, uc, 304); /* as the kernel has it */
	memcpy(out + 200, uc->uc_mcontext.fpregs, 512);
	look(sigabbrev_np(number), 0);
	if (number == SIGSEGV)
		_exit(failures != 0);
}

static void signal_frames(void *unused)
{
	struct sigaction action = {.sa_sigaction = look_at_frame, .sa_flags = SA_SIGINFO};
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	kill(getpid(), SIGUSR1);
	raise(SIGUSR1);
	*(volatile char *)8 = 1;
}

int main(void)
{
	run_case("settings", settings);
	run_case("the_log", the_log);
	run_case("the_log_for_all", the_log_for_all);
	run_case("log_as_before", log_as_before);
	run_case("symbols", symbols);
	run_case("proc_for_user", proc_for_user);
	run_case("structures", structures);
	run_case("signal_frames", signal_frames);
	return failures != 0;
}
