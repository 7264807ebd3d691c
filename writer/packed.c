#include "packed.h"

#include <stdlib.h>
#include <string.h>

// SQLite's interface (https://sqlite.org/c3ref/module.html), as far as it is
// used here: the driver brings the library, but no header that could be found.
typedef struct sqlite3_stmt sqlite3_stmt;
typedef struct sqlite3_context sqlite3_context;
typedef struct sqlite3_value sqlite3_value;
typedef struct sqlite3_index_info sqlite3_index_info;
typedef struct sqlite3_module sqlite3_module;

typedef struct sqlite3_vtab {
	const sqlite3_module *module;
	int references;
	char *message;
} sqlite3_vtab;

typedef struct sqlite3_vtab_cursor {
	sqlite3_vtab *table;
} sqlite3_vtab_cursor;

struct sqlite3_module {
	int version; // 0: SQLite reads nothing behind xRename
	int (*xCreate)(sqlite3 *, void *, int, const char *const *, sqlite3_vtab **, char **);
	int (*xConnect)(sqlite3 *, void *, int, const char *const *, sqlite3_vtab **, char **);
	int (*xBestIndex)(sqlite3_vtab *, sqlite3_index_info *);
	int (*xDisconnect)(sqlite3_vtab *);
	int (*xDestroy)(sqlite3_vtab *);
	int (*xOpen)(sqlite3_vtab *, sqlite3_vtab_cursor **);
	int (*xClose)(sqlite3_vtab_cursor *);
	int (*xFilter)(sqlite3_vtab_cursor *, int, const char *, int, sqlite3_value **);
	int (*xNext)(sqlite3_vtab_cursor *);
	int (*xEof)(sqlite3_vtab_cursor *);
	int (*xColumn)(sqlite3_vtab_cursor *, sqlite3_context *, int);
	int (*xRowid)(sqlite3_vtab_cursor *, int64_t *);
	void *writing[7]; // xUpdate, transactions, functions, renaming: none
};

enum { sqlite_ok = 0, sqlite_error = 1, sqlite_nomem = 7 };

extern int sqlite3_auto_extension(void (*)(void));
extern int sqlite3_create_module(sqlite3 *, const char *, const sqlite3_module *, void *);
extern int sqlite3_declare_vtab(sqlite3 *, const char *);
extern int sqlite3_prepare_v2(sqlite3 *, const char *, int, sqlite3_stmt **, const char **);
extern int sqlite3_step(sqlite3_stmt *);
extern int sqlite3_reset(sqlite3_stmt *);
extern int sqlite3_finalize(sqlite3_stmt *);
extern int sqlite3_extended_errcode(sqlite3 *);
extern int sqlite3_system_errno(sqlite3 *);
extern const char *sqlite3_errmsg(sqlite3 *);
extern char *sqlite3_mprintf(const char *, ...);
extern void sqlite3_free(void *);
extern void sqlite3_result_int64(sqlite3_context *, int64_t);
extern void sqlite3_result_text(sqlite3_context *, const char *, int, void (*)(void *));

// The connection that a thread opens. The driver keeps it to itself; SQLite
// shows every new one to its automatic extensions.
static _Thread_local int watching;
static _Thread_local sqlite3 *watched;

static int opened(sqlite3 *db, char **message, const void *routines) {
	(void)message;
	(void)routines;
	if (watching)
		watched = db;
	return sqlite_ok;
}

int packed_watch(void) {
	watching = 1;
	watched = NULL;
	return sqlite3_auto_extension((void (*)(void))opened); // once, however often it is asked to
}

sqlite3 *packed_watched(void) {
	sqlite3 *db = watched;
	watching = 0;
	watched = NULL;
	return db;
}

struct packed {
	sqlite3 *db;
	sqlite3_stmt *statement;
	const char *rows; // while packed_run runs
	size_t size;
};

struct table {
	sqlite3_vtab base;
	packed *source;
};

struct cursor {
	sqlite3_vtab_cursor base;
	const char *rows;
	size_t size, at; // the row is at rows + at; at == size: there is none
	struct packed_row row;
	const char *texts[packed_texts];
};

static const char module_name[] = "packed_calls";
static const char declaration[] =
	"CREATE TABLE x (key, id, start, function_id, thread_id, duration_ns, overhead_ns, goroutine, up, top, "
	"cpu_ns, usage, args, result)";

static int table_connect(sqlite3 *db, void *source, int argc, const char *const *argv, sqlite3_vtab **made, char **message) {
	(void)argc;
	(void)argv;
	(void)message;
	int rc = sqlite3_declare_vtab(db, declaration);
	if (rc != sqlite_ok)
		return rc;
	struct table *t = calloc(1, sizeof *t);
	if (!t)
		return sqlite_nomem;
	t->source = source;
	*made = &t->base;
	return sqlite_ok;
}

static int table_disconnect(sqlite3_vtab *t) {
	free(t);
	return sqlite_ok;
}

