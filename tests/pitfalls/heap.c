/* SPDX-License-Identifier: MIT */
/* Pitfalls of the heap and of running out: 23 to 25. */
#include <mem/heap.h>
#include <string.h>

#include "tests/pitfalls/help.h"
#include "tests/unit/pages.h"

static struct test_pages pages;
static struct heap *heap;

static void heap_begin(unsigned ncpus, uint64_t i)
{
	machine_boot_default(ncpus, test_random() ^ i);
	test_pages_init(&pages);
	CHECK_OK(heap_create(&heap, &pages.area));
	heap_set_default(heap);
}

static void heap_end(void)
{
	CHECK(heap_is_valid(heap));
	(void)heap_reap(heap, true);
	heap_destroy(heap);
	CHECK_EQ(pages.held_npages, 0);
	machine_end();
}

/*
 * 23. krealloc to a smaller size copies the new size, not the old; kcalloc checks
 * its product; kfree of what the heap does not know is an error and not silence.
 */
static void free_twice(void)
{
	heap_begin(1, 0);
	char *p = kmalloc(100);
	kfree(p);
	kfree(p);
}
static void free_inside(void)
{
	heap_begin(1, 0);
	char *p = kmalloc(100);
	kfree(p + 16);
}
static void free_foreign(void)
{
	static char not_ours[64] __attribute__((aligned(16)));
	heap_begin(1, 0);
	kfree(not_ours);
}
static void free_large_twice(void)
{
	heap_begin(1, 0);
	char *p = kmalloc(1 << 20);
	kfree(p);
	kfree(p);
}

TEST(pitfall_23_strangers_are_errors)
{
	test_expect_panic(free_twice, "");
	test_expect_panic(free_inside, "");
	test_expect_panic(free_foreign, "");
	test_expect_panic(free_large_twice, "");
}

TEST(pitfall_23_sizes_are_checked)
{
	heap_begin(1, 0);
	static const size_t sizes[] = {1, 24, 100, 1000, 5000, 70000, 1 << 20};
	for (unsigned a = 0; a < 7; a++)
		for (unsigned b = 0; b < 7; b++) {
			size_t common = sizes[a] < sizes[b] ? sizes[a] : sizes[b];
			unsigned char *p = kmalloc(sizes[a]), *guard;
			memset(p, 0x41, sizes[a]);
			guard = kmalloc(sizes[b]); /* perhaps a neighbour of what comes */
			memset(guard, 0x42, sizes[b]);
			p = krealloc(p, sizes[b]);
			CHECK(p);
			for (size_t i = 0; i < common; i++)
				CHECK_EQ(p[i], 0x41);
			memset(p, 0x43, sizes[b]);
			for (size_t i = 0; i < sizes[b]; i++)
				CHECK_EQ(guard[i], 0x42);
			kfree(guard);
			kfree(p);
		}
	CHECK(!kcalloc(SIZE_MAX / 2 + 1, 2));
	CHECK(!kcalloc((size_t)1 << 33, (size_t)1 << 33));
	CHECK(!kmalloc(SIZE_MAX));
	CHECK(!kmalloc(SIZE_MAX - 4096));
	char *p = kcalloc(3, 5);
	for (int i = 0; i < 15; i++)
		CHECK_EQ(p[i], 0);
	CHECK(!krealloc(p, SIZE_MAX - 100));
	CHECK_EQ(p[14], 0); /* still there */
	kfree(p);
	kfree(NULL);
	heap_end();
}

/*
 * 24. Interrupt handlers may allocate and free, wherever they strike; nothing is
 * given back to the page tables from there (9). What may be called from where is
 * part of each contract, and asserted.
 */
static void *(*real_map)(struct heap_area *, uint64_t, uint64_t, bool);
static void (*real_unmap)(struct heap_area *, void *, uint64_t);
static unsigned maps_in_interrupt;

static void *watched_map(struct heap_area *area, uint64_t npages, uint64_t align, bool atomic)
{
	maps_in_interrupt += host_in_interrupt();
	CHECK(atomic || host_irq_enabled());
	return real_map(area, npages, align, atomic);
}

static void watched_unmap(struct heap_area *area, void *at, uint64_t npages)
{
	CHECK(!host_in_interrupt() && host_irq_enabled());
	real_unmap(area, at, npages);
}

static unsigned char *shared[32];
static bool handlers_run;
static unsigned handled;

