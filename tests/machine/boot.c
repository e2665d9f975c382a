/* SPDX-License-Identifier: MIT */
/* mem/ on the machine: see boot.h. */
#include "tests/machine/boot.h"

#include <mem/slab.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/pte.h"
#include "tests/machine/inside.h"
#include "tests/test.h"

struct pmm *machine_pmm;
struct vmm *machine_vmm;
static paddr_t zero_frame;

static void switch_space(struct space *space)
{
	vmm_switch(machine_vmm, space);
}

static const char *const type_names[] = {"free or without a record", "kernel", "table", "anonymous",
					 "object"};

static void check_table(paddr_t pa, vaddr_t va)
{
	if (va >= KERNEL_BASE || pa == vmm_kernel_root(machine_vmm))
		return;
	if (!frame_has_record(machine_pmm, pa) || frame_type(machine_pmm, pa) != FRAME_TABLE)
		machine_die(
		    "a walk for %#llx reads frame %#llx, which is no page table any more: %s",
		    (unsigned long long)va, (unsigned long long)pa,
		    frame_has_record(machine_pmm, pa) ? type_names[frame_type(machine_pmm, pa)]
						      : "without a record");
}

static void check_frame(paddr_t pa, vaddr_t va, bool write)
{
	if (zero_frame && pa == zero_frame) {
		if (write)
			machine_die("a user write to %#llx goes to the shared zero frame",
				    (unsigned long long)va);
		return;
	}
	if (!zero_frame && !write)
		return; /* machine_boot is finding out which it is */
	enum frame_type type =
	    frame_has_record(machine_pmm, pa) ? frame_type(machine_pmm, pa) : FRAME_NONE;
	if (type != FRAME_ANON && type != FRAME_OBJECT)
		machine_die("a user access to %#llx reaches frame %#llx, which is %s",
			    (unsigned long long)va, (unsigned long long)pa, type_names[type]);
}

static void online_as_each_cpu(void)
{
	/* Nobody else runs yet: the caller is each CPU in turn. */
	unsigned self = machine.now_cpu;
	machine.running = false;
	for (unsigned i = 0; i < machine.config.ncpus; i++) {
		machine.now_cpu = i;
		machine.cpu[i].irq_off = true;
		vmm_cpu_online(machine_vmm);
		machine.cpu[i].irq_off = false;
	}
	machine.now_cpu = self;
	machine.running = true;
}

static void find_zero_frame(void)
{
	struct space *space;
	struct vm_map_args args = {.bytes = PAGE_SIZE, .prot = VM_READ, .maxprot = VM_READ};
	vaddr_t va;
	uint64_t value = 1;
	if (vmm_space_create(machine_vmm, &space) != MEM_OK || vmm_map(space, &args, &va) != MEM_OK)
		machine_die("no first space");
	machine_set_space(space);
	if (!machine_access(va, MACHINE_READ, &value).ok || value)
		machine_die("an untouched page does not read as zero");
	if (!vmm_page_info(space, va, &zero_frame, NULL, NULL))
		machine_die("a page that was read is not present");
	machine_set_space(NULL);
	vmm_space_put(space);
}

paddr_t machine_zero_frame(void)
{
	return zero_frame;
}

/* Interrupt handlers take and give back frames wherever they strike. Slots change
 * hands between two points, so nobody else sees one half done. */
static paddr_t kept[4] = {PADDR_NONE, PADDR_NONE, PADDR_NONE, PADDR_NONE};
static bool handlers_off;

static paddr_t exchange_kept(unsigned slot, paddr_t with)
{
	paddr_t was = kept[slot];
	kept[slot] = with;
	return was;
}

static void interrupt(void)
{
	if (handlers_off)
		return;
	paddr_t pa = machine_random_below(2) ? pmm_alloc(machine_pmm, 0, PMM_KERNEL) : PADDR_NONE;
	pa = exchange_kept(machine_random_below(4), pa);
	if (pa != PADDR_NONE)
		pmm_free(machine_pmm, pa, 0);
}

static bool some_cpu_handles_an_interrupt(void)
{
	for (unsigned i = 0; i < machine.config.ncpus; i++)
		if (machine.cpu[i].in_interrupt)
			return true;
	return false;
}

static void drop_kept(void)
{
	for (unsigned i = 0; i < 4; i++) {
		paddr_t pa = exchange_kept(i, PADDR_NONE);
		if (pa != PADDR_NONE)
			pmm_free(machine_pmm, pa, 0);
	}
}

