/* SPDX-License-Identifier: MIT */
/*
 * CPUs and their interrupt controllers: the state that the protocol promises,
 * the other CPUs woken and parked, and the way out.
 *
 * The others are started one at a time, each with INIT and STARTUP messages, so
 * that a handful of words (ap_*) can tell each of them what it needs. A CPU that
 * does not answer within a tenth of a second is left out of the list; after a
 * second STARTUP it gets another tenth.
 */
#include "loader/loader.h"

#include "loader/io.h"

enum { MSR_APIC_BASE = 0x1b, MSR_PAT = 0x277, MSR_X2APIC = 0x800, MSR_EFER = 0xc0000080 };
enum { MSR_MTRR_CAP = 0xfe, MSR_MTRR_DEFAULT = 0x2ff, MSR_MTRR_VARIABLE = 0x200 };
enum {
	APIC_ID = 0x20,
	APIC_VERSION = 0x30,
	APIC_TPR = 0x80,
	APIC_SVR = 0xf0,
	APIC_ICR = 0x300,
	APIC_ICR_HIGH = 0x310,
	APIC_LVT_CMCI = 0x2f0,
	APIC_LVT_TIMER = 0x320,
	APIC_LVT_THERMAL = 0x330,
	APIC_LVT_PERFORMANCE = 0x340,
	APIC_LVT_LINT0 = 0x350,
	APIC_LVT_ERROR = 0x370
};
enum { APIC_GLOBAL_ENABLE = 1 << 11, APIC_X2 = 1 << 10 };

