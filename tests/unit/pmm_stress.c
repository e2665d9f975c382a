/* SPDX-License-Identifier: MIT */
/*
 * Every frame has a byte that says whether somebody has it: taking one that is
 * taken, or being given one that is, ends the test. Users give half of what
 * they have to others through a mailbox, so that frames are freed on CPUs that
 * did not take them.
 */
#include "tests/unit/pmm_stress.h"

#include "tests/machine/plain.h"
#include "tests/test.h"

#include <mem/host.h>
#include <stdlib.h>

#define MAIL 16

static unsigned char *taken;
static uint64_t mail[MAIL]; /* address | order, or 0 */
static struct memmap_region regions[64];
static uint64_t free_before, seed_base;

void stress_start(struct stress *stress, uint64_t bytes, uint64_t seed)
{
	struct memmap map = {.regions = regions, .capacity = 64};
	struct memmap_entry e[] = {{0x1000, bytes - 0x1000, MEMMAP_USABLE}}; /* 0: "no mail" */
	CHECK_OK(memmap_sanitise(&map, e, 1, bytes >> PAGE_SHIFT));
	CHECK_OK(pmm_init(&stress->pmm, &map));
	free(taken);
	taken = calloc(bytes >> PAGE_SHIFT, 1);
	for (int i = 0; i < MAIL; i++)
		mail[i] = 0;
	seed_base = seed;
	struct pmm_stats s;
	pmm_get_stats(stress->pmm, &s);
	free_before = s.free;
	CHECK_EQ(s.free, s.total);
}

static void mark(paddr_t pa, uint64_t npages, unsigned char from, unsigned char to)
{
	for (uint64_t i = 0; i < npages; i++)
		if (__atomic_exchange_n(&taken[(pa >> PAGE_SHIFT) + i], to, __ATOMIC_RELAXED) !=
		    from)
			host_panic("frame 0x%llx was %s twice",
				   (unsigned long long)(pa + (i << PAGE_SHIFT)),
				   to ? "handed out" : "given");
}

static void give(struct stress *stress, uint64_t what)
{
	paddr_t pa = what & ~PAGE_MASK;
	unsigned order = what & 63;
	bool counted = what & 64;
	if (counted && !frame_put(stress->pmm, pa))
		host_panic("frame 0x%llx: not the last owner", (unsigned long long)pa);
	mark(pa, (uint64_t)1 << order, 1, 0);
	pmm_free(stress->pmm, pa, order);
}

static uint64_t next_random(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15;
	uint64_t z = (*state ^ (*state >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* A block as one number, or 0. */
static uint64_t obtain(struct stress *stress, uint64_t r)
{
	unsigned order = r % 4 ? 0 : (unsigned)(r >> 8) % stress->orders;
	unsigned flags = (r >> 20) % 4 ? 0 : PMM_KERNEL;
	if ((r >> 24) % 16)
		flags |= PMM_WAIT;
	if ((r >> 28) % 32 == 0 && stress->rare)
		flags |= PMM_FIRST;
	if ((r >> 34) % 8 == 0 && order == 0)
		flags |= PMM_ZERO;
	paddr_t pa = pmm_alloc(stress->pmm, order, flags);
	if (pa == PADDR_NONE)
		return 0;
	mark(pa, (uint64_t)1 << order, 0, 1);
	bool counted = order == 0 && !(flags & PMM_KERNEL) && (r >> 40) % 2;
	if (counted)
		frame_init(stress->pmm, pa, FRAME_ANON, NULL);
	return pa | order | (counted ? 64 : 0);
}

static void do_something_rare(struct stress *stress, uint64_t r, uint64_t bytes_mask)
{
	paddr_t pa;
	uint64_t n = 1 + (r >> 8) % 1500;
	switch (r % 5) {
	case 0:
		pmm_drain(stress->pmm);
		break;
	case 1:
		pmm_idle(stress->pmm);
		break;
	case 2:
		pa = (r >> 20) & bytes_mask & ~PAGE_MASK;
		if (pmm_reserve(stress->pmm, pa, n) == MEM_OK &&
		    pmm_add(stress->pmm, pa, n) != MEM_OK)
			host_panic("a range that was taken out of use did not come back");
		break;
	default:
		if (pmm_alloc_range(stress->pmm, n, 1, PADDR_NONE, r % 5 == 3 ? 0 : PMM_WAIT,
				    &pa) != MEM_OK)
			break;
		mark(pa, n, 0, 1);
		uint64_t cut = (r >> 32) % (n + 1);
		mark(pa, n, 1, 0);
		pmm_free_range(stress->pmm, pa, cut);
		pmm_free_range(stress->pmm, pa + (cut << PAGE_SHIFT), n - cut);
	}
}

void stress_user(struct stress *stress, unsigned user)
{
	uint64_t *have = calloc(stress->live, sizeof(*have)), state = seed_base + user * 7919;
	unsigned count = 0;
	for (unsigned step = 0; step < stress->steps; step++) {
		if (step % 512 == 0)
			test_step();
		uint64_t r = next_random(&state);
		bool grow = (step / 512 + user) % 2; /* waves */
		if (stress->step)
			stress->step();
		if (stress->rare && r % 256 == 0) {
			do_something_rare(stress, next_random(&state), (4 << 20) - 1);
			continue;
		}
		if (count < stress->live && (grow ? r % 8 != 0 : r % 8 == 0)) {
			uint64_t what = obtain(stress, r >> 8);
			if (what)
				have[count++] = what;
		} else if (count) {
			unsigned k = (unsigned)((r >> 16) % count);
			uint64_t what = have[k];
			have[k] = have[--count];
			if (r & 8) {
				what = __atomic_exchange_n(&mail[(r >> 8) % MAIL], what,
							   __ATOMIC_ACQ_REL);
				if (!what)
					continue;
			}
			give(stress, what);
		}
	}
	while (count)
		give(stress, have[--count]);
	free(have);
}

static uint64_t kept[64]; /* by CPU: freed by a later interrupt */

void stress_interrupt(struct stress *stress, unsigned cpu)
{
	paddr_t pa = pmm_alloc(stress->pmm, 0, kept[cpu] ? PMM_KERNEL : 0);
	uint64_t old = kept[cpu];
	kept[cpu] = 0;
	if (pa != PADDR_NONE) {
		mark(pa, 1, 0, 1);
		kept[cpu] = pa;
	}
	if (old)
		give(stress, old);
	if (old && kept[cpu]) { /* leave nothing behind every second time */
		give(stress, kept[cpu]);
		kept[cpu] = 0;
	}
}

void stress_end(struct stress *stress)
{
	for (int i = 0; i < MAIL; i++)
		if (mail[i])
			give(stress, mail[i]);
	for (int cpu = 0; cpu < 64; cpu++) {
		if (kept[cpu])
			give(stress, kept[cpu]);
		kept[cpu] = 0;
	}
	CHECK(pmm_is_valid(stress->pmm));
	pmm_drain(stress->pmm);
	CHECK(pmm_is_valid(stress->pmm));
	struct pmm_stats s;
	pmm_get_stats(stress->pmm, &s);
	uint64_t lost = 0;
	for (uint64_t i = 0; i < s.total; i++)
		lost += taken[i];
	if (lost || s.free != free_before)
		test_note("%llu frames still taken, %llu records", (unsigned long long)lost,
			  (unsigned long long)s.records);
	CHECK_EQ(s.free, free_before);
	CHECK_EQ(s.cached, 0);
	CHECK_EQ(s.records, 0);
}
