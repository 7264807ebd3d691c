package writer

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
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

// ledger writes calls as a tracer does, some of them errors, and keeps its own account.
type ledger struct {
	t      *testing.T
	s      *Store
	source *callSource
	acc    Accumulator
	each   int            // one in so many is an error
	calls  map[string]int // by function
	errors []uint64       // ids
}

func newLedger(t *testing.T, s *Store) *ledger {
	l := &ledger{t: t, s: s, source: newCallSource(7), each: 10, calls: make(map[string]int)}
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
			if c.Status, c.Err = trace.StatusOK, nil; i%l.each == l.each-1 {
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

// checkErrors holds that a closed store's file is sound and has every error once and whole.
func (l *ledger) checkErrors(path string) {
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
}

// check compares a closed store's file with the account: every error is there
// once and whole, and every other call is there or counted as dropped. It gives
// how many were dropped.
func (l *ledger) check(path string) (dropped int) {
	l.t.Helper()
	l.checkErrors(path)
	if got := shell(l.t, path, "SELECT count(*) FROM function_stats WHERE recorded < 0"); got != "0" {
		l.t.Errorf("%s seconds recorded fewer than no calls", got)
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

// prepare has a store write some calls to where it can happen.
func (h happening) prepare(t *testing.T, said *notices) (path string, l *ledger) {
	path = newPath(t)
	if errors.Is(h.kind, ErrFull) {
		path = filepath.Join(testenv.Filesystem(t, "12m"), "full.db")
	}
	l = newLedger(t, open(t, path, fast(said)))
	l.write(3000) // more than fits below the limit of limitFiles
	must(t, l.s.Attached(7, 1))
	must(t, l.s.Flush())
	return path, l
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
	_ = os.WriteFile(filler, make([]byte, 256<<20), 0o600) // as far as there is room
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

// limitFiles has this process's writes behind 600 KB fail with EFBIG, which SQLite tells as an I/O error.
func limitFiles(t *testing.T, _ string) func() {
	var before unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &before))
	must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 600_000, Max: before.Max}))
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
			var said notices
			path, l := h.prepare(t, &said)
			s := l.s
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
				l.write(3000) // six times what the queue holds
				checkFault(t, s.Flush(), h.kind, "")
				health := s.Health()
				if health.State == "closed" || health.Err == nil || health.Spill.Records == 0 || health.Spill.Held != 0 || health.Dropped[awayReason(h.kind)] == 0 {
					t.Errorf("health %+v", health)
				}
				if q := s.Queue(); q.Calls < 400 || q.Capacity != 500 && (!errors.Is(h.kind, ErrLocked) || q.Capacity != 2500) || q.Oldest == 0 {
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
			if got := shell(t, path, "SELECT group_concat(key) FROM meta"); got != "next_id,next_moment,next_seq" {
				t.Errorf("meta has %s", got)
			}
			if left := spills(t, path); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
			if name == "moved" {
				if got := shell(t, path+".old", "PRAGMA integrity_check; SELECT count(*) >= 1000 FROM process_trace"); got != "ok\n1" {
					t.Errorf("the file that was moved: %q", got)
				}
			}
			if errors.Is(h.kind, ErrCorrupt) {
				for _, suffix := range []string{"", "-wal"} {
					if aside, err := filepath.Glob(path + ".damaged-*Z" + suffix); err != nil || len(aside) != 1 {
						t.Errorf("set aside%s: %v, %v", suffix, aside, err)
					}
				}
			}
			before := l.errors[len(l.errors)-1]
			again := open(t, path, Options{})
			if next := ids(t, again, 1); next <= before {
				t.Errorf("the next session's ids begin with %d, after %d", next, before)
			}
		})
	}
}

// TestShortened holds that a file that becomes shorter is checked, before SQLite comes to read what is missing.
func TestShortened(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Options{BatchDelay: time.Hour})
	writeMany(t, s, 3000)
	must(t, s.Flush())
	shell(t, path, "PRAGMA wal_checkpoint(TRUNCATE)")
	must(t, s.look())
	must(t, os.Truncate(path, s.size))
	must(t, s.look())
	must(t, os.Truncate(path, s.size/2/8192*8192))
	checkFault(t, s.look(), ErrCorrupt, ".recover")
}

