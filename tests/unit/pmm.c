/* SPDX-License-Identifier: MIT */
/*
 * The frame allocator on one thread: what each call promises, the arithmetic
 * of invariant I7 after each, and every misuse that release builds catch.
 */
#include "tests/machine/plain.h"
#include "tests/test.h"

#include <mem/pmm.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MIB         ((uint64_t)1 << 20)
#define MAX_REGIONS 4096

static struct memmap_region regions[MAX_REGIONS];
static struct memmap map = {.regions = regions, .capacity = MAX_REGIONS};
static struct pmm *pmm;

/* An allocator over the given entries (with a direct map of the whole span). */
static void boot_map(const struct memmap_entry *entries, size_t count, uint64_t span,
		     unsigned ncpus)
{
	plain_init(span, ncpus);
	CHECK_OK(memmap_sanitise(&map, entries, count, span >> PAGE_SHIFT));
	CHECK_OK(pmm_init(&pmm, &map, ncpus));
	CHECK(memmap_is_valid(&map));
	CHECK(pmm_is_valid(pmm));
}

static void boot(uint64_t bytes, unsigned ncpus)
{
	struct memmap_entry entry = {0, bytes, MEMMAP_USABLE};
	boot_map(&entry, 1, bytes, ncpus);
}

static struct pmm_stats stats(void)
{
	struct pmm_stats s;
	pmm_get_stats(pmm, &s);
	return s;
}

static uint64_t drained_free(void)
{
	pmm_drain(pmm);
	struct pmm_stats s = stats();
	CHECK_EQ(s.cached, 0);
	CHECK(pmm_is_valid(pmm));
	return s.free;
}

static paddr_t take(unsigned order, unsigned flags)
{
	paddr_t pa = pmm_alloc(pmm, order, flags);
	CHECK(pa != PADDR_NONE);
	CHECK_EQ(pa & ((PAGE_SIZE << order) - 1), 0);
	return pa;
}

TEST(pmm_single_frames_are_distinct_and_come_back)
{
	boot(64 * MIB, 1);
	uint64_t before = drained_free();
	static unsigned char seen[64 * 256];
	static paddr_t got[64 * 256];
	size_t n = 0;
	for (;;) {
		paddr_t pa = pmm_alloc(pmm, 0, 0);
		if (pa == PADDR_NONE)
			break;
		CHECK(pa < 64 * MIB && !(pa & PAGE_MASK));
		CHECK(!seen[pa >> PAGE_SHIFT]++);
		*(uint64_t *)paddr_to_ptr(pa) = pa;
		got[n++] = pa;
	}
	struct pmm_stats s = stats();
	CHECK_EQ(s.free, 0);
	CHECK_EQ(n + s.records, before);
	CHECK(s.records <= before / 511 + 2);
	CHECK(pmm_is_valid(pmm));
	for (size_t i = 0; i < n; i++) {
		CHECK_EQ(*(uint64_t *)paddr_to_ptr(got[i]), got[i]);
		pmm_free(pmm, got[i], 0);
	}
	CHECK_EQ(drained_free(), before);
	CHECK_EQ(stats().records, 0);
}

TEST(pmm_kernel_frames_take_every_frame)
{
	boot(64 * MIB, 1);
	uint64_t before = drained_free(), n = 0;
	paddr_t chain = PADDR_NONE;
	for (paddr_t pa; (pa = pmm_alloc(pmm, 0, PMM_KERNEL)) != PADDR_NONE; n++) {
		*(paddr_t *)paddr_to_ptr(pa) = chain;
		chain = pa;
	}
	CHECK_EQ(n, before);
	while (chain != PADDR_NONE) {
		paddr_t next = *(paddr_t *)paddr_to_ptr(chain);
		pmm_free(pmm, chain, 0);
		chain = next;
	}
	CHECK_EQ(drained_free(), before);
}

