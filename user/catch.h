/* SPDX-License-Identifier: MIT */
#ifndef USER_CATCH_H
#define USER_CATCH_H
/* What the programs that check signals share: a handler that writes down what it got. */
#include "check.h"

#include <time.h>

__attribute__((unused)) static volatile int count, last_signal, last_code;
__attribute__((unused)) static volatile pid_t last_pid;
__attribute__((unused)) static volatile intptr_t last_value;
__attribute__((unused)) static volatile uintptr_t handler_sp;

__attribute__((unused)) static void on_signal(int number, siginfo_t *info, void *context)
{
	(void)context;
	char here;
	count++;
	last_signal = number;
	last_code = info->si_code;
	last_pid = info->si_pid;
	last_value = (intptr_t)info->si_value.sival_ptr;
	handler_sp = (uintptr_t)&here;
}

__attribute__((unused)) static void handle(int number, int flags)
{
	struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | flags};
	CHECK(sigaction(number, &action, NULL) == 0);
}

__attribute__((unused)) static void block(int number)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, number);
	CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
}

__attribute__((unused)) static void unblock(int number)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, number);
	CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
}

__attribute__((unused)) static void sleep_ms(int ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		continue;
}
#endif
