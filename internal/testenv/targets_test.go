package testenv

import (
	"debug/elf"
	"strings"
	"syscall"
	"testing"

	"github.com/ianlancetaylor/demangle"
)

// variants are the ways in which the targets have to count the same.
var variants = []Target{
	{Source: "go/counts"},
	{Source: "go/counts", Opt: "-O0"},
	{Source: "go/counts", PIE: true, Static: true},
	{Source: "go/counts", Compiler: "go1.22.12"},
	{Source: "c/counts"},
	{Source: "c/counts", Opt: "-O0", NoPIE: true},
	{Source: "c/counts", Opt: "-O3", Static: true, DWARF: 4},
	{Source: "c/counts", Compiler: "clang-19", DWARF: 5},
	{Source: "cpp/counts"},
	{Source: "cpp/counts", Opt: "-O0", DWARF: 4},
	{Source: "cpp/counts", Compiler: "clang++-19", Opt: "-O3", NoPIE: true},
	{Source: "rust/counts"},
	{Source: "rust/counts", Opt: "-O0", DWARF: 5},
	{Source: "rust/counts", Flags: []string{"-Csymbol-mangling-version=v0"}},
	{Source: "rust/counts", Opt: "-O3", NoPIE: true, DWARF: 4},
}

// TestCounts guards that a target's counts are the same however it is built and
// however often it is run, so that a traced run can be held against them.
func TestCounts(t *testing.T) {
	for _, target := range variants {
		t.Run(target.String(), func(t *testing.T) {
			program := Build(t, target)
			first := Run(t, program, "-n", "20")
			if first.ExitCode != 0 || first.Stderr != "" {
				t.Fatalf("exit code %d, stderr %q", first.ExitCode, first.Stderr)
			}
			if second := Run(t, program, "-n", "20"); second != first {
				t.Errorf("a second run differs:\n%+v\n%+v", first, second)
			}
			counts := ParseCounts(t, first.Stdout)
			checkConsistent(t, counts)
			symbols := functionNames(t, program)
			for name := range counts.Functions {
				if symbols[name] == 0 {
					t.Errorf("no function %s in the symbol table", name)
				}
			}
		})
	}
}

func checkConsistent(t *testing.T, counts Counts) {
	t.Helper()
	groups := []map[string]Count{counts.Functions, counts.Children}
	for _, library := range counts.Libraries {
		groups = append(groups, library)
	}
	for _, group := range groups {
		for name, c := range group {
			if c.Calls == 0 || c.Calls != c.Returns+c.Unwound {
				t.Errorf("%s: %+v does not add up", name, c)
			}
		}
	}
	if len(counts.Functions) < 20 {
		t.Errorf("only %d functions", len(counts.Functions))
	}
}

// functionNames are the program's functions by demangled name, without
// parameters, and for Rust without generic arguments.
func functionNames(t *testing.T, program string) map[string]int {
	t.Helper()
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	symbols, err := file.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]int{}
	for _, symbol := range symbols {
		if elf.ST_TYPE(symbol.Info) == elf.STT_FUNC {
			names[demangled(symbol.Name)]++
		}
	}
	return names
}

func demangled(raw string) string {
	options := []demangle.Option{demangle.NoParams, demangle.NoABITags}
	if !strings.HasPrefix(raw, "_R") {
		return demangle.Filter(raw, options...)
	}
	// Rust's newer names have generic arguments, and "<shop::Order>::pay" where older ones have shop::Order::pay.
	name := demangle.Filter(raw, append(options, demangle.NoTemplateParams)...)
	if !strings.HasPrefix(name, "<") {
		name, _, _ = strings.Cut(name, "::<")
		return name
	}
	if kind, method, ok := strings.Cut(name, ">::"); ok && !strings.Contains(kind, " as ") {
		return strings.TrimPrefix(kind, "<") + "::" + method
	}
	return name
}

// TestCrashes guards that targets end in the same way in every run.
func TestCrashes(t *testing.T) {
	for _, c := range []struct {
		target Target
		kind   string
		code   int
		signal syscall.Signal
	}{
		{Target{Source: "go/counts"}, "panic", 2, 0},
		{Target{Source: "go/counts"}, "error", 2, 0},
		{Target{Source: "go/counts"}, "nil", 2, 0},
		{Target{Source: "go/counts"}, "goroutine", 2, 0},
		{Target{Source: "go/counts"}, "repanic", 2, 0},
		{Target{Source: "go/counts"}, "goexit", 2, 0},
		{Target{Source: "go/counts"}, "exit", 3, 0},
		{Target{Source: "c/counts"}, "abort", -1, syscall.SIGABRT},
		{Target{Source: "c/counts"}, "segv", -1, syscall.SIGSEGV},
		{Target{Source: "c/counts"}, "trap", -1, syscall.SIGILL},
		{Target{Source: "c/counts"}, "exit", 3, 0},
		{Target{Source: "c/counts"}, "_exit", 4, 0},
		{Target{Source: "cpp/counts"}, "uncaught", -1, syscall.SIGABRT},
		{Target{Source: "cpp/counts"}, "noexcept", -1, syscall.SIGABRT},
		{Target{Source: "cpp/counts"}, "double", -1, syscall.SIGABRT},
		{Target{Source: "cpp/counts"}, "thread", -1, syscall.SIGABRT},
		{Target{Source: "cpp/counts"}, "terminate", -1, syscall.SIGABRT},
		{Target{Source: "cpp/counts"}, "exit", 3, 0},
		{Target{Source: "rust/counts"}, "panic", 101, 0},
		{Target{Source: "rust/counts"}, "thread", 6, 0},
		{Target{Source: "rust/counts"}, "double", -1, syscall.SIGABRT},
		{Target{Source: "rust/counts"}, "abort", -1, syscall.SIGABRT},
		{Target{Source: "rust/counts"}, "exit", 3, 0},
	} {
		t.Run(c.target.Source+" "+c.kind, func(t *testing.T) {
			result := Run(t, Build(t, c.target), "-n", "3", "-crash", c.kind)
			if result.ExitCode != c.code || result.Signal != c.signal {
				t.Errorf("exit code %d, signal %v; want %d, %v\n%s",
					result.ExitCode, result.Signal, c.code, c.signal, result.Stderr)
			}
			ParseCounts(t, result.Stdout)
		})
	}
}

// TestOpen guards that a target can be held inside of a call.
func TestOpen(t *testing.T) {
	for source, name := range map[string]string{
		"go/counts": "main.held", "c/counts": "held", "cpp/counts": "shop::held", "rust/counts": "counts::held",
	} {
		t.Run(source, func(t *testing.T) {
			p := Start(t, Build(t, Target{Source: source}), "-wait", "open").Ready()
			p.Go()
			p.WaitLine("held")
			if !p.Running() || strings.Contains(p.Stdout(), "{") {
				t.Fatalf("it is not held: %s", p.Stdout())
			}
			p.Send("on")
			counts := ParseCounts(t, p.Wait().Stdout)
			if got := counts.Functions[name]; got != (Count{Calls: 1, Returns: 1}) {
				t.Errorf("%s: %+v", name, got)
			}
		})
	}
}
