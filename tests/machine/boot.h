/* SPDX-License-Identifier: MIT */
#ifndef TESTS_MACHINE_BOOT_H
#define TESTS_MACHINE_BOOT_H
/*
 * A machine with mem/ started on it: frames over a memory map with holes, a vmm,
 * every CPU online, and the machine's hooks set, so that each user access checks
 * that the frame it reached is one that a user may reach.
 */
#include <mem/pmm.h>
#include <mem/vmm.h>

#include "tests/machine/machine.h"

extern struct pmm *machine_pmm;
extern struct vmm *machine_vmm;

/* machine_init and all of the above. */
void machine_boot(const struct machine_config *config);
/* The two halves of it: the machine with frames; the vmm over them (MEM_ENOMEM only
 * if failures are injected). */
void machine_boot_frames(const struct machine_config *config);
mem_status machine_boot_vmm(void);
/* machine_boot with the defaults of the tests: 64 MiB, `ncpus` CPUs. */
void machine_boot_default(unsigned ncpus, uint64_t seed);
/* machine_boot for machine_explore(): CPUs switch only where it says, translations that
 * are there are used, and walks start as low as they can. */
void machine_boot_explored(unsigned ncpus, uint64_t seed, unsigned speculate_percent);
/* Drain everything and count the frames that are free (I7), together with those
 * that come and go with where things lie: frame records, and page tables of kernel
 * areas. Constant when nobody holds anything. */
uint64_t machine_frames_at_rest(void);
/* The one frame that stands for untouched pages that were read. */
paddr_t machine_zero_frame(void);

/* ---- failure injection (inject.c; links with MACHINE_LDFLAGS) ------------------ */

enum inject_kind {
	INJECT_FRAMES = 1, /* pmm_alloc */
	INJECT_RANGES = 2, /* pmm_alloc_range */
	INJECT_SLAB = 4,   /* slab_alloc */
	INJECT_COUNTS = 8, /* frame_get, frame_pin: the count would overflow */
	INJECT_ALL = 15,
};

/* Let the nth allocation from now (from 1) of these kinds fail, or with `from_then`
 * the nth and every one after it. n = 0: only count. */
void inject_arm(unsigned kinds, uint64_t n, bool from_then);
/* After inject_arm: at the nth allocation call `hook`, from where it is made, and let it
 * work. So a test can stop a CPU in the middle of a call. */
void inject_call(void (*hook)(void));
/* Does this allocation fail? For allocators that a test puts in mem/'s way itself. */
bool inject_fails(enum inject_kind kind);
/* Stop failing. Returns how many allocations there were since inject_arm. */
uint64_t inject_disarm(void);
/* How many of them failed. */
uint64_t inject_failures(void);

#endif
