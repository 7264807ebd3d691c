// Code with what C++ does to control flow: landing pads, cold parts, switches,
// virtual and direct tail calls, computed gotos, big and aligned frames.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

struct Shape {
	virtual ~Shape() {}
	virtual int area(int k) const = 0;
};
struct Square : Shape {
	int side;
	explicit Square(int s) : side(s) {}
	int area(int k) const override { return side * side * k; }
};
struct Circle : Shape {
	int area(int k) const override {
		if (k < 0) throw std::invalid_argument("negative");
		return 3 * k;
	}
};

__attribute__((noinline)) int virtual_tail(const Shape *s, int k) { return s->area(k + 1); }

__attribute__((noinline)) int leaf_switch(int op, int a, int b) {
	switch (op) {
	case 0: return a + b;
	case 1: return a - b;
	case 2: return a * b;
	case 3: return b ? a / b : 0;
	case 4: return a << (b & 31);
	case 5: return a ^ b;
	case 6: return ~a;
	case 7: return a | b;
	}
	return -1;
}

__attribute__((noinline)) std::string guarded(int n) {
	std::string out = "n=";
	std::vector<std::unique_ptr<Shape>> shapes;
	try {
		for (int i = 0; i < n; i++) {
			if (i % 3 == 2) throw std::runtime_error("third");
			shapes.emplace_back(i % 2 ? static_cast<Shape *>(new Square(i)) : new Circle());
			out += std::to_string(virtual_tail(shapes.back().get(), i));
		}
	} catch (const std::runtime_error &e) {
		out += e.what();
		if (n > 100) throw;
	}
	return out;
}

static int (*const handlers[])(int, int, int) = {leaf_switch, leaf_switch, leaf_switch};

__attribute__((noinline)) int by_array(int i, int a, int b) { return handlers[i % 3](i, a, b); }

__attribute__((noinline)) int interpret(const unsigned char *code) {
	static const void *const labels[] = {&&add, &&sub, &&dup, &&end};
	int acc = 1;
	goto *labels[*code++ & 3];
add:
	acc += 3;
	goto *labels[*code++ & 3];
sub:
	acc -= 2;
	goto *labels[*code++ & 3];
dup:
	acc *= 2;
	goto *labels[*code++ & 3];
end:
	return acc;
}

__attribute__((noinline)) int aligned_frame(int n) {
	alignas(64) unsigned char buf[256];
	memset(buf, n, sizeof buf);
	char *dynamic = static_cast<char *>(__builtin_alloca(n + 1));
	snprintf(dynamic, n + 1, "%d", n);
	return buf[n & 255] + dynamic[0];
}

__attribute__((noinline)) int big_frame(int n) {
	volatile char buf[70000];
	buf[n] = 1;
	return buf[n] + virtual_tail(std::make_unique<Square>(n).get(), 1);
}

__attribute__((noinline)) unsigned long recur(unsigned long n, unsigned long acc) {
	return n == 0 ? acc : recur(n - 1, acc * n + 1);
}

int main(int argc, char **argv) {
	std::map<std::string, int> m;
	for (int i = 0; i < 20; i++) {
		m[guarded(i % 6)] += leaf_switch(i % 9, i, 3) + by_array(i, i, 2);
	}
	const unsigned char code[] = {0, 2, 1, 0, 3};
	int sum = interpret(code) + aligned_frame(argc + 4) + big_frame(argc) + int(recur(argc, 1));
	for (auto &[k, v] : m) sum += int(k.size()) * v;
	std::printf("%d\n", sum);
	return argc > 50 ? atoi(argv[1]) : 0;
}
