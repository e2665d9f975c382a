/* SPDX-License-Identifier: MIT */
/* Ranges of any length, maps of any kind, memory that comes and goes, and its size. */
#include "tests/unit/pmm.h"

#include <sys/mman.h>
#include <time.h>

#include "base/util.h"

/* ---- ranges ---------------------------------------------------------------------- */

TEST(pmm_ranges_of_any_length)
{
	boot(256 * MIB, 1);
	uint64_t before = drained_free();
	for (int round = 0; round < 60; round++) {
		paddr_t pa[30];
		uint64_t n[30];
		int made = 0;
		for (int i = 0; i < 30; i++) {
			n[i] = 1 + test_random_below((uint64_t)1 << test_random_below(14));
			uint64_t align = (uint64_t)1 << test_random_below(12);
			paddr_t below =
			    test_random_below(2) ? PADDR_NONE : test_random_below(256 * MIB);
			mem_status status =
			    pmm_alloc_range(pmm, n[i], align, below, PMM_KERNEL, &pa[made]);
			CHECK(status == MEM_OK || status == MEM_ENOMEM);
			if (status != MEM_OK)
				continue;
			CHECK_EQ((pa[made] >> PAGE_SHIFT) % align, 0);
			CHECK(below == PADDR_NONE || pa[made] + (n[i] << PAGE_SHIFT) <= below);
			for (int k = 0; k < made; k++)
				CHECK(pa[made] + (n[i] << PAGE_SHIFT) <= pa[k] ||
				      pa[k] + (n[k] << PAGE_SHIFT) <= pa[made]);
			n[made++] = n[i];
		}
		CHECK(pmm_is_valid(pmm));
		for (int i = 0; i < made; i++) {
			/* In up to three pieces: any part of a range may go alone. */
			uint64_t cut = test_random_below(n[i] + 1);
			pmm_free_range(pmm, pa[i] + (cut << PAGE_SHIFT), n[i] - cut);
			CHECK(i % 8 || pmm_is_valid(pmm));
			pmm_free_range(pmm, pa[i], cut);
		}
		CHECK_EQ(drained_free(), before);
	}
}

/* Without waiting: what this CPU has cached, and the block that it owns, are within reach. */
TEST(pmm_range_of_what_this_cpu_holds)
{
	boot(16 * MIB, 2);
	plain_set_cpu(1); /* so that nothing can be frozen without waiting */
	pmm_free(pmm, take(0, PMM_KERNEL), 0);
	plain_set_cpu(0);
	paddr_t pa = take(0, PMM_KERNEL), last = pa;
	while ((pa = pmm_alloc(pmm, 0, PMM_KERNEL)) != PADDR_NONE)
		last = pa;
	CHECK_EQ(pmm_alloc_range(pmm, 2, 1, PADDR_NONE, PMM_KERNEL, &pa), MEM_ENOMEM);
	last &= ~(HUGE_SIZE - 1);
	for (unsigned i = 100; i < 140; i++)
		pmm_free(pmm, last + i * PAGE_SIZE, 0);
	CHECK_EQ(pmm_alloc_range(pmm, 41, 1, PADDR_NONE, PMM_KERNEL, &pa), MEM_ENOMEM);
	CHECK_OK(pmm_alloc_range(pmm, 40, 1, PADDR_NONE, PMM_KERNEL, &pa));
	CHECK_EQ(pa, last + 100 * PAGE_SIZE);
	CHECK(pmm_is_valid(pmm));
}

