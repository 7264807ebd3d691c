package symbols

import (
	"debug/elf"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/trace"
)

// TestCountedFunctionsAreFound: every function that a target says it called is
// selected by its name, and is traceable.
func TestCountedFunctionsAreFound(t *testing.T) {
	for _, target := range []testenv.Target{
		{Source: "c/counts"},
		{Source: "c/counts", Compiler: "clang-14", Opt: "-O0", DWARF: 4},
		{Source: "c/counts", Static: true, NoPIE: true, Strip: testenv.StripDebug},
		{Source: "cpp/counts", Opt: "-O0", DWARF: 4},
		{Source: "cpp/counts", DWARF: 5},
		{Source: "cpp/counts", Compiler: "clang++-14"},
		{Source: "rust/counts"},
		{Source: "rust/counts", Opt: "-O0", DWARF: 5},
		{Source: "rust/counts", Flags: []string{"-Csymbol-mangling-version=v0"}},
		{Source: "go/counts"},
		{Source: "go/counts", Opt: "-O0"},
		{Source: "go/counts", Compiler: "go1.22.12", Strip: testenv.StripAll},
		{Source: "go/counts", Compiler: "go1.24.6", PIE: true, Strip: testenv.StripAll},
		{Source: "go/counts", PIE: true, Strip: testenv.StripAll},
	} {
		t.Run(target.String(), func(t *testing.T) {
			path := testenv.Build(t, target)
			counts := testenv.ParseCounts(t, testenv.Run(t, path, "-n", "1").Stdout)
			if len(counts.Functions) < 10 {
				t.Fatalf("only %d functions", len(counts.Functions))
			}
			f := open(t, path, Options{})
			for name := range counts.Functions {
				name = strings.TrimSuffix(name, ".abi0") // told only by symbol tables
				functions, err := f.Select(Selection{Include: patterns(quoted(name))})
				if err != nil {
					t.Fatal(err)
				}
				if len(functions) == 0 {
					near, _ := f.Nearest(name, 3)
					t.Errorf("%s is not found; near it: %q", name, near)
				}
				for _, fn := range functions {
					if !fn.Traceable {
						t.Errorf("%s: %s", fn.Name, fn.Reason)
					}
					if fn.Name != name && target.Source != "go/counts" {
						t.Errorf("%s is shown as %s", name, fn.Name)
					}
				}
			}
		})
	}
}

// quoted makes a pattern that stands for a name.
func quoted(name string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "{", `\{`).Replace(name)
}

func TestPatterns(t *testing.T) {
	path := compile(t, "g++ -O2 -g", "shop.cpp")
	for _, c := range []struct {
		include, exclude string
		want             []string
	}{
		{"shop::Order::total", "", []string{"shop::Order::total"}},
		{"_ZNK4shop5Order5totalEi", "", []string{"shop::Order::total"}},
		{"shop::Order::total(int) const", "", []string{"shop::Order::total"}},
		{"shop::overloaded", "", []string{"shop::overloaded", "shop::overloaded"}},
		{"shop::overloaded(int)", "", []string{"shop::overloaded"}},
		{"shop::twice*", "*basic_string*", []string{"shop::twice<int>"}},
		{"shop::(anonymous namespace)::hidden", "", []string{"shop::(anonymous namespace)::hidden"}},
		{"*anonymous*", "", []string{"shop::(anonymous namespace)::hidden"}},
		{"shop::Order::operator==", "", []string{"shop::Order::operator=="}},
		{"shop::Order::label", "", []string{"shop::Order::label"}},
		{"shop::Order::label\\[abi:cxx11\\]() const", "", []string{"shop::Order::label"}},
		{"shop::Order::Order", "", []string{"shop::Order::Order", "shop::Order::Order"}},
		{"{plain_c,shop::Order::c*}", "", []string{"plain_c", "shop::Order::count"}},
		{"/^shop::Order::[a-z]+$/", "", []string{"shop::Order::count", "shop::Order::label", "shop::Order::total"}},
		{"shop::order::total", "", nil},
		{"*", "/./", nil},
	} {
		sel := Selection{Include: patterns(c.include)}
		if c.exclude != "" {
			sel.Exclude = patterns(c.exclude)
		}
		if got := names(selection(t, path, sel)); !slices.Equal(got, c.want) {
			t.Errorf("%s without %q: %q, want %q", c.include, c.exclude, got, c.want)
		}
	}
	// The C1 and C2 constructors are one function where they are one address.
	if f := choose(t, path, "shop::Order::count"); len(f) != 1 || f[0].Language != trace.LangCPP || f[0].Line == 0 || !strings.HasSuffix(f[0].File, "testdata/shop.cpp") {
		t.Errorf("%+v", f)
	}
}

