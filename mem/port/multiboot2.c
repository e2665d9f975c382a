/* SPDX-License-Identifier: MIT */
/*
 * Multiboot 2's information: tags, 8 bytes aligned, each with its type and size in front.
 * Multiboot2 specification, 3.6.
 *
 * The map calls usable what modules and the information itself lie in, so they are listed,
 * too. Firmware's own map (tag 17) is taken where there is no other.
 */
#include <mem/port.h>

#include "port/bytes.h"

enum { TAG_END = 0, TAG_MODULE = 3, TAG_MAP = 6, TAG_FRAMEBUFFER = 8, TAG_EFI_MAP = 17 };
enum { MB2_USABLE = 1, MB2_ACPI = 3, MB2_NVS = 4, MB2_BAD = 5 };
#define MAP_ENTRY_BYTES 24

struct tag {
	const uint8_t *at;
	uint64_t bytes;
	uint32_t type;
};

/* The tag at `*left` bytes before `end`; moves on. False: there is no more. MEM_EINVAL goes to
 * *status if it does not fit. */
static bool next_tag(const uint8_t *end, uint64_t *left, struct tag *tag, mem_status *status)
{
	if (*left < 8) {
		*status = MEM_EINVAL; /* the end has a tag of its own */
		return false;
	}
	tag->at = end - *left;
	tag->type = read32(tag->at);
	tag->bytes = read32(tag->at + 4);
	if (tag->type == TAG_END)
		return false;
	if (tag->bytes < 8 || tag->bytes > *left) {
		*status = MEM_EINVAL;
		return false;
	}
	uint64_t step = (tag->bytes + 7) & ~(uint64_t)7;
	*left -= step < *left ? step : *left;
	return true;
}

static enum memmap_type type_of(uint32_t type)
{
	switch (type) {
	case MB2_USABLE:
		return MEMMAP_USABLE;
	case MB2_ACPI:
		return MEMMAP_ACPI_RECLAIMABLE;
	case MB2_NVS:
		return MEMMAP_ACPI_NVS;
	case MB2_BAD:
		return MEMMAP_BAD;
	default:
		return MEMMAP_RESERVED;
	}
}

static mem_status add_map(struct memmap_list *list, const struct tag *tag)
{
	uint64_t step = tag->bytes >= 16 ? read32(tag->at + 8) : 0;
	if (step < MAP_ENTRY_BYTES)
		return MEM_EINVAL;
	for (uint64_t at = 16; tag->bytes - at >= step; at += step) {
		const uint8_t *e = tag->at + at;
		mem_status status =
		    memmap_list_add(list, read64(e), read64(e + 8), type_of(read32(e + 16)));
		if (status != MEM_OK)
			return status;
	}
	return MEM_OK;
}

static mem_status add_efi_map(struct memmap_list *list, const struct tag *tag)
{
	uint64_t step = tag->bytes >= 16 ? read32(tag->at + 8) : 0;
	if (!step)
		return MEM_EINVAL;
	uint64_t bytes = tag->bytes - 16;
	return memmap_from_efi(list, tag->at + 16, bytes - bytes % step, step);
}

static mem_status add_framebuffer(struct memmap_list *list, const struct tag *tag)
{
	if (tag->bytes < 31)
		return MEM_EINVAL;
	uint64_t bytes = (uint64_t)read32(tag->at + 16) * read32(tag->at + 24);
	return memmap_list_add(list, read64(tag->at + 8), bytes, MEMMAP_FRAMEBUFFER);
}

static mem_status add_module(struct memmap_list *list, const struct tag *tag)
{
	if (tag->bytes < 16)
		return MEM_EINVAL;
	uint32_t from = read32(tag->at + 8), to = read32(tag->at + 12);
	if (to < from)
		return MEM_EINVAL;
	return memmap_list_add(list, from, to - from, MEMMAP_EXECUTABLE_AND_MODULES);
}

/* Append what the tags of one kind say: how many there were. */
static unsigned add_tags(struct memmap_list *list, const uint8_t *info, uint64_t bytes,
			 uint32_t type, mem_status (*add)(struct memmap_list *, const struct tag *),
			 mem_status *status)
{
	struct tag tag;
	uint64_t left = bytes - 8;
	unsigned found = 0;
	while (*status == MEM_OK && next_tag(info + bytes, &left, &tag, status)) {
		if (tag.type != type)
			continue;
		found++;
		*status = add(list, &tag);
	}
	return found;
}

mem_status memmap_from_multiboot2(struct memmap_list *list, const void *info, uint64_t bytes,
				  paddr_t pa)
{
	size_t was = list->count;
	mem_status status = MEM_OK;
	if (!info || bytes < 8)
		return MEM_EINVAL;
	uint32_t total = read32(info);
	if (total < 8 || total > bytes)
		return MEM_EINVAL;
	if (!add_tags(list, info, total, TAG_MAP, add_map, &status) && status == MEM_OK &&
	    !add_tags(list, info, total, TAG_EFI_MAP, add_efi_map, &status) && status == MEM_OK)
		status = MEM_ENOENT;
	(void)add_tags(list, info, total, TAG_MODULE, add_module, &status);
	(void)add_tags(list, info, total, TAG_FRAMEBUFFER, add_framebuffer, &status);
	if (status == MEM_OK)
		status = memmap_list_add(list, pa, total, MEMMAP_BOOTLOADER_RECLAIMABLE);
	if (status != MEM_OK)
		list->count = was;
	return status;
}
