/* SPDX-License-Identifier: MIT */
/* Limine's memory map: its types are memmap_sanitise()'s. Limine boot protocol, "Memory Map
 * Feature". */
#include <mem/port.h>

struct limine_entry {
	uint64_t base, length, type;
};

struct limine_response {
	uint64_t revision;
	uint64_t count;
	const struct limine_entry *const *entries;
};

mem_status memmap_from_limine(struct memmap_list *list, const void *response)
{
	const struct limine_response *r = response;
	size_t was = list->count;
	mem_status status = MEM_OK;
	if (!r || (r->count && !r->entries))
		return MEM_EINVAL;
	for (uint64_t i = 0; i < r->count && status == MEM_OK; i++) {
		const struct limine_entry *e = r->entries[i];
		if (!e)
			status = MEM_EINVAL;
		else
			status =
			    memmap_list_add(list, e->base, e->length,
					    e->type < MEMMAP_TYPE_COUNT ? (enum memmap_type)e->type
									: MEMMAP_RESERVED);
	}
	if (status != MEM_OK)
		list->count = was;
	return status;
}
