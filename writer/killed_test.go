package writer

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/trace"
)

// crashAwayWriter writes until it is killed, whatever befalls the database, and
// prints the first id of every ten errors that are safe.
func crashAwayWriter(path string) error {
	s, err := Open(path, Options{BatchCalls: 100, BatchDelay: 2 * time.Millisecond, QueueCalls: 500, Patience: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	source := newCallSource(7)
	source.now = time.Now().UnixNano()
	fmt.Println("open")
	for {
		first, err := s.NextIDs(50)
		if err != nil {
			return err
		}
		var calls []*trace.Call
		for i := range 50 {
			c := source.next(first + uint64(i))
			if c.Status, c.Err = trace.StatusOK, nil; i < 10 {
				c.Status, c.Err = trace.StatusErr, &trace.Error{Type: "E"}
			}
			calls = append(calls, c)
		}
		if err := s.Write(calls); err != nil {
			return err
		}
		if s.Flush() == nil || s.Health().Spill.Held == 0 {
			fmt.Println(first, time.Now().Format("15:04:05.000"), s.Health().State)
		}
		time.Sleep(4 * time.Millisecond)
	}
}

// TestKilledAway kills a writer with SIGKILL at random moments, twenty times,
// while its database is there, is away, or goes away and comes back all the
// time: every error that it said was safe is there once in the end.
func TestKilledAway(t *testing.T) {
	path := filepath.Join(testenv.Filesystem(t, "64m"), "killed.db")
	must(t, open(t, path, Options{}).Close())
	lock := connected(t, path)
	locked := func() func() {
		must(t, lock.patiently(func() error { return lock.exec("BEGIN IMMEDIATE") }))
		return func() { must(t, lock.exec("COMMIT")) }
	}
	lock.patience = 10 * time.Second
	nothing := func() func() { return func() {} }
	full := func() func() { return fill(t, path) }
	var safe []uint64
	away, back := 0, 0
	for round := range 20 {
		begin := []func() func(){nothing, locked, full, locked, full}[round%5]
		comesBack := round%5 > 2
		cmd, lines := startWriter(t, path)
		if !lines.Scan() || lines.Text() != "open" {
			t.Fatalf("round %d: the writer said %q", round, lines.Text())
		}
		var printed []string
		read := make(chan struct{})
		go func() {
			defer close(read)
			for lines.Scan() {
				printed = append(printed, lines.Text())
			}
		}()
		alive := time.After(50*time.Millisecond + time.Duration(rand.IntN(500))*time.Millisecond)
		for dead := false; !dead; {
			end := begin()
			select {
			case <-alive:
				dead = true
			case <-time.After(time.Duration(50+rand.IntN(100)) * time.Millisecond):
				if !comesBack {
					<-alive
					dead = true
				}
			}
			if dead {
				must(t, cmd.Process.Kill())
				<-read
				if err := cmd.Wait(); err == nil {
					t.Fatal("the writer ended by itself")
				}
			}
			end()
			if !dead {
				time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
			}
		}
		_, err := lock.query(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)") // so that there is room
		must(t, err)
		before := ""
		for _, line := range printed {
			var first uint64
			var when, state string
			if _, err := fmt.Sscan(line, &first, &when, &state); err != nil {
				break // cut off by the kill
			}
			safe = append(safe, first)
			if state != "closed" {
				away++
			} else if before != "" && before != "closed" {
				back++
			}
			before = state
		}
	}
	must(t, lock.close())
	var said notices
	s := open(t, path, Options{Notice: said.take})
	must(t, s.Close())
	if got := shell(t, path, "PRAGMA integrity_check"); got != "ok" {
		t.Errorf("after twenty kills: %s", got)
	}
	for _, first := range safe {
		if got := shell(t, path, fmt.Sprintf("SELECT count(*), count(DISTINCT id) FROM process_trace WHERE status = 'ERR' AND id BETWEEN %d AND %d", first, first+9)); got != "10|10" {
			t.Errorf("of errors %d to %d, which were safe, %s are there", first, first+9, got)
		}
	}
	if got := shell(t, path, "SELECT count(*) - count(DISTINCT id) FROM process_trace"); got != "0" {
		t.Errorf("%s calls are there twice", got)
	}
	if left := spills(t, path); len(left) != 0 {
		t.Errorf("left: %v; said %+v", left, said.all())
	}
	t.Logf("%d batches of errors were safe, %d of them while the database was away; it came back %d times", len(safe), away, back)
	if len(safe) < 100 || away < 20 || back < 1 {
		t.Error("that is too little to tell")
	}
}

// TestRecountByEnd holds that of a killed session's calls those count as not yet counted which ended last, also
// where they lie before others, as calls of one millisecond do.
func TestRecountByEnd(t *testing.T) {
	path := newPath(t)
	d := openRaw(t, path)
	f := newCallSource(1).functions[0]
	var calls []*trace.Call
	counted := trace.Tally{Func: f}
	for i, c := range []struct {
		start, duration int64 // ms
		status          trace.Status
	}{{0, 3, trace.StatusOK}, {5, 1, trace.StatusErr}, {0, 1200, trace.StatusOK}} {
		call := &trace.Call{ID: uint64(i + 1), Func: f, StartNS: 1_800_000_000e9 + c.start*1e6, DurationNS: c.duration * 1e6, Status: c.status, SampleRate: 1}
		if calls = append(calls, call); i < 2 {
			counted.Add(call.Status, call.DurationNS)
		}
	}
	_, err := d.commit(batch{calls: calls, stats: []FunctionSecond{{Second: 1_800_000_000, Tally: counted}}}, 0)
	must(t, err)
	n, err := d.recount(1, "test")
	must(t, err)
	if got := shell(t, path, "SELECT ts, calls, errors, recorded, total_ms FROM function_stats ORDER BY ts"); n != 3 || got != "2027-01-15 08:00:00|2|1|2|4.0\n2027-01-15 08:00:01|1|0|1|1200.0" {
		t.Errorf("%d calls:\n%s", n, got)
	}
}

// startWriter starts a process that writes to a database until it is killed, also while that is away, and what it prints.
func startWriter(t *testing.T, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashPath+"="+path, crashAway+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	return cmd, bufio.NewScanner(out)
}

// TestRetainKilled has Retain bring in what a killed session left, errors in a spill file among it, and count
// its calls, beside a session that runs and has calls that its statistics don't have yet: those it leaves alone.
func TestRetainKilled(t *testing.T) {
	path := newPath(t)
	live := open(t, path, Options{})
	writeMany(t, live, 100)
	must(t, live.Flush())
	cmd, lines := startWriter(t, path)
	var release func()
	var safe []uint64
	locked := 0
	for locked < 5 && lines.Scan() {
		var first uint64
		var when, state string
		if n, _ := fmt.Sscan(lines.Text(), &first, &when, &state); n < 3 {
			continue
		}
		if safe = append(safe, first); len(safe) == 5 {
			release = hold(t, path)
		}
		if state != "closed" {
			locked++
		}
	}
	must(t, cmd.Process.Kill())
	if err := cmd.Wait(); err == nil {
		t.Fatal("the writer ended by itself")
	}
	release()
	if got := inspect(t, path); len(got.Spills) != 2 || got.Spills[0].Errors+got.Spills[1].Errors < 50 || got.Sessions[0].Runs || !got.Sessions[1].Runs {
		t.Errorf("killed: %+v", got)
	}

	var said notices
	_, _, removed, err := Retain(t.Context(), path, RetainOptions{Notice: said.take})
	must(t, err)
	if !said.have(" came in that an earlier session had left") || !said.have("the statistics of session 2 have its last ") || removed.Calls != 0 {
		t.Errorf("said: %+v", said.all())
	}
	for _, first := range safe {
		if got := shell(t, path, fmt.Sprintf("SELECT count(*), count(DISTINCT id) FROM process_trace WHERE status = 'ERR' AND id BETWEEN %d AND %d", first, first+9)); got != "10|10" {
			t.Errorf("of errors %d to %d, which were safe, %s are there", first, first+9, got)
		}
	}
	if got := shell(t, path, "SELECT (SELECT count(*) FROM process_trace) - sum(recorded), count(DISTINCT session_id), max(session_id), sum(calls - recorded) FROM function_stats"); got != "100|1|2|0" {
		t.Errorf("calls that are not counted, and sessions whose are: %s", got)
	}
	if got := shell(t, path, "SELECT (SELECT sum(value) FROM json_each((SELECT value FROM meta WHERE key = 'beyond 1'))), count(*) FILTER (WHERE key GLOB 'commit *'), count(*) FROM meta"); got != "100|1|5" {
		t.Errorf("the session that runs is ahead by, numbers, rows of meta: %s: %s", got, shell(t, path, "SELECT * FROM meta"))
	}
	if left := spills(t, path); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	if got := inspect(t, path); len(got.Problems) != 0 || got.Sessions[0].Ended != "" && got.Sessions[0].Runs {
		t.Errorf("then: %+v", got)
	}
	writeMany(t, live, 100)
	must(t, live.Close())
}

// TestRunning holds that a session's tracer is told from another process that has got its pid.
func TestRunning(t *testing.T) {
	now := time.Now()
	ended := exec.Command("true")
	must(t, ended.Run())
	for name, c := range map[string]struct {
		pid   int
		began time.Time
		want  bool
	}{
		"this process":                     {os.Getpid(), now, true},
		"another, before this one started": {os.Getpid(), now.Add(-24 * time.Hour), false},
		"one that has ended":               {ended.Process.Pid, now, false},
	} {
		if got := Running(c.pid, c.began); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
