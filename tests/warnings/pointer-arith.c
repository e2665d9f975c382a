/* SPDX-License-Identifier: MIT */
/* Known bad: must fail with -Wpointer-arith. */
void *advance(void *p);
void *advance(void *p)
{
	return p + 1;
}
