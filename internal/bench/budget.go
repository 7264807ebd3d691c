package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

const (
	budgetTime  = 15 * time.Second
	budgetCalls = 10_000 // at a time: some 5 ms, untraced
	bareCalls   = 5_000_000
)

// budget measures how much a hot function is slowed, second by second.
func (l *lab) budget() ([]*Table, error) {
	c, err := l.build(trace.LangC)
	if err != nil {
		return nil, err
	}
	w := &load{path: c, args: []string{"busy"}, pattern: "busy", functions: 1}
	bare, err := l.bareBusy(w)
	if err != nil {
		return nil, err
	}
	curve := &Table{
		Title: fmt.Sprintf("%s calls/s", count(1e9/bare.cpu)), First: "time since it was attached to",
		About: "A C function that is called as fast as it can be. By how much more CPU time its thread takes for a call than untraced, %, in each second.",
	}
	counted := &Table{
		Title: "What was counted meanwhile", First: "how", Columns: []string{"calls made", "calls counted", "by the share that was counted", "that is off by, %", "marked error, %", "rows"},
		About: "Probes that are in place for a part of the time count a part of the calls, which `function_stats` tells as `coverage`, and how far off that may be as `calls_error`.",
	}
	ways := []struct {
		name  string
		flags []string
	}{{"default", nil}, {"statistics only", []string{"--stats-only"}}, {"unlimited", l.flags.everything()}}
	var columns [][]float64
	for _, way := range ways {
		slower, made, db, err := l.hot(w, way.flags)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", way.name, err)
		}
		n, rows, err := counts(l.ctx, db)
		if err != nil {
			return nil, err
		}
		share, off, marked := missing, missing, missing
		if estimated, stray, ok := l.estimated(db); ok {
			share, off, marked = single(estimated), single((estimated/float64(made)-1)*100), single(stray/estimated*100)
		}
		curve.Columns = append(curve.Columns, way.name)
		columns = append(columns, slower)
		counted.Rows = append(counted.Rows, &Row{Name: way.name, Command: attachCommand("busy", way.flags), Cells: []Cell{
			single(float64(made)), single(float64(n)), share, off, marked, single(float64(rows)),
		}})
	}
	for second := range int(budgetTime.Seconds()) {
		row := &Row{Name: fmt.Sprintf("%d s", second+1)}
		for _, slower := range columns {
			row.Cells = append(row.Cells, single(slower[second]))
		}
		curve.Rows = append(curve.Rows, row)
	}
	raises, err := l.raises()
	if err != nil {
		return nil, err
	}
	redis, err := l.redis()
	return []*Table{curve, counted, raises, redis}, err
}

// estimated is how many calls there were by the share of them that was counted, and how far off that may be; false where
// the build doesn't tell.
func (l *lab) estimated(db string) (n, off float64, ok bool) {
	out, err := exec.CommandContext(l.ctx, "sqlite3", "-readonly", "-separator", " ", db, "SELECT sum(calls / coalesce(coverage, 1)), total(calls_error) FROM function_stats").Output()
	if err != nil {
		return 0, 0, false
	}
	_, err = fmt.Sscan(string(out), &n, &off)
	return n, off, err == nil
}

func (l *lab) bareBusy(w *load) (cost, error) {
	r, err := l.start(w)
	if err != nil {
		return cost{}, err
	}
	c, err := r.call(bareCalls)
	return c, errors.Join(err, r.stop())
}

// hot gives by how much, %, each second's calls were slower than the same process's before and after it was traced, how many
// calls were made under trace, and the database of them.
func (l *lab) hot(w *load, flags []string) (slower []float64, made int, db string, err error) {
	db = filepath.Join(l.dir, "budget.db")
	r, err := l.start(w)
	if err != nil {
		return nil, 0, db, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	before, err := r.call(bareCalls)
	if err != nil {
		return nil, 0, db, err
	}
	untraced := r.made
	t, err := l.attach(r, db, flags...)
	if err != nil {
		return nil, 0, db, err
	}
	start := time.Now()
	for next := time.Second; next <= budgetTime; next += time.Second {
		var sum, n float64
		for sum == 0 || time.Since(start) < next {
			c, err := r.call(budgetCalls)
			if err != nil {
				return nil, 0, db, errors.Join(err, t.interrupt(time.Second))
			}
			sum, n = sum+c.cpu, n+1
		}
		slower = append(slower, sum/n)
	}
	made = r.made - untraced
	if err := t.interrupt(time.Minute); err != nil {
		return nil, 0, db, err
	}
	after, err := r.call(bareCalls)
	bare := (before.cpu + after.cpu) / 2
	for i := range slower {
		slower[i] = (slower[i]/bare - 1) * 100
	}
	return slower, made, db, err
}
