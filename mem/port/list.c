/* SPDX-License-Identifier: MIT */
/* The list that the converters of memory maps append to. */
#include <mem/port.h>

mem_status memmap_list_add(struct memmap_list *list, uint64_t base, uint64_t bytes,
			   enum memmap_type type)
{
	if (list->count >= list->capacity)
		return MEM_ENOMEM;
	list->entries[list->count++] =
	    (struct memmap_entry){.base = base, .length = bytes, .type = type};
	return MEM_OK;
}
