/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_CONSOLE_H
#define KERNEL_CONSOLE_H
/*
 * Byte ports to the outside: 16550 UARTs. Owner: kernel/dev.
 *
 *   0 COM1 0x3f8 IRQ4  /dev/ttyS0: the terminal of an interactive run
 *   1 COM2 0x2f8 IRQ3  kernel log, out only
 *   2 COM3 0x3e8 IRQ4  /dev/ttyS2: the run channel: user/init.c carries stdin,
 *                      stdout, stderr and the exit status of `./run -- COMMAND`
 *                      over it in frames; to the kernel it is a tty in raw mode
 * The same three are used under Linux, with the same init. A port that is
 * absent reads as nothing and writes to nowhere.
 */
#include <kernel/sched.h>
#include <kernel/types.h>

enum { PORT_TTY, PORT_LOG, PORT_RUN, PORT_COUNT };

/* Find the ports and set them up, polled, receiving off. The log port was set up
 * by the log and is left alone. Context: boot, once. */
void uart_init(void);
/* Interrupts, terminals, and every device's node. Context: thread, after fs_init.
 * Errors: -ENOMEM and what irq_attach says. */
int dev_init(void);
bool port_present(unsigned port);
/* Send what the port has room for; returns how many bytes. If not all, or if there is no
 * room, the port's owner is told when there is again (port_attach). Context: any. */
size_t port_write(unsigned port, const void *bytes, size_t count);
/* Has all that was sent left the port? If not, as above. Context: any. */
bool port_has_room(unsigned port);
/* Give received bytes to `sink(byte)` in interrupt context; a sink that has no
 * room returns false and calls port_resume(port) when it has: the byte stays in
 * the UART, and QEMU stops sending. `room` is called in interrupt context when a port
 * that had no room has sent everything. */
void port_attach(unsigned port, bool (*sink)(unsigned port, uint8_t byte),
		 void (*room)(unsigned port));
void port_resume(unsigned port);
#endif
