/* SPDX-License-Identifier: MIT */
/*
 * 16550 UARTs (National PC16550D data sheet): three ports, two of which share
 * IRQ 4.
 *
 * Sending puts a FIFO's worth at a time, when the one before has gone, under a lock
 * per port with interrupts off. It looks for that a few times (QEMU takes bytes at
 * once, while somebody reads them); after that the port interrupts when it has room,
 * and the writer sleeps as long as the reader likes: no byte is sent into a full FIFO,
 * where it would push out another.
 *
 * Receiving is by interrupt. A byte that its sink refuses is kept in `held`, and
 * the port's receive interrupt is turned off: the FIFO fills, then the sender
 * (QEMU) waits. port_resume() offers the byte again and goes on.
 *
 * Locks: rx (UART_RANK_RX) is held over the sink, which takes its terminal's
 * lock; tx (KRANK_DEVICE) is innermost, because echoing sends from a sink. It also
 * guards which interrupts are on.
 *
 * ISA interrupts are edges: the handler goes on until no port has anything, so
 * that a byte that arrives meanwhile on the other port is not forgotten.
 */
#include <kernel/console.h>
#include <kernel/irq.h>
#include <kernel/rank.h>

#include "base/lock.h"
#include "kernel/cpu/x86.h"
#include "kernel/dev/dev.h"

enum { DATA = 0, IER = 1, FCR = 2, LCR = 3, MCR = 4, LSR = 5, SCRATCH = 7 };
#define IER_RECEIVE 0x01
#define IER_ROOM    0x02
#define LSR_DATA    0x01
#define LSR_EMPTY   0x20
#define FIFO_BYTES  16
#define LOOKS       64 /* for an empty FIFO before the port is left to interrupt */

static struct port {
	uint16_t base;
	bool present;
	bool holds;   /* `held` waits for room (rx) */
	uint8_t held; /* (rx) */
	uint8_t ier;  /* as the port has it (tx) */
	struct mem_lock rx, tx;
	bool (*sink)(unsigned port, uint8_t byte);
	void (*room)(unsigned port);
} ports[PORT_COUNT] = {{.base = 0x3f8}, {.base = 0x2f8}, {.base = 0x3e8}};

void uart_init(void)
{
	for (unsigned i = 0; i < PORT_COUNT; i++) {
		struct port *p = &ports[i];
		out8(p->base + SCRATCH, 0xa5);
		p->present = in8(p->base + SCRATCH) == 0xa5;
		if (!p->present || i == PORT_LOG)
			continue;
		out8(p->base + IER, 0);
		out8(p->base + LCR, 0x80); /* divisor 1: 115200 baud */
		out8(p->base + DATA, 1);
		out8(p->base + IER, 0);
		out8(p->base + LCR, 3);    /* 8N1 */
		out8(p->base + FCR, 0xc7); /* FIFOs on and empty, interrupt at 14 bytes */
		out8(p->base + MCR, 0x0b); /* DTR, RTS, interrupt line on */
	}
}

bool port_present(unsigned port)
{
	return port < PORT_COUNT && ports[port].present;
}

/* ---- sending -------------------------------------------------------------------------- */

/* tx lock held. */
static void set_interrupts(struct port *p, uint8_t on, uint8_t off)
{
	p->ier = (uint8_t)((p->ier | on) & ~off);
	out8(p->base + IER, p->ier);
}

static void switch_receiving(struct port *p, bool on)
{
	unsigned long irq = mem_lock_irq(&p->tx, (enum mem_rank)KRANK_DEVICE);
	set_interrupts(p, on ? IER_RECEIVE : 0, on ? 0 : IER_RECEIVE);
	mem_unlock_irq(&p->tx, (enum mem_rank)KRANK_DEVICE, irq);
}

/* Is the FIFO empty? If not soon, there will be an interrupt when it is; also if that has
 * happened just now. tx lock held. */
static bool has_room(struct port *p)
{
	for (unsigned i = 0; i < LOOKS; i++) {
		if (in8(p->base + LSR) & LSR_EMPTY)
			return true;
		cpu_relax();
	}
	set_interrupts(p, IER_ROOM, 0);
	return false;
}

