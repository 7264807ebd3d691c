/*
 * A function, called as often as standard input says: each line is a number of calls,
 * answered by the nanoseconds that they took, of time and of the thread's CPU time. Which
 * function, an argument says: add3 (or none), text, tree, busy.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

/* A leaf that begins with a push, as most functions do: nothing can unwind through it. */
__attribute__((noinline)) long add3(long a, long b, long c)
{
	__asm__ volatile("" ::: "rbx");
	return a + b + c;
}

/* One with a text of 64 bytes. */
__attribute__((noinline)) long text(const char *s)
{
	__asm__ volatile("" ::: "rbx");
	return s[0];
}

struct price { long cents; const char *currency; };
struct line { const char *sku; int quantity; struct price *price; };
struct order { long id; struct line *line; const char *customer; };

/* One with a structure of three levels. */
__attribute__((noinline)) long tree(struct order *o)
{
	__asm__ volatile("" ::: "rbx");
	return o->id;
}

/* One that works for half a microsecond or so. */
__attribute__((noinline)) long busy(long n)
{
	__asm__ volatile("" ::: "rbx");
	for (int i = 0; i < 1600; i++)
		__asm__ volatile("" : "+r"(n));
	return n;
}

static long call(const char *which, long calls)
{
	struct price price = { 4950, "EUR" };
	struct line line = { "lamp", 2, &price };
	struct order order = { 7, &line, "ada" };
	long sum = 0;

	if (!strcmp(which, "text")) {
		for (long i = 0; i < calls; i++)
			sum += text("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
	} else if (!strcmp(which, "tree")) {
		for (long i = 0; i < calls; i++)
			sum += tree(&order);
	} else if (!strcmp(which, "busy")) {
		for (long i = 0; i < calls; i++)
			sum += busy(i);
	} else {
		for (long i = 0; i < calls; i++)
			sum += add3(i, 2, 3);
	}
	return sum;
}

static long long now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
	long calls, sum = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("ready");
	while (scanf("%ld", &calls) == 1) {
		long long wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);

		sum += call(argc > 1 ? argv[1] : "add3", calls);
		cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
		printf("%lld %lld\n", now(CLOCK_MONOTONIC) - wall, cpu);
	}
	return sum == 42;
}
