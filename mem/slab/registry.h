/* SPDX-License-Identifier: MIT */
#ifndef MEM_SLAB_REGISTRY_H
#define MEM_SLAB_REGISTRY_H
/* Every cache there is, and the lock of whoever reaps, creates or ends one:
 * rank MEM_RANK_REAP, interrupts on, thread context. */
#include "slab/engine.h"

void slab_registry_lock(void);
void slab_registry_unlock(void);
/* The cache with this number, NULL: there are fewer. */
struct slab_cache *slab_registry_at(size_t number);

#endif
