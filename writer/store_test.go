package writer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

// TestRoundTrip holds that every field of a call arrives in the column that
// docs/schema.md promises, read by Debian's own shell.
func TestRoundTrip(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Options{Session: Session{
		Version: "1.2.3", Host: "node7", Kernel: "6.18.0", Command: json.RawMessage(`["attach","-p","4242"]`), Settings: json.RawMessage(`{"depth":3}`),
	}})
	start := time.Date(2026, 7, 9, 1, 2, 3, 45_678_901, time.UTC).UnixNano()
	fn := &trace.Function{
		Name: "main.(*Store).Put", RawName: "main.(*Store).Put", Language: trace.LangGo,
		Module: "/app/orders", File: "store.go", Line: 17, Address: 0x401000, Group: "storage",
	}
	p := &trace.Process{PID: 4242, Exe: "/app/orders", Comm: "orders", StartNS: start - 1e9, Container: "c0ffee", Pod: "orders-1", Namespace: "shop"}
	id := ids(t, s, 3)
	write(t, s,
		&trace.Call{
			ID: id + 1, ParentID: id, RootID: id, Depth: 1, Func: fn, Process: p, TID: 4243, Goroutine: 7, Thread: "worker",
			StartNS: start, DurationNS: 1_500_000, OverheadNS: 1_250, Status: trace.StatusErr,
			Err:        &trace.Error{Type: "*fs.PathError", Message: "open x: no\nsuch file", Stack: "main.put store.go:18\nmain.main main.go:3"},
			Args:       []byte(`{"key":"k","n":9007199254740993}`),
			Result:     []byte(`["ü",null]`),
			Flags:      trace.FlagTruncated | trace.FlagRedacted,
			SampleRate: 0.25,
			Resources:  &trace.Resources{CPUNS: 800_000, MinorFaults: 1, MajorFaults: 2, RSSDeltaKB: -3, Switches: 4},
		},
		&trace.Call{ID: id, RootID: id, Func: fn, Process: p, TID: 4242, StartNS: start + 1, DurationNS: 2, Status: trace.StatusOpen, SampleRate: 1},
		&trace.Call{ID: id + 2, Func: fn, StartNS: start + 2, DurationNS: 3, SampleRate: 1}, // no process, no root
	)
	must(t, s.Attached(12, 3))
	must(t, s.Gap(trace.Gap{TimeNS: start, Func: fn, PID: 4242, Count: 5, Reason: "ring buffer full", Hint: "raise --ring-buffer"}))
	must(t, s.Gap(trace.Gap{TimeNS: start, Count: 1, Reason: "pairing lost"}))
	must(t, s.Close())

	rows := shellJSON(t, path, "SELECT * FROM process_trace ORDER BY id")
	if len(rows) != 3 {
		t.Fatalf("%d rows, want 3", len(rows))
	}
	traceID, span := rows[1]["trace_id"], rows[1]["span_id"]
	expect(t, "the call", rows[1], map[string]any{
		"id": num(id + 1), "ts": "2026-07-09 01:02:03.045", "ts_ns": json.Number("1783558923045678901"), "process": "main.(*Store).Put",
		"process_group": "storage", "duration_ms": num("1.5"), "overhead_ms": num("0.00125"), "status": "ERR",
		"error": "open x: no\nsuch file", "error_type": "*fs.PathError", "pid": num(4242), "tid": num(4243), "goroutine": num(7),
		"thread": "worker", "exe": "/app/orders", "parent_id": num(id), "depth": num(1), "cpu_ms": num("0.8"),
		"minor_faults": num(1), "major_faults": num(2), "rss_delta_kb": num(-3), "switches": num(4), "sample_rate": num("0.25"),
		"container": "c0ffee", "pod": "orders-1", "namespace": "shop", "trace_id": traceID, "span_id": span,
	})
	if root := rows[0]["span_id"]; traceID != rows[0]["trace_id"] || root == span || len(traceID.(string)) != 32 ||
		len(span.(string)) != 16 || !strings.HasSuffix(traceID.(string), root.(string)) {
		t.Errorf("trace ids %v and %v, spans %v and %v", rows[0]["trace_id"], traceID, root, span)
	}
	for name, value := range map[string]any{
		"parent_id": nil, "goroutine": nil, "thread": nil, "error": nil, "error_type": nil, "cpu_ms": nil,
		"minor_faults": nil, "rss_delta_kb": nil, "status": "OPEN", "sample_rate": num("1.0"),
	} {
		if rows[0][name] != value {
			t.Errorf("open call's %s is %#v, want %#v", name, rows[0][name], value)
		}
	}
	for _, name := range []string{"pid", "tid", "exe", "container", "pod", "namespace", "trace_id", "span_id"} {
		if rows[2][name] != nil {
			t.Errorf("%s of a call without a process is %#v", name, rows[2][name])
		}
	}

	data := shellJSON(t, path, "SELECT * FROM data_trace ORDER BY id")
	expect(t, "its data", data[1], map[string]any{
		"id": num(id + 1), "ts": "2026-07-09 01:02:03.045", "process": "main.(*Store).Put", "args": `{"key":"k","n":9007199254740993}`,
		"result": `["ü",null]`, "stack": "main.put store.go:18\nmain.main main.go:3", "flags": "truncated,redacted",
	})
	expect(t, "data of a call without any", data[0], map[string]any{
		"id": num(id), "ts": "2026-07-09 01:02:03.045", "process": "main.(*Store).Put", "args": nil, "result": nil, "stack": nil, "flags": nil,
	})
	if got := shell(t, path, "SELECT json_extract(args, '$.key'), typeof(args), typeof(result) FROM data_trace WHERE args NOT NULL"); got != "k|text|text" {
		t.Errorf("args read as JSON: %q", got)
	}

	gaps := shellJSON(t, path, "SELECT * FROM gaps")
	expect(t, "gap", gaps[0], map[string]any{
		"ts": "2026-07-09 01:02:03.045", "process": "main.(*Store).Put", "pid": num(4242),
		"count": num(5), "reason": "ring buffer full", "hint": "raise --ring-buffer", "session_id": num(1),
	})
	expect(t, "unknown gap", gaps[1], map[string]any{
		"ts": "2026-07-09 01:02:03.045", "process": nil, "pid": nil,
		"count": num(1), "reason": "pairing lost", "hint": nil, "session_id": num(1),
	})

	session := shellJSON(t, path, "SELECT * FROM sessions")[0]
	if session["ended"].(string) < session["started"].(string) {
		t.Errorf("session from %v to %v", session["started"], session["ended"])
	}
	expect(t, "session", session, map[string]any{
		"id": num(1), "started": session["started"], "ended": session["ended"], "version": "1.2.3",
		"host": "node7", "kernel": "6.18.0", "tracer_pid": num(os.Getpid()), "command": `["attach","-p","4242"]`, "settings": `{"depth":3}`,
		"functions": num(12), "processes": num(3),
	})
}

