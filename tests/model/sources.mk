# What stands between mem/vm and its allocators: tests/machine/inject.c.
MACHINE_LDFLAGS := -Wl,--wrap=pmm_alloc,--wrap=pmm_free,--wrap=pmm_alloc_range \
	-Wl,--wrap=pmm_alloc_on,--wrap=pmm_free_on,--wrap=pmm_free_range \
	-Wl,--wrap=slab_alloc,--wrap=slab_alloc_wait,--wrap=frame_get,--wrap=frame_pin
MACHINE_BOOT_SRC := $(MACHINE_SRC) tests/machine/boot.c tests/machine/inject.c
MODEL_SRC := tests/model/oracle.c tests/model/operations.c \
	tests/model/accesses.c tests/model/random.c

HOSTED_TEST_LIST += test_model:hosted
test_model_SRC := tests/runner.c $(MACHINE_BOOT_SRC) $(MODEL_SRC) tests/model/sequential.c \
	tests/model/concurrent.c tests/model/racing.c tests/model/filling.c tests/model/pairs.c \
	tests/model/sweep.c tests/model/sweep_spaces.c tests/model/sweep_kernel.c \
	tests/unit/pages.c
test_model_LDFLAGS := $(MACHINE_LDFLAGS)