TEST(pmm_first_comes_in_address_order)
{
	boot(64 * MIB, 2);
	for (unsigned flags = PMM_FIRST; flags <= (PMM_FIRST | PMM_KERNEL); flags += PMM_KERNEL) {
		uint64_t before = drained_free();
		static paddr_t got[64 * 256];
		size_t n = 0;
		for (paddr_t pa; (pa = pmm_alloc(pmm, 0, flags & ~PMM_FIRST)) != PADDR_NONE;)
			got[n++] = pa;
		for (int round = 0; round < 20; round++) {
			size_t pick[3] = {test_random_below(n), 0, 0};
			do
				pick[1] = test_random_below(n);
			while (pick[1] == pick[0]);
			do
				pick[2] = test_random_below(n);
			while (pick[2] == pick[0] || pick[2] == pick[1]);
			paddr_t want[3];
			for (int i = 0; i < 3; i++) {
				plain_set_cpu((unsigned)test_random_below(2));
				want[i] = got[pick[i]];
				pmm_free(pmm, want[i], 0);
			}
			for (int i = 0; i < 3; i++)
				for (int k = i + 1; k < 3; k++)
					if (want[k] < want[i]) {
						paddr_t t = want[i];
						want[i] = want[k];
						want[k] = t;
					}
			plain_set_cpu(0);
			for (int i = 0; i < 3; i++) {
				CHECK_EQ(pmm_alloc(pmm, 0, flags), want[i]);
				got[pick[i]] = want[i];
			}
			CHECK(pmm_alloc(pmm, 0, flags) == PADDR_NONE);
		}
		for (size_t i = 0; i < n; i++)
			pmm_free(pmm, got[i], 0);
		CHECK_EQ(drained_free(), before);
	}
}

TEST(pmm_first_is_the_lowest_of_all)
{
	boot(64 * MIB, 1);
	paddr_t last = 0;
	for (int i = 0; i < 2000; i++) {
		paddr_t pa = take(0, PMM_FIRST | PMM_KERNEL);
		CHECK_EQ(pa, i ? last + PAGE_SIZE : 0);
		last = pa;
	}
	CHECK_EQ(take(3, PMM_FIRST), 2000 * PAGE_SIZE);
	CHECK_EQ(take(9, PMM_FIRST), 4 * HUGE_SIZE);
	CHECK(pmm_is_valid(pmm));
}

TEST(pmm_orders_are_aligned_and_come_back)
{
	boot(128 * MIB, 1);
	uint64_t before = drained_free();
	for (unsigned order = 0; order <= 14; order++) {
		static paddr_t got[32768];
		static unsigned char seen[32768];
		memset(seen, 0, sizeof(seen));
		size_t n = 0;
		for (paddr_t pa; (pa = pmm_alloc(pmm, order, 0)) != PADDR_NONE;) {
			CHECK_EQ(pa & ((PAGE_SIZE << order) - 1), 0);
			for (uint64_t i = 0; i < (uint64_t)1 << order; i++)
				CHECK(!seen[(pa >> PAGE_SHIFT) + i]++);
			got[n++] = pa;
		}
		CHECK(pmm_is_valid(pmm));
		/* At least what the blocks without metadata and a record page each give. */
		uint64_t blocks = before / 512;
		uint64_t per_block = order < 9 ? (511 >> order) : 0;
		CHECK(n >= (order < 9 ? blocks * per_block : (blocks >> (order - 9)) - 1));
		for (size_t i = 0; i < n; i++)
			pmm_free(pmm, got[i], order);
		CHECK_EQ(drained_free(), before);
	}
}

TEST(pmm_zero_is_zero)
{
	boot(32 * MIB, 1);
	uint64_t before = drained_free();
	for (int round = 0; round < 3; round++) {
		static paddr_t got[200];
		for (int i = 0; i < 200; i++) {
			got[i] = take(i % 3, PMM_ZERO | (i % 2 ? PMM_KERNEL : 0u));
			const unsigned char *p = paddr_to_ptr(got[i]);
			for (uint64_t k = 0; k < PAGE_SIZE << i % 3; k += 8)
				CHECK_EQ(*(const uint64_t *)(const void *)(p + k), 0);
			memset(paddr_to_ptr(got[i]), 0xa5, PAGE_SIZE << i % 3);
		}
		for (int i = 0; i < 200; i++)
			pmm_free(pmm, got[i], i % 3);
		while (round == 1 && pmm_idle(pmm))
			;
		CHECK(pmm_is_valid(pmm));
	}
	CHECK_EQ(drained_free(), before);
}

TEST(pmm_idle_fills_a_pool_that_drains)
{
	boot(32 * MIB, 1);
	uint64_t before = drained_free();
	int calls = 0;
	while (pmm_idle(pmm))
		CHECK(++calls < 1000);
	CHECK(calls > 0);
	CHECK(stats().cached > 0);
	CHECK(pmm_is_valid(pmm));
	paddr_t pa = take(0, PMM_ZERO);
	frame_init(pmm, pa, FRAME_ANON, NULL);
	CHECK(frame_put(pmm, pa));
	pmm_free(pmm, pa, 0);
	CHECK_EQ(drained_free(), before);
}

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
	/* Whole blocks that the other CPU keeps are found when memory runs short. */
	uint64_t frames = 0;
	while (pmm_alloc(pmm, 0, PMM_KERNEL) != PADDR_NONE)
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
	take_everything(&map);
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
		e[0] = (struct memmap_entry){50 * MIB, MIB, MEMMAP_USABLE};
		boot_map(e, count, 64 * MIB, 1);
		take_everything(&map);
	}
}

