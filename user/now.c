/* SPDX-License-Identifier: MIT */
/* Microseconds since the kernel began to count: what /proc/uptime says, but finer. */
#include <stdio.h>
#include <time.h>

int main(void)
{
	struct timespec t;
	if (clock_gettime(CLOCK_MONOTONIC, &t))
		return 1;
	printf("%lld us\n", (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000);
	return 0;
}
