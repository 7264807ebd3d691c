package writer

import (
	"bufio"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/retention"
	"github.com/observatory-trace/observatory-trace/trace"
)

// crashPath tells this test's program to be the writer that is killed.
const crashPath = "OBSERVATORY_TEST_CRASH_DB"

// crashAway has it go on while the database is away.
const crashAway = "OBSERVATORY_TEST_CRASH_AWAY"

// crashRetention tells it how long it keeps calls; unset: for ever.
const crashRetention = "OBSERVATORY_TEST_CRASH_RETENTION"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashPath); path != "" {
		write := crashWriter
		if os.Getenv(crashAway) != "" {
			write = crashAwayWriter
		}
		if err := write(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if path := os.Getenv(readPath); path != "" {
		if err := readAll(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// crashWriter writes until it is killed, and prints the last id of every batch
// that is committed.
func crashWriter(path string) error {
	window, _ := time.ParseDuration(os.Getenv(crashRetention))
	s, err := Open(path, Options{BatchCalls: 700, Retention: retention.For(window, 0)})
	if err != nil {
		return err
	}
	source := newCallSource(30)
	var acc Accumulator
	for {
		first, err := s.NextIDs(1000)
		if err != nil {
			return err
		}
		var calls []*trace.Call
		for i := range 1000 {
			c := source.next(first + uint64(i))
			tally := trace.Tally{Func: c.Func, OverheadNS: c.OverheadNS}
			tally.Add(c.Status, c.DurationNS)
			acc.Tally(&tally)
			acc.Recorded(c)
			calls = append(calls, c)
		}
		var seconds []FunctionSecond
		if first/1000%3 == 0 { // statistics come more seldom than calls
			seconds = acc.Take(time.Unix(0, source.now))
		}
		if err := errors.Join(s.Write(calls), s.Stats(seconds), s.Flush()); err != nil {
			return err
		}
		fmt.Println(first, first+999)
	}
}

// TestKilled kills a writer with SIGKILL, again and again: every batch that it
// said was committed is there, whole, the file is sound, and no id comes twice.
func TestKilled(t *testing.T) {
	path := newPath(t)
	type span struct{ first, last uint64 }
	var committed []span
	for round := range 6 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashPath+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			var s span
			if _, err := fmt.Sscan(lines.Text(), &s.first, &s.last); err != nil {
				break // cut off by the kill
			}
			if k := len(committed); k > 0 && s.first <= committed[k-1].last {
				t.Errorf("ids from %d come again after %d", s.first, committed[k-1].last)
			}
			committed = append(committed, s)
			if n == 3+round { // it is in the midst of the next batch now
				must(t, cmd.Process.Kill())
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the writer ended by itself")
		}
	}
	if got := shell(t, path, "PRAGMA integrity_check"); got != "ok" {
		t.Errorf("after six kills: %s", got)
	}
	for _, s := range committed {
		if got := shell(t, path, fmt.Sprintf("SELECT count(*), count(DISTINCT id), count(args) FROM process_trace JOIN data_trace USING (id) WHERE id BETWEEN %d AND %d", s.first, s.last)); got != "1000|1000|1000" {
			t.Errorf("of calls %d to %d, committed, %s are there", s.first, s.last, got)
		}
	}
	if state := inspect(t, path); len(state.Spills) == 0 || state.Spills[0].Records != 0 || len(state.Problems) != 0 {
		t.Errorf("of spill files without records: %+v, %+v", state.Spills, state.Problems)
	}
	must(t, open(t, path, Options{}).Close())
	if got := shell(t, path, "SELECT count(*), count(ended) FROM sessions"); got != "7|1" {
		t.Errorf("sessions and ended ones: %s", got)
	}
	// What was recorded and not counted when it was killed, the next session has counted.
	rows := shell(t, path, `SELECT process, count(*), count(*), sum(status = 'ERR'), sum(status <> 'OPEN'), round(sum(duration_ms) FILTER (WHERE status <> 'OPEN'), 3), count(cpu_ms), round(sum(overhead_ms), 3)
		FROM process_trace GROUP BY process ORDER BY process`)
	counted := shell(t, path, `SELECT process, sum(calls), sum(recorded), sum(errors), sum(timed), round(sum(total_ms), 3), sum(cpu_calls), round(sum(overhead_ms), 3)
		FROM function_stats GROUP BY process ORDER BY process`)
	if rows != counted {
		t.Errorf("there are\n%s\nand counted\n%s", rows, counted)
	}
	if got := shell(t, path, "SELECT count(*) FROM function_stats WHERE session_id = 7; SELECT count(*) FROM meta WHERE key GLOB 'beyond *'"); got != "0\n0" {
		t.Errorf("of the session that had no calls, and left: %s", got)
	}
}

// hold takes the write lock as another program would, and gives what releases it.
func hold(t *testing.T, path string) (release func()) {
	t.Helper()
	cmd := exec.Command("sqlite3", path)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	_, err = io.WriteString(in, "BEGIN IMMEDIATE; SELECT 'held';\n")
	must(t, err)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("take the lock: %q, %v", line, err)
	}
	return func() {
		_, err := io.WriteString(in, "COMMIT;\n")
		must(t, errors.Join(err, in.Close()))
		must(t, cmd.Wait())
	}
}

// TestLocked holds that another program's transaction delays calls and loses none.
func TestLocked(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Options{QueueCalls: 1000})
	release := hold(t, path)
	writeMany(t, s, 900)
	waitFor(t, func() bool { return tries(s) > 0 })
	blocked := make(chan error)
	go func() {
		var err error
		source := newCallSource(3)
		for i := 0; i < 5 && err == nil; i++ { // more than the queue and the batch under way hold
			var calls []*trace.Call
			for j := range 900 {
				calls = append(calls, source.next(uint64(1e6+1000*i+j)))
			}
			err = s.Write(calls)
		}
		blocked <- err
	}()
	waitFor(t, func() bool { return s.waiting() })
	release()
	must(t, <-blocked)
	must(t, s.Close())
	if got := shell(t, path, "SELECT count(*) FROM process_trace"); got != "5400" {
		t.Errorf("%s calls of 5400", got)
	}
	if c := s.Counters(); c.Calls != 5400 || c.Dropped != 0 || c.Waits == 0 || c.Waited == 0 || c.Retries == 0 {
		t.Errorf("counters %+v", c)
	}
}

// TestFullWithinTransaction fills the disk with a transaction that is larger than the page cache:
// so it is an insert that fails, not the commit.
func TestFullWithinTransaction(t *testing.T) {
	path := filepath.Join(testenv.Filesystem(t, "40m"), "full.db")
	s := open(t, path, Options{})
	writeMany(t, s, 100)
	must(t, s.Flush())
	source := newCallSource(10)
	var calls []*trace.Call
	for i := range 5000 {
		c := source.next(uint64(1000 + i))
		c.Args = []byte(`"` + strings.Repeat("x", 20_000) + `"`)
		calls = append(calls, c)
	}
	must(t, s.Write(calls))
	err := s.Close()
	checkFault(t, err, ErrFull, "free space")
	if !strings.Contains(err.Error(), "insert into call") {
		t.Errorf("error %q is not one of the insert", err)
	}
	there := filepath.Join(t.TempDir(), "full.db")
	copyDatabase(t, path, there)
	if got := shell(t, there, "SELECT count(*) FROM process_trace; PRAGMA integrity_check"); got != "100\nok" {
		t.Errorf("%q of 100 committed calls", got)
	}
}

// TestFullFromTheStart opens where not even an empty database has room.
func TestFullFromTheStart(t *testing.T) {
	dir := testenv.Filesystem(t, "16k")
	_, err := Open(filepath.Join(dir, "a.db"), Options{})
	checkFault(t, err, ErrFull, "free space")
}

// TestReadOnly opens on a file system that can't be written, with and without a database.
func TestReadOnly(t *testing.T) {
	dir := testenv.Filesystem(t, "8m")
	must(t, open(t, filepath.Join(dir, "old.db"), Options{}).Close())
	must(t, unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, "size=8m"))
	for _, name := range []string{"old.db", "new.db", "new/new.db"} {
		_, err := Open(filepath.Join(dir, name), Options{})
		checkFault(t, err, ErrReadOnly, "--db")
	}
	_, err := Open(filepath.Join(os.Args[0], "x.db"), Options{}) // a directory that is a file
	if err == nil || !strings.Contains(err.Error(), os.Args[0]) {
		t.Errorf("below a file: %v", err)
	}
	if _, err := Open(t.TempDir(), Options{}); err == nil {
		t.Error("a directory was opened as a database")
	}
}

