package attach

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Clock converts the probes' time (CLOCK_MONOTONIC) to that of other clocks. The
// offsets between them are measured again and again: wall time is stepped, and
// NTP slews both it and the probes' time, by up to 500 µs in a second. The zero
// value is ready, and safe for concurrent use.
type Clock struct {
	wall offset
	raw  offset
}

// offset is what a clock is ahead of CLOCK_MONOTONIC.
type offset struct {
	ns       atomic.Int64
	measured atomic.Int64 // when that was found, CLOCK_MONOTONIC, ns; 0: never
}

// How old an offset may be, of the time that is converted.
const (
	wallAge = time.Second
	rawAge  = 20 * time.Millisecond // 10 µs of the strongest slewing
)

// Wall converts a time of the probes, ns, to ns since 1970.
func (c *Clock) Wall(monotonic uint64) int64 {
	return c.wall.apply(monotonic, unix.CLOCK_REALTIME, wallAge)
}

// Raw converts a time of the probes, ns, to CLOCK_MONOTONIC_RAW, ns, which is
// not slewed. That of a time long past is inexact by the slewing since.
func (c *Clock) Raw(monotonic uint64) int64 {
	return c.raw.apply(monotonic, unix.CLOCK_MONOTONIC_RAW, rawAge)
}

func (o *offset) apply(monotonic uint64, clock int32, age time.Duration) int64 {
	if measured := o.measured.Load(); measured == 0 || int64(monotonic)-measured > int64(age) {
		o.measure(clock)
	}
	return int64(monotonic) + o.ns.Load()
}

// tries are the readings of the clocks of which the quickest one counts:
// between the others the thread may have been interrupted.
const tries = 4

func (o *offset) measure(clock int32) {
	quickest, ahead := int64(1<<63-1), int64(0)
	for range tries {
		var before, other, after unix.Timespec
		// None of these calls fails for these clocks.
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &before)
		_ = unix.ClockGettime(clock, &other)
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &after)
		if took := after.Nano() - before.Nano(); took < quickest {
			quickest, ahead = took, other.Nano()-before.Nano()-took/2
		}
	}
	o.ns.Store(ahead)
	o.measured.Store(int64(Monotonic()))
}

// Monotonic is the probes' clock, ns.
func Monotonic() uint64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return uint64(now.Nano())
}
