/* SPDX-License-Identifier: MIT */
/*
 * Does the machine itself work? It has to be able to show each wrong that the
 * tests on it are meant to find, so here each is committed by hand, with page
 * tables written by hand and no vmm.
 */
#include <mem/host.h>
#include <mem/vmm.h>

#include "arch/x86_64/ops.h"
#include "base/atomic.h"
#include "base/lock.h"
#include "tests/machine/machine.h"
#include "tests/test.h"

static const struct machine_config quiet = {
    .bytes = 4 << 20, .ncpus = 2, .seed = 1, .stale_percent = 100};

/* Frames 1..: a root and three more tables that lead to `frame` at VA. */
#define VA     ((vaddr_t)0x7f1234567000)
#define ROOT   ((paddr_t)0x1000)
#define TABLE3 ((paddr_t)0x2000)
#define TABLE2 ((paddr_t)0x3000)
#define TABLE1 ((paddr_t)0x4000)
#define OTHER1 ((paddr_t)0x5000)
#define FRAME  ((paddr_t)0x8000)
#define FRAME2 ((paddr_t)0x9000)
#define LINK   (PTE_PRESENT | PTE_WRITE | PTE_USER)

static pte_t *slot(paddr_t table, unsigned level)
{
	return (pte_t *)paddr_to_ptr(table) + pt_index(VA, level);
}

static void build(pte_t leaf)
{
	*slot(ROOT, 4) = TABLE3 | LINK;
	*slot(TABLE3, 3) = TABLE2 | LINK;
	*slot(TABLE2, 2) = TABLE1 | LINK;
	*slot(TABLE1, 1) = leaf;
	*(uint64_t *)paddr_to_ptr(FRAME) = 111;
	*(uint64_t *)paddr_to_ptr(FRAME2) = 222;
	machine_load_root(ROOT);
}

static struct mem_trap last_trap;
static void (*serve)(void);
static void handler(struct mem_trap *trap)
{
	last_trap = *trap;
	if (serve) {
		serve();
		return;
	}
	struct vmm_fault fault = {.address = trap->address, .signal = 11, .code = 1};
	host_user_fault(trap, &fault);
}

static uint64_t read_va(void)
{
	uint64_t value = 0;
	struct machine_result r = machine_access(VA, MACHINE_READ, &value);
	return r.ok ? value : 0;
}

static void begin(const struct machine_config *config, pte_t leaf)
{
	machine_init(config);
	machine_hooks.page_fault = handler;
	serve = NULL;
	build(leaf);
}

TEST(machine_walks_and_sets_bits)
{
	uint64_t value = 5;
	begin(&quiet, FRAME | LINK);
	CHECK_EQ(read_va(), 111);
	CHECK_EQ(*slot(ROOT, 4), TABLE3 | LINK | PTE_ACCESSED);
	CHECK_EQ(*slot(TABLE1, 1), FRAME | LINK | PTE_ACCESSED);
	CHECK(machine_access(VA, MACHINE_WRITE, &value).ok);
	CHECK_EQ(*slot(TABLE1, 1), FRAME | LINK | PTE_ACCESSED | PTE_DIRTY);
	CHECK_EQ(*(uint64_t *)paddr_to_ptr(FRAME), 5);
	machine_end();
}

TEST(machine_faults_like_hardware)
{
	uint64_t value = 5;
	begin(&quiet, (FRAME | LINK | PTE_NX) & ~PTE_WRITE);
	CHECK(!machine_access(VA, MACHINE_WRITE, &value).ok);
	CHECK_EQ(last_trap.error, FAULT_PRESENT | FAULT_WRITE | FAULT_USER);
	CHECK(!machine_access(VA + 8, MACHINE_FETCH, &value).ok);
	CHECK_EQ(last_trap.error, FAULT_PRESENT | FAULT_FETCH | FAULT_USER);
	CHECK_EQ(last_trap.address, VA + 8);
	CHECK(!machine_access(VA + PAGE_SIZE, MACHINE_READ, &value).ok);
	CHECK_EQ(last_trap.error, FAULT_USER);
	*slot(TABLE3, 3) |= PTE_HUGE; /* its address is not 1 GiB aligned */
	machine_load_root(ROOT);
	CHECK(!machine_access(VA, MACHINE_READ, &value).ok);
	CHECK_EQ(last_trap.error, FAULT_PRESENT | FAULT_RESERVED | FAULT_USER);
	CHECK(!machine_access((vaddr_t)1 << 47, MACHINE_READ, &value).ok);
	*slot(TABLE3, 3) = TABLE2 | PTE_PRESENT; /* no user right on the way */
	machine_load_root(ROOT);
	CHECK(!machine_access(VA, MACHINE_READ, &value).ok);
	CHECK_EQ(last_trap.error, FAULT_PRESENT | FAULT_USER);
	CHECK(machine_kernel_access(VA, MACHINE_READ, &value).ok);
	machine_end();
}