// TestDamaged opens files that are not what they should be: what is damaged is
// set aside as it was, and what never was a database is left alone.
func TestDamaged(t *testing.T) {
	good := newPath(t)
	s := open(t, good, Options{})
	writeMany(t, s, 3000)
	must(t, s.Close())
	whole, err := os.ReadFile(good)
	must(t, err)
	for name, c := range map[string]struct {
		content []byte
		aside   bool
		want    error
	}{
		"truncated":    {whole[:len(whole)/2/8192*8192], true, nil},
		"overwritten":  {overwrite(whole), true, nil},
		"header alone": {whole[:100], true, nil},
		"head zeroed":  {append(make([]byte, 8192), whole[8192:]...), true, nil},
		"zero length":  {nil, false, nil},
		"text":         {[]byte(strings.Repeat("# Read me\n", 1000)), false, ErrForeign},
		"short text":   {[]byte("hello"), false, ErrForeign},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			must(t, os.WriteFile(path, c.content, 0o600))
			var notices notices
			s, err := Open(path, Options{Notice: notices.take})
			aside, globErr := filepath.Glob(path + ".damaged-*")
			must(t, globErr)
			if (len(aside) == 1) != c.aside {
				t.Fatalf("set aside: %v, error %v", aside, err)
			}
			left := path
			if c.aside {
				left = aside[0]
			}
			if after, err := os.ReadFile(left); err != nil || c.content != nil && string(after) != string(c.content) {
				t.Errorf("the file was changed (%v)", err)
			}
			if c.want != nil {
				checkFault(t, err, c.want, "--db")
				return
			}
			must(t, err)
			writeMany(t, s, 5)
			must(t, s.Close())
			if got := shell(t, path, "SELECT count(*) FROM process_trace; PRAGMA integrity_check"); got != "5\nok" {
				t.Errorf("the new one: %q", got)
			}
			if !c.aside {
				return
			}
			if got := shell(t, path, "SELECT reason, hint FROM gaps"); !strings.Contains(got, "set aside as "+left) || !strings.Contains(got, ".recover") {
				t.Errorf("the new one tells %q", got)
			}
			if !notices.have("set aside as " + left) {
				t.Errorf("notices %+v", notices.all())
			}
		})
	}
}

