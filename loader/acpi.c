/* SPDX-License-Identifier: MIT */
/*
 * ACPI, as much as a loader needs: where the tables lie, because the executable
 * must find them mapped, and the MADT, because it lists the CPUs.
 *
 * Tables above 4 GiB are left alone: the loader cannot read them there.
 */
#include "loader/loader.h"

struct table {
	char signature[4];
	uint32_t length;
	uint8_t rest[28];
} __attribute__((packed));

struct acpi_cpu acpi_cpus[MAX_CPUS];
unsigned acpi_cpu_count;
uint64_t acpi_rsdp;
struct acpi_io_apic acpi_io_apics[16];
unsigned acpi_io_apic_count;

enum { MAX_TABLES = 128 };
static struct {
	uint64_t base, end;
} spans[MAX_TABLES];
static unsigned span_count;
static const struct table *madt;

static uint64_t word(const void *p, unsigned offset, unsigned bytes)
{
	uint64_t value = 0;
	memcpy(&value, (const uint8_t *)p + offset, bytes);
	return value;
}

static bool sums_to_zero(const uint8_t *p, unsigned bytes)
{
	uint8_t sum = 0;
	for (unsigned i = 0; i < bytes; i++)
		sum = (uint8_t)(sum + p[i]);
	return sum == 0;
}

static uint64_t scan(uint64_t from, uint64_t to)
{
	for (uint64_t p = round_up(from, 16); p + 20 <= to; p += 16)
		if (!memcmp((const void *)(uintptr_t)p, "RSD PTR ", 8) &&
		    sums_to_zero((const void *)(uintptr_t)p, 20))
			return p;
	return 0;
}

static uint64_t find_rsdp(void)
{
	if (boot.rsdp)
		return boot.rsdp;
	if (boot.efi)
		return 0;
	uint64_t bios_area = 0x40e; /* the BIOS keeps its extended area's segment there */
	__asm__("" : "+r"(bios_area));
	uint64_t ebda = word((const void *)(uintptr_t)bios_area, 0, 2) << 4;
	uint64_t p = ebda >= 0x400 && ebda < 0xa0000 ? scan(ebda, ebda + 1024) : 0;
	return p ? p : scan(0xe0000, 0x100000);
}

static void note_span(uint64_t base, uint64_t bytes)
{
	for (unsigned i = 0; i < span_count; i++)
		if (spans[i].base == base)
			return;
	if (span_count == MAX_TABLES || boot.map_count == MAX_MAP)
		fail("more ACPI tables than the loader has room for");
	spans[span_count].base = round_down(base, PAGE);
	spans[span_count++].end = round_up(base + bytes, PAGE);
	/* Whatever the firmware says about this memory, it is not free. */
	boot.map[boot.map_count++] = (struct map_entry){base, bytes, TYPE_RESERVED};
}

static const struct table *note_table(uint64_t physical)
{
	const struct table *t = (const void *)(uintptr_t)physical;
	if (!physical || physical >= FOUR_GIB - sizeof(*t))
		return NULL;
	uint32_t length = (uint32_t)word(t, 4, 4);
	if (length < 8 || length > FOUR_GIB - physical)
		return NULL;
	note_span(physical, length);
	return t;
}

static void note_list(uint64_t physical, unsigned pointer_bytes)
{
	const struct table *list = note_table(physical);
	if (!list)
		return;
	uint32_t length = (uint32_t)word(list, 4, 4);
	for (uint32_t o = 36; o + pointer_bytes <= length; o += pointer_bytes) {
		const struct table *t = note_table(word(list, o, pointer_bytes));
		if (!t)
			continue;
		if (!memcmp(t->signature, "APIC", 4))
			madt = t;
		if (!memcmp(t->signature, "FACP", 4)) {
			uint32_t bytes = (uint32_t)word(t, 4, 4);
			note_table(word(t, 36, 4)); /* FACS */
			note_table(word(t, 40, 4)); /* DSDT */
			if (bytes >= 148) {
				note_table(word(t, 132, 8));
				note_table(word(t, 140, 8));
			}
		}
	}
}

