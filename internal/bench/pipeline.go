package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
	"github.com/observatory-trace/observatory-trace/writer"
)

const (
	waitingCalls = 500_000 // in the ring buffer when its reader begins
	idleCalls    = 1000    // when it has next to nothing to do
	storedCalls  = 500_000 // handed to the store
)

// pipeline measures what becomes of events that are in the ring buffer.
func (l *lab) pipeline() ([]*Table, error) {
	c, err := l.build(trace.LangC)
	if err != nil {
		return nil, err
	}
	ring := &Table{
		Title: "From the ring buffer on", First: "captured, and how far", Columns: []string{"CPU, µs a call", "elapsed, µs a call", "calls/s", "bytes a call in the file"},
		About: fmt.Sprintf("The tracer is stopped (SIGSTOP) while the target makes %s calls, which fill a ring buffer that holds them all; measured is what it takes until it has ended, less what it takes with nothing to do. "+
			"\"To a call\" is with a filter that no call passes, which is tested when it is decoded.", count(waitingCalls)),
	}
	for _, w := range []struct{ name, function string }{
		{"three integers", "add3"}, {"a text of 64 bytes", "text"}, {"a structure of three levels", "tree"},
	} {
		rows, err := l.fromRing(w.name, &load{path: c, args: []string{w.function}, pattern: w.function, functions: 1})
		if err != nil {
			return nil, err
		}
		ring.Rows = append(ring.Rows, rows...)
	}
	store, err := l.toStore()
	if err != nil {
		return nil, err
	}
	whole, err := l.whole(c)
	return []*Table{whole, ring, store}, err
}

// whole finds how many calls a second come through from the probe to the row.
func (l *lab) whole(path string) (*Table, error) {
	const second = 3 * time.Second
	t := &Table{
		Title: "From the probe to the row", First: "calls/s asked for", Columns: []string{"made, calls/s", "recorded, %", "dropped, %", "target's CPU, %", "tracer's CPU, %"},
		About: fmt.Sprintf("A C program on one processor calls a function with three integers at a rate, for %v; the default ring buffer. CPU is of one processor.", second),
	}
	for _, rate := range []int{100_000, 200_000, 250_000, 300_000, 400_000} {
		var made, recorded, dropped, target, tracer []float64
		for range l.rounds {
			s, err := l.paced(path, rate, second)
			if err != nil {
				return nil, err
			}
			made = append(made, s.made)
			recorded, dropped = append(recorded, s.recorded), append(dropped, 100-s.recorded)
			target, tracer = append(target, s.target), append(tracer, s.tracer)
		}
		t.Rows = append(t.Rows, &Row{Name: count(float64(rate)), Cells: []Cell{figure(made), figure(recorded), figure(dropped), figure(target), figure(tracer)}})
	}
	t.Rows[0].Command = attachCommand("add3", l.flags.everything())
	return t, nil
}

// flow is what a target and its tracer did at a rate.
type flow struct{ made, recorded, target, tracer float64 }

func (l *lab) paced(path string, rate int, d time.Duration) (f flow, err error) {
	db := filepath.Join(l.dir, "paced.db")
	r, err := l.start(&load{path: path, args: []string{"add3"}, pattern: "add3", functions: 1}, "taskset", "-c", "0")
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	t, err := l.attach(r, db, l.flags.everything()...)
	if err != nil {
		return f, err
	}
	tracer, target, start := cpuOf(t.cmd.Process.Pid), cpuOf(r.pid()), time.Now()
	if err := r.pace(rate, d, func(time.Duration) error { return nil }); err != nil {
		return f, errors.Join(err, t.interrupt(time.Second))
	}
	took := time.Since(start).Seconds()
	f.made = float64(r.made) / took
	f.tracer = (cpuOf(t.cmd.Process.Pid) - tracer).Seconds() / took * 100
	f.target = (cpuOf(r.pid()) - target).Seconds() / took * 100
	if err := t.interrupt(time.Minute); err != nil {
		return f, err
	}
	counted, recorded, err := counts(l.ctx, db)
	if err == nil && counted != int64(r.made) {
		err = fmt.Errorf("it counted %d calls, not %d", counted, r.made)
	}
	f.recorded = float64(recorded) / float64(r.made) * 100
	return f, err
}

// drained is what it took to work off a full ring buffer.
type drained struct {
	cpu, elapsed time.Duration
	bytes        int64 // of the database
}

func (l *lab) fromRing(name string, w *load) ([]*Row, error) {
	toRow := []string{"--ring-buffer", "512MiB"}
	toCall := append(slices.Clone(toRow), "--filter", "false")
	var rowCPU, rowElapsed, callCPU, callElapsed, bytes []float64
	const n = waitingCalls - idleCalls
	for range l.rounds {
		row, err := l.drain(w, toRow)
		if err != nil {
			return nil, err
		}
		call, err := l.drain(w, toCall)
		if err != nil {
			return nil, err
		}
		rowCPU = append(rowCPU, row.cpu.Seconds()*1e6/n)
		rowElapsed = append(rowElapsed, row.elapsed.Seconds()*1e6/n)
		callCPU = append(callCPU, call.cpu.Seconds()*1e6/n)
		callElapsed = append(callElapsed, call.elapsed.Seconds()*1e6/n)
		bytes = append(bytes, float64(row.bytes)/n)
	}
	return []*Row{
		{Name: name + ", to a call", Command: attachCommand(w.pattern, toCall), Cells: []Cell{figure(callCPU), figure(callElapsed), rate(callElapsed), missing}},
		{Name: name + ", to a committed row", Command: attachCommand(w.pattern, toRow), Cells: []Cell{figure(rowCPU), figure(rowElapsed), rate(rowElapsed), figure(bytes)}},
	}, nil
}

