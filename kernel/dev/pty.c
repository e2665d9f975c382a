/* SPDX-License-Identifier: MIT */
/*
 * Pseudo-terminals: a terminal whose wire is a program.
 *
 *   program on /dev/pts/N                       program that opened /dev/ptmx
 *     write ─► output processing ─► ring ─────────► read
 *     read  ◄─ line discipline  ◄─────────────────  write
 *
 * Opening /dev/ptmx takes a pair and makes /dev/pts/N; closing it takes the name
 * away, hangs the terminal up, and lets the pair go once the last file of the
 * other side is closed too. Pairs are kept for the next user and never freed:
 * some process's ->tty may be looked at just then (jobs.c), and a pair that is
 * reused is merely another terminal, not freed memory.
 *
 * Locks: pairs_lock (sleeping) over the pool and the counts of files;
 * pty->lock (PTY_RANK, interrupts off) over the ring, inside tty->lock.
 */
#include <kernel/iobuf.h>
#include <kernel/log.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>

#include "base/atomic.h"
#include "kernel/dev/tty.h"
#include "kernel/fs/abi.h"

#define PAIRS_MAX  256
#define RING_BYTES 4096u
#define PTS_MAJOR  136
#define TIOCGPTN   0x80045430u
#define TIOCSPTLCK 0x40045431u
#define TIOCGPTLCK 0x80045439u
#define TIOCPKT    0x5420u
#define FIONREAD   0x541bu
#define TIOCSIG    0x40045436u

struct pty {
	struct tty tty;
	struct mem_lock lock;
	uint8_t out[RING_BYTES];
	uint64_t head, tail;             /* of `out` */
	struct waitq readable, writable; /* the master's */
	unsigned number;
	bool master, locked, was_open;
	uint32_t slaves; /* open files of the slave */
};

static struct mutex pairs_lock;
static struct pty *pairs[PAIRS_MAX];

static struct pty *pty_of(struct tty *t)
{
	return t->pair;
}

/* ---- the slave's wire ------------------------------------------------------------------ */

static size_t slave_put(struct tty *t, const void *bytes, size_t count)
{
	struct pty *p = pty_of(t);
	const uint8_t *from = bytes;
	unsigned long irq = mem_lock_irq(&p->lock, PTY_RANK);
	size_t room = RING_BYTES - (size_t)(p->head - p->tail), n = mem_min(count, room);
	for (size_t i = 0; i < n; i++)
		p->out[(p->head + i) % RING_BYTES] = from[i];
	p->head += n;
	mem_unlock_irq(&p->lock, PTY_RANK, irq);
	if (n)
		waitq_wake_all(&p->readable);
	return count ? n : room;
}

static void slave_resume(struct tty *t)
{
	waitq_wake_all(&pty_of(t)->writable);
}

static void slave_release(struct file *f)
{
	struct pty *p = pty_of(tty_of(f));
	mutex_lock(&pairs_lock);
	p->slaves--;
	mutex_unlock(&pairs_lock);
	waitq_wake_all(&p->readable);
	waitq_wake_all(&p->writable);
}

static struct file_ops slave_ops; /* tty_ops with a release of its own */

static int slave_open(struct file *f)
{
	unsigned number = file_minor(f);
	mutex_lock(&pairs_lock);
	struct pty *p = number < PAIRS_MAX ? pairs[number] : NULL;
	int r = p && p->master ? p->locked ? -EIO : 0 : -ENXIO;
	if (!r)
		r = tty_open(f, &p->tty);
	if (!r) {
		f->ops = &slave_ops;
		p->slaves++;
		p->was_open = true;
	}
	mutex_unlock(&pairs_lock);
	return r;
}

/* ---- the master -------------------------------------------------------------------------- */

static bool slave_side_closed(struct pty *p)
{
	return atomic_read_relaxed(&p->was_open) && !atomic_read_relaxed(&p->slaves);
}

static size_t ring_take(struct pty *p, uint8_t *to, size_t room)
{
	unsigned long irq = mem_lock_irq(&p->lock, PTY_RANK);
	size_t n = mem_min(room, (size_t)(p->head - p->tail));
	for (size_t i = 0; i < n; i++)
		to[i] = p->out[(p->tail + i) % RING_BYTES];
	p->tail += n;
	mem_unlock_irq(&p->lock, PTY_RANK, irq);
	if (n)
		waitq_wake_all(&p->tty.writable);
	return n;
}

static size_t ring_used(const struct pty *p)
{
	return atomic_read_relaxed(&p->head) - atomic_read_relaxed(&p->tail);
}

static ssize_t master_read(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	struct pty *p = f->data;
	uint8_t chunk[256];
	size_t done = 0, n;
	if (!bytes)
		return 0;
	for (;;) {
		while (done < bytes &&
		       (n = ring_take(p, chunk, mem_min(bytes - done, sizeof(chunk))))) {
			if (buffer_out(buffer + done, chunk, n))
				return done ? (ssize_t)done : -EFAULT;
			done += n;
		}
		if (done)
			return (ssize_t)done;
		if (slave_side_closed(p))
			return -EIO;
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		int r = wait_event_interruptible(&p->readable, ring_used(p) || slave_side_closed(p),
						 NSEC_NEVER);
		if (r)
			return r;
	}
}

