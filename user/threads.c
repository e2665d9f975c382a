/* SPDX-License-Identifier: MIT */
/*
 * Threads and futexes: what the C library builds on them, and the calls
 * themselves. Each case runs in a child of its own.
 */
#define _GNU_SOURCE
#pragma GCC diagnostic ignored "-Wunused-parameter" /* cases that need no argument */
#include "check.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <time.h>

#define THREADS 8

static long futex(void *word, int op, int value, const void *timeout, void *second, int value3)
{
	return syscall(SYS_futex, word, op, value, timeout, second, value3);
}

static void sleep_ms(int ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
	nanosleep(&ts, NULL);
}

static void *return_argument(void *argument)
{
	return argument;
}

static void create_and_join(void *unused)
{
	for (int round = 0; round < 50; round++) {
		pthread_t thread[THREADS];
		for (intptr_t i = 0; i < THREADS; i++)
			CHECK(pthread_create(&thread[i], NULL, return_argument, (void *)i) == 0);
		for (intptr_t i = 0; i < THREADS; i++) {
			void *result;
			CHECK(pthread_join(thread[i], &result) == 0 && result == (void *)i);
		}
	}
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long counter;

static void *count_up(void *unused)
{
	for (int i = 0; i < 20000; i++) {
		pthread_mutex_lock(&mutex);
		counter++;
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

static void mutexes(void *unused)
{
	pthread_t thread[THREADS];
	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, count_up, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	CHECK(counter == THREADS * 20000l);
}

static int turn;

static void *take_turns(void *argument)
{
	int self = (int)(intptr_t)argument;
	for (int i = 0; i < 200; i++) {
		pthread_mutex_lock(&mutex);
		while (turn != self)
			pthread_cond_wait(&changed, &mutex);
		turn = (turn + 1) % 4;
		counter++;
		pthread_cond_broadcast(&changed);
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

static void conditions(void *unused)
{
	pthread_t thread[4];
	for (intptr_t i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, take_turns, (void *)i);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	CHECK(counter == 800 && turn == 0);
}

static __thread int own = 5;
static void *change_own(void *argument)
{
	own += (int)(intptr_t)argument;
	sched_yield();
	return (void *)(intptr_t)own;
}

static void thread_local_storage(void *unused)
{
	pthread_t thread[THREADS];
	for (intptr_t i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, change_own, (void *)i);
	for (intptr_t i = 0; i < THREADS; i++) {
		void *result;
		pthread_join(thread[i], &result);
		CHECK((intptr_t)result == 5 + i);
	}
	CHECK(own == 5);
}

static void *sleep_long(void *unused)
{
	for (;;)
		sleep(100);
	return NULL;
}

static void exit_ends_all(void *unused)
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		pthread_t thread;
		for (int i = 0; i < THREADS; i++)
			pthread_create(&thread, NULL, sleep_long, NULL);
		_exit(7);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7);
	pid = fork();
	if (pid == 0) {
		pthread_t thread;
		for (int i = 0; i < THREADS; i++)
			pthread_create(&thread, NULL, sleep_long, NULL);
		sleep_long(NULL);
	}
	sleep_ms(50);
	kill(pid, SIGTERM);
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
	      WTERMSIG(status) == SIGTERM);
}

static void *exec_from_thread(void *name)
{
	execl(name, "threads", "exec-ed", NULL);
	_exit(99);
}

static void exec_ends_others(void *unused)
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		pthread_t thread;
		for (int i = 0; i < 4; i++)
			pthread_create(&thread, NULL, sleep_long, NULL);
		pthread_create(&thread, NULL, exec_from_thread,
			       (void *)(uintptr_t) "/proc/self/exe");
		sleep_long(NULL);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

static void *leave_leader(void *unused)
{
	sleep_ms(50);
	_exit(11);
}

static void leader_may_leave_first(void *unused)
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		pthread_t thread;
		pthread_create(&thread, NULL, leave_leader, NULL);
		syscall(SYS_exit, 3); /* this thread alone */
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 11);
}

