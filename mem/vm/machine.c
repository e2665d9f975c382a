/* SPDX-License-Identifier: MIT */
/*
 * Is this CPU set up as the page tables need it?
 *
 * A CPU that is not stops at the first access after it has loaded them, by a triple fault
 * that says nothing. So the questions are asked before, of the CPU itself (mem/arch), and
 * the answer is a sentence. vmm_init() asks on the CPU that it runs on, and returns an
 * error. vmm_cpu_online() asks on every CPU and panics, as setting the registers up is the
 * host's part of the contract. That call also looks whether the new tables have what the
 * CPU stands on: its code, its stack and its descriptor tables.
 */
#include "vm/machine.h"

#include <mem/pt.h>

const char *vm_machine_lacks(const struct arch_setup *setup, bool nx, bool giga_pages)
{
	if (setup->cr4 & CR4_FIVE_LEVELS)
		return "5-level paging is on (CR4.LA57): ask the loader for 4 levels";
	if (!(setup->cr0 & CR0_WRITE_PROTECT))
		return "CR0.WP is off: the kernel could write to read-only pages";
	if (!(setup->cr4 & CR4_GLOBAL_PAGES))
		return "CR4.PGE is off: kernel entries are global";
	if (nx && !(setup->efer & EFER_NO_EXECUTE))
		return "EFER.NXE is off, but vmm_config.has_nx is set";
	if (giga_pages && !setup->giga_pages)
		return "the CPU has no 1 GiB pages, but vmm_config.has_giga_pages is set";
	if ((setup->pat & PAT_MASK) != PAT_WANTED)
		return "the PAT (MSR 0x277) is not WB WT UC- UC WP WC";
	return NULL;
}

const char *vm_machine_loses(const struct arch_setup *setup, paddr_t root)
{
	const struct {
		vaddr_t va;
		const char *what;
	} uses[] = {
	    {setup->code, "the running code is not in the new tables (vmm_config.segments)"},
	    {setup->stack, "the stack is not in the new tables"},
	    {setup->gdt, "the GDT is not in the new tables"},
	    {setup->idt, "the IDT is not in the new tables"},
	};
	for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++)
		if (uses[i].va && !pt_translate(root, uses[i].va, NULL, NULL, NULL))
			return uses[i].what;
	return NULL;
}
