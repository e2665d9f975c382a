/* SPDX-License-Identifier: MIT */
/*
 * Ending the machine.
 *
 * A debugger's exit port (0xf4 under QEMU, if the run asked for one) carries a
 * status out. Without it: ACPI power off, whose registers and sleep type are
 * read at boot, since a panic must not start to search tables; then the reset
 * register, the chipset's reset port and the keyboard controller's.
 */
#include <kernel/log.h>

#include "kernel/boot/acpi.h"
#include "kernel/cpu/priv.h"
#include "kernel/cpu/x86.h"

#define DEBUG_EXIT_PORT 0xf4

static uint16_t pm1a_control, pm1b_control;
static uint16_t sleep_a, sleep_b;
static bool have_sleep;

/* A small integer of AML: ZeroOp, OneOp, or BytePrefix and a byte. */
static const uint8_t *aml_byte(const uint8_t *p, const uint8_t *end, uint16_t *value)
{
	if (p < end && *p <= 1) {
		*value = *p;
		return p + 1;
	}
	if (p + 1 < end && *p == 0x0a) {
		*value = p[1];
		return p + 2;
	}
	return NULL;
}

/* Name(_S5, Package() { a, b, ... }) in the DSDT's byte code. */
static bool find_sleep_type(const struct acpi_header *dsdt)
{
	const uint8_t *p = (const uint8_t *)(dsdt + 1);
	const uint8_t *end = (const uint8_t *)dsdt + dsdt->length;
	for (; p + 8 < end; p++) {
		if (memcmp(p, "_S5_", 4) || p[4] != 0x12)
			continue;
		const uint8_t *at = p + 5;
		at += 1 + (*at >> 6); /* package length: 1 to 4 bytes */
		at += 1;              /* element count */
		at = at < end ? aml_byte(at, end, &sleep_a) : NULL;
		if (at && aml_byte(at, end, &sleep_b))
			return true;
	}
	return false;
}

void power_init(void)
{
	const struct acpi_fadt *fadt = acpi_find("FACP");
	if (!fadt || fadt->header.length < 116)
		return;
	pm1a_control = (uint16_t)fadt->pm1a_control;
	pm1b_control = (uint16_t)fadt->pm1b_control;
	paddr_t at = fadt->dsdt;
	if (fadt->header.length >= sizeof(*fadt) && fadt->x_dsdt)
		at = fadt->x_dsdt;
	const struct acpi_header *dsdt = acpi_table_at(at);
	have_sleep = dsdt && pm1a_control && find_sleep_type(dsdt);
}

void machine_exit(int status)
{
	irq_disable();
	out8(DEBUG_EXIT_PORT, (uint8_t)status);
	if (have_sleep) {
		const uint16_t sleep_enable = 1 << 13;
		out16(pm1a_control, (uint16_t)(sleep_a << 10 | sleep_enable));
		if (pm1b_control)
			out16(pm1b_control, (uint16_t)(sleep_b << 10 | sleep_enable));
	}
	out8(0xcf9, 0x02);
	out8(0xcf9, 0x06);
	out8(0x64, 0xfe);
	for (;;)
		__asm__ volatile("cli; hlt");
}
