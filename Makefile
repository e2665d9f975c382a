# SPDX-License-Identifier: MIT
#
# One non-recursive makefile. Each directory lists its own sources in
# sources.mk; nothing is found by wildcard. Output goes to build/ only.
#
#   make                 the kernel: build/kernel/quire
#   make hosted          every hosted test binary under build/hosted/
#   make V=1             show commands
#   make CC=clang        the other compiler
#   make DEBUG=1         MEM_DEBUG: lock ranks, dearer assertions

CC      ?= gcc
ifeq ($(origin CC),default)
CC      := gcc
endif
AR      := ar
LD      := ld
BUILD   ?= build
Q       := $(if $(V),,@)
say      = $(if $(V),,@echo '  $(1)' $(2) &&)

comma := ,
.DEFAULT_GOAL := kernel
.DELETE_ON_ERROR:
.SUFFIXES:

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wundef -Wpointer-arith -Wcast-qual \
	-Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wvla \
	-Wwrite-strings -Wimplicit-fallthrough -Wdouble-promotion -Wformat=2 \
	-Wno-unused-parameter -Wno-format-nonliteral
COMMON   := -std=gnu17 -g -fno-strict-aliasing -fno-omit-frame-pointer $(WARNINGS) -MMD -MP

# mem/ sources by layer, left to right as they may include each other.
KERNEL_SRC :=
HOSTED_TESTS :=
include mem/sources.mk
include kernel/sources.mk
-include tests/sources.mk
-include tests/kernel/sources.mk
-include loader/sources.mk
-include user/sources.mk
-include bench/sources.mk
-include fuzz/sources.mk
-include examples/sources.mk
-include tools/sources.mk
-include libkmalloc/sources.mk

# ---- the kernel -------------------------------------------------------------

KERNEL_CFLAGS := $(COMMON) -O2 -ffreestanding -fno-stack-protector -fpie \
	-mno-red-zone -mgeneral-regs-only -fno-asynchronous-unwind-tables \
	-fno-builtin-malloc -fcf-protection=none \
	-Imem/include -Imem -Ikernel/include -I. $(if $(DEBUG),-DMEM_DEBUG)
KERNEL_DIR := $(BUILD)/kernel$(if $(DEBUG),-debug)
KERNEL     := $(KERNEL_DIR)/quire
KERNEL_LINK := tools/link_kernel.sh $(LD)
KERNEL_OBJ := $(patsubst %,$(KERNEL_DIR)/%.o,$(MEM_SRC) $(KERNEL_SRC))

.PHONY: kernel
kernel: $(KERNEL)
$(KERNEL_OBJ): Makefile # the flags

$(KERNEL): $(KERNEL_OBJ) kernel/kernel.lds tools/link_kernel.sh
	$(call say,LD,$@) $(KERNEL_LINK) -o $@ $(KERNEL_OBJ)

# mem/ gets what it asks of every call inline; debug builds check that it asks rightly. It is
# held to -Wextra as a whole, which others compile it with.
HOST_INLINE := $(if $(DEBUG),,-DMEM_HOST_INLINE='<kernel/host_inline.h>')
KERNEL_MEM_CFLAGS := -fvisibility=hidden -Wunused-parameter $(HOST_INLINE)

$(KERNEL_DIR)/mem/%.c.o: mem/%.c
	@mkdir -p $(@D)
	$(call say,CC,$<) $(CC) $(KERNEL_CFLAGS) $(KERNEL_MEM_CFLAGS) -c -o $@ $<

$(KERNEL_DIR)/%.c.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<) $(CC) $(KERNEL_CFLAGS) $(HOST_INLINE) -c -o $@ $<

$(KERNEL_DIR)/%.S.o: %.S
	@mkdir -p $(@D)
	$(call say,AS,$<) $(CC) $(KERNEL_CFLAGS) -c -o $@ $<

# The component as one object: what a taker links, and what check_names looks at.
# Hidden symbols (all that no public header declares) become local in it.
$(KERNEL_DIR)/libmem.o: $(patsubst %,$(KERNEL_DIR)/%.o,$(MEM_SRC))
	$(call say,LD,$@) $(LD) -r -o $@ $^ && objcopy --localize-hidden $@

