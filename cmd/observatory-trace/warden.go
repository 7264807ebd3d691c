package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/attach"
	"github.com/observatory-trace/observatory-trace/sample"
	"github.com/observatory-trace/observatory-trace/trace"
)

// warden keeps a session within its budgets. Its methods are for the recorder's goroutine.
type warden struct {
	session  *attach.Session
	budgets  budgets
	opener   *opener
	governor *sample.Governor
	notes    *notes
	gap      func(trace.Gap)
	slicer   *slicer

	calibrated chan attach.Costs // gives the costs, once they are measured
	abandon    context.CancelFunc
	costs      attach.Costs
	measured   bool
	measuring  time.Time                          // since when costs are being measured; zero when that is over
	told       map[*trace.Function]sample.Setting // by the latest step that was told
	started    time.Time
	at         time.Time
	cpu        time.Duration // of the targets, in all
	own        time.Duration // of the tracer
	loads      map[uint32]*sample.Load
	copied     map[uint32]*copied
	noted      map[uint32]*noted
	missed     map[trace.Unwinding]missed // as long as that was not told
	missedTold time.Time
	explained  bool // what it means that what tells of unwinding is out
	targets    []target
	begun      uint64 // calls, as of the last observation
	alarmed    time.Time
	steps      uint64 // that were taken
}

func newWarden(session *attach.Session, o *opener, n *notes, gap func(trace.Gap)) *warden {
	limits := o.budgets.limits
	limits.InPlace = !session.CanPause()
	w := &warden{
		session: session, budgets: o.budgets, opener: o, governor: sample.NewGovernor(limits), notes: n, gap: gap, slicer: newSlicer(session),
		calibrated: make(chan attach.Costs, 1), costs: attach.AssumedCosts, told: map[*trace.Function]sample.Setting{},
		started: time.Now(), measuring: time.Now(), at: time.Now(), loads: map[uint32]*sample.Load{}, copied: map[uint32]*copied{}, noted: map[uint32]*noted{}, missed: map[trace.Unwinding]missed{}, missedTold: time.Now(),
	}
	w.own, _ = ownUse()
	w.cpu = session.TargetTime()
	w.processes()
	w.open()
	ctx, cancel := context.WithCancel(context.Background())
	w.abandon = cancel
	// It takes a while, which nobody should have to wait for.
	go func() {
		defer close(w.calibrated)
		costs, err := session.Calibrate(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			n.warn(fmt.Errorf("what probes cost here could not be measured: --max-overhead goes by what they cost elsewhere: %w", err))
			return
		}
		w.calibrated <- costs
	}()
	return w
}

// open takes over how functions are traced that were attached to since the last time.
func (w *warden) open() {
	told := 0
	for _, o := range w.opener.take() {
		f := o.step.Func
		w.governor.Adopt(f, o.step.To, o.rate)
		cost := w.costs.Of(f)
		w.loads[f.ID] = &sample.Load{Func: f, Counted: cost.Counted, Told: cost.Told}
		if o.step.To.Sliced() {
			w.slicer.set(f.ID, o.step.To, false, w.cpu)
		}
		if w.tell(o.step, told < stepsTold) {
			told++
		}
	}
	w.tellRest(told)
}

// lastLook has the probes that are not in place be there for a moment before all ends, so that what is
// counted stands for the time until then. The slicer is closed.
func (w *warden) lastLook() {
	if out := w.slicer.out(); len(out) > 0 && w.session.Live() > 0 {
		at, err := w.session.Resume(out)
		if err != nil {
			w.notes.warn(err)
			return
		}
		w.slicer.changed(out, true, at)
		time.Sleep(lastSlice)
	}
}

// stopped tells that hits no longer count.
func (w *warden) stopped() {
	w.slicer.changed(w.slicer.inPlace(), false, attach.Moment{CPU: w.session.TargetTime()})
}

// lastSlice is how long lastLook looks.
const lastSlice = 20 * time.Millisecond

// close ends the slices, and waits for what goes on in the background.
func (w *warden) close() {
	w.abandon()
	w.slicer.close()
	for range w.calibrated {
	}
}

