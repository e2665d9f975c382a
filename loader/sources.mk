# The loader: built as 64-bit code, then written as an ELF32 file, because that
# is what Multiboot takes.
LOADER_SRC := loader/start.S loader/main.c loader/multiboot.c loader/acpi.c loader/memory.c \
	loader/elf.c loader/random.c loader/requests.c loader/paging.c loader/cpus.c loader/text.c
LOADER_OBJ := $(patsubst %,$(BUILD)/%.o,$(LOADER_SRC))
LOADER     := $(BUILD)/loader/quire-loader
LOADER_CFLAGS = $(COMMON) -O2 -ffreestanding -fno-stack-protector -fno-pic -fno-pie -mcmodel=small \
	-mno-red-zone -mgeneral-regs-only -fno-asynchronous-unwind-tables -fcf-protection=none -I.

.PHONY: loader
loader: $(LOADER)

$(LOADER): $(LOADER_OBJ) loader/loader.lds
	$(call say,LD,$@) $(LD) -nostdlib -static -z max-page-size=4096 -z noexecstack --build-id=none \
		-T loader/loader.lds -o $@.64 $(LOADER_OBJ) && objcopy -O elf32-i386 $@.64 $@

$(BUILD)/loader/%.c.o: loader/%.c
	@mkdir -p $(@D)
	$(call say,CC [loader],$<) $(CC) $(LOADER_CFLAGS) -c -o $@ $<

$(BUILD)/loader/%.S.o: loader/%.S
	@mkdir -p $(@D)
	$(call say,AS [loader],$<) $(CC) $(LOADER_CFLAGS) -c -o $@ $<
