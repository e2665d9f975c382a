/* SPDX-License-Identifier: MIT */
/* What the CPU and the kernel's own tables forbid: W^X everywhere, aliases in
 * the direct map included; control register bits; guard pages. */
#include "tests/kernel/every_cpu.h"
#include "tests/test.h"

#include <kernel/boot.h>
#include <kernel/cpu.h>
#include <mem/pmm.h>
#include <mem/vmm.h>

#include "arch/x86_64/machine.h"
#include "vm/machine.h"

struct census {
	uint64_t leaves, executable, writable, both, user, writable_alias;
	vaddr_t example;
};

/* Call visit(entry, level, va) for every leaf of the upper half. */
static void walk(paddr_t page, unsigned level, vaddr_t base,
		 void (*visit)(pte_t, unsigned, vaddr_t, struct census *), struct census *c)
{
	const pte_t *entries = paddr_to_ptr(page);
	for (unsigned i = level == 4 ? 256 : 0; i < PT_ENTRIES; i++) {
		pte_t pte = entries[i];
		vaddr_t va = base + i * pt_entry_span(level);
		if (level == 4)
			va |= (vaddr_t)0xffff << 48;
		if (!(pte & PTE_PRESENT))
			continue;
		if (level > 1 && !(pte & PTE_HUGE))
			walk(pte & PTE_ADDR, level - 1, va, visit, c);
		else
			visit(pte, level, va, c);
	}
}

static void count_alias(pte_t pte, unsigned level, vaddr_t va, struct census *c)
{
	if (pte & PTE_NX)
		return;
	/* Executable: none of its frames may be writable through the direct map. */
	paddr_t pa = pte & PTE_ADDR & ~(pt_entry_span(level) - 1);
	for (paddr_t at = pa; at < pa + pt_entry_span(level); at += PAGE_SIZE) {
		uint64_t entry;
		if (pt_translate(vmm_kernel_root(kernel_vmm), (vaddr_t)paddr_to_ptr(at), NULL,
				 &entry, NULL) &&
		    (entry & PTE_WRITE)) {
			c->writable_alias++;
			c->example = va;
		}
	}
}

static void count(pte_t pte, unsigned level, vaddr_t va, struct census *c)
{
	c->leaves++;
	c->executable += !(pte & PTE_NX);
	c->writable += (pte & PTE_WRITE) != 0;
	c->user += (pte & PTE_USER) != 0;
	if ((pte & PTE_WRITE) && !(pte & PTE_NX)) {
		c->both++;
		c->example = va;
	}
	count_alias(pte, level, va, c);
}

TEST(kernel_write_xor_execute)
{
	struct census c = {0};
	walk(vmm_kernel_root(kernel_vmm), 4, 0, count, &c);
	test_note("%lu leaves, %lu writable, %lu executable", (unsigned long)c.leaves,
		  (unsigned long)c.writable, (unsigned long)c.executable);
	CHECK(c.executable > 0 && c.writable > 0);
	if (c.both || c.writable_alias)
		test_fail(__FILE__, __LINE__,
			  "writable and executable: %lu, through an alias: %lu, e.g. 0x%lx",
			  (unsigned long)c.both, (unsigned long)c.writable_alias,
			  (unsigned long)c.example);
	CHECK_EQ(c.user, 0);
}

static uint64_t read_cr4(void)
{
	uint64_t v;
	__asm__ volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}

static uint64_t read_cr0(void)
{
	uint64_t v;
	__asm__ volatile("mov %%cr0, %0" : "=r"(v));
	return v;
}

static uint64_t read_msr(uint32_t msr)
{
	uint32_t low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static bool control_bits(void *arg, unsigned cpu)
{
	uint64_t cr4 = read_cr4();
	bool ok = (read_cr0() >> 16) & 1;              /* WP */
	ok = ok && ((cr4 >> 7) & 1);                   /* PGE */
	ok = ok && ((read_msr(0xc0000080) >> 11) & 1); /* EFER.NXE */
	ok = ok && ((cr4 >> 20) & 1) == cpu_features.smep;
	ok = ok && ((cr4 >> 21) & 1) == cpu_features.smap;
	ok = ok && ((cr4 >> 11) & 1) == cpu_features.umip;
	/* PAT: WB WT UC- UC WP WC in entries 0 to 5. */
	static const uint8_t want[6] = {6, 4, 7, 0, 5, 1};
	uint64_t pat = read_msr(0x277);
	for (unsigned i = 0; i < 6; i++)
		ok = ok && ((pat >> (8 * i)) & 0xff) == want[i];
	return ok;
}

TEST(kernel_control_bits_on_every_cpu)
{
	CHECK_EQ(every_cpu(control_bits, NULL), 0);
	test_note("smep %d smap %d umip %d", cpu_features.smep, cpu_features.smap,
		  cpu_features.umip);
}

/* What the component reads of a CPU before it gives it page tables is what is so. */
static bool is_described(void *arg, unsigned cpu)
{
	struct arch_setup s;
	paddr_t root = vmm_kernel_root(kernel_vmm);
	arch_describe(&s);
	bool ok = s.cr0 == read_cr0() && s.cr4 == read_cr4() && s.efer == read_msr(0xc0000080) &&
		  s.pat == read_msr(0x277) && s.giga_pages == cpu_features.giga_pages;
	ok = ok && s.code >= (vaddr_t)is_described && s.code < (vaddr_t)is_described + PAGE_SIZE;
	ok = ok && s.stack < (vaddr_t)&s + PAGE_SIZE && s.stack + PAGE_SIZE > (vaddr_t)&s;
	ok = ok && s.gdt && s.idt && !vm_machine_loses(&s, root);
	ok = ok && !vm_machine_lacks(&s, cpu_features.nx, cpu_features.giga_pages);
	s.idt = PAGE_SIZE; /* where a loader may have had it */
	ok = ok && vm_machine_loses(&s, root);
	s.cr4 |= CR4_FIVE_LEVELS;
	return ok && vm_machine_lacks(&s, cpu_features.nx, cpu_features.giga_pages);
}

TEST(kernel_setup_is_described_on_every_cpu)
{
	CHECK_EQ(every_cpu(is_described, NULL), 0);
}

TEST(kernel_stack_guards)
{
	void *stack;
	CHECK_OK(vmm_alloc_stack(kernel_vmm, 4, &stack));
	vaddr_t low = (vaddr_t)stack, high = low + 4 * PAGE_SIZE;
	paddr_t root = vmm_kernel_root(kernel_vmm);
	for (vaddr_t va = low; va < high; va += PAGE_SIZE)
		CHECK(pt_translate(root, va, NULL, NULL, NULL));
	CHECK(!pt_translate(root, low - 1, NULL, NULL, NULL));
	CHECK(!pt_translate(root, high, NULL, NULL, NULL));
	CHECK(vmm_guard_name(kernel_vmm, low - 8) != NULL);
	CHECK(vmm_guard_name(kernel_vmm, low) == NULL);
	vmm_free_stack(kernel_vmm, stack, 4);
	drain_all(); /* freed stacks are kept a while for the next thread */
	CHECK(!pt_translate(root, low, NULL, NULL, NULL));
}
