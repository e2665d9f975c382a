/* SPDX-License-Identifier: MIT */
#ifndef MEM_VM_PLACE_H
#define MEM_VM_PLACE_H
/* Promising one range; map.c. */
#include "vm/space.h"

/* MEM_OK: the totals are within the limits of the space with `npages` more of this kind,
 * of which `replaced` are there already. MEM_EAGAIN: beyond that of locked memory;
 * MEM_ENOMEM: beyond another. */
mem_status vm_within_limits(struct space *space, promise_t p, uint64_t npages, uint64_t replaced);

/* Promise [first, end), charged by the caller. MEM_EEXIST: it is taken and not to be
 * replaced; MEM_ENOMEM; MEM_EAGAIN as above. Locks: the space's, shared. */
mem_status vm_place(struct space *space, vpn_t first, vpn_t end, promise_t p, bool replace);
#endif
