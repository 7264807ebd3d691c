package deploy_test

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// engine is a containerd of the test's own, that shares nothing with the machine's.
// Its methods fail the test.
type engine struct {
	t      *testing.T
	folder string
}

// engineConfig is containerd's: %[1]s is the folder that everything is in. Plugins are
// left out that look at the machine (opt, cri) or that a test has no use for.
const engineConfig = `version = 2
root = "%[1]s/root"
state = "%[1]s/state"
disabled_plugins = [
	"io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing",
	"io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
	"io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "%[1]s/sock"
`

// startEngine starts containerd. It ends with the test, and so do its containers.
func startEngine(t *testing.T) *engine {
	t.Helper()
	testenv.RequireRoot(t)
	for _, program := range []string{"containerd", "ctr", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("needs containerd and runc (run make setup): %v", err)
		}
	}
	// Not the test's folder: the path of a socket is at most 107 bytes long.
	folder, err := os.MkdirTemp("", "ct-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(folder); err != nil {
			t.Errorf("remove containerd's folder: %v", err)
		}
	})
	e := &engine{t, folder}
	config := filepath.Join(folder, "config.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, engineConfig, folder), 0o644); err != nil {
		t.Fatal(err)
	}
	daemon := testenv.Start(t, "containerd", "--config", config)
	daemon.WaitStderr("containerd successfully booted")
	t.Cleanup(func() {
		e.removeAll()
		daemon.Signal(syscall.SIGTERM)
		daemon.Wait()
	})
	return e
}

// command is a call of containerd's client.
func (e *engine) command(args ...string) *exec.Cmd {
	return exec.Command("ctr", append([]string{"--address", filepath.Join(e.folder, "sock"), "--namespace", "test"}, args...)...)
}

func (e *engine) ctr(args ...string) string {
	e.t.Helper()
	out, err := run(e.command(args...))
	if err != nil {
		e.t.Fatal(err)
	}
	return string(out)
}

// load imports the image.
func (e *engine) load(i image) {
	e.t.Helper()
	e.ctr("images", "import", i.archive(e.t))
}

// start runs a container: options are those of "ctr run", args what it executes.
// Its standard streams, its signals and its exit code are those of the process returned.
func (e *engine) start(i image, id string, options []string, args ...string) *testenv.Process {
	e.t.Helper()
	all := append([]string{"run", "--rm", "--runc-root", filepath.Join(e.folder, "runc"), "--fifo-dir", filepath.Join(e.folder, "fifo")}, options...)
	all = append(append(append(all, i.name, id), i.entrypoint...), args...)
	return testenv.StartCommand(e.t, e.command(all...))
}

// exec is a call of a program in a running container.
func (e *engine) exec(id string, args ...string) *exec.Cmd {
	all := []string{"tasks", "exec", "--fifo-dir", filepath.Join(e.folder, "fifo"), "--exec-id", containerID(), id}
	return e.command(append(all, args...)...)
}

// pid is the id of a container's first process.
func (e *engine) pid(id string) string {
	e.t.Helper()
	for _, line := range strings.Split(e.ctr("tasks", "list"), "\n") {
		if words := strings.Fields(line); len(words) > 1 && words[0] == id {
			return words[1]
		}
	}
	e.t.Fatalf("container %s does not run", id)
	return ""
}

// removeAll ends the containers that a failed test leaves.
func (e *engine) removeAll() {
	for _, id := range strings.Fields(e.ctr("containers", "list", "--quiet")) {
		// One that ends by itself meanwhile is as good.
		_ = e.command("tasks", "delete", "--force", id).Run()
		_ = e.command("containers", "delete", id).Run()
	}
}

// containerID makes an id as container runtimes do: 64 hexadecimal digits.
func containerID() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	return hex.EncodeToString(raw)
}
