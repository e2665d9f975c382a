/* SPDX-License-Identifier: MIT */
/*
 * listing: directories that are large, or deep, or change while they are read.
 */
#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define MANY  6000
#define DEPTH 4000

static char seen[2 * MANY];

static void make(int number)
{
	char name[40];
	snprintf(name, sizeof(name), "name-%d", number);
	CHECK(mknod(name, S_IFREG | 0600, 0) == 0);
}

static void take_away(int number)
{
	char name[40];
	snprintf(name, sizeof(name), "name-%d", number);
	CHECK(unlink(name) == 0);
}

static void enter(const char *place)
{
	CHECK(mkdir(place, 0755) == 0 && chdir(place) == 0);
}

static void leave(const char *place)
{
	CHECK(chdir("/tmp") == 0 && rmdir(place) == 0);
}

static int number_of(const struct dirent *e)
{
	return e->d_name[0] == '.' ? -1 : atoi(e->d_name + 5);
}

/* Every name that is there all the time is read once, whatever comes and goes. */
static void changing(void *unused)
{
	(void)unused;
	enter("/tmp/changing");
	for (int i = 0; i < MANY; i++)
		make(i);
	DIR *d = opendir(".");
	int fresh = MANY, wrong = 0;
	for (struct dirent *e; (e = readdir(d));) {
		int number = number_of(e);
		if (number < 0)
			continue;
		wrong += seen[number]++ && number < MANY;
		if (number % 3 == 0 && number < MANY)
			take_away(number); /* what was just read */
		if (number % 7 == 1 && fresh < MANY + MANY / 8)
			make(fresh++);
	}
	closedir(d);
	for (int i = 0; i < MANY; i++)
		wrong += seen[i] != 1;
	CHECK(!wrong);
	d = opendir(".");
	int left = 0;
	for (struct dirent *e; (e = readdir(d));)
		if (number_of(e) >= 0 && ++left)
			CHECK(unlink(e->d_name) == 0);
	closedir(d);
	CHECK(left == MANY - MANY / 3 + (fresh - MANY));
	leave("/tmp/changing");
}

/* Any position is gone back to. */
static void positions(void *unused)
{
	(void)unused;
	static long at[MANY + 3];
	static int number[MANY + 2];
	enter("/tmp/positions");
	for (int i = 0; i < MANY; i++)
		make(i);
	DIR *d = opendir(".");
	int n = 0;
	for (; n < MANY + 3; n++) {
		at[n] = telldir(d);
		struct dirent *e = readdir(d);
		if (!e)
			break;
		number[n] = number_of(e);
	}
	CHECK(n == MANY + 2);
	int wrong = 0;
	for (int i = 0; i < 200; i++) {
		int place = (int)((unsigned)i * 7919u % (MANY + 2));
		seekdir(d, at[place]);
		struct dirent *e = readdir(d);
		wrong += !e || number_of(e) != number[place];
	}
	CHECK(!wrong);
	closedir(d);
	for (int i = MANY; i--;)
		take_away(i);
	leave("/tmp/positions");
}

/* A file system as deep as one likes can be taken away; one that is in use cannot. */
static void deep(void *unused)
{
	(void)unused;
	CHECK(mkdir("/tmp/deep", 0755) == 0);
	CHECK(mount("none", "/tmp/deep", "tmpfs", 0, NULL) == 0);
	CHECK(chdir("/tmp/deep") == 0);
	int depth = 0;
	while (depth < DEPTH && !mkdir("d", 0755) && !chdir("d"))
		depth++;
	CHECK(depth == DEPTH);
	for (int i = 0; i < 100; i++)
		make(i);
	CHECK(umount("/tmp/deep") == -1 && errno == EBUSY);
	int f = open("name-7", O_RDWR);
	CHECK(chdir("/tmp") == 0);
	CHECK(umount("/tmp/deep") == -1 && errno == EBUSY);
	close(f);
	CHECK(umount("/tmp/deep") == 0);
	CHECK(rmdir("/tmp/deep") == 0);
}

int main(void)
{
	run_case("names come and go while a directory is read", changing);
	run_case("positions in a directory", positions);
	run_case("a deep file system is taken away", deep);
	return failures != 0;
}
