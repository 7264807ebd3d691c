package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/internal/testenv/damaged"
)

var update = flag.Bool("update", false, "write what list says of damaged programs into testdata/damaged/outcomes.txt")

// TestDamaged holds what list says of each damaged program: what it lists all the
// same and why not more, or why nothing.
func TestDamaged(t *testing.T) {
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	files, err := damaged.Corpus(root)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, path := range files {
		var out, said bytes.Buffer
		command := exec.Command(testenv.Binary(t), "list", path, "-s", "*")
		command.Stdout, command.Stderr = &out, &said
		if err := command.Run(); err != nil && command.ProcessState.ExitCode() != 1 && command.ProcessState.ExitCode() != 3 {
			t.Errorf("%s: %v\n%.2000s", filepath.Base(path), err, said.String())
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		fmt.Fprintf(&got, "%s: exit code %d; %s\n", filepath.Base(path), command.ProcessState.ExitCode(), lines[len(lines)-1])
		fmt.Fprint(&got, strings.ReplaceAll(said.String(), filepath.Dir(path)+"/", ""))
	}
	outcomes := filepath.Join(root, damaged.Folder, "outcomes.txt")
	if *update {
		if err := os.WriteFile(outcomes, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(outcomes)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		if i >= len(gotLines) || i >= len(wantLines) || gotLines[i] != wantLines[i] {
			t.Fatalf("line %d differs: %q, want %q", i+1, gotLines[min(i, len(gotLines)-1)], wantLines[min(i, len(wantLines)-1)])
		}
	}
}
