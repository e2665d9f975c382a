/* SPDX-License-Identifier: MIT */
/*
 * trespass: rights that are looked up apart from what they are the right to.
 *
 * Each case races what changes an identity (exec of a set-user-id program, setresuid,
 * chown) against what uses the old one. Nobody may get in, in any round.
 */
#define _GNU_SOURCE
#define CORNER "trespass.d"
#include "rights.h"

#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#define ATTACKERS 3

static struct shared {
	_Atomic pid_t victim;
	_Atomic int seen, stop, given_up, direct, wrong;
} * shared;

static void share_memory(void)
{
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
}

/* ---- the set-user-id programs ----------------------------------------------------------- */

static volatile char *const secret = marker;

/* Keeps a secret while others have some turns; 1: somebody wrote over it. */
static int keep_secret(void)
{
	strcpy((char *)secret, "secret");
	for (int i = 0; i < 20000; i++) {
		if (secret[0] != 's' || secret[5] != 't')
			return 1;
		if (i % 100 == 0)
			sched_yield();
	}
	return 0;
}

/* Its directory and umask are its own; 1: somebody changed them. */
static int keep_umask(void)
{
	if (geteuid() != 0)
		return 0; /* it shares them, and is nobody */
	umask(077);
	for (int i = 0; i < 200; i++) {
		sched_yield();
		if (umask(077) != 077)
			return 1;
	}
	return 0;
}

/* ---- memory ------------------------------------------------------------------------------ */

/* What the new program has there from its start, or later; the old one had "before". */
static bool is_new(const char *text)
{
	return !strncmp(text, "public", 6) || !strncmp(text, "secret", 6);
}

static void attack_once(pid_t pid)
{
	char text[8] = "", path[50];
	struct iovec here = {text, 6}, there = {(void *)(uintptr_t)secret, 6};
	if (process_vm_readv(pid, &here, 1, &there, 1, 0) == 6 && is_new(text))
		shared->seen++;
	strcpy(text, "PWNED");
	(void)!process_vm_writev(pid, &here, 1, &there, 1, 0);
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	int fd = open(path, O_RDWR);
	if (fd < 0)
		return;
	for (int i = 0; i < 20; i++) {
		if (pread(fd, text, 6, (off_t)(uintptr_t)secret) == 6 && is_new(text))
			shared->seen++;
		(void)!pwrite(fd, "PWNED", 6, (off_t)(uintptr_t)secret);
	}
	close(fd);
}

static void attack(void)
{
	while (!shared->stop) {
		pid_t pid = shared->victim;
		if (pid)
			attack_once(pid);
	}
	_exit(0);
}

/* A user's children become set-user-id programs while the user's others reach for their
 * memory, by number and through files that were opened before. */
static void memory(void *unused __attribute__((unused)))
{
	pid_t attacker[ATTACKERS];
	int status;
	share_memory();
	become(USER, USER);
	strcpy((char *)secret, "before");
	for (int i = 0; i < ATTACKERS; i++)
		if ((attacker[i] = fork()) == 0)
			attack();
	for (int round = 0; round < 150; round++) {
		pid_t pid = fork();
		if (pid == 0) {
			shared->victim = getpid();
			run_copy("suid", "secret");
		}
		IS(waitpid(pid, &status, 0), pid);
		shared->victim = 0;
		IS(status, 0);
	}
	shared->stop = 1;
	for (int i = 0; i < ATTACKERS; i++)
		waitpid(attacker[i], &status, 0);
	IS(shared->seen, 0);
}

/* ---- what another thread gives up -------------------------------------------------------
 *
 * Linux's identities belong to threads; the C library changes them all, by a signal that
 * the new program may die of. Where they belong to processes the call alone does it. */

#define LIBRARY_SIGNAL 33

static void *give_up(void *unused)
{
	(void)unused;
	long r =
	    shared->direct ? syscall(SYS_setresuid, USER, USER, USER) : setresuid(USER, USER, USER);
	if (r == 0)
		shared->given_up = 1;
	return NULL;
}

/* Runs with effective user 0: one thread gives that up, another executes. */
static int racing_exec(void)
{
	pthread_t t;
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 5, 0);
	if (shared == MAP_FAILED || geteuid() != 0 || pthread_create(&t, NULL, give_up, NULL))
		return 2;
	for (volatile int i = getpid() % 64 * 100; i > 0; i--)
		continue;
	run_copy("plain", "given-up");
	return 3;
}

static int check_given_up(void)
{
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 5, 0);
	if (shared == MAP_FAILED)
		return 2;
	return shared->given_up && (geteuid() == 0 || setresuid(0, 0, 0) == 0);
}

static void given_up(void *direct)
{
	int status, fd = open(path_of("flag"), O_RDWR | O_CREAT, 0666);
	IS(fchmod(fd, 0666), 0);
	IS(ftruncate(fd, PAGE), 0);
	dup2(fd, 5);
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 5, 0);
	become(USER, USER);
	for (int round = 0; round < 100; round++) {
		shared->given_up = 0;
		shared->direct = direct != NULL;
		pid_t pid = fork();
		if (pid == 0)
			run_copy("suid", "racing-exec");
		IS(waitpid(pid, &status, 0), pid);
		CHECK(status == 0 || (!direct && WTERMSIG(status) == LIBRARY_SIGNAL));
	}
}

/* ---- directories that are shared ------------------------------------------------------- */

