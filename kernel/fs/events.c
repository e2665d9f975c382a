/* SPDX-License-Identifier: MIT */
/*
 * Files that are only something to wait for: eventfd (a counter) and timerfd (a
 * clock's expirations). Both are a number under an interrupt-off lock, because a
 * timer fires in an interrupt, and a queue.
 */
#include <kernel/account.h>
#include <kernel/iobuf.h>
#include <kernel/log.h>
#include <kernel/uaccess.h>

#include "kernel/fs/fd.h"
#include "kernel/syscall/syscalls.h"

#define EFD_SEMAPHORE           1u
#define EVENT_MAX               (UINT64_MAX - 1)
#define TFD_TIMER_ABSTIME       1u
#define TFD_TIMER_CANCEL_ON_SET 2u

struct event {
	struct mem_lock lock; /* FS_RANK_EVENT, interrupts off */
	uint64_t count;
	bool semaphore;
	struct waitq readable, writable;
	/* timerfd */
	struct ktimer timer;
	struct mutex setting; /* timerfd_settime, one at a time */
	unsigned clock;
	nsec_t due, interval; /* monotonic; due 0: not armed */
};

static unsigned long event_lock(struct event *e)
{
	return mem_lock_irq(&e->lock, FS_RANK_EVENT);
}

static void event_unlock(struct event *e, unsigned long irq)
{
	mem_unlock_irq(&e->lock, FS_RANK_EVENT, irq);
}

/* Take the count (or one of it): 0 if there is none. */
static uint64_t event_take(struct event *e)
{
	unsigned long irq = event_lock(e);
	uint64_t value = e->semaphore ? e->count > 0 : e->count;
	e->count -= value;
	event_unlock(e, irq);
	if (value)
		waitq_wake_all(&e->writable);
	return value;
}

static ssize_t event_read(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	struct event *e = f->data;
	uint64_t value;
	if (bytes < sizeof(value))
		return -EINVAL;
	while (!(value = event_take(e))) {
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		int r = wait_event_interruptible(&e->readable, atomic_read_acquire(&e->count),
						 NSEC_NEVER);
		if (r)
			return r;
	}
	return buffer_out(buffer, &value, sizeof(value)) ? -EFAULT : (ssize_t)sizeof(value);
}

static bool event_add(struct event *e, uint64_t value)
{
	unsigned long irq = event_lock(e);
	bool fits = EVENT_MAX - e->count >= value;
	if (fits)
		e->count += value;
	event_unlock(e, irq);
	if (fits)
		waitq_wake_all(&e->readable);
	return fits;
}

static ssize_t event_write(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	struct event *e = f->data;
	uint64_t value;
	if (bytes < sizeof(value))
		return -EINVAL;
	if (buffer_in(&value, buffer, sizeof(value)))
		return -EFAULT;
	if (value == UINT64_MAX)
		return -EINVAL;
	while (!event_add(e, value)) {
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		int r = wait_event_interruptible(
		    &e->writable, EVENT_MAX - atomic_read_acquire(&e->count) >= value, NSEC_NEVER);
		if (r)
			return r;
	}
	return sizeof(value);
}

static unsigned event_poll(struct file *f, struct waitq *q[2])
{
	struct event *e = f->data;
	uint64_t count = atomic_read_acquire(&e->count);
	if (q) {
		q[0] = &e->readable;
		q[1] = &e->writable;
	}
	return (count ? POLLIN | POLLRDNORM : 0) | (count < EVENT_MAX ? POLLOUT | POLLWRNORM : 0);
}

static void event_release(struct file *f)
{
	account_free(f->data);
}

static const struct file_ops event_ops = {
    .read = event_read,
    .write = event_write,
    .poll = event_poll,
    .release = event_release,
};

/* Give a fresh file with `e` behind it a descriptor; `e` goes if that fails. */
static long event_file(const char *kind, struct event *e, unsigned flags,
		       const struct file_ops *ops)
{
	int error = -ENOMEM, fd = e ? fd_reserve(0) : -ENOMEM;
	struct file *f = NULL;
	if (fd >= 0) {
		f = file_anonymous(kind, 0, O_RDWR | (flags & O_NONBLOCK), ops, e, &error);
		if (f) {
			fd_fill(fd, f, flags & O_CLOEXEC);
			return fd;
		}
		fd_unreserve(fd);
	} else {
		error = fd;
	}
	account_free(e);
	return error;
}

long sys_eventfd2(uint64_t value, uint64_t flags)
{
	if ((unsigned)flags & ~(unsigned)(EFD_SEMAPHORE | O_CLOEXEC | O_NONBLOCK))
		return -EINVAL;
	struct event *e = account_alloc(sizeof(*e));
	if (e) {
		e->count = (uint32_t)value;
		e->semaphore = flags & EFD_SEMAPHORE;
	}
	return event_file("[eventfd]", e, (unsigned)flags, &event_ops);
}

long sys_eventfd(uint64_t value)
{
	return sys_eventfd2(value, 0);
}

/* ---- timerfd -------------------------------------------------------------------------- */

struct user_itimerspec {
	struct user_timespec interval, value;
};

