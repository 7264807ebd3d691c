// Functions whose arguments are objects.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

static volatile long sink;

namespace shop {
namespace {
struct Hidden { int h; };
}
struct Base { int id = 1; virtual ~Base() {} virtual int price() const { return id; } };
struct Named { std::string name; };
struct Item : Base, Named {
	static int count;
	int price() const override;
	Item &rename(const char *s);
	unsigned flags : 4;
	enum Kind : uint8_t { Food, Drink } kind = Drink;
	struct Part { short n; Part *next; } part{3, nullptr};
};
int Item::count = 0;
__attribute__((noinline)) int Item::price() const { return sink = id + part.n; }
__attribute__((noinline)) Item &Item::rename(const char *s) { name = s; return *this; }

struct Root { int r = 9; virtual ~Root() {} };
struct Left : virtual Root { int l = 8; };
struct Diamond : Left, virtual Root { Diamond(int d); int d; };
__attribute__((noinline)) Diamond::Diamond(int d) : d(d) { sink = d + r; }

template <typename T, int N> struct Array { T t[N]; };
struct Trivial { int a; Trivial() = default; Trivial(const Trivial &) = default; ~Trivial() = default; };
struct Moves { std::unique_ptr<int> p; };
struct Empty {};
union Either { int i; float f; };

template <typename T> __attribute__((noinline)) T twice(T t, const Array<T, 2> &a) { return sink = t + a.t[0] + a.t[1]; }
__attribute__((noinline)) int byvalue(Trivial t, Moves m, Empty e, Hidden h, Either u, std::vector<int> v, Item::Kind k)
{
	return sink = t.a + *m.p + h.h + u.i + v.size() + k;
}
__attribute__((noinline)) std::unique_ptr<int> made(int n) { return std::make_unique<int>(n); }
__attribute__((noinline)) std::string text(std::string &&s, const std::string *p, bool b) { sink = p->size(); return b ? s + *p : s; }
__attribute__((noinline)) int pointers(int Item::*data, int (Item::*method)() const, void (*f)(const Item &), std::nullptr_t n, Item *item)
{
	f(*item);
	return sink = item->*data + (item->*method)() + (n == nullptr);
}
__attribute__((noinline)) int called(const std::function<int(int)> &f, int (&a)[3]) { return sink = f(a[1]); }
static void visit(const Item &i) { sink = i.id; }
}

using namespace shop;
int main(int argc, char **)
{
	Item item;
	item.name = "tea";
	item.flags = 5;
	Base *volatile base = &item;
	base->price();
	item.rename("coffee with a long, long name");
	Diamond d(argc + 6);
	twice<long>(argc, Array<long, 2>{{2, 3}});
	Trivial t;
	t.a = 4;
	Either u;
	u.i = argc + 4;
	byvalue(t, Moves{std::make_unique<int>(6)}, Empty{}, Hidden{7}, u, {8, 9}, Item::Drink);
	made(argc + 9);
	std::string other = "other";
	text(std::string("some"), &other, argc > 0);
	pointers(&Item::id, &Item::price, visit, nullptr, &item);
	int a[3] = {1, 2, 3};
	called([&](int n) { return n + argc; }, a);
	return 0;
}
