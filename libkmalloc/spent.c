/* SPDX-License-Identifier: MIT */
/*
 * What a program uses: `spent FILE PROGRAM ARGUMENT...` runs it and writes its status
 * (as the shell has it), its CPU time in microseconds and the largest resident size of
 * any of its processes in KiB to FILE. A process's largest size counts from before its
 * exec, so the one that forks has to be small.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile pid_t program;

static void pass_on(int sig)
{
	if (program > 0)
		kill(program, sig);
}

int main(int argc, char **argv)
{
	struct rusage used;
	int status;
	if (argc < 3)
		return 2;
	program = fork();
	if (program == 0) {
		execvp(argv[2], argv + 2);
		perror(argv[2]);
		_exit(127);
	}
	signal(SIGTERM, pass_on);
	if (program < 0 || wait4(program, &status, 0, &used) < 0)
		return 2;
	long long cpu = (long long)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 +
			used.ru_utime.tv_usec + used.ru_stime.tv_usec;
	status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	FILE *f = fopen(argv[1], "w");
	if (!f || fprintf(f, "%d %lld %ld\n", status, cpu, used.ru_maxrss) < 0 || fclose(f))
		return 2;
	return status;
}
