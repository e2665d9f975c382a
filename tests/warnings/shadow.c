/* SPDX-License-Identifier: MIT */
/* Known bad: must fail with -Wshadow. */
int shadow(int a);
int shadow(int a)
{
	{
		int a = 1;
		return a;
	}
}
