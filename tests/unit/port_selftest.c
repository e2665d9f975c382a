/* SPDX-License-Identifier: MIT */
/*
 * The self-test finds what it is there for: on a host of two threads (vm_host.c) one thing at
 * a time is broken, by functions that the linker puts in front of the host's (--wrap), and the
 * line has to name it. Translations are kept by each CPU here, one of them.
 */
#include <mem/host.h>
#include <mem/pmm.h>
#include <mem/port.h>
#include <mem/pt.h>
#include <mem/vmm.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "arch/x86_64/ops.h"
#include "port/selftest.h"
#include "tests/machine/registers.h"
#include "tests/test.h"
#include "tests/unit/vm_host.h"

#define BYTES ((uint64_t)64 << 20)

enum broken {
	NOTHING,
	IRQ_STAYS_ON,
	IRQ_BACK_TOO_SOON,
	IRQ_NEVER_BACK,
	IN_INTERRUPT,
	NO_CPUS,
	TOO_MANY_CPUS,
	ONE_NUMBER,
	BARRIER,
	FLUSH,
	DIRECT_MAP,
	MOVE,
};
static enum broken broken;
static struct pmm *pmm;
static struct vmm *vmm;
static char said[4096];
/* Turns to wait for the other thread, more than it can take; and for it to hold. */
static unsigned long patience, hold;

/* ---- in front of the host's functions ------------------------------------------------ */

#define WRAPPED(result, name, ...)                                                                 \
	result __real_##name(__VA_ARGS__);                                                         \
	result __wrap_##name(__VA_ARGS__);                                                         \
	result __wrap_##name(__VA_ARGS__)

void __wrap_host_log(enum host_log_level level, const char *format, ...);
void __wrap_host_log(enum host_log_level level, const char *format, ...)
{
	va_list args;
	size_t n = strlen(said);
	va_start(args, format);
	vsnprintf(said + n, sizeof(said) - n, format, args);
	va_end(args);
	strncat(said, "\n", sizeof(said) - strlen(said) - 1);
	(void)level;
}

WRAPPED(unsigned long, host_irq_save, void)
{
	return broken == IRQ_STAYS_ON ? 0 : __real_host_irq_save();
}
WRAPPED(void, host_irq_restore, unsigned long state)
{
	if (broken != IRQ_NEVER_BACK)
		__real_host_irq_restore(broken == IRQ_BACK_TOO_SOON ? 0 : state);
}
WRAPPED(bool, host_in_interrupt, void)
{
	return broken == IN_INTERRUPT || __real_host_in_interrupt();
}
WRAPPED(unsigned, host_cpu_count, void)
{
	return broken == NO_CPUS ? 0 : broken == TOO_MANY_CPUS ? 1000 : __real_host_cpu_count();
}
WRAPPED(unsigned, host_cpu, void)
{
	return broken == ONE_NUMBER ? 0 : __real_host_cpu();
}
WRAPPED(void, host_barrier_all, void)
{
	if (broken != BARRIER)
		__real_host_barrier_all();
}
WRAPPED(void, host_flush_wait, const struct cpumask *cpus)
{
	if (broken != FLUSH)
		__real_host_flush_wait(cpus);
}
WRAPPED(void *, memmove, void *to, const void *from, size_t bytes)
{
	if (broken != MOVE)
		return __real_memmove(to, from, bytes);
	for (size_t i = 0; i < bytes; i++)
		((char *)to)[i] = ((const char *)from)[i];
	return to;
}
/* The arena is no part of any page table. */
WRAPPED(bool, pt_translate, paddr_t root, vaddr_t va, paddr_t *pa, uint64_t *entry, unsigned *level)
{
	if (va - mem_direct_map_base >= BYTES)
		return __real_pt_translate(root, va, pa, entry, level);
	*pa = va - mem_direct_map_base + (broken == DIRECT_MAP ? PAGE_SIZE : 0);
	return true;
}

static struct {
	vaddr_t va;
	paddr_t pa;
} kept[MEM_MAX_CPUS];

WRAPPED(void, machine_invlpg, vaddr_t va)
{
	(void)va;
	kept[__real_host_cpu()].va = 0;
	__real_machine_invlpg(va);
}
WRAPPED(void, machine_flush_global, void)
{
	kept[__real_host_cpu()].va = 0;
	__real_machine_flush_global();
}

uint64_t machine_peek(vaddr_t va);
uint64_t machine_peek(vaddr_t va)
{
	__auto_type mine = &kept[__real_host_cpu()];
	if (mine->va != va)
		CHECK(__real_pt_translate(vmm_kernel_root(vmm), va, &mine->pa, NULL, NULL));
	mine->va = va;
	return *(uint64_t *)paddr_to_ptr(mine->pa);
}

/* ---- one run ------------------------------------------------------------------------------ */

