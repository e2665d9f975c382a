/* SPDX-License-Identifier: MIT */
/* Known bad: must fail with -Wstrict-prototypes. */
int nothing();
