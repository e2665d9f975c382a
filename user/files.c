/* SPDX-License-Identifier: MIT */
/*
 * What calls on files and their names answer, edge by edge: each case makes its own
 * corner of /tmp. The expected answers are Linux's, and the same program runs there.
 * Descriptors, pipes and /proc: user/descriptors.c.
 */
#define _GNU_SOURCE
#define CORNER "files"
#include "filecheck.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>

/* ---- opening ----------------------------------------------------------------- */

static void open_flags(void *unused __attribute__((unused)))
{
	char buffer[8];
	fresh("open");
	umask(022);
	FAILS(open("none", O_RDONLY), ENOENT);
	FAILS(open("", O_RDONLY), ENOENT);
	FAILS(open(BAD, O_RDONLY), EFAULT);
	int fd = open("f", O_WRONLY | O_CREAT | O_EXCL, 0666);
	IS(fd, 3);
	FAILS(open("f", O_WRONLY | O_CREAT | O_EXCL, 0666), EEXIST);
	IS(write(fd, "hello", 5), 5);
	FAILS(read(fd, buffer, 1), EBADF);
	close(fd);
	fd = open("f", O_RDONLY);
	FAILS(write(fd, "x", 1), EBADF);
	IS(read(fd, buffer, 8), 5);
	IS(read(fd, buffer, 8), 0);
	close(fd);
	fd = open("f", O_WRONLY | O_APPEND);
	IS(lseek(fd, 0, SEEK_SET), 0);
	IS(write(fd, "!", 1), 1);
	IS(lseek(fd, 0, SEEK_CUR), 6);
	IS(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_WRONLY | O_APPEND);
	IS(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	IS(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_WRONLY | O_NONBLOCK);
	close(fd);
	close(open("f", O_WRONLY | O_TRUNC));
	IS(size_of("f"), 0);
	IS(mkdir("d", 0700), 0);
	FAILS(open("d", O_WRONLY), EISDIR);
	FAILS(open("d", O_RDWR), EISDIR);
	FAILS(open("d", O_RDONLY | O_CREAT, 0600), EISDIR);
	FAILS(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
	FAILS(open("f/", O_RDONLY), ENOTDIR);
	FAILS(open("f/x", O_RDONLY), ENOTDIR);
	FAILS(open("new/", O_RDWR | O_CREAT, 0600), EISDIR);
	FAILS(open("none/x", O_RDWR | O_CREAT, 0600), ENOENT);
	IS(symlink("f", "l"), 0);
	FAILS(open("l", O_RDONLY | O_NOFOLLOW), ELOOP);
	FAILS(open("l", O_RDONLY | O_CREAT | O_EXCL, 0600), EEXIST);
	IS(symlink("made", "dangling"), 0);
	close(open("dangling", O_WRONLY | O_CREAT, 0640));
	IS(size_of("made"), 0);
	IS(symlink("loop", "loop"), 0);
	FAILS(open("loop", O_RDONLY), ELOOP);
	char name[300];
	memset(name, 'n', 256);
	name[256] = 0;
	FAILS(open(name, O_RDONLY), ENAMETOOLONG);
	name[255] = 0;
	IS(close(open(name, O_RDWR | O_CREAT, 0600)), 0);
	static char path[PATH_MAX + 10];
	memset(path, '/', PATH_MAX);
	FAILS(open(path, O_RDONLY), ENAMETOOLONG);
	path[PATH_MAX - 2] = 'x';
	path[PATH_MAX - 1] = 0;
	FAILS(open(path, O_RDONLY), ENOENT);
	struct stat s;
	IS(stat("made", &s), 0);
	IS(s.st_mode, S_IFREG | 0640);
	FAILS(open("/dev/null/x", O_RDONLY), ENOTDIR);
	fd = open("f", O_PATH);
	FAILS(read(fd, buffer, 1), EBADF);
	FAILS(fchmod(fd, 0600), EBADF);
	IS(fstat(fd, &s), 0);
	close(fd);
	fd = open(".", O_TMPFILE | O_RDWR, 0600);
	CHECK(fd >= 0);
	IS(write(fd, "tmp", 3), 3);
	IS(fstat(fd, &s), 0);
	IS(s.st_nlink, 0);
	char self[40];
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	IS(linkat(AT_FDCWD, self, AT_FDCWD, "named", AT_SYMLINK_FOLLOW), 0);
	IS(size_of("named"), 3);
	close(fd);
	FAILS(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
}

static void at_calls(void *unused __attribute__((unused)))
{
	struct stat s;
	fresh("at");
	IS(mkdir("d", 0755), 0);
	int d = open("d", O_RDONLY | O_DIRECTORY);
	int f = openat(d, "f", O_RDWR | O_CREAT, 0600);
	CHECK(f >= 0);
	FAILS(openat(f, "g", O_RDONLY), ENOTDIR);
	FAILS(openat(99, "g", O_RDONLY), EBADF);
	IS(openat(99, "/dev/null", O_RDONLY) >= 0, 1);
	IS(fstatat(d, "f", &s, 0), 0);
	IS(fstatat(f, "", &s, AT_EMPTY_PATH), 0);
	FAILS(fstatat(d, "", &s, 0), ENOENT);
	FAILS(fstatat(d, "f", &s, 0x80000), EINVAL);
	FAILS(fstatat(d, "f", BAD, 0), EFAULT);
	IS(mkdirat(d, "e", 0700), 0);
	IS(symlinkat("e", d, "l"), 0);
	IS(faccessat(d, "l", X_OK, 0), 0);
	FAILS(faccessat(d, "f", X_OK, 0), EACCES);
	FAILS(faccessat(d, "f", 8, 0), EINVAL);
	IS(renameat(d, "f", AT_FDCWD, "up"), 0);
	FAILS(unlinkat(d, "e", 0), EISDIR);
	IS(unlinkat(d, "e", AT_REMOVEDIR), 0);
	FAILS(unlinkat(d, "l", AT_REMOVEDIR), ENOTDIR);
	IS(unlinkat(d, "l", 0), 0);
	FAILS(fchdir(f), ENOTDIR);
	IS(fchdir(d), 0);
	char where[64];
	CHECK(getcwd(where, sizeof(where)) && !strcmp(where, "/tmp/files.at/d"));
	FAILS(syscall(SYS_getcwd, where, 5), ERANGE);
	FAILS(syscall(SYS_getcwd, BAD, 64), EFAULT);
	IS(rmdir("../d"), 0);
	FAILS(syscall(SYS_getcwd, where, 64), ENOENT);
	FAILS(open("x", O_CREAT | O_RDWR, 0600), ENOENT);
	FAILS(mkdir("x", 0700), ENOENT);
	IS(chdir(".."), 0);
}

/* ---- reading, writing, seeking --------------------------------------------------- */

static void read_write(void *unused __attribute__((unused)))
{
	char buffer[64];
	fresh("rw");
	int fd = make("f", "0123456789");
	IS(pread(fd, buffer, 4, 3), 4);
	CHECK(!memcmp(buffer, "3456", 4));
	IS(pwrite(fd, "AB", 2, 8), 2);
	FAILS(pread(fd, buffer, 4, -1), EINVAL);
	IS(lseek(fd, 0, SEEK_CUR), 10);
	IS(lseek(fd, -3, SEEK_END), 7);
	FAILS(lseek(fd, -100, SEEK_CUR), EINVAL);
	FAILS(lseek(fd, 0, 77), EINVAL);
	IS(lseek(fd, 100, SEEK_SET), 100);
	IS(read(fd, buffer, 1), 0);
	IS(write(fd, "z", 1), 1);
	IS(size_of("f"), 101);
	memset(buffer, 1, sizeof(buffer));
	IS(pread(fd, buffer, 64, 10), 64);
	for (int i = 0; i < 64; i++)
		CHECK(buffer[i] == 0);
	FAILS(read(fd, BAD, 1) + lseek(fd, 0, SEEK_SET) * 0, EFAULT);
	IS(lseek(fd, 0, SEEK_SET), 0);
	FAILS(read(fd, BAD, 10), EFAULT);
	IS(lseek(fd, 0, SEEK_CUR), 0);
	FAILS(write(fd, BAD, 10), EFAULT);
	IS(size_of("f"), 101);
	IS(write(fd, bad, 0), 0);
	struct iovec v[3] = {{"ab", 2}, {NULL, 0}, {"cde", 3}};
	IS(writev(fd, v, 3), 5);
	IS(lseek(fd, 0, SEEK_SET), 0);
	char one[2], two[3];
	struct iovec r[2] = {{one, 2}, {two, 3}};
	IS(readv(fd, r, 2), 5);
	CHECK(!memcmp(two, "cde", 3));
	FAILS(readv(fd, r, -1), EINVAL);
	FAILS(readv(fd, r, 1025), EINVAL);
	FAILS(readv(fd, BAD, 1), EFAULT);
	IS(preadv(fd, r, 2, 1), 5);
	FAILS(preadv(fd, r, 2, -5), EINVAL);
	/* A buffer whose second half is not there: what fits counts. */
	char *page = anonymous(2 * PAGE, PROT_READ | PROT_WRITE);
	munmap(page + PAGE, PAGE);
	IS(pread(fd, page + PAGE - 3, 10, 0), 3);
	memset(page, 'q', PAGE);
	IS(ftruncate(fd, 0), 0);
	IS(pwrite(fd, page + PAGE - 3, 10, 0), 3);
	IS(size_of("f"), 3);
	IS(pwrite(fd, page + PAGE - 3, 10, 4094), 3);
	IS(size_of("f"), 4097);
	int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDWR);
	IS(write(null, BAD, 5), 5);
	IS(read(null, buffer, 5), 0);
	IS(read(zero, buffer, 64), 64);
	int full = open("/dev/full", O_RDWR);
	FAILS(write(full, "x", 1), ENOSPC);
	FAILS(read(zero, BAD, 10), EFAULT);
	int d = open(".", O_RDONLY);
	FAILS(read(d, buffer, 1), EISDIR);
	FAILS(read(77, buffer, 1), EBADF);
	FAILS(ftruncate(d, 0), EINVAL);
}

static void holes(void *unused __attribute__((unused)))
{
	struct stat s;
	fresh("holes");
	int fd = make("f", "");
	IS(ftruncate(fd, 10ll << 30), 0);
	IS(fstat(fd, &s), 0);
	IS(s.st_size, 10ll << 30);
	IS(s.st_blocks, 0);
	IS(pwrite(fd, "x", 1, 5ll << 30), 1);
	IS(fstat(fd, &s), 0);
	IS(s.st_blocks, 8);
	IS(lseek(fd, 0, SEEK_HOLE), 0);
	FAILS(lseek(fd, 11ll << 30, SEEK_DATA), ENXIO);
	IS(ftruncate(fd, 0), 0);
	IS(fallocate(fd, 0, 0, 3 * PAGE), 0);
	IS(fstat(fd, &s), 0);
	IS(s.st_size, 3 * PAGE);
	IS(s.st_blocks, 24);
	for (long at = 0; at < 3; at++)
		IS(pwrite(fd, "data", 4, at * (long)PAGE), 4);
	IS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE), 0);
	IS(fstat(fd, &s), 0);
	IS(s.st_blocks, 16);
	IS(lseek(fd, 0, SEEK_HOLE), PAGE);
	IS(lseek(fd, PAGE, SEEK_DATA), 2 * PAGE);
	IS(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 10 * PAGE), 0);
	IS(size_of("f"), 3 * PAGE);
	FAILS(fallocate(fd, 0, -1, 1), EINVAL);
	FAILS(fallocate(fd, 0, 0, 0), EINVAL);
	FAILS(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 1), EOPNOTSUPP);
	FAILS(ftruncate(fd, -1), EINVAL);
	FAILS(truncate("none", 0), ENOENT);
	FAILS(truncate(".", 0), EISDIR);
	IS(truncate("f", 5), 0);
	IS(size_of("f"), 5);
}

