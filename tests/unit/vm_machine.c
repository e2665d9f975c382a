/* SPDX-License-Identifier: MIT */
/* What set-up refuses, each with its sentence: a CPU that page tables would stop, and
 * configurations that cannot be. And devices that stay where they are. */
#include <mem/vmm.h>
#include <string.h>

#include "tests/machine/boot.h"
#include "tests/machine/inside.h"
#include "tests/machine/registers.h"
#include "tests/test.h"

#define BYTES ((uint64_t)16 << 20)
#define TEXT  0xffffffff80000000

static struct memmap_region regions[64];
static struct memmap map;
static struct vmm_segment segment;
static struct vmm_config config;

static void begin(unsigned ncpus)
{
	const struct machine_config machine_config = {.bytes = BYTES, .ncpus = ncpus, .seed = 1};
	const struct memmap_entry entries[] = {
	    {0x10000, 0x80000, MEMMAP_USABLE},
	    {0x100000, 0x100000, MEMMAP_EXECUTABLE_AND_MODULES},
	    {0x200000, BYTES - 0x200000, MEMMAP_USABLE},
	    {0xe0000000, 0x400000, MEMMAP_FRAMEBUFFER},
	};
	machine_init(&machine_config);
	map = (struct memmap){.regions = regions, .capacity = 64};
	CHECK_OK(memmap_sanitise(&map, entries, 4, (pfn_t)1 << 40));
	CHECK_OK(pmm_init(&machine_pmm, &map));
	segment = (struct vmm_segment){TEXT, 0x100000, 16, VM_READ | VM_EXEC};
	config = (struct vmm_config){.pmm = machine_pmm,
				     .map = &map,
				     .segments = &segment,
				     .segment_count = 1,
				     .has_giga_pages = true,
				     .has_nx = true};
	machine_registers = (struct arch_setup)REGISTERS_GOOD;
}

static uint64_t frames_free(void)
{
	struct pmm_stats stats;
	pmm_drain(machine_pmm);
	pmm_get_stats(machine_pmm, &stats);
	return stats.free;
}

/* vmm_init says no, in these words, and keeps nothing. */
static void refused(const char *words)
{
	struct vmm *vmm = NULL;
	uint64_t before = frames_free();
	machine_last_error[0] = 0;
	unsigned long irq = host_irq_save(); /* as at boot */
	CHECK_EQ(vmm_init(&vmm, &config), MEM_EINVAL);
	host_irq_restore(irq);
	if (!strstr(machine_last_error, words) || strncmp(machine_last_error, "vmm_init: ", 10))
		test_fail(__FILE__, __LINE__, "no \"%s\" in \"%s\"", words, machine_last_error);
	CHECK(!vmm);
	CHECK_EQ(frames_free(), before);
}

static const struct {
	uint64_t cr0, cr4, efer, pat; /* bits that are the other way round */
	bool no_giga_pages;
	const char *words;
} wrong[] = {
    {.cr4 = CR4_FIVE_LEVELS, .words = "5-level paging is on"},
    {.cr0 = CR0_WRITE_PROTECT, .words = "CR0.WP is off"},
    {.cr4 = CR4_GLOBAL_PAGES, .words = "CR4.PGE is off"},
    {.efer = EFER_NO_EXECUTE, .words = "EFER.NXE is off"},
    {.pat = (uint64_t)7 << 40, .words = "the PAT"}, /* entry 5 UC-, as after a reset */
    {.no_giga_pages = true, .words = "no 1 GiB pages"},
};

static void spoil(unsigned i)
{
	machine_registers.cr0 ^= wrong[i].cr0;
	machine_registers.cr4 ^= wrong[i].cr4;
	machine_registers.efer ^= wrong[i].efer;
	machine_registers.pat ^= wrong[i].pat;
	machine_registers.giga_pages ^= wrong[i].no_giga_pages;
}

TEST(vm_machine_vmm_init_refuses)
{
	begin(1);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		spoil(i);
		refused(wrong[i].words);
		spoil(i);
	}
	machine_registers.direct_map_anywhere = false; /* the arena is in the lower half */
	refused("is not in the upper half");
	machine_registers.direct_map_anywhere = true;
	segment.prot |= VM_WRITE;
	refused("writable and executable");
	segment.prot = VM_READ;
	segment.va++;
	refused("not aligned");
	segment.va = KERNEL_BASE + 0x300000; /* in the direct map */
	refused("something is mapped there already");
	machine_end();
}

/* What the machine has not, nobody has to have who does not ask for it. */
TEST(vm_machine_without_nx_and_giga_pages)
{
	struct vmm *vmm;
	begin(1);
	machine_registers.efer = 0;
	machine_registers.giga_pages = false;
	config.has_nx = config.has_giga_pages = false;
	CHECK_OK(vmm_init(&vmm, &config));
	unsigned long irq = host_irq_save();
	vmm_cpu_online(vmm);
	host_irq_restore(irq);
	CHECK(vmm_is_valid(vmm));
	machine_end();
}

static unsigned which;
static void (*spoil_more)(void);

static void online(void)
{
	struct vmm *vmm;
	begin(2);
	CHECK_OK(vmm_init(&vmm, &config));
	unsigned long irq = host_irq_save();
	if (spoil_more)
		spoil_more();
	else
		spoil(which);
	vmm_cpu_online(vmm);
	host_irq_restore(irq);
}

