/* SPDX-License-Identifier: MIT */
/*
 * By which of its weaknesses a CPU lets programs read what is not theirs.
 *
 * This kernel answers none of those below (docs/SECURITY.md says what each would
 * take), so it says at boot which of them the machine has. The rule is to doubt: a
 * CPU has a weakness unless its maker's list, or the CPU itself, says that it has not.
 * Those that microcode answers alone, or that need a guest with devices of its own
 * (SRBDS, MMIO stale data), are not on the list; those that are ways to do one of
 * it (Retbleed, Inception, branch history: Spectre v2) go by its name.
 *
 * Sources: Intel's "Affected Processors" table and the description of
 * IA32_ARCH_CAPABILITIES (SDM vol. 4); AMD's bulletins SB-7005, 7008.
 */
#include "kernel/cpu/weaknesses.h"

/* IA32_ARCH_CAPABILITIES: "does not have it", one bit each. */
#define RDCL_NO  ((uint64_t)1 << 0) /* Meltdown, L1TF */
#define MDS_NO   ((uint64_t)1 << 5)
#define TAA_NO   ((uint64_t)1 << 8)
#define GDS_CTRL ((uint64_t)1 << 25) /* microcode answers GDS unless told not to */
#define GDS_NO   ((uint64_t)1 << 26)
#define RFDS_NO  ((uint64_t)1 << 27)

/* Models of Intel's family 6, ended by 0. */
static const uint8_t in_order[] = {0x1c, 0x26, 0x27, 0x35, 0x36, 0};
static const uint8_t no_l1tf[] = {0x37, 0x4a, 0x4c, 0x4d, 0x57, 0x5a, 0x5c, 0x5d, 0x5f,
				  0x65, 0x6e, 0x75, 0x7a, 0x85, 0x86, 0x96, 0x9c, 0};
static const uint8_t no_mds[] = {0x5c, 0x5f, 0x7a, 0x86, 0x96, 0x9c, 0};
static const uint8_t rfds[] = {0x5c, 0x5f, 0x7a, 0x86, 0x96, 0x9c, 0x97,
			       0x9a, 0xb7, 0xba, 0xbe, 0xbf, 0};
static const uint8_t gds[] = {0x4e, 0x55, 0x5e, 0x6a, 0x6c, 0x7d, 0x7e, 0x8c,
			      0x8d, 0x8e, 0x9e, 0xa5, 0xa6, 0xa7, 0};

static bool listed(const uint8_t *models, const struct cpu_identity *cpu)
{
	for (; *models; models++)
		if (cpu->family == 6 && cpu->model == *models)
			return true;
	return false;
}

#define IF(condition, weakness) ((condition) ? (uint32_t)1 << (weakness) : 0)

static uint32_t of_intel(const struct cpu_identity *cpu)
{
	const uint64_t caps = cpu->capabilities;
	bool mds = !(caps & MDS_NO) && !listed(no_mds, cpu);
	return IF(!(caps & RDCL_NO), WEAK_MELTDOWN) |
	       IF(!(caps & RDCL_NO) && !listed(no_l1tf, cpu), WEAK_L1TF) | IF(mds, WEAK_MDS) |
	       IF(cpu->rtm && !(caps & TAA_NO), WEAK_TAA) |
	       IF(listed(rfds, cpu) && !(caps & RFDS_NO), WEAK_RFDS) |
	       IF(listed(gds, cpu) && !(caps & (GDS_NO | GDS_CTRL)), WEAK_GDS);
}

/* Zen 2 is some of family 0x17. Nobody of AMD's has Meltdown, L1TF or MDS. */
static uint32_t of_amd(const struct cpu_identity *cpu)
{
	unsigned m = cpu->model;
	bool zen2 = cpu->family == 0x17 && ((m >= 0x30 && m <= 0x4f) || (m >= 0x60 && m <= 0x7f) ||
					    (m >= 0x90 && m <= 0x91) || (m >= 0xa0 && m <= 0xaf));
	return IF(zen2, WEAK_ZENBLEED);
}

static bool by(const struct cpu_identity *cpu, const char *vendor)
{
	return !memcmp(cpu->vendor, vendor, 12);
}

uint32_t weaknesses_of(const struct cpu_identity *cpu)
{
	bool intel = by(cpu, "GenuineIntel");
	if (cpu->emulated || (intel && listed(in_order, cpu)))
		return 0;
	uint32_t all = IF(true, WEAK_SPECTRE_V1) | IF(true, WEAK_SPECTRE_V2);
	if (intel)
		return all | of_intel(cpu);
	if (by(cpu, "AuthenticAMD") || by(cpu, "HygonGenuine"))
		return all | of_amd(cpu);
	return all | IF(true, WEAK_MELTDOWN); /* by somebody who has not said */
}

const char *weakness_name(enum weakness weakness)
{
	static const char *const names[WEAKNESSES] = {
	    [WEAK_MELTDOWN] = "Meltdown",
	    [WEAK_SPECTRE_V1] = "Spectre v1",
	    [WEAK_SPECTRE_V2] = "Spectre v2",
	    [WEAK_L1TF] = "L1TF",
	    [WEAK_MDS] = "MDS",
	    [WEAK_TAA] = "TAA",
	    [WEAK_RFDS] = "RFDS",
	    [WEAK_GDS] = "Downfall (GDS)",
	    [WEAK_ZENBLEED] = "Zenbleed",
	};
	return names[weakness];
}
