/* SPDX-License-Identifier: MIT */
/*
 * Interval timers and the CPU limit.
 *
 * ITIMER_REAL is a kernel timer of the process; its handler, in interrupt
 * context, sends SIGALRM and arms it again. ITIMER_VIRTUAL, ITIMER_PROF and
 * RLIMIT_CPU count CPU time: they are looked at when a task of the process goes
 * back to user mode, which it does at every tick, if cpu_timers_armed says that
 * there is any.
 */
#include "kernel/proc/internal.h"
#include <kernel/uaccess.h>

#include "kernel/syscall/syscalls.h"
#include "kernel/syscall/time.h"

enum { ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF };

static void alarm_fires(void *arg)
{
	struct process *p = arg;
	nsec_t interval = p->alarm_interval;
	signal_send_process(p, SIGALRM, NULL);
	if (interval) {
		nsec_t now = time_monotonic(), next = p->alarm.deadline + interval;
		if (next <= now) /* late by more than a period: keep the phase, skip the rest */
			next = now + interval - (now - p->alarm.deadline) % interval;
		ktimer_arm(&p->alarm, mem_max(next, now + KTIMER_PERIOD_MIN), alarm_fires, p);
	}
}

static void read_real(struct process *p, nsec_t *value, nsec_t *interval)
{
	nsec_t now = time_monotonic();
	*value = 0;
	if (p->alarm.armed)
		*value = p->alarm.deadline > now ? p->alarm.deadline - now : 1;
	*interval = p->alarm_interval;
}

/* Set ITIMER_REAL; what it was goes to the out parameters. */
static void set_real(struct process *p, nsec_t value, nsec_t interval, nsec_t *old_value,
		     nsec_t *old_interval)
{
	mutex_lock(&p->alarm_lock);
	read_real(p, old_value, old_interval);
	p->alarm_interval = 0; /* a handler that runs now must not arm it again */
	timer_stop(&p->alarm);
	p->alarm_interval = value ? interval : 0;
	if (value)
		ktimer_arm(&p->alarm, nsec_add(time_monotonic(), value), alarm_fires, p);
	mutex_unlock(&p->alarm_lock);
}

/* CPU time that the timer counts: user, or all. */
static nsec_t cpu_time(struct process *p, int which)
{
	nsec_t user, system;
	process_times(p, &user, &system);
	return which == ITIMER_VIRTUAL ? user : user + system;
}

static void read_cpu(struct process *p, int which, nsec_t *value, nsec_t *interval)
{
	const struct cpu_timer *timer = &p->cpu_timer[which - ITIMER_VIRTUAL];
	nsec_t now = cpu_time(p, which);
	*value = !timer->expires ? 0 : timer->expires > now ? timer->expires - now : 1;
	*interval = timer->interval;
}

static void set_cpu(struct process *p, int which, nsec_t value, nsec_t interval)
{
	nsec_t now = cpu_time(p, which);
	unsigned long irq = proc_lock();
	struct cpu_timer *timer = &p->cpu_timer[which - ITIMER_VIRTUAL];
	timer->expires = value ? nsec_add(now, value) : 0;
	timer->interval = value ? interval : 0;
	p->cpu_timers_armed = true; /* the check clears it if there is nothing */
	proc_unlock(irq);
}

static void check_one(struct process *p, int which, int sig)
{
	struct cpu_timer *timer = &p->cpu_timer[which - ITIMER_VIRTUAL];
	if (!timer->expires)
		return;
	nsec_t now = cpu_time(p, which);
	bool fires = false;
	unsigned long irq = proc_lock();
	if (timer->expires && now >= timer->expires) {
		fires = true;
		timer->expires = timer->interval ? nsec_add(now, timer->interval) : 0;
	}
	proc_unlock(irq);
	if (fires)
		signal_send_process(p, sig, NULL);
}

/* SIGXCPU at the soft limit and every second after it, SIGKILL at the hard one. */
static void check_limit(struct process *p)
{
	uint64_t soft = p->rlimit[RLIMIT_CPU][0], hard = p->rlimit[RLIMIT_CPU][1];
	if (soft == RLIM_INFINITY && hard == RLIM_INFINITY)
		return;
	nsec_t now = cpu_time(p, ITIMER_PROF);
	uint64_t seconds = now / NSEC_PER_SEC;
	if (seconds >= hard) {
		signal_send_process(p, SIGKILL, NULL);
	} else if (seconds >= soft && now >= p->cpu_limit_next) {
		p->cpu_limit_next = now + NSEC_PER_SEC;
		signal_send_process(p, SIGXCPU, NULL);
	}
}

void cpu_timers_check(struct process *p)
{
	check_one(p, ITIMER_VIRTUAL, SIGVTALRM);
	check_one(p, ITIMER_PROF, SIGPROF);
	check_limit(p);
	unsigned long irq = proc_lock();
	p->cpu_timers_armed = p->cpu_timer[0].expires || p->cpu_timer[1].expires ||
			      p->rlimit[RLIMIT_CPU][0] != RLIM_INFINITY ||
			      p->rlimit[RLIMIT_CPU][1] != RLIM_INFINITY;
	proc_unlock(irq);
}

void process_timers_exit(struct process *p)
{
	p->alarm_interval = 0;
	timer_stop(&p->alarm);
	posix_timers_exec(p);
}

/* ---- the calls ---- */

static int copy_out(uint64_t at, nsec_t value, nsec_t interval)
{
	struct itimerval_user it = {timeval_from(interval), timeval_from(value)};
	if (value && !it.value.sec && !it.value.usec)
		it.value.usec = 1; /* armed, so not zero */
	return copy_to_user(at, &it, sizeof(it));
}

static void read_timer(struct process *p, int which, nsec_t *value, nsec_t *interval)
{
	if (which == ITIMER_REAL)
		read_real(p, value, interval);
	else
		read_cpu(p, which, value, interval);
}

long sys_getitimer(uint64_t which, uint64_t at)
{
	nsec_t value, interval;
	if ((int)which < ITIMER_REAL || (int)which > ITIMER_PROF)
		return -EINVAL;
	read_timer(current_process(), (int)which, &value, &interval);
	return copy_out(at, value, interval);
}

long sys_setitimer(uint64_t which, uint64_t new_at, uint64_t old_at)
{
	struct process *p = current_process();
	struct itimerval_user it = {0};
	nsec_t value = 0, interval = 0, old_value, old_interval;
	if (new_at && copy_from_user(&it, new_at, sizeof(it)))
		return -EFAULT;
	if (nsec_from_timeval(&it.value, &value) || nsec_from_timeval(&it.interval, &interval))
		return -EINVAL;
	if ((int)which < ITIMER_REAL || (int)which > ITIMER_PROF)
		return -EINVAL;
	if ((int)which == ITIMER_REAL) {
		set_real(p, value, interval, &old_value, &old_interval);
	} else {
		read_cpu(p, (int)which, &old_value, &old_interval);
		set_cpu(p, (int)which, value, interval);
	}
	return old_at ? copy_out(old_at, old_value, old_interval) : 0;
}

long sys_alarm(uint64_t seconds)
{
	nsec_t old_value, old_interval;
	set_real(current_process(), (uint64_t)(uint32_t)seconds * NSEC_PER_SEC, 0, &old_value,
		 &old_interval);
	/* Rounded, but never to 0 if it was armed. */
	uint64_t left = (old_value + NSEC_PER_SEC / 2) / NSEC_PER_SEC;
	return (long)(old_value && !left ? 1 : left);
}
