/* SPDX-License-Identifier: MIT */
/*
 * Rare operations: ranges of any length, the lowest free frame, taking memory
 * out of use and adding it.
 *
 * A search goes up the frames from a candidate position and looks for the first
 * frame in use at or above it. If that lies beyond the range, the range is
 * found; else the next candidate is the next aligned position above it. So each
 * frame is looked at once, and full blocks are skipped by their state: exact, and
 * O(words of bitmap).
 *
 * Taking: all blocks of the range are claimed in ascending order, then all bits
 * are checked, then set (B1: what the owner saw clear stays clear). Until the
 * last step only claims have to be undone. Normally the allocator is frozen and
 * nothing can fail; a caller that may not wait claims against the others, and
 * sees as used what they own.
 */
#include "arch/x86_64/ops.h"
#include "pmm/internal.h"

/* ---- searching ------------------------------------------------------------------------ */

/* Is [d, end) free? If not, *used is a frame at or above d (perhaps beyond end)
 * such that no range that starts in [d, *used] is free as far as `end`. */
static bool is_free(const struct pmm *pmm, uint64_t d, uint64_t end, uint64_t *used)
{
	while (d < end) {
		uint32_t block = (uint32_t)(d / BLOCK_PAGES);
		uint64_t block_end = (uint64_t)(block + 1) * BLOCK_PAGES;
		uint32_t state = atomic_read_relaxed(&pmm->states[block]);
		if ((state & (STATE_OWNER | STATE_KIND)) || (state_order(state) && !pmm->frozen)) {
			*used = block_end - 1;
			return false;
		}
		for (; d < block_end && d < end; d = (d | 63) + 1) {
			uint64_t bits = atomic_read_relaxed(&pmm->lines[d / 64]) >> d % 64;
			if (!bits || d + bit_lowest(bits) >= end)
				continue;
			/* The last of the ones that follow it without a gap. */
			uint64_t rest = ~(bits >> bit_lowest(bits));
			*used = d + bit_lowest(bits) + (rest ? bit_lowest(rest) : 64) - 1;
			return false;
		}
	}
	return true;
}

/* Make sure that frames below `end` (dense) are below the initialised limit; false if it
 * cannot move that far. */
static bool extend_to(struct pmm *pmm, uint64_t end)
{
	while (atomic_read_relaxed(&pmm->ready) < end)
		if (!pmm_extend_limit(pmm, true))
			return false;
	return true;
}

/* The lowest free range of n frames at or above dense `from`, aligned by frame
 * number, ending at or below frame `below`; PFN_NONE if there is none. */
static uint64_t find_range(struct pmm *pmm, uint64_t from, uint64_t n, uint64_t align, pfn_t below)
{
	for (unsigned i = 0; i < pmm->nsegments; i++) {
		const struct pmm_segment *s = &pmm->segments[i];
		if (from >= s->dense + s->npages)
			continue;
		pfn_t limit = mem_min(s->first + s->npages, below);
		pfn_t at = from > s->dense ? from - s->dense + s->first : s->first;
		for (;;) {
			at = align_up(at, align);
			if (at < s->first || at > limit || limit - at < n)
				break;
			uint64_t d = at - s->first + s->dense, seen = d, used = 0;
			while (seen < d + n) { /* by blocks: the limit moves no further */
				uint64_t next = align_down(seen, BLOCK_PAGES) + BLOCK_PAGES;
				next = mem_min(next, d + n);
				if (!extend_to(pmm, next))
					return PFN_NONE;
				if (!is_free(pmm, seen, next, &used))
					break;
				seen = next;
			}
			if (seen == d + n)
				return d;
			at = used - s->dense + s->first + 1;
		}
	}
	return PFN_NONE;
}

/* ---- taking ----------------------------------------------------------------------------- */

static bool part_is_free(const struct pmm *pmm, uint64_t d, uint64_t end)
{
	for (; d < end; d = (d | 63) + 1) {
		unsigned n = (unsigned)mem_min(end - d, 64 - d % 64);
		if (atomic_read_relaxed(&pmm->lines[d / 64]) & bit_run(d % 64, n))
			return false;
	}
	return true;
}

static void set_part(struct pmm *pmm, uint64_t d, uint64_t end)
{
	uint32_t block = (uint32_t)(d / BLOCK_PAGES);
	for (; d < end; d = (d | 63) + 1) {
		unsigned n = (unsigned)mem_min(end - d, 64 - d % 64);
		atomic_or(&pmm->lines[d / 64], bit_run(d % 64, n));
	}
	pmm_block_recount(pmm, block);
}

