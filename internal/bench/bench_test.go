package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/trace"
)

// What the tools have printed, of 12 calls each.
const (
	bpftraceSaid = `Attaching 2 probes...


@: 
[256, 512)             7 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@|
[512, 1K)              4 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@                       |
[1K, 2K)               1 |@@@@@@@                                             |


`
	funclatencySaid = `Tracing :add3.  Hit Ctrl-C to exit

     usec                : count    distribution
         0 -> 1          : 11       |****************************************|
       128 -> 255        : 1        |***                                     |
Exiting trace of :add3
`
)

// TestSumOf guards what tells that a tool saw the calls at all.
func TestSumOf(t *testing.T) {
	for _, said := range []string{bpftraceSaid, funclatencySaid} {
		if n := sumOf(histogramLine, said); n != 12 {
			t.Errorf("%d calls, not 12, in %q", n, said)
		}
	}
}

func TestDigits(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1234567: "1,234,567", -4321: "-4,321", 999.6: "1000", 123.4: "123", 12.34: "12.3", 1.234: "1.23", 0.123: "0.12", 0.0123: "0.012",
	} {
		if got := digits(v); got != want {
			t.Errorf("%v is %q, wants %q", v, got, want)
		}
	}
	for _, c := range []struct {
		Cell
		want string
	}{{figure(nil), "–"}, {figure([]float64{3, 1, 2}), "2.00 (1.00 to 3.00)"}, {figure([]float64{1.001, 1.002}), "1.00"}} {
		if got := c.String(); got != c.want {
			t.Errorf("%+v is %q, wants %q", c.Cell, got, c.want)
		}
	}
}

// newLab is a lab, and the C program built in it.
func newLab(t *testing.T, rounds int) (*lab, string) {
	t.Helper()
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
	l := &lab{ctx: t.Context(), dir: t.TempDir(), rounds: rounds}
	path, err := l.build(trace.LangC)
	if err != nil {
		t.Fatal(err)
	}
	return l, path
}

// TestBlind holds that what has attached to nothing fails, instead of being quick.
func TestBlind(t *testing.T) {
	l, path := newLab(t, 1)
	w := &load{name: "C", path: path, pattern: "add3", functions: 1, calls: 1000}
	for seen, wrong := range map[int64]string{1100: "", 0: "it saw no call"} {
		ways := []*way{{name: "blind", begin: func(*running) (*tracer, error) {
			return &tracer{end: func() (int64, error) { return seen, nil }}, nil
		}}}
		_, err := l.measure(w, ways)
		if err == nil && wrong != "" || err != nil && (wrong == "" || !strings.Contains(err.Error(), wrong)) {
			t.Errorf("%d of 1100 calls seen: %v, wants %q", seen, err, wrong)
		}
	}
}

// TestPeerFails holds that another tool's failure is told of in its row, which has no figures then, and ends nothing.
func TestPeerFails(t *testing.T) {
	l, path := newLab(t, 2)
	begin := func(seen ...int64) func(*running) (*tracer, error) {
		return func(*running) (*tracer, error) {
			n := seen[0]
			seen = seen[1:]
			return &tracer{end: func() (int64, error) { return n, nil }}, nil
		}
	}
	rows, err := l.measure(&load{path: path, functions: 1, calls: 1000}, []*way{
		{name: "first", begin: begin(1, 1)}, {name: "never", peer: true, begin: begin(0, 0)}, {name: "once", peer: true, begin: begin(0, 1)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		missing bool
		notes   int
	}{{false, 0}, {true, 2}, {false, 1}} {
		if r := rows[i]; r.Cells[0].Missing != want.missing || len(r.Notes) != want.notes {
			t.Errorf("%s: %+v, wants %+v", r.Name, r, want)
		}
	}
}

// TestProbed holds that a breakpoint in a function is noticed: it is waited for.
func TestProbed(t *testing.T) {
	testenv.RequireBPF(t)
	l, path := newLab(t, 1)
	r, err := l.start(&load{path: path, pattern: "add3", functions: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.stop()
	sites, err := r.sites()
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", r.pid()))
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	if there, err := r.probed(memory, sites[0]); there || err != nil {
		t.Errorf("a breakpoint before any was set: %v, %v", there, err)
	}
	tr, err := l.empty("empty pair", chosen, false).begin(r)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.end()
	if there, err := r.probed(memory, sites[0]); !there || err != nil {
		t.Errorf("no breakpoint: %v", err)
	}
}

// TestDocument guards that the document has every part's figures, and each note once.
func TestDocument(t *testing.T) {
	dir := t.TempDir()
	r := &Result{Part: "scale", About: "By number", Command: "make bench WHAT=scale", Date: "2026-01-02", Tables: []*Table{{
		Title: "One", First: "way", Columns: []string{"ratio"}, Rows: []*Row{
			{Name: "first", Cells: []Cell{single(1)}},
			{Name: "second", Notes: []string{"slow"}, Cells: []Cell{single(2)}},
			{Name: "third", Notes: []string{"blind", "slow"}, Command: "third -p PID", Cells: []Cell{missing}},
		},
	}}}
	other := &Result{Part: "cost", About: "What one call costs", Command: "make bench WHAT=cost"}
	for _, r := range []*Result{r, other} {
		if err := r.write(filepath.Join(dir, "figures", r.Part+".json")); err != nil {
			t.Fatal(err)
		}
	}
	document := filepath.Join(dir, "benchmarks.md")
	if err := writeDocument(filepath.Join(dir, "figures"), document); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	got := string(raw)
	for _, want := range []string{
		"| first | 1.00 |\n| second [1] | 2.00 |\n| third [2] [1] | – |\n\n[1] slow\n\n[2] blind\n\nThe commands:\n", "- third: `third -p PID`\n", "`make bench WHAT=scale`, 2026-01-02",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Index(got, "What one call costs") > strings.Index(got, "By number") {
		t.Errorf("not in order:\n%s", got)
	}
}
