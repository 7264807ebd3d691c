/* Fails in all the ways of C, and prints how: see ../../README.md. */
#define _GNU_SOURCE
#ifndef NO_DLOPEN
#include <dlfcn.h>
#endif
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__clang__)
#define TRACED __attribute__((noinline, used))
#else
#define TRACED __attribute__((noipa, used))
#endif

static char said[65536];

static void say(const char *function, long result, int number, int line)
{
	size_t n = strlen(said);
	snprintf(said + n, sizeof said - n, "failed %s %ld %d %d\n", function, result, number, line);
}

/* Calls a function and says what it returned, what errno was then, and the line it was called in. */
#define CALL(type, function, ...) do { \
		type r = function(__VA_ARGS__); \
		say(#function, (long)r, errno, __LINE__); \
	} while (0)

enum outcome { FINE, TORN, LOST };

static volatile long sink;

/* errno is the C library's own doing. */
TRACED int opens(const char *path)
{
	int fd = open(path, O_RDONLY);
	sink = fd;
	return fd;
}
TRACED void *maps(long size)
{
	void *memory = mmap(NULL, size, PROT_READ, MAP_PRIVATE, 999, 0);
	sink = (long)memory;
	return memory;
}

/* The function's own. */
TRACED int sets(int code)
{
	errno = code;
	return code ? -1 : 0;
}
TRACED const char *finds(const char *name)
{
	errno = EINVAL;
	return NULL;
}
TRACED int forgets(int code) { sink = code; return -1; }
TRACED int negates(int code) { sink = code; return -code; }
TRACED enum outcome tears(int code) { sink = code; return TORN; }
TRACED int finds_none(int code) { sink = code; return 0; }

/* Nothing can unwind through it: its return is seen by a uretprobe, also behind the jump. */
TRACED int quiet(int *where, int code)
{
	*where = code;
	return code ? -1 : 0;
}
TRACED int jumps(int *where, int code) { return quiet(where, code + 1); }
/* Optimised, it leaves by a jump to a function that can be unwound through. */
TRACED int passes(const char *path) { return opens(path); }

TRACED int in_thread(int code)
{
	errno = code;
	sched_yield();
	return errno == code ? -1 : -200;
}

static void *thread(void *first)
{
	for (int i = 0; i < 100; i++)
		in_thread(1 + ((long)first + i) % 133);
	return NULL;
}

static void threads(void)
{
	pthread_t t[4];

	for (long i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, thread, (void *)(30 * i));
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

TRACED int in_child(int code)
{
	errno = code;
	return -1;
}

static void children(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		in_child(EXDEV);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

#ifndef NO_DLOPEN
static int (*store_opens)(int);

static void library(void)
{
	char path[PATH_MAX + 32];
	ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);

	if (length < 0)
		exit(1);
	path[length] = 0;
	dirname(path);
	strcat(path, "/libstore.so");
	void *lib = dlopen(path, RTLD_NOW);
	if (!lib) {
		fprintf(stderr, "errors: %s\n", dlerror());
		exit(1);
	}
	store_opens = (int (*)(int))dlsym(lib, "store_opens");
	CALL(int, store_opens, ENOSPC);
}
#endif

/*
 * Results of every type, given as they are. The program counts by itself how many of them are
 * errors by each rule.
 */
#define NEGATIVE(r) ((r) < 0)
#define NULLS(r) ((r) == 0)
#define NONZERO(r) ((r) != 0)
#define ERRNO(r) (sizeof(r) >= 4 && (r) == (__typeof__(r))-1)
#define ERRNO_POINTER(r) ((r) == 0 || (r) == (__typeof__(r))-1)

#define TYPES(X, rule, test) \
	X(rule, test, i8, signed char) X(rule, test, i16, short) X(rule, test, i32, int) X(rule, test, i64, long) \
	X(rule, test, u8, unsigned char) X(rule, test, u16, unsigned short) X(rule, test, u32, unsigned) X(rule, test, u64, unsigned long)
#define ALL(X) \
	TYPES(X, negative, NEGATIVE) TYPES(X, null, NULLS) TYPES(X, nonzero, NONZERO) TYPES(X, err, ERRNO) \
	X(null, NULLS, bool, _Bool) X(nonzero, NONZERO, bool, _Bool) \
	X(null, NULLS, pointer, void *) X(nonzero, NONZERO, pointer, void *) X(err, ERRNO_POINTER, pointer, void *) \
	X(err, ERRNO_POINTER, text, char *) X(err, ERRNO_POINTER, function, function_type *) \
	X(nonzero, NONZERO, outcome, enum outcome) X(null, NULLS, outcome, enum outcome)

typedef void function_type(void);

#define DEFINE(rule, test, name, type) TRACED type rule##_##name(long value) { sink = value; return (type)value; }
ALL(DEFINE)

static const long values[] = {
	0, 1, 2, 127, 128, 255, 256, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 0x100000000,
	0x7fffffffffffffff, -1, -2, -127, -128, -129, -0x8000, -0x8001, -0x80000000L, -0x80000001L, -0x100000000L, -0x7fffffffffffffffL - 1,
};

static void gives(void)
{
#define GIVE(rule, test, name, type) { \
		int failed = 0; \
		for (size_t i = 0; i < sizeof values / sizeof *values; i++) { \
			type r = rule##_##name(values[i]); \
			failed += test(r); \
		} \
		printf("%s_%s %d\n", #rule, #name, failed); \
	}
	ALL(GIVE)
}

/* Fails before and after a second C library is loaded, which has an errno of its own. */
static int second(void)
{
	sets(ENOENT);
#if defined(__GLIBC__) && !defined(NO_DLOPEN)
	if (!dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW)) {
		fprintf(stderr, "errors: %s\n", dlerror());
		return 1;
	}
#endif
	sets(EPERM);
	usleep(200000); /* for its memory map to be read */
	return 0;
}

int main(int argc, char **argv)
{
	int where = 0;
	const char *then = NULL;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-wait") || !strcmp(argv[i], "-again")) {
			puts(strcmp(argv[i], "-again") ? "ready" : "again");
			fflush(stdout);
			if (getchar() == EOF)
				return 1;
		} else if (!strcmp(argv[i], "-then") && i + 1 < argc) {
			then = argv[++i];
		} else if (!strcmp(argv[i], "-second")) {
			return second();
		}
	}
	errno = 0;
	CALL(int, forgets, 1);
	CALL(int, opens, "/nonexistent");
	CALL(void *, maps, 4096);
	CALL(const char *, finds, "nobody");
	for (int code = 0; code <= 140; code++)
		CALL(int, sets, code);
	errno = EBUSY;
	CALL(int, quiet, &where, 7);
	CALL(int, jumps, &where, 8);
	CALL(int, passes, "/nonexistent");
	errno = EBUSY;
	negates(ENOENT);
	negates(1);
	negates(5000);
	tears(1);
	finds_none(1);
	threads();
	children();
#ifndef NO_DLOPEN
	library();
#endif
	errno = 0;
	gives();
	fputs(said, stdout);
	fflush(stdout);
	if (then)
		execl(then, then, "-again", (char *)NULL);
	return then != NULL;
}
