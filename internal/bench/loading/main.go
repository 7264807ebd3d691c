// Command loading measures, side by side, what it takes to trace one function of a
// large Go program: this project's planning (function table, debug information,
// sites, capture plans, the types that interfaces can hold), a whole attach -s of
// that function, and Delve loading the program's debug information whole. Each
// is a process of its own, and they take turns. The program is Prometheus, built
// from the module proxy into a temporary folder, or the one that is named:
//
//	loading [PROGRAM FUNCTION [ARGUMENT ...]]
//
// PROGRAM has to end by itself when it is run with the arguments.
package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/go-delve/delve/pkg/proc"

	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
	"github.com/observatory-trace/observatory-trace/symbols/types"
	"github.com/observatory-trace/observatory-trace/trace"
)

const (
	rounds    = 7
	large     = "github.com/prometheus/prometheus/cmd/prometheus"
	largeAt   = "v0.316.0"
	largeFunc = "github.com/prometheus/prometheus/tsdb.(*Head).Init"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "loading:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 3 && args[0] == "-plan" {
		return plan(args[1], args[2])
	}
	if len(args) == 2 && args[0] == "-delve" {
		return loadWhole(args[1])
	}
	dir, err := os.MkdirTemp("", "loading")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if len(args) == 0 {
		program, err := build(dir)
		if err != nil {
			return err
		}
		args = []string{program, largeFunc, "--version"}
	}
	if len(args) < 2 {
		return errors.New("usage: loading [PROGRAM FUNCTION [ARGUMENT ...]]")
	}
	return measure(dir, args[0], args[1], args[2:])
}

// build makes the large program, which takes some minutes for the first time.
func build(dir string) (string, error) {
	fmt.Fprintf(os.Stderr, "building %s, which takes some minutes for the first time\n", large)
	for _, args := range [][]string{{"mod", "init", "loading"}, {"get", large + "@" + largeAt}, {"build", "-o", dir, large}} {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go %s: %w\n%s", args[0], err, out)
		}
	}
	return filepath.Join(dir, filepath.Base(large)), nil
}

// plan does what attach does before it hands anything to the kernel.
func plan(path, function string) (err error) {
	f, err := symbols.Open(path, symbols.Options{Depth: 3})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	functions, err := f.Select(symbols.Selection{Include: []*pattern.Pattern{pattern.MustCompile(function)}})
	if err != nil || len(functions) == 0 || !functions[0].Traceable {
		return fmt.Errorf("select %s: %w, %d functions", function, err, len(functions))
	}
	roles, err := f.Roles()
	if err != nil {
		return err
	}
	c := types.NewCompiler(3)
	for _, fn := range slices.Concat(functions, roles) {
		for _, p := range []*trace.Plan{fn.EntryPlan, fn.ExitPlan} {
			c.Add(p)
		}
	}
	for _, d := range f.Dynamic() {
		if d.Type != nil {
			c.AddType(d.Type)
		}
	}
	f.ITabs()
	return nil
}

// loadWhole is Delve's way.
func loadWhole(path string) (err error) {
	file, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info := proc.NewBinaryInfo("linux", "amd64", false)
	defer func() { err = errors.Join(err, info.Close()) }()
	if err := info.LoadBinaryInfo(path, file.Entry, nil); err != nil {
		return err
	}
	if len(info.Functions) == 0 {
		return errors.New("no functions")
	}
	return nil
}

// figures are of the runs of one way.
type figures struct {
	name         string
	command      []string
	elapsed, cpu []float64 // s
	memory       []float64 // MB, the peak of the resident set
}

func measure(dir, program, function string, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if program, err = filepath.Abs(program); err != nil {
		return err
	}
	info, err := os.Stat(program)
	if err != nil {
		return err
	}
	ways := []*figures{
		{name: "planning " + function, command: []string{self, "-plan", program, function}},
		{name: "attach -s of it, to the program's end", command: append([]string{
			"bin/observatory-trace", "attach", "-s", function, "-o", "none", "--db", filepath.Join(dir, "loading.db"), "--", program,
		}, args...)},
		{name: "Delve, BinaryInfo loaded whole", command: []string{self, "-delve", program}},
	}
	for range rounds {
		for _, w := range ways {
			if err := w.run(); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	fmt.Printf("%s, %.0f MB; %d rounds taking turns, medians\n\n", filepath.Base(program), float64(info.Size())/1e6, rounds)
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(out, "\telapsed s\tmin\tmax\tratio\tCPU s\tratio\tmemory MB\tmax\tratio\t\n")
	first := ways[0]
	for _, w := range ways {
		fmt.Fprintf(out, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t%.2f\t\n", w.name,
			median(w.elapsed), slices.Min(w.elapsed), slices.Max(w.elapsed), median(w.elapsed)/median(first.elapsed),
			median(w.cpu), median(w.cpu)/median(first.cpu),
			median(w.memory), slices.Max(w.memory), median(w.memory)/median(first.memory))
	}
	return out.Flush()
}

func (f *figures) run() error {
	cmd := exec.Command(f.command[0], f.command[1:]...)
	var said strings.Builder
	cmd.Stderr = &said
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, said.String())
	}
	f.elapsed = append(f.elapsed, time.Since(start).Seconds())
	f.cpu = append(f.cpu, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
	f.memory = append(f.memory, float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)*1024/1e6)
	return nil
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
