/* SPDX-License-Identifier: MIT */
/* What programs ask of a terminal: settings, window size, flushing, breaks. */
#include <kernel/log.h>
#include <kernel/uaccess.h>

#include "base/atomic.h"
#include "kernel/dev/tty.h"
#include "kernel/fs/abi.h"

enum {
	TCGETS = 0x5401,
	TCSETS,
	TCSETSW,
	TCSETSF,
	TCGETA,
	TCSETA,
	TCSETAW,
	TCSETAF,
	TCSBRK,
	TCXONC,
	TCFLSH,
	TIOCEXCL,
	TIOCNXCL,
	TIOCSCTTY,
	TIOCGPGRP,
	TIOCSPGRP,
	TIOCOUTQ,
	TIOCSTI,
	TIOCGWINSZ,
	TIOCSWINSZ,
	TIOCMGET,
	TIOCMBIS,
	TIOCMBIC,
	TIOCMSET,
	TIOCGSOFTCAR,
	TIOCSSOFTCAR,
	TIOCINQ,
	TIOCNOTTY = 0x5422,
	TIOCSETD,
	TIOCGETD,
	TCSBRKP,
	TIOCSBRK = 0x5427,
	TIOCCBRK,
	TIOCGSID,
	TIOCVHANGUP = 0x5437,
};
#define TCGETS2  0x802c542au
#define TCSETS2  0x402c542bu
#define TCSETSW2 0x402c542cu
#define TCSETSF2 0x402c542du

struct termios2 {
	struct termios t;
	uint32_t ispeed, ospeed;
};
struct termio { /* System V's */
	uint16_t iflag, oflag, cflag, lflag;
	uint8_t line, cc[8];
};

static uint32_t speed_of(const struct termios *t)
{
	switch (t->cflag & CBAUD) {
	case 0:
		return 0;
	case 015:
		return 9600;
	case 016:
		return 19200;
	case B38400:
		return 38400;
	case 010001:
		return 57600;
	default:
		return 115200;
	}
}

/* Install settings. `flush`: forget unread input first (TCSETSF). */
static void set_termios(struct tty *t, const struct termios *new, bool flush)
{
	unsigned long irq = mem_lock_irq(&t->lock, TTY_RANK);
	struct termios old = t->termios;
	t->termios = *new;
	if (flush)
		ldisc_flush(t);
	ldisc_mode_changed(t, &old);
	if ((old.iflag & IXON) && !(new->iflag &IXON))
		t->stopped = false;
	bool resume = t->refused && t->head - t->tail < TTY_RING / 2;
	if (resume)
		t->refused = false;
	mem_unlock_irq(&t->lock, TTY_RANK, irq);
	if (resume && t->resume)
		t->resume(t);
	waitq_wake_all(&t->readable);
	waitq_wake_all(&t->writable);
}

static void get_termios(struct tty *t, struct termios *out)
{
	unsigned long irq = mem_lock_irq(&t->lock, TTY_RANK);
	*out = t->termios;
	mem_unlock_irq(&t->lock, TTY_RANK, irq);
}

static long change_settings(struct tty *t, unsigned command, uint64_t arg)
{
	struct termios new;
	bool flush = command == TCSETSF || command == TCSETAF || command == TCSETSF2;
	int r = tty_check_background(t, SIGTTOU);
	if (r)
		return r;
	if (command >= TCSETA && command <= TCSETAF) {
		struct termio old;
		if (copy_from_user(&old, arg, sizeof(old)))
			return -EFAULT;
		get_termios(t, &new);
		new.iflag = (new.iflag & 0xffff0000) | old.iflag;
		new.oflag = (new.oflag & 0xffff0000) | old.oflag;
		new.cflag = (new.cflag & 0xffff0000) | old.cflag;
		new.lflag = (new.lflag & 0xffff0000) | old.lflag;
		new.line = old.line;
		memcpy(new.cc, old.cc, sizeof(old.cc));
	} else if (copy_from_user(&new, arg, sizeof(new))) {
		return -EFAULT;
	}
	/* What was written has been processed then: nothing to wait for. */
	set_termios(t, &new, flush);
	return 0;
}

static long show_settings(struct tty *t, unsigned command, uint64_t arg)
{
	struct termios2 now = {0};
	get_termios(t, &now.t);
	if (command == TCGETS)
		return copy_to_user(arg, &now.t, sizeof(now.t));
	if (command == TCGETS2) {
		now.ispeed = now.ospeed = speed_of(&now.t);
		return copy_to_user(arg, &now, sizeof(now));
	}
	struct termio old = {(uint16_t)now.t.iflag,
			     (uint16_t)now.t.oflag,
			     (uint16_t)now.t.cflag,
			     (uint16_t)now.t.lflag,
			     now.t.line,
			     {0}};
	memcpy(old.cc, now.t.cc, sizeof(old.cc));
	return copy_to_user(arg, &old, sizeof(old));
}

