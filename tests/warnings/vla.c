/* SPDX-License-Identifier: MIT */
/* Known bad: must fail with -Wvla. */
int vla(int n);
int vla(int n)
{
	char a[n];
	return (int)sizeof(a);
}
