/*
 * Passes a text that lies on pages which are not resident: of a mapped file,
 * dropped with MADV_DONTNEED, or never touched since it was mapped.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char text[] = "a text that nobody has looked at";
static volatile long sink;

__attribute__((noipa)) void take(const char *where, int n)
{
	sink += n + (where != NULL);
}

int main(int argc, char **argv)
{
	FILE *file = tmpfile();
	char *place;

	if (!file || fwrite(text, sizeof text, 1, file) != 1 || fflush(file) != 0 || ftruncate(fileno(file), 3 * 4096) != 0)
		return 1;
	for (int page = 1; page < 3; page++)
		if (pwrite(fileno(file), text, sizeof text, page * 4096) != sizeof text)
			return 1;
	place = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fileno(file), 0);
	if (place == MAP_FAILED)
		return 1;
	madvise(place, 3 * 4096, MADV_RANDOM); /* no fault brings its neighbours in */
	sink += place[4096];                   /* resident once, and dropped below */
	if (argc > 1 && strcmp(argv[1], "-wait") == 0) {
		char line[16];

		puts("ready");
		fflush(stdout);
		if (!fgets(line, sizeof line, stdin))
			return 1;
	}
	madvise(place + 4096, 4096, MADV_DONTNEED);
	for (int page = 0; page < 3; page++)
		take(place + page * 4096, 1);
	puts("done");
	return 0;
}
