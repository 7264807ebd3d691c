package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/attach"
	"github.com/observatory-trace/observatory-trace/sample"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
	"github.com/observatory-trace/observatory-trace/trace"
)

// budgetFlags say how much is recorded, and what that may take.
type budgetFlags struct {
	sample    []string
	overhead  string
	cpu       string
	memory    string
	unlimited bool
}

const unlimited = "unlimited"

func (f *budgetFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayVar(&f.sample, "sample", nil, "record this share of calls, chosen by chance, whole traces together: `RATE` from 0 to 1, PATTERN=RATE, auto (all that the budgets allow; the default) or conservative (above 10,000 calls a second 0.001, above 1,000 0.01); all calls are counted, failed ones always recorded (repeatable)")
	fl.StringVar(&f.overhead, "max-overhead", "5", "`PERCENT` of each target's CPU time, of its time in traced calls, or of a fifth of a processor, whichever is the most, that probes may take: beyond, calls are sampled, then probes are in place for a part of each second, then they are taken out; 100 is as much again, 1000 the most; or unlimited")
	fl.StringVar(&f.cpu, "max-cpu", "100", "`PERCENT` of one processor that observatory-trace itself may take; or unlimited")
	fl.StringVar(&f.memory, "max-memory", "1GiB", "`SIZE` of the memory that it may take; or unlimited")
	fl.BoolVar(&f.unlimited, "unlimited", false, "record every call, whatever that takes: no budgets, no sampling but by --sample")
}

// budgets are budgetFlags, compiled.
type budgets struct {
	rates    sample.Rates
	patterns []ratePattern
	limits   sample.Limits
}

// compile reads the flags, of which given says whether they were written, for a ring buffer of so many bytes.
func (f *budgetFlags) compile(given func(flag string) bool, ring uint64) (b budgets, err error) {
	b.rates, err = sample.ParseRates(f.sample, func(text string) (func(string) bool, error) {
		p, err := pattern.Compile(text)
		if err != nil {
			return nil, err
		}
		return p.Match, nil
	})
	if err != nil {
		return b, fmt.Errorf("--sample %w", err)
	}
	b.patterns, err = ratePatterns(f.sample)
	if err != nil {
		return b, fmt.Errorf("--sample %w", err)
	}
	if f.unlimited {
		for _, budget := range [][2]string{{"max-overhead", f.overhead}, {"max-cpu", f.cpu}, {"max-memory", f.memory}} {
			if given(budget[0]) && budget[1] != unlimited {
				return b, fmt.Errorf("--unlimited and --%s %s: --unlimited is without any budget; leave out one of them", budget[0], budget[1])
			}
		}
		return b, nil
	}
	b.limits.Pressure = true
	if b.limits.Overhead, err = parsePercent(f.overhead, mostOverhead); err != nil {
		return b, fmt.Errorf("--max-overhead %w", err)
	}
	if b.limits.CPU, err = parsePercent(f.cpu, mostCPU); err != nil {
		return b, fmt.Errorf("--max-cpu %w", err)
	}
	if f.memory != unlimited {
		if b.limits.Memory, err = parseSize(f.memory); err != nil {
			return b, fmt.Errorf("--max-memory: %w, or %s", err, unlimited)
		}
		// The ring buffer is mapped twice, one behind the other.
		if least := ownMemory + 2*ring; b.limits.Memory < least {
			return b, fmt.Errorf("--max-memory %s: the program by itself and its --ring-buffer take %s; give at least that, or %s", f.memory, formatBytes(int64(least)), unlimited)
		}
	}
	return b, nil
}

const (
	mostOverhead = 1000    // percent: ten times what the targets do themselves
	mostCPU      = 100_000 // percent of one processor
	// ownMemory is what the program takes beside its ring buffer when it traces some hundred functions (bytes; measured: 75 MiB to 115 MiB).
	ownMemory = 128 << 20
)

// ratePattern is the pattern of a --sample flag.
type ratePattern struct {
	text     string // of the flag
	function *pattern.Pattern
}

