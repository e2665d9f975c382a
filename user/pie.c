/* SPDX-License-Identifier: MIT */
/*
 * A static PIE: the kernel chooses where it goes, another place each time. With
 * an argument it prints that place; without one it starts itself twice and
 * compares. Also: is all that the auxiliary vector promises true?
 */
#define _GNU_SOURCE
#include "check.h"

#include <elf.h>
#include <sys/auxv.h>

extern const Elf64_Ehdr __ehdr_start;
static int relocated = 7;
static int *volatile pointer = &relocated; /* needs a relocation */

static unsigned long place_of_another(char *path)
{
	char command[256], text[64] = "";
	snprintf(command, sizeof(command), "%s place", path);
	FILE *f = popen(command, "r");
	if (!f || !fgets(text, sizeof(text), f))
		failures++;
	if (f)
		pclose(f);
	return strtoul(text, NULL, 16);
}

static void auxiliary(char **argv)
{
	const char *name = (const char *)getauxval(AT_EXECFN);
	const unsigned char *random = (const void *)getauxval(AT_RANDOM);
	CHECK(getauxval(AT_PHDR) == (unsigned long)&__ehdr_start + __ehdr_start.e_phoff);
	CHECK(getauxval(AT_PHNUM) == __ehdr_start.e_phnum);
	CHECK(getauxval(AT_PHENT) == sizeof(Elf64_Phdr));
	CHECK(getauxval(AT_ENTRY) == (unsigned long)&__ehdr_start + __ehdr_start.e_entry);
	CHECK(getauxval(AT_BASE) == 0);
	CHECK(getauxval(AT_PAGESZ) == PAGE);
	CHECK(getauxval(AT_CLKTCK) == 100);
	CHECK(getauxval(AT_UID) == 0 && getauxval(AT_EUID) == 0);
	CHECK(getauxval(AT_GID) == 0 && getauxval(AT_EGID) == 0);
	CHECK(getauxval(AT_SECURE) == 0);
	CHECK(!strcmp((const char *)getauxval(AT_PLATFORM), "x86_64"));
	CHECK(name && strstr(name, "pie") && (char *)name > argv[0]);
	bool differs = false;
	for (int i = 1; random && i < 16; i++)
		differs |= random[i] != random[0];
	CHECK(differs);
}

int main(int argc, char **argv)
{
	if (argc > 1) {
		printf("%lx\n", (unsigned long)&__ehdr_start);
		return 0;
	}
	CHECK(*pointer == 7);
	unsigned long here = (unsigned long)&__ehdr_start, a, b;
	a = place_of_another(argv[0]);
	b = place_of_another(argv[0]);
	CHECK(here % PAGE == 0 && a % PAGE == 0 && a && b);
	CHECK(a != b || a != here);
	CHECK(here > 1ul << 32 && here < 1ul << 47);
	auxiliary(argv);
	printf("pie: %s\n", failures ? "failed" : "ok");
	return failures != 0;
}
