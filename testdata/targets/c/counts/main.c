/*
 * Makes known numbers of calls and prints how many of each function: see
 * ../../README.md for its arguments and output.
 */
#define _GNU_SOURCE
#ifndef NO_DLOPEN
#include <dlfcn.h>
#endif
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tally.h"

struct tally (*tallies)[NUM_FUNCTIONS];
int row;
volatile long sink;

static const char *names[] = {
#define X(f) #f,
	FUNCTIONS(X)
#undef X
};

static long check, plugin_calls;
static int tally_fd;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* The counts lie in memory that children share: forked, and executed by its descriptor. */
static void map_tallies(int fd)
{
	const size_t size = 2 * sizeof *tallies;

	if (fd < 0) {
		fd = memfd_create("tallies", 0);
		if (fd < 0 || ftruncate(fd, (off_t)size) != 0)
			fail("memfd");
	}
	tally_fd = fd;
	tallies = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (tallies == MAP_FAILED)
		fail("mmap");
}

void exec_self(int n)
{
	char fd[16], count[16];

	snprintf(fd, sizeof fd, "%d", tally_fd);
	snprintf(count, sizeof count, "%d", n);
	execl("/proc/self/exe", "counts", "-child", fd, count, (char *)NULL);
	_exit(98);
}

TRACED long in_exec(int n)
{
	ENTER(in_exec);
	long sum = 0;
	for (int i = 0; i < n; i++)
		sum += leaf(i) + fib(5);
	LEAVE(in_exec);
	return sum;
}

#ifndef NO_DLOPEN
static long run_dlopen(int n)
{
	char path[PATH_MAX + 32];
	long total = 0;
	ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);

	if (length < 0)
		fail("readlink");
	path[length] = 0;
	dirname(path);
	strcat(path, "/libplugin.so");
	for (int round = 0; round < 2; round++) { /* the second finds it unloaded and loads it again */
		void *lib = dlopen(path, RTLD_NOW);
		if (!lib) {
			fprintf(stderr, "counts: %s\n", dlerror());
			exit(1);
		}
		long (*work)(long, const char *) = (long (*)(long, const char *))dlsym(lib, "plugin_work");
		for (int i = 0; i < n; i++, plugin_calls++)
			total += work(i, "tag");
		dlclose(lib);
	}
	return total;
}
#endif

static const struct {
	const char *name;
	long (*run)(int n);
} scenarios[] = {
	{"calls", run_calls}, {"tail", run_tail}, {"jumps", run_jumps}, {"signals", run_signals},
	{"threads", run_threads}, {"cancel", run_cancel}, {"async-cancel", run_async_cancel},
	{"thread-exit", run_thread_exit}, {"coroutines", run_coroutines},
	{"fork", run_fork}, {"vfork", run_vfork}, {"exec", run_exec},
#ifndef NO_DLOPEN
	{"dlopen", run_dlopen},
#endif
};

/* Stays open until another line arrives. */
TRACED long held(long number, const char *why)
{
	char line[64];

	ENTER(held);
	puts("held");
	fflush(stdout);
	char *got = fgets(line, sizeof line, stdin);
	LEAVE(held);
	return number + (long)strlen(why) + (got ? 0 : 0);
}

static int run(const char *name, int n)
{
	int found = 0;

	if (name && !strcmp(name, "open")) {
		check += held(7, "open");
		return 1;
	}
	for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
		if (!name || !strcmp(name, scenarios[i].name)) {
			check += scenarios[i].run(n);
			found = 1;
		}
	}
	return found;
}

static void print_row(int r)
{
	const char *comma = "";

	printf("{");
	for (int f = 0; f < NUM_FUNCTIONS; f++) {
		struct tally t = tallies[r][f];
		if (!t.calls)
			continue;
		printf("%s\"%s\":{\"calls\":%ld,\"returns\":%ld,\"unwound\":%ld}", comma, names[f],
		       t.calls, t.returns, t.calls - t.returns);
		comma = ",";
	}
	printf("}");
}

static void print_plugin(const char *name)
{
	printf("\"%s\":{\"calls\":%ld,\"returns\":%ld,\"unwound\":0}", name, plugin_calls, plugin_calls);
}

static void report(void)
{
	printf("{\"check\":%ld,\"functions\":", check);
	print_row(0);
	printf(",\"children\":");
	print_row(1);
	printf(",\"libraries\":{");
	if (plugin_calls) {
		printf("\"libplugin.so\":{");
		print_plugin("plugin_leaf");
		printf(",");
		print_plugin("plugin_work");
		printf("}");
	}
	printf("}}\n");
	fflush(stdout);
}

TRACED int crash_inner(const char *kind, volatile int *p)
{
	if (!strcmp(kind, "abort"))
		abort();
	if (!strcmp(kind, "segv"))
		return *p;
	if (!strcmp(kind, "exit"))
		exit(3);
	if (!strcmp(kind, "_exit"))
		_exit(4);
	if (!strcmp(kind, "trap"))
		__builtin_trap();
	fprintf(stderr, "counts: no crash \"%s\"\n", kind);
	exit(2);
}

TRACED int crash_outer(const char *kind)
{
	int code = crash_inner(kind, NULL);

	BARRIER(code);
	return code;
}

int main(int argc, char **argv)
{
	const char *crash = NULL;
	int n = 100, wait = 0, named = 0, i = 1;

	if (argc == 4 && !strcmp(argv[1], "-child")) {
		map_tallies(atoi(argv[2]));
		row = 1;
		return (int)(in_exec(atoi(argv[3])) % 90);
	}
	for (; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "-wait"))
			wait = 1;
		else if (!strcmp(argv[i], "-n") && i + 1 < argc)
			n = atoi(argv[++i]);
		else if (!strcmp(argv[i], "-crash") && i + 1 < argc)
			crash = argv[++i];
		else
			return fprintf(stderr, "counts: no option %s\n", argv[i]), 2;
	}
	map_tallies(-1);
	if (wait) {
		char line[8];
		puts("ready");
		fflush(stdout);
		if (!fgets(line, sizeof line, stdin) || strcmp(line, "go\n"))
			return 0;
	}
	for (; i < argc; i++) {
		named = 1;
		if (!run(argv[i], n))
			return fprintf(stderr, "counts: no scenario \"%s\"\n", argv[i]), 2;
	}
	if (!named)
		run(NULL, n);
	report();
	return crash ? crash_outer(crash) : 0;
}