// ratePatterns gives the patterns of rates that have one, and refuses rates of which one keeps another from ever holding.
func ratePatterns(texts []string) (patterns []ratePattern, err error) {
	before := map[string]string{}
	for _, text := range texts {
		function, share, some := cutLast(text, "=")
		if !some {
			function = ""
		}
		if other, twice := before[function]; twice {
			return nil, fmt.Errorf("%q and %q are for the same functions: leave out one of them", other, text)
		}
		before[function] = text
		switch function {
		case "":
			continue
		case sample.Auto, sample.Conservative:
			return nil, fmt.Errorf("%q: %s is a way to sample, and no pattern: write --sample %[2]s, or, if there is a function of that name, '/^%[2]s$/=%s'", text, function, share)
		}
		p, err := pattern.Compile(function)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		patterns = append(patterns, ratePattern{text, p})
	}
	return patterns, nil
}

// idle says which --sample flags are of none of the functions.
func (b *budgets) idle(functions []*trace.Function) (texts []string) {
	for _, r := range b.patterns {
		if !slices.ContainsFunc(functions, func(f *trace.Function) bool {
			return f.Traceable && (r.function.Match(f.Name) || r.function.Match(f.RawName))
		}) {
			texts = append(texts, fmt.Sprintf("--sample %s: matches no traced function", r.text))
		}
	}
	return texts
}

// parsePercent gives a share, 0 for no limit.
func parsePercent(text string, most float64) (float64, error) {
	if text == unlimited {
		return 0, nil
	}
	p, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || !(p > 0 && p <= most) {
		return 0, fmt.Errorf("%q: write a percentage above 0 and up to %.0f, or %s", text, most, unlimited)
	}
	return p / 100, nil
}

// opener says how functions of processes that run already are traced from the start, so that hot ones don't have
// to be slowed down for that to be found out. It is safe for concurrent use.
type opener struct {
	budgets budgets
	mu      sync.Mutex
	taken   []opening
}

// opening is a step that was taken when a file was attached to.
type opening struct {
	step sample.Step
	rate float64 // calls in a second of the targets' own CPU time
}

// begin is attach.Options.Begin.
func (o *opener) begin(glances []attach.Glance) (begins map[uint32]attach.Begin, again []uint32) {
	g := glances[len(glances)-1]
	if again = o.again(&g); again != nil && len(glances) < mostGlances {
		return nil, again
	}
	costs := attach.AssumedCosts
	rates := rates(glances)
	own := g.CPU - took(&g)
	// How long targets are in traced calls is not known yet: all the time, say, and only what is far beyond the
	// budget then must not wait until it is.
	governor := sample.NewGovernor(sample.Limits{Overhead: o.budgets.limits.Overhead, Tolerance: 2.5})
	seen := sample.Observation{Elapsed: g.Elapsed, TargetCPU: max(own, g.CPU/50)}
	for f, rate := range rates {
		cost := costs.Of(f)
		l := sample.Load{Func: f, Calls: uint64(rate * seen.TargetCPU.Seconds()), Counted: cost.Counted, Told: cost.Told, Most: o.budgets.rates.Most(f, rate)}
		if l.Calls > 0 {
			seen.Loads = append(seen.Loads, l)
		}
	}
	for i := range seen.Loads { // as if they had been counted in so much more of the targets' time
		seen.TargetCPU += time.Duration(seen.Loads[i].Calls) * seen.Loads[i].Counted
	}
	if len(seen.Loads) > 0 {
		seen.Loads[0].InCalls = g.Elapsed
	}
	steps, _ := governor.Observe(seen)
	begins = map[uint32]attach.Begin{}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range steps {
		begins[s.Func.ID] = attach.Begin{Share: s.To.Keep, Alone: s.To.Alone, Out: s.To.Sliced()}
		o.taken = append(o.taken, opening{s, governor.Rate(s.Func)})
	}
	return begins, nil
}

const mostGlances = 8

// took is what glimpses took of the targets' time.
func took(g *attach.Glance) (sum time.Duration) {
	for _, of := range g.Glimpses {
		sum += time.Duration(of.Calls) * attach.AssumedCosts.Of(of.Func).Glimpsed
	}
	return sum
}

// again is which functions are to be glanced at once more, since the hottest ones took so much of the targets' time
// that not much is seen of the others; nil for none.
func (o *opener) again(g *attach.Glance) (ids []uint32) {
	left := took(g)
	if left < g.CPU/2 {
		return nil
	}
	byCalls := slices.Clone(g.Glimpses)
	slices.SortFunc(byCalls, func(a, b attach.Glimpse) int { return cmp.Compare(b.Calls, a.Calls) })
	for _, of := range byCalls {
		if left < g.CPU/10 {
			ids = append(ids, of.Func.ID)
			continue
		}
		left -= time.Duration(of.Calls) * attach.AssumedCosts.Of(of.Func).Glimpsed
	}
	return ids
}

