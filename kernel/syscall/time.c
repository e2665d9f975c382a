/* SPDX-License-Identifier: MIT */
/*
 * Clocks and sleeping.
 *
 * There are two sources: the monotonic clock (since boot, which includes all
 * the sleep there is: MONOTONIC, BOOTTIME and RAW agree) and the offset that
 * makes it the time of day. Coarse clocks are the fine ones. CPU time comes
 * from the scheduler's accounting.
 */
#include "kernel/proc/internal.h"
#include <kernel/uaccess.h>

#include "kernel/syscall/syscalls.h"
#include "kernel/syscall/time.h"

#define NSEC_LIMIT    ((nsec_t)INT64_MAX) /* 292 years: later deadlines are never */
#define CLOCK_TICK_NS 10000000ull         /* 100 a second, for times(2) */

int nsec_from_timespec(const struct timespec_user *ts, nsec_t *out)
{
	if (ts->sec < 0 || ts->nsec < 0 || ts->nsec >= (int64_t)NSEC_PER_SEC)
		return -EINVAL;
	if ((uint64_t)ts->sec >= NSEC_LIMIT / NSEC_PER_SEC)
		*out = NSEC_LIMIT;
	else
		*out = (uint64_t)ts->sec * NSEC_PER_SEC + (uint64_t)ts->nsec;
	return 0;
}

int nsec_from_timeval(const struct timeval_user *tv, nsec_t *out)
{
	if (tv->usec < 0 || tv->usec >= 1000000)
		return -EINVAL;
	struct timespec_user ts = {tv->sec, tv->usec * 1000};
	return nsec_from_timespec(&ts, out);
}

struct timespec_user timespec_from(nsec_t ns)
{
	return (struct timespec_user){(int64_t)(ns / NSEC_PER_SEC), (int64_t)(ns % NSEC_PER_SEC)};
}

struct timeval_user timeval_from(nsec_t ns)
{
	return (struct timeval_user){(int64_t)(ns / NSEC_PER_SEC),
				     (int64_t)(ns % NSEC_PER_SEC / 1000)};
}

int nsec_from_user(uint64_t at, nsec_t *out)
{
	struct timespec_user ts;
	if (copy_from_user(&ts, at, sizeof(ts)))
		return -EFAULT;
	return nsec_from_timespec(&ts, out);
}

/* ---- reading ---- */

/* CPU-time clocks of others: ~pid in the upper bits, 2 in the low ones, 4 for a thread. */
static int read_cpu_clock(int clock, nsec_t *out)
{
	pid_t id = ~(clock >> 3);
	bool thread = clock & 4;
	if ((clock & 3) == 3)
		return -EINVAL;
	nsec_t user = 0, system = 0;
	int error = 0;
	if (thread) {
		unsigned long irq = proc_lock();
		struct task *t = id ? task_find_locked(id) : current_task();
		if (t && t->process == current_process()) {
			user = t->thread.user_ns;
			system = t->thread.system_ns;
		} else {
			error = -EINVAL;
		}
		proc_unlock(irq);
	} else {
		struct process *p = process_find(id ? id : current_process()->pid);
		if (!p)
			return -EINVAL;
		process_times(p, &user, &system);
		process_put(p);
	}
	*out = user + system;
	return error;
}

int clock_read(int clock, nsec_t *out)
{
	nsec_t user, system;
	struct thread *thread = current_thread();
	if (clock < 0)
		return read_cpu_clock(clock, out);
	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_REALTIME_ALARM:
	case CLOCK_TAI:
		*out = time_realtime();
		return 0;
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_BOOTTIME:
	case CLOCK_BOOTTIME_ALARM:
		*out = time_monotonic();
		return 0;
	case CLOCK_PROCESS_CPUTIME_ID:
		process_times(current_process(), &user, &system);
		*out = user + system;
		return 0;
	case CLOCK_THREAD_CPUTIME_ID:
		*out = thread->user_ns + thread->system_ns;
		return 0;
	default:
		return -EINVAL;
	}
}

