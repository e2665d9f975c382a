/* SPDX-License-Identifier: MIT */
/* Taking promises back. The work is edit.c's; here is the loop around it. */
#include "vm/area_walk.h"
#include "vm/areas.h"
#include "vm/edit.h"

mem_status vmm_unmap(struct space *space, vaddr_t va, uint64_t bytes)
{
	mem_contract_thread();
	vpn_t first, end;
	if (!vm_range(va, bytes, &first, &end))
		return MEM_EINVAL;
	mem_status status = MEM_OK;
	unsigned min_level = 1, attempt = 0;
	mem_rwlock_read(&space->lock);
	for (;;) {
		struct edit e;
		struct areas was;
		vm_edit_begin(&e, space, first, end, min_level);
		if (unlikely(vm_edit_split_crowd(&e, first, end)))
			continue;
		if (vm_edit_empties(&e, first, end)) {
			/* The table goes with its last promise: unlink it from above. */
			min_level = e.top->level + 1u;
			vm_edit_cancel(&e);
			continue;
		}
		vm_edit_lock_inner(&e, first, end);
		vm_areas_look(e.top, first, end, NULL, &was);
		if (!areas_allowed(space, was.begin, areas_if_empty(&was))) {
			vm_edit_cancel(&e);
			status = MEM_ENOMEM; /* a hole in one area makes two */
			break;
		}
		if (vm_edit_reserve(&e, first, end, 0)) {
			vm_edit_remove(&e, first, end);
			areas_changed(space, was.begin, areas_if_empty(&was));
			vm_edit_end(&e);
			break;
		}
		vm_edit_cancel(&e);
		if (!vm_relieve(space->vmm, attempt++)) {
			status = MEM_ENOMEM;
			break;
		}
	}
	mem_rwlock_read_done(&space->lock);
	if (status == MEM_OK)
		vm_gap_opened(space, end);
	return status;
}
