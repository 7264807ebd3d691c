// Command bench measures what tracing costs, beside the tools that do the nearest thing, and
// makes docs/benchmarks.md of what it found:
//
//	bench [flags] [PART ...]
//
// The parts: cost (of one call, by way of tracing), scale (the same by number of functions, processes and
// goroutines, and what attaching and detaching take), latency (how exact recorded durations are), budget (a hot function under the default budgets), pipeline (ring
// buffer to call to row), steady (a database that is written to and expired from) and query (what people ask of a
// large database); without one, all but the last.
//
// What is compared takes turns, round by round, so that a noisy machine is noisy for all; figures are medians, with
// the least and the most beside them. Each part's figures are kept as JSON in docs/benchmarks, with the machine and
// the versions that they were measured with; the document is made of all that lie there.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// lab is where a part is measured.
type lab struct {
	ctx    context.Context // ended by the first Ctrl-C
	dir    string          // for what is thrown away afterwards
	rounds int
	calls  int // of a large database
	flags  ownFlags
}

// part is a chapter of the measurements.
type part struct {
	name, about string
	rounds      int // at most
	measure     func(*lab) ([]*Table, error)
}

var parts = []part{
	{"cost", "What one call costs", 99, (*lab).cost},
	{"scale", "By number of functions, processes and goroutines", 3, (*lab).scale},
	{"latency", "How exact durations are", 3, (*lab).latency},
	{"budget", "Hot functions under the default budgets", 1, (*lab).budget},
	{"pipeline", "From the probe to the row", 3, (*lab).pipeline},
	{"steady", "A database that is written to and expired from", 1, (*lab).steady},
	{"query", "Asking a large database", 99, (*lab).query},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	l := &lab{}
	flag.IntVar(&l.rounds, "rounds", 5, "how often each measurement is repeated, unless that takes too long")
	flag.IntVar(&l.calls, "calls", 10_000_000, "how many calls the large database has")
	results := flag.String("results", "docs/benchmarks", "folder of the figures")
	document := flag.String("document", "docs/benchmarks.md", "what is made of them")
	flag.Parse()
	chosen := flag.Args()
	if len(chosen) == 0 {
		chosen = []string{"cost", "scale", "latency", "budget", "pipeline", "steady"}
	}
	for _, name := range chosen {
		if name != "document" && !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
			return fmt.Errorf("no part %q: cost, scale, latency, budget, pipeline, steady, query, or document to measure nothing", name)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l.ctx = ctx
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l.dir = dir
	if l.flags, err = findOwnFlags(); err != nil {
		return err
	}
	for _, p := range parts {
		if !slices.Contains(chosen, p.name) {
			continue
		}
		if err := l.run(p, *results); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return writeDocument(*results, *document)
}

// run measures a part, prints it and keeps it.
func (l *lab) run(p part, results string) error {
	own := *l
	own.rounds = min(l.rounds, p.rounds)
	r := &Result{
		Part: p.name, About: p.about, Date: time.Now().UTC().Format("2006-01-02"), Command: commandFor(p.name, l), Machine: describeMachine(), Rounds: own.rounds,
	}
	started := time.Now()
	tables, err := p.measure(&own)
	if err != nil {
		return err
	}
	r.Tables, r.Took = tables, time.Since(started).Round(time.Second).String()
	if err := r.printText(os.Stdout); err != nil {
		return err
	}
	name := p.name
	if name == "query" {
		name += "-" + count(float64(l.calls/1_000_000)) + "M"
	}
	return r.write(filepath.Join(results, name+".json"))
}

// commandFor is how the same is measured again.
func commandFor(name string, l *lab) string {
	if name == "query" {
		return fmt.Sprintf("make bench-query CALLS=%d", l.calls)
	}
	words := []string{"make bench", "WHAT=" + name}
	if l.rounds != 5 {
		words = append(words, fmt.Sprintf("ROUNDS=%d", l.rounds))
	}
	return strings.Join(words, " ")
}
