/*
 * Uses known amounts of what a tracer tells of a call: see ../../README.md. Each of the
 * functions looks at its thread's clock and counters first and last, and so does its caller.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000LL
#define PAGE 4096

static volatile long sink;
static struct usage {
	long long cpu;
	long minor, major, switches;
} inside, outside;
static long rss; /* change of resident memory, KiB */

static long long clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000 * MS + t.tv_nsec;
}

static struct usage usage_now(void)
{
	struct rusage r;

	getrusage(RUSAGE_THREAD, &r);
	return (struct usage){clock_ns(CLOCK_THREAD_CPUTIME_ID), r.ru_minflt, r.ru_majflt, r.ru_nvcsw + r.ru_nivcsw};
}

static struct usage used_since(struct usage start)
{
	struct usage now = usage_now();

	return (struct usage){now.cpu - start.cpu, now.minor - start.minor, now.major - start.major, now.switches - start.switches};
}

static void spin(long long ns)
{
	long long end = clock_ns(CLOCK_THREAD_CPUTIME_ID) + ns;

	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end)
		for (int i = 0; i < 1000; i++)
			sink += i;
}

static void sleep_ns(long long ns)
{
	struct timespec t = {ns / (1000 * MS), ns % (1000 * MS)};

	nanosleep(&t, NULL);
}

__attribute__((noipa)) int nothing(void)
{
	struct usage start = usage_now();

	inside = used_since(start);
	rss = 0;
	return 0;
}

__attribute__((noipa)) int burn(int ms)
{
	struct usage start = usage_now();

	spin(ms * MS);
	inside = used_since(start);
	rss = 0;
	return ms;
}

__attribute__((noipa)) int nap(int times, int ms)
{
	struct usage start = usage_now();

	for (int i = 0; i < times; i++)
		sleep_ns(ms * MS);
	inside = used_since(start);
	rss = 0;
	return times;
}

/* Touches fresh pages, which stay. */
__attribute__((noipa)) int grow(int pages)
{
	struct usage start = usage_now();
	char *p = mmap(NULL, (size_t)pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	madvise(p, (size_t)pages * PAGE, MADV_NOHUGEPAGE);
	for (int i = 0; i < pages; i++)
		p[(size_t)i * PAGE] = 1;
	inside = used_since(start);
	rss = pages * (PAGE / 1024);
	return pages;
}

/* Gives touched pages back. */
__attribute__((noipa)) int shrink(void *p, int pages)
{
	struct usage start = usage_now();

	munmap(p, (size_t)pages * PAGE);
	inside = used_since(start);
	rss = -pages * (PAGE / 1024);
	return pages;
}

/* Touches pages of a file that are not in memory. */
__attribute__((noipa)) int read_in(const void *file, int pages)
{
	struct usage start = usage_now();

	for (int i = 0; i < pages; i++)
		sink += ((const char *)file)[(size_t)i * PAGE];
	inside = used_since(start);
	rss = pages * (PAGE / 1024);
	return pages;
}

static int processors;

static void use_processor(int n)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(n % processors, &set);
	sched_setaffinity(0, sizeof set, &set);
}

/* Goes from processor to processor. */
__attribute__((noipa)) int wander(int times)
{
	struct usage start = usage_now();

	for (int i = 0; i < times; i++) {
		use_processor(i);
		spin(MS);
		sleep_ns(MS);
	}
	inside = used_since(start);
	rss = 0;
	return times;
}

static void tell(const char *where, struct usage u)
{
	printf("\"%s\": {\"cpu_ns\": %lld, \"minor\": %ld, \"major\": %ld, \"switches\": %ld}, ", where, u.cpu, u.minor, u.major, u.switches);
}

#define CALL(function, ...) do { \
	struct usage start = usage_now(); \
	\
	function(__VA_ARGS__); \
	outside = used_since(start); \
	printf("{\"function\": \"" #function "\", "); \
	tell("inside", inside); \
	tell("outside", outside); \
	printf("\"rss_kb\": %ld}\n", rss); \
} while (0)

static volatile int contend;

static void *contender(void *unused)
{
	use_processor(0);
	while (contend)
		sink++;
	return unused;
}

/* Has the function share its processor with another thread. */
static void contended(int ms)
{
	pthread_t thread;

	use_processor(0);
	contend = 1;
	pthread_create(&thread, NULL, contender, NULL);
	CALL(burn, ms);
	contend = 0;
	pthread_join(thread, NULL);
}

static char *fresh(int pages)
{
	char *p = mmap(NULL, (size_t)pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	madvise(p, (size_t)pages * PAGE, MADV_NOHUGEPAGE);
	memset(p, 1, (size_t)pages * PAGE);
	return p;
}

/* Maps a file beside the program, which nobody else sees and of which nothing is in memory. */
static char *cold_file(const char *program, int pages)
{
	char name[4096], page[PAGE] = "cold";
	char *p;
	int file;

	snprintf(name, sizeof name, "%s.XXXXXX", program);
	file = mkstemp(name);
	if (file < 0 || unlink(name))
		exit(1);
	for (int i = 0; i < pages; i++)
		if (write(file, page, PAGE) != PAGE)
			exit(1);
	if (fsync(file) || posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED))
		exit(1);
	p = mmap(NULL, (size_t)pages * PAGE, PROT_READ, MAP_SHARED, file, 0);
	if (p == MAP_FAILED || madvise(p, (size_t)pages * PAGE, MADV_RANDOM)) /* no fault brings its neighbours in */
		exit(1);
	return p;
}

int main(int argc, char **argv)
{
	char *pages = fresh(3000), *file = cold_file(argv[0], 32);

	processors = sysconf(_SC_NPROCESSORS_ONLN);
	if (argc > 1 && strcmp(argv[1], "-wait") == 0) {
		char line[16];

		puts("ready");
		fflush(stdout);
		if (!fgets(line, sizeof line, stdin))
			return 1;
	}
	CALL(nothing);
	CALL(nothing);
	CALL(burn, 2);
	CALL(burn, 150);
	CALL(nap, 25, 2);
	CALL(nap, 1, 2000);
	CALL(grow, 5000);
	CALL(shrink, pages, 3000);
	CALL(read_in, file, 32);
	CALL(wander, 30);
	contended(60);
	return 0;
}
