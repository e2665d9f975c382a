/* SPDX-License-Identifier: MIT */
/*
 * Signals: masks, queues, restarts, waiting, job control, timers. Each case runs in a
 * child of its own; the program prints one line per case. Frames and exceptions:
 * user/sigframes.c.
 */
#define _GNU_SOURCE
#pragma GCC diagnostic ignored "-Wunused-parameter" /* cases that need no argument */
#include "catch.h"

#include <poll.h>
#include <sys/time.h>
#include <sys/timerfd.h>

static void kill_self(void *unused)
{
	handle(SIGUSR1, 0);
	CHECK(kill(getpid(), SIGUSR1) == 0);
	CHECK(count == 1 && last_signal == SIGUSR1 && last_code == SI_USER);
	CHECK(last_pid == getpid());
	CHECK(raise(SIGUSR1) == 0);
	CHECK(count == 2 && last_code == SI_TKILL);
	CHECK(kill(getpid(), 0) == 0);
	CHECK(kill(getpid(), 65) == -1 && errno == EINVAL);
	CHECK(kill(99999999, SIGUSR1) == -1 && errno == ESRCH);
}

static void blocked_pends(void *unused)
{
	sigset_t pending;
	handle(SIGUSR1, 0);
	block(SIGUSR1);
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR1);
	CHECK(count == 0);
	sigpending(&pending);
	CHECK(sigismember(&pending, SIGUSR1) == 1 && sigismember(&pending, SIGUSR2) == 0);
	unblock(SIGUSR1);
	CHECK(count == 1); /* classic signals do not queue */
}

static void realtime_queues(void *unused)
{
	union sigval value;
	handle(SIGRTMIN + 1, 0);
	block(SIGRTMIN + 1);
	for (int i = 0; i < 5; i++) {
		value.sival_ptr = (void *)(intptr_t)(100 + i);
		CHECK(sigqueue(getpid(), SIGRTMIN + 1, value) == 0);
	}
	unblock(SIGRTMIN + 1);
	CHECK(count == 5 && last_code == SI_QUEUE);
	CHECK(last_value == 104); /* in the order they were sent */
}

static void kill_and_stop_are_not_caught(void *unused)
{
	struct sigaction action = {.sa_handler = SIG_IGN};
	CHECK(sigaction(SIGKILL, &action, NULL) == -1 && errno == EINVAL);
	CHECK(sigaction(SIGSTOP, &action, NULL) == -1 && errno == EINVAL);
	CHECK(sigaction(65, &action, NULL) == -1 && errno == EINVAL);
	CHECK(sigaction(SIGKILL, NULL, &action) == 0);
	sigset_t all, now;
	sigfillset(&all);
	CHECK(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
	CHECK(sigprocmask(SIG_SETMASK, NULL, &now) == 0);
	CHECK(!sigismember(&now, SIGKILL) && !sigismember(&now, SIGSTOP));
}

static void ignored_vanish(void *unused)
{
	signal(SIGUSR1, SIG_IGN);
	CHECK(kill(getpid(), SIGUSR1) == 0);
	CHECK(kill(getpid(), SIGCHLD) == 0);
	CHECK(kill(getpid(), SIGWINCH) == 0);
	handle(SIGUSR1, 0);
	CHECK(count == 0);
}

static volatile int nested, deepest;
static void nesting(int number)
{
	nested++;
	if (nested > deepest)
		deepest = nested;
	if (++count < 3)
		raise(number);
	nested--;
}

static void nodefer(void *unused)
{
	struct sigaction action = {.sa_handler = nesting, .sa_flags = SA_NODEFER};
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	CHECK(deepest == 3 && count == 3);
	deepest = count = 0;
	action.sa_flags = 0;
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1); /* blocked while it runs: one after the other */
	CHECK(deepest == 1 && count == 3);
}

static void resethand(void *unused)
{
	struct sigaction now;
	handle(SIGUSR1, SA_RESETHAND);
	raise(SIGUSR1);
	CHECK(count == 1);
	sigaction(SIGUSR1, NULL, &now);
	CHECK(now.sa_handler == SIG_DFL);
}

/* SIGALRM again and again: on a busy machine the first may come before who waits for it. */
static void alarms(int ms)
{
	struct itimerval it = {{0, ms * 1000}, {0, ms * 1000}};
	CHECK(setitimer(ITIMER_REAL, &it, NULL) == 0);
}

static void read_is_interrupted(void *unused)
{
	int ends[2];
	char byte;
	CHECK(pipe(ends) == 0);
	handle(SIGALRM, 0);
	alarms(30);
	CHECK(read(ends[0], &byte, 1) == -1 && errno == EINTR && count >= 1);
}

