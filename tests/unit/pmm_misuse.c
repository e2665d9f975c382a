/* SPDX-License-Identifier: MIT */
/* Every misuse of the frame allocator that release builds catch. */
#include "tests/unit/pmm.h"

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

TEST(pmm_catches_double_free_of_orders)
{
	boot(64 * MIB, 2);
	for (unsigned order = 1; order <= 8; order++) {
		paddr_t pa = take(order, 0), other = take(order, 0);
		pmm_free(pmm, pa, order);
		expect_free_panics(pa, order, "already free"); /* in this CPU's stack */
		plain_set_interrupt(true);
		expect_free_panics(pa, order, "already free");
		plain_set_interrupt(false);
		plain_set_cpu(1);
		expect_free_panics(pa, order, "already free"); /* in the other CPU's stack */
		plain_set_cpu(0);
		expect_free_panics(other, order - 1, "another order");
		expect_free_panics(other, order + 1, "another order");
		pmm_drain(pmm);
		expect_free_panics(pa, order, "already free"); /* in the bitmap */
		pmm_free(pmm, other, order);
		pmm_drain(pmm);
		expect_free_panics(pa, order, "already free"); /* the block is of no order now */
	}
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

/* The number of an address in a hole may be that of a frame of the next segment, of which
 * others wait; and at first there is none at all. */
TEST(pmm_catches_frames_of_a_hole)
{
	enum { LOW = 64, HOLE = 1024 };
	struct memmap_entry e[] = {
	    {0, LOW * MIB, MEMMAP_USABLE},
	    {(LOW + HOLE) * MIB, 64 * MIB, MEMMAP_USABLE},
	};
	boot_map(e, 2, (LOW + HOLE + 64) * MIB, 1);
	expect_free_panics(0, 0, "never allocated");
	expect_free_panics(0x1000, 0, "never allocated");
	paddr_t pa;
	do {
		pa = take(0, PMM_KERNEL);
	} while (pa != (LOW + HOLE) * MIB);
	take(0, PMM_KERNEL);
	pmm_free(pmm, pa, 0);
	expect_free_panics(pa - HOLE * MIB, 0, "not memory");
	expect_free_panics(pa - HOLE * MIB + PAGE_SIZE, 0, "not memory");
	expect_free_panics(pa, 0, "already free");
	pmm_free(pmm, pa + PAGE_SIZE, 0);
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

static void unpin_unpinned(void)
{
	if (frame_unpin(pmm, bad))
		pmm_free(pmm, bad, 0);
}

static void split_bad(void)
{
	pmm_split(pmm, bad);
}

/* 2 MiB in one piece become frames, once. */
TEST(pmm_splits_blocks)
{
	boot(64 * MIB, 1);
	uint64_t before = drained_free();
	bad = take(0, PMM_KERNEL);
	test_expect_panic(split_bad, "0x");
	pmm_free(pmm, bad, 0);
	paddr_t pa = take(PMM_ORDER_HUGE, PMM_KERNEL);
	bad = pa + PAGE_SIZE;
	test_expect_panic(split_bad, "0x");
	pmm_split(pmm, pa);
	bad = pa;
	test_expect_panic(split_bad, "0x");
	CHECK(pmm_is_valid(pmm));
	expect_free_panics(pa, PMM_ORDER_HUGE, "");
	for (unsigned i = 0; i < 512; i += 2)
		pmm_free(pmm, pa + i * PAGE_SIZE, 0);
	expect_free_panics(pa, 0, "free");
	for (unsigned i = 1; i < 512; i += 2)
		pmm_free_range(pmm, pa + i * PAGE_SIZE, 1);
	CHECK_EQ(drained_free(), before);
	CHECK(pmm_is_valid(pmm));
}

TEST(pmm_catches_misuse_of_records)
{
	boot(64 * MIB, 1);
	bad = take(0, 0);
	test_expect_panic(put_unowned, "nobody owns");
	frame_init(pmm, bad, FRAME_ANON, NULL);
	test_expect_panic(init_twice, "frame_init: the frame has a record already");
	test_expect_panic(unpin_unpinned, "not pinned");
	CHECK_OK(frame_pin(pmm, bad));
	CHECK(!frame_put(pmm, bad));
	test_expect_panic(put_unowned, "pinned");
	CHECK_OK(frame_get(pmm, bad));
	CHECK(!frame_unpin(pmm, bad));
	test_expect_panic(free_range_bad, "referenced");
	bad = take(0, PMM_KERNEL);
	test_expect_panic(init_twice, "no record");
}