TEST(pmm_range_is_exact)
{
	/* Everything in use but one hole: found whatever the alignment says. */
	boot(64 * MIB, 2);
	while (pmm_alloc(pmm, 0, PMM_KERNEL) != PADDR_NONE)
		;
	pmm_free_range(pmm, 0x1003000, 700);
	paddr_t pa;
	CHECK_EQ(pmm_alloc_range(pmm, 701, 1, PADDR_NONE, 0, &pa), MEM_ENOMEM);
	CHECK_EQ(pmm_alloc_range(pmm, 700, 2, PADDR_NONE, 0, &pa), MEM_ENOMEM);
	CHECK_EQ(pmm_alloc_range(pmm, 700, 1, 0x1003000 + 699 * PAGE_SIZE, 0, &pa), MEM_ENOMEM);
	CHECK_OK(pmm_alloc_range(pmm, 700, 1, 0x1003000 + 700 * PAGE_SIZE, 0, &pa));
	CHECK_EQ(pa, 0x1003000);
	pmm_free_range(pmm, pa, 700);
	CHECK_OK(pmm_alloc_range(pmm, 256, 256, PADDR_NONE, 0, &pa));
	CHECK_EQ(pa, 0x1100000);
	CHECK_EQ(pmm_alloc_range(pmm, 0, 1, PADDR_NONE, 0, &pa), MEM_EINVAL);
	CHECK_EQ(pmm_alloc_range(pmm, 1, 3, PADDR_NONE, 0, &pa), MEM_EINVAL);
	CHECK_EQ(pmm_alloc_range(pmm, 1, 0, PADDR_NONE, 0, &pa), MEM_EINVAL);
	CHECK_EQ(pmm_alloc_range(pmm, UINT64_MAX, 1, PADDR_NONE, 0, &pa), MEM_ENOMEM);
	CHECK_EQ(pmm_alloc_range(pmm, 1, (uint64_t)1 << 63, 0x1000, 0, &pa), MEM_ENOMEM);
	CHECK(pmm_is_valid(pmm));
}

TEST(pmm_dma_below)
{
	struct memmap_entry e[] = {
	    {0, 0x9f000, MEMMAP_USABLE},
	    {0x100000, 6144 * MIB, MEMMAP_USABLE},
	};
	boot_map(e, 2, 8192 * MIB, 1);
	uint64_t before = drained_free();
	paddr_t low, four;
	CHECK_OK(pmm_alloc_range(pmm, 16, 16, 16 * MIB, 0, &low));
	CHECK(low + 16 * PAGE_SIZE <= 16 * MIB);
	CHECK_OK(pmm_alloc_range(pmm, 1 << 18, 1 << 18, 4096 * MIB, 0, &four));
	CHECK(four + GIGA_SIZE <= 4096 * MIB);
	CHECK_EQ(four % GIGA_SIZE, 0);
	CHECK(pmm_is_valid(pmm));
	pmm_free_range(pmm, low, 16);
	pmm_free_range(pmm, four, 1 << 18);
	CHECK_EQ(drained_free(), before);
}

TEST(pmm_giga)
{
	boot(5 * GIGA_SIZE, 1);
	uint64_t before = drained_free();
	paddr_t got[5], n = 0;
	for (paddr_t pa; (pa = pmm_alloc(pmm, PMM_ORDER_GIGA, 0)) != PADDR_NONE;) {
		CHECK_EQ(pa % GIGA_SIZE, 0);
		got[n++] = pa;
	}
	CHECK_EQ(n, 4); /* the fifth holds the metadata */
	CHECK(pmm_is_valid(pmm));
	while (n)
		pmm_free(pmm, got[--n], PMM_ORDER_GIGA);
	CHECK_EQ(drained_free(), before);
	CHECK_EQ(stats().free_huge, before / 512);
}

TEST(pmm_huge_pages)
{
	boot(256 * MIB, 2);
	uint64_t before = drained_free(), huge = stats().free_huge;
	static paddr_t got[128];
	size_t n = 0;
	for (paddr_t pa; (pa = pmm_alloc(pmm, PMM_ORDER_HUGE, 0)) != PADDR_NONE;)
		got[n++] = pa;
	CHECK_EQ(n, huge);
	CHECK_EQ(stats().free_huge, 0);
	while (n) {
		plain_set_cpu(n % 2);
		pmm_free(pmm, got[--n], PMM_ORDER_HUGE);
	}
	CHECK(pmm_is_valid(pmm));
	CHECK_EQ(stats().free, before);
	plain_set_cpu(0);
	/* Whole blocks that the other CPU keeps are found by who waits for it. */
	uint64_t frames = 0;
	while (pmm_alloc(pmm, 0, PMM_KERNEL | PMM_WAIT) != PADDR_NONE)
		frames++;
	CHECK_EQ(frames, before);
}

/* ---- maps ------------------------------------------------------------------------- */