// overwrite spoils pages in the middle.
func overwrite(whole []byte) []byte {
	spoilt := append([]byte(nil), whole...)
	for i := 10 * 8192; i < 40*8192; i++ {
		spoilt[i] = byte(i * 31)
	}
	return spoilt
}

// TestForeign holds that other programs' databases, and those of newer versions
// of this one, are refused and left as they are.
func TestForeign(t *testing.T) {
	for name, c := range map[string]struct {
		make string
		want error
	}{
		"another program's": {"CREATE TABLE t (a); INSERT INTO t VALUES (1)", ErrForeign},
		"marked as another": {"PRAGMA application_id = 77", ErrForeign},
		"another's version": {"PRAGMA user_version = 1", ErrForeign},
		"newer":             {fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d; CREATE TABLE later (a)", applicationID, SchemaVersion+1), ErrNewer},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			shell(t, path, c.make)
			before, err := os.ReadFile(path)
			must(t, err)
			_, err = Open(path, Options{})
			checkFault(t, err, c.want, "--db")
			after, err := os.ReadFile(path)
			must(t, err)
			if string(before) != string(after) {
				t.Error("the file was changed")
			}
		})
	}
}

// TestMigrate holds that steps are taken once, in order, whole or not at all.
func TestMigrate(t *testing.T) {
	path := newPath(t)
	d := connected(t, path)
	first := []string{"CREATE TABLE a (x); INSERT INTO a VALUES (1)"}
	second := append(first, "ALTER TABLE a ADD COLUMN y DEFAULT 7; INSERT INTO a VALUES (2, 8)")
	broken := append(second, "INSERT INTO a VALUES (3, 9); CREATE TABLE a (again)")
	must(t, d.migrate(first))
	must(t, d.migrate(first))
	must(t, d.migrate(second))
	if err := d.migrate(broken); err == nil || !strings.Contains(err.Error(), "from version 2") {
		t.Errorf("a broken step gives %v", err)
	}
	if err := d.migrate(first); !errors.Is(err, ErrNewer) {
		t.Errorf("an older program says %v", err)
	}
	if got := shell(t, path, "SELECT * FROM a; PRAGMA user_version"); got != "1|7\n2|8\n2" {
		t.Errorf("after the steps: %q", got)
	}
}

