package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	timedCalls  = 2000
	calibrating = 3 * time.Second // until the tracer knows what probes cost
)

// latency compares recorded durations with what the program itself measures when it isn't traced.
func (l *lab) latency() ([]*Table, error) {
	path := filepath.Join(l.dir, "timed")
	if err := l.command("gcc", "-O2", "-g", "-o", path, "testdata/targets/c/timed/timed.c"); err != nil {
		return nil, err
	}
	t := &Table{
		Title: "A C function that calls another one", First: "traced calls that it makes",
		Columns: []string{"untraced, µs", "`duration_ms` to that", "`duration_ms - overhead_ms` to that", "`overhead_ms`, µs"},
		About: fmt.Sprintf("The function itself and each callee work for about as long. Medians of %d calls; untraced, the program takes the mean of its own CPU time. "+
			"1 would be exact.", timedCalls),
	}
	for _, callees := range []int{0, 1, 10, 100} {
		var truth, duration, rest, overhead []float64
		for range l.rounds {
			real, seen, less, err := l.durations(path, callees)
			if err != nil {
				return nil, fmt.Errorf("%d callees: %w", callees, err)
			}
			truth, duration, rest, overhead = append(truth, real/1e3), append(duration, seen/real), append(rest, less/real), append(overhead, (seen-less)/1e3)
		}
		t.Rows = append(t.Rows, &Row{
			Name: count(float64(callees)), Command: program + " attach --unlimited -p PID -s caller -s callee -o none",
			Cells: []Cell{figure(truth), figure(duration), figure(rest), figure(overhead)},
		})
	}
	return []*Table{t}, nil
}

// durations gives how long a call takes, ns: in truth, by its duration, and less the probes' share.
func (l *lab) durations(path string, callees int) (truth, duration, rest float64, err error) {
	cmd := exec.CommandContext(l.ctx, path)
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, 0, 0, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, in.Close(), cmd.Wait()) }()
	out := bufio.NewScanner(stdout)
	ask := func() (ns float64, err error) {
		if _, err := fmt.Fprintln(in, callees, timedCalls); err != nil {
			return 0, err
		}
		err = readNumber(out, &ns)
		return ns, err
	}
	if !out.Scan() { // that it is ready
		return 0, 0, 0, io.ErrUnexpectedEOF
	}
	if _, err := ask(); err != nil { // warms up
		return 0, 0, 0, err
	}
	if truth, err = ask(); err != nil {
		return 0, 0, 0, err
	}
	db := filepath.Join(l.dir, "latency.db")
	if err := removeDatabase(db); err != nil {
		return 0, 0, 0, err
	}
	t, err := l.startTool(program, "attach", "--unlimited", "-p", fmt.Sprint(cmd.Process.Pid), "-s", "caller", "-s", "callee", "--db", db, "-o", "none")
	if err != nil {
		return 0, 0, 0, err
	}
	err = t.await("attached: 2 functions")
	if err == nil {
		time.Sleep(calibrating)
		_, err = ask()
	}
	if err = errors.Join(err, t.interrupt(time.Minute)); err != nil {
		return 0, 0, 0, err
	}
	median := "SELECT %s FROM process_trace WHERE process = 'caller' ORDER BY 1 LIMIT 1 OFFSET (SELECT count(*) / 2 FROM process_trace WHERE process = 'caller')"
	for of, into := range map[string]*float64{"duration_ms * 1e6": &duration, "(duration_ms - overhead_ms) * 1e6": &rest} {
		text, err := exec.CommandContext(l.ctx, "sqlite3", "-readonly", db, fmt.Sprintf(median, of)).Output()
		if err != nil {
			return 0, 0, 0, err
		}
		if _, err := fmt.Sscan(strings.TrimSpace(string(text)), into); err != nil {
			return 0, 0, 0, fmt.Errorf("read %q: %w", text, err)
		}
	}
	return truth, duration, rest, nil
}

func readNumber(out *bufio.Scanner, into *float64) error {
	if !out.Scan() {
		return io.ErrUnexpectedEOF
	}
	_, err := fmt.Sscan(out.Text(), into)
	return err
}
