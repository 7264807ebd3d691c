package sites

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// realBinary is a program that nobody wrote for this package, and the shares of
// its functions that must be traceable, have all exits known, and have a cheap entry.
type realBinary struct {
	name                        string
	path                        string
	isGo                        bool
	traceable, exits, emulation float64
}

const libraries = "/usr/lib/x86_64-linux-gnu"

// realBinaries are installed programs and freshly built ones, of four languages.
// One that is missing fails the test: what is safe here is argued from them.
func realBinaries(t testing.TB) []realBinary {
	return []realBinary{
		{"go", goCompiler(t), true, .99, .99, .80},
		{"postgres", "/usr/lib/postgresql/15/bin/postgres", false, .99, .99, .70},
		{"libpython", libraries + "/libpython3.11.so.1.0", false, .99, .99, .55},
		{"libcrypto", libraries + "/libcrypto.so.3", false, .99, .99, .45},
		{"libssl", libraries + "/libssl.so.3", false, .99, .99, .30},
		{"libc", libraries + "/libc.so.6", false, .99, .99, .45},
		{"libstdc++", libraries + "/libstdc++.so.6", false, .99, .99, .55},
		{"c++", compile(t, "g++", "-O2", "-o", "$OUT", "testdata/program.cpp"), false, .99, .85, .30},
		{"c++ -O0", compile(t, "g++", "-O0", "-o", "$OUT", "testdata/program.cpp"), false, .99, .99, .90},
		{"rust", compile(t, "rustc", "-O", "-o", "$OUT", "testdata/program.rs"), false, .99, .99, .70},
	}
}

// compile runs a compiler, with $OUT standing for the path of its output, which it returns.
func compile(t testing.TB, command string, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "program")
	for i, a := range args {
		if a == "$OUT" {
			args[i] = out
		}
	}
	cmd := exec.Command(command, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, msg)
	}
	return out
}

// goCompiler is a large Go program that comes with every toolchain.
func goCompiler(t testing.TB) string {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(root)), "pkg/tool/linux_amd64/compile")
}

// counts is what became of a binary's functions.
type counts struct {
	functions, refused, exitless, emulated, returns int
}

// TestRealBinaries compares every instruction's size and every site with
// objdump's listing: no site lies off a boundary, and every return inside a
// function whose exits are known is one of them.
func TestRealBinaries(t *testing.T) {
	for _, rb := range realBinaries(t) {
		t.Run(rb.name, func(t *testing.T) {
			b := openBinary(t, rb.path)
			l := disassemble(t, b)
			compareSizes(t, b, l)
			var c counts
			morestack := b.morestack()
			for _, s := range b.funcs {
				checkFunction(t, b, l, s, b.input(s, rb.isGo, morestack), &c)
			}
			share := func(n int) float64 { return float64(n) / float64(c.functions) }
			traceable, exits, emulated := share(c.functions-c.refused), share(c.functions-c.refused-c.exitless), share(c.emulated)
			t.Logf("%d functions: %.2f%% traceable, %.2f%% with exit sites, %.1f%% with an emulated entry; %d returns",
				c.functions, 100*traceable, 100*exits, 100*emulated, c.returns)
			if traceable < rb.traceable || exits < rb.exits || emulated < rb.emulation {
				t.Errorf("shares fell below %v, %v, %v", rb.traceable, rb.exits, rb.emulation)
			}
		})
	}
}

// compareSizes decodes at every boundary of the listing. What objdump decodes and
// this package doesn't must be data or obsolete: it may not lie in a function.
func compareSizes(t *testing.T, b *binary, l *listing) {
	unknown := 0
	for i := range b.text {
		size := l.size(b.base + uint64(i))
		if size == 0 || b.text[i] == 0x9b { // objdump joins fwait to what follows
			continue
		}
		var x x86
		ok := x.decode(b.text[i:])
		if n := plainSize(b.text[i:]); n != 0 && (!ok || n != int(x.size)) {
			t.Errorf("% x at %#x: size %d, in short %d", b.text[i:][:size], b.base+uint64(i), x.size, n)
		}
		switch {
		case !ok:
			unknown++
		case int(x.size) != size && x.rex == 0: // objdump splits off misplaced REX prefixes
			t.Errorf("% x at %#x: size %d, objdump has %d", b.text[i:][:size], b.base+uint64(i), x.size, size)
		}
	}
	if unknown > 0 {
		t.Logf("%d instructions of objdump's are not known here", unknown)
	}
}

func checkFunction(t *testing.T, b *binary, l *listing, s symbol, in Input, c *counts) {
	c.functions++
	r, err := Analyze(in)
	if err != nil {
		c.refused++
		return
	}
	onBoundary := func(site Site) {
		if addr := s.addr + uint64(site.Offset); l.size(addr) == 0 {
			t.Errorf("%s: site +%#x lies inside an instruction", s.name, site.Offset)
		}
	}
	onBoundary(r.Entry)
	if r.EntryReason == "" {
		t.Errorf("%s: no reason for the entry", s.name)
	}
	if r.Entry.Kind != SingleStep {
		c.emulated++
	}
	if r.ExitReason != "" {
		c.exitless++
		if len(r.Exits) != 0 {
			t.Errorf("%s: exits in spite of %s", s.name, r.ExitReason)
		}
		return
	}
	exits := map[int64]bool{}
	for _, e := range r.Exits {
		onBoundary(e.Site)
		exits[e.Offset] = true
	}
	if r.NoReturn != (len(exits) == 0) {
		t.Errorf("%s: no return is %v with %d exits", s.name, r.NoReturn, len(exits))
	}
	for off := range int64(s.size) {
		if l.marks[s.addr-l.base+uint64(off)] == startRet {
			c.returns++
			if !exits[off] {
				t.Errorf("%s: the return at +%#x is no exit", s.name, off)
			}
		}
	}
}
