MEM_SRC += mem/slab/slab.c mem/slab/magazine.c mem/slab/place.c mem/slab/reap.c mem/slab/cache.c mem/slab/debug.c \
	mem/slab/check.c mem/slab/frames.c
