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
	// Unseen is how many calls there were, about, beside those that Calls / Coverage stands for.
	Unseen float64
	// CallsError is by how many calls the sum of both may be off.
	CallsError float64
}

// Accumulator makes FunctionSeconds from what the probes count and from the calls that
// come through. It is not safe for concurrent use.
type Accumulator struct {
	functions map[*trace.Function]*counting
}

// counting is what is known of a function since the last Take.
type counting struct {
	FunctionSecond
	filtered uint64 // of the calls that came through, those that are not recorded
	owed     []owed // the oldest first
	last     int64  // the latest second in which calls were counted
}

// owed is calls that were counted in a second, and have yet to come through.
type owed struct {
	second int64
	calls  uint64
}

// mostOwed bounds how many seconds are kept apart whose calls have not all come through.
const mostOwed = 64

// Tally adds what the probes have counted since the last time.
func (a *Accumulator) Tally(t *trace.Tally) { a.of(t.Func).Merge(t) }

// Recorded takes note of a call that goes into the database. It is one of those that
// Tally counts.
func (a *Accumulator) Recorded(c *trace.Call) { a.measured(c).Recorded++ }

// LeftOut takes note of a call that came through and is not recorded by choice. It is one
// of those that Tally counts.
func (a *Accumulator) LeftOut(c *trace.Call) { a.measured(c).filtered++ }

// measured adds what only a call itself tells.
func (a *Accumulator) measured(c *trace.Call) *counting {
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

// Extend gives how many calls there were of a function, give or take such a share, since the last second in which some
// were counted, of which it tells then; false where none were.
func (a *Accumulator) Extend(fn *trace.Function, calls, off float64) (FunctionSecond, bool) {
	f := a.functions[fn]
	if f == nil || f.last == 0 {
		return FunctionSecond{}, false
	}
	return FunctionSecond{Second: f.last, Tally: trace.Tally{Func: fn}, Unseen: calls, CallsError: off * calls}, true
}

// Take gives what was counted and what came through since the last Take, and starts from nothing: two takes within a
// second add up in the database. What came through without having been counted is of the second of now.
func (a *Accumulator) Take(now time.Time) []FunctionSecond {
	taken := a.TakeSettled(now)
	for _, f := range a.functions {
		f.LeftOut += f.filtered
		taken = f.give(taken, now.Unix(), f.FunctionSecond)
		f.FunctionSecond, f.filtered = FunctionSecond{Tally: trace.Tally{Func: f.Func}}, 0
	}
	return taken
}

// TakeSettled is Take while counting goes on. Calls come through before or after the probes' count of them is
// read: they are of the second in which they are counted, so that none has more recorded calls, or errors, than calls.
func (a *Accumulator) TakeSettled(now time.Time) []FunctionSecond {
	taken := make([]FunctionSecond, 0, len(a.functions))
	for _, f := range a.functions {
		second := f.FunctionSecond
		second.Recorded, second.CPUNS, second.CPUCalls = 0, 0, 0
		second.Errors = min(f.Errors, f.Calls)
		f.owe(now.Unix(), f.Calls-min(f.Calls, f.LeftOut+f.Dropped))
		next := FunctionSecond{Tally: trace.Tally{Func: f.Func, Errors: f.Errors - second.Errors}, Recorded: f.Recorded, CPUNS: f.CPUNS, CPUCalls: f.CPUCalls}
		taken = f.give(taken, now.Unix(), second)
		for len(f.owed) > 0 && next.Recorded+f.filtered > 0 {
			o := &f.owed[0]
			paid := FunctionSecond{Tally: trace.Tally{Func: f.Func}, Recorded: min(o.calls, next.Recorded), CPUNS: next.CPUNS, CPUCalls: next.CPUCalls}
			next.CPUNS, next.CPUCalls = 0, 0
			paid.LeftOut = min(o.calls-paid.Recorded, f.filtered)
			next.Recorded -= paid.Recorded
			f.filtered -= paid.LeftOut
			taken = f.give(taken, o.second, paid)
			if o.calls -= paid.Recorded + paid.LeftOut; o.calls == 0 {
				f.owed = f.owed[1:]
			}
		}
		f.FunctionSecond = next
	}
	return taken
}

// give appends what is of a second, if it is anything.
func (f *counting) give(taken []FunctionSecond, second int64, part FunctionSecond) []FunctionSecond {
	if part.Calls+part.Errors+part.LeftOut+part.Dropped+part.Recorded+part.CPUCalls == 0 {
		return taken
	}
	part.Second = second
	if part.Calls > 0 {
		f.last = max(f.last, second)
	}
	if n := len(taken); n > 0 && taken[n-1].Func == part.Func && taken[n-1].Second == second {
		taken[n-1].merge(&part)
		return taken
	}
	return append(taken, part)
}

// owe takes note of calls that are to come through.
func (f *counting) owe(second int64, calls uint64) {
	if calls == 0 {
		return
	}
	f.owed = append(f.owed, owed{second, calls})
	if len(f.owed) > mostOwed {
		f.owed[1].calls += f.owed[0].calls
		f.owed = f.owed[1:]
	}
}

func (a *Accumulator) of(fn *trace.Function) *counting {
	f := a.functions[fn]
	if f == nil {
		if a.functions == nil {
			a.functions = make(map[*trace.Function]*counting)
		}
		f = &counting{FunctionSecond: FunctionSecond{Tally: trace.Tally{Func: fn}}}
		a.functions[fn] = f
	}
	return f
}

// merge adds what other counted in the same second.
func (f *FunctionSecond) merge(other *FunctionSecond) {
	all := f.All() + other.All()
	least := min(f.coverage(), other.coverage())
	f.Merge(&other.Tally)
	if f.Calls > 0 {
		f.Coverage, f.Unseen = float64(f.Calls)/all, 0
	} else {
		f.Coverage, f.Unseen = least, all
	}
	f.CallsError += other.CallsError
	f.Recorded += other.Recorded
	f.CPUNS += other.CPUNS
	f.CPUCalls += other.CPUCalls
}

// All is how many calls there were, about.
func (f *FunctionSecond) All() float64 { return float64(f.Calls)/f.coverage() + f.Unseen }

func (f *FunctionSecond) coverage() float64 {
	if f.Coverage == 0 {
		return 1
	}
	return f.Coverage
}
