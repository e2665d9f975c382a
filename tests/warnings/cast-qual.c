/* SPDX-License-Identifier: MIT */
/* Known bad: must fail with -Wcast-qual. */
char *strip(const char *p);
char *strip(const char *p)
{
	return (char *)p;
}
