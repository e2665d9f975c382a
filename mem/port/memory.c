/* SPDX-License-Identifier: MIT */
/* The four that freestanding C needs, small rather than quick. Weak: yours win. */
#include <stddef.h>
#include <stdint.h>

#define WEAK __attribute__((weak))

void *memset(void *to, int byte, size_t bytes);
void *memcpy(void *to, const void *from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);

WEAK void *memset(void *to, int byte, size_t bytes)
{
	void *result = to;
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(byte) : "memory");
	return result;
}

WEAK void *memcpy(void *to, const void *from, size_t bytes)
{
	void *result = to;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes)::"memory");
	return result;
}

WEAK void *memmove(void *to, const void *from, size_t bytes)
{
	if ((uintptr_t)to - (uintptr_t)from >= bytes)
		return memcpy(to, from, bytes);
	void *result = to;
	to = (char *)to + bytes - 1;
	from = (const char *)from + bytes - 1;
	__asm__ volatile("std; rep movsb; cld" : "+D"(to), "+S"(from), "+c"(bytes)::"memory", "cc");
	return result;
}

WEAK int memcmp(const void *a, const void *b, size_t bytes)
{
	const unsigned char *x = a, *y = b;
	for (size_t i = 0; i < bytes; i++)
		if (x[i] != y[i])
			return x[i] < y[i] ? -1 : 1;
	return 0;
}
