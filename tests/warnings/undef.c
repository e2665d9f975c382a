/* SPDX-License-Identifier: MIT */
/* Known bad: must fail with -Wundef. */
#if NOT_DEFINED_ANYWHERE
#endif
typedef int keep;
