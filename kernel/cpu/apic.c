/* SPDX-License-Identifier: MIT */
/*
 * The local APIC: interrupts between CPUs, the timer, end of interrupt.
 *
 * Two ways to the same registers: memory (xAPIC) and MSRs (x2APIC). Whichever
 * mode the loader left on is used; it is the same on every CPU.
 */
#include <kernel/boot.h>
#include <kernel/log.h>

#include "kernel/cpu/priv.h"
#include "kernel/cpu/x86.h"

enum {
	APIC_ID = 0x20,
	APIC_TPR = 0x80,
	APIC_EOI = 0xb0,
	APIC_SPURIOUS = 0xf0,
	APIC_ICR_LOW = 0x300,
	APIC_ICR_HIGH = 0x310,
	APIC_LVT_TIMER = 0x320,
	APIC_LVT_THERMAL = 0x330,
	APIC_LVT_PERF = 0x340,
	APIC_LVT_LINT0 = 0x350,
	APIC_LVT_LINT1 = 0x360,
	APIC_LVT_ERROR = 0x370,
	APIC_TIMER_INITIAL = 0x380,
	APIC_TIMER_CURRENT = 0x390,
	APIC_TIMER_DIVIDE = 0x3e0,
};
#define LVT_MASKED   (1u << 16)
#define ICR_PENDING  (1u << 12)
#define ICR_NMI      (4u << 8)
#define ICR_ASSERT   (1u << 14)
#define BASE_ENABLED ((uint64_t)1 << 11)
#define BASE_X2APIC  ((uint64_t)1 << 10)

static volatile uint32_t *registers; /* xAPIC; NULL before apic_init */
static bool x2apic;

static uint32_t apic_read(unsigned reg)
{
	return x2apic ? (uint32_t)rdmsr(MSR_X2APIC + reg / 16) : registers[reg / 4];
}

static void apic_write(unsigned reg, uint32_t value)
{
	if (x2apic)
		wrmsr(MSR_X2APIC + reg / 16, value);
	else
		registers[reg / 4] = value;
}

/* The legacy controllers: out of the way of exception vectors, everything masked. */
static void mask_pics(void)
{
	out8(0x20, 0x11);
	out8(0xa0, 0x11);
	out8(0x21, VECTOR_ISA);
	out8(0xa1, VECTOR_ISA + 8);
	out8(0x21, 4);
	out8(0xa1, 2);
	out8(0x21, 1);
	out8(0xa1, 1);
	out8(0x21, 0xff);
	out8(0xa1, 0xff);
}

static void resched_interrupt(struct trapframe *f)
{
	/* The way out of the interrupt does what was asked for. */
	(void)f;
}

int apic_init(void)
{
	uint64_t msr = rdmsr(MSR_APIC_BASE);
	mask_pics();
	x2apic = (msr & BASE_ENABLED) && (msr & BASE_X2APIC);
	paddr_t base = msr & 0x000ffffffffff000;
	void *va;
	if (!x2apic) {
		if (vmm_map_device(kernel_vmm, base, PAGE_SIZE, VM_READ | VM_WRITE, VM_UC, &va) !=
		    MEM_OK)
			return -ENOMEM;
		registers = va;
	}
	trap_set_handler(VECTOR_TIMER, timer_interrupt);
	trap_set_handler(VECTOR_RESCHED, resched_interrupt);
	return 0;
}

void apic_init_cpu(void)
{
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | BASE_ENABLED);
	apic_write(APIC_TPR, 0);
	apic_write(APIC_LVT_LINT0, LVT_MASKED);
	apic_write(APIC_LVT_LINT1, 4u << 8); /* NMI */
	apic_write(APIC_LVT_ERROR, LVT_MASKED);
	apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
	apic_write(APIC_SPURIOUS, 0x100 | VECTOR_SPURIOUS);
	apic_write(APIC_TIMER_DIVIDE, 3); /* by 16 */
	apic_write(APIC_TIMER_INITIAL, 0);
	apic_write(APIC_LVT_TIMER, VECTOR_TIMER); /* one-shot */
	apic_write(APIC_EOI, 0);
}

uint32_t apic_id(void)
{
	return x2apic ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

void apic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}

static void icr(uint32_t target, uint32_t command)
{
	if (x2apic) {
		wrmsr(MSR_X2APIC + APIC_ICR_LOW / 16, (uint64_t)target << 32 | command);
		return;
	}
	/* Two writes that belong together: no handler may send in between. */
	unsigned long irq = irq_save();
	while (apic_read(APIC_ICR_LOW) & ICR_PENDING)
		cpu_relax();
	apic_write(APIC_ICR_HIGH, target << 24);
	apic_write(APIC_ICR_LOW, command);
	irq_restore(irq);
}

void apic_send(uint32_t target_apic_id, unsigned vector)
{
	__asm__ volatile("mfence" ::: "memory"); /* an MSR write does not order memory */
	icr(target_apic_id, ICR_ASSERT | vector);
}

void apic_send_nmi_others(void)
{
	/* One by one: CPUs that only halt have nothing to take an NMI with. */
	for (unsigned i = 0; i < cpu_possible(); i++)
		if (cpu_table[i] && cpu_table[i] != this_private() && cpu_table[i]->online)
			icr(cpu_table[i]->apic_id, ICR_ASSERT | ICR_NMI);
}

void apic_timer_set(uint32_t count)
{
	apic_write(APIC_TIMER_INITIAL, count);
}

uint32_t apic_timer_count(void)
{
	return apic_read(APIC_TIMER_CURRENT);
}