static void mapped(void *unused __attribute__((unused)))
{
	fresh("mapped");
	int fd = make("f", "");
	IS(ftruncate(fd, 3 * PAGE), 0);
	char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *q = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED && q != MAP_FAILED);
	char c;
	p[PAGE] = 'm';
	IS(pread(fd, &c, 1, PAGE), 1);
	CHECK(c == 'm' && q[PAGE] == 'm');
	IS(pwrite(fd, "w", 1, PAGE), 1);
	CHECK(p[PAGE] == 'w' && q[PAGE] == 'w');
	q[PAGE] = 'p';
	IS(pwrite(fd, "v", 1, PAGE), 1);
	CHECK(p[PAGE] == 'v' && q[PAGE] == 'p');
	/* Reading into, and writing from, a mapping of the file itself. */
	memcpy(p, "self", 4);
	IS(pwrite(fd, p, 4, 2 * PAGE), 4);
	IS(pread(fd, p + 8, 4, 2 * PAGE), 4);
	CHECK(!memcmp(p + 8, "self", 4));
	IS(unlink("f"), 0);
	p[0] = 'u';
	close(fd);
	p[2 * PAGE] = 'z';
	CHECK(p[0] == 'u' && p[2 * PAGE] == 'z');
	int tail = make("tail", "abc");
	char *t = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, tail, 0);
	t[100] = 'x';
	IS(ftruncate(tail, 200), 0);
	IS(pread(tail, &c, 1, 50), 1);
	CHECK(c == 0);
	IS(ftruncate(tail, 1), 0);
	IS(ftruncate(tail, 10), 0);
	IS(pread(tail, &c, 1, 2), 1);
	CHECK(c == 0);
	int ro = open("tail", O_RDONLY);
	FAILS((long)mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ro, 0), EACCES);
	FAILS((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, open(".", O_RDONLY), 0), ENODEV);
}

