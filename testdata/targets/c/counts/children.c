/* Children: forked, executed, and sharing their parent's memory. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tally.h"

TRACED long in_child(long x)
{
	ENTER(in_child);
	long result = leaf((int)x) + ints(x, 1, 1, 1, 1, 1, 1);
	BARRIER(result);
	LEAVE(in_child);
	return result;
}

TRACED long in_vfork(long x)
{
	ENTER(in_vfork);
	LEAVE(in_vfork);
	return x + 1;
}

static long reap(pid_t child)
{
	int status;

	if (child < 0 || waitpid(child, &status, 0) != child) {
		perror("child");
		exit(1);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

long run_fork(int n)
{
	long total = 0;

	for (int i = 0; i < n / 20 + 1; i++) {
		pid_t child = fork();
		if (child == 0) {
			long sum = 0;
			row = 1;
			for (int j = 0; j < 10; j++)
				sum += in_child(j);
			_exit((int)(sum % 100));
		}
		total += reap(child) + leaf(i);
	}
	return total;
}

long run_exec(int n)
{
	long total = 0;

	for (int i = 0; i < n / 50 + 1; i++) {
		pid_t child = fork();
		if (child == 0)
			exec_self(5);
		total += reap(child);
	}
	return total;
}

/* A child of vfork borrows its parent's memory, `row` with it, until it executes. */
long run_vfork(int n)
{
	long total = 0;

	for (int i = 0; i < n / 50 + 1; i++) {
		pid_t child = vfork();
		if (child == 0) {
			row = 1;
			if (in_vfork(i) == i + 1)
				exec_self(5);
			_exit(99);
		}
		row = 0;
		total += reap(child);
	}
	return total;
}
