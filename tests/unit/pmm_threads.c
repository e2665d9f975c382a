/* SPDX-License-Identifier: MIT */
/* The frame allocator under real threads: with ASan, and with TSan. */
#include "tests/machine/plain.h"
#include "tests/test.h"
#include "tests/unit/pmm_stress.h"

#include <pthread.h>

static struct stress stress;

static void *run(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	plain_set_cpu(cpu);
	stress_user(&stress, cpu);
	return NULL;
}

static void run_all(uint64_t bytes)
{
	pthread_t threads[8];
	plain_init(bytes, stress.users);
	stress_start(&stress, bytes, test_random());
	for (uintptr_t i = 1; i < stress.users; i++)
		CHECK(!pthread_create(&threads[i], NULL, run, (void *)i));
	run((void *)0);
	for (unsigned i = 1; i < stress.users; i++)
		CHECK(!pthread_join(threads[i], NULL));
	stress_end(&stress);
}

TEST(pmm_threads_with_room)
{
	stress = (struct stress){.users = 4, .steps = 300000, .live = 1500, .orders = 10};
	run_all(256 << 20);
}

TEST(pmm_threads_running_short)
{
	stress = (struct stress){.users = 4, .steps = 150000, .live = 2000, .orders = 10};
	run_all(16 << 20);
}

TEST(pmm_threads_with_rare_operations)
{
	stress =
	    (struct stress){.users = 4, .steps = 100000, .live = 600, .orders = 10, .rare = true};
	run_all(32 << 20);
}
