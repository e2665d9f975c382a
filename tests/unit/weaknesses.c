/* SPDX-License-Identifier: MIT */
/* Known CPUs and the weaknesses that their makers' tables give them (kernel/cpu/weaknesses.c). */
#include "kernel/cpu/weaknesses.h"

#include "tests/test.h"

#define BIT(w)   (1u << WEAK_##w)
#define SPECTRE  (BIT(SPECTRE_V1) | BIT(SPECTRE_V2))
#define CAP(bit) (1ull << (bit))
#define INTEL    "GenuineIntel"
#define AMD      "AuthenticAMD"

static const struct {
	const char *name;
	struct cpu_identity cpu;
	uint32_t has;
} known[] = {
    {"Bonnell, in order", {INTEL, 6, 0x1c, 0, false, false}, 0},
    {"Haswell", {INTEL, 6, 0x3c, 0, false, false}, SPECTRE | BIT(MELTDOWN) | BIT(L1TF) | BIT(MDS)},
    {"Haswell with transactions",
     {INTEL, 6, 0x3c, 0, true, false},
     SPECTRE | BIT(MELTDOWN) | BIT(L1TF) | BIT(MDS) | BIT(TAA)},
    {"Skylake",
     {INTEL, 6, 0x5e, 0, false, false},
     SPECTRE | BIT(MELTDOWN) | BIT(L1TF) | BIT(MDS) | BIT(GDS)},
    {"Skylake, new microcode",
     {INTEL, 6, 0x5e, CAP(25), false, false},
     SPECTRE | BIT(MELTDOWN) | BIT(L1TF) | BIT(MDS)},
    {"Cascade Lake",
     {INTEL, 6, 0x55, CAP(0) | CAP(1) | CAP(5) | CAP(25), true, false},
     SPECTRE | BIT(TAA)},
    {"Goldmont", {INTEL, 6, 0x5c, 0, false, false}, SPECTRE | BIT(MELTDOWN) | BIT(RFDS)},
    {"Ice Lake server",
     {INTEL, 6, 0x6a, CAP(0) | CAP(5) | CAP(8), false, false},
     SPECTRE | BIT(GDS)},
    {"Alder Lake",
     {INTEL, 6, 0x97, CAP(0) | CAP(5) | CAP(8) | CAP(26), false, false},
     SPECTRE | BIT(RFDS)},
    {"Sapphire Rapids",
     {INTEL, 6, 0x8f, CAP(0) | CAP(5) | CAP(8) | CAP(26) | CAP(27), false, false},
     SPECTRE},
    {"Zen", {AMD, 0x17, 0x01, 0, false, false}, SPECTRE},
    {"Zen 2", {AMD, 0x17, 0x31, 0, false, false}, SPECTRE | BIT(ZENBLEED)},
    {"Zen 4", {AMD, 0x19, 0x61, 0, false, false}, SPECTRE},
    {"unknown", {"CyrixInstead", 6, 0, 0, false, false}, SPECTRE | BIT(MELTDOWN)},
    {"an emulator", {AMD, 6, 6, 0, true, true}, 0},
};

TEST(weaknesses_of_known)
{
	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		test_note("%s", known[i].name);
		CHECK_EQ(weaknesses_of(&known[i].cpu), known[i].has);
	}
	for (unsigned w = 0; w < WEAKNESSES; w++)
		CHECK(weakness_name((enum weakness)w) != NULL);
}
