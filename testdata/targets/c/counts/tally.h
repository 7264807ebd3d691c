/*
 * Counting calls: every function counts itself when it is entered and just before
 * it is left, with atomic additions that are no calls.
 */
#ifndef TALLY_H
#define TALLY_H

/* What every traced function is declared with: none is inlined, cloned, split or dropped. */
#if defined(__clang__) || !defined(__GNUC__)
#define TRACED __attribute__((noinline, used))
#else
#define TRACED __attribute__((noipa, used))
#endif

/* Keeps a compiler from turning a recursion into a loop. */
#define BARRIER(x) __asm__ volatile("" : "+r"(x) : : "memory")

#define FUNCTIONS(X) \
	X(ints) X(doubles) X(leaf) X(strings) X(by_value) X(by_pointer) X(big_by_value) X(make_big) \
	X(fib) X(descend) X(tail_first) X(tail_second) X(tail_third) X(is_even) X(is_odd) X(tail_maybe) \
	X(dispatch) X(cold_path) X(sum_all) X(compare) X(apply) X(indirect) \
	X(landing) X(jump_out) X(landing_sig) X(jump_out_sig) X(on_fault) X(fault) \
	X(on_signal) X(in_handler) X(deliver) X(on_jump) X(raise_inside) \
	X(thread_main) X(cancel_main) X(cancel_outer) X(cancel_inner) X(cancel_cleanup) \
	X(async_main) X(async_spin) X(exit_main) X(exit_outer) X(exit_inner) \
	X(co_body) X(co_step) X(co_yield) X(co_run) \
	X(in_child) X(in_vfork) X(in_exec) X(held)

enum function {
#define X(f) F_##f,
	FUNCTIONS(X)
#undef X
	NUM_FUNCTIONS
};

struct tally {
	long calls, returns;
};

/*
 * Shared with children: the first row is this process's, the second that of all its children.
 */
extern struct tally (*tallies)[NUM_FUNCTIONS];
extern int row; /* 0 in the first process, 1 in a child */

#define ENTER(f) __atomic_fetch_add(&tallies[row][F_##f].calls, 1, __ATOMIC_RELAXED)
#define LEAVE(f) __atomic_fetch_add(&tallies[row][F_##f].returns, 1, __ATOMIC_RELAXED)

extern volatile long sink; /* a fence for unused values */

long run_calls(int n);
long run_tail(int n);
long run_jumps(int n);
long run_signals(int n);
long run_threads(int n);
long run_cancel(int n);
long run_async_cancel(int n);
long run_thread_exit(int n);
long run_coroutines(int n);
long run_fork(int n);
long run_vfork(int n);
long run_exec(int n);

long ints(long a, int b, short c, unsigned char d, unsigned e, long f, long g);
long fib(int n);
int leaf(int x);

/* Runs this program's own file again as a child that makes n calls. */
void exec_self(int n) __attribute__((noreturn));

#endif