// due says whether it is time for an observation: every second, sooner at first, when nobody knows yet how hot functions
// are, and when many calls begin all of a sudden.
func (w *warden) due(now time.Time) bool {
	since, want := now.Sub(w.at), time.Second
	if now.Sub(w.started) < 2*time.Second {
		want = 200 * time.Millisecond
	}
	switch {
	case since < leastInterval:
		return false
	case since > want+100*time.Millisecond:
		return true
	}
	// What is counted in a turn belongs together.
	return (since >= want || w.alarming(now, since)) && !w.slicer.soonOver(now)
}

// leastInterval is between two observations at least: what is told of less, is not exact enough.
const leastInterval = 50 * time.Millisecond

// alarming says that since the last observation so many calls have begun that their probes took a quarter of a
// processor, or more. But in the beginning, when one hot function hides others, it doesn't say so again for a second.
func (w *warden) alarming(now time.Time, since time.Duration) bool {
	if w.budgets.limits.Overhead == 0 || now.Sub(w.alarmed) < time.Second && now.Sub(w.started) > 2*time.Second {
		return false
	}
	begun, err := w.session.Begun()
	if err != nil || begun < w.begun || time.Duration(begun-w.begun)*(w.costs.Emulated.Counted+w.costs.Return.Counted) < since/4 {
		return false
	}
	w.alarmed = now
	return true
}

// observe takes what was counted since the last time, and, going on, changes what has to change. It gives the
// share of the calls that was counted, of functions whose probes were not always in place.
func (w *warden) observe(counts *attach.Counts, pressure float64, now time.Time, goingOn bool) map[*trace.Function]sample.Estimate {
	recalibrated := false
	select {
	case costs, ok := <-w.calibrated:
		w.measured = true
		if ok {
			w.costs, recalibrated = costs, true
			w.governor.Recalibrated()
			if err := w.session.SetCosts(costs); err != nil {
				w.notes.warn(err)
			}
		}
	default:
	}
	own, memory := ownUse()
	o := sample.Observation{Elapsed: now.Sub(w.at), TargetCPU: max(counts.At.CPU-w.cpu, 0), OwnCPU: own - w.own, OwnMemory: memory, Pressure: pressure, Together: !goingOn}
	if !w.measuring.IsZero() { // which takes the tracer's own time, but not for long
		o.OwnCPU = 0
		if w.measured {
			w.measuring = time.Time{}
		}
	}
	w.at, w.own, w.cpu = now, own, counts.At.CPU
	if begun, err := w.session.Begun(); err == nil {
		w.begun = begun
	}
	w.open()
	w.gather(counts, &o)
	for _, l := range w.loads {
		o.Loads = append(o.Loads, *l)
	}
	if goingOn {
		if processes := w.processes(); len(processes) > 1 {
			o.Processes = processes
		}
	}
	var steps []sample.Step
	var estimates []sample.Estimate
	if goingOn {
		steps, estimates = w.governor.Observe(o)
	} else {
		estimates = w.governor.Estimate(o)
	}
	told := 0
	for _, s := range steps {
		if w.take(s, told < stepsTold) {
			told++
		}
	}
	w.tellRest(told)
	for id, l := range w.loads {
		hidden := w.governor.Hidden(l.Func)
		w.slicer.ask(id, hidden, hidden || recalibrated)
	}
	covered := map[*trace.Function]sample.Estimate{}
	for _, e := range estimates {
		covered[e.Func] = e
		if l := w.loads[e.Func.ID]; e.Func.Role != trace.RoleCall {
			w.miss(e.Func, float64(l.Calls)/e.Coverage-float64(l.Calls), e.Error)
		}
	}
	if now.Sub(w.missedTold) > betweenMissed {
		w.tellMissed(now)
	}
	return covered
}

