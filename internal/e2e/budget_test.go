package e2e

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// TestHotFunction holds that a function which is called far more often than the budget for probes allows is traced
// for a part of the time only, that this is told and stored, and that what is told of the number of its
// calls is right within what is told of its error; and that another function is not touched.
func TestHotFunction(t *testing.T) {
	testenv.RequireBPF(t)
	const seconds, every = 6, 100_003
	program := testenv.Build(t, testenv.Target{Source: "c/hot"})
	tr := begin(t, "--max-overhead", "5", "-s", "hot", "-s", "cold", "--error", "hot=negative", "--", program, fmt.Sprint(seconds), fmt.Sprint(every))
	result := tr.Wait()
	if result.ExitCode != 0 || !strings.Contains(result.Stderr, "hot: attached for ") && !strings.Contains(result.Stderr, "hot: detached but for ") {
		t.Errorf("exit code %d, said: %s", result.ExitCode, result.Stderr)
	}
	made := 0.0
	for lines := bufio.NewScanner(strings.NewReader(result.Stdout)); lines.Scan(); {
		var calls float64
		if n, _ := fmt.Sscan(lines.Text(), &calls); n == 1 {
			made = max(made, calls)
		}
	}
	db := tr.open()
	got := text(t, db, `SELECT total(calls / coverage), total(calls_error), min(coverage) < 1, sum(calls) FROM function_stats WHERE process = 'hot'`)
	var estimate, off, counted float64
	var sliced int
	if _, err := fmt.Sscan(strings.ReplaceAll(got, "|", " "), &estimate, &off, &sliced, &counted); err != nil {
		t.Fatalf("%q: %v", got, err)
	}
	t.Logf("%.0f calls made, %.0f counted, %.0f ± %.0f estimated", made, counted, estimate, off)
	// The error is a standard one, of what is summed up: three of them.
	if sliced != 1 || counted >= made || off > made || estimate < made-3*off || estimate > made+3*off {
		t.Errorf("%.0f calls were made, %.0f counted, %.0f estimated, ± %.0f (sliced: %d)", made, counted, estimate, off, sliced)
	}
	if n := number(t, db, "SELECT count(*) FROM gaps WHERE process = 'hot' AND count = 0 AND reason LIKE '%of every%the budget is 5 \\%' ESCAPE '\\' OR process = 'hot' AND reason LIKE 'detached but for%'"); n == 0 {
		t.Errorf("no step is stored: %s", text(t, db, "SELECT * FROM gaps"))
	}
	// What failed while it was looked at is recorded, with its arguments.
	if n := number(t, db, "SELECT sum(errors) - (SELECT count(*) FROM process_trace WHERE process = 'hot' AND status = 'ERR') FROM function_stats WHERE process = 'hot'"); n != 0 {
		t.Errorf("%d errors are not recorded", n)
	}
	if n := number(t, db, "SELECT count(*) FROM data_trace JOIN process_trace USING (id) WHERE process_trace.process = 'hot' AND status = 'ERR' AND (args ->> '$.i' % ? <> 0 OR args ->> '$.name' <> 'hot')", every); n != 0 {
		t.Errorf("%d errors have other arguments", n)
	}
	if n := number(t, db, "SELECT count(*) FROM process_trace WHERE process = 'hot' AND status = 'ERR' AND error_type <> 'negative'"); n != 0 {
		t.Errorf("%d calls failed that did not", n)
	}
	if n := number(t, db, "SELECT count(*) FROM function_stats WHERE process = 'cold' AND coverage <> 1"); n != 0 {
		t.Error("the other function was not covered whole")
	}
}

// TestShortFunction holds that how often a function is called whose own time nobody can tell from that of its probes
// is told by its callers, or as the least that it may be.
func TestShortFunction(t *testing.T) {
	testenv.RequireBPF(t)
	testenv.Binary(t)
	for _, c := range []struct {
		symbols  []string
		overhead string
		known    bool
	}{{[]string{"tiny", "batch", "rare"}, "20", true}, {[]string{"tiny"}, "5", false}} {
		p := testenv.Start(t, testenv.Build(t, testenv.Target{Source: "c/short", Opt: "-O2"}), "10")
		args := []string{"-p", fmt.Sprint(p.PID), "--max-overhead", c.overhead}
		for _, s := range c.symbols {
			args = append(args, "-s", s)
		}
		tr := begin(t, args...)
		tr.Wait()
		target := p.Wait()
		made := map[string]float64{}
		words := strings.Fields(target.Stdout)
		for i := 0; i+1 < len(words); i += 2 {
			made[words[i]], _ = strconv.ParseFloat(words[i+1], 64)
		}
		db := tr.open()
		for _, name := range c.symbols {
			var estimate, off float64
			got := text(t, db, "SELECT total(calls / coverage), total(calls_error) FROM function_stats WHERE process = '"+name+"'")
			if _, err := fmt.Sscan(strings.ReplaceAll(got, "|", " "), &estimate, &off); err != nil || made[name] == 0 {
				t.Fatalf("%s: %q of %q: %v", name, got, target.Stdout, err)
			}
			t.Logf("%s: %.0f calls made, %.0f ± %.0f estimated", name, made[name], estimate, off)
			known := off < 3*estimate
			least, most := made[name]-3*off, made[name]+3*off
			if !known { // so many at least, but for what the cost of probes is off
				least, most = 0, 1.5*made[name]
			}
			if estimate < least || estimate > most {
				t.Errorf("%s: %.0f calls were made, %.0f estimated, ± %.0f", name, made[name], estimate, off)
			}
			if name == "tiny" && known != c.known {
				t.Errorf("%s, traced with %v: %.0f ± %.0f calls", name, c.symbols, estimate, off)
			}
		}
	}
}

