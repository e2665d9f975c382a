/* SPDX-License-Identifier: MIT */
/*
 * Time: the time-stamp counter, measured against a clock of known rate.
 *
 * The reference is the ACPI timer (3.579545 MHz), else the HPET, else channel 2
 * of the old interval timer. Both ends of the measurement read the counters
 * several times and keep the reading that took least, so that being descheduled
 * by the machine underneath (an emulator on a busy host) does not count. The
 * APIC timer is measured in the same 5 ms.
 *
 * From then on: ns = (tsc - start) * mult / 2^32, with a 128-bit product.
 */
#include <kernel/boot.h>
#include <kernel/log.h>

#include "kernel/boot/acpi.h"
#include "kernel/cpu/priv.h"
#include "kernel/cpu/x86.h"

#define PM_HZ      3579545u
#define PIT_HZ     1193182u
#define MEASURE_NS (5 * 1000000ull)

static uint64_t tsc_start;
static uint64_t ns_per_tsc;   /* 32.32 fixed point; 0 before clock_init */
static uint64_t apic_per_ns;  /* 32.32 fixed point */
static int64_t realtime_base; /* realtime - monotonic, in ns */

/* ---- the reference --------------------------------------------------------- */

static uint16_t pm_port;
static volatile uint64_t *hpet_counter;
static uint64_t reference_hz, reference_mask;
static const char *reference_name;

static uint64_t pit_read(void)
{
	out8(0x43, 0x80); /* latch channel 2 */
	uint64_t low = in8(0x42);
	return 0xffff - (low | (uint64_t)in8(0x42) << 8); /* it counts down */
}

static uint64_t reference_read(void)
{
	if (pm_port)
		return in32(pm_port);
	if (hpet_counter)
		return *hpet_counter;
	return pit_read();
}

static bool try_hpet(void)
{
	const struct acpi_hpet *t = acpi_find("HPET");
	void *va;
	if (!t || t->header.length < sizeof(*t) || t->address.space != 0 ||
	    vmm_map_device(kernel_vmm, t->address.address, 1024, VM_READ | VM_WRITE, VM_UC, &va) !=
		MEM_OK)
		return false;
	volatile uint64_t *registers = va;
	uint64_t period_fs = registers[0] >> 32;
	if (!period_fs || period_fs > 100000000)
		return false;
	registers[2] |= 1; /* run */
	hpet_counter = &registers[0xf0 / 8];
	reference_hz = 1000000000000000ull / period_fs;
	reference_mask = registers[0] >> 13 & 1 ? UINT64_MAX : UINT32_MAX;
	reference_name = "HPET";
	return true;
}

static void choose_reference(void)
{
	const struct acpi_fadt *fadt = acpi_find("FACP");
	if (fadt && fadt->header.length >= 116 && fadt->pm_timer && fadt->pm_timer_bytes == 4) {
		pm_port = (uint16_t)fadt->pm_timer;
		reference_hz = PM_HZ;
		reference_mask = 0xffffff;
		reference_name = "ACPI timer";
		return;
	}
	if (try_hpet())
		return;
	out8(0x61, (in8(0x61) & ~2) | 1); /* gate on, speaker off */
	out8(0x43, 0xb0);                 /* channel 2, low and high byte, count down once */
	out8(0x42, 0xff);
	out8(0x42, 0xff);
	reference_hz = PIT_HZ;
	reference_mask = 0xffff;
	reference_name = "interval timer";
}

/* ---- measuring -------------------------------------------------------------- */

struct reading {
	uint64_t tsc, reference, apic;
};

static struct reading read_all(void)
{
	struct reading best = {0};
	uint64_t least = UINT64_MAX;
	for (unsigned i = 0; i < 5; i++) {
		uint64_t before = rdtsc();
		uint64_t reference = reference_read();
		uint64_t apic = apic_timer_count();
		uint64_t after = rdtsc();
		if (after - before < least) {
			least = after - before;
			best = (struct reading){before + (after - before) / 2, reference, apic};
		}
	}
	return best;
}

