/*
 * Serves so many requests as its argument says, each of three queries. Every 97th query fails: its
 * result is negative. The last line of output is the number of requests.
 */
#include <stdio.h>
#include <stdlib.h>

struct request { long id; char name[24]; };

static volatile long sink;

__attribute__((noinline)) long query(long id, const char *text)
{
	__asm__ volatile("" ::: "rbx", "memory");
	return id % 97 ? id + text[0] : -id;
}

__attribute__((noinline)) long serve(struct request *r)
{
	__asm__ volatile("" ::: "rbx", "memory");
	long sum = 0;

	for (int i = 0; i < 3; i++)
		sum += query(3 * r->id + i, r->name);
	return sum < 0 ? 0 : sum;
}

int main(int argc, char **argv)
{
	long requests = atol(argv[1]);

	if (argc > 2) {
		puts("ready");
		fflush(stdout);
		getchar();
	}
	for (long i = 1; i <= requests; i++) {
		struct request r = { i, "" };

		snprintf(r.name, sizeof(r.name), "r%ld", i);
		sink += serve(&r);
	}
	printf("%ld %ld\n", requests, sink);
	return 0;
}
