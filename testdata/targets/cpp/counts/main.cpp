// Makes known numbers of calls and prints how many of each function: see
// ../../README.md for its arguments and output.
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#if defined(__clang__)
#define TRACED __attribute__((noinline, used))
#else
#define TRACED __attribute__((noipa, used))
#endif

// What a function is counted under, and the name that it is known by.
#define FUNCTIONS(X) \
	X(add, "shop::add") X(text, "shop::text") X(greet, "shop::greet") X(sum, "shop::sum") \
	X(twice_int, "shop::twice<int>") X(twice_money, "shop::twice<shop::Money>") \
	X(area_square, "shop::Square::area") X(area_circle, "shop::Circle::area") X(total_area, "shop::total_area") \
	X(account, "shop::Account::Account") X(deposit, "shop::Account::deposit") X(balance, "shop::Account::balance") \
	X(invoke, "shop::invoke") X(quiet, "shop::quiet") X(fib, "shop::fib") \
	X(guard, "shop::Guard::Guard") X(unguard, "shop::Guard::~Guard") \
	X(raise, "shop::raise") X(raise_through, "shop::raise_through") X(catches, "shop::catches") \
	X(raise_custom, "shop::raise_custom") X(catch_custom, "shop::catch_custom") \
	X(raise_int, "shop::raise_int") X(catch_int, "shop::catch_int") \
	X(rethrow, "shop::rethrow") X(catch_rethrown, "shop::catch_rethrown") \
	X(translate, "shop::translate") X(catch_nested, "shop::catch_nested") X(describe, "shop::describe") \
	X(catch_inside, "shop::catch_inside") X(destructor_throws_inside, "shop::Careful::~Careful") \
	X(constructs, "shop::Half::Half") X(catch_construct, "shop::catch_construct") \
	X(passes_cleanup, "shop::passes_cleanup") X(function_try, "shop::function_try") \
	X(tail_throw, "shop::tail_throw") X(catch_tail, "shop::catch_tail") X(loops, "shop::loops") \
	X(via_c, "shop::via_c") X(callback, "shop_callback") X(catch_callback, "shop::catch_callback") \
	X(worker, "shop::worker") X(carry, "shop::carry") X(captured, "shop::captured") \
	X(cancelled, "shop::cancelled") X(waits, "shop::waits") X(held, "shop::held")

enum function {
#define X(f, name) F_##f,
	FUNCTIONS(X)
#undef X
	NUM_FUNCTIONS
};

static const char *names[] = {
#define X(f, name) name,
	FUNCTIONS(X)
#undef X
};

static struct {
	long calls, returns;
} tallies[NUM_FUNCTIONS];

#define ENTER(f) __atomic_fetch_add(&tallies[F_##f].calls, 1, __ATOMIC_RELAXED)
#define LEAVE(f) __atomic_fetch_add(&tallies[F_##f].returns, 1, __ATOMIC_RELAXED)

// Keeps a compiler from turning a call before it into a tail call.
template <typename T> static inline void barrier(T &x) { asm volatile("" : "+r"(x) : : "memory"); }

extern "C" long call_back(long (*f)(long), long x);
extern "C" long shop_callback(long x);

