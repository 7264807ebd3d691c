// Names that need demangling.
#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>

namespace shop {

struct Order {
	int id;
	std::string name;
	explicit Order(int id);
	Order(int id, std::string name);
	virtual ~Order();
	virtual int total(int quantity) const;
	static int count();
	bool operator==(const Order &other) const;
	std::string label() const; // has an ABI tag
};

[[gnu::noinline]] Order::Order(int id) : id(id), name("order") {}
[[gnu::noinline]] Order::Order(int id, std::string name) : id(id), name(std::move(name)) {}
Order::~Order() { std::puts("gone"); }
[[gnu::noinline]] int Order::total(int quantity) const {
	if (quantity < 0)
		throw std::runtime_error("negative quantity");
	return id * quantity;
}
[[gnu::noinline]] int Order::count() { return 1; }
[[gnu::noinline]] bool Order::operator==(const Order &other) const { return id == other.id; }
[[gnu::noinline]] std::string Order::label() const { return name + "!"; }

template <class T> [[gnu::noinline]] T twice(T value) { return value + value; }

namespace {
[[gnu::noinline]] int hidden(int a) { return a * 5; }
} // namespace

[[gnu::noinline]] int overloaded(int a) { return a; }
[[gnu::noinline]] int overloaded(const std::string &s) { return static_cast<int>(s.size()); }

} // namespace shop

extern "C" [[gnu::noinline]] int plain_c(int a) { return a + 1; }

int main(int argc, char **argv) {
	shop::Order order(argc), named(argc, argv[0]);
	auto add = [&](int a) __attribute__((noinline)) { return a + argc; };
	int sum = add(2) + order.total(argc) + shop::Order::count() + (order == named) + shop::hidden(argc);
	sum += shop::twice(argc) + static_cast<int>(shop::twice(std::string(argv[0])).size()) + shop::overloaded(argc) + shop::overloaded(argv[0]);
	std::map<int, std::string> table{{1, order.label()}};
	try {
		order.total(-argc);
	} catch (const std::exception &e) {
		std::puts(e.what());
	}
	return sum + plain_c(static_cast<int>(table.size())) > 0 ? 0 : 1;
}
