/* SPDX-License-Identifier: MIT */
/* Page tables of our own, with the kernel's image in them as the linker script divides it. */
#include "boot.h"

extern char image_start[], image_text[], image_rodata[], image_data[], image_end[];

struct vmm *boot_tables(struct pmm *frames, struct memmap *map)
{
	const char *edges[] = {image_start, image_text, image_rodata, image_data, image_end};
	const unsigned prots[] = {VM_READ, VM_READ | VM_EXEC, VM_READ, VM_READ | VM_WRITE};
	struct vmm_segment segments[4];
	struct vmm *vmm;
	for (unsigned i = 0; i < 4; i++)
		segments[i] = (struct vmm_segment){
		    .va = (uintptr_t)edges[i],
		    .pa = boot.image + (uint64_t)(edges[i] - image_start),
		    .npages = (uint64_t)(edges[i + 1] - edges[i]) >> MEM_PAGE_SHIFT,
		    .prot = prots[i]};
	mem_port_cpu_setup();
	const struct vmm_config config = {.pmm = frames,
					  .map = map,
					  .segments = segments,
					  .segment_count = 4,
					  .has_giga_pages = mem_port_has_giga_pages(),
					  .has_nx = mem_port_has_nx()};
	CHECK(vmm_init(&vmm, &config) == MEM_OK);
	vmm_cpu_online(vmm);
	return vmm;
}