// TestGlance holds that a hot function of a process that runs already is not traced whole for even a moment.
func TestGlance(t *testing.T) {
	testenv.RequireBPF(t)
	const seconds = 4
	testenv.Binary(t) // building it may take longer than the target runs
	p := testenv.Start(t, testenv.Build(t, testenv.Target{Source: "c/hot"}), fmt.Sprint(seconds))
	tr := begin(t, "--max-overhead", "5", "-s", "hot", "-s", "cold", "-p", fmt.Sprint(p.PID))
	result, target := tr.Wait(), p.Wait()
	if !strings.Contains(result.Stderr, "hot: attached for ") || !strings.Contains(result.Stderr, "of every") {
		t.Errorf("said: %s", result.Stderr)
	}
	lines := strings.Split(strings.TrimSpace(target.Stdout), "\n")
	var made float64
	if _, err := fmt.Sscan(lines[len(lines)-1], &made); err != nil || target.ExitCode != 0 {
		t.Fatalf("%q, exit code %d: %v", lines[len(lines)-1], target.ExitCode, err)
	}
	db := tr.open()
	// 2.8 million a second: 20 ms of each, and some of the last moments.
	if n := number(t, db, "SELECT sum(calls) FROM function_stats WHERE process = 'hot'"); n == 0 || float64(n) > made/10 {
		t.Errorf("%d of %.0f calls were counted", n, made)
	}
	if n := number(t, db, "SELECT count(*) FROM function_stats WHERE process = 'cold' AND coverage <> 1"); n != 0 {
		t.Error("the other function was not covered whole")
	}
	// Even for 50 ms, after which a burst would be noticed, all of its calls would be tens of thousands.
	if n := number(t, db, "SELECT count(*) FROM process_trace WHERE process = 'hot'"); n > 2000 {
		t.Errorf("%d calls are recorded: it was traced whole in the beginning", n)
	}
	// The first thing that is told of it.
	if got := text(t, db, "SELECT reason FROM gaps WHERE process = 'hot' ORDER BY ts LIMIT 1"); !strings.HasPrefix(got, "attached for ") {
		t.Errorf("first: %s", got)
	}
}

// TestEachProcess holds that a process is kept within the budget by what it does itself, however much others do.
func TestEachProcess(t *testing.T) {
	testenv.RequireBPF(t)
	program := testenv.Build(t, testenv.Target{Source: "c/hot"})
	busy := testenv.Start(t, "/bin/sh", "-c", "while :; do :; done")
	tr := attach(t, "--max-overhead", "5", "-s", "hot", "-p", fmt.Sprint(busy.PID), "--exe", program)
	hot := testenv.Start(t, program, "3") // there is no glance at it: it begins to run when probes are in place
	if target := hot.Wait(); target.ExitCode != 0 {
		t.Errorf("exit code %d", target.ExitCode)
	}
	result := tr.stop()
	db := tr.open()
	// Where it had to wait for a processor, it was longer in calls than all processes had of them.
	its := number(t, db, "SELECT count(*) FROM gaps WHERE process = 'hot' AND count = 0 AND (reason LIKE ? OR reason LIKE '%time in traced calls%')", fmt.Sprintf("%%would take %%process %d's own CPU time%%", hot.PID))
	if n := number(t, db, "SELECT count(*) FROM gaps WHERE count = 0 AND reason LIKE '%the targets'' own CPU time%'"); its == 0 || n > 0 {
		t.Errorf("steps: %s\nsaid: %s", text(t, db, "SELECT group_concat(reason) FROM gaps"), result.Stderr)
	}
}

// TestPauses holds that taking probes out and putting them in does no harm: functions that throw, panic, are
// unwound, fork and grow their stacks go on as if nothing was, and none of their calls is taken for failed that is not.
func TestPauses(t *testing.T) {
	testenv.RequireBPF(t)
	for _, source := range []string{"go/counts", "c/counts", "cpp/counts", "rust/counts"} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			program := testenv.Build(t, testenv.Target{Source: source})
			plain := testenv.Start(t, program).Wait()
			whole := begin(t, "--", program)
			whole.end()
			failures := statistics(t, whole.open())
			pauses := int64(0)
			for deadline := time.Now().Add(8 * time.Second); time.Now().Before(deadline) || pauses == 0; {
				tr := begin(t, "--max-overhead", "0.001", "--", program)
				got := tr.Wait()
				if got.ExitCode != plain.ExitCode || got.Signal != plain.Signal || got.Stdout != plain.Stdout {
					t.Fatalf("it ended with %d, %v, not %d, %v, and printed\n%s\nnot\n%s", got.ExitCode, got.Signal, plain.ExitCode, plain.Signal, got.Stdout, plain.Stdout)
				}
				db := tr.open()
				pauses += number(t, db, "SELECT count(*) FROM gaps WHERE count = 0 AND reason LIKE '%tached %'")
				for name, c := range statistics(t, db) {
					if w := failures[name]; c.errors > w.errors || c.calls > w.calls {
						t.Errorf("%s: %+v, with all in place %+v", name, c, w)
					}
				}
			}
		})
	}
}
