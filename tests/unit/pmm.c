/* SPDX-License-Identifier: MIT */
/*
 * The frame allocator on one thread: what taking and giving back promise, records, and
 * the arithmetic of invariant I7 after each. Ranges and maps are in pmm_range.c, misuse
 * in pmm_misuse.c.
 */
#include "pmm/internal.h"

#include "tests/unit/pmm.h"

#include <string.h>

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

/* Frames that have come back to used blocks, one by one or several of a word, are handed
 * out again before a wholly free block is broken. */
TEST(pmm_used_blocks_come_before_whole_ones)
{
	enum { N = 8 * 512, BACK = 32 };
	static paddr_t got[N];
	boot(LIMIT_BLOCKS * HUGE_SIZE,
	     1); /* so that nothing of it is above the initialised limit */
	for (unsigned i = 0; i < N; i++)
		got[i] = take(0, PMM_KERNEL);
	for (unsigned several = 0; several < 2; several++) {
		paddr_t first = got[512 + several * 1024] & ~(HUGE_SIZE - 1);
		for (unsigned i = 0; i < BACK; i++) {
			unsigned at = several ? i / 4 * 64 + i % 4 : i % 8 * 64 + i / 8;
			pmm_free(pmm, first + ((paddr_t)at << PAGE_SHIFT), 0);
		}
		pmm_drain(pmm);
		uint64_t whole = stats().free_huge, n = stats().free - whole * 512;
		CHECK(n >= BACK);
		while (n--)
			CHECK(take(0, PMM_KERNEL) != PADDR_NONE);
		CHECK_EQ(stats().free_huge, whole);
	}
	CHECK(pmm_is_valid(pmm));
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
				CHECK_EQ(pmm_alloc(pmm, 0, flags | PMM_WAIT), want[i]);
				got[pick[i]] = want[i];
			}
			CHECK(pmm_alloc(pmm, 0, flags | PMM_WAIT) == PADDR_NONE);
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