// rates is how often functions are called, in a second of the targets' own CPU time. That is known by the last glance,
// and by what was seen before of the functions that it is at.
func rates(glances []attach.Glance) map[*trace.Function]float64 {
	rates := map[*trace.Function]float64{}
	sum := 0.0
	for i := len(glances) - 1; i >= 0; i-- {
		g := &glances[i]
		own := max(g.CPU-took(g), g.CPU/50).Seconds()
		known := 0.0
		for _, of := range g.Glimpses {
			if _, ok := rates[of.Func]; ok {
				known += float64(of.Calls)
			}
		}
		if known > 0 && sum > 0 {
			own = known / sum
		}
		for _, of := range g.Glimpses {
			if _, ok := rates[of.Func]; !ok {
				rates[of.Func] = float64(of.Calls) / max(own, 1e-9)
				sum += rates[of.Func]
			}
		}
	}
	return rates
}

// take gives the steps that were taken since it was last asked.
func (o *opener) take() []opening {
	o.mu.Lock()
	defer o.mu.Unlock()
	taken := o.taken
	o.taken = nil
	return taken
}

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
		started: time.Now(), measuring: time.Now(), at: time.Now(), loads: map[uint32]*sample.Load{}, copied: map[uint32]*copied{},
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
		costs, err := attach.Calibrate(ctx)
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
		w.loads[f.ID] = &sample.Load{Func: f, Counted: cost.Counted, Told: cost.Told, Glimpse: cost.Glimpsed}
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
		w.slicer.turned(out, true, at)
		time.Sleep(lastSlice)
	}
}

// stopped tells that hits no longer count.
func (w *warden) stopped() {
	w.slicer.turned(w.slicer.inPlace(), false, attach.Moment{CPU: w.session.TargetTime()})
}

// lastSlice is how long lastLook looks.
const lastSlice = 20 * time.Millisecond

// unseen tells which calls no estimate stands for.
func (w *warden) unseen() {
	for f, n := range w.governor.Unseen() {
		w.gap(trace.Gap{TimeNS: time.Now().UnixNano(), Func: f, Count: n, Reason: "its probes were not in place in the end: calls since then, by what was seen before; there may have been many more", Hint: "trace for longer, or raise --max-overhead"})
	}
}

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
	select {
	case costs, ok := <-w.calibrated:
		w.measured = true
		if ok {
			w.costs = costs
			w.governor.Recalibrated()
			if err := w.session.SetCosts(costs); err != nil {
				w.notes.warn(err)
			}
		}
	default:
	}
	own, memory := ownUse()
	o := sample.Observation{Elapsed: now.Sub(w.at), TargetCPU: max(counts.At.CPU-w.cpu, 0), OwnCPU: own - w.own, OwnMemory: memory, Pressure: pressure}
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
	covered := map[*trace.Function]sample.Estimate{}
	for _, e := range estimates {
		covered[e.Func] = e
	}
	return covered
}

// gather sets the loads by what was counted since the last time.
func (w *warden) gather(counts *attach.Counts, o *sample.Observation) {
	for id, l := range w.loads {
		*l = sample.Load{Func: l.Func, Counted: l.Counted, Told: l.Told, Glimpse: l.Glimpse, Observed: o.TargetCPU}
		if w.governor.Setting(l.Func).Sliced() {
			w.slicer.seen(id, counts.At, l)
		}
	}
	for i := range counts.Tallies {
		t := &counts.Tallies[i]
		f := w.session.Base(t.Func)
		l := w.loads[f.ID]
		if l == nil {
			l = &sample.Load{Func: f, Observed: o.TargetCPU}
			w.loads[f.ID] = l
		}
		if t.TotalNS > 0 { // without what probes took of it
			l.InCalls += time.Duration(float64(t.OutermostNS) * (1 - float64(t.OverheadNS)/float64(t.TotalNS)))
		}
		l.Calls += t.Calls
		recorded := t.Calls - min(t.Calls, t.LeftOut+t.Dropped)
		l.Recorded += recorded
		cost := w.costs.Of(f)
		l.Counted, l.Told, l.Glimpse = cost.Counted, max(cost.Told, cost.Counted), cost.Glimpsed
		l.Told += w.copying(f.ID, t.CopyingNS, recorded)
	}
	for _, l := range w.loads {
		whole := 1.0
		if l.Observed > 0 { // of the rest of the time nothing is known: let it be the same
			whole = float64(o.TargetCPU) / float64(l.Observed)
		}
		l.InCalls = time.Duration(whole * float64(l.InCalls))
		l.Most = w.budgets.rates.Most(l.Func, whole*float64(l.Calls)/o.Elapsed.Seconds())
	}
}

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
	text := fmt.Sprintf("%s: %s", s, s.Why)
	if tell {
		w.notes.step(s.Func.Name + ": " + text)
	}
	hint := ""
	if s.Less() {
		hint = "raise --max-overhead, --max-cpu or --max-memory, leave the function out with -x, or trace --unlimited"
	}
	w.gap(trace.Gap{TimeNS: time.Now().UnixNano(), Func: s.Func, Reason: text, Hint: hint})
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