namespace shop {

TRACED long add(long a, int b) { ENTER(add); LEAVE(add); return a + b; }

TRACED size_t text(const std::string &s, const char *c)
{
	ENTER(text);
	size_t n = s.size() + strlen(c);
	LEAVE(text);
	return n;
}

TRACED std::string greet(std::string name)
{
	ENTER(greet);
	std::string greeting = "hello, " + name;
	LEAVE(greet);
	return greeting;
}

TRACED long sum(const std::vector<long> &values)
{
	ENTER(sum);
	long total = 0;
	for (long v : values)
		total += v;
	LEAVE(sum);
	return total;
}

struct Money {
	long cents;
	char currency[4];
	Money operator+(const Money &other) const { return {cents + other.cents, "EUR"}; }
};

template <typename T> struct tally_of;
template <> struct tally_of<int> { static constexpr function value = F_twice_int; };
template <> struct tally_of<Money> { static constexpr function value = F_twice_money; };

template <typename T> TRACED T twice(const T &x)
{
	__atomic_fetch_add(&tallies[tally_of<T>::value].calls, 1, __ATOMIC_RELAXED);
	T result = x + x;
	__atomic_fetch_add(&tallies[tally_of<T>::value].returns, 1, __ATOMIC_RELAXED);
	return result;
}

class Shape {
public:
	virtual ~Shape() = default;
	virtual long area() const = 0;
};

class Square : public Shape {
	long side;

public:
	explicit Square(long side) : side(side) {}
	long area() const override;
};

class Circle final : public Shape {
	long radius;

public:
	explicit Circle(long radius) : radius(radius) {}
	long area() const override;
};

TRACED long Square::area() const { ENTER(area_square); LEAVE(area_square); return side * side; }
TRACED long Circle::area() const { ENTER(area_circle); LEAVE(area_circle); return 3 * radius * radius; }

TRACED long total_area(const std::vector<std::unique_ptr<Shape>> &shapes)
{
	ENTER(total_area);
	long total = 0;
	for (const auto &shape : shapes)
		total += shape->area();
	LEAVE(total_area);
	return total;
}

class Account {
	std::string owner;
	long cents = 0;

public:
	explicit Account(const std::string &owner);
	long deposit(long amount);
	long balance() const noexcept;
};

TRACED Account::Account(const std::string &owner) : owner(owner) { ENTER(account); LEAVE(account); }
TRACED long Account::deposit(long amount) { ENTER(deposit); LEAVE(deposit); return cents += amount; }
TRACED long Account::balance() const noexcept { ENTER(balance); LEAVE(balance); return cents; }

TRACED long invoke(const std::function<long(long)> &f, long x)
{
	ENTER(invoke);
	long result = f(x);
	barrier(result);
	LEAVE(invoke);
	return result;
}

TRACED int quiet(int x) noexcept { ENTER(quiet); LEAVE(quiet); return x + 1; }

TRACED long fib(int n)
{
	ENTER(fib);
	long result = n;
	if (n > 1) {
		long a = fib(n - 1);
		barrier(a);
		long b = fib(n - 2);
		barrier(b);
		result = a + b;
	}
	LEAVE(fib);
	return result;
}

static long cleaned;

// Guard's destructor runs while an exception unwinds its scope.
struct Guard {
	explicit Guard(long id);
	~Guard();
	long id;
};

TRACED Guard::Guard(long id) : id(id) { ENTER(guard); LEAVE(guard); }
TRACED Guard::~Guard() { ENTER(unguard); __atomic_fetch_add(&cleaned, id, __ATOMIC_RELAXED); LEAVE(unguard); }

class StockError : public std::exception {
	std::string message;

public:
	int left;
	StockError(const std::string &item, int left) : message("no more " + item), left(left) {}
	const char *what() const noexcept override { return message.c_str(); }
};

TRACED long raise(long x)
{
	ENTER(raise);
	if (x % 3 == 0)
		throw std::runtime_error("multiple of three: " + std::to_string(x));
	LEAVE(raise);
	return x;
}

TRACED long raise_through(long x, int depth)
{
	ENTER(raise_through);
	Guard guard(x);
	long result = depth > 0 ? raise_through(x, depth - 1) : raise(x);
	barrier(result);
	LEAVE(raise_through);
	return result;
}

TRACED long catches(long x, int depth)
{
	long result;

	ENTER(catches);
	try {
		result = raise_through(x, depth);
	} catch (const std::runtime_error &e) {
		result = (long)strlen(e.what());
	}
	LEAVE(catches);
	return result;
}

TRACED long raise_custom(int left)
{
	ENTER(raise_custom);
	Guard guard(left);
	throw StockError("books", left);
}

TRACED long catch_custom(int left)
{
	long result = 0;

	ENTER(catch_custom);
	try {
		result = raise_custom(left);
	} catch (const StockError &e) {
		result = e.left;
	}
	LEAVE(catch_custom);
	return result;
}

TRACED int raise_int(int x)
{
	ENTER(raise_int);
	throw x;
}

TRACED int catch_int(int x)
{
	int result;

	ENTER(catch_int);
	try {
		result = raise_int(x);
	} catch (const char *) {
		result = -1;
	} catch (int thrown) {
		result = thrown;
	}
	LEAVE(catch_int);
	return result;
}

TRACED long rethrow(long x)
{
	ENTER(rethrow);
	try {
		Guard guard(x);
		long result = raise(x * 3);
		LEAVE(rethrow);
		return result;
	} catch (...) {
		throw;
	}
}

TRACED long catch_rethrown(long x)
{
	long result = 0;

	ENTER(catch_rethrown);
	try {
		result = rethrow(x);
	} catch (const std::exception &e) {
		result = 1;
	}
	LEAVE(catch_rethrown);
	return result;
}

TRACED long translate(long x)
{
	ENTER(translate);
	try {
		long result = raise(x * 3);
		LEAVE(translate);
		return result;
	} catch (const std::exception &) {
		std::throw_with_nested(std::logic_error("translated"));
	}
}

TRACED long describe(const std::exception &e)
{
	ENTER(describe);
	long depth = 1;
	try {
		std::rethrow_if_nested(e);
	} catch (const std::exception &inner) {
		depth += describe(inner);
	}
	LEAVE(describe);
	return depth;
}

TRACED long catch_nested(long x)
{
	long result = 0;

	ENTER(catch_nested);
	try {
		result = translate(x);
	} catch (const std::logic_error &e) {
		result = describe(e);
	}
	LEAVE(catch_nested);
	return result;
}

// Careful throws and catches in its destructor, also while another exception is under way.
struct Careful {
	~Careful();
};

TRACED Careful::~Careful()
{
	ENTER(destructor_throws_inside);
	cleaned += catch_int(1);
	LEAVE(destructor_throws_inside);
}

TRACED long catch_inside(long x)
{
	long result = 0;

	ENTER(catch_inside);
	try {
		Careful careful;
		result = raise(x);
	} catch (const std::runtime_error &) {
		result = 2;
	}
	LEAVE(catch_inside);
	return result;
}

// Half throws out of its constructor, when one member is made and the next is not.
struct Half {
	Guard first;
	long second;
	explicit Half(long x);
};

TRACED Half::Half(long x) : first(x), second((ENTER(constructs), raise(x))) { LEAVE(constructs); }

TRACED long catch_construct(long x)
{
	long result = 0;

	ENTER(catch_construct);
	try {
		auto half = std::make_unique<Half>(x);
		result = half->second;
	} catch (const std::runtime_error &) {
		result = 3;
	}
	LEAVE(catch_construct);
	return result;
}

TRACED long passes_cleanup(long x)
{
	ENTER(passes_cleanup);
	std::string heap(100, 'x');
	auto owned = std::make_unique<long>(x);
	long result = raise(*owned) + (long)heap.size();
	barrier(result);
	LEAVE(passes_cleanup);
	return result;
}

TRACED long function_try(long x)
try {
	ENTER(function_try);
	long result = passes_cleanup(x);
	LEAVE(function_try);
	return result;
} catch (const std::runtime_error &) {
	LEAVE(function_try);
	return 4;
}

// Left by a jump to the function that then throws: only that one is unwound.
TRACED long tail_throw(long x)
{
	ENTER(tail_throw);
	LEAVE(tail_throw);
	return raise(x * 3);
}

TRACED long catch_tail(long x)
{
	long result = 0;

	ENTER(catch_tail);
	try {
		result = tail_throw(x);
	} catch (...) {
		result = 5;
	}
	LEAVE(catch_tail);
	return result;
}

// Catches and goes on in the same frame.
TRACED long loops(int n)
{
	long result = 0;

	ENTER(loops);
	for (int i = 0; i < n; i++) {
		try {
			result += raise(i);
		} catch (const std::runtime_error &) {
			continue;
		}
	}
	LEAVE(loops);
	return result;
}

TRACED long via_c(long x)
{
	ENTER(via_c);
	long result = call_back(shop_callback, x);
	barrier(result);
	LEAVE(via_c);
	return result;
}

TRACED long catch_callback(long x)
{
	long result = 0;

	ENTER(catch_callback);
	try {
		result = via_c(x);
	} catch (const std::runtime_error &) {
		result = 6;
	}
	LEAVE(catch_callback);
	return result;
}

TRACED void worker(int id, int n, long *out)
{
	ENTER(worker);
	long total = 0;
	for (int i = 0; i < n; i++)
		total += catches(id + i, i % 3);
	*out = total;
	LEAVE(worker);
}

// Hands an exception from one thread to another.
TRACED void carry(long x, std::exception_ptr *out)
{
	ENTER(carry);
	try {
		raise(x * 3);
	} catch (...) {
		*out = std::current_exception();
	}
	LEAVE(carry);
}

TRACED long captured(const std::exception_ptr &e)
{
	long result = 0;

	ENTER(captured);
	try {
		std::rethrow_exception(e);
	} catch (const std::runtime_error &) {
		result = 7;
	}
	LEAVE(captured);
	return result;
}

static sem_t arrived;

// Waits to be cancelled: the frames above it are unwound like an exception's, by force.
TRACED long waits(long x)
{
	ENTER(waits);
	Guard guard(x);
	sem_post(&arrived);
	for (;;)
		pause();
}

TRACED void *cancelled(void *arg)
{
	ENTER(cancelled);
	Guard guard((long)arg);
	try {
		long result = waits((long)arg);
		barrier(result);
		LEAVE(cancelled);
		return (void *)result;
	} catch (const std::exception &) {
		return nullptr;
	} catch (...) {
		cleaned++;
		throw;
	}
}

// Stays open until another line arrives.
TRACED long held(long number, const std::string &why)
{
	char line[64];

	ENTER(held);
	puts("held");
	fflush(stdout);
	long more = fgets(line, sizeof line, stdin) ? 0 : 0;
	LEAVE(held);
	return number + (long)why.size() + more;
}

} // namespace shop

