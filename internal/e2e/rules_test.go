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
		{testenv.Target{Source: "c/values"}, "enumeration|nonzero|returned BLUE\nnegative|negative|returned -2 (ENOENT: no such file or directory)\nnull_result|errno|returned NULL; errno was not read"},
		{testenv.Target{Source: "c/values", Opt: "-O0"}, "enumeration|nonzero|returned BLUE\nnegative|negative|returned -2 (ENOENT: no such file or directory)\nnull_result|errno|returned NULL; errno was not read"},
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
