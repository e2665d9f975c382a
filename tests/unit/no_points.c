/* SPDX-License-Identifier: MIT */
/* For tests of one thread that link with the machine's flavour of mem/: nothing happens
 * at its points. */
void machine_point(void);

void machine_point(void)
{
}
