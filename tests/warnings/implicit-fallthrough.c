/* SPDX-License-Identifier: MIT */
/* Known bad: must fail with -Wimplicit-fallthrough. */
int fall(int a);
int fall(int a)
{
	switch (a) {
	case 1:
		a++;
	case 2:
		return a;
	}
	return 0;
}
