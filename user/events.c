/* SPDX-License-Identifier: MIT */
/* eventfd, timerfd and epoll, as far as they differ from a pipe. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>

static void events(void *u __attribute__((unused)))
{
	int e = eventfd(3, EFD_NONBLOCK);
	uint64_t v;
	CHECK(read(e, &v, 8) == 8 && v == 3);
	CHECK(read(e, &v, 8) == -1 && errno == EAGAIN);
	v = 5;
	CHECK(write(e, &v, 8) == 8);
	v = 7;
	CHECK(write(e, &v, 8) == 8);
	CHECK(read(e, &v, 8) == 8 && v == 12);
	v = -1ull;
	CHECK(write(e, &v, 8) == -1 && errno == EINVAL);
	v = -2ull;
	CHECK(write(e, &v, 8) == 8);
	v = 1;
	CHECK(write(e, &v, 8) == -1 && errno == EAGAIN);
	int s = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
	CHECK(read(s, &v, 8) == 8 && v == 1);
	CHECK(read(s, &v, 8) == 8 && v == 1);
	CHECK(read(s, &v, 8) == -1);
	CHECK(read(s, &v, 7) == -1 && errno == EINVAL);
	int b = eventfd(0, 0);
	if (fork() == 0) {
		usleep(50000);
		v = 9;
		write(b, &v, 8);
		_exit(0);
	}
	CHECK(read(b, &v, 8) == 8 && v == 9);
	wait(NULL);
}
static void timers(void *u __attribute__((unused)))
{
	int t = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec i = {{0, 20000000}, {0, 50000000}};
	uint64_t v;
	CHECK(timerfd_settime(t, 0, &i, NULL) == 0);
	CHECK(read(t, &v, 8) == 8 && v >= 1);
	usleep(100000);
	CHECK(read(t, &v, 8) == 8 && v >= 3);
	struct itimerspec c;
	CHECK(timerfd_gettime(t, &c) == 0 && c.it_interval.tv_nsec == 20000000 &&
	      c.it_value.tv_nsec > 0);
	memset(&i, 0, sizeof i);
	CHECK(timerfd_settime(t, 0, &i, NULL) == 0);
	fcntl(t, F_SETFL, O_NONBLOCK);
	CHECK(read(t, &v, 8) == -1 && errno == EAGAIN);
	CHECK(timerfd_create(99, 0) == -1 && errno == EINVAL);
	clock_gettime(CLOCK_MONOTONIC, &i.it_value);
	CHECK(timerfd_settime(t, TFD_TIMER_ABSTIME, &i, NULL) == 0);
	usleep(10000);
	CHECK(read(t, &v, 8) == 8 && v == 1);
	struct pollfd p = {t, POLLIN, 0};
	i.it_value = (struct timespec){1000, 0};
	timerfd_settime(t, 0, &i, NULL);
	CHECK(poll(&p, 1, 0) == 0);
	i.it_value = (struct timespec){0, 30000000};
	timerfd_settime(t, 0, &i, NULL);
	CHECK(poll(&p, 1, -1) == 1);
	close(t);
}
static void sets(void *u __attribute__((unused)))
{
	int e = epoll_create1(0), p[2];
	pipe(p);
	struct epoll_event v = {EPOLLIN, {.u64 = 42}}, o[4];
	CHECK(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &v) == 0);
	CHECK(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &v) == -1 && errno == EEXIST);
	CHECK(epoll_ctl(e, EPOLL_CTL_MOD, p[1], &v) == -1 && errno == ENOENT);
	CHECK(epoll_wait(e, o, 4, 0) == 0);
	CHECK(epoll_wait(e, o, 4, 20) == 0);
	write(p[1], "x", 1);
	CHECK(epoll_wait(e, o, 4, -1) == 1 && o[0].data.u64 == 42 && o[0].events == EPOLLIN);
	CHECK(epoll_wait(e, o, 4, 0) == 1);
	char c;
	read(p[0], &c, 1);
	v.events = EPOLLIN | EPOLLONESHOT;
	CHECK(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &v) == 0);
	if (fork() == 0) {
		usleep(50000);
		write(p[1], "y", 1);
		_exit(0);
	}
	CHECK(epoll_wait(e, o, 4, -1) == 1);
	CHECK(epoll_wait(e, o, 4, 0) == 0);
	wait(NULL);
	CHECK(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &v) == 0);
	CHECK(epoll_wait(e, o, 4, 0) == 1);
	v.events = EPOLLOUT;
	v.data.u64 = 7;
	CHECK(epoll_ctl(e, EPOLL_CTL_ADD, p[1], &v) == 0);
	CHECK(epoll_wait(e, o, 4, 0) == 1 && o[0].data.u64 == 7);
	close(p[1]);
	close(p[0]);
	CHECK(epoll_wait(e, o, 4, 0) == 0);
	CHECK(epoll_wait(e, o, 0, 0) == -1 && errno == EINVAL);
	CHECK(epoll_ctl(e, EPOLL_CTL_ADD, open("/tmp", O_RDONLY), &v) == -1 && errno == EPERM);
	CHECK(epoll_ctl(e, EPOLL_CTL_ADD, 99, &v) == -1 && errno == EBADF);
}
int main(void)
{
	run_case("events", events);
	run_case("timers", timers);
	run_case("sets", sets);
	return failures != 0;
}
