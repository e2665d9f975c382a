MACHINE_SRC := tests/machine/coroutine.c tests/machine/machine.c tests/machine/host.c \
	tests/machine/mmu.c tests/machine/explore.c tests/machine/snapshot.c tests/machine/each.c
HOSTED_TEST_LIST += test_machine:hosted
test_machine_SRC := tests/runner.c $(MACHINE_SRC) tests/machine/selftest.c tests/machine/selftest_explore.c
