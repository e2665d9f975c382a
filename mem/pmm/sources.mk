# SPDX-License-Identifier: MIT
MEM_SRC += $(addprefix $(MEM_DIR)/pmm/,memmap.c init.c block.c cpu_cache.c order.c take_back.c alloc.c \
	free.c clear.c range.c record.c check.c)
