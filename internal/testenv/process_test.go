package testenv

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestRun(t *testing.T) {
	got := Run(t, "/bin/sh", "-c", "cat; echo out; echo err >&2; exit 7")
	want := Result{Stdout: "out\n", Stderr: "err\n", ExitCode: 7}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestSignal(t *testing.T) {
	p := Start(t, "/bin/sh", "-c", "echo ready; exec cat")
	p.Ready()
	p.Signal(syscall.SIGTERM)
	if got := p.Wait(); got.Signal != syscall.SIGTERM || got.ExitCode != -1 {
		t.Errorf("got %+v", got)
	}
}

func TestSendAndWait(t *testing.T) {
	p := Start(t, "/bin/sh", "-c", "echo rea; echo ready; read x; echo got $x; echo said $x >&2; read y")
	p.Ready().Go()
	p.WaitStdout("got go")
	p.WaitStderr("said go")
	if !p.Running() {
		t.Error("it ended")
	}
	p.CloseInput()
	p.Wait()
	if p.Running() {
		t.Error("it goes on")
	}
}

// TestKill guards that a test leaves no process behind, nor one that its process started.
func TestKill(t *testing.T) {
	p := Start(t, "/bin/sh", "-c", "sleep 1000 & echo $!; echo ready; wait")
	p.Ready()
	child, err := strconv.Atoi(strings.Fields(p.Stdout())[0])
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if p.Running() {
		t.Error("the process goes on")
	}
	// The child is dead, or about to be: its stdout is closed once it is, which Kill has waited for.
	if err := syscall.Kill(child, 0); err == nil && !isZombie(t, child) {
		t.Error("its child goes on")
	}
}

func isZombie(t *testing.T, pid int) bool {
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return true // gone meanwhile
	}
	return strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
}
