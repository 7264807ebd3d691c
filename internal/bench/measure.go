package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// way is one way of tracing a load.
type way struct {
	name, command string
	notes         []string
	calls, rounds int      // instead of the load's and the lab's: it is slow
	path          string   // of another build of the program
	wrap          []string // before the program's command: what starts it
	fatal         bool     // the target ends with it
	unable        bool     // it can't, or isn't to: the notes say why
	peer          bool     // another's: that it fails is noted, and the others are measured all the same
	begin         func(r *running) (*tracer, error)
}

// tracer is what traces, and began to do so.
type tracer struct {
	pid      int           // 0: there is no process
	attached time.Duration // what that took; 0: it isn't told from starting the target
	// end detaches, and gives how many of the calls it tells of.
	end func() (seen int64, err error)
	// late says that it works off what it was given when it ends; used is the CPU time that it then has used.
	late bool
	used func() time.Duration
}

// costColumns are the columns of what measure finds.
var costColumns = []string{
	"CPU time of the caller, ratio", "elapsed time, ratio", "CPU, µs a call", "elapsed, µs a call", "calls seen, %",
	"tracer's CPU, µs a call", "tracer's memory, MiB", "attaching, s", "detaching, s",
}

// sample is what one round of a way found.
type sample struct {
	cost
	round            int
	seen             float64 // of the calls that were made, %
	used             float64 // the tracer's CPU time, µs a call
	memory           float64 // MiB, at its peak
	attached, detach time.Duration
}

// measure has all ways trace the load in turn. The first, which is none of the peers, is what ratios refer to.
func (l *lab) measure(w *load, ways []*way) ([]*Row, error) {
	samples := make([][]sample, len(ways))
	for round := range l.rounds {
		bare, err := l.bare(w)
		if err != nil {
			return nil, err
		}
		for i, way := range ways {
			if way.unable || way.rounds > 0 && round >= way.rounds {
				continue
			}
			s, err := l.round(w, way)
			if err != nil && way.peer && l.ctx.Err() == nil {
				way.notes = append(way.notes, "It failed in a round: "+err.Error())
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", w.name, way.name, err)
			}
			s.round = round
			s.cpu -= bare.cpu
			s.elapsed -= bare.elapsed
			samples[i] = append(samples[i], s)
		}
	}
	var rows []*Row
	for i, way := range ways {
		rows = append(rows, way.row(samples[i], samples[0]))
	}
	return rows, nil
}

// bare is what a call costs that nobody traces.
func (l *lab) bare(w *load) (cost, error) {
	r, err := l.start(w)
	if err != nil {
		return cost{}, err
	}
	n := 20_000_000
	if w.goroutines > 0 {
		n = w.calls
	}
	c, err := r.call(n)
	return c, errors.Join(err, r.stop())
}

func (l *lab) round(w *load, way *way) (s sample, err error) {
	calls := w.calls
	if way.calls > 0 {
		calls = way.calls
	}
	if way.path != "" {
		other := *w
		other.path = way.path
		w = &other
	}
	r, err := l.start(w, way.wrap...)
	if err != nil {
		return s, err
	}
	defer func() {
		for _, p := range r.processes { // those that nobody has stopped
			_ = p.kill()
		}
	}()
	t, err := way.begin(r)
	if err != nil {
		return s, err
	}
	ended := false
	defer func() {
		if !ended {
			_, _ = t.end()
		}
	}()
	if _, err := r.call(max(calls/10, r.goroutines)); err != nil {
		return s, err
	}
	before, warm := t.settle(), r.made
	if s.cost, err = r.call(calls); err != nil {
		return s, err
	}
	used := t.settle() - before
	s.memory = peakMemory(t.pid)
	s.attached = t.attached
	start := time.Now()
	ended = true
	seen, err := t.end()
	if err != nil {
		return s, err
	}
	s.detach = time.Since(start)
	if t.late {
		used = t.used() - before
	}
	s.used = used.Seconds() * 1e6 / float64(r.made-warm)
	s.seen = float64(seen) / float64(r.made) * 100
	if seen == 0 {
		return s, errors.New("it saw no call")
	}
	if way.fatal {
		return s, nil
	}
	return s, r.stop()
}

