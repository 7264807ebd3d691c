package types

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/trace"
)

func TestRaw(t *testing.T) {
	cases := []struct {
		lang trace.Language
		arch Arch
		want string
	}{
		{trace.LangUnknown, AMD64, "(rdi uint64@rdi, rsi uint64@rsi, rdx uint64@rdx, rcx uint64@rcx, r8 uint64@r8, r9 uint64@r9) -> (rax uint64@rax)"},
		{trace.LangGo, AMD64, "(AX uint64@rax, BX uint64@rbx, CX uint64@rcx, DI uint64@rdi, SI uint64@rsi, R8 uint64@r8, R9 uint64@r9, R10 uint64@r10, R11 uint64@r11) -> (AX uint64@rax)"},
		{trace.LangC, ARM64, "(x0 uint64@x0, x1 uint64@x1, x2 uint64@x2, x3 uint64@x3, x4 uint64@x4, x5 uint64@x5, x6 uint64@x6, x7 uint64@x7) -> (x0 uint64@x0)"},
	}
	for _, c := range cases {
		sig := Raw(c.lang, c.arch)
		if got := describe(sig); got != c.want {
			t.Errorf("%v:\n got %s\nwant %s", c.lang, got, c.want)
		}
		checkPlan(t, sig.Entry)
		checkPlan(t, sig.Exit)
	}
	if sig := Raw(trace.LangGo, ARM64); len(sig.Params) != 16 || sig.Params[15].Name != "R15" {
		t.Errorf("Go on ARM64: %s", describe(sig))
	}
}

// signatures compares descriptions, by symbol.
func signatures(t *testing.T, f *file, want map[string]string) {
	t.Helper()
	for name, want := range want {
		sig, err := f.reader.Signature(f.function(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := describe(sig); got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
}

// AAPCS64, as far as it can be checked without a processor that follows it.
func TestSignatureARM64(t *testing.T) {
	object := filepath.Join(t.TempDir(), "places.o")
	run(t, strings.Fields("clang-14 --target=aarch64-linux-gnu -g -O0 -c -o "+object+" testdata/values/arm64.c")...)
	signatures(t, openFile(t, object), map[string]string{
		"scalars":  "(a int@x0, b char *@x1, c double@in SIMD register, d long@x2, e _Bool@x3) -> ( int@x0)",
		"structs":  "(a struct two@x0, b struct sixteen@x1:x2, c struct big@[x3], d struct floats@in SIMD register, e __int128@x4:x5) -> ( struct sixteen@x0:x1)",
		"spill":    "(a long@x0, b long@x1, c long@x2, d long@x3, e long@x4, f long@x5, g long@x6, h struct sixteen@cfa+0, i long@cfa+16) -> ( struct big@[x8 at entry])",
		"pairs":    "(a int@x0, b __int128@x2:x3, c int@x4) -> ( __int128@x0:x1)",
		"floating": "(a struct floats@in SIMD register, b float@in SIMD register) -> ( struct floats@in SIMD register)",
	})
}

func TestSignatureGoARM64(t *testing.T) {
	t.Setenv("GOARCH", "arm64")
	signatures(t, openFile(t, compileGo(t, "", "./testdata/golang")), map[string]string{
		"main.blanks":                      "(arg0 int@x0, s string@x1:x2, arg2 string@x3:x4, b bool@x5) -> (r0 int@x0, r1 error@x1:x2)",
		"main.(*box[go.shape.string]).set": "(b *main.box[string]@x0, v string@x2:x3, k int@x4) -> (r0 string@x0:x1, r1 error@x2:x3)",
		"main.spill":                       "(a int@x0, b int@x1, c int@x2, d int@x3, e int@x4, f int@x5, g int@x6, h int@x7, s string@x8:x9, i uint8@x10, j [2]int16@cfa+8) -> (r1 [3]int@cfa+16, r2 string@x0:x1, r3 int8@x2)",
		"main.small":                       "(s main.single@x0, t struct {}@, u main.celsius@in SIMD register, o main.order@x1:x2:x3:in SIMD register:x4) -> (r0 main.single@x0, r1 main.celsius@in SIMD register, r2 main.order@x1:x2:x3:in SIMD register:x4)",
	})
}

// ABI0: everything in memory, results behind the parameters.
func TestSignatureABI0(t *testing.T) {
	f := openFile(t, compileGo(t, "", "./testdata/golang"))
	sp := f.function(t, "main.blanks")
	sp.ABI0 = true
	sig, err := f.reader.Signature(sp)
	if err != nil {
		t.Fatal(err)
	}
	const want = "(arg0 int@cfa+0, s string@cfa+8, arg2 string@cfa+24, b bool@cfa+40) -> (r0 int@cfa+48, r1 error@cfa+56)"
	if got := describe(sig); got != want {
		t.Errorf(" got %s\nwant %s", got, want)
	}
}

// gcc's copies of functions lack parameters, and the rest move up.
func TestClone(t *testing.T) {
	f := openFile(t, compile(t, "gcc -w -O2 -g testdata/values/places.c -lm"))
	var symbol string
	for _, s := range sortedSymbols(f) {
		if strings.HasPrefix(s, "cloned.") {
			symbol = s
		}
	}
	if symbol == "" {
		t.Fatal("gcc made no clone")
	}
	sig, err := f.reader.Signature(f.funcs[symbol])
	if err != nil {
		t.Fatal(err)
	}
	const want = "(a int@rdi, b int@optimised out, c int@optimised out, n node_t *@optimised out) -> ( int@calling convention changed by the optimiser)"
	if got := describe(sig); got != want {
		t.Errorf("%s:\n got %s\nwant %s", symbol, got, want)
	}
}

func TestHasDictionary(t *testing.T) {
	for name, want := range map[string]bool{
		"main.f":                                    false,
		"main.f[go.shape.int]":                      true,
		"main.f[go.shape.map[string]int]":           true,
		"main.f[go.shape.int].func1":                false,
		"main.f[go.shape.int].func1.2":              false,
		"main.f[go.shape.int].gowrap1":              false,
		"main.f[go.shape.int].deferwrap2":           false,
		"main.f[go.shape.int]-range1":               false,
		"main.(*T[go.shape.int]).Method":            true,
		"main.(*T[go.shape.int]).Method.func1":      false,
		"main.(*T[go.shape.int]).Method-fm":         false,
		"main.T[go.shape.int].Method":               true,
		"main.(*T[int]).Method":                     false,
		"main.T[go.shape.struct { x int }].functor": true,
	} {
		if got := hasDictionary(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestProducer(t *testing.T) {
	for producer, want := range map[string]unit{
		"clang LLVM (rustc version 1.95.0 (59807616e 2026-04-14))": {llvm: true, marks: true},
		"clang LLVM (rustc version 1.61.0)":                        {llvm: true, old: true},
		"Debian clang version 14.0.6":                              {llvm: true},
		"clang version 19.1.0":                                     {llvm: true, marks: true},
		"GNU C17 12.2.0 -O2":                                       {},
		"Go cmd/compile go1.26.0":                                  {},
	} {
		var u unit
		if u.producer(producer); u != want {
			t.Errorf("%s: %+v", producer, u)
		}
	}
}
