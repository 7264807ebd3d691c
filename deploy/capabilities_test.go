package deploy_test

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/attach"
	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// The numbers of the capabilities (capabilities(7), linux/capability.h), by the names
// that manifests use.
var capabilities = map[string]uintptr{
	"BPF": unix.CAP_BPF, "PERFMON": unix.CAP_PERFMON,
	"SYS_PTRACE": unix.CAP_SYS_PTRACE, "DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH,
}

// stranger is a user who owns nothing of the target's.
const stranger = 65534

// The four capabilities suffice to trace a process of another user, in a folder that only
// that user may enter. Without any one of them the exit code is 4, and that one is named.
func TestFourCapabilitiesSuffice(t *testing.T) {
	testenv.RequireBPF(t)
	program := secret(t, testenv.Build(t, testenv.Target{Source: "c/counts", Static: true}))
	for _, missing := range append([]string{""}, names()...) {
		t.Run(cmp.Or(missing, "none")+" missing", func(t *testing.T) {
			traced := target{Process: testenv.Start(t, program, "-wait", "calls").Ready()}
			db := filepath.Join(open(t), "observatory.db")
			tracing := startWith(t, without(missing), static(t), "attach", "--pid="+strconv.Itoa(traced.PID), "--db="+db, "--output=none")
			if missing != "" {
				checkRefused(t, tracing.Wait(), missing)
				traced.finish(t)
				return
			}
			tracing.WaitStderr(" functions in 1 process\n")
			counts := traced.finish(t)
			tracing.Signal(syscall.SIGINT)
			if result := tracing.Wait(); result.ExitCode != 0 {
				t.Fatalf("the tracer exited with %d: %s", result.ExitCode, result.Stderr)
			}
			compare(t, "four capabilities", recorded(t, exec.Command(static(t), query(db, "")...)), counts)
		})
	}
}

// names lists the capabilities that attach says that it needs.
func names() []string {
	var all []string
	for _, c := range attach.Capabilities {
		all = append(all, c.Name)
	}
	return all
}

// without lists the numbers of the capabilities but one.
func without(missing string) []uintptr {
	var set []uintptr
	for _, name := range names() {
		if name != missing {
			set = append(set, capabilities[name])
		}
	}
	return set
}

// startWith starts a program as a stranger who has these capabilities and no others.
func startWith(t *testing.T, set []uintptr, program string, args ...string) *testenv.Process {
	t.Helper()
	command := exec.Command(program, args...)
	command.Dir = "/"
	command.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: stranger, Gid: stranger},
		AmbientCaps: set,
	}
	return testenv.StartCommand(t, command)
}

// checkRefused checks that the program says that this capability is missing, and no other.
func checkRefused(t *testing.T, result testenv.Result, missing string) {
	t.Helper()
	const notPermitted = 4
	if result.ExitCode != notPermitted {
		t.Errorf("exit code %d, want %d: %s", result.ExitCode, notPermitted, result.Stderr)
	}
	said, _, _ := strings.Cut(result.Stderr, "; run as root")
	for _, name := range names() {
		if strings.Contains(said, "CAP_"+name) != (name == missing) {
			t.Errorf("CAP_%s is missing, and it says: %s", missing, result.Stderr)
		}
	}
}

// open is a folder that everybody may write to.
func open(t *testing.T) string {
	t.Helper()
	return folder(t, 0o777)
}

// secret copies a program to where only its owner may read it.
func secret(t *testing.T, program string) string {
	t.Helper()
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder(t, 0o700), filepath.Base(program))
	if err := os.WriteFile(path, content, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// folder makes a folder that can be reached by everybody. The test's own can't.
func folder(t *testing.T, mode os.FileMode) string {
	t.Helper()
	path, err := os.MkdirTemp(scratch, "")
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}
