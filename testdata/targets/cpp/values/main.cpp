// Calls each function once with known values: golden.json says which, and
// ../../README.md how to start it.
#include <any>
#include <array>
#include <atomic>
#include <bitset>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <functional>
#include <initializer_list>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <queue>
#include <set>
#include <span>
#include <stack>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
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

// What a parameter leads to is read, too: an optimiser leaves out nothing of it.
#define READ asm volatile("" : : : "memory")

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
	READ;
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

TRACED std::size_t queues(const std::deque<int> &numbers, const std::deque<std::string> &words, const std::deque<Point> &none,
			  const std::stack<int> &stack, const std::queue<short> &queue, const std::priority_queue<int> &heap)
{
	READ;
	return numbers.size() + words.size() + none.size() + stack.size() + queue.size() + heap.size();
}

TRACED std::size_t long_queue(const std::deque<int> &numbers)
{
	READ;
	return numbers.size();
}

TRACED std::size_t front_queue(const std::deque<int> &numbers)
{
	READ;
	return numbers.size();
}

TRACED std::size_t bits(const std::vector<bool> &flags, const std::vector<bool> &none, const std::bitset<12> &set)
{
	READ;
	return flags.size() + none.size() + set.count();
}

TRACED std::size_t forward(const std::forward_list<std::string> &words, const std::forward_list<int> &none)
{
	READ;
	return words.front().size() + none.empty();
}

TRACED std::size_t spans(std::span<const int> some, std::span<Point> points, std::initializer_list<int> list)
{
	READ;
	return some.size() + points.size() + list.size();
}

TRACED std::size_t fixed_span(const std::span<int, 3> &three)
{
	READ;
	return three.size();
}

TRACED long instants(std::chrono::system_clock::time_point at, std::chrono::time_point<std::chrono::system_clock, std::chrono::milliseconds> coarse,
		     std::chrono::steady_clock::time_point since_boot)
{
	READ;
	return at > coarse && since_boot.time_since_epoch().count() > 0;
}

int twice(int x) { return 2 * x; }

TRACED int functions(const std::function<int(int)> &plain, const std::function<int(int)> &lambda, const std::function<int(int)> &none)
{
	READ;
	return plain(2) + lambda(2) + (none == nullptr);
}

TRACED std::size_t anything(const std::any &number, const std::any &text, const std::any &none)
{
	READ;
	return number.has_value() + text.has_value() + none.has_value();
}

TRACED int holders(const std::atomic<int> &count, const std::atomic<bool> &ready, std::reference_wrapper<Point> point, const std::weak_ptr<Point> &alive,
		   const std::weak_ptr<Point> &gone)
{
	READ;
	return count + ready + point.get().x + alive.use_count() + gone.use_count();
}

TRACED std::size_t files(const std::filesystem::path &path, const std::error_code &error)
{
	READ;
	return path.native().size() + error.value();
}

TRACED std::size_t wide_strings(const std::wstring &wide, const std::u16string &heap, std::u32string empty, const std::array<int, 0> &nothing)
{
	READ;
	return wide.size() + heap.size() + empty.size() + nothing.size();
}

// A directory of files, some of which lead back.
struct Folder {
	std::string name;
	std::vector<std::shared_ptr<Folder>> folders;
	std::weak_ptr<Folder> above;
	std::map<std::string, std::optional<int>> sizes;
};

TRACED std::size_t nested(const Folder &folder, const std::vector<std::pair<std::string_view, std::unique_ptr<int>>> &pairs,
			  const std::deque<std::deque<short>> &rows)
{
	READ;
	return folder.folders.size() + pairs.size() + rows.size();
}

TRACED int locks(std::mutex &held, std::mutex &idle, const std::unique_lock<std::mutex> &lock)
{
	READ;
	return &held != &idle && lock.owns_lock();
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
	std::deque<int> numbers;
	for (int i = 0; i < 300; i++)
		numbers.push_back(i);
	for (int i = 0; i < 100; i++)
		numbers.pop_front();
	sink = (long)long_queue(numbers);
	std::deque<int> front{2};
	front.push_front(1);
	sink = (long)front_queue(front);
	sink = (long)queues({1, 2, 3}, {"front", "too long to be kept inside of the object"}, {}, std::stack<int>({4, 5}), std::queue<short>({6, 7}), std::priority_queue<int>({}, std::vector<int>{8, 9}));
	sink = (long)bits({true, false, false, true, true, false, true, false, true}, {}, std::bitset<12>(0xb5));
	sink = (long)forward({"a", "bb"}, {});
	int three[] = {1, 2, 3};
	Point points[] = {{1, 2}, {3, 4}};
	sink = (long)spans(three, points, {7, 8});
	sink = (long)fixed_span(three);
	auto leap = std::chrono::system_clock::from_time_t(1709209845);
	sink = instants(leap + std::chrono::microseconds(123456), std::chrono::time_point_cast<std::chrono::milliseconds>(leap),
			std::chrono::steady_clock::time_point(std::chrono::seconds(90)));
	sink = functions(twice, [n = 3](int x) { return x + n; }, nullptr);
	sink = (long)anything(7, std::string("text"), {});
	auto owner = std::make_shared<Point>(Point{5, 6});
	std::weak_ptr<Point> gone = std::make_shared<Point>(Point{7, 8});
	sink = holders(3, true, points[1], owner, gone);
	sink = (long)files("/var/log/shop.log", std::make_error_code(std::errc::permission_denied));
	sink = (long)wide_strings(L"gr\u00fc\u00dfe", u"too long to be kept inside of the object \U0001f600", U"", {});
	auto top = std::make_shared<Folder>(Folder{"top", {}, {}, {{"a", 1}, {"b", {}}}});
	top->folders.push_back(std::make_shared<Folder>(Folder{"below", {}, top, {}}));
	std::vector<std::pair<std::string_view, std::unique_ptr<int>>> pairs;
	pairs.emplace_back("one", std::make_unique<int>(1));
	pairs.emplace_back("none", nullptr);
	sink = (long)nested(*top, pairs, {{1, 2}, {}, {3}});
	std::mutex held, idle;
	std::unique_lock<std::mutex> lock(held);
	sink = locks(held, idle, lock);
	puts("done");
	return 0;
}
