/* SPDX-License-Identifier: MIT */
#ifndef MEM_VM_EPOCH_H
#define MEM_VM_EPOCH_H
/*
 * Walk epochs: when may an unlinked table be freed?
 *
 * A walk from the root to a table reads entries without locks, so a walker may still be in
 * a table that was unlinked. Each CPU publishes whether it is in a walk, and since which
 * epoch. Retiring tables advances the epoch. They are freed once every CPU is outside, or
 * entered at a later epoch.
 *
 *   walker:   active[cpu] = epoch (full barrier); read entries ...; active = 0
 *   retirer:  unlink (and flush); stamp = ++epoch; later: all active[] == 0 or
 *             >= stamp  =>  free
 *
 * The barrier pairs: either the retirer sees the walker's active word, or the walker sees
 * the unlinked entry. A walk ends when the table it found is locked: a locked live table
 * cannot be unlinked. It never sleeps, takes place with preemption off, and may spin for
 * that lock. Hence a retirer never waits for walkers while it holds a lock. Acknowledging a
 * flush does not end a walk: the flush interrupt comes in the middle of it (I3).
 */
#include "vm/space.h"

static inline void vm_walk_enter(struct vmm *vmm)
{
	host_preempt_disable();
	(void)atomic_swap(&vmm->walks[host_cpu()].active, atomic_read_relaxed(&vmm->epoch));
}

static inline void vm_walk_leave(struct vmm *vmm)
{
	atomic_write_release(&vmm->walks[host_cpu()].active, (uint64_t)0);
	host_preempt_enable();
}

/* Hand over a list (through `next`) of unlinked, flushed, emptied tables. */
void vm_retire(struct vmm *vmm, struct table *list);
/* Free a list of tables that no walk can see. */
void vm_free_tables(struct vmm *vmm, struct table *list);
/* Free what can be freed now; true if nothing is left in limbo. Any context but
 * interrupts; no table lock. */
bool vm_limbo_reap(struct vmm *vmm);
#endif