// TestUnknownResources holds that of what a call used only what is known is stored.
func TestUnknownResources(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Options{})
	all := trace.Resources{CPUNS: 5e6, MinorFaults: 1, MajorFaults: 2, Switches: 3, RSSDeltaKB: 4}
	var acc Accumulator
	for i, unknown := range []trace.Resources{{}, {NoCPU: true}, {NoCPU: true, NoCounts: true}, {NoRSS: true}} {
		used := all
		used.NoCPU, used.NoCounts, used.NoRSS = unknown.NoCPU, unknown.NoCounts, unknown.NoRSS
		// Each of a function of its own: the statistics tell them apart.
		c := &trace.Call{ID: ids(t, s, 1), Func: &trace.Function{Name: string(rune('a' + i))}, Resources: &used, SampleRate: 1}
		acc.Recorded(c)
		write(t, s, c)
	}
	must(t, s.Stats(acc.Take(time.Unix(1_800_000_000, 0))))
	must(t, s.Close())
	got := shell(t, path, `SELECT process, p.cpu_ms, minor_faults, major_faults, switches, rss_delta_kb, s.cpu_ms
		FROM process_trace p JOIN function_stats s USING (process) ORDER BY 1`)
	want := "a|5.0|1|2|3|4|5.0\nb||1|2|3|4|\nc|||||4|\nd|5.0|1|2|3||5.0"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestColumnOrder holds the views' columns in their order: `SELECT *` is an interface.
func TestColumnOrder(t *testing.T) {
	path := newPath(t)
	must(t, open(t, path, Options{}).Close())
	for view, want := range map[string]string{
		"process_trace": "id ts ts_ns process process_group duration_ms overhead_ms status error error_type pid tid goroutine thread exe " +
			"parent_id depth cpu_ms minor_faults major_faults rss_delta_kb switches sample_rate container pod namespace trace_id span_id",
		"data_trace":     "id ts process args result stack flags",
		"function_stats": "ts process process_group calls errors sampled_out dropped recorded timed total_ms mean_ms p50_ms p95_ms p99_ms max_ms cpu_ms overhead_ms histogram function_id session_id cpu_calls coverage calls_error seconds",
		"gaps":           "ts process pid count reason hint session_id",
		"sessions":       "id started ended version host kernel tracer_pid command settings functions processes",
	} {
		got := shell(t, path, "SELECT group_concat(name, ' ') FROM pragma_table_info('"+view+"')")
		if got != want {
			t.Errorf("%s has\n%s\nwant\n%s", view, got, want)
		}
	}
}

