MEM_SRC += mem/heap/heap.c mem/heap/hardened.c mem/heap/classes.c mem/heap/segment.c mem/heap/large.c mem/heap/calls.c mem/heap/kmalloc.c mem/heap/frames.c mem/heap/sample.c mem/heap/check.c
