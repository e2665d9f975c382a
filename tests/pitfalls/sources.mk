HOSTED_TEST_LIST += test_pitfalls:hosted
test_pitfalls_SRC := tests/runner.c $(MACHINE_BOOT_SRC) tests/pitfalls/help.c \
	tests/pitfalls/flush.c tests/pitfalls/sharing.c tests/pitfalls/boot.c tests/pitfalls/heap.c \
	tests/pitfalls/schedules.c tests/pitfalls/schedules_fork.c tests/pitfalls/schedules_zap.c \
	tests/pitfalls/schedules_kernel.c tests/unit/pages.c
test_pitfalls_LDFLAGS := $(MACHINE_LDFLAGS)