static volatile int signalled;
static volatile pid_t signalled_thread;
static void note_thread(int number)
{
	signalled_thread = (pid_t)syscall(SYS_gettid);
	signalled = number;
}

static void *wait_for_signal(void *argument)
{
	*(volatile pid_t *)argument = (pid_t)syscall(SYS_gettid);
	while (!signalled)
		sleep_ms(5);
	return NULL;
}

static void signal_to_thread(void *unused)
{
	pthread_t thread;
	volatile pid_t tid = 0;
	signal(SIGUSR1, note_thread);
	pthread_create(&thread, NULL, wait_for_signal, (void *)(uintptr_t)&tid);
	while (!tid)
		sched_yield();
	CHECK(tid != getpid());
	CHECK(pthread_kill(thread, SIGUSR1) == 0);
	pthread_join(thread, NULL);
	CHECK(signalled == SIGUSR1 && signalled_thread == tid);
}

static void futex_values(void *unused)
{
	static uint32_t word = 5;
	struct timespec soon = {0, 20000000}, bad = {0, 2000000000};
	CHECK(futex(&word, FUTEX_WAIT, 4, NULL, NULL, 0) == -1 && errno == EAGAIN);
	CHECK(futex(&word, FUTEX_WAIT, 5, &soon, NULL, 0) == -1 && errno == ETIMEDOUT);
	CHECK(futex(&word, FUTEX_WAIT, 5, &bad, NULL, 0) == -1 && errno == EINVAL);
	CHECK(futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0) == 0);
	CHECK(futex((char *)&word + 1, FUTEX_WAKE, 1, NULL, NULL, 0) == -1 && errno == EINVAL);
	CHECK(futex((void *)8, FUTEX_WAIT, 0, NULL, NULL, 0) == -1 && errno == EFAULT);
	CHECK(futex((void *)0xffff800000000000, FUTEX_WAKE, 1, NULL, NULL, 0) == -1 &&
	      errno == EFAULT);
	CHECK(futex(&word, FUTEX_WAIT_BITSET, 5, NULL, NULL, 0) == -1 && errno == EINVAL);
	CHECK(futex(&word, 99, 0, NULL, NULL, 0) == -1 && errno == ENOSYS);
	clock_gettime(CLOCK_MONOTONIC, &soon);
	CHECK(futex(&word, FUTEX_WAIT_BITSET, 5, &soon, NULL, -1) == -1 && errno == ETIMEDOUT);
}

static uint32_t first_word, second_word;
static volatile int woken;

static void *wait_first(void *unused)
{
	while (futex(&first_word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0) == -1 &&
	       errno == EINTR)
		continue;
	__atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void wait_until_asleep(int threads)
{
	/* Nobody says when they sleep; requeue counts them without waking any. */
	while (futex(&first_word, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 0,
		     (void *)(uintptr_t)INT_MAX, &first_word, 0) != threads)
		sleep_ms(5);
}

static void requeue(void *unused)
{
	pthread_t thread[4];
	void *one = (void *)(uintptr_t)INT_MAX;
	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, wait_first, NULL);
	wait_until_asleep(4);
	CHECK(futex(&first_word, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 1, one, &second_word, 9) ==
		  -1 &&
	      errno == EAGAIN);
	CHECK(futex(&first_word, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 1, one, &second_word, 0) ==
	      4);
	while (woken < 1)
		sched_yield();
	sleep_ms(20);
	CHECK(woken == 1);
	CHECK(futex(&first_word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 9, NULL, NULL, 0) == 0);
	CHECK(futex(&second_word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 2, NULL, NULL, 0) == 2);
	CHECK(futex(&second_word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 9, NULL, NULL, 0) == 1);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
}

static void wake_op(void *unused)
{
	pthread_t thread;
	pthread_create(&thread, NULL, wait_first, NULL);
	wait_until_asleep(1);
	second_word = 5;
	/* second += 3, and wake there too if it was 5 */
	CHECK(futex(&first_word, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 1, (void *)1, &second_word,
		    FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5)) == 1);
	CHECK(second_word == 8);
	pthread_join(thread, NULL);
}