/* ---- names --------------------------------------------------------------------------- */

static void links(void *unused __attribute__((unused)))
{
	fresh("links");
	close(make("a", "text"));
	IS(link("a", "b"), 0);
	IS(links_of("a"), 2);
	FAILS(link("a", "b"), EEXIST);
	FAILS(link("none", "c"), ENOENT);
	IS(mkdir("d", 0755), 0);
	FAILS(link("d", "e"), EPERM);
	FAILS(link("a", "/dev/x"), EXDEV);
	FAILS(link("a", "/proc/x"), ENOENT);
	IS(links_of("d"), 2);
	IS(mkdir("d/sub", 0755), 0);
	IS(links_of("d"), 3);
	IS(symlink("a", "s"), 0);
	IS(link("s", "hs"), 0);
	IS(links_of("s"), 2);
	char text[10];
	IS(readlink("s", text, 10), 1);
	FAILS(readlink("a", text, 10), EINVAL);
	FAILS(readlink("s", text, 0), EINVAL);
	FAILS(readlink("s", BAD, 5), EFAULT);
	FAILS(readlink("none", text, 5), ENOENT);
	FAILS(symlink("x", "s"), EEXIST);
	FAILS(symlink("", "t"), ENOENT);
	IS(unlink("a"), 0);
	IS(size_of("b"), 4);
	IS(links_of("b"), 1);
	FAILS(stat("s", &(struct stat){0}), ENOENT);
	FAILS(unlink("none"), ENOENT);
	FAILS(unlink("d"), EISDIR);
	FAILS(unlink("b/"), ENOTDIR);
	FAILS(rmdir("b"), ENOTDIR);
	FAILS(rmdir("d"), ENOTEMPTY);
	FAILS(rmdir("d/sub/."), EINVAL);
	FAILS(rmdir("d/sub/.."), ENOTEMPTY);
	FAILS(rmdir("/"), EBUSY);
	FAILS(rmdir("/proc"), EBUSY);
	FAILS(mkdir("d", 0755), EEXIST);
	FAILS(mkdir("b", 0755), EEXIST);
	FAILS(mkdir(".", 0755), EEXIST);
	FAILS(mkdir("/", 0755), EEXIST);
	IS(mkdir("slash/", 0755), 0);
	FAILS(mknod("slash2/", S_IFREG | 0600, 0), ENOENT);
	FAILS(mknod("x", S_IFDIR | 0600, 0), EPERM);
	IS(mknod("null", S_IFCHR | 0666, makedev(1, 3)), 0);
	int fd = open("null", O_WRONLY);
	IS(write(fd, "gone", 4), 4);
	IS(mknod("nodev", S_IFCHR | 0666, makedev(200, 7)), 0);
	FAILS(open("nodev", O_RDONLY), ENXIO);
	/* A file that is open lives on without a name. */
	fd = make("open", "still");
	IS(unlink("open"), 0);
	IS(pread(fd, text, 5, 0), 5);
	CHECK(!memcmp(text, "still", 5));
	struct stat s;
	IS(fstat(fd, &s), 0);
	IS(s.st_nlink, 0);
}