static void allocate_and_free(void)
{
	unsigned slot = machine_random_below(32), bytes = 16 + machine_random_below(3000);
	unsigned char *p = kmalloc(bytes), *old = shared[slot];
	if (p)
		memset(p, 0x5a, bytes);
	shared[slot] = p;
	kfree(old);
	paddr_t pa = pmm_alloc(machine_pmm, 0, PMM_KERNEL);
	if (pa != PADDR_NONE)
		pmm_free(machine_pmm, pa, 0);
}

static void handler(void)
{
	if (!handlers_run)
		return;
	handled++;
	CHECK(host_in_interrupt());
	allocate_and_free();
}

static void worker(void *arg)
{
	for (int i = 0; i < 150; i++) {
		machine_progress();
		allocate_and_free();
	}
}

static void reaper(void *arg)
{
	for (int i = 0; i < 10; i++) {
		machine_progress();
		(void)heap_reap(heap, i % 2);
	}
}

static void run_handlers(uint64_t i)
{
	struct machine_config config = {.bytes = (uint64_t)64 << 20,
					.ncpus = 3,
					.seed = test_random(),
					.switch_mean = 7,
					.stall_mean = 50,
					.interrupt_mean = 12};
	machine_boot(&config);
	test_pages_init(&pages);
	real_map = pages.area.map;
	real_unmap = pages.area.unmap;
	pages.area.map = watched_map;
	pages.area.unmap = watched_unmap;
	CHECK_OK(heap_create(&heap, &pages.area));
	heap_set_default(heap);
	memset(shared, 0, sizeof(shared));
	machine_hooks.interrupt = handler;
	handlers_run = true;
	for (int t = 0; t < 3; t++)
		machine_spawn(worker, NULL, NULL);
	machine_spawn(reaper, NULL, NULL);
	machine_join();
	handlers_run = false;
	CHECK(handled > 20);
	for (int s = 0; s < 32; s++)
		kfree(shared[s]);
	CHECK(pmm_is_valid(machine_pmm));
	heap_end();
}

TEST_TIMED(pitfall_24_interrupt_handlers_may_allocate, 120)
{
	machine_each(30, run_handlers);
}

/*
 * 25. Memory running out is a return value. The path that reports it allocates
 * nothing, nothing panics, and when memory comes back all goes on.
 */
static struct space *space;

TEST(pitfall_25_running_out_of_heap)
{
	static void *block[5000];
	heap_begin(1, 0);
	pages.limit = 2000;
	unsigned n = 0, failed = 0;
	for (unsigned i = 0; i < 5000; i++) {
		block[n] = kmalloc(16 + i % 9000);
		if (block[n])
			n++;
		else
			failed++;
	}
	CHECK(failed > 100);
	CHECK(!kmalloc(1 << 24));
	CHECK(!kcalloc(1 << 12, 1 << 12));
	CHECK(heap_is_valid(heap));
	for (unsigned i = 0; i < n; i++)
		kfree(block[i]);
	void *p = kmalloc(8000);
	CHECK(p);
	kfree(p);
	heap_end();
}

TEST(pitfall_25_running_out_of_frames)
{
	space = pitfall_begin(1, 0);
	struct space *child;
	vaddr_t out;
	struct vm_map_args args = {
	    .hint = AWAY, .bytes = (uint64_t)1 << 30, .prot = RW, .maxprot = 7, .flags = VM_FIXED};
	CHECK_OK(vmm_map(space, &args, &out));
	uint64_t touched = 0;
	while (try_put(AWAY + touched * PAGE_SIZE, touched) == 0)
		touched++;
	CHECK(touched > 10000); /* of 16384 frames */
	for (int i = 0; i < 10; i++) {
		CHECK_EQ(try_put(AWAY + (touched + 5000) * PAGE_SIZE, 1), 9);
		mem_status status = vmm_space_fork(space, &child);
		CHECK_EQ(status, MEM_ENOMEM);
		void *stack;
		CHECK_EQ(vmm_alloc_stack(machine_vmm, 64, &stack), MEM_ENOMEM);
	}
	CHECK(vmm_space_is_valid(space));
	for (uint64_t i = 0; i < touched; i += 97)
		CHECK_EQ(get(AWAY + i * PAGE_SIZE), i);
	unmap_at(space, AWAY, (uint64_t)1 << 18);
	map_at(space, AWAY, 10, RW, 0);
	put(AWAY, 1);
	pitfall_end(space);
}