// TestDeletedWithin deletes the file within a transaction, which succeeds: what
// it wrote is in the new file.
func TestDeletedWithin(t *testing.T) {
	path := newPath(t)
	options := fast(&notices{})
	options.Patience = 30 * time.Second
	s := open(t, path, options)
	l := newLedger(t, s)
	release := hold(t, path)
	before := tries(s)
	l.write(100)
	waitFor(t, func() bool { return tries(s) > before }) // it has looked at the file, and waits for the lock
	must(t, os.Remove(path))
	release()
	waitFor(t, func() bool { return s.Flush() == nil })
	must(t, s.Close())
	l.check(path)
}

// TestSetAside holds that only the file that was found damaged is renamed, and nothing is overwritten.
func TestSetAside(t *testing.T) {
	path := newPath(t)
	must(t, os.WriteFile(path, []byte("damaged"), 0o600))
	damaged, err := os.Stat(path)
	must(t, err)
	first, err := setAside(path, damaged)
	must(t, err)
	must(t, os.WriteFile(path, []byte("new"), 0o600))
	if aside, err := setAside(path, damaged); aside != "" || err != nil {
		t.Errorf("another session's new file was set aside as %s, %v", aside, err)
	}
	now, err := os.Stat(path)
	must(t, err)
	second, err := setAside(path, now)
	must(t, err)
	for name, want := range map[string]string{first: "damaged", second: "new"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s has %q, %v", name, got, err)
		}
	}
}

// TestReplacedByAnother puts another database in the place of the one that is
// written, while a reader keeps the log of that one from being folded into it:
// the log must not be taken for the other one's.
func TestReplacedByAnother(t *testing.T) {
	path, another := newPath(t), newPath(t)
	other := open(t, another, Options{})
	writeMany(t, other, 5)
	must(t, other.Close())
	var said notices
	s := open(t, path, fast(&said))
	l := newLedger(t, s)
	l.write(1000)
	must(t, s.Flush())
	reader := connected(t, path)
	must(t, reader.exec("BEGIN"))
	_, err := reader.integer("SELECT count(*) FROM call")
	must(t, err)
	l.write(1000)
	must(t, s.Flush())
	l.forget()
	must(t, os.Rename(another, path))
	l.write(100)
	waitFor(t, func() bool { return s.Flush() == nil })
	l.write(100)
	must(t, s.Close())
	if got := shell(t, path, "SELECT count(*) FROM process_trace; SELECT count(*) FROM sessions; PRAGMA integrity_check"); got != "205\n2\nok" {
		t.Errorf("calls, sessions, soundness: %q", got)
	}
}

// TestLockTold holds that another program's lock is told once, with who holds it, when it has lasted or what waits
// can't wait for it, and its end once; that errors don't wait in memory for it; and that calls are lost only
// when the queue is full, and counted then.
func TestLockTold(t *testing.T) {
	for name, c := range map[string]struct {
		excuse  time.Duration
		each    int // one call in so many is an error
		calls   int // while it is locked
		dropped bool
	}{
		"it lasts":          {50 * time.Millisecond, 1000, 400, false},
		"there are errors":  {time.Hour, 10, 400, false},
		"the queue is full": {time.Hour, 1000, 5000, true},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			var said notices
			options := fast(&said)
			options.Patience, options.excuse = time.Hour, c.excuse
			s := open(t, path, options)
			l := newLedger(t, s)
			l.each = c.each
			l.write(300)
			must(t, s.Flush())
			release := hold(t, path)
			l.write(c.calls) // it doesn't have to wait for the lock's end
			waitFor(t, func() bool { return said.have("away: locked by another program") })
			if name == "there are errors" {
				waitFor(t, func() bool { return s.Health().Spill.Records == 40 })
			}
			l.write(1) // it is tried on and on
			before := s.Health().Tries
			waitFor(t, func() bool {
				if c.dropped {
					l.write(10) // also while it is being tried
				}
				return s.Health().Tries > before+1
			})
			if q := s.Queue(); q.Calls < c.calls/2 && !c.dropped || q.Calls > 2500 {
				t.Errorf("queue %+v", q)
			}
			if h := s.Health(); h.State == "closed" || !errors.Is(h.Err, ErrLocked) || len(h.Dropped) > 0 != c.dropped {
				t.Errorf("health %+v", h)
			}
			release()
			waitFor(t, func() bool { return said.have("written again after ") })
			must(t, s.Flush())
			must(t, s.Close())
			told := said.all()
			if len(told) != 2 || !told[0].Trouble || !regexp.MustCompile(`, for .*s now; errors go to .* the first 2500 wait in memory \(\d+ now\); end the write transaction of process \d+ \(sqlite3\)$`).MatchString(told[0].Text) || told[1].Trouble {
				t.Errorf("said: %+v", told)
			}
			if dropped := l.check(path); dropped > 0 != c.dropped {
				t.Errorf("%d calls were dropped", dropped)
			}
			if got := shell(t, path, "SELECT count(*) FROM gaps WHERE reason = '"+awayReason(ErrLocked)+"' AND process IS NULL"); got != "1" {
				t.Errorf("%s gaps tell of it", got)
			}
		})
	}
}

