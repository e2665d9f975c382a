/* SPDX-License-Identifier: MIT */
/* Kernel areas, looked at: what a guard page guards, and whether an area is valid. */
#include "vm/kernel_area.h"

const char *vmm_guard_name(const struct vmm *vmm, vaddr_t va)
{
	static const char *const names[KERNEL_AREAS] = {
	    [AREA_HEAP] = "heap block", [AREA_STACK] = "kernel stack", [AREA_DEVICE] = NULL};
	for (unsigned i = 0; i < KERNEL_AREAS; i++) {
		const struct kernel_area *area = &vmm->areas[i];
		if (va < area->base || va >= area->end || !names[i] ||
		    pt_translate(vmm->kernel_root, va, NULL, NULL, NULL))
			continue;
		bool below = va - area->base >= PAGE_SIZE &&
			     pt_translate(vmm->kernel_root, va - PAGE_SIZE, NULL, NULL, NULL);
		bool above = area->end - va > PAGE_SIZE &&
			     pt_translate(vmm->kernel_root, va + PAGE_SIZE, NULL, NULL, NULL);
		if (below || (above && i == AREA_STACK))
			return names[i];
	}
	return NULL;
}

bool vm_area_is_valid(struct kernel_area *area)
{
	vpn_t at = area_vpn(area->base) + 1;
	bool last_free = false;
	uint64_t npresent = 0;
	list_for_each (node, &area->all) {
		struct kernel_range *range = list_entry(node, struct kernel_range, all);
		bool is_free = range->state == RANGE_FREE;
		if (range->first != at || !range->npages || (is_free && last_free)) {
			host_log(HOST_LOG_ERROR, "kernel area: ranges do not tile at %llx",
				 (unsigned long long)area_address(range->first));
			return false;
		}
		last_free = is_free;
		at += range->npages;
		for (uint64_t i = 0; i < (is_free ? 0 : range->npages); i++) {
			vaddr_t va = area_address(range->first + i);
			bool present = pt_translate(area->vmm->kernel_root, va, NULL, NULL, NULL);
			bool should =
			    (range->state == RANGE_USED || range->state == RANGE_CACHED) &&
			    va >= range->va && va < range->va + (range->mapped << PAGE_SHIFT);
			npresent += present;
			if (should && area->kind == AREA_HEAP)
				continue; /* or dropped, which the heap knows */
			if (present != should) {
				host_log(HOST_LOG_ERROR, "kernel area: %llx is %spresent",
					 (unsigned long long)va, present ? "" : "not ");
				return false;
			}
		}
	}
	if (npresent != area->used_npages) {
		host_log(HOST_LOG_ERROR, "kernel area: %llu pages present, %llu counted",
			 (unsigned long long)npresent, (unsigned long long)area->used_npages);
		return false;
	}
	return at == area_vpn(area->base) + ((area->end - area->base) >> PAGE_SHIFT);
}
