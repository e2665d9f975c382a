# SPDX-License-Identifier: MIT
MEM_SRC += $(addprefix $(MEM_DIR)/vm/,table.c runs.c walk.c epoch.c gather.c flush.c \
	edit.c commit.c space.c areas.c area_walk.c map.c unmap.c \
	fault.c ahead.c trap.c object.c object_pages.c object_maps.c object_zap.c \
	kernel_area.c heap_area.c range_pool.c area_trim.c area_check.c init.c machine.c drain.c \
	access.c resident.c rewrite.c fork.c move.c advise.c validate.c fault_report.c)
