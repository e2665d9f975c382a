/* SPDX-License-Identifier: MIT */
#ifndef USER_RIGHTS_H
#define USER_RIGHTS_H
/*
 * For programs that check who may do what: identities, and copies of the program that
 * run as somebody else. They are started by root.
 *
 * PLACE holds the copies: plain, suid and sgid (root's), hidden (nobody but root reads
 * it); and closed/inner, behind a directory that is root's alone. A copy that is started
 * with "wait" says so through descriptor 3 and goes on until 4 is closed.
 */
#include "filecheck.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define USER 1000

/* The same address in every copy, and in a copy that runs as root what it must not show. */
__attribute__((unused)) static volatile char marker[PAGE] __attribute__((aligned(PAGE))) = "public";

__attribute__((unused)) static const char *path_of(const char *name)
{
	static char path[2][200];
	static int turn;
	turn ^= 1;
	snprintf(path[turn], sizeof(path[0]), "/tmp/" CORNER "/%s", name);
	return path[turn];
}

static void copy_program(const char *name, mode_t mode)
{
	static char text[1 << 16];
	int in = open("/proc/self/exe", O_RDONLY);
	int out = open(path_of(name), O_WRONLY | O_CREAT | O_EXCL, 0700);
	ssize_t n;
	while ((n = read(in, text, sizeof(text))) > 0)
		IS(write(out, text, (size_t)n), n);
	IS(n, 0);
	IS(fchmod(out, mode), 0);
	close(in);
	close(out);
}

__attribute__((unused)) static void make_place(void)
{
	CHECK(getuid() == 0);
	umask(022);
	IS(system("rm -rf /tmp/" CORNER " /tmp/" CORNER ".*"), 0); /* of a run before */
	IS(mkdir("/tmp/" CORNER, 0755), 0);
	IS(mkdir(path_of("closed"), 0700), 0);
	IS(mkdir(path_of("closed/inner"), 0755), 0);
	close(make(path_of("closed/inner/file"), "behind"));
	copy_program("plain", 0755);
	copy_program("suid", 04755);
	copy_program("sgid", 02755);
	copy_program("hidden", 0711);
}

/* Become somebody else for good, as login does: and be one to look into again. */
__attribute__((unused)) static void become(uid_t uid, gid_t gid)
{
	IS(setgroups(0, NULL), 0);
	IS(setresgid(gid, gid, gid), 0);
	IS(setresuid(uid, uid, uid), 0);
	IS(prctl(PR_SET_DUMPABLE, 1), 0);
}

__attribute__((unused)) static int wait_to_end(void)
{
	char c = 'r';
	if (geteuid() == 0 || getegid() == 0)
		strcpy((char *)marker, "secret");
	if (write(3, &c, 1) != 1)
		return 1;
	while (read(4, &c, 1) > 0)
		continue;
	return 0;
}

__attribute__((unused)) static void run_copy(const char *name, const char *what)
{
	char *const argv[] = {(char *)"copy", (char *)what, NULL};
	char *const envp[] = {(char *)"SECRET=environment", NULL};
	execve(path_of(name), argv, envp);
	printf("    %s: %s\n", name, strerrorname_np(errno));
	_exit(99);
}

struct other {
	pid_t pid;
	int hold; /* closed: it ends */
};

/* Fork; the child calls `start`, which must end in wait_to_end or in a copy that does. */
__attribute__((unused)) static struct other start_other(void (*start)(void))
{
	int up[2], down[2];
	struct other o;
	char c;
	IS(pipe2(up, O_CLOEXEC), 0);
	IS(pipe2(down, O_CLOEXEC), 0);
	fflush(stdout);
	o.pid = fork();
	if (o.pid == 0) {
		int in = fcntl(down[0], F_DUPFD_CLOEXEC, 50),
		    out = fcntl(up[1], F_DUPFD_CLOEXEC, 50);
		dup2(out, 3);
		dup2(in, 4);
		close_range(5, ~0u, 0);
		start();
		_exit(wait_to_end());
	}
	close(up[1]);
	close(down[0]);
	IS(read(up[0], &c, 1), 1);
	close(up[0]);
	o.hold = down[1];
	return o;
}

__attribute__((unused)) static void end_other(struct other o)
{
	close(o.hold);
	IS(waitpid(o.pid, NULL, 0), o.pid);
}

__attribute__((unused)) static void set_pid_max(const char *text)
{
	int fd = open("/proc/sys/kernel/pid_max", O_WRONLY);
	IS(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* A child with a number that will be given out again: low ones are not. */
__attribute__((unused)) static pid_t child_to_pause(void)
{
	for (;;) {
		pid_t pid = fork();
		if (pid == 0) {
			if (getpid() >= 400)
				pause();
			_exit(0);
		}
		if (pid >= 400 || pid < 0)
			return pid;
		waitpid(pid, NULL, 0);
	}
}

/* Fork until a child has this number. False: somebody else has taken it, as Linux's own
 * threads may. */
__attribute__((unused)) static bool child_of_number(pid_t wanted)
{
	for (unsigned tries = 0; tries < 2000; tries++) {
		pid_t pid = fork();
		if (pid == 0) {
			if (getpid() == wanted)
				pause();
			_exit(0);
		}
		if (pid == wanted)
			return true;
		waitpid(pid, NULL, 0);
	}
	return false;
}

__attribute__((unused)) static const char *result_of(long r)
{
	return r < 0 ? strerrorname_np(errno) : "ok";
}
#endif
