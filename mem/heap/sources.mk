# SPDX-License-Identifier: MIT
MEM_SRC += $(addprefix $(MEM_DIR)/heap/,heap.c hardened.c classes.c segment.c large.c calls.c \
	kmalloc.c frames.c sample.c check.c)
