/* SPDX-License-Identifier: MIT */
/*
 * The oracle, one operation at a time. QUIRE_MODEL_OPERATIONS sets how many
 * (`make model`: 10^8); QUIRE_MODEL_CHECK=1 compares everything after each, to find
 * the one that went wrong.
 */
#include <stdlib.h>

#include "tests/model/model.h"
#include "tests/test.h"

static uint64_t wanted(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void run(unsigned ncpus, uint64_t operations, unsigned check_every)
{
	check_every = (unsigned)wanted("QUIRE_MODEL_CHECK", check_every);
	machine_boot_default(ncpus, test_random());
	model_begin();
	model_create(0);
	uint64_t next = check_every;
	while (model.operations < operations) {
		model_step();
		test_progress(model.operations);
		if (model.operations >= next) {
			model_check_all();
			next = model.operations + check_every;
		}
	}
	struct machine_mmu_stats mmu;
	machine_mmu_stats(&mmu);
	model_check_all();
	model_end();
	test_note("%llu operations (%llu touches), %llu comparisons, seed %#llx",
		  (unsigned long long)model.operations, (unsigned long long)model.touches,
		  (unsigned long long)model.checks, (unsigned long long)machine_seed());
	test_note("MMU: %llu accesses, %llu cached, %llu walks, %llu ahead, %llu faults, %llu "
		  "switches",
		  (unsigned long long)mmu.accesses, (unsigned long long)mmu.cached,
		  (unsigned long long)mmu.walks, (unsigned long long)mmu.speculative,
		  (unsigned long long)mmu.faults, (unsigned long long)machine_switches());
	machine_end();
}

/* Every invariant and every area after every operation. */
TEST(model_every_step_checked)
{
	run(1, 3000, 1);
}

/* A page that a debugger made under a promise of nothing gets its rights later. */
TEST(model_forced_pages_keep_their_rights)
{
	machine_boot_default(1, test_random());
	model_begin();
	model_create(0);
	for (unsigned prot = 0; prot < 8; prot++) {
		struct model_map m = {.from = 10 + prot,
				      .to = 11 + prot,
				      .prot = VM_NONE,
				      .maxprot = 7,
				      .flags = VM_FIXED,
				      .object = -1};
		CHECK_OK(model_map(0, &m));
		model_kernel_touch(0, m.from, true, true, 0);
		CHECK_OK(model_protect(0, m.from, m.to, prot));
		model_touch(0, m.from, MACHINE_READ, 0);
		model_touch(0, m.from, MACHINE_FETCH, 0);
		model_touch(0, m.from, MACHINE_WRITE, 0);
		model_check_all();
	}
	model_end();
	machine_end();
}

TEST(model_one_cpu)
{
	run(1, wanted("QUIRE_MODEL_OPERATIONS", 400000), 200);
}

/* The same one thread, wandering between CPUs that keep its spaces loaded. */
TEST(model_wandering)
{
	run(4, wanted("QUIRE_MODEL_OPERATIONS", 400000), 200);
}