static void boot(void)
{
	static struct memmap_region regions[16];
	static struct memmap map = {.regions = regions, .capacity = 16};
	const struct memmap_entry entry = {0x100000, BYTES - 0x100000, MEMMAP_USABLE};
	vm_host_init(BYTES, 2);
	vm_host_set_cpu(0);
	CHECK_OK(memmap_sanitise(&map, &entry, 1, (pfn_t)1 << 40));
	CHECK_OK(pmm_init(&pmm, &map));
	const struct vmm_config config = {.pmm = pmm, .map = &map, .has_nx = true};
	CHECK_OK(vmm_init(&vmm, &config));
	unsigned long irq = host_irq_save();
	vmm_cpu_online(vmm);
	host_irq_restore(irq);
	patience = 1000000000;
	hold = 100;
}

static void *help(void *what)
{
	vm_host_set_cpu(1);
	unsigned long irq = host_irq_save();
	vmm_cpu_online(vmm);
	host_irq_restore(irq);
	mem_selftest_help(what);
	return NULL;
}

/* The whole of it on two CPUs; how many things are wrong. */
static unsigned run(enum broken what, unsigned helpers)
{
	struct mem_selftest test = {
	    .pmm = pmm, .vmm = vmm, .helpers = helpers, .patience = patience, .hold = hold};
	pthread_t thread;
	said[0] = 0;
	memset(&mem_selftest_state, 0, sizeof(mem_selftest_state)); /* it is for once */
	CHECK_EQ(pthread_create(&thread, NULL, help, &test), 0);
	broken = what;
	unsigned wrong = mem_selftest_vmm(&test);
	broken = NOTHING;
	pthread_join(thread, NULL);
	CHECK_EQ(wrong == 0, strstr(said, "selftest: PASS") != NULL);
	return wrong;
}

/* The same on one, without frames. */
static unsigned run_alone(enum broken what)
{
	struct mem_selftest test = {.patience = patience};
	said[0] = 0;
	broken = what;
	unsigned wrong = mem_selftest(&test);
	broken = NOTHING;
	host_irq_restore(0);
	return wrong;
}

static void check_said(unsigned wrong, const char *text)
{
	if (!wrong || !strstr(said, text))
		test_fail(__FILE__, __LINE__, "%u wrong, '%s' not in: %s", wrong, text, said);
}

TEST(port_selftest_passes)
{
	boot();
	for (unsigned i = 0; i < 3; i++) {
		CHECK_EQ(run(NOTHING, 1), 0);
		CHECK_EQ(run_alone(NOTHING), 0);
	}
	CHECK(vmm_is_valid(vmm) && pmm_is_valid(pmm));
}

TEST(port_selftest_interrupts)
{
	boot();
	check_said(run_alone(IRQ_STAYS_ON), "host_irq_save leaves interrupts on");
	check_said(run_alone(IRQ_BACK_TOO_SOON), "inside of another pair");
	check_said(run_alone(IRQ_NEVER_BACK), "interrupts do not come back");
	check_said(run_alone(IN_INTERRUPT), "host_in_interrupt is true");
}

TEST(port_selftest_cpus)
{
	boot();
	check_said(run_alone(NO_CPUS), "host_cpu_count is 0");
	check_said(run_alone(TOO_MANY_CPUS), "host_cpu_count is 1000");
	check_said(run(ONE_NUMBER, 1), "two CPUs have number 0");
	patience = 100000;
	check_said(run(NOTHING, 2), "2 CPUs were to help, ");
}

TEST(port_selftest_barrier)
{
	boot();
	hold = 1000000000; /* it ends when the barrier returns */
	check_said(run(BARRIER, 1), "host_barrier_all does not wait for CPU 1");
}

TEST(port_selftest_flush)
{
	boot();
	check_said(run(FLUSH, 1), "a flush does not reach CPU 1");
	CHECK(vmm_is_valid(vmm));
}

TEST(port_selftest_memory)
{
	boot();
	check_said(run(DIRECT_MAP, 1), "the direct map does not lead to frame");
	check_said(run_alone(MOVE), "memset, memcpy, memmove or memcmp");
	CHECK(pmm_is_valid(pmm));
}

TEST(port_selftest_registers)
{
	boot();
	const struct arch_setup good = machine_registers;
	machine_registers.cr0 = 0;
	check_said(run_alone(NOTHING), "CR0.WP is off");
	machine_registers = good;
	machine_registers.efer = 0;
	check_said(run_alone(NOTHING), "EFER.NXE is off");
	machine_registers = good;
	CHECK_EQ(run_alone(NOTHING), 0);

	static const struct {
		uint64_t cr4, pat;
		const char *says;
	} cases[] = {
	    {0, PAT_WANTED, "CR4.PGE is off"},
	    {CR4_GLOBAL_PAGES | CR4_FIVE_LEVELS, PAT_WANTED, "5-level paging is on"},
	    {CR4_GLOBAL_PAGES, 0x0007040600070406, "the PAT is 0x7040600070406"},
	};
	for (unsigned i = 0; i < 3; i++) {
		struct mem_selftest test = {.pmm = pmm, .vmm = vmm, .patience = patience};
		said[0] = 0;
		machine_registers.cr4 = cases[i].cr4;
		machine_registers.pat = cases[i].pat;
		check_said(mem_selftest_vmm(&test), cases[i].says);
		machine_registers = good;
	}
}