static void read_is_restarted(void *unused)
{
	int ends[2];
	char byte = 0;
	CHECK(pipe(ends) == 0);
	handle(SIGALRM, SA_RESTART);
	pid_t pid = fork();
	if (pid == 0) {
		sleep_ms(300);
		_exit(write(ends[1], "x", 1) != 1);
	}
	alarms(30);
	CHECK(read(ends[0], &byte, 1) == 1 && byte == 'x');
	while (count == 0)
		sleep_ms(1);
	waitpid(pid, NULL, 0);
}

static void poll_is_never_restarted(void *unused)
{
	handle(SIGALRM, SA_RESTART);
	alarms(30);
	CHECK(poll(NULL, 0, 1000000) == -1 && errno == EINTR && count >= 1);
}

static void nanosleep_says_what_is_left(void *unused)
{
	struct timespec ts = {1000, 0}, left = {0, 0};
	handle(SIGALRM, SA_RESTART);
	alarms(50);
	CHECK(nanosleep(&ts, &left) == -1 && errno == EINTR);
	CHECK(left.tv_sec >= 900 && left.tv_sec < 1000 && left.tv_nsec > 0);
}

static void suspend(void *unused)
{
	sigset_t none, before, after;
	handle(SIGUSR1, 0);
	block(SIGUSR1);
	sigprocmask(SIG_SETMASK, NULL, &before);
	kill(getpid(), SIGUSR1);
	CHECK(count == 0);
	sigemptyset(&none);
	CHECK(sigsuspend(&none) == -1 && errno == EINTR && count == 1);
	sigprocmask(SIG_SETMASK, NULL, &after);
	CHECK(!memcmp(&before, &after, 8));
}

static void timedwait(void *unused)
{
	sigset_t set;
	siginfo_t info;
	union sigval value = {.sival_int = 7};
	struct timespec soon = {0, 20000000}, zero = {0, 0};
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	CHECK(sigtimedwait(&set, &info, &zero) == -1 && errno == EAGAIN);
	CHECK(sigtimedwait(&set, &info, &soon) == -1 && errno == EAGAIN);
	sigqueue(getpid(), SIGRTMIN, value);
	CHECK(sigwaitinfo(&set, &info) == SIGRTMIN && info.si_value.sival_int == 7);
	pid_t pid = fork();
	if (pid == 0) {
		sleep_ms(50);
		_exit(kill(getppid(), SIGUSR1));
	}
	CHECK(sigwaitinfo(&set, &info) == SIGUSR1 && info.si_pid == pid);
	waitpid(pid, NULL, 0);
	handle(SIGALRM, SA_RESTART);
	alarms(30);
	CHECK(sigwaitinfo(&set, &info) == -1 && errno == EINTR);
}

static void child_info(void *unused)
{
	handle(SIGCHLD, SA_RESTART);
	pid_t pid = fork();
	if (pid == 0)
		_exit(3);
	int status;
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 3);
	CHECK(count == 1 && last_code == CLD_EXITED && last_pid == pid);
	pid = fork();
	if (pid == 0) {
		signal(SIGTERM, SIG_DFL);
		raise(SIGTERM);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
	      WTERMSIG(status) == SIGTERM);
	CHECK(count == 2 && last_code == CLD_KILLED);
}

static void stop_and_continue(void *unused)
{
	int status;
	handle(SIGCHLD, SA_RESTART);
	pid_t pid = fork();
	if (pid == 0) {
		for (;;)
			pause();
	}
	kill(pid, SIGSTOP);
	CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status) &&
	      WSTOPSIG(status) == SIGSTOP);
	CHECK(last_code == CLD_STOPPED);
	CHECK(waitpid(pid, &status, WUNTRACED | WNOHANG) == 0);
	kill(pid, SIGUSR1); /* waits with it */
	CHECK(waitpid(pid, &status, WNOHANG) == 0);
	kill(pid, SIGCONT);
	pid_t got = waitpid(pid, &status, WCONTINUED);
	CHECK(got == pid && (WIFCONTINUED(status) || WIFSIGNALED(status)));
	if (WIFCONTINUED(status))
		CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
	pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	kill(pid, SIGSTOP);
	CHECK(waitpid(pid, &status, WUNTRACED) == pid);
	kill(pid, SIGKILL); /* ends what is stopped */
	CHECK(waitpid(pid, &status, 0) == pid && WTERMSIG(status) == SIGKILL);
}

static void group_kill(void *unused)
{
	int status, ready[2];
	char byte;
	CHECK(pipe(ready) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		pid_t inner = fork();
		if (inner == 0) {
			if (write(ready[1], "x", 1) != 1)
				_exit(1);
			for (;;)
				pause();
		}
		waitpid(inner, &status, 0);
		_exit(9);
	}
	CHECK(read(ready[0], &byte, 1) == 1);
	CHECK(kill(-pid, SIGINT) == 0);
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
	CHECK(kill(-pid, SIGINT) == 0 || errno == ESRCH); /* the inner one may still be a zombie */
}

