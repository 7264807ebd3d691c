package query_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/query"
	"github.com/observatory-trace/observatory-trace/trace"
	"github.com/observatory-trace/observatory-trace/writer"
)

// began is when the fixture's first call began.
var began = time.Date(2026, 7, 9, 1, 2, 3, 0, time.UTC)

// fixture is a database with calls of a small shop: main.handle (1) calls
// main.validate (2), which calls main.lookup (3), and main.pay (4), which fails;
// then main.handle (5), still open when tracing ended, calls main.validate (6).
type fixture struct {
	path  string
	store *writer.Store
	funcs map[string]*trace.Function
	acc   writer.Accumulator
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{path: filepath.Join(t.TempDir(), "shop.db"), funcs: map[string]*trace.Function{}}
	var err error
	f.store, err = writer.Open(f.path, writer.Options{})
	must(t, err)
	t.Cleanup(func() { _ = f.store.Close() }) // after a failure; else it is closed already
	first, err := f.store.NextIDs(6)
	must(t, err)
	if first != 1 {
		t.Fatalf("ids begin at %d", first)
	}
	// In the order in which they end, as a tracer hands them over.
	f.call(t, 3, 2, 1, 2, "main.lookup", 3*time.Millisecond, 1*time.Millisecond, nil)
	f.call(t, 2, 1, 1, 1, "main.validate", 2*time.Millisecond, 4*time.Millisecond, nil)
	f.call(t, 4, 1, 1, 1, "main.pay", 7*time.Millisecond, 2*time.Millisecond,
		&trace.Error{Type: "*main.Declined", Message: "card declined", Stack: "main.pay pay.go:20\nmain.handle main.go:9"})
	f.call(t, 1, 0, 1, 0, "main.handle", 1*time.Millisecond, 9*time.Millisecond, nil)
	f.call(t, 6, 5, 5, 1, "main.validate", 21*time.Millisecond, 2*time.Millisecond, nil)
	f.call(t, 5, 0, 5, 0, "main.handle", 20*time.Millisecond, 5*time.Millisecond, nil)
	must(t, f.store.Flush())
	return f
}

func (f *fixture) function(name string) *trace.Function {
	fn := f.funcs[name]
	if fn == nil {
		fn = &trace.Function{Name: name, RawName: name, Language: trace.LangGo, Module: "/app/shop", File: "main.go", Line: 5, Address: uint64(0x401000 + 64*len(f.funcs))}
		if name == "main.pay" {
			fn.Group = "payments"
		}
		f.funcs[name] = fn
	}
	return fn
}

var shop = &trace.Process{PID: 77, Exe: "/app/shop", Comm: "shop"}

func (f *fixture) call(t *testing.T, id, parent, root uint64, depth int, name string, at, took time.Duration, failure *trace.Error) {
	t.Helper()
	c := &trace.Call{
		ID: id, ParentID: parent, RootID: root, Depth: depth, Func: f.function(name), Process: shop, TID: 78, Goroutine: 9,
		StartNS: began.Add(at).UnixNano(), DurationNS: int64(took), Err: failure, SampleRate: 1, Args: []byte(fmt.Sprintf(`{"order":%d}`, id)),
	}
	switch {
	case failure != nil:
		c.Status = trace.StatusErr
	case id == 5:
		c.Status = trace.StatusOpen
	default:
		c.Result = []byte(`true`)
	}
	f.acc.Recorded(c)
	tally := trace.Tally{Func: c.Func}
	tally.Add(c.Status, c.DurationNS)
	f.acc.Tally(&tally)
	must(t, f.store.Write([]*trace.Call{c}))
}

