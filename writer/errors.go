package writer

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/mattn/go-sqlite3"

	"github.com/observatory-trace/observatory-trace/trace"
)

// What an Error may wrap.
var (
	ErrNewer    = errors.New("written by a newer observatory-trace")
	ErrForeign  = errors.New("not an observatory-trace database")
	ErrCorrupt  = errors.New("damaged")
	ErrFull     = errors.New("no space left")
	ErrLocked   = errors.New("locked by another program")
	ErrReadOnly = errors.New("not writable")
	ErrReplaced = errors.New("deleted or replaced while in use")
	ErrIO       = errors.New("reading or writing failed")
	ErrClosed   = errors.New("closed")
)

// Error is what went wrong with a database, and the way out.
type Error struct {
	Op   string // what was being done: "open database", "write calls"
	Path string
	Err  error // wraps one of this package's sentinels where one fits
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

// fault is how an error of SQLite or of the file system is told.
type fault struct {
	kind error
	hint string // {path} is the path
}

var (
	faultCorrupt  = fault{ErrCorrupt, "attach sets it aside as {path}.damaged-TIME and begins a new one; `sqlite3 {path}.damaged-TIME .recover` prints what can be read"}
	faultFull     = fault{ErrFull, "free space on its file system, or choose another place with --db"}
	faultLocked   = fault{ErrLocked, "end the program that holds a write transaction on it (fuser {path})"}
	faultReadOnly = fault{ErrReadOnly, "run as its owner, remount its file system writable, or choose another place with --db"}
	faultForeign  = fault{ErrForeign, "choose another file with --db"}
	faultNewer    = fault{ErrNewer, "use that version of the program, or choose another file with --db"}
	faultReplaced = fault{ErrReplaced, "leave the file in place while tracing; a new one is begun"}
	faultIO       = fault{ErrIO, "look at the kernel's log (dmesg) for what its disk says, or choose another place with --db"}
)

// wrap gives err the operation, the path, its kind and the way out.
func wrap(op, path string, err error) error {
	if err == nil {
		return nil
	}
	var done *Error
	if errors.As(err, &done) {
		return err
	}
	if f, ok := classify(err); ok {
		if who := holder(path); errors.Is(f.kind, ErrLocked) && who != "" {
			f.hint = "end the write transaction of " + who
		}
		return f.error(op, path, err)
	}
	return &Error{Op: op, Path: path, Err: err}
}

func (f fault) error(op, path string, cause error) error {
	err := f.kind
	if cause != nil && !errors.Is(cause, f.kind) {
		err = fmt.Errorf("%w: %w", f.kind, cause)
	}
	return &Error{Op: op, Path: path, Err: err, hint: strings.ReplaceAll(f.hint, "{path}", path)}
}

func classify(err error) (fault, bool) {
	var code sqlite3.Error
	if errors.As(err, &code) {
		switch code.Code {
		case sqlite3.ErrCorrupt, sqlite3.ErrNotADB:
			return faultCorrupt, true
		case sqlite3.ErrFull:
			return faultFull, true
		case sqlite3.ErrBusy, sqlite3.ErrLocked:
			return faultLocked, true
		case sqlite3.ErrReadonly, sqlite3.ErrPerm:
			if code.ExtendedCode == sqlite3.ErrReadonlyDbMoved {
				return faultReplaced, true
			}
			return faultReadOnly, true
		case sqlite3.ErrCantOpen:
			return faultReadOnly, true
		}
		switch {
		case errors.Is(code.SystemErrno, syscall.ENOSPC), errors.Is(code.SystemErrno, syscall.EDQUOT):
			return faultFull, true
		case errors.Is(code.SystemErrno, syscall.EROFS), errors.Is(code.SystemErrno, syscall.EPERM):
			return faultReadOnly, true
		case code.Code == sqlite3.ErrIoErr:
			return faultIO, true
		}
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return faultFull, true
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return faultReadOnly, true
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.EFBIG):
		return faultIO, true
	}
	return fault{}, false
}

// busy says whether err is another connection's lock: worth trying again.
func busy(err error) bool {
	var code sqlite3.Error
	return errors.As(err, &code) && (code.Code == sqlite3.ErrBusy || code.Code == sqlite3.ErrLocked)
}

// poison says whether err is about what was to be written, and not about where:
// the same would fail in a healthy database, too.
func poison(err error) bool {
	var code sqlite3.Error
	if errors.As(err, &code) {
		switch code.Code {
		case sqlite3.ErrConstraint, sqlite3.ErrTooBig, sqlite3.ErrMismatch, sqlite3.ErrRange:
			return true
		}
	}
	return errors.Is(err, trace.ErrHistogram)
}

// causeOf is the short form of an error, under which such are counted.
func causeOf(err error) string {
	for _, kind := range []error{ErrReplaced, ErrFull, ErrLocked, ErrReadOnly, ErrCorrupt, ErrIO, ErrNewer, ErrForeign} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	return "failed"
}
