package attach

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestClock holds conversions against the clocks themselves, read before and after.
func TestClock(t *testing.T) {
	read := func(clock int32) int64 {
		var now unix.Timespec
		if err := unix.ClockGettime(clock, &now); err != nil {
			t.Fatal(err)
		}
		return now.Nano()
	}
	var c Clock
	for name, clock := range map[string]struct {
		id      int32
		convert func(uint64) int64
	}{"wall": {unix.CLOCK_REALTIME, c.Wall}, "raw": {unix.CLOCK_MONOTONIC_RAW, c.Raw}} {
		for range 5 {
			before := read(clock.id)
			converted := clock.convert(Monotonic())
			after := read(clock.id)
			// The offset is from a moment ago, and measured to within the time that it took.
			const slack = int64(100 * time.Microsecond)
			if converted < before-slack || converted > after+slack {
				t.Errorf("%s: %d is not between %d and %d", name, converted, before, after)
			}
			time.Sleep(rawAge)
		}
	}
}
