/* SPDX-License-Identifier: MIT */
/*
 * Advisory locks on files: flock (whole files, owned by the open file), POSIX
 * record locks (ranges, owned by a descriptor table, that is, a process), and
 * OFD locks (ranges, owned by the open file).
 *
 * All are entries of one list per inode, under inode->lock. A range request by
 * an owner first cuts its own entries out of the range, then adds what is
 * asked for; two spare entries, allocated before anything changes, are all
 * that cutting and adding can need. Waiting is for "the list changed".
 *
 * Two processes that wait for each other's record locks are told EDEADLK on
 * Linux by a search over who waits for whom. Here they wait until a signal
 * ends it; programs cannot rely on the search, which POSIX leaves optional.
 */
#include "kernel/fs/lock.h"

#include <kernel/account.h>
#include <kernel/log.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>

#include "kernel/syscall/syscalls.h"

enum lock_kind { LOCK_FLOCK, LOCK_RANGE };

struct file_lock {
	struct file_lock *next;
	enum lock_kind kind;
	const void *owner; /* struct file or struct fd_table */
	pid_t pid;         /* -1: an open file's */
	bool exclusive;
	uint64_t start, last; /* bytes, inclusive */
	struct account *account;
};

static struct file_lock *lock_new(void)
{
	struct file_lock *l = kzalloc(sizeof(*l));
	if (l)
		l->account = account_take(sizeof(*l));
	return l;
}

static void lock_free(struct file_lock *l)
{
	if (l)
		account_give(l->account, sizeof(*l));
	kfree(l);
}

/* Make one say what another does. */
static void lock_copy(struct file_lock *to, const struct file_lock *from)
{
	struct account *account = to->account;
	*to = *from;
	to->account = account;
}

static bool clashes(const struct file_lock *a, const struct file_lock *b)
{
	return a->kind == b->kind && a->owner != b->owner && (a->exclusive || b->exclusive) &&
	       a->start <= b->last && b->start <= a->last;
}

static struct file_lock *find_clash(struct inode *inode, const struct file_lock *want)
{
	for (struct file_lock *l = inode->locks; l; l = l->next)
		if (clashes(l, want))
			return l;
	return NULL;
}

/* Take [start, last] away from what `want`'s owner holds. Uses *spare if one
 * entry must become two. */
static void cut(struct inode *inode, const struct file_lock *want, struct file_lock **spare)
{
	struct file_lock **at = &inode->locks;
	while (*at) {
		struct file_lock *l = *at;
		if (l->kind != want->kind || l->owner != want->owner || l->last < want->start ||
		    l->start > want->last) {
			at = &l->next;
			continue;
		}
		bool before = l->start<want->start, after = l->last> want->last;
		if (before && after) {
			struct file_lock *rest = *spare;
			*spare = NULL;
			lock_copy(rest, l);
			rest->start = want->last + 1;
			l->last = want->start - 1;
			l->next = rest;
			at = &rest->next;
		} else if (before) {
			l->last = want->start - 1;
			at = &l->next;
		} else if (after) {
			l->start = want->last + 1;
			at = &l->next;
		} else {
			*at = l->next;
			lock_free(l);
		}
	}
}

/* Lock (or with `unlock` only cut). 0, -EAGAIN if it clashes. inode->lock held. */
static int apply(struct inode *inode, const struct file_lock *want, bool unlock,
		 struct file_lock *spare[2])
{
	if (!unlock && find_clash(inode, want))
		return -EAGAIN;
	cut(inode, want, &spare[0]);
	if (!unlock) {
		struct file_lock *l = spare[1];
		spare[1] = NULL;
		lock_copy(l, want);
		l->next = inode->locks;
		inode->locks = l;
	}
	return 0;
}

static int lock_set(struct inode *inode, const struct file_lock *want, bool unlock, bool wait)
{
	struct file_lock *spare[2] = {lock_new(), lock_new()};
	int r = spare[0] && spare[1] ? 0 : -ENOLCK;
	struct waiter w;
	if (!r) {
		waitq_add(&inode->lock_wait, &w);
		for (;;) {
			mutex_lock(&inode->lock);
			r = apply(inode, want, unlock, spare);
			mutex_unlock(&inode->lock);
			if (r != -EAGAIN || !wait)
				break;
			r = waitq_sleep(true, NSEC_NEVER);
			if (r)
				break;
		}
		waitq_remove(&inode->lock_wait, &w);
	}
	lock_free(spare[0]);
	lock_free(spare[1]);
	if (!r)
		waitq_wake_all(&inode->lock_wait);
	return r;
}