// TestLockedFromTheStart holds that opening says what it waits for.
func TestLockedFromTheStart(t *testing.T) {
	path := newPath(t)
	must(t, open(t, path, Options{}).Close())
	reader := connected(t, path) // without a log, nobody would have to wait
	_, err := reader.integer("SELECT count(*) FROM call")
	must(t, err)
	release := hold(t, path)
	var said notices
	go func() {
		for !said.have("locked by another program; it is waited for, at most 1h0m0s; end the write transaction of process ") {
			time.Sleep(time.Millisecond)
		}
		release()
	}()
	must(t, open(t, path, Options{Patience: time.Hour, excuse: 50 * time.Millisecond, Notice: said.take}).Close())
	if told := said.all(); len(told) != 1 || !told[0].Trouble {
		t.Errorf("said: %+v", told)
	}
}

// TestClosedWhileAway ends a session whose database is away: it doesn't hang,
// says where things are, and the next session has them in the database, as the
// first one's.
func TestClosedWhileAway(t *testing.T) {
	for name, h := range happenings() {
		if h.anew || errors.Is(h.kind, ErrFull) {
			continue // another file takes its place at once; TestFullAtEnd
		}
		t.Run(name, func(t *testing.T) {
			var said notices
			path, l := h.prepare(t, &said)
			s := l.s
			end := h.begin(t, path)
			for n := 0; s.Health().State == "closed" && n < 200; n++ {
				l.write(100)
				time.Sleep(5 * time.Millisecond)
			}
			l.write(1500)
			start := time.Now()
			err := s.Close()
			checkFault(t, err, h.kind, "attach or retain with this --db")
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("closing took %v", took)
			}
			left := spills(t, path)
			if len(left) != 1 || err != nil && !strings.Contains(err.Error(), left[0]) {
				t.Errorf("%q of %v", err, left)
			}
			end()
			var later notices
			again := open(t, path, fast(&later))
			must(t, again.Close())
			if !later.have("earlier session") {
				t.Errorf("said: %+v", later.all())
			}
			if left := spills(t, path); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
			l.check(path)
			if got := shell(t, path, "SELECT count(*), count(ended), count(DISTINCT tracer_pid) FROM sessions"); got != "2|2|1" {
				t.Errorf("sessions, ended ones: %s", got)
			}
			if got := shell(t, path, "SELECT count(DISTINCT session_id), min(session_id) FROM function_stats"); got != "1|1" {
				t.Errorf("statistics are of %s", got)
			}
			if got := shell(t, path, "SELECT group_concat(key) FROM meta"); got != "next_id,next_moment,next_seq" {
				t.Errorf("meta has %s", got)
			}
		})
	}
}

// TestLeft ends a session whose database is away, and of whose calls some never came: the next one, or retain, doesn't
// say that it ended abruptly.
func TestLeft(t *testing.T) {
	for name, bringIn := range map[string]func(path string){
		"attach": func(path string) { must(t, open(t, path, Options{}).Close()) },
		"retain": func(path string) {
			_, _, _, err := Retain(t.Context(), path, RetainOptions{})
			must(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			s := open(t, path, fast(&notices{}))
			release := hold(t, path)
			var acc Accumulator
			acc.Tally(&trace.Tally{Func: newCallSource(1).next(1).Func, Calls: 10})
			must(t, s.Stats(acc.Take(time.Now())))
			checkFault(t, s.Close(), ErrLocked, "attach or retain with this --db")
			release()
			bringIn(path)
			if got := shell(t, path, "SELECT reason, count FROM gaps WHERE count > 0; SELECT ended NOT NULL FROM sessions WHERE id = 1"); got != GapNoRoom+"|10\n1" {
				t.Errorf("gaps, and whether it ended: %s", got)
			}
		})
	}
}

