package e2e

import (
	"bytes"
	"database/sql"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// orders is the demo service: it runs, and makes calls, until it is stopped.
func orders(t testing.TB) *testenv.Process {
	t.Helper()
	return testenv.Start(t, testenv.Build(t, testenv.Target{Source: "go/orders"}))
}

// recorded waits until the tracer has written so many calls.
func (tr *tracer) recorded(n int64) *sql.DB {
	tr.tb.Helper()
	db := tr.open()
	for deadline := time.Now().Add(testenv.Deadline); number(tr.tb, db, "SELECT count(*) FROM process_trace") < n; {
		if time.Now().After(deadline) {
			tr.tb.Fatalf("fewer than %d calls are recorded\n%s", n, tr.Stderr())
		}
		time.Sleep(20 * time.Millisecond)
	}
	return db
}

// running checks that the process still makes calls: a new tracer sees some.
func running(t *testing.T, p *testenv.Process) {
	t.Helper()
	if !p.Running() {
		t.Fatalf("the target has ended: %+v", p.Wait())
	}
	tr := attachPID(t, p.PID, "-n", "5")
	tr.end()
	if n := number(t, tr.open(), "SELECT count(*) FROM process_trace"); n != 5 {
		t.Errorf("%d calls are recorded, not 5", n)
	}
}

// TestEnds holds the ways in which tracing ends, all of them cleanly, with the
// target going on.
func TestEnds(t *testing.T) {
	testenv.RequireBPF(t)
	p := orders(t)
	for name, end := range map[string]func(t *testing.T) *tracer{
		"SIGINT": func(t *testing.T) *tracer {
			tr := attachPID(t, p.PID)
			tr.recorded(50)
			tr.Signal(syscall.SIGINT)
			return tr
		},
		"SIGTERM": func(t *testing.T) *tracer {
			tr := attachPID(t, p.PID)
			tr.recorded(50)
			tr.Signal(syscall.SIGTERM)
			return tr
		},
		"duration":  func(t *testing.T) *tracer { return attachPID(t, p.PID, "-d", "300ms") },
		"max-calls": func(t *testing.T) *tracer { return attachPID(t, p.PID, "-n", "1234") },
	} {
		t.Run(name, func(t *testing.T) {
			tr := end(t)
			tr.end()
			functions, processes := tr.attached()
			if functions < 5 || processes != 1 {
				t.Errorf("attached to %d functions in %d processes", functions, processes)
			}
			db := tr.open()
			sound(t, db)
			n := number(t, db, "SELECT count(*) FROM process_trace")
			if name == "max-calls" && n != 1234 || n == 0 {
				t.Errorf("%d calls are recorded", n)
			}
			if got := number(t, db, "SELECT count(*) FROM data_trace"); got != n {
				t.Errorf("%d calls, %d rows of data", n, got)
			}
			if got := text(t, db, "SELECT functions, processes, ended IS NOT NULL FROM sessions"); got != strconv.Itoa(functions)+"|1|1" {
				t.Errorf("the session is %q", got)
			}
		})
	}
	running(t, p)
}

// TestTargetEnds holds that tracing ends when the last target does.
func TestTargetEnds(t *testing.T) {
	p, q := orders(t), orders(t)
	tr := attach(t, "-p", strconv.Itoa(p.PID), "-p", strconv.Itoa(q.PID))
	if _, processes := tr.attached(); processes != 2 {
		t.Errorf("attached to %d processes, not 2", processes)
	}
	tr.recorded(50)
	p.Kill()
	if got := number(t, tr.recorded(200), "SELECT count(DISTINCT pid) FROM process_trace"); got != 2 {
		t.Errorf("calls of %d processes are recorded", got)
	}
	if !tr.Running() {
		t.Fatalf("it ended with the first target: %+v", tr.Wait())
	}
	q.Kill()
	tr.end()
}

// TestExitCodes holds what scripts see: the command's own code, and what was wrong.
func TestExitCodes(t *testing.T) {
	testenv.RequireBPF(t)
	program := testenv.Build(t, testenv.Target{Source: "c/counts"})
	notELF := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(notELF, []byte("text\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args  []string
		code  int
		wants string // on stderr
	}{
		{[]string{"--", program, "-n", "2", "-crash", "exit"}, 3, "attached: "},
		{[]string{"--", program, "-n", "2", "-crash", "_exit"}, 4, "attached: "},
		{[]string{"--", program, "-n", "2", "-crash", "segv"}, 128 + int(syscall.SIGSEGV), "attached: "},
		{[]string{"-s", "in_chold", "--", program}, 3, "in_child"},
		{[]string{"-s", "in_chold", "-p", strconv.Itoa(os.Getpid())}, 3, "no function"},
		{[]string{"-s", "/(/", "--", program}, 2, "/(/"},
		{[]string{"-s", "[a", "--", program}, 2, "[a"},
		{[]string{"-x", "/[/", "--", program}, 2, "/[/"},
		{nil, 2, "nothing to trace"},
		{[]string{"--ring-buffer", "3", "--", program}, 2, "--ring-buffer"},
		{[]string{"-p", "99999999"}, 3, "99999999: no such process; pgrep"},
		{[]string{"-p", "2"}, 3, "kernel thread"},
		{[]string{"--", "/nonexistent/program"}, 1, "/nonexistent/program"},
		{[]string{"--", "no_such_program"}, 1, "; give its path"},
		{[]string{"--", "/etc/passwd"}, 1, "chmod +x"},
		{[]string{"--", notELF}, 1, "name an executable or a shared object"},
		{[]string{"--db", "/proc/self/comm/calls.db", "--", program}, 1, "/proc/self/comm"},
		{[]string{"--db", t.TempDir(), "--", program}, 1, "choose another place with --db"},
		{[]string{"--spill-dir", program, "--", program}, 1, "choose another folder with --spill-dir"},
	} {
		tr := begin(t, c.args...)
		tr.CloseInput()
		if got := tr.Wait(); got.ExitCode != c.code || !strings.Contains(got.Stderr, c.wants) {
			t.Errorf("%q: exit code %d, not %d\n%s", c.args, got.ExitCode, c.code, got.Stderr)
		}
	}
}

// TestNotPermitted holds what somebody without privileges is told, in one line.
func TestNotPermitted(t *testing.T) {
	testenv.RequireBPF(t)
	const nobody = 65534
	p := orders(t)
	pid := strconv.Itoa(p.PID)
	for _, args := range [][]string{{"attach", "-p", pid}, {"attach", "--", "true"}, {"attach", "--dry-run", "-p", pid}, {"list", "-p", pid}} {
		program, err := os.Open(testenv.Binary(t))
		if err != nil {
			t.Fatal(err)
		}
		// Where the program lies, only root may look; its file is handed over.
		command := &exec.Cmd{
			Path: "/proc/self/fd/3", Args: append([]string{"observatory-trace"}, args...), ExtraFiles: []*os.File{program}, Dir: "/",
			SysProcAttr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}},
		}
		got := testenv.StartCommand(t, command).Wait()
		program.Close()
		if got.ExitCode != 4 || !strings.HasPrefix(got.Stderr, "observatory-trace: not permitted: missing CAP_BPF") || strings.Count(got.Stderr, "\n") != 1 ||
			!strings.Contains(got.Stderr, "run as root, or grant them: setcap cap_bpf,") {
			t.Errorf("%q: exit code %d: %s", args, got.ExitCode, got.Stderr)
		}
	}
}

