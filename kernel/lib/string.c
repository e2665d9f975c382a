/* SPDX-License-Identifier: MIT */
#include <kernel/log.h>
#include <mem/heap.h>

size_t kstrlen(const char *s)
{
	size_t n = 0;
	while (s[n])
		n++;
	return n;
}

int kstrcmp(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return (unsigned char)*a - (unsigned char)*b;
}

int kstrncmp(const char *a, const char *b, size_t n)
{
	for (; n; n--, a++, b++)
		if (!*a || *a != *b)
			return (unsigned char)*a - (unsigned char)*b;
	return 0;
}

char *kstrchr(const char *s, int c)
{
	for (;; s++) {
		if (*s == (char)c)
			return (char *)(uintptr_t)s;
		if (!*s)
			return NULL;
	}
}

char *kstrrchr(const char *s, int c)
{
	const char *last = NULL;
	for (;; s++) {
		if (*s == (char)c)
			last = s;
		if (!*s)
			return (char *)(uintptr_t)last;
	}
}

size_t kstrlcpy(char *to, const char *from, size_t bytes)
{
	size_t n = kstrlen(from);
	if (bytes) {
		size_t copied = mem_min(n, bytes - 1);
		memcpy(to, from, copied);
		to[copied] = 0;
	}
	return n;
}

char *kstrdup(const char *s)
{
	size_t bytes = kstrlen(s) + 1;
	char *copy = kmalloc(bytes);
	if (copy)
		memcpy(copy, s, bytes);
	return copy;
}
