/* SPDX-License-Identifier: MIT */
/* Statistics, and the validator: every structure against every other. */
#include "pmm/whole.h"

/* What is known without looking at blocks; how many of these there are to look at. */
static uint32_t start_sums(struct pmm *pmm, struct pmm_stats *stats)
{
	unsigned long irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_CACHE);
	*stats = (struct pmm_stats){
	    .total = pmm->total,
	    .free = pmm->unused_free,
	    .free_huge = pmm->unused_huge,
	    .metadata = pmm->metadata_bytes,
	};
	uint32_t nblocks = ready_blocks(pmm);
	mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_CACHE, irq);
	return nblocks;
}

/* It takes as long as there is memory: no lock. */
static void sum_blocks(const struct pmm *pmm, uint32_t nblocks, struct pmm_stats *stats)
{
	for (uint32_t block = 0; block < nblocks; block++) {
		uint32_t state = atomic_read_relaxed(&pmm->states[block]);
		stats->free += state & STATE_KIND ? 0 : pmm_block_clear_bits(pmm, block);
		stats->free_huge += pmm_block_is_whole(pmm, block);
		stats->records += (state & STATE_REC) != 0;
	}
	stats->metadata += stats->records << PAGE_SHIFT;
}

static void sum_caches(const struct pmm *pmm, struct pmm_stats *stats)
{
	for (unsigned i = 0; i <= pmm->ncpus; i++) {
		stats->cached += pmm_cache_npages(&pmm->caches[i]);
		stats->free_huge += atomic_read_relaxed(&pmm->caches[i].nhuge);
	}
	stats->free += stats->cached;
}

void pmm_get_stats(struct pmm *pmm, struct pmm_stats *stats)
{
	sum_blocks(pmm, start_sums(pmm, stats), stats);
	sum_caches(pmm, stats);
}

/* Changes when a cache takes frames of the bitmap or gives some back. */
static uint64_t moves(const struct pmm *pmm)
{
	uint64_t sum = atomic_read_relaxed(&pmm->ready);
	for (unsigned i = 0; i <= pmm->ncpus; i++) {
		const struct pmm_cpu_cache *cache = &pmm->caches[i];
		for (unsigned k = 0; k < KIND_COUNT; k++)
			sum = sum * 31 + atomic_read_relaxed(&cache->word[k].block);
		for (unsigned order = 0; order < SMALL_ORDERS; order++)
			sum = sum * 31 + atomic_read_relaxed(&cache->norder[order]);
		sum = sum * 31 + atomic_read_relaxed(&cache->nhuge);
		sum = sum * 31 + atomic_read_relaxed(&cache->nqueue);
	}
	return sum;
}

#define TRIES 4

/* A frame on its way between a CPU and the bitmap is in neither of them for a moment, also
 * where idle CPUs clear ahead: nobody is allowed on the way while the caches are summed, and
 * if one has taken or given something since the blocks were, they are summed once more. */
void pmm_get_stats_wait(struct pmm *pmm, struct pmm_stats *stats)
{
	mem_contract_thread();
	unsigned long irq;
	for (unsigned n = 1;; n++) {
		uint64_t before = moves(pmm);
		sum_blocks(pmm, start_sums(pmm, stats), stats);
		if (!pmm_hold(pmm, may_wait(PMM_WAIT), &irq))
			break;
		bool last = n == TRIES || moves(pmm) == before;
		if (last)
			sum_caches(pmm, stats);
		pmm_release(pmm, irq);
		if (last)
			return;
	}
	sum_caches(pmm, stats);
}

#define BAD(...)                                                                                   \
	do {                                                                                       \
		host_log(HOST_LOG_ERROR, "pmm: " __VA_ARGS__);                                     \
		return false;                                                                      \
	} while (0)

/* Is the frame free in some cache although its bit is set? */
static unsigned held_by_caches(const struct pmm *pmm, uint64_t d)
{
	unsigned n = 0;
	for (unsigned i = 0; i <= pmm->ncpus; i++) {
		const struct pmm_cpu_cache *cache = &pmm->caches[i];
		for (unsigned k = 0; k < KIND_COUNT; k++) {
			const struct pmm_private_word *p = &cache->word[k];
			if (p->block == d / BLOCK_PAGES)
				n += (p->rest[d / 64 % BLOCK_WORDS] >> d % 64 & 1) +
				     (p->w == d / 64 && (p->mask >> d % 64 & 1));
		}
		n += freed_word(cache) == d / 64 && (cache->freed.mask >> d % 64 & 1);
		for (unsigned q = 0; q < cache->nqueue; q++)
			n += cache->queue_w[q] == d / 64 && (cache->queue_mask[q] >> d % 64 & 1);
		for (unsigned p = 0; p < cache->npool; p++)
			n += cache->pool[p] == d;
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
		bool in_use = pmm_block_line(pmm, block)[i / 64] >> i % 64 & 1;
		uint64_t d = (uint64_t)block * BLOCK_PAGES + i;
		unsigned held = held_by_caches(pmm, d);
		if (held > 1)
			BAD("block %u frame %u: held twice", block, i);
		if (i != state_record(state) && records[i] && records[i] != RECORD_POOL &&
		    (!in_use || held))
			BAD("block %u frame %u: free, but its record is 0x%llx", block, i,
			    (unsigned long long)records[i]);
	}
	return true;
}

