package e2e

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// errnoVariants are builds of c/errors: C libraries that keep errno in places of their own.
var errnoVariants = []testenv.Target{
	{Source: "c/errors"},
	{Source: "c/errors", Opt: "-O0"},
	{Source: "c/errors", NoPIE: true, Compiler: "clang-19"},
	{Source: "c/errors", Opt: "-O0", Compiler: "clang-19"},
	{Source: "c/errors", Static: true},
	{Source: "c/errors", Static: true, Compiler: "clang-19", Flags: []string{"-static-pie", "-fPIE"}},
	{Source: "c/errors", Compiler: "musl-gcc"},
	{Source: "c/errors", Opt: "-O0", Static: true, Compiler: "musl-gcc"},
}

var errnoRules = []string{
	"negates=negative", "tears=nonzero", "finds_none=null", "negative_*=negative", "null_*=null", "nonzero_*=nonzero", "err_*=errno",
	"{forgets,opens,maps,finds,sets,quiet,jumps,passes,in_thread,in_child,store_opens}=errno",
}

// TestErrno holds that a call which failed by a rule tells what errno was then, in its own thread, that it has
// the stack of where it returned, and that exactly those calls have failed that C's own comparison says.
func TestErrno(t *testing.T) {
	testenv.RequireBPF(t)
	for _, target := range errnoVariants {
		t.Run(target.String(), func(t *testing.T) {
			t.Parallel()
			program := testenv.Build(t, target)
			args := []string{"--file", "*/c/errors/*", "--ring-buffer", "64M"}
			for _, r := range errnoRules {
				args = append(args, "--error", r)
			}
			if !target.Static {
				args = append(args, "-l", filepath.Join(filepath.Dir(program), "libstore.so"))
			}
			untraced := testenv.Run(t, program).Stdout
			t.Run("command", func(t *testing.T) {
				tr := begin(t, append(args, "--", program)...)
				if got := tr.end().Stdout; got != untraced {
					t.Errorf("it printed %q, untraced %q", got, untraced)
				}
				checkErrno(t, tr.open(), target, untraced)
			})
			t.Run("running", func(t *testing.T) {
				p := testenv.Start(t, program, "-wait").Ready()
				tr := attachPID(t, p.PID, args...)
				p.Go()
				if got := p.Wait().Stdout; got != "ready\n"+untraced {
					t.Errorf("it printed %q, untraced %q", got, untraced)
				}
				tr.end()
				checkErrno(t, tr.open(), target, untraced)
			})
		})
	}
}

func checkErrno(t *testing.T, db *sql.DB, target testenv.Target, stdout string) {
	t.Helper()
	want := map[string][]string{}
	for _, line := range strings.Split(stdout, "\n") {
		var function string
		var n, errno, at int
		var result int64
		if k, _ := fmt.Sscanf(line, "failed %s %d %d %d", &function, &result, &errno, &at); k == 4 {
			if result != 0 || function == "finds" {
				want[function] = append(want[function], message(result, errno))
			}
			checkCaller(t, db, function, at)
		} else if k, _ := fmt.Sscanf(line, "%s %d", &function, &n); k == 2 {
			if got := number(t, db, "SELECT count(*) FROM process_trace WHERE process = ? AND status = 'ERR'", function); got != int64(n) {
				t.Errorf("%s has failed %d times, not %d", function, n, got)
			}
		}
	}
	if len(want["sets"]) != 140 || target.Static == (len(want["store_opens"]) == 1) {
		t.Fatalf("the target printed %q", stdout)
	}
	want["quiet"] = append(want["quiet"], want["jumps"]...) // which call them
	want["opens"] = append(want["opens"], want["passes"]...)
	for function, messages := range want {
		got := text(t, db, "SELECT error FROM process_trace WHERE process = ? AND status = 'ERR' AND error_type = 'errno' ORDER BY id", function)
		if got == "" && number(t, db, "SELECT count(*) FROM data_trace WHERE process = ? AND flags = 'tail-call'", function) == int64(len(messages)) && target.Opt != "-O0" {
			continue // its result is another function's
		}
		if got != strings.Join(messages, "\n") {
			t.Errorf("%s: got\n%s\nwant\n%s", function, got, strings.Join(messages, "\n"))
		}
	}
	got := text(t, db, "SELECT process, error_type, error FROM process_trace WHERE process IN ('negates', 'tears', 'finds_none', 'in_child') ORDER BY id")
	if got != `negates|negative|returned -2 (ENOENT: no such file or directory)
negates|negative|returned -1; errno was EBUSY: device or resource busy
negates|negative|returned -5000
tears|nonzero|returned TORN
finds_none|null|returned 0; errno was EBUSY: device or resource busy
in_child|errno|returned -1 (errno EXDEV: invalid cross-device link)` {
		t.Errorf("got %s", got)
	}
	checkThreads(t, db)
	for _, statement := range []string{
		"SELECT count(*) FROM process_trace JOIN data_trace USING (id) WHERE status = 'ERR' AND coalesce(stack, '') = ''",
		"SELECT count(*) FROM process_trace JOIN data_trace USING (id) WHERE status = 'OK' AND coalesce(stack, '') <> ''",
	} {
		if n := number(t, db, statement); n != 0 {
			t.Errorf("%d from %s", n, statement)
		}
	}
}

