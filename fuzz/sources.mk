# libFuzzer targets (clang): each is fuzz/NAME.c over the whole of mem/.
#
#   make fuzz TARGET=pmm [SECONDS=60]     a corpus gathers in build/fuzz/corpus/
FUZZ_TARGETS := memmap maps pmm heap operations elf
FUZZ_FLAGS := -O1 -DMEM_DEBUG -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
SECONDS ?= 60

$(BUILD)/fuzz/%.c.o: %.c
	@mkdir -p $(@D)
	$(call say,CC [fuzz],$<) clang $(HOSTED_CFLAGS) $(FUZZ_FLAGS) -c -o $@ $<
$(BUILD)/fuzz/libmem.a: $(patsubst %,$(BUILD)/fuzz/%.o,$(MEM_SRC))
	$(call say,AR [fuzz],$@) rm -f $@ && $(AR) rcs $@ $^
$(BUILD)/fuzz/fuzz_%: $(BUILD)/fuzz/fuzz/%.c.o $(BUILD)/fuzz/tests/machine/plain.c.o $(BUILD)/fuzz/libmem.a
	$(call say,LD [fuzz],$@) clang -fsanitize=fuzzer,address,undefined -o $@ $^ -lpthread

$(BUILD)/fuzz/fuzz_heap: $(BUILD)/fuzz/tests/unit/pages.c.o
$(BUILD)/fuzz/fuzz_maps: $(patsubst %,$(BUILD)/fuzz/%.o,$(MEM_PORT_MAPS))

# The oracle needs the coroutine machine, and so mem/ with points.
$(BUILD)/fuzz-machine/%.c.o: %.c
	@mkdir -p $(@D)
	$(call say,CC [fuzz],$<) clang $(HOSTED_CFLAGS) $(FUZZ_FLAGS) -DMEM_POINTS -c -o $@ $<
$(BUILD)/fuzz/fuzz_operations: $(patsubst %,$(BUILD)/fuzz-machine/%.o,fuzz/operations.c \
		$(MACHINE_BOOT_SRC) $(MODEL_SRC) $(MEM_SRC))
	@mkdir -p $(@D)
	$(call say,LD [fuzz],$@) clang -fsanitize=fuzzer,address,undefined -o $@ $^ $(MACHINE_LDFLAGS) -lpthread

# The kernel's loader over the machine; its file system and heap are in fuzz/elf.c.
$(patsubst %,$(BUILD)/fuzz-machine/%.o,kernel/proc/elf.c kernel/lib/errno.c fuzz/elf.c): \
	FUZZ_FLAGS += -Ikernel/include -ffreestanding
$(BUILD)/fuzz/fuzz_elf: $(patsubst %,$(BUILD)/fuzz-machine/%.o,fuzz/elf.c kernel/proc/elf.c \
		kernel/lib/errno.c $(MACHINE_BOOT_SRC) $(filter-out mem/heap/kmalloc.c,$(MEM_SRC)))
	@mkdir -p $(@D)
	$(call say,LD [fuzz],$@) clang -fsanitize=fuzzer,address,undefined -o $@ $^ $(MACHINE_LDFLAGS) -lpthread

.PHONY: fuzz
fuzz: $(if $(TARGET),$(BUILD)/fuzz/fuzz_$(TARGET),$(patsubst %,$(BUILD)/fuzz/fuzz_%,$(FUZZ_TARGETS)))
	$(Q)for t in $(or $(TARGET),$(FUZZ_TARGETS)); do \
		mkdir -p $(BUILD)/fuzz/corpus/$$t && \
		$(BUILD)/fuzz/fuzz_$$t -max_total_time=$(SECONDS) -print_final_stats=1 \
			-artifact_prefix=$(BUILD)/fuzz/ $(BUILD)/fuzz/corpus/$$t || exit 1; \
	done