// TestCommandStreams holds that a command has the caller's input and output.
func TestCommandStreams(t *testing.T) {
	tr := begin(t, "-s", "in_*", "--", testenv.Build(t, testenv.Target{Source: "c/counts"}), "-wait", "-n", "1")
	tr.WaitLine("ready")
	tr.Go()
	if got := tr.end(); testenv.ParseCounts(t, got.Stdout).Check == 0 {
		t.Errorf("it printed %q", got.Stdout)
	}
}

// TestKilled holds that a SIGKILL of the tracer harms neither the targets nor
// the database.
func TestKilled(t *testing.T) {
	testenv.RequireBPF(t)
	for _, source := range []string{"go/counts", "cpp/counts", "rust/counts", "c/counts"} {
		t.Run(source, func(t *testing.T) {
			program := testenv.Build(t, testenv.Target{Source: source})
			want := testenv.Run(t, program, "-n", "300")
			p := testenv.Start(t, program, "-wait", "-n", "300").Ready()
			tr := attachPID(t, p.PID)
			p.Go()
			tr.recorded(20)
			tr.Kill()
			if got := p.Wait(); got.Stdout != "ready\n"+want.Stdout || got.ExitCode != 0 {
				t.Errorf("the target ended with %+v", got)
			}
			db := tr.open()
			sound(t, db)
			if n := number(t, db, "SELECT count(*) FROM process_trace p JOIN data_trace d USING (id) WHERE p.status IN ('OK', 'ERR')"); n < 20 {
				t.Errorf("%d calls are left", n)
			}
		})
	}
}

