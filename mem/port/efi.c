/* SPDX-License-Identifier: MIT */
/*
 * UEFI's memory map. UEFI specification, 7.2, "EFI_BOOT_SERVICES.GetMemoryMap()".
 *
 * Memory of the loader and of boot services is free once the kernel needs neither any more.
 * So it counts as the boot loader's: firmware's page tables and the stack may lie in it.
 * Memory that firmware sets aside for a purpose (EFI_MEMORY_SP), or that has no write-back
 * cache, is left alone.
 */
#include <mem/port.h>

#include "port/bytes.h"

enum {
	EFI_LOADER_CODE = 1,
	EFI_LOADER_DATA,
	EFI_BOOT_CODE,
	EFI_BOOT_DATA,
	EFI_CONVENTIONAL = 7,
	EFI_UNUSABLE,
	EFI_ACPI_RECLAIM,
	EFI_ACPI_NVS
};
#define EFI_DESCRIPTOR_BYTES 40
#define EFI_MEMORY_WB        ((uint64_t)1 << 3)
#define EFI_MEMORY_SP        ((uint64_t)1 << 18)

static enum memmap_type type_of(uint32_t type, uint64_t attributes)
{
	if ((attributes & EFI_MEMORY_SP) || (attributes && !(attributes & EFI_MEMORY_WB)))
		return MEMMAP_RESERVED;
	switch (type) {
	case EFI_CONVENTIONAL:
		return MEMMAP_USABLE;
	case EFI_LOADER_CODE:
	case EFI_LOADER_DATA:
	case EFI_BOOT_CODE:
	case EFI_BOOT_DATA:
		return MEMMAP_BOOTLOADER_RECLAIMABLE;
	case EFI_UNUSABLE:
		return MEMMAP_BAD;
	case EFI_ACPI_RECLAIM:
		return MEMMAP_ACPI_RECLAIMABLE;
	case EFI_ACPI_NVS:
		return MEMMAP_ACPI_NVS;
	default:
		return MEMMAP_RESERVED;
	}
}

mem_status memmap_from_efi(struct memmap_list *list, const void *descriptors, uint64_t bytes,
			   uint64_t descriptor_bytes)
{
	size_t was = list->count;
	if (descriptor_bytes < EFI_DESCRIPTOR_BYTES || bytes % descriptor_bytes ||
	    (bytes && !descriptors))
		return MEM_EINVAL;
	for (const uint8_t *d = descriptors; bytes;
	     d += descriptor_bytes, bytes -= descriptor_bytes) {
		uint64_t npages = read64(d + 24), length;
		if (__builtin_mul_overflow(npages, MEM_PAGE_SIZE, &length))
			length = UINT64_MAX; /* it wraps: memmap_sanitise() knows what to do */
		mem_status status = memmap_list_add(list, read64(d + 8), length,
						    type_of(read32(d), read64(d + 32)));
		if (status != MEM_OK) {
			list->count = was;
			return status;
		}
	}
	return MEM_OK;
}