// The statements that people are told to use.
const (
	slowestQuery = `SELECT process, AVG(duration_ms) AS avg_ms, COUNT(*) AS calls FROM process_trace WHERE ts > datetime('now','-1 hour') GROUP BY process ORDER BY avg_ms DESC`
	errorsQuery  = `SELECT * FROM process_trace WHERE status='ERR' ORDER BY ts DESC LIMIT 10`
)

// TestQueryPlans holds that what people ask for most is found by an index, in
// this driver's SQLite and in Debian's: joins that the planner turns round made
// the latest calls take seconds.
func TestQueryPlans(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Options{})
	writeMany(t, s, 5000)
	must(t, s.Close())
	plans := map[string]func(string) string{
		"shell":  func(q string) string { return shell(t, path, "EXPLAIN QUERY PLAN "+q) },
		"driver": func(q string) string { return driverPlan(t, path, q) },
	}
	for _, c := range []struct{ query, uses, avoids string }{
		{errorsQuery, "INDEX moment_error", "TEMP B-TREE"},
		{slowestQuery, "SEARCH m USING COVERING INDEX moment_time (ts>?)", "SUBQUERY"},
		{"SELECT * FROM process_trace ORDER BY ts DESC LIMIT 100", "USING INDEX moment_time", "TEMP B-TREE"},
		{"SELECT * FROM process_trace WHERE process = 'main.function7' ORDER BY ts DESC LIMIT 100", "SCAN m USING INDEX moment_time", "TEMP B-TREE"},
		{"SELECT * FROM process_trace WHERE id = 77", "USING INDEX call_id (id=?)", "SCAN"},
		{"SELECT * FROM process_trace ORDER BY id DESC LIMIT 10", "USING INDEX call_id", "TEMP B-TREE"},
		{"SELECT * FROM process_trace WHERE id BETWEEN 77 AND 99", "USING INDEX call_id (id>? AND id<?)", "SCAN"},
		{"SELECT * FROM process_trace WHERE parent_id = 77 AND id BETWEEN 78 AND 8269", "USING INDEX call_id (id>? AND id<?)", "SCAN"},
		{"SELECT count(*) FROM process_trace", "COVERING INDEX", "SUBQUERY"},
		{"SELECT p.process, d.args FROM process_trace p JOIN data_trace d USING (id) WHERE p.status = 'ERR' ORDER BY p.ts DESC LIMIT 10", "INDEX moment_error", "TEMP B-TREE"},
		{"SELECT p.process, d.args FROM process_trace p JOIN data_trace d USING (id) WHERE p.id = 77", "USING INDEX call_id (id=?)", "SCAN"},
		{"SELECT c.process, p.process FROM process_trace c JOIN process_trace p ON p.id = c.parent_id WHERE c.status = 'ERR'", "USING INDEX call_id (id=?)", "SCAN c"},
		{"SELECT sum(calls) FROM function_stats WHERE ts > datetime('now','-1 hour')", "SEARCH x USING PRIMARY KEY (ts>?)", "SCAN x"},
		{"SELECT * FROM gaps ORDER BY ts DESC LIMIT 10", "USING INDEX gap_time", "TEMP B-TREE"},
		{"SELECT * FROM data_trace ORDER BY ts DESC LIMIT 10", "USING INDEX moment_time", "TEMP B-TREE"},
	} {
		for engine, plan := range plans {
			if got := plan(c.query); !strings.Contains(got, c.uses) || strings.Contains(got, c.avoids) {
				t.Errorf("%s: plan of %s should have %q and not %q:\n%s", engine, c.query, c.uses, c.avoids, got)
			}
		}
	}
}

