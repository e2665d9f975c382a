/* SPDX-License-Identifier: MIT */
/*
 * What calls on descriptors answer, edge by edge: copies, pipes, FIFOs, polling, locks,
 * moving bytes between files, files of /proc. The expected answers are Linux's, and
 * the same program runs there.
 */
#define _GNU_SOURCE
#define CORNER "descriptors"
#include "filecheck.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

/* ---- descriptors ---------------------------------------------------------------------------- */

static void descriptors(void *unused __attribute__((unused)))
{
	fresh("fds");
	int fd = make("f", "0123456789");
	IS(fd, 3);
	IS(dup(fd), 4);
	IS(dup2(fd, 10), 10);
	IS(dup2(fd, fd), fd);
	FAILS(dup2(77, 77), EBADF);
	FAILS(dup2(77, 5), EBADF);
	FAILS(dup2(fd, -1), EBADF);
	FAILS(dup3(fd, fd, 0), EINVAL);
	FAILS(dup3(fd, 11, 12345), EINVAL);
	IS(dup3(fd, 11, O_CLOEXEC), 11);
	IS(fcntl(11, F_GETFD), FD_CLOEXEC);
	IS(fcntl(10, F_GETFD), 0);
	IS(fcntl(fd, F_DUPFD, 20), 20);
	IS(fcntl(fd, F_DUPFD_CLOEXEC, 20), 21);
	FAILS(fcntl(fd, F_DUPFD, -1), EINVAL);
	FAILS(fcntl(fd, 9999, 0), EINVAL);
	/* One position behind all of them. */
	IS(lseek(4, 5, SEEK_SET), 5);
	IS(lseek(20, 0, SEEK_CUR), 5);
	int other = open("f", O_RDONLY);
	IS(other, 5);
	IS(lseek(other, 0, SEEK_CUR), 0);
	IS(close(4), 0);
	FAILS(close(4), EBADF);
	IS(dup(fd), 4);
	IS(syscall(SYS_close_range, 10, 20, 0), 0);
	FAILS(fcntl(10, F_GETFD), EBADF);
	IS(fcntl(21, F_GETFD), FD_CLOEXEC);
	IS(syscall(SYS_close_range, 4, 4, 4), 0);
	IS(fcntl(4, F_GETFD), FD_CLOEXEC);
	FAILS(syscall(SYS_close_range, 5, 4, 0), EINVAL);
	struct rlimit limit = {30, 30};
	IS(setrlimit(RLIMIT_NOFILE, &limit), 0);
	int last = -1;
	for (int next; (next = dup(fd)) >= 0;)
		last = next;
	IS(last, 29);
	FAILS(open("new", O_CREAT | O_RDWR, 0600), EMFILE);
	IS(access("new", F_OK), -1);
	int pair[2];
	FAILS(pipe(pair), EMFILE);
	FAILS(dup2(fd, 30), EBADF);
	FAILS(fcntl(fd, F_DUPFD, 30), EINVAL);
	FAILS(ioctl(fd, 0x5401, bad), ENOTTY);
	FAILS(fcntl(99, F_GETFL), EBADF);
	int left;
	lseek(fd, 4, SEEK_SET);
	IS(ioctl(fd, FIONREAD, &left), 0);
	IS(left, 6);
}

/* ---- pipes --------------------------------------------------------------------------------------
 */

