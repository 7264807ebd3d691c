package writer

import (
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

// FunctionSecond is what one function did within one second, exactly: also
// the calls that were sampled out or dropped count.
type FunctionSecond struct {
	Second     int64 // Unix time, s
	Func       *trace.Function
	Calls      uint64 // calls that ended, or were found open at the end
	Errors     uint64 // of Calls, those whose status is ERR
	SampledOut uint64 // of Calls, those that were not recorded by choice
	Dropped    uint64 // of Calls, those that were lost
	Recorded   uint64 // of Calls, those that are in the database
	TotalNS    int64  // sum of the durations in Latency
	MaxNS      int64  // longest of them
	OverheadNS int64  // sum of the tracer's estimated share
	CPUNS      int64  // on-CPU time of the calls for which it was measured
	HasCPU     bool   // whether there were any
	Latency    trace.Histogram
}

// Accumulator makes FunctionSeconds from the calls that are recorded and from
// the counts of those that are not. It is not safe for concurrent use.
type Accumulator struct {
	functions map[*trace.Function]*FunctionSecond
}

// Add counts a recorded call. A call that is still open has no duration yet:
// it counts, but not in the latency.
func (a *Accumulator) Add(c *trace.Call) { a.count(c).Recorded++ }

// AddSampledOut counts a call of which all is known, and that is not recorded by choice.
func (a *Accumulator) AddSampledOut(c *trace.Call) { a.count(c).SampledOut++ }

func (a *Accumulator) count(c *trace.Call) *FunctionSecond {
	f := a.of(c.Func)
	f.Calls++
	if c.Status == trace.StatusErr {
		f.Errors++
	}
	if c.Status != trace.StatusOpen && c.Flags&trace.FlagLostExit == 0 {
		f.TotalNS += c.DurationNS
		f.MaxNS = max(f.MaxNS, c.DurationNS)
		f.Latency.Add(c.DurationNS)
	}
	f.OverheadNS += c.OverheadNS
	if c.Resources != nil && !c.Resources.NoCPU {
		f.CPUNS += c.Resources.CPUNS
		f.HasCPU = true
	}
	return f
}

// Dropped counts calls that were lost.
func (a *Accumulator) Dropped(fn *trace.Function, n uint64) {
	f := a.of(fn)
	f.Calls += n
	f.Dropped += n
}

// SampledOut counts calls that were not recorded by choice.
func (a *Accumulator) SampledOut(fn *trace.Function, n uint64) {
	f := a.of(fn)
	f.Calls += n
	f.SampledOut += n
}

// Take gives what was counted since the last Take, as the second of now, and
// starts from nothing. It is called about once a second and once at the end:
// two takes within a second add up in the database.
func (a *Accumulator) Take(now time.Time) []FunctionSecond {
	taken := make([]FunctionSecond, 0, len(a.functions))
	for _, f := range a.functions {
		f.Second = now.Unix()
		taken = append(taken, *f)
	}
	clear(a.functions)
	return taken
}

func (a *Accumulator) of(fn *trace.Function) *FunctionSecond {
	f := a.functions[fn]
	if f == nil {
		if a.functions == nil {
			a.functions = make(map[*trace.Function]*FunctionSecond)
		}
		f = &FunctionSecond{Func: fn}
		a.functions[fn] = f
	}
	return f
}

// merge adds what other counted in the same second.
func (f *FunctionSecond) merge(other *FunctionSecond) {
	f.Calls += other.Calls
	f.Errors += other.Errors
	f.SampledOut += other.SampledOut
	f.Dropped += other.Dropped
	f.Recorded += other.Recorded
	f.TotalNS += other.TotalNS
	f.MaxNS = max(f.MaxNS, other.MaxNS)
	f.OverheadNS += other.OverheadNS
	f.CPUNS += other.CPUNS
	f.HasCPU = f.HasCPU || other.HasCPU
	f.Latency.Merge(&other.Latency)
}