TEST(machine_keeps_stale_translations)
{
	begin(&quiet, FRAME | LINK);
	CHECK_EQ(read_va(), 111);
	*slot(TABLE1, 1) = FRAME2 | LINK;
	CHECK_EQ(read_va(), 111);
	machine_invlpg(VA);
	CHECK_EQ(read_va(), 222);
	*slot(TABLE1, 1) = 0;
	CHECK_EQ(read_va(), 222);
	machine_load_root(ROOT);
	CHECK_EQ(read_va(), 0);
	machine_end();
}

TEST(machine_keeps_structure_entries)
{
	begin(&quiet, FRAME | LINK);
	CHECK_EQ(read_va(), 111);
	/* Another leaf table in place of the first: the old one is reached through
	 * the cached PDE as long as the page's own translation is not cached. */
	((pte_t *)paddr_to_ptr(OTHER1))[pt_index(VA, 1)] = FRAME2 | LINK;
	((pte_t *)paddr_to_ptr(OTHER1))[pt_index(VA, 1) + 1] = FRAME2 | LINK;
	((pte_t *)paddr_to_ptr(TABLE1))[pt_index(VA, 1) + 1] = FRAME | LINK;
	*slot(TABLE2, 2) = OTHER1 | LINK;
	bool old = false, new = false;
	for (int i = 0; i < 200; i++) {
		uint64_t value = 0;
		CHECK(machine_access(VA + PAGE_SIZE, MACHINE_READ, &value).ok);
		old |= value == 111;
		new |= value == 222;
		/* An evicted translation, not an invalidation: page entries only. */
	}
	CHECK(old || new);
	machine_invlpg((vaddr_t)0x1000); /* any address: all structure entries go */
	machine_invlpg(VA + PAGE_SIZE);
	for (int i = 0; i < 50; i++) {
		uint64_t value = 0;
		CHECK(machine_access(VA + PAGE_SIZE, MACHINE_READ, &value).ok);
		CHECK_EQ(value, 222);
	}
	machine_end();
}

static bool seen_through_structure_entry(uint64_t seed)
{
	struct machine_config config = quiet;
	config.seed = seed;
	begin(&config, FRAME | LINK);
	CHECK_EQ(read_va(), 111);
	((pte_t *)paddr_to_ptr(TABLE1))[pt_index(VA, 1) + 1] = FRAME | LINK;
	*slot(TABLE2, 2) = 0; /* the whole leaf table is gone, no flush */
	uint64_t value = 0;
	bool ok = machine_access(VA + PAGE_SIZE, MACHINE_READ, &value).ok;
	machine_end();
	return ok;
}

TEST(machine_walks_from_structure_entries_by_chance)
{
	unsigned through = 0;
	for (uint64_t seed = 1; seed <= 40; seed++)
		through += seen_through_structure_entry(seed);
	CHECK(through > 5);
	CHECK(through < 40);
}

TEST(machine_keeps_global_entries)
{
	uint64_t value;
	begin(&quiet, FRAME | LINK | PTE_GLOBAL);
	CHECK_EQ(read_va(), 111);
	*slot(TABLE1, 1) = FRAME2 | LINK;
	machine_load_root(ROOT);
	CHECK_EQ(read_va(), 111);
	machine_flush_global();
	CHECK_EQ(read_va(), 222);
	CHECK(machine_access(VA, MACHINE_READ, &value).ok);
	machine_end();
}

