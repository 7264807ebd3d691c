package attach

import (
	"fmt"
	"time"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/trace"
)

// Counts is what the probes have counted since it was last asked for, of the functions of
// which there is something to tell.
type Counts struct {
	Tallies []trace.Tally
	Unwound []Unwound
	// Others are how often processes entered functions that are no targets, but have the same file.
	Others map[*trace.Function]uint64
	Losses []trace.Gap // events that were not delivered
	At     Moment
}

// counted is what Counts has told of.
type counted struct {
	counters  []bpf.Counters // by function id
	notes     []bpf.Notes    // by role
	untracked uint64
	// more is what was found to be open when its goroutine, or the trace, ended.
	more map[uint32]*trace.Tally
}

// Counts reads what the probes have counted since the last call. It is for the
// goroutine that calls Next.
func (s *Session) Counts() (Counts, error) {
	var c Counts
	var latencies map[uint32]*trace.Tally
	var sums []bpf.Counters
	at, err := s.moment(func() (err error) {
		if latencies, err = s.latencies(); err == nil {
			sums, err = s.objs.Counters(s.cat.len())
		}
		if err == nil {
			c.Unwound, err = s.unwound()
		}
		return err
	})
	if err != nil {
		return c, err
	}
	c.At = at
	now := time.Now().UnixNano()
	for len(s.counted.counters) < len(sums) {
		s.counted.counters = append(s.counted.counters, bpf.Counters{})
	}
	for id := range sums {
		sum, before, latency, more := &sums[id], &s.counted.counters[id], latencies[uint32(id)], s.counted.more[uint32(id)]
		fn := s.cat.function(uint32(id))
		if n := sum.Others - before.Others; n > 0 {
			if c.Others == nil {
				c.Others = map[*trace.Function]uint64{}
			}
			c.Others[fn] = n
			before.Others = sum.Others
		}
		if *sum == *before && latency == nil && more == nil {
			continue
		}
		if fn.Role == trace.RoleCall {
			c.Tallies = append(c.Tallies, tally(fn, sum, before, latency, more))
		}
		c.Losses = append(c.Losses, losses(fn, sum, before, now)...)
		*before = *sum
	}
	clear(s.counted.more)
	untracked, unmeasured, err := s.objs.Untracked()
	if n := untracked + unmeasured - s.counted.untracked; n > 0 {
		s.counted.untracked += n
		c.Losses = append(c.Losses, trace.Gap{TimeNS: now, Count: n, Reason: "too many calls, threads or functions at once: counted, not timed", Hint: "select fewer functions"})
	}
	return c, err
}

// tally is what was counted of a function since before; ended are the calls that were timed.
func tally(fn *trace.Function, sum, before *bpf.Counters, ended, more *trace.Tally) trace.Tally {
	t := trace.Tally{
		Func: fn, Calls: sum.Untimed - before.Untimed, Errors: sum.UntimedFailed - before.UntimedFailed, LeftOut: sum.UntimedLeftOut - before.UntimedLeftOut,
		Dropped:   sum.LostEntries - before.LostEntries + sum.CrowdedEntries - before.CrowdedEntries,
		CopyingNS: int64(sum.Copying - before.Copying),
	}
	for _, other := range []*trace.Tally{ended, more} {
		if other != nil {
			t.Merge(other)
		}
	}
	return t
}

// Blind is what the probes could not follow since tracing began.
type Blind struct {
	Untracked     uint64 // calls that were not followed to their end: too many threads, goroutines or open calls at once
	Unmeasured    uint64 // calls whose duration is in no histogram
	ProcessEvents uint64 // forks, execs and deaths that found the ring buffer full
}

// Blind reads that.
func (s *Session) Blind() (b Blind, err error) {
	untracked, unmeasured, err := s.objs.Untracked()
	if err != nil {
		return b, err
	}
	events, err := s.objs.LostProcessEvents()
	return Blind{untracked, unmeasured, events}, err
}

func losses(fn *trace.Function, sum, before *bpf.Counters, now int64) (gaps []trace.Gap) {
	if fn.Role != trace.RoleCall {
		lost, crowded := sum.LostEntries-before.LostEntries, sum.CrowdedEntries-before.CrowdedEntries
		if n := lost + crowded; n > 0 {
			gaps = append(gaps, trace.Gap{TimeNS: now, Func: fn, Count: n, Reason: GapUnwindingLost, Hint: ringHint})
		}
		return gaps
	}
	for _, l := range []struct {
		n            uint64
		reason, hint string
	}{
		{sum.LostEntries - before.LostEntries, GapEntriesLost, ringHint},
		{sum.LostExits - before.LostExits, GapExitsLost, ringHint},
		{sum.CrowdedEntries - before.CrowdedEntries, GapEntriesCrowded, crowdHint},
		{sum.CrowdedExits - before.CrowdedExits, GapExitsCrowded, crowdHint},
	} {
		if l.n > 0 {
			gaps = append(gaps, trace.Gap{TimeNS: now, Func: fn, Count: l.n, Reason: l.reason, Hint: l.hint})
		}
	}
	return gaps
}

