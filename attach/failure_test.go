package attach

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
	"github.com/observatory-trace/observatory-trace/trace"
)

// TestFailure holds that the probes and trace.Failure agree on which results mean that a call
// failed: an exit has more than its result exactly when that is one.
func TestFailure(t *testing.T) {
	testenv.RequireBPF(t)
	const most = ^uint64(0)
	// Given to the functions err_i64, nonzero_i64 and so on one after the other, whose results
	// are all the values of the target, as they are.
	var tests []trace.Failure
	for _, size := range []uint8{1, 2, 4, 8} {
		all := most >> (64 - 8*size)
		for _, r := range [][2]uint64{{0, 0}, {1, all - 1}, {all, 0}, {all, 1}, {all/2 + 1, all / 2}, {2, 0}, {0, all}, {all - 1, 3}} {
			tests = append(tests, trace.Failure{Size: size, Low: r[0], Span: r[1]})
		}
	}
	for _, r := range [][2]uint64{{most/2 + 1, most / 2}, {most, 0}, {0, 0}, {1, most - 1}} {
		tests = append(tests, trace.Failure{Size: 8, Int: true, Low: r[0], Span: r[1]})
	}
	program := testenv.Build(t, testenv.Target{Source: "c/errors"})
	functions := []string{"negative_i64", "null_i64", "nonzero_i64", "err_i64", "err_u64", "null_u64", "nonzero_u64", "negative_u64"}
	for len(tests) > 0 {
		given := map[string]*trace.Failure{}
		var names []*pattern.Pattern
		for _, f := range functions {
			if len(tests) > 0 {
				given[f], tests = &tests[0], tests[1:]
				names = append(names, pattern.MustCompile(f))
			}
		}
		p := testenv.Start(t, program, "-wait").Ready()
		s, err := Start(Options{
			PIDs: []int{p.PID}, MaxDepth: 1, Selection: symbols.Selection{Include: names},
			Failure: func(f *trace.Function) *trace.Failure { return given[f.Name] },
		})
		if err != nil {
			t.Fatal(err)
		}
		p.Go()
		exits, failed := 0, 0
		for deadline := time.Now().Add(testenv.Deadline); ; {
			record, err := s.Next()
			if errors.Is(err, ErrIdle) && s.Live() > 0 && time.Now().Before(deadline) {
				continue
			}
			if err != nil {
				break
			}
			f := s.Function(binary.LittleEndian.Uint32(record[8:]))
			if h, _ := bpf.ParseHeader(record); h.Kind != bpf.EventExit || f == nil {
				continue
			}
			exits++
			root := record[96:][:binary.LittleEndian.Uint16(record[6:])]
			more := len(record) >= 96+len(root)+24
			if more {
				failed++
			}
			if want := f.Failure.Holds(root); want != more {
				t.Errorf("%+v of % x: by the probes %v", *f.Failure, root, more)
			}
		}
		if exits != 28*len(given) || failed == 0 || failed == exits {
			t.Errorf("%d of %d exits have failed", failed, exits)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