/* What the summaries say of a block (B3); what follows the hint may be off. */
static bool check_summaries(const struct pmm *pmm, uint32_t block)
{
	uint32_t state = pmm->states[block];
	uint64_t bit = (uint64_t)1 << block % GROUP_BLOCKS;
	unsigned class = !!(pmm->summary_a[block / GROUP_BLOCKS] & bit) * 2 +
			 !!(pmm->summary_b[block / GROUP_BLOCKS] & bit);
	if (pmm_block_is_whole(pmm, block) != (class == CLASS_FREE))
		BAD("block %u: class %u with %u clear bits", block, class,
		    pmm_block_clear_bits(pmm, block));
	if (((state & STATE_KIND) || state_order(state)) && class != CLASS_FULL)
		BAD("block %u: class %u with state 0x%x", block, class, state);
	unsigned order = state_order(state);
	bool any_free = order && pmm_line_find(pmm_block_line(pmm, block), order) < BLOCK_PAGES;
	if (any_free != !!(pmm->summary_order[block / GROUP_BLOCKS] & bit))
		BAD("block %u: state 0x%x, summary of orders %s", block, state,
		    any_free ? "missing" : "too many");
	return true;
}

static unsigned count_cached(const struct pmm *pmm, uint64_t d, unsigned order)
{
	unsigned n = 0;
	for (unsigned i = 0; i <= pmm->ncpus; i++)
		for (unsigned k = 0; k < pmm->caches[i].norder[order - 1]; k++)
			n += pmm->caches[i].order_block[order - 1][k] == d >> order;
	return n;
}

/* A block of an order: all of it blocks of that order, no unusable frame (B6). */
static bool check_order_block(const struct pmm *pmm, uint32_t block)
{
	uint32_t state = pmm->states[block];
	unsigned order = state_order(state), set = 0;
	if (state_owner(state) || order > SMALL_ORDERS || (state & (STATE_MIXED | STATE_KIND)))
		BAD("block %u: state 0x%x with an order", block, state);
	for (unsigned i = 0; i < BLOCK_PAGES; i++) {
		set += pmm_block_line(pmm, block)[i / 64] >> i % 64 & 1;
		if ((i + 1) % (1u << order))
			continue;
		uint64_t d = ((uint64_t)block * BLOCK_PAGES + i) >> order << order;
		bool first = pmm_block_line(pmm, block)[d % BLOCK_PAGES / 64] >> d % 64 & 1;
		unsigned cached = first ? 0 : count_cached(pmm, d, order);
		if (cached > 1 || (set && set + cached != 1u << order))
			BAD("block %u frame %u: a part of a block of order %u", block, i, order);
		set = 0;
	}
	if (pmm_line_is_clear(pmm_block_line(pmm, block)))
		BAD("block %u: of order %u with nothing in it", block, order);
	return true;
}

static bool check_block(const struct pmm *pmm, uint32_t block)
{
	uint32_t state = pmm->states[block];
	const uint64_t *line = pmm_block_line(pmm, block);
	unsigned used = 0, usable = 0;
	pfn_t first = dense_to_pfn(pmm, (uint64_t)block * BLOCK_PAGES);
	for (unsigned i = 0; i < BLOCK_WORDS; i++)
		used += bit_count(line[i]);
	for (unsigned i = 0; i < BLOCK_PAGES; i++) {
		bool ok = pmm_frame_is_usable(pmm, first + i);
		usable += ok;
		if (!ok && !(state & STATE_KIND) && !(line[i / 64] >> i % 64 & 1))
			BAD("block %u frame %u: free, but not usable", block, i);
	}
	if (usable == 0 && (state & STATE_KIND) != STATE_ABSENT)
		BAD("block %u: no usable frame, but not absent", block);
	if ((usable && usable < BLOCK_PAGES) != !!(state & STATE_MIXED))
		BAD("block %u: %u usable frames, state 0x%x", block, usable, state);
	if (!check_summaries(pmm, block) || (state_order(state) && !check_order_block(pmm, block)))
		return false;
	bool whole = (state & STATE_KIND) == STATE_HUGE || (state & STATE_KIND) == STATE_CACHED;
	if ((state & STATE_KIND) && (used != (whole ? 0 : BLOCK_PAGES) || (state & STATE_FORMAT)))
		BAD("block %u: state 0x%x with bits or a format", block, state);
	if (state_owner(state)) {
		if (state_owner(state) > pmm->ncpus + 1)
			BAD("block %u: owner %u", block, state_owner(state));
		const struct pmm_cpu_cache *cache = &pmm->caches[state_owner(state) - 1];
		unsigned n = 0;
		for (unsigned k = 0; k < KIND_COUNT; k++)
			n += cache->word[k].block == block;
		for (unsigned i = 0; i < cache->nhuge; i++)
			n += cache->huge[i] == block;
		if (n != 1)
			BAD("block %u: its owner knows it %u times", block, n);
	}
	return !(state & STATE_REC) || check_records(pmm, block, state);
}

