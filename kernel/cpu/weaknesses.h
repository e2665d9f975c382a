/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_CPU_WEAKNESSES_H
#define KERNEL_CPU_WEAKNESSES_H
/* By which of its weaknesses a CPU lets programs read what is not theirs (weaknesses.c). */
#include <kernel/types.h>

struct cpu_identity {
	char vendor[13];
	unsigned family, model;
	uint64_t capabilities; /* IA32_ARCH_CAPABILITIES, 0 if it is not there */
	bool rtm;              /* transactions (TSX) */
	bool emulated;         /* by software that executes in order */
};

enum weakness {
	WEAK_MELTDOWN,
	WEAK_SPECTRE_V1,
	WEAK_SPECTRE_V2,
	WEAK_L1TF,
	WEAK_MDS,
	WEAK_TAA,
	WEAK_RFDS,
	WEAK_GDS,
	WEAK_ZENBLEED,
	WEAKNESSES
};

/* A bit for each weakness that this CPU has, or may have. Context: any. Locks: none. */
uint32_t weaknesses_of(const struct cpu_identity *cpu);
const char *weakness_name(enum weakness weakness);
#endif
