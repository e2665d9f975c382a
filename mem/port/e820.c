/* SPDX-License-Identifier: MIT */
/* What INT 15h, function E820h gives. ACPI specification, "INT 15H, E820H". */
#include <mem/port.h>

#include "port/bytes.h"

enum { E820_USABLE = 1, E820_RESERVED, E820_ACPI, E820_NVS, E820_BAD };
#define E820_BYTES    20 /* base, length, type */
#define E820_EXTENDED 24 /* and attributes, */
#define E820_IS_THERE 1u /* of which bit 0 says that the entry counts at all */

static enum memmap_type type_of(uint32_t type)
{
	switch (type) {
	case E820_USABLE:
		return MEMMAP_USABLE;
	case E820_ACPI:
		return MEMMAP_ACPI_RECLAIMABLE;
	case E820_NVS:
		return MEMMAP_ACPI_NVS;
	case E820_BAD:
		return MEMMAP_BAD;
	default:
		return MEMMAP_RESERVED;
	}
}

mem_status memmap_from_e820(struct memmap_list *list, const void *entries, size_t count,
			    size_t entry_bytes)
{
	size_t was = list->count;
	if (entry_bytes < E820_BYTES || (count && !entries))
		return MEM_EINVAL;
	for (const uint8_t *e = entries; count--; e += entry_bytes) {
		if (entry_bytes >= E820_EXTENDED && !(read32(e + 20) & E820_IS_THERE))
			continue;
		mem_status status =
		    memmap_list_add(list, read64(e), read64(e + 8), type_of(read32(e + 16)));
		if (status != MEM_OK) {
			list->count = was;
			return status;
		}
	}
	return MEM_OK;
}
