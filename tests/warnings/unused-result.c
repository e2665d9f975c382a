/* SPDX-License-Identifier: MIT */
/* Known bad: must fail with -Wunused-result. */
int must(void) __attribute__((warn_unused_result));
void drop(void);
void drop(void)
{
	must();
}
