/* SPDX-License-Identifier: MIT */
/*
 * poll and select: wait until one of several files is ready.
 *
 * One pass hangs a waiter on every queue of every file, then looks at the
 * files, and sleeps if none is ready; a wake between looking and sleeping is
 * remembered by the scheduler, so nothing is lost. Both calls are the same
 * wait over a list of (file, wanted events); select only writes it differently.
 *
 * The files are held for the whole call: a descriptor that is closed meanwhile
 * by another thread goes on being watched, as on Linux.
 */
#include <kernel/account.h>
#include <kernel/log.h>
#include <kernel/uaccess.h>

#include "kernel/fs/fd.h"
#include "kernel/syscall/syscalls.h"

struct watch {
	struct file *file;
	unsigned wanted, ready;
	struct waitq *queue[2];
	struct waiter waiter[2];
	int fd;
};

unsigned file_poll(struct file *f, struct waitq *q[2])
{
	if (f->ops->poll)
		return f->ops->poll(f, q);
	return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
}

static unsigned look(struct watch *w, size_t count)
{
	unsigned found = 0;
	for (size_t i = 0; i < count; i++) {
		if (w[i].file)
			w[i].ready = file_poll(w[i].file, NULL) & w[i].wanted;
		found += w[i].ready != 0;
	}
	return found;
}

static void hang_waiters(struct watch *w, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (!w[i].file)
			continue;
		(void)file_poll(w[i].file, w[i].queue);
		for (int k = 0; k < 2; k++)
			if (w[i].queue[k])
				waitq_add(w[i].queue[k], &w[i].waiter[k]);
	}
}

static void take_waiters(struct watch *w, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (int k = 0; k < 2; k++)
			if (w[i].queue[k])
				waitq_remove(w[i].queue[k], &w[i].waiter[k]);
}

/* The number of ready ones; 0 after the deadline; -EINTR. */
static long watch_wait(struct watch *w, size_t count, nsec_t deadline)
{
	unsigned found = look(w, count);
	if (found || deadline == 0)
		return found;
	hang_waiters(w, count);
	int r = 0;
	while (!(found = look(w, count)) && !r)
		r = waitq_sleep(true, deadline);
	take_waiters(w, count);
	if (found || r == -ETIMEDOUT || !r)
		return found;
	return -EINTR;
}

static void watch_free(struct watch *w, size_t count, struct watch *few)
{
	for (size_t i = 0; i < count; i++)
		file_put(w[i].file);
	if (w != few)
		account_free(w);
}

/* ---- time ------------------------------------------------------------------------------- */

int nsec_from_user_timespec(uint64_t at, nsec_t *relative, bool *given)
{
	struct user_timespec t;
	*given = at != 0;
	if (!at)
		return 0;
	if (copy_from_user(&t, at, sizeof(t)))
		return -EFAULT;
	if (t.sec < 0 || t.nsec < 0 || t.nsec >= (int64_t)NSEC_PER_SEC)
		return -EINVAL;
	*relative = t.sec > (int64_t)(INT64_MAX / NSEC_PER_SEC)
			? (nsec_t)INT64_MAX
			: (nsec_t)t.sec * NSEC_PER_SEC + (nsec_t)t.nsec;
	return 0;
}

static nsec_t deadline_of(nsec_t relative)
{
	nsec_t end;
	if (!relative)
		return 0;
	if (__builtin_add_overflow(time_monotonic(), relative, &end))
		return NSEC_NEVER - 1;
	return end;
}

static nsec_t left_until(nsec_t deadline)
{
	nsec_t now = time_monotonic();
	return deadline > now ? deadline - now : 0;
}

/* ---- poll --------------------------------------------------------------------------------- */

static long poll_files(uint64_t user, uint64_t count, nsec_t deadline)
{
	struct watch few[6] = {0}, *w = few;
	struct user_pollfd *p;
	if (count > rlimit_soft(current_process(), RLIMIT_NOFILE))
		return -EINVAL;
	p = account_alloc(count * sizeof(*p));
	if (count > ARRAY_COUNT(few))
		w = account_alloc(count * sizeof(*w));
	long r = 0;
	if (!p || !w)
		r = -ENOMEM;
	else if (copy_from_user(p, user, count * sizeof(*p)))
		r = -EFAULT;
	if (r) {
		account_free(p);
		if (w != few)
			account_free(w);
		return r;
	}
	for (size_t i = 0; i < count; i++) {
		w[i].wanted = (uint16_t)p[i].events | POLLERR | POLLHUP;
		w[i].file = p[i].fd >= 0 ? fd_get(p[i].fd) : NULL;
		if (p[i].fd >= 0 && !w[i].file)
			w[i].ready = POLLNVAL;
	}
	r = watch_wait(w, count, deadline);
	for (size_t i = 0; r >= 0 && i < count; i++) {
		p[i].revents = (int16_t)w[i].ready;
		/* Only this field: the rest may be another thread's to change. */
		if (copy_to_user(user + i * sizeof(*p) + 6, &p[i].revents, 2))
			r = -EFAULT;
	}
	watch_free(w, count, few);
	account_free(p);
	return r;
}