// reader gives the fixture opened for reading, with its statistics.
func (f *fixture) reader(t *testing.T) *query.Database {
	t.Helper()
	must(t, f.store.Stats(f.acc.Take(began)))
	must(t, f.store.Flush())
	d, err := query.Open(f.path)
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestTraced holds for how long something traced: not before the session began, nor in what is left of the second that
// statistics are told of.
func TestTraced(t *testing.T) {
	f := newFixture(t)
	d := f.reader(t)
	now := time.Now()
	traced := func(since, until time.Time) float64 {
		took, err := d.Traced(t.Context(), query.Range{Since: since}, until)
		must(t, err)
		return took.Seconds()
	}
	second := now.Add(time.Hour).Truncate(time.Second)
	if got := traced(second.Add(300*time.Millisecond), second.Add(9900*time.Millisecond)); got != 9 {
		t.Errorf("9 whole seconds and a part of one: %v", got)
	}
	must(t, f.store.Stats([]writer.FunctionSecond{{Second: second.Unix() + 9, Tally: trace.Tally{Func: f.function("main.pay"), Calls: 1}}}))
	must(t, f.store.Flush())
	if got := traced(second.Add(300*time.Millisecond), second.Add(9900*time.Millisecond)); got != 10 {
		t.Errorf("with statistics of the last one: %v", got)
	}
	if got := traced(second.Add(9*time.Second), second.Add(9*time.Second)); got != 1 {
		t.Errorf("the least: %v", got)
	}
	if got, want := traced(now.Add(-24*time.Hour), second.Add(9*time.Second)), second.Add(9*time.Second).Sub(now).Seconds(); math.Abs(got-want) > 10 {
		t.Errorf("since before it began: %v, want about %v", got, want)
	}
}

func TestSummaries(t *testing.T) {
	f := newFixture(t)
	f.acc.Tally(&trace.Tally{Func: f.function("main.lookup"), Calls: 4, Dropped: 4})
	f.acc.Tally(&trace.Tally{Func: f.function("main.pay"), Calls: 30, LeftOut: 30})
	f.acc.Tally(&trace.Tally{Func: f.function("main.never"), Calls: 2, Dropped: 2})
	d := f.reader(t)
	must(t, f.store.Stats([]writer.FunctionSecond{{
		Second: began.Unix() + 60, Recorded: 1, CPUCalls: 1, CPUNS: 5e5,
		Tally: trace.Tally{Func: f.function("main.pay"), Calls: 1, TotalNS: 8e6, MaxNS: 8e6, Latency: latencies(8e6)},
	}}))
	must(t, f.store.Flush())

	got, err := d.Summaries(t.Context(), query.Range{})
	must(t, err)
	text, err := json.Marshal(got)
	must(t, err)
	want := `[{"process":"main.pay","group":"payments","calls":32,"errors":1,"sampled_out":30,"dropped":0,"recorded":2,"mean_ms":5,"p50_ms":1.998848,"p95_ms":7.995392,"p99_ms":7.995392,"max_ms":8,"total_ms":10,"cpu_ms":0.5,"cpu_calls":1,"overhead_ms":0,"coverage":1,"calls_error":0},` +
		`{"process":"main.handle","group":"","calls":2,"errors":0,"sampled_out":0,"dropped":0,"recorded":2,"mean_ms":9,"p50_ms":9,"p95_ms":9,"p99_ms":9,"max_ms":9,"total_ms":9,"cpu_ms":null,"cpu_calls":0,"overhead_ms":0,"coverage":1,"calls_error":0},` +
		`{"process":"main.validate","group":"","calls":2,"errors":0,"sampled_out":0,"dropped":0,"recorded":2,"mean_ms":3,"p50_ms":1.998848,"p95_ms":3.997696,"p99_ms":3.997696,"max_ms":4,"total_ms":6,"cpu_ms":null,"cpu_calls":0,"overhead_ms":0,"coverage":1,"calls_error":0},` +
		`{"process":"main.lookup","group":"","calls":5,"errors":0,"sampled_out":0,"dropped":4,"recorded":1,"mean_ms":1,"p50_ms":0.999424,"p95_ms":0.999424,"p99_ms":0.999424,"max_ms":1,"total_ms":1,"cpu_ms":null,"cpu_calls":0,"overhead_ms":0,"coverage":1,"calls_error":0},` +
		`{"process":"main.never","group":"","calls":2,"errors":0,"sampled_out":0,"dropped":2,"recorded":0,"mean_ms":null,"p50_ms":null,"p95_ms":null,"p99_ms":null,"max_ms":null,"total_ms":0,"cpu_ms":null,"cpu_calls":0,"overhead_ms":0,"coverage":1,"calls_error":0}]`
	if string(text) != want {
		t.Errorf("summaries are\n%s\nwant\n%s", strings.ReplaceAll(string(text), "},{", "},\n{"), strings.ReplaceAll(want, "},{", "},\n{"))
	}

	for name, c := range map[string]struct {
		r    query.Range
		want string
	}{
		"since the second":     {query.Range{Since: began.Add(400 * time.Millisecond)}, "main.pay main.handle main.validate main.lookup main.never"},
		"since a later second": {query.Range{Since: began.Add(time.Minute)}, "main.pay"},
		"since ever later":     {query.Range{Since: began.Add(time.Hour)}, ""},
		"glob":                 {query.Range{Process: "main.[hl]*"}, "main.handle main.lookup"},
		"braces":               {query.Range{Process: "{main.pa?,*.lookup}"}, "main.pay main.lookup"},
		"no function":          {query.Range{Process: "other.*"}, ""},
	} {
		got, err := d.Summaries(t.Context(), c.r)
		must(t, err)
		var names []string
		for _, s := range got {
			names = append(names, s.Process)
		}
		if strings.Join(names, " ") != c.want {
			t.Errorf("%s: %v, want %s", name, names, c.want)
		}
	}

	for by, first := range map[query.Sort]string{
		query.SortCalls: "main.pay", query.SortErrors: "main.pay", query.SortMean: "main.handle",
		query.SortP50: "main.handle", query.SortMax: "main.handle", query.SortCPU: "main.pay", query.SortProcess: "main.handle", query.SortTotal: "main.pay",
	} {
		if query.SortSummaries(got, by); got[0].Process != first {
			t.Errorf("by %s, %s comes first, want %s", by, got[0].Process, first)
		}
	}
}

// TestSummariesOfSpans holds where statistics of minutes and hours count: whole, when the range begins in them.
func TestSummariesOfSpans(t *testing.T) {
	f := newFixture(t)
	d := f.reader(t)
	hour := began.Truncate(time.Hour).Add(24 * time.Hour)
	for _, row := range []struct {
		at      time.Duration
		seconds int
		calls   uint64
		process string
	}{
		{0, 3600, 1, "main.lookup"},
		{time.Hour, 3600, 10, "main.lookup"},
		{2 * time.Hour, 60, 100, "main.lookup"}, // the first minute of an hour, which has no row of its own
		{2*time.Hour + time.Minute, 60, 1000, "main.lookup"},
		{2*time.Hour + 2*time.Minute, 1, 10_000, "main.lookup"},
		{2*time.Hour + 2*time.Minute + time.Second, 1, 100_000, "main.lookup"},
		{time.Hour, 3600, 5, "main.pay"},
	} {
		second := hour.Add(row.at)
		must(t, f.store.Stats([]writer.FunctionSecond{{Second: second.Unix(), Tally: trace.Tally{Func: f.function(row.process), Calls: row.calls}}}))
		must(t, f.store.Flush())
		must(t, exec.Command("sqlite3", f.path, fmt.Sprintf("UPDATE stat SET seconds = %d WHERE ts = '%s'", row.seconds, second.Format("2006-01-02 15:04:05"))).Run())
	}
	for _, c := range []struct {
		since time.Duration
		want  uint64
	}{
		{0, 111_111},
		{time.Nanosecond, 111_111},
		{59*time.Minute + 59*time.Second, 111_111},
		{time.Hour, 111_110},
		{time.Hour + 30*time.Minute + 30*time.Second, 111_110},
		{2 * time.Hour, 111_100},
		{2*time.Hour + 59*time.Second, 111_100},
		{2*time.Hour + time.Minute, 111_000},
		{2*time.Hour + time.Minute + time.Second, 111_000},
		{2*time.Hour + 2*time.Minute, 110_000},
		{2*time.Hour + 2*time.Minute + time.Second, 100_000},
		{2*time.Hour + 2*time.Minute + 2*time.Second, 0},
	} {
		got, err := d.Summaries(t.Context(), query.Range{Since: hour.Add(c.since), Process: "*.lookup"})
		must(t, err)
		sum := uint64(0)
		for _, s := range got {
			sum += s.Calls
		}
		if sum != c.want {
			t.Errorf("since %v after the full hour: %d calls, want %d", c.since, sum, c.want)
		}
	}
	all, err := d.Summaries(t.Context(), query.Range{Process: "*.lookup"})
	must(t, err)
	if all[0].Calls != 111_112 {
		t.Errorf("%d calls in all", all[0].Calls)
	}
}

func latencies(ns ...int64) (h trace.Histogram) {
	for _, n := range ns {
		h.Add(n)
	}
	return h
}

// TestSummariesOfDays holds that what many days have is added up exactly, percentiles included.
func TestSummariesOfDays(t *testing.T) {
	f := newFixture(t)
	var all trace.Histogram
	for i := range int64(40) {
		h := latencies(1e3*(i+1), 1e6, 1e6+i)
		all.Merge(&h)
		must(t, f.store.Stats([]writer.FunctionSecond{{
			Second: began.Unix() + i/4*86400 + i%4, Recorded: 3, Coverage: 0.5,
			Tally: trace.Tally{Func: f.function("main.days"), Calls: 3, TotalNS: 10, MaxNS: 2e6 + i, Latency: h},
		}}))
	}
	got, err := f.reader(t).Summaries(t.Context(), query.Range{Process: "main.days"})
	must(t, err)
	if len(got) != 1 || got[0].Calls != 120 || got[0].Recorded != 120 || got[0].TotalMS != 400/1e6 || *got[0].MaxMS != (2e6+39)/1e6 || got[0].Coverage != 0.5 {
		t.Fatalf("got %+v", got)
	}
	for q, p50 := range map[float64]*float64{0.5: got[0].P50MS, 0.95: got[0].P95MS, 0.99: got[0].P99MS} {
		if want := float64(all.Quantile(q)) / 1e6; *p50 != want {
			t.Errorf("quantile %v is %v, want %v", q, *p50, want)
		}
	}
}

// TestSortFull holds that sorts of many rows go to files, and what is said where these have no room.
func TestSortFull(t *testing.T) {
	f := newFixture(t)
	d := f.reader(t)
	dir := t.TempDir()
	must(t, unix.Mount("none", dir, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	t.Setenv("SQLITE_TMPDIR", dir)
	rows, err := d.SQL(t.Context(), "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 200000) SELECT i * 2654435761 % 1000003 AS k, count(*) FROM n GROUP BY k ORDER BY k")
	if err == nil {
		defer rows.Close()
		_, err = rows.Next(t.Context())
	}
	var e *query.Error
	if !errors.Is(err, query.ErrTemporary) || !errors.As(err, &e) || !strings.Contains(e.Hint(), "SQLITE_TMPDIR") {
		t.Errorf("error %v", err)
	}
}

func TestMissing(t *testing.T) {
	f := newFixture(t)
	for _, g := range []trace.Gap{
		{TimeNS: began.UnixNano(), Func: f.function("main.pay"), Count: 3, Reason: "ring buffer full", Hint: "raise --ring-buffer"},
		{TimeNS: began.Add(time.Minute).UnixNano(), Func: f.function("main.handle"), Count: 4, Reason: "ring buffer full", Hint: "raise --ring-buffer"},
		{TimeNS: began.UnixNano(), Count: 9, Reason: "pairing lost"},
	} {
		must(t, f.store.Gap(g))
	}
	d := f.reader(t)
	for want, r := range map[string]query.Range{
		"[{pairing lost  9} {ring buffer full raise --ring-buffer 7}]": {},
		"[{ring buffer full raise --ring-buffer 4}]":                   {Since: began.Add(time.Second)},
		"[{ring buffer full raise --ring-buffer 3}]":                   {Process: "*.pay"},
		"[]": {Process: "*.none"},
	} {
		got, err := d.Missing(t.Context(), r)
		must(t, err)
		if fmt.Sprint(got) != want {
			t.Errorf("missing of %+v: %v, want %s", r, got, want)
		}
	}
}

func names(calls []query.Call) string {
	var s []string
	for _, c := range calls {
		s = append(s, fmt.Sprintf("%d:%s", c.ID, strings.TrimPrefix(c.Process, "main.")))
	}
	return strings.Join(s, " ")
}

func TestCall(t *testing.T) {
	d := newFixture(t).reader(t)
	c, err := d.Call(t.Context(), 4)
	must(t, err)
	text, err := json.Marshal(c)
	must(t, err)
	want := fmt.Sprintf(`{"id":4,"ts":"2026-07-09 01:02:03.007","ts_ns":%d,"process":"main.pay","process_group":"payments","duration_ms":2,"overhead_ms":0,`+
		`"status":"ERR","error":"card declined","error_type":"*main.Declined","pid":77,"tid":78,"goroutine":9,"exe":"/app/shop","parent_id":1,"depth":1,"sample_rate":1,`+
		`"trace_id":"%s","span_id":"%s","args":{"order":4},"stack":"main.pay pay.go:20\nmain.handle main.go:9","file":"main.go","line":5,"language":"go","module":"/app/shop"}`,
		began.Add(7*time.Millisecond).UnixNano(), c.TraceID, c.SpanID)
	if string(text) != want {
		t.Errorf("call is\n%s\nwant\n%s", text, want)
	}
	if c.Duration() != 2*time.Millisecond {
		t.Errorf("duration %v", c.Duration())
	}
	// The same ids by the view's own arithmetic.
	rows, err := d.SQL(t.Context(), "SELECT trace_id, span_id FROM process_trace WHERE id = 4")
	must(t, err)
	row, err := rows.Next(t.Context())
	must(t, err)
	if row[0] != c.TraceID || row[1] != c.SpanID {
		t.Errorf("the view says %v, the call %s and %s", row, c.TraceID, c.SpanID)
	}
	must(t, rows.Close())
	if _, err := d.Call(t.Context(), 99); !errors.Is(err, query.ErrNoCall) || hint(err) == "" {
		t.Errorf("a call that isn't there: %v", err)
	}
	if _, err := d.Call(t.Context(), math.MaxUint64); !errors.Is(err, query.ErrNoCall) {
		t.Errorf("an id beyond all: %v", err)
	}
}

func TestLists(t *testing.T) {
	f := newFixture(t)
	d := f.reader(t)
	for want, ask := range map[string]func() ([]query.Call, error){
		"4:pay": func() ([]query.Call, error) { return d.Errors(t.Context(), query.Range{}, 10) },
		"": func() ([]query.Call, error) {
			return d.Errors(t.Context(), query.Range{Since: began.Add(8 * time.Millisecond)}, 10)
		},
		"1:handle 6:validate 5:handle": func() ([]query.Call, error) { return d.Latest(t.Context(), query.Filter{}, 3) },
		"5:handle":                     func() ([]query.Call, error) { return d.Latest(t.Context(), query.Filter{Status: "OPEN"}, 3) },
		"2:validate 6:validate": func() ([]query.Call, error) {
			return d.Latest(t.Context(), query.Filter{Range: query.Range{Process: "*.{validate,x}"}}, 3)
		},
	} {
		got, err := ask()
		must(t, err)
		if names(got) != want {
			t.Errorf("got %s, want %s", names(got), want)
		}
	}
	if _, err := query.ParseStatus("broken"); err == nil {
		t.Error("no error for an unknown status")
	}
	if s, err := query.ParseStatus("err"); err != nil || s != "ERR" {
		t.Errorf("err is %q, %v", s, err)
	}
}

// TestErrorsOrder holds that the latest error comes first, whatever order they were written in.
func TestErrorsOrder(t *testing.T) {
	f := newFixture(t)
	failure := &trace.Error{Type: "E", Message: "m"}
	f.call(t, 11, 0, 11, 0, "main.pay", 2*time.Hour, 1, failure)
	f.call(t, 10, 0, 10, 0, "main.pay", 1*time.Hour, 1, failure)
	d := f.reader(t)
	got, err := d.Errors(t.Context(), query.Range{}, 2)
	must(t, err)
	if names(got) != "11:pay 10:pay" {
		t.Errorf("errors %s", names(got))
	}
}

func TestTree(t *testing.T) {
	f := newFixture(t)
	f.call(t, 8, 7, 7, 1, "main.orphan", time.Second, 1, nil) // its caller was dropped
	d := f.reader(t)
	for id, want := range map[uint64]string{
		1: "callers [] unknown 0: 1(2(3) 4)",
		2: "callers [1:handle] unknown 0: 2(3)",
		3: "callers [1:handle 2:validate] unknown 0: 3",
		5: "callers [] unknown 0: 5(6)",
		8: "callers [] unknown 7: 8",
	} {
		tree, err := d.Tree(t.Context(), id, 100)
		must(t, err)
		if got := fmt.Sprintf("callers [%s] unknown %d: %s", names(tree.Callers), tree.Unknown, shape(tree.Node)); got != want || tree.Cut {
			t.Errorf("tree of %d: %s (cut %v), want %s", id, got, tree.Cut, want)
		}
	}
	for limit, want := range []string{"1", "1(2)", "1(2 4)"} {
		tree, err := d.Tree(t.Context(), 1, limit)
		must(t, err)
		if got := shape(tree.Node); got != want || !tree.Cut {
			t.Errorf("tree cut to %d calls: %s (cut %v), want %s", limit, got, tree.Cut, want)
		}
	}
	if _, err := d.Tree(t.Context(), 99, 5); !errors.Is(err, query.ErrNoCall) {
		t.Errorf("tree of no call: %v", err)
	}
}

// TestFarCallees holds that callees are found however many other calls were made in between.
func TestFarCallees(t *testing.T) {
	f := newFixture(t)
	f.call(t, 30, 0, 30, 0, "main.serve", time.Second, time.Hour, nil)
	for _, id := range []uint64{31, 8221, 8222, 16413, 500_000} { // 8221 is the last that is near
		f.call(t, id, 30, 30, 1, "main.request", time.Second, 1, nil)
	}
	f.call(t, 8223, 8222, 30, 2, "main.step", time.Second, 1, nil)
	f.call(t, 16414, 8222, 30, 2, "main.step", time.Second, 1, nil)
	f.call(t, 16415, 31, 30, 2, "main.step", time.Second, 1, nil)
	f.call(t, 600_000, 500_000, 30, 2, "main.step", time.Second, 1, nil)
	d := f.reader(t)
	for limit, want := range map[int]string{
		100: "30(31(16415) 8221 8222(8223 16414) 16413 500000(600000))",
		6:   "30(31 8221 8222(8223) 16413 500000)",
		3:   "30(31 8221 8222)",
	} {
		tree, err := d.Tree(t.Context(), 30, limit)
		must(t, err)
		if got := shape(tree.Node); got != want || tree.Cut != (limit < 100) {
			t.Errorf("tree of %d calls: %s (cut %v), want %s", limit, got, tree.Cut, want)
		}
	}
}

// TestTreeOfLoops holds that ids that lie about their parents end in no loop.
func TestTreeOfLoops(t *testing.T) {
	f := newFixture(t)
	f.call(t, 20, 21, 20, 1, "main.a", 1, 1, nil)
	f.call(t, 21, 20, 20, 1, "main.b", 1, 1, nil)
	f.call(t, 22, 22, 20, 1, "main.c", 1, 1, nil)
	d := f.reader(t)
	for id, want := range map[uint64]string{20: "20(21)", 21: "21", 22: "22"} {
		tree, err := d.Tree(t.Context(), id, 100)
		must(t, err)
		if got := shape(tree.Node); got != want {
			t.Errorf("tree of %d: %s, want %s", id, got, want)
		}
	}
}

func shape(n *query.Node) string {
	s := fmt.Sprint(n.ID)
	if len(n.Callees) > 0 {
		var callees []string
		for _, c := range n.Callees {
			callees = append(callees, shape(c))
		}
		s += "(" + strings.Join(callees, " ") + ")"
	}
	return s
}

// TestFollow holds that every call is shown once, in the order of writing: also
// one that began long ago, whose id is less than all others.
func TestFollow(t *testing.T) {
	f := newFixture(t)
	d := f.reader(t)
	follower, err := d.Follow(t.Context(), query.Filter{})
	must(t, err)
	next := func(limit int) string {
		t.Helper()
		must(t, f.store.Flush())
		calls, skipped, err := follower.Next(t.Context(), limit)
		must(t, err)
		return fmt.Sprintf("%s skipped %d", names(calls), skipped)
	}
	if got := next(10); got != " skipped 0" {
		t.Errorf("nothing new is %q", got)
	}
	f.call(t, 1000, 0, 1000, 0, "main.a", time.Second, 1, nil)
	if got := next(10); got != "1000:a skipped 0" {
		t.Errorf("one new call is %q", got)
	}
	f.call(t, 999, 0, 999, 0, "main.late", time.Second, 1, nil)
	if got := next(10); got != "999:late skipped 0" {
		t.Errorf("a late call is %q", got)
	}
	for i := range 7 {
		f.call(t, uint64(2000+i), 0, 2000, 0, "main.b", time.Second, 1, nil)
	}
	if got := next(3); got != "2004:b 2005:b 2006:b skipped 4" {
		t.Errorf("many calls are %q", got)
	}
	if got := next(3); got != " skipped 0" {
		t.Errorf("nothing new is %q", got)
	}

	latest, err := d.Latest(t.Context(), query.Filter{}, 2)
	must(t, err)
	picky, err := d.Follow(t.Context(), query.Filter{Status: "ERR"})
	must(t, err)
	picky.Pass(&latest[1])
	f.call(t, 3000, 0, 3000, 0, "main.a", time.Second, 1, nil)
	f.call(t, 3001, 0, 3001, 0, "main.a", time.Second, 1, &trace.Error{Type: "E"})
	must(t, f.store.Flush())
	calls, skipped, err := picky.Next(t.Context(), 10)
	if must(t, err); names(calls) != "3001:a" || skipped != 0 {
		t.Errorf("errors alone: %s, skipped %d", names(calls), skipped)
	}
	must(t, os.Remove(f.path))
	if _, _, err := follower.Next(t.Context(), 1); !errors.Is(err, query.ErrReplaced) {
		t.Errorf("a deleted file: %v", err)
	}
}

// TestSQL runs what people write, and refuses what changes anything, by
// whatever way it is written.
func TestSQL(t *testing.T) {
	f := newFixture(t)
	d := f.reader(t)
	for statement, want := range map[string]string{
		"SELECT id, process, duration_ms, error FROM process_trace WHERE status = 'ERR'":               "[id process duration_ms error] [4 main.pay 2 card declined]",
		"SELECT 1 AS a, NULL AS b, 2.5 AS c, x'0aff' AS d, 'ü' AS e":                                   "[a b c d e] [1 <nil> 2.5 [10 255] ü]",
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<3) SELECT sum(i) FROM n": "[sum(i)] [6]",
		"SELECT json_extract(args, '$.order') AS o FROM data_trace ORDER BY o DESC LIMIT 1":            "[o] [6]",
		"SELECT value FROM json_each('[7]')":                                                           "[value] [7]",
		"PRAGMA user_version":                                                                          fmt.Sprintf("[user_version] [%d]", query.SchemaVersion),
		"SELECT count(*) > 5 AS many FROM pragma_table_info('process_trace')":                          "[many] [1]",
		"SELECT process FROM process_trace WHERE false":                                                "[process]",
		"-- nothing": "[]",
	} {
		rows, err := d.SQL(t.Context(), statement)
		if err != nil {
			t.Errorf("%s: %v", statement, err)
			continue
		}
		got := fmt.Sprint(rows.Columns)
		for {
			values, err := rows.Next(t.Context())
			must(t, err)
			if values == nil {
				break
			}
			got += " " + fmt.Sprint(values)
		}
		must(t, rows.Close())
		if got != want {
			t.Errorf("%s gives %s, want %s", statement, got, want)
		}
	}
	before := digest(t, f.path)
	out := filepath.Join(t.TempDir(), "out.db")
	for _, statement := range []string{
		"DELETE FROM call", "INSERT INTO meta VALUES ('a', 1)", "UPDATE moment SET ts = ''", "DROP TABLE call", "CREATE TABLE t (a)",
		"CREATE TEMP TABLE t (a)", "ALTER TABLE call ADD COLUMN x", "VACUUM", "VACUUM INTO '" + out + "'", "ATTACH '" + out + "' AS o", "REINDEX", "ANALYZE",
		"PRAGMA query_only = OFF", "PRAGMA journal_mode = DELETE", "PRAGMA writable_schema = ON", "PRAGMA user_version = 7", "PRAGMA wal_checkpoint",
		"PRAGMA table_info(call); DELETE FROM call", "SELECT 1; DROP TABLE call", "EXPLAIN DELETE FROM call", "WITH x AS (SELECT 1) DELETE FROM call",
		"INSERT INTO call SELECT * FROM call", "SELECT load_extension('x')",
	} {
		rows, err := d.SQL(t.Context(), statement)
		if err == nil {
			_, err = rows.Next(t.Context())
			must(t, rows.Close())
		}
		if err == nil {
			t.Errorf("%s was run", statement)
		} else if !errors.Is(err, query.ErrRefused) && !strings.Contains(err.Error(), "not authorized") {
			t.Errorf("%s: %v", statement, err)
		}
	}
	if digest(t, f.path) != before {
		t.Error("the database was changed")
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a file was written")
	}
	if _, err := d.SQL(t.Context(), "SELEKT 1"); err == nil || errors.Is(err, query.ErrRefused) || !strings.Contains(err.Error(), "SELEKT") {
		t.Errorf("a slip of the pen: %v", err)
	}
}

// digest is all that is in the database's tables.
func digest(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("sqlite3", "-readonly", path, ".dump").Output()
	must(t, err)
	return string(out)
}

// TestDeadline holds that a query that runs on is ended.
func TestDeadline(t *testing.T) {
	d := newFixture(t).reader(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	rows, err := d.SQL(ctx, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n")
	if err == nil {
		_, err = rows.Next(ctx)
		must(t, rows.Close())
	}
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(hint(err), "--timeout") {
		t.Errorf("error %v, hint %q", err, hint(err))
	}
}

func hint(err error) string {
	var e *query.Error
	if errors.As(err, &e) {
		return e.Hint()
	}
	return ""
}

// TestOpen holds what is said of files that can't be read.
func TestOpen(t *testing.T) {
	good := newFixture(t)
	must(t, good.store.Close())
	whole, err := os.ReadFile(good.path)
	must(t, err)
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, content, 0o600))
		return path
	}
	made := func(name, sql string) string {
		path := filepath.Join(dir, name)
		must(t, exec.Command("sqlite3", path, sql).Run())
		return path
	}
	newer := file("newer.db", whole)
	must(t, exec.Command("sqlite3", newer, fmt.Sprintf("PRAGMA user_version = %d", query.SchemaVersion+1)).Run())
	older := file("older.db", whole)
	must(t, exec.Command("sqlite3", older, "PRAGMA user_version = 1").Run())
	for path, want := range map[string]error{
		filepath.Join(dir, "none.db"): query.ErrMissing,
		file("empty.db", nil):         query.ErrForeign,
		file("text.db", []byte("text, long enough to be looked at, but no database of any kind, as it seems, at all, for 100 bytes")): query.ErrForeign,
		made("other.db", "CREATE TABLE t (a)"): query.ErrForeign,
		newer:                                  query.ErrNewer,
		older:                                  query.ErrOlder,
		dir:                                    query.ErrForeign,
	} {
		_, err := query.Open(path)
		if !errors.Is(err, want) || hint(err) == "" || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v (hint %q), want %v", filepath.Base(path), err, hint(err), want)
		}
	}
	spoilt := slices.Clone(whole)
	for i := 8192; i < len(spoilt); i++ {
		spoilt[i] = byte(i)
	}
	d, err := query.Open(file("spoilt.db", spoilt))
	if err == nil {
		_, err = d.Summaries(t.Context(), query.Range{})
		must(t, d.Close())
	}
	if !errors.Is(err, query.ErrDamaged) || !strings.Contains(hint(err), ".recover") {
		t.Errorf("spoilt pages: %v, hint %q", err, hint(err))
	}
}

