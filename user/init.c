/* SPDX-License-Identifier: MIT */
/*
 * The first program, the same under Quire and under Linux.
 *
 * The kernel's command line says what it is to do:
 *
 *   quire.run=shell    a shell on /dev/ttyS0, the terminal of `./run`
 *   quire.run=channel  commands from `./run -- COMMAND`, over /dev/ttyS2
 *   (neither)          a shell on /dev/ttyS0: nobody is listening elsewhere
 *
 * The channel carries frames: a type, a length (16 bits, little-endian), and
 * that many bytes. The tty is raw, so bytes arrive as they were sent.
 *
 *   to the host               to the guest
 *   H  here I am              A  a piece of the next command
 *   O  bytes of stdout        X  run it (the pieces: argc in 4 bytes, then
 *   E  bytes of stderr           argv and the environment, each ended by NUL)
 *   S  it ended: 0 and its    I  bytes for stdin       Z  end of stdin
 *      status, or 1 and the   K  kill it               Q  power off
 *      signal                 o  nobody reads O any more
 *   C  so many bytes of A      e  nobody reads E any more
 *      and I (4 bytes) were
 *      taken
 *
 * A UART has no flow control and a tty drops what its reader leaves lying, so
 * the host never has more than WINDOW bytes of A and I under way: it counts them
 * and C gives them back. The other direction needs nothing of the kind: writing
 * to the tty blocks.
 *
 * A command is started by a child of ours that waits for it and writes the
 * outcome to a pipe: ppoll() then covers all there is to wait for; SIGCHLD, let in
 * only there, is for orphans, which are reaped at once. When the command is over,
 * what its pipes still hold is sent before S, but pipes that its own children keep
 * open are not waited for.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { WINDOW = 2048, FRAME = 1024, COMMAND_MAX = 4 << 20 };

static int channel = -1;
static char *start_environment[] = {
    "PATH=/usr/local/bin:/bin", "HOME=/root", "USER=root", "SHELL=/bin/sh", "TERM=linux", NULL};

/* ---- the channel ------------------------------------------------------------ */

static void write_all(int fd, const void *bytes, size_t count)
{
	const char *p = bytes;
	while (count) {
		ssize_t n = write(fd, p, count);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nobody is left to tell */
		p += n;
		count -= (size_t)n;
	}
}

static void send_frame(char type, const void *payload, size_t count)
{
	unsigned char frame[3 + FRAME];
	frame[0] = (unsigned char)type;
	frame[1] = (unsigned char)(count & 255);
	frame[2] = (unsigned char)(count >> 8);
	if (count)
		memcpy(frame + 3, payload, count);
	write_all(channel, frame, 3 + count);
}

static void send_credit(uint32_t count)
{
	if (count)
		send_frame('C', &count, 4);
}

static int open_raw(const char *path)
{
	int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios t;
	if (fd < 0)
		return -1;
	if (tcgetattr(fd, &t) < 0) { /* a port that is not there opens under Linux */
		close(fd);
		return -1;
	}
	cfmakeraw(&t);
	t.c_cflag |= CLOCAL | CREAD;
	t.c_cflag &= ~(tcflag_t)(HUPCL | CRTSCTS);
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	tcsetattr(fd, TCSANOW, &t);
	return fd;
}

/* ---- starting a command ------------------------------------------------------- */

struct command {
	bool running;
	int in, out, err; /* our ends of its pipes, -1 when closed */
	int done;         /* struct outcome arrives here */
	pid_t pid;        /* the command itself, also its process group */
	char waiting[WINDOW];
	size_t waiting_count; /* stdin not yet written */
	bool end_of_input;
};

struct outcome {
	pid_t pid;
	int status; /* as wait() has it; valid in the second message */
};

static sigset_t usual_mask; /* what we were started with */

