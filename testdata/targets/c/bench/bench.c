/*
 * One function, called as often as standard input says: each line is a number of calls,
 * answered by the nanoseconds that they took, of time and of the thread's CPU time.
 */
#include <stdio.h>
#include <time.h>

/* A leaf that begins with a push, as most functions do: nothing can unwind through it. */
__attribute__((noinline)) long add3(long a, long b, long c)
{
	__asm__ volatile("" ::: "rbx");
	return a + b + c;
}

static long long now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(void)
{
	long calls, sum = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("ready");
	while (scanf("%ld", &calls) == 1) {
		long long wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);

		for (long i = 0; i < calls; i++)
			sum += add3(i, 2, 3);
		cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
		printf("%lld %lld\n", now(CLOCK_MONOTONIC) - wall, cpu);
	}
	return sum == 42;
}
