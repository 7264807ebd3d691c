package attach

import "testing"

func TestCalibrate(t *testing.T) {
	c, err := Calibrate()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", c)
	if c.Emulated <= 0 || c.SingleStep <= 0 || c.Return < 0 {
		t.Errorf("a probe cost nothing: %+v", c)
	}
	// What the site selection rests on; it holds on every processor.
	if c.SingleStep <= c.Emulated {
		t.Errorf("single-stepping (%v) is not dearer than emulating (%v)", c.SingleStep, c.Emulated)
	}
}