static void pipes(void *unused __attribute__((unused)))
{
	static char big[200000];
	int p[2];
	FAILS(pipe(BAD), EFAULT);
	FAILS(pipe2(p, 0x123456), EINVAL);
	IS(pipe2(p, O_NONBLOCK), 0);
	IS(p[0], 3);
	FAILS(read(p[0], big, 1), EAGAIN);
	IS(write(p[1], big, sizeof(big)), 65536);
	FAILS(write(p[1], big, 1), EAGAIN);
	struct pollfd w = {p[1], POLLOUT, 0};
	IS(poll(&w, 1, 0), 0);
	IS(read(p[0], big, 100), 100);
	FAILS(write(p[1], big, 4096), EAGAIN); /* no half of an atomic write */
	IS(read(p[0], big, 3996), 3996);
	IS(write(p[1], big, 4096), 4096);
	int left;
	IS(ioctl(p[0], FIONREAD, &left), 0);
	IS(left, 65536);
	FAILS(lseek(p[0], 0, SEEK_SET), ESPIPE);
	FAILS(pread(p[0], big, 1, 0), ESPIPE);
	FAILS(write(p[0], big, 1), EBADF);
	FAILS(read(p[1], big, 1), EBADF);
	IS(fcntl(p[0], F_GETPIPE_SZ), 65536);
	close(p[1]);
	struct pollfd r = {p[0], POLLIN, 0};
	IS(poll(&r, 1, 0), 1);
	IS(r.revents, POLLIN | POLLHUP);
	long got = 0, n;
	while ((n = read(p[0], big, sizeof(big))) > 0)
		got += n;
	IS(n, 0);
	IS(got, 65536);
	IS(poll(&r, 1, 0), 1);
	IS(r.revents, POLLHUP);
	close(p[0]);
	IS(pipe(p), 0);
	close(p[0]);
	signal(SIGPIPE, SIG_IGN);
	FAILS(write(p[1], "x", 1), EPIPE);
	w.fd = p[1];
	IS(poll(&w, 1, 0), 1);
	IS(w.revents, POLLOUT | POLLERR);
	close(p[1]);
	IS(pipe(p), 0);
	FAILS(write(p[1], BAD, 10), EFAULT);
	IS(write(p[1], "abc", 3), 3);
	FAILS(read(p[0], BAD, 3), EFAULT);
	IS(fcntl(p[0], F_SETPIPE_SZ, 4096), 4096);
	IS(fcntl(p[0], F_SETPIPE_SZ, 5000), 8192);
	IS(read(p[0], big, 3), 3);
	CHECK(!memcmp(big, "abc", 3));
	int status;
	signal(SIGPIPE, SIG_DFL);
	close(p[0]);
	if (fork() == 0) {
		write(p[1], "x", 1);
		_exit(0);
	}
	wait(&status);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
}

/* Several writers of records up to PIPE_BUF: no record is torn. */
static volatile int pipe_signals;
static void count_signal(int number __attribute__((unused)))
{
	pipe_signals++;
}

/* The reader goes away while a long write is under way: what was taken counts, and
 * SIGPIPE comes all the same. */
static void reader_leaves(void *unused __attribute__((unused)))
{
	static char big[200000];
	int p[2];
	signal(SIGPIPE, count_signal);
	IS(pipe(p), 0);
	if (!fork()) {
		close(p[1]);
		_exit(read(p[0], big, 4096) != 4096);
	}
	close(p[0]);
	ssize_t got = write(p[1], big, sizeof(big)); /* the room made may come too late */
	CHECK(got == 65536 || got == 65536 + 4096);
	IS(pipe_signals, 1);
	FAILS(write(p[1], big, 1), EPIPE);
	IS(pipe_signals, 2);
	int status;
	wait(&status);
	IS(status, 0);
}

static void pipe_records(void *unused __attribute__((unused)))
{
	int p[2];
	IS(pipe(p), 0);
	for (int writer = 0; writer < 4; writer++) {
		if (fork())
			continue;
		char record[PIPE_BUF];
		for (int i = 0; i < 200; i++) {
			unsigned bytes = 8 + (unsigned)(i * 37 + writer * 911) % (PIPE_BUF - 8);
			memset(record, 'a' + writer, bytes);
			memcpy(record, &bytes, 4);
			memcpy(record + 4, &writer, 4);
			if (write(p[1], record, bytes) != (long)bytes)
				_exit(1);
		}
		_exit(0);
	}
	close(p[1]);
	FILE *in = fdopen(p[0], "r");
	unsigned bytes, records = 0;
	int writer;
	while (fread(&bytes, 4, 1, in) == 1) {
		static char body[PIPE_BUF];
		IS(fread(&writer, 4, 1, in), 1);
		CHECK(bytes >= 8 && bytes <= PIPE_BUF && writer >= 0 && writer < 4);
		if (failures)
			return;
		IS(fread(body, 1, bytes - 8, in), bytes - 8);
		for (unsigned i = 0; i < bytes - 8; i++)
			CHECK(body[i] == 'a' + writer);
		records++;
	}
	IS(records, 800);
	int status;
	while (wait(&status) > 0)
		IS(status, 0);
}

