/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_BOOT_ACPI_H
#define KERNEL_BOOT_ACPI_H
/* The few ACPI tables that the kernel looks at. ACPI specification 6.4, chapter 5. */
#include <kernel/types.h>

struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem[6], oem_table[8];
	uint32_t oem_revision, creator, creator_revision;
} __attribute__((packed));

/* Generic address: a register in memory (0) or I/O ports (1). */
struct acpi_address {
	uint8_t space, bits, offset, access;
	uint64_t address;
} __attribute__((packed));

struct acpi_fadt {
	struct acpi_header header;
	uint32_t facs, dsdt;
	uint8_t reserved0, profile;
	uint16_t sci_interrupt;
	uint32_t smi_command;
	uint8_t acpi_enable, acpi_disable, s4bios, pstate;
	uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer;
	uint32_t gpe0, gpe1;
	uint8_t pm1_event_bytes, pm1_control_bytes, pm2_control_bytes, pm_timer_bytes;
	uint8_t reserved1[20];
	uint32_t flags; /* at 112; bit 8: the PM timer has 32 bits; bit 10: reset register */
	struct acpi_address reset_register;
	uint8_t reset_value;
	uint8_t reserved2[3];
	uint64_t x_facs, x_dsdt;
} __attribute__((packed));

struct acpi_hpet {
	struct acpi_header header;
	uint32_t id;
	struct acpi_address address;
} __attribute__((packed));

enum { MADT_LOCAL_APIC = 0, MADT_IOAPIC = 1, MADT_OVERRIDE = 2 };
struct madt_entry {
	uint8_t type, length;
} __attribute__((packed));
struct madt_ioapic {
	struct madt_entry entry;
	uint8_t id, reserved;
	uint32_t address, first_gsi;
} __attribute__((packed));
struct madt_override {
	struct madt_entry entry;
	uint8_t bus, irq;
	uint32_t gsi;
	uint16_t flags;
} __attribute__((packed));

/* Find the root tables. `rsdp`: as the loader gave it, physical or in the direct
 * map; 0: none. Context: once, after the kernel's own tables are in use. */
void acpi_init(uint64_t rsdp);
/* The table with this signature, whole, its checksum right; NULL: none. */
const void *acpi_find(const char signature[4]);
/* Call visit for each entry of the MADT that is whole. */
void acpi_for_each_madt(void (*visit)(const struct madt_entry *, void *), void *arg);
/* The table at a physical address (the DSDT); NULL if it is broken. */
const struct acpi_header *acpi_table_at(paddr_t pa);
#endif
