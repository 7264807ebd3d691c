package sample

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

// world is a target that is busy all the time: it makes calls of some functions in turn, each after so much work,
// and probes take time from it.
type world struct {
	work  time.Duration // between two calls of all of the functions
	costs []time.Duration
	told  []time.Duration
	idle  float64 // share of the time that it waits, whatever probes take
	loads []Load
	own   float64 // the share of its time that it had for itself, in the last second
}

func newWorld(work time.Duration, costs ...time.Duration) *world {
	w := &world{work: work, costs: costs}
	for i, c := range costs {
		w.told = append(w.told, c+c/4)
		w.loads = append(w.loads, Load{Func: &trace.Function{Name: fmt.Sprintf("f%d", i)}, Counted: c, Told: c + c/4, Most: 1, First: 1})
	}
	return w
}

// second lets the target run for one, as the governor has set things.
func (w *world) second(g *Governor) Observation {
	const step = time.Millisecond
	o := Observation{Elapsed: second, TargetCPU: time.Duration((1 - w.idle) * float64(second))}
	for i := range w.loads {
		l := &w.loads[i]
		l.Calls, l.Recorded, l.Observed, l.Busy = 0, 0, 0, 1-w.idle
	}
	in := func(i int, at time.Duration) bool {
		from := time.Duration(0) // they take turns
		for k := range w.loads {
			s := g.Setting(w.loads[k].Func)
			slice := time.Duration(float64(s.Slice) * s.per(second))
			if k == i {
				return !s.Sliced() || at >= from && at < from+slice
			}
			from += slice
		}
		return false
	}
	own := 0.0
	calls, recorded := make([]float64, len(w.loads)), make([]float64, len(w.loads))
	for at := time.Duration(0); at < second; at += step {
		spent := 0.0 // ns for each round of calls
		for i := range w.loads {
			if s := g.Setting(w.loads[i].Func); in(i, at) {
				spent += float64(w.costs[i]) + s.Keep*float64(w.told[i]-w.costs[i])
			}
		}
		busy := (1 - w.idle) * float64(step)
		rounds := busy / (float64(w.work) + spent)
		if w.idle > 0 { // work that comes from outside
			rounds = min(busy/float64(w.work), float64(step)/(float64(w.work)+spent))
		}
		own += rounds * float64(w.work)
		for i := range w.loads {
			l := &w.loads[i]
			if s := g.Setting(l.Func); in(i, at) {
				calls[i] += rounds
				recorded[i] += rounds * s.Keep
				l.Observed += time.Duration(busy)
			}
		}
	}
	for i := range w.loads {
		w.loads[i].Calls, w.loads[i].Recorded = uint64(calls[i]), uint64(recorded[i])
	}
	w.own = own / float64(o.TargetCPU)
	o.Loads = append([]Load(nil), w.loads...)
	return o
}

// per is how many of a setting's periods a time has.
func (s Setting) per(d time.Duration) float64 {
	if !s.Sliced() {
		return 0
	}
	return float64(d) / float64(s.Period)
}

// TestBudget holds that the probes of functions of all rates stay within the budget, and use it.
func TestBudget(t *testing.T) {
	for _, c := range []struct {
		name  string
		work  time.Duration
		costs []time.Duration
	}{
		{"2 million calls a second", 500 * time.Nanosecond, []time.Duration{1300 * time.Nanosecond}},
		{"10 million", 100 * time.Nanosecond, []time.Duration{1300 * time.Nanosecond}},
		{"50,000", 20 * time.Microsecond, []time.Duration{1300 * time.Nanosecond}},
		{"single-stepped", 2 * time.Microsecond, []time.Duration{25 * time.Microsecond}},
		{"three of them", 3 * time.Microsecond, []time.Duration{1300 * time.Nanosecond, 1300 * time.Nanosecond, 25 * time.Microsecond}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, w := NewGovernor(Limits{Overhead: 0.05}), newWorld(c.work, c.costs...)
			for i := range 60 {
				_, estimates := g.Observe(w.second(g))
				for _, e := range estimates {
					if counted := w.loads[0].Calls; e.Func == w.loads[0].Func && i > 5 {
						truth := float64(second) * w.own / float64(c.work)
						if got := float64(counted) / e.Coverage; math.Abs(got-truth) > max(e.Error, 0.02)*truth {
							t.Errorf("second %d: %.0f calls are estimated, ±%.2f; there were %.0f", i, got, e.Error, truth)
						}
					}
				}
			}
			if lost := 1 - w.own; lost > 0.055 || lost < 0.015 && c.work < 20*time.Microsecond {
				t.Errorf("probes take %.3f of the target's time; settings %+v", lost, g.Setting(w.loads[0].Func))
			}
		})
	}
}

