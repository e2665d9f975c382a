/* SPDX-License-Identifier: MIT */
/* The heap against a shadow that remembers what every block holds. */
#include <mem/heap.h>
#include <mem/host.h>
#include <string.h>

#include "base/util.h"
#include "tests/machine/plain.h"
#include "tests/test.h"
#include "tests/unit/heap_help.h"

struct shadow {
	unsigned char *p;
	size_t bytes;
	unsigned char byte;
};

static void check_contents(const struct shadow *s)
{
	/* Ends and a few in between: the middle of a large block is like the rest. */
	for (size_t b = 0; b < s->bytes; b += b < 64 || b + 64 > s->bytes ? 1 : 61)
		CHECK_EQ(s->p[b], s->byte);
}

static size_t random_size(void)
{
	switch (test_random_below(8)) {
	case 0:
		return test_random_below(200000);
	case 1:
		return test_random_below(20000);
	case 2:
		return (size_t)1 << test_random_below(17);
	default:
		return test_random_below(1024);
	}
}

static void random_ops(unsigned ops, unsigned most, unsigned ncpus)
{
	static struct shadow live[8192];
	unsigned n = 0, target = most / 2, failures = 0;
	for (unsigned op = 0; op < ops; op++) {
		test_progress(op);
		plain_set_cpu((unsigned)test_random_below(ncpus));
		if (test_random_below(3000) == 0)
			target = (unsigned)test_random_below(most);
		if (test_random_below(3000) == 0)
			heap_reap(heap, test_random_below(2));
		if (test_random_below(5000) == 0)
			CHECK(heap_is_valid(heap));
		heap_pages.fail_all = test_random_below(50) == 0;
		plain_set_interrupt(test_random_below(10) == 0);
		unsigned what = (unsigned)test_random_below(100);
		struct shadow *s = n ? &live[test_random_below(n)] : NULL;
		if (s && what < 10) {
			size_t bytes = random_size() + 1;
			check_contents(s);
			unsigned char *p = krealloc(s->p, bytes);
			if (p) {
				size_t kept = mem_min(s->bytes, bytes);
				s->p = p;
				s->bytes = kept;
				check_contents(s);
				s->bytes = bytes;
				memset(p, s->byte, bytes);
			} else {
				check_contents(s);
				failures++;
			}
		} else if (!s || (n < most && what < (n < target ? 65 : 40))) {
			s = &live[n];
			s->bytes = random_size();
			s->byte = (unsigned char)test_random();
			size_t align = (size_t)1 << test_random_below(14);
			s->p = what % 4 ? kmalloc(s->bytes) : kmalloc_aligned(s->bytes, align);
			if (s->p) {
				memset(s->p, s->byte, s->bytes);
				n++;
			} else {
				failures++;
			}
		} else {
			check_contents(s);
			kfree(s->p);
			*s = live[--n];
		}
		plain_set_interrupt(false);
	}
	heap_pages.fail_all = false;
	plain_set_cpu(0);
	CHECK(heap_is_valid(heap));
	CHECK_EQ(heap_live_blocks(), n);
	test_note("%u operations, %u failed allocations", ops, failures);
	while (n) {
		check_contents(&live[--n]);
		kfree(live[n].p);
	}
}

HEAP_TEST_LOOSE(heap_random_model_one_cpu)
{
	heap_start(1);
	random_ops(100000, 2000, 1);
	heap_finish();
}

HEAP_TEST_LOOSE(heap_random_model_four_cpus)
{
	heap_start(4);
	random_ops(100000, 2000, 4);
	heap_finish();
}
