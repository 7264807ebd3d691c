package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/writer"
)

// question is what people ask of a database.
type question struct {
	name  string
	words []string // of this program's command; without any, it is asked the SQL
	sql   string   // what the sqlite3 shell is asked
}

// questions are asked of the calls of a service; one is a call in the middle, and minute when the last one began.
func questions(function string, one uint64, minute time.Time) []question {
	where, since := "WHERE process = '"+function+"'", minute.UTC().Format("'2006-01-02 15:04:05'")
	return []question{
		{"the latest 100 calls", []string{"tail", "-n", "100"}, "SELECT * FROM process_trace ORDER BY ts DESC LIMIT 100"},
		{"the latest 20 errors", []string{"errors", "-n", "20"}, "SELECT * FROM process_trace WHERE status = 'ERR' ORDER BY ts DESC LIMIT 20"},
		{"one call, with its values (the command: its callees, too)", []string{"show", fmt.Sprint(one)}, fmt.Sprintf("SELECT * FROM process_trace JOIN data_trace USING (id) WHERE id = %d", one)},
		{"the report: exact counts and percentiles of all functions", []string{"report"}, "SELECT process, sum(calls), sum(errors), sum(total_ms) / sum(timed), max(max_ms) FROM function_stats GROUP BY process"},
		{"a function's calls a second, the latest 300 s", nil, "SELECT ts, sum(calls) FROM function_stats " + where + " GROUP BY ts ORDER BY ts DESC LIMIT 300"},
		{"a function's 20 slowest calls", nil, "SELECT id, ts, duration_ms, status FROM process_trace " + where + " ORDER BY duration_ms DESC LIMIT 20"},
		{"averages of all functions, the last minute", nil, "SELECT process, avg(duration_ms), count(*) FROM process_trace WHERE ts > " + since + " GROUP BY process"},
		{"averages of all functions, all calls", nil, "SELECT process, avg(duration_ms), count(*) FROM process_trace GROUP BY process"},
		{"calls with a value in their arguments, the last minute", nil, "SELECT count(*) FROM data_trace WHERE ts > " + since + " AND json_extract(args, '$.customer.id') = 4711"},
	}
}

// query fills a database with the calls of an hour, and asks it.
func (l *lab) query() ([]*Table, error) {
	db := filepath.Join(l.dir, "query.db")
	defer func() { _ = removeDatabase(db) }() // the folder goes, too
	started, used := time.Now(), ownCPU()
	end, err := l.fill(db)
	if err != nil {
		return nil, err
	}
	took, cpu := time.Since(started), ownCPU()-used
	size, err := databaseSize(db)
	if err != nil {
		return nil, err
	}
	n := float64(l.calls)
	t := &Table{
		Title: "Queries of " + count(n) + " calls", First: "question",
		About: "The calls of an hour, of 97 functions, one in a thousand an error, written by the store as a tracer does. Each question is asked by a process of its own, start and output included: this program's command, and Debian's sqlite3 shell by the views. " +
			"Cold is the first time, after the kernel was told to forget the file.",
		Columns: []string{"command, s", "sqlite3 shell, s", "command, cold, s", "shell, cold, s"},
	}
	for _, q := range questions(newService(time.Now()).functions[7].Name, uint64(l.calls/2/4*4)+1, end.Add(-time.Minute)) {
		row, err := l.ask(db, q)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", q.name, err)
		}
		t.Rows = append(t.Rows, row)
	}
	written := &Table{
		Title: "The database of " + count(n) + " calls", First: "", Columns: []string{"bytes a call", "GB", "CPU of writing, µs a call", "calls/s"},
		About: "Making the calls is part of the time.",
		Rows:  []*Row{{Name: "written", Cells: []Cell{single(float64(size) / n), single(float64(size) / 1e9), single(cpu.Seconds() * 1e6 / n), single(n / took.Seconds())}}},
	}
	return []*Table{t, written}, nil
}

// fill writes the calls of the last hour, and their statistics. It gives when the last one began.
func (l *lab) fill(db string) (end time.Time, err error) {
	s, err := writer.Open(db, writer.Options{})
	if err != nil {
		return end, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	every := int64(time.Hour) / int64(l.calls)
	service := newService(time.Now().Add(-time.Hour))
	second := service.now + int64(time.Second)
	for left := l.calls; left > 0 && l.ctx.Err() == nil; {
		n := min(left, batchCalls)
		first, err := s.NextIDs(n)
		if err != nil {
			return end, err
		}
		if err := s.Write(service.calls(first, n, every)); err != nil {
			return end, err
		}
		left -= n
		if service.now >= second || left == 0 {
			second += int64(time.Second)
			if err := s.Stats(service.second()); err != nil {
				return end, err
			}
		}
	}
	return time.Unix(0, service.now), errors.Join(l.ctx.Err(), s.Flush())
}

// ask has a question answered by both, cold and then warm.
func (l *lab) ask(db string, q question) (*Row, error) {
	own := append([]string{program}, q.words...)
	if len(q.words) == 0 {
		own = append(own, "query", "--timeout", "0", q.sql)
	}
	own = append(own, "--db", db)
	shell := []string{"sqlite3", "-readonly", db, q.sql}
	row := &Row{Name: q.name, Command: strings.ReplaceAll(strings.Join(quoted(own[:len(own)-2]), " ")+"`; `"+strings.Join(quoted([]string{"sqlite3", "DB", q.sql}), " "), "`; `", "`, `")}
	var warm, cold [2][]float64
	for i, words := range [][]string{own, shell} {
		if err := forget(db); err != nil {
			return nil, err
		}
		for round := range l.rounds + 1 {
			took, err := l.timed(words)
			if err != nil {
				return nil, err
			}
			if round == 0 {
				cold[i] = append(cold[i], took)
				continue
			}
			warm[i] = append(warm[i], took)
			if took > 5 && round >= 2 {
				break // it is long enough to be sure of
			}
		}
	}
	row.Cells = []Cell{figure(warm[0]), figure(warm[1]), figure(cold[0]), figure(cold[1])}
	return row, nil
}

// quoted puts words with blanks in quotes.
func quoted(words []string) (q []string) {
	for _, w := range words {
		if strings.ContainsAny(w, " *'") {
			w = `"` + w + `"`
		}
		q = append(q, w)
	}
	return q
}

// timed runs a command that has to say something, and gives how long that took, s.
func (l *lab) timed(words []string) (float64, error) {
	cmd := exec.CommandContext(l.ctx, words[0], words[1:]...)
	var said, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &errs
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start).Seconds()
	if err != nil || said.Len() < 2 {
		return 0, fmt.Errorf("%s: %w, it said %q and %q", strings.Join(words, " "), err, said.String(), errs.String())
	}
	return took, nil
}

// forget has the kernel forget what it has of a file in memory.
func forget(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