static void child_exec(char **argv, char **environment)
{
	environ = environment;
	signal(SIGPIPE, SIG_DFL);
	signal(SIGCHLD, SIG_DFL);
	sigprocmask(SIG_SETMASK, &usual_mask, NULL);
	setsid();
	execvp(argv[0], argv);
	int why = errno;
	dprintf(2, "%s: %s\n", argv[0], why == ENOENT ? "not found" : strerror(why));
	_exit(why == ENOENT ? 127 : 126);
}

/* In a child of ours: start the command, wait for it, say how it ended. */
static void wait_for(char **argv, char **environment, int report)
{
	struct outcome o = {fork(), 0};
	if (o.pid == 0)
		child_exec(argv, environment);
	if (o.pid < 0) { /* the end of the pipe says that there was no command */
		dprintf(2, "init: fork: %s\n", strerror(errno));
		_exit(1);
	}
	close(0);
	close(1);
	close(2);
	write_all(report, &o, sizeof(o));
	while (waitpid(o.pid, &o.status, 0) < 0 && errno == EINTR)
		continue;
	write_all(report, &o, sizeof(o));
	_exit(0);
}

static void drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static bool start(struct command *c, char **argv, char **environment)
{
	int in[2], out[2], err[2], done[2];
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC) ||
	    pipe2(done, O_CLOEXEC))
		return false;
	pid_t waiter = fork();
	if (waiter < 0)
		return false;
	if (waiter == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		/* An end of stdin held open here would never end. */
		int unused[] = {in[0], in[1], out[0], out[1], err[0], err[1], done[0], channel};
		for (unsigned i = 0; i < sizeof(unused) / sizeof(unused[0]); i++)
			close(unused[i]);
		wait_for(argv, environment, done[1]);
	}
	close(in[0]);
	close(out[1]);
	close(err[1]);
	close(done[1]);
	*c = (struct command){.running = true, .in = in[1], .out = out[0], .err = err[0]};
	c->done = done[0];
	fcntl(c->in, F_SETFL, O_NONBLOCK);
	fcntl(c->out, F_SETFL, O_NONBLOCK);
	fcntl(c->err, F_SETFL, O_NONBLOCK);
	return true;
}

/* The collected pieces: argc, then strings. */
static bool start_collected(struct command *c, char *bytes, size_t count)
{
	uint32_t argc;
	if (count < 5 || bytes[count - 1] != 0)
		return false;
	memcpy(&argc, bytes, 4);
	size_t strings = 0;
	for (size_t i = 4; i < count; i++)
		strings += bytes[i] == 0;
	if (argc == 0 || argc > strings)
		return false;
	char **list = calloc(strings + 2, sizeof(char *));
	if (!list)
		return false;
	size_t n = 0;
	for (char *s = bytes + 4; s < bytes + count; s += strlen(s) + 1) {
		if (n == argc)
			n++; /* the NULL after argv */
		list[n++] = s;
	}
	char **environment = strings > argc ? list + argc + 1 : start_environment;
	bool ok = start(c, list, environment);
	free(list);
	return ok;
}

/* ---- carrying ----------------------------------------------------------------- */

/* Send what a pipe has; false when there is nothing now. */
static bool relay(int *fd, char type)
{
	char buffer[FRAME];
	ssize_t n = *fd < 0 ? 0 : read(*fd, buffer, sizeof(buffer));
	if (n > 0) {
		send_frame(type, buffer, (size_t)n);
		return true;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		drop(fd);
	return false;
}

static void feed(struct command *c)
{
	if (c->waiting_count) {
		ssize_t n = c->in < 0 ? (ssize_t)c->waiting_count
				      : write(c->in, c->waiting, c->waiting_count);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) { /* it does not read any more: swallow the rest */
			drop(&c->in);
			n = (ssize_t)c->waiting_count;
		}
		c->waiting_count -= (size_t)n;
		memmove(c->waiting, c->waiting + n, c->waiting_count);
		send_credit((uint32_t)n);
	}
	if (c->end_of_input && !c->waiting_count)
		drop(&c->in);
}

