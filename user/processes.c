/* SPDX-License-Identifier: MIT */
/*
 * Processes: making, waiting for and replacing them (their groups, limits and clocks:
 * user/sessions.c). Each case runs in a child of its own.
 */
#define _GNU_SOURCE
#pragma GCC diagnostic ignored "-Wunused-parameter" /* cases that need no argument */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>

extern char **environ;

static void sleep_ms(int ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
	nanosleep(&ts, NULL);
}

/* ---- fork and wait ---------------------------------------------------------------- */

static void fork_copies(void *unused)
{
	static volatile int value = 1;
	volatile int local = 2;
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		CHECK(value == 1 && local == 2);
		value = 10;
		local = 20;
		_exit(failures);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CHECK(value == 1 && local == 2);
	CHECK(waitpid(pid, &status, 0) == -1 && errno == ECHILD);
}

static void wait_choices(void *unused)
{
	int status;
	siginfo_t info;
	int told[2];
	char byte;
	CHECK(pipe(told) == 0);
	pid_t a = fork();
	if (a == 0)
		_exit(read(told[0], &byte, 1) == 1 ? 1 : 9);
	pid_t b = fork();
	if (b == 0)
		_exit(2);
	CHECK(waitpid(a, &status, WNOHANG) == 0);
	CHECK(waitpid(b, &status, 0) == b && WEXITSTATUS(status) == 2);
	CHECK(waitpid(a, &status, WNOHANG) == 0);
	CHECK(write(told[1], "x", 1) == 1);
	CHECK(waitid(P_PID, (id_t)a, &info, WEXITED | WNOWAIT) == 0);
	CHECK(info.si_pid == a && info.si_code == CLD_EXITED && info.si_status == 1);
	CHECK(waitid(P_PID, (id_t)a, &info, WEXITED) == 0 && info.si_status == 1);
	CHECK(wait(&status) == -1 && errno == ECHILD);
	CHECK(waitid(P_PID, (id_t)a, &info, 0) == -1 && errno == EINVAL);
	CHECK(waitpid(a, &status, 0x100) == -1 && errno == EINVAL);
	CHECK(waitid(P_ALL, 0, &info, WEXITED | WNOHANG) == -1 && errno == ECHILD);
}

static void wait_usage(void *unused)
{
	struct rusage usage;
	struct tms before, after;
	int status;
	times(&before);
	pid_t pid = fork();
	if (pid == 0) {
		for (volatile long i = 0; i < 60000000; i++)
			continue;
		_exit(0);
	}
	CHECK(wait4(pid, &status, 0, &usage) == pid);
	CHECK(usage.ru_utime.tv_sec > 0 || usage.ru_utime.tv_usec > 1000);
	CHECK(usage.ru_maxrss > 0 && usage.ru_minflt > 0);
	times(&after);
	CHECK(after.tms_cutime >= before.tms_cutime);
	CHECK(getrusage(RUSAGE_CHILDREN, &usage) == 0 &&
	      (usage.ru_utime.tv_sec > 0 || usage.ru_utime.tv_usec > 1000));
	CHECK(getrusage(17, &usage) == -1 && errno == EINVAL);
}

