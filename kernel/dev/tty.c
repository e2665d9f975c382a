/* SPDX-License-Identifier: MIT */
/*
 * Terminals as files: reading, writing, polling, opening, and the two serial
 * terminals with /dev/console and /dev/tty.
 *
 * A hang-up (the session's leader ended) changes tty->generation: files opened
 * before read end of file and write EIO. /dev/console is exempt, as on Linux,
 * so that what the first program opened goes on working.
 */
#include "kernel/dev/tty.h"

#include <kernel/console.h>
#include <kernel/iobuf.h>
#include <kernel/log.h>
#include <kernel/uaccess.h>

#include "base/atomic.h"
#include "kernel/fs/abi.h"
#include "kernel/syscall/syscalls.h"

static struct tty serial[2];
static struct tty *const serial_tty[2] = {&serial[0], &serial[1]};

static const struct termios first_termios = {
    .iflag = ICRNL | IXON,
    .oflag = OPOST | ONLCR,
    .cflag = B115200 | CS8 | CREAD | HUPCL | CLOCAL,
    .lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
    .cc = {[VINTR] = 3,
	   [VQUIT] = 28,
	   [VERASE] = 127,
	   [VKILL] = 21,
	   [VEOF] = 4,
	   [VMIN] = 1,
	   [VSTART] = 17,
	   [VSTOP] = 19,
	   [VSUSP] = 26,
	   [VREPRINT] = 18,
	   [VDISCARD] = 15,
	   [VWERASE] = 23,
	   [VLNEXT] = 22},
};

void tty_setup(struct tty *t)
{
	t->termios = first_termios;
	t->generation = 1;
}

uint64_t tty_number(const struct tty *t)
{
	return t ? t->number : 0;
}

pid_t tty_foreground(const struct tty *t)
{
	return t ? t->pgrp : -1;
}

struct tty *tty_of(struct file *f)
{
	return f->data;
}

bool tty_file_hung_up(struct file *f)
{
	struct tty *t = f->data;
	return t->gone || (f->number && f->number != atomic_read_relaxed(&t->generation));
}

/* ---- reading ----------------------------------------------------------------------------- */

/* How a read waits, from VMIN and VTIME. */
struct read_rule {
	size_t least;      /* bytes before it returns */
	nsec_t first, gap; /* time for the first byte, between bytes; NSEC_NEVER: none */
};

static struct read_rule rule_of(const struct tty *t, size_t bytes)
{
	struct read_rule r = {1, NSEC_NEVER, NSEC_NEVER};
	if (t->termios.lflag & ICANON)
		return r;
	nsec_t time = t->termios.cc[VTIME] * 100000000ull;
	r.least = mem_min((size_t)t->termios.cc[VMIN], bytes);
	if (!r.least)
		r.first = time; /* 0: what is there now */
	else if (time)
		r.gap = time;
	return r;
}

static size_t take_locked(struct tty *t, uint8_t *to, size_t room, bool *line_end, bool *any,
			  bool *resume)
{
	unsigned long irq = mem_lock_irq(&t->lock, TTY_RANK);
	*any = t->tail < t->canon;
	size_t n = ldisc_take(t, to, room, line_end);
	*resume = t->refused && t->head - t->tail < TTY_RING / 2;
	if (*resume)
		t->refused = false;
	mem_unlock_irq(&t->lock, TTY_RANK, irq);
	return n;
}

/* Move what is readable to the user: bytes, or -EFAULT. *end: the read is over. */
static ssize_t move_readable(struct tty *t, uint64_t buffer, size_t bytes, bool *end)
{
	uint8_t chunk[256];
	size_t done = 0;
	bool any = true, resume;
	while (done < bytes && !*end) {
		size_t n =
		    take_locked(t, chunk, mem_min(bytes - done, sizeof(chunk)), end, &any, &resume);
		if (resume && t->resume)
			t->resume(t);
		if (!any)
			break;
		if (n && buffer_out(buffer + done, chunk, n))
			return done ? (ssize_t)done : -EFAULT;
		done += n;
	}
	return (ssize_t)done;
}