static void shared_between_processes(void *unused)
{
	uint32_t *word =
	    mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		while (*(volatile uint32_t *)word == 0)
			futex(word, FUTEX_WAIT, 0, NULL, NULL, 0);
		_exit(*word == 1 ? 0 : 1);
	}
	sleep_ms(50);
	__atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
	futex(word, FUTEX_WAKE, 1, NULL, NULL, 0);
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void semaphores_between_processes(void *unused)
{
	sem_t *sem = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(sem_init(sem, 1, 0) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 100; i++)
			sem_post(sem);
		_exit(0);
	}
	for (int i = 0; i < 100; i++)
		CHECK(sem_wait(sem) == 0);
	waitpid(pid, NULL, 0);
}

static pthread_mutex_t robust;
static void *lock_and_die(void *unused)
{
	pthread_mutex_lock(&robust);
	return NULL;
}

static void robust_mutex(void *unused)
{
	pthread_mutexattr_t attributes;
	pthread_t thread;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&robust, &attributes);
	pthread_create(&thread, NULL, lock_and_die, NULL);
	pthread_join(thread, NULL);
	CHECK(pthread_mutex_lock(&robust) == EOWNERDEAD);
	CHECK(pthread_mutex_consistent(&robust) == 0);
	CHECK(pthread_mutex_unlock(&robust) == 0);
}

static void timed_waits(void *unused)
{
	struct timespec until;
	pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 30000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&held);
	CHECK(pthread_mutex_timedlock(&held, &until) == ETIMEDOUT);
	pthread_mutex_unlock(&held);
	pthread_mutex_lock(&mutex);
	CHECK(pthread_cond_timedwait(&changed, &mutex, &until) == ETIMEDOUT);
	pthread_mutex_unlock(&mutex);
}

static void *map_and_unmap(void *unused)
{
	for (int i = 0; i < 50; i++) {
		char *p = anonymous(4 * PAGE, PROT_READ | PROT_WRITE);
		memset(p, i, 4 * PAGE);
		if (p[3 * PAGE] != (char)i)
			counter++;
		munmap(p, 4 * PAGE);
	}
	return NULL;
}

static void map_from_many_threads(void *unused)
{
	pthread_t thread[THREADS];
	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, map_and_unmap, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	CHECK(counter == 0);
}

static void fork_among_threads(void *unused)
{
	pthread_t thread[4];
	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, map_and_unmap, NULL);
	for (int i = 0; i < 20; i++) {
		int status;
		pid_t pid = fork();
		if (pid == 0)
			_exit(i);
		CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == i);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	CHECK(counter == 0);
}

static void clone_flags(void *unused)
{
	CHECK(syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_clone3, NULL, 8) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_clone3, (void *)8, 64) == -1 && errno == EFAULT);
	CHECK(syscall(SYS_clone3, (void *)8, 100000) == -1 && errno == E2BIG);
	CHECK(syscall(SYS_set_robust_list, NULL, 5) == -1 && errno == EINVAL);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "exec-ed"))
		return syscall(SYS_gettid) == getpid() ? 42 : 1;
	run_case("create_and_join", create_and_join);
	run_case("mutexes", mutexes);
	run_case("conditions", conditions);
	run_case("thread_local_storage", thread_local_storage);
	run_case("exit_ends_all", exit_ends_all);
	run_case("exec_ends_others", exec_ends_others);
	run_case("leader_may_leave_first", leader_may_leave_first);
	run_case("signal_to_thread", signal_to_thread);
	run_case("futex_values", futex_values);
	run_case("requeue", requeue);
	run_case("wake_op", wake_op);
	run_case("shared_between_processes", shared_between_processes);
	run_case("semaphores_between_processes", semaphores_between_processes);
	run_case("robust_mutex", robust_mutex);
	run_case("timed_waits", timed_waits);
	run_case("map_from_many_threads", map_from_many_threads);
	run_case("fork_among_threads", fork_among_threads);
	run_case("clone_flags", clone_flags);
	return failures != 0;
}
