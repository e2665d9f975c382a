/* SPDX-License-Identifier: MIT */
#ifndef MEM_VM_AREA_WALK_H
#define MEM_VM_AREA_WALK_H
/* Searching a space; see area_walk.c. */
#include "vm/space.h"

/* Pages that stay free below a grows-down mapping. */
#define STACK_GUARD_NPAGES MEM_STACK_GUARD_PAGES
/* Nothing is placed below 64 KiB unless it is asked for there. */
#define MMAP_MIN_VPN 16

/* The highest gap of npages that ends at or below `limit`: where a mapping would
 * go. Outdated when it returns. Who then does not fill it says so (vm_gap_opened). */
bool vm_find_gap(struct space *space, uint64_t npages, vpn_t limit, vpn_t *out);
/* Would a mapping that ends at `end` reach into the guard gap of a stack? */
bool vm_near_stack(struct space *space, vpn_t end);
/* The same without looking, from what the last search found: to be tried. */
bool vm_guess_gap(struct space *space, uint64_t npages, vpn_t limit, vpn_t *out);
/* Something up to `end` was unmapped, or not mapped; a stack came near: what the next
 * guess is. */
void vm_gap_opened(struct space *space, vpn_t end);
void vm_gap_forget(struct space *space);

/* A fault found nothing at vpn: if the next area above grows down and may grow so
 * far, make it. MEM_EFAULT: no such area; MEM_EACCES: guard gap or stack limit;
 * MEM_ENOMEM. Context: fault, no lock. */
mem_status vm_grow_stack(struct space *space, vpn_t vpn);
#endif