// TestUserQueries runs them on calls around the hour that they ask for.
func TestUserQueries(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Options{})
	source := newCallSource(2)
	now := time.Now()
	for i, c := range []struct {
		ago    time.Duration
		ms     int64
		status trace.Status
	}{
		{61 * time.Minute, 1000, trace.StatusErr},
		{59 * time.Minute, 20, trace.StatusOK},
		{time.Minute, 40, trace.StatusErr},
		{2 * time.Minute, 10, trace.StatusErr},
		{0, 1, trace.StatusOK},
	} {
		call := source.next(ids(t, s, 1))
		call.Func = source.functions[i/4]
		call.StartNS, call.DurationNS, call.Status = now.Add(-c.ago).UnixNano(), c.ms*1e6, c.status
		if c.status == trace.StatusErr {
			call.Err = &trace.Error{Type: "E", Message: fmt.Sprint("failed after ", c.ms)}
		}
		write(t, s, call)
	}
	must(t, s.Close())
	if got, want := shell(t, path, slowestQuery), "main.function0|23.3333333333333|3\nmain.function1|1.0|1"; got != want {
		t.Errorf("slowest: %q, want %q", got, want)
	}
	var order []any
	for _, row := range shellJSON(t, path, errorsQuery) {
		order = append(order, row["error"])
	}
	if want := []any{"failed after 40", "failed after 10", "failed after 1000"}; !slices.Equal(order, want) {
		t.Errorf("latest errors %v, want %v", order, want)
	}
}

// TestClock holds the form of times, in which text compares as time does.
func TestClock(t *testing.T) {
	var c clock
	for ns, want := range map[int64]string{
		0: "1970-01-01 00:00:00.000", 999_999: "1970-01-01 00:00:00.000", 1e9 - 1: "1970-01-01 00:00:00.999",
		1_772_323_199_999_999_999: "2026-02-28 23:59:59.999", 1_772_323_200_000_000_000: "2026-03-01 00:00:00.000",
	} {
		if got := c.text(ns); got != want {
			t.Errorf("%d ns is %q, want %q", ns, got, want)
		}
	}
	times := []int64{5e9, 5e9 + 1e6, 6e9, 5e9 + 999e6, 5e9}
	for _, ns := range times {
		if got, want := c.text(ns), time.Unix(0, ns).UTC().Format("2006-01-02 15:04:05.000"); got != want {
			t.Errorf("%d ns is %q, want %q", ns, got, want)
		}
	}
}

// TestReadersWhileWriting reads from this process and from Debian's shell, all
// the while: nobody is locked out, and a call's rows are all there or none.
func TestReadersWhileWriting(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Options{BatchCalls: 500})
	writeMany(t, s, 100)
	must(t, s.Flush())
	d := &database{path: path}
	must(t, d.connect())
	must(t, d.exec("PRAGMA busy_timeout = 0; PRAGMA query_only = ON"))
	stop := make(chan struct{})
	var readers sync.WaitGroup
	read := func(query func() (string, error)) {
		readers.Go(func() {
			for reads := 0; ; reads++ {
				select {
				case <-stop:
					if reads == 0 {
						t.Error("a reader never came to read")
					}
					return
				default:
				}
				if got, err := query(); err != nil || got != "ok" {
					t.Errorf("reader: %q, %v", got, err)
					return
				}
			}
		})
	}
	read(func() (string, error) {
		return tryShell(path, "SELECT CASE WHEN (SELECT count(*) FROM call) = (SELECT sum(calls) FROM moment) THEN 'ok' ELSE 'torn' END")
	})
	read(func() (string, error) {
		row, err := d.query(t.Context(), "SELECT CASE WHEN count(*) = count(args) THEN 'ok' ELSE 'torn' END FROM (SELECT args FROM data_trace ORDER BY ts DESC LIMIT 1000)")
		if err != nil {
			return "", err
		}
		return row[0].(string), nil
	})
	for range 60 {
		writeMany(t, s, 1000)
	}
	must(t, s.Flush())
	close(stop)
	readers.Wait()
	must(t, d.close())
	must(t, s.Close())
	if got := shell(t, path, "SELECT count(*), count(DISTINCT id) FROM process_trace; PRAGMA integrity_check"); got != "60100|60100\nok" {
		t.Errorf("calls, ids and soundness: %q", got)
	}
}

