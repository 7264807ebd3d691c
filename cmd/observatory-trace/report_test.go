package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/observatory-trace/observatory-trace/query"
	"github.com/observatory-trace/observatory-trace/trace"
	"github.com/observatory-trace/observatory-trace/writer"
)

// shop is a database in which main.handle (1) has called main.pay (2), which failed.
type shop struct {
	path  string
	store *writer.Store
	pay   *trace.Function
	now   time.Time
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{path: filepath.Join(t.TempDir(), "shop.db"), now: time.Now().Truncate(time.Second)}
	var err error
	s.store, err = writer.Open(s.path, writer.Options{})
	must(t, err)
	t.Cleanup(func() { _ = s.store.Close() }) // after a failure; else it is closed already
	process := &trace.Process{PID: 77, Exe: "/app/shop"}
	handle := &trace.Function{Name: "main.handle", RawName: "main.handle", Language: trace.LangGo, Module: "/app/shop", File: "/src/shop/main.go", Line: 5}
	s.pay = &trace.Function{Name: "main.pay", RawName: "main.pay", Language: trace.LangGo, Module: "/app/shop", File: "/src/shop/pay.go", Line: 12, Group: "payments"}
	started := time.Date(2026, 7, 9, 1, 2, 3, 0, time.UTC)
	calls := []*trace.Call{
		{
			ID: 2, ParentID: 1, RootID: 1, Depth: 1, Func: s.pay, Process: process, TID: 78, Goroutine: 9, StartNS: started.UnixNano() + 1e6, DurationNS: 2_345_678, SampleRate: 1,
			Args: []byte(`{"order":"o-1","amount":129.95}`), Status: trace.StatusErr,
			Err: &trace.Error{Type: "*main.Declined", Message: "card declined\x1b[31m", Stack: "main.pay /src/shop/pay.go:20\nmain.handle /src/shop/main.go:9"},
		},
		{
			ID: 1, RootID: 1, Func: handle, Process: process, TID: 78, Goroutine: 9, StartNS: started.UnixNano(), DurationNS: 4e6, OverheadNS: 1500, SampleRate: 1,
			Args: []byte(`{"path":"/pay"}`), Result: []byte(`{"code":402,"ok":false}`), Resources: &trace.Resources{CPUNS: 1e6, MinorFaults: 1},
		},
	}
	var acc writer.Accumulator
	for _, c := range calls {
		acc.Recorded(c)
		tally := trace.Tally{Func: c.Func, OverheadNS: c.OverheadNS}
		tally.Add(c.Status, c.DurationNS)
		acc.Tally(&tally)
	}
	acc.Tally(&trace.Tally{Func: s.pay, Calls: 1234, Dropped: 1234})
	must(t, s.store.Write(calls))
	must(t, s.store.Gap(trace.Gap{TimeNS: s.now.UnixNano(), Func: s.pay, Count: 1234, Reason: "ring buffer full", Hint: "raise --ring-buffer"}))
	must(t, s.store.Gap(trace.Gap{TimeNS: s.now.UnixNano(), Reason: "database away: locked", Hint: "for 1s"})) // nothing is missing
	must(t, s.store.Stats(acc.Take(s.now)))
	must(t, s.store.Flush())
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// observatory runs a command line as main does.
func observatory(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, diagnostics bytes.Buffer
	code = run(args, strings.NewReader(""), &out, &diagnostics)
	return code, out.String(), diagnostics.String()
}

// checkOutput runs a command line that is to print exactly so.
func checkOutput(t *testing.T, want string, args ...string) {
	t.Helper()
	code, out, diagnostics := observatory(t, args...)
	if code != 0 || diagnostics != "" {
		t.Errorf("%s: exit %d, %s", strings.Join(args, " "), code, diagnostics)
	}
	if out != want {
		t.Errorf("%s prints\n%s\nwant\n%s", strings.Join(args, " "), out, want)
	}
}

// checkFails runs a command line that is to fail so.
func checkFails(t *testing.T, wantCode int, message string, args ...string) {
	t.Helper()
	code, out, diagnostics := observatory(t, args...)
	if code != wantCode || out != "" || !strings.Contains(diagnostics, message) {
		t.Errorf("%s: exit %d, stdout %q, stderr %q; want exit %d and %q", strings.Join(args, " "), code, out, diagnostics, wantCode, message)
	}
}

func TestReport(t *testing.T) {
	s := newShop(t)
	checkOutput(t, `
PROCESS      GROUP     CALLS  ERRORS  DROPPED    MEAN     P50     P95     P99     MAX     CPU   TOTAL  OVERHEAD
main.handle                1       0        0  4.00ms  4.00ms  4.00ms  4.00ms  4.00ms  1.00ms  4.00ms    1.50µs
main.pay     payments  1,235       1    1,234  2.35ms  2.29ms  2.29ms  2.29ms  2.35ms       –  2.35ms       0ns

2 functions, 1,236 calls, 1 error, 1,234 dropped
missing: 1,234: ring buffer full: raise --ring-buffer
`[1:], "report", "--db", s.path)
	checkOutput(t, `
PROCESS      CALLS  ERRORS    MEAN     P50     P95     P99     MAX     CPU   TOTAL  OVERHEAD
main.handle      1       0  4.00ms  4.00ms  4.00ms  4.00ms  4.00ms  1.00ms  4.00ms    1.50µs

1 function, 1 call, 0 errors
`[1:], "report", "--db", s.path, "--process", "*.h*", "--since", "1h")
	checkOutput(t, "no calls were recorded\n", "report", "--db", s.path, "--process", "none")

	var out bytes.Buffer
	must(t, reportOf(newScreen(&out), s.path, query.Range{Since: s.now}, query.SortTotal, false))
	if !strings.Contains(out.String(), "main.pay") {
		t.Errorf("report of the session: %s", out.String())
	}
	out.Reset()
	must(t, reportOf(newScreen(&out), s.path, query.Range{Since: s.now.Add(time.Hour)}, query.SortTotal, false))
	if out.String() != "no calls were recorded\n" {
		t.Errorf("report of nothing: %s", out.String())
	}
}

// TestWaiting holds that what waits in spill files is told where it is missed, and what brings it in.
func TestWaiting(t *testing.T) {
	s := newShop(t)
	shell := exec.Command("sqlite3", s.path)
	in, err := shell.StdinPipe()
	must(t, err)
	must(t, shell.Start())
	_, err = in.Write([]byte("PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE;\n"))
	must(t, err)
	id, err := s.store.NextIDs(1)
	must(t, err)
	for n := id; s.store.Health().Spill.Records == 0; n++ {
		must(t, s.store.Write([]*trace.Call{{ID: n, RootID: n, Func: s.pay, Process: &trace.Process{PID: 77}, TID: 78, StartNS: s.now.UnixNano(), SampleRate: 1, Status: trace.StatusErr, Err: &trace.Error{Message: "late"}}}))
		time.Sleep(50 * time.Millisecond)
	}
	told := func(text string) {
		t.Helper()
		for _, command := range []string{"report", "errors", "tail"} {
			code, _, stderr := observatory(t, command, "--db", s.path, "-o", "json")
			if code != 0 || text == "" && stderr != "" || strings.Count(stderr, text) != 1 && text != "" {
				t.Errorf("%s: exit %d, stderr %q, want %q", command, code, stderr, text)
			}
		}
	}
	told(fmt.Sprintf(" not yet in the database, and not shown: in %s; process %d, which records into it, brings them in when it can\n", s.store.Health().Spill.Path, os.Getpid()))
	if err := s.store.Close(); err == nil {
		t.Error("it was closed without what waits")
	}
	must(t, in.Close())
	must(t, shell.Wait())
	told("; the next attach or retain with this --db brings them in\n")
	code, _, stderr := observatory(t, "retain", "--db", s.path)
	if code != 0 {
		t.Errorf("retain: exit %d, %s", code, stderr)
	}
	told("")
}

// TestReportUncounted holds what is told of calls that a session's statistics don't have: those that are there, and
// nothing else that contradicts it, until retain counts them.
func TestReportUncounted(t *testing.T) {
	s := newShop(t)
	must(t, s.store.Close())
	ended := exec.Command("true")
	must(t, ended.Run())
	sql := func(statement string, args ...any) {
		t.Helper()
		if out, err := exec.Command("sqlite3", s.path, fmt.Sprintf(statement, args...)).CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%v: %s", err, out)
		}
	}
	// As if it had been killed before its statistics came; five calls of main.pay were deleted to make room.
	sql(`DELETE FROM stat; DELETE FROM gap; UPDATE session SET ended = NULL, tracer_pid = %d;
		INSERT INTO meta SELECT 'beyond 1', json_group_object(id, CASE name WHEN 'main.pay' THEN 6 ELSE 1 END) FROM function`, ended.Process.Pid)
	const told = "of session 1 are recorded and not counted here: it was killed, or could not write the database in the end; the next attach or retain with this --db counts them\n"
	checkOutput(t, "2 calls "+told, "report", "--db", s.path)
	checkOutput(t, "1 call "+told, "report", "--db", s.path, "--process", "main.pay")
	sql("INSERT INTO gap (session_id, ts, count, reason, hint) VALUES (1, datetime(), 5, 'deleted early', '')")
	checkOutput(t, "missing: 5: deleted early\n2 calls "+told, "report", "--db", s.path)
	sql("UPDATE session SET tracer_pid = %d, started = '2020-01-01 00:00:00.000'", os.Getpid())
	checkOutput(t, "missing: 5: deleted early\n2 calls "+told, "report", "--db", s.path) // this is another process
	sql("UPDATE session SET started = strftime('%%Y-%%m-%%d %%H:%%M:%%f')")
	checkOutput(t, "no calls were recorded\n", "report", "--db", s.path) // it counts them within the second
}

