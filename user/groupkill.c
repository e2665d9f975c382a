/* SPDX-License-Identifier: MIT */
/*
 * groupkill: signals to many, and what keeps a process group from being orphaned.
 *
 * The numbers of processes and threads are such that a kernel that does such things in
 * steps takes several.
 */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#define MANY 100

static volatile int *shared; /* by all processes */

static void await(volatile int *word, int value)
{
	while (*word < value)
		usleep(1000);
}

static void count(volatile int *word)
{
	__atomic_add_fetch(word, 1, __ATOMIC_SEQ_CST);
}

static void block(int sig, int how)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, sig);
	CHECK(sigprocmask(how, &set, NULL) == 0);
}

static pid_t child(void (*body)(void))
{
	pid_t pid = fork();
	if (pid)
		return pid;
	body();
	_exit(failures != 0);
}

static int status_of(pid_t pid)
{
	int status = -1;
	CHECK(waitpid(pid, &status, WUNTRACED) == pid);
	return status;
}

static void sleep_for_ever(void)
{
	for (;;)
		pause();
}

/* ---- orphaned groups ----------------------------------------------------------------- */

static void note_signal(int sig)
{
	shared[sig] = 1;
}

/* Member of a group that stops itself; whether it was hung up. */
static void stop_here(void)
{
	signal(SIGHUP, note_signal);
	signal(SIGCONT, note_signal);
	kill(getpid(), SIGSTOP);
	count(&shared[100]);
	sleep_for_ever();
}

static pid_t grandchild;

/* Starts a group of its own below itself, with one stopped member, and stays. */
static void start_group(void)
{
	grandchild = child(stop_here);
	setpgid(grandchild, grandchild);
	shared[101] = grandchild;
	CHECK(WIFSTOPPED(status_of(grandchild)));
	count(&shared[102]);
	await(&shared[103], 1);
}

static void orphaned_by_exit(void *unused)
{
	(void)unused;
	pid_t middle = child(start_group);
	await(&shared[102], 1);
	usleep(20000);
	CHECK(!shared[SIGHUP] && !shared[SIGCONT]);
	count(&shared[103]);
	CHECK(status_of(middle) == 0);
	await(&shared[100], 1); /* it goes on */
	CHECK(shared[SIGHUP] && shared[SIGCONT]);
	kill(shared[101], SIGKILL);
}

static pid_t group_of_two;
static void join_and_stop(void)
{
	setpgid(0, group_of_two);
	stop_here();
}

/* Two members with a parent outside each: the end of one of these is not enough. */
static void start_second(void)
{
	group_of_two = shared[101];
	pid_t second = child(join_and_stop);
	CHECK(WIFSTOPPED(status_of(second)));
	CHECK(getpgid(second) == group_of_two);
	count(&shared[104]);
	await(&shared[105], 1);
	kill(second, SIGKILL);
}

static void two_anchors(void *unused)
{
	(void)unused;
	pid_t first = child(start_group);
	await(&shared[102], 1);
	pid_t second = child(start_second);
	await(&shared[104], 1);
	count(&shared[103]);
	CHECK(status_of(first) == 0);
	usleep(20000);
	CHECK(!shared[SIGHUP] && !shared[SIGCONT]);
	count(&shared[105]);
	CHECK(status_of(second) == 0);
	await(&shared[100], 1);
	CHECK(shared[SIGHUP] && shared[SIGCONT]);
	kill(shared[101], SIGKILL);
}

/* A parent that joins its child's group anchors it no more, and does again when it leaves. */
static void stop_by_terminal(void)
{
	setpgid(0, 0);
	shared[106] = getpid();
	for (;;) {
		await(&shared[107], shared[108] + 1);
		kill(getpid(), SIGTSTP); /* nothing happens in an orphaned group */
		count(&shared[108]);
	}
}

static void join_child(void)
{
	while (getppid() != 1) /* whose group is of another session, or init is no anchor */
		usleep(1000);
	setpgid(0, 0);
	pid_t pid = child(stop_by_terminal);
	setpgid(pid, pid);
	CHECK(setpgid(0, pid) == 0);
	count(&shared[107]);
	await(&shared[108], 1);
	CHECK(setpgid(0, 0) == 0);
	count(&shared[107]);
	CHECK(WIFSTOPPED(status_of(pid)));
	kill(pid, SIGKILL);
	CHECK(WIFSIGNALED(status_of(pid)));
	shared[109] = failures ? 2 : 1;
}

static void start_orphan(void)
{
	(void)child(join_child);
}

static void parent_joins(void *unused)
{
	(void)unused;
	CHECK(status_of(child(start_orphan)) == 0);
	await(&shared[109], 1);
	CHECK(shared[109] == 1);
}

/* ---- sending to many ------------------------------------------------------------------ */