/* Own a block of which a part is to be taken. One of an order only changes while the
 * allocator is frozen. */
static bool claim_part(struct pmm *pmm, uint32_t block, unsigned id)
{
	uint32_t order = state_order(atomic_read_relaxed(&pmm->states[block]));
	if (order)
		return pmm->frozen && pmm_block_claim_order(pmm, block, id, order);
	return pmm_block_claim(pmm, block, id, WANT_ANY);
}

/* Make room for single frames, [d, end), in an owned block of an order. */
static bool open_block(struct pmm *pmm, uint64_t d, uint64_t end)
{
	uint32_t block = (uint32_t)(d / BLOCK_PAGES);
	if (!state_order(atomic_read_relaxed(&pmm->states[block])))
		return true;
	return pmm_block_make_records(pmm, block, (unsigned)(d % BLOCK_PAGES), (unsigned)(end - d));
}

/* Take [d, d + n), seen free a moment ago; false if somebody was faster. */
static bool take_range(struct pmm *pmm, uint64_t d, uint64_t n)
{
	unsigned id = pmm_cache_id(pmm, pmm_shared_cache(pmm));
	uint64_t end = d + n;
	uint32_t first = (uint32_t)(d / BLOCK_PAGES), last = (uint32_t)((end - 1) / BLOCK_PAGES);
	bool ok = true;
	uint32_t claimed = first;
	for (; ok && claimed <= last; claimed++)
		ok = claim_part(pmm, claimed, id);
	if (!ok)
		claimed--;
	if (ok)
		ok = part_is_free(pmm, d, end);
	for (uint32_t block = first; ok && block < claimed; block++)
		ok = open_block(pmm, mem_max(d, (uint64_t)block * BLOCK_PAGES),
				mem_min(end, (uint64_t)(block + 1) * BLOCK_PAGES));
	for (uint32_t block = first; block < claimed; block++) {
		uint64_t low = mem_max(d, (uint64_t)block * BLOCK_PAGES);
		uint64_t high = mem_min(end, (uint64_t)(block + 1) * BLOCK_PAGES);
		if (ok && high - low == BLOCK_PAGES) {
			atomic_write_seq(&pmm->states[block], STATE_HUGE); /* ours: no CAS */
			pmm_block_update_class(pmm, block);
			continue;
		}
		if (ok)
			set_part(pmm, low, high);
		pmm_block_release(pmm, block);
	}
	return ok;
}

/* Find a range and take it. Locks: `shared`. */
static uint64_t search_and_take(struct pmm *pmm, uint64_t npages, uint64_t align, pfn_t below)
{
	uint64_t d = 0;
	do {
		d = find_range(pmm, d, npages, align, below);
	} while (d != PFN_NONE && !take_range(pmm, d, npages) && (d += 1));
	return d;
}

/* The same against the others. */
static uint64_t search_locked(struct pmm *pmm, uint64_t npages, uint64_t align, pfn_t below)
{
	unsigned long irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_CACHE);
	uint64_t d = search_and_take(pmm, npages, align, below);
	mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_CACHE, irq);
	return d;
}

/* And once more, if need be, with all that is within reach. */
static uint64_t search_unfrozen(struct pmm *pmm, uint64_t npages, uint64_t align, pfn_t below)
{
	uint64_t d = search_locked(pmm, npages, align, below);
	return d == PFN_NONE && pmm_take_in(pmm) ? search_locked(pmm, npages, align, below) : d;
}

mem_status pmm_alloc_range(struct pmm *pmm, uint64_t npages, uint64_t align_pages, paddr_t below,
			   unsigned flags, paddr_t *out)
{
	if (npages == 0 || !is_pow2(align_pages))
		return MEM_EINVAL;
	pfn_t limit = paddr_to_pfn(below);
	unsigned long irq;
	uint64_t d;
	if (pmm_freeze(pmm, may_wait(flags), &irq)) {
		d = search_and_take(pmm, npages, align_pages, limit);
		pmm_thaw(pmm, irq);
	} else {
		d = search_unfrozen(pmm, npages, align_pages, limit);
	}
	if (d == PFN_NONE)
		return MEM_ENOMEM;
	*out = dense_to_paddr(pmm, d);
	if (flags & PMM_ZERO)
		for (uint64_t i = 0; i < npages; i++)
			arch_clear_page(paddr_to_ptr(*out + (i << PAGE_SHIFT)));
	return MEM_OK;
}

