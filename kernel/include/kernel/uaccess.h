/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_UACCESS_H
#define KERNEL_UACCESS_H
/* The only way to user memory. One bounds check (the non-canonical hole
 * included), SMAP opened only inside, faults served or turned into -EFAULT by
 * the exception table. Context: thread, no spin lock held (asserted). */
#include <kernel/types.h>

#include "arch/x86_64/pte.h"

/* 0, or -EFAULT (some bytes may have been copied). */
int copy_from_user(void *to, uint64_t from, size_t bytes) MEM_CHECKED;
int copy_to_user(uint64_t to, const void *from, size_t bytes) MEM_CHECKED;
/* As above, but says how many bytes were NOT copied (for partial reads). */
size_t copy_from_user_partial(void *to, uint64_t from, size_t bytes) MEM_CHECKED;
size_t copy_to_user_partial(uint64_t to, const void *from, size_t bytes) MEM_CHECKED;
int clear_user(uint64_t to, size_t bytes) MEM_CHECKED;
/* Length without NUL, or -EFAULT, or -ENAMETOOLONG if no NUL in `bytes`. */
ssize_t strncpy_from_user(char *to, uint64_t from, size_t bytes) MEM_CHECKED;
/* Atomic word operations for futex: -EFAULT or 0, old value in *old. */
int user_load32(uint64_t at, uint32_t *value) MEM_CHECKED;
int user_cas32(uint64_t at, uint32_t expected, uint32_t desired, uint32_t *old) MEM_CHECKED;
/* Whole user range [at, at+bytes) below USER_TOP? */
static inline bool user_range_ok(uint64_t at, size_t bytes)
{
	return bytes <= USER_TOP && at <= USER_TOP - bytes;
}
#endif