static int meddle(void *unused)
{
	(void)unused;
	for (int i = 0; i < 400; i++)
		umask(0);
	return 0;
}

static void *make_sharers(void *unused)
{
	static char stack[1 << 16] __attribute__((aligned(16)));
	(void)unused;
	for (;;)
		if (clone(meddle, stack + sizeof(stack), CLONE_FS | SIGCHLD, NULL) < 0)
			return NULL;
}

/* One thread executes a set-user-id program, another makes processes that share its
 * directory and umask. */
static void sharing(void *unused __attribute__((unused)))
{
	int status;
	become(USER, USER);
	for (int round = 0; round < 60; round++) {
		pid_t pid = fork();
		if (pid == 0) {
			pthread_t t;
			signal(SIGCHLD, SIG_IGN);
			pthread_create(&t, NULL, make_sharers, NULL);
			usleep((useconds_t)(round * 50));
			run_copy("suid", "umask");
		}
		IS(waitpid(pid, &status, 0), pid);
		IS(status, 0);
	}
}

/* ---- the number of a terminal's group ---------------------------------------------------- */

/* Leads a session whose foreground group is gone, and its number with it. */
static pid_t session_without_foreground(const char *terminal, pid_t *group)
{
	int up[2];
	IS(pipe(up), 0);
	pid_t pid = fork();
	if (pid == 0) {
		setsid();
		int fd = open(terminal, O_RDWR); /* and controls it */
		pid_t member = child_to_pause();
		signal(SIGTTOU, SIG_IGN);
		if (setpgid(member, member) || tcsetpgrp(fd, member))
			printf("    no terminal: %s\n", strerrorname_np(errno));
		fflush(stdout);
		kill(member, SIGKILL);
		waitpid(member, NULL, 0);
		(void)!write(up[1], &member, sizeof(member));
		pause();
	}
	close(up[1]);
	IS(read(up[0], group, sizeof(*group)), sizeof(*group));
	return pid;
}

/* Who types on his terminal does not interrupt the group that has the number now. */
static void foreground(void *unused __attribute__((unused)))
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY), zero = 0, status;
	unsigned number;
	char terminal[40];
	pid_t group;
	IS(ioctl(master, TIOCSPTLCK, &zero), 0);
	IS(ioctl(master, TIOCGPTN, &number), 0);
	snprintf(terminal, sizeof(terminal), "/dev/pts/%u", number);
	set_pid_max("1000");
	pid_t leader = session_without_foreground(terminal, &group);
	bool again = child_of_number(group); /* pauses, in our session */
	set_pid_max("32768");
	if (again) {
		IS(setpgid(group, group), 0);
		IS(write(master, "\003", 1), 1);
		usleep(100000);
		IS(waitpid(group, &status, WNOHANG), 0);
		kill(group, SIGKILL);
		IS(waitpid(group, &status, 0), group);
		IS(WTERMSIG(status), SIGKILL);
	}
	kill(leader, SIGKILL);
	IS(waitpid(leader, &status, 0), leader);
}

/* ---- owners that change ---------------------------------------------------------------- */

/* A user's set-user-id program becomes root's, and loses the bit in the same step. */
static void owners(void *unused __attribute__((unused)))
{
	int status;
	share_memory();
	copy_program("turning", 0755);
	pid_t user = fork();
	if (user == 0) {
		become(USER, USER);
		while (!shared->stop) {
			pid_t pid = fork();
			if (pid == 0)
				run_copy("turning", "is-root");
			IS(waitpid(pid, &status, 0), pid);
			IS(status, 0);
		}
		_exit(failures != 0);
	}
	for (int round = 0; round < 1000; round++) {
		IS(chown(path_of("turning"), USER, USER), 0);
		IS(chmod(path_of("turning"), 04755), 0);
		IS(chown(path_of("turning"), 0, 0), 0);
		if (round % 8 == 0)
			usleep(300);
	}
	shared->stop = 1;
	IS(waitpid(user, &status, 0), user);
	IS(status, 0);
}

/* The owner sets the bit while root takes the file over. */
static void bits(void *unused __attribute__((unused)))
{
	struct stat s;
	int status;
	share_memory();
	copy_program("given", 0755);
	pid_t user = fork();
	if (user == 0) {
		become(USER, USER);
		while (!shared->stop)
			(void)!chmod(path_of("given"), 04755);
		_exit(0);
	}
	for (int round = 0; round < 3000; round++) {
		IS(chown(path_of("given"), USER, USER), 0);
		if (round % 16 == 0)
			usleep(100);
		IS(chown(path_of("given"), 0, 0), 0);
		IS(stat(path_of("given"), &s), 0);
		shared->wrong += (s.st_mode & S_ISUID) != 0;
	}
	shared->stop = 1;
	IS(waitpid(user, &status, 0), user);
	IS(shared->wrong, 0);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (!strcmp(what, "secret"))
		return keep_secret();
	if (!strcmp(what, "umask"))
		return keep_umask();
	if (!strcmp(what, "racing-exec"))
		return racing_exec();
	if (!strcmp(what, "given-up"))
		return check_given_up();
	if (!strcmp(what, "is-root"))
		return geteuid() == 0;
	make_place();
	if (!strcmp(what, "direct"))
		return in_child(given_up, argv) != 0;
	run_case("memory", memory);
	run_case("given up", given_up);
	run_case("sharing", sharing);
	run_case("foreground", foreground);
	run_case("owners", owners);
	run_case("bits", bits);
	return failures != 0;
}
