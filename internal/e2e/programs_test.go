package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// statements are what the PostgreSQL server is asked, an error and a sort among them.
var statements = []string{
	"CREATE TABLE t(n int PRIMARY KEY, s text)",
	"INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 300) i",
	"SELECT count(*), sum(n), min(s), max(s) FROM t",
	"SELECT a.n, b.s FROM t a JOIN t b ON a.n = b.n + 1 WHERE a.n % 50 = 0 ORDER BY b.s DESC",
	"DO $$ BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END $$",
	"UPDATE t SET s = upper(s) WHERE n <= 10",
	"SELECT s FROM t WHERE n IN (3, 30) ORDER BY 1",
	"DROP TABLE t",
}

// TestPostgres traces the backends that a server forks for each session, in
// all of its executor, parser, planner and storage.
func TestPostgres(t *testing.T) {
	testenv.RequireBPF(t)
	p := testenv.StartPostgres(t)
	ask := func() (rows string) {
		for _, s := range statements {
			rows += p.Query(s)
		}
		return rows
	}
	want := ask()
	tr := attach(t, "--exe", p.Program, "-s", "exec_*", "-s", "Exec*", "-s", "pg_*", "-s", "heap*", "-s", "plan*", "-s", "standard_*",
		"-s", "Portal*", "-s", "*Commit*", "-s", "*Transaction*", "-s", "err*", "-s", "text*", "-s", "int4*", "-s", "tuple*", "--ring-buffer", "128MiB")
	if functions, _ := tr.attached(); functions < 1000 {
		t.Errorf("attached to only %d functions", functions)
	}
	if got := ask(); got != want {
		t.Errorf("traced it answered %q, untraced %q", got, want)
	}
	tr.stop()
	if got := ask(); got != want {
		t.Errorf("after being traced it answered %q", got)
	}
	db := tr.open()
	sound(t, db)
	// The server is stripped, and exec_simple_query is not exported: it calls this once.
	// The planner does, too, for a function in SQL.
	if got := tallies(t, db, "parent_id IS NULL")["pg_parse_query"]; got != (tally{OK: uint64(len(statements))}) {
		t.Errorf("pg_parse_query: %v; %d statements were sent", got, len(statements))
	}
	if n := number(t, db, "SELECT count(DISTINCT pid) FROM process_trace WHERE process = 'pg_parse_query'"); n != int64(len(statements)) {
		t.Errorf("%d backends answered", n)
	}
}

// TestPostgresAll traces every function of a server at work.
func TestPostgresAll(t *testing.T) {
	testenv.RequireBPF(t)
	p := testenv.StartPostgres(t)
	const query = "CREATE TEMP TABLE t AS SELECT i n FROM generate_series(1, 50) i; SELECT sum(n) FROM t"
	tr := attach(t, "--exe", p.Program, "-s", "*", "--ring-buffer", "256MiB")
	if functions, _ := tr.attached(); functions < 9000 {
		t.Errorf("attached to only %d functions", functions)
	}
	if got := p.Query(query); got != "1275\n" {
		t.Errorf("it answered %q", got)
	}
	tr.stop()
	if got := p.Query(query); got != "1275\n" {
		t.Errorf("after being traced it answered %q", got)
	}
	if got := tallies(t, tr.open(), "")["pg_parse_query"]; got.OK != 1 {
		t.Errorf("pg_parse_query: %v", got)
	}
}

// TestPython traces the interpreter's shared library in a running script.
func TestPython(t *testing.T) {
	testenv.RequireBPF(t)
	want := testenv.StartCommand(t, testenv.PythonScript(t, 1, false)).Wait()
	p := testenv.StartCommand(t, testenv.PythonScript(t, 1, true)).Ready()
	tr := attachPID(t, p.PID, "-l", "libpython3.11*", "-s", "Py[A-Z]*", "-s", "_Py*", "-x", "_PyEval_EvalFrameDefault", "--ring-buffer", "256MiB", "--max-bytes", "256")
	if functions, _ := tr.attached(); functions < 1000 {
		t.Errorf("attached to only %d functions", functions)
	}
	p.Go()
	got := p.Wait()
	if got.Stdout != "ready\n"+want.Stdout || got.Stderr != want.Stderr || got.ExitCode != want.ExitCode {
		t.Errorf("traced it ended with %+v, untraced with %+v", got, want)
	}
	tr.end()
	db := tr.open()
	sound(t, db)
	if n := number(t, db, "SELECT count(DISTINCT process) FROM process_trace"); n < 200 {
		t.Errorf("calls of only %d functions are recorded", n)
	}
}

