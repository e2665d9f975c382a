/* SPDX-License-Identifier: MIT */
/* A heap over plain frames: made before the kernel has page tables of its own, and used by
 * several CPUs while frames are short. */
#include <mem/heap.h>
#include <mem/host.h>
#include <string.h>

#include "arch/x86_64/pte.h"
#include "base/util.h"
#include "tests/machine/boot.h"
#include "tests/machine/machine.h"
#include "tests/test.h"

enum { BLOCKS = 600 };

static struct frame_area area;
static struct heap *heap;
static struct {
	unsigned char *p;
	size_t bytes;
} live[BLOCKS];

static size_t some_size(void)
{
	return 1 + (test_random_below(4) ? test_random_below(2000) : test_random_below(60000));
}

static bool make(unsigned i)
{
	live[i].bytes = some_size();
	live[i].p = heap_alloc(heap, live[i].bytes);
	if (live[i].p)
		memset(live[i].p, (int)i, live[i].bytes);
	return live[i].p != NULL;
}

static void check(unsigned i)
{
	for (size_t at = 0; at < live[i].bytes; at++)
		CHECK_EQ(live[i].p[at], (unsigned char)i);
}

static void drop(unsigned i)
{
	check(i);
	heap_free(heap, live[i].p);
}

/* The block's pages by the page tables that are loaded. */
static void check_mapped(unsigned i)
{
	paddr_t pa = ptr_to_paddr(live[i].p), end = pa + live[i].bytes;
	for (paddr_t at = align_up(pa, 8); at + 8 <= end;
	     at = align_down(at, PAGE_SIZE) + PAGE_SIZE) {
		uint64_t value;
		CHECK(machine_kernel_access(KERNEL_BASE + at, MACHINE_READ, &value).ok);
		CHECK_EQ(value, 0x0101010101010101u * (uint64_t)(unsigned char)i);
	}
}

static void outlive(enum heap_profile profile)
{
	struct machine_config config = {
	    .bytes = 64 << 20, .ncpus = 2, .seed = test_random(), .switch_mean = 20};
	machine_boot_frames(&config);
	frame_area_init(&area, machine_pmm);
	CHECK_OK(heap_create_as(&heap, &area.area, profile));
	for (unsigned i = 0; i < BLOCKS; i++)
		CHECK(make(i));
	CHECK_OK(machine_boot_vmm());
	/* The same blocks, where they were, by the new tables. */
	CHECK(heap_is_valid(heap));
	for (unsigned i = 0; i < BLOCKS; i++) {
		check(i);
		check_mapped(i);
	}
	/* They are freed and made as before. */
	for (unsigned i = 0; i < BLOCKS; i++) {
		if (test_random_below(2)) {
			drop(i);
			CHECK(make(i));
		}
		check_mapped(i);
	}
	heap_reap(heap, true);
	CHECK(heap_is_valid(heap));
	for (unsigned i = 0; i < BLOCKS; i++)
		drop(i);
	heap_destroy(heap);
	CHECK(vmm_is_valid(machine_vmm));
	vmm_drain(machine_vmm);
	CHECK(pmm_is_valid(machine_pmm));
	machine_end();
}

TEST(vm_heap_outlives_the_loaders_tables)
{
	outlive(HEAP_HARDENED);
}

TEST(vm_heap_outlives_the_loaders_tables_fast)
{
	outlive(HEAP_FAST);
}

/* ---- several CPUs ------------------------------------------------------------------------ */

enum { CPUS = 4, EACH = BLOCKS / CPUS };

static uint64_t failed;

static void use(void *arg)
{
	unsigned first = (unsigned)(uintptr_t)arg * EACH;
	bool have[EACH] = {false};
	for (unsigned op = 0; op < 1500; op++) {
		machine_progress();
		unsigned i = (unsigned)machine_random_below(EACH);
		if (have[i]) {
			drop(first + i);
			have[i] = false;
			continue;
		}
		have[i] = make(first + i);
		__atomic_add_fetch(&failed, !have[i], __ATOMIC_RELAXED);
		if (op % 500 == 499)
			heap_reap(heap, first == 0);
	}
	for (unsigned i = 0; i < EACH; i++)
		if (have[i])
			drop(first + i);
}

static void many(unsigned mib, enum heap_profile profile)
{
	struct machine_config config = {.bytes = (uint64_t)mib << 20,
					.ncpus = CPUS,
					.seed = test_random(),
					.switch_mean = 20,
					.interrupt_mean = 30};
	machine_boot(&config);
	uint64_t before = machine_frames_at_rest();
	frame_area_init(&area, machine_pmm);
	CHECK_OK(heap_create_as(&heap, &area.area, profile));
	for (uintptr_t cpu = 0; cpu < CPUS; cpu++)
		machine_spawn(use, (void *)cpu, NULL);
	machine_join();
	CHECK(heap_is_valid(heap));
	heap_destroy(heap);
	CHECK_EQ(machine_frames_at_rest(), before);
	test_note("%lu blocks were not to be had", (unsigned long)failed);
	CHECK(mib > 4 || failed);
	CHECK(pmm_is_valid(machine_pmm));
	machine_end();
}

TEST(vm_heap_over_frames_by_many)
{
	many(16, HEAP_HARDENED);
}

TEST(vm_heap_over_frames_by_many_fast)
{
	many(16, HEAP_FAST);
}

TEST(vm_heap_over_few_frames_by_many)
{
	many(4, HEAP_HARDENED);
}

TEST(vm_heap_over_few_frames_by_many_fast)
{
	many(4, HEAP_FAST);
}
