/* SPDX-License-Identifier: MIT */
/* Pitfalls of translation lookaside buffers: 1 to 11. */
#include "arch/x86_64/pte.h"
#include "base/atomic.h"
#include "tests/pitfalls/help.h"

#define SEEDS 40

static struct space *space;
static uint32_t ready, stop, moment;

static void reset(void)
{
	ready = stop = moment = 0;
}

/*
 * 1. The order is: take the entry away, make every CPU forget it, wait until all
 * have said so, and only then give the frame or the address away. There is no
 * giving up on the wait, however long somebody takes: whoever stops waiting frees
 * memory that is still in use.
 */
static void slow_cpu(void *arg)
{
	CHECK_EQ(get(PLACE), 77);
	unsigned long irq = host_irq_save();
	atomic_write_release(&ready, 1);
	for (int i = 0; i < 3000; i++) {
		machine_progress();
		pause_for(1);
	}
	CHECK_EQ(atomic_read_acquire(&moment), 0); /* the unmap has to be waiting still */
	atomic_write_release(&stop, 1);
	host_irq_restore(irq);
}

static void unmap_when_ready(void *arg)
{
	wait_until(&ready, 1);
	unmap_at(space, PLACE, 1);
	atomic_write_release(&moment, 1);
	CHECK_EQ(atomic_read_acquire(&stop), 1);
}

SEEDED_TEST(pitfall_01_free_after_every_acknowledgement, SEEDS)
{
	space = pitfall_begin(3, i);
	reset();
	map_at(space, PLACE, 1, RW, 0);
	put(PLACE, 77);
	RUN(space, slow_cpu, unmap_when_ready);
	pitfall_end(space);
}

/*
 * 2. An address is not used again before its last use is forgotten everywhere: a
 * mapping that replaces another becomes faultable only after the flush.
 */
static void replace(void *arg)
{
	for (uint64_t round = 1; round < 12; round++) {
		map_at(space, PLACE, 1, RW, 0);
		put(PLACE, round);
		atomic_write_seq(&moment, (uint32_t)round);
		pause_for(machine_random_below(20));
	}
	atomic_write_release(&stop, 1);
}

static void watch_rounds(void *arg)
{
	while (!atomic_read_acquire(&stop)) {
		uint64_t before = atomic_read_seq(&moment), value = get(PLACE);
		/* Older than what was there before the read began: a dead mapping. */
		CHECK(value == 0 || value >= before);
	}
}

SEEDED_TEST(pitfall_02_addresses_are_not_reused_early, SEEDS)
{
	space = pitfall_begin(3, i);
	reset();
	map_at(space, PLACE, 1, RW, 0);
	RUN(space, replace, watch_rounds, watch_rounds);
	pitfall_end(space);
}

/*
 * 3. Copy-on-write takes the old entry away, flushes and waits, and installs the
 * copy last. Installed first, one CPU writes the copy while another still reads
 * the original: two threads of one program see two memories.
 */
static void write_once(void *arg)
{
	pause_for(machine_random_below(40));
	put(PLACE, 20);
	atomic_write_seq(&moment, 1);
}

static void read_consistently(void *arg)
{
	for (int i = 0; i < 15; i++) {
		bool written = atomic_read_seq(&moment);
		uint64_t value = get(PLACE);
		CHECK(value == 20 || (value == 10 && !written));
		/* Nor backwards: what was seen new is never old again. */
		if (value == 20)
			CHECK_EQ(get(PLACE), 20);
	}
}

SEEDED_TEST(pitfall_03_copy_on_write_installs_last, 2 * SEEDS)
{
	struct space *child;
	space = pitfall_begin(4, i);
	reset();
	map_at(space, PLACE, 1, RW, 0);
	put(PLACE, 10);
	CHECK_OK(vmm_space_fork(space, &child));
	RUN(space, write_once, read_consistently, read_consistently);
	machine_set_space(child);
	CHECK_EQ(get(PLACE), 10);
	machine_set_space(space);
	vmm_space_put(child);
	pitfall_end(space);
}

/*
 * 4. For fork, making a page read-only is taking a right away: it is flushed
 * before anybody relies on it. Otherwise a third thread goes on writing, through
 * what its CPU remembers, into a page that parent and child believe they share.
 */
static void write_on(void *arg)
{
	uint64_t n = 1;
	while (!atomic_read_acquire(&stop))
		for (int p = 0; p < 3; p++)
			put(PLACE + (unsigned)p * PAGE_SIZE, n++);
}

