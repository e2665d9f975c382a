/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_VERSION_H
#define KERNEL_VERSION_H
/* What uname and /proc say. Programs compare the release with Linux's: this is the
 * version whose interface Quire follows. */
#define QUIRE_SYSNAME "Linux"
#define QUIRE_RELEASE "6.1.0-quire"
#define QUIRE_VERSION "#1 SMP PREEMPT Quire"
#define QUIRE_MACHINE "x86_64"
#endif
