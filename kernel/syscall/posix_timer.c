/* SPDX-License-Identifier: MIT */
/*
 * timer_create and its family.
 *
 * A timer belongs to a process, in a hash table under posix_lock, and is a kernel
 * timer that sends a signal. Expirations while its signal is still pending are
 * not sent again but counted: the overrun. Interrupt context touches only the
 * fields marked (I), all of them words. Its signal's node is made with it, so that a full
 * queue refuses the timer and not its signal.
 *
 * Timers on CPU clocks are not offered (EOPNOTSUPP): setitimer has those that
 * programs use.
 */
#include "kernel/proc/internal.h"
#include <kernel/account.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>

#include "kernel/syscall/syscalls.h"
#include "kernel/syscall/time.h"

#define SIGEV_SIGNAL    0
#define SIGEV_NONE      1
#define SIGEV_THREAD_ID 4
#define TIMERS_MAX      1024
#define BUCKETS         128 /* of a process that has timers */
#define OVERRUN_MAX     INT32_MAX

struct posix_timer {
	struct list link;
	struct process *process;
	int32_t id;
	int clock;
	int notify, sig;
	pid_t tid; /* SIGEV_THREAD_ID */
	uint64_t value;
	struct ktimer timer;
	nsec_t deadline, interval; /* (I) */
	uint32_t overrun;          /* (I) since the signal was sent */
	uint32_t last_overrun;
	struct siginfo_node *node;
	struct account *account;
};

struct sigevent_user {
	uint64_t value;
	int32_t signo, notify;
	int32_t tid, pad[11];
};
_Static_assert(sizeof(struct sigevent_user) == 64, "struct sigevent is Linux's");

static void notify(struct posix_timer *timer, uint32_t expirations)
{
	struct siginfo *info = &timer->node->info;
	unsigned long irq = proc_lock();
	struct task *t = NULL;
	if (timer->notify == SIGEV_THREAD_ID) {
		t = task_find_locked(timer->tid);
		if (!t || t->process != timer->process) {
			proc_unlock(irq);
			return;
		}
	}
	if (timer->node->queued) {
		timer->overrun += expirations;
	} else {
		timer->last_overrun = timer->overrun + expirations - 1;
		timer->overrun = 0;
		*info = (struct siginfo){.signo = timer->sig, .code = SI_TIMER};
		info->timer.id = timer->id;
		info->timer.value = timer->value;
		info->timer.overrun = (int32_t)mem_min(timer->last_overrun, (uint32_t)OVERRUN_MAX);
		signal_send_node_locked(timer->process, t, timer->node);
	}
	proc_unlock(irq);
}

static void timer_fires(void *arg)
{
	struct posix_timer *timer = arg;
	nsec_t now = time_monotonic(), interval = timer->interval;
	uint64_t expirations = 1;
	if (interval) {
		if (now > timer->deadline)
			expirations += (now - timer->deadline) / interval;
		timer->deadline += expirations * interval;
		ktimer_arm(&timer->timer, mem_max(timer->deadline, now + KTIMER_PERIOD_MIN),
			   timer_fires, timer);
	} else {
		timer->deadline = 0;
	}
	if (timer->notify != SIGEV_NONE)
		notify(timer, (uint32_t)mem_min(expirations, (uint64_t)OVERRUN_MAX));
}

static void disarm(struct posix_timer *timer)
{
	timer->interval = 0;
	timer_stop(&timer->timer);
	timer->deadline = 0;
}

/* Under posix_lock. */
static struct posix_timer *find(struct process *p, int32_t id)
{
	if (!p->posix_timers)
		return NULL;
	list_for_each (link, &p->posix_timers[(uint32_t)id % BUCKETS]) {
		struct posix_timer *timer = list_entry(link, struct posix_timer, link);
		if (timer->id == id)
			return timer;
	}
	return NULL;
}

static void timer_free(struct posix_timer *timer)
{
	account_give(timer->account, sizeof(*timer));
	unsigned long irq = proc_lock();
	if (timer->node)
		signal_node_release_locked(timer->node);
	proc_unlock(irq);
	kfree(timer);
}

static struct posix_timer *timer_new(struct process *p, int clock)
{
	struct posix_timer *timer = kzalloc(sizeof(*timer));
	if (!timer)
		return NULL;
	timer->process = p;
	timer->clock = clock;
	signal_nodes_settle();
	unsigned long irq = proc_lock();
	timer->node = signal_node_create_locked(p, false);
	if (timer->node)
		timer->node->kept = true;
	proc_unlock(irq);
	if (timer->node) {
		timer->account = account_take(sizeof(*timer));
		return timer;
	}
	kfree(timer);
	return NULL;
}

void posix_timers_exec(struct process *p)
{
	mutex_lock(&p->posix_lock);
	struct list *buckets = p->posix_timers;
	for (unsigned i = 0; buckets && i < BUCKETS; i++) {
		list_for_each_safe (link, &buckets[i]) {
			struct posix_timer *timer = list_entry(link, struct posix_timer, link);
			disarm(timer);
			list_remove(link);
			timer_free(timer);
		}
	}
	p->posix_timers = NULL;
	p->posix_timer_count = 0;
	mutex_unlock(&p->posix_lock);
	kfree(buckets);
}

