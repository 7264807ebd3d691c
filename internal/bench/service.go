package main

import (
	"fmt"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
	"github.com/observatory-trace/observatory-trace/writer"
)

// batchCalls is how many calls are handed to the store at once, as a tracer does.
const batchCalls = 512

// service makes the calls that a service would: trees of four, of 97 functions and 8 threads, one in a
// thousand an error, and their statistics.
type service struct {
	functions []*trace.Function
	process   *trace.Process
	now       int64 // ns since 1970
	made      int
	stats     writer.Accumulator
	tallies   map[*trace.Function]*trace.Tally
}

func newService(start time.Time) *service {
	s := &service{
		process: &trace.Process{PID: 4242, Exe: "/usr/bin/orders", Comm: "orders", StartNS: start.UnixNano()},
		now:     start.UnixNano(),
		tallies: map[*trace.Function]*trace.Tally{},
	}
	for i := range 97 {
		name := fmt.Sprintf("main.(*Service).step%02d", i)
		f := &trace.Function{
			ID: uint32(i + 1), Name: name, RawName: name, Language: trace.LangGo,
			Module: s.process.Exe, Address: uint64(0x401000 + 256*i), File: "service.go", Line: 10 * i,
		}
		s.functions = append(s.functions, f)
		s.tallies[f] = &trace.Tally{Func: f}
	}
	return s
}

// calls makes the next n calls, with ids from first on, which begin every so many nanoseconds.
func (s *service) calls(first uint64, n int, every int64) []*trace.Call {
	calls := make([]*trace.Call, n)
	for i := range calls {
		calls[i] = s.call(first + uint64(i))
		s.now += every
	}
	return calls
}

func (s *service) call(id uint64) *trace.Call {
	n := s.made
	s.made++
	c := &trace.Call{
		ID: id, RootID: id - uint64(n%4), Depth: n % 4, Func: s.functions[n%len(s.functions)], Process: s.process,
		TID: 4242 + n%8, Goroutine: uint64(1 + n/4%1000), Thread: "orders",
		StartNS: s.now, DurationNS: 1000 + int64(n)*7919%90_000*int64(1+n%11), OverheadNS: 1700, SampleRate: 1,
		Args:      fmt.Appendf(nil, `{"order_id":"ord-%06d","amount":%d.95,"customer":{"id":%d,"name":"Ada"},"tags":["a","b"]}`, n%1_000_000, n%500, n%5000),
		Result:    []byte(`{"ok":true,"reserved":12}`),
		Resources: &trace.Resources{CPUNS: 900 + int64(n%5000)},
	}
	if c.Depth > 0 {
		c.ParentID = id - 1
	}
	if n%1000 == 999 {
		c.Status, c.Err = trace.StatusErr, &trace.Error{Type: "*errors.errorString", Message: "no such order", Stack: "main.get service.go:12"}
	}
	s.tallies[c.Func].Add(c.Status, c.DurationNS)
	s.stats.Recorded(c)
	return c
}

// second gives the statistics of the calls that were made since the last time.
func (s *service) second() []writer.FunctionSecond {
	for f, t := range s.tallies {
		if t.Calls > 0 {
			s.stats.Tally(t)
			s.tallies[f] = &trace.Tally{Func: f}
		}
	}
	return s.stats.Take(time.Unix(0, s.now))
}