// TestReportLeftOut holds that there is no column of calls that were left out where none was, nor where all were, which then
// is said.
func TestReportLeftOut(t *testing.T) {
	s := &shop{path: filepath.Join(t.TempDir(), "shop.db"), now: time.Now().Truncate(time.Second)}
	var err error
	s.store, err = writer.Open(s.path, writer.Options{})
	must(t, err)
	defer func() { must(t, s.store.Close()) }()
	count := func(name string, recorded, left uint64) {
		var acc writer.Accumulator
		acc.Tally(&trace.Tally{Func: &trace.Function{Name: name, RawName: name}, Calls: recorded + left, LeftOut: left})
		must(t, s.store.Stats(acc.Take(s.now)))
		must(t, s.store.Flush())
	}
	count("main.handle", 0, 12)
	count("main.pay", 0, 3)
	checkOutput(t, `
PROCESS      CALLS  ERRORS  MEAN  P50  P95  P99  MAX  TOTAL
main.handle     12       0     –    –    –    –    –    0ns
main.pay         3       0     –    –    –    –    –    0ns

2 functions, 15 calls, 0 errors, none of them recorded
`[1:], "report", "--db", s.path)
	count("main.pay", 1, 0)
	checkOutput(t, `
PROCESS      CALLS  ERRORS  LEFT OUT  MEAN  P50  P95  P99  MAX  TOTAL
main.handle     12       0        12     –    –    –    –    –    0ns
main.pay         4       0         3     –    –    –    –    –    0ns

2 functions, 16 calls, 0 errors, 15 left out
`[1:], "report", "--db", s.path)
}

