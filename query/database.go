package query

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"
)

// SchemaVersion is the schema that this package can read.
const SchemaVersion = 3

// applicationID marks the project's databases, their PRAGMA application_id: "obsv".
const applicationID = 0x6f627376

// What errors of this package may wrap.
var (
	ErrMissing  = errors.New("no such database")
	ErrForeign  = errors.New("not an observatory-trace database")
	ErrNewer    = errors.New("written by a newer observatory-trace")
	ErrOlder    = errors.New("written by an older observatory-trace")
	ErrDamaged  = errors.New("damaged")
	ErrReplaced = errors.New("deleted or replaced")
	ErrRefused  = errors.New("only statements that read are allowed")
	ErrNoCall   = errors.New("no such call")

	ErrTemporary = errors.New("no room for what is sorted")
)

// Error is what went wrong with reading a database, and the way out.
type Error struct {
	Op   string // "open database", "summarize"
	Path string
	Err  error
	hint string
}

// Error gives the problem and the way out, on one line.
func (e *Error) Error() string {
	problem := fmt.Sprintf("%s %s: %v", e.Op, e.Path, e.Err)
	if e.hint == "" {
		return problem
	}
	return problem + "; " + e.hint
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what the operator can do, in one sentence; it may be empty.
func (e *Error) Hint() string { return e.hint }

// Database is a database opened for reading. It is safe for concurrent use.
type Database struct {
	sql      *sql.DB
	path     string
	identity os.FileInfo
}

// Open opens the database at path for reading; the caller closes it. It may be
// written to at the same time. Errors are of type *Error and wrap ErrMissing,
// ErrForeign, ErrNewer, ErrOlder or ErrDamaged where they fit.
func Open(path string) (*Database, error) {
	d := &Database{path: path}
	if err := d.open(); err != nil {
		return nil, d.wrap("open database", err)
	}
	return d, nil
}

func (d *Database) open() error {
	identity, err := os.Stat(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrMissing
	case err != nil:
		return err
	case !identity.Mode().IsRegular():
		return fmt.Errorf("%w: it is not a file", ErrForeign)
	}
	d.identity = identity
	// Asked without opening it: closing a file drops the locks that a writer in this process has on it.
	if err := unix.Faccessat(unix.AT_FDCWD, d.path, unix.R_OK, unix.AT_EACCESS); err != nil {
		return err
	}
	if err = d.connect("mode=ro"); cannotOpen(err) && !hasLog(d.path) {
		// A reader that may not write beside the file can't share it with a
		// writer; but without a log nobody is writing.
		err = d.connect("mode=ro&immutable=1")
	}
	return err
}

func (d *Database) connect(parameters string) error {
	d.sql = sql.OpenDB(connector{"file:" + (&url.URL{Path: d.path}).EscapedPath() + "?" + parameters})
	err := d.checkSchema()
	if err != nil {
		_ = d.sql.Close() // the first error is the one to tell
	}
	return err
}

func (d *Database) checkSchema() error {
	var version, application int64
	if err := d.sql.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if err := d.sql.QueryRow("PRAGMA application_id").Scan(&application); err != nil {
		return err
	}
	switch {
	case application != applicationID || version == 0:
		return ErrForeign
	case version > SchemaVersion:
		return fmt.Errorf("%w: its schema is version %d, this program knows %d", ErrNewer, version, SchemaVersion)
	case version < SchemaVersion:
		return fmt.Errorf("%w: its schema is version %d, this program reads %d", ErrOlder, version, SchemaVersion)
	}
	return nil
}

// Close closes the database.
func (d *Database) Close() error {
	if err := d.sql.Close(); err != nil {
		return d.wrap("close database", err)
	}
	return nil
}

// connector opens connections that can do nothing but read.
type connector struct{ name string }

// Connect opens a connection.
func (c connector) Connect(context.Context) (driver.Conn, error) { return c.Driver().Open(c.name) }

// Driver gives the driver with this package's own set-up.
func (connector) Driver() driver.Driver {
	return &sqlite3.SQLiteDriver{ConnectHook: func(conn *sqlite3.SQLiteConn) error {
		for _, pragma := range []string{
			// Sorts of many rows go to files, in parts that a processor's cache holds: all in memory they take
			// three times as long, and as much memory as there are rows. What is read again the kernel has.
			"PRAGMA busy_timeout = 5000", "PRAGMA query_only = ON", "PRAGMA trusted_schema = OFF",
			"PRAGMA temp_store = FILE", "PRAGMA cache_size = -2000", "PRAGMA mmap_size = 1073741824",
		} {
			if _, err := conn.Exec(pragma, nil); err != nil {
				return err
			}
		}
		conn.RegisterAuthorizer(authorize)
		return nil
	}}
}

// sqliteRecursive is SQLITE_RECURSIVE, which the driver doesn't name.
const sqliteRecursive = 33

// readingPragmas only tell, and only of the schema, whatever their argument.
var readingPragmas = map[string]bool{
	"table_info": true, "table_xinfo": true, "table_list": true, "index_list": true, "index_info": true, "index_xinfo": true,
	"database_list": true, "function_list": true, "collation_list": true, "compile_options": true, "pragma_list": true,
}

// authorize is SQLite's authorizer: it decides while a statement is compiled.
func authorize(action int, name, argument, _ string) int {
	switch action {
	case sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_TRANSACTION, sqliteRecursive:
		return sqlite3.SQLITE_OK
	case sqlite3.SQLITE_PRAGMA:
		switch strings.ToLower(name) {
		case "user_version", "application_id", "schema_version", "data_version", "page_count", "page_size", "freelist_count",
			"journal_mode", "encoding":
			if argument == "" {
				return sqlite3.SQLITE_OK
			}
		default:
			if readingPragmas[strings.ToLower(name)] {
				return sqlite3.SQLITE_OK
			}
		}
	}
	return sqlite3.SQLITE_DENY
}

// wrap gives err the operation, the path and, where one is known, the way out.
func (d *Database) wrap(op string, err error) error {
	var done *Error
	if err == nil || errors.As(err, &done) {
		return err
	}
	var code sqlite3.Error
	if errors.As(err, &code) {
		switch code.Code {
		case sqlite3.ErrCorrupt:
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		case sqlite3.ErrNotADB:
			err = fmt.Errorf("%w: %w", ErrForeign, err)
		case sqlite3.ErrFull:
			err = fmt.Errorf("%w: %w", ErrTemporary, err)
		case sqlite3.ErrIoErr:
			if code.ExtendedCode == sqlite3.ErrIoErrGetTempPath {
				err = fmt.Errorf("%w: %w", ErrTemporary, err)
			}
		case sqlite3.ErrAuth, sqlite3.ErrReadonly:
			err = fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
	return &Error{Op: op, Path: d.path, Err: err, hint: hintFor(err, d.path)}
}

func hintFor(err error, path string) string {
	switch {
	case errors.Is(err, ErrMissing):
		return "record one with `observatory-trace attach -p PID`, or name another file with --db"
	case errors.Is(err, ErrForeign):
		return "name a file that `observatory-trace attach` wrote with --db"
	case errors.Is(err, ErrNewer):
		return "read it with that version of the program"
	case errors.Is(err, ErrOlder):
		return fmt.Sprintf("`observatory-trace retain --db %s`, like recording into it with attach, brings it up to date; sqlite3 reads its views as they are", path)
	case errors.Is(err, ErrDamaged):
		return fmt.Sprintf("`sqlite3 %s .recover` saves what can be read", path)
	case errors.Is(err, ErrTemporary):
		return "free space in /var/tmp, or name another folder with the environment's SQLITE_TMPDIR; narrow the query, for instance by ts"
	case errors.Is(err, ErrRefused):
		return "the database is opened for reading; change it with sqlite3 if you must"
	case errors.Is(err, fs.ErrPermission):
		return "it holds other programs' arguments: only its owner may read it"
	case errors.Is(err, context.DeadlineExceeded):
		return "narrow the query, for instance by ts, or raise --timeout"
	}
	return ""
}

func cannotOpen(err error) bool {
	var code sqlite3.Error
	return errors.As(err, &code) && (code.Code == sqlite3.ErrCantOpen || code.Code == sqlite3.ErrReadonly)
}

func hasLog(path string) bool {
	st, err := os.Stat(path + "-wal")
	return err == nil && st.Size() > 0
}