static void lose_code(void)
{
	machine_registers.code = TEXT + 0x10000;
}
static void lose_stack(void)
{
	machine_registers.code = TEXT;
	machine_registers.stack = 0x9000; /* a loader's, in the lower half */
}
static void lose_gdt(void)
{
	machine_registers.stack = KERNEL_BASE + 0x11000;
	machine_registers.gdt = 0x800;
}
static void lose_idt(void)
{
	machine_registers.gdt = TEXT + 0x8000;
	machine_registers.idt = KERNEL_BASE + BYTES;
}
static void count_changes(void)
{
	machine.config.ncpus = 3;
}
static void interrupts_on(void)
{
	host_irq_restore(0);
}

TEST(vm_machine_vmm_cpu_online_refuses)
{
	for (which = 0; which < sizeof(wrong) / sizeof(wrong[0]); which++)
		test_expect_panic(online, wrong[which].words);
	const struct {
		void (*spoil)(void);
		const char *words;
	} more[] = {
	    {lose_code, "vmm_cpu_online: the running code is not in the new tables"},
	    {lose_stack, "vmm_cpu_online: the stack is not in the new tables"},
	    {lose_gdt, "vmm_cpu_online: the GDT is not in the new tables"},
	    {lose_idt, "vmm_cpu_online: the IDT is not in the new tables"},
	    {count_changes, "vmm_cpu_online: host_cpu_count() says other"},
	    {interrupts_on, "vmm_cpu_online: needs interrupts off; called from 0x"},
	};
	for (unsigned i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		spoil_more = more[i].spoil;
		test_expect_panic(online, more[i].words);
	}
}

TEST(vm_machine_named_devices_stay)
{
	struct vmm *vmm;
	paddr_t pa;
	uint64_t entry;
	unsigned level;
	begin(1);
	const struct vmm_device devices[] = {
	    {0xfee00000, 0x1000, VM_UC},
	    {0xe0000000, 0x400000, VM_WC},
	    {0xfebf0ff0, 0x20, VM_UC_MINUS}, /* two pages */
	};
	config.devices = devices;
	config.device_count = 3;
	CHECK_OK(vmm_init(&vmm, &config));
	paddr_t root = vmm_kernel_root(vmm);
	CHECK(pt_translate(root, KERNEL_BASE + 0xfee00020, &pa, &entry, &level));
	CHECK(pa == 0xfee00020 && level == 1);
	CHECK_EQ(entry & (PTE_PWT | PTE_PCD | PTE_PAT_4K), PTE_PWT | PTE_PCD);
	CHECK((entry & PTE_NX) && (entry & PTE_WRITE) && (entry & PTE_GLOBAL));
	CHECK(!pt_translate(root, KERNEL_BASE + 0xfee01000, NULL, NULL, NULL));
	CHECK(pt_translate(root, KERNEL_BASE + 0xe0312345, &pa, &entry, &level));
	CHECK(pa == 0xe0312345 && level == 2);
	CHECK_EQ(entry & (PTE_PWT | PTE_PCD | PTE_PAT_HUGE), PTE_PWT | PTE_PAT_HUGE);
	CHECK(!pt_translate(root, KERNEL_BASE + 0xe0400000, NULL, NULL, NULL));
	for (unsigned i = 0; i < 2; i++)
		CHECK(
		    pt_translate(root, KERNEL_BASE + 0xfebf0000 + i * PAGE_SIZE, NULL, NULL, NULL));
	CHECK(vmm_is_valid(vmm));
	machine_end();
}

TEST(vm_machine_devices_that_cannot_be)
{
	begin(1);
	struct vmm_device devices[2] = {{0xfee00000, 0x1000, VM_UC}};
	config.devices = devices;
	config.device_count = 2;
	devices[1] = (struct vmm_device){0x20fff0, 1, VM_UC};
	refused("there is RAM");
	devices[1] = (struct vmm_device){0xfee00ff0, 0x20, VM_UC};
	refused("something is mapped at its place already");
	devices[1] = (struct vmm_device){ptr_to_paddr(machine_pmm), 1, VM_UC};
	refused("something is mapped at its place already");
	devices[1] = (struct vmm_device){0xfed00000, 0, VM_UC};
	refused("no such range");
	devices[1] = (struct vmm_device){(uint64_t)1 << 52, 1, VM_UC};
	refused("no such range");
	devices[1] = (struct vmm_device){UINT64_MAX, 2, VM_UC};
	refused("no such range");
	devices[1] = (struct vmm_device){0xfed00000, 1, (enum vm_cache)9};
	refused("cache type");
	machine_end();
}

/* A loader that maps less than there is: its tables are left at the first vmm_cpu_online,
 * and then all is reachable. */
TEST(vm_machine_reaches_all_with_tables_of_its_own)
{
	struct vmm *vmm;
	mem_direct_map_end = (uint64_t)8 << 20;
	begin(1);
	CHECK(ptr_to_paddr(machine_pmm) < mem_direct_map_end);
	CHECK_OK(vmm_init(&vmm, &config));
	paddr_t pa;
	while ((pa = pmm_alloc(machine_pmm, 0, PMM_KERNEL)) != PADDR_NONE)
		CHECK(pa < mem_direct_map_end);
	unsigned long irq = host_irq_save();
	vmm_cpu_online(vmm);
	host_irq_restore(irq);
	CHECK_EQ(mem_direct_map_end, UINT64_MAX);
	uint64_t count = 0;
	while ((pa = pmm_alloc(machine_pmm, 0, PMM_KERNEL)) != PADDR_NONE)
		count += pa >= (uint64_t)8 << 20;
	CHECK_EQ(count, 8 << 20 >> PAGE_SHIFT);
	CHECK(vmm_is_valid(vmm));
	machine_end();
}
