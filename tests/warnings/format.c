/* SPDX-License-Identifier: MIT */
/* Known bad: must fail with -Wformat. */
int printf(const char *format, ...);
int print(void);
int print(void)
{
	return printf("%s", 1);
}
