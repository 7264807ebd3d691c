package writer

import (
	"bufio"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/retention"
	"github.com/observatory-trace/observatory-trace/trace"
)

// clocks are those of a machine in a test: what has passed since it booted, and what the wall clock shows.
type clocks struct{ up, wall, boot atomic.Int64 }

func newClocks() *clocks {
	c := new(clocks)
	c.boot.Store(77)
	c.up.Store(int64(100 * time.Hour))
	c.wall.Store(time.Date(2026, 7, 9, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clocks) now() retention.Moment {
	return retention.Moment{Wall: c.wall.Load(), Boot: c.boot.Load(), Up: c.up.Load()}
}

// pass lets time go by.
func (c *clocks) pass(d time.Duration) {
	c.up.Add(int64(d))
	c.wall.Add(int64(d))
}

// set sets the wall clock.
func (c *clocks) set(by time.Duration) { c.wall.Add(int64(by)) }

// expiry writes calls into a store whose clocks it holds.
type expiry struct {
	*testing.T
	*clocks
	path   string
	policy retention.Policy
	store  *Store
	source *callSource
	batch  int // calls of a transaction at most
}

func newExpiry(t *testing.T, p retention.Policy) *expiry {
	e := &expiry{T: t, clocks: newClocks(), path: newPath(t), policy: p, source: newCallSource(20), batch: 1 << 20}
	e.open()
	return e
}

func (e *expiry) open() {
	e.Helper()
	e.store = open(e, e.path, Options{Retention: e.policy, BatchCalls: e.batch, BatchDelay: 5 * time.Millisecond, now: e.now})
}

// write commits so many calls that end now, and a second of statistics of them.
func (e *expiry) write(n int) {
	e.Helper()
	first := ids(e, e.store, n)
	calls := make([]*trace.Call, n)
	var acc Accumulator
	for i := range calls {
		calls[i] = e.source.next(first + uint64(i))
		calls[i].StartNS = e.wall.Load() - calls[i].DurationNS
		acc.Recorded(calls[i])
		tally := trace.Tally{Func: calls[i].Func}
		tally.Add(calls[i].Status, calls[i].DurationNS)
		acc.Tally(&tally)
	}
	must(e, errors.Join(e.store.Write(calls), e.store.Stats(acc.Take(time.Unix(0, e.wall.Load()))), e.store.Flush()))
}

// rest lets time go by in which nothing is written: what was written is as old as the next mark at the latest.
func (e *expiry) rest(d time.Duration) {
	e.Helper()
	for _, d := range []time.Duration{e.policy.MarkInterval(), d} {
		e.pass(d)
		if (e.policy == retention.Policy{}) {
			continue
		}
		waitFor(e.T, func() bool {
			return shell(e, e.path, "SELECT up_ns FROM mark ORDER BY id DESC LIMIT 1") == fmt.Sprint(e.up.Load())
		})
	}
}

// shows waits until a query gives that.
func (e *expiry) shows(query, want string) {
	e.Helper()
	got := ""
	for deadline := time.Now().Add(20 * time.Second); got != want; time.Sleep(10 * time.Millisecond) {
		if got = shell(e, e.path, query); got != want && time.Now().After(deadline) {
			e.Errorf("%s gives %q, want %q", query, got, want)
			return
		}
	}
}

func (e *expiry) calls() string {
	e.Helper()
	return shell(e, e.path, "SELECT count(*) FROM process_trace")
}

func (e *expiry) sound() {
	e.Helper()
	if got := shell(e, e.path, "PRAGMA integrity_check; SELECT count(*) - (SELECT count(*) FROM process_trace) FROM call; SELECT (SELECT sum(calls) FROM moment) - count(*) FROM call; SELECT count(*) FROM error WHERE key NOT IN (SELECT key FROM call)"); got != "ok\n0\n0\n0" && got != "ok\n0\n\n0" {
		e.Errorf("soundness, calls that no view shows, calls that moments lack, errors without calls: %q", got)
	}
}

// TestExpireByAge holds that calls go when they are as old as the policy says, not before, and that statistics stay.
func TestExpireByAge(t *testing.T) {
	e := newExpiry(t, retention.For(time.Hour, 0))
	for range 90 {
		e.write(100)
		e.pass(time.Minute)
	}
	if got := e.calls(); got != "6000" && got != "6100" { // as the store has looked since the last minute began or not; what is written last is not in it
		t.Errorf("%s calls after 90 minutes, of which 60 are to be kept, each with 100", got)
	}
	if got := shell(t, e.path, "SELECT sum(calls), count(DISTINCT ts) FROM function_stats"); got != "9000|90" {
		t.Errorf("statistics of %s, want 9000 calls in 90 seconds", got)
	}
	if got := shell(t, e.path, "SELECT count(*) < 500 FROM mark"); got != "1" {
		t.Error("marks pile up")
	}
	e.sound()
	e.rest(24 * time.Hour)
	e.shows("SELECT count(*) FROM process_trace", "0")
	if c := e.store.Counters(); c.Early != 0 {
		t.Errorf("counters %+v", c)
	}
}

// TestExpireKeepsAll holds that without a policy nothing goes.
func TestExpireKeepsAll(t *testing.T) {
	e := newExpiry(t, retention.Policy{})
	for range 5 {
		e.write(10)
		e.pass(1000 * time.Hour)
	}
	if got := shell(t, e.path, "SELECT (SELECT count(*) FROM process_trace), (SELECT sum(calls) FROM function_stats WHERE seconds = 1)"); got != "50|50" {
		t.Errorf("calls and statistics: %s", got)
	}
}

// TestExpireSteps holds that what has piled up goes in steps, while new calls
// come in: a file that was left for a day and is opened again.
func TestExpireSteps(t *testing.T) {
	e := newExpiry(t, retention.Policy{})
	for range 6 {
		e.pass(time.Minute)
		e.write(30_000)
	}
	must(t, e.store.Close()) // as killed: without a mark behind the last calls
	e.pass(24 * time.Hour)
	e.policy = retention.For(6*time.Hour, 0)
	e.open()
	var before Counters
	waitFor(t, func() bool {
		e.write(50)
		e.pass(time.Millisecond)
		now := e.store.Counters()
		if gone := now.Expired - before.Expired; gone > 20_000*(now.Commits-before.Commits+1) { // the first was Open's
			t.Fatalf("%d calls went in %d transactions", gone, now.Commits-before.Commits)
		}
		before = now
		return now.Expired >= 180_000
	})
	if got := e.calls(); got != fmt.Sprint(before.Calls) || before.Commits < 8 {
		t.Errorf("%s calls are left, of which %d are new, after %d transactions", got, before.Calls, before.Commits)
	}
	e.sound()
}

// TestExpireFlat holds that at a steady rate the file becomes no larger once the window is full.
func TestExpireFlat(t *testing.T) {
	e := newExpiry(t, retention.For(time.Minute, 0))
	var full int64
	for second := range 200 {
		e.write(1000)
		e.pass(time.Second)
		if second == 80 {
			full = e.pages()
		}
	}
	// Statistics stay, of 20 functions a row a second.
	stats := int64(0)
	_, err := fmt.Sscan(shell(t, e.path, "SELECT sum(pgsize) / 8192 FROM dbstat WHERE name LIKE 'stat%' OR name LIKE 'sqlite_autoindex_stat%'"), &stats)
	must(t, err)
	if got := e.pages() - stats; got > full+full/20 {
		t.Errorf("%d pages without statistics after 200 seconds, %d with them after 80", got, full)
	}
	e.sound()
}

// pages are those of the file, those in the log included.
func (e *expiry) pages() (n int64) {
	e.Helper()
	_, err := fmt.Sscan(shell(e, e.path, "PRAGMA page_count"), &n)
	must(e, err)
	return n
}

// TestGiveBack holds that space is given back after a burst.
func TestGiveBack(t *testing.T) {
	e := newExpiry(t, retention.For(time.Minute, 0))
	e.write(200_000)
	burst := e.pages()
	e.rest(2 * time.Minute)
	// While it is open and idle: the file itself, not only what the log has of it.
	waitFor(t, func() bool { pages := e.pages(); return pages < burst*2/3 && fileSize(t, e.path) == 8192*pages })
	e.sound()
}

// TestSizeLimit holds the size while writing, and tells what that costs.
func TestSizeLimit(t *testing.T) {
	for _, limit := range []int64{32 << 20, 2 << 20} {
		t.Run(fmt.Sprint(limit>>20, " MiB"), func(t *testing.T) { sizeLimit(t, limit) })
	}
}

func sizeLimit(t *testing.T, limit int64) {
	e := newExpiry(t, retention.For(6*time.Hour, limit))
	must(t, e.store.Close())
	e.batch = 0 // by the limit
	e.open()
	largest, written := int64(0), 0
	for range 80 {
		e.write(4000)
		written += 4000
		e.pass(time.Second)
		largest = max(largest, e.onDisk())
	}
	if largest > limit {
		t.Errorf("the files have had %d bytes, %.2f of the limit", largest, float64(largest)/float64(limit))
	}
	if largest < limit*6/10 {
		t.Errorf("the files have had no more than %d bytes: the limit is not used", largest)
	}
	c := e.store.Counters()
	if got := shell(t, e.path, fmt.Sprintf("SELECT count(*) > %d, (SELECT sum(count) FROM gaps WHERE reason LIKE 'deleted early%%') + count(*) FROM process_trace", limit/840)); got != fmt.Sprintf("1|%d", written) || c.Early == 0 || c.Early != c.Expired {
		t.Errorf("calls, and those with what gaps count: %s of %d; counters %+v", got, written, c)
	}
	if got := shell(t, e.path, "SELECT sum(calls), max(seconds), (SELECT count(*) < 5 FROM gaps), (SELECT min(id) > 1 FROM process_trace) FROM function_stats"); got != fmt.Sprintf("%d|1|1|1", written) {
		t.Errorf("statistics, gaps, and whether the oldest went: %s", got)
	}
	e.sound()
}

// onDisk is what the database takes, its log included.
func (e *expiry) onDisk() int64 {
	e.Helper()
	return fileSize(e, e.path) + fileSize(e, e.path+"-wal")
}

// TestLowerLimit opens a file that is larger than it may be from now on.
func TestLowerLimit(t *testing.T) {
	e := newExpiry(t, retention.Policy{})
	e.write(300_000)
	must(t, e.store.Close())
	before := fileSize(t, e.path)
	e.policy = retention.For(6*time.Hour, 32<<20)
	e.open()
	waitFor(t, func() bool { return e.onDisk() <= 32<<20 })
	must(t, e.store.Close())
	if size := fileSize(t, e.path); before < 45<<20 || size > 32<<20 || size < 16<<20 {
		t.Errorf("of %d bytes %d are left, of 32 MiB", before, size)
	}
	e.sound()
}

// TestOnlyStatistics holds that statistics are never deleted for the size.
func TestOnlyStatistics(t *testing.T) {
	e := newExpiry(t, retention.For(6*time.Hour, 0))
	e.write(50)
	// A table of something else stands for many statistics.
	shell(t, e.path, "CREATE TABLE ballast AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<40) SELECT zeroblob(1000000) FROM n")
	must(t, e.store.Close())
	_, after, removed, err := Retain(t.Context(), e.path, RetainOptions{Policy: retention.For(6*time.Hour, 32<<20), now: e.now})
	must(t, err)
	if removed.Calls != 50 || removed.Early != 50 || removed.Over < 10<<20 || after.Seconds.Rows != 20 {
		t.Errorf("removed %+v, left %+v", removed, after)
	}
}

// TestClockSteps sets the wall clock, and restarts the machine: no call goes before its time, nor stays for long after.
func TestClockSteps(t *testing.T) {
	for name, step := range map[string]func(*expiry){
		"ahead a day":    func(e *expiry) { e.set(24 * time.Hour) },
		"ahead 50 years": func(e *expiry) { e.set(50 * 365 * 24 * time.Hour) },
		"back a day":     func(e *expiry) { e.set(-24 * time.Hour) },
		"back to 1970":   func(e *expiry) { e.wall.Store(1e9) },
		"to and fro": func(e *expiry) {
			e.set(-1000 * time.Hour)
			e.open()
			e.write(10)
			must(e, e.store.Close())
			e.set(1000 * time.Hour)
		},
		"reboot": func(e *expiry) { e.boot.Add(1); e.up.Store(1e9) },
		"reboot, clock at 1970": func(e *expiry) {
			e.boot.Add(1)
			e.up.Store(1e9)
			e.wall.Store(1e9)
		},
	} {
		for _, restart := range []bool{false, true} {
			if !restart && strings.HasPrefix(name, "reboot") || !restart && name == "to and fro" {
				continue
			}
			t.Run(fmt.Sprintf("%s, restart %v", name, restart), func(t *testing.T) {
				e := newExpiry(t, retention.For(time.Hour, 0))
				for range 5 {
					e.write(100)
					e.pass(10 * time.Minute)
				}
				if restart {
					must(t, e.store.Close())
				}
				step(e)
				if restart {
					e.open()
				}
				e.write(100)
				var young int
				_, err := fmt.Sscan(e.calls(), &young)
				must(t, err)
				if young < 600 {
					t.Errorf("%d calls of 600 are left, the oldest of them 50 minutes old", young)
				}
				if got := shell(t, e.path, "SELECT count(DISTINCT ts) >= 6 FROM function_stats WHERE seconds = 1"); got != "1" {
					t.Error("statistics of the last hour were merged")
				}
				e.rest(70 * time.Minute)
				e.shows("SELECT count(*) FROM process_trace", "0")
				for range 100 { // and statistics become fewer when six hours are over
					e.pass(5 * time.Minute)
					e.write(1)
				}
				if got := shell(t, e.path, "SELECT count(*) FROM function_stats WHERE seconds = 1"); len(got) > 2 {
					t.Errorf("%s rows of seconds, of 100 written in more than eight hours", got)
				}
			})
		}
	}
}

// TestMergedStatistics holds that what seconds, minutes and hours give together is what the seconds gave, exactly.
func TestMergedStatistics(t *testing.T) {
	policy := retention.Policy{Calls: time.Hour, BySecond: time.Hour, ByMinute: 4 * time.Hour, ByHour: 1000 * time.Hour}
	merging, plain := newExpiry(t, policy), newExpiry(t, retention.Policy{})
	for i := range 600 {
		for _, e := range []*expiry{merging, plain} {
			e.write(30 + i%7)
			e.pass(61 * time.Second)
		}
		if i == 300 { // what comes late is added to what is merged already
			for _, e := range []*expiry{merging, plain} {
				back := 3*time.Hour + 30*time.Second
				e.set(-back)
				e.write(40)
				e.set(back)
			}
		}
	}
	sums := `SELECT process, sum(calls), sum(errors), sum(sampled_out), sum(dropped), sum(recorded), sum(timed), printf('%.6f', sum(total_ms)), max(max_ms), printf('%.6f', sum(cpu_ms)), printf('%.6f', sum(overhead_ms)) FROM function_stats GROUP BY 1`
	if got, want := shell(t, merging.path, sums), shell(t, plain.path, sums); got != want || len(got) < 500 {
		t.Errorf("merged\n%s\nas they were\n%s", got, want)
	}
	if got, want := histograms(t, merging.path), histograms(t, plain.path); !slices.Equal(got, want) {
		t.Errorf("histograms differ: %v, %v", got, want)
	}
	rows := shell(t, merging.path, `SELECT seconds, count(DISTINCT ts) > 0, min(substr(ts, 18)), max(substr(ts, 18)), count(DISTINCT substr(ts, 15)) = 1 FROM function_stats GROUP BY 1 ORDER BY 1 DESC`)
	if !strings.HasPrefix(rows, "3600|1|00|00|1\n60|1|00|00|0\n1|1|") {
		t.Errorf("resolutions: %s", rows)
	}
	// The percentiles of a merged row are those of its histogram.
	if got := shell(t, merging.path, "SELECT count(*) FROM function_stats WHERE seconds = 3600 AND NOT (p50_ms BETWEEN 0.001 AND max_ms AND p50_ms <= p95_ms AND p95_ms <= p99_ms AND abs(mean_ms * timed - total_ms) < 0.001)"); got != "0" {
		t.Errorf("%s rows of hours make no sense", got)
	}
}

// TestLateStatistics adds to minutes and hours that are merged already, at their very beginning and within.
func TestLateStatistics(t *testing.T) {
	e := newExpiry(t, retention.Policy{BySecond: time.Hour, ByMinute: 2 * time.Hour, ByHour: 1000 * time.Hour})
	began := e.wall.Load() // a full hour
	for range 5 * 60 {
		e.write(20)
		e.pass(time.Minute)
	}
	late := func(at time.Duration, want string) {
		t.Helper()
		second := FunctionSecond{Second: began/1e9 + int64(at/time.Second), Tally: trace.Tally{Func: e.source.functions[0], Calls: 1000}}
		must(t, errors.Join(e.store.Stats([]FunctionSecond{second}), e.store.Flush()))
		if got := shell(t, e.path, fmt.Sprintf("SELECT max(seconds) FROM function_stats WHERE calls >= 1000 AND ts = '%s'", secondText(second.Second))); got != want {
			t.Errorf("what comes late after %v is in a row of %s seconds, want %s", at, got, want)
		}
	}
	late(0, "3600")
	late(time.Hour, "3600")
	late(2*time.Hour+50*time.Minute, "60")
	late(time.Hour+time.Minute, "")                     // has gone into the row of its hour,
	late(2*time.Hour+50*time.Minute+7*time.Second, "")  // or of its minute
	late(4*time.Hour+50*time.Minute+7*time.Second, "1") // is younger than an hour
	if got := shell(t, e.path, "SELECT sum(calls), group_concat(calls) FILTER (WHERE seconds > 1 AND calls > 1000) FROM (SELECT * FROM function_stats ORDER BY ts)"); got != "12000|1060,2060,2001" {
		t.Errorf("in all, and in merged rows: %s", got)
	}
	e.shows("SELECT count(*) FROM (SELECT 1 FROM function_stats GROUP BY ts, process, session_id HAVING count(*) > 1)", "0")
}

// histograms gives what each function's rows have in common, as text.
func histograms(t *testing.T, path string) (all []string) {
	t.Helper()
	d := &database{path: path}
	must(t, d.connect())
	defer d.abandon()
	sums := map[string]*trace.Histogram{}
	must(t, d.each(t.Context(), func(row []driver.Value) error {
		var h trace.Histogram
		err := h.UnmarshalBinary(row[1].([]byte))
		if sums[row[0].(string)] == nil {
			sums[row[0].(string)] = new(trace.Histogram)
		}
		sums[row[0].(string)].Merge(&h)
		return err
	}, "SELECT process, histogram FROM function_stats"))
	for name, h := range sums {
		b, err := h.AppendBinary(nil)
		must(t, err)
		all = append(all, fmt.Sprintf("%s %d %x", name, h.Count(), b))
	}
	slices.Sort(all)
	return all
}

// TestMergedGaps holds that gaps are merged by what they say, and go with the hours.
func TestMergedGaps(t *testing.T) {
	e := newExpiry(t, retention.Policy{BySecond: time.Hour, ByMinute: 2 * time.Hour, ByHour: 100 * time.Hour})
	for i := range 240 {
		g := trace.Gap{TimeNS: e.wall.Load(), Count: 3, Reason: "ring buffer full", Hint: "raise it", PID: 1 + i%2}
		if i%3 == 0 {
			g.Func = e.source.functions[0]
		}
		must(t, e.store.Gap(g))
		e.write(1)
		e.pass(time.Minute)
	}
	if got := shell(t, e.path, "SELECT sum(count), count(*) BETWEEN 60 AND 140, sum(count) FILTER (WHERE process NOT NULL), sum(count) FILTER (WHERE pid = 1), min(hint), count(DISTINCT reason) FROM gaps"); got != "720|1|240|360|raise it|1" {
		t.Errorf("gaps: %s", got)
	}
	e.rest(200 * time.Hour)
	e.rest(7 * time.Hour) // the clock is believed when it has been so for six
	e.shows("SELECT (SELECT count(*) FROM gaps), (SELECT count(*) FROM function_stats)", "0|0")
}

// TestLongReader reads in one transaction all the while: the writer goes on, and the file is sound.
func TestLongReader(t *testing.T) {
	e := newExpiry(t, retention.For(time.Minute, 32<<20))
	e.write(10_000)
	reader := &database{path: e.path}
	must(t, reader.connect())
	defer reader.abandon()
	must(t, reader.exec("BEGIN; SELECT count(*) FROM call"))
	count := func() int64 {
		n, err := reader.integer("SELECT count(*) FROM process_trace")
		must(t, err)
		return n
	}
	if got := count(); got != 10_000 {
		t.Fatalf("the reader sees %d calls", got)
	}
	for range 60 {
		e.write(4000)
		e.pass(2 * time.Second)
	}
	if got := count(); got != 10_000 {
		t.Errorf("the reader sees %d calls in its transaction", got)
	}
	log := fileSize(t, e.path+"-wal")
	if got := fileSize(t, e.path); got > 32<<20 {
		t.Errorf("the file has %d bytes", got)
	}
	// What the log keeps for the reader is no reason to delete calls: those of a minute fit, but for the limit.
	if got := shell(t, e.path, "SELECT count(*) > 40000 FROM process_trace"); got != "1" {
		t.Errorf("calls went because a reader held the log, which has %d bytes", log)
	}
	before, _, _, err := Retain(t.Context(), e.path, RetainOptions{Policy: e.policy, DryRun: true, now: e.now})
	must(t, err)
	if before.LogBytes < log || before.LogBytes > log+log/20 || log < 20<<20 {
		t.Errorf("a log of %d bytes is told as %d", log, before.LogBytes)
	}
	must(t, reader.exec("COMMIT"))
	e.write(4000)
	e.write(4000)
	waitFor(t, func() bool { e.write(4000); return e.onDisk() <= 32<<20 })
	e.sound()
}

// TestRetainBeside trims while a store writes, and to less than it keeps.
func TestRetainBeside(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Options{BatchCalls: 500, Retention: retention.For(6*time.Hour, 0)})
	writeMany(t, s, 60_000)
	must(t, s.Flush())
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan int, 1)
	var writing sync.WaitGroup
	defer writing.Wait()
	defer stop()
	writing.Go(func() {
		n := 0
		for source := newCallSource(9); ctx.Err() == nil; n += 200 {
			first, err := s.NextIDs(200)
			calls := make([]*trace.Call, 200)
			for i := range calls {
				calls[i] = source.next(first + uint64(i))
			}
			if err := errors.Join(err, s.Write(calls), s.Flush()); err != nil {
				t.Error(err)
				return
			}
		}
		written <- n
	})
	time.Sleep(50 * time.Millisecond)
	// For retain it is two hours later.
	later := func() retention.Moment {
		m := machineNow()
		m.Up += int64(2 * time.Hour)
		m.Wall += int64(2 * time.Hour)
		return m
	}
	dry, _, would, err := Retain(t.Context(), path, RetainOptions{Policy: retention.For(time.Hour, 0), DryRun: true, now: later})
	must(t, err)
	if would.Calls < 60_000 || dry.Calls < 60_000 {
		t.Errorf("it would delete %+v of %+v", would, dry)
	}
	_, after, removed, err := Retain(t.Context(), path, RetainOptions{Policy: retention.For(time.Hour, 0), now: later})
	must(t, err)
	stop()
	n := <-written
	must(t, s.Close())
	if removed.Calls < 60_000 || removed.Early != 0 {
		t.Errorf("removed %+v, left %+v", removed, after)
	}
	if got := shell(t, path, "SELECT count(*) FROM process_trace; PRAGMA integrity_check"); got != fmt.Sprintf("%d\nok", int64(60_000+n)-removed.Calls) {
		t.Errorf("%q of %d calls, %d removed", got, 60_000+n, removed.Calls)
	}
}

