/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_RANDOM_H
#define KERNEL_RANDOM_H
#include <kernel/types.h>
/* Unpredictable bytes (ChaCha20 over a pool that RDRAND and interrupt
 * times feed). Context: any. */
void random_bytes(void *to, size_t bytes);
/* Mix something unpredictable in: times of interrupts, user input. Context: any. */
void random_feed(uint64_t value);
#endif
