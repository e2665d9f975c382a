/* SPDX-License-Identifier: MIT */
/* Known bad: must fail with -Wunused-variable. */
int unused(void);
int unused(void)
{
	int a;
	return 0;
}
