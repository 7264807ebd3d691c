package writer

import (
	"context"
	"crypto/rand"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/trace"
)

// batch is what one transaction writes.
type batch struct {
	calls    []*trace.Call
	stats    []FunctionSecond
	gaps     []trace.Gap
	attached *attached // nil: nothing new
	marks    []mark    // rows of meta to be set
}

// mark is a row of meta; one with the value 0 is deleted.
type mark struct {
	key   string
	value int64
}

// attached is how much is being traced.
type attached struct{ functions, processes int }

func (b *batch) empty() bool {
	return len(b.calls)+len(b.stats)+len(b.gaps)+len(b.marks) == 0 && b.attached == nil
}

// database is one connection that writes: everything it does is synchronous,
// and one goroutine at a time uses it.
type database struct {
	path     string
	identity os.FileInfo // the file that was opened, by device and inode
	conn     *sqlite3.SQLiteConn
	handle   unsafe.Pointer  // SQLite's own, of the same connection
	patience time.Duration   // how long a transaction waits for the write lock
	hurry    <-chan struct{} // closed when waiting must end
	retries  *atomic.Uint64  // how often the lock was not to be had

	session int64
	moment  *inserter
	call    *packer
	error   *inserter
	moments moments
	names   names
	beyond  beyond
	rows    []int64 // by function: calls that the transaction has inserted and beyond doesn't have yet
	clock   clock
	expire  expirer
}

// idWindow is how many call ids are reserved at a time.
const idWindow = 1 << 18

// busyTimeout is how long SQLite itself waits for a lock before the
// transaction is tried anew, so that waiting can be interrupted.
const busyTimeout = 200 * time.Millisecond

// closePatience is how long a transaction waits for a lock once the store is being closed.
const closePatience = 10 * time.Second

// openDatabase opens or creates the file, checks it, and migrates its schema.
func openDatabase(path string, patience time.Duration, hurry <-chan struct{}) (_ *database, err error) {
	if err := createFile(path); err != nil {
		return nil, err
	}
	d := &database{path: path, patience: patience, hurry: hurry, retries: new(atomic.Uint64)}
	defer func() {
		if err != nil {
			d.abandon()
		}
	}()
	if err := d.connect(); err != nil {
		return nil, err
	}
	scripts, err := migrations()
	if err != nil {
		return nil, err
	}
	if err := d.inspect(len(scripts)); err != nil {
		return nil, err
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	if err := d.configure(); err != nil {
		return nil, err
	}
	if err := d.migrate(scripts); err != nil {
		return nil, err
	}
	return d, d.prepare()
}

// createFile makes the directory and an empty file that only its owner may
// read: arguments are other people's data. An existing file keeps its mode. The
// file is never opened here: closing it would drop the locks that this process
// has on it through SQLite (https://sqlite.org/howtocorrupt.html, 2.2).
func createFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("create directory: %w", err)
	}
	err := unix.Mknod(path, unix.S_IFREG|0o600, 0)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create file: %w", err)
	}
	return nil
}

// connect opens the connection, and changes nothing in the file.
func (d *database) connect() error {
	identity, err := os.Stat(d.path)
	if err != nil {
		return err
	}
	d.identity = identity
	// The connection is one goroutine's: SQLite needs no mutexes of its own.
	name := "file:" + (&url.URL{Path: d.path}).EscapedPath() + "?mode=rw&_mutex=no"
	if d.conn, d.handle, err = openConnection(name); err != nil {
		return err
	}
	return d.exec(fmt.Sprintf("PRAGMA busy_timeout = %d", busyTimeout.Milliseconds()))
}

// configure sets the connection up for writing; docs/schema.md gives the reasons.
func (d *database) configure() error {
	// Both are settled with the first table. The second writes to a file that has it already.
	if err := d.patiently(func() error { return d.exec("PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL") }); err != nil {
		return err
	}
	var mode []driver.Value
	err := d.patiently(func() (err error) {
		mode, err = d.query(context.Background(), "PRAGMA journal_mode = WAL")
		return err
	})
	if err != nil {
		return err
	}
	if mode[0] != "wal" {
		return fmt.Errorf("write-ahead logging is not to be had here (journal mode %v): use a local file system", mode[0])
	}
	return d.exec(`
		PRAGMA synchronous = NORMAL;
		PRAGMA wal_autocheckpoint = 8000;
		PRAGMA journal_size_limit = 67108864;
		PRAGMA cache_size = -16384;
		PRAGMA temp_store = MEMORY;
		PRAGMA trusted_schema = OFF`)
}