static void finish(struct command *c, int status)
{
	while (relay(&c->out, 'O'))
		continue;
	while (relay(&c->err, 'E'))
		continue;
	send_credit((uint32_t)c->waiting_count);
	drop(&c->in);
	drop(&c->out);
	drop(&c->err);
	drop(&c->done);
	if (c->pid > 0)
		kill(-c->pid, SIGKILL); /* what it left behind in its session */
	unsigned char s[2] = {0, 0};
	if (WIFSIGNALED(status)) {
		s[0] = 1;
		s[1] = (unsigned char)WTERMSIG(status);
	} else {
		s[1] = (unsigned char)WEXITSTATUS(status);
	}
	c->running = false;
	send_frame('S', s, 2);
}

static void power_off(void)
{
	sync();
	if (channel >= 0)
		tcdrain(channel);
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static char *collected;
static size_t collected_count;

static void collect(const unsigned char *bytes, size_t count)
{
	if (collected_count + count > COMMAND_MAX)
		return; /* X will then fail */
	char *bigger = realloc(collected, collected_count + count);
	if (!bigger)
		return;
	collected = bigger;
	memcpy(collected + collected_count, bytes, count);
	collected_count += count;
}

static void take_frame(struct command *c, char type, const unsigned char *bytes, size_t count)
{
	switch (type) {
	case 'A':
		collect(bytes, count);
		send_credit((uint32_t)count);
		break;
	case 'X':
		if (c->running)
			break;
		if (!start_collected(c, collected, collected_count)) {
			static const char why[] = "init: cannot start the command\n";
			send_frame('E', why, sizeof(why) - 1);
			send_frame('S', "\0\176", 2);
		}
		free(collected);
		collected = NULL;
		collected_count = 0;
		break;
	case 'I':
		if (!c->running || count > WINDOW - c->waiting_count) {
			send_credit((uint32_t)count);
			break;
		}
		memcpy(c->waiting + c->waiting_count, bytes, count);
		c->waiting_count += count;
		feed(c);
		break;
	case 'Z':
		c->end_of_input = true;
		feed(c);
		break;
	case 'o': /* the command's next write ends as one to a pipe without a reader */
		drop(&c->out);
		break;
	case 'e':
		drop(&c->err);
		break;
	case 'K':
		if (c->running && c->pid > 0)
			kill(-c->pid, SIGKILL);
		break;
	case 'Q':
		power_off();
		break;
	default:
		break;
	}
}

/* Read what the channel has and act on the whole frames in it. */
static void take_input(struct command *c)
{
	static unsigned char buffer[3 + 65536];
	static size_t have;
	ssize_t n = read(channel, buffer + have, sizeof(buffer) - have);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0)
		power_off();
	have += (size_t)n;
	size_t at = 0;
	while (have - at >= 3) {
		size_t count = buffer[at + 1] | (size_t)buffer[at + 2] << 8;
		if (have - at < 3 + count)
			break;
		take_frame(c, (char)buffer[at], buffer + at + 3, count);
		at += 3 + count;
	}
	have -= at;
	memmove(buffer, buffer + at, have);
}

static void take_outcome(struct command *c)
{
	struct outcome o;
	ssize_t n = read(c->done, &o, sizeof(o));
	if (n < 0 && errno == EINTR)
		return;
	if (n != (ssize_t)sizeof(o))
		finish(c, 126 << 8); /* no command, or the one who waits was killed */
	else if (!c->pid)
		c->pid = o.pid;
	else
		finish(c, o.status);
}

static void a_child_ended(int number)
{
	(void)number; /* ppoll returns */
}