// TestKilledCounts holds what is told of the calls of the last second before a SIGKILL: the report says how many it
// doesn't count, doctor that it has ended, and the next session, or retain, counts them. No second has more recorded calls than calls.
func TestKilledCounts(t *testing.T) {
	for _, by := range []string{"attach", "retain"} {
		t.Run(by, func(t *testing.T) { killedCounts(t, by) })
	}
}

func killedCounts(t *testing.T, by string) {
	p := orders(t)
	tr := attachPID(t, p.PID)
	tr.recorded(300)
	ahead := func() int64 {
		return number(t, tr.open(), "SELECT (SELECT count(*) FROM process_trace) - (SELECT coalesce(sum(recorded), 0) FROM function_stats)")
	}
	for deadline := time.Now().Add(20 * time.Second); number(t, tr.open(), "SELECT count(DISTINCT ts) FROM function_stats") < 3; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("there are no statistics")
		}
	}
	for n := 0; n < 1000 && ahead() < 50; n++ { // it is in the midst of a second
		time.Sleep(5 * time.Millisecond)
	}
	tr.Kill()
	tr.Wait()
	missing := ahead()
	report := func() string {
		out, err := exec.Command(testenv.Binary(t), "report", "--db", tr.db).CombinedOutput()
		if err != nil {
			t.Fatalf("report: %v: %s", err, out)
		}
		return strings.ReplaceAll(string(out), ",", "") // of thousands
	}
	if got := report(); missing < 50 || !strings.Contains(got, fmt.Sprintf("\n%d calls of session 1 are recorded and not counted here", missing)) {
		t.Errorf("%d calls are not counted; the report:\n%s", missing, got)
	}
	doctor, err := exec.Command(testenv.Binary(t), "doctor", "--db", tr.db).CombinedOutput()
	if killed := fmt.Sprintf("which has ended: it was killed, or could not write the database in the end, process %d", tr.PID); err != nil || !strings.Contains(string(doctor), killed) || strings.Contains(string(doctor), "runs") {
		t.Errorf("doctor: %v: %s", err, doctor)
	}
	var next *testenv.Process
	if by == "attach" {
		next = beginInto(t, tr.db, "-s", "in_child", "--", testenv.Build(t, testenv.Target{Source: "c/counts"}), "-n", "1").Process
		next.CloseInput()
	} else {
		next = testenv.StartCommand(t, exec.Command(testenv.Binary(t), "retain", "--db", tr.db))
	}
	if got := next.Wait(); got.ExitCode != 0 || !strings.Contains(got.Stderr, fmt.Sprintf("have its last %d calls", missing)) {
		t.Errorf("the next one: exit code %d, %s", got.ExitCode, got.Stderr)
	}
	if got := report(); ahead() != 0 || strings.Contains(got, "not counted") {
		t.Errorf("then %d calls are not counted; the report:\n%s", ahead(), got)
	}
	const differ = `SELECT * FROM (SELECT process, count(*) AS n, sum(status = 'ERR') AS e FROM process_trace GROUP BY process)
		JOIN (SELECT process, sum(recorded) AS r, sum(errors) AS x, sum(calls) AS c, sum(dropped) AS d FROM function_stats GROUP BY process) USING (process) WHERE n <> r OR e > x OR x > e + d OR c <> r + d`
	if got := text(t, tr.open(), differ); got != "" {
		t.Errorf("calls, errors, recorded ones, counted errors, all, and lost ones: %s", got)
	}
	if got := text(t, tr.open(), "SELECT (SELECT coalesce(sum(count), 0) FROM gaps WHERE reason LIKE 'tracing ended abruptly%') - (SELECT sum(dropped) FROM function_stats)"); got != "0" {
		t.Errorf("gaps tell of %s calls more than are lost", got)
	}
	if got := text(t, tr.open(), "SELECT * FROM function_stats WHERE recorded > calls OR errors > calls OR recorded < 0"); got != "" {
		t.Errorf("seconds with more than there were: %s", got)
	}
	running(t, p)
}