static void start_many(pid_t *pid, pid_t group, void (*body)(void))
{
	for (int i = 0; i < MANY; i++) {
		pid[i] = child(body);
		CHECK(pid[i] > 0 && setpgid(pid[i], group ? group : pid[0]) == 0);
		group = group ? group : pid[0];
	}
}

static void group_ends(void *unused)
{
	(void)unused;
	pid_t pid[MANY];
	start_many(pid, 0, sleep_for_ever);
	CHECK(kill(-pid[0], 0) == 0);
	CHECK(setpgid(pid[MANY / 2], pid[MANY / 2]) == 0); /* one leaves */
	CHECK(waitpid(-pid[0], NULL, WNOHANG) == 0);
	CHECK(kill(-pid[0], SIGTERM) == 0);
	int ended = 0, status;
	while (waitpid(-pid[0], &status, 0) > 0)
		ended += WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM;
	CHECK(errno == ECHILD && ended == MANY - 1);
	CHECK(kill(-pid[0], 0) == -1 && errno == ESRCH);
	CHECK(setpgid(0, pid[0]) == -1 && errno == EPERM);
	CHECK(kill(pid[MANY / 2], SIGKILL) == 0);
	CHECK(waitpid(pid[MANY / 2], &status, 0) == pid[MANY / 2] && WTERMSIG(status) == SIGKILL);
}

static void all_but_me(void *unused)
{
	(void)unused;
	pid_t pid[MANY];
	CHECK(setgid(54321) == 0 && setuid(54321) == 0);
	start_many(pid, 0, sleep_for_ever);
	CHECK(kill(-1, SIGKILL) == 0);
	int ended = 0;
	while (wait(NULL) > 0)
		ended++;
	CHECK(ended == MANY);
}

static void nice_values(void *unused)
{
	(void)unused;
	pid_t pid[MANY];
	start_many(pid, 0, sleep_for_ever);
	CHECK(setpriority(PRIO_PROCESS, (id_t)pid[7], 3) == 0);
	CHECK(getpriority(PRIO_PROCESS, (id_t)pid[7]) == 3);
	CHECK(getpriority(PRIO_PGRP, (id_t)pid[0]) == 0);
	CHECK(setpriority(PRIO_PGRP, (id_t)pid[0], 5) == 0);
	CHECK(getpriority(PRIO_PROCESS, (id_t)pid[MANY - 1]) == 5);
	CHECK(getpriority(PRIO_PGRP, (id_t)pid[0]) == 5 && getpriority(PRIO_PROCESS, 0) == 0);
	CHECK(getpriority(PRIO_PGRP, 999999) == -1 && errno == ESRCH);
	kill(-pid[0], SIGKILL);
	while (wait(NULL) > 0)
		continue;
}

/* ---- threads ---------------------------------------------------------------------------- */

static volatile int ready, go, taken;
static pthread_t thread[MANY];
static pid_t number[MANY]; /* of threads */

static void *blocks_all(void *index)
{
	number[(intptr_t)index] = gettid();
	count(&ready);
	while (!go)
		usleep(2000);
	return NULL;
}

static void *takes_one(void *index)
{
	block(SIGUSR1, SIG_UNBLOCK);
	return blocks_all(index);
}

static void start_threads(void *(*last)(void *))
{
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 65536);
	for (int i = 0; i < MANY; i++)
		CHECK(pthread_create(&thread[i], &attributes, i == MANY - 1 ? last : blocks_all,
				     (void *)(intptr_t)i) == 0);
	await(&ready, MANY);
}

static void end_threads(void)
{
	go = 1;
	for (int i = 0; i < MANY; i++)
		pthread_join(thread[i], NULL);
}

static void note_thread(int sig)
{
	(void)sig;
	taken = gettid();
}

/* A signal to the process that only its last thread takes. */
static void last_of_many(void *unused)
{
	(void)unused;
	signal(SIGUSR1, note_thread);
	block(SIGUSR1, SIG_BLOCK);
	start_threads(takes_one);
	CHECK(kill(getpid(), SIGUSR1) == 0);
	await(&taken, 1);
	CHECK(taken == number[MANY - 1]);
	end_threads();
}

static void *waits_for_one(void *index)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	number[(intptr_t)index] = gettid();
	count(&ready);
	CHECK(sigwaitinfo(&set, NULL) == SIGUSR1);
	taken = gettid();
	return NULL;
}

static void waited_for(void *unused)
{
	(void)unused;
	block(SIGUSR1, SIG_BLOCK);
	start_threads(waits_for_one);
	usleep(20000);
	CHECK(kill(getpid(), SIGUSR1) == 0);
	await(&taken, 1);
	CHECK(taken == number[MANY - 1]);
	end_threads();
}

/* A stop signal to a thread is undone by SIGCONT, a later one is not; the same the other
 * way round; an ignored signal is dropped everywhere. */
