/*
 * Throws and jumps so many times a second, for so many seconds, as its arguments say, and prints how often each function
 * was called. thrower fails by an exception, jumper by longjmp, and kept does not fail.
 */
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <stdexcept>

static jmp_buf back;

extern "C" {
__attribute__((noinline)) long thrower(long i)
{
	if (i >= 0)
		throw std::runtime_error("no such thing");
	return i;
}

__attribute__((noinline)) long jumper(long i)
{
	if (i >= 0)
		longjmp(back, 1);
	return i;
}

__attribute__((noinline)) long kept(long i)
{
	__asm__ volatile("");
	return i + 1;
}
}

__attribute__((noinline)) static long catches(long i)
{
	try {
		return thrower(i);
	} catch (const std::exception &) {
		return kept(i);
	}
}

__attribute__((noinline)) static long lands(long i)
{
	if (!setjmp(back))
		return jumper(i);
	return kept(i);
}

int main(int argc, char **argv)
{
	long seconds = argc > 1 ? atol(argv[1]) : 3, rate = argc > 2 ? atol(argv[2]) : 1000;
	struct timespec due;
	long sum = 0, n = 0;

	clock_gettime(CLOCK_MONOTONIC, &due);
	for (; n < seconds * rate; n++) {
		sum += catches(n) + lands(n);
		due.tv_nsec += 1000000000 / rate;
		if (due.tv_nsec >= 1000000000) {
			due.tv_sec++;
			due.tv_nsec -= 1000000000;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, nullptr);
	}
	printf("thrower %ld jumper %ld kept %ld sum %ld\n", n, n, 2 * n, sum);
	return 0;
}