// TestOpen holds that calls which have not ended are recorded, with their
// arguments: when tracing ends inside of one, and when the process is killed.
func TestOpen(t *testing.T) {
	testenv.RequireBPF(t)
	for source, name := range map[string]string{
		"go/counts": "main.held", "c/counts": "held", "cpp/counts": "shop::held", "rust/counts": "counts::held",
	} {
		t.Run(source, func(t *testing.T) {
			program := testenv.Build(t, testenv.Target{Source: source})
			for i := range 4 {
				dies := i&1 != 0
				args := []string{"-s", name}
				if i&2 != 0 { // its entry is held back
					args = append(args, "--min-duration", "1h")
				}
				p := testenv.Start(t, program, "-wait", "open").Ready()
				tr := attachPID(t, p.PID, args...)
				p.Go()
				p.WaitLine("held")
				if dies {
					p.Kill()
					tr.end()
				} else {
					tr.stop()
					p.Send("on")
					if got := testenv.ParseCounts(t, p.Wait().Stdout).Functions[name]; got.Returns != 1 {
						t.Errorf("the target counts %+v", got)
					}
				}
				db := tr.open()
				got := text(t, db, "SELECT p.process, p.status, d.args IS NOT NULL AND d.args <> '{}', d.result FROM process_trace p JOIN data_trace d USING (id)")
				if want := name + "|OPEN|1|"; got != want {
					t.Errorf("died: %v, %v: got %q, want %q", dies, args, got, want)
				}
				if got := statistics(t, db)[name]; got != (exact{calls: 1, open: got.open}) {
					t.Errorf("died: %v, %v: the statistics tell of %+v", dies, args, got)
				}
			}
		})
	}
}

// TestBrief holds that a program of which the first process has ended before it could be looked at
// is traced in the next.
func TestBrief(t *testing.T) {
	testenv.RequireBPF(t)
	program := testenv.Build(t, testenv.Target{Source: "c/counts"})
	folder := t.TempDir()
	tr := attach(t, "--exe", folder+"/*/counts", "-s", "ints")
	recorded := func() int64 {
		db := tr.open()
		defer db.Close()
		return number(t, db, "SELECT count(DISTINCT exe) FROM process_trace WHERE process = 'ints'")
	}
	for i, name := range []string{"a", "b"} { // of a file that is not there when tracing begins
		copied := filepath.Join(folder, name, "counts")
		if err := os.MkdirAll(filepath.Dir(copied), 0o755); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied, text, 0o755); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			testenv.Run(t, copied, "-n", "1", "calls") // over at once
		}
		for tries := 0; recorded() <= int64(i) && tries < 20; tries++ {
			p := testenv.Start(t, copied, "-wait", "calls").Ready()
			time.Sleep(200 * time.Millisecond) // for its file to be looked at
			p.Go()
			p.Wait()
			time.Sleep(200 * time.Millisecond) // for its calls to be written
		}
	}
	tr.stop()
	if n := recorded(); n != 2 {
		t.Errorf("calls of %d programs are recorded, of 2", n)
	}
}