static void fork_and_hold(void *arg)
{
	for (int round = 0; round < 4; round++) {
		struct space *child;
		uint64_t first[3];
		CHECK_OK(vmm_space_fork(space, &child));
		machine_set_space(child);
		for (unsigned p = 0; p < 3; p++)
			first[p] = get(PLACE + p * PAGE_SIZE);
		for (int again = 0; again < 8; again++)
			for (unsigned p = 0; p < 3; p++)
				CHECK_EQ(get(PLACE + p * PAGE_SIZE), first[p]);
		machine_set_space(space);
		vmm_space_put(child);
	}
	atomic_write_release(&stop, 1);
}

SEEDED_TEST(pitfall_04_fork_flushes_what_it_protects, SEEDS)
{
	space = pitfall_begin(4, i);
	reset();
	map_at(space, PLACE, 3, RW, 0);
	RUN(space, write_on, write_on, fork_and_hold);
	pitfall_end(space);
}

/*
 * 5. CPUs also remember page tables, not only pages: a table that is freed is
 * flushed too, even if nothing in it is present any more, and even on CPUs that
 * only keep the space loaded and run something else. (Intel SDM volume 3, 4.10.)
 */
static void look_and_leave(void *arg)
{
	(void)get(PLACE);
	(void)get(AWAY);
}

/* Walks ahead of need go where somebody was lately, and remember the tables on the way
 * to a page that is not there. */
static void look_elsewhere(void *arg)
{
	for (int i = 0; i < 20; i++)
		(void)get(PLACE);
}

SEEDED_TEST(pitfall_05_freed_tables_are_flushed_everywhere, SEEDS)
{
	uint64_t value;
	space = pitfall_begin(4, i);
	map_at(space, PLACE, 2, RW, 0);
	map_at(space, AWAY, 2, RW, 0);
	for (int t = 0; t < 4; t++)
		machine_spawn(look_and_leave, NULL, space);
	machine_join(); /* CPUs that ran it are idle now, with the space loaded */
	/* Nothing present is left, but the tables are there and remembered. */
	CHECK_OK(vmm_advise(space, AWAY, 2 * PAGE_SIZE, VM_ADVICE_DONTNEED));
	for (int t = 0; t < 4; t++)
		RUN(space, look_elsewhere);
	unmap_at(space, AWAY, 2);
	vmm_drain(machine_vmm); /* frees them: the machine checks who holds what */
	CHECK_EQ(try_get(AWAY, &value), 11);
	unmap_at(space, PLACE, 2);
	vmm_drain(machine_vmm);
	CHECK_EQ(try_get(PLACE, &value), 11);
	pitfall_end(space);
}

/*
 * 6. Tables are read without locks. One that was unlinked is marked stale and is
 * freed only when no walker can hold it any more; who locks a table looks at the
 * mark again. That a flush was acknowledged does not say that a walk is over: the
 * flush interrupt comes in the middle of it.
 */
static void fault_around(void *arg)
{
	for (int i = 0; i < 60; i++) {
		uint64_t value;
		(void)try_get(AWAY + machine_random_below(4) * HUGE_SIZE, &value);
	}
}

static void build_and_raze(void *arg)
{
	for (int i = 0; i < 15; i++) {
		map_at(space, AWAY, 4 * 512, RW, 0);
		for (unsigned t = 0; t < 4; t++)
			put(AWAY + t * HUGE_SIZE, 1);
		unmap_at(space, AWAY, 4 * 512);
		vmm_drain(machine_vmm); /* frees what it may, at once; filled with junk */
	}
}

SEEDED_TEST(pitfall_06_walkers_outlive_acknowledgements, 2 * SEEDS)
{
	space = pitfall_begin(4, i);
	RUN(space, fault_around, fault_around, build_and_raze);
	pitfall_end(space);
}

/* The same for the lock of a table: whoever gets it when the table is stale already
 * holds nothing still, and has to let go while it still counts as walking. */
static void fault_at_one_table(void *arg)
{
	while (!atomic_read_acquire(&stop)) {
		uint64_t value;
		(void)try_get(AWAY + machine_random_below(3) * PAGE_SIZE, &value);
	}
}