// TestTwoSessions lets two stores write to one file at once.
func TestTwoSessions(t *testing.T) {
	path := newPath(t)
	var stores [2]*Store
	var opening sync.WaitGroup
	for i := range stores { // opened at once, as the migration is a race of its own
		opening.Go(func() {
			var err error
			if stores[i], err = Open(path, Options{BatchCalls: 300}); err != nil {
				t.Error(err)
			}
		})
	}
	opening.Wait()
	if t.Failed() {
		return
	}
	var writing sync.WaitGroup
	for i, s := range stores {
		writing.Go(func() {
			source, acc := newCallSource(5), Accumulator{}
			for range 20 {
				first, err := s.NextIDs(250)
				if err != nil {
					t.Error(err)
					return
				}
				var calls []*trace.Call
				for j := range 250 {
					c := source.next(first + uint64(j))
					acc.Recorded(c)
					acc.Tally(&trace.Tally{Func: c.Func, Calls: 1})
					calls = append(calls, c)
				}
				if err := errors.Join(s.Write(calls), s.Stats(acc.Take(time.Unix(1000, 0)))); err != nil {
					t.Errorf("store %d: %v", i, err)
					return
				}
			}
		})
	}
	writing.Wait()
	for _, s := range stores {
		must(t, s.Close())
	}
	if got := shell(t, path, "SELECT count(*), count(DISTINCT id), count(DISTINCT span_id), count(DISTINCT trace_id) FROM process_trace"); got != "10000|10000|10000|2500" {
		t.Errorf("calls, ids, spans, traces: %s", got)
	}
	if got := shell(t, path, "SELECT session_id, sum(calls), count(*) FROM function_stats GROUP BY 1"); got != "1|5000|5\n2|5000|5" {
		t.Errorf("statistics: %s", got)
	}
	if got := shell(t, path, "SELECT (SELECT count(*) FROM function), (SELECT count(*) FROM sessions WHERE ended NOT NULL)"); got != "5|2" {
		t.Errorf("functions and ended sessions: %s", got)
	}
}

// TestIDs holds that ids never come twice: not to goroutines, not after a restart.
func TestIDs(t *testing.T) {
	path := newPath(t)
	seen := make(map[uint64]bool)
	last := uint64(0)
	for range 3 {
		s := open(t, path, Options{})
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				before := uint64(0)
				for _, n := range []int{1, 4096, idWindow + 5, 7} {
					first, err := s.NextIDs(n)
					if err != nil || first <= before {
						t.Errorf("%d ids from %d after %d: %v", n, first, before, err)
						return
					}
					before = first + uint64(n) - 1
					mu.Lock()
					if seen[first] || seen[before] || first <= last {
						t.Errorf("ids %d to %d come again", first, before)
					}
					seen[first], seen[before] = true, true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for id := range seen {
			last = max(last, id)
		}
		must(t, s.Close())
		if _, err := s.NextIDs(math.MaxInt32); !errors.Is(err, ErrClosed) {
			t.Errorf("ids of a closed store: %v", err)
		}
	}
	s := open(t, path, Options{})
	if first := ids(t, s, 1); first != last+1 {
		t.Errorf("ids go on at %d after %d: those never handed out are given back", first, last)
	}
	if _, err := s.NextIDs(0); err == nil {
		t.Error("no error for no ids")
	}
}

// TestStats holds that statistics are exact, and that parts of a second add up.
func TestStats(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Options{})
	source := newCallSource(2)
	fn, quiet := source.functions[0], source.functions[1]
	var acc Accumulator
	second := time.Unix(1_800_000_000, 5)
	for part := range 2 {
		for i := 1 + part*500; i <= 500+part*500; i++ {
			c := &trace.Call{Func: fn, DurationNS: int64(i) * 1000, OverheadNS: 10, Resources: &trace.Resources{CPUNS: 7}}
			tally := trace.Tally{Func: fn}
			if i%100 == 0 {
				tally.Add(trace.StatusErr, c.DurationNS)
				acc.LeftOut(c)
			} else {
				tally.Add(trace.StatusOK, c.DurationNS)
				acc.Recorded(c)
			}
			acc.Tally(&tally)
		}
		open := trace.Tally{Func: fn, LeftOut: 40, Dropped: 3, Calls: 43, OverheadNS: 5000}
		for range 2 {
			open.Add(trace.StatusOpen, 1e15)
			acc.Recorded(&trace.Call{Func: fn})
		}
		acc.Tally(&open)
		acc.Tally(&trace.Tally{Func: quiet, Calls: 9, Dropped: 9})
		must(t, s.Stats(acc.Take(second)))
		must(t, s.Flush())
	}
	if left := acc.Take(second); len(left) != 0 {
		t.Errorf("%d functions were counted twice", len(left))
	}
	must(t, s.Close())
	rows := shellJSON(t, path, "SELECT * FROM function_stats ORDER BY process")
	for _, name := range []string{"mean_ms", "p50_ms", "p95_ms", "p99_ms"} {
		want := map[string]float64{"mean_ms": 0.5005, "p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}[name]
		got, err := rows[0][name].(json.Number).Float64()
		if err != nil || math.Abs(got-want) > 0.05*want {
			t.Errorf("%s is %v, want about %v", name, got, want)
		}
		delete(rows[0], name)
	}
	var h trace.Histogram
	must(t, h.UnmarshalBinary(unhex(t, shell(t, path, "SELECT hex(histogram) FROM function_stats WHERE calls > 50"))))
	if h.Count() != 1000 {
		t.Errorf("histogram has %d calls", h.Count())
	}
	delete(rows[0], "histogram")
	delete(rows[0], "function_id") // the order of a map gave it
	expect(t, "statistics", rows[0], map[string]any{
		"ts": "2027-01-15 08:00:00", "process": "main.function0", "process_group": nil,
		"calls": num(1090), "errors": num(10), "sampled_out": num(90), "dropped": num(6), "recorded": num(994), "timed": num(1000),
		"total_ms": num("500.5"), "max_ms": num("1.0"), "cpu_ms": num("0.007"), "overhead_ms": num("0.01"), "session_id": num(1),
		"cpu_calls": num(1000), "coverage": num("1.0"), "calls_error": num("0.0"), "seconds": num(1),
	})
	for name, want := range map[string]any{"calls": num(18), "dropped": num(18), "timed": num(0), "mean_ms": nil, "p99_ms": nil, "max_ms": nil, "cpu_ms": nil} {
		if rows[1][name] != want {
			t.Errorf("%s of a function all of whose calls were lost is %v, want %v", name, rows[1][name], want)
		}
	}
}

// TestCoverage holds that parts of a second add up to the calls that they stand for.
func TestCoverage(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Options{})
	source := newCallSource(2)
	for second, parts := range [][]FunctionSecond{
		{{Tally: trace.Tally{Calls: 10}, Coverage: 0.1}, {Tally: trace.Tally{Calls: 100}, CPUCalls: 3, CPUNS: 1e6}}, // 200 calls
		{{Coverage: 0.5}, {}},
		{{Tally: trace.Tally{Calls: 10}, Coverage: 0.25, CPUCalls: 1}},
	} {
		for _, p := range parts {
			p.Func, p.Second = source.functions[0], int64(second)
			must(t, s.Stats([]FunctionSecond{p}))
			must(t, s.Flush())
		}
	}
	must(t, s.Close())
	if got := shell(t, path, "SELECT calls, coverage, cpu_calls, cpu_ms FROM function_stats ORDER BY ts"); got != "110|0.55|3|1.0\n0|0.5|0|\n10|0.25|1|0.0" {
		t.Errorf("calls and coverage:\n%s", got)
	}
}

