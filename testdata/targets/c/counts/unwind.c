/* Frames that are thrown away or left and taken up again: longjmp, signals, coroutines. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include "tally.h"

static jmp_buf back;
static sigjmp_buf back_sig;

TRACED long jump_out(int depth)
{
	ENTER(jump_out);
	if (depth == 0)
		longjmp(back, 3);
	long result = jump_out(depth - 1);
	BARRIER(result);
	LEAVE(jump_out);
	return result;
}

TRACED long landing(int depth)
{
	ENTER(landing);
	long result = setjmp(back);
	if (result == 0)
		result = jump_out(depth);
	BARRIER(result);
	LEAVE(landing);
	return result;
}

TRACED long jump_out_sig(int depth)
{
	ENTER(jump_out_sig);
	if (depth == 0)
		siglongjmp(back_sig, 5);
	long result = jump_out_sig(depth - 1);
	BARRIER(result);
	LEAVE(jump_out_sig);
	return result;
}

/* From a handler on the alternate stack back to the ordinary one. */
TRACED void on_fault(int sig)
{
	ENTER(on_fault);
	siglongjmp(back_sig, sig);
}

TRACED int fault(volatile int *p)
{
	ENTER(fault);
	int value = *p;
	LEAVE(fault);
	return value;
}

TRACED long landing_sig(int depth, volatile int *p)
{
	ENTER(landing_sig);
	long result = sigsetjmp(back_sig, 1);
	if (result == 0)
		result = depth < 0 ? fault(p) : jump_out_sig(depth);
	BARRIER(result);
	LEAVE(landing_sig);
	return result;
}

static void handle(int sig, void (*handler)(int))
{
	struct sigaction action = {.sa_flags = SA_ONSTACK};

	action.sa_handler = handler;
	if (sigaction(sig, &action, NULL) != 0) {
		perror("sigaction");
		exit(1);
	}
}

static void use_alternate_stack(void)
{
	static char memory[64 * 1024];
	stack_t stack = {.ss_sp = memory, .ss_size = sizeof memory};

	if (sigaltstack(&stack, NULL) != 0) {
		perror("sigaltstack");
		exit(1);
	}
}

long run_jumps(int n)
{
	long total = 0;
	int value = 7;

	use_alternate_stack();
	handle(SIGSEGV, on_fault);
	for (int i = 0; i < n; i++) {
		total += landing(i % 5);
		total += landing_sig(i % 3, NULL);
		total += landing_sig(-1, i % 2 ? NULL : &value);
	}
	handle(SIGSEGV, SIG_DFL);
	return total;
}

TRACED long in_handler(long x)
{
	ENTER(in_handler);
	long result = leaf((int)x) + 1;
	BARRIER(result);
	LEAVE(in_handler);
	return result;
}

TRACED void on_signal(int sig)
{
	ENTER(on_signal);
	sink += in_handler(sig);
	LEAVE(on_signal);
}

TRACED long deliver(int sig)
{
	ENTER(deliver);
	raise(sig);
	LEAVE(deliver);
	return sig;
}

TRACED void on_jump(int sig)
{
	ENTER(on_jump);
	sink += in_handler(sig);
	siglongjmp(back_sig, 1);
}

TRACED void raise_inside(int depth)
{
	ENTER(raise_inside);
	if (depth == 0)
		raise(SIGUSR2);
	else
		raise_inside(depth - 1);
	LEAVE(raise_inside);
}

long run_signals(int n)
{
	long total = 0;

	use_alternate_stack();
	handle(SIGUSR1, on_signal);
	handle(SIGUSR2, on_jump);
	for (int i = 0; i < n; i++) {
		total += deliver(SIGUSR1);
		if (sigsetjmp(back_sig, 1) == 0)
			raise_inside(i % 4);
		total++;
	}
	handle(SIGUSR1, SIG_DFL);
	handle(SIGUSR2, SIG_DFL);
	return total + sink;
}

static ucontext_t scheduler, coroutines[2];
static int current;

TRACED void co_yield(void)
{
	ENTER(co_yield);
	swapcontext(&coroutines[current], &scheduler);
	LEAVE(co_yield);
}

/* Open on one stack while calls are made on the other. */
TRACED long co_step(int id, int i)
{
	ENTER(co_step);
	co_yield();
	LEAVE(co_step);
	return id + i;
}

static int steps;

TRACED void co_body(int id)
{
	ENTER(co_body);
	for (int i = 0; i < steps; i++)
		sink += co_step(id, i);
	LEAVE(co_body);
}

TRACED long co_run(int n)
{
	static char stacks[2][256 * 1024];
	long switches = 0;

	ENTER(co_run);
	steps = n;
	for (int id = 0; id < 2; id++) {
		getcontext(&coroutines[id]);
		coroutines[id].uc_stack.ss_sp = stacks[id];
		coroutines[id].uc_stack.ss_size = sizeof stacks[id];
		coroutines[id].uc_link = &scheduler;
		makecontext(&coroutines[id], (void (*)(void))co_body, 1, id);
	}
	for (int i = 0; i <= n; i++) {
		for (current = 0; current < 2; current++) {
			swapcontext(&scheduler, &coroutines[current]);
			switches++;
		}
	}
	LEAVE(co_run);
	return switches;
}

long run_coroutines(int n)
{
	sink = 0;
	return co_run(n) + sink;
}
