/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_SYSCALL_TIME_H
#define KERNEL_SYSCALL_TIME_H
/* Time between Linux's structs and nanoseconds. */
#include <kernel/sched.h>
#include <kernel/types.h>

struct timespec_user {
	int64_t sec, nsec;
};
struct timeval_user {
	int64_t sec, usec;
};
struct itimerval_user {
	struct timeval_user interval, value;
};
struct itimerspec_user {
	struct timespec_user interval, value;
};

enum {
	CLOCK_REALTIME,
	CLOCK_MONOTONIC,
	CLOCK_PROCESS_CPUTIME_ID,
	CLOCK_THREAD_CPUTIME_ID,
	CLOCK_MONOTONIC_RAW,
	CLOCK_REALTIME_COARSE,
	CLOCK_MONOTONIC_COARSE,
	CLOCK_BOOTTIME,
	CLOCK_REALTIME_ALARM,
	CLOCK_BOOTTIME_ALARM,
	CLOCK_TAI = 11,
};
#define TIMER_ABSTIME 1

/* -EINVAL for what is no time; saturates far below NSEC_NEVER. */
int nsec_from_timespec(const struct timespec_user *ts, nsec_t *out);
int nsec_from_timeval(const struct timeval_user *tv, nsec_t *out);
struct timespec_user timespec_from(nsec_t ns);
struct timeval_user timeval_from(nsec_t ns);
/* Read a timespec from the user: -EFAULT, -EINVAL. */
int nsec_from_user(uint64_t at, nsec_t *out);
/* The monotonic deadline of `ns` on a clock, from now or absolute. -EINVAL: not a clock
 * to sleep on. */
int deadline_on_clock(int clock, nsec_t ns, bool absolute, nsec_t *deadline);
/* What a clock says. -EINVAL: no such clock. */
int clock_read(int clock, nsec_t *out);
static inline nsec_t nsec_add(nsec_t a, nsec_t b)
{
	nsec_t sum;
	return __builtin_add_overflow(a, b, &sum) || sum >= NSEC_NEVER ? NSEC_NEVER - 1 : sum;
}
#endif
