/* SPDX-License-Identifier: MIT */
/*
 * Making the kernel's page tables, and the vmm around them.
 *
 *   upper half of the root     what
 *   direct map base ...        all RAM, writable, not executable; 1 GiB, 2 MiB and
 *                              4 KiB leaves; read-only where it aliases a segment
 *                              that is (W^X); a gibibyte of usable memory that no
 *                              frame came from yet is only prepared (map_unused)
 *   three free slots           heap, stacks, devices: 512 GiB each, less what their
 *                              areas were moved up by
 *   last slot                  the kernel image
 *
 * Every slot that can ever be used gets its level-3 table here, so that the
 * upper halves of all roots, copied later, stay equal (I8).
 *
 * RAM is what the memory map says is RAM: usable, bootloader, kernel and modules, ACPI
 * tables, memory that the loader has mapped, and the allocator's own metadata. Reserved
 * holes and device memory are not mapped here. The exception are devices that the host
 * names: it has reached them through the loader's direct map, and finds them at the same
 * addresses.
 */
#include <mem/memmap.h>

#include "pt/raw.h"
#include "vm/kernel_area.h"
#include "vm/machine.h"
#include "vm/objects.h"

#define SLOT_BYTES ((uint64_t)1 << 39)
#define SLIDE_BITS 17 /* of area_seed, for each area: half of a slot in steps of 2 MiB */

static const struct vmm_segment *segment_at(const struct vmm_config *config, paddr_t pa,
					    paddr_t *next)
{
	/* The read-only segment that holds pa, and where that stops being so. */
	const struct vmm_segment *found = NULL;
	*next = UINT64_MAX;
	for (size_t i = 0; i < config->segment_count; i++) {
		const struct vmm_segment *s = &config->segments[i];
		paddr_t end = s->pa + (s->npages << PAGE_SHIFT);
		if ((s->prot & VM_WRITE) || !s->npages)
			continue;
		if (s->pa <= pa && pa < end) {
			found = s;
			*next = mem_min(*next, end);
		} else if (s->pa > pa) {
			*next = mem_min(*next, s->pa);
		}
	}
	return found;
}

static mem_status map_ram(const struct pt_root *root, struct vmm *vmm,
			  const struct vmm_config *config, paddr_t pa, paddr_t end)
{
	while (pa < end) {
		paddr_t next;
		bool read_only = segment_at(config, pa, &next) != NULL;
		pte_t bits = PTE_PRESENT | PTE_GLOBAL | PTE_ACCESSED | PTE_DIRTY | vmm->nx |
			     (read_only ? 0 : PTE_WRITE);
		next = mem_min(next, end);
		mem_status status = pt_map_range(root, vmm->direct_base + pa, pa, next - pa, bits);
		if (status != MEM_OK)
			return status;
		pa = next;
	}
	return MEM_OK;
}

/* Is all of [pa, end) free for use, so that nobody has an address of it yet? */
static bool unused(const struct memmap *map, paddr_t pa, paddr_t end)
{
	for (size_t i = 0; i < map->count; i++)
		if (map->regions[i].type == MEMMAP_USABLE &&
		    pfn_to_paddr(map->regions[i].first) <= pa &&
		    end <= pfn_to_paddr(map->regions[i].end))
			return true;
	return false;
}

/* As map_ram, but without 1 GiB leaves whole spans of unused memory get a table that
 * direct_reach fills. */
static mem_status map_unused(const struct pt_root *root, struct vmm *vmm,
			     const struct vmm_config *config, paddr_t pa, paddr_t end)
{
	if (vmm->giga_pages || (vmm->direct_base & (HUGE_SIZE - 1)))
		return map_ram(root, vmm, config, pa, end);
	while (pa < end) {
		vaddr_t va = vmm->direct_base + pa;
		paddr_t next = mem_min(end, pa + (align_down(va, GIGA_SIZE) + GIGA_SIZE - va));
		mem_status status = next - pa == GIGA_SIZE && unused(config->map, pa, next)
					? pt_reserve(root, va)
					: map_ram(root, vmm, config, pa, next);
		if (status != MEM_OK)
			return status;
		pa = next;
	}
	return MEM_OK;
}