static void no_zombies(void *unused)
{
	signal(SIGCHLD, SIG_IGN);
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	CHECK(waitpid(pid, NULL, 0) == -1 && errno == ECHILD);
}

static void timers_repeat(void *unused)
{
	struct itimerval it = {{0, 10000}, {0, 10000}}, now;
	handle(SIGALRM, SA_RESTART);
	CHECK(setitimer(ITIMER_REAL, &it, NULL) == 0);
	while (count < 5)
		sleep_ms(1);
	CHECK(getitimer(ITIMER_REAL, &now) == 0 && now.it_interval.tv_usec == 10000);
	memset(&it, 0, sizeof(it));
	CHECK(setitimer(ITIMER_REAL, &it, NULL) == 0);
	handle(SIGPROF, SA_RESTART);
	it.it_value.tv_usec = it.it_interval.tv_usec = 20000;
	count = 0;
	CHECK(setitimer(ITIMER_PROF, &it, NULL) == 0);
	for (volatile long i = 0; count < 2 && i < 4000000000; i++)
		continue;
	CHECK(count >= 2 && last_signal == SIGPROF);
}

static void posix_timers(void *unused)
{
	timer_t timer;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 2};
	struct itimerspec it = {{0, 0}, {0, 20000000}}, far = {{0, 0}, {1000, 0}}, old;
	event.sigev_value.sival_int = 77;
	handle(SIGRTMIN + 2, SA_RESTART);
	CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
	CHECK(timer_settime(timer, 0, &far, NULL) == 0);
	CHECK(timer_gettime(timer, &old) == 0);
	CHECK(old.it_value.tv_sec >= 900 && old.it_value.tv_nsec > 0);
	CHECK(timer_settime(timer, 0, &it, &old) == 0 && old.it_value.tv_sec >= 900);
	while (!count)
		sleep_ms(1);
	CHECK(last_code == SI_TIMER && (int)last_value == 77);
	it.it_interval.tv_nsec = 1000000;
	block(SIGRTMIN + 2);
	count = 0;
	CHECK(timer_settime(timer, 0, &it, NULL) == 0);
	sleep_ms(100);
	unblock(SIGRTMIN + 2);
	CHECK(count >= 1);
	CHECK(timer_delete(timer) == 0);
	CHECK(timer_gettime(timer, &old) == -1 && errno == EINVAL);
	event.sigev_signo = 99;
	CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == -1 && errno == EINVAL);
	CHECK(timer_create(99, NULL, &timer) == -1 && errno == EINVAL);
}

/* Timers that ask for more than any machine can do leave it time for everything else. */
static void timers_of_a_nanosecond(void *unused)
{
	timer_t timer;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct itimerspec it = {{0, 1}, {0, 1}};
	handle(SIGUSR1, SA_RESTART);
	CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	uint64_t expired = 0;
	CHECK(fd >= 0 && timerfd_settime(fd, 0, &it, NULL) == 0);
	CHECK(timer_settime(timer, 0, &it, NULL) == 0);
	for (int i = 0; i < 20; i++)
		sleep_ms(1);
	for (int i = 0; i < 20; i++)
		CHECK(getppid() > 0);
	CHECK(timer_delete(timer) == 0);
	CHECK(count > 0);
	/* As many as time has passed, however few interrupts there were. */
	CHECK(read(fd, &expired, sizeof(expired)) == sizeof(expired) && expired > 1000000);
	close(fd);
}

int main(void)
{
	run_case("kill_self", kill_self);
	run_case("blocked_pends", blocked_pends);
	run_case("realtime_queues", realtime_queues);
	run_case("kill_and_stop_are_not_caught", kill_and_stop_are_not_caught);
	run_case("ignored_vanish", ignored_vanish);
	run_case("nodefer", nodefer);
	run_case("resethand", resethand);
	run_case("read_is_interrupted", read_is_interrupted);
	run_case("read_is_restarted", read_is_restarted);
	run_case("poll_is_never_restarted", poll_is_never_restarted);
	run_case("nanosleep_says_what_is_left", nanosleep_says_what_is_left);
	run_case("suspend", suspend);
	run_case("timedwait", timedwait);
	run_case("child_info", child_info);
	run_case("stop_and_continue", stop_and_continue);
	run_case("group_kill", group_kill);
	run_case("no_zombies", no_zombies);
	run_case("timers_repeat", timers_repeat);
	run_case("posix_timers", posix_timers);
	run_case("timers_of_a_nanosecond", timers_of_a_nanosecond);
	return failures != 0;
}