/* A clean translation cannot be written through once the entry is read-only. */
TEST(machine_dirty_bit_needs_the_entry)
{
	uint64_t value = 7;
	begin(&quiet, FRAME | LINK);
	CHECK_EQ(read_va(), 111);
	*slot(TABLE1, 1) = (FRAME | LINK) & ~PTE_WRITE;
	CHECK(!machine_access(VA, MACHINE_WRITE, &value).ok);
	*slot(TABLE1, 1) = FRAME | LINK;
	machine_load_root(ROOT);
	CHECK(machine_access(VA, MACHINE_WRITE, &value).ok);
	*slot(TABLE1, 1) &= ~(pte_t)PTE_WRITE;
	value = 8; /* dirty: the stale translation still writes */
	CHECK(machine_access(VA, MACHINE_WRITE, &value).ok);
	CHECK_EQ(*(uint64_t *)paddr_to_ptr(FRAME), 8);
	machine_end();
}

static void make_present(void)
{
	*slot(TABLE1, 1) = FRAME | LINK;
}

TEST(machine_retries_served_faults)
{
	uint64_t value = 9;
	begin(&quiet, 0);
	serve = make_present;
	struct machine_result r = machine_access(VA, MACHINE_WRITE, &value);
	CHECK(r.ok);
	CHECK_EQ(r.faults, 1);
	CHECK_EQ(*(uint64_t *)paddr_to_ptr(FRAME), 9);
	machine_end();
}

static void free_a_held_frame(void)
{
	begin(&quiet, FRAME | LINK);
	machine_set_space((struct space *)1);
	(void)read_va();
	*slot(TABLE1, 1) = 0;
	machine_frame_freed(FRAME);
}

static void free_a_cached_table(void)
{
	begin(&quiet, FRAME | LINK);
	(void)read_va();
	*slot(TABLE2, 2) = 0;
	machine_frame_freed(TABLE1);
}

static void free_a_root(void)
{
	begin(&quiet, FRAME | LINK);
	machine_frame_freed(ROOT);
}

static void use_a_doomed_translation(void)
{
	begin(&quiet, FRAME | LINK);
	machine_set_space((struct space *)1);
	(void)read_va();
	machine_set_space(NULL); /* lazy: translations may stay */
	machine_frame_freed(FRAME);
	machine_set_space((struct space *)1);
	(void)read_va();
}

TEST(machine_reports_frees_under_translations)
{
	test_expect_panic(free_a_held_frame, "freed while CPU 0 may still hold a translation");
	test_expect_panic(free_a_cached_table, "may still hold a paging-structure entry");
	test_expect_panic(free_a_root, "freed while it is the root of CPU 0");
	test_expect_panic(use_a_doomed_translation, "freed while the CPU was lazy");
	begin(&quiet, FRAME | LINK);
	machine_set_space((struct space *)1);
	(void)read_va();
	*slot(TABLE1, 1) = 0;
	machine_invlpg(VA);
	machine_frame_freed(FRAME);
	machine_end();
}

/* ---- CPUs ------------------------------------------------------------------------ */

static struct mem_lock lock;
static uint32_t counter, word;
static uint64_t unlocked;

static void count_body(void *arg)
{
	for (int i = 0; i < 200; i++) {
		mem_lock(&lock, MEM_RANK_TABLE);
		uint32_t was = atomic_read_relaxed(&counter);
		machine_pause();
		counter = was + 1;
		mem_unlock(&lock, MEM_RANK_TABLE);
		uint64_t is = unlocked;
		machine_pause();
		unlocked = is + 1;
	}
}

static uint64_t count_run(uint64_t seed)
{
	struct machine_config config = {
	    .bytes = 1 << 20, .ncpus = 4, .seed = seed, .switch_mean = 5, .stall_mean = 20};
	machine_init(&config);
	counter = 0;
	unlocked = 0;
	for (int i = 0; i < 6; i++)
		machine_spawn(count_body, NULL, NULL);
	machine_join();
	CHECK_EQ(counter, 1200);
	uint64_t trace = machine_trace();
	machine_end();
	return trace;
}

TEST(machine_races_and_locks)
{
	uint64_t lost = 0;
	for (uint64_t seed = 0; seed < 5; seed++) {
		(void)count_run(seed);
		lost += 1200 - unlocked;
	}
	CHECK(lost > 0); /* the unlocked counter shows the race */
}

