package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// TestCurrent holds that docs/values.md is what the targets say, and that each
// function's declaration was found.
func TestCurrent(t *testing.T) {
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	var made strings.Builder
	if err := write(&made, root); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(root, "docs", "values.md"))
	if err != nil {
		t.Fatal(err)
	}
	if made.String() != string(want) {
		t.Error("docs/values.md is not what the targets say: run make docs")
	}
	for line := range strings.Lines(made.String()) {
		if strings.HasPrefix(line, "| `") && !strings.Contains(strings.SplitN(line, "|", 3)[1], "(") {
			t.Errorf("no declaration found for %s", line)
		}
	}
}