// TestReadOnlyFileSystem reads where nothing can be written, not even SQLite's shared memory.
func TestReadOnlyFileSystem(t *testing.T) {
	testenv.RequireRoot(t)
	f := newFixture(t)
	must(t, f.store.Close())
	whole, err := os.ReadFile(f.path)
	must(t, err)
	dir := t.TempDir()
	must(t, unix.Mount("none", dir, "tmpfs", 0, "size=8m"))
	defer func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) }()
	path := filepath.Join(dir, "shop.db")
	must(t, os.WriteFile(path, whole, 0o600))
	must(t, unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, "size=8m"))
	d, err := query.Open(path)
	must(t, err)
	defer func() { must(t, d.Close()) }()
	got, err := d.Latest(t.Context(), query.Filter{}, 1)
	if must(t, err); names(got) != "5:handle" {
		t.Errorf("latest is %s", names(got))
	}
}

// deniedPath tells this test's program to open a database that it may not read.
const deniedPath = "OBSERVATORY_TEST_DENIED_DB"

func TestMain(m *testing.M) {
	if path := os.Getenv(deniedPath); path != "" {
		_, err := query.Open(path)
		fmt.Println(errors.Is(err, fs.ErrPermission), err)
		return
	}
	os.Exit(m.Run())
}

// TestDenied holds that arguments are kept from other users, and that it is said why.
func TestDenied(t *testing.T) {
	testenv.RequireRoot(t)
	f := newFixture(t)
	dir, err := os.MkdirTemp("", "denied") // t.TempDir's parents are the owner's alone
	must(t, err)
	defer func() { must(t, os.RemoveAll(dir)) }()
	must(t, os.Chmod(dir, 0o755))
	path, program := filepath.Join(dir, "shop.db"), filepath.Join(dir, "program")
	for from, to := range map[string]string{f.path: path, os.Args[0]: program} {
		must(t, exec.Command("cp", "-p", from, to).Run())
	}
	cmd := exec.Command(program)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), deniedPath+"="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "true ") || !strings.Contains(string(out), "only its owner") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestSchemaVersion holds that the reader knows what the writer writes.
func TestSchemaVersion(t *testing.T) {
	if query.SchemaVersion != writer.SchemaVersion {
		t.Errorf("the reader knows schema %d, the writer writes %d", query.SchemaVersion, writer.SchemaVersion)
	}
}