/* One byte typed; sleeps until the terminal has room. */
static int type_byte(struct file *f, struct pty *p, uint8_t byte)
{
	struct waiter w;
	if (tty_input(&p->tty, byte))
		return 0;
	if (f->flags & O_NONBLOCK)
		return -EAGAIN;
	waitq_add(&p->writable, &w);
	int r = 0;
	while (!r && !tty_input(&p->tty, byte))
		r = slave_side_closed(p) ? -EIO : waitq_sleep(true, NSEC_NEVER);
	waitq_remove(&p->writable, &w);
	return r;
}

static ssize_t master_write(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	struct pty *p = f->data;
	uint8_t chunk[256];
	size_t done = 0;
	while (done < bytes) {
		size_t n = mem_min(bytes - done, sizeof(chunk));
		if (slave_side_closed(p))
			return done ? (ssize_t)done : -EIO;
		if (buffer_in(chunk, buffer + done, n))
			return done ? (ssize_t)done : -EFAULT;
		for (size_t i = 0; i < n; i++) {
			int r = type_byte(f, p, chunk[i]);
			if (r)
				return done + i ? (ssize_t)(done + i) : r;
		}
		done += n;
	}
	return (ssize_t)done;
}

static unsigned master_poll(struct file *f, struct waitq *q[2])
{
	struct pty *p = f->data;
	unsigned events = POLLOUT | POLLWRNORM;
	if (q) {
		q[0] = &p->readable;
		q[1] = &p->writable;
	}
	if (atomic_read_relaxed(&p->tty.refused))
		events = 0;
	if (ring_used(p))
		events |= POLLIN | POLLRDNORM;
	if (slave_side_closed(p))
		events |= POLLHUP;
	return events;
}

static long master_ioctl(struct file *f, unsigned command, uint64_t arg)
{
	struct pty *p = f->data;
	int value;
	switch (command) {
	case TIOCGPTN:
		value = (int)p->number;
		break;
	case TIOCGPTLCK:
		value = p->locked;
		break;
	case FIONREAD:
		value = (int)ring_used(p);
		break;
	case TIOCSPTLCK:
		if (copy_from_user(&value, arg, sizeof(value)))
			return -EFAULT;
		p->locked = value != 0;
		return 0;
	case TIOCPKT:
		if (copy_from_user(&value, arg, sizeof(value)))
			return -EFAULT;
		return value ? -EINVAL : 0; /* no packet mode */
	case TIOCSIG:
		if (arg != SIGINT && arg != SIGQUIT && arg != SIGTSTP)
			return -EINVAL;
		tty_signal(&p->tty, (int)arg);
		return 0;
	default:
		return tty_device_ioctl(&p->tty, f, command, arg);
	}
	return copy_to_user(arg, &value, sizeof(value));
}

static void master_release(struct file *f)
{
	struct pty *p = f->data;
	p->tty.gone = true;
	tty_hang_up(&p->tty);
	tty_forget(&p->tty);
	devpts_remove(p->number);
	mutex_lock(&pairs_lock);
	p->master = false;
	mutex_unlock(&pairs_lock);
}

static const struct file_ops master_ops = {
    .read = master_read,
    .write = master_write,
    .ioctl = master_ioctl,
    .poll = master_poll,
    .release = master_release,
};

/* ---- pairs ---------------------------------------------------------------------------------- */

static void pair_reset(struct pty *p, unsigned number)
{
	uint64_t generation = p->tty.generation;
	memset(p, 0, offsetof(struct pty, readable));
	p->was_open = p->locked = false;
	tty_setup(&p->tty);
	p->tty.generation = generation + 1;
	p->tty.pair = p;
	p->tty.put = slave_put;
	p->tty.resume = slave_resume;
	p->tty.number = (PTS_MAJOR << 8) | number;
	p->number = number;
	p->locked = true;
	p->master = true;
}

/* An unused pair, taken. NULL with *error. */
static struct pty *pair_take(int *error)
{
	struct pty *found = NULL;
	*error = -ENOSPC;
	mutex_lock(&pairs_lock);
	for (unsigned i = 0; i < PAIRS_MAX && !found; i++) {
		if (pairs[i] && (pairs[i]->master || pairs[i]->slaves))
			continue;
		if (!pairs[i] && !(pairs[i] = kzalloc(sizeof(struct pty)))) {
			*error = -ENOMEM;
			break;
		}
		found = pairs[i];
		pair_reset(found, i);
	}
	mutex_unlock(&pairs_lock);
	return found;
}

static int ptmx_open(struct file *f)
{
	int error;
	struct pty *p = pair_take(&error);
	if (!p)
		return error;
	error = devpts_add(p->number);
	if (error) {
		mutex_lock(&pairs_lock);
		p->master = false;
		mutex_unlock(&pairs_lock);
		return error;
	}
	f->data = p;
	f->ops = &master_ops;
	return 0;
}

int pty_init(void)
{
	slave_ops = tty_ops;
	slave_ops.release = slave_release;
	int r = devfs_register("ptmx", 5, 2, &master_ops, ptmx_open);
	return r ? r : devfs_register_major(PTS_MAJOR, &slave_ops, slave_open);
}