static void orphans_go_to_init(void *unused)
{
	int ends[2];
	pid_t parent = 0;
	CHECK(pipe(ends) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		pid_t was = getpid();
		if (fork() == 0) {
			while (getppid() == was)
				sleep_ms(5);
			parent = getppid();
			_exit(write(ends[1], &parent, sizeof(parent)) != sizeof(parent));
		}
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	CHECK(read(ends[0], &parent, sizeof(parent)) == sizeof(parent));
	CHECK(parent == 1);
}

static void subreaper(void *unused)
{
	int status;
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		if (fork() == 0) {
			sleep_ms(50);
			_exit(23);
		}
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(wait(&status) > 0 && WEXITSTATUS(status) == 23);
}

#define GIVEN 300

/* A parent of many ends: a third have ended, a third end meanwhile, a third get their
 * death signal; the subreaper, which waits all the time, sees each once. */
static void many_given_away(void *unused)
{
	int ready[2], status, exits = 0, terms = 0, total = 0;
	char byte = 0;
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && pipe(ready) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		pid_t was = getpid();
		for (int i = 0; i < GIVEN; i++) {
			if (fork())
				continue;
			if (i % 3 == 2)
				prctl(PR_SET_PDEATHSIG, SIGTERM);
			if (write(ready[1], &byte, 1) != 1)
				_exit(1);
			while (i % 3 == 2)
				pause();
			while (i % 3 == 1 && getppid() == was)
				sleep_ms(1);
			_exit(23);
		}
		for (int i = 0; i < GIVEN; i++)
			if (read(ready[0], &byte, 1) != 1)
				_exit(1);
		_exit(7);
	}
	for (pid_t got; (got = wait(&status)) > 0; total++) {
		exits += WIFEXITED(status) && WEXITSTATUS(status) == 23;
		terms += WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM;
		CHECK(got != pid || (WIFEXITED(status) && WEXITSTATUS(status) == 7));
	}
	CHECK(errno == ECHILD && total == GIVEN + 1);
	CHECK(exits == GIVEN / 3 * 2 && terms == GIVEN / 3);
}

static void vfork_shares(void *unused)
{
	static volatile int value;
	int status;
	pid_t pid = vfork();
	if (pid == 0) {
		value = 77;
		_exit(5);
	}
	CHECK(value == 77); /* the parent waited */
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 5);
}

static int on_clone_stack(void *argument)
{
	*(volatile int *)argument = 99;
	return 6;
}

static void clone_with_memory(void *unused)
{
	static volatile int value;
	int status;
	char *stack = anonymous(16 * PAGE, PROT_READ | PROT_WRITE);
	pid_t pid =
	    clone(on_clone_stack, stack + 16 * PAGE, CLONE_VM | SIGCHLD, (void *)(uintptr_t)&value);
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 6 && value == 99);
	/* A child with another exit signal is waited for only if asked. */
	pid = clone(on_clone_stack, stack + 16 * PAGE, CLONE_VM, (void *)(uintptr_t)&value);
	CHECK(waitpid(pid, &status, 0) == -1 && errno == ECHILD);
	CHECK(waitpid(pid, &status, __WALL) == pid);
}

/* ---- exec --------------------------------------------------------------------------- */