// TestRetainWaits holds that what others lock for a while is waited for from the beginning on.
func TestRetainWaits(t *testing.T) {
	path := newPath(t)
	must(t, open(t, path, Options{}).Close())
	release := hold(t, path)
	ended := make(chan error, 1)
	go func() {
		_, _, _, err := Retain(t.Context(), path, RetainOptions{Policy: retention.For(time.Hour, 0)})
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(4 * busyTimeout):
	}
	release()
	must(t, <-ended)
}

// TestVacuum gives the space of files back that can't do that by themselves.
func TestVacuum(t *testing.T) {
	path := newPath(t)
	old, err := os.ReadFile("testdata/version1.sql")
	must(t, err)
	shell(t, path, string(old))
	clock := newClocks()
	s := open(t, path, Options{now: clock.now})
	source := newCallSource(5)
	var calls []*trace.Call
	for i := range 100_000 {
		calls = append(calls, source.next(uint64(i+10)))
	}
	write(t, s, calls...)
	must(t, s.Flush())
	clock.pass(2 * time.Minute)
	must(t, errors.Join(s.Gap(trace.Gap{}), s.Flush())) // sets a mark
	clock.pass(7 * time.Hour)
	options := RetainOptions{Policy: retention.For(6*time.Hour, 0), Vacuum: true, now: clock.now}
	_, _, _, err = Retain(t.Context(), path, options)
	checkFault(t, err, ErrLocked, "fuser")
	must(t, s.Close())
	before, after, _, err := Retain(t.Context(), path, options)
	must(t, err)
	if before.Shrinks || !after.Shrinks || after.FileBytes > before.FileBytes/4 || after.FreeBytes != 0 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if got := shell(t, path, "PRAGMA journal_mode; PRAGMA auto_vacuum; PRAGMA integrity_check"); got != "wal\n2\nok" {
		t.Errorf("the file is %q", got)
	}
	// From now on it goes in steps.
	s = open(t, path, Options{now: clock.now})
	write(t, s, calls...)
	must(t, s.Flush())
	clock.pass(2 * time.Minute)
	must(t, errors.Join(s.Gap(trace.Gap{}), s.Flush())) // sets a mark
	clock.pass(7 * time.Hour)
	_, after, removed, err := Retain(t.Context(), path, options)
	must(t, err)
	if after.FreeBytes != 0 || removed.Calls != 100_000 {
		t.Errorf("beside a store: %+v, %+v", removed, after)
	}
	must(t, s.Close())
}

