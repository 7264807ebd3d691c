/*
 * A function that calls another one so often as standard input says, which works for a while: each line is
 * a number of callees and a number of calls, answered by the mean nanoseconds of CPU time that a call took.
 */
#include <stdio.h>
#include <time.h>

static volatile unsigned sink;

static unsigned work(unsigned v)
{
	for (int k = 0; k < 400; k++)
		v = v * 1664525 + 1013904223;
	return v;
}

__attribute__((noinline)) long callee(long i)
{
	__asm__ volatile("" ::: "rbx");
	sink = work(i);
	return i;
}

__attribute__((noinline)) long caller(long callees)
{
	__asm__ volatile("" ::: "rbx");
	long sum = 0;

	sink = work(callees);
	for (long i = 0; i < callees; i++)
		sum += callee(i);
	return sum;
}

int main(void)
{
	long callees, calls;

	puts("ready");
	fflush(stdout);
	while (scanf("%ld %ld", &callees, &calls) == 2 && calls > 0) {
		struct timespec a, b;

		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
		for (long i = 0; i < calls; i++)
			caller(callees);
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
		printf("%lld\n", ((b.tv_sec - a.tv_sec) * 1000000000LL + b.tv_nsec - a.tv_nsec) / calls);
		fflush(stdout);
	}
	return 0;
}
