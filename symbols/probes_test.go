package symbols

import (
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/trace"
)

// TestExits: where nothing can unwind through a function it has a uretprobe,
// else probes on its RET instructions; with the reason.
func TestExits(t *testing.T) {
	path := shapes(t, "-O2 -fno-optimize-sibling-calls")
	for _, c := range []struct {
		name   string
		kind   trace.ExitKind
		reason string
	}{
		{"leaf", trace.ExitReturn, "nothing can unwind"},
		{"calls_leaf", trace.ExitReturn, "nothing can unwind"},
		{"calls_library", trace.ExitReturn, "nothing can unwind"},
		{"sets_errno", trace.ExitReturn, "nothing can unwind"},
		{"calls_pointer", trace.ExitSites, "not known"},
		{"calls_printf", trace.ExitSites, "printf of another file"},
		{"calls_unsafe", trace.ExitSites, "printf of another file"},
		{"recursive", trace.ExitSites, "recursive"},
		{"leave", trace.ExitNone, "never returns"},
		{"jumps", trace.ExitNone, "never returns"},
	} {
		f := one(t, path, c.name)
		if !f.Traceable || f.Exit.Kind != c.kind || !strings.Contains(f.Exit.Reason, c.reason) {
			t.Errorf("%s: traceable %v (%s), exit %s because %q; want %s because %q",
				c.name, f.Traceable, f.Reason, f.Exit.Kind, f.Exit.Reason, c.kind, c.reason)
		}
		if (f.Exit.Kind == trace.ExitSites) != (len(f.Exit.Sites) > 0) {
			t.Errorf("%s: exit %+v", c.name, f.Exit)
		}
	}
}

// TestExitsDontDependOnSelection: what is selected together does not change how
// a function's returns are seen.
func TestExitsDontDependOnSelection(t *testing.T) {
	path := testenv.Build(t, testenv.Target{Source: "cpp/counts"})
	f := open(t, path, Options{})
	all, err := f.Select(Selection{Include: patterns("*")})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range all {
		if strings.Contains(want.Name, "std::") || want.Size == 0 {
			continue
		}
		alone, err := f.Select(Selection{Include: patterns(quoted(want.RawName))})
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(alone, func(g *trace.Function) bool { return g.Address == want.Address })
		if i < 0 {
			t.Errorf("%s is not found by its raw name", want.RawName)
			continue
		}
		if alone[i].Exit.Kind != want.Exit.Kind || alone[i].Traceable != want.Traceable {
			t.Errorf("%s: %s alone, %s among others", want.Name, alone[i].Exit.Kind, want.Exit.Kind)
		}
	}
}

// TestGoIsNeverGivenUretprobes, nor is anything that throws or panics.
func TestGoIsNeverGivenUretprobes(t *testing.T) {
	for _, f := range choose(t, testenv.Build(t, testenv.Target{Source: "go/counts"}), "*") {
		if f.Exit.Kind == trace.ExitReturn {
			t.Errorf("%s has a uretprobe", f.Name)
		}
	}
	for _, target := range []testenv.Target{{Source: "cpp/counts", Opt: "-O0"}, {Source: "cpp/counts"}, {Source: "rust/counts", Opt: "-O0"}, {Source: "rust/counts"}} {
		path := testenv.Build(t, target)
		counts := testenv.ParseCounts(t, testenv.Run(t, path, "-n", "1").Stdout)
		unwound := 0
		for name, c := range counts.Functions {
			if c.Unwound == 0 {
				continue
			}
			unwound++
			for _, f := range choose(t, path, quoted(name)) {
				if f.Exit.Kind == trace.ExitReturn {
					t.Errorf("%s: %s is unwound and has a uretprobe", target, f.Name)
				}
			}
		}
		if unwound < 3 {
			t.Errorf("%s: only %d functions are unwound", target, unwound)
		}
	}
}

// TestStubNames: calls through the linkage table are known by the function
// that they lead to.
func TestStubNames(t *testing.T) {
	for _, flags := range []string{"-O2", "-O2 -fcf-protection=full -Wl,-z,ibtplt", "-O2 -Wl,-z,now", "-O2 -no-pie", "-O2 -Wl,-z,lazy -no-pie"} {
		path := shapes(t, flags)
		f := open(t, path, Options{})
		table, err := f.functions()
		if err != nil {
			t.Fatal(err)
		}
		stubs := readStubs(f, table)
		found := map[string]bool{}
		for _, s := range f.img.elf.Sections {
			if !stubSection(s.Name) {
				continue
			}
			for off := uint64(0); off < s.Size; off += 16 {
				if name := stubs.name(s.Addr + off); name != "" {
					found[name] = true
				}
			}
		}
		imported, err := f.img.elf.ImportedSymbols()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"strlen", "longjmp", "exit"} {
			if !slices.ContainsFunc(imported, func(s elf.ImportedSymbol) bool { return s.Name == name }) {
				t.Fatalf("%s: %s is not imported", flags, name)
			}
			if !found[name] {
				t.Errorf("%s: no stub leads to %s: %v", flags, name, found)
			}
		}
	}
	// adrp x16, page of 0x12fb8; ldr x17, [x16, #0xfb8]; add x16, x16, #0xfb8; br x17
	code := []byte{0x90, 0, 0, 0x90, 0x11, 0xde, 0x47, 0xf9, 0x10, 0xe2, 0x3e, 0x91, 0x20, 0x02, 0x1f, 0xd6}
	if slot, ok := slotOfStubARM64(code, 0x2640); !ok || slot != 0x12fb8 {
		t.Errorf("arm64: slot %#x, %v", slot, ok)
	}
}