// TestLoss holds that what the ring buffer has no room for is counted, function
// by function, and that nobody is left to guess what to do.
func TestLoss(t *testing.T) {
	program := testenv.Build(t, testenv.Target{Source: "c/counts"})
	p := testenv.Start(t, program, "-wait", "-n", "3000", "calls").Ready()
	tr := attachPID(t, p.PID, "--ring-buffer", "4KiB")
	p.Go()
	counts := testenv.ParseCounts(t, p.Wait().Stdout)
	result := tr.end()
	if !strings.Contains(result.Stderr, "raise --ring-buffer") {
		t.Errorf("it does not say what to do: %s", result.Stderr)
	}
	db := tr.open()
	lost := uint64(0)
	for name, c := range counts.Functions {
		recorded := uint64(number(t, db, "SELECT count(*) FROM process_trace WHERE process = ?", name))
		dropped := uint64(number(t, db, "SELECT sum(dropped) FROM function_stats WHERE process = ?", name))
		told := uint64(number(t, db, "SELECT sum(count) FROM gaps WHERE process = ? AND reason = 'ring buffer full: calls not recorded' AND hint LIKE '%--ring-buffer%'", name))
		calls := uint64(number(t, db, "SELECT sum(calls) FROM function_stats WHERE process = ?", name))
		if recorded+dropped != c.Calls || dropped != told || calls != c.Calls {
			t.Errorf("%s: of %d calls %d are recorded, %d dropped, %d in gaps, and the statistics tell of %d", name, c.Calls, recorded, dropped, told, calls)
		}
		lost += dropped
	}
	if lost == 0 {
		t.Error("nothing was lost: this test tests nothing")
	}
}

// TestOthers holds that with -p only that process is traced, and that another of
// the same program comes to no harm by the probes that it shares.
func TestOthers(t *testing.T) {
	testenv.RequireBPF(t)
	for _, source := range []string{"go/counts", "cpp/counts", "c/counts"} {
		t.Run(source, func(t *testing.T) {
			program := testenv.Build(t, testenv.Target{Source: source})
			p := testenv.Start(t, program, "-wait", "-n", "20").Ready()
			other := testenv.Start(t, program, "-wait", "-n", "20").Ready()
			tr := attachPID(t, p.PID)
			other.Go()
			want := other.Wait()
			late := testenv.Run(t, program, "-n", "20")
			p.Go()
			if got := p.Wait(); got != want || "ready\n"+late.Stdout != want.Stdout || late.ExitCode != 0 {
				t.Errorf("they ended with\n%+v\n%+v\n%+v", got, want, late)
			}
			tr.end()
			db := tr.open()
			counts := testenv.ParseCounts(t, want.Stdout)
			if len(counts.Children) == 0 && number(t, db, "SELECT count(*) FROM process_trace WHERE pid <> ?", p.PID) != 0 {
				t.Errorf("calls of others are recorded: %s", text(t, db, "SELECT DISTINCT pid, exe FROM process_trace"))
			}
			if n := number(t, db, "SELECT count(*) FROM process_trace WHERE pid = ?", other.PID); n != 0 {
				t.Errorf("%d calls of the other are recorded", n)
			}
			for name, c := range counts.Functions {
				if !strings.HasPrefix(name, "main.") && tallies(t, db, "pid = "+strconv.Itoa(p.PID))[name] == (tally{}) {
					t.Errorf("%s: none of its %d calls is recorded", name, c.Calls)
				}
			}
		})
	}
}

