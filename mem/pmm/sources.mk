MEM_SRC += mem/pmm/memmap.c mem/pmm/init.c mem/pmm/block.c mem/pmm/cpu_cache.c mem/pmm/order.c \
	mem/pmm/alloc.c mem/pmm/free.c mem/pmm/clear.c mem/pmm/range.c mem/pmm/record.c mem/pmm/check.c
