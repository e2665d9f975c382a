/* SPDX-License-Identifier: MIT */
#ifndef MEM_SLAB_PATHS_H
#define MEM_SLAB_PATHS_H
/* What the engine's own files share and the heap does not need. */
#include "slab/engine.h"

/* ---- finding ------------------------------------------------------------- */

/* The slab of a block of a cache. slab_of_checked panics if `block` cannot be
 * one; both know caches over page sources and in the heap. */
struct slab *slab_of(struct slab_cache *cache, const void *block);
struct slab *slab_of_checked(struct slab_cache *cache, const void *block);

/* ---- place.c ------------------------------------------------------------- */

void slab_lists_init(struct slab_lists *lists);
void slab_list(struct slab_lists *lists, struct slab *slab, enum slab_place place);
void slab_unlist(struct slab_lists *lists, struct slab *slab);
/* Change its owner, under cache->lock: 0 the cache, else 1 + CPU, which is the caller's
 * and inside its part. */
void slab_set_owner(struct slab *slab, unsigned owner);
/* The place that nfree of capacity means, and the nfree at which that ends. */
enum slab_place slab_place_for(const struct slab *slab);
void slab_set_place(struct slab *slab, enum slab_place place);

/* Take over the remote bits, into nfree too; how many. By the owner. */
unsigned slab_fold(struct slab *slab);
unsigned slab_count_free(const struct slab *slab);

/* Take the slab out of the cache: nothing finds it any more. Locks: cache->lock. */
void slab_forget(struct slab_cache *cache, struct slab *slab);
/* Push an announced slab to the notify stack of its owner. */
void slab_notify(struct slab *slab);

/* Take over everything on this CPU's notify stack. Inside its part; me: 1 + CPU. */
void slab_take_notified(struct slab_cache *cache, struct slab_cpu *c, unsigned me);

/* slab_settle for a slab of the cache's own, under cache->lock. Returns it if it is
 * to be released when the lock is dropped (it is unlinked from everything). */
struct slab *slab_settle_shared(struct slab_cache *cache, struct slab *slab);

/* Make a word with free blocks the one at hand: this CPU's, then the cache's.
 * Inside the CPU's part. */
bool slab_refill(struct slab_cache *cache, struct slab_cpu *c);
/* One block from the cache's own slabs. */
void *slab_take_shared(struct slab_cache *cache);
/* Give a new slab to this CPU, or to the cache if its part is closed. */
void slab_install(struct slab_cache *cache, struct slab *slab);
/* List every slab of this CPU and of the cache that has anything free. */
void slab_sweep(struct slab_cache *cache);
/* The current slab of a CPU that has none. */
struct slab *slab_none(void);
void slab_set_current(struct slab_cpu *c, struct slab *slab);
/* Leave the CPU nothing to allocate from by the short way. */
void slab_hide_word(struct slab_cpu *c);
/* slab_settle: nfree reached the threshold. Inside the CPU's part. */
void slab_settle(struct slab_cache *cache, struct slab_cpu *c, struct slab *slab);

/* Free a block without quarantine. */
void slab_give_now(struct slab *slab, void *block);

#endif