// TestMigrateOldFile opens the file that a program of version 1 left, kept in testdata.
func TestMigrateOldFile(t *testing.T) {
	old, err := os.ReadFile("testdata/version1.sql")
	must(t, err)
	path := newPath(t)
	shell(t, path, string(old))
	what := "SELECT * FROM process_trace WHERE id <= 3 ORDER BY id; SELECT * FROM data_trace WHERE id <= 3 ORDER BY id;" +
		" SELECT ts, process, calls, errors, p50_ms, max_ms, cpu_ms, overhead_ms, hex(histogram), session_id FROM function_stats ORDER BY process; SELECT * FROM gaps; SELECT * FROM sessions WHERE id = 1"
	before := shell(t, path, what)
	s := open(t, path, Options{})
	if id := ids(t, s, 1); id <= 3 {
		t.Errorf("id %d was given out before", id)
	}
	writeMany(t, s, 5)
	must(t, s.Close())
	after := shell(t, path, what)
	if before != after || !strings.Contains(after, "main.pay") || !strings.Contains(after, "card declined") || !strings.Contains(after, "1.998848") {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if got := shell(t, path, "PRAGMA user_version; SELECT count(*) FROM process_trace"); got != strconv.Itoa(SchemaVersion)+"\n8" {
		t.Errorf("version and calls: %q", got)
	}
}

func checkFault(t *testing.T, err, want error, hint string) {
	t.Helper()
	var e *Error
	if !errors.Is(err, want) || !errors.As(err, &e) {
		t.Errorf("error %v (%T), want one that wraps %q", err, err, want)
		return
	}
	if !strings.Contains(e.Hint(), hint) || strings.Contains(e.Hint(), "{") {
		t.Errorf("hint %q, want one with %q", e.Hint(), hint)
	}
	if !strings.Contains(e.Error(), e.Path) {
		t.Errorf("error %q doesn't name the file", e)
	}
}

func connected(t *testing.T, path string) *database {
	t.Helper()
	must(t, createFile(path))
	d := &database{path: path}
	must(t, d.connect())
	t.Cleanup(d.abandon)
	return d
}

// copyDatabase copies the file and its log.
func copyDatabase(t *testing.T, from, to string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(from + suffix)
		if errors.Is(err, os.ErrNotExist) && suffix != "" {
			continue
		}
		must(t, err)
		must(t, os.WriteFile(to+suffix, b, 0o600))
	}
}

// waitFor waits until something holds that another goroutine brings about.
func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never came about")
		}
	}
}

// tries is how often a store has found the lock taken, also in the transaction under way.
func tries(s *Store) uint64 { return s.Counters().Retries }

// waiting tells whether a writer waits for room in the queue.
func (s *Store) waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full(900)
}

func planText(tb testing.TB, rows driver.Rows) string {
	tb.Helper()
	var plan strings.Builder
	row := make([]driver.Value, len(rows.Columns()))
	for {
		err := rows.Next(row)
		if errors.Is(err, io.EOF) {
			return plan.String()
		}
		must(tb, err)
		fmt.Fprintln(&plan, row[3])
	}
}
