# From the loader to the first thread.
KERNEL_SRC += kernel/boot/start.S kernel/boot/boot.c kernel/boot/acpi.c