static void renames(void *unused __attribute__((unused)))
{
	fresh("rename");
	close(make("a", "A"));
	close(make("b", "BB"));
	IS(rename("a", "b"), 0);
	IS(size_of("b"), 1);
	FAILS(rename("a", "b"), ENOENT);
	IS(link("b", "c"), 0);
	IS(rename("b", "c"), 0); /* the same file: nothing happens */
	IS(links_of("b"), 2);
	IS(mkdir("d", 0755), 0);
	IS(mkdir("e", 0755), 0);
	IS(mkdir("d/sub", 0755), 0);
	FAILS(rename("b", "d"), EISDIR);
	FAILS(rename("d", "b"), ENOTDIR);
	FAILS(rename("d", "d/sub/x"), EINVAL);
	FAILS(rename("d", "d/sub"), EINVAL);
	FAILS(rename("d/sub", "d"), ENOTEMPTY);
	FAILS(rename("e", "d"), ENOTEMPTY);
	IS(rename("d", "e"), 0);
	IS(links_of("e"), 3);
	IS(links_of("."), 3);
	IS(rename("e/sub", "sub"), 0);
	IS(links_of("e"), 2);
	IS(links_of("."), 4);
	FAILS(rename(".", "x"), EBUSY);
	FAILS(rename("e", ".."), EBUSY);
	FAILS(rename("b", "/proc/x"), EXDEV);
	FAILS(rename("b", "none/x"), ENOENT);
	FAILS(rename("b/", "x"), ENOTDIR);
	FAILS(rename("b", "x/"), ENOTDIR);
	IS(rename("e/", "e2/"), 0);
	FAILS(syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "c", 4 | 2), EINVAL);
	FAILS(syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "c", 1), EEXIST);
	close(make("f", "fff"));
	IS(syscall(SYS_renameat2, AT_FDCWD, "f", AT_FDCWD, "e2", 2), 0);
	IS(size_of("e2"), 3);
	IS(open("f", O_RDONLY | O_DIRECTORY) >= 0, 1);
	FAILS(syscall(SYS_renameat2, AT_FDCWD, "f", AT_FDCWD, "none", 2), ENOENT);
	/* A directory that somebody stands in moves along. */
	IS(mkdir("m", 0755), 0);
	IS(chdir("m"), 0);
	IS(rename("../m", "../n"), 0);
	char where[64];
	CHECK(getcwd(where, sizeof(where)) && !strcmp(where, "/tmp/files.rename/n"));
	FAILS(rename("/proc/self/comm", "/tmp/x"), EXDEV);
}