/* Take [d, d + 2^order) in an owned block where it is free. */
static bool take_first(struct pmm *pmm, uint64_t d, unsigned order, bool records)
{
	uint32_t block = (uint32_t)(d / BLOCK_PAGES);
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	unsigned n = 1u << order;
	if (!part_is_free(pmm, d, d + n))
		return false;
	if (order && state_order(state) == order) {
		set_part(pmm, d, d + n);
		return true;
	}
	if ((records || order || state_order(state)) && !(state & STATE_REC) &&
	    !pmm_block_make_records(pmm, block, (unsigned)(d % BLOCK_PAGES), n))
		return false;
	set_part(pmm, d, d + n);
	if (order) {
		state = atomic_read_relaxed(&pmm->states[block]);
		atomic_write_relaxed(frame_record(dense_to_paddr(pmm, d), state),
				     RECORD_ORDER(order));
	}
	return true;
}

paddr_t pmm_range_take_first(struct pmm *pmm, unsigned order, bool records)
{
	unsigned id = pmm_cache_id(pmm, pmm_shared_cache(pmm));
	unsigned n = 1u << order;
	for (uint64_t d = 0;; d++) {
		d = find_range(pmm, d, n, n, PFN_NONE);
		if (d == PFN_NONE)
			return PADDR_NONE;
		uint32_t block = (uint32_t)(d / BLOCK_PAGES);
		if (order == PMM_ORDER_HUGE) {
			if (!pmm_block_take_free(pmm, block, id, STATE_HUGE))
				continue;
			pmm_block_update_group(pmm, block / GROUP_BLOCKS,
					       (uint64_t)1 << block % GROUP_BLOCKS, false);
			return dense_to_paddr(pmm, d);
		}
		if (!claim_part(pmm, block, id))
			continue;
		bool ok = take_first(pmm, d, order, records);
		pmm_block_release(pmm, block);
		if (ok)
			return dense_to_paddr(pmm, d);
	}
}

/* ---- reserve and add --------------------------------------------------------------------- */

/* Is [first, end) inside one segment and (all usable / all known but not usable)? */
static bool map_allows(const struct pmm *pmm, pfn_t first, pfn_t end, bool usable)
{
	uint64_t a = pfn_to_dense(pmm, first), b = pfn_to_dense(pmm, end - 1);
	if (a == PFN_NONE || b == PFN_NONE || b - a != end - 1 - first)
		return false;
	for (pfn_t at = first; at < end;) {
		const struct memmap_region *r = pmm->map.regions;
		const struct memmap_region *stop = r + pmm->map.count;
		while (r < stop && r->end <= at)
			r++;
		if (r == stop || r->first > at || (r->type == MEMMAP_USABLE) != usable)
			return false;
		at = r->end;
	}
	return true;
}

/* Retype all of it, whatever it was; there is room for two splits. */
static void map_set(struct pmm *pmm, pfn_t first, pfn_t end, enum memmap_type to)
{
	for (unsigned from = 0; from < MEMMAP_TYPE_COUNT; from++)
		if (memmap_retype(&pmm->map, first, end, (enum memmap_type)from, to) != MEM_OK)
			host_panic("pmm: the map has no room, though it had");
}

static bool huge_in(pfn_t first, pfn_t end, pfn_t block)
{
	return block >= first && block + BLOCK_PAGES <= end;
}

/* Blocks that [first, end) touches and that are wholly usable now. */
static uint64_t unused_blocks(const struct pmm *pmm, pfn_t first, pfn_t end)
{
	uint64_t n = 0;
	if (first >= end)
		return 0;
	for (pfn_t block = align_down(first, BLOCK_PAGES); block < end; block += BLOCK_PAGES)
		for (size_t i = 0; i < pmm->map.count; i++)
			n += pmm->map.regions[i].type == MEMMAP_USABLE &&
			     huge_in(pmm->map.regions[i].first, pmm->map.regions[i].end, block);
	return n;
}

