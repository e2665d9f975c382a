/* SPDX-License-Identifier: MIT */
/*
 * Orders 1 to 8: blocks of one order each.
 *
 * A wholly free block that is first owned for an order becomes a block of that
 * order: its state says so, and until its last frame is free again nothing else is
 * allocated in it. It is 512 >> order *units*, each some bits of a word or some words
 * of the line:
 *
 *      order 3   w0 [uuuuuuuu][uuuuuuuu] ... w7      64 units
 *      order 7   [w0 w1] [w2 w3] [w4 w5] [w6 w7]      4 units
 *
 *      all bits clear              free
 *      all bits set                in use
 *      the first clear, others set cached: free, and in some slot's stack
 *
 * So the state tells a free of the wrong order, and the bits tell a second free at
 * the call, whoever made the first: no record, and nothing of what is allocated is
 * touched. A CPU keeps a stack of cached units per order; giving back is one locked
 * operation on the unit's first bit, and so is taking below order 3. (Words and bytes of
 * a unit that has whole ones are its holder's alone, who may write them plainly; B1 holds
 * with the first bit of a cached unit belonging to who has it in his stack.)
 *
 * An empty stack takes some units of a block of the order that has room, else of a
 * wholly free one; it owns the block only while it does. A third summary bitmap has
 * the blocks of any order that have room. A full stack gives its older half back.
 *
 * When no block is wholly free, a run is looked for in blocks of single frames with
 * records: there the record of the first frame says the order. The last resort,
 * everything frozen, may even turn a block of an order into one with records
 * (block_make_records).
 *
 * unit.pml is a model of a block of an order, its stacks and summaries; ./test checks it.
 *
 * Rejected: runs of all orders in the same blocks, told apart by records, as this
 * had: a cache miss on the record page for every call, and a search of the line. And
 * one owned block per CPU and order with a private mask: no locked operation while
 * that block serves, but a block of a large order serves for two units.
 */
#include "pmm/unit.h"

/* From cached to free in the bitmap. */
static void unit_release(struct pmm *pmm, struct pmm_slot *slot, uint64_t d, unsigned order)
{
	uint64_t *word = &pmm->lines[d / 64];
	for (unsigned i = 1; i < 1u << order >> 6; i++)
		atomic_write_relaxed(&word[i], 0);
	(void)atomic_sub(word, unit_bits(d, order) & ~unit_first_bit(d));
	block_freed_unit(pmm, slot, (uint32_t)(d / BLOCK_PAGES));
}

/* Up to `want` free units of an owned block become cached. */
static void take_units(struct pmm *pmm, struct pmm_slot *slot, uint32_t block, unsigned order,
		       unsigned want)
{
	uint64_t *line = block_line(pmm, block), d = (uint64_t)block * BLOCK_PAGES;
	uint32_t *stack = slot->unit[order - 1] + slot->nunit[order - 1];
	unsigned words = order < 6 ? 1 : 1u << (order - 6), n = 0;
	for (unsigned i = 0; i < BLOCK_WORDS && n < want; i += words) {
		uint64_t set = 0;
		for (uint64_t at = line_runs(&line[i], order); at && n < want; at &= at - 1) {
			uint64_t unit = d + i * 64 + bit_lowest(at);
			set |= unit_bits(unit, order) & ~unit_first_bit(unit);
			stack[n++] = (uint32_t)(unit >> order);
		}
		if (!set)
			continue;
		atomic_or(&line[i], set); /* B1: still clear */
		for (unsigned k = 1; k < words; k++)
			atomic_write_relaxed(&line[i + k], ALL_ONES);
	}
	slot->nunit[order - 1] = (uint8_t)(slot->nunit[order - 1] + n);
}

/* ---- stacks ------------------------------------------------------------------------- */

/* Give back the n units that were cached first. */
static void flush(struct pmm *pmm, struct pmm_slot *slot, unsigned order, unsigned n)
{
	uint32_t *stack = slot->unit[order - 1];
	for (unsigned i = 0; i < n; i++)
		unit_release(pmm, slot, (uint64_t)stack[i] << order, order);
	slot->nunit[order - 1] = (uint8_t)(slot->nunit[order - 1] - n);
	for (unsigned i = 0; i < slot->nunit[order - 1]; i++)
		stack[i] = stack[i + n];
}

void units_flush(struct pmm *pmm, struct pmm_slot *slot)
{
	for (unsigned order = 1; order <= UNIT_ORDERS; order++)
		flush(pmm, slot, order, slot->nunit[order - 1]);
}

