package symbols

import (
	"debug/elf"
	"slices"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/trace"
)

// TestAgainstSymbolTable compares the functions of ordinary programs with their
// symbol tables as the standard library reads them: each address once, with
// its size, and nothing else.
func TestAgainstSymbolTable(t *testing.T) {
	for _, target := range []testenv.Target{
		{Source: "c/counts"},
		{Source: "c/counts", Opt: "-O0", NoPIE: true},
		{Source: "c/counts", Static: true, NoPIE: true},
		{Source: "c/counts", Compiler: "clang-14", Strip: testenv.StripDebug},
		{Source: "cpp/counts", Opt: "-O0"},
		{Source: "cpp/counts", Opt: "-O3"},
		{Source: "cpp/counts", Compiler: "clang++-14"},
		{Source: "rust/counts"},
		{Source: "rust/counts", Opt: "-O0"},
	} {
		t.Run(target.String(), func(t *testing.T) {
			path := testenv.Build(t, target)
			want := symbolSizes(t, path)
			got := map[uint64]*trace.Function{}
			for _, f := range choose(t, path, "*") {
				if got[f.Address] != nil {
					t.Errorf("%s is there twice", f.Name)
				}
				got[f.Address] = f
			}
			for addr, size := range want {
				f := got[addr]
				if f == nil {
					t.Errorf("the function at %#x is missing", addr)
				} else if f.Size != size {
					t.Errorf("%s has %d bytes, want %d", f.Name, f.Size, size)
				}
			}
			for addr, f := range got {
				if _, ok := want[addr]; !ok && f.Size > 0 {
					t.Errorf("%s at %#x is not in the symbol table", f.Name, addr)
				}
			}
			if len(want) < 30 {
				t.Errorf("only %d functions", len(want))
			}
		})
	}
}

// symbolSizes are the functions in a symbol table by address, cold parts left out.
func symbolSizes(t *testing.T, path string) map[uint64]uint64 {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[uint64]uint64{}
	for _, s := range symbols {
		typ := elf.ST_TYPE(s.Info)
		if (typ != elf.STT_FUNC && typ != elf.STT_GNU_IFUNC) || s.Section == elf.SHN_UNDEF || s.Size == 0 || strings.Contains(s.Name, ".cold") {
			continue
		}
		sizes[s.Value] = max(sizes[s.Value], s.Size)
	}
	return sizes
}

func shapes(t *testing.T, flags string) string {
	return compile(t, "gcc -g "+flags, "shapes.c", "twin.c")
}

func TestAliasesAreOneFunction(t *testing.T) {
	path := shapes(t, "-O2")
	f := one(t, path, "original")
	if f.RawName != "original" {
		t.Errorf("raw name %q", f.RawName)
	}
	for _, alias := range []string{"weak_name", "local_name"} {
		if g := one(t, path, alias); g.Name != "original" || g.Address != f.Address {
			t.Errorf("%s is %s at %#x, want original at %#x", alias, g.Name, g.Address, f.Address)
		}
	}
	// Without debug information, the global name counts more than the others.
	stripped := shapes(t, "-O2 -g0")
	if g := one(t, stripped, "local_name"); g.Name != "original" {
		t.Errorf("without debug information it is %s", g.Name)
	}
}

func TestResolverIsRefused(t *testing.T) {
	f := one(t, shapes(t, "-O2"), "versioned")
	if f.Traceable || !strings.Contains(f.Reason, "resolver") {
		t.Errorf("traceable %v, reason %q", f.Traceable, f.Reason)
	}
}

func TestUnsizedIsRefused(t *testing.T) {
	path := shapes(t, "-O2")
	if f := one(t, path, "unsized"); f.Traceable || !strings.Contains(f.Reason, "size unknown") {
		t.Errorf("traceable %v, reason %q", f.Traceable, f.Reason)
	}
	if f := one(t, path, "sized"); !f.Traceable || f.Size != 3 {
		t.Errorf("traceable %v (%s), %d bytes", f.Traceable, f.Reason, f.Size)
	}
	if functions := choose(t, path, "untyped"); len(functions) != 0 {
		t.Errorf("a symbol that is no function is one: %q", names(functions))
	}
}

