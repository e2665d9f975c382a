/* SPDX-License-Identifier: MIT */
/*
 * Terminals through a pseudo-terminal: line editing, raw mode byte by byte,
 * sessions and job control, hang-up. A read that waits for what never comes ends
 * its case by SIGALRM.
 */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
/* What does not come at all fails, with what came; how soon it comes is the host's affair. */
enum { PATIENCE = 30000 };
static void want(int fd, const char *s)
{
	struct pollfd pf = {fd, POLLIN, 0};
	char b[256];
	size_t n = strlen(s), g = 0;
	while (g < n) {
		if (poll(&pf, 1, PATIENCE) <= 0)
			break;
		long r = read(fd, b + g, n - g);
		if (r <= 0)
			break;
		g += r;
	}
	if (g != n || memcmp(b, s, n)) {
		printf("    got '%.*s' wanted '%s'\n", (int)g, b, s);
		failures++;
	}
}
static int pair(int *m, char *name)
{
	*m = posix_openpt(O_RDWR | O_NOCTTY);
	CHECK(*m >= 0);
	CHECK(open(ptsname(*m), O_RDWR | O_NOCTTY) == -1 && errno == EIO);
	CHECK(grantpt(*m) == 0 && unlockpt(*m) == 0);
	strcpy(name, ptsname(*m));
	int s = open(name, O_RDWR | O_NOCTTY);
	CHECK(s >= 0);
	return s;
}
static long rd(int s, char *b, size_t n)
{
	struct pollfd p = {s, POLLIN, 0};
	if (poll(&p, 1, PATIENCE) <= 0)
		return -9;
	return read(s, b, n);
}
static void cooked(void *u __attribute__((unused)))
{
	int m;
	char n[64];
	int s = pair(&m, n);
	char b[100];
	write(s, "a\nb", 3);
	want(m, "a\r\nb");
	write(m, "hello\r", 6);
	want(m, "hello\r\n");
	CHECK(rd(s, b, 100) == 6 && !memcmp(b, "hello\n", 6));
	write(m, "abc\x7f\x7fx\r", 7);
	want(m, "abc\b \b\b \bx\r\n");
	CHECK(rd(s, b, 100) == 3 && !memcmp(b, "ax\n", 3));
	write(m, "junk\x15ok\n", 8);
	want(m, "junk\b \b\b \b\b \b\b \bok\r\n");
	CHECK(rd(s, b, 100) == 3);
	write(m, "two words\x17x\n", 12);
	want(m, "two words\b \b\b \b\b \b\b \b\b \bx\r\n");
	CHECK(rd(s, b, 100) == 6 && !memcmp(b, "two x\n", 6));
	write(m, "part\x04", 5);
	want(m, "part");
	CHECK(rd(s, b, 100) == 4);
	write(m, "\x04", 1);
	CHECK(rd(s, b, 100) == 0);
	write(m, "l1\nl2\n", 6);
	want(m, "l1\r\nl2\r\n");
	CHECK(rd(s, b, 100) == 3);
	CHECK(rd(s, b, 2) == 2);
	CHECK(rd(s, b, 100) == 1);
	write(m, "\x16\x03\n", 3);
	want(m, "^\b^C\r\n");
	CHECK(rd(s, b, 100) == 2 && b[0] == 3);
	write(m, "\x01z\n", 3);
	want(m, "^Az\r\n");
	CHECK(rd(s, b, 100) == 3);
	write(m, "q\tr\x7f\x7fs\n", 7);
	want(m, "q\tr\b \b\b\b\b\b\b\b\bs\r\n");
	CHECK(rd(s, b, 100) == 3);
	struct pollfd p = {s, POLLIN, 0};
	write(m, "no line", 7);
	CHECK(poll(&p, 1, 50) == 0);
	write(m, "\n", 1);
	CHECK(poll(&p, 1, 50) == 1);
}
static void raw(void *u __attribute__((unused)))
{
	int m;
	char n[64];
	int s = pair(&m, n);
	unsigned char b[600], c[300];
	struct termios t;
	CHECK(tcgetattr(s, &t) == 0);
	cfmakeraw(&t);
	CHECK(tcsetattr(s, TCSANOW, &t) == 0);
	for (int i = 0; i < 256; i++)
		b[i] = i;
	CHECK(write(m, b, 256) == 256);
	size_t g = 0;
	while (g < 256) {
		long r = read(s, c + g, 256 - g);
		if (r <= 0)
			break;
		g += r;
	}
	CHECK(g == 256 && !memcmp(b, c, 256));
	CHECK(write(s, b, 256) == 256);
	g = 0;
	while (g < 256) {
		long r = read(m, c + g, 256 - g);
		if (r <= 0)
			break;
		g += r;
	}
	CHECK(g == 256 && !memcmp(b, c, 256));
	t.c_cc[VMIN] = 0;
	t.c_cc[VTIME] = 1;
	tcsetattr(s, TCSANOW, &t);
	CHECK(read(s, c, 10) == 0);
	write(m, "x", 1);
	CHECK(read(s, c, 10) == 1);
	t.c_cc[VMIN] = 0;
	t.c_cc[VTIME] = 0;
	tcsetattr(s, TCSANOW, &t);
	CHECK(read(s, c, 10) == 0);
	t.c_cc[VMIN] = 5;
	t.c_cc[VTIME] = 1;
	tcsetattr(s, TCSANOW, &t);
	write(m, "ab", 2);
	CHECK(read(s, c, 10) == 2);
	t.c_cc[VMIN] = 5;
	t.c_cc[VTIME] = 0;
	tcsetattr(s, TCSANOW, &t);
	if (fork() == 0) {
		write(m, "abc", 3);
		usleep(50000);
		write(m, "de", 2);
		_exit(0);
	}
	CHECK(read(s, c, 10) == 5);
	wait(NULL);
	fcntl(s, F_SETFL, O_NONBLOCK);
	CHECK(read(s, c, 1) == -1 && errno == EAGAIN);
}
static volatile int got;
static void h(int s)
{
	got = s;
}
static void session(void *u __attribute__((unused)))
{
	int m;
	char n[64];
	int s0 = pair(&m, n);
	int st, go[2];
	char b[50];
	CHECK(pipe(go) == 0);
	pid_t p = fork();
	if (p == 0) {
		close(m);
		close(s0);
		setsid();
		int s = open(n, O_RDWR);
		if (s < 0 || tcgetsid(s) != getpid() || tcgetpgrp(s) != getpid())
			_exit(1);
		signal(SIGINT, h);
		signal(SIGHUP, h);
		write(s, "r", 1);
		while (!got)
			usleep(1000);
		if (got != SIGINT)
			_exit(2);
		/* The signal may come before the echo of its character: not so the word. */
		char word;
		if (read(go[0], &word, 1) != 1)
			_exit(10);
		int t = open("/dev/tty", O_RDWR);
		if (t < 0)
			_exit(3);
		write(t, "t", 1);
		pid_t c = fork();
		if (c == 0) {
			setpgid(0, 0);
			signal(SIGTTOU, SIG_IGN);
			char z;
			if (read(s, &z, 1) != -1)
				_exit(9);
			_exit(0);
		}
		setpgid(c, c);
		int w;
		waitpid(c, &w, WUNTRACED);
		if (!WIFSTOPPED(w) || WSTOPSIG(w) != SIGTTIN)
			_exit(4);
		if (tcsetpgrp(s, c))
			_exit(5);
		signal(SIGTTOU, SIG_IGN);
		kill(c, SIGCONT);
		kill(c, SIGKILL);
		waitpid(c, &w, 0);
		tcsetpgrp(s, getpid());
		got = 0;
		write(s, "g", 1);
		while (!got)
			usleep(1000);
		_exit(got == SIGHUP ? 7 : 8);
	}
	want(m, "r");
	write(m, "\x03", 1);
	want(m, "^C");
	CHECK(write(go[1], "g", 1) == 1);
	want(m, "tg");
	struct winsize ws = {10, 20, 0, 0};
	CHECK(ioctl(m, TIOCSWINSZ, &ws) == 0);
	struct winsize w2;
	CHECK(ioctl(m, TIOCGWINSZ, &w2) == 0 && w2.ws_col == 20);
	close(s0);
	close(m);
	waitpid(p, &st, 0);
	CHECK(WIFEXITED(st));
	if (WIFEXITED(st))
		printf("child %d\n", WEXITSTATUS(st));
	(void)b;
}
static void closing(void *u __attribute__((unused)))
{
	int m;
	char n[64];
	int s = pair(&m, n);
	char b[10];
	write(s, "bye", 3);
	close(s);
	want(m, "bye");
	CHECK(read(m, b, 1) == -1 && errno == EIO);
	struct pollfd p = {m, POLLIN, 0};
	CHECK(poll(&p, 1, 0) == 1 && (p.revents & POLLHUP));
	s = open(n, O_RDWR | O_NOCTTY);
	CHECK(s >= 0);
	CHECK(poll(&p, 1, 0) == 0);
	close(m);
	CHECK(read(s, b, 1) == 0);
	CHECK(write(s, "x", 1) == -1 && errno == EIO);
	CHECK(access(n, F_OK) == -1);
	CHECK(isatty(0) == 0);
}
/* Writers to a terminal that was stopped (Ctrl-S): each can be ended, also the one that
 * waits behind another. */
static void stopped_writers(void *u __attribute__((unused)))
{
	int m, status;
	char n[64];
	int s = pair(&m, n);
	CHECK(tcflow(s, TCOOFF) == 0); /* as Ctrl-S, but at once */
	pid_t writer[2];
	for (int k = 0; k < 2; k++) {
		writer[k] = fork();
		if (!writer[k]) {
			write(s, "never\n", 6);
			_exit(0);
		}
		usleep(50000);
	}
	for (int k = 1; k >= 0; k--) {
		kill(writer[k], SIGTERM);
		CHECK(waitpid(writer[k], &status, 0) == writer[k]);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	}
	CHECK(tcflow(s, TCOON) == 0);
	write(s, "on", 2);
	want(m, "on");
}
int main(void)
{
	run_case("cooked", cooked);
	run_case("raw", raw);
	run_case("session", session);
	run_case("closing", closing);
	run_case("stopped_writers", stopped_writers);
	return failures != 0;
}
