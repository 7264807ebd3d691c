package types

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// compile runs a compiler, with the output's path as its last two words.
func compile(t testing.TB, command string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "program")
	words := append(strings.Fields(command), "-o", out)
	run(t, words...)
	return out
}

// compileGo builds a Go program with a toolchain ("" is the one that runs the test).
func compileGo(t testing.TB, toolchain, source string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "program")
	words := append([]string{"go", "build", "-o", out}, flags...)
	cmd := exec.Command(words[0], append(words[1:], source)...)
	cmd.Env = os.Environ()
	if toolchain != "" {
		cmd.Env = append(cmd.Env, "GOTOOLCHAIN="+toolchain, "GO111MODULE=off")
	}
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", words, err, text)
	}
	return out
}

func run(t testing.TB, words ...string) string {
	t.Helper()
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":"+os.Getenv("HOME")+"/.cargo/bin")
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", words, err, text)
	}
	return string(text)
}