/* start.S */
extern const uint8_t ap_blob[], ap_blob_end[];
extern uint8_t early_gdt[], early_gdt_end[];
extern uint64_t ap_stack;
extern uint32_t ap_root, final_efer;
extern volatile uint32_t ap_parked;
_Noreturn void depart(uint64_t info, uint64_t root, uint64_t gdtr, uint64_t stack, uint64_t entry);
typedef void depart_fn(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

static bool x2apic;
static uint64_t gdtr; /* direct-map address of the ten bytes for LGDT */
static struct mp_info *starting;
static uint32_t starting_uid;

/* ---- the local APIC --------------------------------------------------------- */

static uint32_t apic_read(unsigned reg)
{
	if (x2apic)
		return (uint32_t)msr_read(MSR_X2APIC + reg / 16);
	return mmio_read((msr_read(MSR_APIC_BASE) & 0xfffffffffffff000ull) + reg);
}

static void apic_write(unsigned reg, uint32_t value)
{
	if (x2apic)
		msr_write(MSR_X2APIC + reg / 16, value);
	else
		mmio_write((msr_read(MSR_APIC_BASE) & 0xfffffffffffff000ull) + reg, value);
}

static uint32_t apic_id(void)
{
	uint32_t id = apic_read(APIC_ID);
	return x2apic ? id : id >> 24;
}

static void apic_send(uint32_t to, uint32_t message)
{
	if (x2apic) {
		msr_write(MSR_X2APIC + APIC_ICR / 16, (uint64_t)to << 32 | message);
		return;
	}
	apic_write(APIC_ICR_HIGH, to << 24);
	apic_write(APIC_ICR, message);
	while (apic_read(APIC_ICR) & (1 << 12))
		pause();
}

/* Mask an LVT entry whose delivery mode is fixed, lowest, NMI or external. */
static void mask_entry(unsigned reg)
{
	uint32_t entry = apic_read(reg), mode = (entry >> 8) & 7;
	if (mode == 0 || mode == 1 || mode == 4 || mode == 7)
		apic_write(reg, entry | 1 << 16);
}

static void wire_nmi(unsigned pin, uint16_t flags)
{
	unsigned reg = APIC_LVT_LINT0 + 16 * pin;
	uint32_t entry = apic_read(reg), mode = (entry >> 8) & 7;
	if (mode != 0 && mode != 1 && mode != 4 && mode != 7)
		return;
	entry = 4 << 8 | 1 << 16;
	if ((flags & 3) == 3)
		entry |= 1 << 13; /* active low */
	if (((flags >> 2) & 3) == 3)
		entry |= 1 << 15; /* level */
	apic_write(reg, entry);
}

static void apic_settle(uint32_t uid)
{
	msr_write(MSR_APIC_BASE, msr_read(MSR_APIC_BASE) | APIC_GLOBAL_ENABLE);
	apic_write(APIC_SVR, 0x1ff);
	apic_write(APIC_TPR, 0);
	unsigned entries = (apic_read(APIC_VERSION) >> 16 & 0xff) + 1;
	mask_entry(APIC_LVT_TIMER);
	mask_entry(APIC_LVT_LINT0);
	mask_entry(APIC_LVT_LINT0 + 16);
	mask_entry(APIC_LVT_ERROR);
	if (entries > 4)
		mask_entry(APIC_LVT_PERFORMANCE);
	if (entries > 5)
		mask_entry(APIC_LVT_THERMAL);
	if (entries > 6)
		mask_entry(APIC_LVT_CMCI);
	uint16_t flags[2] = {0, 0};
	unsigned pins = acpi_nmi_pins(uid, flags);
	for (unsigned pin = 0; pin < 2; pin++)
		if (pins & (1u << pin))
			wire_nmi(pin, flags[pin]);
}

/* Firmware may have left x2APIC on; it stays only if the executable wants it. */
static void apic_choose(void)
{
	uint64_t base = msr_read(MSR_APIC_BASE);
	struct request *r = request(FEATURE_MP);
	bool wanted = r && (r->argument[0] & 1) && (cpuid(1, 0).c & (1u << 21));
	if ((base & APIC_X2) && !wanted) { /* the only way back leads through off */
		msr_write(MSR_APIC_BASE, base & ~(uint64_t)(APIC_X2 | APIC_GLOBAL_ENABLE));
		msr_write(MSR_APIC_BASE, (base & ~(uint64_t)APIC_X2) | APIC_GLOBAL_ENABLE);
	}
	if (wanted)
		msr_write(MSR_APIC_BASE, base | APIC_GLOBAL_ENABLE | APIC_X2);
	x2apic = wanted;
}

/* ---- everything else that interrupts ---------------------------------------- */

static void mask_controllers(void)
{
	out8(0x21, 0xff);
	out8(0xa1, 0xff);
	for (unsigned i = 0; i < acpi_io_apic_count; i++) {
		uint64_t at = acpi_io_apics[i].address;
		mmio_write(at, 1);
		unsigned pins = (mmio_read(at + 16) >> 16 & 0xff) + 1;
		for (unsigned pin = 0; pin < pins; pin++) {
			mmio_write(at, 16 + 2 * pin);
			uint32_t entry = mmio_read(at + 16), mode = (entry >> 8) & 7;
			bool late = revision >= 5 && (mode == 4 || mode == 7);
			if (mode == 0 || mode == 1 || late)
				mmio_write(at + 16, entry | 1 << 16);
		}
	}
}

/* ---- time: counter 2 of the PIT, 1.193182 MHz ------------------------------- */

static void wait_ms(unsigned ms)
{
	while (ms--) {
		const unsigned ticks = 1193;
		out8(0x61, (uint8_t)((in8(0x61) & 0xfc) | 1));
		out8(0x43, 0xb0); /* counter 2, one-shot */
		out8(0x42, ticks & 0xff);
		out8(0x42, ticks >> 8);
		while (!(in8(0x61) & 0x20))
			pause();
	}
}

/* ---- memory types: the others get what this CPU has -------------------------- */

static uint64_t mtrr_values[40];
static const uint16_t mtrr_fixed[] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
				      0x26b, 0x26c, 0x26d, 0x26e, 0x26f};

static void mtrr_copy(bool save)
{
	if (!(cpuid(1, 0).d & (1u << 12)))
		return;
	unsigned n = 0, variable = msr_read(MSR_MTRR_CAP) & 0xff;
	if (variable > 12)
		variable = 12;
	if (!save) /* off while they change; this CPU has no lines cached that matter */
		msr_write(MSR_MTRR_DEFAULT, 0);
	for (unsigned i = 0; i < 11 + 2 * variable; i++) {
		uint32_t msr = i < 11 ? mtrr_fixed[i] : MSR_MTRR_VARIABLE + i - 11;
		if (i < 11 && !(msr_read(MSR_MTRR_CAP) & 0x100))
			continue;
		if (save)
			mtrr_values[n++] = msr_read(msr);
		else
			msr_write(msr, mtrr_values[n++]);
	}
	if (save)
		mtrr_values[n] = msr_read(MSR_MTRR_DEFAULT);
	else
		msr_write(MSR_MTRR_DEFAULT, mtrr_values[n]);
}

/* What every CPU does before it leaves. */
static void settle(uint32_t uid)
{
	if (cpuid(1, 0).d & (1u << 16)) /* WB WT UC- UC, WP WC UC- UC */
		msr_write(MSR_PAT, 0x0007010500070406ull);
	if (x2apic)
		msr_write(MSR_APIC_BASE, msr_read(MSR_APIC_BASE) | APIC_GLOBAL_ENABLE | APIC_X2);
	apic_settle(uid);
}

