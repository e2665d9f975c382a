/* SPDX-License-Identifier: MIT */
/* Known bad: without -Wwrite-strings it passes; must fail with -Wdiscarded-qualifiers. */
char *name(void);
char *name(void)
{
	return "constant";
}