/* The last resort: single frames out of blocks of an order, which still know it. */
TEST(pmm_orders_make_way_for_single_frames)
{
	boot(32 * MIB, 2);
	uint64_t before = drained_free();
	static paddr_t got[4096], single[16];
	size_t n = 0, m = 0;
	for (paddr_t pa; (pa = pmm_alloc(pmm, 3, PMM_WAIT)) != PADDR_NONE;)
		got[n++] = pa;
	while (pmm_alloc(pmm, 0, PMM_KERNEL | PMM_WAIT) != PADDR_NONE)
		before--;
	CHECK(n > 200);
	plain_set_cpu(1);
	pmm_free(pmm, got[100], 3);
	pmm_free(pmm, got[101], 3);
	plain_set_cpu(0);
	for (paddr_t pa;
	     m < 16 && (pa = pmm_alloc(pmm, 0, PMM_WAIT | (m % 2 ? PMM_KERNEL : 0))) != PADDR_NONE;)
		single[m++] = pa;
	CHECK_EQ(m, 15); /* one holds the records */
	CHECK(pmm_is_valid(pmm));
	pmm_free(pmm, got[102], 3);
	CHECK_EQ(pmm_alloc(pmm, 3, 0), got[102]);
	for (size_t i = 0; i < n; i++)
		if (i != 100 && i != 101)
			pmm_free(pmm, got[i], 3);
	while (m)
		pmm_free(pmm, single[--m], 0);
	uint64_t after = drained_free();
	CHECK_EQ(after + stats().records, before);
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

/* What is known to be zero is not cleared again: told apart by a mark that is put into free
 * frames behind the allocator's back. */
TEST(pmm_idle_clears_in_place)
{
	static paddr_t got[512];
	boot(32 * MIB, 1);
	while (pmm_idle(pmm))
		;
	paddr_t first = take(0, PMM_ZERO) & ~(HUGE_SIZE - 1);
	CHECK(pmm_is_valid(pmm));
	for (uint64_t at = 0; at < HUGE_SIZE; at += PAGE_SIZE)
		((volatile char *)paddr_to_ptr(first + at))[64] += at % 3 == 0;
	unsigned n = 0, marked = 0;
	for (; n < 400; n++) {
		got[n] = take(0, PMM_ZERO);
		marked += ((char *)paddr_to_ptr(got[n]))[64] != 0;
	}
	CHECK(marked > 100);
	CHECK(pmm_is_valid(pmm));
	while (n--)
		pmm_free(pmm, got[n], 0);
}

static void check_zero(unsigned n)
{
	static paddr_t got[600];
	static const char zero[PAGE_SIZE];
	CHECK(n <= 600);
	for (unsigned i = 0; i < n; i++) {
		got[i] = take(0, PMM_ZERO);
		CHECK(!memcmp(paddr_to_ptr(got[i]), zero, PAGE_SIZE));
		memset(paddr_to_ptr(got[i]), 0xff, PAGE_SIZE);
	}
	while (n--)
		pmm_free(pmm, got[n], 0);
}

/* Frames that were cleared ahead, used without that being asked for, and freed: straight
 * into the own word, or to the bitmap and back with the block. */
TEST(pmm_what_was_used_is_not_clean)
{
	boot(32 * MIB, 1);
	static paddr_t got[512];
	for (unsigned round = 0; round < 40; round++) {
		while (pmm_idle(pmm))
			;
		unsigned n = 1 + (unsigned)test_random() % 512;
		for (unsigned i = 0; i < n; i++) {
			got[i] = take(0, PMM_WAIT);
			memset(paddr_to_ptr(got[i]), 0xee, PAGE_SIZE);
		}
		for (unsigned i = 0; i < n; i++)
			pmm_free(pmm, got[round % 2 ? n - 1 - i : i], 0);
		if (round % 4 == 3)
			pmm_drain(pmm);
		check_zero(1 + (unsigned)test_random() % 600);
		CHECK(pmm_is_valid(pmm));
	}
	/* Of one word, again and again: it comes back while its clean bits are there. */
	for (unsigned i = 0; i < 600; i++) {
		while (i % 100 == 0 && pmm_idle(pmm))
			;
		paddr_t pa = take(0, PMM_WAIT);
		memset(paddr_to_ptr(pa), 0xdd, PAGE_SIZE);
		pmm_free(pmm, pa, 0);
		if (i % 7 == 0)
			check_zero(1);
	}
}

/* Many at once: each once, zero if that is asked for, whatever was cleared ahead. */
TEST(pmm_many_at_once)
{
	static paddr_t got[4096];
	static const char zero[PAGE_SIZE];
	boot(32 * MIB, 1);
	uint64_t before = drained_free() + stats().records;
	for (unsigned round = 0; round < 20; round++) {
		unsigned n = 0, at_once;
		unsigned flags = round % 4 ? PMM_ZERO : 0;
		while (n < 2000) {
			if (test_random() % 8 == 0 && pmm_idle(pmm))
				continue;
			at_once = 1 + (unsigned)test_random() % 64;
			unsigned had = pmm_alloc_many(pmm, at_once, flags, &got[n]);
			CHECK(had <= at_once);
			if (!had) /* nothing at hand: one by the usual way */
				had = (got[n] = take(0, flags)) != PADDR_NONE;
			frame_init_many(pmm, &got[n], had, FRAME_ANON);
			for (unsigned i = n; i < n + had; i++) {
				CHECK_EQ(frame_count(pmm, got[i]), 1);
				CHECK_EQ(frame_type(pmm, got[i]), FRAME_ANON);
				CHECK(!flags || !memcmp(paddr_to_ptr(got[i]), zero, PAGE_SIZE));
				memset(paddr_to_ptr(got[i]), 0xbb, PAGE_SIZE);
			}
			n += had;
		}
		CHECK(pmm_is_valid(pmm));
		while (n--) { /* one that was handed out twice is freed twice */
			CHECK(frame_put(pmm, got[n]));
			pmm_free(pmm, got[n], 0);
		}
	}
	CHECK_EQ(drained_free() + stats().records, before);
}

TEST(pmm_short_when_no_block_is_left)
{
	static paddr_t got[16];
	boot(32 * MIB, 1); /* 16 blocks: one is enough */
	unsigned n = 0;
	CHECK(!pmm_is_short(pmm));
	while (!pmm_is_short(pmm)) {
		CHECK(n < 16);
		got[n++] = take(PMM_ORDER_HUGE, 0);
	}
	CHECK(n >= 12);
	pmm_free(pmm, got[--n], PMM_ORDER_HUGE);
	pmm_drain(pmm);
	CHECK(!pmm_is_short(pmm));
	while (n--)
		pmm_free(pmm, got[n], PMM_ORDER_HUGE);
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
		bool counted = type >= FRAME_ANON;
		frame_init(pmm, pa, (enum frame_type)type, counted ? NULL : reference);
		CHECK_EQ(frame_type(pmm, pa), type);
		CHECK(frame_reference(pmm, pa) == (counted ? NULL : reference));
		CHECK_EQ(frame_count(pmm, pa), 1);
		CHECK(!frame_is_pinned(pmm, pa));
		if (counted) {
			CHECK_OK(frame_get(pmm, pa));
			CHECK_EQ(frame_count(pmm, pa), 2);
			CHECK(!frame_put(pmm, pa));
			CHECK_OK(frame_pin(pmm, pa));
			CHECK(frame_is_pinned(pmm, pa));
			CHECK_EQ(frame_count(pmm, pa), 2);
			CHECK(!frame_unpin(pmm, pa));
			CHECK(!frame_is_pinned(pmm, pa));
			CHECK_OK(frame_pin(pmm, pa)); /* and the pinning one may be the last */
			CHECK(!frame_put(pmm, pa));
			CHECK(frame_unpin(pmm, pa));
		} else {
			CHECK(frame_put(pmm, pa));
		}
		CHECK_EQ(frame_type(pmm, pa), FRAME_NONE);
		frame_init(pmm, pa, (enum frame_type)type, NULL);
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
	/* Two billion owners at once, but for 1000; and then as many pins. */
	const uint32_t most = RECORD_COUNT_MAX;
	uint64_t *record =
	    frame_record(pa, pmm->states[pfn_to_dense(pmm, paddr_to_pfn(pa)) / BLOCK_PAGES]);
	uint64_t before = *record;
	*record += (uint64_t)(most - 1001) << RECORD_COUNT_SHIFT;
	uint32_t n = frame_count(pmm, pa);
	CHECK_EQ(n, most - 1000);
	while (frame_get(pmm, pa) == MEM_OK)
		n++;
	CHECK_EQ(n, most);
	CHECK_EQ(frame_count(pmm, pa), n);
	CHECK_EQ(frame_type(pmm, pa), FRAME_ANON);
	CHECK_EQ(frame_pin(pmm, pa), MEM_EBUSY);
	CHECK(!frame_is_pinned(pmm, pa));
	for (unsigned i = 0; i < 1000; i++)
		CHECK(!frame_put(pmm, pa));
	/* Who pins is an owner: pins are refused with the last count. */
	unsigned pins = 0;
	while (frame_pin(pmm, pa) == MEM_OK)
		CHECK(++pins <= 1000);
	CHECK_EQ(pins, 1000);
	CHECK_EQ(frame_count(pmm, pa), most);
	while (pins--)
		CHECK(!frame_unpin(pmm, pa));
	CHECK(!frame_is_pinned(pmm, pa));
	CHECK_EQ(frame_count(pmm, pa), most - 1000);
	*record = before;
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
		paddr_t a = take(0, PMM_KERNEL | PMM_WAIT), b = take(0, PMM_WAIT);
		paddr_t c = take(9, PMM_WAIT), d = take(2, PMM_WAIT);
		pmm_free(pmm, a, 0);
		pmm_free(pmm, b, 0);
		pmm_free(pmm, c, 9);
		pmm_free(pmm, d, 2);
	}
	plain_set_cpu(0);
	CHECK(stats().cached > 0);
	/* Who does not wait may fail early, with frames left. */
	for (paddr_t pa; (pa = pmm_alloc(pmm, 0, PMM_KERNEL)) != PADDR_NONE;)
		got[n++] = pa;
	CHECK(n < total);
	plain_set_interrupt(true);
	CHECK(pmm_alloc(pmm, 0, PMM_KERNEL) == PADDR_NONE);
	plain_set_interrupt(false);
	/* Nor does it wait where it must not. One that waits gets all. */
	plain_set_interrupt(true);
	CHECK(pmm_alloc(pmm, 0, PMM_KERNEL | PMM_WAIT) == PADDR_NONE);
	plain_set_interrupt(false);
	for (paddr_t pa; (pa = pmm_alloc(pmm, 0, PMM_KERNEL | PMM_WAIT)) != PADDR_NONE;)
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
					 (test_random_below(4) ? (unsigned)PMM_WAIT : 0u) |
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
