/* A shared object whose function fails. */
#include <errno.h>

__attribute__((noinline)) int store_opens(int code)
{
	errno = code;
	return -1;
}
