// Calls each function once with known values: golden.json says which, and
// ../../README.md how to start it.
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>

#if defined(__clang__)
#define TRACED __attribute__((noinline, used))
#else
#define TRACED __attribute__((noipa, used))
#endif

volatile long sink;

namespace shop {

enum class Color { red, green = 5, blue };

struct Point {
	int x, y;
};

struct Item {
	std::string name;
	long cents;
	Color color;
};

class StockError : public std::exception {
	std::string item;

public:
	explicit StockError(const std::string &item) : item(item) {}
	const char *what() const noexcept override { return item.c_str(); }
};

TRACED void nothing() { sink = 0; }

TRACED long scalars(bool yes, char c, short s, unsigned u, long l, Color color, long long on_stack)
{
	return yes + c + s + u + l + (long)color + on_stack;
}

TRACED double floats(float a, double b, int n) { return a + b + n; }

TRACED std::size_t by_reference(const std::string &s, const std::string &heap, const std::string &empty)
{
	return s.size() + heap.size() + empty.size();
}

TRACED std::string by_value(std::string s, const char *suffix) { return s + suffix; }

TRACED std::string long_result(int n) { return std::string(n, 'x'); }

TRACED std::size_t view(std::string_view v) { return v.size(); }

TRACED int references(int &changed, const Point &p, Point *none)
{
	changed += p.x + (none != nullptr);
	return changed;
}

TRACED Point small(Point p, int dx) { return {p.x + dx, p.y}; }

TRACED Item make_item(const Item &like, long cents) { return {like.name + " two", cents, Color::blue}; }

template <typename T> TRACED T larger(T a, T b) { return a > b ? a : b; }

class Account {
	std::string owner;
	long cents;

public:
	Account(const std::string &owner, long cents);
	long deposit(long amount);
	std::string describe(const std::string &prefix) const;
	static int count(int start);
};

TRACED Account::Account(const std::string &owner, long cents) : owner(owner), cents(cents) {}
TRACED long Account::deposit(long amount) { return cents += amount; }
TRACED std::string Account::describe(const std::string &prefix) const { return prefix + owner; }
TRACED int Account::count(int start) { return start + 1; }

TRACED int throw_runtime(const std::string &why)
{
	if (!why.empty())
		throw std::runtime_error("no stock: " + why);
	return 1;
}

TRACED int throw_custom(int left)
{
	if (left > 0)
		throw StockError("book");
	return 1;
}

TRACED int throw_int(int x)
{
	if (x > 0)
		throw x;
	return 1;
}

TRACED int passes(int x)
{
	int result = throw_int(x);
	asm volatile("" : "+r"(result));
	return result;
}

} // namespace shop

template <typename F> static void caught(F f)
{
	try {
		f();
	} catch (...) {
		sink = 1;
	}
}

int main(int argc, char **argv)
{
	using namespace shop;
	char line[8];

	if (argc > 1 && !strcmp(argv[1], "-wait")) {
		puts("ready");
		fflush(stdout);
		if (!fgets(line, sizeof line, stdin) || strcmp(line, "go\n") != 0)
			return 0;
	}
	nothing();
	sink = scalars(true, 'A', -300, 4000000000u, -5000000000L, Color::green, 77);
	sink = (long)floats(1.5f, -2.25, 7);
	sink = (long)by_reference("short", "too long to be kept inside of the object", "");
	sink = (long)by_value("value", " and more").size();
	sink = (long)long_result(40).size();
	sink = (long)view("a view");
	int changed = 4;
	sink = references(changed, Point{3, 9}, nullptr);
	sink = small(Point{1, -2}, 10).x;
	sink = make_item(Item{"lamp", 4950, Color::red}, 9900).cents;
	sink = larger(3, 8);
	sink = larger(-5L, -6L);
	Account account("ada", 100);
	sink = account.deposit(25);
	sink = (long)account.describe("owner: ").size();
	sink = Account::count(6);
	caught([] { throw_runtime("books"); });
	caught([] { throw_custom(2); });
	caught([] { passes(3); });
	puts("done");
	return 0;
}
