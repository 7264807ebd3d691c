package main

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

const callsOfARound = 100_000

const costAbout = "Ratios are to the empty pair: a BPF program that does nothing, at the sites that this program chooses. CPU time is that of the thread that calls, its time in the kernel " +
	"included; elapsed time is longer where a tracer competes for the processors. Seen are the calls that a tool tells of itself in the end (rows, counts, samples, lines), of those that were made. A tracer's memory is what is resident at most; ring buffers are mapped twice, and count twice: here that is 192 MiB."

// cost measures one call of one function, by everybody.
func (l *lab) cost() (tables []*Table, err error) {
	c, err := l.build(trace.LangC)
	if err != nil {
		return nil, err
	}
	if _, err := l.build(trace.LangC, "-pg"); err != nil {
		return nil, err
	}
	g, err := l.build(trace.LangGo)
	if err != nil {
		return nil, err
	}
	for _, w := range []struct {
		load
		title string
		ways  func(*load) []*way
	}{
		{load{name: "C", path: c, args: []string{"add3"}, pattern: "add3", language: trace.LangC}, "C: a function with three integers, entry at a push, return by a uretprobe", func(w *load) []*way {
			return append([]*way{l.empty("empty pair", chosen, false), l.statsOnly(), l.sampled(), l.full("arguments, result and times")}, l.peers(w)...)
		}},
		{load{name: "Go", path: g, pattern: "main.add3", language: trace.LangGo}, "Go: a function with three integers, entry behind the stack check, return at its RET", func(w *load) []*way {
			return append([]*way{
				l.empty("empty pair", chosen, false), l.empty("empty pair, entry at the first byte", first, false),
				l.statsOnly(), l.sampled(), l.full("arguments, result and times"),
			}, l.peers(w)...)
		}},
		{load{name: "C", path: c, args: []string{"text"}, pattern: "text", language: trace.LangC}, "C: a function with a text of 64 bytes", func(*load) []*way {
			return []*way{l.empty("empty pair", chosen, false), l.full("the text, result and times")}
		}},
		{load{name: "C", path: c, args: []string{"tree"}, pattern: "tree", language: trace.LangC}, "C: a function with a structure of three levels with three texts", func(*load) []*way {
			return []*way{l.empty("empty pair", chosen, false), l.full("the structure, result and times")}
		}},
	} {
		w.functions, w.calls = 1, callsOfARound
		rows, err := l.measure(&w.load, w.ways(&w.load))
		if err != nil {
			return nil, err
		}
		t := &Table{Title: w.title, First: "way", Columns: costColumns, Rows: rows}
		if len(tables) == 0 {
			t.About = costAbout
		}
		tables = append(tables, t)
	}
	return tables, nil
}

// scale measures the same of many functions, processes and goroutines.
func (l *lab) scale() (tables []*Table, err error) {
	functions, err := l.byFunctions()
	if err != nil {
		return nil, err
	}
	processes, err := l.byProcesses()
	if err != nil {
		return nil, err
	}
	goroutines, err := l.byGoroutines()
	if err != nil {
		return nil, err
	}
	compiler, err := l.compiler()
	return []*Table{functions, processes, goroutines, compiler}, err
}

// blocks measures several loads, each with an empty pair of its own.
func (l *lab) blocks(t *Table, loads []*load, ways func(*load) []*way) (*Table, error) {
	t.Columns = costColumns
	for _, w := range loads {
		rows, err := l.measure(w, ways(w))
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			r.Name = w.name + ": " + r.Name
		}
		t.Rows = append(t.Rows, rows...)
	}
	return t, nil
}

