/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_IOBUF_H
#define KERNEL_IOBUF_H
/*
 * The buffers that file operations get.
 *
 * A file's read and write take an address that is a program's, except when the
 * kernel itself moves bytes between two files (sendfile, splice), where it is a
 * kernel buffer's. The two cannot be confused: every address that comes from a
 * program passes user_range_ok() in file_read_at or file_write_at first, and
 * file operations are called from nowhere else with one.
 *
 * Each returns how many bytes were NOT moved. Context: as uaccess.h.
 */
#include <kernel/types.h>

size_t buffer_in(void *to, uint64_t buffer, size_t bytes) MEM_CHECKED;
size_t buffer_out(uint64_t buffer, const void *from, size_t bytes) MEM_CHECKED;
size_t buffer_clear(uint64_t buffer, size_t bytes) MEM_CHECKED; /* at most a page */
#endif