// TestChildren holds that children are followed over fork and exec, and not with --no-follow.
func TestChildren(t *testing.T) {
	program := testenv.Build(t, testenv.Target{Source: "c/counts"})
	for _, follow := range []bool{true, false} {
		p := testenv.Start(t, program, "-wait", "-n", "100", "fork", "exec", "vfork").Ready()
		args := []string{}
		if !follow {
			args = append(args, "--no-follow")
		}
		tr := attachPID(t, p.PID, args...)
		p.Go()
		counts := testenv.ParseCounts(t, p.Wait().Stdout)
		tr.end()
		got := tallies(t, tr.open(), "pid <> "+strconv.Itoa(p.PID))
		if !follow {
			if len(got) != 0 {
				t.Errorf("without following: %v", got)
			}
			continue
		}
		for name, c := range counts.Children {
			// A child of vfork that has not executed yet is its parent's memory, but has a number of its own.
			if got[name].OK != c.Returns {
				t.Errorf("%s: %v in children, not %+v", name, got[name], c)
			}
		}
	}
}

// TestOtherRoot holds that a program is found by the file system that its
// process sees: another mount namespace, another root.
func TestOtherRoot(t *testing.T) {
	testenv.RequireBPF(t)
	program := testenv.Build(t, testenv.Target{Source: "c/counts", Static: true})
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	// The program is on a file system that only the new namespace has.
	script := `set -e; mount -t tmpfs none "$1"; mkdir "$1/app"; cat > "$1/app/server"; chmod 755 "$1/app/server"; exec chroot "$1" /app/server -wait -n 10 calls < "$2"`
	pipe := filepath.Join(t.TempDir(), "input")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", root, pipe)
	p := testenv.StartCommand(t, command)
	p.Send(strings.TrimSuffix(string(content), "\n") + strings.Repeat("\x00", 8))
	p.CloseInput()
	input, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	p.Ready()
	tr := attachPID(t, p.PID)
	if _, err := input.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	counts := testenv.ParseCounts(t, p.Wait().Stdout)
	tr.end()
	got := tallies(t, tr.open(), "exe LIKE '%/app/server'")
	for name, c := range counts.Functions {
		if got[name].OK != c.Returns {
			t.Errorf("%s: %v, not %+v", name, got[name], c)
		}
	}
}

// TestTwoTracers holds that two tracers may trace one process, into one
// database, and that each sees all of it.
func TestTwoTracers(t *testing.T) {
	for _, source := range []string{"go/counts", "c/counts"} {
		p := testenv.Start(t, testenv.Build(t, testenv.Target{Source: source}), "-wait", "-n", "50").Ready()
		tr := attachPID(t, p.PID)
		second := beginInto(t, tr.db, "-p", strconv.Itoa(p.PID))
		second.WaitStderr("attached: ")
		p.Go()
		counts := testenv.ParseCounts(t, p.Wait().Stdout)
		tr.end()
		second.end()
		db := tr.open()
		sound(t, db)
		got := tallies(t, db, "pid = "+strconv.Itoa(p.PID))
		for name, c := range counts.Functions {
			if strings.HasSuffix(name, ".abi0") || name == "main.asmAdd" || name == "main.(*derived).deposit" {
				continue // see checkCounts
			}
			if g := got[instance(name)]; g.OK+g.ERR+g.Open != 2*c.Calls {
				t.Errorf("%s: %v; two tracers saw %d calls", name, g, c.Calls)
			}
		}
		if n := number(t, db, "SELECT count(*) - count(DISTINCT id) FROM process_trace"); n != 0 {
			t.Errorf("%d calls have an id that another has", n)
		}
	}
}

// TestManyFunctions holds that thousands of functions of a big Go program can be
// traced and let go, while it works.
func TestManyFunctions(t *testing.T) {
	compiler := testenv.GoCompiler(t)
	source := filepath.Join(t.TempDir(), "p.go")
	var text bytes.Buffer
	text.WriteString("package p\n")
	for i := range 400 {
		text.WriteString("func F" + strconv.Itoa(i) + "(x []int) (n int) { for i, v := range x { n += i * v }; return n }\n")
	}
	if err := os.WriteFile(source, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	object := func(name string) string { return filepath.Join(t.TempDir(), name) }
	plain, traced := object("plain.o"), object("traced.o")
	args := func(out string) []string { return []string{"-p", "p", "-o", out, source} }
	if got := testenv.Run(t, compiler, args(plain)...); got.ExitCode != 0 {
		t.Fatalf("compile: %+v", got)
	}
	tr := begin(t, append([]string{"-s", "cmd/compile/internal/s*.*", "-n", "20000", "--", compiler}, args(traced)...)...)
	tr.end()
	if functions, _ := tr.attached(); functions < 5000 {
		t.Errorf("attached to only %d functions", functions)
	}
	want, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(traced)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the compiler made something else (%v)", err)
	}
	if n := number(t, tr.open(), "SELECT count(*) FROM process_trace"); n != 20000 {
		t.Errorf("%d calls are recorded", n)
	}
}

