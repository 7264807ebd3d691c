/*
 * Calls each function once with known values: golden.json says which, and
 * ../../README.md how to start it.
 */
#define _GNU_SOURCE
#include <complex.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <wchar.h>

#if defined(__clang__)
#define TRACED __attribute__((noinline, used))
#else
#define TRACED __attribute__((noipa, used))
#endif

enum color { RED, GREEN = 5, BLUE };

struct point {
	int x, y;
};

struct line {
	struct point from, to;
	const char *label;
	enum color color;
};

struct big {
	long words[4];
	char name[16];
	short tail;
};

struct bits {
	unsigned low : 3;
	int middle : 5;
	unsigned high : 24;
};

/* What a parameter leads to is read, too: an optimiser leaves out nothing of it. */
#define READ __asm__ volatile("" : : : "memory")

volatile long sink;

TRACED void nothing(void) { sink = 0; }

TRACED long signed_ints(signed char a, short b, int c, long d, long long e)
{
	return (long)a + b + c + d / 2 + e;
}

TRACED unsigned long unsigned_ints(unsigned char a, unsigned short b, unsigned c, unsigned long d, size_t e)
{
	return a ^ b ^ c ^ d ^ e;
}

TRACED bool boolean(bool yes, bool no) { return yes && !no; }

TRACED char character(char c) { return c + 1; }

TRACED int8_t narrow(int8_t a, uint16_t b) { return (int8_t)(a - (b & 1)); }

TRACED double floats(float a, double b, int n) { return a + b + n; }

TRACED const char *text(const char *s, const char *empty, const char *none, char *unicode)
{
	return none ? none : s + (*empty != 0) + (*unicode == 0);
}

TRACED size_t long_text(const char *s) { return strlen(s); }

TRACED int binary(const char *s) { return (unsigned char)s[0]; }

/* Its argument lies on a page that the process hasn't touched yet. */
TRACED int untouched(const char *s) { return s != NULL; }

TRACED enum color enumeration(enum color c, enum color odd) { return c == GREEN ? BLUE : odd; }

TRACED struct point small(struct point p, struct line l)
{
	p.x += l.to.x;
	return p;
}

TRACED struct big large(struct big b, int n)
{
	b.words[3] += n;
	return b;
}

TRACED struct point *pointers(struct point *p, const struct point *none, int *n, void *opaque, const struct line *l)
{
	p->x += *n + l->to.y + (none != NULL) + (opaque != NULL);
	return p;
}

TRACED unsigned bit_fields(struct bits b) { return b.low + (unsigned)b.middle + b.high; }

TRACED long many(long a, long b, long c, long d, long e, long f, int g, const char *h, char i, struct point j)
{
	return a + b + c + d + e + f + g + (long)strlen(h) + i + j.y;
}

TRACED int twice(int x) { return 2 * x; }

TRACED int callback(int (*f)(int), int x)
{
	int result = f(x);
	sink = result;
	return result;
}

TRACED size_t wide_text(const wchar_t *w, const wchar_t *none) { return wcslen(w) + (none != NULL); }

union number {
	int i;
	unsigned char bytes[4];
};

TRACED int either(union number u, const union number *p) { return u.i + p->i; }

struct message {
	int length;
	short tail[];
};

TRACED int flexible(const struct message *m) { return m->tail[m->length - 1]; }

struct chain {
	int value;
	struct chain *next;
};

TRACED int linked(struct chain *c) { return c->value; }

TRACED int matrix(const int (*rows)[3], const char *const *words, int count) { return rows[1][2] + count + (words != NULL); }

int table[4] = {1, 2, 3, 4};
long zeroed[4096];

TRACED int places(void *function, void *start, void *inside, void *zeros, void *foreign)
{
	READ;
	return function && start && inside && zeros && foreign;
}

struct session;
extern struct session a_session;

TRACED int declared(struct session *s, struct session **where)
{
	READ;
	return s == *where;
}

TRACED int foreign(int (*f)(int)) { return f('A'); }

TRACED int log_line(int level, const char *format, ...)
{
	va_list list;
	int n;

	va_start(list, format);
	n = level + va_arg(list, int);
	va_end(list);
	return n;
}

enum mode { READABLE = 1, WRITABLE = 2, RUNNABLE = 4 };

struct entry {
	struct {
		int id;
		union {
			int whole;
			unsigned char parts[4];
		};
	};
	struct point corners[2];
	int grid[2][3];
	char name[16];
	union {
		struct {
			unsigned low : 4, high : 4;
		};
		unsigned char both;
	} nibbles;
	_Bool open : 1, shut : 1;
	enum mode mode : 3;
	enum mode rights;
	struct point *owner;
};