static void fifos(void *unused __attribute__((unused)))
{
	char buffer[10];
	fresh("fifo");
	IS(mkfifo("p", 0600), 0);
	FAILS(open("p", O_WRONLY | O_NONBLOCK), ENXIO);
	int r = open("p", O_RDONLY | O_NONBLOCK);
	CHECK(r >= 0);
	IS(read(r, buffer, 1), 0);
	struct pollfd q = {r, POLLIN, 0};
	IS(poll(&q, 1, 0), 0);
	int w = open("p", O_WRONLY | O_NONBLOCK);
	CHECK(w >= 0);
	FAILS(read(r, buffer, 1), EAGAIN);
	IS(write(w, "abc", 3), 3);
	IS(read(r, buffer, 10), 3);
	close(w);
	IS(poll(&q, 1, 0), 1);
	IS(q.revents, POLLHUP);
	close(r);
	int both = open("p", O_RDWR);
	CHECK(both >= 0);
	IS(write(both, "self", 4), 4);
	close(both); /* what was in it goes with the last end */
	if (fork() == 0) {
		int fd = open("p", O_WRONLY);
		write(fd, "late", 4);
		_exit(0);
	}
	r = open("p", O_RDONLY);
	IS(read(r, buffer, 10), 4);
	IS(read(r, buffer, 10), 0);
	wait(NULL);
	struct stat s;
	IS(stat("p", &s), 0);
	IS(s.st_mode, S_IFIFO | 0600);
}

