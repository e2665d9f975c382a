/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_TYPES_H
#define KERNEL_TYPES_H
/* What every kernel file sees: the component's types, Linux errno numbers and
 * small helpers. Kernel functions return 0 or a count, or -errno, as Linux does. */
#include <mem/types.h>

#include "base/util.h"

#include <kernel/errno.h>

typedef int pid_t;
typedef long ssize_t;
typedef int64_t off_t;
typedef uint64_t nsec_t; /* nanoseconds */

#define NSEC_PER_SEC 1000000000ull

/* The -errno that a mem/ status means to a Linux program. */
long errno_from(mem_status status);
#endif