# The same kernel with the test bodies in it, and every check on.
KTESTS_DIR := $(BUILD)/kernel-tests
KTESTS     := $(KTESTS_DIR)/quire
# Frames of callers are kept: who ended a stretch is read from them (kernel/cpu/latency.c).
KTESTS_CFLAGS := $(KERNEL_CFLAGS) -DMEM_DEBUG -DKERNEL_LATENCY -fno-optimize-sibling-calls
KTESTS_OBJ := $(patsubst %,$(KTESTS_DIR)/%.o,$(MEM_SRC) $(KERNEL_SRC) kernel/tests.c $(KERNEL_TEST_SRC))

.PHONY: kernel-tests
kernel-tests: $(KTESTS)
$(KTESTS_OBJ): Makefile

$(KTESTS): $(KTESTS_OBJ) kernel/kernel.lds tools/link_kernel.sh
	$(call say,LD,$@) $(KERNEL_LINK) -o $@ $(KTESTS_OBJ)

$(KTESTS_DIR)/%.c.o: %.c
	@mkdir -p $(@D)
	$(call say,CC [tests],$<) $(CC) $(KTESTS_CFLAGS) -c -o $@ $<

$(KTESTS_DIR)/%.S.o: %.S
	@mkdir -p $(@D)
	$(call say,AS [tests],$<) $(CC) $(KTESTS_CFLAGS) -c -o $@ $<

# ---- mem/, hosted -------------------------------------------------------------
# Three flavours of the same sources: `hosted` (coroutine machine, ASan+UBSan,
# every check), `threads` (real threads, TSan), `bench` (as fast as it gets).

HOSTED_CFLAGS := $(COMMON) -Imem/include -Imem -I. -DMEM_HOSTED
hosted_flags  := -O1 -DMEM_DEBUG -DMEM_POINTS -fsanitize=address,undefined -fno-sanitize-recover=all
plain_flags   := -O1 -DMEM_DEBUG -fsanitize=address,undefined -fno-sanitize-recover=all
threads_flags := -O1 -DMEM_DEBUG -fsanitize=thread
bench_flags   := -O2 -momit-leaf-frame-pointer -DMEM_HOST_INLINE='"tests/machine/plain_inline.h"'
# The heap as a malloc of this machine's programs (libkmalloc/).
preload_flags := -O2 -momit-leaf-frame-pointer -fPIC -fvisibility=hidden -ftls-model=initial-exec \
	-fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc -fno-builtin-free \
	-DMEM_HOST_INLINE='"libkmalloc/inline.h"'

# $(1) flavour
define flavour
$(BUILD)/$(1)/%.c.o: %.c
	@mkdir -p $$(@D)
	$$(call say,CC [$(1)],$$<) $$(CC) $$(HOSTED_CFLAGS) $$($(1)_flags) -c -o $$@ $$<
$(BUILD)/$(1)/libmem.a: $$(patsubst %,$(BUILD)/$(1)/%.o,$$(MEM_SRC))
	$$(call say,AR [$(1)],$$@) rm -f $$@ && $$(AR) rcs $$@ $$^
endef
$(foreach f,hosted plain threads bench preload,$(eval $(call flavour,$(f))))

# Hosted test binaries. In tests/sources.mk:
#   HOSTED_TEST_LIST += NAME:FLAVOUR     NAME_SRC := SOURCES   (links with that flavour's mem/)
define hosted_test
HOSTED_TESTS += $(BUILD)/$(2)/$(1)
$(BUILD)/$(2)/$(1): $(patsubst %,$(BUILD)/$(2)/%.o,$(3)) $(BUILD)/$(2)/libmem.a
	$$(call say,LD [$(2)],$$@) $$(CC) $$($(2)_flags) -o $$@ $$^ $$($(1)_LDFLAGS) -lpthread
endef
$(foreach d,$(HOSTED_TEST_LIST),$(eval $(call hosted_test,$(firstword $(subst :, ,$(d))),$(word 2,$(subst :, ,$(d))),$($(firstword $(subst :, ,$(d)))_SRC))))

.PHONY: hosted
hosted: $(HOSTED_TESTS)

