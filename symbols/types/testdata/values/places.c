/* Functions whose arguments have every kind of C type. */
#include <complex.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum color { RED, GREEN = 5, NEGATIVE = -1 };
typedef enum { ONE = 1, TWO } anonymous_enum;
typedef struct node { struct node *next; int value; char name[8]; } node_t;
typedef struct { uint16_t x, y; } anonymous;
struct tagged { enum color kind; union { int number; const char *text; }; struct { short a, b; } inner; };
struct bits { unsigned a : 3, b : 7; int c : 12; long d : 50; _Bool e : 1; };
struct flexible { size_t n; char data[]; };
struct matrix { int m[2][3]; bool flags[3]; };
struct __attribute__((packed)) packed_bits { unsigned char a; unsigned b : 20; unsigned c : 12; };
struct floats { float x, y, z; };
struct float_int { float f; int i; };
struct three { char c[3]; };
struct seventeen { char c[17]; };
struct sixteen { long a; char b; };
struct aligned { int a; } __attribute__((aligned(32)));
typedef int vector __attribute__((vector_size(16)));
typedef int (*callback)(const struct tagged *, void *);
typedef char *string;
typedef const string const_string;
union number { int i; double d; long l; };
struct opaque;

static volatile long sink;

__attribute__((noinline)) long scalars(char a, signed char b, unsigned short c, bool d, enum color e, anonymous_enum f, uint64_t g, long double h, float i, size_t j)
{
	return sink = a + b + c + d + e + f + g + (long)h + (long)i + j;
}

__attribute__((noinline)) node_t *pointers(node_t *n, const char *s, char **v, void *p, struct opaque *o, callback cb, int (*array)[3], const_string cs, unsigned char *bytes)
{
	sink = (long)p + (long)o + (long)cb + (*array)[0] + *cs + *bytes + strlen(s);
	return v ? n->next : n;
}

__attribute__((noinline)) struct tagged structs(struct tagged t, anonymous a, struct bits b, struct three c, struct sixteen d, struct float_int e)
{
	sink = t.kind + a.x + b.a + c.c[0] + d.a + e.i;
	t.inner.b++;
	return t;
}

__attribute__((noinline)) struct floats memory(struct seventeen a, struct matrix b, struct floats c, struct aligned d, union number e, union number *f, struct packed_bits g)
{
	sink = a.c[0] + b.m[1][2] + d.a + e.l + f->i + g.b;
	c.x = e.d;
	return c;
}

__attribute__((noinline)) vector vectors(vector a, double complex b, int c, __int128 d, int e, int f, int g, __int128 h, long i)
{
	sink = a[0] + (long)creal(b) + c + (long)d + e + f + g + (long)h + i;
	return a;
}

__attribute__((noinline)) int variadic(const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	int n = va_arg(ap, int);
	va_end(ap);
	return n;
}

__attribute__((noinline)) __int128 wide(unsigned __int128 a) { sink = (long)a; return (__int128)a + 1; }
__attribute__((noinline)) struct three three(struct three c) { sink = c.c[0]; c.c[2]++; return c; }
__attribute__((noinline)) struct seventeen seventeen(int a) { struct seventeen s = {{0}}; s.c[16] = (char)a; sink = a; return s; }
__attribute__((noinline)) void nothing(void) { sink = 1; }
__attribute__((noinline)) struct flexible *flexible(struct flexible *f) { sink = f->n; return f; }

/* gcc makes a copy of its own for the one value of b that there is, and drops c. */
static __attribute__((noinline)) int cloned(int a, int b, int c, node_t *n) { (void)c; sink = a * b; return n->value + a; }

/* Not in main, whose stores an optimiser may leave out. */
node_t last = {0, 2, "last"}, first = {&last, 1, "first"};
char *argv[] = {"arg", 0};
int array[3] = {7, 8, 9};
unsigned char byte = 3;

int main(void)
{
	struct opaque *volatile o = (struct opaque *)&byte;
	callback cb = (callback)(long)nothing;
	scalars('a', -2, 3, true, GREEN, TWO, 4, 5, 6, 7);
	pointers(&first, "text", argv, 0, o, cb, &array, "const", &byte);
	struct tagged t = {GREEN, {.number = 66}, {1, 2}};
	sink = structs(t, (anonymous){3, 4}, (struct bits){5, 100, -7, -8, 1}, (struct three){"abc"}, (struct sixteen){9, 'b'}, (struct float_int){1, 10}).kind;
	union number u = {.l = 77};
	sink = (long)memory((struct seventeen){"0123456789abcdef"}, (struct matrix){{{1, 2, 3}, {4, 5, 6}}, {1, 0, 1}}, (struct floats){1, 2, 3}, (struct aligned){11}, u, &u,
		(struct packed_bits){1, 0xabcde, 0xf12}).y;
	vector v = {1, 2, 3, 4};
	sink = vectors(v, 2 + 3 * I, 3, 4, 5, 6, 7, 8, 9)[0];
	sink = variadic("format", 42);
	sink = (long)wide(((unsigned __int128)1 << 64) + 5);
	sink = three((struct three){"xyz"}).c[0];
	sink = seventeen(9).c[16];
	nothing();
	struct flexible *f = calloc(1, sizeof *f + 8);
	f->n = 8;
	flexible(f);
	sink = cloned((int)sink, 3, 4, &last) + cloned((int)sink + 1, 3, 5, &first);
	return 0;
}