static bool pends(pid_t tid, int sig)
{
	char name[64], line[128];
	unsigned long set = 0;
	snprintf(name, sizeof(name), "/proc/self/task/%d/status", tid);
	FILE *f = fopen(name, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "SigPnd: %lx", &set) == 1)
			break;
	if (f)
		fclose(f);
	return set >> (sig - 1) & 1;
}

static void send(pid_t tid, int sig)
{
	CHECK(syscall(SYS_tgkill, getpid(), tid, sig) == 0);
}

static void undone(void *unused)
{
	(void)unused;
	block(SIGTSTP, SIG_BLOCK);
	block(SIGCONT, SIG_BLOCK);
	block(SIGUSR2, SIG_BLOCK);
	signal(SIGCONT, note_thread);
	start_threads(blocks_all);
	pid_t a = number[3], b = number[MANY - 1];
	send(a, SIGTSTP);
	send(b, SIGTSTP);
	CHECK(pends(a, SIGTSTP) && pends(b, SIGTSTP));
	send(b, SIGCONT);
	CHECK(!pends(a, SIGTSTP) && !pends(b, SIGTSTP) && pends(b, SIGCONT));
	send(a, SIGTSTP);
	CHECK(pends(a, SIGTSTP) && !pends(b, SIGTSTP) && !pends(b, SIGCONT));
	send(a, SIGUSR2);
	send(b, SIGUSR2);
	signal(SIGUSR2, SIG_IGN);
	CHECK(!pends(a, SIGUSR2) && !pends(b, SIGUSR2));
	send(a, SIGCONT);
	end_threads();
}

/* ---- exec and exit signals -------------------------------------------------------------- */

static void *sleeps(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static void exec_ends_threads(void *unused)
{
	(void)unused;
	pthread_t t;
	for (int i = 0; i < MANY; i++)
		CHECK(pthread_create(&t, NULL, sleeps, NULL) == 0);
	char *const arguments[] = {(char *)"true", NULL};
	execv("/bin/true", arguments);
	CHECK(false);
}

/* A child that was to send SIGUSR1 sends SIGCHLD to another program. */
static void exit_signal_of_before(void *unused)
{
	(void)unused;
	if (!syscall(SYS_clone, SIGUSR1, 0, 0, 0, 0)) {
		usleep(300000);
		_exit(0);
	}
	char *const arguments[] = {(char *)"sleep", (char *)"1", NULL};
	execv("/bin/sleep", arguments);
	CHECK(false);
}

/* ---- numbers ------------------------------------------------------------------------------- */

static void write_text(const char *name, const char *text)
{
	int f = open(name, O_WRONLY);
	CHECK(f >= 0 && write(f, text, strlen(text)) == (ssize_t)strlen(text));
	close(f);
}

/* Numbers begin anew, skip those in use, and are not those below 300 again. */
static void numbers_again(void *unused)
{
	(void)unused;
	char before[32] = "";
	int f = open("/proc/sys/kernel/pid_max", O_RDONLY);
	CHECK(read(f, before, sizeof(before) - 1) > 0);
	close(f);
	pid_t kept = child(sleep_for_ever);
	CHECK(kept > 0);
	char most[32];
	snprintf(most, sizeof(most), "%d", kept + 700);
	write_text("/proc/sys/kernel/pid_max", most);
	pid_t last = 0;
	int turns = 0;
	for (int i = 0; i < 3000 && turns < 2; i++) {
		pid_t pid = vfork();
		if (!pid)
			_exit(0);
		CHECK(pid != kept && pid < kept + 700);
		if (pid < last) {
			turns++;
			CHECK(pid >= 300);
		}
		last = pid;
		waitpid(pid, NULL, 0);
	}
	CHECK(turns == 2);
	write_text("/proc/sys/kernel/pid_max", before);
	kill(kept, SIGKILL);
	CHECK(waitpid(kept, NULL, 0) == kept);
}

static void fresh(const char *name, void (*body)(void *))
{
	memset((void *)shared, 0, PAGE);
	run_case(name, body);
}

int main(void)
{
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	fresh("a group is hung up when its last anchor ends", orphaned_by_exit);
	fresh("not while there is another one", two_anchors);
	fresh("a parent anchors while it is in another group", parent_joins);
	fresh("a group ends, but who left it does not", group_ends);
	fresh("all processes of a user", all_but_me);
	fresh("nice values of a process and a group", nice_values);
	fresh("the last of many threads takes a signal", last_of_many);
	fresh("the last of many threads waits for a signal", waited_for);
	fresh("stop signals, SIGCONT, and ignoring, in many threads", undone);
	fresh("exec ends many threads", exec_ends_threads);
	fresh("a child's signal was for another program", exit_signal_of_before);
	fresh("numbers begin anew", numbers_again);
	return failures != 0;
}
