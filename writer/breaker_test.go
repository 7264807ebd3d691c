package writer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/trace"
	"github.com/observatory-trace/observatory-trace/writer/spill"
)

// notices collects what a store says.
type notices struct {
	mu  sync.Mutex
	got []Notice
}

func (n *notices) take(notice Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.got = append(n.got, notice)
}

func (n *notices) all() []Notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.got)
}

func (n *notices) have(text string) bool {
	return slices.ContainsFunc(n.all(), func(n Notice) bool { return strings.Contains(n.Text, text) })
}

// ledger writes calls as a tracer does, every tenth an error, and keeps its own account.
type ledger struct {
	t      *testing.T
	s      *Store
	source *callSource
	acc    Accumulator
	calls  map[string]int // by function
	errors []uint64       // ids
}

func newLedger(t *testing.T, s *Store) *ledger {
	l := &ledger{t: t, s: s, source: newCallSource(7), calls: make(map[string]int)}
	l.source.now = time.Now().UnixNano()
	return l
}

// write writes so many calls, and their statistics after them.
func (l *ledger) write(n int) {
	l.t.Helper()
	for n > 0 {
		calls := make([]*trace.Call, min(n, 100))
		first := ids(l.t, l.s, len(calls))
		for i := range calls {
			c := l.source.next(first + uint64(i))
			if c.Status, c.Err = trace.StatusOK, nil; i%10 == 9 {
				c.Status, c.Err = trace.StatusErr, &trace.Error{Type: "E", Message: fmt.Sprint("error ", c.ID), Stack: "main.f f.go:1"}
				l.errors = append(l.errors, c.ID)
			}
			tally := trace.Tally{Func: c.Func}
			tally.Add(c.Status, c.DurationNS)
			l.acc.Tally(&tally)
			l.acc.Recorded(c)
			l.calls[c.Func.Name]++
			calls[i] = c
		}
		must(l.t, l.s.Write(calls))
		must(l.t, l.s.Stats(l.acc.Take(time.Now())))
		n -= len(calls)
	}
}

// forget begins the account anew: what was written before is in another file.
func (l *ledger) forget() { l.calls, l.errors = make(map[string]int), nil }

// check compares a closed store's file with the account: every error is there
// once and whole, and every other call is there or counted as dropped. It gives
// how many were dropped.
func (l *ledger) check(path string) (dropped int) {
	l.t.Helper()
	if got := shell(l.t, path, "PRAGMA integrity_check"); got != "ok" {
		l.t.Errorf("the database: %s", got)
	}
	var there []uint64
	for line := range strings.Lines(shell(l.t, path, "SELECT id FROM process_trace p JOIN data_trace d USING (id) WHERE status = 'ERR' AND error = 'error ' || id AND error_type = 'E' AND stack = 'main.f f.go:1' AND args LIKE '%Ada%' AND pid = 4242 AND exe NOT NULL AND trace_id NOT NULL ORDER BY id")) {
		var id uint64
		if _, err := fmt.Sscan(line, &id); err == nil {
			there = append(there, id)
		}
	}
	if !slices.Equal(there, l.errors) {
		l.t.Errorf("%d errors are there, of %d", len(there), len(l.errors))
	}
	if got := shell(l.t, path, "SELECT count(*) - count(DISTINCT id) FROM process_trace"); got != "0" {
		l.t.Errorf("%s calls are there twice", got)
	}
	for name, calls := range l.calls {
		var rows, counted, recorded, drops, gaps int
		got := shell(l.t, path, fmt.Sprintf(`SELECT (SELECT count(*) FROM process_trace WHERE process = '%[1]s') || ' ' || coalesce(sum(calls), 0) || ' ' ||
			coalesce(sum(recorded), 0) || ' ' || coalesce(sum(dropped), 0) || ' ' ||
			(SELECT coalesce(sum(count), 0) FROM gaps WHERE process = '%[1]s') FROM function_stats WHERE process = '%[1]s'`, name))
		_, err := fmt.Sscan(got, &rows, &counted, &recorded, &drops, &gaps)
		must(l.t, err)
		if counted != calls || rows != recorded || recorded+drops != calls || drops != gaps {
			l.t.Errorf("%s: %d calls: statistics have %d, of which %d recorded and %d dropped; there are %d, and gaps of %d", name, calls, counted, recorded, drops, rows, gaps)
		}
		dropped += drops
	}
	if n := l.s.Counters().Dropped; n != uint64(dropped) {
		l.t.Errorf("counters have %d dropped calls, the file %d", n, dropped)
	}
	return dropped
}

// spills gives the spill files that are there.
func spills(t *testing.T, path string) []string {
	t.Helper()
	found, err := spill.Find(filepath.Dir(path), filepath.Base(path))
	must(t, err)
	return found
}

// fast are options with which a test needn't wait long.
func fast(n *notices) Options {
	return Options{BatchCalls: 200, BatchDelay: 5 * time.Millisecond, QueueCalls: 500, Patience: 50 * time.Millisecond, Notice: n.take}
}

// happening is something that befalls a database, and goes over.
type happening struct {
	kind  error
	begin func(t *testing.T, path string) (end func())
	anew  bool // what was written before is in another file, or gone
}

