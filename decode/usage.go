package decode

import (
	"os"

	"github.com/observatory-trace/observatory-trace/trace"
)

// pageKB is the size of a page in KiB: the probes count on this machine.
var pageKB = int64(os.Getpagesize() / 1024)

// schedule takes note of the thread that a goroutine is on: what that thread has used since
// another goroutine was seen there says nothing of that other one's open calls.
func (d *Decoder) schedule(o *owner, tid uint32) {
	if d.seen == o.key && d.seenTID == tid {
		return
	}
	d.seen, d.seenTID = o.key, tid
	p := o.process
	if before, ok := p.running[tid]; ok && before != o.key.id {
		if other := d.owners[ownerKey{o.key.tgid, spaceGoroutine, before}]; other != nil {
			other.moved = d.seq
		}
	}
	if p.running == nil {
		p.running = make(map[uint32]uint64)
	}
	p.running[tid] = o.key.id
}

// resources is what a call used until the exit e, false when nothing is known. A
// thread's figures say nothing of a goroutine that was on another one meanwhile, or
// that made room for another one.
func (d *Decoder) resources(r *trace.Resources, o *owner, f *frame, e *Event) bool {
	flags, moved := f.flags|e.Flags, f.late || f.seq <= o.moved
	*r = trace.Resources{
		NoCPU:    moved || flags&EventNoCPU != 0,
		NoCounts: moved,
		NoRSS:    flags&EventNoRSS != 0,
	}
	if r.NoCPU && r.NoCounts && r.NoRSS {
		return false
	}
	from, to := &f.usage, &e.Usage
	if !r.NoCPU {
		elapsed := d.config.Raw(e.TS) - f.raw
		// What the clocks are inexact by must not show as the impossible.
		r.CPUNS = min(max(int64(to.CPU-from.CPU)+elapsed, 0), max(elapsed, 0))
	}
	if !r.NoCounts {
		r.MinorFaults, r.MajorFaults = int64(to.Minor-from.Minor), int64(to.Major-from.Major)
		r.Switches = int64(to.Switches - from.Switches)
	}
	if !r.NoRSS {
		r.RSSDeltaKB = int64(int32(to.RSS-from.RSS)) * pageKB
	}
	return true
}
