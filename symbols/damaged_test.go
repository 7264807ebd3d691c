package symbols

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/internal/testenv/damaged"
	"github.com/observatory-trace/observatory-trace/trace"
)

// readAlone is the environment variable by which this test binary becomes a
// process that reads one file and ends.
const readAlone = "OBSERVATORY_READ_ALONE"

func TestMain(m *testing.M) {
	path := os.Getenv(readAlone)
	if path == "" {
		os.Exit(m.Run())
	}
	if err := readAll(path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Not from what wait4 tells: that begins with the parent's, whose memory exec replaces.
	status, _ := os.ReadFile("/proc/self/status")
	_, status, _ = bytes.Cut(status, []byte("VmHWM:"))
	fmt.Println(strings.Fields(string(status))[0])
	os.Exit(0)
}

// What reading one damaged file may take. The memory is the peak of the whole
// process, of which some 20 MB are its own.
const (
	damagedTime   = 5 * time.Second // of CPU
	damagedMemory = 32 << 20
	damagedGo     = 48 << 20 // a Go program has 1,500 functions, and as many types
)

func corpus(tb testing.TB) []string {
	tb.Helper()
	root, err := testenv.Root()
	if err != nil {
		tb.Fatal(err)
	}
	files, err := damaged.Corpus(root)
	if err != nil {
		tb.Fatal(err)
	}
	return files
}

// TestDamagedCorpus reads all that there is in each damaged program, in a process
// of its own: none panics, hangs, or takes more memory than a sound one would.
func TestDamagedCorpus(t *testing.T) {
	for _, path := range corpus(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".elf"), func(t *testing.T) {
			t.Parallel()
			readBounded(t, path, damagedMemory)
		})
	}
}

// TestDamagedGo does the same with a Go program, which is damaged here: it is too large to be kept.
func TestDamagedGo(t *testing.T) {
	broken, err := damaged.Go(testenv.Build(t, testenv.Target{Source: "go/minimal"}))
	if err != nil {
		t.Fatal(err)
	}
	for name, program := range broken {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(path, program, 0o644); err != nil {
				t.Fatal(err)
			}
			readBounded(t, path, damagedGo)
			f, err := Open(path, Options{}) // nothing is wrong with it as an ELF file
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			functions, _ := f.Select(Selection{Include: patterns("*")}) // or the table can't be read
			for _, fn := range functions {
				if fn.Traceable && fn.Exit.Kind == trace.ExitReturn {
					t.Errorf("%s gets a uretprobe, which kills Go programs", fn.Name)
				}
			}
		})
	}
}

func readBounded(t *testing.T, path string, memory int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 12*damagedTime)
	defer cancel()
	command := exec.CommandContext(ctx, os.Args[0])
	command.Env = append(os.Environ(), readAlone+"="+path)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%.4000s", err, out)
	}
	used := command.ProcessState.UserTime() + command.ProcessState.SystemTime()
	peak, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64) // KiB
	if err != nil {
		t.Fatalf("it printed %q", out)
	}
	peak <<= 10
	t.Logf("%v, %d MB", used, peak>>20)
	if used > damagedTime || peak > memory {
		t.Errorf("it took %v and %d MB; at most %v and %d MB are allowed", used, peak>>20, damagedTime, memory>>20)
	}
}