/* A frame outside usable memory must never be handed out. */
static void take_everything(const struct memmap *want)
{
	uint64_t before = drained_free(), n = 0;
	for (paddr_t pa; (pa = pmm_alloc(pmm, 0, PMM_KERNEL)) != PADDR_NONE; n++) {
		enum memmap_type type;
		CHECK(memmap_lookup(want, paddr_to_pfn(pa), &type) && type == MEMMAP_USABLE);
	}
	CHECK_EQ(n, before);
	CHECK_EQ(n, memmap_npages(want, MEMMAP_USABLE));
	CHECK(pmm_is_valid(pmm));
}

TEST(pmm_holes_of_terabytes_cost_little)
{
	struct memmap_entry e[] = {
	    {0, 16 * MIB, MEMMAP_USABLE},
	    {(uint64_t)3 << 40, 48 * MIB, MEMMAP_USABLE},
	    {(uint64_t)20 << 40, 16 * MIB, MEMMAP_USABLE},
	};
	boot_map(e, 3, ((uint64_t)20 << 40) + 16 * MIB, 1);
	CHECK(stats().metadata < 32 * 1024);
	take_everything(&test_map);
}

TEST(pmm_random_maps)
{
	for (int round = 0; round < 60; round++) {
		struct memmap_entry e[40];
		size_t count = 2 + test_random_below(38);
		for (size_t i = 0; i < count; i++)
			e[i] = (struct memmap_entry){test_random_below(48 * MIB),
						     test_random_below(8 * MIB),
						     i % 2 ? 0 : test_random_below(9)};
		/* Beyond the others, which may leave nothing usable that holds the metadata. */
		e[0] = (struct memmap_entry){57 * MIB, MIB, MEMMAP_USABLE};
		boot_map(e, count, 64 * MIB, 1);
		take_everything(&test_map);
	}
}

TEST(pmm_too_little_for_metadata)
{
	struct memmap_entry e[] = {{0x100000, 0x1000, MEMMAP_USABLE}};
	plain_init(64 * MIB, 16);
	CHECK_OK(memmap_sanitise(&test_map, e, 1, 64 * MIB >> PAGE_SHIFT));
	struct pmm *none;
	CHECK_EQ(pmm_init(&none, &test_map), MEM_ENOMEM);
	CHECK_EQ(test_map.count, 1);
	CHECK_EQ(memmap_npages(&test_map, MEMMAP_USABLE), 1);
}

/* What everything per CPU is sized by is one number, and it has bounds. */
TEST(pmm_init_refuses_cpus)
{
	struct memmap_entry entry = {0, 64 * MIB, MEMMAP_USABLE};
	struct pmm *none = NULL;
	for (unsigned i = 0; i < 2; i++) {
		plain_init(64 * MIB, i ? MEM_MAX_CPUS + 1 : 0);
		CHECK_OK(memmap_sanitise(&test_map, &entry, 1, 64 * MIB >> PAGE_SHIFT));
		CHECK_EQ(pmm_init(&none, &test_map), MEM_EINVAL);
		CHECK(!none);
		CHECK_EQ(test_map.count, 1);
	}
	boot(64 * MIB, MEM_MAX_CPUS);
	plain_set_cpu(MEM_MAX_CPUS - 1);
	pmm_free(pmm, take(0, 0), 0);
}

