HOSTED_TEST_LIST += test_harness:plain
test_harness_SRC := tests/runner.c tests/machine/plain.c tests/unit/selftest.c
HOSTED_TEST_LIST += test_memmap:plain
test_memmap_SRC := tests/runner.c tests/machine/plain.c tests/unit/memmap.c
HOSTED_TEST_LIST += test_slab:plain
test_slab_SRC := tests/runner.c tests/machine/plain.c tests/unit/pages.c tests/unit/slab.c
HOSTED_TEST_LIST += test_heap:plain
test_heap_SRC := tests/runner.c tests/machine/plain.c tests/unit/pages.c tests/unit/heap.c