long sys_clock_gettime(uint64_t clock, uint64_t at)
{
	nsec_t now;
	int error = clock_read((int)clock, &now);
	if (error)
		return error;
	struct timespec_user ts = timespec_from(now);
	return copy_to_user(at, &ts, sizeof(ts));
}

long sys_clock_getres(uint64_t clock, uint64_t at)
{
	nsec_t now;
	int error = clock_read((int)clock, &now);
	if (error || !at)
		return error;
	bool coarse = (int)clock == CLOCK_REALTIME_COARSE || (int)clock == CLOCK_MONOTONIC_COARSE;
	struct timespec_user ts = {0, coarse ? 4000000 : 1};
	return copy_to_user(at, &ts, sizeof(ts));
}

long sys_gettimeofday(uint64_t at, uint64_t zone)
{
	struct timeval_user tv = timeval_from(time_realtime());
	int32_t utc[2] = {0, 0};
	if (at && copy_to_user(at, &tv, sizeof(tv)))
		return -EFAULT;
	return zone ? copy_to_user(zone, utc, sizeof(utc)) : 0;
}

long sys_time(uint64_t at)
{
	int64_t now = (int64_t)(time_realtime() / NSEC_PER_SEC);
	if (at && copy_to_user(at, &now, sizeof(now)))
		return -EFAULT;
	return now;
}

long sys_times(uint64_t at)
{
	struct process *p = current_process();
	nsec_t user, system;
	process_times(p, &user, &system);
	int64_t ticks[4] = {
	    (int64_t)(user / CLOCK_TICK_NS),
	    (int64_t)(system / CLOCK_TICK_NS),
	    (int64_t)(p->child_user_ns / CLOCK_TICK_NS),
	    (int64_t)(p->child_system_ns / CLOCK_TICK_NS),
	};
	if (at && copy_to_user(at, ticks, sizeof(ticks)))
		return -EFAULT;
	return (long)(time_monotonic() / CLOCK_TICK_NS);
}

/* ---- setting ---- */

static long set_clock(nsec_t now)
{
	if (!capable(CAP_SYS_TIME))
		return -EPERM;
	time_set_realtime(now);
	return 0;
}

long sys_clock_settime(uint64_t clock, uint64_t at)
{
	nsec_t now;
	if ((int)clock != CLOCK_REALTIME)
		return -EINVAL;
	int error = nsec_from_user(at, &now);
	return error ? error : set_clock(now);
}

long sys_settimeofday(uint64_t at, uint64_t zone)
{
	struct timeval_user tv;
	nsec_t now;
	(void)zone; /* the kernel keeps UTC */
	if (!at)
		return capable(CAP_SYS_TIME) ? 0 : -EPERM;
	if (copy_from_user(&tv, at, sizeof(tv)))
		return -EFAULT;
	int error = nsec_from_timeval(&tv, &now);
	return error ? error : set_clock(now);
}

struct timex_user {
	uint32_t modes, pad0;
	int64_t offset, freq, maxerror, esterror;
	int32_t status, pad1;
	int64_t constant, precision, tolerance;
	struct timeval_user time;
	int64_t tick, ppsfreq, jitter;
	int32_t shift, pad2;
	int64_t stabil, jitcnt, calcnt, errcnt, stbcnt;
	int32_t tai, pad3[11];
};
_Static_assert(sizeof(struct timex_user) == 208, "struct timex is Linux's");
#define STA_UNSYNC 0x40
#define TIME_ERROR 5

/* The clock runs at the speed it has: its state can be read, not steered. */
static long do_adjtimex(uint64_t at)
{
	struct timex_user t;
	if (copy_from_user(&t, at, sizeof(t)))
		return -EFAULT;
	if (t.modes)
		return capable(CAP_SYS_TIME) ? -EINVAL : -EPERM;
	memset(&t, 0, sizeof(t));
	t.maxerror = t.esterror = 16000000;
	t.status = STA_UNSYNC;
	t.constant = 2;
	t.precision = 1;
	t.tolerance = 32768000;
	t.time = timeval_from(time_realtime());
	t.tick = 10000;
	return copy_to_user(at, &t, sizeof(t)) ? -EFAULT : TIME_ERROR;
}

