package attach

import "testing"

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
	counting, err := calibrate(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", counting)
	// Where none is delivered, what would be costs no more than what is only counted.
	if got, whole := counting.Emulated.plus(counting.Return), c.Emulated.plus(c.Return); got.Told > got.Counted*5/4 || got.Told >= whole.Told {
		t.Errorf("that only counts costs %+v, that delivers %+v", got, whole)
	}
}
