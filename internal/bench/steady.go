package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

// A steady hour with a window of twenty minutes, a sixtieth as long.
const (
	steadyTime   = time.Minute
	steadyWindow = 20 * time.Second
	steadyRate   = 30_000 // calls/s
	steadyStep   = 10 * time.Second
)

// pace has the load called at a rate, calls a second, for some time. It calls each between.
func (r *running) pace(rate int, d time.Duration, each func(elapsed time.Duration) error) error {
	const beat = 20 * time.Millisecond
	start, made := time.Now(), 0
	for step := beat; step <= d; step += beat {
		due := int(step.Seconds() * float64(rate))
		if _, err := r.call(due - made); err != nil {
			return err
		}
		made = due
		time.Sleep(time.Until(start.Add(step)))
		if err := each(time.Since(start)); err != nil {
			return err
		}
	}
	return nil
}

// steady records at a steady rate, keeping all and expiring what is older than a window.
func (l *lab) steady() ([]*Table, error) {
	c, err := l.build(trace.LangC)
	if err != nil {
		return nil, err
	}
	t := &Table{
		Title: fmt.Sprintf("%s calls/s for %v", count(steadyRate), steadyTime), First: "time and what is kept",
		Columns: []string{"database and log, MB", "rows", "tracer's CPU since the last, µs a call", "its memory, MiB"},
		About:   fmt.Sprintf("An hour with a window of twenty minutes, scaled down to a sixtieth: %v with a window of %v. C, a function with a text of 64 bytes.", steadyTime, steadyWindow),
	}
	for _, kept := range []struct {
		name  string
		flags []string
		able  bool
	}{
		{"all", []string{"--retention", "off", "--max-db-size", "off"}, true},
		{"the last " + steadyWindow.String(), []string{"--retention", steadyWindow.String(), "--max-db-size", "off"}, l.flags.retention},
	} {
		if !l.flags.retention {
			kept.flags = nil
		}
		if !kept.able {
			t.Rows = append(t.Rows, &Row{Name: kept.name, Notes: []string{"Not in this build: attach has no --retention."}, Cells: []Cell{missing, missing, missing, missing}})
			continue
		}
		rows, err := l.steadyRun(c, kept.name, kept.flags)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kept.name, err)
		}
		t.Rows = append(t.Rows, rows...)
	}
	return []*Table{t}, nil
}

func (l *lab) steadyRun(path, name string, flags []string) (rows []*Row, err error) {
	db := filepath.Join(l.dir, "steady.db")
	r, err := l.start(&load{path: path, args: []string{"text"}, pattern: "text", functions: 1})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	flags = append(flags, l.flags.everything()...)
	tool, err := l.attach(r, db, flags...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tool.interrupt(time.Minute)) }()
	used, made, next := cpuOf(tool.cmd.Process.Pid), 0, steadyStep
	err = r.pace(steadyRate, steadyTime, func(elapsed time.Duration) error {
		if elapsed < next {
			return nil
		}
		now := cpuOf(tool.cmd.Process.Pid)
		size, err := databaseSize(db)
		if err != nil {
			return err
		}
		n, err := rowsIn(l, db)
		if err != nil {
			return err
		}
		rows = append(rows, &Row{Name: fmt.Sprintf("%v, %s kept", next, name), Cells: []Cell{
			single(float64(size) / 1e6), single(n), single((now - used).Seconds() * 1e6 / float64(r.made-made)), single(peakMemory(tool.cmd.Process.Pid)),
		}})
		used, made, next = now, r.made, next+steadyStep
		return nil
	})
	if len(rows) > 0 {
		rows[0].Command = attachCommand("text", flags)
	}
	return rows, err
}

// rowsIn counts the calls in a database.
func rowsIn(l *lab, db string) (n float64, err error) {
	out, err := exec.CommandContext(l.ctx, "sqlite3", "-readonly", "-cmd", ".timeout 5000", db, "SELECT count(*) FROM process_trace").Output()
	if err != nil {
		return 0, fmt.Errorf("count the rows: %w", err)
	}
	_, err = fmt.Sscan(string(out), &n)
	return n, err
}
