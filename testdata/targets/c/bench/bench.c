/*
 * One function, called as often as standard input says: each line is a number of calls,
 * answered by the nanoseconds that they took.
 */
#include <stdio.h>
#include <time.h>

/* A leaf that begins with a push, as most functions do: nothing can unwind through it. */
__attribute__((noinline)) long add3(long a, long b, long c)
{
	__asm__ volatile("" ::: "rbx");
	return a + b + c;
}

int main(void)
{
	long calls, sum = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("ready");
	while (scanf("%ld", &calls) == 1) {
		struct timespec a, b;

		clock_gettime(CLOCK_MONOTONIC, &a);
		for (long i = 0; i < calls; i++)
			sum += add3(i, 2, 3);
		clock_gettime(CLOCK_MONOTONIC, &b);
		printf("%lld\n", (b.tv_sec - a.tv_sec) * 1000000000LL + (b.tv_nsec - a.tv_nsec));
	}
	return sum == 42;
}
