# SPDX-License-Identifier: MIT
MEM_SRC += mem/vm/table.c mem/vm/runs.c mem/vm/walk.c mem/vm/epoch.c mem/vm/gather.c mem/vm/flush.c
MEM_SRC += mem/vm/edit.c mem/vm/commit.c mem/vm/space.c mem/vm/areas.c mem/vm/area_walk.c mem/vm/map.c mem/vm/unmap.c
MEM_SRC += mem/vm/fault.c mem/vm/trap.c mem/vm/object.c mem/vm/object_pages.c mem/vm/object_maps.c mem/vm/object_zap.c
MEM_SRC += mem/vm/kernel_area.c mem/vm/heap_area.c mem/vm/range_pool.c mem/vm/area_trim.c mem/vm/area_check.c mem/vm/init.c mem/vm/machine.c mem/vm/drain.c
MEM_SRC += mem/vm/access.c mem/vm/resident.c mem/vm/rewrite.c mem/vm/fork.c mem/vm/move.c mem/vm/advise.c mem/vm/validate.c mem/vm/fault_report.c