// TestRetainFaults holds that what can't be trimmed says why, and the way out.
func TestRetainFaults(t *testing.T) {
	policy := retention.For(time.Hour, 0)
	path := filepath.Join(t.TempDir(), "none.db")
	_, _, _, err := Retain(t.Context(), path, RetainOptions{Policy: policy})
	checkFault(t, err, ErrMissing, "attach")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it was made")
	}
	must(t, os.WriteFile(path, []byte(strings.Repeat("# Read me\n", 1000)), 0o600))
	_, _, _, err = Retain(t.Context(), path, RetainOptions{Policy: policy})
	checkFault(t, err, ErrCorrupt, "sets it aside")

	path = newPath(t)
	must(t, open(t, path, Options{}).Close())
	release := hold(t, path)
	_, _, _, err = Retain(t.Context(), path, RetainOptions{Policy: policy, patience: time.Millisecond})
	checkFault(t, err, ErrLocked, "end the write transaction of process ")
	release()

	dir := testenv.Filesystem(t, "8m")
	path = filepath.Join(dir, "old.db")
	must(t, open(t, path, Options{}).Close())
	must(t, unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, "size=8m"))
	_, _, _, err = Retain(t.Context(), path, RetainOptions{Policy: policy})
	checkFault(t, err, ErrReadOnly, "remount")
}

