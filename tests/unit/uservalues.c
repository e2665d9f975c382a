/* SPDX-License-Identifier: MIT */
/*
 * The checks of kernel/cpu/uservalues.c, against what the manuals say hardware does:
 * no emulator here would say it.
 */
#include "kernel/cpu/uservalues.h"

#include <string.h>

#include "kernel/cpu/x86.h"
#include "tests/test.h"

#define HALF       ((uint64_t)1 << 47)
#define UPPER_HALF (0 - HALF)

/* As bits: the upper 17 are equal. */
static bool canonical(uint64_t v)
{
	return v >> 47 == 0 || v >> 47 == 0x1ffff;
}

static const uint64_t edges[] = {0,           1,
				 HALF - 1,    HALF,
				 HALF + 1,    HALF - 0x1000,
				 HALF - 4097, UPPER_HALF - 1,
				 UPPER_HALF,  UPPER_HALF + 1,
				 UINT64_MAX,  (uint64_t)1 << 63,
				 INT64_MAX,   0xffffffff80000000};

/* Every edge, and values with each single bit and random ones. */
static uint64_t value(unsigned i)
{
	unsigned n = sizeof(edges) / sizeof(edges[0]);
	if (i < n)
		return edges[i];
	i -= n;
	return i < 64 ? (uint64_t)1 << i : test_random() >> i % 48;
}
enum { VALUES = 3000 };

TEST(uservalues_bases)
{
	for (unsigned i = 0; i < VALUES; i++) {
		uint64_t v = value(i);
		CHECK_EQ(user_base_ok(v), v < 0x7ffffffff000);
		CHECK(canonical(user_base_from_cpu(v)));
		if (canonical(v))
			CHECK_EQ(user_base_from_cpu(v), v);
		CHECK_EQ(msr_value_ok(MSR_FS_BASE, v), canonical(v));
		CHECK_EQ(msr_value_ok(MSR_GS_BASE, v), canonical(v));
		CHECK_EQ(msr_value_ok(MSR_KERNEL_GS_BASE, v), canonical(v));
		CHECK_EQ(msr_value_ok(MSR_LSTAR, v), canonical(v));
		CHECK(msr_value_ok(MSR_PAT, v));
	}
}

/* What a frame says is settled into one that both instructions can load, or RIP is refused. */
TEST(uservalues_frames)
{
	for (unsigned i = 0; i < VALUES; i++) {
		struct trapframe f = {.rip = value(i),
				      .rcx = test_random_below(2) ? value(i) : test_random(),
				      .rflags = test_random(),
				      .cs = test_random(),
				      .ss = test_random(),
				      .rsp = test_random()};
		f.r11 = test_random_below(2) ? user_flags(f.rflags) : test_random();
		CHECK_EQ(user_rip_ok(f.rip), canonical(f.rip));
		uint64_t asked = f.rflags;
		bool sysret = user_frame_settle(&f);
		CHECK_EQ(f.cs, 0x33);
		CHECK_EQ(f.ss, 0x2b);
		CHECK_EQ(f.rflags & 0x202, 0x202);    /* IF, and the one that is always there */
		CHECK_EQ(f.rflags & ~0x254fd7ull, 0); /* no IOPL, VM, VIF, VIP, reserved */
		CHECK_EQ(f.rflags & 0x244dd5, asked & 0x244dd5);
		if (sysret) {
			CHECK(f.rcx == f.rip && f.r11 == f.rflags && !(f.rip >> 47));
			CHECK_EQ(f.rflags & 0x10100, 0);
			CHECK(!user_frame_complaint(&f, true));
		}
		CHECK_EQ(user_frame_complaint(&f, false) == NULL, canonical(f.rip));
	}
}