// TestDiskDies has every access to the database's file system fail with EIO, to
// the end of the session: what it still had is in the spill file on another one.
func TestDiskDies(t *testing.T) {
	testenv.RequireRoot(t)
	image, dir, elsewhere := filepath.Join(t.TempDir(), "image"), t.TempDir(), t.TempDir()
	command := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 32<<20))
	command("mkfs.ext4", "-q", image)
	command("mount", "-o", "loop", image, dir)
	t.Cleanup(func() { _ = exec.Command("umount", dir).Run() }) // after a failure; else it is unmounted already
	path := filepath.Join(dir, "dies.db")
	options := fast(&notices{})
	options.SpillDir = elsewhere
	s := open(t, path, options)
	l := newLedger(t, s)
	l.write(1000)
	must(t, s.Flush())
	shell(t, path, "PRAGMA wal_checkpoint(TRUNCATE)") // what is only in memory goes with the disk
	f, err := os.Open(dir)
	must(t, err)
	const shutdown, withoutLog = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH (fs/ext4/ext4.h)
	must(t, unix.IoctlSetPointerInt(int(f.Fd()), shutdown, withoutLog))
	must(t, f.Close())
	waitFor(t, func() bool { l.write(100); return s.Health().State != "closed" })
	l.write(700)
	if err := s.Close(); !errors.Is(err, ErrIO) || !strings.Contains(err.Error(), elsewhere) {
		t.Errorf("close: %v", err)
	}
	command("umount", dir)
	command("mount", "-o", "loop", image, dir)
	must(t, open(t, path, options).Close())
	l.check(path)
	command("umount", dir)
}

// TestSpillFull fills the disk with the spill file on it: the ballast takes what
// it can, the rest waits in memory, and all is in the database in the end.
func TestSpillFull(t *testing.T) {
	path := filepath.Join(testenv.Filesystem(t, "64m"), "full.db")
	var said notices
	s := open(t, path, fast(&said))
	l := newLedger(t, s)
	l.write(500)
	must(t, s.Flush())
	end := fill(t, path)
	for n := 0; s.Health().Spill.Held == 0 && n < 1000; n++ {
		l.write(100)
		time.Sleep(time.Millisecond)
	}
	health := s.Health()
	if health.Spill.Held == 0 || health.Spill.Bytes < spill.Ballast*3/4 {
		t.Errorf("health %+v", health)
	}
	if !said.have("errors wait in memory") {
		t.Errorf("said: %+v", said.all())
	}
	for n := 0; s.Counters().Cleared < 100 && n < 1000; n++ { // for errors: the spill file has room again, and none again
		l.write(100)
		time.Sleep(time.Millisecond)
	}
	told := 0
	for _, n := range said.all() {
		switch {
		case strings.Contains(n.Text, "errors wait in memory"):
			told++
		case strings.Contains(n.Text, "written again"):
			told = 0
		}
		if told > 1 {
			t.Fatalf("it is said again that the spill file can't be written: %+v", said.all())
		}
	}
	end()
	waitFor(t, func() bool { return s.Flush() == nil })
	must(t, s.Close())
	l.checkErrors(path) // calls that made room are counted, and gone
}

