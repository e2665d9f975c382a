/* SPDX-License-Identifier: MIT */
/*
 * Does the host do what mem/host.h says? Asked once, of a kernel that has just got there. A
 * host function that does nothing corrupts memory minutes later, on another CPU. Here it is a
 * line that names it.
 *
 * Some things can only be seen from another CPU. Those that call mem_selftest_help() follow
 * `phase`, and each says in its own `done` how far it has come:
 *
 *   HOLD  interrupts off, until the caller says that its barrier returned, or for a while.
 *         A barrier that waits returns after that while; one that does not, before.
 *   LOOK  read through an address, so that the CPU keeps the translation; the second time the
 *         caller has changed the page behind it and flushed.
 *
 * What hangs is told by the line that says what is asked last.
 */
#include "port/selftest.h"

#include <mem/pmm.h>
#include <mem/pt.h>

#include "arch/x86_64/machine.h"
#include "arch/x86_64/ops.h"

#ifdef MEM_HOSTED
MEM_BEGIN_DECLS
uint64_t machine_peek(vaddr_t va); /* read it as this CPU, through its translations */
MEM_END_DECLS
#else
static uint64_t machine_peek(vaddr_t va)
{
	return *(volatile uint64_t *)va;
}
#endif

#define PATIENCE   ((unsigned long)1 << 30)
#define HOLD_TURNS ((unsigned long)1 << 21)

struct mem_selftest_state mem_selftest_state;

#define test mem_selftest_state

/* ---- the other CPUs ----------------------------------------------------------- */

static void hold(unsigned me)
{
	unsigned long irq = host_irq_save();
	atomic_write_release(&test.cpu[me].holds, true);
	for (unsigned long i = 0; i < test.hold && !atomic_read_relaxed(&test.returned); i++)
		host_relax();
	atomic_write_release(&test.cpu[me].holds, false);
	host_irq_restore(irq);
}

void mem_selftest_help(const struct mem_selftest *what)
{
	unsigned me = host_cpu();
	(void)what;
	if (me >= MEM_MAX_CPUS)
		return;
	atomic_write_seq(&test.cpu[me].here, true);
	for (;;) {
		uint32_t phase = atomic_read_seq(&test.phase);
		if (phase == test.cpu[me].done) {
			host_relax();
			continue;
		}
		if (phase == HOLD)
			hold(me);
		else if (phase == LOOK || phase == LOOK_AGAIN)
			test.cpu[me].seen = machine_peek(test.look_at);
		atomic_write_seq(&test.cpu[me].done, phase);
		if (phase == END) {
			atomic_write_seq(&test.cpu[me].here, false);
			return;
		}
	}
}

/* ---- waiting for them ------------------------------------------------------------ */

static unsigned helpers_here(void)
{
	unsigned n = 0;
	for (unsigned i = 0; i < MEM_MAX_CPUS; i++)
		n += atomic_read_seq(&test.cpu[i].here);
	return n;
}

bool mem_selftest_enter(enum mem_selftest_phase phase, bool held)
{
	atomic_write_seq(&test.phase, phase);
	for (unsigned i = 0; i < MEM_MAX_CPUS; i++) {
		unsigned long left = test.patience;
		if (!atomic_read_seq(&test.cpu[i].here))
			continue;
		while (held ? !atomic_read_seq(&test.cpu[i].holds)
			    : atomic_read_seq(&test.cpu[i].done) != phase) {
			if (!left--) {
				FAIL("CPU %u does not go on: does it take interrupts, is its "
				     "memory coherent?",
				     i);
				return false;
			}
			host_relax();
		}
	}
	return true;
}

/* ---- what one CPU can see ----------------------------------------------------------- */

static void check_memory_functions(void)
{
	uint8_t a[16], b[16];
	for (unsigned i = 0; i < 16; i++)
		a[i] = (uint8_t)i;
	/* Through a pointer that the compiler does not look through: it knows these four. */
	void *(*volatile move)(void *, const void *, size_t) = memmove;
	void *(*volatile copy)(void *, const void *, size_t) = memcpy;
	void *(*volatile set)(void *, int, size_t) = memset;
	int (*volatile compare)(const void *, const void *, size_t) = memcmp;
	(void)move(a + 2, a, 8);
	bool right = a[1] == 1 && a[2] == 0 && a[9] == 7 && a[10] == 10;
	(void)move(a, a + 2, 8);
	right = right && a[0] == 0 && a[7] == 7 && a[8] == 6;
	(void)copy(b, a, 16);
	right = right && compare(a, b, 16) == 0;
	(void)set(b + 3, 0x1ff, 2);
	right = right && b[2] == 2 && b[3] == 0xff && b[4] == 0xff && b[5] == 5 &&
		compare(a, b, 16) < 0 && compare(b, a, 16) > 0;
	if (!right)
		FAIL("memset, memcpy, memmove or memcmp is not C's");
}

static void check_interrupts(void)
{
	bool was = host_irq_enabled();
	unsigned long first = host_irq_save();
	if (host_irq_enabled())
		FAIL("host_irq_save leaves interrupts on, or host_irq_enabled does not know");
	unsigned long second = host_irq_save();
	host_irq_restore(second);
	if (host_irq_enabled())
		FAIL("host_irq_restore turns interrupts on inside of another pair: it has to "
		     "restore what was");
	host_irq_restore(first);
	if (host_irq_enabled() != was)
		FAIL("interrupts do not come back: host_irq_restore");
	if (host_in_interrupt())
		FAIL("host_in_interrupt is true in a thread");
	host_preempt_disable();
	host_preempt_disable();
	host_preempt_enable();
	host_preempt_enable();
	if (host_irq_enabled() != was)
		FAIL("host_preempt_disable and host_preempt_enable change interrupts");
}