// TestExpireKilled kills a writer that is deleting all the while.
func TestExpireKilled(t *testing.T) {
	path := newPath(t)
	for round := range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashPath+"="+path, crashRetention+"=1s")
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		began := time.Now()
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if time.Since(began) > time.Duration(1300+100*round)*time.Millisecond {
				must(t, cmd.Process.Kill())
				break
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the writer ended by itself")
		}
		if got := shell(t, path, "PRAGMA integrity_check; SELECT count(*) - (SELECT count(*) FROM process_trace) FROM call; SELECT (SELECT sum(calls) FROM moment) - count(*) FROM call; SELECT max(first + calls) - min(first) = sum(calls) FROM moment"); got != "ok\n0\n0\n1" {
			t.Errorf("soundness, calls that no view shows, calls that moments lack, whether there are no holes: %q", got)
		}
	}
	if got := shell(t, path, "SELECT min(first) > 1 FROM moment"); got != "1" {
		t.Error("it was killed before it had deleted anything")
	}
}

// TestExpireNames holds that threads, processes, functions and sessions go with what refers to them, and that
// a store which remembers them looks them up again.
func TestExpireNames(t *testing.T) {
	policy := retention.Policy{Calls: time.Hour, BySecond: time.Hour, ByMinute: 2 * time.Hour, ByHour: 10 * time.Hour}
	e := newExpiry(t, policy)
	e.write(100)
	other := open(t, e.path, Options{Retention: policy, now: e.now}) // that remembers the same names
	quiet := &trace.Call{
		Func: e.source.functions[0], Process: &trace.Process{PID: 9, Exe: "/bin/quiet", Comm: "quiet"}, TID: 9, StartNS: e.wall.Load(), SampleRate: 1,
	}
	again := *quiet
	quiet.ID, again.ID = ids(t, other, 1), ids(t, other, 1)
	write(t, other, quiet)
	must(t, other.Flush())
	names := "SELECT (SELECT count(*) FROM thread), (SELECT count(*) FROM target), (SELECT count(*) FROM function), (SELECT count(*) FROM session)"
	if got := shell(t, e.path, names); got != "9|2|20|2" {
		t.Fatalf("at first: %s", got)
	}
	must(t, e.store.Close())
	shell(t, e.path, "UPDATE session SET ended = '2026-07-09 12:00:00' WHERE id = 1") // by the clock of this test
	// As if so many calls had been written since: that many take long.
	shell(t, e.path, fmt.Sprintf("UPDATE meta SET value = value + %d WHERE key = 'next_seq'", 4*namesWindow))
	e.open()
	e.source = newCallSource(3)
	e.write(1)
	e.rest(2 * time.Hour)
	e.shows("SELECT count(*) FROM process_trace", "0")
	e.write(1) // the first call is now behind all that
	e.pass(time.Minute)
	e.shows("SELECT count(*) FROM thread", "2")
	if got := shell(t, e.path, names); got != "2|1|20|3" {
		t.Errorf("after their calls went: %s", got)
	}
	write(t, other, &again)
	must(t, other.Close())
	if got := shell(t, e.path, fmt.Sprintf("SELECT pid, tid, exe, process FROM process_trace WHERE id = %d", again.ID)); got != "9|9|/bin/quiet|main.function0" {
		t.Errorf("the call of a process whose name was deleted: %q", got)
	}
	e.rest(12 * time.Hour)
	e.rest(7 * time.Hour)
	must(t, e.store.Close())
	_, after, removed, err := Retain(t.Context(), e.path, RetainOptions{Policy: policy, now: e.now})
	must(t, err)
	if got := shell(t, e.path, names); got != "3|2|2|2" || removed.Names != 19 || after.Calls != 0 {
		t.Errorf("in the end: %s, removed %+v, left %+v", got, removed, after)
	}
}

