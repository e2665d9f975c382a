/* SPDX-License-Identifier: MIT */
#ifndef USER_FILECHECK_H
#define USER_FILECHECK_H
/*
 * What the programs that check file calls share: calls that must give a value or
 * fail with an error, and a corner of /tmp for each case. CORNER names the program's.
 */
#include "check.h"

#include <fcntl.h>
#include <sys/stat.h>

/* The compiler is right that these calls are wrong: that is what is tried here. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#pragma GCC diagnostic ignored "-Wstringop-overread"
#endif

__attribute__((unused)) static char bad[] = "x";
__attribute__((unused)) static void *volatile nowhere = (void *)1; /* never mapped */
#define BAD nowhere

/* The call fails with this error. */
#define FAILS(call, error)                                                                         \
	do {                                                                                       \
		errno = 0;                                                                         \
		long r_ = (long)(call);                                                            \
		int e_ = errno;                                                                    \
		if (r_ != -1 || e_ != (error)) {                                                   \
			printf("    %s:%d: %s: %ld, %s instead of %s\n", __FILE__, __LINE__,       \
			       #call, r_, e_ ? strerrorname_np(e_) : "-", #error);                 \
			failures++;                                                                \
		}                                                                                  \
	} while (0)
#define IS(call, value)                                                                            \
	do {                                                                                       \
		errno = 0;                                                                         \
		long r_ = (long)(call), v_ = (long)(value);                                        \
		if (r_ != v_) {                                                                    \
			printf("    %s:%d: %s: %ld instead of %ld (%s)\n", __FILE__, __LINE__,     \
			       #call, r_, v_, errno ? strerrorname_np(errno) : "-");               \
			failures++;                                                                \
		}                                                                                  \
	} while (0)

__attribute__((unused)) static void fresh(const char *name)
{
	char path[100];
	snprintf(path, sizeof(path), "/tmp/" CORNER ".%s", name);
	IS(mkdir(path, 0755), 0);
	IS(chdir(path), 0);
}

__attribute__((unused)) static int make(const char *name, const char *text)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);
	CHECK(fd >= 0);
	IS(write(fd, text, strlen(text)), strlen(text));
	return fd;
}

__attribute__((unused)) static long size_of(const char *name)
{
	struct stat s;
	return stat(name, &s) ? -1 : s.st_size;
}

__attribute__((unused)) static int links_of(const char *name)
{
	struct stat s;
	return lstat(name, &s) ? -1 : (int)s.st_nlink;
}

struct file_case {
	const char *name;
	void (*body)(void *);
};

__attribute__((unused)) static int run_file_cases(const struct file_case *cases, size_t count)
{
	(void)!system("rm -rf /tmp/" CORNER ".*");
	for (size_t i = 0; i < count; i++)
		run_case(cases[i].name, cases[i].body);
	(void)!system("rm -rf /tmp/" CORNER ".*");
	return failures != 0;
}
#endif
