/* SPDX-License-Identifier: MIT */
#ifndef TESTS_PLAIN_H
#define TESTS_PLAIN_H
/* The plain host: real threads, an arena as physical memory, no MMU. For unit
 * tests, stress, TSan and benchmarks of what needs no page tables. */
#include <mem/memmap.h>
#include <mem/types.h>

#include "base/page.h"

/* Reserve `bytes` of address space as physical memory [0, bytes) (untouched
 * pages cost nothing) and set mem_direct_map_base. A second call ends the memory of the first. */
void plain_init(uint64_t bytes, unsigned ncpus);
/* The calling thread becomes CPU `cpu` (the main thread is 0). */
void plain_set_cpu(unsigned cpu);
/* Pretend interrupts are off / this is a handler, on this thread. */
void plain_set_interrupt(bool in_interrupt);
#endif