// TestExtend holds that calls of the time after a function was last looked at are told of the second in which some
// were counted the last time.
func TestExtend(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Options{})
	source := newCallSource(2)
	fn := source.functions[0]
	var acc Accumulator
	if _, ok := acc.Extend(fn, 5, 0.5); ok {
		t.Error("a function is extended that was never called")
	}
	for second := range int64(2) {
		acc.Tally(&trace.Tally{Func: fn, Calls: 100, Dropped: 100})
		acc.Cover(func(*trace.Function) (share, off float64) { return 0.5, 0.1 })
		must(t, s.Stats(acc.TakeSettled(time.Unix(second+1, 0))))
		must(t, s.Flush())
	}
	must(t, s.Stats(acc.Take(time.Unix(9, 0))))
	more, ok := acc.Extend(fn, 200, 1)
	if !ok {
		t.Error("it is not extended")
	}
	must(t, s.Stats([]FunctionSecond{more}))
	must(t, s.Close())
	if got := shell(t, path, "SELECT ts, calls, calls / coverage, calls_error FROM function_stats ORDER BY ts"); got != "1970-01-01 00:00:01|100|200.0|20.0\n1970-01-01 00:00:02|100|400.0|220.0" {
		t.Errorf("calls:\n%s", got)
	}
}