static void add_cpu(uint64_t uid, uint64_t apic_id, uint64_t flags)
{
	if (!(flags & 1)) /* not enabled */
		return;
	for (unsigned i = 0; i < acpi_cpu_count; i++)
		if (acpi_cpus[i].apic_id == apic_id)
			return;
	if (acpi_cpu_count < MAX_CPUS)
		acpi_cpus[acpi_cpu_count++] = (struct acpi_cpu){(uint32_t)uid, (uint32_t)apic_id};
}

/* Entries of the MADT: one after the other, type and length first. */
static const uint8_t *madt_next(const uint8_t *entry)
{
	const uint8_t *end = (const uint8_t *)madt + word(madt, 4, 4);
	entry = entry ? entry + entry[1] : (const uint8_t *)madt + 44;
	return entry + 2 <= end && entry[1] >= 2 && entry + entry[1] <= end ? entry : NULL;
}

static void read_madt(void)
{
	for (const uint8_t *e = madt_next(NULL); e; e = madt_next(e)) {
		if (e[0] == 0 && e[1] >= 8)
			add_cpu(e[2], e[3], word(e, 4, 4));
		if (e[0] == 9 && e[1] >= 16)
			add_cpu(word(e, 12, 4), word(e, 4, 4), word(e, 8, 4));
		if (e[0] == 1 && e[1] >= 12 && acpi_io_apic_count < 16)
			acpi_io_apics[acpi_io_apic_count++] =
			    (struct acpi_io_apic){(uint32_t)word(e, 4, 4), e[2]};
	}
}

unsigned acpi_nmi_pins(uint32_t uid, uint16_t flags[2])
{
	unsigned pins = 0;
	for (const uint8_t *e = madt ? madt_next(NULL) : NULL; e; e = madt_next(e)) {
		bool old = e[0] == 4 && e[1] >= 6, wide = e[0] == 10 && e[1] >= 12;
		if (!old && !wide)
			continue;
		uint64_t who = old ? e[2] : word(e, 4, 4), all = old ? 0xff : 0xffffffff;
		unsigned pin = (old ? e[5] : e[8]) & 1;
		if (who != uid && who != all)
			continue;
		pins |= 1u << pin;
		flags[pin] = (uint16_t)word(e, old ? 3 : 2, 2);
	}
	return pins;
}

void acpi_read(void)
{
	acpi_rsdp = find_rsdp();
	const uint8_t *rsdp =
	    acpi_rsdp ? (const void *)(uintptr_t)acpi_rsdp : (const void *)boot.rsdp_copy;
	if (!acpi_rsdp && !boot.rsdp_copy_bytes)
		return;
	bool has_xsdt = rsdp[15] >= 2 && (acpi_rsdp || boot.rsdp_copy_bytes == 36);
	if (acpi_rsdp)
		note_span(acpi_rsdp, has_xsdt ? 36 : 20);
	note_list(word(rsdp, 16, 4), 4);
	if (has_xsdt)
		note_list(word(rsdp, 24, 8), 8);
	if (madt)
		read_madt();
}

void acpi_reveal(void)
{
	if (!acpi_rsdp && boot.rsdp_copy_bytes) {
		void *page = map_take(PAGE, PAGE, FOUR_GIB, TYPE_ACPI_RECLAIMABLE);
		memcpy(page, boot.rsdp_copy, boot.rsdp_copy_bytes);
		acpi_rsdp = (uint64_t)(uintptr_t)page;
	}
	for (unsigned i = 0; revision >= 4 && i < span_count; i++)
		map_retype(spans[i].base, spans[i].end, TYPE_RESERVED, TYPE_RESERVED_MAPPED);
}