static long poll_restart(struct restart_block *b)
{
	long r = poll_files(b->arg[0], b->arg[1], b->arg[2]);
	return r == -EINTR ? -ERESTART_RESTARTBLOCK : r;
}

long sys_poll(uint64_t user, uint64_t count, uint64_t timeout_ms)
{
	int ms = (int)timeout_ms;
	nsec_t deadline = ms < 0 ? NSEC_NEVER : deadline_of((nsec_t)ms * 1000000);
	long r = poll_files(user, (unsigned)count, deadline);
	if (r != -EINTR)
		return r;
	struct restart_block *b = &current_task()->restart;
	b->fn = poll_restart;
	b->arg[0] = user;
	b->arg[1] = (unsigned)count;
	b->arg[2] = deadline;
	return -ERESTART_RESTARTBLOCK;
}

int poll_mask_begin(uint64_t at, uint64_t bytes, bool *set)
{
	sigset_t mask;
	*set = false;
	if (!at)
		return 0;
	if (bytes != sizeof(mask))
		return -EINVAL;
	if (copy_from_user(&mask, at, sizeof(mask)))
		return -EFAULT;
	signal_mask_temporary(mask);
	*set = true;
	return 0;
}

/* The end of a wait with a mask of its own: EINTR lets the handler run first. */
long poll_mask_done(long r, bool masked)
{
	if (r == -EINTR)
		return -ERESTARTNOHAND;
	if (masked)
		signal_mask_restore();
	return r;
}

long sys_ppoll(uint64_t user, uint64_t count, uint64_t timeout, uint64_t mask, uint64_t bytes)
{
	nsec_t relative = 0;
	bool given, masked;
	int error = nsec_from_user_timespec(timeout, &relative, &given);
	if (!error)
		error = poll_mask_begin(mask, bytes, &masked);
	if (error)
		return error;
	nsec_t deadline = given ? deadline_of(relative) : NSEC_NEVER;
	long r = poll_mask_done(poll_files(user, (unsigned)count, deadline), masked);
	if (given && deadline) {
		nsec_t left = left_until(deadline);
		struct user_timespec t = {(int64_t)(left / NSEC_PER_SEC),
					  (int64_t)(left % NSEC_PER_SEC)};
		if (copy_to_user(timeout, &t, sizeof(t)))
			return r; /* as Linux: the answer stands */
	}
	return r;
}

/* ---- select -----------------------------------------------------------------------------------
 */

#define SELECT_IN  (POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR)
#define SELECT_OUT (POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR)
#define SELECT_EX  POLLPRI

static const unsigned set_events[3] = {SELECT_IN, SELECT_OUT, SELECT_EX};

struct select_sets {
	uint64_t user[3];
	uint64_t *in[3], *out[3];
	size_t bytes, count; /* bits */
	uint64_t *all;
};

static int sets_get(struct select_sets *s, int n, const uint64_t user[3])
{
	if (n < 0)
		return -EINVAL;
	/* Beyond the table nothing can be open: Linux does not look there. */
	s->count = mem_min((size_t)n, (size_t)fd_table_slots(current_task()->files));
	s->bytes = (s->count + 63) / 64 * 8;
	s->all = account_alloc(6 * s->bytes);
	if (!s->all)
		return -ENOMEM;
	for (int i = 0; i < 3; i++) {
		s->user[i] = user[i];
		s->in[i] = s->all + i * (s->bytes / 8);
		s->out[i] = s->all + (3 + i) * (s->bytes / 8);
		if (user[i] && copy_from_user(s->in[i], user[i], s->bytes)) {
			account_free(s->all);
			return -EFAULT;
		}
	}
	return 0;
}

static bool bit(const uint64_t *set, size_t i)
{
	return set[i / 64] >> (i % 64) & 1;
}

