# This machine: tables, traps, user copies, FPU, interrupt controllers, time, the end.
KERNEL_SRC += kernel/cpu/gdt.c kernel/cpu/features.c kernel/cpu/entry.S kernel/cpu/trap.c kernel/cpu/uservalues.c kernel/cpu/weaknesses.c \
	kernel/cpu/usercopy.S kernel/cpu/uaccess.c kernel/cpu/fpu.c kernel/cpu/apic.c \
	kernel/cpu/ioapic.c kernel/cpu/clock.c kernel/cpu/panic.c kernel/cpu/symbols.c \
	kernel/cpu/power.c kernel/cpu/smp.c kernel/cpu/latency.c
