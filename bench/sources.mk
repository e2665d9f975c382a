# Benchmarks: binaries of the bench flavour, not tests.
#
#   make bench [LLFREE_DIR=folder of a built LLFree-C] [ROWS='pair heap/lifo']
#              [PEERS='name=malloc.so ...'] [ROUNDS=9]
#   make bench-pmm, make bench-heap      one half of the rows
#   make bench-programs [PROGRAMS='redis git']   real programs on libkmalloc and others
#   make bench-docs                      put the last whole runs into docs/
#   make bench-vm [ROWS='fork pipe']     memory operations beside Linux, in instructions
#   make bench-vm-keep                   keep its figures: bench/vm.json, docs/PERFORMANCE.md
#
# LLFree-C is built beside the project, by its own makefile (DEBUG=0); only the
# library and the headers found there are used, and nothing of it is kept here.

BENCH_PMM := $(BUILD)/bench/bench_pmm$(if $(LLFREE_DIR),_llfree)
BENCH_PMM_OBJ := $(patsubst %,$(BUILD)/bench/%.o,bench/pmm_peers.c tests/machine/plain.c)

ifneq ($(LLFREE_DIR),)
LLFREE_LIB := $(firstword $(wildcard $(LLFREE_DIR)/build/*.a $(LLFREE_DIR)/*.a))
ifeq ($(LLFREE_LIB),)
$(error LLFREE_DIR=$(LLFREE_DIR) holds no library (build/*.a): build LLFree-C there first)
endif
$(BUILD)/bench/llfree/peer.o: bench/pmm_llfree.c bench/pmm.h $(LLFREE_LIB)
	@mkdir -p $(@D)
	$(call say,CC [llfree],$<) clang -std=gnu2x -O2 -DSTD -I$(LLFREE_DIR)/src \
		-I$(LLFREE_DIR)/include -I$(LLFREE_DIR)/std -w -Imem/include -I. -c -o $@ $<
BENCH_PMM_OBJ += $(BUILD)/bench/llfree/peer.o $(BUILD)/bench/bench/pmm.llfree.o $(LLFREE_LIB)
else
BENCH_PMM_OBJ += $(BUILD)/bench/bench/pmm.c.o
endif

$(BUILD)/bench/bench/pmm.llfree.o: bench/pmm.c bench/pmm.h
	@mkdir -p $(@D)
	$(call say,CC [bench],$<) $(CC) $(HOSTED_CFLAGS) $(bench_flags) -DBENCH_LLFREE -c -o $@ $<

$(BENCH_PMM): $(BENCH_PMM_OBJ) $(BUILD)/bench/libmem.a
	$(call say,LD [bench],$@) $(CC) $(bench_flags) -o $@ $^ -lpthread

BENCH_HEAP := $(BUILD)/bench/bench_heap
$(BENCH_HEAP): $(patsubst %,$(BUILD)/bench/%.o,bench/heap.c tests/machine/plain.c) $(BUILD)/bench/libmem.a
	$(call say,LD [bench],$@) $(CC) $(bench_flags) -o $@ $^ -lpthread

BENCH = python3 tools/bench.py $(if $(ROUNDS),--rounds '$(ROUNDS)') $(foreach p,$(PEERS),--peer '$(p)')

.PHONY: bench-built bench bench-pmm bench-heap bench-docs bench-programs
bench-built: $(BENCH_PMM) $(BENCH_HEAP)
bench: $(BENCH_PMM) $(BENCH_HEAP)
	$(Q)$(BENCH) pmm=$(BENCH_PMM) heap=$(BENCH_HEAP) $(ROWS)
bench-pmm: $(BENCH_PMM)
	$(Q)$(BENCH) pmm=$(BENCH_PMM) $(ROWS)
bench-heap: $(BENCH_HEAP)
	$(Q)$(BENCH) heap=$(BENCH_HEAP) $(ROWS)
bench-programs: libkmalloc
	$(Q)python3 tools/bench_programs.py $(if $(ROUNDS),--rounds '$(ROUNDS)') $(PROGRAMS)
bench-docs:
	$(Q)python3 tools/bench.py --docs && python3 tools/bench_programs.py --docs

.PHONY: bench-vm bench-vm-keep
bench-vm:
	$(Q)python3 tools/bench_vm.py $(ROWS)
bench-vm-keep:
	$(Q)python3 tools/bench_vm.py --keep
