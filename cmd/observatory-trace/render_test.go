package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/sys/unix"
)

// openTerminal gives the program's side of a pseudo-terminal, and what was written to it so far.
func openTerminal(t *testing.T, columns uint16) (tty *os.File, written func() string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	must(t, err)
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	must(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	must(t, err)
	must(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: 50}))
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	output := make(chan string)
	go func() {
		b, _ := io.ReadAll(master) // ends with EIO once the other side is closed
		output <- string(b)
	}()
	return tty, func() string {
		must(t, tty.Close())
		return <-output
	}
}

// TestTerminal holds that what is printed on a terminal fits it, at any width,
// with colours unless they are not wanted.
func TestTerminal(t *testing.T) {
	s := newShop(t)
	for _, columns := range []uint16{60, 80, 120, 200} {
		for _, args := range [][]string{{"report"}, {"tail"}, {"show", "1"}, {"query", "SELECT * FROM process_trace"}, {"query", "SELECT process, error, exe, trace_id FROM process_trace"}} {
			tty, written := openTerminal(t, columns)
			code := run(append(args, "--db", s.path), strings.NewReader(""), tty, io.Discard)
			out := written()
			if code != 0 || !strings.Contains(out, "\x1b[") || !strings.Contains(out, "main.") {
				t.Errorf("%v on %d columns: exit %d, %q", args, columns, code, out)
			}
			for line := range strings.Lines(out) {
				line = strings.TrimRight(line, "\r\n")
				if width := text.StringWidthWithoutEscSequences(line); width > int(columns) && !strings.HasPrefix(line, "missing") && !strings.Contains(line, "trace") {
					t.Errorf("%v on %d columns has a line of %d: %q", args, columns, width, line)
				}
			}
		}
	}
	t.Setenv("NO_COLOR", "1")
	tty, written := openTerminal(t, 80)
	run([]string{"report", "--db", s.path}, strings.NewReader(""), tty, io.Discard)
	if out := written(); strings.Contains(out, "\x1b") {
		t.Errorf("colours in spite of NO_COLOR: %q", out)
	}
}

func TestFormatMS(t *testing.T) {
	for ms, want := range map[float64]string{
		0: "0ns", 0.000001: "1ns", 0.000999: "999ns", 0.001: "1.00µs", 0.0123: "12.3µs", 0.1234: "123µs", 0.9994: "999µs", 0.9996: "1.00ms",
		9.99: "9.99ms", 9.996: "10.0ms", 99.96: "100ms", 999.4: "999ms", 999.6: "1.00s", 61_234: "61.2s", 600_000: "10m0s", 7_265_000: "2h1m5s", -1.5: "-1.50ms",
	} {
		if got := formatMS(ms); got != want {
			t.Errorf("%v ms is %s, want %s", ms, got, want)
		}
	}
	if got := formatOptionalMS(nil); got != "–" {
		t.Errorf("what was not measured is %q", got)
	}
}

func TestFormatCount(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", 1<<64 - 1: "18,446,744,073,709,551,615"} {
		if got := formatCount(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
	if got := plural(1, "call") + ", " + plural(2, "context switch") + ", " + plural(0, "row"); got != "1 call, 2 context switches, 0 rows" {
		t.Error(got)
	}
}

func TestFormatArgs(t *testing.T) {
	for args, want := range map[string]string{
		"": "()", "{}": "()", `{"a":1,"b":{"c":[1,2]},"s":"x\ny"}`: `(a: 1, b: {"c":[1,2]}, s: "x\ny")`,
		"[1]": "([1])", `{"cut`: `({"cut)`, "{\"a\":\"\u009b31m\"}": "(a: \"�31m\")",
	} {
		if got := formatArgs([]byte(args)); got != want {
			t.Errorf("%s is %s, want %s", args, got, want)
		}
	}
}

func TestCutLeft(t *testing.T) {
	for _, c := range []struct {
		name  string
		width int
		want  string
	}{{"main.f", 6, "main.f"}, {"pkg/main.f", 7, "…main.f"}, {"übermäßig", 4, "…ßig"}} {
		if got := cutLeft(c.name, c.width); got != c.want {
			t.Errorf("%s to %d is %s, want %s", c.name, c.width, got, c.want)
		}
	}
}
