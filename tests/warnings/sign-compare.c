/* SPDX-License-Identifier: MIT */
/* Known bad: must fail with -Wsign-compare. */
int compare(int a, unsigned b);
int compare(int a, unsigned b)
{
	return a < b;
}