// slicer has the probes of some functions in place for a part of the time only. It is safe
// for concurrent use.
type slicer struct {
	session  *attach.Session
	mu       sync.Mutex
	slices   map[uint32]*slice
	changed  chan struct{}
	stop     chan struct{}
	stopping sync.Once
	done     chan struct{}
	// glimpsing is the function that is glimpsed at, or will be in a moment; 0 for none.
	glimpsing uint32
	removed   map[uint32]uint64 // when probes were taken out, CLOCK_MONOTONIC in ns: what taken has not given yet
}

// taken gives of which functions probes were taken out since it was last asked, and when.
func (s *slicer) taken() map[uint32]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.removed) == 0 {
		return nil
	}
	removed := s.removed
	s.removed = nil
	return removed
}

// slice is how one function is.
type slice struct {
	setting sample.Setting
	due     time.Time     // when its probes go in next
	in      bool          // they are in place
	until   time.Time     // when they go out
	from    time.Duration // CPU time of the targets when they went in, or when it was last asked for
	seen    time.Duration // what they have used while they were in place, as long as it was not asked for
	off     time.Duration // how far off that may be

	glimpse  time.Time     // when the next glimpse is due
	glimpses attach.Glance // what they have seen, as long as it was not asked for
}

// How long it is between two glimpses at a function, since what they tell of changes slowly, and how long one is.
const (
	betweenGlimpses = 5 * time.Second
	leastGlimpse    = 20 * time.Millisecond
)