static void raze_one_table(void *arg)
{
	for (int i = 0; i < 25; i++) {
		map_at(space, AWAY, 3, RW, 0);
		put(AWAY, 1);
		pause_for(machine_random_below(30));
		unmap_at(space, AWAY, 3);
	}
	atomic_write_release(&stop, 1);
}

SEEDED_TEST(pitfall_06_stale_tables_are_let_go_of, 3 * SEEDS)
{
	space = pitfall_begin(4, i);
	reset();
	for (int t = 0; t < 4; t++)
		RUN(space, fault_at_one_table, raze_one_table);
	pitfall_end(space);
}

/*
 * 7. A CPU that keeps a space loaded without running it either takes part in
 * flushes, or forgets everything when it comes back: it says that it is there
 * before it reads how many flushes there were, and a partial flush is enough only
 * for who is exactly one behind.
 */
static struct space *other;

static void come_and_go(void *arg)
{
	for (int i = 0; i < 25; i++) {
		uint64_t value, before = atomic_read_seq(&moment);
		machine_set_space(machine_random_below(2) ? NULL : other);
		pause_for(machine_random_below(30));
		machine_set_space(space);
		if (try_get(PLACE, &value) == 0)
			CHECK(value == 0 || value >= before);
	}
}

SEEDED_TEST(pitfall_07_lazy_cpus_come_back_fresh, SEEDS)
{
	space = pitfall_begin(4, i);
	reset();
	CHECK_OK(vmm_space_create(machine_vmm, &other));
	map_at(space, PLACE, 1, RW, 0);
	RUN(space, come_and_go, come_and_go, replace);
	machine_set_space(NULL);
	vmm_space_put(other);
	pitfall_end(space);
}

/*
 * 8. The CPU sets accessed and dirty bits at any moment: entries in use are
 * changed by exchange or compare-and-exchange, what was there is looked at, and a
 * dirty bit is never lost.
 */
#define DIRTY_PAGES 16
static bool written[DIRTY_PAGES];

/* In the order in which mprotect goes through the entries, at about its time. */
static void dirty_them(void *arg)
{
	pause_for(machine_random_below(150));
	for (unsigned p = (uintptr_t)arg; p < DIRTY_PAGES; p += 3)
		if (try_put(PLACE + p * PAGE_SIZE, 5) == 0)
			written[p] = true;
}

static void change_rights(void *arg)
{
	pause_for(machine_random_below(150));
	CHECK_OK(vmm_protect(space, PLACE, DIRTY_PAGES * PAGE_SIZE, VM_READ));
	CHECK_OK(vmm_protect(space, PLACE, DIRTY_PAGES * PAGE_SIZE, RW));
}

static void run_pitfall_08_dirty_bits_are_not_lost(uint64_t i)
{
	struct vm_object *object;
	vaddr_t out;
	space = pitfall_begin(4, i);
	CHECK_OK(vm_object_create(machine_vmm, NULL, NULL, DIRTY_PAGES * PAGE_SIZE, &object));
	struct vm_map_args args = {.hint = PLACE,
				   .bytes = DIRTY_PAGES * PAGE_SIZE,
				   .prot = RW,
				   .maxprot = 7,
				   .flags = VM_SHARED | VM_FIXED,
				   .object = object};
	CHECK_OK(vmm_map(space, &args, &out));
	for (unsigned p = 0; p < DIRTY_PAGES; p++) {
		(void)get(PLACE + p * PAGE_SIZE); /* present and clean */
		written[p] = false;
	}
	for (uintptr_t t = 0; t < 3; t++)
		machine_spawn(dirty_them, (void *)t, space);
	RUN(space, change_rights);
	for (unsigned p = 0; p < DIRTY_PAGES; p++) {
		bool dirty = false;
		if (!written[p])
			continue;
		machine_totals[0]++;
		CHECK(vmm_page_info(space, PLACE + p * PAGE_SIZE, NULL, NULL, &dirty));
		CHECK(dirty);
	}
	vm_object_put(object);
	pitfall_end(space);
}

TEST_TIMED(pitfall_08_dirty_bits_are_not_lost, 120)
{
	machine_each(5 * SEEDS, run_pitfall_08_dirty_bits_are_not_lost);
	CHECK(machine_totals[0] > 3 * SEEDS); /* the writes worked often enough */
}

/*
 * 9. To wait for a flush with interrupts off, or with a lock held that somebody
 * spins for with interrupts off, is a deadlock between two CPUs; so is giving
 * memory back to the page tables from an interrupt handler.
 */