/* Frames of [pa, pa + bytes) are about to be handed out (pmm_on_first_use). */
static void direct_reach(void *arg, paddr_t pa, uint64_t bytes)
{
	struct vmm *vmm = arg;
	const pte_t bits =
	    PTE_PRESENT | PTE_GLOBAL | PTE_ACCESSED | PTE_DIRTY | PTE_WRITE | vmm->nx;
	vaddr_t first = align_down(vmm->direct_base + pa, GIGA_SIZE);
	vaddr_t last = vmm->direct_base + pa + bytes - 1;
	for (vaddr_t va = first; va <= last && va >= first; va += GIGA_SIZE)
		pt_fill_reserved(vmm->kernel_root, va, va - vmm->direct_base, bits);
}

static bool is_ram(enum memmap_type type)
{
	switch (type) {
	case MEMMAP_USABLE:
	case MEMMAP_ACPI_RECLAIMABLE:
	case MEMMAP_ACPI_NVS:
	case MEMMAP_BOOTLOADER_RECLAIMABLE:
	case MEMMAP_EXECUTABLE_AND_MODULES:
	case MEMMAP_RESERVED_MAPPED:
		return true;
	default:
		return false;
	}
}

/* RAM regions that touch are mapped as one, so that large leaves span them. */
static mem_status map_all_ram(const struct pt_root *root, struct vmm *vmm,
			      const struct vmm_config *config)
{
	const struct memmap *map = config->map;
	for (size_t i = 0; i < map->count;) {
		if (!is_ram(map->regions[i].type)) {
			i++;
			continue;
		}
		size_t last = i;
		while (last + 1 < map->count && is_ram(map->regions[last + 1].type) &&
		       map->regions[last + 1].first == map->regions[last].end)
			last++;
		mem_status status =
		    map_unused(root, vmm, config, pfn_to_paddr(map->regions[i].first),
			       pfn_to_paddr(map->regions[last].end));
		if (status != MEM_OK)
			return status;
		i = last + 1;
	}
	return MEM_OK;
}

/* The allocator's metadata was taken out of the usable memory of the map; it has
 * to stay reachable. What of it is mapped already stays. */
static mem_status map_metadata(const struct pt_root *root, struct vmm *vmm,
			       const struct vmm_config *config)
{
	paddr_t at = ptr_to_paddr(config->pmm);
	enum memmap_type type;
	if (memmap_lookup(config->map, paddr_to_pfn(at), &type) && is_ram(type))
		return MEM_OK;
	for (size_t i = 0; i < config->map->count; i++) {
		const struct memmap_region *r = &config->map->regions[i];
		if (r->first <= paddr_to_pfn(at) && paddr_to_pfn(at) < r->end)
			return map_ram(root, vmm, config, pfn_to_paddr(r->first),
				       pfn_to_paddr(r->end));
	}
	return MEM_OK;
}

static mem_status map_segments(const struct pt_root *root, struct vmm *vmm,
			       const struct vmm_config *config)
{
	for (size_t i = 0; i < config->segment_count; i++) {
		const struct vmm_segment *s = &config->segments[i];
		if ((s->prot & (VM_WRITE | VM_EXEC)) == (VM_WRITE | VM_EXEC))
			return mem_refuse("vmm_init: the segment at 0x%llx is writable and "
					  "executable",
					  (unsigned long long)s->va);
		if (!s->npages)
			continue;
		pte_t bits = PTE_PRESENT | PTE_GLOBAL | PTE_ACCESSED | PTE_DIRTY |
			     ((s->prot & VM_WRITE) ? PTE_WRITE : 0) |
			     ((s->prot & VM_EXEC) ? 0 : vmm->nx);
		struct pt_root small = *root;
		small.max_level = mem_min(root->max_level, 2u);
		mem_status status =
		    pt_map_range(&small, s->va, s->pa, s->npages << PAGE_SHIFT, bits);
		if (status == MEM_ENOMEM)
			return status;
		if (status != MEM_OK)
			return mem_refuse(
			    "vmm_init: the segment at 0x%llx: %s", (unsigned long long)s->va,
			    status == MEM_EEXIST ? "something is mapped there already"
						 : "addresses are not aligned, or not canonical");
	}
	return MEM_OK;
}

static bool touches_ram(const struct memmap *map, pfn_t first, pfn_t end)
{
	for (size_t i = 0; i < map->count; i++)
		if (is_ram(map->regions[i].type) && map->regions[i].first < end &&
		    first < map->regions[i].end)
			return true;
	return false;
}

