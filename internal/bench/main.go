// Command bench measures, side by side, what a traced call costs its thread: an
// empty program at the function's entry and exit, this project's capture of three
// scalars and a result delivered to the database, and bpftrace timing the same
// function. The runs take turns, so that a noisy machine is noisy for all. Cost
// is CPU time of the calling thread; elapsed time, which a tracer that competes
// for the processors makes longer, stands beside it. Then it measures what
// attaching to thousands of functions takes.
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
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

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
	return measureAttach(dir)
}

// build compiles the two programs whose function is called.
func build(dir string) ([]*target, error) {
	c := &target{name: "C", function: "add3", path: filepath.Join(dir, "bench-c")}
	if err := command("gcc", "-O2", "-g", "-o", c.path, "testdata/targets/c/bench/bench.c"); err != nil {
		return nil, err
	}
	g := &target{name: "Go", function: "main.add3", path: filepath.Join(dir, "bench-go")}
	text := &target{name: "C", function: "text", path: c.path, brief: true}
	tree := &target{name: "C", function: "tree", path: c.path, brief: true}
	return []*target{c, g, text, tree}, command("go", "build", "-C", "testdata/targets/go", "-o", g.path, "./bench")
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
	brief                bool // no peers, only the floor
	in                   io.WriteCloser
	out                  *bufio.Scanner
	cmd                  *exec.Cmd
}

func (t *target) start() error {
	t.cmd = exec.Command(t.path, t.function)
	// A collection would look at the stack, on which a uretprobe has left its own return address.
	t.cmd.Env = append(os.Environ(), "GOGC=off")
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

// cost is what one call took, ns.
type cost struct{ cpu, elapsed float64 }

// call has the function called n times.
func (t *target) call(n int) (cost, error) {
	if _, err := fmt.Fprintln(t.in, n); err != nil {
		return cost{}, err
	}
	if !t.out.Scan() {
		return cost{}, errors.New("the target ended")
	}
	var c cost
	if _, err := fmt.Sscan(t.out.Text(), &c.elapsed, &c.cpu); err != nil {
		return cost{}, fmt.Errorf("read %q: %w", t.out.Text(), err)
	}
	return cost{c.cpu / float64(n), c.elapsed / float64(n)}, nil
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
	cpu, elapsed := make([][]float64, len(ways)), make([][]float64, len(ways))
	for range rounds {
		for i, w := range ways {
			c, err := t.round(w)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			cpu[i] = append(cpu[i], c.cpu-bare.cpu)
			elapsed[i] = append(elapsed[i], c.elapsed-bare.elapsed)
		}
	}
	t.print(ways, cpu, elapsed)
	return nil
}

func (t *target) round(w way) (c cost, err error) {
	detach, err := w.attach(t)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, detach()) }()
	if _, err := t.call(calls / 10); err != nil {
		return c, err
	}
	return t.call(calls)
}

func (t *target) print(ways []way, cpu, elapsed [][]float64) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s: one call of %s\tCPU µs\tmin\tmax\tratio\telapsed µs\tratio\t\n", t.name, t.function)
	for i, way := range ways {
		c, e := median(cpu[i]), median(elapsed[i])
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t\n", way.name, c/1e3, slices.Min(cpu[i])/1e3, slices.Max(cpu[i])/1e3,
			c/median(cpu[0]), e/1e3, e/median(elapsed[0]))
	}
	_ = w.Flush()
	fmt.Println()
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// measureAttach has the built program attach to thousands of functions of the Go
// compiler, which does next to nothing then.
func measureAttach(dir string) error {
	out, err := exec.Command("go", "tool", "-n", "compile").Output()
	if err != nil {
		return fmt.Errorf("find the Go compiler: %w", err)
	}
	compiler := strings.TrimSpace(string(out))
	info, err := os.Stat(compiler)
	if err != nil {
		return err
	}
	var took, memory []float64
	var attached string
	for range rounds {
		cmd := exec.Command("bin/observatory-trace", "attach", "-s", "cmd/compile/internal/s*.*", "--db", filepath.Join(dir, "attach.db"), "-o", "none", "--", compiler, "-V=full")
		var said strings.Builder
		cmd.Stderr = &said
		start := time.Now()
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("attach to the Go compiler: %w\n%s", err, said.String())
		}
		took = append(took, time.Since(start).Seconds())
		memory = append(memory, float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)/1024)
		attached, _, _ = strings.Cut(said.String(), "\n")
	}
	fmt.Printf("Go compiler, %.1f MB: %s: %.2f s from start to end, everything parsed, attached and detached (min %.2f, max %.2f); %.0f MiB of memory at most\n",
		float64(info.Size())/1e6, attached, median(took), slices.Min(took), slices.Max(took), slices.Max(memory))
	return nil
}