// Why events were lost, as gaps say it.
const (
	GapEntriesLost = "ring buffer full: calls not recorded"
	GapExitsLost   = "ring buffer full: ends of calls not recorded"
	// Of errors there is one of their own.
	GapUnwindingLost = "ring buffer of errors full: errors that were raised are recorded without what raised them"
	ringHint         = "raise --ring-buffer, or select fewer functions"

	// The probes put values together in memory that they have for a number of threads at once.
	GapEntriesCrowded = "too many threads waited for memory in probes: calls not recorded"
	GapExitsCrowded   = "too many threads waited for memory in probes: ends of calls not recorded"
	crowdHint         = "select fewer functions, or lower --depth"
)

// latencies gives the calls that have ended since the last time, by function id.
func (s *Session) latencies() (map[uint32]*trace.Tally, error) {
	measured := map[uint32]*trace.Tally{}
	err := s.objs.Latencies(func(now, before *bpf.Latency) {
		t := measured[now.Func]
		if t == nil {
			t = &trace.Tally{}
			measured[now.Func] = t
		}
		var longest int64
		if now.Longest != before.Longest {
			longest = int64(now.Longest)
		}
		for i, n := range now.Buckets {
			bucket := int(now.Octave)*len(now.Buckets) + i
			if n -= before.Buckets[i]; n > 0 && now.Longest == before.Longest {
				// The longest of this octave was earlier: now it is at most what its bucket holds.
				_, high := trace.HistogramBounds(bucket)
				longest = min(int64(now.Longest), int64(high-1))
			}
			t.Latency.AddBucket(bucket, uint64(n))
			t.Calls += uint64(n)
		}
		t.TotalNS += int64(now.Total - before.Total)
		t.OverheadNS += int64(now.Overhead - before.Overhead)
		t.OutermostNS += int64(now.Outermost - before.Outermost)
		t.LeftOut += now.LeftOut - before.LeftOut
		t.Errors += now.Failed - before.Failed
		t.MaxNS = max(t.MaxNS, longest)
	})
	return measured, err
}

// open takes note of a call that had not ended when its owner died, or the trace did. It gives
// the record of its entry, if that was not told and is to be.
func (s *Session) open(o bpf.Open, status trace.Status, died bool, now uint64) []byte {
	fn := s.cat.function(o.Counted)
	if fn == nil {
		return nil
	}
	t := s.counted.more[o.Counted]
	if t == nil {
		if s.counted.more == nil {
			s.counted.more = map[uint32]*trace.Tally{}
		}
		t = &trace.Tally{Func: fn}
		s.counted.more[o.Counted] = t
	}
	switch {
	case o.Epoch != s.controlState(o.Func)/bpf.ControlEpoch:
		status = trace.StatusOpen // or it has ended, which nobody has seen
	case died && o.Panics && o.Raised > s.unwindings.pausedAt(trace.UnwindingPanics): // else it may have been recovered, which nobody has seen
		status = trace.StatusErr
	}
	t.Add(status, int64(max(now, o.TS)-o.TS))
	record := o.Held
	switch {
	case o.Late && status == trace.StatusErr:
		record = o.LateEntry(o.Bias+fn.Address+fn.Entry.Offset, now)
	case o.LeftOut:
		t.LeftOut++
		return nil
	case o.Lost:
		t.Dropped++
		return nil
	}
	if h, ok := bpf.ParseHeader(record); ok {
		s.entered(h)
	}
	return record
}

// endGoroutines takes note of the calls that a process's goroutines had open when it died of
// a signal (0: of none), or executed another program. Their entries that were held back are read next.
func (s *Session) endGoroutines(tgid uint32, signal uint8, now uint64) {
	status := trace.StatusOpen
	if signal != 0 && !stops(signal) {
		status = trace.StatusErr
	}
	err := s.objs.EndGoroutines(tgid, now, func(o bpf.Open) {
		if record := s.open(o, status, true, now); record != nil {
			s.pending = append(s.pending, record)
		}
	})
	if err != nil {
		s.opts.Warn(fmt.Errorf("calls of process %d that had not ended are not all counted: %w", tgid, err))
	}
}

// stops says whether a signal stops a process from outside, rather than being its own failure.
func stops(signal uint8) bool {
	return signal == 1 || signal == 2 || signal == 3 || signal == 9 || signal == 15
}

// Finish counts the calls that have not ended, and calls f for the records of their entries
// as far as these were held back. It is for when all else is read, after Stop.
func (s *Session) Finish(f func(record []byte)) error {
	now := Monotonic()
	err := s.objs.OpenCalls(func(o bpf.Open) {
		if record := s.open(o, trace.StatusOpen, false, now); record != nil {
			f(record)
		}
	})
	if err != nil {
		return fmt.Errorf("count open calls: %w", err)
	}
	return nil
}
