// The C++ program that is broken: templates, an inlined lambda, ranges.
template <typename T, int N> struct Ring {
	T items[N];
	unsigned at = 0;
	__attribute__((noinline)) T push(T item)
	{
		T old = items[at % N];
		items[at++ % N] = item;
		return old;
	}
};

namespace shop {
struct Point { int x; int y; };
__attribute__((noinline)) int total(Ring<Point, 3> &ring, const Point &p)
{
	auto add = [&](int a) { return a + p.x * p.y; };
	return add(ring.push(p).x);
}
}

extern "C" void _start()
{
	Ring<shop::Point, 3> ring = {};
	volatile int r = shop::total(ring, shop::Point{3, 4});
	(void)r;
	for (;;)
		;
}
