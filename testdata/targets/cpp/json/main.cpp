// Orders as JSON, with a library that is all templates: nlohmann's. Prints what it
// makes of them; with -wait it prints ready first and waits for a line.
#include <cstdio>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

using nlohmann::json;

namespace shop {

using Price = std::variant<long, std::string>;

template <typename T> struct Batch {
	std::vector<T> items;
	std::optional<std::string> label;
	std::unordered_map<std::string, std::tuple<int, T>> byName;
};

struct Order {
	long number;
	std::string customer;
	Price price;
};

__attribute__((noinline)) json load(const std::string &text)
{
	return json::parse(text);
}

__attribute__((noinline)) Order order(const json &from, long number)
{
	Order o{number, from.at("customer").get<std::string>(), long(0)};
	const json &price = from["price"];
	if (price.is_string())
		o.price = price.get<std::string>();
	else
		o.price = price.get<long>();
	return o;
}

template <typename T> __attribute__((noinline)) std::size_t add(Batch<T> &batch, const T &item, const std::string &name)
{
	batch.items.push_back(item);
	batch.byName[name] = {int(batch.items.size()), item};
	return batch.items.size();
}

__attribute__((noinline)) std::string store(const Batch<Order> &batch, const json &extra)
{
	json out = {{"label", batch.label.value_or("none")}, {"extra", extra}};
	for (const Order &o : batch.items)
		out["orders"].push_back({{"number", o.number}, {"customer", o.customer}});
	return out.dump();
}

__attribute__((noinline)) bool refuse(const std::string &text)
{
	try {
		load(text);
	} catch (const json::parse_error &e) {
		return true;
	}
	return false;
}

}

int main(int argc, char **argv)
{
	if (argc > 1 && !std::strcmp(argv[1], "-wait")) {
		std::puts("ready");
		std::fflush(stdout);
		while (std::getchar() != '\n')
			;
	}
	shop::Batch<shop::Order> orders;
	shop::Batch<long> totals;
	orders.label = "today";
	for (long i = 1; i <= 10; i++) {
		json j = shop::load("{\"customer\": \"customer " + std::to_string(i) + "\", \"price\": " +
			(i % 2 ? std::to_string(i * 100) : "\"free\"") + ", \"tags\": [\"a\", " + std::to_string(i) + ", null, true]}");
		shop::Order o = shop::order(j, i);
		shop::add(orders, o, o.customer);
		shop::add(totals, i * 100, "total " + std::to_string(i));
	}
	int refused = 0;
	for (int i = 0; i < 3; i++)
		refused += shop::refuse("{\"broken\": " + std::to_string(i));
	std::puts(shop::store(orders, json::parse("[1, {\"deep\": [2.5, \"three\"]}]")).c_str());
	std::printf("%d refused, %zu totals\n", refused, totals.items.size());
}