// TestReportRates holds that top has how often functions are called, with which it fits a terminal.
func TestReportRates(t *testing.T) {
	of := func(name string, calls uint64, coverage float64) query.Summary {
		ms := 12.5
		return query.Summary{Process: name, Calls: calls, Coverage: coverage, MeanMS: &ms, P50MS: &ms, P95MS: &ms, P99MS: &ms, MaxMS: &ms, CPUMS: &ms, TotalMS: 1250, OverheadMS: 12.5}
	}
	summaries := []query.Summary{of("main.(*Service).processOrder", 2_345_678, 1), of("main.query", 123, 1), of("main.validate", 7, 0.25)}
	var out bytes.Buffer
	must(t, reportGrid(screen{w: &out, width: 80}, summaries, 10*time.Second).write(screen{w: &out, width: 80}))
	lines := strings.Split(out.String(), "\n")
	for i, want := range []string{"CALLS/S", "234,568", "12.3", "~2.80"} {
		if fields := strings.Fields(lines[i]); fields[2] != want || utf8.RuneCountInString(lines[i]) > 80 {
			t.Errorf("line %d, which is to have %s:\n%s", i+1, want, out.String())
		}
	}
}

// TestReportJSON holds the names and the order of the fields: programs read them.
func TestReportJSON(t *testing.T) {
	s := newShop(t)
	code, out, _ := observatory(t, "report", "--db", s.path, "-o", "json", "--sort", "calls")
	var compact bytes.Buffer
	must(t, json.Compact(&compact, []byte(out)))
	want := `[{"process":"main.pay","group":"payments","calls":1235,"errors":1,"sampled_out":0,"dropped":1234,"recorded":1,"mean_ms":2.345678,"p50_ms":2.29376,"p95_ms":2.29376,"p99_ms":2.29376,"max_ms":2.345678,"total_ms":2.345678,"cpu_ms":null,"cpu_calls":0,"overhead_ms":0,"coverage":1,"calls_error":0},` +
		`{"process":"main.handle","group":"","calls":1,"errors":0,"sampled_out":0,"dropped":0,"recorded":1,"mean_ms":4,"p50_ms":3.997696,"p95_ms":3.997696,"p99_ms":3.997696,"max_ms":4,"total_ms":4,"cpu_ms":1,"cpu_calls":1,"overhead_ms":0.0015,"coverage":1,"calls_error":0}]`
	if code != 0 || compact.String() != want {
		t.Errorf("exit %d,\n%s\nwant\n%s", code, compact.String(), want)
	}
	checkOutput(t, "[]\n", "report", "--db", s.path, "-o", "json", "--process", "none")
}

func TestReportUsage(t *testing.T) {
	s := newShop(t)
	checkFails(t, 2, "one of total, calls", "report", "--db", s.path, "--sort", "size")
	checkFails(t, 2, "one of table, json", "report", "--db", s.path, "-o", "xml")
	checkFails(t, 2, "takes no argument", "report", "main")
	checkFails(t, 2, "how long ago", "report", "--since", "-5m")
	checkFails(t, 1, "attach -p PID", "report", "--db", filepath.Join(t.TempDir(), "none.db"))
	text := filepath.Join(t.TempDir(), "text")
	must(t, os.WriteFile(text, []byte(strings.Repeat("no database\n", 100)), 0o600))
	for _, args := range [][]string{{"report"}, {"top"}, {"tail"}, {"errors"}, {"show", "1"}, {"query", "SELECT 1"}} {
		checkFails(t, 1, query.ErrForeign.Error(), append(args, "--db", text)...)
	}
}