static long set_event(struct posix_timer *timer, uint64_t event_at)
{
	struct sigevent_user event = {.signo = SIGALRM, .notify = SIGEV_SIGNAL};
	if (event_at && copy_from_user(&event, event_at, sizeof(event)))
		return -EFAULT;
	if (!event_at)
		event.value = (uint64_t)timer->id;
	int kind = event.notify;
	if (kind != SIGEV_SIGNAL && kind != SIGEV_NONE && kind != SIGEV_THREAD_ID)
		return -EINVAL;
	if (kind != SIGEV_NONE && (event.signo < 1 || event.signo >= NSIG))
		return -EINVAL;
	if (kind == SIGEV_THREAD_ID) {
		unsigned long irq = proc_lock();
		struct task *t = task_find_locked(event.tid);
		bool ours = t && t->process == timer->process;
		proc_unlock(irq);
		if (!ours)
			return -EINVAL;
	}
	timer->notify = kind;
	timer->sig = event.signo;
	timer->tid = event.tid;
	timer->value = event.value;
	return 0;
}

/* A number and a place for one more. */
static long timer_place(struct process *p, struct posix_timer *timer)
{
	if (p->posix_timer_count >= TIMERS_MAX)
		return -EAGAIN;
	if (!p->posix_timers) {
		p->posix_timers = kmalloc(BUCKETS * sizeof(struct list));
		if (!p->posix_timers)
			return -EAGAIN;
		for (unsigned i = 0; i < BUCKETS; i++)
			list_init(&p->posix_timers[i]);
	}
	while (find(p, p->posix_next_id))
		p->posix_next_id = (p->posix_next_id + 1) & INT32_MAX;
	timer->id = p->posix_next_id;
	return 0;
}

long sys_timer_create(uint64_t clock, uint64_t event_at, uint64_t id_at)
{
	struct process *p = current_process();
	nsec_t now;
	if (clock_read((int)clock, &now))
		return -EINVAL;
	if (deadline_on_clock((int)clock, 0, false, &now))
		return -EOPNOTSUPP;
	struct posix_timer *timer = timer_new(p, (int)clock);
	if (!timer)
		return -EAGAIN;
	mutex_lock(&p->posix_lock);
	long error = timer_place(p, timer);
	if (!error)
		error = set_event(timer, event_at);
	if (!error && copy_to_user(id_at, &timer->id, sizeof(timer->id)))
		error = -EFAULT;
	if (!error) {
		p->posix_next_id = (p->posix_next_id + 1) & INT32_MAX;
		list_push_back(&p->posix_timers[(uint32_t)timer->id % BUCKETS], &timer->link);
		p->posix_timer_count++;
	}
	mutex_unlock(&p->posix_lock);
	if (error)
		timer_free(timer);
	return error;
}

static struct itimerspec_user read_timer(const struct posix_timer *timer)
{
	nsec_t now = time_monotonic(), left = 0;
	if (timer->deadline)
		left = timer->deadline > now ? timer->deadline - now : 1;
	return (struct itimerspec_user){timespec_from(timer->interval), timespec_from(left)};
}

long sys_timer_settime(uint64_t id, uint64_t flags, uint64_t new_at, uint64_t old_at)
{
	struct process *p = current_process();
	struct itimerspec_user new, old;
	nsec_t value, interval, deadline = 0;
	if (!new_at)
		return -EINVAL;
	if (copy_from_user(&new, new_at, sizeof(new)))
		return -EFAULT;
	if (nsec_from_timespec(&new.value, &value) || nsec_from_timespec(&new.interval, &interval))
		return -EINVAL;
	mutex_lock(&p->posix_lock);
	struct posix_timer *timer = find(p, (int32_t)id);
	long error = timer ? 0 : -EINVAL;
	if (!error && value)
		error = deadline_on_clock(timer->clock, value, flags & TIMER_ABSTIME, &deadline);
	if (!error) {
		old = read_timer(timer);
		disarm(timer);
		timer->overrun = timer->last_overrun = 0;
		if (value) {
			timer->deadline = deadline;
			timer->interval = interval;
			ktimer_arm(&timer->timer, deadline, timer_fires, timer);
		}
	}
	mutex_unlock(&p->posix_lock);
	if (!error && old_at)
		error = copy_to_user(old_at, &old, sizeof(old));
	return error;
}

long sys_timer_gettime(uint64_t id, uint64_t at)
{
	struct process *p = current_process();
	struct itimerspec_user now;
	mutex_lock(&p->posix_lock);
	struct posix_timer *timer = find(p, (int32_t)id);
	if (timer)
		now = read_timer(timer);
	mutex_unlock(&p->posix_lock);
	return timer ? copy_to_user(at, &now, sizeof(now)) : -EINVAL;
}

long sys_timer_getoverrun(uint64_t id)
{
	struct process *p = current_process();
	mutex_lock(&p->posix_lock);
	struct posix_timer *timer = find(p, (int32_t)id);
	long result = timer ? (long)timer->last_overrun : -EINVAL;
	mutex_unlock(&p->posix_lock);
	return result;
}

long sys_timer_delete(uint64_t id)
{
	struct process *p = current_process();
	mutex_lock(&p->posix_lock);
	struct posix_timer *timer = find(p, (int32_t)id);
	if (timer) {
		list_remove(&timer->link);
		p->posix_timer_count--;
		disarm(timer);
	}
	mutex_unlock(&p->posix_lock);
	if (timer)
		timer_free(timer);
	return timer ? 0 : -EINVAL;
}
