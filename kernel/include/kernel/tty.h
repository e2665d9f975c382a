/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_TTY_H
#define KERNEL_TTY_H
/* Controlling terminals, as proc/ sees them. Owner: kernel/dev. */
#include <kernel/types.h>

struct process;
struct tty;

/* Session leader p ends: SIGHUP and SIGCONT to the terminal's foreground group,
 * the session loses the terminal, open files of it are hung up. Does nothing if
 * p->tty is NULL. Context: thread, no lock. */
void tty_leave_session(struct process *p);
/* For /proc/PID/stat: device number (0: none) and foreground group (-1: none). */
uint64_t tty_number(const struct tty *tty);
pid_t tty_foreground(const struct tty *tty);
#endif
