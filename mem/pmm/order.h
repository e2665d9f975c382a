/* SPDX-License-Identifier: MIT */
#ifndef MEM_PMM_ORDER_H
#define MEM_PMM_ORDER_H
/* One block of an order 1..8 (order.c), into a cache's stack and out of it. */
#include "pmm/internal.h"

static inline uint64_t pmm_order_first_bit(uint64_t d)
{
	return (uint64_t)1 << d % 64;
}

/* The bits of an order-n block in its first word. */
static inline uint64_t pmm_order_bits(uint64_t d, unsigned order)
{
	/* bit_run(), and the same shift, by 0, where the block has whole words. */
	return (ALL_ONES >> (-(1u << order) & 63)) << d % 64;
}

/* From cached to in use; the stack is not empty. */
static inline paddr_t pmm_order_pop(struct pmm *pmm, struct pmm_cpu_cache *cache, unsigned order)
{
	unsigned n = cache->norder[order - 1] - 1u;
	uint64_t d = (uint64_t)cache->order_block[order - 1][n] << order;
	cache->norder[order - 1] = (uint8_t)n;
	if (order < 3)
		atomic_or(&pmm->lines[d / 64], pmm_order_first_bit(d));
	else /* whole bytes are its holder's alone, as whole words are */
		atomic_write_relaxed((uint8_t *)pmm->lines + d / 8, (uint8_t)0xff);
	return near_paddr(pmm, d);
}

/* From in use to cached, by whoever comes first. */
static inline void pmm_order_mark(struct pmm *pmm, uint64_t d, unsigned order)
{
	uint64_t bits = pmm_order_bits(d, order), first = pmm_order_first_bit(d);
	uint64_t old = atomic_sub(&pmm->lines[d / 64], first) + first;
	if (unlikely(~old & bits))
		pmm_free_panic(pmm, d,
			       old & bits ? "it is already free (cached)" : "it is already free");
}

/* The stack is not full. */
static inline void pmm_order_push(struct pmm_cpu_cache *cache, uint64_t d, unsigned order)
{
	unsigned n = cache->norder[order - 1];
	cache->order_block[order - 1][n] = (uint32_t)(d >> order);
	cache->norder[order - 1] = (uint8_t)(n + 1);
}
#endif