static struct memmap_region regions[64];
static struct memmap map;
static uint64_t area_seed; /* where kernel areas begin: part of what the seed decides */

void machine_boot_frames(const struct machine_config *config)
{
	machine_init(config);
	area_seed = config->seed * 0xd1342543de82ef95;
	pfn_t end = config->bytes >> PAGE_SHIFT;
	/* Firmware at the bottom, a hole, the "kernel image", and the rest. */
	struct memmap_entry entries[] = {
	    {0, 4 * PAGE_SIZE, MEMMAP_RESERVED},
	    {4 * PAGE_SIZE, 92 * PAGE_SIZE, MEMMAP_USABLE},
	    {128 * PAGE_SIZE, 384 * PAGE_SIZE, MEMMAP_EXECUTABLE_AND_MODULES},
	    {512 * PAGE_SIZE, pfn_to_paddr(end) - 512 * PAGE_SIZE, MEMMAP_USABLE},
	};
	map = (struct memmap){.regions = regions, .capacity = 64};
	if (memmap_sanitise(&map, entries, 4, end) != MEM_OK ||
	    pmm_init(&machine_pmm, &map) != MEM_OK)
		machine_die("no pmm");
}

mem_status machine_boot_vmm(void)
{
	const struct vmm_segment segments[] = {
	    {0xffffffff80000000, 128 * PAGE_SIZE, 16, VM_READ | VM_EXEC},
	    {0xffffffff80010000, 144 * PAGE_SIZE, 16, VM_READ},
	    {0xffffffff80020000, 160 * PAGE_SIZE, 32, VM_READ | VM_WRITE},
	};
	const struct vmm_config config = {
	    .pmm = machine_pmm,
	    .map = &map,
	    .segments = segments,
	    .segment_count = 3,
	    .has_giga_pages = true,
	    .has_nx = true,
	    .commit_limit_npages = (uint64_t)1 << 40,
	    .area_seed = area_seed,
	};
	mem_status status = vmm_init(&machine_vmm, &config);
	if (status != MEM_OK)
		return status;
	machine_hooks.page_fault = vmm_handle_trap;
	machine_hooks.flush_pending = vmm_flush_pending;
	machine_hooks.switch_space = switch_space;
	machine_hooks.check_table = check_table;
	machine_hooks.check_frame = check_frame;
	online_as_each_cpu();
	return MEM_OK;
}

void machine_boot(const struct machine_config *config)
{
	machine_boot_frames(config);
	if (machine_boot_vmm() != MEM_OK)
		machine_die("no vmm");
	zero_frame = 0;
	find_zero_frame();
}

void machine_boot_default(unsigned ncpus, uint64_t seed)
{
	/* How the CPUs are mixed is part of what the seed decides. */
	static const unsigned switch_means[] = {2, 5, 12, 40, 150};
	static const unsigned stall_means[] = {0, 200, 20};
	uint64_t s = seed * 0x9e3779b97f4a7c15 >> 40;
	struct machine_config config = {
	    .bytes = (uint64_t)64 << 20,
	    .ncpus = ncpus,
	    .seed = seed,
	    .switch_mean = ncpus == 1 ? 0 : switch_means[s % 5],
	    .stall_mean = stall_means[s / 5 % 3],
	    .interrupt_mean = ncpus == 1 ? 0 : 30,
	    .stale_percent = 70,
	    .speculate_percent = 20,
	};
	machine_boot(&config);
	machine_hooks.interrupt = interrupt;
}

void machine_boot_explored(unsigned ncpus, uint64_t seed, unsigned speculate_percent)
{
	struct machine_config config = {
	    .bytes = (uint64_t)16 << 20,
	    .ncpus = ncpus,
	    .seed = seed,
	    .stale_percent = 100,
	    .speculate_percent = speculate_percent,
	};
	machine_boot(&config);
}

uint64_t machine_frames_at_rest(void)
{
	handlers_off = true;
	while (some_cpu_handles_an_interrupt())
		host_relax();
	drop_kept();
	struct pmm_stats frames;
	struct vmm_stats vmm;
	vmm_drain(machine_vmm);
	pmm_drain(machine_pmm);
	pmm_get_stats(machine_pmm, &frames);
	vmm_get_stats(machine_vmm, &vmm);
	handlers_off = false;
	return frames.free + frames.records + vmm.kernel_table_npages;
}
