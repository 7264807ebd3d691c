package writer

import (
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

// FunctionSecond is what one function did within one second, exactly: also
// the calls that were left out or dropped count.
type FunctionSecond struct {
	Second int64 // Unix time, s
	trace.Tally
	Recorded uint64 // of Calls, those that are in the database
	CPUNS    int64  // on-CPU time of the calls for which it was measured
	CPUCalls uint64 // how many those are
	// Coverage is the share of the second in which the function's probes were in place, of
	// which alone the figures are; 0 stands for 1, all of it.
	Coverage float64
	// CallsError is by how many calls Calls / Coverage may be off.
	CallsError float64
}

// Accumulator makes FunctionSeconds from what the probes count and from the calls that
// come through. It is not safe for concurrent use.
type Accumulator struct {
	functions map[*trace.Function]*FunctionSecond
}

// Tally adds what the probes have counted since the last time.
func (a *Accumulator) Tally(t *trace.Tally) { a.of(t.Func).Merge(t) }

// Recorded takes note of a call that goes into the database. It is one of those that
// Tally counts.
func (a *Accumulator) Recorded(c *trace.Call) { a.measured(c).Recorded++ }

// LeftOut takes note of a call that came through and is not recorded by choice. It is one
// of those that Tally counts.
func (a *Accumulator) LeftOut(c *trace.Call) { a.measured(c).LeftOut++ }

// measured adds what only a call itself tells.
func (a *Accumulator) measured(c *trace.Call) *FunctionSecond {
	f := a.of(c.Func)
	if c.Resources != nil && !c.Resources.NoCPU {
		f.CPUNS += c.Resources.CPUNS
		f.CPUCalls++
	}
	return f
}

// Cover tells which share of their calls was counted, and how far that is off, relative, of functions whose
// probes were not always in place since the last Take; 0 for others.
func (a *Accumulator) Cover(share func(*trace.Function) (share, off float64)) {
	for fn, f := range a.functions {
		off := 0.0
		f.Coverage, off = share(fn)
		f.CallsError = off * float64(f.Calls) / f.coverage()
	}
}

// Take gives what was counted since the last Take, as the second of now, and
// starts from nothing: two takes within a second add up in the database.
func (a *Accumulator) Take(now time.Time) []FunctionSecond {
	taken := make([]FunctionSecond, 0, len(a.functions))
	for _, f := range a.functions {
		f.Second = now.Unix()
		taken = append(taken, *f)
	}
	clear(a.functions)
	return taken
}

// TakeSettled is Take while counting goes on: calls that came through before the
// probes' count of them was read are left for the next second, so that no
// second has more recorded calls, or errors, than calls.
func (a *Accumulator) TakeSettled(now time.Time) []FunctionSecond {
	var early []FunctionSecond
	for _, f := range a.functions {
		e := FunctionSecond{Tally: trace.Tally{Func: f.Func}}
		excess := f.Recorded + f.LeftOut + f.Dropped - min(f.Calls, f.Recorded+f.LeftOut+f.Dropped)
		e.Recorded = min(excess, f.Recorded)
		e.LeftOut = min(excess-e.Recorded, f.LeftOut)
		e.Errors = f.Errors - min(f.Calls, f.Errors)
		if e.Recorded+e.LeftOut+e.Errors == 0 {
			continue
		}
		f.Recorded -= e.Recorded
		f.LeftOut -= e.LeftOut
		f.Errors -= e.Errors
		early = append(early, e)
	}
	taken := a.Take(now)
	for i := range early {
		*a.of(early[i].Func) = early[i]
	}
	return taken
}

func (a *Accumulator) of(fn *trace.Function) *FunctionSecond {
	f := a.functions[fn]
	if f == nil {
		if a.functions == nil {
			a.functions = make(map[*trace.Function]*FunctionSecond)
		}
		f = &FunctionSecond{Tally: trace.Tally{Func: fn}}
		a.functions[fn] = f
	}
	return f
}

// merge adds what other counted in the same second.
func (f *FunctionSecond) merge(other *FunctionSecond) {
	f.Coverage = f.mergedCoverage(other)
	f.CallsError += other.CallsError
	f.Merge(&other.Tally)
	f.Recorded += other.Recorded
	f.CPUNS += other.CPUNS
	f.CPUCalls += other.CPUCalls
}

func (f *FunctionSecond) coverage() float64 {
	if f.Coverage == 0 {
		return 1
	}
	return f.Coverage
}

// mergedCoverage keeps the number of calls that both together stand for.
func (f *FunctionSecond) mergedCoverage(other *FunctionSecond) float64 {
	calls := float64(f.Calls) + float64(other.Calls)
	if calls == 0 {
		return min(f.coverage(), other.coverage())
	}
	return calls / (float64(f.Calls)/f.coverage() + float64(other.Calls)/other.coverage())
}
