// Fails in known places and prints its stack there: see ../../README.md.
#include <execinfo.h>
#include <link.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#if defined(__clang__)
#define TRACED __attribute__((noinline, used))
#else
#define TRACED __attribute__((noipa, used))
#endif
#define INLINED inline __attribute__((always_inline))

template <typename T> static inline void barrier(T &x) { asm volatile("" : : "g"(&x) : "memory"); }

static uintptr_t base, end;

static int program(struct dl_phdr_info *info, size_t, void *)
{
	base = info->dlpi_addr;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD)
			end = std::max<uintptr_t>(end, base + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz);
	return 1;
}

// Prints the stack of its caller, as the one of the function of that name: return
// addresses in the program's file.
#define SAY(name) (say(name))
__attribute__((noinline)) static void say(const char *name)
{
	void *stack[256];
	int n = backtrace(stack, 256);
	for (int i = 1; i < n; i++)
		if ((uintptr_t)stack[i] >= base && (uintptr_t)stack[i] < end)
			printf("at %s %#lx\n", name, (uintptr_t)stack[i] - base);
	fflush(stdout);
}

namespace stacks {

TRACED long fails(long x) { SAY("stacks::fails"); throw std::runtime_error("no"); }

INLINED long between(long x)
{
	long y = fails(x + 1);
	barrier(y);
	return y;
}

INLINED long around(long x)
{
	return between(x * 2) + 1;
}

TRACED long passes(long x)
{
	std::string held(x % 100, 'x');
	long y = around(x);
	barrier(held);
	return y + held.size();
}

TRACED long recurses(long n)
{
	long y = n ? recurses(n - 1) : passes(1);
	barrier(y);
	return y;
}

struct Thing {
	long x;
	TRACED virtual long tries(long n);
	virtual ~Thing() {}
};

long Thing::tries(long n)
{
	try {
		return recurses(n);
	} catch (const std::exception &) {
		return x;
	}
}

TRACED long tail_callee(long x) { SAY("stacks::tail_callee"); throw x; }
TRACED long tail(long x) { return tail_callee(x + 1); }

TRACED long big(long x)
{
	volatile char room[16384];
	memset((char *)room, (int)x, sizeof room);
	barrier(room);
	SAY("stacks::big"); throw (int)room[5];
}

TRACED long above_big(long x)
{
	volatile char room[16384];
	memset((char *)room, (int)x, sizeof room);
	barrier(room);
	long y = big(x);
	return y + room[7];
}

TRACED long realigned(long x)
{
	alignas(64) volatile char room[64];
	room[x & 63] = 1;
	long y = tail(x);
	barrier(y);
	return y + room[3];
}

TRACED long compares(long x) { SAY("stacks::compares"); throw "compared"; }

// A frame of the C library is between.
TRACED long sorts(long x)
{
	int list[2] = {2, 1};
	qsort(list, 2, sizeof *list, [](const void *, const void *) -> int { return (int)compares(1); });
	return list[0] + x;
}

// What it raises has been thrown and caught before, a bit higher on the stack.
static std::exception_ptr kept;
TRACED long raises_anew(long x)
{
	volatile char room[1500];
	memset((char *)room, (int)x, sizeof room);
	barrier(room);
	SAY("stacks::raises_anew"); std::rethrow_exception(kept);
}

TRACED void dies(long x) { SAY("stacks::dies"); throw std::logic_error("uncaught"); }
TRACED void aborts(long x) { SAY("stacks::aborts"); abort(); }
TRACED void faults(volatile long *x) { SAY("stacks::faults"); *x = 1; }
TRACED void outer(const char *how)
{
	volatile long x = 1;
	if (!strcmp(how, "throw")) dies(x);
	if (!strcmp(how, "abort")) aborts(x);
	if (!strcmp(how, "segv")) faults((volatile long *)8);
	x = 2;
}

} // namespace stacks

int main(int argc, char **argv)
{
	std::string crash;
	dl_iterate_phdr(program, nullptr);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-wait")) {
			puts("ready");
			fflush(stdout);
			if (getchar() == EOF)
				return 1;
		} else {
			crash = argv[i];
		}
	}
	if (!crash.empty()) {
		std::thread(stacks::outer, crash.c_str()).join();
		return 0;
	}
	stacks::Thing *thing = new stacks::Thing;
	thing->x = 3;
	barrier(thing);
	long sum = thing->tries(3);
	for (auto f : {stacks::realigned, stacks::above_big, stacks::sorts, stacks::raises_anew}) {
		try {
			sum += f(1);
		} catch (...) {
			stacks::kept = std::current_exception();
			sum++;
		}
	}
	return sum == 0;
}