static void attributes(void *unused __attribute__((unused)))
{
	struct stat s;
	fresh("attributes");
	close(make("f", "x"));
	IS(chmod("f", 04755), 0);
	IS(stat("f", &s), 0);
	IS(s.st_mode, S_IFREG | 04755);
	IS(chown("f", 1000, 1001), 0);
	IS(stat("f", &s), 0);
	IS(s.st_uid, 1000);
	IS(s.st_gid, 1001);
	IS(s.st_mode, S_IFREG | 0755);
	IS(chown("f", -1, 5), 0);
	IS(stat("f", &s), 0);
	IS(s.st_uid, 1000);
	IS(symlink("f", "l"), 0);
	IS(lchown("l", 7, 7), 0);
	IS(lstat("l", &s), 0);
	IS(s.st_uid, 7);
	struct timespec t[2] = {{1000, 5}, {2000, 6}};
	IS(utimensat(AT_FDCWD, "f", t, 0), 0);
	IS(stat("f", &s), 0);
	IS(s.st_atim.tv_sec, 1000);
	IS(s.st_mtim.tv_nsec, 6);
	t[0].tv_nsec = UTIME_OMIT;
	t[1].tv_nsec = UTIME_NOW;
	IS(utimensat(AT_FDCWD, "f", t, 0), 0);
	IS(stat("f", &s), 0);
	IS(s.st_atim.tv_sec, 1000);
	CHECK(s.st_mtim.tv_sec > 1000000);
	t[0].tv_nsec = 1000000000;
	FAILS(utimensat(AT_FDCWD, "f", t, 0), EINVAL);
	umask(077);
	close(make("masked", ""));
	IS(stat("masked", &s), 0);
	IS(s.st_mode, S_IFREG | 0600);
	IS(umask(022), 077);
	struct statfs fs;
	IS(statfs("/proc", &fs), 0);
	IS(fs.f_type, 0x9fa0);
	FAILS(statfs("none", &fs), ENOENT);
	IS(access("f", R_OK | W_OK | X_OK), 0);
	IS(chmod("f", 0644), 0);
	FAILS(access("f", X_OK), EACCES);
}

