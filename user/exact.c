/* SPDX-License-Identifier: MIT */
/*
 * Nothing is lost: after everything that can be drained is drained, MemFree is
 * exactly what it was before a program came and went.
 *
 *     exact [ROUNDS [COMMAND ...]]   each command (default: those below), ROUNDS
 *                                    times (default 5); what differs from its
 *                                    first reading counts
 *
 * One process takes all readings, so that what the reader itself needs is the
 * same each time; each command runs once uncounted first.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static char text[8192];

/* What the kernel counts, line by line, to say where a difference lies. */
static const char *const ledgers[] = {"/proc/quire", "/proc/slabinfo"};
static char ledger[2][2][65536]; /* before, after; by ledger */

static void fail(const char *what)
{
	perror(what);
	exit(2);
}

/* Opened once: a reading makes nothing that was not there at the one before. */
static int drop_caches, meminfo;

static long mem_free_kb(void)
{
	if (pwrite(drop_caches, "3\n", 2, 0) != 2)
		fail("drop_caches");
	ssize_t n = pread(meminfo, text, sizeof(text) - 1, 0);
	if (n <= 0)
		fail("meminfo");
	text[n] = 0;
	const char *at = strstr(text, "MemFree:");
	if (!at)
		fail("MemFree");
	return strtol(at + 8, NULL, 10);
}

static void read_ledgers(int which)
{
	for (int i = 0; i < 2; i++) {
		int fd = open(ledgers[i], O_RDONLY);
		size_t used = 0;
		ssize_t n;
		while (fd >= 0 &&
		       (n = read(fd, ledger[which][i] + used, sizeof(ledger[0][0]) - 1 - used)) > 0)
			used += (size_t)n;
		ledger[which][i][used] = 0;
		if (fd >= 0)
			close(fd);
	}
}

static void show_changes(void)
{
	for (int i = 0; i < 2; i++) {
		const char *a = ledger[0][i], *b = ledger[1][i];
		while (*a && *b) {
			size_t la = strcspn(a, "\n"), lb = strcspn(b, "\n");
			if (la != lb || memcmp(a, b, la))
				printf("    %.*s\n -> %.*s\n", (int)la, a, (int)lb, b);
			a += la + (a[la] != 0);
			b += lb + (b[lb] != 0);
		}
	}
}

static void run(const char *command)
{
	pid_t pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	int status;
	if (waitpid(pid, &status, 0) != pid)
		fail("waitpid");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		fail(command);
	while (wait(NULL) > 0 || errno == EINTR) /* what it left behind comes to us */
		continue;
}

static const char *const usual[] = {
    "true",
    "seq 1 20000 | sort -r | tail -1",
    "for i in 1 2 3 4 5 6 7 8; do (seq 1 3000 | md5sum) & done; wait",
    "dd if=/dev/zero of=/tmp/exact bs=64k count=100; cp /tmp/exact /tmp/exact2; rm "
    "/tmp/exact /tmp/exact2",
    "mkdir -p /tmp/d/e/f; touch /tmp/d/e/f/g; mv /tmp/d/e /tmp/d/h; find /tmp/d; rm -r "
    "/tmp/d",
    "hello",
};

int main(int argc, char **argv)
{
	const char *const *commands = argc > 2 ? (const char *const *)argv + 2 : usual;
	int count = argc > 2 ? argc - 2 : (int)(sizeof(usual) / sizeof(usual[0]));
	int rounds = argc > 1 ? atoi(argv[1]) : 5, lost = 0;
	drop_caches = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	meminfo = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	if (drop_caches < 0 || meminfo < 0)
		fail("open");
	if (prctl(PR_SET_CHILD_SUBREAPER, 1))
		fail("prctl");
	memset(ledger, 0, sizeof(ledger)); /* its pages are there from the start */
	for (int c = 0; c < count; c++) {
		run(commands[c]);
		mem_free_kb();
		long before = mem_free_kb();
		read_ledgers(0);
		for (int r = 0; r < rounds; r++) {
			run(commands[c]);
			long after = mem_free_kb();
			read_ledgers(1);
			if (after != before) {
				printf("%ld kB before, %ld after round %d: %s\n", before, after,
				       r + 1, commands[c]);
				show_changes();
				lost++;
				before = after;
			}
			memcpy(ledger[0], ledger[1], sizeof(ledger[0]));
		}
	}
	printf("exact: %d differences\n", lost);
	return lost != 0;
}
