/* SPDX-License-Identifier: MIT */
/*
 * The validator: every list, bitmap and count of a cache against every other.
 * Nobody else may use the cache meanwhile; it changes nothing.
 */
#include "slab/fast.h"
#include "slab/paths.h"

#define EXPECT(condition, slab)                                                                    \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			host_log(HOST_LOG_ERROR, "slab '%s' (slab %p): not so: %s", cache->name,   \
				 (void *)(slab), #condition);                                      \
			return false;                                                              \
		}                                                                                  \
	} while (0)

static bool slab_is_sound(struct slab_cache *cache, struct slab *slab, uint64_t *in_use,
			  uint64_t *loaded)
{
	EXPECT(slab->cache == cache, slab);
	EXPECT(slab->cookie == slab_cookie(cache, slab), slab);
	const struct slab_shape *shape = cache->shape;
	while (shape < cache->shape + SLAB_SHAPES - 1 &&
	       (slab->npages != shape->npages || slab->capacity != shape->capacity))
		shape++;
	EXPECT(slab->npages == shape->npages && slab->capacity == shape->capacity, slab);
	EXPECT(slab->words == slab_words(slab->capacity), slab);
	bool sparse = slab->place == SLAB_SPARSE || slab->place == SLAB_EMPTY;
	EXPECT(!cache->backend->eager ? slab->drains
	       : slab->owner          ? !slab->drains || slab->place < SLAB_EMPTY
				      : slab->drains == sparse,
	       slab);
	EXPECT(slab->owner <= cache->ncpus, slab);
	EXPECT(slab->place <= SLAB_CURRENT, slab);
	unsigned free = 0, remote = 0;
	for (unsigned i = 0; i < slab->words; i++) {
		uint64_t beyond = 0;
		if (slab->capacity - i * 64u < 64)
			beyond = ~(((uint64_t)1 << (slab->capacity - i * 64u)) - 1);
		EXPECT(!((slab->word[i].free | slab->word[i].remote) & beyond), slab);
		EXPECT(!(slab->word[i].free & slab->word[i].remote), slab); /* S4 */
		free += bit_count(slab->word[i].free);
		remote += bit_count(slab->word[i].remote);
	}
	unsigned out = 0;
	for (unsigned i = 0; i < slab->capacity; i++) {
		uint64_t bits = slab->word[i / 64].free | slab->word[i / 64].remote;
		void *block = slab_block(slab, i);
		uint8_t state = *slab_state(slab, block);
		bool is_out = slab_is_allocated(block, &state);
		EXPECT(!is_out || !((bits >> (i % 64)) & 1), slab); /* S4 */
		EXPECT(is_out || state == (slab_allocated_state(block) | SLAB_NOT_ALLOCATED), slab);
		out += is_out;
		if (SLAB_DEBUG)
			EXPECT(slab_debug_is_valid(slab, i, is_out), slab);
	}
	/* Where none begins, or one that is not in use, no address says otherwise. */
	unsigned said = 0;
	for (size_t at = 0; at < slab_bytes(cache, shape); at += (size_t)1 << cache->shift)
		said += !(*slab_state(slab, slab->base + at) & SLAB_NOT_ALLOCATED);
	EXPECT(said == out || !cache->backend->eager, slab);
	*in_use += out;
	*loaded += slab->capacity - free - remote - out;
	if (slab->place == SLAB_CURRENT) {
		EXPECT(slab->owner, slab);
		EXPECT(slab_cpu_of(cache, slab->owner - 1u)->current == slab, slab);
	} else {
		EXPECT(slab_nfree(slab) == free, slab);
		EXPECT(slab_nfree(slab) < slab->threshold, slab);
		/* slab_sweep and slab_take_shared list what is hardly free. */
		EXPECT(slab->place == slab_place_for(slab) ||
			   (slab->place == SLAB_FULLEST && slab_nfree(slab) &&
			    slab_place_for(slab) == SLAB_FULL),
		       slab);
	}
	return true;
}

static bool lists_are_sound(struct slab_cache *cache, struct slab_lists *lists, unsigned owner,
			    uint64_t *listed)
{
	for (unsigned i = 0; i < SLAB_LISTS; i++) {
		uint32_t n = 0;
		list_for_each (node, &lists->list[i]) {
			struct slab *slab = list_entry(node, struct slab, node);
			EXPECT(node->next->prev == node && node->prev->next == node, slab);
			EXPECT(slab->owner == owner, slab);
			EXPECT(slab->place == i, slab);
			n++;
		}
		EXPECT(n == lists->count[i], NULL);
		*listed += n;
	}
	return true;
}

