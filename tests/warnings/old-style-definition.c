/* SPDX-License-Identifier: MIT */
/* Known bad: must fail with -Wold-style-definition. */
int old(int a);
int old(a)
int a;
{
	return a;
}