TRACED int nested(const struct entry *e, struct point **place, struct point *const *list)
{
	READ;
	return e->id + (*place)->x + list[0]->y;
}

TRACED __int128 wide_ints(__int128 a, unsigned __int128 b, const __int128 *c)
{
	READ;
	return a + (b > 0) + *c;
}

TRACED int more_floats(long double a, const long double *b, const double _Complex *c, const float *d, const double e[2])
{
	READ;
	return a > *b && creal(*c) < *d && e[0] < e[1];
}

TRACED int negative(int code)
{
	errno = ENOENT;
	return -code;
}

TRACED void *null_result(size_t size) { return size ? NULL : &errno; }

static const char *untouched_page(void)
{
	static const char message[] = "on a page not touched yet";
	int fd = memfd_create("page", 0);
	const char *page;

	if (fd < 0 || write(fd, message, sizeof message) != sizeof message)
		abort();
	page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		abort();
	return page;
}

int main(int argc, char **argv)
{
	static char digits[100001];
	char line[8];

	if (argc > 1 && !strcmp(argv[1], "-wait")) {
		puts("ready");
		fflush(stdout);
		if (!fgets(line, sizeof line, stdin) || strcmp(line, "go\n"))
			return 0;
	}
	for (int i = 0; i < 100000; i++)
		digits[i] = (char)('0' + i % 10);

	nothing();
	sink = signed_ints(-128, -32768, -2147483647 - 1, -9223372036854775807L - 1, 42);
	sink = (long)unsigned_ints(255, 65535, 4294967295u, 18446744073709551615ul, 4096);
	sink = boolean(true, false);
	sink = character('A');
	sink = narrow(-7, 65535);
	sink = (long)floats(1.5f, -2.25, 7);
	sink = (long)text("plain", "", NULL, "gr\xc3\xbc\xc3\x9f" "e");
	sink = (long)long_text(digits);
	sink = binary("\xfe\xff\x01");
	sink = untouched(untouched_page());
	sink = enumeration(GREEN, (enum color)77);
	sink = small((struct point){1, -2}, (struct line){{3, 4}, {5, 6}, "edge", RED}).x;
	sink = large((struct big){{1, -2, 3, -4}, "sixteen", -9}, 10).words[3];
	struct point p = {7, 8};
	int n = 5;
	sink = (long)pointers(&p, NULL, &n, &sink, &(struct line){{1, 2}, {3, 4}, "far", BLUE});
	sink = bit_fields((struct bits){5, -3, 1000000});
	sink = many(1, 2, 3, 4, 5, 6, 7, "on the stack", 'z', (struct point){9, 10});
	sink = callback(twice, 21);
	sink = (long)wide_text(L"gr\u00fc\u00dfe", NULL);
	sink = either((union number){1}, &(union number){258});
	struct message *m = malloc(sizeof *m + 2 * sizeof *m->tail);
	m->length = 2;
	m->tail[0] = 3;
	m->tail[1] = 4;
	sink = flexible(m);
	struct chain second = {2, NULL}, first = {1, &second};
	second.next = &first;
	sink = linked(&first);
	sink = matrix((const int[2][3]){{1, 2, 3}, {4, 5, 6}}, (const char *const[]){"word", NULL}, 1);
	sink = places(twice, table, &table[2], &zeroed[4095], tolower);
	struct session *where = &a_session;
	sink = declared(where, &where);
	sink = foreign(tolower);
	sink = log_line(1, "%d items", 2);
	struct entry entry = {
		.id = 1, .whole = 258, .corners = {{1, 2}, {3, 4}}, .grid = {{1, 2, 3}, {4, 5, 6}}, .name = "entry",
		.nibbles = {.both = 0x5a}, .shut = true, .mode = WRITABLE, .rights = READABLE | RUNNABLE, .owner = &p,
	};
	struct point *place = &p;
	sink = nested(&entry, &place, (struct point *const[]){&p, NULL});
	__int128 huge = ((__int128)1 << 100) + 7;
	sink = (long)wide_ints(-huge, (unsigned __int128)huge, &huge);
	sink = more_floats(1.5L, &(long double){-0.25L}, &(double _Complex){1.5 - 2.5 * I}, &(float){2.5f}, (double[]){0.1, 1e300});
	sink = negative(2);
	sink = (long)null_result(64);
	puts("done");
	return 0;
}