// TestGlimpses holds that what probes cost in a target, other than where they were calibrated, is learnt from glimpses, which
// makes numbers of calls right that would be far off.
func TestGlimpses(t *testing.T) {
	const work, really, calibrated, glimpse = 360 * time.Nanosecond, 900 * time.Nanosecond, 1150 * time.Nanosecond, 600 * time.Nanosecond
	g, w := NewGovernor(Limits{Overhead: 0.05}), newWorld(work, really)
	g.Recalibrated()
	w.loads[0].Counted, w.loads[0].Told = calibrated, calibrated
	for i := range 30 {
		o := w.second(g)
		if g.Setting(w.loads[0].Func).Sliced() && i%5 == 0 {
			const cpu = 20 * time.Millisecond
			l := &o.Loads[0]
			l.Glimpsed, l.GlimpsedCPU = uint64(cpu/(work+glimpse*really/calibrated)), cpu
			l.GlimpsesTook = time.Duration(l.Glimpsed) * glimpse
		}
		_, estimates := g.Observe(o)
		for _, e := range estimates {
			truth := float64(second) * w.own / float64(work)
			// By what was measured elsewhere there would be three times as many.
			if got := float64(w.loads[0].Calls) / e.Coverage; i > 10 && (math.Abs(got-truth) > e.Error*truth || e.Error > 0.5) {
				t.Errorf("second %d: %.0f calls are estimated, ±%.2f; there were %.0f", i, got, e.Error, truth)
			}
		}
	}
	// Adopted with what a first glance has told, a function need not be slowed down first.
	g.Adopt(w.loads[0].Func, Setting{Keep: 0.1, Alone: true, Slice: leastSlice, Period: second}, 2.8e6)
	if steps, _ := g.Observe(w.second(g)); len(steps) > 1 || !g.Setting(w.loads[0].Func).Sliced() {
		t.Errorf("adopted, then %v", steps)
	}
}

// TestCallers holds that how often a function is called that is too short for its probes is told by its callers, of which
// one is known well, one not at all, and by itself; and as the least that it may be where they don't tell.
func TestCallers(t *testing.T) {
	g := NewGovernor(Limits{Overhead: 0.05})
	f := func(name string) *trace.Function { return &trace.Function{Name: name} }
	tiny, batch, other := f("tiny"), f("batch"), f("other")
	const cost = 16 * time.Microsecond
	sliced := Setting{Keep: 0.1, Alone: true, Slice: leastSlice, Period: second}
	g.Adopt(tiny, sliced, 1e9)
	observe := func(callers ...Caller) Estimate {
		t.Helper()
		o := Observation{Elapsed: second, TargetCPU: second, Loads: []Load{
			{
				Func: tiny, Calls: 1249, Counted: cost, Told: cost, Observed: 20 * time.Millisecond, Busy: 1, Most: 1, First: 1,
				Glimpsed: 1250, GlimpsedCPU: 20 * time.Millisecond, GlimpsesTook: 19990 * time.Microsecond, Callers: callers,
			},
			{Func: batch, Calls: 1000, Recorded: 1000, Counted: time.Microsecond, Told: time.Microsecond, Observed: second, Busy: 1, Most: 1, First: 1},
		}}
		_, estimates := g.Observe(o)
		if len(estimates) != 1 || estimates[0].Func != tiny {
			return Estimate{Coverage: 1}
		}
		return estimates[0]
	}
	for range 9 {
		if e := observe(); e.Coverage != 1 {
			t.Errorf("before it is given up to find out: %+v", e)
		}
	}
	if e := observe(); e.Error != AtLeast || 1249/e.Coverage > 1e7 || 1249/e.Coverage < 400_000 {
		t.Errorf("by nothing: %+v", e)
	}
	if !g.Hidden(tiny) || g.Hidden(batch) {
		t.Error("the wrong one is hidden")
	}
	// Half of the calls are its own, a tenth comes from elsewhere.
	own, unknown := Caller{Func: tiny, Share: 0.5}, Caller{Func: other, Share: 0.05}
	if e := observe(own, unknown, Caller{Func: batch, Share: 0.45}); e.Coverage != 1 {
		t.Errorf("before any caller was looked at: %+v", e)
	}
	by := Caller{Func: batch, Share: 0.45, Glimpses: 1, Calls: 10, Made: 0.45 * 1250}
	if e := observe(own, unknown, by); math.Abs(1249/e.Coverage-250_000) > 30_000 || e.Error > 0.5 || e.Error < 0.1 {
		t.Errorf("by its callers, also of the time before: %.0f: %+v", 1249/e.Coverage, e)
	}
	for range 3 {
		observe(own, unknown, by)
	}
	// 125 calls of each of batch's.
	if e := observe(own, unknown, by); math.Abs(1249/e.Coverage-125_000) > 15_000 || e.Error > 0.5 || e.Error < 0.1 {
		t.Errorf("by its callers: %.0f: %+v", 1249/e.Coverage, e)
	}
}