// TestStaticStubs: in static programs the linkage table leads to indirect
// functions of the program itself.
func TestStaticStubs(t *testing.T) {
	f := one(t, shapes(t, "-O2 -static"), "calls_library")
	if f.Exit.Kind != trace.ExitReturn {
		t.Errorf("exit %s because %q", f.Exit.Kind, f.Exit.Reason)
	}
}

func TestRoles(t *testing.T) {
	library := func(pattern string) string {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		return found[0]
	}
	for _, c := range []struct {
		path string
		want map[trace.Role]int // how many, at least
	}{
		{testenv.Build(t, testenv.Target{Source: "go/minimal"}), map[trace.Role]int{trace.RoleGoPanic: 1, trace.RoleGoFatal: 2, trace.RoleGoUncaught: 1, trace.RoleGoRecovery: 1}},
		{
			testenv.Build(t, testenv.Target{Source: "go/counts", Compiler: "go1.22.12", Strip: testenv.StripAll, PIE: true}),
			map[trace.Role]int{trace.RoleGoPanic: 1, trace.RoleGoFatal: 2, trace.RoleGoUncaught: 1, trace.RoleGoexit: 1, trace.RoleGoRecovery: 1},
		},
		{
			testenv.Build(t, testenv.Target{Source: "cpp/counts", Static: true, NoPIE: true}),
			map[trace.Role]int{trace.RoleThrow: 1, trace.RoleRethrow: 1, trace.RoleCatch: 1, trace.RoleUnwind: 1, trace.RoleForced: 1},
		},
		{testenv.Build(t, testenv.Target{Source: "cpp/counts"}), nil},
		{testenv.Build(t, testenv.Target{Source: "rust/counts"}), map[trace.Role]int{trace.RoleRustPanic: 1, trace.RoleCatch: 2}},
		{library("/lib/x86_64-linux-gnu/libc.so.6"), map[trace.Role]int{trace.RoleLongjmp: 2}},
		{library("/usr/lib/x86_64-linux-gnu/libstdc++.so.6"), map[trace.Role]int{trace.RoleThrow: 1, trace.RoleRethrow: 1, trace.RoleCatch: 1}},
		{library("/lib/x86_64-linux-gnu/libgcc_s.so.1"), map[trace.Role]int{trace.RoleUnwind: 1, trace.RoleForced: 1}},
		{library("/lib64/ld-linux-x86-64.so.2"), map[trace.Role]int{trace.RoleLibraryMap: 1}},
	} {
		roles, err := open(t, c.path, Options{}).Roles()
		if err != nil {
			t.Fatal(err)
		}
		got := map[trace.Role]int{}
		addresses := map[uint64]bool{}
		for _, f := range roles {
			got[f.Role]++
			if !f.Traceable || f.Exit.Kind != trace.ExitNone || addresses[f.Address] {
				t.Errorf("%s: %s: traceable %v (%s), exit %s, there twice: %v", c.path, f.Name, f.Traceable, f.Reason, f.Exit.Kind, addresses[f.Address])
			}
			addresses[f.Address] = true
			// A computed jump at their ends must not keep the probe from the push that they begin with: each throw would have a second trap.
			if (f.Role == trace.RoleUnwind || f.Role == trace.RoleForced) && f.Entry.Site != trace.SiteEmulated {
				t.Errorf("%s: %s is probed at +%d, %s (%s)", c.path, f.Name, f.Entry.Offset, f.Entry.Site, f.Entry.Reason)
			}
			checkRolePlan(t, f)
		}
		for role, n := range c.want {
			if got[role] < n || role != trace.RoleLongjmp && got[role] > n {
				t.Errorf("%s: %d functions of role %d, want %d", c.path, got[role], role, n)
			}
		}
		if c.want == nil && len(roles) > 0 {
			t.Errorf("%s: roles %v", c.path, names(roles))
		}
	}
}

