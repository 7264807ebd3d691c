// Command bench measures what a traced call costs its thread, side by side: the
// function alone, an empty program at its entry and exit, this project's capture
// of three scalars and a result delivered to the database, and bpftrace timing
// the same function. The runs take turns, so that a noisy machine is noisy for all.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

const (
	rounds    = 7
	calls     = 100_000 // a round of a traced function
	bareCalls = 50_000_000
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	targets, err := build(dir)
	if err != nil {
		return err
	}
	describeMachine()
	for _, t := range targets {
		if err := t.measure(dir); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return nil
}

// build compiles the two programs whose function is called.
func build(dir string) ([]*target, error) {
	c := &target{name: "C", function: "add3", path: filepath.Join(dir, "bench-c")}
	if err := command("gcc", "-O2", "-g", "-o", c.path, "testdata/targets/c/bench/bench.c"); err != nil {
		return nil, err
	}
	g := &target{name: "Go", function: "main.add3", path: filepath.Join(dir, "bench-go")}
	return []*target{c, g}, command("go", "build", "-C", "testdata/targets/go", "-o", g.path, "./bench")
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

func describeMachine() {
	var u unix.Utsname
	_ = unix.Uname(&u)
	release, _, _ := strings.Cut(string(u.Release[:]), "\x00")
	fmt.Printf("Linux %s, %s, %s; %d rounds of %d calls taking turns, medians\n\n", release, processor(), bpftraceVersion(), rounds, calls)
}

func processor() string {
	raw, _ := os.ReadFile("/proc/cpuinfo")
	model, n := "unknown processor", 0
	for _, line := range strings.Split(string(raw), "\n") {
		if v, ok := strings.CutPrefix(line, "model name"); ok {
			model = strings.Trim(v, "\t :")
			n++
		}
	}
	return fmt.Sprintf("%d × %s", n, model)
}

func bpftraceVersion() string {
	out, err := exec.Command("bpftrace", "--version").Output()
	if err != nil {
		return "no bpftrace"
	}
	return strings.TrimSpace(string(out))
}

// target is a running program that times calls of its function on request.
type target struct {
	name, function, path string
	in                   io.WriteCloser
	out                  *bufio.Scanner
	cmd                  *exec.Cmd
}

func (t *target) start() error {
	t.cmd = exec.Command(t.path)
	var err error
	if t.in, err = t.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	t.out = bufio.NewScanner(out)
	if err := t.cmd.Start(); err != nil {
		return err
	}
	if !t.out.Scan() || t.out.Text() != "ready" {
		return errors.New("the target is not ready")
	}
	return nil
}

// stop ends the target by closing its input.
func (t *target) stop() error { return errors.Join(t.in.Close(), t.cmd.Wait()) }

// call has the function called n times and gives the ns that one took.
func (t *target) call(n int) (float64, error) {
	if _, err := fmt.Fprintln(t.in, n); err != nil {
		return 0, err
	}
	if !t.out.Scan() {
		return 0, errors.New("the target ended")
	}
	ns, err := strconv.ParseInt(t.out.Text(), 10, 64)
	return float64(ns) / float64(n), err
}

// way is one way of tracing: attach, and what undoes it.
type way struct {
	name   string
	attach func(t *target) (detach func() error, err error)
}

func (t *target) measure(dir string) (err error) {
	if err := t.start(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	bare, err := t.call(bareCalls)
	if err != nil {
		return err
	}
	ways, err := t.ways(dir)
	if err != nil {
		return err
	}
	took := make([][]float64, len(ways))
	for range rounds {
		for i, w := range ways {
			ns, err := t.round(w)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			took[i] = append(took[i], ns-bare)
		}
	}
	t.print(ways, took)
	return nil
}

func (t *target) round(w way) (ns float64, err error) {
	detach, err := w.attach(t)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, detach()) }()
	if _, err := t.call(calls / 10); err != nil {
		return 0, err
	}
	return t.call(calls)
}

func (t *target) print(ways []way, took [][]float64) {
	floor := median(took[0])
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s: one call of %s\tµs\tmin\tmax\tratio\t\n", t.name, t.function)
	for i, way := range ways {
		m := median(took[i])
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t\n", way.name, m/1e3, slices.Min(took[i])/1e3, slices.Max(took[i])/1e3, m/floor)
	}
	_ = w.Flush()
	fmt.Println()
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
