package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"github.com/cilium/ebpf"
)

// Open is a call that has not ended.
type Open struct {
	Func    uint32
	Counted uint32 // the id that it is counted under
	TGID    uint32
	Epoch   uint32 // how often its function had been detached when it began (see Control.State)
	TS      uint64 // of its entry, CLOCK_MONOTONIC, ns
	Told    bool   // its entry was delivered
	LeftOut bool   // it is not recorded, by choice
	Lost    bool   // or since the probes had no room for its entry
	Held    []byte // the event of its entry, which was held back
	Panics  bool   // Go: a panic is in flight below it
	Raised  uint64 // when something was last raised by its owner, CLOCK_MONOTONIC, ns

	// Late: its entry is told if it fails. Where that is not held back, it can be made from these.
	Late   bool
	Pos    uint64 // position of its frame
	Bias   uint64 // load bias of its file
	Goid   uint64
	Words  []byte // the root block, nil when it isn't kept
	Missed uint32 // the moves of it that could not be read
}

// batch is how many entries are read with one system call.
const batch = 1024

// Counters reads the counters of the functions with ids below n, summed over the processors.
func (o *Objects) Counters(n int) ([]Counters, error) {
	sums := make([]Counters, n)
	keys, values := make([]uint32, batch), make([]Counters, batch*o.cpus)
	var cursor ebpf.MapBatchCursor
	for first := 0; first < n; first += batch {
		got, err := o.probes.Counts.BatchLookup(&cursor, keys, values, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil, fmt.Errorf("read counters: %w", err)
		}
		for i, key := range keys[:got] {
			if int(key) >= n {
				continue
			}
			for _, c := range values[i*o.cpus : (i+1)*o.cpus] {
				sums[key].add(&c)
			}
		}
		if err != nil {
			break
		}
	}
	return sums, nil
}

// Notes reads what the functions of each role took since the programs were loaded, by role.
func (o *Objects) Notes() ([]Notes, error) {
	sums := make([]Notes, o.probes.Notes.MaxEntries())
	each := make([]Notes, o.cpus)
	for role := range sums {
		if err := o.probes.Notes.Lookup(uint32(role), each); err != nil {
			return nil, fmt.Errorf("read notes: %w", err)
		}
		for _, n := range each {
			sum := &sums[role]
			sum.Hits, sum.Stacks, sum.Stackless = sum.Hits+n.Hits, sum.Stacks+n.Stacks, sum.Stackless+n.Stackless
			sum.Took, sum.Stacking = sum.Took+n.Took, sum.Stacking+n.Stacking
		}
	}
	return sums, nil
}

// Glimpsed reads how often glimpses have seen functions since the programs were loaded, by their ids.
func (o *Objects) Glimpsed(ids []uint32) ([]uint64, error) {
	sums := make([]uint64, len(ids))
	var each []uint64
	for i, id := range ids {
		if err := o.probes.Glimpses.Lookup(id, &each); err != nil {
			return nil, fmt.Errorf("read what glimpses have seen: %w", err)
		}
		for _, n := range each {
			sums[i] += n
		}
	}
	return sums, nil
}

// Caller is a place that a function was called from.
type Caller struct {
	Func, TGID uint32
	Address    uint64 // to which the call returns; 0: not known
	Calls      uint64 // a sample of them
}

// TakeCallers reads where what glimpses have seen was called from, since they were taken the last time.
func (o *Objects) TakeCallers() (callers []Caller, err error) {
	err = each(o.probes.Callers, 1, func(k *probeCaller, calls []uint64) error {
		callers = append(callers, Caller{k.Func, k.Tgid, k.Address, calls[0]})
		return nil
	})
	for _, c := range callers {
		key := probeCaller{Func: c.Func, Tgid: c.TGID, Address: c.Address}
		if e := o.probes.Callers.Delete(&key); e != nil && !errors.Is(e, ebpf.ErrKeyNotExist) {
			err = errors.Join(err, fmt.Errorf("forget callers: %w", e))
		}
	}
	return callers, err
}

func (c *Counters) add(o *Counters) {
	c.Untimed += o.Untimed
	c.UntimedFailed += o.UntimedFailed
	c.UntimedLeftOut += o.UntimedLeftOut
	c.LostEntries += o.LostEntries
	c.LostExits += o.LostExits
	c.CrowdedEntries += o.CrowdedEntries
	c.CrowdedExits += o.CrowdedExits
	c.Copying += o.Copying
	c.Others += o.Others
}

