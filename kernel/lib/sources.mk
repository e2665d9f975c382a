# Text, strings, the log: what everything else in the kernel uses.
KERNEL_SRC += kernel/lib/string.c kernel/lib/memory.S kernel/lib/printf.c kernel/lib/log.c \
	kernel/lib/errno.c