static void drop_owner(struct inode *inode, const void *owner)
{
	if (!atomic_read_relaxed(&inode->locks))
		return;
	for (int kind = LOCK_FLOCK; kind <= LOCK_RANGE; kind++) {
		struct file_lock all = {.kind = (enum lock_kind)kind,
					.owner = owner,
					.last = UINT64_MAX},
				 *none = NULL;
		mutex_lock(&inode->lock);
		cut(inode, &all, &none); /* whole entries only: needs no spare */
		mutex_unlock(&inode->lock);
	}
	waitq_wake_all(&inode->lock_wait);
}

void file_locks_close(struct file *f, struct fd_table *owner)
{
	drop_owner(f->inode, owner);
}

void file_locks_release(struct file *f)
{
	drop_owner(f->inode, f);
}

long sys_flock(uint64_t fd, uint64_t operation)
{
	unsigned op = (unsigned)operation & ~(unsigned)LOCK_NB;
	if (op != LOCK_SH && op != LOCK_EX && op != LOCK_UN)
		return -EINVAL;
	struct file *f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	struct file_lock want = {.kind = LOCK_FLOCK,
				 .owner = f,
				 .pid = -1,
				 .exclusive = op == LOCK_EX,
				 .last = UINT64_MAX};
	int r = lock_set(f->inode, &want, op == LOCK_UN, !(operation & LOCK_NB));
	file_put(f);
	return r;
}

/* ---- fcntl -------------------------------------------------------------------------------- */

static int range_of(struct file *f, const struct user_flock *u, struct file_lock *want)
{
	int64_t base, start, end;
	switch (u->whence) {
	case SEEK_SET:
		base = 0;
		break;
	case SEEK_CUR:
		base = f->position;
		break;
	case SEEK_END:
		base = (int64_t)inode_bytes(f->inode);
		break;
	default:
		return -EINVAL;
	}
	if (__builtin_add_overflow(base, u->start, &start))
		return -EOVERFLOW;
	if (u->length > 0) {
		if (__builtin_add_overflow(start, u->length - 1, &end))
			return -EOVERFLOW;
	} else if (u->length < 0) {
		end = start - 1;
		if (__builtin_add_overflow(start, u->length, &start))
			return -EINVAL;
	} else {
		end = INT64_MAX;
	}
	if (start < 0)
		return -EINVAL;
	want->start = (uint64_t)start;
	want->last = (uint64_t)end;
	return 0;
}

static long lock_get(struct file *f, struct file_lock *want, struct user_flock *u, uint64_t arg)
{
	mutex_lock(&f->inode->lock);
	struct file_lock *l = find_clash(f->inode, want);
	if (l) {
		u->type = l->exclusive ? F_WRLCK : F_RDLCK;
		u->whence = SEEK_SET;
		u->start = (int64_t)l->start;
		u->length = l->last == INT64_MAX ? 0 : (int64_t)(l->last - l->start + 1);
		u->pid = l->pid;
	} else {
		u->type = F_UNLCK;
	}
	mutex_unlock(&f->inode->lock);
	return copy_to_user(arg, u, sizeof(*u));
}

long lock_fcntl(struct file *f, unsigned command, uint64_t arg)
{
	struct user_flock u;
	bool ofd = command >= F_OFD_GETLK;
	bool get = command == F_GETLK || command == F_OFD_GETLK;
	bool wait = command == F_SETLKW || command == F_OFD_SETLKW;
	if (copy_from_user(&u, arg, sizeof(u)))
		return -EFAULT;
	if (u.type != F_RDLCK && u.type != F_WRLCK && u.type != F_UNLCK)
		return -EINVAL;
	if (ofd && u.pid)
		return -EINVAL;
	struct file_lock want = {
	    .kind = LOCK_RANGE,
	    .owner = ofd ? (const void *)f : current_task()->files,
	    .pid = ofd ? -1 : current_process()->pid,
	    .exclusive = u.type == F_WRLCK,
	};
	int r = range_of(f, &u, &want);
	if (r)
		return r;
	if (get)
		return u.type == F_UNLCK ? -EINVAL : lock_get(f, &want, &u, arg);
	if ((u.type == F_RDLCK && !file_can_read(f)) || (u.type == F_WRLCK && !file_can_write(f)))
		return -EBADF;
	return lock_set(f->inode, &want, u.type == F_UNLCK, wait);
}