// TestThreadsAndGroups holds that names are told apart by all that makes them, and stored once.
func TestThreadsAndGroups(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Options{})
	p := &trace.Process{PID: 1, Exe: "/bin/x"}
	same := &trace.Process{PID: 1, Exe: "/bin/x"}
	other := &trace.Process{PID: 1, Exe: "/bin/x", StartNS: 5e9}
	a := &trace.Function{Name: "f", RawName: "f", Module: "/bin/x", Address: 1}
	again := &trace.Function{Name: "f", RawName: "f", Module: "/bin/x", Address: 1, Line: 9}
	grouped := &trace.Function{Name: "f", RawName: "f", Module: "/bin/x", Address: 1, Group: "g"}
	for i, c := range []*trace.Call{
		{Func: a, Process: p, TID: 1},
		{Func: again, Process: same, TID: 1},
		{Func: a, Process: other, TID: 1},
		{Func: grouped, Process: p, TID: 1, Thread: "renamed"},
		{Func: a, Process: p, TID: 1},
	} {
		c.ID, c.SampleRate = uint64(i+1), 1
		write(t, s, c)
	}
	must(t, s.Close())
	if got := shell(t, path, "SELECT (SELECT count(*) FROM function), (SELECT max(line) FROM function), (SELECT count(*) FROM target), (SELECT count(*) FROM thread)"); got != "2|9|2|3" {
		t.Errorf("functions, line, targets, threads: %s", got)
	}
}

// TestRefused holds what Write doesn't take, and that Close may come twice.
func TestRefused(t *testing.T) {
	s := open(t, newPath(t), Options{})
	if err := s.Write([]*trace.Call{{ID: 1}}); err == nil {
		t.Error("a call without a function was taken")
	}
	if err := s.Write([]*trace.Call{nil}); err == nil {
		t.Error("nil was taken for a call")
	}
	if err := s.Stats([]FunctionSecond{{}}); err == nil {
		t.Error("statistics without a function were taken")
	}
	must(t, s.Close())
	must(t, s.Close())
	if err := s.Write(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("writing after the end: %v", err)
	}
	if err := s.Gap(trace.Gap{}); !errors.Is(err, ErrClosed) {
		t.Errorf("a gap after the end: %v", err)
	}
	if got := s.Counters(); got.Calls != 0 || got.Dropped != 0 {
		t.Errorf("counters %+v of nothing", got)
	}
}

// TestNewFile holds where the file is made and who may read it.
func TestNewFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs", "deep", "trace #1?.db") // characters that mean something in a URI
	must(t, open(t, path, Options{}).Close())
	st, err := os.Stat(path)
	must(t, err)
	if st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: arguments are other people's data", st.Mode())
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("%d files are left, want the database alone", len(entries))
	}
	if got := shell(t, path, "PRAGMA journal_mode; PRAGMA page_size; PRAGMA user_version; PRAGMA application_id"); got != fmt.Sprintf("wal\n8192\n%d\n1868723062", SchemaVersion) {
		t.Errorf("file settings %q", got)
	}
}

// Helpers.

func newPath(tb testing.TB) string {
	tb.Helper()
	return filepath.Join(tb.TempDir(), "observatory.db")
}

func open(tb testing.TB, path string, options Options) *Store {
	tb.Helper()
	s, err := Open(path, options)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() }) // after a failure; else it is closed already
	return s
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func ids(tb testing.TB, s *Store, n int) uint64 {
	tb.Helper()
	first, err := s.NextIDs(n)
	must(tb, err)
	return first
}

func write(tb testing.TB, s *Store, calls ...*trace.Call) {
	tb.Helper()
	must(tb, s.Write(calls))
}

func writeMany(tb testing.TB, s *Store, n int) {
	tb.Helper()
	source := newCallSource(97)
	source.now = time.Now().UnixNano()
	first := ids(tb, s, n)
	calls := make([]*trace.Call, n)
	for i := range calls {
		calls[i] = source.next(first + uint64(i))
	}
	write(tb, s, calls...)
}

// shell runs SQL in Debian's sqlite3, which is older than the driver's SQLite.
func shell(tb testing.TB, path, sql string) string {
	tb.Helper()
	out, err := tryShell(path, sql)
	must(tb, err)
	return out
}

func tryShell(path, sql string) (string, error) {
	cmd := exec.Command("sqlite3", path, sql)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("sqlite3 (Debian's package is needed): %w: %s", err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}

// shellJSON gives rows with numbers as the shell wrote them.
func shellJSON(tb testing.TB, path, sql string) []map[string]any {
	tb.Helper()
	out, err := exec.Command("sqlite3", "-json", path, sql).Output()
	must(tb, err)
	var rows []map[string]any
	dec := json.NewDecoder(bytes.NewReader(out))
	dec.UseNumber()
	must(tb, dec.Decode(&rows))
	return rows
}

func num(n any) json.Number { return json.Number(fmt.Sprint(n)) }

func expect(tb testing.TB, what string, got, want map[string]any) {
	tb.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !same(got[name], want[name]) {
			tb.Errorf("%s: %s is %#v, want %#v", what, name, got[name], want[name])
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			tb.Errorf("%s: unexpected column %s", what, name)
		}
	}
}