static int table_plan(sqlite3_vtab *t, sqlite3_index_info *info) {
	(void)t;
	(void)info;
	return sqlite_ok; // there is one way: from the first row to the last
}

static int cursor_open(sqlite3_vtab *t, sqlite3_vtab_cursor **made) {
	(void)t;
	struct cursor *c = calloc(1, sizeof *c);
	if (!c)
		return sqlite_nomem;
	*made = &c->base;
	return sqlite_ok;
}

static int cursor_close(sqlite3_vtab_cursor *c) {
	free(c);
	return sqlite_ok;
}

// cursor_read takes the row at the cursor up, and refuses one that is not
// wholly within the memory.
static int cursor_read(struct cursor *c) {
	size_t left = c->size - c->at, used = sizeof c->row;
	if (left == 0)
		return sqlite_ok;
	if (left < sizeof c->row)
		goto malformed;
	memcpy(&c->row, c->rows + c->at, sizeof c->row);
	if (c->row.size > left || c->row.size < sizeof c->row || c->row.size % 8 != 0)
		goto malformed;
	for (int i = 0; i < packed_texts; i++) {
		c->texts[i] = c->rows + c->at + used;
		if (c->row.lengths[i] > c->row.size - used || c->row.lengths[i] > INT32_MAX)
			goto malformed;
		used += c->row.lengths[i];
	}
	return sqlite_ok;
malformed:
	c->at = c->size;
	sqlite3_free(c->base.table->message);
	c->base.table->message = sqlite3_mprintf("packed calls are malformed");
	return sqlite_error;
}

static int cursor_filter(sqlite3_vtab_cursor *base, int index, const char *name, int argc, sqlite3_value **argv) {
	(void)index;
	(void)name;
	(void)argc;
	(void)argv;
	struct cursor *c = (struct cursor *)base;
	packed *source = ((struct table *)base->table)->source;
	c->rows = source->rows;
	c->size = source->size;
	c->at = 0;
	return cursor_read(c);
}

static int cursor_next(sqlite3_vtab_cursor *base) {
	struct cursor *c = (struct cursor *)base;
	c->at += c->row.size;
	return cursor_read(c);
}

static int cursor_eof(sqlite3_vtab_cursor *base) {
	struct cursor *c = (struct cursor *)base;
	return c->at >= c->size;
}

static int cursor_column(sqlite3_vtab_cursor *base, sqlite3_context *result, int column) {
	const struct cursor *c = (const struct cursor *)base;
	if (column < 0 || column >= packed_columns || c->row.nulls >> column & 1)
		return sqlite_ok; // NULL is what it is already
	int text = column - packed_integers;
	if (column == packed_integers - 1 && c->row.usage_is_text)
		text = packed_texts - 1;
	if (text < 0)
		sqlite3_result_int64(result, c->row.integers[column]);
	else // NULL for a destructor: it stays where it is until the row has been made
		sqlite3_result_text(result, c->texts[text], (int)c->row.lengths[text], NULL);
	return sqlite_ok;
}

static int cursor_rowid(sqlite3_vtab_cursor *base, int64_t *id) {
	*id = ((struct cursor *)base)->row.integers[0];
	return sqlite_ok;
}

static const sqlite3_module module = {
	// No xCreate: the table is there by its module's name, and none can be made.
	.xConnect = table_connect,
	.xBestIndex = table_plan,
	.xDisconnect = table_disconnect,
	.xDestroy = table_disconnect,
	.xOpen = cursor_open,
	.xClose = cursor_close,
	.xFilter = cursor_filter,
	.xNext = cursor_next,
	.xEof = cursor_eof,
	.xColumn = cursor_column,
	.xRowid = cursor_rowid,
};

int packed_open(sqlite3 *db, const char *statement, packed **made) {
	packed *p = calloc(1, sizeof *p);
	if (!p)
		return sqlite_nomem;
	p->db = db;
	int rc = sqlite3_create_module(db, module_name, &module, p);
	if (rc == sqlite_ok)
		rc = sqlite3_prepare_v2(db, statement, -1, &p->statement, NULL);
	if (rc != sqlite_ok) {
		rc = sqlite3_extended_errcode(db);
		packed_close(p);
		return rc;
	}
	*made = p;
	return sqlite_ok;
}

int packed_run(packed *p, const void *rows, size_t size) {
	p->rows = rows;
	p->size = size;
	(void)sqlite3_step(p->statement); // what goes wrong, the reset tells, too
	int rc = sqlite3_reset(p->statement);
	if (rc != sqlite_ok)
		rc = sqlite3_extended_errcode(p->db);
	p->rows = NULL;
	p->size = 0;
	return rc;
}

void packed_close(packed *p) {
	if (!p)
		return;
	sqlite3_finalize(p->statement);
	sqlite3_create_module(p->db, module_name, NULL, NULL);
	free(p);
}

int packed_errno(sqlite3 *db) { return sqlite3_system_errno(db); }

const char *packed_message(sqlite3 *db) { return sqlite3_errmsg(db); }
