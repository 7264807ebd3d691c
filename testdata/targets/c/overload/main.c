/* Calls functions from several threads as fast as it can, and prints how often: see ../../README.md. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__clang__)
#define TRACED __attribute__((noinline, used))
#else
#define TRACED __attribute__((noipa, used))
#endif

enum { THREADS = 4 };

/* What one thread has called. */
struct tally {
	long scalars, text, inner, outer, fails, fails_errors;
} __attribute__((aligned(64)));

static long rounds = 10000;
static __thread struct tally mine;
static struct tally sum;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t start;

/* Each has some body, so that it has a frame and its exit is seen where it returns. */
TRACED long scalars(long a, long b, long c)
{
	mine.scalars++;
	return a + b + c;
}

TRACED long text(const char *s)
{
	mine.text++;
	return s[0];
}

TRACED long inner(long n)
{
	mine.inner++;
	return n ^ 1;
}

TRACED long outer(long n)
{
	mine.outer++;
	return inner(n) + inner(n + 1);
}

/* Fails by the rule "negative" at every seventh round. */
TRACED int fails(int n)
{
	mine.fails++;
	if (n % 7)
		return n;
	mine.fails_errors++;
	return -1 - n;
}

/* Calls itself n times. */
TRACED long dive(long n)
{
	long below = n ? dive(n - 1) : 0;

	__asm__ volatile("" : "+r"(below));
	return below + 1;
}

/* Faults when all that it has called has returned. */
TRACED long sink(long n)
{
	long depth = dive(n);

	*(volatile long *)0 = depth;
	return depth;
}

static void *hurry(void *unused)
{
	volatile long result = 0;

	(void)unused;
	pthread_barrier_wait(&start);
	for (long i = 0; i < rounds; i++) {
		result += scalars(i, 2, 3);
		result += text("as fast as it can, which is too fast for a small ring buffer");
		result += outer(i);
		result += fails((int)i);
	}
	pthread_mutex_lock(&lock);
	sum.scalars += mine.scalars;
	sum.text += mine.text;
	sum.inner += mine.inner;
	sum.outer += mine.outer;
	sum.fails += mine.fails;
	sum.fails_errors += mine.fails_errors;
	pthread_mutex_unlock(&lock);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	char line[16];
	long depth = 0;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-n") && i + 1 < argc)
			rounds = atol(argv[++i]);
		if (!strcmp(argv[i], "-sink") && i + 1 < argc)
			depth = atol(argv[++i]);
		if (!strcmp(argv[i], "-wait")) {
			puts("ready");
			fflush(stdout);
			if (!fgets(line, sizeof line, stdin))
				return 0;
		}
	}
	if (depth)
		return (int)sink(depth);
	pthread_barrier_init(&start, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, hurry, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("{\"functions\": {\"scalars\": {\"calls\": %ld, \"errors\": 0}, \"text\": {\"calls\": %ld, \"errors\": 0}, "
	       "\"inner\": {\"calls\": %ld, \"errors\": 0}, \"outer\": {\"calls\": %ld, \"errors\": 0}, "
	       "\"fails\": {\"calls\": %ld, \"errors\": %ld}}}\n",
	       sum.scalars, sum.text, sum.inner, sum.outer, sum.fails, sum.fails_errors);
	return 0;
}
