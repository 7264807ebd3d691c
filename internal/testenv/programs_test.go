package testenv

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestPostgres(t *testing.T) {
	p := StartPostgres(t)
	got := p.Query("CREATE TABLE t(n int, s text); INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 1000) i;" +
		"SELECT count(*), sum(n), min(s) FROM t")
	if got != "1000|500500|row 1\n" {
		t.Errorf("got %q", got)
	}
	if exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(p.PID), "exe")); exe != p.Program {
		t.Errorf("it runs %s, %v", exe, err)
	}
}

func TestRedis(t *testing.T) {
	r := StartRedis(t)
	r.Do("config", "resetstat")
	if out, err := run(r.Benchmark(1000, "set", "lpush")); err != nil || !strings.Contains(out, "LPUSH") {
		t.Errorf("%q, %v", out, err)
	}
	if got := r.Do("llen", "mylist"); got != "1000" {
		t.Errorf("%s pushes", got)
	}
	if stats := r.Do("info", "commandstats"); !strings.Contains(stats, "cmdstat_set:calls=1000,") {
		t.Errorf("got %s", stats)
	}
	if exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(r.PID), "exe")); exe != r.Program {
		t.Errorf("it runs %s, %v", exe, err)
	}
}

func TestPython(t *testing.T) {
	_, library := Python(t)
	p := StartCommand(t, PythonScript(t, "script.py", 2, true))
	p.Ready()
	maps, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID), "maps"))
	if err != nil || !strings.Contains(string(maps), library) {
		t.Errorf("it doesn't run in %s (%v)", library, err)
	}
	p.Go()
	first := p.Wait()
	if first.ExitCode != 3 || first.Stderr != "" {
		t.Errorf("exit code %d, stderr %q", first.ExitCode, first.Stderr)
	}
	again := StartCommand(t, PythonScript(t, "script.py", 2, false)).Wait()
	if want := strings.TrimPrefix(first.Stdout, "ready\n"); again.Stdout != want || strings.Count(want, "\n") != 3 {
		t.Errorf("got %q, then %q", want, again.Stdout)
	}
}

func TestGoBuild(t *testing.T) {
	if _, err := os.Stat(GoCompiler(t)); err != nil {
		t.Error(err)
	}
	folder := t.TempDir()
	cold := GoBuild(t, "go/minimal", filepath.Join(folder, "cold"))
	warm := GoBuild(t, "go/minimal", filepath.Join(folder, "warm"))
	warm.Env = append(warm.Env, cold.Env[len(cold.Env)-1]) // the cache that is no longer empty
	var built [][]byte
	for _, command := range []*exec.Cmd{cold, warm} {
		if result := StartCommand(t, command).Wait(); result.ExitCode != 0 {
			t.Fatalf("%+v", result)
		}
	}
	for _, name := range []string{"cold", "warm"} {
		content, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		built = append(built, content)
	}
	if !bytes.Equal(built[0], built[1]) {
		t.Error("two builds differ")
	}
}