// BenchmarkExpire writes to two stores by turns: one that keeps everything, and one whose window is full, so that it
// deletes as many calls as it writes. It reports processor time as a ratio.
func BenchmarkExpire(b *testing.B) {
	const batch = 10_000 // a transaction
	var stores [2]*Store
	var spent [2]float64
	clock := newClocks()
	source := newCallSource(97)
	for i, p := range []retention.Policy{{}, retention.For(10*time.Second, 0)} {
		stores[i] = open(b, newPath(b), Options{Retention: p, now: clock.now})
	}
	write := func(s *Store) {
		first, err := s.NextIDs(batch)
		must(b, err)
		calls := make([]*trace.Call, batch)
		for i := range calls {
			calls[i] = source.next(first + uint64(i))
		}
		must(b, errors.Join(s.Write(calls), s.Flush()))
	}
	for n := -110; n < max(b.N/batch, 1); n++ {
		for i, s := range stores {
			before := cpuSeconds(b)
			write(s)
			if n >= 0 {
				spent[i] += cpuSeconds(b) - before
			}
		}
		clock.pass(100 * time.Millisecond)
	}
	calls := float64(max(b.N/batch, 1) * batch)
	b.ReportMetric(spent[0]*1e6/calls, "cpu-µs/call-kept")
	b.ReportMetric(spent[1]*1e6/calls, "cpu-µs/call-expiring")
	b.ReportMetric(spent[1]/spent[0], "ratio")
	if c := stores[1].Counters(); c.Expired+105*batch < c.Calls {
		b.Errorf("of %d calls only %d have gone", c.Calls, c.Expired)
	}
}

