# mem/ by layer; each layer's list is its own file so that it reads in one place.
MEM_SRC += mem/base/status.c mem/base/lock.c mem/base/rwlock.c
include mem/pmm/sources.mk
include mem/slab/sources.mk
include mem/pt/sources.mk
include mem/vm/sources.mk
include mem/heap/sources.mk
