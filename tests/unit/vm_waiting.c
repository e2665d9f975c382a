/* SPDX-License-Identifier: MIT */
/*
 * Who waits for other CPUs: one spins with interrupts off, as on a lock, while another uses up
 * all memory by calls that must not wait. One that did would never return: the machine ends the
 * test then ("nobody gets anywhere").
 */
#include <mem/heap.h>
#include <mem/host.h>
#include <mem/pmm.h>
#include <mem/vmm.h>

#include "arch/x86_64/pte.h"
#include "tests/machine/boot.h"
#include "tests/machine/machine.h"
#include "tests/test.h"

static uint32_t spinning, done;
static struct heap *heap;
static struct slab_cache *objects;

static void *area_map(struct heap_area *area, uint64_t npages, uint64_t align_pages, bool atomic)
{
	paddr_t pa;
	unsigned flags = PMM_KERNEL | (atomic ? 0 : PMM_WAIT);
	if (pmm_alloc_range(machine_pmm, npages, align_pages, PADDR_NONE, flags, &pa) != MEM_OK)
		return NULL;
	return paddr_to_ptr(pa);
}

static void area_unmap(struct heap_area *area, void *pages, uint64_t npages)
{
	pmm_free_range(machine_pmm, ptr_to_paddr(pages), npages);
}

static struct heap_area area = {.map = area_map, .unmap = area_unmap};

/* It keeps some frames and blocks to itself. */
static void spin_with_interrupts_off(void *arg)
{
	paddr_t pa = pmm_alloc(machine_pmm, 0, 0);
	void *block = heap_alloc(heap, 100);
	unsigned long irq = host_irq_save();
	__atomic_store_n(&spinning, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&done, __ATOMIC_SEQ_CST))
		host_relax();
	host_irq_restore(irq);
	heap_free(heap, block);
	pmm_free(machine_pmm, pa, 0);
}

static void *small_block(void)
{
	return heap_alloc(heap, 1000);
}

static void *large_block(void)
{
	return heap_alloc(heap, 100000);
}

static void *object(void)
{
	return slab_alloc(objects);
}

static void *frame(void)
{
	paddr_t pa = pmm_alloc(machine_pmm, 0, 0);
	return pa == PADDR_NONE ? NULL : paddr_to_ptr(pa);
}

static void free_to_heap(void *block)
{
	heap_free(heap, block);
}

static void free_object(void *block)
{
	slab_free(objects, block);
}

static void free_frame(void *page)
{
	pmm_free(machine_pmm, ptr_to_paddr(page), 0);
}

/* Until there is no more, and back; how many there were. */
static uint64_t use_up(void *(*one)(void), void (*give)(void *))
{
	void *head = NULL, *block;
	uint64_t n = 0;
	for (; (block = one()); n++) {
		machine_progress();
		*(void **)block = head;
		head = block;
	}
	struct pmm_stats frames;
	struct heap_stats blocks;
	pmm_get_stats(machine_pmm, &frames);
	heap_get_stats(heap, &blocks);
	test_note("%lu; then %lu of %lu frames free", (unsigned long)n, (unsigned long)frames.free,
		  (unsigned long)frames.total);
	while ((block = head)) {
		machine_progress();
		head = *(void **)block;
		give(block);
	}
	return n;
}

TEST_TIMED(vm_nobody_waits_for_who_spins, 120)
{
	for (unsigned round = 0; round < 2; round++) {
		struct machine_config config = {
		    .bytes = 32 << 20, .ncpus = 2, .seed = test_random(), .switch_mean = 50};
		machine_boot_frames(&config);
		CHECK_OK(heap_create_as(&heap, &area, round ? HEAP_FAST : HEAP_HARDENED));
		struct frame_source source;
		frame_source_init(&source, machine_pmm);
		struct slab_cache_spec spec = {
		    .name = "objects", .object_bytes = 200, .source = &source.source};
		CHECK_OK(slab_cache_create(&objects, &spec));
		spinning = done = 0;
		machine_spawn(spin_with_interrupts_off, NULL, NULL);
		while (!__atomic_load_n(&spinning, __ATOMIC_SEQ_CST))
			machine_yield();
		CHECK(use_up(small_block, free_to_heap) > 1000);
		CHECK(use_up(large_block, free_to_heap) > 10);
		CHECK(use_up(frame, free_frame) > 10);
		CHECK(use_up(object, free_object) > 10);
		__atomic_store_n(&done, 1, __ATOMIC_SEQ_CST);
		machine_join();
		/* Who may wait gets what the other kept. */
		void *block = heap_alloc_wait(heap, 5000);
		CHECK(block);
		heap_free(heap, block);
		heap_reap(heap, true);
		slab_cache_destroy(objects);
		heap_destroy(heap);
		CHECK(pmm_is_valid(machine_pmm));
		machine_end();
	}
}

/* ---- calls of mem/vm ----------------------------------------------------------------- */

static void spin_alone(void *arg)
{
	unsigned long irq = host_irq_save();
	__atomic_store_n(&spinning, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&done, __ATOMIC_SEQ_CST))
		host_relax();
	host_irq_restore(irq);
}

/* Stacks as a scheduler takes them, more than are kept and than wait for one flush. */
static void stacks_with_interrupts_off(void)
{
	enum { COUNT = 80 };
	void *stack[COUNT];
	unsigned long irq = host_irq_save();
	for (unsigned i = 0; i < COUNT; i++)
		CHECK_OK(vmm_alloc_stack(machine_vmm, 8, &stack[i]));
	for (unsigned i = 0; i < COUNT; i++)
		vmm_free_stack(machine_vmm, stack[i], 8);
	host_irq_restore(irq);
}