// TestFullAtEnd ends sessions whose disk has been full for longer than the spill file had room. Folding the log, or
// else the oldest calls, make room for errors, all of which are kept, and that is told.
func TestFullAtEnd(t *testing.T) {
	for name, c := range map[string]struct {
		size          string
		before, after int // calls, at most; a tenth are errors before, half of them after
		cleared       bool
	}{
		"a short log": {"24m", 20_000, 100_000, true},
		"a long log":  {"200m", 200_000, 30_000, false}, // which has most of what is in the database
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(testenv.Filesystem(t, c.size), "full.db")
			var said notices
			s := open(t, path, fast(&said))
			l := newLedger(t, s)
			l.write(c.before)
			must(t, s.Flush())
			defer fill(t, path)()
			l.each = 2
			for n := 0; n < c.after && s.Counters().Cleared == 0; n += 200 {
				l.write(200)
				time.Sleep(time.Millisecond)
			}
			if err := s.Close(); err != nil && strings.Contains(err.Error(), "lost") {
				t.Errorf("close: %v", err)
			}
			if n := s.Health().Dropped[heldReason]; n != 0 {
				t.Errorf("%d errors of %d are lost", n, len(l.errors))
			}
			cleared := s.Counters().Cleared
			if cleared > 0 != c.cleared || said.have("the oldest calls go") != c.cleared {
				t.Errorf("counters %+v, said %+v", s.Counters(), said.all())
			}
			there := filepath.Join(t.TempDir(), "full.db") // where there is room
			copyDatabase(t, path, there)
			for _, left := range spills(t, path) {
				b, err := os.ReadFile(left)
				must(t, err)
				must(t, os.WriteFile(filepath.Join(filepath.Dir(there), filepath.Base(left)), b, 0o600))
			}
			must(t, open(t, there, fast(&said)).Close())
			l.checkErrors(there)
			if got := shell(t, there, "SELECT coalesce(sum(count), 0) FROM gaps WHERE reason = '"+GapCleared+"'"); got != fmt.Sprint(cleared) {
				t.Errorf("gaps tell of %s calls, of %d", got, cleared)
			}
			if got := shell(t, there, fmt.Sprintf("SELECT count(*) FROM process_trace WHERE status <> 'ERR' AND id <= %d", min(cleared, 5000))); got != "0" {
				t.Errorf("it was not the oldest that went: %s are there", got)
			}
		})
	}
}

// TestHeldAtEnd closes when neither the database nor the spill file has room, nor anything that errors could
// take the place of: what is lost is said, at once and in the end, with how many.
func TestHeldAtEnd(t *testing.T) {
	path := filepath.Join(testenv.Filesystem(t, "12m"), "full.db")
	var said notices
	options := fast(&said)
	options.heldBytes = 256 << 10
	s := open(t, path, options)
	l := newLedger(t, s)
	l.each = 1
	l.write(500)
	must(t, s.Flush())
	defer fill(t, path)()
	for n := 0; s.Health().Dropped[heldReason] == 0 && n < 1000; n++ {
		l.write(100)
		time.Sleep(time.Millisecond)
	}
	if !said.have("errors are lost from now on") {
		t.Errorf("said: %+v", said.all())
	}
	err := s.Close()
	lost := s.Health().Dropped[heldReason]
	if err == nil || lost == 0 || !strings.Contains(err.Error(), fmt.Sprintf("%d errors lost: ", lost)) || !strings.Contains(err.Error(), "free space") {
		t.Errorf("%d errors are lost: %v", lost, err)
	}
	must(t, os.Remove(filepath.Join(filepath.Dir(path), "filler")))
	must(t, open(t, path, fast(&said)).Close())
	if got := shell(t, path, "SELECT count(*) FROM process_trace WHERE status = 'ERR'"); got != fmt.Sprint(uint64(len(l.errors))-lost) {
		t.Errorf("of %d errors %s are there, and %d are lost", len(l.errors), got, lost)
	}
	must(t, os.WriteFile(filepath.Join(filepath.Dir(path), "filler"), nil, 0o600))
}

// TestRefusedRow holds that what the database doesn't take is given up by itself, and counted.
func TestRefusedRow(t *testing.T) {
	path := newPath(t)
	var said notices
	s := open(t, path, fast(&said))
	shell(t, path, "CREATE TRIGGER refuse BEFORE INSERT ON function WHEN NEW.name LIKE '%3' BEGIN SELECT RAISE(ABORT, 'not this one'); END")
	l := newLedger(t, s)
	l.write(1000)
	must(t, s.Flush())
	must(t, s.Close())
	dropped := l.calls["main.function3"]
	if got := s.Counters(); got.Dropped != uint64(dropped) || got.Calls != uint64(1000-dropped) {
		t.Errorf("counters %+v, %d calls of the function", got, dropped)
	}
	if got := shell(t, path, "SELECT count(*), count(DISTINCT process) FROM process_trace"); got != fmt.Sprintf("%d|6", 1000-dropped) {
		t.Errorf("calls and functions: %s", got)
	}
	if h := s.Health(); len(h.Opened) != 0 || len(h.Dropped) != 1 {
		t.Errorf("health %+v", h)
	}
}