func TestSameNameTwice(t *testing.T) {
	functions := choose(t, shapes(t, "-O2"), "twin")
	if len(functions) != 2 {
		t.Fatalf("%d functions, want 2", len(functions))
	}
	files := []string{functions[0].File, functions[1].File}
	slices.Sort(files)
	if functions[0].Address == functions[1].Address || !strings.HasSuffix(files[0], "/shapes.c") || !strings.HasSuffix(files[1], "/twin.c") {
		t.Errorf("they are in %q", files)
	}
}

// TestColdParts: a function's part elsewhere is no function, and what jumps
// there does not leave the function.
func TestColdParts(t *testing.T) {
	for _, flags := range []string{"-O2", "-O2 -g0", "-O2 -gdwarf-4", "-O2 -s -rdynamic", "-O2 -static"} {
		path := shapes(t, flags)
		if functions := choose(t, path, "*.cold*"); len(functions) != 0 {
			t.Errorf("%s: parts are functions: %q", flags, names(functions))
		}
		f := one(t, path, "divided")
		if !f.Traceable {
			t.Errorf("%s: %s", flags, f.Reason)
		}
		for _, x := range f.Exit.Sites {
			if x.Tail {
				t.Errorf("%s: the jump at +%#x to its cold part is taken for an exit", flags, x.Offset)
			}
		}
		// What the part calls is what the function calls.
		if f.Exit.Kind != trace.ExitSites || f.Exit.Reason == "" {
			t.Errorf("%s: exits %+v, want RET instructions", flags, f.Exit)
		}
	}
}

func TestClonesAreBodiesOfTheirFunction(t *testing.T) {
	path := shapes(t, "-O2")
	f := one(t, path, "scaled")
	if f.Name != "scaled" || !strings.HasPrefix(f.RawName, "scaled.") {
		t.Fatalf("no specialised copy: %s", f.RawName)
	}
	if g := one(t, path, f.RawName); g.Address != f.Address {
		t.Errorf("%s is at %#x, want %#x", f.RawName, g.Address, f.Address)
	}
}

func TestNamesOfPieces(t *testing.T) {
	for raw, want := range map[string]string{
		"f.cold": "f", "f.cold.12": "f", "f.constprop.0.cold": "f.constprop.0", "f.part.0.cold": "f.part.0",
		"f.coldest": "", "f.cold.x": "", ".cold": "", "f": "",
	} {
		if got, ok := coldParent(raw); got != want || ok != (want != "") {
			t.Errorf("%s is a part of %q, %v; want %q", raw, got, ok, want)
		}
	}
	for raw, want := range map[string]string{
		"f.constprop.0": "f", "f.isra.0.constprop.1": "f", "f.lto_priv.3": "f", "f.llvm.123456": "f", "f.part.0": "f.part.0", "f": "f",
		"f.__uniq.123.llvm.4": "f",
	} {
		if got := withoutClone(raw); got != want {
			t.Errorf("%s is %q, want %q", raw, got, want)
		}
	}
	if of, ok := outlinedOf("f.part.0"); of != "f" || !ok {
		t.Errorf("f.part.0 is outlined from %q, %v", of, ok)
	}
}

func TestFileOffsets(t *testing.T) {
	for _, flags := range []string{"-O2", "-O2 -no-pie", "-O2 -static"} {
		path := shapes(t, flags)
		f := open(t, path, Options{})
		functions, err := f.Select(Selection{Include: patterns("sized")})
		if err != nil || len(functions) != 1 {
			t.Fatalf("%d functions, %v", len(functions), err)
		}
		off, ok := f.FileOffset(functions[0].Address)
		if !ok || string(f.img.data[off:off+3]) != "\x53\x5b\xc3" {
			t.Errorf("%s: the code of %s is not at offset %#x", flags, functions[0].Name, off)
		}
		if off, ok := f.FileOffset(1 << 62); ok {
			t.Errorf("an address outside of the file is at %#x", off)
		}
		if pie := flags == "-O2"; f.PIE() != pie {
			t.Errorf("%s: PIE %v", flags, f.PIE())
		}
		if dynamic := flags != "-O2 -static"; (f.Interpreter() != "") != dynamic {
			t.Errorf("%s: interpreter %q", flags, f.Interpreter())
		}
		if id := f.BuildID(); len(id) != 40 {
			t.Errorf("%s: build id %q", flags, id)
		}
	}
}
