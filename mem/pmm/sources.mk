MEM_SRC += mem/pmm/memmap.c