// same compares values; numbers with a fraction may differ in their last digits,
// which Debian's shell writes in full.
func same(got, want any) bool {
	a, isNumber := got.(json.Number)
	b, wantNumber := want.(json.Number)
	if !isNumber || !wantNumber || !strings.Contains(string(b), ".") {
		return got == want
	}
	x, err1 := a.Float64()
	y, err2 := b.Float64()
	return err1 == nil && err2 == nil && math.Abs(x-y) <= 1e-9*math.Abs(y)
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	var b []byte
	_, err := fmt.Sscanf(s, "%X", &b)
	must(tb, err)
	return b
}

// driverPlan asks the driver's SQLite how it would run a query.
func driverPlan(tb testing.TB, path, query string) string {
	tb.Helper()
	d := &database{path: path}
	must(tb, d.connect())
	defer d.abandon()
	rows, err := d.conn.Query("EXPLAIN QUERY PLAN "+query, nil)
	must(tb, err)
	defer rows.Close()
	return planText(tb, rows)
}

func fileSize(tb testing.TB, path string) int64 {
	tb.Helper()
	st, err := os.Stat(path)
	must(tb, err)
	return st.Size()
}

// TestTakeSettled holds that calls are of the second in which they are counted, whether they come through before
// or after: so that none has more recorded calls than calls, and none is counted twice or not at all.
func TestTakeSettled(t *testing.T) {
	f, g := &trace.Function{Name: "f"}, &trace.Function{Name: "g"}
	var acc Accumulator
	type key struct {
		fn     *trace.Function
		second int64
	}
	seconds := map[key]*FunctionSecond{}
	take := func(taken []FunctionSecond) {
		t.Helper()
		for i := range taken {
			s := &taken[i]
			k := key{s.Func, s.Second}
			if sum := seconds[k]; sum == nil {
				seconds[k] = s
			} else {
				sum.merge(s)
			}
		}
		for k, s := range seconds {
			if s.Recorded+s.LeftOut+s.Dropped > s.Calls || s.Errors > s.Calls {
				t.Errorf("second %d: of %d calls of %s %d are recorded, %d left out, %d errors", k.second, s.Calls, k.fn.Name, s.Recorded, s.LeftOut, s.Errors)
			}
		}
	}
	check := func(fn *trace.Function, second int64, calls, recorded, leftOut, dropped, errors uint64) {
		t.Helper()
		s := seconds[key{fn, second}]
		if s == nil || s.Calls != calls || s.Recorded != recorded || s.LeftOut != leftOut || s.Dropped != dropped || s.Errors != errors {
			t.Errorf("second %d of %s: %+v", second, fn.Name, s)
		}
	}
	at := func(second int64) time.Time { return time.Unix(second, 0) }
	call := &trace.Call{Func: f, Resources: &trace.Resources{CPUNS: 10}}
	for range 5 {
		acc.Recorded(call)
	}
	acc.Tally(&trace.Tally{Func: f, Calls: 3, Errors: 4})
	acc.LeftOut(&trace.Call{Func: g})
	take(acc.TakeSettled(at(1))) // two of f and one of g are early
	take(acc.TakeSettled(at(2)))
	acc.Tally(&trace.Tally{Func: f, Calls: 9, Dropped: 1, LeftOut: 2})
	acc.Tally(&trace.Tally{Func: g, Calls: 2})
	acc.Recorded(&trace.Call{Func: g})
	take(acc.TakeSettled(at(3)))
	acc.Tally(&trace.Tally{Func: f, Calls: 1})
	acc.Recorded(call)
	acc.Recorded(call) // late, like the one before
	take(acc.TakeSettled(at(4)))
	for range 3 { // two late ones more, though nothing is called any more
		acc.Recorded(call)
	}
	take(acc.TakeSettled(at(5)))
	acc.Recorded(call) // whose count is never read
	if left := acc.Take(at(6)); len(left) != 1 || left[0].Recorded != 1 {
		t.Errorf("in the end there is %+v", left)
	}
	check(f, 1, 3, 3, 0, 0, 3)
	check(f, 3, 9, 6, 2, 1, 1)
	check(f, 4, 1, 1, 0, 0, 0)
	check(g, 3, 2, 1, 1, 0, 0)
	if seconds[key{f, 5}] != nil || seconds[key{f, 2}] != nil {
		t.Error("a second without calls has some")
	}
	if s := seconds[key{f, 1}]; s.CPUCalls != 5 {
		t.Errorf("time is known of %d calls", s.CPUCalls)
	}
}
