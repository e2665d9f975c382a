# Benchmarks: binaries of the bench flavour, not tests.
#
#   make bench [LLFREE_DIR=folder with LLFree-C's sources] [ROWS='pair bulk']
#
# LLFree-C is built beside the project; nothing of it is kept here.

BENCH_PMM := $(BUILD)/bench/bench_pmm$(if $(LLFREE_DIR),_llfree)
BENCH_PMM_OBJ := $(patsubst %,$(BUILD)/bench/%.o,bench/pmm_peers.c tests/machine/plain.c)

ifdef LLFREE_DIR
LLFREE_CC := clang -std=gnu2x -O2 -march=native -fomit-frame-pointer -DSTD \
	-I$(LLFREE_DIR)/src -I$(LLFREE_DIR)/include -I$(LLFREE_DIR)/std
LLFREE_OBJ := $(patsubst $(LLFREE_DIR)/src/%.c,$(BUILD)/bench/llfree/%.o,$(wildcard $(LLFREE_DIR)/src/*.c))
$(BUILD)/bench/llfree/%.o: $(LLFREE_DIR)/src/%.c
	@mkdir -p $(@D)
	$(call say,CC [llfree],$<) $(LLFREE_CC) -w -c -o $@ $<
$(BUILD)/bench/llfree/peer.o: bench/pmm_llfree.c bench/pmm.h
	@mkdir -p $(@D)
	$(call say,CC [llfree],$<) $(LLFREE_CC) -w -Imem/include -I. -c -o $@ $<
BENCH_PMM_OBJ += $(LLFREE_OBJ) $(BUILD)/bench/llfree/peer.o $(BUILD)/bench/bench/pmm.llfree.o
else
BENCH_PMM_OBJ += $(BUILD)/bench/bench/pmm.c.o
endif

$(BUILD)/bench/bench/pmm.llfree.o: bench/pmm.c bench/pmm.h
	@mkdir -p $(@D)
	$(call say,CC [bench],$<) $(CC) $(HOSTED_CFLAGS) $(bench_flags) -DBENCH_LLFREE -c -o $@ $<

$(BENCH_PMM): $(BENCH_PMM_OBJ) $(BUILD)/bench/libmem.a
	$(call say,LD [bench],$@) $(CC) $(bench_flags) -o $@ $^ -lpthread

.PHONY: bench-pmm
bench-pmm: $(BENCH_PMM)
	$(Q)$(BENCH_PMM) $(ROWS)

# The heap, beside malloc of the C library and of PEERS='NAME=LIBRARY.so ...'.
BENCH_HEAP := $(BUILD)/bench/bench_heap
$(BENCH_HEAP): $(patsubst %,$(BUILD)/bench/%.o,bench/heap.c tests/machine/plain.c) $(BUILD)/bench/libmem.a
	$(call say,LD [bench],$@) $(CC) $(bench_flags) -o $@ $^ -lpthread

.PHONY: bench-heap
bench-heap: $(BENCH_HEAP)
	$(Q)$(BENCH_HEAP) $(if $(QUICK),--quick) $(foreach p,$(PEERS),--peer $(p)) $(ROWS)

.PHONY: bench
bench: $(BENCH_PMM) $(BENCH_HEAP)
	$(Q)$(BENCH_PMM) $(ROWS); pmm=$$?; $(BENCH_HEAP) $(if $(QUICK),--quick) \
		$(foreach p,$(PEERS),--peer $(p)) $(ROWS) && exit $$pmm
