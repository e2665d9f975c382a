HOSTED_TEST_LIST += test_harness:plain test_victims:plain
test_harness_SRC := tests/runner.c tests/machine/plain.c tests/unit/selftest.c
# Tests of the runner: they hang and die, and are run by tools/suite_runner.py alone.
test_victims_SRC := tests/runner.c tests/machine/plain.c tests/unit/victims.c
HOSTED_TEST_LIST += test_memmap:plain
test_memmap_SRC := tests/runner.c tests/machine/plain.c tests/unit/memmap.c
HOSTED_TEST_LIST += test_slab:plain
test_slab_SRC := tests/runner.c tests/machine/plain.c tests/unit/pages.c tests/unit/slab.c \
	tests/unit/slab_frames.c
HOSTED_TEST_LIST += test_heap:plain
test_heap_SRC := tests/runner.c tests/machine/plain.c tests/unit/pages.c tests/unit/heap_help.c \
	tests/unit/pmm_help.c tests/unit/heap_frames.c tests/unit/heap_sizes.c tests/unit/heap_classes.c tests/unit/heap_memory.c tests/unit/heap_random.c tests/unit/heap_misuse.c tests/unit/heap_sample.c
HOSTED_TEST_LIST += test_pmm:plain
test_pmm_SRC := tests/runner.c tests/machine/plain.c tests/unit/pmm_help.c tests/unit/pmm.c \
	tests/unit/pmm_range.c tests/unit/pmm_misuse.c tests/unit/pmm_guard.c
HOSTED_TEST_LIST += test_heap_threads:plain test_heap_races:threads
test_heap_threads_SRC := tests/runner.c tests/machine/plain.c tests/unit/pages.c tests/unit/heap_threads.c
test_heap_races_SRC := $(test_heap_threads_SRC)
# The same for mutations, which change the machine's flavour of mem/.
HOSTED_TEST_LIST += test_pmm_unit:hosted test_slab_unit:hosted test_heap_unit:hosted
test_pmm_unit_SRC := $(test_pmm_SRC) tests/unit/no_points.c
test_slab_unit_SRC := $(test_slab_SRC) tests/unit/no_points.c
test_heap_unit_SRC := $(test_heap_SRC) tests/unit/no_points.c
HOSTED_TEST_LIST += test_pmm_schedules:hosted
test_pmm_schedules_SRC = tests/runner.c $(MACHINE_BOOT_SRC) tests/unit/pmm_schedules.c
test_pmm_schedules_LDFLAGS = $(MACHINE_LDFLAGS)
HOSTED_TEST_LIST += test_pmm_threads:plain test_pmm_races:threads test_pmm_machine:hosted
test_pmm_threads_SRC := tests/runner.c tests/machine/plain.c tests/unit/pmm_stress.c tests/unit/pmm_threads.c
test_pmm_races_SRC := $(test_pmm_threads_SRC)
test_pmm_machine_SRC = tests/runner.c $(MACHINE_SRC) tests/unit/pmm_stress.c tests/unit/pmm_machine.c
# The same as they are released: without MEM_DEBUG and sanitizers.
HOSTED_TEST_LIST += test_pmm_released:bench test_pmm_threads_released:bench
HOSTED_TEST_LIST += test_slab_released:bench test_heap_released:bench test_heap_threads_released:bench
test_pmm_released_SRC := $(test_pmm_SRC)
test_pmm_threads_released_SRC := $(test_pmm_threads_SRC)
test_slab_released_SRC := $(test_slab_SRC)
test_heap_released_SRC := $(test_heap_SRC)
test_heap_threads_released_SRC := $(test_heap_threads_SRC)
HOSTED_TEST_LIST += test_heap_machine:hosted
test_heap_machine_SRC = tests/runner.c $(MACHINE_SRC) tests/unit/pages.c tests/unit/heap_machine.c
HOSTED_TEST_LIST += test_slab_schedules:hosted
test_slab_schedules_SRC = tests/runner.c $(MACHINE_BOOT_SRC) tests/unit/slab_schedules.c
test_slab_schedules_LDFLAGS = $(MACHINE_LDFLAGS)
HOSTED_TEST_LIST += test_pt:hosted test_vm:hosted
test_pt_SRC = tests/runner.c $(MACHINE_BOOT_SRC) tests/unit/pt.c
test_pt_LDFLAGS = $(MACHINE_LDFLAGS)
test_vm_SRC = tests/runner.c $(MACHINE_BOOT_SRC) tests/unit/vm_kernel.c tests/unit/vm_space.c \
	tests/unit/vm_object.c tests/unit/vm_fault.c tests/unit/vm_ahead.c tests/unit/vm_waiting.c tests/unit/vm_heap_frames.c \
	tests/unit/vm_move.c tests/unit/vm_machine.c
test_vm_LDFLAGS = $(MACHINE_LDFLAGS)
HOSTED_TEST_LIST += test_loader_map:plain
test_loader_map_SRC := tests/runner.c tests/machine/plain.c tests/unit/loader_map.c loader/memory.c
HOSTED_TEST_LIST += test_loader_elf:plain
test_loader_elf_SRC := tests/runner.c tests/machine/plain.c tests/unit/loader_elf.c loader/elf.c
HOSTED_TEST_LIST += test_vm_threads:plain test_vm_races:threads
test_vm_threads_SRC := tests/runner.c tests/unit/vm_host.c tests/unit/vm_threads.c \
	tests/unit/vm_direct.c
test_vm_races_SRC := $(test_vm_threads_SRC)
# Checks of the kernel that need no kernel.
HOSTED_TEST_LIST += test_uservalues:plain
test_uservalues_SRC := tests/runner.c tests/machine/plain.c kernel/cpu/uservalues.c tests/unit/uservalues.c
$(BUILD)/plain/kernel/cpu/uservalues.c.o $(BUILD)/plain/tests/unit/uservalues.c.o: HOSTED_CFLAGS += -Ikernel/include
HOSTED_TEST_LIST += test_weaknesses:plain
test_weaknesses_SRC := tests/runner.c tests/machine/plain.c kernel/cpu/weaknesses.c tests/unit/weaknesses.c
$(patsubst %,$(BUILD)/plain/%.o,kernel/cpu/weaknesses.c tests/unit/weaknesses.c): HOSTED_CFLAGS += -Ikernel/include
# mem/port: what of it is no kernel's.
HOSTED_TEST_LIST += test_port_maps:plain test_port_selftest:plain
test_port_maps_SRC = tests/runner.c tests/machine/plain.c tests/unit/port_maps.c $(MEM_PORT_MAPS)
test_port_selftest_SRC = tests/runner.c tests/unit/vm_host.c tests/unit/port_selftest.c $(MEM_PORT_SELFTEST)
test_port_selftest_LDFLAGS = $(patsubst %,-Wl$(comma)--wrap=%,host_log host_barrier_all host_flush_wait \
	host_irq_save host_irq_restore host_in_interrupt host_cpu_count host_cpu pt_translate memmove \
	machine_invlpg machine_flush_global)
