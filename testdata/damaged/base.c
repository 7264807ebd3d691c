/* The C program that is broken: no library, so that it is small. */
struct node { long key; struct node *next; char name[8]; };
union word { long whole; short parts[4]; };
enum kind { NONE, SOME = 7 };

__attribute__((noinline)) static long twice(long k) { return k * 2 + 1; }

__attribute__((noinline)) long visit(struct node *n, union word w, enum kind k)
{
	long sum = w.whole + k;
	for (; n; n = n->next)
		sum += twice(n->key) + n->name[0];
	return sum;
}

__attribute__((noinline)) int choose(int n)
{
	switch (n) {
	case 0: return 5;
	case 1: return (int)twice(n);
	case 2: return -4;
	case 3: return 77;
	case 4: return 12;
	default: return n;
	}
}

void _start(void)
{
	struct node n = {1, 0, "n"};
	union word w = {2};
	volatile long r = visit(&n, w, SOME) + choose((int)n.key);
	(void)r;
	for (;;)
		;
}
