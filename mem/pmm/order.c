/* SPDX-License-Identifier: MIT */
/*
 * Orders 1 to 8: blocks of one order each.
 *
 * A wholly free block that is first owned for an order becomes a block of that order. Its
 * state says so, and nothing else is allocated in it until its last frame is free again. It
 * is 512 >> order *order-n blocks*, each some bits of a word or some words of the line:
 *
 *      order 3   w0 [uuuuuuuu][uuuuuuuu] ... w7      64 blocks
 *      order 7   [w0 w1] [w2 w3] [w4 w5] [w6 w7]      4 blocks
 *
 *      all bits clear              free
 *      all bits set                in use
 *      the first clear, others set cached: free, and in some cache's stack
 *
 * So the state tells a free of the wrong order, and the bits tell a second free at the
 * call, whoever made the first. There is no record, and no allocated memory is touched. A
 * CPU keeps a stack of cached order-n blocks per order; giving back is one locked operation
 * on the block's first bit, and so is taking below order 3. (Words and bytes of an order-n
 * block that has whole ones are its holder's alone, who may write them plainly; B1 holds
 * with the first bit of a cached one belonging to who has it in his stack.)
 *
 * An empty stack takes some out of a block of the order that has free ones, else out of a
 * wholly free one. It owns the block only meanwhile. A third summary bitmap has the blocks
 * of any order that have free blocks. A full stack gives its older half back.
 *
 * When no block is wholly free, a run is looked for in blocks of single frames with
 * records: there the record of the first frame says the order. The last resort,
 * everything frozen, may even turn a block of an order into one with records
 * (block_make_records).
 *
 * order.pml is a model of a block of an order, its stacks and summaries; ./test checks it.
 *
 * Rejected: runs of all orders in the same blocks, told apart by records, as this had. It
 * costs a cache miss on the record page for every call, and a search of the line. And one
 * owned block per CPU and order with a private mask. There is no locked operation while
 * that block serves, but one of a large order serves for two order-n blocks.
 */
#include "pmm/order.h"

/* From cached to free in the bitmap. */
static void release_to_bitmap(struct pmm *pmm, struct pmm_cpu_cache *cache, uint64_t d,
			      unsigned order)
{
	uint64_t *word = &pmm->lines[d / 64];
	for (unsigned i = 1; i < 1u << order >> 6; i++)
		atomic_write_relaxed(&word[i], 0);
	(void)atomic_sub(word, pmm_order_bits(d, order) & ~pmm_order_first_bit(d));
	pmm_block_freed_order(pmm, cache, (uint32_t)(d / BLOCK_PAGES));
}

/* Up to `want` free order-n blocks of an owned block become cached. */
static void take_runs(struct pmm *pmm, struct pmm_cpu_cache *cache, uint32_t block, unsigned order,
		      unsigned want)
{
	uint64_t *line = pmm_block_line(pmm, block), d = (uint64_t)block * BLOCK_PAGES;
	uint32_t *stack = cache->order_block[order - 1] + cache->norder[order - 1];
	unsigned words = order < 6 ? 1 : 1u << (order - 6), n = 0;
	for (unsigned i = 0; i < BLOCK_WORDS && n < want; i += words) {
		uint64_t set = 0;
		for (uint64_t at = pmm_line_runs(&line[i], order); at && n < want; at &= at - 1) {
			uint64_t first = d + i * 64 + bit_lowest(at);
			set |= pmm_order_bits(first, order) & ~pmm_order_first_bit(first);
			stack[n++] = (uint32_t)(first >> order);
		}
		if (!set)
			continue;
		atomic_or(&line[i], set); /* B1: still clear */
		for (unsigned k = 1; k < words; k++)
			atomic_write_relaxed(&line[i + k], ALL_ONES);
	}
	cache->norder[order - 1] = (uint8_t)(cache->norder[order - 1] + n);
}

/* ---- stacks ------------------------------------------------------------------------- */

/* Give back the n order-n blocks that were cached first. */
static void flush(struct pmm *pmm, struct pmm_cpu_cache *cache, unsigned order, unsigned n)
{
	uint32_t *stack = cache->order_block[order - 1];
	for (unsigned i = 0; i < n; i++)
		release_to_bitmap(pmm, cache, (uint64_t)stack[i] << order, order);
	cache->norder[order - 1] = (uint8_t)(cache->norder[order - 1] - n);
	for (unsigned i = 0; i < cache->norder[order - 1]; i++)
		stack[i] = stack[i + n];
}

void pmm_order_flush(struct pmm *pmm, struct pmm_cpu_cache *cache)
{
	for (unsigned order = 1; order <= SMALL_ORDERS; order++)
		flush(pmm, cache, order, cache->norder[order - 1]);
}

