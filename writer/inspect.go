package writer

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/trace"
	"github.com/observatory-trace/observatory-trace/writer/spill"
)

// State is what can be told of a database and what belongs to it, without changing anything.
type State struct {
	Path     string         `json:"path"`
	Schema   int            `json:"schema"`      // version; 0 when it can't be read
	Sound    string         `json:"sound"`       // "ok", what is wrong, or why that isn't known
	Bytes    int64          `json:"bytes"`       // of the file
	LogBytes int64          `json:"log_bytes"`   // of the write-ahead log, 0 when there is none
	DiskFree uint64         `json:"disk_free"`   // bytes that the file system has for its owner
	Limit    int64          `json:"max_db_size"` // bytes that the last session was to keep the file and its log within; 0: any, or not known
	Sessions []PastSession  `json:"sessions"`    // the latest first
	Away     []PastAway     `json:"away"`        // when the database was away or damaged, as sessions noted it, the latest first
	Spills   []PendingSpill `json:"spills"`      // files whose records are not in the database, or may not be
	Aside    []string       `json:"set_aside"`   // damaged databases that were set aside
	Problems []Problem      `json:"problems"`    // what should be done something about
}

// PastSession is a session that wrote to a database.
type PastSession struct {
	ID      int64  `json:"id"`
	Started string `json:"started"` // UTC
	Ended   string `json:"ended"`   // empty: it runs, was killed, or could not write its end
	Runs    bool   `json:"runs"`
	PID     int    `json:"tracer_pid"`
	Version string `json:"version"`
}

// PastAway is one change in the state of a database.
type PastAway struct {
	At      string `json:"ts"` // UTC
	Session int64  `json:"session_id"`
	Reason  string `json:"reason"`
	Detail  string `json:"detail"`
}

// PendingSpill is a spill file.
type PendingSpill struct {
	Path    string `json:"path"`
	Live    bool   `json:"live"`    // its session still runs, and will write them
	Records uint64 `json:"records"` // that are not in the database
	Errors  uint64 `json:"errors"`  // of these, calls that failed
	Bytes   int64  `json:"bytes"`   // of the file
	Damaged uint64 `json:"damaged"` // records that can't be read
	PID     int    `json:"tracer_pid"`
	Started string `json:"started"` // its session, UTC
}

// Problem is something wrong, and the way out.
type Problem struct {
	What string `json:"what"`
	Hint string `json:"hint"`
}

// Bounds of an inspection: how many sessions and changes it lists, and how long it looks for damage.
const (
	inspectRows = 10
	inspectTime = 10 * time.Second
)

// Inspect looks at the database at path and at the spill files in spillDir,
// empty for its own folder. It changes nothing, and works as far as the file can
// be read: what can't be is among the problems.
func Inspect(ctx context.Context, path, spillDir string) State {
	s := State{Path: path, Sound: "not known", Sessions: []PastSession{}, Away: []PastAway{}, Spills: []PendingSpill{}, Aside: []string{}, Problems: []Problem{}}
	d, err := s.open(path)
	if err != nil {
		s.problem(wrap("open database", path, err))
	} else {
		defer d.abandon()
		s.problem(wrap("read database", path, s.read(ctx, d)))
	}
	s.disk(path)
	s.spills(d, path, spillDir)
	s.running()
	s.lock(ctx, d, path)
	s.Aside, _ = filepath.Glob(escapeGlob(path) + ".damaged-*") // the pattern is valid
	s.Aside = slices.DeleteFunc(s.Aside, func(name string) bool {
		return strings.HasSuffix(name, "-wal") || strings.HasSuffix(name, "-shm")
	})
	for _, aside := range s.Aside {
		s.Problems = append(s.Problems, Problem{
			"a damaged database was set aside as " + aside,
			fmt.Sprintf("sqlite3 %s .recover | sqlite3 recovered.db saves what can be read; then remove it", aside),
		})
	}
	return s
}

