/* SPDX-License-Identifier: MIT */
/* A cache that its CPU may not enter: it has interrupted itself there, or somebody has taken the
 * cache over. Both are made here by hand; chance does so in pmm_machine.c and pmm_threads.c. */
#include "pmm/internal.h"

#include "tests/unit/pmm.h"

/* The cache of CPU 0 with something in it, and what its fast paths would change. */
struct seen {
	uint64_t mask, key, freed;
	uint32_t nqueue;
	uint8_t busy, nhuge, norder[SMALL_ORDERS];
};

static struct seen seen_of(const struct pmm_cpu_cache *cache)
{
	struct seen s;
	memset(&s, 0, sizeof(s)); /* padding is compared, too */
	s.mask = cache->word[KIND_KERNEL].mask;
	s.key = cache->freed.key;
	s.freed = cache->freed.mask;
	s.nqueue = cache->nqueue;
	s.busy = cache->busy;
	s.nhuge = cache->nhuge;
	memcpy(s.norder, cache->norder, sizeof(s.norder));
	return s;
}

static struct pmm_cpu_cache *used_slot(void)
{
	static const unsigned orders[] = {0, 1, 3, 9};
	boot(256 * MIB, 2);
	for (unsigned i = 0; i < ARRAY_COUNT(orders); i++) {
		paddr_t pa = take(orders[i], PMM_KERNEL);
		take(orders[i], PMM_KERNEL);
		pmm_free(pmm, pa, orders[i]);
	}
	return &pmm->caches[0];
}

/* 1000 calls of each kind, none of which touches the cache. */
static void work_around(const struct pmm_cpu_cache *cache)
{
	static const unsigned orders[] = {0, 1, 3, 9};
	struct seen before = seen_of(cache);
	for (unsigned i = 0; i < 1000; i++) {
		unsigned order = orders[i % ARRAY_COUNT(orders)];
		paddr_t pa = take(order, PMM_KERNEL);
		pmm_free(pmm, pa, order);
		pa = take(0, PMM_KERNEL);
		pmm_free(pmm, pa, 0);
		struct seen after = seen_of(cache);
		CHECK(!memcmp(&before, &after, sizeof(before)));
	}
}

/* Many handlers while its CPU is inside once: what they do to the guard, they undo. */
TEST(pmm_handlers_keep_out_of_an_open_cache)
{
	struct pmm_cpu_cache *cache = used_slot();
	cache->busy = (uint8_t)-1; /* as who is inside has left it */
	plain_set_interrupt(true);
	work_around(cache);
	plain_set_interrupt(false);
	cache->busy = 0;
	drained_free();
}

TEST(pmm_revoked_caches_are_left_alone)
{
	struct pmm_cpu_cache *cache = used_slot();
	cache->revoked |= CACHE_REVOKED;
	work_around(cache);
	cache->revoked &= ~CACHE_REVOKED;
	drained_free();
}