// gather sets the loads by what was counted since the last time.
func (w *warden) gather(counts *attach.Counts, o *sample.Observation) {
	busy := float64(o.TargetCPU) / float64(o.Elapsed)
	for id, l := range w.loads {
		*l = sample.Load{Func: l.Func, Counted: l.Counted, Told: l.Told, Observed: o.TargetCPU, Busy: busy, InPlace: o.Elapsed}
		if w.governor.Setting(l.Func).Sliced() {
			w.glanced(l, w.slicer.seen(id, counts.At, l))
		}
	}
	for i := range counts.Tallies {
		t := &counts.Tallies[i]
		f := w.session.Base(t.Func)
		l := w.load(f, o, busy)
		if t.TotalNS > 0 { // without what probes took of it
			l.InCalls += time.Duration(float64(t.OutermostNS) * (1 - float64(t.OverheadNS)/float64(t.TotalNS)))
		}
		l.Calls += t.Calls
		if t.Errors > 0 {
			w.slicer.failing(f.ID, w.at)
		}
		recorded := t.Calls - min(t.Calls, t.LeftOut+t.Dropped)
		l.Recorded += recorded
		cost := w.costs.Of(f)
		l.Counted, l.Told = cost.Counted, max(cost.Told, cost.Counted)
		l.Told += w.copying(f.ID, t.CopyingNS, recorded)
	}
	w.unwound(counts.Unwound, o, busy)
	for f, n := range counts.Others {
		if f.Role != trace.RoleCall && f.Role.Unwinding() == trace.UnwindingNone {
			continue // it has to stay in place
		}
		l, cost := w.load(w.session.Lead(f), o, busy), w.costs.Of(f)
		took := cost.Counted
		if f.Role != trace.RoleCall {
			took = cost.Glimpsed
		}
		if l.Elsewhere += time.Duration(n) * took; l.Counted == 0 {
			l.Counted, l.Told = cost.Counted, cost.Told
		}
	}
	for _, l := range w.loads {
		if l.Func.Role != trace.RoleCall {
			l.First, l.Most = 1, 1
			continue
		}
		whole := 1.0
		if l.Observed > 0 { // of the rest of the time nothing is known: let it be the same
			whole = float64(o.TargetCPU) / float64(l.Observed)
		}
		l.InCalls = time.Duration(whole * float64(l.InCalls))
		l.First = w.budgets.rates.Most(l.Func, 0)
		l.Most = w.budgets.rates.Most(l.Func, whole*float64(l.Calls)/o.Elapsed.Seconds())
	}
}

// glanced adds what glances at a function, and at those that call it, have seen.
func (w *warden) glanced(l *sample.Load, glances []attach.Glance) {
	callers := map[*trace.Function]*sample.Caller{}
	for _, g := range glances {
		its := g.Glimpses[0] // the function's
		l.Glimpsed += its.Calls
		l.GlimpsedCPU += g.CPU
		l.GlimpsedOff += g.Off
		calls := map[*trace.Function]uint64{}
		for _, of := range g.Glimpses {
			l.GlimpsesTook += time.Duration(of.Calls) * w.costs.Of(of.Func).Glimpsed
			calls[of.Func] = of.Calls
		}
		for _, c := range its.Callers {
			made := c.Share * float64(its.Calls)
			by := callers[c.Func]
			if by == nil {
				by = &sample.Caller{Func: c.Func}
				callers[c.Func] = by
			}
			by.Share += made // a share only when all are known
			if n, ok := calls[c.Func]; ok {
				by.Glimpses++
				by.Calls += float64(n)
				by.Made += made
			}
		}
	}
	for _, by := range callers {
		by.Share /= float64(l.Glimpsed)
		l.Callers = append(l.Callers, *by)
	}
}

// load is a function's.
func (w *warden) load(f *trace.Function, o *sample.Observation, busy float64) *sample.Load {
	l := w.loads[f.ID]
	if l == nil {
		l = &sample.Load{Func: f, Observed: o.TargetCPU, Busy: busy, InPlace: o.Elapsed}
		w.loads[f.ID] = l
	}
	return l
}

// unwound sets the loads of what tells of unwinding: its calls are hits, which are recorded where they come with the stack.
func (w *warden) unwound(all []attach.Unwound, o *sample.Observation, busy float64) {
	fresh := map[uint32]bool{}
	for i := range all {
		u := &all[i]
		id := u.Lead.ID
		l, n := w.load(u.Lead, o, busy), w.noted[id]
		if n == nil {
			n = &noted{}
			w.noted[id] = n
		}
		if !fresh[id] {
			fresh[id] = true
			n.fade()
		}
		l.Calls += u.Hits
		n.add(u, w.costs.Of(u.Func).Glimpsed)
	}
	for id := range fresh {
		l, n := w.loads[id], w.noted[id]
		if n.hits > 0 {
			l.Counted, l.Told = n.costs(w.costs.Of(l.Func))
		}
		l.Recorded = uint64(n.share() * float64(l.Calls))
	}
}