// TestDoubt has a transaction fail of which nobody knows whether it came
// through: what was in it is there once, also when the process is killed
// before it finds out.
func TestDoubt(t *testing.T) {
	for _, c := range []struct{ through, killed bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
		t.Run(fmt.Sprintf("came through %v, killed %v", c.through, c.killed), func(t *testing.T) {
			path := newPath(t)
			s := open(t, path, Options{BatchDelay: time.Hour})
			l := newLedger(t, s)
			l.write(100)
			s.mu.Lock() // the run goroutine waits for its hour
			part := s.queue
			s.queue = batch{}
			s.mu.Unlock()
			if c.through {
				_, err := s.transact(part, 0)
				must(t, err)
			} else {
				s.number++
			}
			err := s.breaker.try(true, func() error {
				s.doubt = &doubt{number: s.number, part: part, fresh: true}
				return faultIO.error("write", path, nil)
			}, func() bool { return false })
			s.left(err)
			s.keep(batch{})
			if s.Health(); s.spill.Held() != 10 {
				t.Fatalf("%d errors are in the spill file", s.spill.Held())
			}
			if c.killed {
				must(t, s.spill.Close()) // its lock is what a death lets go of
				must(t, open(t, path, Options{}).Close())
				if got := shell(t, path, "SELECT count(*) FROM process_trace WHERE status = 'ERR'"); got != "10" {
					t.Errorf("%s errors of 10", got)
				}
				return
			}
			must(t, s.drain(true)) // the run goroutine still waits
			l.write(100)
			must(t, s.Close())
			l.check(path)
		})
	}
}

// TestAdopt replays what other sessions left: a dead one's, what is whole of a
// damaged one, and never a live one's or another database's.
func TestAdopt(t *testing.T) {
	path, elsewhere := newPath(t), t.TempDir()
	name := filepath.Base(path)
	source := newCallSource(3)
	leave := func(database string, first int) (*spill.Log, []byte) {
		row := sessionRow{
			Session: Session{Version: "0.1", Host: "node1", Kernel: "6.6", Command: []byte(`["x"]`), Settings: []byte(`{}`)},
			seed:    int64(1<<62 + first), started: fmt.Sprintf("2026-01-01 00:00:%02d.000", first/100%60), pid: first, path: database,
		}
		log, err := spill.Create(elsewhere, name, row.headMessage())
		must(t, err)
		var records [][]byte
		for i := range 50 {
			c := source.next(uint64(first + i))
			c.Status, c.Err = trace.StatusErr, &trace.Error{Type: "E"}
			records = append(records, callRecord(c, 0))
		}
		must(t, log.Append(records))
		return log, records[20]
	}
	dead, _ := leave(path, 1000)
	must(t, dead.Close())
	spoilt, record := leave(path, 2000)
	must(t, spoilt.Close())
	content, err := os.ReadFile(spoilt.Path())
	must(t, err)
	content[strings.Index(string(content), string(record))+30] ^= 4
	must(t, os.WriteFile(spoilt.Path(), content[:len(content)-7], 0o600)) // torn, too
	live, _ := leave(path, 3000)
	others, _ := leave("/elsewhere/"+name, 4000)
	must(t, others.Close())

	var said notices
	s := open(t, path, Options{SpillDir: elsewhere, Notice: said.take})
	must(t, s.Close())
	if got := shell(t, path, "SELECT tracer_pid, host, (SELECT count(*) FROM process_trace WHERE id BETWEEN tracer_pid AND tracer_pid + 999) FROM sessions WHERE host = 'node1' ORDER BY 1"); got != "1000|node1|50\n2000|node1|48" {
		t.Errorf("sessions and their calls: %q", got)
	}
	if got := shell(t, path, "SELECT count, reason, session_id = (SELECT id FROM sessions WHERE tracer_pid = 2000) FROM gaps"); got != "1|spill file damaged|1" {
		t.Errorf("gaps %q", got)
	}
	if got := shell(t, path, "SELECT count(*) FROM process_trace"); got != "98" {
		t.Errorf("%s calls", got)
	}
	left, err := spill.Find(elsewhere, name)
	must(t, err)
	if want := []string{live.Path(), others.Path()}; len(left) != 2 || !slices.Contains(left, want[0]) || !slices.Contains(left, want[1]) {
		t.Errorf("left %v, want %v", left, want)
	}
}