static void polling(void *unused __attribute__((unused)))
{
	int p[2];
	IS(pipe(p), 0);
	struct pollfd f[3] = {{p[0], POLLIN, 0}, {99, POLLIN, 7}, {-1, POLLIN, 7}};
	IS(poll(f, 3, 0), 1);
	IS(f[0].revents, 0);
	IS(f[1].revents, POLLNVAL);
	IS(f[2].revents, 0);
	struct timespec before, after;
	clock_gettime(CLOCK_MONOTONIC, &before);
	IS(poll(f, 1, 50), 0);
	clock_gettime(CLOCK_MONOTONIC, &after);
	long ms =
	    (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
	CHECK(ms >= 49);
	FAILS(poll(BAD, 1, 0), EFAULT);
	FAILS(poll(f, 100000000, 0), EINVAL);
	if (fork() == 0) {
		usleep(20000);
		write(p[1], "x", 1);
		_exit(0);
	}
	IS(poll(f, 1, -1), 1);
	IS(f[0].revents, POLLIN);
	fd_set in, out;
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_SET(p[0], &in);
	FD_SET(p[1], &out);
	struct timeval t;
	IS(select(p[1] + 1, &in, &out, NULL, NULL), 2);
	CHECK(FD_ISSET(p[0], &in) && FD_ISSET(p[1], &out));
	char c;
	IS(read(p[0], &c, 1), 1);
	t = (struct timeval){0, 1000};
	FD_ZERO(&in);
	FD_SET(p[0], &in);
	IS(select(p[0] + 1, &in, NULL, NULL, &t), 0);
	CHECK(!FD_ISSET(p[0], &in) && t.tv_sec == 0 && t.tv_usec == 0);
	FD_SET(50, &in);
	FAILS(select(51, &in, NULL, NULL, &t), EBADF);
	FAILS(select(-1, NULL, NULL, NULL, &t), EINVAL);
	wait(NULL);
	int regular = make("/tmp/files.poll", "x");
	struct pollfd g = {regular, POLLIN | POLLOUT, 0};
	IS(poll(&g, 1, -1), 1);
	IS(g.revents, POLLIN | POLLOUT);
}

static void nothing(int signal __attribute__((unused)))
{
}

static void interrupted(void *unused __attribute__((unused)))
{
	int p[2];
	char c;
	struct sigaction a = {.sa_handler = nothing};
	IS(pipe(p), 0);
	sigaction(SIGALRM, &a, NULL);
	/* Again and again: on a busy machine the first may come before the call. */
	struct itimerval often = {{0, 50000}, {0, 50000}}, never = {{0, 0}, {0, 0}};
	IS(setitimer(ITIMER_REAL, &often, NULL), 0);
	FAILS(read(p[0], &c, 1), EINTR);
	struct pollfd f = {p[0], POLLIN, 0};
	FAILS(poll(&f, 1, -1), EINTR);
	IS(setitimer(ITIMER_REAL, &never, NULL), 0);
	/* ppoll lets in what is blocked outside. */
	sigset_t block, none;
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGALRM);
	sigprocmask(SIG_BLOCK, &block, NULL);
	raise(SIGALRM);
	FAILS(ppoll(&f, 1, NULL, &none), EINTR);
	sigset_t now;
	sigprocmask(SIG_BLOCK, NULL, &now);
	CHECK(sigismember(&now, SIGALRM));
	sigprocmask(SIG_UNBLOCK, &block, NULL);
	/* With SA_RESTART a read goes on. */
	a.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &a, NULL);
	if (fork() == 0) {
		sleep(2);
		write(p[1], "x", 1);
		_exit(0);
	}
	alarm(1);
	IS(read(p[0], &c, 1), 1);
	wait(NULL);
}

/* ---- locks, moving bytes
 * ------------------------------------------------------------------------- */

