/* SPDX-License-Identifier: MIT */
/* Statistics, and the validator: every structure against every other. */
#include "pmm/internal.h"

#define COUNT_SPAN 1024u /* counts of owned blocks are right modulo this */

/* Frames that the owner of a block has taken and not subtracted yet. */
static unsigned taken_of(const struct pmm *pmm, uint32_t block, uint32_t state)
{
	const struct pmm_slot *slot = &pmm->slots[state_owner(state) - 1];
	unsigned taken = 0;
	for (unsigned k = 0; k < KIND_COUNT; k++)
		if (atomic_read_relaxed(&slot->word[k].block) == block)
			taken += atomic_read_relaxed(&slot->word[k].taken);
	return taken;
}

static void sum_blocks(const struct pmm *pmm, struct pmm_stats *stats)
{
	uint32_t nblocks = ready_blocks(pmm);
	for (uint32_t block = 0; block < nblocks; block++) {
		uint32_t state = atomic_read_relaxed(&pmm->states[block]);
		unsigned count = state_count(state);
		if (unlikely(state_owner(state)))
			count = (count - taken_of(pmm, block, state)) % COUNT_SPAN;
		stats->free += count <= BLOCK_PAGES ? count : 0;
		stats->free_huge += count == BLOCK_PAGES;
		stats->records += (state & STATE_REC) != 0;
	}
}

/* A frame on its way between a slot and the bitmap is in neither of them for a
 * moment: nobody is allowed on the way while they are summed. Who cannot wait
 * takes the sum as it comes. */
void pmm_get_stats(struct pmm *pmm, struct pmm_stats *stats)
{
	unsigned long irq;
	bool held = pmm_hold(pmm, may_wait(0), &irq);
	if (!held)
		irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_SLOT);
	*stats = (struct pmm_stats){
	    .total = pmm->total,
	    .free = pmm->virgin_free,
	    .free_huge = pmm->virgin_huge,
	    .metadata = pmm->metadata_bytes,
	};
	sum_blocks(pmm, stats);
	for (unsigned i = 0; i <= pmm->ncpus; i++) {
		stats->cached += slot_cached(&pmm->slots[i]);
		stats->free_huge += atomic_read_relaxed(&pmm->slots[i].nhuge);
	}
	stats->free += stats->cached;
	stats->metadata += stats->records << PAGE_SHIFT;
	if (held)
		pmm_release(pmm, irq);
	else
		mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_SLOT, irq);
}

#define BAD(...)                                                                                   \
	do {                                                                                       \
		host_log(HOST_LOG_ERROR, "pmm: " __VA_ARGS__);                                     \
		return false;                                                                      \
	} while (0)

static enum block_class expected_class(unsigned count)
{
	if (count < ROOM_MIN || count > BLOCK_PAGES)
		return CLASS_FULL;
	if (count == BLOCK_PAGES)
		return CLASS_FREE;
	return count <= BLOCK_PAGES / 2 ? CLASS_HALF : CLASS_SPARSE;
}

/* Is the frame free in some slot although its bit is set? */
static unsigned held_by_slots(const struct pmm *pmm, uint64_t d)
{
	unsigned n = 0;
	for (unsigned i = 0; i <= pmm->ncpus; i++) {
		const struct pmm_slot *slot = &pmm->slots[i];
		for (unsigned k = 0; k < KIND_COUNT; k++) {
			const struct private_word *p = &slot->word[k];
			if (p->block == d / BLOCK_PAGES)
				n += (p->rest[d / 64 % BLOCK_WORDS] >> d % 64 & 1) +
				     (p->w == d / 64 && (p->mask >> d % 64 & 1));
		}
		n += slot->freed.w == d / 64 && (slot->freed.mask >> d % 64 & 1);
		for (unsigned q = 0; q < slot->nqueue; q++)
			n += slot->queue[q].w == d / 64 && (slot->queue[q].mask >> d % 64 & 1);
		for (unsigned p = 0; p < slot->npool; p++)
			n += pfn_to_dense(pmm, paddr_to_pfn(slot->pool[p])) == d;
	}
	return n;
}

static bool check_records(const struct pmm *pmm, uint32_t block, uint32_t state)
{
	const uint64_t *records =
	    frame_record(dense_to_paddr(pmm, (uint64_t)block * BLOCK_PAGES), state);
	if (records[state_record(state)] != RECORD_PAGE)
		BAD("block %u: the record page does not know itself", block);
	for (unsigned i = 0; i < BLOCK_PAGES; i++) {
		bool in_use = block_line(pmm, block)[i / 64] >> i % 64 & 1;
		uint64_t d = (uint64_t)block * BLOCK_PAGES + i;
		unsigned held = held_by_slots(pmm, d);
		if (held > 1)
			BAD("block %u frame %u: held twice", block, i);
		if (i != state_record(state) && records[i] && records[i] != RECORD_POOL &&
		    (!in_use || held))
			BAD("block %u frame %u: free, but its record is 0x%llx", block, i,
			    (unsigned long long)records[i]);
	}
	return true;
}