void cpus_prepare(void)
{
	/* The descriptors, in memory that is in the direct map: those of start.S,
	 * and an empty task for LTR. */
	size_t bytes = (size_t)(early_gdt_end - early_gdt);
	uint8_t *gdt = take_small(96);
	memcpy(gdt, early_gdt, bytes);
	gdt[bytes + 5] = 0x89;
	uint8_t *ten = take_small(16);
	uint16_t limit = (uint16_t)(bytes + 16 - 1);
	uint64_t base = direct(gdt);
	memcpy(ten, &limit, 2);
	memcpy(ten + 2, &base, 8);
	gdtr = direct(ten);

	if (cpuid(0x80000001, 0).d & (1u << 20)) {
		final_efer |= 1 << 11; /* NXE */
		msr_write(MSR_EFER, msr_read(MSR_EFER) | 1 << 11);
	}
	apic_choose();
	mask_controllers();
}

/* A CPU goes: through its own direct-map alias, where depart() can let go of the
 * identity map. */
static _Noreturn void leave(uint64_t info, uint64_t stack_top, uint64_t entry)
{
	uint64_t alias = direct_map + (uint64_t)(uintptr_t)depart;
	__asm__ volatile("mov %0, %%cr3" ::"r"((uint64_t)(uintptr_t)paging_bridge) : "memory");
	((depart_fn *)(uintptr_t)alias)(info, (uint64_t)(uintptr_t)paging_root, gdtr, stack_top,
					entry);
	__builtin_unreachable();
}

/* Called from start.S on the CPU that is being started. */
_Noreturn void ap_main(void);
_Noreturn void ap_main(void)
{
	mtrr_copy(false);
	settle(starting_uid);
	leave(direct(starting), direct_map + ap_stack, 0);
}

static bool start_one(struct mp_info *info, uint32_t page)
{
	starting = info;
	starting_uid = info->processor_id;
	ap_parked = 0;
	ap_stack = (uint64_t)(uintptr_t)take(stack_bytes()) + stack_bytes();
	ap_root = (uint32_t)(uintptr_t)paging_bridge;
	apic_send(info->lapic_id, 0x4500); /* INIT */
	wait_ms(10);
	for (unsigned attempt = 0; attempt < 2; attempt++) {
		apic_send(info->lapic_id, 0x4600 | page >> 12); /* STARTUP */
		for (unsigned ms = 0; ms < 100; ms++) {
			if (ap_parked)
				return true;
			wait_ms(1);
		}
	}
	say("loader: CPU %u does not answer\n", (uint64_t)info->lapic_id);
	return false;
}

void cpus_start(void)
{
	struct request *r = request(FEATURE_MP);
	if (!r)
		return;
	unsigned most = acpi_cpu_count ? acpi_cpu_count : 1;
	struct mp_response *response = take_small(sizeof(*response));
	uint64_t *list = take_small(8 * most);
	uint32_t page =
	    (uint32_t)(uintptr_t)map_take(PAGE, PAGE, 0xa0000, TYPE_BOOTLOADER_RECLAIMABLE);
	memcpy((void *)(uintptr_t)page, ap_blob, (size_t)(ap_blob_end - ap_blob));
	mtrr_copy(true);
	response->flags = x2apic;
	response->bsp_lapic_id = apic_id();
	for (unsigned i = 0; i < acpi_cpu_count; i++) {
		struct mp_info *info = take_small(sizeof(*info));
		info->processor_id = acpi_cpus[i].uid;
		info->lapic_id = acpi_cpus[i].apic_id;
		if (info->lapic_id == response->bsp_lapic_id || start_one(info, page))
			list[response->cpu_count++] = direct(info);
	}
	if (!response->cpu_count) { /* no MADT: there is only us */
		struct mp_info *info = take_small(sizeof(*info));
		info->lapic_id = response->bsp_lapic_id;
		list[response->cpu_count++] = direct(info);
	}
	response->cpus = direct(list);
	r->response = direct(response);
}

void cpus_enter(void)
{
	uint32_t id = apic_id(), uid = 0;
	for (unsigned i = 0; i < acpi_cpu_count; i++)
		if (acpi_cpus[i].apic_id == id)
			uid = acpi_cpus[i].uid;
	uint64_t top = (uint64_t)(uintptr_t)take(stack_bytes()) + stack_bytes();
	requests_answer_map();
	settle(uid);
	leave(0, direct_map + top, executable.entry);
}
