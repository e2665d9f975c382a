# SPDX-License-Identifier: MIT
MEM_SRC += $(addprefix $(MEM_DIR)/slab/,slab.c magazine.c place.c walk.c reap.c cache.c debug.c check.c \
	frames.c)
