package attach

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/trace"
)

func TestParseRegion(t *testing.T) {
	for _, c := range []struct {
		line string
		want region
		ok   bool
	}{
		{
			"55d0c0a00000-55d0c0b00000 r-xp 00001000 fe:01 1234                       /usr/bin/a b",
			region{exec: true, Mapping: Mapping{Path: "/usr/bin/a b", ID: FileID{unix.Mkdev(0xfe, 1), 1234}, Start: 0x55d0c0a00000, End: 0x55d0c0b00000, Offset: 0x1000}},
			true,
		},
		{"7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]", region{Mapping: Mapping{Path: "[stack]", Start: 0x7ffc00000000, End: 0x7ffc00021000}}, true},
		{"7f0000000000-7f0000001000 rw-p 00000000 00:00 0 ", region{Mapping: Mapping{Start: 0x7f0000000000, End: 0x7f0000001000}}, true},
		{"not a line", region{}, false},
		{"1-2 r 0 0:0 0", region{}, false},
		{"x-2 r-xp 0 0:0 0", region{}, false},
	} {
		got, ok := parseRegion(c.line)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%q: %+v, %v; want %+v, %v", c.line, got, ok, c.want, c.ok)
		}
	}
}

func TestDescribe(t *testing.T) {
	path := testenv.Build(t, testenv.Target{Source: "c/bench", Compiler: "gcc"})
	p := testenv.Start(t, path)
	p.WaitLine("ready")
	got, err := describe(p.PID)
	if err != nil {
		t.Fatal(err)
	}
	if got.Exe != path || got.Comm != filepath.Base(path)[:min(15, len(filepath.Base(path)))] || got.StartNS <= 0 {
		t.Errorf("%+v is not %s", got, path)
	}
	found, err := Find(func(q *trace.Process) bool { return q.Exe == path })
	if err != nil || len(found) != 1 || found[0].PID != p.PID {
		t.Errorf("found %v, %v; want process %d", found, err, p.PID)
	}
	maps, err := mappings(p.PID)
	if err != nil {
		t.Fatal(err)
	}
	var own, libc bool
	for _, m := range maps {
		own = own || m.Path == path
		libc = libc || hasRoles(m.Path)
	}
	if !own || !libc {
		t.Errorf("mappings %v lack the program or the C library", maps)
	}
	p.CloseInput()
	p.Wait()
	if _, err := describe(p.PID); !errors.Is(err, ErrNoProcess) {
		t.Errorf("of an ended process: %v", err)
	}
}

// TestProgram finds the file that the kernel maps: behind links and scripts.
func TestProgram(t *testing.T) {
	dir := t.TempDir()
	script, link := filepath.Join(dir, "script"), filepath.Join(dir, "link")
	if err := os.WriteFile(script, []byte("#!"+link+" -x\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	want, err := filepath.EvalSymlinks("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(want, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{want, link, script} {
		if got, err := program(path); err != nil || got != want {
			t.Errorf("program(%s) = %s, %v; want %s", path, got, err, want)
		}
	}
	if _, err := program(filepath.Join(dir, "none")); err == nil {
		t.Error("a missing command is no error")
	}
}

func TestCommandExitCodes(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"true"}, 0},
		{[]string{"sh", "-c", "exit 7"}, 7},
		{[]string{"sh", "-c", "kill -TERM $$"}, 128 + 15},
	} {
		cmd, err := NewCommand(c.args)
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Release(); err != nil {
			t.Fatal(err)
		}
		if code, err := cmd.Wait(); err != nil || code != c.code {
			t.Errorf("%q: exit code %d, %v; want %d", c.args, code, err, c.code)
		}
	}
	cmd, err := NewCommand([]string{"touch", filepath.Join(t.TempDir(), "x")})
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Abandon(); err != nil {
		t.Errorf("abandon: %v", err)
	}
	if _, err := NewCommand([]string{"no-such-command-anywhere"}); err == nil {
		t.Error("a missing command is no error")
	}
}

// TestMain lets the test program become a command, as the real one does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == StarterArg {
		os.Exit(Starter(os.Args[2:]))
	}
	os.Exit(m.Run())
}
