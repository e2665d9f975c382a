/* SPDX-License-Identifier: MIT */
/*
 * The kernel's own mistakes, made on purpose: each must end the machine with
 * status 125 and a report that names what happened. One a boot:
 * `crash=NAME` on the command line of the tests' kernel.
 */
#include "tests/kernel/crashes.h"

#include <kernel/boot.h>
#include <kernel/log.h>
#include <kernel/sched.h>
#include <mem/heap.h>
#include <mem/vmm.h>

#include "base/util.h"
#include "kernel/cpu/priv.h"
#include "kernel/cpu/x86.h"

/* Addresses that the compiler must not know, or it complains. */
static volatile uintptr_t small_address = 8, wild_address = 0x123456789abcdef0ull;
static volatile int depth_limit = 1 << 30;

static void null_write(void)
{
	*(volatile uint64_t *)small_address = 1;
}

static int recurse(int depth)
{
	volatile char room[400];
	room[0] = (char)depth;
	return depth == depth_limit ? 0 : recurse(depth + 1) + room[0];
}

static void stack_overflow(void)
{
	recurse(0);
}

static void write_to_text(void)
{
	*(volatile uint8_t *)(uintptr_t)write_to_text = 0x90;
}

/* The same bytes through the direct map are not writable either. */
static void write_to_text_alias(void)
{
	paddr_t pa;
	kassert(pt_translate(vmm_kernel_root(kernel_vmm), (vaddr_t)write_to_text, &pa, NULL, NULL));
	*(volatile uint8_t *)paddr_to_ptr(pa) = 0x90;
}

static void execute_data(void)
{
	static uint8_t code[16] = {0xc3};
	((void (*)(void))(uintptr_t)code)();
}

static void use_of_user_memory(bool execute)
{
	struct space *space;
	vaddr_t va;
	const struct vm_map_args args = {.bytes = PAGE_SIZE,
					 .prot = VM_READ | VM_WRITE | VM_EXEC,
					 .maxprot = VM_READ | VM_WRITE | VM_EXEC,
					 .flags = VM_POPULATE};
	kassert(vmm_space_create(kernel_vmm, &space) == MEM_OK);
	kassert(vmm_map(space, &args, &va) == MEM_OK);
	thread_set_space(space);
	if (execute)
		((void (*)(void))va)();
	else
		*(volatile uint8_t *)va = 1;
}

static void execute_user(void)
{
	use_of_user_memory(true);
}

static void write_user(void)
{
	use_of_user_memory(false);
}

static void double_free(void)
{
	void *p = kmalloc(100);
	kfree(p);
	kfree(p);
}

static void heap_overrun(void)
{
	uint8_t *p = kmalloc(4 * HUGE_SIZE);
	kassert(p);
	for (size_t i = 0;; i += PAGE_SIZE)
		((volatile uint8_t *)p)[i] = 1;
}

/* A block of the heap that was sampled, at the end of its page. */
static uint8_t *sampled_block(size_t bytes)
{
	kassert(heap_sample_start(kernel_heap, 64, 1) == MEM_OK);
	for (unsigned i = 0; i < 1000; i++) {
		uint8_t *p = kmalloc(bytes);
		if (p && ((vaddr_t)p + bytes) % PAGE_SIZE == 0)
			return p;
		kfree(p);
		heap_reap(kernel_heap, false);
	}
	panic("no block was sampled");
}

static void sampled_overflow(void)
{
	volatile uint8_t *p = sampled_block(112);
	p[112] = 1;
}

static void sampled_use_after_free(void)
{
	volatile uint8_t *p = sampled_block(112);
	kfree((void *)(uintptr_t)p);
	heap_reap(kernel_heap, false);
	(void)p[5];
}

static void sampled_late_write(void)
{
	volatile uint8_t *p = sampled_block(112);
	kfree((void *)(uintptr_t)p);
	p[5] = 1;
	heap_reap(kernel_heap, false);
}

static void invalid_opcode(void)
{
	__asm__ volatile("ud2");
}

static void wild_pointer(void)
{
	*(volatile uint64_t *)wild_address = 1;
}

static void assertion(void)
{
	kassert(cpu_count() == 0);
}

static void stay_on(unsigned cpu)
{
	struct cpumask only = {0};
	cpumask_set(&only, cpu);
	kassert(thread_set_affinity(current_thread(), &only) == 0);
}

static void deaf(void *cpu)
{
	stay_on((unsigned)(uintptr_t)cpu);
	irq_disable();
	for (;;)
		cpu_relax();
}

/* The others are stopped although they have interrupts off. */
static void others_are_deaf(void)
{
	stay_on(0);
	for (uintptr_t i = 1; i < cpu_count(); i++)
		kthread_create("deaf", deaf, (void *)i);
	(void)sched_sleep_until(time_monotonic() + 200000000, false);
	panic("all the others are deaf");
}

/* What no emulator checks, debug builds do: in front of WRMSR, and of IRETQ. */
static void bad_base(void)
{
	wrmsr(MSR_KERNEL_GS_BASE, wild_address);
}

static void bad_frame(void)
{
	struct trapframe f = {
	    .rip = wild_address, .cs = USER_CS, .ss = USER_SS, .rflags = RFLAGS_IF | 2};
	trap_check_frame(&f, 0);
}

const struct crash crashes[] = {
    {"null_write", null_write, "write of 0x8 not mapped|NULL pointer|PML4|null_write+"},
    {"stack_overflow", stack_overflow, "double fault|guard page of a kernel stack|recurse"},
    {"write_to_text", write_to_text, "write of|not allowed in kernel mode|write_to_text+"},
    {"write_to_text_alias", write_to_text_alias, "write of|not allowed in kernel mode"},
    {"execute_data", execute_data, "instruction fetch|not allowed|nx"},
    {"execute_user", execute_user, "instruction fetch|not allowed|user"},
    {"write_user", write_user, "write of|not allowed|user"},
    {"double_free", double_free, "double free"},
    {"heap_overrun", heap_overrun, "guard page of a heap block|heap_overrun+"},
    {"sampled_overflow", sampled_overflow,
     "access behind the end of the heap block|(112 bytes)|allocated at|sampled_overflow+"},
    {"sampled_use_after_free", sampled_use_after_free,
     "use after free of the heap block|(112 bytes)|freed at|sampled_use_after_free+"},
    {"sampled_late_write", sampled_late_write, "use after free: sampled block|(112 bytes)"},
    {"invalid_opcode", invalid_opcode, "invalid opcode|invalid_opcode+"},
    {"wild_pointer", wild_pointer, "general protection|wild_pointer+"},
    {"assertion", assertion, "assertion failed: cpu_count() == 0|assertion+"},
    {"bad_base", bad_base, "MSR 0xc0000102 would be loaded with 0x123456789abcdef0|bad_base+"},
    {"bad_frame", bad_frame, "RIP not canonical|rip 123456789abcdef0"},
    {"others_are_deaf", others_are_deaf, "all the others are deaf|end of report"},
};
const size_t crash_count = ARRAY_COUNT(crashes);
