/* Threads that return, are cancelled, or end themselves. */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tally.h"

static sem_t arrived;

static pthread_t start(void *(*body)(void *), void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, body, arg) != 0) {
		fprintf(stderr, "counts: cannot create a thread\n");
		exit(1);
	}
	return thread;
}

TRACED void *thread_main(void *arg)
{
	ENTER(thread_main);
	long n = (long)arg, total = 0;
	for (long i = 0; i < n; i++)
		total += ints(i, 1, 1, 1, 1, 1, 1);
	LEAVE(thread_main);
	return (void *)total;
}

long run_threads(int n)
{
	pthread_t threads[4];
	long total = 0;
	void *result;

	for (int i = 0; i < 4; i++)
		threads[i] = start(thread_main, (void *)(long)n);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], &result);
		total += (long)result;
	}
	return total;
}

TRACED void cancel_cleanup(void *arg)
{
	ENTER(cancel_cleanup);
	__atomic_fetch_add((long *)arg, 1, __ATOMIC_RELAXED);
	LEAVE(cancel_cleanup);
}

/* Deferred cancellation: the thread is unwound out of pause(). */
TRACED long cancel_inner(long depth)
{
	ENTER(cancel_inner);
	long result = 0;
	if (depth > 0) {
		result = cancel_inner(depth - 1);
	} else {
		sem_post(&arrived);
		for (;;)
			pause();
	}
	BARRIER(result);
	LEAVE(cancel_inner);
	return result;
}

TRACED long cancel_outer(long depth, long *cleanups)
{
	long result;

	ENTER(cancel_outer);
	pthread_cleanup_push(cancel_cleanup, cleanups);
	result = cancel_inner(depth);
	pthread_cleanup_pop(0);
	BARRIER(result);
	LEAVE(cancel_outer);
	return result;
}

static long cleanups;

TRACED void *cancel_main(void *arg)
{
	ENTER(cancel_main);
	long result = cancel_outer((long)arg, &cleanups);
	BARRIER(result);
	LEAVE(cancel_main);
	return (void *)result;
}

static long cancel(void *(*body)(void *), long arg)
{
	void *result;
	pthread_t thread = start(body, (void *)arg);

	sem_wait(&arrived);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	return result == PTHREAD_CANCELED;
}

long run_cancel(int n)
{
	long total = 0;

	sem_init(&arrived, 0, 0);
	cleanups = 0;
	for (int i = 0; i < n; i++)
		total += cancel(cancel_main, i % 4);
	return total + cleanups;
}

/* Asynchronous cancellation: the thread is unwound out of any instruction. */
TRACED long async_spin(volatile long *turns)
{
	ENTER(async_spin);
	sem_post(&arrived);
	for (;;)
		++*turns;
	LEAVE(async_spin);
	return *turns;
}

TRACED void *async_main(void *arg)
{
	volatile long turns = (long)arg;
	int old;

	ENTER(async_main);
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
	long result = async_spin(&turns);
	BARRIER(result);
	LEAVE(async_main);
	return (void *)result;
}

long run_async_cancel(int n)
{
	long total = 0;

	sem_init(&arrived, 0, 0);
	for (int i = 0; i < n / 10 + 1; i++)
		total += cancel(async_main, i);
	return total;
}

TRACED long exit_inner(long x)
{
	ENTER(exit_inner);
	pthread_exit((void *)(x + 1));
}

TRACED long exit_outer(long x)
{
	ENTER(exit_outer);
	long result = exit_inner(x * 2);
	BARRIER(result);
	LEAVE(exit_outer);
	return result;
}

TRACED void *exit_main(void *arg)
{
	ENTER(exit_main);
	long result = exit_outer((long)arg);
	BARRIER(result);
	LEAVE(exit_main);
	return (void *)result;
}

long run_thread_exit(int n)
{
	long total = 0;
	void *result;

	for (int i = 0; i < n; i++) {
		pthread_join(start(exit_main, (void *)(long)i), &result);
		total += (long)result;
	}
	return total;
}
