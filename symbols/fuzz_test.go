package symbols

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/symbols/ehframe"
	"github.com/observatory-trace/observatory-trace/symbols/types"
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

// FuzzErrno follows any code for __errno_location: never a panic.
func FuzzErrno(f *testing.F) {
	f.Add([]byte{0x48, 0x8b, 0x05, 0x79, 0xb7, 0x1a, 0, 0x64, 0x48, 0x03, 0x04, 0x25, 0, 0, 0, 0, 0xc3})
	f.Fuzz(func(_ *testing.T, code []byte) { errnoPlace(code, 0x1000) })
}

// FuzzOpen reads everything in damaged programs: never a panic, and errors
// instead of functions that lie outside of the file.
func FuzzOpen(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	for _, path := range corpus(f) {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := readAll(path); err != nil {
			t.Error(err)
		}
	})
}

// readAll does all that can be asked of a file. It returns what must not be: a
// probe outside of the file.
func readAll(path string) (err error) {
	file, openErr := Open(path, Options{Root: filepath.Dir(path), Depth: 4})
	if openErr != nil {
		return nil
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	file.BuildID()
	file.GoBuildID()
	file.GoVersion()
	file.Interpreter()
	_, _ = file.Errno()
	file.Segments()
	places := []uint64{file.EntryPoint(), file.EntryPoint() + 16}
	compiler := types.NewCompiler(4)
	for _, sel := range []Selection{{}, {Include: patterns("*")}, {Files: patterns("*.c")}} {
		functions, err := file.Select(sel)
		if err != nil {
			continue
		}
		for _, fn := range functions {
			if len(places) < 200 {
				places = append(places, fn.Address, fn.Address+5, fn.Address+fn.Size-1)
			}
			compiler.Add(fn.EntryPlan)
			compiler.Add(fn.ExitPlan)
			if !fn.Traceable {
				continue
			}
			if _, ok := file.FileOffset(fn.Address + fn.Entry.Offset); !ok {
				return fmt.Errorf("%s: its entry lies outside of the file", fn.Name)
			}
			for _, x := range fn.Exit.Sites {
				if _, ok := file.FileOffset(fn.Address + x.Offset); !ok {
					return fmt.Errorf("%s: an exit lies outside of the file", fn.Name)
				}
			}
		}
	}
	if _, err := file.Roles(); err == nil {
		for _, d := range file.Dynamic() {
			if d.Type != nil {
				compiler.AddType(d.Type)
			}
			file.RuntimeType(d.Address)
		}
		file.ITabs()
		file.Dictionaries()
		file.Closures([]*trace.Function{{EntryPlan: &trace.Plan{Root: &trace.Type{Kind: trace.KindFunc, Lang: trace.LangGo}}}})
	}
	for _, addr := range places {
		_, _ = file.Frames(addr)
		_, _ = file.NameAt(addr)
		_, _, _ = file.ObjectAt(addr)
		file.GoCode(addr)
		_, _ = file.Caller(addr, &ehframe.Registers{PC: addr}, func(uint64) (uint64, bool) { return addr, true })
	}
	_, _ = file.Nearest("main", 3)
	return nil
}

// TestDamagedPrograms changes programs' bytes, some places at a time, and cuts
// them there.
func TestDamagedPrograms(t *testing.T) {
	for path, places := range map[string]int{
		compile(t, "gcc -O2 -g", "twin.c", "shapes.c"):                    400,
		testenv.Build(t, testenv.Target{Source: "go/minimal", PIE: true}): 20,
		testenv.Build(t, testenv.Target{Source: "cpp/values"}):            20,
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
			if err := readAll(damaged); err != nil {
				t.Error(err)
			}
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
