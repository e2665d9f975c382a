/* SPDX-License-Identifier: MIT */
/*
 * Job control: which session a terminal controls, and which of its process
 * groups may use it now (POSIX.1-2017, chapter 11).
 *
 * tty->sid and tty->pgrp change under tty->lock. process->tty of another
 * process changes only when its session loses the terminal.
 *
 * tty->pgrp is a number, and may be given to another group when the last member of this
 * one has gone; tty->sid is not, because a session that loses its leader loses the
 * terminal. So signals go to the members that are of this session.
 */
#include <kernel/log.h>
#include <kernel/uaccess.h>

#include "kernel/dev/tty.h"
#include "kernel/fs/abi.h"

#define TIOCSCTTY 0x540e
#define TIOCGPGRP 0x540f
#define TIOCSPGRP 0x5410
#define TIOCNOTTY 0x5422
#define TIOCGSID  0x5429

int tty_check_background(struct tty *t, int signal)
{
	struct process *p = current_process();
	if (p->tty != t || !t->pgrp || p->pgid == t->pgrp)
		return 0;
	if (signal_ignored(signal))
		return signal == SIGTTIN ? -EIO : 0;
	if (group_is_orphaned(p->pgid))
		return -EIO;
	(void)signal_send_group(p->pgid, 0, signal, NULL);
	return -ERESTARTSYS;
}

void tty_signal(struct tty *t, int signal)
{
	unsigned long irq = mem_lock_irq(&t->lock, TTY_RANK);
	pid_t sid = t->sid, pgrp = t->pgrp;
	mem_unlock_irq(&t->lock, TTY_RANK, irq);
	if (pgrp > 0 && in_interrupt())
		signal_send_group_soon(pgrp, sid, signal);
	else if (pgrp > 0)
		(void)signal_send_group(pgrp, sid, signal, NULL);
}

void tty_become_controlling(struct tty *t, struct process *p)
{
	unsigned long irq = mem_lock_irq(&t->lock, TTY_RANK);
	t->sid = p->sid;
	t->pgrp = p->pgid;
	mem_unlock_irq(&t->lock, TTY_RANK, irq);
	p->tty = t;
}

/* Every process of session sid (0: any) forgets the terminal. */
static void session_forgets(struct tty *t, pid_t sid)
{
	struct process *p;
	for (pid_t from = 0; (p = process_next(from)); process_put(p)) {
		from = p->pid + 1;
		if (p->tty == t && (!sid || p->sid == sid))
			p->tty = NULL;
	}
}

static void set_owner(struct tty *t, pid_t sid, pid_t pgrp, bool hang_up)
{
	unsigned long irq = mem_lock_irq(&t->lock, TTY_RANK);
	t->sid = sid;
	t->pgrp = pgrp;
	if (hang_up) {
		t->generation++;
		t->stopped = false;
		ldisc_flush(t);
	}
	mem_unlock_irq(&t->lock, TTY_RANK, irq);
}

static void lose_terminal(struct tty *t, bool hang_up)
{
	pid_t sid = t->sid, pgrp = t->pgrp;
	set_owner(t, 0, 0, hang_up);
	if (pgrp > 0) {
		(void)signal_send_group(pgrp, sid, SIGHUP, NULL);
		(void)signal_send_group(pgrp, sid, SIGCONT, NULL);
	}
	if (sid)
		session_forgets(t, sid);
	waitq_wake_all(&t->readable);
	waitq_wake_all(&t->writable);
}

void tty_hang_up(struct tty *t)
{
	lose_terminal(t, true);
}

void tty_leave_session(struct process *p)
{
	struct tty *t = p->tty;
	if (t && t->sid == p->sid)
		lose_terminal(t, true);
	p->tty = NULL;
}

void tty_forget(struct tty *t)
{
	session_forgets(t, 0);
}

/* ---- ioctls ---------------------------------------------------------------------------------- */

static long set_controlling(struct tty *t, struct file *f, uint64_t steal)
{
	struct process *p = current_process();
	if (p->pid == p->sid && t->sid == p->sid)
		return 0;
	if (p->pid != p->sid || p->tty)
		return -EPERM;
	if (t->sid) {
		if (steal != 1 || !capable(CAP_SYS_ADMIN))
			return -EPERM;
		session_forgets(t, t->sid);
	}
	if (!(f->mode & FILE_READ) && !capable(CAP_SYS_ADMIN))
		return -EPERM;
	tty_become_controlling(t, p);
	return 0;
}

static long give_up(struct tty *t)
{
	struct process *p = current_process();
	if (p->tty != t)
		return -ENOTTY;
	if (p->pid == p->sid)
		lose_terminal(t, false);
	p->tty = NULL;
	return 0;
}

static long set_group(struct tty *t, uint64_t arg)
{
	struct process *p = current_process();
	pid_t pgrp;
	int r = tty_check_background(t, SIGTTOU);
	if (r == -EIO)
		return -ENOTTY;
	if (r)
		return r;
	if (p->tty != t || t->sid != p->sid)
		return -ENOTTY;
	if (copy_from_user(&pgrp, arg, sizeof(pgrp)))
		return -EFAULT;
	if (pgrp < 0)
		return -EINVAL;
	pid_t sid = group_session(pgrp);
	r = sid < 0 ? sid : sid == p->sid ? 0 : -EPERM;
	if (!r)
		set_owner(t, t->sid, pgrp, false);
	return r;
}

long tty_job_ioctl(struct tty *t, struct file *f, unsigned command, uint64_t arg)
{
	bool ours = current_process()->tty == t;
	pid_t value;
	switch (command) {
	case TIOCSCTTY:
		return set_controlling(t, f, arg);
	case TIOCNOTTY:
		return give_up(t);
	case TIOCSPGRP:
		return set_group(t, arg);
	case TIOCGPGRP:
		value = t->pgrp;
		break;
	case TIOCGSID:
		value = t->sid;
		if (ours && !value)
			return -ENOTTY;
		break;
	default:
		return -ENOTTY;
	}
	if (!ours)
		return -ENOTTY;
	return copy_to_user(arg, &value, sizeof(value));
}