/* Set kind and flags of a block below the initialised limit after the map has changed. */
static void refresh_block(struct pmm *pmm, uint32_t block)
{
	pfn_t first = dense_to_pfn(pmm, (uint64_t)block * BLOCK_PAGES);
	unsigned usable = 0;
	for (unsigned i = 0; i < BLOCK_PAGES; i++)
		usable += pmm_frame_is_usable(pmm, first + i);
	uint32_t flags = usable == BLOCK_PAGES ? 0 : usable ? STATE_MIXED : STATE_ABSENT;
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	uint32_t fresh;
	if ((state & STATE_KIND) == STATE_HUGE) /* taken by pmm_reserve: now the bits say it */
		pmm_line_fill(pmm_block_line(pmm, block));
	do {
		fresh = (state & ~(STATE_KIND | STATE_MIXED)) | flags;
	} while (!atomic_cas(&pmm->states[block], &state, fresh));
	pmm_block_recount(pmm, block);
}

/* The end of that part of [d, d + n) that has bits. */
static uint64_t below_limit(const struct pmm *pmm, uint64_t d, uint64_t n)
{
	uint64_t stop = mem_min(d + n, pmm->ready);
	return mem_max(d, stop);
}

mem_status pmm_reserve(struct pmm *pmm, paddr_t pa, uint64_t npages)
{
	mem_contract(!host_in_interrupt(), "not from an interrupt handler");
	pfn_t first = paddr_to_pfn(pa), end;
	if ((pa & PAGE_MASK) || !npages || __builtin_add_overflow(first, npages, &end))
		return MEM_EINVAL;
	unsigned long irq;
	if (!pmm_freeze(pmm, may_wait(PMM_WAIT), &irq))
		return MEM_EBUSY;
	mem_status status = MEM_OK;
	if (!map_allows(pmm, first, end, true))
		status = MEM_EINVAL;
	else if (pmm->map.capacity - pmm->map.count < 2)
		status = MEM_ENOMEM;
	uint64_t d = status == MEM_OK ? pfn_to_dense(pmm, first) : 0;
	uint64_t stop = below_limit(pmm, d, npages);
	if (status == MEM_OK && !part_is_free(pmm, d, stop))
		status = MEM_EBUSY;
	if (status == MEM_OK && d < stop && !take_range(pmm, d, stop - d))
		status = MEM_EBUSY;
	if (status == MEM_OK) {
		pfn_t unused = first + (stop - d);
		uint64_t whole = unused_blocks(pmm, unused, end);
		map_set(pmm, first, end, MEMMAP_RESERVED);
		pmm->unused_free -= end - unused;
		pmm->unused_huge -= whole;
		pmm->total -= npages;
		for (uint64_t at = align_down(d, BLOCK_PAGES); at < stop; at += BLOCK_PAGES)
			refresh_block(pmm, (uint32_t)(at / BLOCK_PAGES));
	}
	pmm_thaw(pmm, irq);
	return status;
}

mem_status pmm_add(struct pmm *pmm, paddr_t pa, uint64_t npages)
{
	mem_contract(!host_in_interrupt(), "not from an interrupt handler");
	pfn_t first = paddr_to_pfn(pa), end;
	if ((pa & PAGE_MASK) || !npages || __builtin_add_overflow(first, npages, &end))
		return MEM_EINVAL;
	unsigned long irq;
	if (!pmm_freeze(pmm, may_wait(PMM_WAIT), &irq))
		return MEM_EBUSY;
	mem_status status = MEM_OK;
	if (!map_allows(pmm, first, end, false))
		status = MEM_EINVAL;
	else if (pmm->map.capacity - pmm->map.count < 2)
		status = MEM_ENOMEM;
	if (status == MEM_OK) {
		uint64_t d = pfn_to_dense(pmm, first);
		uint64_t stop = below_limit(pmm, d, npages);
		pfn_t unused = first + (stop - d);
		map_set(pmm, first, end, MEMMAP_USABLE);
		pmm->unused_free += end - unused;
		pmm->unused_huge += unused_blocks(pmm, unused, end);
		pmm->total += npages;
		for (uint64_t at = align_down(d, BLOCK_PAGES); at < stop; at += BLOCK_PAGES)
			refresh_block(pmm, (uint32_t)(at / BLOCK_PAGES));
		while (d < stop) {
			unsigned n = (unsigned)mem_min(stop - d, 64 - d % 64);
			pmm_block_give_back(pmm, d / 64, bit_run(d % 64, n));
			d += n;
		}
	}
	pmm_thaw(pmm, irq);
	return status;
}