static void permissions(void *unused __attribute__((unused)))
{
	fresh("permissions");
	IS(chmod(".", 0777), 0);
	IS(mkdir("closed", 0700), 0);
	close(make("closed/in", "x"));
	close(make("secret", "x"));
	IS(chmod("secret", 0600), 0);
	close(make("open", "x"));
	IS(chmod("open", 0644), 0);
	IS(mkdir("sticky", 0777), 0);
	IS(chmod("sticky", 01777), 0);
	close(make("sticky/theirs", "x"));
	IS(mkdir("readonly", 0755), 0);
	IS(setresgid(100, 100, 100), 0);
	IS(setresuid(1000, 1000, 1000), 0);
	FAILS(open("secret", O_RDONLY), EACCES);
	FAILS(open("open", O_WRONLY), EACCES);
	CHECK(open("open", O_RDONLY) >= 0);
	FAILS(open("closed/in", O_RDONLY), EACCES);
	FAILS(stat("closed/in", &(struct stat){0}), EACCES);
	FAILS(open("readonly/new", O_CREAT | O_RDWR, 0600), EACCES);
	FAILS(mkdir("readonly/new", 0700), EACCES);
	FAILS(unlink("sticky/theirs"), EPERM);
	FAILS(rename("sticky/theirs", "mine"), EPERM);
	IS(close(make("sticky/mine", "")), 0);
	IS(unlink("sticky/mine"), 0);
	FAILS(chmod("open", 0777), EPERM);
	FAILS(chown("open", 1000, 100), EPERM);
	FAILS(truncate("open", 0), EACCES);
	FAILS(chroot("/tmp"), EPERM);
	FAILS(mknod("dev", S_IFCHR | 0666, makedev(1, 3)), EPERM);
	FAILS(access("secret", R_OK), EACCES);
	FAILS(execve("/tmp/files.permissions/open", (char *[]){bad, NULL}, (char *[]){NULL}),
	      EACCES);
}

/* ---- directories ------------------------------------------------------------------------ */

static void directories(void *unused __attribute__((unused)))
{
	char name[20];
	fresh("dirs");
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		close(make(name, ""));
	}
	/* Small buffers, names going away while they are read: all that stay are seen once. */
	bool seen[300] = {false};
	int fd = open(".", O_RDONLY), count = 0;
	char buffer[200];
	long n;
	while ((n = syscall(SYS_getdents64, fd, buffer, sizeof(buffer))) > 0) {
		for (long at = 0; at < n;) {
			struct dirent64 *d = (struct dirent64 *)(buffer + at);
			at += d->d_reclen;
			if (d->d_name[0] == '.')
				continue;
			int k = atoi(d->d_name + 1);
			CHECK(!seen[k]);
			seen[k] = true;
			count++;
			CHECK(d->d_type == DT_REG);
			if (k % 3 == 0)
				unlink(d->d_name);
		}
	}
	IS(n, 0);
	IS(count, 300);
	IS(lseek(fd, 0, SEEK_SET), 0);
	count = 0;
	while ((n = syscall(SYS_getdents64, fd, buffer, sizeof(buffer))) > 0)
		for (long at = 0; at < n; at += ((struct dirent64 *)(buffer + at))->d_reclen)
			count++;
	IS(count, 202);
	lseek(fd, 0, SEEK_SET);
	FAILS(syscall(SYS_getdents64, fd, buffer, 5), EINVAL);
	FAILS(syscall(SYS_getdents64, fd, BAD, 200), EFAULT);
	FAILS(syscall(SYS_getdents64, open("n1", O_RDONLY), buffer, 200), ENOTDIR);
	DIR *dir = opendir(".");
	struct dirent *first = readdir(dir);
	CHECK(first != NULL);
	long where = telldir(dir);
	char next[256];
	strcpy(next, readdir(dir)->d_name);
	for (int i = 0; i < 50; i++)
		readdir(dir);
	seekdir(dir, where);
	CHECK(!strcmp(next, readdir(dir)->d_name));
	closedir(dir);
}

int main(void)
{
	static const struct file_case cases[] = {
	    {"open_flags", open_flags},   {"at_calls", at_calls},
	    {"read_write", read_write},   {"holes", holes},
	    {"mapped", mapped},           {"links", links},
	    {"renames", renames},         {"attributes", attributes},
	    {"permissions", permissions}, {"directories", directories},
	};
	return run_file_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
