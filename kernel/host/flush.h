/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_HOST_FLUSH_H
#define KERNEL_HOST_FLUSH_H
#include "kernel/cpu/priv.h"

/* Answer flush requests. Boot, before a second CPU runs. */
void host_flush_init(void);
#endif
