# SPDX-License-Identifier: MIT
#
# The component for any makefile, wherever this folder lies and whatever it is called:
#
#   include path/to/it/sources.mk
#
#   MEM_DIR      this folder, as the makefile reaches it
#   MEM_SRC      every file to compile, into an archive: the linker takes what is used
#   MEM_INCLUDE  what your own files need to include <mem/...>
#   MEM_CFLAGS   what the component's files need, after your own flags
#
# Each layer's list is its own file so that it reads in one place.
MEM_DIR := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
MEM_INCLUDE := -I$(MEM_DIR)/include
# Its private headers come first, so that yours of the same name do not stand in for them.
# Interrupts come at any time: no red zone, no vector registers.
MEM_CFLAGS := -I$(MEM_DIR) $(MEM_INCLUDE) -std=gnu17 -ffreestanding -fno-strict-aliasing \
	-mno-red-zone -mgeneral-regs-only

MEM_SRC :=
include $(addprefix $(MEM_DIR)/,$(addsuffix /sources.mk,base pmm slab pt vm heap))
include $(MEM_DIR)/port/sources.mk
