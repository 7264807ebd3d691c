package testenv

import (
	"strings"
	"testing"
)

// TestGoldens guards that the values targets have the functions that their
// goldens speak of, and run the same in every build.
func TestGoldens(t *testing.T) {
	for _, target := range []Target{
		{Source: "go/values"},
		{Source: "go/values", Opt: "-O0"},
		{Source: "c/values"},
		{Source: "c/values", Opt: "-O0"},
		{Source: "cpp/values"},
		{Source: "cpp/values", Opt: "-O0"},
		{Source: "rust/values"},
		{Source: "rust/values", Opt: "-O0"},
	} {
		t.Run(target.String(), func(t *testing.T) {
			program := Build(t, target)
			if got, want := Run(t, program), (Result{Stdout: "done\n"}); got != want {
				t.Errorf("got %+v", got)
			}
			p := Start(t, program, "-wait").Ready()
			p.Go()
			if got := p.Wait(); got.Stdout != "ready\ndone\n" {
				t.Errorf("got %+v", got)
			}
			symbols := map[string]int{}
			for name, n := range functionNames(t, program) {
				symbols[withoutTypes(target, name)] += n
			}
			for name, golden := range Goldens(t, target.Source) {
				if symbols[withoutTypes(target, name)] == 0 {
					t.Errorf("no function %s", name)
				}
				if golden.Status != "OK" && golden.Status != "ERR" {
					t.Errorf("%s: status %q", name, golden.Status)
				}
			}
		})
	}
}

// withoutTypes leaves out a Go name's type arguments: the symbol table has their shapes.
func withoutTypes(target Target, name string) string {
	i, j := strings.IndexByte(name, '['), strings.LastIndexByte(name, ']')
	if !strings.HasPrefix(target.Source, "go/") || i < 0 || j < i {
		return name
	}
	return name[:i] + name[j+1:]
}

func TestDiffJSON(t *testing.T) {
	for _, c := range []struct{ want, got, differs string }{
		{`{"a": 1, "b": [true, null]}`, `{"b":[true,null],"a":1}`, ""},
		{`18446744073709551615`, `18446744073709551614`, "$: got 18446744073709551614"},
		{`{"a": {"$any": "x"}}`, `{"a": {"deep": []}}`, ""},
		{`{"a": {"$any": "x"}}`, `{}`, "$.a: got \"(nothing)\""},
		{`{"a": {"$prefix": "ab"}}`, `{"a": "abc"}`, ""},
		{`{"a": {"$prefix": "ab"}}`, `{"a": "cab"}`, "$.a: "},
		{`[{"$either": [1, {"b": 2}]}]`, `[{"b": 2}]`, ""},
		{`[{"$either": [1, {"b": 2}]}]`, `[{"b": 3}]`, "$[0]: got {"},
		{`{"a": 1}`, `{"a": 1, "b": 2}`, "$.b: got 2, want \"(nothing)\""},
		{`[1, 2]`, `[1]`, "$: got [1], want [1,2]"},
		{`[1, 2]`, `[1, 3]`, "$[1]: got 3, want 2"},
		{`null`, `0`, "$: got 0, want null"},
		{`1`, `{`, "got: parse {"},
	} {
		got := DiffJSON([]byte(c.want), []byte(c.got))
		if (got == "") != (c.differs == "") || !strings.HasPrefix(got, c.differs) {
			t.Errorf("%s, %s: %q", c.want, c.got, got)
		}
	}
	if got := DiffJSON(nil, nil); got != "" {
		t.Error(got)
	}
	if got := DiffJSON(nil, []byte("null")); got == "" {
		t.Error("null is something")
	}
}
