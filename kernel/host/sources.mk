# What mem/ asks of this kernel.
KERNEL_SRC += kernel/host/host.c kernel/host/flush.c kernel/host/reclaim.c
