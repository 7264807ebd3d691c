package attach

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
	"github.com/observatory-trace/observatory-trace/trace"
)

// TestGlimpse holds that a glimpse sees each call once, and that the probes proper see them, too.
func TestGlimpse(t *testing.T) {
	testenv.RequireBPF(t)
	for _, c := range []struct {
		target testenv.Target
		symbol string
		caller string
	}{
		{testenv.Target{Source: "c/bench", Compiler: "gcc", Opt: "-O2"}, "add3", "main"},
		{testenv.Target{Source: "go/bench"}, "main.add3", "main.main"},
		{testenv.Target{Source: "go/bench"}, "main.add3", ""},
	} {
		t.Run(c.target.Source+" "+c.caller, func(t *testing.T) {
			p := testenv.Start(t, testenv.Build(t, c.target))
			p.WaitLine("ready")
			include := []*pattern.Pattern{pattern.MustCompile(c.symbol)}
			if c.caller != "" {
				include = append(include, pattern.MustCompile(c.caller))
			}
			s := start(t, Options{PIDs: []int{p.PID}, Selection: symbols.Selection{Include: include}})
			functions := s.Functions()
			f := functions[slices.IndexFunc(functions, func(f *trace.Function) bool { return f.Name == c.symbol })]
			go func() {
				time.Sleep(400 * time.Millisecond) // it begins in the meantime
				p.Send("1000")
			}()
			g, err := s.Glimpse([]uint32{f.ID}, 1500*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if len(g.Glimpses) != 1 || g.Glimpses[0].Func != f || g.Glimpses[0].Calls != 1000 || g.CPU <= 0 || g.Elapsed < time.Second {
				t.Errorf("%+v", g)
			}
			if callers := g.Glimpses[0].Callers; len(callers) != 1 || callers[0].Share != 1 || (callers[0].Func == nil) != (c.caller == "") || callers[0].Func != nil && callers[0].Func.Name != c.caller {
				t.Errorf("called from %+v", callers)
			}
			if g, err = s.Glimpse([]uint32{f.ID}, 10*time.Millisecond); err != nil || g.Glimpses[0].Calls != 0 {
				t.Errorf("nothing was called: %+v: %v", g, err)
			}
			if entries := entries(t, s, 1000); entries != 1000 {
				t.Errorf("the probes saw %d calls", entries)
			}
		})
	}
}

// entries counts the entries of calls that are told of, until there are so many, or none for a while.
func entries(t *testing.T, s *Session, most int) (n int) {
	t.Helper()
	for deadline := time.Now().Add(300 * time.Millisecond); n < most && time.Now().Before(deadline); {
		record, err := s.Next()
		if errors.Is(err, ErrIdle) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		h, _ := bpf.ParseHeader(record)
		if f := s.Function(h.Func); f != nil && f.Role == trace.RoleCall && h.Kind == bpf.EventEntry {
			n++
			deadline = time.Now().Add(300 * time.Millisecond)
		}
	}
	return n
}

// TestBegin holds that a glance at functions of a running process decides how they are traced from the start: not at
// all before Resume, or as a share of the calls.
func TestBegin(t *testing.T) {
	testenv.RequireBPF(t)
	p := testenv.Start(t, testenv.Build(t, testenv.Target{Source: "c/hot"}), "60")
	begin := Begin{Out: true}
	var seen Glance
	o := Options{PIDs: []int{p.PID}, Selection: symbols.Selection{Include: []*pattern.Pattern{pattern.MustCompile("hot"), pattern.MustCompile("cold"), pattern.MustCompile("main")}}}
	var last Glance
	o.Begin = func(glances []Glance) (map[uint32]Begin, []uint32) {
		if !slices.ContainsFunc(glances[0].Glimpses, func(g Glimpse) bool { return g.Func.Name == "hot" }) {
			return nil, nil // of a library, of what tells of unwinding
		}
		seen, last = glances[0], glances[len(glances)-1]
		begins := map[uint32]Begin{}
		var others []uint32
		for _, of := range seen.Glimpses {
			if of.Func.Name == "hot" {
				begins[of.Func.ID] = begin
			} else {
				others = append(others, of.Func.ID)
			}
		}
		if len(glances) == 1 {
			return nil, others
		}
		return begins, nil
	}
	s := start(t, o)
	calls := map[string]uint64{}
	ids := map[string]uint32{}
	for _, g := range seen.Glimpses {
		calls[g.Func.Name], ids[g.Func.Name] = g.Calls, g.Func.ID
	}
	if calls["cold"] == 0 || calls["hot"] < 500*calls["cold"] || seen.CPU <= 0 {
		t.Errorf("at a glance: %v in %v", calls, seen.CPU)
	}
	if len(last.Glimpses) != 2 || last.Glimpses[0].Func.Name == "hot" || last.Glimpses[1].Func.Name == "hot" {
		t.Errorf("%v, then, without the hot function, %+v", calls, last.Glimpses)
	}
	// What is called may have to go, too: nothing that isn't called is to be put in anew then.
	for _, f := range s.attachedFiles() {
		for _, g := range f.groups {
			if in := g.plan.functions(); len(in) > 1 && slices.Contains(in, ids["cold"]) {
				t.Errorf("of %v, %v are linked together", ids, in)
			}
		}
	}
	counted := func() map[string]uint64 {
		t.Helper()
		c, err := s.Counts()
		if err != nil {
			t.Fatal(err)
		}
		n := map[string]uint64{}
		for _, tally := range c.Tallies {
			n[tally.Func.Name] += tally.Calls
		}
		return n
	}
	time.Sleep(100 * time.Millisecond)
	if n := counted(); n["hot"] != 0 || n["cold"] == 0 {
		t.Errorf("before it is put in: %v", n)
	}
	m, err := s.Resume([]uint32{ids["hot"]})
	if err != nil || m.CPU <= 0 {
		t.Errorf("%+v: %v", m, err)
	}
	time.Sleep(100 * time.Millisecond)
	if n := counted(); n["hot"] == 0 {
		t.Errorf("when it is put in: %v", n)
	}
	if m, err = s.Pause([]uint32{ids["hot"]}); err != nil || m.CPU <= 0 {
		t.Errorf("%+v: %v", m, err)
	}
	counted()
	time.Sleep(100 * time.Millisecond)
	if n := counted(); n["hot"] > 1 || n["cold"] == 0 { // one that was going on is over by now
		t.Errorf("when it is taken out again: %v", n)
	}
}
