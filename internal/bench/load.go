package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
	"github.com/observatory-trace/observatory-trace/trace"
)

// load is a program that calls functions as often as it is told, and how it is run.
type load struct {
	name       string
	path       string
	args       []string
	pattern    string // of the functions that are traced
	functions  int    // how many those are
	language   trace.Language
	processes  int // 0: one
	goroutines int // that share the calls; 0: the main thread makes them all
	calls      int // of a round
}

// build compiles a C or Go program of testdata/targets.
func (l *lab) build(language trace.Language, flags ...string) (string, error) {
	if language == trace.LangGo {
		path := filepath.Join(l.dir, "bench-go")
		return path, l.command("go", "build", "-C", "testdata/targets/go", "-o", path, "./bench")
	}
	path := filepath.Join(l.dir, "bench-c"+strings.Join(flags, ""))
	return path, l.command("gcc", append([]string{"-O2", "-g", "-o", path, "testdata/targets/c/bench/bench.c"}, flags...)...)
}

func (l *lab) command(name string, args ...string) error {
	if out, err := exec.CommandContext(l.ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// many makes a C program of n functions like add3, work0000 and so on, which it calls in turn.
func (l *lab) many(n int) (string, error) {
	source, path := filepath.Join(l.dir, fmt.Sprintf("many-%d.c", n)), filepath.Join(l.dir, fmt.Sprintf("many-%d", n))
	var text bytes.Buffer
	if err := manySource.Execute(&text, n); err != nil {
		return "", err
	}
	if err := os.WriteFile(source, text.Bytes(), 0o644); err != nil {
		return "", err
	}
	return path, l.command("gcc", "-O2", "-g", "-o", path, source)
}

var manySource = template.Must(template.New("many").Funcs(template.FuncMap{"name": manyName}).Parse(`#include <stdio.h>
#include <time.h>
{{range $i := .}}
__attribute__((noinline)) long {{name $i}}(long a, long b, long c) { __asm__ volatile("" ::: "rbx"); return a + b + c + {{$i}}; }{{end}}
static long (*const all[])(long, long, long) = { {{range $i := .}}{{name $i}}, {{end}} };
static long long now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}
int main(void)
{
	long calls, sum = 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("ready");
	while (scanf("%ld", &calls) == 1) {
		long long wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);
		for (long i = 0, k = 0; i < calls; i++, k = k + 1 < {{.}} ? k + 1 : 0)
			sum += all[k](i, 2, 3);
		cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
		printf("%lld %lld\n", now(CLOCK_MONOTONIC) - wall, cpu);
	}
	return sum == 42;
}
`))

func manyName(i int) string { return fmt.Sprintf("work%04d", i) }

// cost is what one call took, ns.
type cost struct{ cpu, elapsed float64 }

// running is a load that was started.
type running struct {
	*load
	processes []*process
	made      int // calls, so far
}

type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// start starts the program, behind the words of a command that starts it if there are any.
func (l *lab) start(w *load, wrap ...string) (*running, error) {
	r := &running{load: w}
	for range max(w.processes, 1) {
		p, err := l.startProcess(append(append(append([]string{}, wrap...), w.path), w.args...))
		if err != nil {
			return nil, errors.Join(err, r.stop())
		}
		r.processes = append(r.processes, p)
	}
	return r, nil
}

func (l *lab) startProcess(words []string) (*process, error) {
	p := &process{cmd: exec.CommandContext(l.ctx, words[0], words[1:]...)}
	// A collection would look at the stack, on which a uretprobe has left its own return address.
	p.cmd.Env = append(os.Environ(), "GOGC=off")
	var said strings.Builder
	p.cmd.Stderr = &said
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if !p.out.Scan() || p.out.Text() != "ready" {
		return nil, errors.Join(fmt.Errorf("%s is not ready: %s", words[0], said.String()), p.kill())
	}
	return p, nil
}

func (p *process) kill() error {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()
	return nil
}

func (r *running) pid() int { return r.processes[0].cmd.Process.Pid }

// stop ends the processes by closing their inputs.
func (r *running) stop() error {
	var errs []error
	for _, p := range r.processes {
		errs = append(errs, p.in.Close())
		stuck := time.AfterFunc(time.Minute, func() { _ = p.cmd.Process.Kill() })
		errs = append(errs, p.cmd.Wait())
		stuck.Stop()
	}
	r.processes = nil
	return errors.Join(errs...)
}

// call has the functions called n times in all, or, where several share them, somewhat less.
func (r *running) call(n int) (cost, error) {
	share := n / len(r.processes)
	for _, p := range r.processes {
		line := fmt.Sprint(share)
		if r.goroutines > 0 {
			line += fmt.Sprint(" ", r.goroutines)
		}
		if _, err := fmt.Fprintln(p.in, line); err != nil {
			return cost{}, err
		}
	}
	var sum cost
	for _, p := range r.processes {
		if !p.out.Scan() {
			return cost{}, errors.New("the target ended")
		}
		var c cost
		if _, err := fmt.Sscan(p.out.Text(), &c.elapsed, &c.cpu); err != nil {
			return cost{}, fmt.Errorf("read %q: %w", p.out.Text(), err)
		}
		sum.cpu += c.cpu
		sum.elapsed = max(sum.elapsed, c.elapsed)
	}
	if r.goroutines > 0 {
		share = share / r.goroutines * r.goroutines
	}
	n = share * len(r.processes)
	r.made += n
	return cost{sum.cpu / float64(n), sum.elapsed / float64(n)}, nil
}

// site is where one function can be probed, as offsets in its file.
type site struct {
	first, entry uint64
	code         []byte   // of the function, as the file has it
	exits        []uint64 // none: a uretprobe
}

// sites finds where this program would probe the load's functions.
func (w *load) sites() (sites []site, err error) {
	file, err := symbols.Open(w.path, symbols.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	raw, err := os.ReadFile(w.path)
	if err != nil {
		return nil, err
	}
	p, err := pattern.Compile(w.pattern)
	if err != nil {
		return nil, err
	}
	found, err := file.Select(symbols.Selection{Include: []*pattern.Pattern{p}})
	if err != nil || len(found) != w.functions {
		return nil, fmt.Errorf("%d functions match %s: %w", len(found), w.pattern, err)
	}
	for _, f := range found {
		at := func(o uint64) uint64 {
			off, _ := file.FileOffset(f.Address + o)
			return off
		}
		s := site{first: at(0), entry: at(f.Entry.Offset), code: raw[at(0) : at(0)+f.Size]}
		if f.Exit.Kind != trace.ExitReturn {
			for _, x := range f.Exit.Sites {
				s.exits = append(s.exits, at(x.Offset))
			}
		}
		sites = append(sites, s)
	}
	return sites, nil
}

// probed tells whether the code of a function in the first process differs from that in the
// file: there is a breakpoint in it.
func (r *running) probed(memory io.ReaderAt, s site) (bool, error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", r.pid()))
	if err != nil {
		return false, err
	}
	for _, line := range strings.Split(string(maps), "\n") {
		var low, high, from uint64
		var access, device, inode, path string
		n, _ := fmt.Sscanf(line, "%x-%x %s %x %s %s %s", &low, &high, &access, &from, &device, &inode, &path)
		if n < 7 || path != r.path || s.first < from || s.first >= from+high-low {
			continue
		}
		code := make([]byte, len(s.code))
		if _, err := memory.ReadAt(code, int64(low+s.first-from)); err != nil {
			return false, err
		}
		return !bytes.Equal(code, s.code), nil
	}
	return false, fmt.Errorf("process %d does not map offset %#x of %s", r.pid(), s.first, r.path)
}

// awaitProbes waits until there is a breakpoint in each of the functions, or gone is closed.
func (r *running) awaitProbes(sites []site, gone <-chan struct{}) error {
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", r.pid()))
	if err != nil {
		return err
	}
	defer memory.Close()
	for i := 0; i < len(sites); {
		there, err := r.probed(memory, sites[i])
		if err != nil {
			return err
		}
		if there {
			i++
			continue
		}
		select {
		case <-gone:
			return errors.New("it ended before its probes were there")
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}