TEST(pmm_too_little_for_metadata)
{
	struct memmap_entry e[] = {{0x100000, 0x1000, MEMMAP_USABLE}};
	plain_init(64 * MIB, 1);
	CHECK_OK(memmap_sanitise(&map, e, 1, 64 * MIB >> PAGE_SHIFT));
	struct pmm *none;
	CHECK_EQ(pmm_init(&none, &map, 16), MEM_ENOMEM);
	CHECK_EQ(map.count, 1);
	CHECK_EQ(memmap_npages(&map, MEMMAP_USABLE), 1);
}

TEST(pmm_reserve_and_add)
{
	struct memmap_entry e[] = {
	    {0, 96 * MIB, MEMMAP_USABLE},
	    {8 * MIB, 5 * MIB + 0x3000, MEMMAP_BOOTLOADER_RECLAIMABLE},
	    {600 * MIB, 40 * MIB, MEMMAP_EXECUTABLE_AND_MODULES}, /* above the frontier */
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
	CHECK_OK(memmap_retype(&map, 8 * MIB >> 12, (13 * MIB >> 12) + 3,
			       MEMMAP_BOOTLOADER_RECLAIMABLE, MEMMAP_USABLE));
	CHECK_OK(pmm_add(pmm, 8 * MIB, (5 * MIB >> 12) + 3));
	pmm_free(pmm, pa, 0);
	take_everything(&map);
}

/* ---- size ---------------------------------------------------------------------------- */

TEST(pmm_a_terabyte_in_a_millisecond)
{
	uint64_t best = UINT64_MAX, bytes = (uint64_t)1 << 40;
	struct memmap_entry entry = {0, bytes, MEMMAP_USABLE};
	plain_init(bytes, 2);
	for (int i = 0; i < 5; i++) {
		CHECK_OK(memmap_sanitise(&map, &entry, 1, bytes >> PAGE_SHIFT));
		struct timespec a, b;
		clock_gettime(CLOCK_MONOTONIC, &a);
		CHECK_OK(pmm_init(&pmm, &map, 2));
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

/* ---- records ---------------------------------------------------------------------------- */

TEST(pmm_records)
{
	boot(64 * MIB, 1);
	uint64_t before = drained_free();
	paddr_t object = take(0, PMM_KERNEL);
	CHECK(!frame_has_record(pmm, object));
	CHECK(!frame_has_record(pmm, 64 * MIB));
	CHECK_EQ(frame_type(pmm, object), FRAME_NONE);
	char *reference = (char *)paddr_to_ptr(object) + 0x7f0;
	for (unsigned type = FRAME_KERNEL; type < FRAME_TYPE_COUNT; type++) {
		paddr_t pa = take(0, 0);
		CHECK(frame_has_record(pmm, pa));
		CHECK_EQ(frame_type(pmm, pa), FRAME_NONE);
		frame_init(pmm, pa, (enum frame_type)type, type % 2 ? reference : NULL);
		CHECK_EQ(frame_type(pmm, pa), type);
		CHECK(frame_reference(pmm, pa) == (type % 2 ? reference : NULL));
		CHECK_EQ(frame_count(pmm, pa), 1);
		CHECK_OK(frame_get(pmm, pa));
		CHECK_OK(frame_pin(pmm, pa));
		CHECK(frame_is_pinned(pmm, pa));
		CHECK_EQ(frame_count(pmm, pa), 2);
		CHECK(frame_reference(pmm, pa) == (type % 2 ? reference : NULL));
		CHECK(!frame_put(pmm, pa));
		frame_unpin(pmm, pa);
		CHECK(!frame_is_pinned(pmm, pa));
		CHECK_EQ(frame_type(pmm, pa), type);
		CHECK(frame_put(pmm, pa));
		CHECK_EQ(frame_type(pmm, pa), FRAME_NONE);
		pmm_free(pmm, pa, 0);
	}
	pmm_free(pmm, object, 0);
	CHECK_EQ(drained_free(), before);
}

TEST(pmm_counts_refuse_to_overflow)
{
	boot(64 * MIB, 1);
	paddr_t pa = take(0, 0);
	frame_init(pmm, pa, FRAME_ANON, NULL);
	uint32_t n = 1;
	while (frame_get(pmm, pa) == MEM_OK)
		n++;
	CHECK_EQ(n, (1u << 20) - 1);
	CHECK_EQ(frame_count(pmm, pa), n);
	unsigned pins = 0;
	while (frame_pin(pmm, pa) == MEM_OK)
		CHECK(++pins < 1000);
	CHECK(pins >= 31);
	CHECK_EQ(frame_count(pmm, pa), n);
	while (pins--)
		frame_unpin(pmm, pa);
	while (--n)
		CHECK(!frame_put(pmm, pa));
	CHECK(frame_put(pmm, pa));
	pmm_free(pmm, pa, 0);
}

/* ---- running short ----------------------------------------------------------------------- */

TEST(pmm_takes_back_from_other_cpus)
{
	boot(16 * MIB, 4);
	uint64_t total = drained_free();
	static paddr_t got[4096];
	size_t n = 0;
	/* CPUs 1..3 keep private words, buffers and whole blocks. */
	for (unsigned cpu = 1; cpu < 4; cpu++) {
		plain_set_cpu(cpu);
		paddr_t a = take(0, PMM_KERNEL), b = take(0, 0), c = take(9, 0), d = take(2, 0);
		pmm_free(pmm, a, 0);
		pmm_free(pmm, b, 0);
		pmm_free(pmm, c, 9);
		pmm_free(pmm, d, 2);
	}
	plain_set_cpu(0);
	CHECK(stats().cached > 0);
	/* An atomic caller may fail early, with frames left. */
	for (paddr_t pa; (pa = pmm_alloc(pmm, 0, PMM_KERNEL | PMM_ATOMIC)) != PADDR_NONE;)
		got[n++] = pa;
	CHECK(n < total);
	plain_set_interrupt(true);
	CHECK(pmm_alloc(pmm, 0, PMM_KERNEL) == PADDR_NONE);
	plain_set_interrupt(false);
	/* One that may wait does not. */
	for (paddr_t pa; (pa = pmm_alloc(pmm, 0, PMM_KERNEL)) != PADDR_NONE;)
		got[n++] = pa;
	CHECK_EQ(stats().free, 0);
	CHECK_EQ(n + stats().records, total);
	CHECK(pmm_is_valid(pmm));
	for (size_t i = 0; i < n; i++) {
		plain_set_cpu(i % 4);
		pmm_free(pmm, got[i], 0);
	}
	CHECK_EQ(drained_free(), total);
}

/* Users come and go: the free count is exactly what it was. */
TEST(pmm_free_count_returns_exactly)
{
	boot(64 * MIB, 4);
	for (int i = 0; i < 300; i++)
		(void)take(0, i % 2 ? PMM_KERNEL : 0);
	uint64_t before = drained_free();
	for (int round = 0; round < 30; round++) {
		static struct {
			paddr_t pa;
			unsigned order;
		} got[4000];
		size_t n = test_random_below(4000);
		for (size_t i = 0; i < n; i++) {
			plain_set_cpu((unsigned)test_random_below(4));
			got[i].order = test_random_below(16) ? 0 : (unsigned)test_random_below(5);
			got[i].pa =
			    pmm_alloc(pmm, got[i].order, test_random_below(4) ? 0 : PMM_KERNEL);
			CHECK(got[i].pa != PADDR_NONE);
			if (test_random_below(50) == 0)
				pmm_idle(pmm);
		}
		for (size_t i = n; i > 1; i--) {
			size_t k = test_random_below(i);
			__auto_type t = got[k];
			got[k] = got[i - 1];
			got[i - 1] = t;
		}
		for (size_t i = 0; i < n; i++) {
			plain_set_cpu((unsigned)test_random_below(4));
			pmm_free(pmm, got[i].pa, got[i].order);
		}
		CHECK(pmm_is_valid(pmm));
		CHECK_EQ(drained_free(), before);
	}
}

/* Random operations against a byte per frame that remembers. */
TEST(pmm_random_against_memory)
{
	enum { FRAMES = 32 * 256, LIVE = 3000 };
	boot(32 * MIB, 3);
	static unsigned char owner[FRAMES];
	static struct {
		paddr_t pa;
		uint64_t n;
		int order; /* -1: a range */
	} live[LIVE];
	uint64_t before = drained_free(), held = 0;
	size_t count = 0;
	for (int step = 0; step < 60000; step++) {
		plain_set_cpu((unsigned)test_random_below(3));
		if (test_random_below(10) == 0)
			plain_set_interrupt(true);
		bool grow = count < LIVE && (test_random_below(2) || !count) &&
			    (step / 10000 % 2 == 0 || test_random_below(3));
		if (grow) {
			unsigned flags = (test_random_below(3) ? 0u : PMM_KERNEL) |
					 (test_random_below(4) ? 0u : PMM_ATOMIC) |
					 (test_random_below(200) ? 0u : PMM_FIRST);
			int order = test_random_below(4) ? 0 : (int)test_random_below(10);
			uint64_t n = (uint64_t)1 << order;
			paddr_t pa;
			if (test_random_below(100) == 0) {
				order = -1;
				n = 1 + test_random_below(600);
				if (pmm_alloc_range(pmm, n, 1, PADDR_NONE, flags, &pa) != MEM_OK)
					pa = PADDR_NONE;
			} else {
				pa = pmm_alloc(pmm, (unsigned)order, flags);
			}
			if (pa != PADDR_NONE) {
				for (uint64_t i = 0; i < n; i++)
					CHECK(!owner[(pa >> PAGE_SHIFT) + i]++);
				live[count].pa = pa;
				live[count].n = n;
				live[count++].order = order;
				held += n;
			}
		} else if (count) {
			size_t k = test_random_below(count);
			for (uint64_t i = 0; i < live[k].n; i++)
				owner[(live[k].pa >> PAGE_SHIFT) + i] = 0;
			if (live[k].order < 0)
				pmm_free_range(pmm, live[k].pa, live[k].n);
			else
				pmm_free(pmm, live[k].pa, (unsigned)live[k].order);
			held -= live[k].n;
			live[k] = live[--count];
		}
		plain_set_interrupt(false);
		if (step % 3000 == 0) {
			CHECK(pmm_is_valid(pmm));
			struct pmm_stats s = stats();
			CHECK_EQ(s.free + s.records + held, before);
		}
	}
	while (count--)
		if (live[count].order < 0)
			pmm_free_range(pmm, live[count].pa, live[count].n);
		else
			pmm_free(pmm, live[count].pa, (unsigned)live[count].order);
	CHECK_EQ(drained_free(), before);
}

/* ---- misuse -------------------------------------------------------------------------------- */

static paddr_t bad;
static unsigned bad_order;

static void free_bad(void)
{
	pmm_free(pmm, bad, bad_order);
	plain_set_interrupt(false);
	pmm_drain(pmm); /* no later than at the flush */
}

static void expect_free_panics(paddr_t pa, unsigned order, const char *text)
{
	bad = pa;
	bad_order = order;
	test_expect_panic(free_bad, text);
}

TEST(pmm_catches_double_free)
{
	boot(64 * MIB, 2);
	for (unsigned flags = 0; flags <= PMM_KERNEL; flags += PMM_KERNEL) {
		paddr_t pa = take(0, flags), other = take(0, flags);
		CHECK(other != pa);
		pmm_free(pmm, pa, 0);
		expect_free_panics(pa, 0, "already free"); /* in this CPU's buffer */
		plain_set_cpu(1);
		expect_free_panics(pa, 0, "already free"); /* in the other CPU's buffer */
		plain_set_cpu(0);
		pmm_drain(pmm);
		expect_free_panics(pa, 0, "already free"); /* in the bitmap */
		plain_set_interrupt(true);
		expect_free_panics(pa, 0, "already free");
		plain_set_interrupt(false);
		/* Never handed out: in the private word, seen from here and from there. */
		pa = take(0, flags);
		expect_free_panics(pa + 2 * PAGE_SIZE, 0, "already free");
		plain_set_cpu(1);
		expect_free_panics(pa + 2 * PAGE_SIZE, 0, "already free");
		plain_set_cpu(0);
		expect_free_panics(48 * MIB, 0, "free");
	}
	paddr_t pa = take(0, PMM_ZERO);
	pmm_free(pmm, pa, 0);
	while (pmm_idle(pmm))
		;
	paddr_t pool = take(0, PMM_ZERO); /* the next to be handed out lies beside it */
	expect_free_panics(pool - PAGE_SIZE, 0, "already free");
}

TEST(pmm_catches_double_free_of_whole_blocks)
{
	boot(64 * MIB, 2);
	paddr_t pa = take(9, 0);
	pmm_free(pmm, pa, 9);
	expect_free_panics(pa, 9, "already free");
	expect_free_panics(pa, 0, "already free");
	plain_set_cpu(1);
	expect_free_panics(pa, 9, "already free");
	pmm_drain(pmm);
	expect_free_panics(pa, 9, "already free");
	CHECK_OK(pmm_alloc_range(pmm, 2000, 1, PADDR_NONE, 0, &pa));
	pmm_free_range(pmm, pa, 2000);
	expect_free_panics(pa, 0, "already free");
}

TEST(pmm_catches_wrong_order)
{
	boot(64 * MIB, 1);
	expect_free_panics(take(0, 0), 3, "another order");
	expect_free_panics(take(3, 0), 0, "another order");
	expect_free_panics(take(3, 0), 2, "another order");
	expect_free_panics(take(3, 0), 4, "another order");
	expect_free_panics(take(8, 0), 1, "another order");
	expect_free_panics(take(9, 0), 0, "another order");
	expect_free_panics(take(9, 0), 8, "another order");
	expect_free_panics(take(9, 0) + PAGE_SIZE, 9, "another order");
	expect_free_panics(take(8, 0), 9, "another order");
	expect_free_panics(take(10, 0), 11, "order");
	expect_free_panics(take(0, PMM_KERNEL), 1, "another order");
	expect_free_panics(take(0, PMM_KERNEL), 9, "another order");
}

TEST(pmm_catches_foreign_and_reserved_frames)
{
	struct memmap_entry e[] = {
	    {0, 64 * MIB, MEMMAP_USABLE},
	    {0x90000, 0x70000, MEMMAP_RESERVED},
	    {32 * MIB, 4 * MIB, MEMMAP_FRAMEBUFFER},
	};
	boot_map(e, 3, 128 * MIB, 1);
	while (pmm_alloc(pmm, 0, PMM_KERNEL) != PADDR_NONE)
		;
	expect_free_panics(0x90000, 0, "reserved");
	expect_free_panics(0x9f000, 0, "reserved");
	expect_free_panics(33 * MIB, 0, "reserved");
	expect_free_panics(32 * MIB, 9, "reserved");
	expect_free_panics(ptr_to_paddr(pmm), 0, "reserved"); /* its own metadata */
	expect_free_panics(64 * MIB, 0, "not memory");
	expect_free_panics((paddr_t)1 << 50, 0, "not memory");
	expect_free_panics(PADDR_NONE, 0, "not memory");
	expect_free_panics(0x1001, 0, "not memory");
	pmm_free_range(pmm, 16 * MIB, 100);
	CHECK_OK(pmm_reserve(pmm, 16 * MIB, 100));
	expect_free_panics(16 * MIB + 0x5000, 0, "reserved");
}

TEST(pmm_catches_referenced_frames)
{
	boot(64 * MIB, 1);
	paddr_t pa = take(0, 0);
	frame_init(pmm, pa, FRAME_ANON, NULL);
	expect_free_panics(pa, 0, "still referenced");
	CHECK_OK(frame_get(pmm, pa));
	CHECK(!frame_put(pmm, pa));
	expect_free_panics(pa, 0, "still referenced");
	CHECK(frame_put(pmm, pa));
	pmm_free(pmm, pa, 0);
	/* The frame that holds the records is nobody's. */
	paddr_t records = (pa | (HUGE_SIZE - 1)) + 1 - PAGE_SIZE;
	expect_free_panics(records, 0, "reserved");
}

static void put_unowned(void)
{
	if (frame_put(pmm, bad))
		pmm_free(pmm, bad, 0);
}

static void init_twice(void)
{
	frame_init(pmm, bad, FRAME_ANON, NULL);
}

static void free_range_bad(void)
{
	pmm_free_range(pmm, bad, 3);
}

TEST(pmm_catches_misuse_of_records)
{
	boot(64 * MIB, 1);
	bad = take(0, 0);
	test_expect_panic(put_unowned, "nobody owns");
	frame_init(pmm, bad, FRAME_ANON, NULL);
	test_expect_panic(init_twice, "assertion");
	CHECK_OK(frame_pin(pmm, bad));
	test_expect_panic(put_unowned, "pinned");
	frame_unpin(pmm, bad);
	test_expect_panic(free_range_bad, "referenced");
	bad = take(0, PMM_KERNEL);
	test_expect_panic(init_twice, "no record");
}
