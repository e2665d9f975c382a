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
 * and inside its guard. */
void slab_set_owner(struct slab *slab, unsigned owner);
/* The place that nfree of capacity means, and the nfree at which that ends. */
enum slab_place slab_place_for(const struct slab *slab);
void slab_set_place(struct slab *slab, enum slab_place place);

/* Take over the remote bits, into nfree too; how many. By the owner. */
unsigned slab_fold(struct slab *slab);
unsigned slab_count_free(const struct slab *slab);

/* Take the slab out of the cache: nothing finds it any more. Locks: cache->lock. */
void slab_forget(struct slab_cache *cache, struct slab *slab);
/* About how many blocks this CPU could have of its own slabs, the cache's, and its magazine;
 * preemption is off. */
size_t slab_idle(const struct slab_cache *cache);
/* Push an announced slab to the notify stack of its owner. */
void slab_notify(struct slab *slab);

/* Take over some of what is on this CPU's notify stack; false: that was all. Inside its guard;
 * me: 1 + CPU. */
bool slab_take_notified(struct slab_cache *cache, struct slab_cpu *c, unsigned me);

/* slab_settle for a slab of the cache's own, under cache->lock. Returns it if it is
 * to be released when the lock is decommitted (it is unlinked from everything). */
struct slab *slab_settle_shared(struct slab_cache *cache, struct slab *slab);

/* Make a slab with free blocks the current one: this CPU's, then the cache's. Inside the
 * CPU's part. */
bool slab_refill(struct slab_cache *cache, struct slab_cpu *c);
/* One block from the cache's own slabs. */
void *slab_take_shared(struct slab_cache *cache);
/* Give a new slab to this CPU, or to the cache if its guard is closed. */
void slab_install(struct slab_cache *cache, struct slab *slab);
/* List every slab of this CPU and of the cache that has anything free. */
void slab_sweep(struct slab_cache *cache);
/* The current slab of a CPU that has none. */
struct slab *slab_none(void);
/* slab_settle: nfree reached the threshold. Inside the CPU's guard. */
void slab_settle(struct slab_cache *cache, struct slab_cpu *c, struct slab *slab);

/* Has the CPU asked often enough to keep slabs and blocks? Counts this one. */
bool slab_is_warm(struct slab_cpu *c);

/* ---- walk.c --------------------------------------------------------------- */

#define SLAB_STEP 16u /* slabs that are looked at with interrupts off */

/* Walk over all slabs: each that is there from begin to end is seen once. Locks: cache->lock
 * for each call; not between them. slab_walk_next: NULL at the end. */
void slab_walk_begin(struct slab_cache *cache, struct slab_cursor *cursor);
struct slab *slab_walk_next(struct slab_cache *cache, struct slab_cursor *cursor);
void slab_walk_end(struct slab_cursor *cursor);
/* The slab is about to leave the cache. Locks: cache->lock. */
void slab_walk_leaves(struct slab_cache *cache, const struct slab *slab);
/* The whole walk; visit is called with the lock held. Context: any. */
typedef void slab_visit(struct slab *slab, void *arg);
void slab_walk(struct slab_cache *cache, slab_visit *visit, void *arg);

/* ---- magazine.c ------------------------------------------------------------ */

/* Have blocks in the magazine. Inside the CPU's guard. */
bool slab_load(struct slab_cache *cache, struct slab_cpu *c);
/* The same by blocks of a larger class; when the cache has none. Inside the CPU's guard. */
bool slab_borrow(struct slab_cache *cache, struct slab_cpu *c);
/* Have space in the magazine. Inside the CPU's guard. */
bool slab_make_space(struct slab_cache *cache, struct slab_cpu *c);
void slab_init_magazine(struct slab_cache *cache, struct slab_cpu *c);
/* Pages for more capacity. Context: as slab_alloc, outside any guard. */
void slab_make_store(struct slab_cache *cache);
/* The CPU goes: neither blocks nor storage stay with it. Inside its guard. */
void slab_close_magazine(struct slab_cache *cache, struct slab_cpu *c);
/* Give all blocks of this CPU's magazine to their slabs. Inside its guard. */
void slab_unload(struct slab_cache *cache, struct slab_cpu *c);
/* The same of so many at most by the reaper, of any CPU: only their bits are set. False: there
 * are more. */
bool slab_unload_closed(struct slab_cache *cache, struct slab_cpu *c, size_t most);
/* Nobody finds anything in this magazine, nor space. */
void slab_magazine_close(struct slab_magazine *magazine);

/* ---- slab.c ---------------------------------------------------------------- */

/* Set bits of a word: by the slab's owner. */
void slab_set_bits(struct slab *slab, unsigned word, uint64_t bits);
/* Free blocks whose states are clear: by a CPU inside its guard, or outside. */
void slab_give_bits_inside(struct slab_cpu *c, struct slab *slab, unsigned word, uint64_t bits);
void slab_give_bits(struct slab *slab, unsigned word, uint64_t bits);

/* Free a block without quarantine. */
void slab_give_now(struct slab *slab, void *block);

#endif
