package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// raises measures what it costs that exceptions, jumps and panics are seen, though nothing that is traced is called.
func (l *lab) raises() (*Table, error) {
	const secondsOf = 5
	t := &Table{
		Title: "What raises", First: "raised as fast as it can be",
		Columns: []string{"untraced, µs", "unlimited, no call open", "unlimited, a call open", "default, a call open: 1 s", "3 s", "5 s"},
		About: "Programs that throw an exception, jump (`longjmp`) or panic, one level deep, and catch it, again and again: how many times what one takes untraced. One function is traced, which isn't called, " +
			"or in each call of which a thousand are raised and caught: what is raised may go through it.",
	}
	cpp, gopher := filepath.Join(l.dir, "raises-cpp"), filepath.Join(l.dir, "raises-go")
	if err := errors.Join(
		l.command("g++", "-O2", "-g", "-o", cpp, "testdata/targets/cpp/raises/main.cpp"),
		l.command("go", "build", "-C", "testdata/targets/go", "-o", gopher, "./raises"),
	); err != nil {
		return nil, err
	}
	for _, what := range []struct{ name, program, way, function string }{
		{"C++ exception", cpp, "exceptions", "inside"}, {"longjmp", cpp, "jumps", "inside"}, {"Go panic", gopher, "panics", "main.inside"},
	} {
		var bare, none, open []float64
		late := make([][]float64, secondsOf)
		for range l.rounds {
			for _, way := range []struct {
				inside bool
				flags  []string
				take   func(untraced float64, second []float64)
			}{
				{false, l.flags.everything(), func(untraced float64, second []float64) {
					bare, none = append(bare, untraced*1e6), append(none, second[0])
				}},
				{true, l.flags.everything(), func(_ float64, second []float64) { open = append(open, second[0]) }},
				{true, nil, func(_ float64, second []float64) {
					for i := range late {
						late[i] = append(late[i], second[i])
					}
				}},
			} {
				args := []string{strconv.Itoa(secondsOf + 5), what.way}
				if way.inside {
					args = append(args, "inside")
				}
				untraced, seconds, err := l.raising(what.program, args, what.function, secondsOf, way.flags)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", what.name, err)
				}
				way.take(untraced, seconds)
			}
		}
		t.Rows = append(t.Rows, &Row{
			Name: what.name, Command: attachCommand(what.function, nil),
			Cells: []Cell{figure(bare), figure(none), figure(open), figure(late[0]), figure(late[2]), figure(late[4])},
		})
	}
	return t, nil
}

// raising gives what one of what a program raises takes, untraced, s, and how many times that in each of so many seconds under trace.
func (l *lab) raising(path string, args []string, function string, n int, flags []string) (untraced float64, seconds []float64, err error) {
	cmd := exec.CommandContext(l.ctx, path, args...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, nil, err
	}
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, end(cmd)) }()
	type half struct { // of a second
		raised float64
		at     time.Time // when it was over
	}
	halves := make(chan half, 100)
	go func() {
		defer close(halves)
		for out := bufio.NewScanner(stdout); ; {
			var n float64
			if readNumber(out, &n) != nil {
				return
			}
			halves <- half{n, time.Now()}
		}
	}()
	second := func(from time.Time) (each float64, err error) {
		var sum float64
		for n := 0; n < 2; {
			h, more := <-halves
			switch {
			case !more:
				return 0, io.ErrUnexpectedEOF
			case h.at.Sub(from) > 500*time.Millisecond:
				sum += h.raised
				n++
			}
		}
		return 1 / max(sum, 1), nil
	}
	if untraced, err = second(time.Now()); err != nil {
		return 0, nil, err
	}
	db := filepath.Join(l.dir, "raises.db")
	if err := removeDatabase(db); err != nil {
		return 0, nil, err
	}
	words := append([]string{program, "attach", "-p", strconv.Itoa(cmd.Process.Pid), "-s", function, "--db", db, "-o", "none"}, flags...)
	t, err := l.startTool(words...)
	if err != nil {
		return 0, nil, err
	}
	err = t.await("attached: ")
	for attached := time.Now(); len(seconds) < n && err == nil; {
		var each float64
		if each, err = second(attached); err == nil {
			seconds = append(seconds, each/untraced)
		}
	}
	return untraced, seconds, errors.Join(err, t.interrupt(time.Minute))
}