// checkCaller holds that the stack of a function that failed shows it, and where it was called.
func checkCaller(t *testing.T, db *sql.DB, function string, line int) {
	t.Helper()
	place, caller := function+` /.*/c/errors/main.c:\d+`, "main"
	if function == "store_opens" {
		// The process may have ended before the map with its library was read.
		place, caller = `(store_opens /.*/c/errors/lib/store.c:\d+|\?\? 0x\w+)`, "library"
	}
	shape := fmt.Sprintf(`>%s\n%s /.*/c/errors/main.c:%d(\n|$)`, place, caller, line)
	stacks := text(t, db, "SELECT '>' || stack FROM process_trace JOIN data_trace USING (id) WHERE process_trace.process = ? AND status = 'ERR'", function)
	if stacks != "" && !regexp.MustCompile(shape).MatchString(stacks) {
		t.Errorf("%s was called in line %d, its stacks are\n%s", function, line, stacks)
	}
}

// checkThreads holds that each thread's calls have its own errno.
func checkThreads(t *testing.T, db *sql.DB) {
	t.Helper()
	rows := strings.Split(text(t, db, "SELECT json_extract(args, '$.code'), error FROM process_trace JOIN data_trace USING (id) WHERE process_trace.process = 'in_thread'"), "\n")
	if len(rows) != 400 {
		t.Errorf("%d calls in threads", len(rows))
	}
	for _, row := range rows {
		var code int
		if _, err := fmt.Sscanf(row, "%d|", &code); err != nil || !strings.HasSuffix(row, "|"+message(-1, code)) {
			t.Errorf("got %q", row)
		}
	}
}

// message is the error of a call that returned a result and has set errno.
func message(result int64, errno int) string {
	said := "NULL"
	if result != 0 {
		said = fmt.Sprint(result)
	}
	name := errnoNames()[errno]
	switch {
	case errno == 133:
		name += ": memory page has hardware error"
	case name != "":
		name += ": " + syscall.Errno(errno).Error()
	default:
		name = fmt.Sprint(errno)
	}
	return "returned " + said + " (errno " + name + ")"
}