// Latencies calls f for all that was measured since the last time: each octave of a function's histogram on
// each processor, as it is and as it was. It is not safe for concurrent use.
func (o *Objects) Latencies(f func(now, before *Latency)) error {
	if err := o.nearLatencies(f); err != nil {
		return err
	}
	var far uint32
	if err := o.probes.HasFarLatencies.Get(&far); err != nil {
		return fmt.Errorf("read BPF variable has_far_latencies: %w", err)
	}
	if far == 0 {
		return nil
	}
	return each(o.probes.FarLatencies, o.cpus, func(key *probeLatencyKey, values []Latency) error {
		before := o.far[*key]
		if before == nil {
			before = make([]Latency, o.cpus)
			o.far[*key] = before
		}
		for i := range values {
			if now := &values[i]; *now != before[i] {
				now.Func, now.Octave = key.Func, key.Octave
				f(now, &before[i])
				now.Func, now.Octave = 0, 0
				before[i] = *now
			}
		}
		return nil
	})
}

// nearLatencies is Latencies of those in the array, as near_latency lays them out.
func (o *Objects) nearLatencies(f func(now, before *Latency)) error {
	const size = int(unsafe.Sizeof(Latency{}))
	used := min(int(o.room), 4*(int(o.known.Load())+8))
	part := make([]Latency, min(used, batch))
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(part))), len(part)*size)
	for cpu := range o.near {
		before := slices.Grow(o.near[cpu], used-len(o.near[cpu]))[:used]
		o.near[cpu] = before
		for at := 0; at < used; at += len(part) {
			n := min(len(part), used-at)
			if _, err := o.latencies.ReadAt(bytes[:n*size], int64(cpu*int(o.room)+at)*int64(size)); err != nil {
				return fmt.Errorf("read BPF map %s: %w", o.probes.Latencies, err)
			}
			for i := range part[:n] {
				now, last := &part[i], before[at+i]
				if *now == last {
					continue
				}
				for *now != last { // twice the same: it was not in the midst of an addition
					last = *now
					if _, err := o.latencies.ReadAt(bytes[i*size:(i+1)*size], int64(cpu*int(o.room)+at+i)*int64(size)); err != nil {
						return fmt.Errorf("read BPF map %s: %w", o.probes.Latencies, err)
					}
				}
				f(now, &before[at+i])
				before[at+i] = *now
			}
		}
	}
	return nil
}

// Share is how many calls of a function one process has made, as far as a sample tells.
type Share struct {
	TGID, Func uint32
	Calls      uint64 // one of every ShareEvery that a thread began, by chance
}

// ShareEvery is of how many calls one is counted in Share.Calls (SHARE_EVERY).
const ShareEvery = 64

// Shares reads which process makes which function's calls, as far as there was room for that. What processes did that are
// not alive is forgotten then.
func (o *Objects) Shares(alive func(tgid uint32) bool) (shares []Share, err error) {
	var ended []probeShareKey
	err = each(o.probes.Shares, 1, func(k *probeShareKey, calls []uint64) error {
		shares = append(shares, Share{k.Tgid, k.Func, calls[0]})
		if !alive(k.Tgid) {
			ended = append(ended, *k)
		}
		return nil
	})
	for i := range ended {
		if e := o.probes.Shares.Delete(&ended[i]); e != nil && !errors.Is(e, ebpf.ErrKeyNotExist) {
			err = errors.Join(err, fmt.Errorf("forget the calls of process %d: %w", ended[i].Tgid, e))
		}
	}
	return shares, err
}

// each reads all of a hash map, which has so many values for each key. While it is being
// changed, a key may come twice or not at all.
func each[K, V any](m *ebpf.Map, values int, f func(*K, []V) error) error {
	var v V
	n := max(16, min(batch, 1<<18/(values*int(unsafe.Sizeof(v))+1)))
	keys, all := make([]K, n), make([]V, n*values)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, all, nil)
		end := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !end {
			return fmt.Errorf("read BPF map %s: %w", m, err)
		}
		for i := range n {
			if err := f(&keys[i], all[i*values:(i+1)*values]); err != nil {
				return err
			}
		}
		if end {
			return nil
		}
	}
}

// OpenCalls calls f for every call that has not ended, those of an owner in the order in which
// they began. It is for when no probe runs any more.
func (o *Objects) OpenCalls(f func(Open)) error {
	err := errors.Join(o.openOfThreads(f), each(o.probes.Threads, 1, func(_ *uint32, t []probeThread) error { return o.openCalls(&t[0].Owner, f) }))
	return errors.Join(err, each(o.probes.Goroutines, 1, func(_ *probeGoroutineKey, g []probeOwner) error { return o.openCalls(&g[0], f) }))
}

