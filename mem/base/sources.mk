# SPDX-License-Identifier: MIT
MEM_SRC += $(addprefix $(MEM_DIR)/base/,status.c lock.c rwlock.c)