// TestPrefilter: what is left out before demangling is what would not have matched.
func TestPrefilter(t *testing.T) {
	path := testenv.Build(t, testenv.Target{Source: "cpp/counts", Opt: "-O0"})
	f := open(t, path, Options{})
	table, err := f.functions()
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, e := range table.entries {
		raw := table.name(e)
		name := demangled(raw)
		if name == raw {
			continue
		}
		tried++
		m := newMatcher(patterns(quoted(name)))
		if !m.match(raw, false) {
			t.Errorf("%s does not match its own name %s (words %q)", raw, name, m.words)
		}
		if full := inFull(raw); !newMatcher(patterns(quoted(full))).match(raw, false) {
			t.Errorf("%s does not match its full name %s", raw, full)
		}
	}
	if tried < 100 {
		t.Errorf("only %d mangled names", tried)
	}
}

// TestDemanglingAgainstBinutils compares names with c++filt's.
func TestDemanglingAgainstBinutils(t *testing.T) {
	path := testenv.Build(t, testenv.Target{Source: "cpp/counts", Opt: "-O0"})
	f := open(t, path, Options{})
	table, err := f.functions()
	if err != nil {
		t.Fatal(err)
	}
	var raws []string
	for _, e := range table.entries {
		if raw := table.name(e); strings.HasPrefix(raw, "_Z") {
			raws = append(raws, raw)
		}
	}
	filter := exec.Command("c++filt", "-p")
	filter.Stdin = strings.NewReader(strings.Join(raws, "\n"))
	out, err := filter.Output()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		want = strings.NewReplacer("[abi:cxx11]", "", ", ,", ",", "> >", ">>").Replace(want)
		got := strings.ReplaceAll(demangled(raws[i]), "> >", ">>")
		// Inheriting constructors are named after either of two classes.
		if got != want && !strings.Contains(raws[i], "ECI1") {
			t.Errorf("%s is %q, want %q", raws[i], got, want)
		}
	}
}

