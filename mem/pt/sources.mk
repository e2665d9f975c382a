# SPDX-License-Identifier: MIT
MEM_SRC += mem/pt/raw.c
