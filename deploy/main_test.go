// Package deploy_test holds what is in this folder to its word: the manifests pass the
// API server's own rules and ask for what the program needs and no more, and a container
// that is run as they say traces the processes of other containers.
package deploy_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// scratch is a folder for what several tests use. Every user may read it.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "deploy-"); err == nil {
		err = os.Chmod(scratch, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "make scratch folder:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// run runs the command and gives its output, or an error with all that it said.
func run(command *exec.Cmd) ([]byte, error) {
	var out, said bytes.Buffer
	command.Stdout, command.Stderr = &out, &said
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("run %s: %w\n%s%s", strings.Join(command.Args, " "), err, out.Bytes(), said.Bytes())
	}
	return out.Bytes(), nil
}

var builtStatic = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "observatory-trace")
	_, err := run(exec.Command("../scripts/build-static.sh", path, "test"))
	return path, err
})

// static is the path of the program as the image has it, built once.
func static(t *testing.T) string {
	t.Helper()
	path, err := builtStatic()
	if err != nil {
		t.Fatalf("build observatory-trace: %v", err)
	}
	return path
}