/* `arg` = slot | order << 8 | first looking through used blocks << 16. */
static bool take_from(struct pmm *pmm, uint32_t block, uint64_t arg)
{
	struct pmm_slot *slot = &pmm->slots[arg & 0xff];
	unsigned order = (unsigned)(arg >> 8) & 0xff, id = slot_id(pmm, slot);
	unsigned want = slot == shared_slot(pmm) ? 1 : pmm->unit_batch[order - 1];
	unsigned have = slot->nunit[order - 1];
	if (!(arg >> 16 ? block_claim_order(pmm, block, id, order)
			: block_take_order(pmm, block, id, order)))
		return false;
	take_units(pmm, slot, block, order, want - have);
	block_release(pmm, block);
	/* Through used blocks it goes on until it has all. */
	return slot->nunit[order - 1] >= want || (!(arg >> 16) && slot->nunit[order - 1]);
}

#define PATIENCE 64u

static bool refill(struct pmm *pmm, struct pmm_slot *slot, unsigned order)
{
	uint64_t arg = (uint64_t)(slot - pmm->slots) | (uint64_t)order << 8;
	uint32_t *hint = &slot->unit_hint[order - 1];
	uint32_t block = block_search(pmm, CLASS_UNITS, *hint, PATIENCE, take_from, arg | 1 << 16);
	if (slot->nunit[order - 1] == 0)
		block = slot_find_free(pmm, slot, take_from, arg);
	if (block != BLOCK_NONE)
		*hint = block;
	return slot->nunit[order - 1] != 0;
}

paddr_t units_take(struct pmm *pmm, struct pmm_slot *slot, unsigned order)
{
	if (!slot->nunit[order - 1] && !refill(pmm, slot, order))
		return PADDR_NONE;
	return unit_pop(pmm, slot, order);
}

void units_free(struct pmm *pmm, struct pmm_slot *slot, uint64_t d, unsigned order)
{
	unit_mark(pmm, d, order);
	if (!slot) {
		unit_release(pmm, NULL, d, order);
		return;
	}
	if (slot->nunit[order - 1] == 2u * pmm->unit_batch[order - 1])
		flush(pmm, slot, order, pmm->unit_batch[order - 1]);
	unit_push(slot, d, order);
}

/* ---- a run in a block of single frames ------------------------------------------------ */

static bool take_with_run(struct pmm *pmm, uint32_t block, uint64_t arg)
{
	if (line_find(block_line(pmm, block), (unsigned)(arg >> 8)) >= BLOCK_PAGES)
		return false;
	return block_claim(pmm, block, (unsigned)(arg & 0xff), WANT_RECORDABLE);
}

/* In an owned block: B1, what is clear stays so. */
static paddr_t take_run(struct pmm *pmm, uint32_t block, unsigned order)
{
	uint64_t *line = block_line(pmm, block);
	unsigned at = line_find(line, order), n = 1u << order;
	if (at >= BLOCK_PAGES)
		return PADDR_NONE;
	if (!(atomic_read_relaxed(&pmm->states[block]) & STATE_REC) &&
	    !block_make_records(pmm, block, at, n))
		return PADDR_NONE;
	for (unsigned i = 0; i < n; i += 64)
		atomic_or(&line[(at + i) / 64], bit_run(at % 64, mem_min(n, 64u)));
	paddr_t pa = dense_to_paddr(pmm, (uint64_t)block * BLOCK_PAGES + at);
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	atomic_write_relaxed(frame_record(pa, state), RECORD_ORDER(order));
	return pa;
}

paddr_t units_take_odd(struct pmm *pmm, struct pmm_slot *slot, unsigned order)
{
	static const enum block_class classes[] = {CLASS_SPARSE, CLASS_HALF, CLASS_FULL};
	uint64_t arg = slot_id(pmm, slot) | (uint64_t)order << 8;
	for (unsigned i = 0; i < ARRAY_COUNT(classes); i++) {
		uint32_t block = block_search(pmm, classes[i], slot->unit_hint[order - 1],
					      4 * PATIENCE, take_with_run, arg);
		if (block == BLOCK_NONE)
			continue;
		paddr_t pa = take_run(pmm, block, order);
		block_recount(pmm, block);
		block_release(pmm, block);
		if (pa != PADDR_NONE)
			return pa;
	}
	return PADDR_NONE;
}
