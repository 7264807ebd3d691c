// Calls on their way into SQLite without a call into C for every value: Go packs
// them into memory, a virtual table reads them there, and one INSERT … SELECT
// takes them over. packed.c says how the memory is laid out.

#ifndef OBSERVATORY_PACKED_H
#define OBSERVATORY_PACKED_H

#include <stddef.h>
#include <stdint.h>

typedef struct sqlite3 sqlite3;
typedef struct packed packed;

enum { packed_integers = 12, packed_texts = 3, packed_columns = 14 };

// packed_row is followed by its texts, one after the other, and zeros up to a
// multiple of 8 bytes.
struct packed_row {
	uint32_t size;                    // of all that, bytes
	uint32_t nulls;                   // bit i: column i is NULL
	int64_t integers[packed_integers]; // the first columns
	uint32_t lengths[packed_texts];   // bytes of: args, result, usage where it is a text
	uint32_t usage_is_text;
};

// packed_watch has the calling thread note the next connection that it opens;
// packed_watched gives that, or NULL, and ends it.
int packed_watch(void);
sqlite3 *packed_watched(void);

// packed_open prepares a statement that selects from the table packed_calls,
// which it adds to the connection. Both give SQLite's extended result codes.
int packed_open(sqlite3 *db, const char *statement, packed **opened);
// packed_run runs the statement over rows; it keeps nothing of them.
int packed_run(packed *p, const void *rows, size_t size);
void packed_close(packed *p);

// Of the connection's last error.
int packed_errno(sqlite3 *db);
const char *packed_message(sqlite3 *db);

#endif