// TestMissed holds that what a function was called while its probes were out is told when it is called again, however
// it is traced by then, or in the end; and that this is the least where nobody knows.
func TestMissed(t *testing.T) {
	fn := &trace.Function{Name: "f"}
	sliced := Setting{Keep: 1, Alone: true, Slice: leastSlice, Period: second}
	const cost = time.Microsecond
	look := func(calls uint64, observed time.Duration) Observation {
		return Observation{Elapsed: second, TargetCPU: second, Loads: []Load{{Func: fn, Calls: calls, Counted: cost, Told: cost, Observed: observed, Busy: 1, Most: 1, First: 1}}}
	}
	for name, c := range map[string]struct {
		first, last uint64 // calls in a look of 20 ms
		least       bool
	}{
		"it goes on": {1000, 1000, false}, "it is idle, but for a call": {1000, 1, false}, "nothing was known": {20_000, 10, true},
	} {
		g := NewGovernor(Limits{Overhead: 0.05})
		g.Recalibrated()
		g.Adopt(fn, sliced, 1e6)
		var all, off float64
		add := func(calls uint64, estimates []Estimate) {
			for _, e := range estimates {
				all += float64(calls) / e.Coverage
				off += e.Error * float64(calls) / e.Coverage
			}
		}
		one := func(calls uint64, observed time.Duration) { add(calls, g.Estimate(look(calls, observed))) }
		one(c.first, 20*time.Millisecond)
		for range 3 {
			one(0, 0)
		}
		if c.last < c.first {
			one(0, 20*time.Millisecond)
		}
		g.functions[fn].setting = Always // it has cooled down
		one(c.last, second)
		told := all
		g.Unseen(func(_ *trace.Function, calls, _ float64) { all += calls })
		rate := float64(c.first) / 0.02
		switch {
		case all != told:
			t.Errorf("%s: %.0f calls are told, and then %.0f", name, told, all)
		case c.least && (off < 3*all || all < 10):
			t.Errorf("%s: %.0f ± %.0f", name, all, off)
		case !c.least && (off > all || all+off < 2*rate || all-off > 5*rate):
			t.Errorf("%s: %.0f ± %.0f, at %.0f a second", name, all, off, rate)
		}
	}
}

// TestConservative holds that a function that turns out to be called more often than it may be recorded is recorded less,
// without any budget.
func TestConservative(t *testing.T) {
	g := NewGovernor(Limits{})
	l := Load{Func: &trace.Function{Name: "f"}, Calls: 6000, Recorded: 6000, Counted: 1, Told: 1, Observed: second, Busy: 1, Most: 0.01, First: 1}
	steps, _ := g.Observe(Observation{Elapsed: second, TargetCPU: second, Loads: []Load{l}})
	if len(steps) != 1 || steps[0].From != Always || steps[0].To.Keep != 0.01 {
		t.Errorf("%+v", steps)
	}
}

