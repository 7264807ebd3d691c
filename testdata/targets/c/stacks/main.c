// Dies in known places and prints its stack there: see ../../README.md.
#define _GNU_SOURCE
#include <execinfo.h>
#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__clang__)
#define TRACED __attribute__((noinline, used))
#else
#define TRACED __attribute__((noipa, used))
#endif

static uintptr_t base, end;

static int program(struct dl_phdr_info *info, size_t size, void *data)
{
	base = info->dlpi_addr;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		uintptr_t to = base + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
		if (info->dlpi_phdr[i].p_type == PT_LOAD && to > end)
			end = to;
	}
	return 1;
}

// Prints the stack of its caller, as the one of the function of that name: return
// addresses in the program's file.
__attribute__((noinline)) static void say(const char *name)
{
	void *stack[256];
	int n = backtrace(stack, 256);
	for (int i = 1; i < n; i++)
		if ((uintptr_t)stack[i] >= base && (uintptr_t)stack[i] < end)
			printf("at %s %#lx\n", name, (uintptr_t)stack[i] - base);
	fflush(stdout);
}

TRACED long faults(volatile long *x) { say("faults"); *x = 1; return *x; }
TRACED long aborts(long x) { say("aborts"); abort(); return x; }
TRACED long stops(long x) { say("stops"); raise(SIGALRM); return x; }

// These neither unwind nor call back: their returns can be seen by uretprobes.
TRACED long quiet_leaf(volatile long *x) { *x = 1; return *x; }
TRACED long quiet_middle(volatile long *x) { return quiet_leaf(x) + 1; }
TRACED long quiet(volatile long *x) { return quiet_middle(x + 1) + 1; }

static inline __attribute__((always_inline)) long between(const char *how)
{
	if (!strcmp(how, "segv"))
		return faults((volatile long *)8) + 1;
	if (!strcmp(how, "abort"))
		return aborts(1) + 1;
	if (!strcmp(how, "quiet"))
		return quiet((volatile long *)8) + 1;
	return stops(2) + 1;
}

TRACED long outer(const char *how)
{
	volatile long y = between(how);
	return y;
}

// Goes through the C library, which has no frame pointers.
static int compare(const void *a, const void *b)
{
	return outer(*(const char *const *)a) > 0;
}

TRACED long sorts(const char *how)
{
	const char *list[2] = {how, how};
	qsort(list, 2, sizeof *list, compare);
	return list[0] == how;
}

// On a stack of its own: what was interrupted is not below it.
TRACED void handler(int sig)
{
	volatile long y = outer("abort");
}

int main(int argc, char **argv)
{
	const char *how = "segv";
	dl_iterate_phdr(program, NULL);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-wait")) {
			puts("ready");
			fflush(stdout);
			if (getchar() == EOF)
				return 1;
		} else {
			how = argv[i];
		}
	}
	if (!strcmp(how, "handler")) {
		signal(SIGUSR1, handler);
		raise(SIGUSR1);
	}
	return sorts(how) == 3;
}