// noted is what hits of what tells of unwinding took, of one way, by the latest thousands.
type noted struct {
	hits, stacks, stackless float64
	plain, stacking         float64 // ns that those without the stack took, and those with it, but for getting there and back
	getting                 float64 // ns that all took for that
	told, wanted            float64 // latest: of so many stacks that were wanted so many were told
}

// fade has what was noted before count for less.
func (n *noted) fade() {
	if n.hits > 10_000 {
		for _, x := range []*float64{&n.hits, &n.stacks, &n.stackless, &n.plain, &n.stacking, &n.getting} {
			*x /= 2
		}
	}
	n.told, n.wanted = 0, 0
}

func (n *noted) add(u *attach.Unwound, getting time.Duration) {
	n.hits += float64(u.Hits)
	n.stacks += float64(u.Stacks)
	n.stackless += float64(u.Stackless)
	n.plain += float64(u.Took - u.Stacking)
	n.stacking += float64(u.Stacking)
	n.getting += float64(u.Hits) * float64(getting)
	n.told += float64(u.Stacks)
	n.wanted += float64(u.Stacks + u.Stackless)
}

// share is of the stacks that were wanted how many were told.
func (n *noted) share() float64 { return n.told / max(n.wanted, 1) }

// costs are what a hit takes when no stacks are told, and when all are that are wanted. What is not known, is taken from
// what is assumed.
func (n *noted) costs(assumed attach.Cost) (counted, told time.Duration) {
	each := assumed.Counted - assumed.Glimpsed
	if others := n.hits - n.stacks; others > 0 {
		each = time.Duration(n.plain / others)
	}
	stack := assumed.Told - assumed.Counted
	if n.stacks > 0 {
		stack = max(time.Duration(n.stacking/n.stacks)-each, 0)
	}
	counted = time.Duration(n.getting/n.hits) + each
	return counted, counted + time.Duration((n.stacks+n.stackless)/n.hits*float64(stack))
}

// miss takes note of hits of what tells of unwinding that there were, about, while its probes were out; that may be off
// by such a part.
func (w *warden) miss(f *trace.Function, hits, off float64) {
	n := w.noted[f.ID]
	if n == nil || n.hits == 0 {
		return
	}
	m := w.missed[f.Role.Unwinding()]
	raised := hits * (n.stacks + n.stackless) / n.hits
	w.missed[f.Role.Unwinding()] = missed{m.raised + raised, m.off + raised*off}
}

// missed is how often something was raised while nobody saw it, and how far off that may be.
type missed struct{ raised, off float64 }

func (m missed) String() string {
	if m.off > 3*m.raised { // see calls_error in function_stats
		return "at least so many"
	}
	return fmt.Sprintf("about so many (±%.0f %%)", 100*m.off/m.raised)
}

// tellMissed tells how much was raised while nobody saw it.
func (w *warden) tellMissed(now time.Time) {
	w.missedTold = now
	for way, m := range w.missed {
		if m.raised >= 1 {
			w.gap(trace.Gap{
				TimeNS: now.UnixNano(), Count: uint64(m.raised), Hint: unwindingHint,
				Reason: fmt.Sprintf("%s %s began while the probes that tell of them were out: calls that failed by them, if any, have no message and no stack", m, way),
			})
		}
	}
	clear(w.missed)
}

const (
	betweenMissed = 10 * time.Second
	unwindingHint = "raise --max-overhead, or trace --unlimited"
)

// copying is how long it takes to copy the values of a recorded call of a function that aren't all in registers, by the
// latest thousands, to which these are added.
func (w *warden) copying(id uint32, ns int64, calls uint64) time.Duration {
	c := w.copied[id]
	if c == nil {
		c = &copied{}
		w.copied[id] = c
	}
	if c.calls > 10_000 {
		c.ns, c.calls = c.ns/2, c.calls/2
	}
	c.ns, c.calls = c.ns+ns, c.calls+calls
	return time.Duration(c.ns / int64(max(c.calls, 1)))
}