static void calibrate(void)
{
	uint64_t wanted = reference_hz * MEASURE_NS / NSEC_PER_SEC;
	apic_timer_set(UINT32_MAX);
	struct reading a = read_all(), b;
	/* A reference that does not move must not hang the boot: 2^32 cycles are over a second. */
	do
		cpu_relax();
	while (((reference_read() - a.reference) & reference_mask) < wanted &&
	       rdtsc() - a.tsc < (uint64_t)1 << 32);
	b = read_all();
	apic_timer_set(0);
	uint64_t elapsed = (b.reference - a.reference) & reference_mask;
	uint64_t tsc = b.tsc - a.tsc, apic = a.apic - b.apic;
	if (!elapsed || !tsc || !apic)
		panic("no working clock: %s moved %lu, TSC %lu, APIC timer %lu", reference_name,
		      elapsed, tsc, apic);
	uint64_t tsc_hz = tsc * reference_hz / elapsed;
	uint64_t apic_hz = apic * reference_hz / elapsed;
	ns_per_tsc = (NSEC_PER_SEC << 32) / tsc_hz;
	apic_per_ns = (apic_hz << 32) / NSEC_PER_SEC;
	klog(LOG_INFO, "clock: TSC %lu kHz, APIC timer %lu kHz, by the %s", tsc_hz / 1000,
	     apic_hz / 1000, reference_name);
}

/* ---- the date ---------------------------------------------------------------- */

static uint8_t cmos(uint8_t reg)
{
	out8(0x70, reg);
	return in8(0x71);
}

struct date {
	uint8_t second, minute, hour, day, month, year, century, format;
};

static struct date read_date(void)
{
	for (unsigned i = 0; i < 100000 && (cmos(10) & 0x80); i++)
		; /* an update is in progress */
	return (struct date){cmos(0), cmos(2), cmos(4), cmos(7), cmos(8), cmos(9), cmos(0x32), 0};
}

static unsigned from_bcd(unsigned v)
{
	return (v >> 4) * 10 + (v & 15);
}

/* Seconds since 1970 that the clock chip says; it keeps UTC. */
static int64_t read_rtc(void)
{
	struct date d = read_date(), again;
	for (unsigned i = 0; i < 5; i++) { /* until two readings agree */
		again = read_date();
		if (!memcmp(&d, &again, sizeof(d)))
			break;
		d = again;
	}
	uint8_t format = cmos(11);
	bool bcd = !(format & 4), pm = d.hour & 0x80;
	unsigned hour = d.hour & 0x7f;
	unsigned v[7] = {d.second, d.minute, hour, d.day, d.month, d.year, d.century};
	for (unsigned i = 0; bcd && i < 7; i++)
		v[i] = from_bcd(v[i]);
	if (!(format & 2))
		v[2] = v[2] % 12 + (pm ? 12 : 0);
	int64_t year = (int64_t)(v[6] >= 19 && v[6] <= 21 ? v[6] : 20) * 100 + v[5];
	/* Days from 1970 in the Gregorian calendar, years starting in March. */
	int64_t y = v[4] <= 2 ? year - 1 : year;
	int64_t m = v[4] <= 2 ? v[4] + 9 : (int64_t)v[4] - 3;
	int64_t days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + v[3] - 1 - 719468;
	return ((days * 24 + v[2]) * 60 + v[1]) * 60 + v[0];
}

/* ---- the interface ------------------------------------------------------------ */

void clock_init(void)
{
	choose_reference();
	calibrate();
	realtime_base = read_rtc() * (int64_t)NSEC_PER_SEC - (int64_t)time_monotonic();
}

void clock_early_init(void)
{
	tsc_start = rdtsc();
}

nsec_t clock_ns_from_tsc(uint64_t cycles)
{
	return (nsec_t)(((unsigned __int128)cycles * ns_per_tsc) >> 32);
}

nsec_t time_monotonic(void)
{
	uint64_t tsc = rdtsc();
	if (unlikely(tsc < tsc_start))
		return 0;
	return clock_ns_from_tsc(tsc - tsc_start);
}

nsec_t time_realtime(void)
{
	return time_monotonic() + (nsec_t)__atomic_load_n(&realtime_base, __ATOMIC_RELAXED);
}

void time_set_realtime(nsec_t now)
{
	__atomic_store_n(&realtime_base, (int64_t)now - (int64_t)time_monotonic(),
			 __ATOMIC_RELAXED);
}

void clock_interrupt_in(nsec_t delta)
{
	/* Longer than the counter is wide: come back and set it again. */
	uint64_t count = (uint64_t)(((unsigned __int128)delta * apic_per_ns) >> 32) + 1;
	apic_timer_set((uint32_t)mem_min(count, (uint64_t)UINT32_MAX));
}
