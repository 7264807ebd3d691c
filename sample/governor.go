package sample

import (
	"cmp"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

// Limits are what tracing may take; 0 stands for no limit.
type Limits struct {
	// Overhead is a share of what each target does, and all do together, 0.05: of its own CPU time; or of
	// the time that it is in traced calls, in which it may wait, up to that of all processors; or of a fifth of
	// a processor. The most counts.
	Overhead float64
	// Tolerance is how many times that the overhead may be before anything is done about it, 0 for
	// defaultTolerance. Once something is done, Overhead holds, until without that well less than it were taken.
	Tolerance float64
	CPU       float64 // of the tracer's own, in processors: 1
	Memory    uint64  // the tracer's resident memory, bytes
	Pressure  bool    // less is recorded when buffers fill up, rather than lost
	InPlace   bool    // probes can't be taken out: of calls fewer can be recorded, and that is all
}

// defaultTolerance and relief are apart by about as much as it is uncertain what probes take.
const (
	defaultTolerance = 1.2
	relief           = 0.8
)

// Load is what was seen of a function since the last time.
type Load struct {
	Func *trace.Function
	// Calls were counted while its probes were in place.
	Calls uint64
	// InCalls is the time that threads and goroutines spent in those of them that no traced call has made.
	InCalls time.Duration
	// Recorded of them were delivered.
	Recorded uint64
	// Counted is what the probes take of a call that is only counted, Told of one that is recorded.
	Counted, Told time.Duration
	// Observed is the targets' CPU time while the probes were in place, the probes' own included, give or take Off.
	Observed, Off time.Duration
	// Beside is what other probes took of that which were put in for the same turns.
	Beside time.Duration
	// Elsewhere is what its probes took of processes that are no targets, while they were in place: all may take such a
	// share as Limits.Overhead is, of a processor.
	Elsewhere time.Duration
	// Busy is how many processors that was at a time, 0 while they were out.
	Busy float64
	// InPlace is how long they were there.
	InPlace time.Duration
	// Glimpsed calls were only seen, in GlimpsedCPU of the targets' CPU time, give or take GlimpsedOff, of which glimpses
	// took GlimpsesTook.
	Glimpsed                               uint64
	GlimpsedCPU, GlimpsedOff, GlimpsesTook time.Duration
	// Callers made some of those, by a sample.
	Callers []Caller
	// Most is the share of its calls that may be recorded, by what was asked for, 0 to 1; First is what it was to begin with.
	Most, First float64
}

// Caller is a function from which another was called while that was glimpsed at.
type Caller struct {
	Func  *trace.Function // nil: one that is not traced, or not known
	Share float64         // which part of the calls it made, 0 to 1
	// In so many of the glimpses the caller was looked at, too: it was called Calls times while it made Made calls.
	Glimpses    int
	Calls, Made float64
}

// Process is what was seen of one target.
type Process struct {
	PID    int
	CPU    time.Duration
	Shares map[*trace.Function]float64 // which part of a function's calls it made, 0 to 1
}

// Observation is what was seen since the last time.
type Observation struct {
	Elapsed   time.Duration
	TargetCPU time.Duration // of all targets
	Processes []Process     // nil for one
	OwnCPU    time.Duration // of the tracer
	OwnMemory uint64        // bytes
	// Pressure is how full the fullest buffer between the probes and the database is: 0 to 1.
	Pressure float64
	Loads    []Load
	// Together says that the probes that are in place for a part of the time only were so at the same time.
	Together bool

	inPlace float64       // see settle
	turns   time.Duration // what probes took of which the functions have turns
}

// Setting is how a function is traced.
type Setting struct {
	// Keep is the share of its calls that are recorded, 0 to 1.
	Keep float64
	// Alone says that its calls are not recorded only since one of their callers was chosen.
	Alone bool
	// Slice is for how long its probes are in place in each Period; both are 0 where they stay.
	Slice, Period time.Duration
}

// Like says whether two settings are of one kind, and about as much is seen with the one as with the other.
func (s Setting) Like(o Setting) bool {
	return s.Sliced() == o.Sliced() && (s.Keep == 1) == (o.Keep == 1) && (s.Period > second) == (o.Period > second) &&
		off(s.duty(), o.duty()) < 0.6 && (s.Sliced() || off(s.Keep, o.Keep) < 0.6)
}

// Always is how everything is recorded.
var Always = Setting{Keep: 1}

// Sliced says that the probes are not always in place.
func (s Setting) Sliced() bool { return s.Period > 0 }

// duty is the share of time that the probes are in place.
func (s Setting) duty() float64 {
	if !s.Sliced() {
		return 1
	}
	return float64(s.Slice) / float64(s.Period)
}

// Step is a change of how a function is traced.
type Step struct {
	Func     *trace.Function
	From, To Setting
	Why      string // a sentence's end: "its probes would take 31 % of the targets' own CPU time; the budget is 5 %"
}

// Less says that less of the function is seen than before.
func (s Step) Less() bool {
	return s.To.duty() < s.From.duty() || s.To.duty() == s.From.duty() && s.To.Keep < s.From.Keep
}

// String tells what the step is.
func (s Step) String() string {
	switch {
	case s.To.Sliced() && s.To.Slice*10 < s.To.Period && s.To.Period > time.Second:
		return fmt.Sprintf("detached but for %v in every %v", s.To.Slice, s.To.Period)
	case s.To.Sliced():
		return fmt.Sprintf("attached for %v of every %v", s.To.Slice, s.To.Period)
	case s.To.Keep < 1:
		return fmt.Sprintf("%s of its %s are recorded", percent(s.To.Keep), s.what())
	default:
		return fmt.Sprintf("all of its %s are recorded", s.what())
	}
}

// what is recorded of the function: of one that tells of unwinding, stacks.
func (s Step) what() string {
	if s.Func.Role != trace.RoleCall {
		return "stacks"
	}
	return "calls"
}

// Estimate is how many calls of a function there were, by those that were counted.
type Estimate struct {
	Func *trace.Function
	// Coverage is the share of the calls that was counted: 1 where the probes stay in place.
	Coverage float64
	// Error is how far off that may be, relative: 0.1 for a tenth. AtLeast: there were so many at least.
	Error float64
}

// AtLeast is the error of a number that is only the least that it may be: so much that it tells also of a sum that has
// many that are known better.
const AtLeast = 1e9

// Governor keeps tracing within its limits. It is not safe for concurrent use.
type Governor struct {
	limits    Limits
	functions map[*trace.Function]*function
	records   float64 // that the tracer takes a second, at most; +Inf for no limit
	squeeze   float64 // of the overhead budget, by the tracer's own limits: 1 for all of it
	overhead  float64 // what the probes take, as Limits has it, smoothed
	gain      float64 // by which slices are longer than they would be if targets had no time to lose
	costError float64 // what the cost of probes is off by in a target, relative, as long as nothing is learnt of it there
	limited   bool    // some function's probes take less than they would
	watched   time.Duration
	reason    string // why records or squeeze are limited
}

// function is what is known of a function.
type function struct {
	setting Setting
	rate    float64 // calls in a second of the targets' own CPU time, smoothed
	idle    int     // observations without a call
	// elsewhere is what its probes take of processes that are no targets while they are in place, ns in a second.
	elsewhere float64
	looked    rate // as its probes were last in place
	// unseen is the targets' own CPU time since its probes were last in place; missed is how many calls there were before
	// that, about, of which no estimate tells yet.
	unseen            time.Duration
	missed, missedOff float64
	waited            time.Duration // for a look that tells more
	alone             bool          // many more of its calls were recorded than it was to be
	// inCalls is which part of the time it is running, by one or more threads, as far as no traced call made it; smoothed.
	inCalls float64
	// calm is for how long its slices could have been longer than they are.
	calm time.Duration
	// scale is what its probes cost in the targets, beside what they do elsewhere, give or take off.
	scale, off float64
	// That is by so many glimpses, which told of measured, but for their noise.
	learnt          int
	measured, noise float64
	// busy is how many processors the targets have in use while its probes are in place, smoothed.
	busy float64
	// hidden says that how often it is called can't be told by the time that it was looked at: its probes take nearly all of that.
	hidden  bool
	callers map[*trace.Function]*caller
}

// rate is calls in a second of the targets' own CPU time.
type rate struct {
	perSecond float64
	off       float64 // how far off that may be, relative, or AtLeast
}

// caller is what is known of one of those that call a function.
type caller struct {
	share       float64 // which part of the calls it makes
	calls, made float64 // while it was called so many times, it made so many calls
	glimpses    float64 // that this is from
}

// NewGovernor makes a Governor.
func NewGovernor(limits Limits) *Governor {
	return &Governor{limits: limits, functions: map[*trace.Function]*function{}, records: math.Inf(1), squeeze: 1, gain: aim, costError: assumedError}
}

// Setting is how a function is traced.
func (g *Governor) Setting(f *trace.Function) Setting {
	if s := g.functions[f]; s != nil {
		return s.setting
	}
	return Always
}

// Overhead is what the probes take, as Limits has it, smoothed.
func (g *Governor) Overhead() float64 { return g.overhead }

const (
	leastSlice  = 20 * time.Millisecond // putting probes in and out takes a part of that
	leastDuty   = 0.02                  // below it the pauses grow instead
	second      = time.Second
	longest     = 30 * time.Second // between two looks at a function that is too hot, unless there are very many
	fewRecords  = 10.0             // a second, of each function, that are recorded rather than slicing
	forgetAfter = 60               // observations without a call
	smoothing   = 3 * time.Second  // of what probes take, and of what it is measured by
	patience    = 3 * time.Second  // until more is traced again
	unsettled   = 10 * time.Second // until it is given up to find out how often a function is called of which only the least is known
	utmost      = 50               // that less than such a part of all time is the targets' own, costs are too inexact to tell
	negligible  = 6                // so many functions don't matter that take less than such a part of the budget each
	asleep      = 200              // less than such a part of the time the clock of a process doesn't tell
	idle        = 5                // what has less than this part of a processor, is idle
)

// Adopt takes it that a function is traced so from the start, by a rate in calls a second of the targets' own CPU time.
func (g *Governor) Adopt(f *trace.Function, s Setting, perSecond float64) {
	g.add(f, s, perSecond)
}

// add begins to know a function, of which nothing was learnt yet.
func (g *Governor) add(fn *trace.Function, s Setting, perSecond float64) *function {
	f := &function{setting: s, rate: perSecond, looked: rate{perSecond, AtLeast}, scale: 1, off: g.costError}
	g.functions[fn] = f
	return f
}

// Rate is how often a function is called in a second of the targets' own CPU time, as far as is known.
func (g *Governor) Rate(f *trace.Function) float64 {
	if s := g.functions[f]; s != nil {
		return s.rate
	}
	return 0
}

// Observe takes what was seen since the last time. It gives what is to change, and of those functions whose
// probes were not always in place how many of their calls were counted.
func (g *Governor) Observe(o Observation) (steps []Step, estimates []Estimate) {
	if o.Elapsed <= 0 {
		return nil, nil
	}
	g.watched += o.Elapsed
	g.prepare(&o)
	estimates = g.estimates(&o)
	own := max(o.own(), o.Elapsed/asleep) // of next to nothing a single call would be very many
	weight := 1 - math.Exp(-o.Elapsed.Seconds()/smoothing.Seconds())
	for i := range o.Loads {
		l := &o.Loads[i]
		f := g.functions[l.Func]
		f.inCalls += (l.InCalls.Seconds()/o.Elapsed.Seconds() - f.inCalls) * weight
		l.InCalls = time.Duration(f.inCalls * float64(o.Elapsed))
		switch {
		case !f.setting.Sliced(): // it must go at once if it is too hot
			f.see(float64(l.Calls)/own.Seconds(), 0)
		case l.Observed > leastSlice/4:
			f.see(f.looked.perSecond, f.looked.off)
		}
		f.seeElsewhere(l)
		if l.Busy > 0 {
			f.busy = max(l.Busy, f.busy+(l.Busy-f.busy)*weight)
		}
		f.alone = f.setting.Keep < l.Most && (f.alone || float64(l.Recorded) > 3*f.setting.Keep*float64(l.Calls)+100)
	}
	// Slices may be rarer than observations.
	g.overhead += (g.worst(&o) - g.overhead) * weight
	g.adjust(o.Elapsed)
	g.restrain(o)
	return g.plan(o, own), estimates
}

// Estimate is Observe where nothing is to change any more.
func (g *Governor) Estimate(o Observation) []Estimate {
	g.prepare(&o)
	return g.estimates(&o)
}

// prepare learns what there is to learn of what probes cost, and has the loads be by that.
func (g *Governor) prepare(o *Observation) {
	for i := range o.Loads {
		if l := &o.Loads[i]; g.functions[l.Func] == nil {
			g.add(l.Func, Setting{Keep: l.First}, 0).inCalls = l.InCalls.Seconds() / max(o.Elapsed, 1).Seconds()
		}
	}
	g.settle(o)
	for i := range o.Loads {
		l := &o.Loads[i]
		g.learn(g.functions[l.Func], l, o)
		g.functions[l.Func].learnCallers(l)
	}
	o.Loads = g.corrected(o)
	g.settle(o)
}

// estimates tells how many of their calls were counted of functions whose probes were not always in place.
func (g *Governor) estimates(o *Observation) (estimates []Estimate) {
	own := o.own()
	before := map[*function]rate{}
	for i := range o.Loads {
		l := &o.Loads[i]
		f := g.functions[l.Func]
		before[f] = f.looked
		switch {
		case !f.setting.Sliced():
			f.looked, f.hidden = within(l.Calls, o.TargetCPU, 0, o.spent(), g.costError), false
		case l.Observed > 0:
			f.looked = g.byTime(f, l, o)
			f.hidden = f.looked.off > hiddenFrom || f.hidden && f.looked.off > 0.7*hiddenFrom
		}
	}
	for i := range o.Loads {
		l := &o.Loads[i]
		f := g.functions[l.Func]
		sliced := f.setting.Sliced()
		switch {
		case !sliced && f.unseen == 0 && f.missed == 0 && f.missedOff == 0:
			continue
		case l.Observed > 0:
			if by := g.byCallers(l.Func); sliced && by.off < f.looked.off {
				f.looked = by
			}
			if was := before[f]; sliced && f.looked.off == AtLeast && was.off < AtLeast && was.perSecond > f.looked.perSecond {
				f.looked = rate{was.perSecond, min(1.5*was.off, 2)} // a look that tells nothing refutes nothing
			}
			// What only has a least number may be known in a moment, also of the time before.
			if f.waited += o.Elapsed; sliced && f.looked.off == AtLeast && f.waited < unsettled {
				if before[f].off == AtLeast {
					f.looked.perSecond = min(f.looked.perSecond, before[f].perSecond)
				}
				break
			}
			f.waited = 0
			f.miss(before[f])
			if l.Calls > 0 {
				estimates = append(estimates, f.estimate(l, own))
			}
			continue
		}
		if sliced { // else all of this time was seen
			f.unseen += own
		}
	}
	return estimates
}

// miss takes it that a function was called while it was not seen at a rate between that of before and that of now.
func (f *function) miss(before rate) {
	unseen, now := f.unseen.Seconds(), f.looked
	f.unseen = 0
	switch {
	case unseen == 0:
	case before.off < AtLeast && now.off < AtLeast:
		missed := (now.perSecond + before.perSecond) / 2
		f.missed += missed * unseen
		f.missedOff += math.Hypot(now.off*missed, math.Abs(missed-now.perSecond)) * unseen
	case now.off < AtLeast && before.perSecond <= now.perSecond:
		f.missed += now.perSecond * unseen
		f.missedOff += now.off * now.perSecond * unseen
	default: // it was called more often then, and nobody knows for how long
		f.missed += min(now.perSecond, before.perSecond) * unseen
		f.missedOff = math.Inf(1)
	}
}

// estimate has what was counted in so much of the targets' CPU time stand for what was not, and for what was missed before.
func (f *function) estimate(l *Load, own time.Duration) Estimate {
	all, off := float64(l.Calls), 0.0
	if f.setting.Sliced() {
		all = max(f.looked.perSecond*own.Seconds(), all)
		off = f.looked.off * all
	}
	all, off = all+f.missed, min((off+f.missedOff)/(all+f.missed), AtLeast)
	f.missed, f.missedOff = 0, 0
	e := Estimate{Func: l.Func, Coverage: float64(l.Calls) / all, Error: off}
	if off == AtLeast {
		e.Coverage = min(e.Coverage, 1-1e-9) // it isn't all
	}
	return e
}

// byTime is how often a function was called by the time that its probes were in place, or that it was glimpsed at, less
// what that took of it: what tells more.
func (g *Governor) byTime(f *function, l *Load, o *Observation) rate {
	probed := l.probed()
	if o.Together {
		probed = o.turns
	}
	looked := within(l.Calls, l.Observed, l.Off, probed+l.Beside+o.others(l.Observed), f.off)
	glimpsed := within(l.Glimpsed, l.GlimpsedCPU, l.GlimpsedOff, l.GlimpsesTook+o.others(l.GlimpsedCPU), f.off)
	if l.Glimpsed > 0 && (glimpsed.off < looked.off || glimpsed.off == looked.off && glimpsed.perSecond > looked.perSecond) {
		return glimpsed
	}
	return looked
}

// within is the rate of calls in so much CPU time, give or take cpuOff, of which probes took a part, give or take such a
// share of that.
func within(calls uint64, cpu, cpuOff, spent time.Duration, off float64) rate {
	spent = min(spent, cpu)
	own, uncertain := (cpu - spent).Seconds(), math.Hypot(off*spent.Seconds(), cpuOff.Seconds())
	if uncertain >= unknown*own {
		// It may be next to nothing that is left; this is the most.
		return rate{float64(calls) / max(own+2*uncertain, 1e-6), AtLeast}
	}
	off = uncertain / own
	if calls > 0 {
		off = math.Hypot(off, 1/math.Sqrt(float64(calls)))
	}
	return rate{float64(calls) / own, off}
}

// unknown is how far off a time may be, relative, for anything to be told by it.
const unknown = 0.7

// byCallers is how often a function is called by how often its callers are, and how many calls each of theirs makes,
// which doesn't change when probes slow all down.
func (g *Governor) byCallers(fn *trace.Function) rate {
	sum, variance, known := 0.0, 0.0, 0.0
	for by, c := range g.functions[fn].callers {
		q := g.functions[by]
		if q == nil || q.looked.off >= 1 || c.calls < fewest {
			continue
		}
		part := c.made / c.calls * q.looked.perSecond
		// A glimpse begins and ends within a call of the caller's.
		off := 1 / (1 + c.calls/c.glimpses)
		sum += part
		variance += part * part * (1/c.calls + 1/max(c.made, 1) + off*off + q.looked.off*q.looked.off)
		known += c.share
	}
	if known < 0.5 || sum == 0 {
		return rate{0, AtLeast}
	}
	return rate{sum / known, math.Hypot(math.Sqrt(variance)/sum, 1-min(known, 1))}
}

// fewest calls of a caller must have been seen for that to tell how many calls it makes.
const fewest = 2

// learnCallers takes note of who makes a function's calls, and how many each.
func (f *function) learnCallers(l *Load) {
	others := 0.0
	for _, c := range l.Callers {
		if c.Func != l.Func { // what it calls itself, its callers make, too
			others += c.Share
		}
	}
	if others == 0 {
		return
	}
	if f.callers == nil {
		f.callers = map[*trace.Function]*caller{}
	}
	for _, known := range f.callers {
		known.share *= 1 - latest
		known.calls, known.made, known.glimpses = known.calls*(1-latest/4), known.made*(1-latest/4), known.glimpses*(1-latest/4)
	}
	weight := latest
	if len(f.callers) == 0 {
		weight = 1
	}
	for _, c := range l.Callers {
		if c.Func == nil || c.Func == l.Func {
			continue
		}
		known := f.callers[c.Func]
		if known == nil {
			known = &caller{}
			f.callers[c.Func] = known
		}
		known.share += weight * c.Share / others
		known.calls, known.made, known.glimpses = known.calls+c.Calls, known.made+c.Made/others, known.glimpses+float64(c.Glimpses)
	}
}

// latest is what the latest glimpse counts for beside those before.
const latest = 0.2

// Hidden says that how often a function is called can hardly be told by the time that it is looked at, since its
// probes take nearly all of that: its callers are to be glimpsed at together with it.
func (g *Governor) Hidden(fn *trace.Function) bool {
	f := g.functions[fn]
	return f != nil && f.setting.Sliced() && f.hidden
}

// learn finds out what a function's probes cost in the targets, beside what they do where that was measured: the time
// between two calls grows by as much when they are in place as is between their cost and that of a glimpse.
func (g *Governor) learn(f *function, l *Load, o *Observation) {
	if !f.setting.Sliced() || l.Calls == 0 || l.Glimpsed == 0 || l.GlimpsesTook == 0 {
		return
	}
	calls, glimpsed := float64(l.Calls), float64(l.Glimpsed)
	recording := float64(min(l.Recorded, l.Calls)) * float64(l.Told-l.Counted)
	each, fewer := (float64(l.Observed-l.Beside-o.others(l.Observed))-recording)/calls, float64(l.GlimpsedCPU-o.others(l.GlimpsedCPU))/glimpsed
	took := float64(l.GlimpsesTook) / glimpsed
	apart := float64(l.Counted) - took
	if apart < float64(l.Counted)/10 {
		return
	}
	f.learnt++
	weight := max(1/float64(f.learnt), 0.2)
	f.measured += (min(max((each-fewer)/apart, 0.25), 4) - f.measured) * weight
	noise := math.Hypot(math.Hypot(each/math.Sqrt(calls), fewer/math.Sqrt(glimpsed)), math.Hypot(float64(l.Off)/calls, float64(l.GlimpsedOff)/glimpsed)) / apart
	f.noise += (noise - f.noise) * weight
	// What was measured elsewhere counts as well, by how exact it is.
	off := math.Hypot(ratioError*math.Hypot(float64(l.Counted), took)/apart, f.noise/math.Sqrt(min(float64(f.learnt), 5)))
	elsewhere, here := 1/(g.costError*g.costError), 1/(off*off)
	f.scale, f.off = (elsewhere+here*f.measured)/(elsewhere+here), 1/math.Sqrt(elsewhere+here)
}

// How far off may be, relative, what a call's probes cost in a target, by what they cost in functions of the tracer's
// own; and how many times the cost of a glimpse that is.
const (
	costError  = 0.3
	ratioError = 0.07
	// assumedError is how far off it may be while it has not been measured.
	assumedError = 0.6
)

// Recalibrated tells that probes no longer cost what they did: what was learnt beside that is forgotten.
func (g *Governor) Recalibrated() {
	g.costError = costError
	for _, f := range g.functions {
		f.scale, f.off, f.learnt = 1, costError, 0
	}
}

// corrected are the loads with what their probes cost in the targets.
func (g *Governor) corrected(o *Observation) []Load {
	loads := slices.Clone(o.Loads)
	for i := range loads {
		l := &loads[i]
		for _, cost := range []*time.Duration{&l.Counted, &l.Told, &l.GlimpsesTook} {
			*cost = time.Duration(g.functions[l.Func].scale * float64(*cost))
		}
	}
	return loads
}

// Unseen is how many calls of functions there may have been, in the end, that no estimate stands for: since their
// probes were last in place, by how it was then; and how far off that may be, relative, or AtLeast.
func (g *Governor) Unseen(f func(fn *trace.Function, calls, off float64)) {
	for fn, s := range g.functions {
		since := s.looked.perSecond * s.unseen.Seconds()
		calls, off := s.missed+since, s.missedOff+max(s.looked.off, 1)*since
		if math.IsInf(off, 1) || s.unseen > 0 && s.looked.off == AtLeast {
			off = math.Inf(1)
			calls = max(calls, 1) // there may have been many
		}
		if calls >= 1 {
			f(fn, calls, min(off/calls, AtLeast))
		}
	}
}

// spent is the time that all probes took.
func (o *Observation) spent() (sum time.Duration) {
	for i := range o.Loads {
		sum += o.Loads[i].spent()
	}
	return sum
}

// elsewhere is the time that all probes took of processes that are no targets.
func (o *Observation) elsewhere() (sum time.Duration) {
	for i := range o.Loads {
		sum += o.Loads[i].Elsewhere
	}
	return sum
}

// own is the targets' CPU time without what probes took.
func (o *Observation) own() time.Duration { return without(o.TargetCPU, o.spent(), utmost) }

// without is CPU time less what probes took of it, by what they cost: at least such a part of it.
func without(cpu, spent, part time.Duration) time.Duration {
	return max(cpu-spent, cpu/part, time.Microsecond)
}

// use is what targets do, of which probes may take a share.
type use struct {
	own, inCalls time.Duration
	whose, idle  string // "the targets'", "the targets used less than a fifth of one"
}

// base is what the share is of; and what it is shown as a share of, with what that is called. Of what hardly waits, time in
// traced calls is about its own CPU time, now less and now more: it is always called that, so that shares can be compared.
// Threads that wait count up to as many as there are processors: probes take a processor's time, which they don't.
func (u use) base(elapsed time.Duration) (base, shown time.Duration, of string) {
	u.inCalls = min(u.inCalls, elapsed*time.Duration(runtime.NumCPU()))
	base = max(u.own, u.inCalls)
	switch least := elapsed / idle; {
	case base < least:
		return least, elapsed, "a processor (" + u.idle + ")"
	case u.inCalls > u.own+u.own/4:
		return base, base, u.whose + " time in traced calls (waits included)"
	}
	return base, base, u.whose + " own CPU time"
}

// use is what all targets do.
func (o *Observation) use() use {
	u := use{own: o.own(), whose: "the targets'", idle: "the targets used less than a fifth of one"}
	for i := range o.Loads {
		u.inCalls += o.Loads[i].InCalls
	}
	return u
}

// useOf is what one target does, and what probes take of it.
func (o *Observation) useOf(p *Process) (u use, spent time.Duration) {
	u.whose, u.idle = fmt.Sprintf("process %d's", p.PID), fmt.Sprintf("process %d used less than a fifth of one", p.PID)
	for i := range o.Loads {
		share := p.Shares[o.Loads[i].Func]
		spent += time.Duration(share * float64(o.Loads[i].spent()))
		u.inCalls += time.Duration(share * float64(o.Loads[i].InCalls))
	}
	u.own = without(p.CPU, spent, utmost)
	return u, spent
}

// worst is what probes took, as Limits has it: of all targets, or of the one that they took the most of.
func (g *Governor) worst(o *Observation) float64 {
	base, _, _ := o.use().base(o.Elapsed)
	overhead := max(float64(o.spent())/float64(base), float64(o.elsewhere())/float64(o.Elapsed))
	for i := range o.Processes {
		u, spent := o.useOf(&o.Processes[i])
		base, _, _ := u.base(o.Elapsed)
		overhead = max(overhead, float64(spent)/float64(base))
	}
	return overhead
}

// probed is the time that a function's probes took.
func (l *Load) probed() time.Duration {
	recorded := min(l.Recorded, l.Calls)
	return time.Duration(l.Calls-recorded)*l.Counted + time.Duration(recorded)*l.Told
}

// spent is that, and what glimpses took.
func (l *Load) spent() time.Duration { return l.probed() + l.GlimpsesTook }

// others is what probes of functions, those that are always in place, took of so much of the targets' CPU
// time in which those of a sliced function were. Others that are sliced, take their turns at other times, but in the end.
func (o *Observation) others(cpu time.Duration) time.Duration {
	return time.Duration(o.inPlace * float64(cpu))
}

// settle finds out which part of the targets' CPU time the probes took that are always in place.
func (g *Governor) settle(o *Observation) {
	o.inPlace, o.turns = 0, 0
	for i := range o.Loads {
		l := &o.Loads[i]
		switch {
		case g.Setting(l.Func).Sliced():
			o.turns += l.probed()
		case l.Observed > 0:
			o.inPlace += float64(l.probed()) / float64(l.Observed)
		}
	}
}

// hiddenFrom is how far off what time tells of a function's calls may be, relative, until its callers are asked.
const hiddenFrom = 0.4

// see takes a rate, which is off by such a part, maybe: a rise at once as far as that is little, a fall slowly.
func (f *function) see(perSecond, off float64) {
	if perSecond == 0 && f.elsewhere == 0 {
		f.idle++
	} else {
		f.idle = 0
	}
	if perSecond < f.rate {
		f.rate = (f.rate + perSecond) / 2
	} else {
		off = min(off, 1) // of what is called so often at least
		f.rate += (perSecond - f.rate) / (1 + 4*off*off)
	}
}

// seeElsewhere does the same of what its probes take of others.
func (f *function) seeElsewhere(l *Load) {
	if l.InPlace > leastSlice/4 {
		now := float64(l.Elsewhere) / l.InPlace.Seconds()
		f.elsewhere = max(now, (f.elsewhere+now)/2)
		if f.elsewhere < float64(time.Microsecond) {
			f.elsewhere = 0
		}
	}
}

// adjust makes the slices longer or shorter by what they took. What it takes to put probes in and out is not measured: some
// of the budget is left for that.
func (g *Governor) adjust(elapsed time.Duration) {
	sliced := false
	for _, f := range g.functions {
		sliced = sliced || f.setting.Sliced()
	}
	switch {
	case !sliced || g.limits.Overhead == 0:
		g.gain = aim
	case g.overhead > 0.8*g.limits.Overhead:
		g.gain = max(g.gain*math.Pow(1/1.2, elapsed.Seconds()), 0.2)
	case g.overhead < 0.6*g.limits.Overhead:
		g.gain = min(g.gain*math.Pow(1.05, elapsed.Seconds()), 1.5)
	}
}

// aim is what part of the budget slices are made for.
const aim = 0.8

// restrain limits how much is recorded by what the tracer itself takes.
func (g *Governor) restrain(o Observation) {
	recorded := 0.0
	for i := range o.Loads {
		recorded += float64(o.Loads[i].Recorded)
	}
	recorded /= o.Elapsed.Seconds()
	over, reason := 0.0, ""
	consider := func(factor float64, text string) {
		if factor > over {
			over, reason = factor, text
		}
	}
	if g.limits.Pressure && o.Pressure > 0.5 {
		consider(1+o.Pressure, fmt.Sprintf("the buffers are %s full", percent(o.Pressure)))
	}
	if used := o.OwnCPU.Seconds() / o.Elapsed.Seconds(); g.limits.CPU > 0 && used > g.limits.CPU {
		consider(used/g.limits.CPU, fmt.Sprintf("the tracer takes %.2f processors, --max-cpu allows %.2f", used, g.limits.CPU))
	}
	if g.limits.Memory > 0 && o.OwnMemory > g.limits.Memory {
		consider(2, fmt.Sprintf("the tracer has %d MiB of memory, --max-memory allows %d", o.OwnMemory>>20, g.limits.Memory>>20))
	}
	few := fewRecords * float64(len(g.functions))
	switch {
	case over > 1 && recorded <= 2*few:
		// Recording less would not help: fewer calls are to be seen at all.
		g.squeeze = max(g.squeeze/over, 0.01)
		g.reason = reason
	case over > 1:
		g.records = max(min(g.records, recorded)/over, few)
		g.reason = reason
	case o.Pressure < 0.25 && g.squeeze < 1:
		g.squeeze = min(g.squeeze*1.1, 1)
	case o.Pressure < 0.25 && !math.IsInf(g.records, 1):
		if g.records *= 1.2; g.records > 4*recorded && recorded > 0 {
			g.records = math.Inf(1)
		}
	}
}

// plan gives each function its share of the budgets, and tells what changes by that.
func (g *Governor) plan(o Observation, own time.Duration) (steps []Step) {
	perSecond := own.Seconds() / o.Elapsed.Seconds() // of the targets' own CPU time
	costs, wishes := make([]float64, 0, len(o.Loads)), make([]float64, 0, len(o.Loads))
	bounds, elsewhere := make([]float64, 0, len(o.Loads)), make([]float64, 0, len(o.Loads))
	for i := range o.Loads {
		l := &o.Loads[i]
		rate := g.functions[l.Func].rate
		wishes = append(wishes, rate*l.Most)
	}
	share := level(wishes, g.records/perSecond)
	for i := range o.Loads {
		l := &o.Loads[i]
		rate := g.functions[l.Func].rate
		recorded := min(wishes[i], share)
		costs = append(costs, (rate-recorded)*float64(l.Counted)+recorded*float64(l.Told))
		bounds = append(bounds, g.bound(l.Func, perSecond))
		elsewhere = append(elsewhere, g.functions[l.Func].elsewhere/perSecond)
	}
	ceilings := g.ceilings(&o, own, costs, elsewhere, bounds)
	pause := g.pause()
	for i := range o.Loads {
		l := &o.Loads[i]
		f := g.functions[l.Func]
		ceiling := ceilings[i]
		to := g.fit(f, l, min(wishes[i], share), ceiling, perSecond, pause)
		if f.idle >= forgetAfter {
			to = Setting{Keep: l.Most}
		}
		if !differs(f.setting, to) {
			f.calm = 0
			continue
		}
		// Shorter slices at once; longer ones when it has been so for a while.
		if f.calm += o.Elapsed; to.duty() > f.setting.duty() && f.calm < patience {
			continue
		}
		f.calm = 0
		why := "it has cooled down"
		if to.Sliced() {
			why = "the budget allows more"
		}
		switch {
		case f.setting.duty() == to.duty() && to.Keep == l.Most && to.Keep < f.setting.Keep:
			why = fmt.Sprintf("that is what --sample says of a function with %.0f calls a second", float64(l.Calls)/o.Elapsed.Seconds())
		case f.setting.duty() < to.duty() || f.setting.duty() == to.duty() && f.setting.Keep <= to.Keep:
		case ceiling.part < 1:
			why = ceiling.why
			if g.squeeze < 1 {
				why += ", since " + g.reason
			}
		case wishes[i] > share:
			why = g.reason
		}
		steps = append(steps, Step{Func: l.Func, From: f.setting, To: to, Why: why})
		f.setting = to
	}
	slices.SortStableFunc(steps, func(a, b Step) int { // the hottest first
		return int(math.Copysign(1, g.functions[b.Func].rate-g.functions[a.Func].rate))
	})
	return steps
}

// bound is what a function's probes take at most while they are in place, in ns in a second of the targets' own CPU
// time: all the time that the targets have.
func (g *Governor) bound(fn *trace.Function, perSecond float64) float64 {
	f := g.functions[fn]
	bound := max(1, f.busy/perSecond) * float64(second)
	if f.hidden {
		bound *= 2 // a glimpse follows that takes as much
	}
	return bound
}

// ceiling is what a function's probes may take, in ns in a second of the targets' own CPU time.
type ceiling struct {
	cost, part float64 // which part that is of what they would take, were they always in place, or of their bound
	why        string  // where it is not all
}

// ceilings are what the overhead budget, of all targets and of each, allows functions whose probes would take such
// costs, and so much elsewhere, or, while they are in place for a part of the time, as much of their bounds.
func (g *Governor) ceilings(o *Observation, own time.Duration, all, elsewhere, bounds []float64) []ceiling {
	ceilings := make([]ceiling, len(all))
	for i, c := range all {
		ceilings[i] = ceiling{cost: c + elsewhere[i], part: 1}
	}
	limit := g.limits.Overhead
	if limit == 0 && g.squeeze == 1 {
		return ceilings
	}
	if limit == 0 {
		limit = 1 // of what has none, something to squeeze
	}
	limit *= g.squeeze
	tolerance := relief
	if !g.limited {
		tolerance = cmp.Or(g.limits.Tolerance, defaultTolerance)
	}
	if !g.limited && g.watched <= second {
		tolerance *= 2 // long calls have not ended yet, and so are not seen
	}
	g.limited = false
	// What they take while they are in place for a part of the time only: the more that is, the fewer calls are made then;
	// and it is no time in which targets do anything else.
	bounded := make([]float64, len(all))
	for i := range all {
		bounded[i] = all[i] / (1 + all[i]/((1+limit)*bounds[i]))
	}
	restrict := func(time, shown time.Duration, of string, all, while func(i int) float64) {
		unit := 1e9 / own.Seconds() // of a second of all targets' own CPU time
		base, whole := unit*time.Seconds(), unit*shown.Seconds()
		total, amounts := 0.0, make([]float64, len(o.Loads))
		for i := range amounts {
			total += all(i)
			amounts[i] = while(i)
		}
		if total <= tolerance*limit*base {
			return
		}
		for i, amount := range cut(amounts, limit*base) {
			// Of two that allow the same, the latter tells more.
			if part := amount / amounts[i]; amounts[i] > 0 && part < 1 && part <= ceilings[i].part {
				g.limited = true
				ceilings[i] = ceiling{part * (bounded[i] + elsewhere[i]), part, fmt.Sprintf("%s; the budget is %s", would(all(i)/whole, total/whole, of), percent(limit*base/whole))}
			}
		}
	}
	target := func(u use, share func(i int) float64) {
		time, shown, of := u.base(o.Elapsed)
		restrict(time, shown, of, func(i int) float64 { return share(i) * all[i] }, func(i int) float64 { return share(i) * bounded[i] })
	}
	target(o.use(), func(int) float64 { return 1 })
	for i := range o.Processes {
		p := &o.Processes[i]
		u, _ := o.useOf(p)
		target(u, func(k int) float64 { return p.Shares[o.Loads[k].Func] })
	}
	others := func(i int) float64 { return elsewhere[i] }
	restrict(o.Elapsed, o.Elapsed, "a processor in other processes that have the same file", others, others)
	return ceilings
}

// pause is how long it is between two looks at most: longer than usual, where they would take up the budget by their number.
func (g *Governor) pause() time.Duration {
	n := 0
	for _, f := range g.functions {
		if f.setting.Sliced() {
			n++
		}
	}
	limit := min(cmp.Or(g.limits.Overhead, 1)*g.squeeze, 1)
	return max(longest, time.Duration(float64(n)*float64(leastSlice)/limit).Round(second))
}

// fit is how a function is traced whose probes have such a ceiling, and of which so many calls may be recorded in a
// second of the targets' own CPU time; between two looks at it there may be such a pause, unless its probes have to
// stay in place.
func (g *Governor) fit(f *function, l *Load, recorded float64, ceiling ceiling, perSecond float64, pause time.Duration) Setting {
	elsewhere := f.elsewhere / perSecond
	if f.rate == 0 && elsewhere == 0 {
		return Setting{Keep: l.Most}
	}
	counted, told := float64(l.Counted), float64(l.Told)
	few := min(fewRecords/perSecond, recorded)
	full := (f.rate-recorded)*counted + recorded*told + elsewhere
	keep := l.Most
	if full > ceiling.cost {
		recorded = max((ceiling.cost-elsewhere-f.rate*counted)/max(told-counted, 1), few)
		full = (f.rate-recorded)*counted + recorded*told + elsewhere
	}
	if recorded < f.rate*l.Most*0.999 {
		keep = recorded / f.rate
	}
	if full <= ceiling.cost*1.05 || g.limits.InPlace {
		return Setting{Keep: keep, Alone: f.alone && keep < l.Most}
	}
	// Even to count them takes too much: then for a part of the time only.
	duty := min(g.gain*max(ceiling.part, ceiling.cost/full), 0.9)
	if keep = l.Most; f.rate > 0 {
		keep = min(few/(f.rate*duty), l.Most)
	}
	period := second
	slice := time.Duration(duty * float64(period))
	if duty < leastDuty {
		slice = leastSlice
		period = min(time.Duration(float64(slice)/duty).Round(second), pause)
	}
	return Setting{Keep: keep, Alone: true, Slice: max(slice, leastSlice).Round(time.Millisecond), Period: max(period, second)}
}

// differs says whether a change is worth making.
func differs(a, b Setting) bool {
	if a.Sliced() != b.Sliced() || (a.Keep == 1) != (b.Keep == 1) || a.Alone != b.Alone {
		return true
	}
	if a.Sliced() { // where what is recorded takes little
		return off(a.duty(), b.duty()) > 0.3 || off(a.Keep, b.Keep) > 0.8
	}
	return off(a.Keep, b.Keep) > 0.3
}

// off is how far two numbers are apart, relative.
func off(a, b float64) float64 {
	if a == b {
		return 0
	}
	return math.Abs(a-b) / max(a, b)
}

// cut lowers amounts so that together they don't exceed a sum: the highest ones, as few as will do when next to nothing
// is left of them, all by the same part. So most stay what they are.
func cut(amounts []float64, sum float64) []float64 {
	order := make([]int, len(amounts))
	left := slices.Clone(amounts)
	total := 0.0
	for i, a := range amounts {
		order[i] = i
		total += a
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(amounts[b], amounts[a]) })
	const least = float64(leastSlice) / float64(longest)
	n, part, hot := 0, 1.0, 0.0
	for ; n < len(order) && hot*least+total-hot > sum; n++ {
		a := amounts[order[n]]
		if a < sum/negligible && len(amounts) < negligible {
			break // they are too few and too small to matter
		}
		hot += a
	}
	if hot > 0 {
		part = max((sum-(total-hot))/hot, least)
	}
	for _, i := range order[:n] {
		left[i] *= part
	}
	return left
}

