package e2e

import (
	"encoding/json"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// overloadTargets call several functions from several threads as fast as they can; they are
// traced by these flags.
var overloadTargets = []struct {
	testenv.Target
	args []string
}{
	{testenv.Target{Source: "c/overload"}, []string{"-s", "{scalars,text,inner,outer,fails}", "--error", "fails=negative"}},
	{testenv.Target{Source: "c/overload", Opt: "-O0"}, []string{"-s", "{scalars,text,inner,outer,fails}", "--error", "fails=negative"}},
	{testenv.Target{Source: "go/overload"}, []string{"-s", "main.{scalars,text,inner,outer,fails,panics}"}},
}

// TestOverload holds that calls which find the ring buffer full are counted, all of them, as what they
// are: of every function the recorded, the left out and the dropped ones are what the target has called.
func TestOverload(t *testing.T) {
	testenv.RequireBPF(t)
	for _, target := range overloadTargets {
		dropped := int64(0)
		for name, flags := range map[string][]string{
			"all":      nil,
			"sampled":  {"--sample", "0.3"},
			"filtered": {"--filter", `n > 1000 || status == "ERR"`},
			"slow":     {"--min-duration", "2us"},
		} {
			t.Run(target.String()+" "+name, func(t *testing.T) {
				args := append(append([]string{"--unlimited", "--ring-buffer", "64KiB"}, target.args...), flags...)
				p := testenv.Start(t, testenv.Build(t, target.Target), "-wait").Ready()
				tr := attachPID(t, p.PID, args...)
				p.Go()
				result := p.Wait()
				tr.end()
				dropped += checkOverload(t, tr, overloadCounts(t, result.Stdout))
			})
		}
		if dropped == 0 {
			t.Errorf("%s: nothing was dropped: that was no overload", target.String())
		}
	}
}

// TestKilledInOverload holds that of the calls of a process that is killed by its own fault only those are errors that
// were open then, and not those of which the ends found the ring buffer full.
func TestKilledInOverload(t *testing.T) {
	testenv.RequireBPF(t)
	const depth = 2000
	p := testenv.Start(t, testenv.Build(t, testenv.Target{Source: "c/overload"}), "-wait", "-sink", strconv.Itoa(depth)).Ready()
	tr := attachPID(t, p.PID, "--unlimited", "--ring-buffer", "64KiB", "-s", "{sink,dive}")
	tr.Signal(syscall.SIGSTOP) // so that nobody reads while it dives and comes up
	p.Go()
	p.Wait()
	tr.Signal(syscall.SIGCONT)
	tr.end()
	db := tr.open()
	if got := text(t, db, "SELECT process, error_type FROM process_trace WHERE status = 'ERR'"); got != "sink|signal SIGSEGV" {
		t.Errorf("errors:\n%s", got)
	}
	if n := number(t, db, "SELECT count(*) FROM process_trace p JOIN data_trace d USING (id) WHERE p.process = 'dive' AND p.status = 'OPEN' AND d.flags LIKE '%lost-exit%'"); n < 100 {
		t.Errorf("the ends of %d calls were lost: that was no overload", n)
	}
	if got := statistics(t, db); got["dive"] != (exact{calls: depth + 1}) || got["sink"] != (exact{calls: 1, errors: 1}) {
		t.Errorf("counted: %+v", got)
	}
}

// overloadCount is what a target counted of a function.
type overloadCount struct{ Calls, Errors int64 }

func overloadCounts(t *testing.T, stdout string) map[string]overloadCount {
	t.Helper()
	_, line, _ := strings.Cut(stdout, "ready\n")
	var counts struct{ Functions map[string]overloadCount }
	if err := json.Unmarshal([]byte(line), &counts); err != nil || len(counts.Functions) == 0 {
		t.Fatalf("parse counts: %v\n%s", err, stdout)
	}
	return counts.Functions
}

// checkOverload gives how many calls were dropped.
func checkOverload(t *testing.T, tr *tracer, counts map[string]overloadCount) (dropped int64) {
	t.Helper()
	db := tr.open()
	const stat = "SELECT sum(%s) FROM function_stats WHERE process = ?"
	sum := func(column, function string) int64 {
		return number(t, db, strings.Replace(stat, "%s", column, 1), function)
	}
	for name, w := range counts {
		calls, errors, recorded := sum("calls", name), sum("errors", name), sum("recorded", name)
		left, lost := sum("sampled_out", name), sum("dropped", name)
		rows := number(t, db, "SELECT count(*) FROM process_trace WHERE process = ?", name)
		failed := number(t, db, "SELECT count(*) FROM process_trace WHERE process = ? AND status = 'ERR'", name)
		told := number(t, db, "SELECT sum(count) FROM gaps WHERE process = ? AND reason LIKE '%: calls not recorded'", name)
		dropped += lost
		if calls != w.Calls || errors != w.Errors {
			t.Errorf("%s: %d calls, %d errors; it made %d, %d failed", name, calls, errors, w.Calls, w.Errors)
		}
		if rows+left+lost != w.Calls || rows != recorded {
			t.Errorf("%s: %d rows (%d by the statistics) + %d left out + %d dropped are %d, not the %d calls it made",
				name, rows, recorded, left, lost, rows+left+lost, w.Calls)
		}
		if failed > w.Errors || told != lost {
			t.Errorf("%s: %d rows are errors of %d; the gaps tell of %d calls, the statistics of %d dropped", name, failed, w.Errors, told, lost)
		}
		t.Logf("%s: %d calls, %d errors: %d rows (%d errors), %d left out, %d dropped", name, calls, errors, rows, failed, left, lost)
	}
	sound(t, db)
	return dropped
}