long sys_adjtimex(uint64_t at)
{
	return do_adjtimex(at);
}

long sys_clock_adjtime(uint64_t clock, uint64_t at)
{
	return (int)clock == CLOCK_REALTIME ? do_adjtimex(at) : -EOPNOTSUPP;
}

/* ---- sleeping ---- */

int deadline_on_clock(int clock, nsec_t ns, bool absolute, nsec_t *deadline)
{
	nsec_t now = time_monotonic();
	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_ALARM:
	case CLOCK_TAI:
		if (absolute) {
			nsec_t today = time_realtime();
			*deadline = ns > today ? nsec_add(now, ns - today) : 0;
			return 0;
		}
		__attribute__((fallthrough));
	case CLOCK_MONOTONIC:
	case CLOCK_BOOTTIME:
	case CLOCK_BOOTTIME_ALARM:
		*deadline = absolute ? ns : nsec_add(now, ns);
		return 0;
	default:
		return -EINVAL;
	}
}

static long sleep_until(nsec_t deadline)
{
	struct waitq nobody = {0};
	int result = wait_event_interruptible(&nobody, signal_pending(), deadline);
	if (result == -ETIMEDOUT || time_monotonic() >= deadline)
		return 0;
	return -ERESTARTSYS;
}

/* arg[0] deadline, arg[1] where to store what is left, or 0 */
static long sleep_again(struct restart_block *block)
{
	nsec_t deadline = block->arg[0];
	if (!sleep_until(deadline))
		return 0;
	nsec_t now = time_monotonic();
	struct timespec_user left = timespec_from(deadline > now ? deadline - now : 0);
	if (block->arg[1] && copy_to_user(block->arg[1], &left, sizeof(left)))
		return -EFAULT;
	return -ERESTART_RESTARTBLOCK;
}

static long sleep_relative(nsec_t deadline, uint64_t left_at)
{
	struct task *t = current_task();
	t->restart.fn = sleep_again;
	t->restart.arg[0] = deadline;
	t->restart.arg[1] = left_at;
	return sleep_again(&t->restart);
}

long sys_restart_syscall(void)
{
	struct restart_block *block = &current_task()->restart;
	return block->fn ? block->fn(block) : -EINTR;
}

long sys_nanosleep(uint64_t at, uint64_t left_at)
{
	nsec_t ns;
	int error = nsec_from_user(at, &ns);
	return error ? error : sleep_relative(nsec_add(time_monotonic(), ns), left_at);
}

/* CPU time only passes while its owner runs: look again now and then. */
static long sleep_on_cpu_clock(int clock, nsec_t ns, bool absolute)
{
	nsec_t now, target;
	if (clock == CLOCK_THREAD_CPUTIME_ID)
		return -EINVAL; /* it would never wake */
	int error = clock_read(clock, &now);
	if (error)
		return error;
	target = absolute ? ns : nsec_add(now, ns);
	while (!clock_read(clock, &now) && now < target) {
		nsec_t step = mem_min(target - now, (nsec_t)4000000);
		if (sleep_until(nsec_add(time_monotonic(), step)))
			return -ERESTARTNOHAND;
	}
	return 0;
}

long sys_clock_nanosleep(uint64_t clock, uint64_t flags, uint64_t at, uint64_t left_at)
{
	nsec_t ns, deadline;
	bool absolute = flags & TIMER_ABSTIME;
	int error = nsec_from_user(at, &ns);
	if (error)
		return error;
	if ((int)clock < 0 || (int)clock == CLOCK_PROCESS_CPUTIME_ID ||
	    (int)clock == CLOCK_THREAD_CPUTIME_ID)
		return sleep_on_cpu_clock((int)clock, ns, absolute);
	error = deadline_on_clock((int)clock, ns, absolute, &deadline);
	if (error) { /* clocks that exist but cannot be slept on */
		nsec_t now;
		return clock_read((int)clock, &now) ? -EINVAL : -EOPNOTSUPP;
	}
	if (!absolute)
		return sleep_relative(deadline, left_at);
	return sleep_until(deadline) ? -ERESTARTNOHAND : 0;
}