/* `arg` = cache | order << 8 | first looking through used blocks << 16. */
static bool take_from(struct pmm *pmm, uint32_t block, uint64_t arg)
{
	struct pmm_cpu_cache *cache = &pmm->caches[arg & 0xff];
	unsigned order = (unsigned)(arg >> 8) & 0xff, id = pmm_cache_id(pmm, cache);
	unsigned want = cache == pmm_shared_cache(pmm) ? 1 : pmm->order_batch[order - 1];
	unsigned have = cache->norder[order - 1];
	if (!(arg >> 16 ? pmm_block_claim_order(pmm, block, id, order)
			: pmm_block_take_order(pmm, block, id, order)))
		return false;
	take_runs(pmm, cache, block, order, want - have);
	pmm_block_release(pmm, block);
	/* Through used blocks it goes on until it has all. */
	return cache->norder[order - 1] >= want || (!(arg >> 16) && cache->norder[order - 1]);
}

#define PATIENCE 64u

static bool refill(struct pmm *pmm, struct pmm_cpu_cache *cache, unsigned order)
{
	uint64_t arg = (uint64_t)(cache - pmm->caches) | (uint64_t)order << 8;
	uint32_t *hint = &cache->order_hint[order - 1];
	uint32_t block =
	    pmm_block_search(pmm, CLASS_ORDER, *hint, PATIENCE, take_from, arg | 1 << 16);
	if (cache->norder[order - 1] == 0)
		block = pmm_cache_find_free(pmm, cache, take_from, arg);
	if (block != BLOCK_NONE)
		*hint = block;
	return cache->norder[order - 1] != 0;
}

paddr_t pmm_order_take(struct pmm *pmm, struct pmm_cpu_cache *cache, unsigned order)
{
	if (!cache->norder[order - 1] && !refill(pmm, cache, order))
		return PADDR_NONE;
	return pmm_order_pop(pmm, cache, order);
}

void pmm_order_free(struct pmm *pmm, struct pmm_cpu_cache *cache, uint64_t d, unsigned order)
{
	pmm_order_mark(pmm, d, order);
	if (!cache) {
		release_to_bitmap(pmm, NULL, d, order);
		return;
	}
	if (cache->norder[order - 1] == 2u * pmm->order_batch[order - 1])
		flush(pmm, cache, order, pmm->order_batch[order - 1]);
	pmm_order_push(cache, d, order);
}

/* ---- a run in a block of single frames ------------------------------------------------ */

static bool take_with_run(struct pmm *pmm, uint32_t block, uint64_t arg)
{
	if (pmm_line_find(pmm_block_line(pmm, block), (unsigned)(arg >> 8)) >= BLOCK_PAGES)
		return false;
	return pmm_block_claim(pmm, block, (unsigned)(arg & 0xff), WANT_RECORDABLE);
}

/* In an owned block: B1, what is clear stays so. */
static paddr_t take_run(struct pmm *pmm, uint32_t block, unsigned order)
{
	uint64_t *line = pmm_block_line(pmm, block);
	unsigned at = pmm_line_find(line, order), n = 1u << order;
	if (at >= BLOCK_PAGES)
		return PADDR_NONE;
	if (!(atomic_read_relaxed(&pmm->states[block]) & STATE_REC) &&
	    !pmm_block_make_records(pmm, block, at, n))
		return PADDR_NONE;
	for (unsigned i = 0; i < n; i += 64)
		atomic_or(&line[(at + i) / 64], bit_run(at % 64, mem_min(n, 64u)));
	paddr_t pa = dense_to_paddr(pmm, (uint64_t)block * BLOCK_PAGES + at);
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	atomic_write_relaxed(frame_record(pa, state), RECORD_ORDER(order));
	return pa;
}

paddr_t pmm_order_take_odd(struct pmm *pmm, struct pmm_cpu_cache *cache, unsigned order)
{
	static const enum pmm_block_class classes[] = {CLASS_SPARSE, CLASS_HALF, CLASS_FULL};
	uint64_t arg = pmm_cache_id(pmm, cache) | (uint64_t)order << 8;
	for (unsigned i = 0; i < ARRAY_COUNT(classes); i++) {
		uint32_t block = pmm_block_search(pmm, classes[i], cache->order_hint[order - 1],
						  4 * PATIENCE, take_with_run, arg);
		if (block == BLOCK_NONE)
			continue;
		paddr_t pa = take_run(pmm, block, order);
		pmm_block_recount(pmm, block);
		pmm_block_release(pmm, block);
		if (pa != PADDR_NONE)
			return pa;
	}
	return PADDR_NONE;
}
