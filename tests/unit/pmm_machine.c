/* SPDX-License-Identifier: MIT */
/*
 * The frame allocator on the coroutine machine: switched at every atomic
 * operation, interrupted at any of them by handlers that allocate and free.
 */
#include "tests/machine/machine.h"
#include "tests/test.h"
#include "tests/unit/pmm_stress.h"

static struct stress stress;

static void user(void *arg)
{
	stress_user(&stress, (unsigned)(uintptr_t)arg);
}

static void interrupt(void)
{
	stress_interrupt(&stress, host_cpu());
}

static void run_machine(uint64_t bytes, unsigned ncpus, unsigned rounds)
{
	for (unsigned round = 0; round < rounds; round++) {
		struct machine_config config = {
		    .bytes = bytes,
		    .ncpus = ncpus,
		    .seed = test_random(),
		    .switch_mean = 1 + (unsigned)test_random_below(20),
		    .stall_mean = 50,
		    .interrupt_mean = round % 2 ? 200 : 0,
		};
		machine_init(&config);
		stress_start(&stress, bytes, test_random());
		machine_hooks.interrupt = interrupt;
		for (uintptr_t i = 0; i < stress.users; i++)
			machine_spawn(user, (void *)i, NULL);
		machine_join();
		machine_hooks.interrupt = NULL;
		stress_end(&stress);
		machine_end();
	}
}

TEST(pmm_machine_with_room)
{
	stress = (struct stress){
	    .users = 4, .steps = 3000, .live = 300, .orders = 9, .step = machine_progress};
	run_machine(32 << 20, 3, 100);
}

TEST(pmm_machine_running_short)
{
	stress = (struct stress){
	    .users = 5, .steps = 1500, .live = 600, .orders = 6, .step = machine_progress};
	run_machine(4 << 20, 4, 60);
}

TEST(pmm_machine_with_rare_operations)
{
	stress = (struct stress){.users = 4,
				 .steps = 1500,
				 .live = 200,
				 .orders = 10,
				 .rare = true,
				 .step = machine_progress};
	run_machine(8 << 20, 4, 40);
}