// openOfThreads is OpenCalls of the threads in the array.
func (o *Objects) openOfThreads(f func(Open)) error {
	var t probeThread
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&t)), unsafe.Sizeof(t))
	for i := range o.probes.NearThreads.MaxEntries() {
		if _, err := o.nearThreads.ReadAt(bytes, int64(i)*int64(len(bytes))); err != nil {
			return fmt.Errorf("read BPF map %s: %w", o.probes.NearThreads, err)
		}
		if t.Owner.Key == 0 {
			continue
		}
		if err := o.openCalls(&t.Owner, f); err != nil {
			return err
		}
	}
	return nil
}

// EndGoroutines forgets the goroutines of a process that has ended, or executed another program, at a time
// (CLOCK_MONOTONIC, ns), and calls f for every call that they had not ended. Those that were heard of since then
// are of the program that runs now.
func (o *Objects) EndGoroutines(tgid uint32, at uint64, f func(Open)) error {
	var ended []probeGoroutineKey
	err := each(o.probes.Goroutines, 1, func(k *probeGoroutineKey, g []probeOwner) error {
		if k.Tgid != tgid || g[0].Last == 0 || g[0].Last > at {
			return nil
		}
		ended = append(ended, *k)
		return o.openCalls(&g[0], f)
	})
	for i := range ended {
		if e := o.probes.Goroutines.Delete(&ended[i]); e != nil && !errors.Is(e, ebpf.ErrKeyNotExist) {
			err = errors.Join(err, fmt.Errorf("forget goroutine: %w", e))
		}
	}
	return err
}

func (o *Objects) openCalls(w *probeOwner, f func(Open)) error {
	for i := range w.N {
		key := probeFrameKey{Owner: w.Key, Tgid: w.Tgid, Index: i}
		frame := w.Spare
		switch {
		case int(i) < len(w.Near):
			frame = w.Near[i]
		default:
			if err := o.probes.Deep.Lookup(&key, &frame); errors.Is(err, ebpf.ErrKeyNotExist) {
				return nil // a probe that was still running has ended the rest
			} else if err != nil {
				return fmt.Errorf("read open call: %w", err)
			}
			if w.Goid != 0 {
				_ = o.probes.Deep.Delete(&key) // the next goroutine there overwrites it anyway
			}
		}
		if frame.Flags&frameCounted != 0 {
			continue
		}
		c := Open{
			Func: frame.Func, Counted: frame.Counted, TGID: w.Tgid, Epoch: frame.Flags / ControlEpoch, TS: frame.Ts, Told: frame.Flags&frameTold != 0, LeftOut: frame.Flags&frameLeftOut != 0,
			Panics: w.Flags&ownerPanics != 0 && frame.Pos < w.Panic, Raised: w.Raised, Lost: frame.Flags&frameLost != 0,
			Late: frame.Flags&frameLate != 0, Pos: frame.Pos, Bias: frame.Bias, Goid: w.Goid,
		}
		if frame.Flags&frameWords != 0 {
			c.Missed = frame.Missed
			for _, word := range frame.Words {
				c.Words = binary.LittleEndian.AppendUint64(c.Words, word)
			}
		}
		if frame.Flags&frameHeld != 0 {
			var held [maxHeld]byte
			if err := o.probes.Held.LookupAndDelete(&key, &held); errors.Is(err, ebpf.ErrKeyNotExist) {
				continue // the same
			} else if err != nil {
				return fmt.Errorf("read the entry of an open call: %w", err)
			}
			event := held[stampBytes:]
			c.Held = event[:min(int(binary.LittleEndian.Uint32(event)), len(event))]
		}
		f(c)
	}
	return nil
}

// See enum frame_flag and enum owner_flag.
const (
	frameTold    = 1
	frameHeld    = 2
	frameLeftOut = 4
	frameCounted = 64
	frameWords   = 1024
	frameLate    = 2048
	frameLost    = 4096 | 8192
	ownerPanics  = 2
	maxHeld      = 1024
)

// Begun is how many calls began, about: a multiple of ShareEvery.
func (o *Objects) Begun() (n uint64, err error) {
	if err := o.probes.Begun.Get(&n); err != nil {
		return 0, fmt.Errorf("read BPF variable begun: %w", err)
	}
	return n * ShareEvery, nil
}

// Untracked counts the calls that could not be followed to their end, since there were too many
// threads, goroutines or open calls, and those whose duration is in no histogram.
func (o *Objects) Untracked() (calls, durations uint64, err error) {
	if err := errors.Join(o.probes.Untracked.Get(&calls), o.probes.Unmeasured.Get(&durations)); err != nil {
		return 0, 0, fmt.Errorf("read BPF variables: %w", err)
	}
	return calls, durations, nil
}