// TestLive holds that on a terminal the report is shown while calls are being
// recorded, and once more, by itself, at the end.
func TestLive(t *testing.T) {
	testenv.RequireBPF(t)
	p := orders(t)
	// script gives the program a terminal, and its size.
	command := fmt.Sprintf("stty cols 100 rows 12; %s attach --unlimited -p %d -d 3500ms --db %s", testenv.Binary(t), p.PID, filepath.Join(t.TempDir(), "calls.db"))
	got := testenv.StartCommand(t, exec.Command("script", "-qec", command, "/dev/null")).Wait()
	if got.ExitCode != 0 || got.Stderr != "" {
		t.Fatalf("it ended with %+v", got)
	}
	_, after, _ := strings.Cut(got.Stdout, "attached: ")
	shown := strings.Split(after, "\x1b[J") // each report is erased
	if len(shown) < 3 {
		t.Fatalf("it shows %d reports\n%q", len(shown)-1, got.Stdout)
	}
	for i, report := range shown {
		last := i == len(shown)-1
		// The first statistics may come after the first report.
		if i > 1 && strings.Count(report, "PROCESS") != 1 || strings.Contains(report, "recorded ") != last || strings.Contains(report, "recording for") == last {
			t.Errorf("report %d of %d is\n%q", i+1, len(shown), report)
		}
		if n := strings.Count(report, "\n"); i > 0 && !last && n > 11 {
			t.Errorf("report %d has %d lines, of which a terminal of 12 can't erase all", i+1, n)
		}
	}
	running(t, p)
}

// TestTop holds that top shows what is called while something traces, anew each second, and only that; and that its
// figures are those of report.
func TestTop(t *testing.T) {
	testenv.RequireBPF(t)
	p := orders(t)
	tr := attachPID(t, p.PID, "--unlimited")
	tr.recorded(200)
	command := fmt.Sprintf("stty cols 100 rows 12; timeout -s INT 4 %s top --window 3s --db %s", testenv.Binary(t), tr.db)
	got := testenv.StartCommand(t, exec.Command("script", "-qec", command, "/dev/null")).Wait()
	shown := strings.Split(got.Stdout, "\x1b[J") // each report is erased
	if len(shown) < 4 || got.Stderr != "" {
		t.Fatalf("it ended with %+v", got)
	}
	for i, report := range shown[2 : len(shown)-1] {
		if strings.Count(report, "PROCESS") != 1 || !strings.Contains(report, "main.handleOrder") || !strings.Contains(report, "the latest 3s of "+tr.db[:20]) {
			t.Errorf("report %d of %d is\n%q", i+2, len(shown), report)
		}
	}
	tr.stop()
	once := func(args ...string) string {
		out, err := exec.Command(testenv.Binary(t), append(args, "--db", tr.db)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		return string(out)
	}
	top, report := once("top", "--window", "1h", "--sort", "calls"), once("report", "--sort", "calls")
	figures, rates := withoutRates(t, top)
	if want, _ := withoutRates(t, report); figures != want {
		t.Errorf("without a terminal:\n%s\nreport:\n%s", top, report)
	}
	// All were counted in the same time, which is about how long it traced.
	took := number(t, tr.open(), "SELECT CAST(1000 * (unixepoch(ended, 'subsec') - unixepoch(started, 'subsec')) AS INTEGER) FROM sessions")
	for _, calls := range rates {
		if seconds := calls[0] / calls[1]; math.Abs(seconds-float64(took)/1000) > 1 {
			t.Errorf("%.0f calls, %.3g a second, in %d ms:\n%s", calls[0], calls[1], took, top)
		}
	}
	if len(rates) < 5 {
		t.Errorf("rates of %d functions:\n%s", len(rates), top)
	}
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(once("top", "--window", "1s"), "no calls were recorded"); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("what is no longer called is still shown: %s", once("top", "--window", "1s"))
		}
	}
	if out, err := exec.Command(testenv.Binary(t), "top", "--window", "10ms", "--db", tr.db).CombinedOutput(); err == nil || !strings.Contains(string(out), "at least 1s") {
		t.Errorf("a short window: %v, %s", err, out)
	}
}

