/* SPDX-License-Identifier: MIT */
#ifndef MEM_PMM_UNIT_H
#define MEM_PMM_UNIT_H
/* One unit of an order 1..8 (unit.c), into a slot's stack and out of it. */
#include "pmm/internal.h"

static inline uint64_t unit_first_bit(uint64_t d)
{
	return (uint64_t)1 << d % 64;
}

/* The bits of a unit in its first word. */
static inline uint64_t unit_bits(uint64_t d, unsigned order)
{
	/* bit_run(), and the same shift, by 0, where the unit has whole words. */
	return (ALL_ONES >> (-(1u << order) & 63)) << d % 64;
}

/* From cached to in use; the stack is not empty. */
static inline paddr_t unit_pop(struct pmm *pmm, struct pmm_slot *slot, unsigned order)
{
	unsigned n = slot->nunit[order - 1] - 1u;
	uint64_t d = (uint64_t)slot->unit[order - 1][n] << order;
	slot->nunit[order - 1] = (uint8_t)n;
	if (order < 3)
		atomic_or(&pmm->lines[d / 64], unit_first_bit(d));
	else /* whole bytes are its holder's alone, as whole words are */
		atomic_write_relaxed((uint8_t *)pmm->lines + d / 8, (uint8_t)0xff);
	return near_paddr(pmm, d);
}

/* From in use to cached, by whoever comes first. */
static inline void unit_mark(struct pmm *pmm, uint64_t d, unsigned order)
{
	uint64_t bits = unit_bits(d, order), first = unit_first_bit(d);
	uint64_t old = atomic_sub(&pmm->lines[d / 64], first) + first;
	if (unlikely(~old & bits))
		free_panic(pmm, d,
			   old & bits ? "it is already free (cached)" : "it is already free");
}

/* The stack has room. */
static inline void unit_push(struct pmm_slot *slot, uint64_t d, unsigned order)
{
	unsigned n = slot->nunit[order - 1];
	slot->unit[order - 1][n] = (uint32_t)(d >> order);
	slot->nunit[order - 1] = (uint8_t)(n + 1);
}
#endif