// rate turns microseconds a call into calls a second.
func rate(micros []float64) Cell {
	var v []float64
	for _, m := range micros {
		v = append(v, 1e6/m)
	}
	return figure(v)
}

// drain is what it takes to work off what waits in the ring buffer, and next to nothing but that.
func (l *lab) drain(w *load, flags []string) (d drained, err error) {
	idle, err := l.drainOnce(w, idleCalls, flags)
	if err != nil {
		return d, err
	}
	d, err = l.drainOnce(w, waitingCalls, flags)
	return drained{d.cpu - idle.cpu, d.elapsed - idle.elapsed, d.bytes - idle.bytes}, err
}

// drainOnce lets n calls wait in the ring buffer, and then has them worked off.
func (l *lab) drainOnce(w *load, n int, flags []string) (d drained, err error) {
	db := filepath.Join(l.dir, "drain.db")
	r, err := l.start(w)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	t, err := l.attach(r, db, append(flags, l.flags.everything()...)...)
	if err != nil {
		return d, err
	}
	if err := t.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return d, err
	}
	if _, err := r.call(n); err != nil {
		return d, errors.Join(err, t.interrupt(0))
	}
	// It ends when it has read what is there; the signal comes first when it goes on.
	if err := errors.Join(t.cmd.Process.Signal(os.Interrupt), t.cmd.Process.Signal(syscall.SIGCONT)); err != nil {
		return d, err
	}
	start := time.Now()
	if err := t.ends(5 * time.Minute); err != nil {
		return d, err
	}
	d.elapsed = time.Since(start)
	d.cpu = t.cmd.ProcessState.UserTime() + t.cmd.ProcessState.SystemTime()
	if counted, _, err := counts(l.ctx, db); err != nil || counted != int64(n) {
		return d, fmt.Errorf("it tells of %d calls, not %d: %w %s", counted, n, err, t.said())
	}
	d.bytes, err = databaseSize(db)
	return d, err
}

// toStore measures the store alone: from calls in memory to committed rows.
func (l *lab) toStore() (*Table, error) {
	t := &Table{
		Title: "From a call to a committed row", First: "who reads meanwhile", Columns: []string{"CPU, µs a call", "elapsed, µs a call", "calls/s", "bytes a call in the file"},
		About: fmt.Sprintf("The store alone: %s calls of 97 functions, in trees of four, with 120 bytes of JSON each and an error in a thousand, handed over in batches of 512. CPU time is the whole process's: the runtime's and its collector's, too.", count(storedCalls)),
	}
	for _, reader := range []bool{false, true} {
		var cpu, elapsed, bytes []float64
		for range l.rounds {
			d, err := l.store(reader)
			if err != nil {
				return nil, err
			}
			cpu = append(cpu, d.cpu.Seconds()*1e6/storedCalls)
			elapsed = append(elapsed, d.elapsed.Seconds()*1e6/storedCalls)
			bytes = append(bytes, float64(d.bytes)/storedCalls)
		}
		row := &Row{Name: "nobody", Cells: []Cell{figure(cpu), figure(elapsed), rate(elapsed), figure(bytes)}}
		if reader {
			row.Cells[3] = missing // the log is not shortened while somebody reads
			row.Name = "report and errors, one after the other"
			row.Command = program + " report --db DB; " + program + " errors --db DB"
		}
		t.Rows = append(t.Rows, row)
	}
	return t, nil
}

func (l *lab) store(reader bool) (d drained, err error) {
	db := filepath.Join(l.dir, "store.db")
	if err := removeDatabase(db); err != nil {
		return d, err
	}
	s, err := writer.Open(db, writer.Options{})
	if err != nil {
		return d, err
	}
	defer func() {
		if s != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	service := newService(time.Now())
	batches := make([][]*trace.Call, 0, storedCalls/batchCalls+1)
	for left := storedCalls; left > 0; {
		n := min(left, batchCalls)
		first, err := s.NextIDs(n)
		if err != nil {
			return d, err
		}
		batches = append(batches, service.calls(first, n, 3300))
		left -= n
	}
	if reader {
		defer l.keepReading(db)()
	}
	before, start := ownCPU(), time.Now()
	for _, b := range batches {
		if err := s.Write(b); err != nil {
			return d, err
		}
	}
	closing := s
	s = nil
	if err := closing.Close(); err != nil {
		return d, err
	}
	d.elapsed, d.cpu = time.Since(start), ownCPU()-before
	d.bytes, err = databaseSize(db)
	return d, err
}

// keepReading asks the database one thing after the other until the function that it gives is called.
func (l *lab) keepReading(db string) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			for _, what := range []string{"report", "errors"} {
				select {
				case <-done:
					return
				default:
					_ = exec.CommandContext(l.ctx, program, what, "--db", db).Run() // what it says doesn't matter here
				}
			}
		}
	}()
	return func() { close(done); <-ended }
}

// ownCPU is this process's CPU time, without its children's.
func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it doesn't fail for this process
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// databaseSize is what a database and its log take on disk, bytes.
func databaseSize(path string) (sum int64, err error) {
	for _, suffix := range []string{"", "-wal"} {
		info, err := os.Stat(path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		sum += info.Size()
	}
	return sum, nil
}

// removeDatabase removes a database and what belongs to it.
func removeDatabase(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