static bool check_block(const struct pmm *pmm, uint32_t block)
{
	uint32_t state = pmm->states[block];
	const uint64_t *line = block_line(pmm, block);
	unsigned used = 0, usable = 0;
	pfn_t first = dense_to_pfn(pmm, (uint64_t)block * BLOCK_PAGES);
	for (unsigned i = 0; i < BLOCK_WORDS; i++)
		used += bit_count(line[i]);
	for (unsigned i = 0; i < BLOCK_PAGES; i++) {
		bool ok = frame_is_usable(pmm, first + i);
		usable += ok;
		if (!ok && !(line[i / 64] >> i % 64 & 1))
			BAD("block %u frame %u: free, but not usable", block, i);
	}
	unsigned taken = state_owner(state) ? taken_of(pmm, block, state) : 0;
	if ((state_count(state) - taken) % COUNT_SPAN != BLOCK_PAGES - used)
		BAD("block %u: count %u - %u, clear bits %u", block, state_count(state), taken,
		    BLOCK_PAGES - used);
	if (usable == 0 && (state & STATE_KIND) != STATE_ABSENT)
		BAD("block %u: no usable frame, but not absent", block);
	if ((usable && usable < BLOCK_PAGES) != !!(state & STATE_MIXED))
		BAD("block %u: %u usable frames, state 0x%x", block, usable, state);
	uint64_t bit = (uint64_t)1 << block % GROUP_BLOCKS;
	unsigned class = !!(pmm->summary_a[block / GROUP_BLOCKS] & bit) * 2 +
			 !!(pmm->summary_b[block / GROUP_BLOCKS] & bit);
	if (class != expected_class(state_count(state)))
		BAD("block %u: class %u with count %u", block, class, state_count(state));
	if ((state & STATE_KIND) != STATE_NORMAL && (used != BLOCK_PAGES || (state & STATE_REC)))
		BAD("block %u: state 0x%x with clear bits or records", block, state);
	if (state_owner(state)) {
		if (state_owner(state) > pmm->ncpus + 1)
			BAD("block %u: owner %u", block, state_owner(state));
		const struct pmm_slot *slot = &pmm->slots[state_owner(state) - 1];
		unsigned n = 0;
		for (unsigned k = 0; k < KIND_COUNT; k++)
			n += slot->word[k].block == block;
		for (unsigned i = 0; i < slot->nhuge; i++)
			n += slot->huge[i].block == block;
		if (n != 1)
			BAD("block %u: its owner knows it %u times", block, n);
	}
	return !(state & STATE_REC) || check_records(pmm, block, state);
}

static bool check_slot(const struct pmm *pmm, unsigned index)
{
	const struct pmm_slot *slot = &pmm->slots[index];
	if (slot->busy || (slot->revoked & SLOT_REVOKED))
		BAD("slot %u: busy %u revoked %u at rest", index, slot->busy, slot->revoked);
	for (unsigned k = 0; k < KIND_COUNT; k++) {
		const struct private_word *p = &slot->word[k];
		uint64_t held = p->mask, rest = 0;
		for (unsigned i = 0; i < BLOCK_WORDS; i++) {
			rest |= p->rest[i];
			if (p->rest[i] && (p->rest[i] & ~block_line(pmm, p->block)[i]))
				BAD("slot %u: word %u of block %u is free, yet held", index, i,
				    p->block);
		}
		if (held && (p->block != p->w / BLOCK_WORDS || (held & ~pmm->lines[p->w])))
			BAD("slot %u: private word %llu is free or not its own", index,
			    (unsigned long long)p->w);
		if (p->block == BLOCK_NONE && rest)
			BAD("slot %u: frames of no block", index);
		if (p->block != BLOCK_NONE &&
		    state_owner(pmm->states[p->block]) != slot_id(pmm, slot))
			BAD("slot %u: block %u is not its own", index, p->block);
	}
	if (slot->nqueue > QUEUE_WORDS || slot->npool > POOL_FRAMES || slot->nhuge > HUGE_CACHED)
		BAD("slot %u: counts %u %u %u", index, slot->nqueue, slot->npool, slot->nhuge);
	for (unsigned i = 0; i <= slot->nqueue; i++) {
		const struct free_word *f = i == slot->nqueue ? &slot->freed : &slot->queue[i];
		if (f->mask && (f->mask & ~pmm->lines[f->w]))
			BAD("slot %u: freed frames of word %llu are free already", index,
			    (unsigned long long)f->w);
	}
	for (unsigned i = 0; i < slot->nhuge; i++)
		if (pmm->states[slot->huge[i].block] != (STATE_CACHED | slot_id(pmm, slot)))
			BAD("slot %u: block %u is not cached by it", index, slot->huge[i].block);
	return true;
}

bool pmm_is_valid(struct pmm *pmm)
{
	if (!memmap_is_valid(&pmm->map))
		BAD("the map is not valid");
	uint32_t nblocks = ready_blocks(pmm);
	for (uint32_t block = 0; block < nblocks; block++)
		if (!check_block(pmm, block))
			return false;
	for (unsigned i = 0; i <= pmm->ncpus; i++)
		if (!check_slot(pmm, i))
			return false;
	/* Totals: what the map says, in all and above the frontier. */
	uint64_t usable = 0, virgin = 0, whole = 0;
	for (uint64_t block = 0; block < pmm->nblocks; block++) {
		pfn_t first = dense_to_pfn(pmm, block * BLOCK_PAGES);
		uint64_t n = 0;
		for (size_t i = 0; i < pmm->map.count; i++) {
			const struct memmap_region *r = &pmm->map.regions[i];
			pfn_t low = mem_max(r->first, first);
			pfn_t high = mem_min(r->end, first + BLOCK_PAGES);
			if (r->type == MEMMAP_USABLE && low < high)
				n += high - low;
		}
		usable += n;
		if (block >= nblocks) {
			virgin += n;
			whole += n == BLOCK_PAGES;
		}
	}
	if (usable != pmm->total || virgin != pmm->virgin_free || whole != pmm->virgin_huge)
		BAD("totals: %llu/%llu usable, %llu/%llu virgin, %llu/%llu whole",
		    (unsigned long long)pmm->total, (unsigned long long)usable,
		    (unsigned long long)pmm->virgin_free, (unsigned long long)virgin,
		    (unsigned long long)pmm->virgin_huge, (unsigned long long)whole);
	return true;
}
