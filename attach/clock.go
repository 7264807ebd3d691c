package attach

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Clock converts the probes' time to wall-clock time. The offset between them is
// measured again every second: wall time is stepped and slewed. The zero value
// is ready, and safe for concurrent use.
type Clock struct {
	offset   atomic.Int64 // what CLOCK_REALTIME is ahead of CLOCK_MONOTONIC, ns
	measured atomic.Int64 // when that was found, CLOCK_MONOTONIC, ns
}

// Wall converts a time of the probes (CLOCK_MONOTONIC, ns) to ns since 1970.
func (c *Clock) Wall(monotonic uint64) int64 {
	if measured := c.measured.Load(); measured == 0 || int64(monotonic)-measured > int64(time.Second) {
		c.measure()
	}
	return int64(monotonic) + c.offset.Load()
}

func (c *Clock) measure() {
	var before, wall, after unix.Timespec
	// Neither call fails for these clocks.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &before)
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &wall)
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &after)
	c.offset.Store(wall.Nano() - (before.Nano()+after.Nano())/2)
	c.measured.Store(after.Nano())
}

// Monotonic is the probes' clock, ns.
func Monotonic() uint64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return uint64(now.Nano())
}