/* Devices stay where a direct map of all addresses has them. */
static mem_status map_devices(const struct pt_root *root, struct vmm *vmm,
			      const struct vmm_config *config)
{
	for (size_t i = 0; i < config->device_count; i++) {
		const struct vmm_device *d = &config->devices[i];
		unsigned long long at = d->pa;
		uint64_t end;
		if (!d->bytes || (unsigned)d->cache > VM_WC ||
		    __builtin_add_overflow(d->pa, d->bytes, &end) || end > PTE_ADDR)
			return mem_refuse("vmm_init: the device at 0x%llx: no such range, or "
					  "cache type",
					  at);
		paddr_t first = align_down(d->pa, PAGE_SIZE);
		end = align_up(end, PAGE_SIZE);
		if (touches_ram(config->map, paddr_to_pfn(first), paddr_to_pfn(end)))
			return mem_refuse("vmm_init: the device at 0x%llx: the memory map says "
					  "that there is RAM",
					  at);
		pte_t bits = PTE_PRESENT | PTE_GLOBAL | PTE_ACCESSED | PTE_DIRTY | PTE_WRITE |
			     vmm->nx | vm_cache_bits(d->cache);
		mem_status status =
		    pt_map_range(root, vmm->direct_base + first, first, end - first, bits);
		if (status == MEM_ENOMEM)
			return status;
		if (status != MEM_OK)
			return mem_refuse("vmm_init: the device at 0x%llx: something is mapped "
					  "at its place already",
					  at);
	}
	return MEM_OK;
}

/* How far above its slot's beginning an area begins. */
static uint64_t area_slide(const struct vmm_config *config, unsigned kind)
{
	_Static_assert(KERNEL_AREAS * SLIDE_BITS <= 64, "each has bits of its own");
	_Static_assert((HUGE_SIZE << SLIDE_BITS) <= SLOT_BYTES / 2, "half is left");
	uint64_t steps = config->area_seed >> (kind * SLIDE_BITS);
	return (steps & (((uint64_t)1 << SLIDE_BITS) - 1)) * HUGE_SIZE;
}

/* Three slots for areas: from the top down, where nothing is mapped yet. */
static mem_status make_areas(const struct pt_root *root, struct vmm *vmm,
			     const struct vmm_config *config)
{
	pte_t *entries = paddr_to_ptr(vmm->kernel_root);
	unsigned slot = PT_ENTRIES - 1;
	for (unsigned kind = 0; kind < KERNEL_AREAS; kind++) {
		do
			slot--;
		while (slot > PT_ENTRIES / 2 && entries[slot]);
		mem_assert(slot > PT_ENTRIES / 2);
		vaddr_t base = KERNEL_BASE + (slot - PT_ENTRIES / 2) * SLOT_BYTES;
		if (!pt_make_entry(root, base, PT_LEVELS - 1))
			return MEM_ENOMEM;
		uint64_t slide = area_slide(config, kind);
		mem_status status =
		    vm_area_init(vmm, &vmm->areas[kind], (enum kernel_area_kind)kind, base + slide,
				 SLOT_BYTES - slide);
		if (status != MEM_OK)
			return status;
	}
	return MEM_OK;
}

static mem_status make_cache(struct vmm *vmm, struct slab_cache **out, const char *name,
			     size_t bytes, size_t align)
{
	struct slab_cache_spec spec = {
	    .name = name, .object_bytes = bytes, .align = align, .source = &vmm->frames.source};
	return slab_cache_create(out, &spec);
}

static mem_status make_caches(struct vmm *vmm)
{
	struct {
		struct slab_cache **cache;
		const char *name;
		size_t bytes, align;
	} list[] = {
	    {&vmm->tables, "table", sizeof(struct table), 16},
	    {&vmm->mappers, "mapper", sizeof(struct mapper), 16},
	    {&vmm->owners, "map-owner", sizeof(struct map_owner), 16},
	    {&vmm->backings, "backing", sizeof(struct backing), 16},
	    {&vmm->runs4, "runs-4", 4 * sizeof(struct run), 8},
	    {&vmm->runs16, "runs-16", 16 * sizeof(struct run), 8},
	    {&vmm->objects, "object", sizeof(struct vm_object), 16},
	    {&vmm->nodes, "object-node", vm_object_node_bytes, 8},
	    {&vmm->space_cache, "space", sizeof(struct space), 64},
	};
	for (size_t i = 0; i < ARRAY_COUNT(list); i++) {
		mem_status status =
		    make_cache(vmm, list[i].cache, list[i].name, list[i].bytes, list[i].align);
		if (status != MEM_OK)
			return status;
	}
	return MEM_OK;
}

static uint64_t vmm_npages(void)
{
	return align_up(sizeof(struct vmm) + KERNEL_AREAS * sizeof(struct kernel_area),
			PAGE_SIZE) >>
	       PAGE_SHIFT;
}