// copied is how long it took to copy the values of so many calls.
type copied struct {
	ns    int64
	calls uint64
}

// processes is what each target did since the last time.
func (w *warden) processes() []sample.Process {
	targets, err := w.session.Targets()
	if err != nil {
		w.notes.warn(err)
		return nil
	}
	before := map[int]*target{}
	for i := range w.targets {
		before[w.targets[i].PID] = &w.targets[i]
	}
	now := make([]target, 0, len(targets))
	fresh, sums := map[uint32]bool{}, map[uint32]float64{}
	for _, t := range targets {
		old := before[t.PID]
		if old == nil {
			old = &target{}
		}
		next := target{Target: t, used: max(t.CPU-old.CPU, 0), calls: old.calls}
		if next.calls == nil {
			next.calls = map[uint32]float64{}
		}
		for id, n := range t.Calls {
			if n -= min(n, old.Calls[id]); n > 0 {
				next.calls[id] += float64(n)
				fresh[id] = true
			}
		}
		now = append(now, next)
	}
	w.targets = now
	for i := range now {
		for id, n := range now[i].calls {
			if fresh[id] { // of others nothing is known that is newer
				n *= 0.8
				now[i].calls[id] = n
			}
			sums[id] += n
		}
	}
	processes := make([]sample.Process, 0, len(now))
	for _, t := range now {
		p := sample.Process{PID: t.PID, CPU: t.used, Shares: map[*trace.Function]float64{}}
		for id, n := range t.calls {
			if f := w.session.Function(id); f != nil {
				p.Shares[f] = n / sums[id]
			}
		}
		processes = append(processes, p)
	}
	return processes
}

// target is what is known of one.
type target struct {
	attach.Target
	used  time.Duration      // CPU time since the last time
	calls map[uint32]float64 // a sample of them, of the latest seconds, by function
}

// stepsTold is how many steps are told at once.
const stepsTold = 4

// take makes one step: true when it is worth telling.
func (w *warden) take(s sample.Step, tell bool) bool {
	id := s.Func.ID
	err := w.session.SetRate(id, s.To.Keep, s.To.Alone)
	if s.From.Sliced() || s.To.Sliced() {
		w.slicer.set(id, s.To, true, w.cpu)
	}
	if err != nil {
		w.notes.warn(err)
		return false
	}
	return w.tell(s, tell)
}

// tell stores a step, and tells of it: true when it is worth that.
func (w *warden) tell(s sample.Step, tell bool) bool {
	if told, ok := w.told[s.Func]; ok && told.Like(s.To) {
		return false
	}
	w.told[s.Func] = s.To
	w.steps++
	g := trace.Gap{TimeNS: time.Now().UnixNano(), Func: s.Func, Reason: fmt.Sprintf("%s: %s", s, s.Why)}
	said, hint := s.Func.Name+": "+g.Reason, "raise --max-overhead, --max-cpu or --max-memory, leave the function out with -x, or trace --unlimited"
	if way := s.Func.Role.Unwinding(); way != trace.UnwindingNone {
		said, hint = fmt.Sprintf("what tells of %s: %s", way, g.Reason), unwindingHint
		if !w.explained && s.To.Sliced() {
			w.explained = true
			said += ". While it is out, errors that are raised have no message and no stack"
		}
		g.Func, g.Reason = nil, said // the function that stands for it means nothing to anybody
	}
	if tell {
		w.notes.step(said)
	}
	if s.Less() {
		g.Hint = hint
	}
	w.gap(g)
	return true
}

// tellRest tells how many steps were too many to be told.
func (w *warden) tellRest(steps int) {
	if steps > stepsTold {
		w.notes.step(plural(uint64(steps-stepsTold), "more function") + " changed, too: see the view gaps")
	}
}

// ownUse is the CPU time that this process has used, and its resident memory in bytes.
func ownUse() (cpu time.Duration, memory uint64) {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) == nil {
		cpu = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	raw, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		if fields := strings.Fields(string(raw)); len(fields) > 1 {
			pages, _ := strconv.ParseUint(fields[1], 10, 64)
			memory = pages * uint64(os.Getpagesize())
		}
	}
	return cpu, memory
}