// checkBudget bounds the check of an existing file: a big one is checked only
// as far as this time goes.
const checkBudget = 500 * time.Millisecond

// check looks for damage that writing would only make worse.
func (d *database) check() error {
	ctx, cancel := context.WithTimeout(context.Background(), checkBudget)
	defer cancel()
	rows, err := d.query(ctx, "PRAGMA quick_check(1)")
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	if err != nil {
		return err
	}
	if verdict, ok := rows[0].(string); !ok || verdict != "ok" {
		return faultCorrupt.error("open database", d.path, fmt.Errorf("%w: %v", ErrCorrupt, rows[0]))
	}
	return nil
}

func (d *database) prepare() (err error) {
	if d.moment, err = newInserter(d.conn, "moment", "id", "ts", "ms", "status", "flags", "sample_rate", "first", "calls"); err != nil {
		return err
	}
	if d.error, err = newInserter(d.conn, "error", "key", "type", "message", "stack"); err != nil {
		return err
	}
	d.call, err = newPacker(d.handle)
	return err
}

// close ends the connection; SQLite folds the log into the file if nobody else has it open.
func (d *database) close() error {
	for _, ins := range []*inserter{d.moment, d.error} {
		if ins != nil {
			ins.close()
		}
	}
	if d.call != nil {
		d.call.close()
	}
	d.moment, d.error, d.call = nil, nil, nil
	if d.conn == nil {
		return nil
	}
	conn := d.conn
	d.conn = nil
	return conn.Close()
}

// abandon closes where an error is on its way already.
func (d *database) abandon() { _ = d.close() }

// transaction runs f inside a write transaction and commits. While another
// connection holds the write lock it waits, for as long as the database's
// patience lasts. When it fails, nothing of it is in the file.
func (d *database) transaction(f func() error) error {
	if err := d.begin(); err != nil {
		return err
	}
	err := f()
	if err == nil {
		err = d.patiently(func() error { return d.exec("COMMIT") })
	}
	if err != nil && !d.conn.AutoCommit() {
		// Disk full and I/O errors have rolled back already; what else fails here is not news.
		_ = d.exec("ROLLBACK")
	}
	return err
}

// begin takes the write lock at once: a transaction that reads first can't wait for it later.
func (d *database) begin() error {
	return d.patiently(func() error { return d.exec("BEGIN IMMEDIATE") })
}

func (d *database) patiently(f func() error) error {
	hurry := d.hurry
	for deadline := time.Now().Add(d.patience); ; {
		err := f()
		if !busy(err) {
			return err
		}
		d.retries.Add(1)
		if time.Now().After(deadline) {
			return err
		}
		select {
		case <-hurry:
			hurry = nil
			if last := time.Now().Add(closePatience); last.Before(deadline) {
				deadline = last
			}
		case <-time.After(time.Millisecond): // SQLite's own waiting doesn't cover every kind of busy
		}
	}
}

func (d *database) exec(sql string) error {
	_, err := d.conn.Exec(sql, nil)
	return err
}

// query gives the first row, or io.EOF when there is none.
func (d *database) query(ctx context.Context, sql string, args ...driver.Value) ([]driver.Value, error) {
	named := make([]driver.NamedValue, len(args))
	for i, v := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	rows, err := d.conn.QueryContext(ctx, sql, named)
	if err != nil {
		return nil, err
	}
	row := make([]driver.Value, len(rows.Columns()))
	err = rows.Next(row)
	if closing := rows.Close(); err == nil {
		err = closing
	}
	return row, err
}

func (d *database) integer(sql string, args ...driver.Value) (int64, error) {
	row, err := d.query(context.Background(), sql, args...)
	if err != nil {
		return 0, err
	}
	n, ok := row[0].(int64)
	if !ok {
		return 0, fmt.Errorf("%w: %T instead of a number", ErrCorrupt, row[0])
	}
	return n, nil
}

// reserve takes n numbers of a counter in meta for good, inside a transaction.
func (d *database) reserve(key string, n int) (first int64, err error) {
	next, err := d.integer("UPDATE meta SET value = value + ? WHERE key = ? RETURNING value", int64(n), key)
	return next - int64(n), err
}

