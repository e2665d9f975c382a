/* SPDX-License-Identifier: MIT */
/*
 * Walks over all slabs of a cache, a few at a time.
 *
 * The problem. Programs decide how many slabs there are, and the list of them is the lock's,
 * which is held with interrupts off. So whoever looks at all of them lets go of the lock
 * every few slabs, and slabs come and go meanwhile.
 *
 * A walk keeps its place in a cursor that the cache knows: when the slab that is next leaves
 * the cache, the cursors that point to it move on (slab_forget). New slabs go to the end of
 * the list, and a walk ends after as many as there were when it began. So it sees every slab
 * that was there then and still is, once. And it ends whatever others do.
 */
#include "slab/paths.h"

void slab_walk_begin(struct slab_cache *cache, struct slab_cursor *cursor)
{
	cursor->next = cache->slabs.next;
	cursor->left = cache->nslabs;
	list_push_back(&cache->cursors, &cursor->node);
}

struct slab *slab_walk_next(struct slab_cache *cache, struct slab_cursor *cursor)
{
	if (!cursor->left || cursor->next == &cache->slabs)
		return NULL;
	struct slab *slab = list_entry(cursor->next, struct slab, all);
	cursor->next = slab->all.next;
	cursor->left--;
	return slab;
}

void slab_walk_end(struct slab_cursor *cursor)
{
	list_remove(&cursor->node);
}

void slab_walk_leaves(struct slab_cache *cache, const struct slab *slab)
{
	list_for_each (node, &cache->cursors) {
		struct slab_cursor *cursor = list_entry(node, struct slab_cursor, node);
		if (cursor->next == &slab->all)
			cursor->next = slab->all.next;
	}
}

void slab_walk(struct slab_cache *cache, slab_visit *visit, void *arg)
{
	struct slab_cursor cursor;
	struct slab *slab = NULL;
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	slab_walk_begin(cache, &cursor);
	for (unsigned n = 0; (slab = slab_walk_next(cache, &cursor)); n++) {
		visit(slab, arg);
		if (n % SLAB_STEP == SLAB_STEP - 1) {
			mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
			irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
		}
	}
	slab_walk_end(&cursor);
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
}