/* Those whose contract in mem/vmm.h or mem/object.h says that they do not wait. */
TEST(vm_waiting_calls_that_do_not)
{
	enum { PAGES = 20 };
	struct space *space;
	struct vm_object *object;
	struct vm_area found;
	vaddr_t va;
	paddr_t page, pinned;
	bool data;
	struct machine_config config = {
	    .bytes = 32 << 20, .ncpus = 2, .seed = test_random(), .switch_mean = 50};
	machine_boot(&config);
	CHECK_OK(vmm_space_create(machine_vmm, &space));
	CHECK_OK(vm_object_create(machine_vmm, NULL, NULL, PAGES * PAGE_SIZE, &object));
	for (unsigned i = 0; i < PAGES; i++) {
		if (i)
			vm_object_page_done(object, page);
		CHECK_OK(vm_object_page(object, i, true, &page));
	}
	const struct vm_map_args args = {
	    .bytes = PAGE_SIZE, .prot = VM_READ | VM_WRITE, .maxprot = VM_READ | VM_WRITE};
	CHECK_OK(vmm_map(space, &args, &va));
	CHECK_OK(vmm_pin(space, va, true, &pinned));
	CHECK(vmm_next_area(space, va, &found));
	spinning = done = 0;
	machine_spawn(spin_alone, NULL, NULL);
	while (!__atomic_load_n(&spinning, __ATOMIC_SEQ_CST))
		machine_yield();

	struct vmm_space_stats space_stats;
	struct vmm_stats stats;
	vmm_space_get(space);
	vmm_space_put(space);
	vmm_space_stats(space, &space_stats);
	CHECK_EQ(space_stats.resident_npages, 1);
	vmm_space_set_owner(space, 7, 100);
	vmm_get_stats(machine_vmm, &stats);
	vm_area_done(&found);
	vmm_unpin(machine_vmm, pinned);
	CHECK_EQ(vm_object_run(object, 0, &data), PAGES);
	vm_object_page_done(object, page);
	vm_object_put(object); /* the last: its pages go */
	stacks_with_interrupts_off();
	CHECK(!vmm_guard_name(machine_vmm, KERNEL_BASE));

	__atomic_store_n(&done, 1, __ATOMIC_SEQ_CST);
	machine_join();
	vmm_space_put(space);
	vmm_drain(machine_vmm);
	CHECK(vmm_is_valid(machine_vmm));
	machine_end();
}

/* ---- what is out of reach -------------------------------------------------------------- */

/* It has blocks of both kinds, frames that it freed, and does nothing more. */
static void keep_frames_and_spin(void *arg)
{
	enum { N = 700 };
	static paddr_t got[N];
	for (unsigned i = 0; i < N; i++)
		CHECK((got[i] = pmm_alloc(machine_pmm, 0, i % 3 ? PMM_KERNEL : 0)) != PADDR_NONE);
	for (unsigned i = 0; i < N; i++)
		pmm_free(machine_pmm, got[(i * 37) % N], 0);
	unsigned long irq = host_irq_save();
	__atomic_store_n(&spinning, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&done, __ATOMIC_SEQ_CST))
		host_relax();
	host_irq_restore(irq);
	/* It goes on with what it has, and finds the rest gone. */
	paddr_t pa = pmm_alloc(machine_pmm, 0, 0);
	if (pa != PADDR_NONE)
		pmm_free(machine_pmm, pa, 0);
}

TEST_TIMED(vm_little_is_out_of_reach, 120)
{
	struct machine_config config = {
	    .bytes = 32 << 20, .ncpus = 4, .seed = test_random(), .switch_mean = 50};
	machine_boot_frames(&config);
	pmm_drain(machine_pmm);
	struct pmm_stats before, left;
	pmm_get_stats(machine_pmm, &before);
	for (unsigned round = 0; round < 2; round++) {
		spinning = done = 0;
		machine_spawn(keep_frames_and_spin, NULL, NULL);
		while (!__atomic_load_n(&spinning, __ATOMIC_SEQ_CST))
			machine_yield();
		/* Frames for the kernel use up all that there is; others need records. */
		paddr_t head = PADDR_NONE, pa;
		uint64_t n = 0;
		while ((pa = pmm_alloc(machine_pmm, 0, PMM_KERNEL)) != PADDR_NONE) {
			machine_progress();
			*(paddr_t *)paddr_to_ptr(pa) = head;
			head = pa;
			n++;
		}
		pmm_get_stats(machine_pmm, &left);
		test_note("%lu frames; then %lu free, cached %lu huge %lu records %lu",
			  (unsigned long)n, (unsigned long)left.free, (unsigned long)left.cached,
			  (unsigned long)left.free_huge, (unsigned long)left.records);
		CHECK(left.free <= 3 * 128); /* mem/pmm.h: of three CPUs */
		__atomic_store_n(&done, 1, __ATOMIC_SEQ_CST);
		machine_join();
		while ((pa = head) != PADDR_NONE) {
			machine_progress();
			head = *(paddr_t *)paddr_to_ptr(pa);
			pmm_free(machine_pmm, pa, 0);
		}
		CHECK(pmm_is_valid(machine_pmm));
		pmm_drain(machine_pmm);
		pmm_get_stats(machine_pmm, &left);
		CHECK_EQ(left.free, before.free);
		CHECK(pmm_is_valid(machine_pmm));
	}
	machine_end();
}
