/* SPDX-License-Identifier: MIT */
/* Known bad: must fail with -Wmissing-prototypes. */
int unseen(void)
{
	return 0;
}