// withoutRates gives the words of a report without its column of calls per second, and the calls of each function
// with how many it says there were a second.
func withoutRates(t *testing.T, report string) (words string, rates [][2]float64) {
	t.Helper()
	with := strings.Contains(report, "CALLS/S")
	table, rest, _ := strings.Cut(report, "\n\n")
	for i, line := range strings.Split(table, "\n") {
		fields := strings.Fields(line)
		if with {
			var of [2]float64
			for k := range of {
				of[k], _ = strconv.ParseFloat(strings.ReplaceAll(fields[1+k], ",", ""), 64)
			}
			if i > 0 {
				rates = append(rates, of)
			}
			fields = slices.Delete(fields, 2, 3)
		}
		words += strings.Join(fields, " ") + "\n"
	}
	return words + rest, rates
}

// TestLiveSteps holds that while the budget has it that many functions are traced otherwise, again and again, a terminal of
// any size shows the table, and the latest of the changes, and no line that is longer than it is wide.
func TestLiveSteps(t *testing.T) {
	testenv.RequireBPF(t)
	p, hot := orders(t), testenv.Start(t, testenv.Build(t, testenv.Target{Source: "c/hot"}), "60")
	for _, size := range []struct{ rows, columns int }{{24, 80}, {12, 40}} {
		command := fmt.Sprintf("stty cols %d rows %d; %s attach --max-overhead 0.2 -p %d -p %d -d 4500ms --db %s",
			size.columns, size.rows, testenv.Binary(t), p.PID, hot.PID, filepath.Join(t.TempDir(), "calls.db"))
		got := testenv.StartCommand(t, exec.Command("script", "-qec", command, "/dev/null")).Wait()
		if got.ExitCode != 0 || got.Stderr != "" {
			t.Fatalf("it ended with %+v", got)
		}
		_, after, _ := strings.Cut(got.Stdout, "attached: ")
		shown := strings.Split(after, "\x1b[J")
		tables, changes := 0, 0
		for i, screen := range shown[1 : len(shown)-1] {
			// What was written above the report stays.
			above, report, _ := strings.Cut(screen, "PROCESS")
			if report != "" {
				tables++
				if strings.Contains(report, " before: see") || strings.Contains(report, " of every 1s") || strings.Contains(report, "detached but") || strings.Contains(report, " changed, too") {
					changes++
				}
				if above = escapes.ReplaceAllString(above, ""); above != "" && !strings.HasSuffix(above, "\n") {
					t.Errorf("%v: report %d does not begin with its table:\n%q", size, i+2, screen)
				}
			}
			lines := strings.Split(escapes.ReplaceAllString(screen, ""), "\r\n")
			if len(lines) > size.rows || !strings.Contains(screen, "recording for") {
				t.Errorf("%v: report %d is\n%s", size, i+2, strings.Join(lines, "\n"))
			}
			for _, line := range lines {
				if n := utf8.RuneCountInString(line); n > size.columns {
					t.Errorf("%v: report %d has a line of %d columns: %q", size, i+2, n, line)
				}
			}
		}
		if tables < 2 || changes == 0 {
			t.Errorf("%v: the table is shown %d times, %d times with changes:\n%s", size, tables, changes, got.Stdout)
		}
	}
}

// escapes are the terminal's, that change colours and move the cursor.
var escapes = regexp.MustCompile("\x1b\\[[0-9;]*[a-zA-Z]|\r$")