static void locks(void *unused __attribute__((unused)))
{
	fresh("locks");
	int a = make("f", "0123456789"), b = open("f", O_RDWR);
	IS(flock(a, LOCK_EX), 0);
	FAILS(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	IS(flock(a, LOCK_SH), 0);
	IS(flock(b, LOCK_SH | LOCK_NB), 0);
	IS(flock(a, LOCK_UN), 0);
	FAILS(flock(a, 77), EINVAL);
	close(b);
	struct flock l = {.l_type = F_WRLCK, .l_start = 2, .l_len = 5};
	IS(fcntl(a, F_SETLK, &l), 0);
	if (fork() == 0) {
		struct flock q = {.l_type = F_WRLCK, .l_start = 0, .l_len = 0};
		int bad_answers = 0;
		bad_answers += fcntl(a, F_GETLK, &q) != 0 || q.l_type != F_WRLCK ||
			       q.l_start != 2 || q.l_len != 5 || q.l_pid != getppid();
		q = (struct flock){.l_type = F_RDLCK, .l_start = 6, .l_len = 1};
		bad_answers += fcntl(a, F_SETLK, &q) != -1 || errno != EAGAIN;
		q = (struct flock){.l_type = F_WRLCK, .l_start = 7, .l_len = 1};
		bad_answers += fcntl(a, F_SETLK, &q) != 0;
		q = (struct flock){.l_type = F_WRLCK, .l_start = 3, .l_len = 1};
		bad_answers += fcntl(a, F_SETLKW, &q) != 0; /* once the parent lets go */
		_exit(bad_answers);
	}
	usleep(50000);
	l = (struct flock){.l_type = F_UNLCK, .l_start = 3, .l_len = 1};
	IS(fcntl(a, F_SETLK, &l), 0);
	int status;
	wait(&status);
	IS(status, 0);
	l = (struct flock){.l_type = F_WRLCK, .l_start = -1, .l_whence = SEEK_SET};
	FAILS(fcntl(a, F_SETLK, &l), EINVAL);
	l.l_type = 9;
	FAILS(fcntl(a, F_SETLK, &l), EINVAL);
	int r = open("f", O_RDONLY);
	l = (struct flock){.l_type = F_WRLCK};
	FAILS(fcntl(r, F_SETLK, &l), EBADF);
}

static void moving(void *unused __attribute__((unused)))
{
	char buffer[32];
	fresh("moving");
	int a = make("a", "0123456789"), b = make("b", "");
	off_t at = 2;
	IS(sendfile(b, a, &at, 5), 5);
	IS(at, 7);
	IS(lseek(a, 0, SEEK_CUR), 10);
	lseek(a, 8, SEEK_SET);
	IS(sendfile(b, a, NULL, 100), 2);
	IS(pread(b, buffer, 32, 0), 7);
	CHECK(!memcmp(buffer, "2345689", 7));
	FAILS(sendfile(a, 99, NULL, 1), EBADF);
	at = -5;
	FAILS(sendfile(b, a, &at, 1), EINVAL);
	off_t from = 1, to = 20;
	IS(copy_file_range(a, &from, b, &to, 3, 0), 3);
	IS(to, 23);
	IS(size_of("b"), 23);
	FAILS(copy_file_range(a, &from, b, &to, 3, 1), EINVAL);
	int p[2];
	IS(pipe(p), 0);
	from = 4;
	IS(splice(a, &from, p[1], NULL, 4, 0), 4);
	IS(read(p[0], buffer, 32), 4);
	CHECK(!memcmp(buffer, "4567", 4));
	IS(write(p[1], "pipe", 4), 4);
	to = 0;
	IS(splice(p[0], NULL, b, &to, 4, 0), 4);
	IS(pread(b, buffer, 4, 0), 4);
	CHECK(!memcmp(buffer, "pipe", 4));
	FAILS(splice(a, NULL, b, NULL, 4, 0), EINVAL);
}

/* Devices that are the same everywhere take positions and forget them; terminals and
 * pipes do not. */
static void positions_of_devices(void *unused __attribute__((unused)))
{
	char buffer[16] = "x";
	int zero = open("/dev/zero", O_RDWR), null = open("/dev/null", O_RDWR), p[2];
	IS(lseek(zero, 1000, SEEK_SET), 0);
	IS(lseek(zero, 0, SEEK_CUR), 0);
	IS(pread(zero, buffer, 16, 12345), 16);
	IS(buffer[0], 0);
	IS(pread(null, buffer, 16, 0), 0);
	IS(pwrite(null, buffer, 16, 99), 16);
	FAILS(pread(zero, buffer, 16, -1), EINVAL);
	IS(pipe(p), 0);
	FAILS(lseek(p[0], 0, SEEK_CUR), ESPIPE);
	FAILS(pread(p[0], buffer, 1, 0), ESPIPE);
	FAILS(pwrite(p[1], buffer, 1, 0), ESPIPE);
}

/* Appends from several processes do not overwrite each other. */
static void appends(void *unused __attribute__((unused)))
{
	fresh("append");
	close(make("f", ""));
	for (int k = 0; k < 4; k++) {
		if (fork())
			continue;
		int fd = open("f", O_WRONLY | O_APPEND);
		for (int i = 0; i < 300; i++)
			if (write(fd, "0123456789", 10) != 10)
				_exit(1);
		_exit(0);
	}
	int status;
	while (wait(&status) > 0)
		IS(status, 0);
	IS(size_of("f"), 12000);
}

/* Several processes make, move and remove names in one place. */
static void name_storm(void *unused __attribute__((unused)))
{
	fresh("storm");
	IS(mkdir("x", 0755), 0);
	IS(mkdir("y", 0755), 0);
	for (int k = 0; k < 4; k++) {
		if (fork())
			continue;
		unsigned seed = (unsigned)k + 1;
		for (int i = 0; i < 500; i++) {
			char a[32], b[32];
			seed = seed * 1103515245 + 12345;
			snprintf(a, sizeof(a), "%c/%u", "xy"[seed >> 16 & 1], seed >> 17 & 7);
			seed = seed * 1103515245 + 12345;
			snprintf(b, sizeof(b), "%c/%u", "xy"[seed >> 16 & 1], seed >> 17 & 7);
			switch (seed >> 20 & 7) {
			case 0:
			case 1:
				close(open(a, O_CREAT | O_RDWR, 0600));
				break;
			case 2:
				mkdir(a, 0700);
				break;
			case 3:
				rename(a, b);
				break;
			case 4:
				link(a, b);
				break;
			case 5:
				unlink(a);
				break;
			case 6:
				rmdir(a);
				break;
			case 7:
				syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 2);
				break;
			}
		}
		_exit(0);
	}
	int status;
	while (wait(&status) > 0)
		IS(status, 0);
	IS(system("rm -r x y"), 0);
	IS(links_of("."), 2);
}

