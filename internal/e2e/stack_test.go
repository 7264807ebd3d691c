package e2e

import (
	"database/sql"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// stackVariants are the builds whose recorded stacks are held against what the
// targets print of themselves.
var stackVariants = []testenv.Target{
	{Source: "go/stacks"},
	{Source: "go/stacks", Opt: "-O0"},
	{Source: "go/stacks", PIE: true},
	{Source: "go/stacks", Strip: testenv.StripAll},
	{Source: "go/stacks", PIE: true, Strip: testenv.StripAll, Compiler: "go1.24.6"},
	{Source: "go/stacks", Compiler: "go1.22.12"},
	{Source: "cpp/stacks"},
	{Source: "cpp/stacks", Opt: "-O0"},
	{Source: "cpp/stacks", NoPIE: true, DWARF: 4},
	{Source: "cpp/stacks", Compiler: "clang++-19"},
	{Source: "cpp/stacks", Opt: "-O3", Static: true},
	{Source: "cpp/stacks", Split: testenv.SplitLink},
	{Source: "rust/stacks"},
	{Source: "rust/stacks", Opt: "-O0"},
	{Source: "rust/stacks", NoPIE: true, DWARF: 4},
}

// TestStacks holds that the stack of an error is where it was raised or
// returned: the one that the target itself has found there.
func TestStacks(t *testing.T) {
	testenv.RequireBPF(t)
	for _, target := range stackVariants {
		t.Run(target.String(), func(t *testing.T) {
			t.Parallel()
			program := testenv.Build(t, target)
			p := testenv.Start(t, program, "-wait").Ready()
			tr := attachPID(t, p.PID, selectStacks(target)...)
			p.Go()
			result := p.Wait()
			if result.ExitCode != 0 {
				t.Fatalf("the target ended with %+v", result)
			}
			tr.end()
			want := printedStacks(t, program, target, result.Stdout)
			if len(want) < 3 {
				t.Fatalf("the target prints %q", result.Stdout)
			}
			db := tr.open()
			for name, stack := range want {
				if target.Strip == testenv.StripAll && !strings.Contains(name, "panics") && !strings.Contains(name, "breaks") && !strings.Contains(name, "derefs") {
					continue // without debug information nobody knows that it returned an error
				}
				compareStack(t, name, stack, stackOf(t, db, name), name == "stacks::big") // its frames are larger than what is copied
			}
			checkShared(t, db, target)
		})
	}
}

func selectStacks(target testenv.Target) []string {
	if strings.HasPrefix(target.Source, "c/") {
		return []string{"-s", "*"}
	}
	if strings.HasPrefix(target.Source, "go/") {
		return []string{"-s", "main.*"}
	}
	return []string{"-s", "stacks::*"}
}

// checkShared holds which calls have the stack of another: those that one raise
// has unwound.
func checkShared(t *testing.T, db *sql.DB, target testenv.Target) {
	t.Helper()
	for from, others := range map[string][]string{
		"stacks::fails":       {"stacks::passes", "stacks::recurses"},
		"stacks::tail_callee": {"stacks::realigned"},
		"stacks::panics":      {"stacks::passes"},
	} {
		for _, other := range others {
			if (from == "stacks::panics") != strings.HasPrefix(target.Source, "rust/") || strings.HasPrefix(target.Source, "go/") {
				continue
			}
			if a, b := stackOf(t, db, from), stackOf(t, db, other); a == "" || a != b {
				t.Errorf("%s was unwound with %s and has another stack:\n%s", other, from, b)
			}
		}
	}
}

// TestUncaught holds what is recorded of a process that dies of what nobody has
// caught, or of a signal: the calls that were open have failed, with the stack of
// where it happened.
func TestUncaught(t *testing.T) {
	testenv.RequireBPF(t)
	for _, c := range []struct {
		target                     testenv.Target
		args                       []string
		raiser, caller, kind, says string
	}{
		{testenv.Target{Source: "c/stacks"}, []string{"segv"}, "faults", "outer", "signal SIGSEGV", "killed by SIGSEGV"},
		{testenv.Target{Source: "c/stacks", Opt: "-O0", NoPIE: true}, []string{"segv"}, "faults", "sorts", "signal SIGSEGV", "killed by SIGSEGV"},
		{testenv.Target{Source: "c/stacks", Compiler: "clang-19"}, []string{"abort"}, "aborts", "sorts", "signal SIGABRT", "killed by SIGABRT"},
		{testenv.Target{Source: "c/stacks", Static: true}, []string{"abort"}, "aborts", "outer", "signal SIGABRT", "killed by SIGABRT"},
		{testenv.Target{Source: "c/stacks"}, []string{"stop"}, "stops", "outer", "signal SIGALRM", "killed by SIGALRM"},
		{testenv.Target{Source: "c/stacks"}, []string{"handler"}, "aborts", "handler", "signal SIGABRT", "killed by SIGABRT"},
		{testenv.Target{Source: "cpp/stacks"}, []string{"throw"}, "stacks::dies", "stacks::outer", "std::logic_error", "uncaught"},
		{testenv.Target{Source: "cpp/stacks", Static: true}, []string{"throw"}, "stacks::dies", "stacks::outer", "std::logic_error", "uncaught"},
		{testenv.Target{Source: "cpp/stacks", Opt: "-O0"}, []string{"abort"}, "stacks::aborts", "stacks::outer", "signal SIGABRT", "killed by SIGABRT"},
		{testenv.Target{Source: "cpp/stacks"}, []string{"segv"}, "stacks::faults", "stacks::outer", "signal SIGSEGV", "killed by SIGSEGV"},
		{testenv.Target{Source: "rust/stacks"}, []string{"-crash"}, "stacks::panics", "stacks::passes", "panic", "number 8"},
		{testenv.Target{Source: "go/stacks"}, []string{"-crash"}, "main.dies", "main.dies", "*errors.errorString", "no"},
		{testenv.Target{Source: "go/stacks"}, []string{"-fatal"}, "main.fatals", "main.fatals", "fatal error", "sync: unlock of unlocked mutex"},
		{testenv.Target{Source: "go/stacks", Compiler: "go1.22.12"}, []string{"-fatal"}, "main.fatals", "main.fatals", "fatal error", "sync: unlock of unlocked mutex"},
	} {
		t.Run(c.target.String()+" "+c.args[0], func(t *testing.T) {
			t.Parallel()
			program := testenv.Build(t, c.target)
			for _, running := range []bool{true, false} {
				var tr *tracer
				var stdout string
				if running {
					p := testenv.Start(t, program, append([]string{"-wait"}, c.args...)...).Ready()
					tr = attachPID(t, p.PID, selectStacks(c.target)...)
					p.Go()
					stdout = p.Wait().Stdout
					tr.end()
				} else {
					tr = begin(t, append(append(selectStacks(c.target), "--", program), c.args...)...)
					stdout = tr.Wait().Stdout
				}
				want := printedStacks(t, program, c.target, stdout)[c.raiser]
				if len(want) < 2 {
					t.Fatalf("the target printed %q", stdout)
				}
				db := tr.open()
				stack := stackOf(t, db, c.raiser)
				// It may have ended before its memory map could be read.
				early := !running && !c.target.Static && strings.Contains(stack, "\n(not the code of a file")
				compareStack(t, c.raiser, want, stack, early)
				if got := stackOf(t, db, c.caller); got != stack {
					t.Errorf("%s has another stack:\n%s", c.caller, got)
				}
				got := text(t, db, "SELECT DISTINCT status, error_type, error FROM process_trace WHERE process IN (?, ?) AND id >= (SELECT max(id) FROM process_trace WHERE process = ?)", c.raiser, c.caller, c.caller)
				if want := "ERR|" + c.kind + "|" + c.says; got != want {
					t.Errorf("running %v: got %q, want %q", running, got, want)
				}
			}
		})
	}
}

// TestStackOfUretprobes holds that a stack shows where functions return to also
// where uretprobes have put their own address.
func TestStackOfUretprobes(t *testing.T) {
	testenv.RequireBPF(t)
	for _, opt := range []string{"-O0", "-O2"} {
		program := testenv.Build(t, testenv.Target{Source: "c/stacks", Opt: opt})
		list := testenv.Run(t, testenv.Binary(t), "list", program, "-s", "quiet*", "-o", "json").Stdout
		if strings.Count(list, `"uretprobe"`) != 3 {
			t.Fatalf("%s: not all have uretprobes: %s", opt, list)
		}
		p := testenv.Start(t, program, "-wait", "quiet").Ready()
		tr := attachPID(t, p.PID, "-s", "quiet*")
		p.Go()
		p.Wait()
		tr.end()
		stack := stackOf(t, tr.open(), "quiet_leaf")
		var functions []string
		for _, l := range strings.Split(stack, "\n") {
			if function, place, _ := strings.Cut(l, " "); strings.Contains(place, "/stacks/main.c:") {
				functions = append(functions, function)
			}
		}
		if got := strings.Join(functions, " "); got != "quiet_leaf quiet_middle quiet between outer compare sorts main" {
			t.Errorf("%s: got\n%s", opt, stack)
		}
	}
}

// stackOf is the stack of a function's last call that failed.
func stackOf(t *testing.T, db *sql.DB, function string) string {
	t.Helper()
	return text(t, db, "SELECT d.stack FROM process_trace p JOIN data_trace d USING (id) WHERE p.process = ? AND p.status = 'ERR' ORDER BY p.id DESC LIMIT 1", function)
}

// printedFrame is a line of a stack that a target has printed.
type printedFrame struct{ function, place string }

// printedStacks are the stacks that a target has printed, by what it says that
// they are of; of a function that has printed several, the last.
func printedStacks(t *testing.T, program string, target testenv.Target, stdout string) map[string][]printedFrame {
	t.Helper()
	lines := map[string][]string{}
	last := ""
	for _, line := range strings.Split(stdout, "\n") {
		rest, ok := strings.CutPrefix(line, "at ")
		if !ok {
			last = ""
			continue
		}
		name, frame, _ := strings.Cut(rest, " ")
		if name != last || strings.HasPrefix(strings.TrimSpace(frame), "0: ") {
			lines[name] = nil
		}
		last = name
		lines[name] = append(lines[name], frame)
	}
	stacks := map[string][]printedFrame{}
	for name, list := range lines {
		switch {
		case strings.HasPrefix(target.Source, "go/"):
			for _, l := range list {
				function, place, _ := strings.Cut(l, " ")
				stacks[name] = append(stacks[name], printedFrame{function, place})
			}
		case strings.HasPrefix(target.Source, "rust/"):
			stacks[name] = rustStack(list)
		default:
			stacks[name] = addr2line(t, program, list)
		}
	}
	return stacks
}

var rustFrame = regexp.MustCompile(`^\s*\d+: (.*)$`)

// rustStack reads std::backtrace's form, from the caller of say to main.
func rustStack(lines []string) (frames []printedFrame) {
	function, started := "", false
	for _, l := range lines {
		if m := rustFrame.FindStringSubmatch(l); m != nil {
			function = m[1]
			continue
		}
		place, ok := strings.CutPrefix(strings.TrimSpace(l), "at ")
		if !ok {
			continue
		}
		if started {
			place = place[:strings.LastIndexByte(place, ':')] // the column
			frames = append(frames, printedFrame{function, filepath.Clean(place)})
		}
		started = started || strings.HasSuffix(function, "::say")
	}
	return frames
}

// addr2line asks LLVM (binutils errs with DWARF 5) for the functions and places of return addresses, up to main.
func addr2line(t *testing.T, program string, addresses []string) (frames []printedFrame) {
	t.Helper()
	for _, a := range addresses {
		n, err := strconv.ParseUint(a, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("llvm-addr2line-19", "-C", "-f", "-i", "-e", program, fmt.Sprintf("%#x", n-1)).Output()
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		for i := 0; i+1 < len(lines); i += 2 {
			function, _, _ := strings.Cut(lines[i], "(")
			if function == "operator" || function == "_FUN" || strings.Contains(lines[i], "lambda") || strings.Contains(lines[i], "$_") {
				function = "" // a closure's, of which there are several forms
			}
			place, _, _ := strings.Cut(lines[i+1], " ")
			frames = append(frames, printedFrame{function, place})
			if function == "main" {
				return frames
			}
		}
	}
	return frames
}

// compareStack compares a recorded stack with a printed one, from the function
// that has printed it on. Where exactly that one has failed only the recorded one tells.
// An early end is one that says why.
func compareStack(t *testing.T, name string, want []printedFrame, got string, early bool) {
	t.Helper()
	lines := strings.Split(got, "\n")
	keep := func(place string) bool { return true }
	if !strings.HasPrefix(name, "main.") {
		// Of C's and Rust's own libraries the target doesn't know, or has other names.
		keep = func(place string) bool { return strings.Contains(place, "/stacks/main.") }
	}
	want = slices.DeleteFunc(want, func(f printedFrame) bool { return !keep(f.place) })
	whole := !strings.HasPrefix(lines[len(lines)-1], "(")
	if !whole {
		lines = lines[:len(lines)-1]
	}
	if whole == early {
		t.Errorf("%s: whole is %v\n%s", name, whole, got)
	}
	start := 0
	for start < len(lines) && !strings.HasPrefix(lines[start], want[0].function+" ") {
		start++
	}
	for _, l := range lines[:start] {
		// What the language has for raising, or the C library for signals, is above.
		if strings.Contains(l, "/stacks/main.") {
			t.Errorf("%s: %s is not where it failed, %+v is\n%s", name, l, want[0], got)
			return
		}
	}
	lines = slices.DeleteFunc(lines[start:], func(l string) bool {
		// runtime.Callers leaves out what runs deferred functions.
		return !keep(l) || strings.HasPrefix(l, "runtime.deferreturn ")
	})
	if !whole {
		want = want[:min(len(lines), len(want))]
	}
	if len(lines) < len(want) {
		t.Errorf("%s: a stack of %d frames of %d\n%s\nit printed %v", name, len(lines), len(want), got, want)
		return
	}
	for i, w := range want {
		function, place, _ := strings.Cut(lines[i], " ")
		if strings.Contains(w.function, "<") || strings.Contains(w.function, "{{") || w.function == "" {
			function = w.function // forms of generic names differ
			_, place, _ = cutLast(lines[i], " ")
		}
		if i == 0 && !strings.HasPrefix(lines[0], want[0].function+" ") || i > 0 && (function != w.function || place != w.place) {
			t.Errorf("%s: frame %d is %q, the target printed %+v\n%s", name, i, lines[i], w, got)
			return
		}
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