// TestTolerance holds that what is a little above the budget is left alone, and brought below it when it is more.
func TestTolerance(t *testing.T) {
	for work, sliced := range map[time.Duration]bool{23 * time.Microsecond: false, 20 * time.Microsecond: true} {
		g, w := NewGovernor(Limits{Overhead: 0.05}), newWorld(work, 1300*time.Nanosecond)
		w.told[0], w.loads[0].Told = w.costs[0], w.costs[0] // 5.7 % and 6.5 %
		for range 10 {
			g.Observe(w.second(g))
		}
		if s := g.Setting(w.loads[0].Func); s.Sliced() != sliced {
			t.Errorf("%v between calls: %+v", work, s)
		}
	}
}

// TestInPlace holds that where probes can't be taken out, less is recorded, and nobody is told that they were.
func TestInPlace(t *testing.T) {
	g, w := NewGovernor(Limits{Overhead: 0.05, InPlace: true}), newWorld(2*time.Microsecond, 1300*time.Nanosecond)
	for range 10 {
		g.Observe(w.second(g))
	}
	if s := g.Setting(w.loads[0].Func); s.Sliced() || s.Keep > 0.01 {
		t.Errorf("%+v", s)
	}
}

// TestProcesses holds that each of the targets is kept within the budget, however little it is of all that they do.
func TestProcesses(t *testing.T) {
	g, w := NewGovernor(Limits{Overhead: 0.05}), newWorld(50*time.Microsecond, 1300*time.Nanosecond, 1300*time.Nanosecond)
	hot, cold := w.loads[0].Func, w.loads[1].Func
	var told []string
	for range 20 {
		o := w.second(g)
		// One process makes all calls of the one function, and has little to do but that.
		o.TargetCPU *= 31
		for i := range o.Loads {
			o.Loads[i].Observed *= 31
		}
		o.Processes = []Process{
			{PID: 1, CPU: o.TargetCPU - 100*time.Millisecond, Shares: map[*trace.Function]float64{cold: 1}},
			{PID: 2, CPU: 100 * time.Millisecond, Shares: map[*trace.Function]float64{hot: 1}},
		}
		steps, _ := g.Observe(o)
		for _, s := range steps {
			told = append(told, s.String()+": "+s.Why)
		}
	}
	if s := g.Setting(hot); !s.Sliced() {
		t.Errorf("what takes 13 %% of a process's time: %+v", s)
	}
	if s := g.Setting(cold); s != Always {
		t.Errorf("what takes nothing of the other's: %+v", s)
	}
	if len(told) == 0 || !strings.Contains(told[0], "of a processor") || len(told) > 4 {
		t.Errorf("told %q", told)
	}
}

