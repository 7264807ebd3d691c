// Functions whose arguments lie in every kind of place.
#include <cstdio>
#include <string>
#include <string_view>

namespace ns {
struct Point { int x, y; };
struct Big { long a[5]; const char *s; };
struct Mix { int a; double d; };
struct Doubles { double a, b; };
enum class Color : unsigned char { Red = 1, Green = 2 };
struct __attribute__((packed)) Packed { char c; long l; };
struct Handle { int v; Handle(int); Handle(const Handle &); ~Handle(); };
Handle::Handle(int x) : v(x) {}
Handle::Handle(const Handle &o) : v(o.v) {}
Handle::~Handle() {}
struct Bits { unsigned a : 3; int b : 5; unsigned long c : 40; };
class Counter {
	int z = 7;
	virtual void tick();
public:
	int method(int a, const std::string &s, std::string t) const __attribute__((noinline));
};
void Counter::tick() {}
int Counter::method(int a, const std::string &s, std::string t) const { return a + s.size() + t.size() + z; }
}
using namespace ns;

extern "C" {
__attribute__((noinline)) int spill(int a, unsigned char b, const char *s, Point p, Point *pp, double d, long e, short g, int h)
{
	return printf("%d %d %s %d %p %f %ld %d %d\n", a, b, s, p.x, (void *)pp, d, e, g, h);
}
__attribute__((noinline)) Big large(Big b, Mix m, Doubles d, Packed p, Color c)
{
	printf("%d %d\n", m.a, p.c);
	b.a[0] = (long)c;
	b.a[1] = d.a;
	return b;
}
__attribute__((noinline)) Handle handle(Handle n, __int128 i, long double ld, Bits bits)
{
	printf("%d %d\n", n.v, bits.b);
	return Handle(n.v + (int)i + (int)ld);
}
__attribute__((noinline)) Mix mixed(Mix m) { m.a++; return m; }
__attribute__((noinline)) long double callback(int (*cb)(int, char *), void *ctx, char **argv, float _Complex z)
{
	return cb(1, argv[0]) + __real__ z + (long)ctx;
}
}

int cb(int a, char *b) { return a + *b; }

int main(int argc, char **argv)
{
	Point p{1, 2};
	volatile int m;
	std::string s = "hello", long_text(100, 'x');
	spill(1, 2, "text", p, &p, 3, 4, -5, 6);
	large(Big{{1, 2, 3, 4, 5}, "six"}, Mix{7, 8}, Doubles{9, 10}, Packed{11, 12}, Color::Green);
	handle(Handle(13), 14, 15, Bits{5, -6, 77});
	Mix (*volatile call)(Mix) = mixed;
	m = call(Mix{16, 17}).a;
	m = callback(cb, 0, argv, 1);
	Counter c;
	return c.method(argc, s, long_text) == 0;
}