LIBKMALLOC := $(BUILD)/libkmalloc.so
.PHONY: libkmalloc
libkmalloc: $(LIBKMALLOC)
$(LIBKMALLOC): $(patsubst %,$(BUILD)/preload/%.o,$(LIBKMALLOC_SRC)) $(BUILD)/preload/libmem.a libkmalloc/exports.map
	$(call say,LD [preload],$@) $(CC) $(preload_flags) -shared -Wl,-soname,libkmalloc.so -Wl,-z,defs \
		-Wl,--version-script=libkmalloc/exports.map -o $@ $(filter-out %.map,$^) -lpthread
# What any malloc has to do: a program that is run on it.
# The compiler shall not think that it knows what malloc does.
$(BUILD)/preload/libkmalloc/selftest.c.o: preload_flags += -fno-builtin
LIBKMALLOC_TOOLS := $(BUILD)/libkmalloc-selftest $(BUILD)/libkmalloc-spent
libkmalloc: $(LIBKMALLOC_TOOLS)
$(LIBKMALLOC_TOOLS): $(BUILD)/libkmalloc-%: $(BUILD)/preload/libkmalloc/%.c.o
	$(call say,LD [preload],$@) $(CC) -o $@ $^ -lpthread

# ---- the component, packed for another kernel's tree -----------------------------

MEM_VERSION := $(shell cat mem/VERSION)
DIST_DIR := $(BUILD)/dist/quire-mem-$(MEM_VERSION)
DIST := $(DIST_DIR).tar.gz
DIST_FILES := $(shell find mem examples -type f) LICENSE
DIST_SINGLE := $(BUILD)/dist/quire.h
.PHONY: dist
dist: $(DIST) $(DIST_SINGLE)

# mem/ becomes the folder itself; CMake and Meson cannot read sources.mk.
$(DIST): $(DIST_FILES) Makefile
	@rm -rf $(DIST_DIR) && mkdir -p $(DIST_DIR)
	@cp -r mem/. $(DIST_DIR)/ && cp -r examples LICENSE $(DIST_DIR)/
	@printf 'mem %s\n' $(MEM_SRC:mem/%=%) >$(DIST_DIR)/sources.list
	@printf 'port %s\n' $(MEM_PORT_COMMON:mem/%=%) >>$(DIST_DIR)/sources.list
	$(call say,TAR,$@) tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 \
		-czf $@ -C $(@D) $(notdir $(DIST_DIR))

# All of it in one file, and its header.
$(DIST_SINGLE): $(DIST_FILES) tools/single.py
	$(call say,PY,$@) python3 tools/single.py $(@D) $(MEM_SRC:mem/%=%)

# What a version is: the pack and the single file, with their sums.
.PHONY: release
release: $(DIST) $(DIST_SINGLE)
	@test -z "$$(git status --porcelain)" || { echo 'release: the tree has changes' >&2; exit 1; }
	$(Q)$(MAKE) -s check CHECK='version headers prefixes names docs panics'
	@rm -rf $(BUILD)/release && mkdir -p $(BUILD)/release && \
		cp $(DIST) $(DIST_SINGLE) $(DIST_SINGLE:.h=.c) $(BUILD)/release/ && \
		cd $(BUILD)/release && sha256sum * >SHA256SUMS && cat SHA256SUMS

# The pack, put where ./test port builds from it; the folder has another name.
PORT := $(BUILD)/port
.PHONY: port-pack
port-pack: $(PORT)/quire/VERSION $(DIST_SINGLE)
$(PORT)/quire/VERSION: $(DIST)
	@rm -rf $(PORT) && mkdir -p $(PORT)/quire
	@tar -xzf $< -C $(PORT)/quire --strip-components=1 && touch $@

.PHONY: port-matrix
port-matrix:
	$(Q)python3 tools/suite_port.py

.PHONY: check check-deep
check-deep: export DEEP := 1
check check-deep:
	$(Q)WARNINGS='$(WARNINGS)' CC=$(CC) BUILD=$(BUILD) python3 tools/check.py $(CHECK)

.PHONY: clean
clean:
	rm -rf $(BUILD)

# What is unpacked there has files of that name too.
-include $(shell find $(BUILD) \( -name packages -o -name programs -o -path $(BUILD)/port \) -prune -o -name '*.d' -type f -print 2>/dev/null)