func newSlicer(session *attach.Session) *slicer {
	s := &slicer{session: session, slices: map[uint32]*slice{}, changed: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go s.run()
	return s
}

// close ends the turns; what is in place stays, and what is not is not put in any more. It may be called again.
func (s *slicer) close() {
	s.stopping.Do(func() { close(s.stop) })
	<-s.done
}

// soonOver says that some function's turn, or the glimpse after it, ends in a moment.
func (s *slicer) soonOver(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.slices {
		if f.in && f.setting.Sliced() && f.until.Sub(now) < 60*time.Millisecond {
			return true
		}
	}
	return s.glimpsing != 0
}

// out are the functions whose probes are not in place, inPlace those whose probes are.
func (s *slicer) out() []uint32     { return s.those(false) }
func (s *slicer) inPlace() []uint32 { return s.those(true) }

func (s *slicer) those(in bool) (ids []uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, f := range s.slices {
		if f.in == in {
			ids = append(ids, id)
		}
	}
	return ids
}

// set changes how a function is sliced, or, if it no longer is, has its probes put in. Where it was not sliced yet,
// they are in place now, since the targets had used so much CPU time, or not.
func (s *slicer) set(id uint32, setting sample.Setting, in bool, from time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.slices[id]
	if f == nil {
		now := time.Now()
		f = &slice{in: in, until: now, due: now.Add(setting.Period), from: from}
		s.slices[id] = f
	}
	f.setting = setting
	// Those that are set together don't have their turns at once.
	switch soon := time.Now().Add(setting.Period/4 + rand.N(setting.Period+1)*3/4); {
	case !setting.Sliced():
		f.due = time.Time{}
	case soon.Before(f.due):
		f.due = soon
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// seen takes note of what was seen of a function until a moment, since it was last asked for: in how much of the targets'
// CPU time its probes were in place, and what glimpses saw.
func (s *slicer) seen(id uint32, at attach.Moment, l *sample.Load) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.Observed, l.Off = 0, 0
	f := s.slices[id]
	if f == nil {
		return
	}
	if f.in && at.CPU > f.from {
		f.add(at.CPU)
		f.off += at.Off
	}
	l.Observed, l.Off = f.seen, f.off
	for _, g := range f.glimpses.Glimpses {
		l.Glimpsed += g.Calls
	}
	l.GlimpsedCPU, l.GlimpsedOff = f.glimpses.CPU, f.glimpses.Off
	f.seen, f.off, f.glimpses = 0, 0, attach.Glance{}
}

func (f *slice) add(now time.Duration) {
	f.seen += max(0, now-f.from)
	f.from = now
}

func (s *slicer) run() {
	defer close(s.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(s.step(time.Now()))
		select {
		case <-timer.C:
		case <-s.changed:
		case <-s.stop:
			return
		}
	}
}

// step puts in and takes out the probes whose time has come, and gives how long it is until the next.
func (s *slicer) step(now time.Time) time.Duration {
	var in, out []uint32
	s.mu.Lock()
	var due uint32
	busy := false // they take turns: probes of one slow others down
	var waits time.Time
	var longest uint32
	for id, f := range s.slices {
		switch {
		case f.in && !f.setting.Sliced():
			delete(s.slices, id)
		case f.in && !now.Before(f.until):
			out = append(out, id)
			if now.After(f.glimpse) {
				due = id
			}
		case f.in:
			busy = true
		case !f.setting.Sliced():
			in = append(in, id)
		case !now.Before(f.due) && (longest == 0 || f.due.Before(waits)):
			longest, waits = id, f.due
		}
	}
	if longest != 0 && (!busy || now.Sub(waits) > s.slices[longest].setting.Period) {
		in = append(in, longest)
	} else if !busy {
		s.glimpsing = due
	}
	s.mu.Unlock()
	var errs []error
	for _, change := range []struct {
		ids []uint32
		do  func([]uint32) (attach.Moment, error)
		in  bool
	}{{out, s.session.Pause, false}, {in, s.session.Resume, true}} {
		if len(change.ids) == 0 {
			continue
		}
		at, err := change.do(change.ids)
		if err == nil {
			s.turned(change.ids, change.in, at)
		} else {
			s.putOff(change.ids)
		}
		errs = append(errs, err)
	}
	errs = append(errs, s.glimpse(now))
	if err := errors.Join(errs...); err != nil {
		s.session.Warn(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := time.Hour
	for _, f := range s.slices {
		at := f.due
		switch {
		case f.in:
			at = f.until
		case busy && f.setting.Sliced():
			continue // when the other's turn is over
		}
		next = min(next, max(time.Until(at), time.Millisecond))
	}
	return next
}

// putOff has what could not be changed be tried again in a second.
func (s *slicer) putOff(ids []uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if f := s.slices[id]; f != nil {
			f.until = time.Now().Add(time.Second)
			f.due = f.until
		}
	}
}

// glimpse takes a glimpse at the function that is due for one, whose turn is just over: it tells how many calls
// there are when probes take less, and so what they take.
func (s *slicer) glimpse(now time.Time) error {
	s.mu.Lock()
	id := s.glimpsing
	f := s.slices[id]
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	g, err := s.session.Glimpse([]uint32{id}, leastGlimpse)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.glimpsing = 0
	f.glimpse = now.Add(betweenGlimpses)
	if err == nil {
		f.glimpses.Glimpses = append(f.glimpses.Glimpses, g.Glimpses...)
		f.glimpses.CPU += g.CPU
		f.glimpses.Off += g.Off
	}
	return err
}

// turned notes that the probes of functions count from a moment on, or no longer.
func (s *slicer) turned(ids []uint32, in bool, at attach.Moment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, id := range ids {
		f := s.slices[id]
		if f == nil {
			continue
		}
		f.in = in
		f.off += at.Off
		if in {
			f.from = at.CPU
			f.until = now.Add(f.setting.Slice)
			f.due = now.Add(f.setting.Period)
			continue
		}
		f.add(at.CPU)
		if s.removed == nil {
			s.removed = map[uint32]uint64{}
		}
		s.removed[id] = attach.Monotonic()
	}
}
