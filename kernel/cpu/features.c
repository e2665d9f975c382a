/* SPDX-License-Identifier: MIT */
/*
 * What this machine can do, and the control registers that say so.
 *
 * The registers are set to whole values rather than changed bit by bit: loaders
 * below base revision 5 promise little about them. Each protection is turned on
 * when the machine has it (SMEP, SMAP, UMIP, NX, global pages); qemu64 has few
 * of them and must work all the same.
 */
#include <kernel/log.h>

#include "kernel/cpu/priv.h"
#include "kernel/cpu/weaknesses.h"
#include "kernel/cpu/x86.h"

struct cpu_features cpu_features;

extern const char syscall_entry[], syscall_entry_32[];

static void detect_names(struct cpu_features *f)
{
	struct cpuid r = cpuid(0, 0);
	memcpy(f->vendor, &r.ebx, 4);
	memcpy(f->vendor + 4, &r.edx, 4);
	memcpy(f->vendor + 8, &r.ecx, 4);
	if (cpuid(0x80000000, 0).eax < 0x80000004)
		return;
	for (unsigned i = 0; i < 3; i++) {
		r = cpuid(0x80000002 + i, 0);
		memcpy(f->brand + 16 * i, &r, 16);
	}
}

/* XSAVE with the state components that the kernel carries: x87, SSE, AVX, AVX-512. */
static void detect_xsave(struct cpu_features *f)
{
	const uint64_t x87_sse = 3, avx = 4, avx512 = 0xe0;
	struct cpuid r = cpuid(13, 0);
	uint64_t offered = (uint64_t)r.edx << 32 | r.eax;
	f->xsave_mask = offered & (x87_sse | avx | avx512);
	if (!(f->xsave_mask & avx) || (f->xsave_mask & avx512) != avx512)
		f->xsave_mask &= ~avx512;
	/* In the standard format each component has a fixed place. */
	f->xsave_bytes = 512 + 64;
	for (unsigned i = 2; i < 63; i++) {
		if (!(f->xsave_mask >> i & 1))
			continue;
		r = cpuid(13, i);
		f->xsave_bytes = mem_max(f->xsave_bytes, r.ebx + r.eax);
	}
}

void cpu_detect(void)
{
	struct cpu_features *f = &cpu_features;
	detect_names(f);
	uint32_t last = cpuid(0, 0).eax, last_extended = cpuid(0x80000000, 0).eax;
	struct cpuid one = cpuid(1, 0);
	f->hwcap = one.edx;
	f->xsave = one.ecx >> 26 & 1;
	f->random = one.ecx >> 30 & 1;
	if (last >= 7) {
		struct cpuid seven = cpuid(7, 0);
		f->fsgsbase = seven.ebx & 1;
		f->smep = seven.ebx >> 7 & 1;
		f->erms = seven.ebx >> 9 & 1;
		f->random |= seven.ebx >> 18 & 1;
		f->smap = seven.ebx >> 20 & 1;
		f->umip = seven.ecx >> 2 & 1;
		f->pku = seven.ecx >> 3 & 1;
	}
	struct cpuid extended = cpuid(0x80000001, 0);
	f->nx = extended.edx >> 20 & 1;
	f->giga_pages = extended.edx >> 26 & 1;
	if (last_extended >= 0x80000007)
		f->tsc_invariant = cpuid(0x80000007, 0).edx >> 8 & 1;
	f->phys_bits = last_extended >= 0x80000008 ? cpuid(0x80000008, 0).eax & 0xff : 36;
	if (f->xsave && last >= 13)
		detect_xsave(f);
	else
		f->xsave_bytes = 512;
}

void cpu_init_registers(void)
{
	const struct cpu_features *f = &cpu_features;
	write_cr0((read_cr0() & ~(CR0_EM | CR0_TS | CR0_NW | CR0_CD)) | CR0_MP | CR0_NE | CR0_WP |
		  CR0_AM);
	uint64_t cr4 = CR4_DE | CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	if (cpuid(1, 0).edx >> 7 & 1)
		cr4 |= CR4_MCE;
	if (f->smep)
		cr4 |= CR4_SMEP;
	if (f->smap)
		cr4 |= CR4_SMAP;
	if (f->umip)
		cr4 |= CR4_UMIP;
	if (f->fsgsbase)
		cr4 |= CR4_FSGSBASE;
	if (f->xsave)
		cr4 |= CR4_OSXSAVE;
	write_cr4(cr4);
	if (f->xsave)
		xsetbv(0, f->xsave_mask);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE | (f->nx ? EFER_NXE : 0));
	/* WB WT UC- UC WP WC, and the reset values for the last two. */
	wrmsr(MSR_PAT, 0x0007010500070406ull);
	wrmsr(MSR_STAR, (uint64_t)(USER_CS - 16) << 48 | (uint64_t)KERNEL_CS << 32);
	wrmsr(MSR_LSTAR, (uint64_t)syscall_entry);
	wrmsr(MSR_CSTAR, (uint64_t)syscall_entry_32);
	wrmsr(MSR_FMASK,
	      RFLAGS_IF | RFLAGS_TF | RFLAGS_DF | RFLAGS_AC | RFLAGS_NT | RFLAGS_IOPL | RFLAGS_RF);
}

/* ---- weaknesses ----------------------------------------------------------------- */

/* QEMU's emulator says who it is where hypervisors do, and does not speculate. */
static bool is_emulated(void)
{
	if (!(cpuid(1, 0).ecx >> 31))
		return false;
	struct cpuid r = cpuid(0x40000000, 0);
	uint32_t name[3] = {r.ebx, r.ecx, r.edx};
	return !memcmp(name, "TCGTCGTCGTCG", 12);
}

static struct cpu_identity identify(void)
{
	uint32_t signature = cpuid(1, 0).eax;
	struct cpu_identity id = {
	    .family = signature >> 8 & 15, .model = signature >> 4 & 15, .emulated = is_emulated()};
	memcpy(id.vendor, cpu_features.vendor, sizeof(id.vendor));
	if (id.family == 6 || id.family == 15)
		id.model |= signature >> 12 & 0xf0;
	if (id.family == 15)
		id.family += signature >> 20 & 0xff;
	if (cpuid(0, 0).eax >= 7) {
		struct cpuid seven = cpuid(7, 0);
		id.rtm = seven.ebx >> 11 & 1;
		if (seven.edx >> 29 & 1)
			id.capabilities = rdmsr(MSR_ARCH_CAPS);
	}
	return id;
}

void cpu_log_weaknesses(void)
{
	struct cpu_identity id = identify();
	uint32_t has = weaknesses_of(&id);
	char names[160] = "";
	int n = 0;
	for (unsigned w = 0; w < WEAKNESSES; w++)
		if (has >> w & 1)
			n += ksnprintf(names + n, sizeof(names) - (size_t)n, "%s%s", n ? ", " : "",
				       weakness_name((enum weakness)w));
	if (has)
		klog(LOG_WARN, "users are not isolated from each other by this CPU: %s", names);
	else
		klog(LOG_INFO, "users are isolated: this CPU %s",
		     id.emulated ? "is emulated and does not speculate" : "has no known weakness");
}