static void proc_files(void *unused __attribute__((unused)))
{
	char text[256], where[64];
	fresh("proc");
	int fd = make("f", "x");
	snprintf(where, sizeof(where), "/proc/self/fd/%d", fd);
	long n = readlink(where, text, sizeof(text));
	text[n > 0 ? n : 0] = 0;
	CHECK(!strcmp(text, "/tmp/" CORNER ".proc/f"));
	unlink("f");
	n = readlink(where, text, sizeof(text));
	text[n > 0 ? n : 0] = 0;
	CHECK(!strcmp(text, "/tmp/" CORNER ".proc/f (deleted)"));
	int again = open(where, O_RDONLY);
	IS(read(again, text, 1), 1);
	FAILS(open("/proc/self/none", O_RDONLY), ENOENT);
	FAILS(open("/proc/999999/stat", O_RDONLY), ENOENT);
	FAILS(open("/proc/new", O_CREAT | O_RDWR, 0600), ENOENT);
	n = readlink("/proc/self/cwd", text, sizeof(text));
	text[n > 0 ? n : 0] = 0;
	CHECK(!strcmp(text, "/tmp/" CORNER ".proc"));
	FILE *f = fopen("/proc/self/stat", "r");
	int pid = 0;
	IS(fscanf(f, "%d", &pid), 1);
	IS(pid, getpid());
	fclose(f);
	f = fopen("/proc/self/cmdline", "r");
	n = (long)fread(text, 1, sizeof(text), f);
	CHECK(n == sizeof(CORNER) && !memcmp(text, CORNER, sizeof(CORNER)));
	fclose(f);
	fd = open("/proc/self/maps", O_RDONLY);
	long total = 0;
	while ((n = read(fd, text, 7)) > 0) /* in small pieces */
		total += n;
	CHECK(total > 200);
	FAILS(write(fd, "x", 1), EBADF);
	static int value = 12345;
	fd = open("/proc/self/mem", O_RDWR);
	int copy = 0;
	IS(pread(fd, &copy, 4, (off_t)(uintptr_t)&value), 4);
	IS(copy, 12345);
	copy = 77;
	IS(pwrite(fd, &copy, 4, (off_t)(uintptr_t)&value), 4);
	IS(*(volatile int *)&value, 77);
	FAILS(pread(fd, &copy, 4, 1), EIO);
}

int main(void)
{
	static const struct file_case cases[] = {
	    {"descriptors", descriptors},
	    {"pipes", pipes},
	    {"reader_leaves", reader_leaves},
	    {"pipe_records", pipe_records},
	    {"fifos", fifos},
	    {"polling", polling},
	    {"interrupted", interrupted},
	    {"locks", locks},
	    {"moving", moving},
	    {"positions_of_devices", positions_of_devices},
	    {"appends", appends},
	    {"name_storm", name_storm},
	    {"proc_files", proc_files},
	};
	return run_file_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