// TestRustCatch holds the names that several compilers give to the function that
// a frame calls which caught a panic.
func TestRustCatch(t *testing.T) {
	for raw, want := range map[string]bool{
		"_RNvNvNtCsjrHSEGnQ3l9_3std9panicking12catch_unwind7cleanup":        true, // 1.95
		"_ZN3std9panicking12catch_unwind7cleanup17h0123456789abcdefE":       true,
		"_ZN3std9panicking3try7cleanup17h0123456789abcdefE":                 true, // 1.85
		"_RNvNtCsjrHSEGnQ3l9_3std2rt7cleanup":                               false,
		"_RNvNtCsgEmfK2I1SDS_4core9panicking16panic_in_cleanup":             false,
		"_ZN3std2rt7cleanup17h0123456789abcdefE":                            false,
		"_RNvNvNtCsiGO2KWI1TB6_12panic_unwind3imp5panic17exception_cleanup": false,
	} {
		if got := role(raw) == trace.RoleCatch; got != want {
			t.Errorf("%s: %v", raw, got)
		}
	}
}

// checkRolePlan makes sure that a plan's moves fill its fields.
func checkRolePlan(t *testing.T, f *trace.Function) {
	t.Helper()
	needed := map[trace.Role]bool{
		trace.RoleGoPanic: true, trace.RoleGoFatal: true, trace.RoleGoUncaught: true, trace.RoleGoRecovery: true, trace.RoleThrow: true, trace.RoleUnwind: true, trace.RoleCatch: true, trace.RoleRustPanic: true,
	}
	if (f.EntryPlan == nil) && needed[f.Role] {
		t.Errorf("%s has no plan", f.Name)
	}
	if f.EntryPlan == nil {
		return
	}
	filled := make([]bool, f.EntryPlan.Root.Size)
	for _, m := range f.EntryPlan.Moves {
		for i := m.Dst; i < m.Dst+m.Size; i++ {
			filled[i] = true
		}
	}
	if slices.Contains(filled, false) {
		t.Errorf("%s: the plan leaves bytes out: %v", f.Name, filled)
	}
}

// TestCompiledCode: a jump table tells code that a compiler made.
func TestCompiledCode(t *testing.T) {
	pad := strings.Repeat("\x90", 12)
	for code, want := range map[string]bool{
		pad + "\x48\x63\x04\x82\x48\x01\xd0\xff\xe0":     true,  // movslq (%rdx,%rax,4),%rax; add %rdx,%rax; jmp *%rax
		pad + "\x48\x63\x04\x82\x48\x01\xd0\x3e\xff\xe0": true,  // notrack
		pad + "\x4d\x63\x1c\x92\x4d\x01\xd3\x41\xff\xe3": true,  // with r10 and r11
		pad + "\xff\x24\xc5\x00\x20\x40\x00":             true,  // jmp *0x402000(,%rax,8)
		pad + "\xff\xe0":                                 false, // jmp *%rax
		pad + "\x48\x01\xd0\xff\xe0":                     false,
		pad + "\xff\x24\x25\x00\x20\x40\x00":             false,
		pad + "\xff":                                     false,
		"":                                               false,
	} {
		if got := jumpTable([]byte(code)); got != want {
			t.Errorf("% x: %v", code, got)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	program, err := os.ReadFile(compile(t, "gcc -O2", "twin.c", "shapes.c"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, change func(b []byte) []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, change(slices.Clone(program)), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	set := func(at int, v byte) func([]byte) []byte {
		return func(b []byte) []byte { b[at] = v; return b }
	}
	fifo := filepath.Join(dir, "fifo")
	run(t, "mkfifo", fifo)
	for path, want := range map[string]string{
		filepath.Join(dir, "missing"): "no such file",
		dir:                           "not a regular file",
		fifo:                          "not a regular file",
		write("empty", func([]byte) []byte { return nil }):                        "empty",
		write("text", func([]byte) []byte { return []byte("#!/bin/sh\nexit\n") }): "not an ELF file",
		write("short", func(b []byte) []byte { return b[:40] }):                   "not an ELF file",
		write("bits", set(elf.EI_CLASS, byte(elf.ELFCLASS32))):                    "32-bit",
		write("endian", set(elf.EI_DATA, byte(elf.ELFDATA2MSB))):                  "little endian",
		write("machine", set(18, byte(elf.EM_RISCV))):                             "EM_RISCV",
		write("object", set(16, byte(elf.ET_REL))):                                "ET_REL",
		write("core", set(16, byte(elf.ET_CORE))):                                 "ET_CORE",
		write("sections", set(40, 0xff)):                                          "",
	} {
		f, err := Open(path, Options{})
		if err == nil {
			f.Close()
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want %q", path, err, want)
		}
	}
}

// TestTruncatedWhileOpen: a file that is cut after it was opened is an error,
// and not the end of this process.
func TestTruncatedWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	copyFile(t, testenv.Build(t, testenv.Target{Source: "go/minimal"}), path)
	f := open(t, path, Options{})
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Select(Selection{}); err == nil || !strings.Contains(err.Error(), "truncated") {
		t.Errorf("error %v", err)
	}
	f.BuildID()
	f.Interpreter()
	f.Dynamic()
}
