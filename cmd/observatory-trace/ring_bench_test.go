package main

import (
	"bufio"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/attach"
	"github.com/observatory-trace/observatory-trace/decode"
	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
	"github.com/observatory-trace/observatory-trace/trace"
)

// BenchmarkRing has a program call a traced function as fast as it can, and takes its records
// from the ring buffer to decoded calls, which are then forgotten. What does not fit into the ring
// buffer because that is too slow is lost.
func BenchmarkRing(b *testing.B) {
	testenv.RequireRoot(b)
	for _, c := range []struct{ name, source, function, argument string }{
		{"C 3 integers", "c/bench", "add3", "add3"},
		{"C text", "c/bench", "text", "text"},
		{"C structure", "c/bench", "tree", "tree"},
		{"Go 3 integers", "go/bench", "main.add3", ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			benchRing(b, testenv.Build(b, testenv.Target{Source: c.source}), c.function, c.argument)
		})
	}
}

// caller is a program that calls its function as often as it is told.
type caller struct {
	b   *testing.B
	cmd *exec.Cmd
	ask func(calls int)
	// took tells how long the calls took, ns, and how much CPU time.
	took chan [2]float64
}

func startCaller(b *testing.B, program, argument string) *caller {
	c := &caller{b: b, cmd: exec.Command(program, argument), took: make(chan [2]float64, 1)}
	in, err := c.cmd.StdinPipe()
	must(b, err)
	out, err := c.cmd.StdoutPipe()
	must(b, err)
	must(b, c.cmd.Start())
	b.Cleanup(func() {
		in.Close()
		_ = c.cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		b.Fatal("the program ended")
	}
	go func() {
		for lines.Scan() {
			var took [2]float64
			_, _ = fmt.Sscan(lines.Text(), &took[0], &took[1])
			c.took <- took
		}
	}()
	c.ask = func(calls int) { fmt.Fprintln(in, calls) }
	return c
}

func benchRing(b *testing.B, program, function, argument string) {
	c := startCaller(b, program, argument)
	p, err := pattern.Compile(function)
	must(b, err)
	session, err := attach.Start(attach.Options{PIDs: []int{c.cmd.Process.Pid}, Selection: symbols.Selection{Include: []*pattern.Pattern{p}}})
	must(b, err)
	defer session.Close()
	var id uint64
	var decoder *decode.Decoder
	got, batch := 0, make([]*trace.Call, 0, batchCalls)
	config := decoding(session, captureFlags{}, rules{})
	config.NextID = func() uint64 { id++; return id }
	config.Emit = func(call *trace.Call) bool {
		got++
		if batch = append(batch, call); len(batch) == cap(batch) {
			decoder.Recycle(batch)
			batch = batch[:0]
		}
		return true
	}
	decoder = decode.New(config)
	session.BeforeForget = decoder.Flush

	const calls = 500_000
	rounds := 0
	var cpu time.Duration
	var elapsed, spent float64
	for b.Loop() {
		before := processTime()
		c.ask(calls)
		took := c.read(session, decoder)
		elapsed, spent = elapsed+took[0], spent+took[1]
		cpu += processTime() - before
		rounds++
	}
	all := float64(rounds * calls)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(all/elapsed*1e9, "calls/s")
	b.ReportMetric(float64(cpu)/all, "cpu-ns/call")
	b.ReportMetric(spent/all, "target-ns/call")
	b.ReportMetric(100*(all-float64(got))/all, "lost-%")
}

// read takes the records until the program has answered and there are none.
func (c *caller) read(session *attach.Session, decoder *decode.Decoder) [2]float64 {
	for {
		record, err := session.Next()
		switch {
		case errors.Is(err, attach.ErrIdle):
			decoder.Poll()
			select {
			case took := <-c.took:
				return took
			default:
			}
		case err == nil:
			err = decoder.Record(record)
			fallthrough
		default:
			if err != nil {
				c.b.Fatal(err)
			}
		}
	}
}

// processTime is the CPU time that this process has used.
func processTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