static int exec_status(char *const argv[], char *const envp[])
{
	int status = -1;
	pid_t pid = fork();
	if (pid == 0) {
		execve("/proc/self/exe", argv, envp);
		_exit(errno == E2BIG ? 200 : 201);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

static void exec_passes_strings(void *unused)
{
	char *argv[] = {"processes", "args", "", "with space", "\xff\x01", NULL};
	char *envp[] = {"A=1", "EMPTY=", "=", NULL};
	CHECK(exec_status(argv, envp) == 40);
}

static void exec_limits(void *unused)
{
	size_t one = 128 * 1024;
	char *large = malloc(one + 1);
	memset(large, 'x', one);
	large[one - 1] = 0;
	char *argv[] = {"processes", "length", large, NULL}, *none[] = {NULL};
	CHECK(exec_status(argv, none) == 41); /* 131071 and a NUL: the most there may be */
	large[one - 1] = 'x';
	large[one] = 0;
	CHECK(exec_status(argv, none) == 200);
	/* Many: over a quarter of the stack limit in all. */
	size_t count = 40;
	char **many = calloc(count + 1, sizeof(*many));
	large[100000] = 0;
	for (size_t i = 0; i < count; i++)
		many[i] = large;
	many[0] = "processes";
	many[1] = "count";
	CHECK(exec_status(many, none) == 200);
	many[15] = NULL;
	CHECK(exec_status(many, none) == 15);
	CHECK(syscall(SYS_execve, "/proc/self/exe", 8, none) == -1 && errno == EFAULT);
	CHECK(syscall(SYS_execve, 8, none, none) == -1 && errno == EFAULT);
	many[3] = (char *)8;
	CHECK(syscall(SYS_execve, "/proc/self/exe", many, none) == -1 && errno == EFAULT);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	fchmod(fd, mode);
	close(fd);
}

static int run_path(const char *path)
{
	int status = -1;
	char *argv[] = {"name", "second", NULL}, *none[] = {NULL};
	pid_t pid = fork();
	if (pid == 0) {
		execve(path, argv, none);
		_exit(errno);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

static void exec_errors(void *unused)
{
	write_file("/tmp/empty", "", 0755);
	write_file("/tmp/text", "hello\n", 0755);
	write_file("/tmp/unmarked", "#!/bin/sh\nexit 0\n", 0644);
	CHECK(run_path("/tmp/empty") == ENOEXEC);
	CHECK(run_path("/tmp/text") == ENOEXEC);
	CHECK(run_path("/tmp/unmarked") == EACCES);
	CHECK(run_path("/tmp") == EACCES);
	CHECK(run_path("/tmp/nothing-here") == ENOENT);
	CHECK(run_path("/tmp/text/x") == ENOTDIR);
	CHECK(run_path("") == ENOENT);
	CHECK(run_path("/dev/null") == EACCES);
}

static void scripts(void *unused)
{
	char path[64], text[400];
	write_file("/tmp/s1", "#!/bin/sh\nexit 33\n", 0755);
	CHECK(run_path("/tmp/s1") == 33);
	write_file("/tmp/s2", "#! \t /bin/sh \t-e \nfalse\nexit 33\n", 0755);
	CHECK(run_path("/tmp/s2") == 1);
	write_file("/tmp/s3", "#!\n", 0755);
	CHECK(run_path("/tmp/s3") == ENOEXEC);
	write_file("/tmp/s4", "#!/nowhere\n", 0755);
	CHECK(run_path("/tmp/s4") == ENOENT);
	write_file("/tmp/s5", "#!/bin/sh\n[ \"$0\" = /tmp/s5 ] && [ \"$1\" = second ] && exit 12\n",
		   0755);
	CHECK(run_path("/tmp/s5") == 12);
	/* Scripts whose interpreters are scripts. */
	write_file("/tmp/chain0", "#!/bin/sh\nexit 0\n", 0755);
	for (int i = 1; i <= 6; i++) {
		snprintf(path, sizeof(path), "/tmp/chain%d", i);
		snprintf(text, sizeof(text), "#!/tmp/chain%d\n", i - 1);
		write_file(path, text, 0755);
	}
	CHECK(run_path("/tmp/chain4") == 0);
	CHECK(run_path("/tmp/chain5") == ELOOP);
	memset(text, 'a', sizeof(text));
	memcpy(text, "#!/", 3);
	text[sizeof(text) - 1] = 0;
	write_file("/tmp/s6", text, 0755);
	CHECK(run_path("/tmp/s6") == ENOEXEC);
}

static void exec_keeps_and_resets(void *unused)
{
	sigset_t set;
	signal(SIGUSR1, SIG_IGN);
	signal(SIGUSR2, (void (*)(int))sleep_ms);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	CHECK(open("/dev/null", O_RDONLY | O_CLOEXEC) == 3);
	CHECK(open("/dev/null", O_RDONLY) == 4);
	char *argv[] = {"processes", "kept", NULL}, *none[] = {NULL};
	CHECK(exec_status(argv, none) == 42);
}

static void auxiliary_vector(void *unused)
{
	CHECK(getauxval(AT_PAGESZ) == 4096 && getauxval(AT_CLKTCK) == 100);
	CHECK(getauxval(AT_UID) == getuid() && getauxval(AT_SECURE) == 0);
	CHECK(getauxval(AT_PHENT) == 56 && getauxval(AT_PHNUM) > 0);
	CHECK(!memcmp((void *)(getauxval(AT_PHDR) & ~4095ul), "\177ELF", 4));
	CHECK(!strcmp((char *)getauxval(AT_PLATFORM), "x86_64"));
	CHECK(getauxval(AT_EXECFN) != 0 && getauxval(AT_ENTRY) != 0 && getauxval(AT_HWCAP) != 0);
	uint64_t random[2], zero[2] = {0, 0};
	memcpy(random, (void *)getauxval(AT_RANDOM), 16);
	CHECK(memcmp(random, zero, 16) != 0);
	CHECK(((uintptr_t)environ & 7) == 0);
}

static void many_children(void *unused)
{
	int ended = 0, status;
	for (int i = 0; i < 200; i++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		CHECK(pid > 0);
	}
	while (wait(&status) > 0)
		ended += WIFEXITED(status) && WEXITSTATUS(status) == 0;
	CHECK(ended == 200);
}

/* ---- what the cases exec ------------------------------------------------------------------ */

static int executed(int argc, char **argv)
{
	struct sigaction action;
	sigset_t set;
	if (!strcmp(argv[1], "args"))
		return argc == 5 && !*argv[2] && !strcmp(argv[3], "with space") &&
			       !strcmp(argv[4], "\xff\x01") && !strcmp(environ[0], "A=1") &&
			       !strcmp(environ[1], "EMPTY=") && !strcmp(environ[2], "=") &&
			       !environ[3]
			   ? 40
			   : 1;
	if (!strcmp(argv[1], "length"))
		return strlen(argv[2]) == 131071 ? 41 : 1;
	if (!strcmp(argv[1], "count"))
		return argc;
	if (strcmp(argv[1], "kept"))
		return 2;
	sigaction(SIGUSR1, NULL, &action);
	bool good = action.sa_handler == SIG_IGN;
	sigaction(SIGUSR2, NULL, &action);
	good &= action.sa_handler == SIG_DFL;
	sigprocmask(SIG_BLOCK, NULL, &set);
	good &= sigismember(&set, SIGTERM) == 1;
	good &= fcntl(3, F_GETFD) == -1 && fcntl(4, F_GETFD) == 0;
	return good ? 42 : 1;
}

/* A zombie has nothing to say to who does not ask for its end. */
static void stop_of_a_zombie(void *unused __attribute__((unused)))
{
	siginfo_t info;
	pid_t pid = fork();
	if (pid == 0)
		_exit(3);
	CHECK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0);
	alarm(10);
	errno = 0;
	CHECK(waitid(P_ALL, 0, &info, WSTOPPED) == -1 && errno == ECHILD);
	errno = 0;
	CHECK(waitid(P_PID, (id_t)pid, &info, WCONTINUED) == -1 && errno == ECHILD);
	CHECK(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED) == 0);
	CHECK(info.si_status == 3);
}

static void *busy(void *end)
{
	while (!*(volatile int *)end)
		continue;
	return NULL;
}

static char state_of(pid_t pid)
{
	char path[40], text[300];
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	return n > 0 ? strrchr(text, ')')[2] : '?';
}

/* What /proc says of a process is the state of its first thread. */
static void state_of_the_first(void *unused __attribute__((unused)))
{
	static int end;
	pid_t pid = fork();
	pthread_t t;
	if (pid == 0) {
		pthread_create(&t, NULL, busy, &end);
		usleep(400000);
		pthread_exit(NULL);
	}
	usleep(200000);
	CHECK(state_of(pid) == 'S');
	usleep(400000);
	CHECK(state_of(pid) == 'Z');
	CHECK(kill(pid, SIGKILL) == 0);
	CHECK(waitpid(pid, NULL, 0) == pid);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return executed(argc, argv);
	run_case("fork_copies", fork_copies);
	run_case("wait_choices", wait_choices);
	run_case("wait_usage", wait_usage);
	run_case("orphans_go_to_init", orphans_go_to_init);
	run_case("subreaper", subreaper);
	run_case("many_given_away", many_given_away);
	run_case("vfork_shares", vfork_shares);
	run_case("clone_with_memory", clone_with_memory);
	run_case("exec_passes_strings", exec_passes_strings);
	run_case("exec_limits", exec_limits);
	run_case("exec_errors", exec_errors);
	run_case("scripts", scripts);
	run_case("exec_keeps_and_resets", exec_keeps_and_resets);
	run_case("auxiliary_vector", auxiliary_vector);
	run_case("many_children", many_children);
	run_case("stop_of_a_zombie", stop_of_a_zombie);
	run_case("state_of_the_first", state_of_the_first);
	return failures != 0;
}
