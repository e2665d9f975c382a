/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_DEV_DEV_H
#define KERNEL_DEV_DEV_H
/* The inside of kernel/dev. */
#include <kernel/fs.h>
#include <kernel/types.h>

#include "base/rank.h"

/* Interrupt-off spin locks, in order (kernel/rank.h). */
#define UART_RANK_RX ((enum mem_rank)19) /* a port's receiving side, over its sink */
#define TTY_RANK     ((enum mem_rank)20) /* a terminal */
#define PTY_RANK     ((enum mem_rank)22) /* a pseudo-terminal's output ring */
#define RANDOM_RANK  ((enum mem_rank)31) /* the random pool */

int uart_attach(void);
int memory_devices_init(void); /* null, zero, full, kmsg */
int random_init(void);
int tty_init(void);
int pty_init(void);
#endif