// level is the highest value to which amounts may be cut so that together they don't exceed a sum.
func level(amounts []float64, sum float64) float64 {
	sorted := slices.Sorted(slices.Values(amounts))
	left := sum
	for i, a := range sorted {
		if even := left / float64(len(sorted)-i); a > even {
			return even
		}
		left -= a
	}
	return math.Inf(1)
}

// would tells what a function's probes, and all probes, would take of something.
func would(its, all float64, of string) string {
	if portion(its) == portion(all) {
		return "its probes would take " + portionOf(its, of)
	}
	return fmt.Sprintf("all probes would take %s, its own %s", portionOf(all, of), portion(its))
}

// portionOf writes a share of something: 31 % of it, 12 times it.
func portionOf(share float64, of string) string {
	if share < manifold {
		of = "of " + of
	}
	return portion(share) + " " + of
}

// portion writes a share that may be many times the whole.
func portion(share float64) string {
	switch {
	case share < manifold:
		return percent(share)
	case share < 10:
		return fmt.Sprintf("%.1f times", share)
	}
	return fmt.Sprintf("%.0f times", share)
}

// manifold is what is written as so many times rather than in percent.
const manifold = 2

// percent writes a share.
func percent(share float64) string {
	if p := 100 * share; p < 10 {
		return fmt.Sprintf("%.2g %%", p)
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}