static long set_window(struct tty *t, uint64_t arg)
{
	struct winsize w;
	if (copy_from_user(&w, arg, sizeof(w)))
		return -EFAULT;
	unsigned long irq = mem_lock_irq(&t->lock, TTY_RANK);
	bool changed = memcmp(&w, &t->winsize, sizeof(w));
	t->winsize = w;
	mem_unlock_irq(&t->lock, TTY_RANK, irq);
	if (changed)
		tty_signal(t, SIGWINCH);
	return 0;
}

static long flush_queues(struct tty *t, uint64_t which)
{
	int r = tty_check_background(t, SIGTTOU);
	if (r)
		return r;
	if (which > 2)
		return -EINVAL;
	if (which != 1) { /* TCIFLUSH, TCIOFLUSH */
		unsigned long irq = mem_lock_irq(&t->lock, TTY_RANK);
		ldisc_flush(t);
		bool resume = t->refused;
		t->refused = false;
		mem_unlock_irq(&t->lock, TTY_RANK, irq);
		if (resume && t->resume)
			t->resume(t);
	}
	return 0;
}

static long flow(struct tty *t, uint64_t action)
{
	int r = tty_check_background(t, SIGTTOU);
	if (r)
		return r;
	if (action > 3)
		return -EINVAL;
	if (action < 2) { /* TCOOFF, TCOON */
		atomic_write_release(&t->stopped, action == 0);
		waitq_wake_all(&t->writable);
		return 0;
	}
	uint8_t byte = t->termios.cc[action == 2 ? VSTOP : VSTART];
	(void)t->put(t, &byte, 1);
	return 0;
}

/* Wait until what was written has gone; there is never a break. */
static long drain(struct tty *t)
{
	int r = tty_check_background(t, SIGTTOU);
	if (r || !t->drained)
		return r;
	return wait_event_interruptible(&t->writable, t->drained(t), NSEC_NEVER);
}

static long number_ioctl(struct tty *t, unsigned command, uint64_t arg)
{
	int value;
	switch (command) {
	case TIOCINQ:
		value = (int)ldisc_available(t);
		break;
	case TIOCMGET:
		value = 0x166; /* DTR RTS CTS CD DSR */
		break;
	case TIOCGSOFTCAR:
		value = t->termios.cflag & CLOCAL ? 1 : 0;
		break;
	default: /* TIOCOUTQ, TIOCGETD */
		value = 0;
	}
	return copy_to_user(arg, &value, sizeof(value));
}

long tty_ioctl(struct file *f, unsigned command, uint64_t arg)
{
	return tty_file_hung_up(f) ? -EIO : tty_device_ioctl(tty_of(f), f, command, arg);
}

long tty_device_ioctl(struct tty *t, struct file *f, unsigned command, uint64_t arg)
{
	uint8_t byte;
	switch (command) {
	case TCGETS:
	case TCGETS2:
	case TCGETA:
		return show_settings(t, command, arg);
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
	case TCSETA:
	case TCSETAW:
	case TCSETAF:
	case TCSETS2:
	case TCSETSW2:
	case TCSETSF2:
		return change_settings(t, command, arg);
	case TIOCGWINSZ:
		return copy_to_user(arg, &t->winsize, sizeof(t->winsize));
	case TIOCSWINSZ:
		return set_window(t, arg);
	case TCFLSH:
		return flush_queues(t, arg);
	case TCXONC:
		return flow(t, arg);
	case TCSBRK:
	case TCSBRKP:
		return drain(t);
	case TIOCSBRK:
	case TIOCCBRK:
		return tty_check_background(t, SIGTTOU);
	case TIOCINQ:
	case TIOCOUTQ:
	case TIOCMGET:
	case TIOCGETD:
	case TIOCGSOFTCAR:
		return number_ioctl(t, command, arg);
	case TIOCMBIS:
	case TIOCMBIC:
	case TIOCMSET:
	case TIOCSSOFTCAR:
		return 0;
	case TIOCEXCL:
	case TIOCNXCL:
		t->exclusive = command == TIOCEXCL;
		return 0;
	case TIOCSTI:
		if (copy_from_user(&byte, arg, 1))
			return -EFAULT;
		if (current_process()->tty != t && !capable(CAP_SYS_ADMIN))
			return -EPERM;
		(void)tty_input(t, byte);
		return 0;
	case TIOCVHANGUP:
		if (!capable(CAP_SYS_ADMIN))
			return -EPERM;
		tty_hang_up(t);
		return 0;
	default:
		return tty_job_ioctl(t, f, command, arg);
	}
}
