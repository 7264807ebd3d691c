package symbols

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/symbols/pattern"
	"github.com/observatory-trace/observatory-trace/trace"
)

// compile builds files of testdata with a command ("gcc -O2 -g"), in a folder
// of the test's own.
func compile(tb testing.TB, command string, sources ...string) string {
	tb.Helper()
	sum := sha256.Sum256([]byte(command + strings.Join(sources, " ")))
	path := filepath.Join(tb.TempDir(), hex.EncodeToString(sum[:4]))
	args := strings.Fields(command)
	for _, s := range sources {
		args = append(args, filepath.Join("testdata", s))
	}
	run(tb, args[0], append(args[1:], "-o", path)...)
	return path
}

func run(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		tb.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func open(tb testing.TB, path string, opts Options) *File {
	tb.Helper()
	f, err := Open(path, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	return f
}

func patterns(texts ...string) (out []*pattern.Pattern) {
	for _, text := range texts {
		out = append(out, pattern.MustCompile(text))
	}
	return out
}

// choose selects by patterns from a file that is opened for it.
func choose(tb testing.TB, path string, include ...string) []*trace.Function {
	tb.Helper()
	return selection(tb, path, Selection{Include: patterns(include...)})
}

func selection(tb testing.TB, path string, sel Selection) []*trace.Function {
	tb.Helper()
	f := open(tb, path, Options{})
	functions, err := f.Select(sel)
	if err != nil {
		tb.Fatal(err)
	}
	for _, w := range f.Warnings() {
		tb.Errorf("%s: warning: %v", path, w)
	}
	return functions
}

// one selects what must be one function.
func one(tb testing.TB, path, name string) *trace.Function {
	tb.Helper()
	functions := choose(tb, path, name)
	if len(functions) != 1 {
		tb.Fatalf("%q matches %q, want one function", name, names(functions))
	}
	return functions[0]
}

func names(functions []*trace.Function) []string {
	var out []string
	for _, f := range functions {
		out = append(out, f.Name)
	}
	slices.Sort(out)
	return out
}

func paramNames(params []trace.Param) []string {
	var out []string
	for _, p := range params {
		out = append(out, p.Name)
	}
	return out
}

func copyFile(tb testing.TB, from, to string) {
	tb.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		tb.Fatal(err)
	}
}
