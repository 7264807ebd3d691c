package e2e

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// everything selects all that a program and the libraries it unwinds with have:
// the language's runtime, the unwinder, the C library's threads.
func everything(target testenv.Target) []string {
	switch target.Source {
	case "go/counts":
		return []string{"-s", "main.*", "-s", "fmt.*", "-s", "sync*", "-s", "os.*", "-s", "encoding*", "-s", "reflect.*", "-s", "strconv.*", "-s", "internal/*"}
	case "rust/counts":
		return []string{"-s", "*"}
	}
	return []string{"-s", "*", "-l", "libstdc++.so.6*", "-l", "libgcc_s.so.1"}
}

// TestNoHarm holds that a program whose every function is traced says the same
// and ends the same as when it is not, when it is unwound and when it crashes.
func TestNoHarm(t *testing.T) {
	testenv.RequireBPF(t)
	for _, c := range []struct {
		target  testenv.Target
		crashes []string
	}{
		{testenv.Target{Source: "go/counts"}, []string{"panic", "error", "nil", "goroutine", "repanic", "goexit", "exit"}},
		{testenv.Target{Source: "go/counts", Compiler: "go1.22.12", Opt: "-O0"}, []string{"panic", "repanic"}},
		{testenv.Target{Source: "c/counts"}, []string{"abort", "segv", "trap", "exit", "_exit"}},
		{testenv.Target{Source: "c/counts", Compiler: "clang-19", Opt: "-O3"}, []string{"segv"}},
		{testenv.Target{Source: "cpp/counts"}, []string{"uncaught", "noexcept", "double", "thread", "terminate", "exit"}},
		{testenv.Target{Source: "cpp/counts", Static: true}, []string{"uncaught"}},
		{testenv.Target{Source: "cpp/counts", Opt: "-O0"}, []string{"noexcept"}},
		{testenv.Target{Source: "rust/counts"}, []string{"panic", "thread", "double", "abort", "exit"}},
		{testenv.Target{Source: "rust/counts", Opt: "-O0"}, []string{"panic"}},
	} {
		t.Run(c.target.String(), func(t *testing.T) {
			t.Parallel()
			program := testenv.Build(t, c.target)
			n := "20"
			if c.target.Static {
				n = "2" // its unwinder searches long, and every step of it is traced
			}
			for range 2 {
				compareRuns(t, c.target, program, "-n", n)
			}
			for _, crash := range c.crashes {
				compareRuns(t, c.target, program, "-n", "2", "-crash", crash)
			}
		})
	}
}

// compareRuns runs a program untraced and traced.
func compareRuns(t *testing.T, target testenv.Target, program string, args ...string) {
	t.Helper()
	args = append([]string{"-wait"}, args...)
	run := func(traced bool) testenv.Result {
		// Under a folder of its own each: a crash may leave a core.
		command := exec.Command(program, args...)
		command.Dir = t.TempDir()
		p := testenv.StartCommand(t, command).Ready()
		var tr *tracer
		if traced {
			tr = attachPID(t, p.PID, everything(target)...)
		}
		p.Go()
		result := p.Wait()
		if traced {
			tr.end()
			db := tr.open()
			sound(t, db)
			if n := number(t, db, "SELECT count(*) FROM process_trace"); n == 0 {
				t.Errorf("%v: nothing was recorded", args)
			}
		}
		result.Stderr = addresses.ReplaceAllString(result.Stderr, "ADDRESS")
		return result
	}
	want, got := run(false), run(true)
	if got != want {
		t.Errorf("%s %v: traced it ended with\n%+v\nuntraced with\n%+v", filepath.Base(program), args, got, want)
	}
}

// addresses are what differs between two runs of a program that dies: where
// things lie, threads' and goroutines' numbers, and how long something took.
var addresses = regexp.MustCompile(`0x[0-9a-f]+\??|goroutine \d+|thread '[^']*' \(\d+\)|\+0x[0-9a-f]+|\[running[^]]*\]|gp=\S+|m=\d+`)