// A C function calls it, and its exception passes through that.
extern "C" TRACED long shop_callback(long x)
{
	ENTER(callback);
	long result = shop::raise(x);
	barrier(result);
	LEAVE(callback);
	return result;
}

using namespace shop;

static long run_calls(int n)
{
	long total = 0;
	Account account("ada");
	std::vector<std::unique_ptr<Shape>> shapes;
	shapes.push_back(std::make_unique<Square>(3));
	shapes.push_back(std::make_unique<Circle>(2));
	for (int i = 0; i < n; i++) {
		total += add(i, 1) + (long)text("a string that is too long to be kept inside", "c") + quiet(i);
		total += (long)greet("bob").size() + sum({1, 2, i}) + twice(i) + twice(Money{i, "EUR"}).cents;
		total += total_area(shapes) + account.deposit(i) + account.balance();
		total += invoke([i](long x) { return x * i; }, 2);
	}
	for (int i = 0; i < n / 10 + 1; i++)
		total += fib(10);
	return total;
}

static long run_throws(int n)
{
	long total = 0;
	cleaned = 0;
	for (int i = 0; i < n; i++)
		total += catches(i, i % 5) + catch_custom(i) + catch_int(i) + catch_construct(i) + function_try(i) +
			 catch_tail(i) + loops(i % 10) + catch_callback(i);
	return total + cleaned;
}

