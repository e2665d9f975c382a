# SPDX-License-Identifier: MIT
# Ready-made host functions (include/mem/port.h). None of them is in MEM_SRC: link one of
# the two lists beside it, or your own; and entry_mb2.S where GRUB starts the kernel.
MEM_PORT_MAPS := $(addprefix $(MEM_DIR)/port/,list.c limine.c multiboot2.c efi.c e820.c)
MEM_PORT_SELFTEST := $(addprefix $(MEM_DIR)/port/,selftest.c selftest_vmm.c)
MEM_PORT_COMMON := $(addprefix $(MEM_DIR)/port/,log.c cpu.c memory.c setup.c user.c trap.c trap.S \
	usercopy.c usercopy.S) $(MEM_PORT_MAPS) $(MEM_PORT_SELFTEST)
MEM_PORT_ONE_CPU := $(MEM_PORT_COMMON) $(MEM_DIR)/port/one_cpu.c
MEM_PORT_SMP := $(MEM_PORT_COMMON) $(addprefix $(MEM_DIR)/port/,smp.c smp_flush.c ipi.S)
MEM_PORT_ENTRY_MB2 := $(MEM_DIR)/port/entry_mb2.S