static void timer_fire(void *arg)
{
	struct event *e = arg;
	unsigned long irq = event_lock(e);
	uint64_t times = 1;
	nsec_t now = time_monotonic(), next = 0;
	if (e->interval) {
		if (now > e->due)
			times += (now - e->due) / e->interval;
		e->due += times * e->interval;
		next = mem_max(e->due, now + KTIMER_PERIOD_MIN);
	} else {
		e->due = 0;
	}
	e->count += times;
	event_unlock(e, irq);
	if (next)
		ktimer_arm(&e->timer, next, timer_fire, e);
	waitq_wake_all(&e->readable);
}

static void timer_release(struct file *f)
{
	struct event *e = f->data;
	unsigned long irq = event_lock(e);
	e->interval = 0; /* a handler that runs now does not arm again */
	event_unlock(e, irq);
	(void)ktimer_cancel(&e->timer);
	(void)ktimer_cancel(&e->timer);
	account_free(e);
}

static unsigned timer_poll(struct file *f, struct waitq *q[2])
{
	struct event *e = f->data;
	if (q) {
		q[0] = &e->readable;
		q[1] = NULL;
	}
	return atomic_read_acquire(&e->count) ? POLLIN | POLLRDNORM : 0;
}

static const struct file_ops timer_ops = {
    .read = event_read,
    .poll = timer_poll,
    .release = timer_release,
};

long sys_timerfd_create(uint64_t clock, uint64_t flags)
{
	if ((unsigned)flags & ~(unsigned)(O_CLOEXEC | O_NONBLOCK))
		return -EINVAL;
	if (clock != 0 && clock != 1 && clock != 7) /* REALTIME, MONOTONIC, BOOTTIME */
		return -EINVAL;
	struct event *e = account_alloc(sizeof(*e));
	if (e)
		e->clock = (unsigned)clock;
	return event_file("[timerfd]", e, (unsigned)flags, &timer_ops);
}

static bool good_time(const struct user_timespec *t)
{
	return t->sec >= 0 && t->nsec >= 0 && t->nsec < (int64_t)NSEC_PER_SEC;
}

static nsec_t to_nsec(const struct user_timespec *t)
{
	if (t->sec > (int64_t)(INT64_MAX / NSEC_PER_SEC) - 1)
		return INT64_MAX;
	return (nsec_t)t->sec * NSEC_PER_SEC + (nsec_t)t->nsec;
}

static struct user_timespec from_nsec(nsec_t t)
{
	return (struct user_timespec){(int64_t)(t / NSEC_PER_SEC), (int64_t)(t % NSEC_PER_SEC)};
}

static void timer_show(struct event *e, struct user_itimerspec *out)
{
	unsigned long irq = event_lock(e);
	nsec_t now = time_monotonic(), due = e->due;
	out->interval = from_nsec(e->interval);
	event_unlock(e, irq);
	out->value = from_nsec(!due ? 0 : due > now ? due - now : 1);
}

static void timer_set(struct event *e, const struct user_itimerspec *new, bool absolute)
{
	nsec_t value = to_nsec(&new->value), now = time_monotonic(), due = 0;
	if (value && absolute) {
		nsec_t offset = e->clock == 0 ? time_realtime() - now : 0;
		due = value > offset ? value - offset : 1;
	} else if (value) {
		due = now + value;
	}
	/* Stop the old one for good: its handler may just be arming it again. */
	unsigned long irq = event_lock(e);
	e->interval = 0;
	event_unlock(e, irq);
	(void)ktimer_cancel(&e->timer);
	(void)ktimer_cancel(&e->timer);
	irq = event_lock(e);
	e->count = 0;
	e->due = due;
	e->interval = due ? to_nsec(&new->interval) : 0;
	event_unlock(e, irq);
	if (due)
		ktimer_arm(&e->timer, due, timer_fire, e);
}

static struct file *timer_file(uint64_t fd, int *error)
{
	struct file *f = fd_get((int)fd);
	*error = f ? 0 : -EBADF;
	if (f && f->ops != &timer_ops) {
		file_put(f);
		*error = -EINVAL;
		return NULL;
	}
	return f;
}

long sys_timerfd_settime(uint64_t fd, uint64_t flags, uint64_t new, uint64_t old)
{
	struct user_itimerspec spec, was;
	int error;
	if (flags & ~(uint64_t)(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET))
		return -EINVAL;
	if (copy_from_user(&spec, new, sizeof(spec)))
		return -EFAULT;
	if (!good_time(&spec.value) || !good_time(&spec.interval))
		return -EINVAL;
	struct file *f = timer_file(fd, &error);
	if (!f)
		return error;
	struct event *e = f->data;
	mutex_lock(&e->setting);
	timer_show(e, &was);
	timer_set(e, &spec, flags & TFD_TIMER_ABSTIME);
	mutex_unlock(&e->setting);
	file_put(f);
	return old ? copy_to_user(old, &was, sizeof(was)) : 0;
}

long sys_timerfd_gettime(uint64_t fd, uint64_t now)
{
	struct user_itimerspec spec;
	int error;
	struct file *f = timer_file(fd, &error);
	if (!f)
		return error;
	timer_show(f->data, &spec);
	file_put(f);
	return copy_to_user(now, &spec, sizeof(spec));
}