static size_t send_burst(struct port *p, const uint8_t *bytes, size_t count)
{
	unsigned long irq = mem_lock_irq(&p->tx, (enum mem_rank)KRANK_DEVICE);
	bool room = has_room(p);
	for (size_t i = 0; room && i < count; i++)
		out8(p->base + DATA, bytes[i]);
	mem_unlock_irq(&p->tx, (enum mem_rank)KRANK_DEVICE, irq);
	return room ? count : 0;
}

size_t port_write(unsigned port, const void *bytes, size_t count)
{
	const uint8_t *from = bytes;
	if (!port_present(port))
		return count;
	size_t done = 0, sent = 1;
	for (; sent && done < count; done += sent)
		sent = send_burst(&ports[port], from + done,
				  mem_min(count - done, (size_t)FIFO_BYTES));
	return done;
}

bool port_has_room(unsigned port)
{
	struct port *p = &ports[port];
	if (!port_present(port))
		return true;
	unsigned long irq = mem_lock_irq(&p->tx, (enum mem_rank)KRANK_DEVICE);
	bool room = has_room(p);
	mem_unlock_irq(&p->tx, (enum mem_rank)KRANK_DEVICE, irq);
	return room;
}

/* Has the port just got the room that it was to interrupt for? */
static bool gets_room(struct port *p)
{
	unsigned long irq = mem_lock_irq(&p->tx, (enum mem_rank)KRANK_DEVICE);
	bool room = (p->ier & IER_ROOM) && (in8(p->base + LSR) & LSR_EMPTY);
	if (room)
		set_interrupts(p, 0, IER_ROOM);
	mem_unlock_irq(&p->tx, (enum mem_rank)KRANK_DEVICE, irq);
	return room;
}

/* ---- receiving ------------------------------------------------------------------------ */

/* Hand over what has arrived, until there is no more or no room; true if any.
 * rx lock held. */
static bool receive(unsigned port)
{
	struct port *p = &ports[port];
	bool any = false;
	while (!p->holds && (in8(p->base + LSR) & LSR_DATA)) {
		uint8_t byte = in8(p->base + DATA);
		any = true;
		if (p->sink(port, byte))
			continue;
		p->held = byte;
		p->holds = true;
		switch_receiving(p, false);
	}
	return any;
}

static void uart_interrupt(struct trapframe *frame)
{
	bool any;
	do {
		any = false;
		for (unsigned i = 0; i < PORT_COUNT; i++) {
			struct port *p = &ports[i];
			if (!p->present || !__atomic_load_n(&p->sink, __ATOMIC_ACQUIRE))
				continue;
			unsigned long irq = mem_lock_irq(&p->rx, UART_RANK_RX);
			any |= receive(i);
			mem_unlock_irq(&p->rx, UART_RANK_RX, irq);
			if (gets_room(p)) {
				any = true;
				p->room(i);
			}
		}
	} while (any);
}

void port_resume(unsigned port)
{
	struct port *p = &ports[port];
	if (!port_present(port))
		return;
	unsigned long irq = mem_lock_irq(&p->rx, UART_RANK_RX);
	if (p->holds && p->sink(port, p->held)) {
		p->holds = false;
		receive(port);
		if (!p->holds)
			switch_receiving(p, true);
	}
	mem_unlock_irq(&p->rx, UART_RANK_RX, irq);
}

void port_attach(unsigned port, bool (*sink)(unsigned port, uint8_t byte),
		 void (*room)(unsigned port))
{
	struct port *p = &ports[port];
	if (!port_present(port))
		return;
	unsigned long irq = mem_lock_irq(&p->rx, UART_RANK_RX);
	p->room = room;
	__atomic_store_n(&p->sink, sink, __ATOMIC_RELEASE);
	switch_receiving(p, true);
	receive(port);
	mem_unlock_irq(&p->rx, UART_RANK_RX, irq);
}

int uart_attach(void)
{
	int r = irq_attach(4, uart_interrupt);
	/* What arrived before the line was unmasked has had its edge. */
	for (unsigned i = 0; !r && i < PORT_COUNT; i++) {
		if (!ports[i].sink)
			continue;
		unsigned long irq = mem_lock_irq(&ports[i].rx, UART_RANK_RX);
		receive(i);
		mem_unlock_irq(&ports[i].rx, UART_RANK_RX, irq);
	}
	return r;
}
