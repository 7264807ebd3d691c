// Shapes of functions that a symbol table shows in odd ways.
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))

// Aliases: three names of one function.
NOINLINE int original(int a) { return a * 3 + 1; }
extern int weak_name(int a) __attribute__((weak, alias("original")));
static int local_name(int a) __attribute__((used, alias("original")));

// A resolver and what it resolves to.
NOINLINE static int fast_version(int a) { return a + 1; }
static int (*choose_version(void))(int) { return fast_version; }
int versioned(int a) __attribute__((ifunc("choose_version")));

// A cold part: the error path is moved away.
__attribute__((cold, noinline)) void report(const char *what) { fprintf(stderr, "%s\n", what); }
NOINLINE int divided(int a, int b, char *text) {
	if (__builtin_expect(b == 0, 0)) {
		report("division by zero");
		report(text);
		strcat(text, "!");
		return -1;
	}
	return a / b + text[0];
}

// Never returns.
NOINLINE __attribute__((noreturn)) void leave(int code) { exit(code); }

// Nothing can unwind through these.
NOINLINE int leaf(int a, int b) { return a ^ b; }
NOINLINE int calls_leaf(int a) { return leaf(a, 2) + leaf(3, a); }
NOINLINE size_t calls_library(const char *s) { return strlen(s) + calls_leaf(1); }
NOINLINE int sets_errno(int a) {
	if (a < 0) {
		errno = EINVAL;
		return -1;
	}
	return leaf(a, 3);
}

// Something may unwind through these.
NOINLINE int calls_pointer(int (*f)(int), int a) { return f(a) + 1; }
NOINLINE int calls_printf(int a) { return printf("%d\n", a) + 1; }
NOINLINE int calls_unsafe(int a) { return calls_printf(a) * 2; }
NOINLINE int recursive(int a) { return a < 2 ? a : recursive(a - 1) + recursive(a - 2); }

// A specialised copy, where the compiler makes one.
static NOINLINE int scaled(int a, int factor) { return a * factor + leaf(a, factor); }

jmp_buf out;
NOINLINE void jumps(int a) { longjmp(out, a); }

static NOINLINE int twin(int a) { return a + 1; }
int other_twin(int a);

int main(int argc, char **argv) {
	char text[64] = "x";
	volatile int n = argc;
	int r = original(n) + weak_name(n) + local_name(n) + versioned(n) + divided(10, n, text) + calls_leaf(n) + (int)calls_library(argv[0]);
	r += calls_pointer(original, n) + calls_unsafe(n) + recursive(n) + scaled(n, 7) + scaled(n + 1, 7) + twin(n) + other_twin(n) + sets_errno(n);
	if (n > 100 && setjmp(out) == 0)
		jumps(r);
	if (n > 50)
		leave(r);
	return r & 1;
}