/* A loader's direct map ends before memory does: nothing beyond is written, or given. */
TEST(pmm_keeps_within_the_direct_map)
{
	const uint64_t ends[] = {20 * MIB + 0x5000, 130 * MIB, 200 * MIB, 256 * MIB};
	struct memmap_entry e[] = {
	    {0, 256 * MIB, MEMMAP_USABLE},
	    {19 * MIB, 0x1000, MEMMAP_RESERVED},
	};
	for (unsigned i = 0; i < 4; i++) {
		mem_direct_map_end = ends[i];
		boot_map(e, 2, 256 * MIB, 2);
		CHECK(!mprotect(paddr_to_ptr(align_up(ends[i], PAGE_SIZE)),
				256 * MIB - align_up(ends[i], PAGE_SIZE), PROT_NONE));
		CHECK(ptr_to_paddr(pmm) + stats().metadata <= ends[i]);
		paddr_t pa = PADDR_NONE, high = align_down(ends[i], HUGE_SIZE);
		uint64_t total = stats().free, count = 0;
		CHECK_EQ(pmm_alloc_range(pmm, (ends[i] >> PAGE_SHIFT) + 1, 1, PADDR_NONE, 0, &pa),
			 MEM_ENOMEM);
		CHECK_EQ(pmm_alloc_range(pmm, 256 * MIB >> PAGE_SHIFT, 1, PADDR_NONE, 0, &pa),
			 MEM_ENOMEM);
		CHECK_OK(
		    pmm_alloc_range(pmm, 4 * MIB >> PAGE_SHIFT, 512, PADDR_NONE, PMM_ZERO, &pa));
		CHECK(pa + 4 * MIB <= high);
		pmm_free_range(pmm, pa, 4 * MIB >> PAGE_SHIFT);
		for (unsigned order = 9; order <= 9; order -= 9)
			while ((pa = pmm_alloc(pmm, order, PMM_KERNEL | PMM_WAIT | PMM_ZERO)) !=
			       PADDR_NONE) {
				CHECK(pa + (PAGE_SIZE << order) <= high);
				count += (uint64_t)1 << order;
			}
		uint64_t metadata = high > ptr_to_paddr(pmm) ? high - ptr_to_paddr(pmm) : 0;
		CHECK_EQ(count, ((high - metadata) >> PAGE_SHIFT) - 1);
		CHECK_EQ(stats().free, total - count);
		CHECK(pmm_is_valid(pmm));
		/* Now there are tables that reach everything. */
		CHECK(!mprotect(paddr_to_ptr(0), 256 * MIB, PROT_READ | PROT_WRITE));
		mem_direct_map_end = UINT64_MAX;
		while ((pa = pmm_alloc(pmm, 0, PMM_KERNEL | PMM_WAIT | PMM_ZERO)) != PADDR_NONE)
			count++;
		CHECK_EQ(count, total);
		CHECK(pmm_is_valid(pmm));
	}
}

TEST(pmm_reserve_and_add)
{
	struct memmap_entry e[] = {
	    {0, 96 * MIB, MEMMAP_USABLE},
	    {8 * MIB, 5 * MIB + 0x3000, MEMMAP_BOOTLOADER_RECLAIMABLE},
	    {600 * MIB, 40 * MIB, MEMMAP_EXECUTABLE_AND_MODULES}, /* above the initialised limit */
	};
	boot_map(e, 3, 1024 * MIB, 1);
	struct pmm_stats s = stats();
	CHECK_EQ(pmm_add(pmm, 0x1000, 1), MEM_EINVAL);    /* usable already */
	CHECK_EQ(pmm_add(pmm, 300 * MIB, 1), MEM_EINVAL); /* nothing there */
	CHECK_EQ(pmm_add(pmm, 4096 * MIB, 1), MEM_EINVAL);
	CHECK_EQ(pmm_add(pmm, 8 * MIB, 0), MEM_EINVAL);
	CHECK_EQ(pmm_add(pmm, 8 * MIB + 1, 1), MEM_EINVAL);
	CHECK_EQ(pmm_add(pmm, 8 * MIB, UINT64_MAX >> 12), MEM_EINVAL);
	uint64_t loader = (5 * MIB >> PAGE_SHIFT) + 3;
	CHECK_OK(pmm_add(pmm, 8 * MIB, loader));
	CHECK_EQ(stats().total, s.total + loader);
	CHECK_EQ(drained_free(), s.free + loader);
	CHECK_OK(pmm_add(pmm, 600 * MIB, 40 * MIB >> PAGE_SHIFT));
	uint64_t all = s.free + loader + (40 * MIB >> PAGE_SHIFT);
	CHECK_EQ(drained_free(), all);
	/* Offline and online again, in use and not. */
	for (int round = 0; round < 100; round++) {
		paddr_t base = test_random_below(2) ? 600 * MIB : 32 * MIB;
		paddr_t pa = base + (test_random_below(5000) << PAGE_SHIFT);
		uint64_t n = 1 + test_random_below(5000);
		if (pa + (n << PAGE_SHIFT) > base + 40 * MIB)
			continue;
		CHECK_OK(pmm_reserve(pmm, pa, n));
		CHECK_EQ(drained_free(), all - n);
		CHECK_EQ(pmm_reserve(pmm, pa, 1), MEM_EINVAL);
		CHECK_OK(pmm_add(pmm, pa, n));
		CHECK_EQ(drained_free(), all);
		if (round == 50) /* from here on with bits everywhere */
			while (pmm_alloc(pmm, 0, PMM_KERNEL) != PADDR_NONE)
				;
		if (round == 50) {
			CHECK_EQ(pmm_reserve(pmm, 32 * MIB, 1), MEM_EBUSY);
			pmm_free_range(pmm, 32 * MIB, 40 * MIB >> PAGE_SHIFT);
			pmm_free_range(pmm, 600 * MIB, 40 * MIB >> PAGE_SHIFT);
			all = drained_free();
		}
	}
}

