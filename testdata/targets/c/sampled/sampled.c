/*
 * Serves so many requests as its argument says, each of three queries. Every 97th query fails: its
 * result is negative. So does that of every 97th call of fetch, of which each request makes one. The
 * last line of output is the number of requests.
 */
#include <stdio.h>
#include <stdlib.h>

struct request { long id; char name[24]; };
struct row { long id; int shard; short kind; char tag[10]; const char *text; };

static volatile long sink;

__attribute__((noinline)) long query(long id, const char *text)
{
	__asm__ volatile("" ::: "rbx", "memory");
	return id % 97 ? id + text[0] : -id;
}

/* With arguments in registers and on the stack. */
__attribute__((noinline)) long fetch(struct row row, long a, int b, const char *c, long d, long e, long f, short g)
{
	__asm__ volatile("" ::: "rbx", "memory");
	return row.id % 97 ? row.shard + a + b + c[0] + d + e + f + g : -row.id;
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
		struct row row = { i, (int)-i, (short)(i % 1000), "", r.name };

		snprintf(row.tag, sizeof(row.tag), "t%ld", i);
		sink += serve(&r) + fetch(row, i + 1, -2, r.name, 4, 5, 6, -7);
	}
	printf("%ld %ld\n", requests, sink);
	return 0;
}
