package attach

import (
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
)

func TestCalibrate(t *testing.T) {
	c, err := Calibrate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", c)
	if c.Emulated.Counted <= 0 || c.SingleStep.Counted <= 0 || c.ExitStep.Counted <= 0 || c.ExitEmulated.Counted <= 0 || c.Return.Counted <= 0 {
		t.Errorf("a probe cost nothing: %+v", c)
	}
	// What the site selection rests on; it holds on every processor.
	if c.SingleStep.Told <= c.Emulated.Told {
		t.Errorf("single-stepping (%v) is not dearer than emulating (%v)", c.SingleStep, c.Emulated)
	}
	for name, site := range map[string]Cost{"emulated": c.Emulated, "single-stepped": c.SingleStep} {
		if site.Glimpsed <= 0 || site.Glimpsed >= 2*(site.Counted+c.Return.Counted) {
			t.Errorf("a glimpse of an entry that is %s costs %v, its call %v", name, site.Glimpsed, site.Counted+c.Return.Counted)
		}
	}
	for _, exit := range []Cost{c.Return, c.ExitEmulated, c.ExitStep} {
		if pair := c.Emulated.plus(exit); pair.CountedShare <= 0 || pair.CountedShare >= pair.Counted || pair.ToldShare <= 0 || pair.ToldShare >= pair.Told {
			t.Errorf("the share in a call's duration is not a part of its cost: %+v", pair)
		}
	}
}

// TestCalibrateCounting holds that a session that only counts has the costs of that: what is never delivered costs no more for
// being recorded.
func TestCalibrateCounting(t *testing.T) {
	testenv.RequireBPF(t)
	p := testenv.Start(t, testenv.Build(t, testenv.Target{Source: "c/bench", Compiler: "gcc", Opt: "-O2"}))
	p.WaitLine("ready")
	s := start(t, Options{PIDs: []int{p.PID}, StatsOnly: true, Selection: symbols.Selection{Include: []*pattern.Pattern{pattern.MustCompile("add3")}}})
	// It takes a quarter more where it is delivered. A neighbour may come in between, but not each time.
	for range 4 {
		c, err := s.Calibrate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Emulated; got.Told <= got.Counted*9/8 {
			return
		}
		t.Logf("%+v", c.Emulated)
	}
	t.Error("what is never delivered costs more for being recorded")
}
