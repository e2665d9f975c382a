/* SPDX-License-Identifier: MIT */
#ifndef MEM_SLAB_REGISTRY_H
#define MEM_SLAB_REGISTRY_H
/* Every cache there is, and the lock of whoever reaps, creates or ends one:
 * rank MEM_RANK_REAP, interrupts on, thread context. */
#include "slab/engine.h"

void slab_registry_lock(void);
void slab_registry_unlock(void);
struct list *slab_registry(void); /* of slab_cache.registry */

#endif