// TestSpillElsewhere holds that what a session left in a folder of its own choice is found by who doesn't name it.
func TestSpillElsewhere(t *testing.T) {
	path, elsewhere := newPath(t), t.TempDir()
	options := fast(&notices{})
	options.SpillDir = elsewhere
	options.Session.Settings = []byte(`{"spill_dir": "` + elsewhere + `"}`)
	l := newLedger(t, open(t, path, options))
	l.write(500)
	must(t, l.s.Flush())
	release := hold(t, path)
	waitFor(t, func() bool { l.write(100); return l.s.Health().State != "closed" })
	if err := l.s.Close(); err == nil || !strings.Contains(err.Error(), elsewhere) {
		t.Errorf("it closed with %v", err)
	}
	release()
	if state := inspect(t, path); len(state.Spills) != 1 || state.Spills[0].Errors == 0 || !strings.HasPrefix(state.Spills[0].Path, elsewhere) {
		t.Errorf("spill files %+v", state.Spills)
	}
	must(t, open(t, path, fast(&notices{})).Close())
	l.check(path)
	if left := inspect(t, path).Spills; len(left) != 0 {
		t.Errorf("left %+v", left)
	}
}

// TestDeletedUnderTwo deletes the file under two sessions at once: both go on in one new file, and
// no id comes twice.
func TestDeletedUnderTwo(t *testing.T) {
	path := newPath(t)
	var said notices
	var ledgers []*ledger
	for range 2 {
		ledgers = append(ledgers, newLedger(t, open(t, path, fast(&said))))
	}
	for _, l := range ledgers {
		l.write(300)
		must(t, l.s.Flush())
		l.forget()
	}
	must(t, os.Remove(path))
	for range 30 {
		for _, l := range ledgers {
			l.write(100)
		}
	}
	total := 0
	for _, l := range ledgers {
		waitFor(t, func() bool { return l.s.Flush() == nil })
		must(t, l.s.Close())
		total += len(l.errors)
	}
	if got := shell(t, path, "SELECT count(*), count(DISTINCT id) FROM process_trace WHERE status = 'ERR'; SELECT count(*), count(ended) FROM sessions; PRAGMA integrity_check"); got != fmt.Sprintf("%d|%[1]d\n2|2\nok", total) {
		t.Errorf("errors, sessions, soundness: %q, want %d errors", got, total)
	}
}

// TestIDsWhileAway takes ids in two sessions, while their database is away and
// in between: none comes twice.
func TestIDsWhileAway(t *testing.T) {
	path := newPath(t)
	var said notices
	stores := []*Store{open(t, path, fast(&said)), open(t, path, fast(&said))}
	type span struct{ from, to uint64 }
	var taken []span
	take := func(n int) {
		for _, s := range stores {
			first := ids(t, s, n)
			taken = append(taken, span{first, first + uint64(n)})
		}
	}
	for range 3 {
		take(idWindow / 2)
		release := hold(t, path)
		for _, s := range stores {
			waitFor(t, func() bool { writeMany(t, s, 1); return s.Health().Err != nil })
		}
		take(idWindow * 2)
		take(7)
		release()
		for _, s := range stores {
			waitFor(t, func() bool { return s.Flush() == nil })
		}
		slices.Reverse(stores) // the one gets ids behind those of the other
		take(idWindow)
	}
	slices.SortFunc(taken, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for i := range taken[1:] {
		if taken[i].to > taken[i+1].from {
			t.Errorf("%+v and %+v overlap", taken[i], taken[i+1])
		}
	}
}

// TestSlots holds that sessions that reserve ids by themselves never get the same.
func TestSlots(t *testing.T) {
	type span struct{ from, to uint64 }
	var taken []span
	for session := range int64(50) {
		slot, have := slotOf(session), idRange{uint64(session) * 1000, uint64(session)*1000 + 10}
		for _, n := range []uint64{5, 1, idWindow * 3, slotIDs, 7, slotIDs - 3} {
			before := have
			have = slot.extend(have, n)
			if have.end-have.next < n || have.next < before.next {
				t.Fatalf("session %d: %d ids from %+v are %+v", session, n, before, have)
			}
			if n == 1 && have.next != before.next {
				t.Errorf("session %d: %+v is left for %+v", session, before, have)
			}
			taken = append(taken, span{max(have.next, before.end), have.end})
			have.next = have.end
		}
	}
	slices.SortFunc(taken, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for i := range taken[1:] {
		if taken[i].to > taken[i+1].from {
			t.Fatalf("%+v and %+v overlap", taken[i], taken[i+1])
		}
	}
}