/* A wrong one of each kind is named. */
TEST(uservalues_complaints)
{
	const struct trapframe good = {
	    .rip = 0x1000, .rcx = 0x1000, .rflags = 0x202, .r11 = 0x202, .cs = 0x33, .ss = 0x2b};
	struct trapframe f = good;
	CHECK(!user_frame_complaint(&f, false) && !user_frame_complaint(&f, true));
	CHECK(user_frame_settle(&f));
	static const uint64_t flags[] = {0x2, 0x1202, 0x2202, 0x20202, 0x80202, 0x100202};
	for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		f = good, f.rflags = f.r11 = flags[i];
		CHECK(user_frame_complaint(&f, false) && user_frame_complaint(&f, true));
	}
	f = good, f.cs = 0x10;
	CHECK(user_frame_complaint(&f, false));
	f = good, f.ss = 0x33;
	CHECK(user_frame_complaint(&f, false));
	f = good, f.rip = f.rcx = HALF;
	CHECK(user_frame_complaint(&f, false) && user_frame_complaint(&f, true));
	f = good, f.rip = f.rcx = UPPER_HALF; /* IRET takes it, and so it goes */
	CHECK(!user_frame_complaint(&f, false) && user_frame_complaint(&f, true));
	CHECK(!user_frame_settle(&f));
	f = good, f.r11 = 0x203;
	CHECK(user_frame_complaint(&f, true) && !user_frame_settle(&f));
	f = (struct trapframe){.rip = UPPER_HALF, .cs = KERNEL_CS, .ss = KERNEL_SS, .rflags = 2};
	CHECK(!kernel_frame_complaint(&f));
	f.rip = 0x1000;
	CHECK(kernel_frame_complaint(&f));
	f.rip = UPPER_HALF, f.rflags = 0x3002;
	CHECK(kernel_frame_complaint(&f));
	f.rflags = 2, f.cs = USER_CS;
	CHECK(kernel_frame_complaint(&f));
}

TEST(uservalues_signal_frame)
{
	CHECK(user_selectors_ok(0x33, 0x2b) && user_selectors_ok(0x30, 0x28));
	for (unsigned s = 0; s < 0x10000; s++) {
		if ((s | 3) != 0x33)
			CHECK(!user_selectors_ok((uint16_t)s, 0x2b));
		if ((s | 3) != 0x2b)
			CHECK(!user_selectors_ok(0x33, (uint16_t)s));
	}
	for (unsigned i = 0; i < VALUES; i++) {
		uint64_t asked = test_random(), old = user_flags(test_random());
		uint64_t got = user_flags_from_frame(asked, old);
		CHECK_EQ(got & 0x50dd5, asked & 0x50dd5);
		CHECK_EQ(got & ~0x50dd5ull, old & ~0x50dd5ull);
	}
}

struct area {
	uint8_t bytes[576];
};

static bool fpu_ok(const struct area *a, bool xsave, uint64_t components)
{
	const struct fpu_limits limits = {xsave, components, 0xffff};
	return user_fpu_ok(a, &limits);
}

TEST(uservalues_fpu)
{
	struct area a = {{0}};
	CHECK(fpu_ok(&a, true, 7) && fpu_ok(&a, false, 0));
	for (unsigned bit = 0; bit < 64; bit++) { /* the components */
		a = (struct area){{0}};
		a.bytes[512 + bit / 8] = (uint8_t)(1 << bit % 8);
		CHECK_EQ(fpu_ok(&a, true, 0xe7), 0xe7ull >> bit & 1);
		CHECK(fpu_ok(&a, false, 0)); /* without XSAVE there is nothing there */
	}
	for (unsigned bit = 64; bit < 512; bit++) { /* the compact form, and zeros */
		a = (struct area){{0}};
		a.bytes[512 + bit / 8] = (uint8_t)(1 << bit % 8);
		CHECK(!fpu_ok(&a, true, 0xe7));
	}
	for (unsigned bit = 0; bit < 32; bit++) { /* MXCSR */
		a = (struct area){{0}};
		a.bytes[24 + bit / 8] = (uint8_t)(1 << bit % 8);
		CHECK_EQ(fpu_ok(&a, true, 7), bit < 16);
		CHECK_EQ(fpu_ok(&a, false, 0), bit < 16);
		const struct fpu_limits no_daz = {false, 0, 0xffbf};
		CHECK_EQ(user_fpu_ok(&a, &no_daz), bit < 16 && bit != 6);
	}
	memset(&a, 0xff, 24); /* anything goes in the x87 part */
	memset(a.bytes + 28, 0xff, 484);
	memset(a.bytes + 24, 0, 4);
	CHECK_EQ(fpu_ok(&a, false, 0), true);
}
