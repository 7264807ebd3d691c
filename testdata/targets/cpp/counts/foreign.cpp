// Plays the part of C code between C++ frames: it has unwind tables, and nothing to clean up.
extern "C" long call_back(long (*f)(long), long x);

extern "C" __attribute__((noinline)) long call_back(long (*f)(long), long x)
{
	long result = f(x);
	asm volatile("" : "+r"(result));
	return result;
}
