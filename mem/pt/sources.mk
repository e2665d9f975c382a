# SPDX-License-Identifier: MIT
MEM_SRC += $(addprefix $(MEM_DIR)/pt/,raw.c)
