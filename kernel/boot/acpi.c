/* SPDX-License-Identifier: MIT */
/*
 * ACPI tables, read only, without the interpreter.
 *
 * Nothing is believed: lengths are bounded, checksums checked, pointers only
 * followed after their table was. The direct map covers the tables under some
 * protocol revisions and not under others, so each is looked up in the kernel's
 * own page tables, and mapped as a device if it is not there.
 */
#include "kernel/boot/acpi.h"

#include <kernel/boot.h>
#include <kernel/log.h>
#include <mem/vmm.h>

#include "arch/x86_64/pte.h"

#define TABLE_LIMIT ((uint64_t)16 << 20)

static const struct acpi_header *root; /* XSDT or RSDT */
static unsigned root_entry_bytes;

static bool directly_mapped(paddr_t pa, uint64_t bytes)
{
	for (paddr_t at = align_down(pa, PAGE_SIZE); at < pa + bytes; at += PAGE_SIZE) {
		paddr_t to;
		if (!pt_translate(vmm_kernel_root(kernel_vmm), (vaddr_t)paddr_to_ptr(at), &to, NULL,
				  NULL) ||
		    to != at)
			return false;
	}
	return true;
}

/* [pa, pa + bytes), readable. What has to be mapped for it stays mapped. */
static const void *readable(paddr_t pa, uint64_t bytes)
{
	uint64_t end;
	if (!pa || __builtin_add_overflow(pa, bytes, &end) || end > (uint64_t)1 << 46)
		return NULL;
	if (directly_mapped(pa, bytes))
		return paddr_to_ptr(pa);
	void *va;
	if (vmm_map_device(kernel_vmm, pa, bytes, VM_READ, VM_WB, &va) != MEM_OK)
		return NULL;
	return va;
}

static bool checksum_ok(const void *p, size_t bytes)
{
	uint8_t sum = 0;
	for (size_t i = 0; i < bytes; i++)
		sum = (uint8_t)(sum + ((const uint8_t *)p)[i]);
	return sum == 0;
}

const struct acpi_header *acpi_table_at(paddr_t pa)
{
	const struct acpi_header *h = readable(pa, sizeof(*h));
	if (!h || h->length < sizeof(*h) || h->length > TABLE_LIMIT)
		return NULL;
	h = readable(pa, h->length);
	return h && checksum_ok(h, h->length) ? h : NULL;
}

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
} __attribute__((packed));

void acpi_init(uint64_t address)
{
	if (!address) {
		klog(LOG_WARN, "no ACPI");
		return;
	}
	/* Base revision 3 gives a physical address, all others one in the direct map. */
	paddr_t pa = address >= KERNEL_BASE ? ptr_to_paddr((void *)address) : address;
	const struct rsdp *r = readable(pa, sizeof(*r));
	if (!r || memcmp(r->signature, "RSD PTR ", 8) || !checksum_ok(r, 20)) {
		klog(LOG_WARN, "no ACPI: bad root pointer at 0x%lx", pa);
		return;
	}
	root_entry_bytes = 8;
	if (r->revision >= 2 && r->xsdt)
		root = acpi_table_at(r->xsdt);
	if (!root) {
		root_entry_bytes = 4;
		root = acpi_table_at(r->rsdt);
	}
	if (!root)
		klog(LOG_WARN, "no ACPI: no readable root table");
}

const void *acpi_find(const char signature[4])
{
	if (!root)
		return NULL;
	const uint8_t *entries = (const uint8_t *)(root + 1);
	size_t count = (root->length - sizeof(*root)) / root_entry_bytes;
	for (size_t i = 0; i < count; i++) {
		uint64_t pa = 0;
		memcpy(&pa, entries + i * root_entry_bytes, root_entry_bytes);
		const struct acpi_header *h = readable(pa, sizeof(*h));
		if (h && !memcmp(h->signature, signature, 4))
			return acpi_table_at(pa);
	}
	return NULL;
}

void acpi_for_each_madt(void (*visit)(const struct madt_entry *, void *), void *arg)
{
	const struct acpi_header *madt = acpi_find("APIC");
	if (!madt)
		return;
	static const uint8_t least[] = {[MADT_LOCAL_APIC] = 8,
					[MADT_IOAPIC] = sizeof(struct madt_ioapic),
					[MADT_OVERRIDE] = sizeof(struct madt_override)};
	const uint8_t *p = (const uint8_t *)(madt + 1) + 8;
	const uint8_t *end = (const uint8_t *)madt + madt->length;
	while (p + sizeof(struct madt_entry) <= end) {
		const struct madt_entry *e = (const void *)p;
		if (e->length < sizeof(*e) || p + e->length > end)
			return;
		if (e->type >= ARRAY_COUNT(least) || e->length >= least[e->type])
			visit(e, arg);
		p += e->length;
	}
}
