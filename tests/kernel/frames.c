/* SPDX-License-Identifier: MIT */
/* Frames in the running kernel: the real memory map, the real CPUs. */
#include "tests/kernel/every_cpu.h"
#include "tests/test.h"

#include <kernel/boot.h>
#include <mem/pmm.h>

#include "base/atomic.h"

TEST(kernel_frames_first_in_address_order)
{
	paddr_t pa[8];
	for (unsigned i = 0; i < 8; i++)
		CHECK((pa[i] = pmm_alloc(kernel_pmm, 0, PMM_FIRST | PMM_KERNEL)) != PADDR_NONE);
	for (unsigned i = 1; i < 8; i++)
		CHECK(pa[i] > pa[i - 1]);
	pmm_free(kernel_pmm, pa[6], 0);
	pmm_free(kernel_pmm, pa[1], 0);
	pmm_free(kernel_pmm, pa[4], 0);
	CHECK_EQ(pmm_alloc(kernel_pmm, 0, PMM_FIRST | PMM_KERNEL), pa[1]);
	CHECK_EQ(pmm_alloc(kernel_pmm, 0, PMM_FIRST | PMM_KERNEL), pa[4]);
	CHECK_EQ(pmm_alloc(kernel_pmm, 0, PMM_FIRST | PMM_KERNEL), pa[6]);
	for (unsigned i = 0; i < 8; i++)
		pmm_free(kernel_pmm, pa[i], 0);
}

TEST(kernel_frames_are_usable_memory)
{
	enum { COUNT = 512 };
	static paddr_t pa[COUNT];
	for (unsigned i = 0; i < COUNT; i++) {
		enum memmap_type type;
		CHECK((pa[i] = pmm_alloc(kernel_pmm, 0, PMM_ZERO)) != PADDR_NONE);
		CHECK(memmap_lookup(boot_memmap(), paddr_to_pfn(pa[i]), &type));
		CHECK_EQ(type, MEMMAP_USABLE);
		uint64_t *words = paddr_to_ptr(pa[i]);
		for (unsigned w = 0; w < PAGE_SIZE / 8; w++)
			CHECK_EQ(words[w], 0);
		words[0] = i + 1;
		words[511] = ~(uint64_t)i;
	}
	for (unsigned i = 0; i < COUNT; i++) {
		uint64_t *words = paddr_to_ptr(pa[i]);
		CHECK_EQ(words[0], i + 1);
		CHECK_EQ(words[511], ~(uint64_t)i);
		pmm_free(kernel_pmm, pa[i], 0);
	}
}

TEST(kernel_frames_ranges)
{
	uint64_t before = free_frames();
	paddr_t low, odd, huge;
	CHECK_OK(pmm_alloc_range(kernel_pmm, 3, 1, (paddr_t)16 << 20, PMM_KERNEL, &low));
	CHECK(low + 3 * PAGE_SIZE <= (paddr_t)16 << 20);
	CHECK_OK(pmm_alloc_range(kernel_pmm, 777, 64, PADDR_NONE, PMM_KERNEL, &odd));
	CHECK_EQ(odd % (64 * PAGE_SIZE), 0);
	CHECK((huge = pmm_alloc(kernel_pmm, PMM_ORDER_HUGE, PMM_KERNEL)) != PADDR_NONE);
	CHECK_EQ(huge % HUGE_SIZE, 0);
	paddr_t none;
	CHECK_EQ(pmm_alloc_range(kernel_pmm, 0, 1, PADDR_NONE, 0, &none), MEM_EINVAL);
	CHECK_EQ(pmm_alloc_range(kernel_pmm, 1, 3, PADDR_NONE, 0, &none), MEM_EINVAL);
	CHECK_EQ(pmm_alloc_range(kernel_pmm, (uint64_t)1 << 50, 1, PADDR_NONE, 0, &none),
		 MEM_ENOMEM);
	pmm_free_range(kernel_pmm, odd, 777);
	pmm_free_range(kernel_pmm, low, 3);
	pmm_free(kernel_pmm, huge, PMM_ORDER_HUGE);
	CHECK_EQ(free_frames(), before);
}

/* With qemu64 and 6 GiB most of the direct map is not there before it is needed. */
TEST(kernel_frames_all_can_be_reached)
{
	uint64_t before = free_frames(), count = 0;
	paddr_t last = PADDR_NONE, pa;
	while ((pa = pmm_alloc(kernel_pmm, PMM_ORDER_HUGE, PMM_KERNEL)) != PADDR_NONE) {
		uint64_t *words = paddr_to_ptr(pa); /* a chain through all of them */
		words[0] = last;
		words[HUGE_SIZE / 8 - 1] = ~last;
		last = pa;
		test_progress(++count);
	}
	CHECK(count > before / 512 / 2);
	while (last != PADDR_NONE) {
		const uint64_t *words = paddr_to_ptr(last);
		CHECK_EQ(words[0], ~words[HUGE_SIZE / 8 - 1]);
		pa = last;
		last = words[0];
		test_progress(++count);
		pmm_free(kernel_pmm, pa, PMM_ORDER_HUGE);
	}
	CHECK_EQ(free_frames(), before);
}

/* Each CPU takes and gives frames at random and leaves some for its neighbour to
 * free; each frame carries its owner's mark while it is held. */
enum { HELD = 64, ROUNDS = 4000 };
static paddr_t mailbox[MEM_MAX_CPUS];

static bool hammer(void *seed, unsigned cpu)
{
	uint64_t random = *(uint64_t *)seed + cpu * 77777 + 1;
	paddr_t held[HELD];
	unsigned count = 0;
	for (unsigned round = 0; round < ROUNDS; round++) {
		if (round % 64 == 0)
			test_step();
		uint64_t r = cpu_random(&random);
		if (count < HELD && (r & 1 || !count)) {
			paddr_t pa = pmm_alloc(kernel_pmm, 0, 0);
			if (pa == PADDR_NONE)
				return false;
			*(uint64_t *)paddr_to_ptr(pa) = pa ^ cpu;
			held[count++] = pa;
			continue;
		}
		unsigned i = (unsigned)(r >> 8) % count;
		paddr_t pa = held[i];
		held[i] = held[--count];
		if (*(uint64_t *)paddr_to_ptr(pa) != (pa ^ cpu))
			return false;
		if ((r & 6) == 6) {
			pa = atomic_swap(&mailbox[(cpu + 1) % cpu_count()], pa);
			if (pa == 0)
				continue;
		}
		pmm_free(kernel_pmm, pa, 0);
	}
	while (count)
		pmm_free(kernel_pmm, held[--count], 0);
	return true;
}

TEST(kernel_frames_every_cpu)
{
	uint64_t before = free_frames(), seed = test_random();
	CHECK_EQ(every_cpu(hammer, &seed), 0);
	for (unsigned i = 0; i < MEM_MAX_CPUS; i++)
		if (mailbox[i]) {
			pmm_free(kernel_pmm, mailbox[i], 0);
			mailbox[i] = 0;
		}
	CHECK_EQ(free_frames(), before);
}