// TestRedis traces all functions of a server under its own benchmark.
func TestRedis(t *testing.T) {
	testenv.RequireBPF(t)
	const requests = 200
	r := testenv.StartRedis(t)
	tr := attachPID(t, r.PID, "-s", "*", "--ring-buffer", "256MiB", "--max-bytes", "256")
	if functions, _ := tr.attached(); functions < 3000 {
		t.Errorf("attached to only %d functions", functions)
	}
	if got := testenv.StartCommand(t, r.Benchmark(requests, "set", "lpush")).Wait(); got.ExitCode != 0 || !strings.Contains(got.Stdout, "LPUSH") {
		t.Errorf("the benchmark ended with %+v", got)
	}
	if got := r.Do("llen", "mylist"); got != strconv.Itoa(requests) {
		t.Errorf("the list has %s elements", got)
	}
	tr.stop()
	if got := r.Do("ping"); got != "PONG" {
		t.Errorf("after being traced it answers %q", got)
	}
	db := tr.open()
	sound(t, db)
	got := statistics(t, db)
	for _, name := range []string{"setCommand", "lpushCommand"} {
		if got[name].calls != requests {
			t.Errorf("%s: %d calls, of %d requests", name, got[name].calls, requests)
		}
	}
}

// TestGoBuild traces the compiler that a go build starts. What the program
// imports is built beforehand: there would be millions of calls.
func TestGoBuild(t *testing.T) {
	testenv.RequireBPF(t)
	folder := t.TempDir()
	build := func(output, cache string, flags ...string) *exec.Cmd {
		command := testenv.GoBuild(t, "go/minimal", filepath.Join(folder, output))
		command.Env = append(command.Env, "GOCACHE="+filepath.Join(folder, cache), "GOFLAGS="+strings.Join(flags, " "))
		return command
	}
	run := func(command *exec.Cmd) {
		if got := testenv.StartCommand(t, command).Wait(); got.ExitCode != 0 || got.Stderr != "" {
			t.Fatalf("build: %+v", got)
		}
	}
	run(build("warm", "one"))
	if err := os.CopyFS(filepath.Join(folder, "two"), os.DirFS(filepath.Join(folder, "one"))); err != nil {
		t.Fatal(err)
	}
	// Other flags, and the program itself is compiled anew.
	run(build("plain", "one", "-gcflags=-l"))
	tr := attach(t, "--exe", testenv.GoCompiler(t), "-s", "main.*", "-s", "cmd/compile/internal/*.*", "-x", "*/ssa.*", "--ring-buffer", "256MiB", "--max-bytes", "256", "--depth", "1")
	if functions, _ := tr.attached(); functions < 5000 {
		t.Errorf("attached to only %d functions", functions)
	}
	run(build("traced", "two", "-gcflags=-l"))
	tr.stop()
	want, err := os.ReadFile(filepath.Join(folder, "plain"))
	if err != nil {
		t.Fatal(err)
	}
	if made, err := os.ReadFile(filepath.Join(folder, "traced")); err != nil || !bytes.Equal(made, want) {
		t.Errorf("it built another program (%v)", err)
	}
	db := tr.open()
	sound(t, db)
	// The go command asks the compiler for its version, too.
	compilers := number(t, db, "SELECT count(DISTINCT pid) FROM process_trace WHERE process = 'main.main'")
	if mains := statistics(t, db)["main.main"].calls; compilers == 0 || uint64(compilers) != mains {
		t.Errorf("main.main: %d calls in %d processes", mains, compilers)
	}
	if n := statistics(t, db)["cmd/compile/internal/gc.Main"].calls; n == 0 {
		t.Error("gc.Main: no call")
	}
}
