/* Plain calls: scalars, strings, structures, recursion, tail calls, switches, callbacks. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tally.h"

struct point {
	int x, y;
};

struct big {
	long words[8];
	char name[16];
};

TRACED long ints(long a, int b, short c, unsigned char d, unsigned e, long f, long g)
{
	ENTER(ints);
	long sum = a + b + c + d + e + f + g;
	LEAVE(ints);
	return sum;
}

TRACED double doubles(double a, float b, int c)
{
	ENTER(doubles);
	double product = a * b + c;
	LEAVE(doubles);
	return product;
}

TRACED int leaf(int x)
{
	ENTER(leaf);
	LEAVE(leaf);
	return x ^ 0x55;
}

TRACED const char *strings(const char *key, char *buffer, size_t size)
{
	ENTER(strings);
	snprintf(buffer, size, "<%s>", key);
	LEAVE(strings);
	return buffer;
}

TRACED struct point by_value(struct point p, int scale)
{
	ENTER(by_value);
	p.x *= scale;
	p.y *= scale;
	LEAVE(by_value);
	return p;
}

TRACED int by_pointer(struct point *p, const struct point *delta)
{
	ENTER(by_pointer);
	p->x += delta->x;
	p->y += delta->y;
	LEAVE(by_pointer);
	return p->x + p->y;
}

TRACED struct big make_big(long seed)
{
	struct big b = {{0}, "made"};

	ENTER(make_big);
	for (int i = 0; i < 8; i++)
		b.words[i] = seed + i;
	LEAVE(make_big);
	return b;
}

TRACED long big_by_value(struct big b)
{
	ENTER(big_by_value);
	long sum = (long)strlen(b.name);
	for (int i = 0; i < 8; i++)
		sum += b.words[i];
	LEAVE(big_by_value);
	return sum;
}

TRACED long fib(int n)
{
	ENTER(fib);
	long result = n;
	if (n > 1) {
		long a = fib(n - 1);
		BARRIER(a);
		long b = fib(n - 2);
		BARRIER(b);
		result = a + b;
	}
	LEAVE(fib);
	return result;
}

TRACED long descend(int depth)
{
	volatile char pad[128];

	ENTER(descend);
	pad[depth % 128] = 1;
	long sum = pad[depth % 128];
	if (depth > 0)
		sum += descend(depth - 1);
	BARRIER(sum);
	LEAVE(descend);
	return sum;
}

TRACED long sum_all(int count, ...)
{
	va_list list;
	long sum = 0;

	ENTER(sum_all);
	va_start(list, count);
	for (int i = 0; i < count; i++)
		sum += va_arg(list, long);
	va_end(list);
	LEAVE(sum_all);
	return sum;
}

/* Dense enough for a jump table. */
TRACED long dispatch(int op, long x)
{
	ENTER(dispatch);
	switch (op) {
	case 0: x += 1; break;
	case 1: x *= 3; break;
	case 2: x = sum_all(2, x, 7L); break;
	case 3: x -= 4; break;
	case 4: x = leaf((int)x); break;
	case 5: x <<= 1; break;
	case 6: x = -x; break;
	case 7: LEAVE(dispatch); return x / 2;
	case 8: x |= 1; break;
	default: x = 0;
	}
	LEAVE(dispatch);
	return x;
}

/* The unlikely branch ends the program; optimisers like to move such code out into a .cold part. */
TRACED long cold_path(long x)
{
	ENTER(cold_path);
	if (__builtin_expect(x < 0, 0)) {
		fprintf(stderr, "negative: %ld\n", x);
		abort();
	}
	LEAVE(cold_path);
	return x + 1;
}

TRACED int compare(const void *a, const void *b)
{
	ENTER(compare);
	int x = *(const int *)a, y = *(const int *)b;
	LEAVE(compare);
	return (x > y) - (x < y);
}

TRACED long apply(long (*f)(long), long x)
{
	ENTER(apply);
	long result = f(x);
	BARRIER(result);
	LEAVE(apply);
	return result;
}

TRACED long indirect(long x)
{
	ENTER(indirect);
	LEAVE(indirect);
	return x * 2;
}

/* Tail calls: optimised, these are left by a jump. */
TRACED long tail_third(long a, long b)
{
	ENTER(tail_third);
	LEAVE(tail_third);
	return a - b;
}

TRACED long tail_second(long a, long b)
{
	ENTER(tail_second);
	LEAVE(tail_second);
	return tail_third(b, a);
}

TRACED long tail_first(long a)
{
	ENTER(tail_first);
	LEAVE(tail_first);
	return tail_second(a, a * 2);
}

int is_odd(unsigned n);

TRACED int is_even(unsigned n)
{
	ENTER(is_even);
	LEAVE(is_even);
	if (n == 0)
		return 1;
	return is_odd(n - 1);
}

TRACED int is_odd(unsigned n)
{
	ENTER(is_odd);
	LEAVE(is_odd);
	if (n == 0)
		return 0;
	return is_even(n - 1);
}

/* Left by a return or by a jump, as it comes: a conditional tail jump where the compiler makes one. */
TRACED long tail_maybe(long a)
{
	ENTER(tail_maybe);
	LEAVE(tail_maybe);
	if (a % 2)
		return tail_third(a, 1);
	return a;
}

long run_calls(int n)
{
	long total = 0;
	char buffer[32];
	struct point p = {1, 2};
	const struct point delta = {3, 4};

	for (int i = 0; i < n; i++) {
		int values[] = {3, 1};

		total += ints(i, 1, 2, 3, 4, 5, 6) + (long)doubles(1.5, 2.0f, i) + leaf(i);
		total += (long)strlen(strings("key", buffer, sizeof buffer));
		total += by_value((struct point){i, 2}, 3).y + by_pointer(&p, &delta);
		total += big_by_value(make_big(i)) + sum_all(3, 1L, 2L, (long)i);
		total += dispatch(i % 10, i) + cold_path(i) + apply(indirect, i);
		qsort(values, 2, sizeof *values, compare); /* two values: one comparison */
		total += values[0];
	}
	for (int i = 0; i < n / 10 + 1; i++)
		total += fib(10) + descend(50);
	return total;
}

long run_tail(int n)
{
	long total = 0;

	for (int i = 0; i < n; i++)
		total += tail_first(i) + is_even((unsigned)i % 7) + tail_maybe(i);
	return total;
}