static long run_nested(int n)
{
	long total = 0;
	cleaned = 0;
	for (int i = 0; i < n; i++)
		total += catch_rethrown(i) + catch_nested(i) + catch_inside(i);
	return total + cleaned;
}

static long run_threads(int n)
{
	constexpr int workers = 4;
	std::vector<std::thread> threads;
	long results[workers] = {}, total = 0;
	for (int i = 0; i < workers; i++)
		threads.emplace_back(worker, i, n, &results[i]);
	for (auto &thread : threads)
		thread.join();
	for (long result : results)
		total += result;
	for (int i = 0; i < n / 10 + 1; i++) {
		std::exception_ptr e;
		std::thread(carry, i, &e).join();
		total += captured(e);
	}
	return total;
}

static long run_cancel(int n)
{
	long total = 0;
	cleaned = 0;
	sem_init(&arrived, 0, 0);
	for (int i = 0; i < n; i++) {
		pthread_t thread;
		void *result = nullptr;
		if (pthread_create(&thread, nullptr, cancelled, (void *)(long)i) != 0)
			abort();
		sem_wait(&arrived);
		pthread_cancel(thread);
		pthread_join(thread, &result);
		total += result == PTHREAD_CANCELED;
	}
	return total + cleaned;
}

static const struct {
	const char *name;
	long (*run)(int n);
} scenarios[] = {{"calls", run_calls}, {"throws", run_throws}, {"nested", run_nested}, {"threads", run_threads},
	       {"cancel", run_cancel}};

