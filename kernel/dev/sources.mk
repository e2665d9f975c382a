# SPDX-License-Identifier: MIT
KERNEL_SRC += kernel/dev/init.c kernel/dev/jobs.c kernel/dev/ldisc.c kernel/dev/memory.c \
	kernel/dev/pty.c kernel/dev/random.c kernel/dev/tty.c kernel/dev/tty_ioctl.c kernel/dev/uart.c