static long sets_put(struct select_sets *s, struct watch *w, size_t watches)
{
	long bits = 0;
	for (size_t i = 0; i < watches; i++) {
		size_t fd = (size_t)w[i].fd;
		for (int k = 0; k < 3; k++)
			if (bit(s->in[k], fd) && (w[i].ready & set_events[k])) {
				s->out[k][fd / 64] |= 1ull << (fd % 64);
				bits++;
			}
	}
	for (int k = 0; k < 3; k++)
		if (s->user[k] && copy_to_user(s->user[k], s->out[k], s->bytes))
			return -EFAULT;
	return bits;
}

static int sets_watch(struct select_sets *s, struct watch *w, size_t *watches)
{
	size_t n = 0;
	for (size_t fd = 0; fd < s->count; fd++) {
		unsigned wanted = 0;
		for (int k = 0; k < 3; k++)
			if (bit(s->in[k], fd))
				wanted |= set_events[k];
		if (!wanted)
			continue;
		w[n].fd = (int)fd;
		w[n].wanted = wanted;
		w[n].file = fd_get((int)fd);
		if (!w[n++].file) {
			*watches = n;
			return -EBADF;
		}
	}
	*watches = n;
	return 0;
}

static size_t sets_size(const struct select_sets *s)
{
	size_t n = 0;
	for (size_t i = 0; i < s->bytes / 8; i++)
		for (uint64_t w = s->in[0][i] | s->in[1][i] | s->in[2][i]; w; w &= w - 1)
			n++;
	return n;
}

static long select_files(int n, const uint64_t user[3], nsec_t deadline)
{
	struct select_sets s;
	struct watch few[6] = {0}, *w = few;
	size_t watches = 0;
	long r = sets_get(&s, n, user);
	if (r)
		return r;
	size_t most = sets_size(&s);
	if (most > ARRAY_COUNT(few) && !(w = account_alloc(most * sizeof(*w)))) {
		account_free(s.all);
		return -ENOMEM;
	}
	r = sets_watch(&s, w, &watches);
	if (!r) {
		r = watch_wait(w, watches, deadline);
		if (r >= 0)
			r = sets_put(&s, w, watches);
	}
	watch_free(w, watches, few);
	account_free(s.all);
	return r;
}

long sys_select(uint64_t n, uint64_t in, uint64_t out, uint64_t ex, uint64_t timeout)
{
	struct user_timeval t;
	nsec_t deadline = NSEC_NEVER;
	uint64_t user[3] = {in, out, ex};
	if (timeout) {
		if (copy_from_user(&t, timeout, sizeof(t)))
			return -EFAULT;
		if (t.sec < 0 || t.usec < 0)
			return -EINVAL;
		nsec_t most = INT64_MAX / 4, sec = (nsec_t)t.sec + (nsec_t)t.usec / 1000000;
		deadline =
		    deadline_of(sec > most / NSEC_PER_SEC
				    ? most
				    : sec * NSEC_PER_SEC + (nsec_t)(t.usec % 1000000) * 1000);
	}
	long r = select_files((int)n, user, deadline);
	if (timeout && deadline) {
		nsec_t left = left_until(deadline);
		t = (struct user_timeval){(int64_t)(left / NSEC_PER_SEC),
					  (int64_t)(left % NSEC_PER_SEC / 1000)};
		if (copy_to_user(timeout, &t, sizeof(t)))
			return r == -EINTR ? -ERESTARTNOHAND : r;
	}
	return r == -EINTR ? -ERESTARTNOHAND : r;
}

long sys_pselect6(uint64_t n, uint64_t in, uint64_t out, uint64_t ex, uint64_t timeout,
		  uint64_t mask_arg)
{
	uint64_t user[3] = {in, out, ex}, mask[2] = {0, 0};
	nsec_t relative = 0;
	bool given, masked;
	int error = nsec_from_user_timespec(timeout, &relative, &given);
	if (!error && mask_arg && copy_from_user(mask, mask_arg, sizeof(mask)))
		error = -EFAULT;
	if (!error)
		error = poll_mask_begin(mask[0], mask[1], &masked);
	if (error)
		return error;
	nsec_t deadline = given ? deadline_of(relative) : NSEC_NEVER;
	long r = poll_mask_done(select_files((int)n, user, deadline), masked);
	if (given && deadline) {
		nsec_t left = left_until(deadline);
		struct user_timespec t = {(int64_t)(left / NSEC_PER_SEC),
					  (int64_t)(left % NSEC_PER_SEC)};
		if (copy_to_user(timeout, &t, sizeof(t)))
			return r;
	}
	return r;
}