/* Each entry is a block that is neither handed out nor in its slab (S4). */
static bool magazine_is_sound(struct slab_cache *cache, struct slab_cpu *c, uint64_t *loaded)
{
	const struct slab_magazine *h = &c->magazine;
	bool closed = h->bottom == SLAB_CLOSED_BOTTOM && h->full == SLAB_CLOSED_FULL;
	EXPECT(closed || c->storage, NULL);
	EXPECT(closed || (h->bottom == (uintptr_t)(c->storage - 1) &&
			  h->full == (uintptr_t)(c->storage - 1 + c->entries)),
	       NULL);
	EXPECT(c->entries == (c->storage ? cache->entries[c->grown] : 0), NULL);
	EXPECT(c->storage || cache->store[0] || !cache->entries[0], NULL);
	EXPECT(slab_loaded(c) <= c->entries, NULL);
	for (size_t i = 0; i < slab_loaded(c); i++) {
		const struct slab_entry *entry = c->storage + i;
		struct slab *slab = slab_of(cache, entry->block);
		EXPECT(slab && slab->cookie == slab_cookie(slab->cache, slab), slab);
		EXPECT(slab->cache == cache || cache->borrows, slab);
		unsigned index = slab_index(slab, entry->block);
		uint64_t bits = slab->word[index / 64].free | slab->word[index / 64].remote;
		EXPECT(entry->state == slab_state(slab, entry->block), slab);
		EXPECT(!slab_is_allocated(entry->block, entry->state), slab);
		EXPECT(!((bits >> (index % 64)) & 1), slab);
		++*loaded;
	}
	return true;
}

static bool cpus_are_sound(struct slab_cache *cache, uint64_t *listed, uint64_t *announced,
			   uint64_t *loaded)
{
	for (unsigned cpu = 0; cpu < cache->ncpus; cpu++) {
		struct slab_cpu *c = slab_cpu_of(cache, cpu);
		EXPECT(!slab_guard(cache, cpu)->busy && !slab_guard(cache, cpu)->revoked, NULL);
		if (!lists_are_sound(cache, &c->lists, cpu + 1, listed) ||
		    !magazine_is_sound(cache, c, loaded))
			return false;
		if (c->current != slab_none()) {
			EXPECT(c->current->place == SLAB_CURRENT, c->current);
			EXPECT(c->current->owner == cpu + 1, c->current);
		}
		struct slab *stacks[] = {c->notify, c->taken};
		for (unsigned i = 0; i < ARRAY_COUNT(stacks); i++)
			for (struct slab *slab = stacks[i]; slab; slab = slab->notify_next) {
				EXPECT(slab->announced, slab); /* S2 */
				++*announced;
			}
	}
	return true;
}

bool slab_is_valid_but(struct slab_cache *cache, struct slab_sums *sums, uint64_t *borrowed)
{
	uint64_t listed = 0, notified = 0;
	if (!lists_are_sound(cache, &cache->shared, 0, &listed) ||
	    !cpus_are_sound(cache, &listed, &notified, &sums->loaded))
		return false;
	uint64_t slabs = 0, blocks = 0, npages = 0, announced = 0, should_list = 0;
	uint64_t owned[MEM_MAX_CPUS + 1] = {0};
	list_for_each (node, &cache->slabs) {
		struct slab *slab = list_entry(node, struct slab, all);
		if (!slab_is_sound(cache, slab, &sums->in_use, &sums->missing))
			return false;
		slabs++;
		blocks += slab->capacity;
		npages += slab->npages;
		owned[slab->owner]++;
		announced += slab->announced;
		should_list += slab->place < SLAB_LISTS;
	}
	EXPECT(slabs == cache->nslabs && blocks == cache->nblocks && npages == cache->npages, NULL);
	EXPECT(announced == notified, NULL);
	EXPECT(list_empty(&cache->cursors), NULL);
	EXPECT(listed == should_list, NULL);
	for (unsigned cpu = 0; cpu < cache->ncpus; cpu++)
		EXPECT(owned[cpu + 1] == slab_cpu_of(cache, cpu)->nslabs, NULL);
	struct slab_stats stats;
	slab_get_stats_borrowed(cache, &stats, borrowed);
	sums->live += stats.live + slab_debug_quarantined(cache);
	return true;
}

bool slab_sums_are_valid(const struct slab_sums *sums)
{
	if (sums->missing == sums->loaded && sums->live == sums->in_use)
		return true;
	host_log(HOST_LOG_ERROR, "slab: %lu in magazines, %lu missing; %lu live, %lu in use",
		 (unsigned long)sums->loaded, (unsigned long)sums->missing,
		 (unsigned long)sums->live, (unsigned long)sums->in_use);
	return false;
}

bool slab_is_valid(struct slab_cache *cache)
{
	struct slab_sums sums = {0};
	uint64_t borrowed = 0;
	return slab_is_valid_but(cache, &sums, &borrowed) &&
	       (cache->above || slab_sums_are_valid(&sums));
}
