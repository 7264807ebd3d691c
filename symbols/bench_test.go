package symbols

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// compiler builds Go's own compiler: a program of some 30 MB.
func compiler(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "compile")
	if out, err := exec.Command("go", "build", "-o", path, "cmd/compile").CombinedOutput(); err != nil {
		b.Fatalf("go build cmd/compile: %v\n%s", err, out)
	}
	return path
}

// BenchmarkSelectMany opens the program and describes some 5,000 of its
// functions, with their sites and plans.
func BenchmarkSelectMany(b *testing.B) {
	path := compiler(b)
	sel := Selection{Include: patterns("cmd/compile/internal/{ssa,ir,noder,types2,syntax,walk}.*")}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		f, err := Open(path, Options{})
		if err != nil {
			b.Fatal(err)
		}
		functions, err := f.Select(sel)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(functions)), "functions")
		f.Close()
	}
}

// BenchmarkSelectOne describes a single function of it.
func BenchmarkSelectOne(b *testing.B) {
	path := compiler(b)
	sel := Selection{Include: patterns("cmd/compile/internal/gc.Main")}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		f, err := Open(path, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if functions, err := f.Select(sel); err != nil || len(functions) != 1 {
			b.Fatal(len(functions), err)
		}
		f.Close()
	}
}