func happenings() map[string]happening {
	return map[string]happening{
		"locked":    {kind: ErrLocked, begin: hold},
		"disk full": {kind: ErrFull, begin: fill},
		"read-only": {kind: ErrReadOnly, begin: immutable},
		"I/O error": {kind: ErrIO, begin: limitFiles},
		"deleted":   {kind: ErrReplaced, begin: atOnce(os.Remove), anew: true},
		"moved":     {kind: ErrReplaced, begin: atOnce(func(path string) error { return os.Rename(path, path+".old") }), anew: true},
		"replaced": {kind: ErrReplaced, begin: atOnce(func(path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600))
		}), anew: true},
		"emptied": {kind: ErrCorrupt, begin: atOnce(func(path string) error { return os.Truncate(path, 0) }), anew: true},
		"truncated": {kind: ErrCorrupt, begin: func(t *testing.T, path string) func() {
			shell(t, path, "PRAGMA wal_checkpoint(TRUNCATE)")
			must(t, os.Truncate(path, 3*8192+100))
			return func() {}
		}, anew: true},
	}
}

func atOnce(f func(path string) error) func(*testing.T, string) func() {
	return func(t *testing.T, path string) func() {
		must(t, f(path))
		return func() {}
	}
}

// fill fills the file system.
func fill(t *testing.T, path string) func() {
	filler := filepath.Join(filepath.Dir(path), "filler")
	_ = os.WriteFile(filler, make([]byte, 64<<20), 0o600) // as far as there is room
	return func() { must(t, os.Remove(filler)) }
}

// immutable makes the log unwritable, also for who has it open.
func immutable(t *testing.T, path string) func() {
	const immutableFlag = 0x10 // FS_IMMUTABLE_FL, linux/fs.h
	f, err := os.Open(path + "-wal")
	must(t, err)
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	must(t, err)
	set := func(flags int) { must(t, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)) }
	set(flags | immutableFlag)
	t.Cleanup(func() { // it could not be deleted
		set(flags)
		f.Close()
	})
	return func() { set(flags) }
}

// limitFiles has this process's writes behind 200 KB fail with EFBIG, which SQLite tells as an I/O error.
func limitFiles(t *testing.T, _ string) func() {
	var before unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &before))
	must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 200_000, Max: before.Max}))
	end := func() { must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &before)) }
	t.Cleanup(end)
	return end
}

// TestAway has everything befall a database that is being written: errors are
// there once each when it is over, nobody had to wait, calls for which memory
// had no room are counted, and it was said.
func TestAway(t *testing.T) {
	for name, h := range happenings() {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			if h.kind == ErrFull { //nolint:errorlint // it is the sentinel itself
				path = filepath.Join(mountTemporary(t, "8m"), "full.db")
			}
			var said notices
			s := open(t, path, fast(&said))
			l := newLedger(t, s)
			l.write(1000)
			must(t, s.Attached(7, 1))
			must(t, s.Flush())
			if h.anew {
				l.forget()
			}
			end := h.begin(t, path)
			for n := 0; s.Health().Opened[h.kind.Error()] == 0; n++ {
				if n == 200 {
					t.Fatalf("it was never noticed: %+v", s.Health())
				}
				l.write(100)
				time.Sleep(5 * time.Millisecond)
			}
			if !h.anew {
				checkFault(t, s.Flush(), h.kind, "")
				l.write(1500) // three times what the queue holds
				checkFault(t, s.Flush(), h.kind, "")
				health := s.Health()
				if health.State == "closed" || health.Err == nil || health.Spill.Records == 0 || health.Spill.Held != 0 || health.Dropped[awayReason(h.kind)] == 0 {
					t.Errorf("health %+v", health)
				}
				if q := s.Queue(); q.Calls < 400 || q.Capacity != 500 || q.Oldest == 0 {
					t.Errorf("queue %+v", q)
				}
				_ = ids(t, s, idWindow+5) // more than were reserved
			}
			end()
			waitFor(t, func() bool { return s.Flush() == nil && s.Health().State == "closed" && s.Health().Spill.Records == 0 })
			l.write(1000)
			if !said.have("away: ") || !said.have("written again") {
				t.Errorf("said: %+v", said.all())
			}
			must(t, s.Close())
			if dropped := l.check(path); dropped == 0 && !h.anew {
				t.Error("nothing was dropped")
			}
			if got := shell(t, path, "SELECT count(*), count(ended), max(functions) FROM sessions"); got != "1|1|7" {
				t.Errorf("sessions, ended ones and functions: %s", got)
			}
			if got := shell(t, path, "SELECT count(*) FROM gaps WHERE process IS NULL AND reason = '"+awayReason(h.kind)+"' AND hint LIKE 'for %'"); got != "1" {
				t.Errorf("%s gaps tell that the database was away: %s", got, shell(t, path, "SELECT * FROM gaps"))
			}
			if got := shell(t, path, "SELECT group_concat(key) FROM meta"); got != "next_id,next_seq" {
				t.Errorf("meta has %s", got)
			}
			if left := spills(t, path); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
			before := l.errors[len(l.errors)-1]
			again := open(t, path, Options{})
			if next := ids(t, again, 1); next <= before {
				t.Errorf("the next session's ids begin with %d, after %d", next, before)
			}
		})
	}
}