TEST(machine_seeds_repeat)
{
	uint64_t a = count_run(42), lost = unlocked;
	uint64_t other = count_run(43);
	CHECK_EQ(count_run(42), a);
	CHECK_EQ(unlocked, lost);
	CHECK(other != a);
}

static unsigned flushed[MACHINE_MAX_CPUS], interrupts;
static void note_flush(void)
{
	CHECK(host_in_interrupt() && !host_irq_enabled());
	flushed[host_cpu()]++;
}
static void note_interrupt(void)
{
	CHECK(host_in_interrupt() && !host_irq_enabled());
	machine_pause();
	interrupts++;
}

static void flush_body(void *arg)
{
	for (int i = 0; i < 100; i++) {
		struct cpumask all = {{(1u << 4) - 1}};
		host_preempt_disable();
		unsigned before[4], me = host_cpu();
		for (int c = 0; c < 4; c++)
			before[c] = flushed[c];
		host_flush_wait(&all);
		for (int c = 0; c < 4; c++)
			CHECK(flushed[c] > before[c]);
		CHECK_EQ(me, host_cpu());
		host_preempt_enable();
	}
}

TEST(machine_flushes_reach_every_cpu)
{
	struct machine_config config = {.bytes = 1 << 20,
					.ncpus = 4,
					.seed = test_random(),
					.switch_mean = 4,
					.stall_mean = 10,
					.interrupt_mean = 20};
	machine_init(&config);
	machine_hooks.flush_pending = note_flush;
	machine_hooks.interrupt = note_interrupt;
	for (int i = 0; i < 5; i++)
		machine_spawn(flush_body, NULL, NULL);
	machine_join();
	CHECK(interrupts > 0);
	machine_end();
}

static void waker_body(void *arg)
{
	for (int i = 0; i < 100; i++) {
		atomic_add(&word, 1);
		host_wake(&word);
	}
}

static void waiter_body(void *arg)
{
	uint32_t seen;
	while ((seen = atomic_read_seq(&word)) < 100)
		host_wait(&word, seen);
}

TEST(machine_sleepers_wake)
{
	struct machine_config config = {
	    .bytes = 1 << 20, .ncpus = 3, .seed = test_random(), .switch_mean = 3};
	machine_init(&config);
	word = 0;
	for (int i = 0; i < 5; i++)
		machine_spawn(waiter_body, NULL, NULL);
	machine_spawn(waker_body, NULL, NULL);
	machine_join();
	machine_end();
}

/* ---- what must be reported --------------------------------------------------------- */

static struct machine_config two = {.bytes = 1 << 20, .ncpus = 2, .seed = 3, .switch_mean = 3};

static void sleep_forever(void)
{
	machine_init(&two);
	word = 0;
	for (;;)
		host_wait(&word, 0);
}

static void flush_with_interrupts_off(void)
{
	struct cpumask all = {{3}};
	machine_init(&two);
	host_preempt_disable();
	(void)host_irq_save();
	host_flush_wait(&all);
}

static void hold_and_flush(void *arg)
{
	struct cpumask all = {{3}};
	for (int i = 0; i < 1000; i++) {
		mem_lock(&lock, MEM_RANK_TABLE);
		host_flush_wait(&all);
		mem_unlock(&lock, MEM_RANK_TABLE);
	}
}

static void spin_with_interrupts_off(void *arg)
{
	for (int i = 0; i < 1000; i++) {
		unsigned long irq = mem_lock_irq(&lock, MEM_RANK_TABLE);
		mem_unlock_irq(&lock, MEM_RANK_TABLE, irq);
	}
}

static void deadlock(void)
{
	machine_init(&two);
	machine_spawn(hold_and_flush, NULL, NULL);
	machine_spawn(spin_with_interrupts_off, NULL, NULL);
	machine_join();
}

static void sleep_with_a_lock(void)
{
	machine_init(&two);
	mem_lock(&lock, MEM_RANK_TABLE);
	host_wait(&word, 0);
}

TEST(machine_reports_deadlocks)
{
	test_expect_panic(sleep_forever, "nobody can run: every thread sleeps");
	test_expect_panic(flush_with_interrupts_off, "host_flush_wait with interrupts off");
	test_expect_panic(deadlock, "nobody gets anywhere");
	test_expect_panic(deadlock, "spinning with interrupts off");
	test_expect_panic(sleep_with_a_lock, "host_wait with preemption off");
}
