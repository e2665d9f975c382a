/* SPDX-License-Identifier: MIT */
/*
 * Stage 4: several CPUs that allocate, free and unmap at once. Written for it: the number of
 * the CPU, an interrupt from one to another, and its handler.
 */
#include "boot.h"

#include <mem/heap.h>
#include <mem/pmm.h>

enum { IPI_VECTOR = 0xf0, ROUNDS = 300, BLOCKS = 64 };

static struct {
	unsigned number;
	uint32_t apic_id;
} cpus[MEM_MAX_CPUS];
static volatile uint32_t *apic;
static struct pmm *frames;
static struct vmm *vmm;
static struct heap *heap;
static unsigned online = 1, done;

/* ---- what port/smp.c asks for ------------------------------------------------------- */

/* GS leads to a CPU's own number. */
static void set_number(unsigned cpu)
{
	uint64_t base = (uintptr_t)&cpus[cpu];
	cpus[cpu].number = cpu;
	__asm__ volatile("wrmsr" ::"c"(0xc0000101), "a"((uint32_t)base),
			 "d"((uint32_t)(base >> 32)));
}

unsigned host_cpu(void)
{
	unsigned number;
	__asm__ volatile("mov %%gs:0, %0" : "=r"(number));
	return number;
}

unsigned host_cpu_count(void)
{
	return boot.cpus;
}

void mem_port_send(unsigned cpu)
{
	unsigned long irq = host_irq_save();
	apic[0x310 / 4] = cpus[cpu].apic_id << 24;
	apic[0x300 / 4] = 0x4000 | IPI_VECTOR;
	while (apic[0x300 / 4] & 1 << 12)
		host_relax();
	host_irq_restore(irq);
}

void mem_port_end_of_interrupt(void)
{
	apic[0xb0 / 4] = 0;
}

static void apic_on(void)
{
	cpus[host_cpu()].apic_id = apic[0x20 / 4] >> 24;
	apic[0xf0 / 4] = 0x1ff;
}

/* ---- the work --------------------------------------------------------------------------- */

static void work(void)
{
	void *block[BLOCKS];
	unsigned me = host_cpu();
	for (unsigned round = 0; round < ROUNDS; round++) {
		void *stack;
		for (unsigned i = 0; i < BLOCKS; i++) {
			CHECK((block[i] = kmalloc(16 + (i * 97 + round * 31) % 3000)));
			*(unsigned *)block[i] = me << 16 | i;
		}
		CHECK(vmm_alloc_stack(vmm, 2, &stack) == MEM_OK);
		*(unsigned *)stack = me;
		paddr_t pa = pmm_alloc(frames, 0, PMM_WAIT | PMM_KERNEL);
		CHECK(pa != PADDR_NONE);
		CHECK(*(unsigned *)stack == me);
		vmm_free_stack(vmm, stack, 2);
		pmm_free(frames, pa, 0);
		for (unsigned i = 0; i < BLOCKS; i++) {
			CHECK(*(unsigned *)block[i] == (me << 16 | i));
			kfree(block[i]);
		}
		if (round % 64 == 63)
			(void)heap_reap(heap, true);
	}
}

static struct mem_selftest selftest;

static void cpu_main(unsigned cpu)
{
	set_number(cpu);
	descriptors_load(NULL);
	mem_port_cpu_setup();
	vmm_cpu_online(vmm);
	apic_on();
	mem_port_cpu_online();
	__asm__ volatile("sti");
	__atomic_add_fetch(&online, 1, __ATOMIC_SEQ_CST);
	mem_selftest_help(&selftest);
	work();
	__atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
	for (;;)
		host_relax(); /* it goes on to take interrupts */
}

void kernel_main(void)
{
	set_number(0);
	interrupt_set(IPI_VECTOR, mem_port_ipi_entry, 0);
	descriptors_load(NULL);
	set_number(0); /* loading segments has cleared GS on some CPUs */
	struct memmap *map = boot_frames(&frames);
	vmm = boot_tables(frames, map);
	interrupt_lines_off();
	__asm__ volatile("sti");
	CHECK(vmm_map_device(vmm, 0xfee00000, 4096, VM_READ | VM_WRITE, VM_UC, (void **)&apic) ==
	      MEM_OK);
	apic_on();
	mem_port_cpu_online();
	CHECK(heap_create(&heap, vmm_heap_area(vmm)) == MEM_OK);
	heap_set_default(heap);
	for (unsigned cpu = 1; cpu < boot.cpus; cpu++)
		boot_start_cpu(cpu, cpu_main);
	while (__atomic_load_n(&online, __ATOMIC_SEQ_CST) < boot.cpus)
		host_relax();
	selftest = (struct mem_selftest){.pmm = frames, .vmm = vmm, .helpers = boot.cpus - 1};
	CHECK(mem_selftest_vmm(&selftest) == 0);
	work();
	while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) < boot.cpus - 1)
		host_relax();
	(void)heap_reap(heap, true);
	heap_destroy(heap);
	pmm_drain(frames);
	CHECK(pmm_is_valid(frames));
	host_log(HOST_LOG_INFO, "%u CPUs", boot.cpus);
	host_log(HOST_LOG_INFO, "stage 4: all checks held");
}