static long check;

static bool run(const char *name, int n)
{
	bool found = false;
	if (name && !strcmp(name, "open")) {
		check += held(7, "open");
		return true;
	}
	for (const auto &scenario : scenarios) {
		if (!name || !strcmp(name, scenario.name)) {
			check += scenario.run(n);
			found = true;
		}
	}
	return found;
}

static void report()
{
	const char *comma = "";
	printf("{\"check\":%ld,\"functions\":{", check);
	for (int f = 0; f < NUM_FUNCTIONS; f++) {
		auto t = tallies[f];
		if (!t.calls)
			continue;
		printf("%s\"%s\":{\"calls\":%ld,\"returns\":%ld,\"unwound\":%ld}", comma, names[f], t.calls, t.returns,
		       t.calls - t.returns);
		comma = ",";
	}
	puts("},\"children\":{},\"libraries\":{}}");
	fflush(stdout);
}

TRACED static void no_throw(long x) noexcept { raise(x); }

struct Thrower {
	~Thrower() noexcept(false);
};
TRACED Thrower::~Thrower() noexcept(false) { raise(3); }

TRACED int crash_inner(const std::string &kind)
{
	Guard guard(1);
	if (kind == "uncaught")
		raise(3);
	else if (kind == "noexcept")
		no_throw(3);
	else if (kind == "double") {
		Thrower thrower;
		raise(6);
	} else if (kind == "thread")
		std::thread([] { raise(3); }).join();
	else if (kind == "terminate")
		std::terminate();
	else if (kind == "exit")
		exit(3);
	fprintf(stderr, "counts: no crash \"%s\"\n", kind.c_str());
	exit(2);
}

TRACED int crash_outer(const std::string &kind)
{
	Guard guard(2);
	int code = crash_inner(kind);
	barrier(code);
	return code;
}

int main(int argc, char **argv)
{
	std::string crash;
	int n = 100, i = 1;
	bool wait = false, named = false;

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "-wait"))
			wait = true;
		else if (!strcmp(argv[i], "-n") && i + 1 < argc)
			n = atoi(argv[++i]);
		else if (!strcmp(argv[i], "-crash") && i + 1 < argc)
			crash = argv[++i];
		else
			return fprintf(stderr, "counts: no option %s\n", argv[i]), 2;
	}
	if (wait) {
		char line[8];
		puts("ready");
		fflush(stdout);
		if (!fgets(line, sizeof line, stdin) || strcmp(line, "go\n") != 0)
			return 0;
	}
	for (; i < argc; i++) {
		named = true;
		if (!run(argv[i], n))
			return fprintf(stderr, "counts: no scenario \"%s\"\n", argv[i]), 2;
	}
	if (!named)
		run(nullptr, n);
	report();
	return crash.empty() ? 0 : crash_outer(crash);
}
