/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_DEV_TTY_H
#define KERNEL_DEV_TTY_H
/*
 * A terminal: settings, the input ring with its line discipline, and the
 * session it controls.
 *
 *      tail            canon            head        positions, only growing
 *  ─────┬───────────────┬─────────────────┬─────
 *       │ complete lines│ the line being  │         canonical mode
 *       │   (readable)  │ edited          │
 *  ─────┴───────────────┴─────────────────┴─────
 *
 * In raw mode canon == head: everything is readable. `ends` has a bit for each
 * byte that ends a line; an end that is VEOF itself is stored as 0 and is not
 * given to the reader.
 *
 * Lock: tty->lock (TTY_RANK, interrupts off) guards all fields but those of
 * `write_lock` (sleeping, whole writes).
 * Signals are sent after it is dropped.
 */
#include <kernel/fs.h>
#include <kernel/proc.h>
#include <kernel/tty.h>

#include "base/lock.h"
#include "kernel/dev/dev.h"

#define TTY_RING 4096u
#define TTY_CC   19

enum { /* c_iflag */
       IGNBRK = 01,
       BRKINT = 02,
       IGNPAR = 04,
       PARMRK = 010,
       INPCK = 020,
       ISTRIP = 040,
       INLCR = 0100,
       IGNCR = 0200,
       ICRNL = 0400,
       IUCLC = 01000,
       IXON = 02000,
       IXANY = 04000,
       IXOFF = 010000,
       IMAXBEL = 020000,
       IUTF8 = 040000,
};
enum { /* c_oflag */
       OPOST = 01,
       OLCUC = 02,
       ONLCR = 04,
       OCRNL = 010,
       ONOCR = 020,
       ONLRET = 040,
       TABDLY = 014000,
};
enum { /* c_cflag */
       CBAUD = 010017,
       B38400 = 017,
       B115200 = 010002,
       CS8 = 060,
       CREAD = 0200,
       HUPCL = 02000,
       CLOCAL = 04000,
};
enum { /* c_lflag */
       ISIG = 01,
       ICANON = 02,
       ECHO = 010,
       ECHOE = 020,
       ECHOK = 040,
       ECHONL = 0100,
       NOFLSH = 0200,
       TOSTOP = 0400,
       ECHOCTL = 01000,
       ECHOPRT = 02000,
       ECHOKE = 04000,
       IEXTEN = 0100000,
};
enum {
	VINTR,
	VQUIT,
	VERASE,
	VKILL,
	VEOF,
	VTIME,
	VMIN,
	VSWTC,
	VSTART,
	VSTOP,
	VSUSP,
	VEOL,
	VREPRINT,
	VDISCARD,
	VWERASE,
	VLNEXT,
	VEOL2,
};

struct termios { /* what TCGETS copies */
	uint32_t iflag, oflag, cflag, lflag;
	uint8_t line, cc[TTY_CC];
};
_Static_assert(sizeof(struct termios) == 36, "struct termios");

struct winsize {
	uint16_t rows, columns, xpixel, ypixel;
};

struct tty {
	struct mem_lock lock;
	const char *name;
	uint64_t number; /* device */
	/* Send bytes, as they are. Context: any, tty->lock may be held. Returns how
	 * many there was room for. */
	size_t (*put)(struct tty *tty, const void *bytes, size_t count);
	/* Has all of it gone? Else `writable` is woken then. NULL: always. Context: thread. */
	bool (*drained)(struct tty *tty);
	/* There is room for input again. Context: thread, no lock. */
	void (*resume)(struct tty *tty);
	unsigned port; /* of a UART */
	void *pair;    /* of a pseudo-terminal */

	struct termios termios;
	struct winsize winsize;
	uint8_t ring[TTY_RING];
	uint64_t ends[TTY_RING / 64];
	uint64_t head, canon, tail;
	unsigned column, edit_column; /* of the cursor; where the edited line began */
	bool literal;                 /* the next byte is taken as it is (VLNEXT) */
	bool refused;                 /* the source waits for room */
	bool stopped;                 /* output: VSTOP was typed, or TCOOFF */
	bool exclusive;
	bool gone;           /* the other side of a pseudo-terminal has closed */
	uint64_t generation; /* of openings: changed by a hang-up */

	pid_t sid, pgrp; /* 0: none */
	struct waitq readable, writable;
	struct mutex write_lock;
	uint32_t opens;
};

void tty_setup(struct tty *tty);
/* One byte from outside. False: no room, offer it again after resume().
 * Context: any, interrupts in any state, no lock of TTY_RANK or above. */
bool tty_input(struct tty *tty, uint8_t byte);
/* ldisc.c */
size_t ldisc_available(const struct tty *tty);
size_t ldisc_take(struct tty *tty, uint8_t *to, size_t room, bool *line_end);
void ldisc_flush(struct tty *tty);
void ldisc_mode_changed(struct tty *tty, const struct termios *old);
/* Process output for OPOST: input bytes used; *made bytes written to `to`. */
size_t ldisc_output(struct tty *tty, const uint8_t *from, size_t bytes, uint8_t *to, size_t room,
		    size_t *made);
/* jobs.c: may the running task use its terminal so? 0, -EIO, -ERESTARTSYS. */
int tty_check_background(struct tty *tty, int signal);
/* To the foreground group of the terminal, if it has one. Context: any, tty->lock not held. */
void tty_signal(struct tty *t, int signal);
void tty_become_controlling(struct tty *tty, struct process *p);
void tty_hang_up(struct tty *tty);
long tty_job_ioctl(struct tty *tty, struct file *f, unsigned command, uint64_t arg);
void tty_forget(struct tty *tty); /* it goes away: no process has it any more */
/* ioctl.c */
long tty_ioctl(struct file *f, unsigned command, uint64_t arg);
long tty_device_ioctl(struct tty *t, struct file *f, unsigned command, uint64_t arg);
/* tty.c: the terminal of a file */
struct tty *tty_of(struct file *f);
bool tty_file_hung_up(struct file *f);
int tty_open(struct file *f, struct tty *tty);
extern const struct file_ops tty_ops;
#endif