// TestWhy holds that a step tells of what its probes would take a share, of what that is, and the share of all probes where it
// is another one; and that it is always of CPU time where time in calls is about as long.
func TestWhy(t *testing.T) {
	for _, c := range []struct {
		cpu, inCalls time.Duration
		calls        []uint64 // a second, of functions whose probes take 1 µs a call
		want         string   // of the first one
	}{
		{900 * time.Millisecond, 0, []uint64{100_000}, "its probes would take 12 % of the targets' own CPU time; the budget is 5 %"},
		{1000 * time.Millisecond, 850 * time.Millisecond, []uint64{200_000}, "its probes would take 24 % of the targets' own CPU time; the budget is 5 %"},
		{900 * time.Millisecond, 800 * time.Millisecond, []uint64{100_000, 20_000}, "all probes would take 15 % of the targets' own CPU time, its own 13 %; the budget is 5 %"},
		{900 * time.Millisecond, 1000 * time.Millisecond, []uint64{200_000}, "its probes would take 20 % of the targets' time in traced calls (waits included); the budget is 5 %"},
		{3250 * time.Millisecond, 0, []uint64{3_000_000}, "its probes would take 12 times the targets' own CPU time; the budget is 5 %"},
		{1100 * time.Millisecond, 0, []uint64{800_000}, "its probes would take 2.7 times the targets' own CPU time; the budget is 5 %"},
		{1100 * time.Millisecond, 0, []uint64{600_000, 200_000}, "all probes would take 2.7 times the targets' own CPU time, its own 2.0 times; the budget is 5 %"},
		{1000 * time.Millisecond, 0, []uint64{500_000, 200_000}, "all probes would take 2.3 times the targets' own CPU time, its own 167 %; the budget is 5 %"},
		{130 * time.Millisecond, 0, []uint64{100_000}, "its probes would take 10 % of a processor (the targets used less than a fifth of one); the budget is 1 %"},
	} {
		g := NewGovernor(Limits{Overhead: 0.05})
		o := Observation{Elapsed: second, TargetCPU: c.cpu}
		for i, n := range c.calls {
			o.Loads = append(o.Loads, Load{Func: &trace.Function{}, Calls: n, Recorded: n, Counted: time.Microsecond, Told: time.Microsecond, Observed: c.cpu, Most: 1, First: 1})
			if i == 0 {
				o.Loads[i].InCalls = c.inCalls
			}
		}
		first := o.Loads[0].Func
		steps, _ := g.Observe(o)
		why := ""
		for _, s := range steps {
			if s.Func == first {
				why = s.Why
			}
		}
		if why != c.want {
			t.Errorf("CPU %v, in calls %v, calls %v: %q, want %q", c.cpu, c.inCalls, c.calls, why, c.want)
		}
	}
}

// TestCool holds that what has cooled down is recorded whole again, and that each step is told.
func TestCool(t *testing.T) {
	g, w := NewGovernor(Limits{Overhead: 0.05}), newWorld(500*time.Nanosecond, 1300*time.Nanosecond)
	var told []string
	for i := range 120 {
		if i == 30 {
			w.work = time.Millisecond
		}
		steps, _ := g.Observe(w.second(g))
		for _, s := range steps {
			told = append(told, fmt.Sprintf("%s: %s: %s", s.Func.Name, s, s.Why))
		}
	}
	if got := g.Setting(w.loads[0].Func); got != Always {
		t.Errorf("in the end: %+v", got)
	}
	if len(told) < 2 || !strings.Contains(told[0], "the budget is 5 %") || !strings.HasSuffix(told[len(told)-1], "all of its calls are recorded: it has cooled down") {
		t.Errorf("told:\n%s", strings.Join(told, "\n"))
	}
}

// TestUnlimited holds that without limits nothing is ever left out.
func TestUnlimited(t *testing.T) {
	g, w := NewGovernor(Limits{}), newWorld(100*time.Nanosecond, 25*time.Microsecond, 1300*time.Nanosecond, 1)
	for i := range 30 {
		w.work = time.Duration(100+37*i) * time.Nanosecond
		o := w.second(g)
		o.OwnCPU, o.OwnMemory, o.Pressure = 100*second, 1<<40, 1
		if steps, _ := g.Observe(o); len(steps) > 0 {
			t.Errorf("%v", steps)
		}
	}
}

// TestHottest holds that the function that takes the most gives way, and no other.
func TestHottest(t *testing.T) {
	g, w := NewGovernor(Limits{Overhead: 0.05}), newWorld(time.Millisecond, 1300*time.Nanosecond, 200*time.Microsecond, 25*time.Microsecond)
	for range 30 {
		g.Observe(w.second(g))
	}
	if s := g.Setting(w.loads[1].Func); !s.Sliced() {
		t.Errorf("the dearest: %+v", s)
	}
	for _, i := range []int{0, 2} {
		if s := g.Setting(w.loads[i].Func); s != Always {
			t.Errorf("another: %+v", s)
		}
	}
}