func (way *way) row(samples, first []sample) *Row {
	r := &Row{Name: way.name, Command: way.command, Notes: way.notes}
	if len(samples) == 0 {
		for range costColumns {
			r.Cells = append(r.Cells, missing)
		}
		return r
	}
	of := func(f func(s sample) (float64, bool)) {
		var v []float64
		for _, s := range samples {
			if x, ok := f(s); ok {
				v = append(v, x)
			}
		}
		r.Cells = append(r.Cells, figure(v))
	}
	of(func(s sample) (float64, bool) { return s.cpu / first[s.round].cpu, true })
	of(func(s sample) (float64, bool) { return s.elapsed / first[s.round].elapsed, true })
	of(func(s sample) (float64, bool) { return s.cpu / 1e3, true })
	of(func(s sample) (float64, bool) { return s.elapsed / 1e3, true })
	of(func(s sample) (float64, bool) { return s.seen, s.memory > 0 })
	of(func(s sample) (float64, bool) { return s.used, s.memory > 0 })
	of(func(s sample) (float64, bool) { return s.memory, s.memory > 0 })
	of(func(s sample) (float64, bool) { return s.attached.Seconds(), s.attached > 0 })
	of(func(s sample) (float64, bool) { return s.detach.Seconds(), s.attached > 0 })
	return r
}

// settle waits until the tracer has worked off what it was given, and gives the CPU time
// that it has used.
func (t *tracer) settle() time.Duration {
	if t.pid == 0 {
		return 0
	}
	for used := cpuOf(t.pid); ; {
		time.Sleep(200 * time.Millisecond)
		now := cpuOf(t.pid)
		if now-used < 10*time.Millisecond {
			return now
		}
		used = now
	}
}

// cpuOf is the CPU time of all threads of a process.
func cpuOf(pid int) (sum time.Duration) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, name := range files {
		raw, _ := os.ReadFile(name) // the thread may have ended
		first, _, _ := strings.Cut(string(raw), " ")
		ns, _ := strconv.ParseInt(first, 10, 64)
		sum += time.Duration(ns)
	}
	return sum
}

// peakMemory is the most that has been resident of a process, MiB; 0 when there is none.
func peakMemory(pid int) float64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil || pid == 0 {
		return 0
	}
	_, rest, _ := strings.Cut(string(raw), "VmHWM:")
	var kb float64
	_, _ = fmt.Sscan(rest, &kb)
	return kb / 1024
}

// tool is a program that traces.
type tool struct {
	cmd    *exec.Cmd
	stdout output
	stderr output
	gone   chan struct{}
}

// output is what a program has said so far.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (l *lab) startTool(words ...string) (*tool, error) {
	t := &tool{cmd: exec.CommandContext(l.ctx, words[0], words[1:]...), gone: make(chan struct{})}
	t.cmd.Stdout, t.cmd.Stderr = &t.stdout, &t.stderr
	t.cmd.WaitDelay = time.Second
	t.cmd.Env = append(os.Environ(), "BPFTRACE_MAX_PROBES=20000", "BPFTRACE_PERF_RB_PAGES=4096")
	if err := t.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = t.cmd.Wait() // how it ended, its state tells
		close(t.gone)
	}()
	return t, nil
}

// await waits until the tool has said the text on standard error.
func (t *tool) await(text string) error {
	for !strings.Contains(t.stderr.String(), text) {
		select {
		case <-t.gone:
			return fmt.Errorf("it never said %q but %q", text, t.stderr.String())
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// interrupt ends it as Ctrl-C does, and, if it doesn't, by force.
func (t *tool) interrupt(patience time.Duration) error {
	_ = t.cmd.Process.Signal(os.Interrupt) // it may have ended
	return t.ends(patience)
}

// insist interrupts it again and again.
func (t *tool) insist(patience time.Duration) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		_ = t.cmd.Process.Signal(os.Interrupt) // it may have ended
		select {
		case <-t.gone:
			return nil
		case <-time.After(5 * time.Second):
		}
	}
	return t.ends(0)
}

// ends waits for its end, and brings it about by force when it has to wait for longer.
func (t *tool) ends(patience time.Duration) error {
	select {
	case <-t.gone:
		return nil
	case <-time.After(patience):
		_ = t.cmd.Process.Signal(syscall.SIGKILL)
		<-t.gone
		return fmt.Errorf("it did not end within %v: %s", patience, t.said())
	}
}

func (t *tool) said() string {
	lines := bufio.NewScanner(io.MultiReader(strings.NewReader(t.stdout.String()), strings.NewReader(t.stderr.String())))
	var last []string
	for lines.Scan() {
		if last = append(last, lines.Text()); len(last) > 5 {
			last = last[1:]
		}
	}
	return strings.Join(last, "; ")
}