TEST(pmm_frames_are_where_the_map_says_after_add)
{
	struct memmap_entry e[] = {
	    {0, 32 * MIB, MEMMAP_USABLE},
	    {8 * MIB, 5 * MIB + 0x3000, MEMMAP_BOOTLOADER_RECLAIMABLE},
	};
	boot_map(e, 2, 32 * MIB, 1);
	paddr_t pa = take(0, 0);
	CHECK_OK(memmap_retype(&test_map, 8 * MIB >> 12, (13 * MIB >> 12) + 3,
			       MEMMAP_BOOTLOADER_RECLAIMABLE, MEMMAP_USABLE));
	CHECK_OK(pmm_add(pmm, 8 * MIB, (5 * MIB >> 12) + 3));
	pmm_free(pmm, pa, 0);
	take_everything(&test_map);
}

/* ---- size ---------------------------------------------------------------------------- */

TEST(pmm_a_terabyte_in_a_millisecond)
{
	uint64_t best = UINT64_MAX, bytes = (uint64_t)1 << 40;
	struct memmap_entry entry = {0, bytes, MEMMAP_USABLE};
	plain_init(bytes, 2);
	for (int i = 0; i < 5; i++) {
		CHECK_OK(memmap_sanitise(&test_map, &entry, 1, bytes >> PAGE_SHIFT));
		struct timespec a, b;
		clock_gettime(CLOCK_MONOTONIC, &a);
		CHECK_OK(pmm_init(&pmm, &test_map));
		CHECK(pmm_alloc(pmm, 0, 0) != PADDR_NONE);
		clock_gettime(CLOCK_MONOTONIC, &b);
		uint64_t ns = (uint64_t)(b.tv_sec - a.tv_sec) * 1000000000u +
			      (uint64_t)(b.tv_nsec - a.tv_nsec);
		best = ns < best ? ns : best;
	}
	struct pmm_stats s = stats();
	test_note("set-up and first frame: %llu us; metadata %llu KiB per GiB; free %llu.%02llu %%",
		  (unsigned long long)best / 1000, (unsigned long long)s.metadata >> 20,
		  (unsigned long long)(s.free * 100 / (bytes >> PAGE_SHIFT)),
		  (unsigned long long)(s.free * 10000 / (bytes >> PAGE_SHIFT) % 100));
	CHECK(best <= 1000000);
	CHECK(s.metadata <= 1024 * (36 << 10));
	CHECK(s.free * 1000 >= (bytes >> PAGE_SHIFT) * 997);
}

TEST(pmm_metadata_is_small)
{
	boot(16 * GIGA_SIZE, 8);
	test_note("16 GiB, 8 CPUs: %llu KiB", (unsigned long long)stats().metadata >> 10);
	CHECK(stats().metadata <= 16 * 36 * 1024);
	boot(GIGA_SIZE, 2);
	test_note("1 GiB, 2 CPUs: %llu KiB", (unsigned long long)stats().metadata >> 10);
	while (pmm_alloc(pmm, 0, 0) != PADDR_NONE)
		;
	struct pmm_stats s = stats();
	test_note("with records everywhere: %llu KiB", (unsigned long long)s.metadata >> 10);
	CHECK(s.metadata * 10000 <= GIGA_SIZE * 25);
}