// beginSession adds the session's row.
func (d *database) beginSession(s Session, started time.Time) error {
	seed, err := newSeed()
	if err != nil {
		return err
	}
	return d.transaction(func() error {
		d.session, err = d.integer(`INSERT INTO session
			(seed, started, version, host, kernel, tracer_pid, command, settings)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
			seed, d.clock.text(started.UnixNano()), s.Version, s.Host, s.Kernel, int64(os.Getpid()),
			jsonText(s.Command, "[]"), jsonText(s.Settings, "{}"))
		return err
	})
}

// newSeed gives the session's part of trace ids: positive, so that SQL's printf shows 16 digits.
func newSeed() (int64, error) {
	var b [8]byte
	if _, err := io.ReadFull(rand.Reader, b[:]); err != nil {
		return 0, fmt.Errorf("draw trace id seed: %w", err)
	}
	return int64(binary.LittleEndian.Uint64(b[:])>>1 | 1<<62), nil
}

// endSession notes the end, and gives reserved ids back that were not handed
// out, unless another session has taken ids behind them.
func (d *database) endSession(ended time.Time, unused idRange) error {
	return d.transaction(func() error {
		if err := d.set("UPDATE meta SET value = ? WHERE key = 'next_id' AND value = ?", int64(unused.next), int64(unused.end)); err != nil {
			return err
		}
		return d.set("UPDATE session SET ended = ? WHERE id = ?", d.clock.text(ended.UnixNano()), d.session)
	})
}

func (d *database) set(sql string, args ...driver.Value) error {
	_, err := d.conn.Exec(sql, args)
	return err
}

// commit writes a batch in one transaction, and reserves ids in it when asked
// to; it gives the first of them.
func (d *database) commit(b batch, ids int) (firstID int64, err error) {
	if err := d.checkIdentity(); err != nil {
		return 0, err
	}
	err = d.transaction(func() error {
		if ids > 0 {
			if firstID, err = d.reserve("next_id", ids); err != nil {
				return err
			}
		}
		// Before: what is inserted takes the pages that are free then, which go to the log only once.
		if err := d.trim(len(b.calls), len(b.stats)); err != nil {
			return err
		}
		if err := d.insert(b); err != nil {
			return err
		}
		return d.rollUp(len(b.calls), len(b.stats))
	})
	d.settleTrim(err)
	if err != nil {
		d.forget()
	}
	return firstID, err
}

// forget drops what a transaction that failed has left behind: rows that wait
// to be inserted, and numbers of rows that are gone with it.
func (d *database) forget() {
	d.names.forget()
	d.beyond = beyond{}
	clear(d.rows)
	d.moment.forget()
	d.call.forget()
	d.error.forget()
}

// checkIdentity notices that the file at the path is another one: writes to
// an unlinked file succeed, and are lost.
func (d *database) checkIdentity() error {
	now, err := os.Stat(d.path)
	if err == nil && os.SameFile(now, d.identity) {
		return nil
	}
	return faultReplaced.error("write database", d.path, err)
}

func (d *database) insert(b batch) error {
	if err := d.renewNames(len(b.calls)); err != nil {
		return err
	}
	if err := d.beyond.begin(d); err != nil {
		return err
	}
	if len(b.calls) > 0 {
		if err := d.insertCalls(b.calls); err != nil {
			return err
		}
	}
	for i := range b.stats {
		if err := d.insertStat(&b.stats[i]); err != nil {
			return err
		}
	}
	for i := range b.gaps {
		if err := d.insertGap(&b.gaps[i]); err != nil {
			return err
		}
	}
	if err := d.beyond.write(d); err != nil {
		return err
	}
	if err := d.setMarks(b.marks); err != nil {
		return err
	}
	if a := b.attached; a != nil {
		return d.set("UPDATE session SET functions = ?, processes = ? WHERE id = ?",
			int64(a.functions), int64(a.processes), d.session)
	}
	return nil
}

// setMarks writes rows of meta, inside a transaction.
func (d *database) setMarks(marks []mark) error {
	for _, m := range marks {
		sql, values := "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", []driver.Value{m.key, m.value}
		if m.value == 0 {
			sql, values = "DELETE FROM meta WHERE key = ?", values[:1]
		}
		if err := d.set(sql, values...); err != nil {
			return fmt.Errorf("write meta: %w", err)
		}
	}
	return nil
}

func (d *database) insertStat(f *FunctionSecond) error {
	function, err := d.names.function(d, f.Func)
	if err != nil {
		return err
	}
	d.beyond.add(function, -int64(f.Recorded))
	second := d.clock.text(f.Second * 1e9)[:len("2006-01-02 15:04:05")]
	return d.addStat(second, function, d.session, 1, f)
}

// statColumns are what mergeRow reads.
const statColumns = "calls, errors, sampled_out, dropped, recorded, total_ns, max_ns, overhead_ns, cpu_ns, cpu_calls, coverage, histogram, calls_error"

// addStat adds to what the database has of a function, a session, and the time
// that begins with ts and lasts so many seconds. A row of a longer time that
// begins there includes it.
func (d *database) addStat(ts string, function, session int64, seconds int, added *FunctionSecond) error {
	f := new(FunctionSecond) // what is added stays as it is: the transaction may fail, and come again
	f.merge(added)
	row, err := d.query(context.Background(), "SELECT "+statColumns+", seconds FROM stat WHERE ts = ? AND function_id = ? AND session_id = ?",
		ts, function, session)
	span := int64(seconds)
	switch {
	case err == nil:
		if err := f.mergeRow(row); err != nil {
			return err
		}
		if longer, ok := row[len(row)-1].(int64); ok {
			span = max(span, longer)
		}
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("read statistics: %w", err)
	}
	histogram, err := f.Latency.AppendBinary(nil)
	if err != nil {
		return err
	}
	var cpu driver.Value
	if f.CPUCalls > 0 {
		cpu = f.CPUNS
	}
	q := f.Latency.Quantile
	err = d.set(`INSERT OR REPLACE INTO stat (ts, function_id, session_id, calls, errors, sampled_out, dropped,
		recorded, timed, total_ns, max_ns, p50_ns, p95_ns, p99_ns, cpu_ns, overhead_ns, histogram,
		cpu_calls, coverage, calls_error, seconds)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		ts, function, session, int64(f.Calls), int64(f.Errors), int64(f.LeftOut), int64(f.Dropped),
		int64(f.Recorded), int64(f.Latency.Count()), f.TotalNS, f.MaxNS, min(q(0.5), f.MaxNS), min(q(0.95), f.MaxNS), min(q(0.99), f.MaxNS),
		cpu, f.OverheadNS, histogram, int64(f.CPUCalls), f.coverage(), f.CallsError, span)
	if err != nil {
		return fmt.Errorf("write statistics: %w", err)
	}
	return nil
}

// mergeRow adds what the database has of the same second.
func (f *FunctionSecond) mergeRow(row []driver.Value) error {
	var n [10]int64
	for i := range n {
		n[i], _ = row[i].(int64)
	}
	coverage, _ := row[10].(float64)
	histogram, _ := row[11].([]byte)
	callsError, _ := row[12].(float64)
	old := FunctionSecond{
		Tally: trace.Tally{
			Calls: uint64(n[0]), Errors: uint64(n[1]), LeftOut: uint64(n[2]), Dropped: uint64(n[3]), TotalNS: n[5], MaxNS: n[6], OverheadNS: n[7],
		},
		Recorded: uint64(n[4]), CPUNS: n[8], CPUCalls: uint64(n[9]), Coverage: coverage, CallsError: callsError,
	}
	if err := old.Latency.UnmarshalBinary(histogram); err != nil {
		return fmt.Errorf("read statistics: %w: %w", ErrCorrupt, err)
	}
	old.merge(f) // its histogram is nobody else's
	old.Second, old.Func = f.Second, f.Func
	*f = old
	return nil
}

func (d *database) insertGap(g *trace.Gap) error {
	var function driver.Value
	if g.Func != nil {
		id, err := d.names.function(d, g.Func)
		if err != nil {
			return err
		}
		function = id
	}
	err := d.set("INSERT INTO gap (session_id, ts, function_id, pid, count, reason, hint) VALUES (?, ?, ?, ?, ?, ?, ?)",
		d.session, d.clock.text(g.TimeNS), function, unlessZero(int64(g.PID)), int64(g.Count), g.Reason, g.Hint)
	if err != nil {
		return fmt.Errorf("write gap: %w", err)
	}
	return nil
}

func unlessZero(n int64) driver.Value {
	if n == 0 {
		return nil
	}
	return n
}

func unlessEmpty(s string) driver.Value {
	if s == "" {
		return nil
	}
	return s
}

func jsonText(b []byte, otherwise string) string {
	if len(b) == 0 {
		return otherwise
	}
	return string(b)
}