static bool check_cache(const struct pmm *pmm, unsigned index)
{
	const struct pmm_cpu_cache *cache = &pmm->caches[index];
	if (cache->busy || (cache->revoked & CACHE_REVOKED))
		BAD("cache %u: busy %u revoked 0x%x at rest", index, cache->busy, cache->revoked);
	for (unsigned k = 0; k < KIND_COUNT; k++) {
		const struct pmm_private_word *p = &cache->word[k];
		uint64_t held = p->mask, rest = 0;
		for (unsigned i = 0; i < BLOCK_WORDS; i++) {
			rest |= p->rest[i];
			if (!p->rest[i] != !(p->more >> i & 1))
				BAD("cache %u: does not know what rests of word %u", index, i);
			if (p->rest[i] && (p->rest[i] & ~pmm_block_line(pmm, p->block)[i]))
				BAD("cache %u: word %u of block %u is free, yet held", index, i,
				    p->block);
		}
		if (held && ((p->block != BLOCK_NONE && p->block != p->w / BLOCK_WORDS) ||
			     (held & ~pmm->lines[p->w])))
			BAD("cache %u: private word %llu is free or not its own", index,
			    (unsigned long long)p->w);
		if (p->block == BLOCK_NONE && rest)
			BAD("cache %u: frames of no block", index);
		if (p->block != BLOCK_NONE &&
		    state_owner(pmm->states[p->block]) != pmm_cache_id(pmm, cache))
			BAD("cache %u: block %u is not its own", index, p->block);
	}
	for (unsigned order = 1; order <= SMALL_ORDERS; order++)
		for (unsigned i = 0; i < cache->norder[order - 1]; i++) {
			uint64_t d = (uint64_t)cache->order_block[order - 1][i] << order;
			if (state_order(pmm->states[d / BLOCK_PAGES]) != order ||
			    (pmm->lines[d / 64] >> d % 64 & 1))
				BAD("cache %u: a block of order %u is not cached", index, order);
		}
	if (cache->nqueue > QUEUE_WORDS || cache->npool > POOL_FRAMES || cache->nhuge > HUGE_CACHED)
		BAD("cache %u: counts %u %u %u", index, cache->nqueue, cache->npool, cache->nhuge);
	for (unsigned i = 0; i <= cache->nqueue; i++) {
		bool last = i == cache->nqueue;
		uint64_t w = last ? freed_word(cache) : cache->queue_w[i];
		uint64_t mask = last ? cache->freed.mask : cache->queue_mask[i];
		if (mask && (mask & ~pmm->lines[w]))
			BAD("cache %u: freed frames of word %llu are free already", index,
			    (unsigned long long)w);
	}
	for (unsigned i = 0; i < cache->nhuge; i++)
		if ((pmm->states[cache->huge[i]] & ~STATE_HINT) !=
		    (STATE_CACHED | pmm_cache_id(pmm, cache)))
			BAD("cache %u: block %u is not cached by it", index, cache->huge[i]);
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
		if (!check_cache(pmm, i))
			return false;
	/* Totals: what the map says, in all and above the initialised limit. */
	uint64_t usable = 0, unused = 0, whole = 0;
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
			unused += n;
			whole += n == BLOCK_PAGES;
		}
	}
	if (usable != pmm->total || unused != pmm->unused_free || whole != pmm->unused_huge)
		BAD("totals: %llu/%llu usable, %llu/%llu unused, %llu/%llu whole",
		    (unsigned long long)pmm->total, (unsigned long long)usable,
		    (unsigned long long)pmm->unused_free, (unsigned long long)unused,
		    (unsigned long long)pmm->unused_huge, (unsigned long long)whole);
	return true;
}