// escapeGlob has a path stand for itself in a pattern.
func escapeGlob(path string) string {
	return strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, `\`, `\\`).Replace(path)
}

func (s *State) problem(err error) {
	if err == nil {
		return
	}
	var e *Error
	if errors.As(err, &e) {
		s.Problems = append(s.Problems, Problem{fmt.Sprintf("%s %s: %v", e.Op, e.Path, e.Err), e.Hint()})
		return
	}
	s.Problems = append(s.Problems, Problem{err.Error(), ""})
}

// open opens the file for reading alone.
func (s *State) open(path string) (*database, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: it is not a file", ErrForeign)
	}
	s.Bytes = st.Size()
	name := "file:" + (&url.URL{Path: path}).EscapedPath() + "?mode=ro&_mutex=no"
	if _, err := os.Stat(path + "-wal"); errors.Is(err, os.ErrNotExist) {
		name += "&immutable=1" // nobody writes it; else a log would be made, and left
	}
	conn, err := (&sqlite3.SQLiteDriver{}).Open(name)
	if err != nil {
		return nil, err
	}
	d := &database{path: path, conn: conn.(*sqlite3.SQLiteConn)}
	if err := d.exec(fmt.Sprintf("PRAGMA busy_timeout = %d", busyTimeout.Milliseconds())); err != nil {
		d.abandon()
		return nil, err
	}
	return d, nil
}

func (s *State) read(ctx context.Context, d *database) error {
	scripts, err := migrations()
	if err != nil {
		return err
	}
	if s.Schema, err = d.checkSchema(len(scripts)); err != nil {
		return err
	}
	if s.Schema == 0 {
		s.Problems = append(s.Problems, Problem{"the database is empty: nothing was ever written to it", "attach --db writes it"})
		return nil
	}
	if err := s.check(ctx, d); err != nil {
		return err
	}
	err = d.each(ctx, func(row []driver.Value) error {
		p := PastSession{Started: textOf(row[1]), Ended: textOf(row[2]), PID: int(numberOf(row[3])), Version: textOf(row[4])}
		p.ID = numberOf(row[0])
		s.Sessions = append(s.Sessions, p)
		return nil
	}, "SELECT id, started, coalesce(ended, ''), tracer_pid, version FROM sessions ORDER BY id DESC LIMIT ?", int64(inspectRows))
	if err != nil {
		return err
	}
	s.Limit, err = d.integer("SELECT ifnull(max(settings ->> '$.max_db_size'), 0) FROM (SELECT settings FROM sessions ORDER BY id DESC LIMIT 1) WHERE json_valid(settings)")
	if err != nil {
		return err
	}
	return d.each(ctx, func(row []driver.Value) error {
		s.Away = append(s.Away, PastAway{textOf(row[0]), numberOf(row[1]), textOf(row[2]), textOf(row[3])})
		return nil
	}, `SELECT ts, session_id, reason, coalesce(hint, '') FROM gaps
		WHERE process IS NULL AND (reason GLOB 'database *' OR reason = 'spill file damaged') ORDER BY ts DESC LIMIT ?`, int64(inspectRows))
}

// running tells of the sessions that have not noted their end which ones run: who does has its spill file locked.
func (s *State) running() {
	for i := range s.Sessions {
		p := &s.Sessions[i]
		began, err := time.Parse(time.DateTime, p.Started)
		p.Runs = p.Ended == "" && err == nil && Running(p.PID, began)
		for _, f := range s.Spills {
			if f.PID == p.PID && f.Started == p.Started {
				p.Runs = f.Live
			}
		}
	}
}

// How often it is looked whether the lock for writing is held, and how long one waits in between: all in
// all longer than a transaction of a tracer takes.
const (
	lockLooks = 20
	lockPause = 50 * time.Millisecond
)

// lock tells of a process that keeps others from writing; d is nil when the file can't be read.
func (s *State) lock(ctx context.Context, d *database, path string) {
	version := func() (n int64) {
		if d != nil {
			n, _ = d.integer("PRAGMA data_version") // that it can't be read has been told
		}
		return n
	}
	before, who := version(), holder(path)
	for range lockLooks {
		if who == "" || holder(path) != who || ctx.Err() != nil {
			return
		}
		pause(ctx, lockPause)
	}
	if version() == before { // else there were several transactions
		s.Problems = append(s.Problems, Problem{"it is locked: a write transaction of " + who + " goes on and on, and nobody else can write", "end that transaction, or the process"})
	}
}

// check looks for damage, as far as its time goes.
func (s *State) check(ctx context.Context, d *database) error {
	ctx, cancel := context.WithTimeout(ctx, inspectTime)
	defer cancel()
	row, err := d.query(ctx, "PRAGMA quick_check(1)")
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		s.Sound = fmt.Sprintf("no damage found within %s; sqlite3 %s 'PRAGMA integrity_check' looks at all of it", inspectTime, s.Path)
		return nil
	case err != nil:
		return err
	}
	if s.Sound = textOf(row[0]); s.Sound != "ok" {
		s.problem(faultCorrupt.error("check database", s.Path, fmt.Errorf("%w: %s", ErrCorrupt, s.Sound)))
	}
	return nil
}

// Log sizes and free space from when on something should be done, bytes.
const (
	largeLog  = 256 << 20
	leastFree = 64 << 20
)

func (s *State) disk(path string) {
	if st, err := os.Stat(path + "-wal"); err == nil {
		s.LogBytes = st.Size()
	}
	if s.LogBytes > largeLog {
		s.Problems = append(s.Problems, Problem{
			fmt.Sprintf("the write-ahead log has %d MiB: something reads the database in one transaction for long", s.LogBytes>>20),
			fmt.Sprintf("end it (fuser %s shows who has it open)", path),
		})
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &fs); err != nil {
		return // that the folder is missing has been told
	}
	s.DiskFree = fs.Bavail * uint64(fs.Bsize)
	if s.DiskFree < leastFree && (s.Limit == 0 || s.Room() < s.Limit) {
		s.Problems = append(s.Problems, Problem{
			fmt.Sprintf("the file system has %d MiB left", s.DiskFree>>20), "free space on it, or choose another place with --db",
		})
	}
}

// Room is how large the file and its log can become now, bytes.
func (s *State) Room() int64 { return s.Bytes + s.LogBytes + int64(s.DiskFree) }

// spills lists spill files; d is nil when how far they were replayed can't be read.
func (s *State) spills(d *database, path, dir string) {
	if dir == "" {
		dir = filepath.Dir(path)
	}
	dirs := []string{dir}
	if d != nil {
		if all, err := d.spillDirs(path, dir); err == nil { // else that it can't be read has been told
			dirs = all
		}
	}
	var found []string
	for _, dir := range dirs {
		names, err := spill.Find(dir, filepath.Base(path))
		s.problem(err)
		found = append(found, names...)
	}
	for _, name := range found {
		p, database, err := pendingSpill(d, name)
		if err != nil {
			s.problem(err)
			continue
		}
		if absolute(filepath.Dir(name)) != filepath.Dir(absolute(path)) && database != "" && database != absolute(path) {
			continue // another database's
		}
		s.Spills = append(s.Spills, p)
		if !p.Live && p.Records > 0 {
			s.Problems = append(s.Problems, Problem{
				fmt.Sprintf("%s has %s of a session that ended, %s among them, not in the database", name, counted(p.Records, "record"), counted(p.Errors, "error")),
				"the next attach or retain with this --db writes them; if its file system is full or not writable, help that first",
			})
		}
		if p.Damaged > 0 {
			s.Problems = append(s.Problems, Problem{fmt.Sprintf("of %s, %s can't be read", name, counted(p.Damaged, "record")), "the others will be written all the same"})
		}
	}
}

// Waiting lists the spill files, of the database at path, with records that have yet to come into it. It changes nothing;
// what can't be read it leaves out.
func Waiting(path string) []PendingSpill {
	var s State
	d, err := s.open(path)
	if err != nil {
		return nil
	}
	defer d.abandon()
	s.spills(d, path, "")
	return slices.DeleteFunc(s.Spills, func(p PendingSpill) bool { return p.Records == 0 })
}

func pendingSpill(d *database, path string) (p PendingSpill, database string, err error) {
	r, err := spill.Peek(path)
	if err != nil {
		return p, "", err
	}
	defer func() { _ = r.Close() }() // it was only read
	row, _ := readHead(r.Head())     // where it is damaged, that is counted
	p = PendingSpill{Path: path, Live: r.Live(), Bytes: r.Size(), PID: row.pid, Started: row.started}
	var position int64
	if d != nil {
		position, _ = d.mark("spill " + r.ID()) // 0 where it can't be read: all are pending
	}
	var k known
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return p, "", err
		}
		if rec.Number <= uint64(position) {
			continue
		}
		p.Records++
		// What says nothing is counted when it is brought in.
		if e, err := readRecord(rec.Payload, &k); err == nil && e.call != nil && e.call.Status == trace.StatusErr {
			p.Errors++
		}
	}
	damage := r.Damage()
	if p.Damaged = damage.Records; damage.Bytes > 0 && p.Damaged == 0 && !p.Live {
		p.Damaged = 1
	}
	return p, row.path, nil
}

func textOf(v driver.Value) string {
	s, _ := v.(string)
	return s
}

func numberOf(v driver.Value) int64 {
	n, _ := v.(int64)
	return n
}
