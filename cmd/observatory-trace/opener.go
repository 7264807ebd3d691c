package main

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/observatory-trace/observatory-trace/attach"
	"github.com/observatory-trace/observatory-trace/sample"
	"github.com/observatory-trace/observatory-trace/trace"
)

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
	busy := float64(g.CPU) / float64(g.Elapsed)
	for f, rate := range rates {
		cost := costs.Of(f)
		l := sample.Load{Func: f, Calls: uint64(rate * seen.TargetCPU.Seconds()), Counted: cost.Counted, Told: cost.Told, Busy: busy, Most: o.budgets.rates.Most(f, rate), First: o.budgets.rates.Most(f, 0)}
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
