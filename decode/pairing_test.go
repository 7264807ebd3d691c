package decode

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the scripts emit into their files")

const callsMark = "== calls\n"

// TestPairing runs the event sequences of testdata/pairing and compares the
// calls with those that the files have behind their mark.
func TestPairing(t *testing.T) {
	files, err := filepath.Glob("testdata/pairing/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text, want, ok := strings.Cut(string(raw), callsMark)
			if !strings.HasPrefix(text, "# ") {
				t.Error("a script opens with the case that it guards")
			}
			s := newScript(t)
			got := s.run(text)
			if s.calls != s.entries {
				t.Errorf("%d entries made %d calls", s.entries, s.calls)
			}
			if *update {
				if err := os.WriteFile(file, []byte(text+callsMark+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if !ok || got != want {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
		})
	}
}
