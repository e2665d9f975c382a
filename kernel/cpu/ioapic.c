/* SPDX-License-Identifier: MIT */
/*
 * Device interrupts: ISA lines through the I/O APIC to the boot CPU.
 *
 * The MADT says where the I/O APICs are and which ISA lines arrive elsewhere
 * than their number, or with another polarity. Lines are edge-triggered unless
 * it says otherwise, so handlers that share one must each look at their device
 * until none wants anything.
 */
#include <kernel/boot.h>
#include <kernel/irq.h>
#include <kernel/log.h>
#include <kernel/rank.h>

#include "kernel/boot/acpi.h"
#include "kernel/cpu/priv.h"

#define MAX_IOAPICS  8
#define ISA_LINES    16
#define LINE_SHARERS 4

static struct {
	volatile uint32_t *registers; /* [0] selects, [4] is the window */
	uint32_t first, count;        /* global interrupt numbers */
} ioapics[MAX_IOAPICS];
static unsigned ioapic_count;

static struct {
	uint32_t gsi;
	uint32_t flags; /* bits of a redirection entry: polarity, trigger */
	trap_handler handlers[LINE_SHARERS];
} lines[ISA_LINES];
static struct mem_lock lock; /* KRANK_DEVICE: registers and registration */

#define REDIRECT_LOW_ACTIVE (1u << 13)
#define REDIRECT_LEVEL      (1u << 15)
#define REDIRECT_MASKED     (1u << 16)

static uint32_t ioapic_read(unsigned i, uint32_t reg)
{
	ioapics[i].registers[0] = reg;
	return ioapics[i].registers[4];
}

static void ioapic_write(unsigned i, uint32_t reg, uint32_t value)
{
	ioapics[i].registers[0] = reg;
	ioapics[i].registers[4] = value;
}

static void add_ioapic(const struct madt_ioapic *m)
{
	void *va;
	if (ioapic_count == MAX_IOAPICS ||
	    vmm_map_device(kernel_vmm, m->address, PAGE_SIZE, VM_READ | VM_WRITE, VM_UC, &va) !=
		MEM_OK) {
		klog(LOG_WARN, "I/O APIC at 0x%x is not used", m->address);
		return;
	}
	unsigned i = ioapic_count++;
	ioapics[i].registers = va;
	ioapics[i].first = m->first_gsi;
	ioapics[i].count = (ioapic_read(i, 1) >> 16 & 0xff) + 1;
	for (uint32_t pin = 0; pin < ioapics[i].count; pin++)
		ioapic_write(i, 0x10 + 2 * pin, REDIRECT_MASKED);
}

static void add_override(const struct madt_override *m)
{
	if (m->bus != 0 || m->irq >= ISA_LINES)
		return;
	lines[m->irq].gsi = m->gsi;
	lines[m->irq].flags = ((m->flags & 3) == 3 ? REDIRECT_LOW_ACTIVE : 0) |
			      ((m->flags >> 2 & 3) == 3 ? REDIRECT_LEVEL : 0);
}

static void madt_entry(const struct madt_entry *e, void *arg)
{
	(void)arg;
	if (e->type == MADT_IOAPIC)
		add_ioapic((const void *)e);
	else if (e->type == MADT_OVERRIDE)
		add_override((const void *)e);
}

static void line_interrupt(struct trapframe *f)
{
	unsigned irq = (unsigned)f->vector - VECTOR_ISA;
	for (unsigned i = 0; i < LINE_SHARERS; i++) {
		trap_handler h = __atomic_load_n(&lines[irq].handlers[i], __ATOMIC_ACQUIRE);
		if (h)
			h(f);
	}
}

void ioapic_init(void)
{
	for (unsigned irq = 0; irq < ISA_LINES; irq++)
		lines[irq].gsi = irq;
	acpi_for_each_madt(madt_entry, NULL);
}

static int unmask(unsigned irq)
{
	for (unsigned i = 0; i < ioapic_count; i++) {
		uint32_t pin = lines[irq].gsi - ioapics[i].first;
		if (lines[irq].gsi < ioapics[i].first || pin >= ioapics[i].count)
			continue;
		ioapic_write(i, 0x11 + 2 * pin, boot_cpu.apic_id << 24);
		ioapic_write(i, 0x10 + 2 * pin, lines[irq].flags | (VECTOR_ISA + irq));
		return 0;
	}
	return -ENODEV;
}

int irq_attach(unsigned irq, trap_handler handler)
{
	if (irq >= ISA_LINES)
		return -ENODEV;
	unsigned long state = mem_lock_irq(&lock, KRANK_DEVICE);
	int r = -EBUSY;
	for (unsigned i = 0; i < LINE_SHARERS && r == -EBUSY; i++) {
		if (lines[irq].handlers[i])
			continue;
		__atomic_store_n(&lines[irq].handlers[i], handler, __ATOMIC_RELEASE);
		trap_set_handler(VECTOR_ISA + irq, line_interrupt);
		r = unmask(irq);
		if (r)
			lines[irq].handlers[i] = NULL;
	}
	mem_unlock_irq(&lock, KRANK_DEVICE, state);
	return r;
}