// TestErrnoOfProcesses holds that each process has an errno of its own, also one that executes a program
// with another C library.
func TestErrnoOfProcesses(t *testing.T) {
	testenv.RequireBPF(t)
	// Of its own: other tests' processes are not to be traced.
	own := []string{"-DPROCESSES"}
	glibc := testenv.Build(t, testenv.Target{Source: "c/errors", Flags: own})
	musl := testenv.Build(t, testenv.Target{Source: "c/errors", Compiler: "musl-gcc", Flags: own})
	static := testenv.Build(t, testenv.Target{Source: "c/errors", Static: true, Flags: own})
	var want []string
	for code := 1; code <= 140; code++ {
		want = append(want, message(-1, code))
	}
	args := []string{"-s", "sets", "--error", "sets=errno", "--ring-buffer", "64M"}
	errors := "SELECT error FROM process_trace WHERE status = 'ERR' ORDER BY id"

	t.Run("running at once", func(t *testing.T) {
		var processes []*testenv.Process
		all := args
		for _, program := range []string{glibc, musl, static} {
			p := testenv.Start(t, program, "-wait").Ready()
			processes = append(processes, p)
			all = append(all[:len(all):len(all)], "-p", strconv.Itoa(p.PID))
		}
		tr := attach(t, all...)
		for _, p := range processes {
			p.Go()
		}
		tr.end()
		db := tr.open()
		for _, p := range processes {
			if got := text(t, db, "SELECT error FROM process_trace WHERE status = 'ERR' AND pid = ? ORDER BY id", p.PID); got != strings.Join(want, "\n") {
				t.Errorf("%s: got\n%s", p.Wait().Stdout, got)
			}
		}
	})
	t.Run("one after the other", func(t *testing.T) {
		for _, programs := range [][2]string{{glibc, musl}, {musl, static}, {static, glibc}} {
			tr := attach(t, append([]string{"--exe", programs[0], "--exe", programs[1]}, args...)...)
			p := testenv.Start(t, programs[0], "-wait", "-then", programs[1]).Ready()
			again(p)
			if result := p.Wait(); result.ExitCode != 0 {
				t.Fatalf("it ended with %+v", result)
			}
			tr.stop()
			if got := text(t, tr.open(), errors); got != strings.Join(append(want, want...), "\n") {
				t.Errorf("%v: got\n%s", programs, got)
			}
		}
	})
	t.Run("one that can't be known", func(t *testing.T) {
		other := withoutErrno(t)
		tr := attach(t, append([]string{"--exe", glibc, "--exe", other}, args...)...)
		p := testenv.Start(t, glibc, "-wait", "-then", other).Ready()
		again(p)
		p.Wait()
		tr.stop()
		got := strings.Split(text(t, tr.open(), errors), "\n")
		if len(got) != 2*len(want) || strings.Join(got[:len(want)], "\n") != strings.Join(want, "\n") {
			t.Fatalf("got %q", got)
		}
		for _, g := range got[len(want):] {
			if !strings.HasPrefix(g, "returned -1 (errno unavailable: ") {
				t.Errorf("got %q", g)
			}
		}
	})
	t.Run("executed unforeseen", func(t *testing.T) {
		p := testenv.Start(t, glibc, "-wait", "-then", musl).Ready()
		tr := attachPID(t, p.PID, args...)
		again(p)
		p.Wait()
		tr.end()
		// Attached to meanwhile, it has told of some of its calls, and never with the other library's errno.
		got := strings.Split(text(t, tr.open(), errors), "\n")
		if len(got) < len(want) || strings.Join(got[:len(want)], "\n") != strings.Join(want, "\n") {
			t.Fatalf("got %q", got)
		}
		rest := got[len(want):]
		for i, g := range rest {
			if w := want[len(want)-len(rest)+i]; g != w && !strings.HasPrefix(g, "returned -1 (errno unavailable: ") {
				t.Errorf("got %q, want %q", g, w)
			}
		}
	})
}

// again lets a target run that executes another one at its end, and that one, too.
func again(p *testenv.Process) {
	p.Go()
	p.WaitLine("again")
	p.Go()
}

// withoutErrno is a static program of which nobody knows where it has errno.
func withoutErrno(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "errors")
	static := testenv.Build(t, testenv.Target{Source: "c/errors", Static: true})
	if out, err := exec.Command("objcopy", "--strip-symbol=__errno_location", "--strip-symbol=errno", static, path).CombinedOutput(); err != nil {
		t.Fatalf("objcopy: %v\n%s", err, out)
	}
	return path
}

// TestErrnoUnavailable holds that an errno which may be another one is not shown, but why.
func TestErrnoUnavailable(t *testing.T) {
	testenv.RequireBPF(t)
	for _, c := range []struct{ name, program, first, second string }{
		{
			"second library", testenv.Build(t, testenv.Target{Source: "c/errors"}), "errno ENOENT: no such file or directory",
			"errno unavailable: the process has several C libraries, each with an errno of its own",
		},
		{"no symbols", withoutErrno(t), "errno unavailable: the program has neither the function __errno_location nor a symbol errno: it is static and stripped, or has another C library than glibc and musl", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.second == "" {
				c.second = c.first
			}
			tr := begin(t, "-s", "sets", "--error", "sets=errno", "--", c.program, "-second")
			tr.end()
			got := strings.Split(text(t, tr.open(), "SELECT error FROM process_trace ORDER BY id"), "\n")
			if len(got) != 2 || got[1] != "returned -1 ("+c.second+")" {
				t.Fatalf("got %q", got)
			}
			// When its memory map was first read, the second one may have been there.
			if got[0] != "returned -1 ("+c.first+")" && got[0] != got[1] {
				t.Errorf("got %q", got)
			}
		})
	}
}

var errnoDefinition = regexp.MustCompile(`(?m)^#define\s+(E\w+)\s+(\d+)`)

// errnoNames are the errors' names by number, as the kernel's headers have them.
var errnoNames = sync.OnceValue(func() map[int]string {
	names := map[int]string{}
	for _, header := range []string{"errno-base.h", "errno.h"} {
		raw, err := os.ReadFile("/usr/include/asm-generic/" + header)
		if err != nil {
			panic(err) // scripts/setup.sh generate installs linux-libc-dev
		}
		for _, m := range errnoDefinition.FindAllStringSubmatch(string(raw), -1) {
			n, _ := strconv.Atoi(m[2]) // digits
			names[n] = m[1]
		}
	}
	return names
})
