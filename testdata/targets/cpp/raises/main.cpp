/*
 *     raises SECONDS RATE
 *     raises SECONDS exceptions|jumps [inside]
 *
 * Throws and jumps so many times a second, and prints how often each function was called: thrower, and passes, which calls it, fail by an exception,
 * jumper by longjmp, and kept does not fail. Or does the one or the other as fast as it can, and prints each half second how many
 * there were: with `inside` in calls of the function of that name, a thousand in each. never is not called.
 */
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
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

__attribute__((noinline)) long passes(long i)
{
	long n = thrower(i);

	__asm__ volatile("");
	return n + 1;
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
		return passes(i);
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

static double now()
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static long raised(bool jumps)
{
	long sum = 0;

	for (long i = 0; i < 1000; i++)
		sum += jumps ? lands(i) : catches(i);
	return sum;
}

extern "C" {
__attribute__((noinline)) long inside(bool jumps)
{
	long sum = raised(jumps);

	__asm__ volatile("");
	return sum + 1;
}

__attribute__((noinline)) long never(long i)
{
	__asm__ volatile("");
	return i + 1;
}
}

static int busy(long seconds, bool jumps, bool within)
{
	double end = now() + seconds, next = now() + 0.5;
	long sum = 0, n = 0;

	while (now() < end) {
		sum += within ? inside(jumps) : raised(jumps);
		n += 1000;
		if (now() >= next) {
			printf("%ld\n", n);
			fflush(stdout);
			next += 0.5;
			n = 0;
		}
	}
	return sum == 0;
}

int main(int argc, char **argv)
{
	if (argc < 0)
		return never(argc);
	if (argc > 2 && (!strcmp(argv[2], "exceptions") || !strcmp(argv[2], "jumps")))
		return busy(atol(argv[1]), !strcmp(argv[2], "jumps"), argc > 3);
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