static ssize_t read_some(struct file *f, struct tty *t, uint64_t buffer, size_t bytes)
{
	size_t done = 0;
	for (;;) {
		struct read_rule rule = rule_of(t, bytes);
		bool end = false;
		ssize_t n = move_readable(t, buffer + done, bytes - done, &end);
		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		if (end || done == bytes || (done && done >= rule.least))
			return (ssize_t)done;
		if (tty_file_hung_up(f))
			return (ssize_t)done;
		if (f->flags & O_NONBLOCK)
			return done ? (ssize_t)done : rule.least ? -EAGAIN : 0;
		nsec_t time = done ? rule.gap : rule.first;
		if (!time)
			return (ssize_t)done;
		nsec_t deadline = time == NSEC_NEVER ? NSEC_NEVER : time_monotonic() + time;
		int r = wait_event_interruptible(
		    &t->readable, ldisc_available(t) || tty_file_hung_up(f), deadline);
		if (r == -ETIMEDOUT)
			return (ssize_t)done;
		if (r)
			return done ? (ssize_t)done : r;
		/* While it slept it may have been sent to the background. */
		r = tty_check_background(t, SIGTTIN);
		if (r)
			return done ? (ssize_t)done : r;
	}
}

static ssize_t tty_read(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	struct tty *t = f->data;
	if (tty_file_hung_up(f))
		return 0;
	int r = tty_check_background(t, SIGTTIN);
	if (r)
		return r;
	return bytes ? read_some(f, t, buffer, bytes) : 0;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* Send one processed chunk; sleeps where there is no room. */
static int send(struct file *f, struct tty *t, const uint8_t *bytes, size_t count)
{
	while (count) {
		if (tty_file_hung_up(f))
			return -EIO;
		size_t n = atomic_read_relaxed(&t->stopped) ? 0 : t->put(t, bytes, count);
		bytes += n;
		count -= n;
		if (!count)
			return 0;
		if (n)
			continue;
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		struct waiter w;
		waitq_add(&t->writable, &w);
		int r = 0;
		if (!tty_file_hung_up(f) &&
		    (atomic_read_relaxed(&t->stopped) || !(n = t->put(t, bytes, count))))
			r = waitq_sleep(true, NSEC_NEVER);
		waitq_remove(&t->writable, &w);
		bytes += n;
		count -= n;
		if (r)
			return r;
	}
	return 0;
}

static ssize_t write_some(struct file *f, struct tty *t, uint64_t buffer, size_t bytes)
{
	uint8_t in[256], out[512];
	size_t done = 0;
	while (done < bytes) {
		size_t want = mem_min(bytes - done, sizeof(in)), used = 0;
		if (buffer_in(in, buffer + done, want))
			return done ? (ssize_t)done : -EFAULT;
		while (used < want) {
			size_t made;
			unsigned long irq = mem_lock_irq(&t->lock, TTY_RANK);
			size_t n = ldisc_output(t, in + used, want - used, out, sizeof(out), &made);
			mem_unlock_irq(&t->lock, TTY_RANK, irq);
			int r = send(f, t, out, made);
			if (r)
				return done + used ? (ssize_t)(done + used) : r;
			used += n;
		}
		done += want;
		if (done < bytes && thread_interrupted())
			break;
	}
	return (ssize_t)done;
}

static ssize_t tty_write(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	struct tty *t = f->data;
	if (tty_file_hung_up(f))
		return -EIO;
	if (t->termios.lflag & TOSTOP) {
		int r = tty_check_background(t, SIGTTOU);
		if (r)
			return r;
	}
	ssize_t r = mutex_lock_interruptible(&t->write_lock); /* VSTOP may hold who has it */
	if (r)
		return r;
	r = write_some(f, t, buffer, bytes);
	mutex_unlock(&t->write_lock);
	return r;
}

/* ---- the rest ----------------------------------------------------------------------------------
 */

static unsigned tty_poll(struct file *f, struct waitq *q[2])
{
	struct tty *t = f->data;
	unsigned events = 0;
	if (q) {
		q[0] = &t->readable;
		q[1] = &t->writable;
	}
	if (tty_file_hung_up(f))
		return POLLIN | POLLRDNORM | POLLHUP | POLLERR | POLLOUT | POLLWRNORM;
	size_t least = 1;
	if (!(t->termios.lflag & ICANON) && !t->termios.cc[VTIME] && t->termios.cc[VMIN])
		least = t->termios.cc[VMIN];
	if (ldisc_available(t) >= least)
		events |= POLLIN | POLLRDNORM;
	if (!atomic_read_relaxed(&t->stopped) && t->put(t, NULL, 0))
		events |= POLLOUT | POLLWRNORM;
	return events;
}

const struct file_ops tty_ops = {
    .read = tty_read,
    .write = tty_write,
    .ioctl = tty_ioctl,
    .poll = tty_poll,
};

int tty_open(struct file *f, struct tty *t)
{
	struct process *p = current_process();
	if (t->exclusive && !capable(CAP_SYS_ADMIN))
		return -EBUSY;
	f->data = t;
	f->ops = &tty_ops;
	f->number = t->generation;
	if (!(f->flags & O_NOCTTY) && p->pid == p->sid && !p->tty && !t->sid)
		tty_become_controlling(t, p);
	return 0;
}

/* ---- serial ports -------------------------------------------------------------------------------
 */

static const unsigned serial_ports[2] = {PORT_TTY, PORT_RUN};

static size_t serial_put(struct tty *t, const void *bytes, size_t count)
{
	return count ? port_write(t->port, bytes, count) : port_has_room(t->port);
}

static bool serial_drained(struct tty *t)
{
	return port_has_room(t->port);
}

static void serial_resume(struct tty *t)
{
	port_resume(t->port);
}

static bool serial_sink(unsigned port, uint8_t byte)
{
	return tty_input(serial_tty[port == PORT_RUN], byte);
}

static void serial_room(unsigned port)
{
	waitq_wake_all(&serial_tty[port == PORT_RUN]->writable);
	port_resume(port); /* with room for its echo */
}

static int serial_open(struct file *f, struct tty *t)
{
	return port_present(t->port) ? tty_open(f, t) : -EIO;
}

static int terminal_open(struct file *f)
{
	return serial_open(f, serial_tty[0]);
}

static int channel_open(struct file *f)
{
	return serial_open(f, serial_tty[1]);
}

static int console_open(struct file *f)
{
	f->data = serial_tty[0];
	f->number = 0; /* never hung up */
	return 0;
}

static int current_tty_open(struct file *f)
{
	struct tty *t = current_process()->tty;
	if (!t)
		return -ENXIO;
	f->data = t;
	f->number = t->generation;
	return 0;
}

int tty_init(void)
{
	static const char *const names[2] = {"ttyS0", "ttyS2"};
	static int (*const opens[2])(struct file * f) = {terminal_open, channel_open};
	int r = 0;
	for (unsigned i = 0; i < 2 && !r; i++) {
		struct tty *t = serial_tty[i];
		tty_setup(t);
		t->name = names[i];
		t->port = serial_ports[i];
		t->number = (4 << 8) + 64 + serial_ports[i];
		t->put = serial_put;
		t->drained = serial_drained;
		t->resume = serial_resume;
		r = devfs_register(names[i], 4, 64 + serial_ports[i], &tty_ops, opens[i]);
		if (!r)
			port_attach(t->port, serial_sink, serial_room);
	}
	if (!r)
		r = devfs_register("console", 5, 1, &tty_ops, console_open);
	return r ? r : devfs_register("tty", 5, 0, &tty_ops, current_tty_open);
}

long sys_vhangup(void)
{
	struct process *p = current_process();
	if (!capable(CAP_SYS_TTY_CONFIG))
		return -EPERM;
	if (p->tty)
		tty_hang_up(p->tty);
	return 0;
}