// TestRestrain holds that less is recorded when the tracer itself takes too much, or can't keep up, and more
// again when it can; and that the probes go when that does not help.
func TestRestrain(t *testing.T) {
	for name, c := range map[string]struct {
		limits Limits
		press  func(o *Observation, recorded float64)
	}{
		"processor": {Limits{CPU: 1}, func(o *Observation, recorded float64) { o.OwnCPU = time.Duration(recorded * 20e3) }},
		"buffers":   {Limits{Pressure: true}, func(o *Observation, recorded float64) { o.Pressure = min(recorded/100e3, 1) }},
		"memory": {Limits{Memory: 1 << 30}, func(o *Observation, recorded float64) {
			o.OwnMemory = uint64(recorded * 20e3)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			g, w := NewGovernor(c.limits), newWorld(2*time.Microsecond, 1300*time.Nanosecond, 1300*time.Nanosecond)
			recorded := 0.0
			for range 60 {
				o := w.second(g)
				recorded = float64(o.Loads[0].Recorded + o.Loads[1].Recorded)
				c.press(&o, recorded)
				g.Observe(o)
			}
			if recorded > 65e3 || recorded < 15e3 {
				t.Errorf("%.0f calls are recorded a second", recorded)
			}
			if s := g.Setting(w.loads[0].Func); s.Sliced() {
				t.Errorf("%+v", s)
			}
			w.work = 200 * time.Microsecond
			for range 60 {
				o := w.second(g)
				c.press(&o, float64(o.Loads[0].Recorded+o.Loads[1].Recorded))
				g.Observe(o)
			}
			if s := g.Setting(w.loads[0].Func); s != Always {
				t.Errorf("when little is to be done: %+v", s)
			}
		})
	}
	g, w := NewGovernor(Limits{CPU: 0.1}), newWorld(2*time.Microsecond, 1300*time.Nanosecond)
	for range 30 {
		o := w.second(g)
		o.OwnCPU = time.Duration(float64(o.Loads[0].Calls) * 1e3) // though nothing is recorded
		g.Observe(o)
	}
	_ = w.second(g)
	if got := float64(w.loads[0].Calls) * 1e-6; got > 0.2 {
		t.Errorf("the tracer still takes %.2f processors", got)
	}
}