static mem_status build(struct vmm *vmm, const struct vmm_config *config)
{
	struct pmm *pmm = config->pmm;
	vmm->kernel_root = pmm_alloc(pmm, 0, PMM_ZERO | PMM_KERNEL);
	vmm->zero_frame = pmm_alloc(pmm, 0, PMM_ZERO | PMM_KERNEL);
	if (vmm->kernel_root == PADDR_NONE || vmm->zero_frame == PADDR_NONE)
		return MEM_ENOMEM;
	frame_source_init(&vmm->frames, pmm);
	struct pt_root root = {.pmm = pmm,
			       .root = vmm->kernel_root,
			       .max_level = config->has_giga_pages ? 3 : 2,
			       .tables = &vmm->kernel_tables};
	mem_status status = make_caches(vmm);
	if (status == MEM_OK)
		status = vm_range_pool_init(vmm);
	if (status == MEM_OK)
		status = map_all_ram(&root, vmm, config);
	if (status == MEM_OK)
		status = map_metadata(&root, vmm, config);
	if (status == MEM_OK)
		status = map_segments(&root, vmm, config);
	if (status == MEM_OK)
		status = map_devices(&root, vmm, config);
	if (status == MEM_OK)
		status = make_areas(&root, vmm, config);
	if (status == MEM_OK)
		pmm_on_first_use(pmm, direct_reach, vmm);
	return status;
}

/* Give back what build() made before it failed. */
static void undo(struct vmm *vmm, paddr_t pa)
{
	struct pmm *pmm = vmm->pmm;
	struct slab_cache **caches[] = VM_CACHES(vmm);
	for (unsigned i = 0; i < KERNEL_AREAS; i++)
		if (vmm->areas[i].vmm)
			vm_area_end(&vmm->areas[i]);
	vm_range_pool_end(vmm);
	for (size_t i = 0; i < ARRAY_COUNT(caches); i++)
		if (*caches[i])
			slab_cache_destroy(*caches[i]);
	if (vmm->zero_frame != PADDR_NONE)
		pmm_free(pmm, vmm->zero_frame, 0);
	if (vmm->kernel_root != PADDR_NONE)
		pt_destroy(pmm, vmm->kernel_root);
	pmm_free_range(pmm, pa, vmm_npages());
}

/* What cannot be right whatever memory there is. */
static mem_status check_machine(const struct vmm_config *config)
{
	struct arch_setup setup;
	arch_describe(&setup);
	const char *lacks = vm_machine_lacks(&setup, config->has_nx, config->has_giga_pages);
	if (lacks)
		return mem_refuse("vmm_init: %s", lacks);
	if (mem_direct_map_base < KERNEL_BASE && !setup.direct_map_anywhere)
		return mem_refuse("vmm_init: mem_direct_map_base 0x%llx is not in the upper half",
				  (unsigned long long)mem_direct_map_base);
	return MEM_OK;
}

mem_status vmm_init(struct vmm **out, const struct vmm_config *config)
{
	struct pmm *pmm = config->pmm;
	paddr_t pa;
	if (check_machine(config) != MEM_OK)
		return MEM_EINVAL;
	mem_status status =
	    pmm_alloc_range(pmm, vmm_npages(), 1, PADDR_NONE, PMM_KERNEL | PMM_ZERO, &pa);
	if (status != MEM_OK)
		return MEM_ENOMEM;
	struct vmm *vmm = paddr_to_ptr(pa);
	vmm->areas = (struct kernel_area *)(vmm + 1);
	vmm->pmm = pmm;
	vmm->nx = config->has_nx ? PTE_NX : 0;
	vmm->giga_pages = config->has_giga_pages;
	vmm->ncpus = host_cpu_count();
	/* Hosted, the arena is anywhere: the tables get a direct map all the same. */
	vmm->direct_base = mem_direct_map_base >= KERNEL_BASE ? mem_direct_map_base : KERNEL_BASE;
	vmm->epoch = 1;
	list_init(&vmm->spaces);
	status = build(vmm, config);
	if (status != MEM_OK) {
		undo(vmm, pa);
		return status;
	}
	struct pmm_stats stats;
	pmm_get_stats(pmm, &stats);
	vmm->commit_limit = config->commit_limit_npages ? config->commit_limit_npages : stats.total;
	*out = vmm;
	return MEM_OK;
}

paddr_t vmm_kernel_root(const struct vmm *vmm)
{
	return vmm->kernel_root;
}

struct pmm *vmm_pmm(const struct vmm *vmm)
{
	return vmm->pmm;
}
