/* SPDX-License-Identifier: MIT */
/* Any bytes as a loader's memory map, for each converter that reads bytes (mem/port): a list
 * or an error, and the sanitiser takes the list. The input's first byte says which. */
#include <mem/host.h>
#include <mem/port.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ENTRIES 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct memmap_entry entries[MAX_ENTRIES];
	static struct memmap_region regions[MEMMAP_CAPACITY(MAX_ENTRIES)];
	if (bytes < 2)
		return 0;
	unsigned which = data[0] % 3, step = data[1];
	size_t capacity = data[0] / 3 % (MAX_ENTRIES + 1);
	struct memmap_list list = {entries, capacity, 0};
	data += 2;
	bytes -= 2;
	/* A copy that ends where it ends, for ASan. */
	uint8_t *copy = malloc(bytes ? bytes : 1);
	memcpy(copy, data, bytes);
	mem_status status;
	if (which == 0)
		status = memmap_from_multiboot2(&list, copy, bytes, 0x1234);
	else if (which == 1)
		status = memmap_from_efi(&list, copy, step ? bytes - bytes % step : 0, step);
	else
		status = memmap_from_e820(&list, copy, step ? bytes / step : 0, step);
	free(copy);
	if (list.count > capacity || (status != MEM_OK && list.count))
		abort();
	struct memmap map = {regions, 0, MEMMAP_CAPACITY(MAX_ENTRIES)};
	if (memmap_sanitise(&map, entries, list.count, (pfn_t)1 << 40) != MEM_OK ||
	    !memmap_is_valid(&map))
		abort();
	return 0;
}
