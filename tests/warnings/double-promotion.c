/* SPDX-License-Identifier: MIT */
/* Known bad: must fail with -Wdouble-promotion. */
double promote(float f);
double promote(float f)
{
	return f * 2.0;
}
