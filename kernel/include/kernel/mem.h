/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_MEM_H
#define KERNEL_MEM_H
/* The kernel's one pmm, vmm and heap: kernel_pmm, kernel_vmm, kernel_heap. */
#include <kernel/boot.h>
#include <mem/heap.h>
#include <mem/pmm.h>
#include <mem/vmm.h>
#endif
