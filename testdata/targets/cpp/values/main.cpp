// Calls each function once with known values: golden.json says which, and
// ../../README.md how to start it.
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#if defined(__clang__)
#define TRACED __attribute__((noinline, used))
#else
#define TRACED __attribute__((noipa, used))
#endif

volatile long sink;

namespace shop {

void virtual_calls(); // virtual.cpp

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

TRACED std::size_t sequences(const std::vector<std::string> &words, const std::vector<Point> &points, const std::vector<int> &empty,
			     const std::array<short, 3> &fixed, const std::list<int> &linked)
{
	return words.size() + points.size() + empty.size() + fixed.size() + linked.size();
}

TRACED std::vector<int> counted(int n) { return std::vector<int>(n, 7); }

TRACED std::size_t maps(const std::map<std::string, int> &by_name, const std::unordered_map<int, Point> &by_id,
			const std::multimap<int, int> &several, const std::map<int, int> &none)
{
	return by_name.size() + by_id.size() + several.size() + none.size();
}

TRACED std::size_t sets(const std::set<int> &ordered, const std::unordered_set<std::string> &hashed)
{
	return ordered.size() + hashed.size();
}

TRACED std::size_t large(const std::map<int, int> &m, const std::vector<int> &v) { return m.size() + v.size(); }

TRACED int optionals(const std::optional<int> &some, const std::optional<std::string> &none) { return *some + none.has_value(); }

TRACED std::size_t variants(const std::variant<int, std::string> &first, const std::variant<int, std::string> &second)
{
	return first.index() + second.index();
}

TRACED int pointers(const std::unique_ptr<Point> &unique, const std::shared_ptr<Point> &shared, const std::unique_ptr<Point> &none)
{
	return unique->x + shared->y + (none == nullptr);
}

TRACED int tuples(const std::tuple<int, std::string, char> &t, const std::pair<int, std::string> &p)
{
	return std::get<0>(t) + p.first;
}

TRACED long times(std::chrono::milliseconds wait, const std::chrono::hours &long_wait) { return wait.count() + long_wait.count(); }

class Shape {
public:
	virtual ~Shape() {}
	virtual int area() const = 0;
};

class Square : public Shape {
	int side;

public:
	explicit Square(int side) : side(side) {}
	int area() const override;
};

TRACED int Square::area() const { return side * side; }

TRACED int call_lambda(int n)
{
	auto add = [n](int m) { return n + m; };
	return add(1);
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
	sink = (long)sequences({"a", "", "ccc"}, {{1, 2}, {3, 4}}, {}, {1, -2, 3}, {4, 5});
	sink = (long)counted(3).size();
	sink = (long)maps({{"one", 1}, {"two", 2}}, {{-7, {1, 2}}}, {{1, 10}, {1, 11}}, {});
	sink = (long)sets({3, 1, 2}, {"only"});
	std::map<int, int> squares;
	for (int i = 0; i < 500; i++)
		squares[i] = i * i;
	sink = (long)large(squares, std::vector<int>(5000, 1));
	sink = optionals(5, std::nullopt);
	sink = (long)variants(5, std::string("text"));
	sink = pointers(std::make_unique<Point>(Point{1, 2}), std::make_shared<Point>(Point{3, 4}), nullptr);
	sink = tuples({1, "two", '3'}, {4, "four"});
	sink = times(std::chrono::milliseconds(1500), std::chrono::hours(2));
	sink = Square(3).area();
	sink = call_lambda(4);
	virtual_calls();
	caught([] { throw_runtime("books"); });
	caught([] { throw_custom(2); });
	caught([] { passes(3); });
	puts("done");
	return 0;
}
