/* SPDX-License-Identifier: MIT */
/*
 * How much anonymous memory one fault serves.
 *
 * Memory that was touched in order so far is likely to be touched in order further on, and
 * most of what a fault costs is getting there and back. So a fault serves as many pages as
 * are there, without a gap, right below the one it is about. That is rounded down to a
 * power of two: 1, 1, 2, 4, 8, 16, 16 ...
 *
 *      touched      x  x  x  x  x
 *      page         0  1  2  3  4  5  6  7  8
 *      served by    0  1  2--2  4--------4  8 ...
 *
 * What is there is all that is known of the past, so nothing is written down and nothing
 * has to be undone. It bounds the waste, too: of a stretch that begins with a touch, no
 * more than half is untouched, and never more than 15 pages of it. Pages that are touched
 * here and there have gaps below them and come one by one.
 *
 * Only the like counts: reads in order get more of the zero frame, which costs nothing;
 * a page that is read before it is written says nothing of the next.
 *
 * Nothing is served ahead beyond the run, which is a promise of the same kind. Nor what the
 * program said it touches at random, wants no more memory for than it touches, or locks
 * page by page. Nor anything that takes memory, when memory is short (pmm_is_short). The
 * pages of a file are another matter: they are in memory already (fault.c).
 */
#include "vm/ahead.h"

#include <mem/pmm.h>

/* How many entries in use lie right below `index`, up to 64. */
static unsigned filled_below(const struct table *t, unsigned index)
{
	unsigned at = index % 64;
	uint64_t word = at ? t->bits[index / 64] << (64 - at) : 0;
	if (index >= 64)
		word |= t->bits[index / 64 - 1] >> at;
	return ~word ? 63 - bit_highest(~word) : 64;
}

/* Of n pages from vpn on as many as there are, and as memory allows. */
static unsigned within(const struct table *t, const struct run *run, vpn_t vpn, bool write,
		       uint64_t n)
{
	n = mem_min(n, run->end - vpn);
	n = mem_min(n, table_end(t) - vpn);
	return write && n > 1 && pmm_is_short(t->space->vmm->pmm) ? 1 : (unsigned)n;
}

unsigned vm_ahead_asked(const struct table *t, const struct run *run, vpn_t vpn, bool write,
			vpn_t until)
{
	return within(t, run, vpn, write, mem_min(until - vpn, (uint64_t)AHEAD_PAGES));
}

unsigned vm_ahead(const struct table *t, const struct run *run, vpn_t vpn, bool write)
{
	unsigned index = (unsigned)(vpn - t->first);
	if (run->promise.bits & (PROMISE_RANDOM | PROMISE_NOHUGE | PROMISE_ONFAULT))
		return 1;
	uint64_t below = mem_min((uint64_t)filled_below(t, index), vpn - run->first);
	if (below < 2)
		return 1;
	pte_t pte = atomic_read_relaxed(&t->entries[index - 1]);
	if (!(pte & PTE_UNCOUNTED) != write)
		return 1;
	below = mem_min(below, (uint64_t)AHEAD_PAGES);
	return within(t, run, vpn, write, (uint64_t)1 << bit_highest(below));
}
