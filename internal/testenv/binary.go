package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

var built = sync.OnceValues(buildBinary)

// Binary is the path of observatory-trace, built from the source tree once in
// each test program. The Go command's cache makes that quick.
func Binary(tb testing.TB) string {
	tb.Helper()
	path, err := built()
	if err != nil {
		tb.Fatalf("build observatory-trace: %v", err)
	}
	return path
}

// buildBinary builds into a folder that all test programs share: the Go command
// leaves a program alone that is up to date.
func buildBinary() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, "bin-"+shortHash(root))
	unlock, err := lock(folder + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(folder, "observatory-trace")
	command := exec.Command("go", "build", "-buildvcs=false", "-o", path, "./cmd/observatory-trace")
	command.Dir = root
	if _, err := run(command); err != nil {
		return "", err
	}
	return path, nil
}