func (l *lab) byFunctions() (*Table, error) {
	var loads []*load
	for _, n := range []int{1, 100, 1000, 5000} {
		path, err := l.many(n)
		if err != nil {
			return nil, err
		}
		loads = append(loads, &load{
			name: counted(n, "function"), path: path, pattern: "work*", functions: n, language: trace.LangC, calls: callsOfARound,
		})
	}
	return l.blocks(&Table{
		Title: "By number of traced functions", First: "functions and way",
		About: "C, called in turn. Ratios are to the empty pair on as many functions. Attaching is from the command's start until all is attached (a tool that doesn't say so: until the last breakpoint is there), " +
			"reading the program included; detaching from Ctrl-C to the command's end.",
	}, loads, func(w *load) []*way {
		bpftrace := l.bpftraceTimes(w.pattern)
		switch {
		case w.functions > 100:
			bpftrace.unable, bpftrace.notes = true, []string{"Left out: it detaches two probes for each function, 0.1 s each."}
		case w.functions > 1:
			bpftrace.rounds = 1
		}
		return []*way{l.empty("empty pair", chosen, false), l.statsOnly(), l.full("all"), bpftrace}
	})
}

func (l *lab) byProcesses() (*Table, error) {
	c, err := l.build(trace.LangC)
	if err != nil {
		return nil, err
	}
	var loads []*load
	for _, n := range []int{1, 50} {
		loads = append(loads, &load{
			name: counted(n, "process"), path: c, pattern: "add3", functions: 1, language: trace.LangC, processes: n, calls: callsOfARound,
		})
	}
	return l.blocks(&Table{
		Title: "By number of traced processes", First: "processes and way", About: "C, one function, called by all processes at the same time. CPU time is that of all of them.",
	}, loads, func(w *load) []*way {
		return []*way{l.empty("empty pair", chosen, false), l.statsOnly(), l.full("all"), l.bpftraceTimes(w.pattern)}
	})
}

func (l *lab) byGoroutines() (*Table, error) {
	g, err := l.build(trace.LangGo)
	if err != nil {
		return nil, err
	}
	var loads []*load
	for _, n := range []int{1, 20_000} {
		loads = append(loads, &load{
			name: counted(n, "goroutine"), path: g, pattern: "main.yield3", functions: 1, language: trace.LangGo, goroutines: n, calls: callsOfARound,
		})
	}
	return l.blocks(&Table{
		Title: "By number of goroutines", First: "goroutines and way",
		About: "Go, a function that lets the other goroutines run before it returns: so many calls are open at once as there are goroutines. CPU time is the process's. " +
			"Tools with uretprobes and pairing by thread can't tell such calls apart, and are left out.",
	}, loads, func(*load) []*way {
		return []*way{l.empty("empty pair", chosen, false), l.statsOnly(), l.full("all")}
	})
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if strings.HasSuffix(noun, "s") {
		noun += "e"
	}
	return count(float64(n)) + " " + noun + "s"
}

// compiler attaches to thousands of functions of a large real program, which does next to nothing then.
func (l *lab) compiler() (*Table, error) {
	out, err := exec.CommandContext(l.ctx, "go", "tool", "-n", "compile").Output()
	if err != nil {
		return nil, fmt.Errorf("find the Go compiler: %w", err)
	}
	compiler := strings.TrimSpace(string(out))
	var took, used, memory []float64
	var attached int
	words := []string{program, "attach", "-s", "cmd/compile/internal/s*.*", "--db", l.dir + "/attach.db", "-o", "none", "--", compiler, "-V=full"}
	for range l.rounds {
		cmd := exec.CommandContext(l.ctx, words[0], words[1:]...)
		var said strings.Builder
		cmd.Stderr = &said
		start := time.Now()
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("attach to the Go compiler: %w\n%s", err, said.String())
		}
		took = append(took, time.Since(start).Seconds())
		usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		used = append(used, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
		memory = append(memory, float64(usage.Maxrss)/1024)
		if _, err := fmt.Sscanf(said.String(), "attached: %d functions", &attached); err != nil {
			return nil, fmt.Errorf("how many functions: %w in %q", err, said.String())
		}
	}
	return &Table{
		Title: "A large program: the Go compiler", First: "functions", About: "From the command's start to its end, everything parsed, attached and detached; the compiler does next to nothing meanwhile.",
		Columns: []string{"elapsed, s", "CPU, s", "memory, MiB"},
		Rows:    []*Row{{Name: count(float64(attached)), Command: strings.Replace(strings.Join(words, " "), l.dir, "DIR", 1), Cells: []Cell{figure(took), figure(used), figure(memory)}}},
	}, nil
}