// TestStatRetried holds that statistics of a transaction that failed count once when it comes again.
func TestStatRetried(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Options{})
	f := newCallSource(1).functions[0]
	tally := trace.Tally{Func: f}
	tally.Add(trace.StatusErr, 1000)
	second := FunctionSecond{Second: 1_800_000_000, Tally: tally}
	must(t, errors.Join(s.Stats([]FunctionSecond{second}), s.Close()))

	d, err := openDatabase(path, time.Second, nil)
	must(t, err)
	defer d.abandon()
	d.session = 1
	failed := errors.New("failed")
	for _, outcome := range []error{failed, failed, nil} {
		if err := d.transaction(func() error { return errors.Join(d.insertStat(&second), outcome) }); !errors.Is(err, outcome) {
			t.Fatal(err)
		}
		d.names.forget()
	}
	if got := shell(t, path, "SELECT calls, errors, timed, total_ms FROM function_stats"); got != "2|2|2|0.002" {
		t.Errorf("twice a call of a microsecond: %s", got)
	}
	// A second that comes late does not make the row of its minute one of a second.
	must(t, d.transaction(func() error {
		return errors.Join(d.addStat("2027-01-15 08:00:00", 1, 1, 60, &second), d.insertStat(&second))
	}))
	if got := shell(t, path, "SELECT calls, seconds FROM function_stats"); got != "4|60" {
		t.Errorf("with a minute and a late second: %s", got)
	}
}
