/*
 * A function that takes less than a nanosecond, by far less than a probe at it does: batch calls it some
 * hundred times, never as often as the time before, for so many seconds as the first argument says. In the
 * end it prints how often each was called.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static long shorts, batches, rares;

__attribute__((noinline)) long tiny(long a, long b)
{
	__asm__ volatile("");
	return a * 3 + b;
}

__attribute__((noinline)) long rare(long a)
{
	__asm__ volatile("");
	return a ^ 0x55;
}

__attribute__((noinline)) long batch(long n)
{
	long sum = 0;

	for (long i = 0; i < n; i++)
		sum += tiny(i, n);
	shorts += n;
	if (++batches % 7 == 0) {
		sum += rare(n);
		rares++;
	}
	return sum;
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 5);
	unsigned seed = 1;
	long sum = 0;

	while (time(NULL) < end)
		for (int i = 0; i < 100; i++) {
			seed = seed * 1103515245 + 12345;
			sum += batch(100 + (seed >> 16) % 900);
		}
	printf("tiny %ld batch %ld rare %ld\n", shorts, batches, rares);
	return sum == 42;
}