static void unmap_with_interrupts_off(void)
{
	space = pitfall_begin(2, 0);
	map_at(space, PLACE, 1, RW, 0);
	put(PLACE, 1);
	(void)host_irq_save();
	unmap_at(space, PLACE, 1);
}

/* No flush here; but whoever holds the table's lock may be waiting for one. */
static void spin_with_interrupts_off(void)
{
	space = pitfall_begin(2, 0);
	(void)host_irq_save();
	(void)vmm_page_info(space, PLACE, NULL, NULL, NULL);
}

static void flush_kernel_with_interrupts_off(void)
{
	space = pitfall_begin(2, 0);
	host_preempt_disable();
	(void)host_irq_save();
	vmm_flush_kernel(machine_vmm, KERNEL_BASE, PAGE_SIZE);
}

static void give_heap_memory_back_in_a_handler(void)
{
	space = pitfall_begin(2, 0);
	struct heap_area *area = vmm_heap_area(machine_vmm);
	void *pages = area->map(area, 1, 1, false);
	machine_hooks.interrupt = NULL;
	(void)host_irq_save(); /* as a handler has them */
	area->unmap(area, pages, 1);
}

TEST(pitfall_09_no_flush_with_interrupts_off)
{
	/* mem/ itself refuses, before the machine would. */
	test_expect_panic(unmap_with_interrupts_off, "vmm_unmap: needs interrupts on; called from");
	test_expect_panic(spin_with_interrupts_off, "vmm_page_info: needs interrupts on");
	test_expect_panic(flush_kernel_with_interrupts_off,
			  "vmm_flush_kernel: needs interrupts on");
	test_expect_panic(give_heap_memory_back_in_a_handler, "assertion failed: host_irq_enabled");
}

/*
 * 10. A reference goes after the flush, never before. Dropped before it, the
 * other owner sees that it is alone and writes in place, while a stale
 * translation still reads the frame.
 */
static struct space *sibling;

static void leave_page(void *arg)
{
	pause_for(machine_random_below(40));
	unmap_at(sibling, PLACE, 1);
}

static void read_until_gone(void *arg)
{
	uint64_t value;
	while (try_get(PLACE, &value) == 0)
		CHECK_EQ(value, 10);
}

static void write_when_alone(void *arg)
{
	for (uint64_t i = 0; i < 30; i++)
		put(PLACE, 1000 + i);
}

SEEDED_TEST(pitfall_10_references_go_after_the_flush, 2 * SEEDS)
{
	space = pitfall_begin(4, i);
	map_at(space, PLACE, 1, RW, 0);
	put(PLACE, 10);
	CHECK_OK(vmm_space_fork(space, &sibling));
	machine_spawn(read_until_gone, NULL, sibling);
	machine_spawn(read_until_gone, NULL, sibling);
	machine_spawn(leave_page, NULL, sibling);
	machine_spawn(write_when_alone, NULL, space);
	machine_join();
	vmm_space_put(sibling);
	pitfall_end(space);
}

/*
 * 11. No flush where nothing was present, and one for many pages: storms of
 * flushes are the commonest way to lose speed.
 */
TEST(pitfall_11_flushes_are_saved_and_batched)
{
	space = pitfall_begin(2, 0);
	map_at(space, PLACE, 1, RW, 0);
	put(PLACE, 1); /* the table exists */
	map_at(space, PLACE - 600 * PAGE_SIZE, 500, RW, 0);
	uint64_t before = flush_count();
	unmap_at(space, PLACE - 300 * PAGE_SIZE, 100);
	CHECK_OK(vmm_protect(space, PLACE - 600 * PAGE_SIZE, 100 * PAGE_SIZE, VM_READ));
	CHECK_OK(vmm_protect(space, PLACE - 600 * PAGE_SIZE, 100 * PAGE_SIZE, RW));
	CHECK_EQ(flush_count(), before);
	for (unsigned p = 0; p < 100; p++)
		put(PLACE - (600 - p) * PAGE_SIZE, p);
	before = flush_count(); /* zero pages became frames: nothing to flush either */
	unmap_at(space, PLACE - 600 * PAGE_SIZE, 100);
	CHECK_EQ(flush_count(), before + 1);
	before = flush_count();
	CHECK_OK(vmm_protect(space, PLACE, PAGE_SIZE, RW)); /* no right is taken away */
	CHECK_EQ(flush_count(), before);
	pitfall_end(space);
}