static void check_cpus(void)
{
	unsigned count = host_cpu_count();
	if (!count || count > MEM_MAX_CPUS)
		FAIL("host_cpu_count is %u, not 1 to MEM_MAX_CPUS (%u)", count,
		     (unsigned)MEM_MAX_CPUS);
	if (host_cpu() >= count)
		FAIL("host_cpu is %u, host_cpu_count %u", host_cpu(), count);
	for (unsigned i = count; i < MEM_MAX_CPUS; i++)
		if (atomic_read_seq(&test.cpu[i].here))
			FAIL("CPU %u is there, but host_cpu_count is %u", i, count);
	if (atomic_read_seq(&test.cpu[host_cpu()].here))
		FAIL("two CPUs have number %u: host_cpu", host_cpu());
}

static void check_registers(bool paging)
{
	struct arch_setup m;
	arch_describe(&m);
	if (!(m.cr0 & CR0_WRITE_PROTECT))
		FAIL("CR0.WP is off: the kernel can write to pages that are read-only");
	if (!(m.efer & EFER_NO_EXECUTE))
		FAIL("EFER.NXE is off: data can be executed, and NX in an entry is a reserved bit");
	if (!paging)
		return;
	if (!(m.cr4 & CR4_GLOBAL_PAGES))
		FAIL("CR4.PGE is off");
	if (m.cr4 & CR4_FIVE_LEVELS)
		FAIL("5-level paging is on (CR4.LA57)");
	if ((m.pat & PAT_MASK) != PAT_WANTED)
		FAIL("the PAT is 0x%lx: entries 0 to 5 have to be WB WT UC- UC WP WC", m.pat);
}

/* ---- frames and the direct map -------------------------------------------------------- */

static bool is_mapped_right(paddr_t pa)
{
	paddr_t found = PADDR_NONE;
	return pt_translate(arch_root(), (vaddr_t)(uintptr_t)paddr_to_ptr(pa), &found, NULL,
			    NULL) &&
	       found == pa;
}

static void check_direct_map(struct pmm *pmm)
{
	static const struct {
		unsigned order, flags;
	} kinds[] = {{0, PMM_FIRST}, {0, PMM_ANY}, {PMM_ORDER_HUGE, PMM_ANY}, {3, PMM_ANY}};
	paddr_t pa[ARRAY_COUNT(kinds)];
	unsigned got = 0;
	for (unsigned i = 0; i < ARRAY_COUNT(kinds); i++) {
		pa[i] = pmm_alloc(pmm, kinds[i].order, kinds[i].flags | PMM_KERNEL);
		if (pa[i] == PADDR_NONE)
			continue;
		got++;
		if (is_mapped_right(pa[i]))
			*(volatile uint64_t *)paddr_to_ptr(pa[i]) = pa[i] ^ 0x51e55eed;
		else
			FAIL("the direct map does not lead to frame 0x%lx: mem_direct_map_base?",
			     pa[i]);
	}
	if (!got)
		FAIL("not one frame is free");
	for (unsigned i = 0; i < ARRAY_COUNT(kinds); i++) {
		if (pa[i] == PADDR_NONE)
			continue;
		if (is_mapped_right(pa[i]) &&
		    *(volatile uint64_t *)paddr_to_ptr(pa[i]) != (pa[i] ^ 0x51e55eed))
			FAIL("frame 0x%lx does not keep what is written: is it RAM?", pa[i]);
		pmm_free(pmm, pa[i], kinds[i].order);
	}
}

/* ---- what takes several CPUs ------------------------------------------------------------ */

static void check_barrier(const struct mem_selftest *what)
{
	if (!what->helpers)
		return;
	if (!host_irq_enabled()) {
		FAIL("interrupts are off: barriers and flushes cannot be checked");
		return;
	}
	host_log(HOST_LOG_INFO, "selftest: asking %u CPUs for a barrier", what->helpers);
	atomic_write_seq(&test.returned, false);
	if (!mem_selftest_enter(HOLD, true))
		return;
	host_barrier_all();
	for (unsigned i = 0; i < MEM_MAX_CPUS; i++)
		if (atomic_read_seq(&test.cpu[i].holds))
			FAIL("host_barrier_all does not wait for CPU %u, which has its interrupts "
			     "off",
			     i);
	atomic_write_seq(&test.returned, true);
	(void)mem_selftest_enter(HOLD, false);
}

unsigned mem_selftest_with(const struct mem_selftest *what,
			   void (*more)(const struct mem_selftest *what))
{
	test.patience = what->patience ? what->patience : PATIENCE;
	test.hold = what->hold ? what->hold : HOLD_TURNS;
	test.wrong = 0;
	for (unsigned long i = 0; helpers_here() < what->helpers && i < test.patience; i++)
		host_relax();
	unsigned here = helpers_here();
	if (here != what->helpers)
		FAIL("%u CPUs were to help, %u are there (or some have the same number)",
		     what->helpers, here);
	check_memory_functions();
	check_interrupts();
	check_cpus();
	check_registers(more != NULL);
	if (what->pmm)
		check_direct_map(what->pmm);
	if (here == what->helpers) {
		check_barrier(what);
		if (more)
			more(what);
	}
	atomic_write_seq(&test.phase, END);
	for (unsigned long i = 0; helpers_here() && i < test.patience; i++)
		host_relax();
	if (test.wrong)
		host_log(HOST_LOG_ERROR, "selftest: %u things are wrong", test.wrong);
	else
		host_log(HOST_LOG_INFO, "selftest: PASS");
	return test.wrong;
}

unsigned mem_selftest(const struct mem_selftest *what)
{
	return mem_selftest_with(what, NULL);
}