func TestRustNames(t *testing.T) {
	for name, want := range map[string]string{
		"b::shop::each":                                   "b::shop::each",
		"<b::shop::Order>::total":                         "b::shop::Order::total",
		"<b::Stack<u32>>::push":                           "b::Stack::push",
		"<b::Stack<_> as core::fmt::Debug>::fmt":          "<b::Stack as core::fmt::Debug>::fmt",
		"<&mut b::Stack<_> as core::iter::Iter<T>>::next": "<&mut b::Stack as core::iter::Iter>::next",
		"core::ptr::drop_in_place::<alloc::vec::Vec<u8>>": "core::ptr::drop_in_place",
		"b::each::<fn(u8) -> u16>::{closure#0}":           "b::each::{closure#0}",
		"<<b::A as b::T>::Out as b::U>::run":              "<<b::A as b::T>::Out as b::U>::run",
		"b::main::{{closure}}":                            "b::main::{{closure}}",
		"broken<":                                         "broken<",
		"<broken":                                         "<broken",
	} {
		if got := rustName(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestHostileNames(t *testing.T) {
	deep := "_Z" + strings.Repeat("N1a", 4000) + strings.Repeat("E", 4000) + "v"
	wide := "_Z1fIJ" + strings.Repeat("S_S0_S1_", 900) + "EEvv"
	bomb := "_Z1f"
	for range 30 {
		bomb += "N1aIXadL_Z1fEEE" + "S_S0_"
	}
	for _, raw := range []string{deep, wide, bomb, "_ZN", "_R", "_RNv", "_RINvB_B_", strings.Repeat("_Z", 1<<15), "_ZN17h0123456789abcdefE"} {
		if name := demangled(raw); len(name) > 1<<maxDemangledPower && len(name) > len(raw) {
			t.Errorf("%.40s…: %d bytes", raw, len(name))
		}
	}
}

func TestFiles(t *testing.T) {
	path := shapes(t, "-O2")
	for _, c := range []struct {
		file string
		want []string
	}{
		{"twin.c", []string{"other_twin", "twin"}},
		{"testdata/twin.c", []string{"other_twin", "twin"}},
		{"*/twin.c", []string{"other_twin", "twin"}},
		{"win.c", nil},
		{"none.c", nil},
	} {
		if got := names(selection(t, path, Selection{Files: patterns(c.file)})); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.file, got, c.want)
		}
	}
	sel := Selection{Include: patterns("other*"), Files: patterns("twin.c")}
	if got := names(selection(t, path, sel)); !slices.Equal(got, []string{"other_twin"}) {
		t.Errorf("with a pattern: %q", got)
	}
	stripped := testenv.Build(t, testenv.Target{Source: "go/orders", Strip: testenv.StripAll})
	for _, f := range selection(t, stripped, Selection{Files: patterns("orders/store.go")}) {
		if !strings.HasSuffix(f.File, "/store.go") || f.Line == 0 {
			t.Errorf("%s is in %s, line %d", f.Name, f.File, f.Line)
		}
	}
}

func TestNearest(t *testing.T) {
	f := open(t, compile(t, "g++ -O2 -g", "shop.cpp"), Options{})
	near, err := f.Nearest("shop::Order::totl", 3)
	if err != nil || len(near) == 0 || near[0] != "shop::Order::total" {
		t.Errorf("%q, %v", near, err)
	}
}

// Data symbols are found by any address within them, demangled, and no functions are.
func TestObjectAt(t *testing.T) {
	program := testenv.Build(t, testenv.Target{Source: "cpp/counts"})
	f, err := Open(program, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	e, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	symbols, err := e.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	objects, tables := 0, 0
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Value != 0 {
			if name, _, err := f.ObjectAt(s.Value); name != "" || err != nil {
				t.Errorf("%s is taken for the object %s (%v)", s.Name, name, err)
			}
		}
		if elf.ST_TYPE(s.Info) != elf.STT_OBJECT || s.Section == elf.SHN_UNDEF || s.Size == 0 {
			continue
		}
		objects++
		name, off, err := f.ObjectAt(s.Value + s.Size - 1)
		if name == "" || off != s.Size-1 || err != nil {
			t.Errorf("%s: got %q+%d, %v", s.Name, name, off, err)
		}
		if strings.HasPrefix(s.Name, "_ZTV") && strings.HasPrefix(name, "vtable for ") {
			tables++
		}
	}
	if objects < 5 || tables == 0 {
		t.Errorf("%d objects, %d of them tables of virtual functions", objects, tables)
	}
	if name, _, err := f.ObjectAt(1 << 60); name != "" || err != nil {
		t.Errorf("beyond the end: got %q, %v", name, err)
	}
}

func TestNameAt(t *testing.T) {
	f, err := Open(shapes(t, "-O2"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	functions, err := f.Select(Selection{Include: patterns("divided", "leaf")})
	if err != nil || len(functions) != 2 {
		t.Fatal(names(functions), err)
	}
	table, err := f.functions()
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint64]string{}
	want := map[uint64]string{1: ""}
	for _, fn := range functions {
		want[fn.Address], want[fn.Address+fn.Size-1] = fn.Name, fn.Name
		for _, piece := range table.pieces[fn.Address] {
			want[table.addr(table.entries[piece])+1] = fn.Name
		}
	}
	for addr := range want {
		if got[addr], err = f.NameAt(addr); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil { // names outlive the file
		t.Fatal(err)
	}
	if !maps.Equal(got, want) || len(want) < 6 {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestSplitDebugFiles: debug information is found by build id and by debug
// link, also below another root; and refused when it is another program's.
func TestSplitDebugFiles(t *testing.T) {
	program := shapes(t, "-O2")
	dir := t.TempDir()
	stripped := filepath.Join(dir, "root", "opt", "app", "shapes")
	debugFile := filepath.Join(dir, "shapes.debug")
	if err := os.MkdirAll(filepath.Dir(stripped), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "objcopy", "--only-keep-debug", program, debugFile)
	run(t, "objcopy", "--strip-all", "--add-gnu-debuglink="+debugFile, program, stripped)
	root := filepath.Join(dir, "root")
	id := open(t, program, Options{}).BuildID()
	want := choose(t, program, "divided")[0]
	check := func(t *testing.T, place string) {
		t.Helper()
		f := open(t, stripped, Options{Module: "/opt/app/shapes", Root: root})
		functions, err := f.Select(Selection{Include: patterns("divided")})
		if err != nil || len(f.Warnings()) > 0 {
			t.Fatal(err, f.Warnings())
		}
		if place == "" {
			if f.DebugFile() != "" || len(functions) > 0 {
				t.Errorf("debug file %q, functions %q", f.DebugFile(), names(functions))
			}
			return
		}
		if f.DebugFile() != place || len(functions) != 1 {
			t.Fatalf("debug file %q, want %q; functions %q", f.DebugFile(), place, names(functions))
		}
		got := functions[0]
		if got.Module != "/opt/app/shapes" || got.File != want.File || got.Line != want.Line || !slices.Equal(paramNames(got.Params), paramNames(want.Params)) || got.Address != want.Address {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	check(t, "")
	for _, place := range []string{
		"/opt/app/shapes.debug", "/opt/app/.debug/shapes.debug", "/usr/lib/debug/opt/app/shapes.debug",
		"/usr/lib/debug/.build-id/" + id[:2] + "/" + id[2:] + ".debug",
	} {
		copyFile(t, debugFile, root+place)
		check(t, place)
		if err := os.Remove(root + place); err != nil {
			t.Fatal(err)
		}
	}
	// An absolute symbolic link is the traced process's, not ours.
	copyFile(t, debugFile, root+"/store/it.debug")
	if err := os.MkdirAll(root+"/opt/app/.debug", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/store/it.debug", root+"/opt/app/.debug/shapes.debug"); err != nil {
		t.Fatal(err)
	}
	check(t, "/opt/app/.debug/shapes.debug")
	if err := os.Remove(root + "/opt/app/.debug/shapes.debug"); err != nil {
		t.Fatal(err)
	}

	other := shapes(t, "-O1")
	otherDebug := filepath.Join(dir, "other.debug")
	run(t, "objcopy", "--only-keep-debug", other, otherDebug)
	copyFile(t, otherDebug, root+"/opt/app/shapes.debug")
	f := open(t, stripped, Options{Module: "/opt/app/shapes", Root: root})
	if _, err := f.Select(Selection{}); err != nil {
		t.Fatal(err)
	}
	if w := f.Warnings(); len(w) != 1 || !strings.Contains(w[0].Error(), "build id") {
		t.Errorf("another program's debug file: warnings %v", w)
	}
}

// TestDebugLinkChecksum: without build ids, the checksum decides.
func TestDebugLinkChecksum(t *testing.T) {
	program := shapes(t, "-O2 -Wl,--build-id=none")
	dir := t.TempDir()
	stripped, debugFile := filepath.Join(dir, "shapes"), filepath.Join(dir, "shapes.debug")
	run(t, "objcopy", "--only-keep-debug", program, debugFile)
	run(t, "objcopy", "--strip-all", "--add-gnu-debuglink="+debugFile, program, stripped)
	if f := one(t, stripped, "divided"); f.Line == 0 {
		t.Errorf("%+v", f)
	}
	b, err := os.ReadFile(debugFile)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(debugFile, b, 0o644); err != nil {
		t.Fatal(err)
	}
	f := open(t, stripped, Options{})
	if _, err := f.Select(Selection{}); err != nil {
		t.Fatal(err)
	}
	if w := f.Warnings(); len(w) != 1 || !strings.Contains(w[0].Error(), "checksum") {
		t.Errorf("warnings %v", w)
	}
}

func TestCompressedDebugInformation(t *testing.T) {
	want := one(t, shapes(t, "-O2"), "divided")
	for _, flags := range []string{"-O2 -gz", "-O2 -gz=zlib-gnu", "-O2 -gdwarf-4 -gz"} {
		f := one(t, shapes(t, flags), "divided")
		if f.Line != want.Line || f.File != want.File || len(f.Params) != len(want.Params) {
			t.Errorf("%s: %+v, want %+v", flags, f, want)
		}
	}
}

// TestSelectAgain: a file answers any number of selections, and what it gave
// outlives it.
func TestSelectAgain(t *testing.T) {
	f, err := Open(shapes(t, "-O2"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := f.Select(Selection{Include: patterns("leaf")})
	if err != nil {
		t.Fatal(err)
	}
	second, err := f.Select(Selection{Include: patterns("calls_leaf", "leaf")})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := names(append(first, second...)); !slices.Equal(got, []string{"calls_leaf", "leaf", "leaf"}) {
		t.Errorf("%q", got)
	}
	for _, fn := range second {
		if !strings.HasSuffix(fn.File, "shapes.c") || len(fn.Params) == 0 || fn.Params[0].Type.Name != "int" {
			t.Errorf("%+v", fn)
		}
	}
}

func TestClosedFile(t *testing.T) {
	f, err := Open(shapes(t, "-O2"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Select(Selection{}); err == nil {
		t.Error("a closed file answers")
	}
}
