/* SPDX-License-Identifier: MIT */
/* Rows of the program `cost` (vm.c): processes and threads. */
#define _GNU_SOURCE
#include "vm.h"

#include <alloca.h>
#include <linux/futex.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- rows: processes ------------------------------------------------------------- */

static void wait_for(pid_t pid)
{
	int status;
	if (pid < 0)
		die("fork");
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	if (status) {
		fprintf(stderr, "cost: a child ended with status %x\n", status);
		exit(1);
	}
}

/* In a child, as the stack stays grown. */
void run_stack(const struct row *row)
{
	(void)row;
	pid_t pid = fork();
	if (pid == 0) {
		begin();
		for (unsigned i = 0; i < 256; i++)
			*(volatile char *)alloca(PAGE) = 1;
		end(256);
		_exit(0);
	}
	wait_for(pid);
}

void run_cow_child(const struct row *row)
{
	(void)row;
	char *p = touched(PAGES * PAGE);
	pid_t pid = fork();
	if (pid == 0) {
		begin();
		touch(p, PAGES);
		end(PAGES);
		_exit(0);
	}
	wait_for(pid);
	unmap(p, PAGES * PAGE);
}

void run_cow_reuse(const struct row *row)
{
	(void)row;
	char *p = touched(PAGES * PAGE);
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	wait_for(pid);
	begin();
	touch(p, PAGES);
	end(PAGES);
	unmap(p, PAGES * PAGE);
}

void run_fork(const struct row *row)
{
	char *p = row->bytes ? touched(row->bytes) : NULL;
	begin();
	for (unsigned i = 0; i < TIMES / 2; i++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		wait_for(pid);
	}
	end(TIMES / 2);
	if (p)
		unmap(p, row->bytes);
}

static char *const tiny_argv[] = {(char[]){"tiny"}, NULL}, *const tiny_envp[] = {NULL};

void run_fork_exec(const struct row *row)
{
	(void)row;
	begin();
	for (unsigned i = 0; i < TIMES; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			execve(TINY_PATH, tiny_argv, tiny_envp);
			_exit(1);
		}
		wait_for(pid);
	}
	end(TIMES);
}

void run_vfork_exec(const struct row *row)
{
	(void)row;
	begin();
	for (unsigned i = 0; i < TIMES; i++) {
		pid_t pid = vfork();
		if (pid == 0) {
			execve(TINY_PATH, tiny_argv, tiny_envp);
			_exit(1);
		}
		wait_for(pid);
	}
	end(TIMES);
}

void run_spawn(const struct row *row)
{
	(void)row;
	begin();
	for (unsigned i = 0; i < TIMES; i++) {
		pid_t pid;
		if (posix_spawn(&pid, TINY_PATH, NULL, NULL, tiny_argv, tiny_envp))
			die("posix_spawn");
		wait_for(pid);
	}
	end(TIMES);
}

/* A byte there and a byte back between two processes: one trip. */
void run_pipe(const struct row *row)
{
	(void)row;
	int there[2], back[2];
	char c = 0;
	if (pipe(there) || pipe(back))
		die("pipe");
	pid_t pid = fork();
	if (pid == 0) {
		close(there[1]);
		while (read(there[0], &c, 1) == 1 && write(back[1], &c, 1) == 1)
			;
		_exit(0);
	}
	for (unsigned i = 0; i < CALLS + 2; i++) {
		if (i == 2)
			begin();
		if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1)
			die("pipe");
	}
	end(CALLS);
	close(there[0]), close(there[1]), close(back[0]), close(back[1]);
	wait_for(pid);
}

/* The same between two threads, by a word and futexes: there and back is one trip. */
static uint32_t turn;

static void my_turn(uint32_t me)
{
	uint32_t other = !me;
	while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != me)
		syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, other, NULL, NULL, 0);
}

static void your_turn(uint32_t you)
{
	__atomic_store_n(&turn, you, __ATOMIC_RELEASE);
	syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *play(void *unused)
{
	for (unsigned i = 0; i < CALLS + 2; i++) {
		my_turn(1);
		your_turn(0);
	}
	return unused;
}

void run_threads(const struct row *row)
{
	(void)row;
	pthread_t other;
	turn = 0;
	if (pthread_create(&other, NULL, play, NULL))
		die("pthread_create");
	for (unsigned i = 0; i < CALLS + 2; i++) {
		if (i == 2)
			begin();
		your_turn(1);
		my_turn(0);
	}
	end(CALLS);
	pthread_join(other, NULL);
}
