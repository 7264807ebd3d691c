package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// TestRaises holds that what tells of exceptions is kept within the budget, and told to be; that calls which fail by
// them are found nevertheless; and that none is said to have failed by what it hasn't.
func TestRaises(t *testing.T) {
	testenv.RequireBPF(t)
	const seconds, rate = 5, 1500
	program := testenv.Build(t, testenv.Target{Source: "cpp/raises"})
	args := []string{fmt.Sprint(seconds), fmt.Sprint(rate)}
	plain := testenv.Start(t, program, args...).Wait()
	tr := begin(t, append([]string{"--max-overhead", "5", "-s", "thrower", "-s", "jumper", "--", program}, args...)...)
	result := tr.Wait()
	if result.ExitCode != 0 || result.Stdout != plain.Stdout {
		t.Errorf("exit code %d, printed %q, not %q", result.ExitCode, result.Stdout, plain.Stdout)
	}
	if !strings.Contains(result.Stderr, "what tells of exceptions: ") {
		t.Errorf("said: %s", result.Stderr)
	}
	db := tr.open()
	if n := number(t, db, "SELECT count(*) FROM gaps WHERE count = 0 AND reason LIKE 'what tells of exceptions: % every %the budget is %'"); n == 0 {
		t.Errorf("no step is stored: %s", text(t, db, "SELECT group_concat(reason, '; ') FROM gaps"))
	}
	missed := number(t, db, "SELECT coalesce(sum(count), 0) FROM gaps WHERE reason LIKE '%so many%exceptions began%'")
	if missed == 0 || missed > 3*seconds*rate {
		t.Errorf("%d exceptions are told to have been missed, of %d", missed, seconds*rate)
	}
	for _, f := range []struct{ name, kind string }{{"thrower", "std::runtime_error"}, {"jumper", "longjmp"}} {
		// Where its own probes were always there, all its calls are known, and but for the last one that all have failed.
		got := text(t, db, "SELECT sum(calls), sum(errors), min(coverage) < 1 FROM function_stats WHERE process = ?", f.name)
		var calls, errors, sliced int
		if _, err := fmt.Sscan(strings.ReplaceAll(got, "|", " "), &calls, &errors, &sliced); err != nil {
			t.Fatalf("%s: %q: %v", f.name, got, err)
		}
		if sliced == 0 && (calls != seconds*rate || errors < calls-1) {
			t.Errorf("%s: %d calls, %d failed, of %d", f.name, calls, errors, seconds*rate)
		}
		kinds := text(t, db, "SELECT group_concat(n || ' ' || error_type, ', ') FROM (SELECT error_type, count(*) AS n FROM process_trace WHERE process = ? AND status = 'ERR' GROUP BY 1)", f.name)
		t.Logf("%s: %d calls, %d failed: %s (sliced: %d)", f.name, calls, errors, kinds, sliced)
		if n := number(t, db, "SELECT count(*) FROM process_trace WHERE process = ? AND status = 'ERR' AND error_type NOT IN (?, 'unwound')", f.name, f.kind); n > 0 {
			t.Errorf("%s: %d calls failed by something else: %s", f.name, n, kinds)
		}
		if n := number(t, db, "SELECT count(*) FROM process_trace WHERE process = ? AND error_type = ?", f.name, f.kind); n == 0 {
			t.Errorf("%s: of none of its calls is known by what it failed: %s", f.name, kinds)
		}
	}
}

// TestNeighbour holds that probes give way, too, where it is another process that hits them all the time: those of a traced
// function, as it runs the same program, and what tells of jumps, in a library that both have.
func TestNeighbour(t *testing.T) {
	testenv.RequireBPF(t)
	testenv.Binary(t)
	program := testenv.Build(t, testenv.Target{Source: "cpp/raises"})
	neighbour := testenv.Start(t, program, "8", "jumps")
	p := testenv.Start(t, program, "8", "10")
	tr := begin(t, "--max-overhead", "5", "-s", "kept", "-s", "never", "-p", fmt.Sprint(p.PID), "-d", "3s")
	result := tr.Wait()
	for _, said := range []string{"what tells of jumps (longjmp): ", "kept: ", " of a processor in other processes that have the same file"} {
		if !strings.Contains(result.Stderr, said) {
			t.Errorf("said %q, not %q", result.Stderr, said)
		}
	}
	if n := number(t, tr.open(), "SELECT total(errors) FROM function_stats"); n > 0 {
		t.Errorf("%d calls are told to have failed", n)
	}
	if ended := neighbour.Wait(); ended.ExitCode != 0 {
		t.Errorf("the other process ended with %+v", ended)
	}
}

// TestPanics holds that the panic which ends a process is known while those are not all seen from which it recovers.
func TestPanics(t *testing.T) {
	testenv.RequireBPF(t)
	program := testenv.Build(t, testenv.Target{Source: "go/raises"})
	const seconds = 4
	tr := begin(t, "--max-overhead", "2", "-s", "main.seldom", "-s", "main.last", "--", program, fmt.Sprint(seconds), "50000")
	result := tr.Wait()
	if result.ExitCode != 2 || !strings.HasPrefix(result.Stdout, fmt.Sprintf("recovers %d ", seconds*50000)) || !strings.Contains(result.Stderr, "panic: nobody takes no such thing") {
		t.Errorf("exit code %d, printed %q and %q", result.ExitCode, result.Stdout, result.Stderr)
	}
	if !strings.Contains(result.Stderr, "what tells of panics: ") {
		t.Errorf("said: %s", result.Stderr)
	}
	db := tr.open()
	if got := text(t, db, "SELECT error FROM process_trace WHERE process = 'main.last' AND status = 'ERR'"); got != "nobody takes no such thing" {
		t.Errorf("the last call: %q", text(t, db, "SELECT status, error_type, error FROM process_trace WHERE process = 'main.last'"))
	}
	if n := number(t, db, "SELECT sum(calls) FROM function_stats WHERE process = 'main.seldom' AND errors = 0 AND coverage = 1"); n != 100*seconds {
		t.Errorf("%d calls of main.seldom", n)
	}
}
