/* SPDX-License-Identifier: MIT */
/* The harness tests itself: random numbers differ, panics are seen. */
#include "tests/machine/plain.h"
#include "tests/test.h"

#include <mem/host.h>

static void panics(void)
{
	host_panic("on purpose");
}

TEST(harness_sees_a_panic)
{
	test_expect_panic(panics, "on purpose");
	CHECK(test_random() != test_random());
}