static void serve(void)
{
	struct command c = {.in = -1, .out = -1, .err = -1, .done = -1};
	sigset_t chld;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, &usual_mask); /* but while we wait */
	signal(SIGCHLD, a_child_ended);
	send_frame('H', "quire 1", 7);
	for (;;) {
		struct pollfd p[5] = {
		    {channel, POLLIN, 0},
		    {c.running ? c.out : -1, POLLIN, 0},
		    {c.running ? c.err : -1, POLLIN, 0},
		    {c.running && c.waiting_count ? c.in : -1, POLLOUT, 0},
		    {c.running ? c.done : -1, POLLIN, 0},
		};
		int ready = ppoll(p, 5, NULL, &usual_mask);
		if (ready < 0 && errno != EINTR)
			power_off();
		while (waitpid(-1, NULL, WNOHANG) > 0) /* orphans, and those who waited */
			continue;
		if (ready <= 0)
			continue;
		if (p[0].revents)
			take_input(&c);
		if (!c.running)
			continue;
		if (p[1].revents)
			relay(&c.out, 'O');
		if (p[2].revents)
			relay(&c.err, 'E');
		if (p[3].revents)
			feed(&c);
		if (p[4].revents)
			take_outcome(&c);
	}
}

/* ---- the shell ------------------------------------------------------------------ */

static void shell_child(int tty, unsigned rows, unsigned columns)
{
	struct winsize size = {(unsigned short)rows, (unsigned short)columns, 0, 0};
	setsid();
	ioctl(tty, TIOCSCTTY, 0);
	if (rows && columns)
		ioctl(tty, TIOCSWINSZ, &size);
	for (int fd = 0; fd < 3; fd++)
		dup2(tty, fd);
	if (tty > 2)
		close(tty);
	environ = start_environment;
	if (chdir("/root") < 0)
		dprintf(2, "init: /root: %s\n", strerror(errno));
	execl("/bin/sh", "-sh", (char *)NULL);
	dprintf(2, "init: /bin/sh: %s\n", strerror(errno));
	_exit(127);
}

static void shell(bool announced, unsigned rows, unsigned columns)
{
	int status = 0, tty = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
	if (tty < 0)
		tty = open("/dev/console", O_RDWR | O_NOCTTY);
	if (announced) /* ./run shows the terminal from here on, not the firmware's talk */
		write_all(tty, "\033]quire\a", 8);
	pid_t pid = fork();
	if (pid == 0)
		shell_child(tty, rows, columns);
	close(tty);
	for (;;) {
		pid_t ended = waitpid(-1, &status, 0);
		if (ended == pid || (ended < 0 && errno == ECHILD))
			break;
	}
	if (channel >= 0) {
		unsigned char s[2] = {
		    WIFSIGNALED(status),
		    (unsigned char)(WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status))};
		send_frame('S', s, 2);
	}
	power_off();
}

/* ---- what to do ------------------------------------------------------------------- */

static char command_line[8192];

/* The value of NAME= among the words of the kernel's command line. */
static const char *word(const char *name, char *value, size_t bytes)
{
	size_t length = strlen(name);
	for (const char *s = command_line; *s; s += strcspn(s, " \n")) {
		s += strspn(s, " \n");
		if (strncmp(s, name, length) != 0)
			continue;
		snprintf(value, bytes, "%.*s", (int)strcspn(s + length, " \n"), s + length);
		return value;
	}
	return NULL;
}

static void read_command_line(void)
{
	int fd = open("/proc/cmdline", O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, command_line, sizeof(command_line) - 1);
	command_line[n > 0 ? n : 0] = 0;
	if (fd >= 0)
		close(fd);
}

/* Under Linux these are not there by themselves; elsewhere the calls fail. */
static void mount_all(void)
{
	mkdir("/proc", 0555);
	mkdir("/sys", 0555);
	mkdir("/dev", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
}

int main(void)
{
	char value[64], term[80];
	unsigned rows = 0, columns = 0;
	signal(SIGPIPE, SIG_IGN);
	mount_all();
	read_command_line();
	sethostname("quire", 5);
	if (word("quire.size=", value, sizeof(value)))
		sscanf(value, "%ux%u", &rows, &columns);
	if (word("quire.term=", value, sizeof(value))) {
		snprintf(term, sizeof(term), "TERM=%s", value);
		start_environment[4] = term;
	}
	bool told = word("quire.run=", value, sizeof(value));
	if (told)
		channel = open_raw("/dev/ttyS2");
	if (told && !strcmp(value, "channel") && channel >= 0)
		serve();
	shell(told, rows, columns);
}
