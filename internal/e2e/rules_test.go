package e2e

import (
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// TestErrorRules holds that the results of C functions are errors by the rules that are
// given, and that functions without debug information have them, too.
func TestErrorRules(t *testing.T) {
	testenv.RequireBPF(t)
	rules := []string{
		"--error", "negative=negative", "--error", "null_result=errno", "--error", "unsigned_ints=negative",
		"--error", "enum*=nonzero", "--error", "boolean=null", "--error", "no_such_function=null",
	}
	for _, c := range []struct {
		target testenv.Target
		want   string
	}{
		{testenv.Target{Source: "c/values"}, "enumeration|nonzero|returned BLUE\nnegative|negative|returned -2 (ENOENT: no such file or directory)\nnull_result|errno|returned NULL (errno ENOENT: no such file or directory)"},
		{testenv.Target{Source: "c/values", Opt: "-O0"}, "enumeration|nonzero|returned BLUE\nnegative|negative|returned -2 (ENOENT: no such file or directory)\nnull_result|errno|returned NULL (errno ENOENT: no such file or directory)"},
		{testenv.Target{Source: "c/values", Strip: testenv.StripDebug}, "enumeration|nonzero|returned 6\nnegative|negative|returned -2 (ENOENT: no such file or directory)\n" +
			"unsigned_ints|negative|returned -4294906112"}, // nothing tells that it is unsigned
	} {
		t.Run(c.target.String(), func(t *testing.T) {
			t.Parallel()
			program := testenv.Build(t, c.target)
			tr := begin(t, append(append([]string{"-s", "*"}, rules...), "--", program)...)
			result := tr.end()
			db := tr.open()
			if got := text(t, db, "SELECT process, error_type, error FROM process_trace WHERE status = 'ERR' ORDER BY process"); got != c.want {
				t.Errorf("got\n%s", got)
			}
			if n := number(t, db, "SELECT sum(errors) FROM function_stats"); n != int64(strings.Count(c.want, "\n")+1) {
				t.Errorf("%d errors in the statistics", n)
			}
			if !strings.Contains(result.Stderr, "no_such_function=null: matches no traced") || strings.Contains(result.Stderr, "negative=negative: matches no") {
				t.Errorf("said: %s", result.Stderr)
			}
		})
	}
}

// TestFilter holds that only the calls are recorded that an expression is true of, and
// that all are counted.
func TestFilter(t *testing.T) {
	testenv.RequireBPF(t)
	for _, c := range []struct {
		target       testenv.Target
		filter, want string
	}{
		{testenv.Target{Source: "go/values"}, `a == -128 || r.Max.X == 5 || n == 5 && p.Y > 7 || status == "ERR" && error_type == "*fs.PathError"`, "main.failPath\nmain.flat\nmain.pointers\nmain.signed"},
		{testenv.Target{Source: "go/values"}, `unicode endsWith "界" or result == "owner: ada"`, "main.account.describe\nmain.text"},
		{testenv.Target{Source: "go/values"}, `process matches "panic" && status == "ERR"`, "main.panicError\nmain.panicIndex\nmain.panicText"},
		{testenv.Target{Source: "c/values"}, `code == 2 || error contains "NULL" || l.label == "edge"`, "negative\nnull_result\nsmall"},
		{testenv.Target{Source: "c/values"}, `nobody != 1 || code == 2`, "negative"},
	} {
		t.Run(c.target.String()+" "+c.filter, func(t *testing.T) {
			t.Parallel()
			p := testenv.Start(t, testenv.Build(t, c.target), "-wait").Ready()
			tr := attachPID(t, p.PID, "--depth", "4", "--filter", c.filter, "--error", "null_result=null")
			p.Go()
			p.Wait()
			stderr := tr.end().Stderr
			db := tr.open()
			if got := text(t, db, "SELECT process FROM process_trace ORDER BY process"); got != c.want {
				t.Errorf("recorded:\n%s", got)
			}
			golden := testenv.Goldens(t, c.target.Source)
			calls := number(t, db, "SELECT count(*) FROM function_stats WHERE calls >= 1")
			recorded := number(t, db, "SELECT count(*) FROM process_trace")
			if sum := number(t, db, "SELECT sum(calls) - sum(sampled_out) FROM function_stats"); sum != recorded || calls < int64(len(golden)) {
				t.Errorf("the statistics have %d calls that were not left out, of %d functions; %d are recorded", sum, calls, recorded)
			}
			if errors := number(t, db, "SELECT sum(errors) FROM function_stats"); errors == 0 {
				t.Error("the statistics have no errors")
			}
			if said := strings.Contains(stderr, `no traced function has a parameter "nobody"`); said != strings.Contains(c.filter, "nobody") {
				t.Errorf("said: %s", stderr)
			}
		})
	}
}

// TestMinDuration holds that short calls are only counted, unless they failed.
func TestMinDuration(t *testing.T) {
	p := orders(t)
	tr := attachPID(t, p.PID, "--min-duration", "1ms", "-d", "2s")
	result := tr.end()
	db := tr.open()
	if n := number(t, db, "SELECT count(*) FROM process_trace WHERE duration_ms < 1 AND status = 'OK'"); n != 0 {
		t.Errorf("%d short calls are recorded", n)
	}
	for _, where := range []string{"duration_ms >= 1", "duration_ms < 1 AND status = 'ERR'"} {
		if number(t, db, "SELECT count(*) FROM process_trace WHERE "+where) == 0 {
			t.Errorf("no call with %s", where)
		}
	}
	if got := number(t, db, "SELECT sum(calls) - sum(sampled_out) - sum(dropped) - (SELECT count(*) FROM process_trace) FROM function_stats"); got != 0 {
		t.Errorf("the statistics are off by %d calls", got)
	}
	if got := number(t, db, "SELECT sum(errors) - (SELECT count(*) FROM process_trace WHERE status = 'ERR') FROM function_stats"); got != 0 {
		t.Errorf("the statistics are off by %d errors", got)
	}
	if number(t, db, "SELECT sum(sampled_out) FROM function_stats") == 0 || !strings.Contains(result.Stderr, "left out") {
		t.Errorf("nothing was left out: %s", result.Stderr)
	}
	running(t, p)
}
