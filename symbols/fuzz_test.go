package symbols

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/symbols/ehframe"
	"github.com/observatory-trace/observatory-trace/trace"
)

// seeds are small programs of each kind, and what is around their headers.
func seeds(f *testing.F) [][]byte {
	var out [][]byte
	for _, command := range []string{
		"gcc -O2 -g", "gcc -O2 -gdwarf-4 -gz -no-pie", "gcc -O2 -s", "gcc -O1 -g -shared -fPIC", "clang-14 -O2 -g",
	} {
		b, err := os.ReadFile(compile(f, command, "shapes.c", "twin.c"))
		if err != nil {
			f.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// FuzzOpen reads everything in damaged programs: never a panic, and errors
// instead of functions that lie outside of the file.
func FuzzOpen(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		readAll(t, path)
	})
}

func readAll(t *testing.T, path string) {
	t.Helper()
	file, err := Open(path, Options{Root: filepath.Dir(path)})
	if err != nil {
		return
	}
	defer file.Close()
	file.BuildID()
	file.GoBuildID()
	file.GoVersion()
	file.Interpreter()
	file.Segments()
	for _, addr := range []uint64{file.EntryPoint(), file.EntryPoint() + 16} {
		_, _ = file.Frames(addr)
		file.GoCode(addr)
		_, _ = file.Caller(addr, &ehframe.Registers{PC: addr}, func(uint64) (uint64, bool) { return addr, true })
	}
	for _, sel := range []Selection{{}, {Include: patterns("*")}, {Files: patterns("*.c")}} {
		functions, err := file.Select(sel)
		if err != nil {
			continue
		}
		for _, fn := range functions {
			if !fn.Traceable {
				continue
			}
			if _, ok := file.FileOffset(fn.Address + fn.Entry.Offset); !ok {
				t.Errorf("%s: its entry lies outside of the file", fn.Name)
			}
			for _, x := range fn.Exit.Sites {
				if _, ok := file.FileOffset(fn.Address + x.Offset); !ok {
					t.Errorf("%s: an exit lies outside of the file", fn.Name)
				}
			}
		}
	}
	if _, err := file.Roles(); err == nil {
		for _, d := range file.Dynamic() {
			file.RuntimeType(d.Address)
		}
		file.ITabs()
		file.Dictionaries()
		file.Closures([]*trace.Function{{EntryPlan: &trace.Plan{Root: &trace.Type{Kind: trace.KindFunc, Lang: trace.LangGo}}}})
	}
}

// TestDamagedPrograms changes programs' bytes, some places at a time, and cuts
// them there.
func TestDamagedPrograms(t *testing.T) {
	for path, places := range map[string]int{
		compile(t, "gcc -O2 -g", "twin.c", "shapes.c"):                    400,
		testenv.Build(t, testenv.Target{Source: "go/minimal", PIE: true}): 20,
	} {
		program, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		damaged := filepath.Join(t.TempDir(), "program")
		try := func(b []byte) {
			if err := os.WriteFile(damaged, b, 0o644); err != nil {
				t.Fatal(err)
			}
			readAll(t, damaged)
		}
		for i := 0; i < len(program); i += 1 + len(program)/places {
			for _, v := range []byte{0, 0xff, program[i] ^ 0x80} {
				b := append([]byte(nil), program...)
				for j := i; j < min(i+4, len(b)); j++ {
					b[j] = v
				}
				try(b)
			}
			try(program[:i])
		}
	}
}