func TestRates(t *testing.T) {
	compile := func(text string) (func(string) bool, error) {
		if text == "" {
			return nil, fmt.Errorf("no pattern")
		}
		return func(name string) bool { return strings.HasPrefix(name, text) }, nil
	}
	f := func(name string) *trace.Function { return &trace.Function{Name: name, RawName: name} }
	for _, c := range []struct {
		texts []string
		name  string
		calls float64
		want  float64
	}{
		{nil, "a", 1e6, 1},
		{[]string{"auto"}, "a", 1e6, 1},
		{[]string{"0.1"}, "a", 5, 0.1},
		{[]string{"0.1", "hot=0.01"}, "hotter", 5, 0.01},
		{[]string{"hot=0.01"}, "a", 5, 1},
		{[]string{"0.5", "a=auto"}, "a", 5, 1},
		{[]string{"conservative"}, "a", 1000, 1},
		{[]string{"conservative"}, "a", 1001, 0.01},
		{[]string{"conservative"}, "a", 10_001, 0.001},
		{[]string{"conservative", "a=1"}, "a", 10_001, 1},
		{[]string{"operator==0.25"}, "operator=", 0, 0.25},
	} {
		r, err := ParseRates(c.texts, compile)
		if err != nil {
			t.Errorf("%q: %v", c.texts, err)
		} else if got := r.Most(f(c.name), c.calls); got != c.want {
			t.Errorf("%q: %v of %s at %v a second, want %v", c.texts, got, c.name, c.calls, c.want)
		}
	}
	for _, text := range []string{"", "2", "-1", "often", "NaN", "a=", "a=b", "=1", "a=conservative"} {
		if _, err := ParseRates([]string{text}, compile); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", text)) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestBeside holds that what other probes took of a function's turns is none of its own time, by which its calls are
// estimated.
func TestBeside(t *testing.T) {
	const work, cost = 400 * time.Nanosecond, time.Microsecond
	g, w := NewGovernor(Limits{Overhead: 0.05}), newWorld(work, cost)
	g.Recalibrated()
	for i := range 20 {
		o := w.second(g)
		l := &o.Loads[0]
		if g.Setting(l.Func).Sliced() { // for half of each turn what goes with it has the processor
			l.Beside = l.Observed / 2
			l.Calls, l.Recorded = l.Calls/2, l.Recorded/2
			w.own -= float64(l.Observed/2) * float64(work) / float64(work+cost) / float64(second)
		}
		_, estimates := g.Observe(o)
		for _, e := range estimates {
			truth := float64(second) * w.own / float64(work)
			if got := float64(l.Calls) / e.Coverage; i > 10 && math.Abs(got-truth) > truth/5 {
				t.Errorf("second %d: %.0f calls are estimated, ±%.2f; there were %.0f", i, got, e.Error, truth)
			}
		}
	}
}

// TestUnwinding holds that of what tells of unwinding first fewer stacks are recorded, and that this is said.
func TestUnwinding(t *testing.T) {
	g, raises := NewGovernor(Limits{Overhead: 0.05}), &trace.Function{Name: "__cxa_throw", Role: trace.RoleThrow}
	steps, _ := g.Observe(Observation{Elapsed: second, TargetCPU: second, Loads: []Load{{
		Func: raises, Calls: 5000, Recorded: 5000, Counted: 3 * time.Microsecond, Told: 25 * time.Microsecond, Observed: second, Most: 1, First: 1,
	}}})
	if len(steps) != 1 || steps[0].To.Sliced() || !strings.HasSuffix(steps[0].String(), "% of its stacks are recorded") {
		t.Errorf("%v", steps)
	}
}

// TestAsleep holds that a single call, of a target that has hardly used any time yet, is not taken for a hot function.
func TestAsleep(t *testing.T) {
	g, once, hot := NewGovernor(Limits{Overhead: 0.05}), &trace.Function{Name: "once"}, &trace.Function{Name: "hot"}
	load := func(f *trace.Function, calls uint64, cpu time.Duration) Load {
		return Load{Func: f, Calls: calls, Recorded: calls, Counted: time.Microsecond, Told: time.Microsecond, Observed: cpu, Most: 1, First: 1}
	}
	g.Observe(Observation{Elapsed: second / 5, TargetCPU: time.Microsecond, Loads: []Load{load(once, 1, time.Microsecond)}})
	steps, _ := g.Observe(Observation{Elapsed: second / 5, TargetCPU: second / 5, Loads: []Load{load(once, 0, second/5), load(hot, 60_000, second/5)}})
	for _, s := range steps {
		if s.Func != hot {
			t.Errorf("%s: %s: %s", s.Func.Name, s, s.Why)
		}
	}
	if len(steps) == 0 {
		t.Error("nothing is done about the hot one")
	}
}

// TestElsewhere holds that probes which processes hit that are no targets are kept within the budget, too, though the
// target itself never hits them; and that they are back for good when nobody does.
func TestElsewhere(t *testing.T) {
	g, raises := NewGovernor(Limits{Overhead: 0.05}), &trace.Function{Name: "longjmp", Role: trace.RoleLongjmp}
	var why []string
	for i := range 120 {
		l := Load{Func: raises, Counted: 2 * time.Microsecond, Told: 3 * time.Microsecond, Observed: second / 2, Busy: 0.5, InPlace: second, Most: 1, First: 1}
		share := 1.0
		if s := g.Setting(raises); s.Sliced() {
			share = s.duty()
			l.Observed, l.Busy, l.InPlace = 0, 0, time.Duration(share*float64(second)) // the target sleeps
		}
		if i < 60 { // somebody is in the probes all the time
			l.Elsewhere = time.Duration(share * float64(second))
		}
		steps, _ := g.Observe(Observation{Elapsed: second, TargetCPU: second / 2, Loads: []Load{l}})
		for _, s := range steps {
			why = append(why, s.String()+": "+s.Why)
		}
		if s := g.Setting(raises); i > 5 && i < 60 && (!s.Sliced() || s.duty() > 0.06) {
			t.Errorf("second %d: %+v", i, s)
		}
	}
	if g.Setting(raises) != Always || len(why) < 2 || !strings.HasSuffix(why[0], "its probes would take 100 % of a processor in other processes that have the same file; the budget is 5 %") {
		t.Errorf("in the end %+v, by\n%s", g.Setting(raises), strings.Join(why, "\n"))
	}
}
