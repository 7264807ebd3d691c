/* A shared object that counts loads while it runs. */

__attribute__((noinline)) long plugin_leaf(long x) { return x * 5 + 1; }

__attribute__((noinline)) long plugin_work(long x, const char *tag)
{
	long sum = 0;

	while (*tag)
		sum += *tag++;
	sum += plugin_leaf(x);
	return sum;
}
