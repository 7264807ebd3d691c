/*
 * A function that is called as fast as it goes, about half a microsecond of work a call, for so
 * many seconds as the first argument says. Ten times a second it prints the calls so far, and the nanoseconds
 * since the start: of time, and of its own CPU time. The last line is of all calls. One in as many
 * calls as the second argument says fails (0: none): its result is negative.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static volatile unsigned sink;

__attribute__((noinline)) long hot(long i, const char *name, long fails)
{
	__asm__ volatile("" ::: "rbx");
	unsigned v = i + name[0];

	for (int k = 0; k < 320; k++)
		v = v * 1664525 + 1013904223;
	sink = v;
	return fails ? -i : i;
}

__attribute__((noinline)) long cold(long i)
{
	__asm__ volatile("" ::: "rbx");
	return i + 1;
}

static long long now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
	long long seconds = argc > 1 ? atoll(argv[1]) : 5, every = argc > 2 ? atoll(argv[2]) : 0, start = now(CLOCK_MONOTONIC), next = start + 100000000;
	long long calls = 0;

	for (;;) {
		for (int i = 0; i < 1000; i++) {
			calls++;
			hot(calls, "hot", every && calls % every == 0);
		}
		cold(calls);
		long long t = now(CLOCK_MONOTONIC);
		if (t >= next) {
			printf("%lld %lld %lld\n", calls, t - start, now(CLOCK_PROCESS_CPUTIME_ID));
			fflush(stdout);
			next += 100000000;
			if (t - start > seconds * 1000000000LL)
				break;
		}
	}
	printf("%lld %lld %lld\n", calls, now(CLOCK_MONOTONIC) - start, now(CLOCK_PROCESS_CPUTIME_ID));
	return 0;
}
