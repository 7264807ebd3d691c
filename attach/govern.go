package attach

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/trace"
)

// group is probes that are put in and taken out together, by links of one number.
type group struct {
	plan   plan
	links  []link.Link
	number uint8
}

// paused is the number of no link: hits of functions that have it don't count.
const paused = 255

// ErrNoPause is given where probes are not taken out and put in again as a matter of course: see CanPause.
var ErrNoPause = errors.New("perf-event uprobes take too long to detach")

// CanPause says whether probes can be taken out and put in again.
func (s *Session) CanPause() bool { return !s.linker.perfEvents }

// SetRate records about this share of a function's calls, 0 to 1, by chance, whole traces
// together; with alone also of those below a call that was chosen. Of what raises it is the share of which the stack is told.
func (s *Session) SetRate(id uint32, share float64, alone bool) error {
	s.governing.Lock()
	defer s.governing.Unlock()
	ids := s.members(id)
	var controls []bpf.Control
	for _, id := range ids {
		c := s.control(id)
		setRate(c, share, alone)
		controls = append(controls, *c)
	}
	return s.objs.SetControls(ids, controls)
}

func setRate(c *bpf.Control, share float64, alone bool) {
	c.Keep = keepOf(share)
	c.State &^= bpf.ControlAlone
	if alone {
		c.State |= bpf.ControlAlone
	}
}

// keepOf is a share of calls as the probes have it.
func keepOf(share float64) uint32 {
	if share >= 1 {
		return bpf.RateAll
	}
	return uint32(max(share, 0) * bpf.RateAll)
}

// control is what the probes know of a function.
func (s *Session) control(id uint32) *bpf.Control {
	for len(s.controls) <= int(id) {
		next := bpf.Control{Keep: bpf.RateAll}
		if f := s.cat.function(uint32(len(s.controls))); f != nil && f.Traceable {
			if s.opts.Rate != nil && f.Role == trace.RoleCall {
				next.Keep = keepOf(s.opts.Rate(f))
			}
			s.charge(&next, f)
		}
		s.controls = append(s.controls, next)
	}
	return &s.controls[id]
}

// SetCosts tells the probes what they cost: from then on calls tell how much of their time
// it was.
func (s *Session) SetCosts(costs Costs) error {
	s.governing.Lock()
	defer s.governing.Unlock()
	s.costs = costs
	var ids []uint32
	var controls []bpf.Control
	for id := range uint32(s.cat.len()) {
		if f := s.cat.function(id); f != nil && f.Traceable {
			c := s.control(id)
			s.charge(c, f)
			ids, controls = append(ids, id), append(controls, *c)
		}
	}
	return s.objs.SetControls(ids, controls)
}

// charge sets what the probes of a function cost.
func (s *Session) charge(c *bpf.Control, f *trace.Function) {
	cost := s.costs.Of(f)
	c.Cost, c.Share, c.ToldCost, c.ToldShare = nanoseconds(cost.Counted), nanoseconds(cost.CountedShare), nanoseconds(cost.Told), nanoseconds(cost.ToldShare)
}

func nanoseconds(d time.Duration) uint32 { return uint32(min(max(d, 0), 1<<31)) }

// Moment is the CPU time that all targets had used when something changed for them: give or take Off, since
// the clock can't be read in the same instant, and goes in ticks for a thread that runs elsewhere (thread_group_cputime
// in the kernel's sched/cputime.c).
type Moment struct{ CPU, Off time.Duration }

// tick is the scheduler's, 1 ms to 10 ms.
var tick = sync.OnceValue(func() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &t); err != nil {
		return 4 * time.Millisecond
	}
	return time.Duration(t.Nano())
})

// moment has something done, and tells when.
func (s *Session) moment(do func() error) (Moment, error) {
	before := s.TargetTime()
	err := do()
	off := (s.TargetTime() - before) / 2
	return Moment{before + off, off + tick()*3/10}, err // what is anywhere within a tick is off by 0.29
}

// Pause takes the probes of functions out, in all processes, until Resume. Calls that go on meanwhile
// are counted as open. It gives when hits no longer counted.
func (s *Session) Pause(ids []uint32) (m Moment, err error) {
	if s.linker.perfEvents {
		return m, ErrNoPause
	}
	s.attaching.Lock()
	defer s.attaching.Unlock()
	ids = s.allMembers(ids)
	s.unwindings.pause(ids)
	wanted := func(id uint32) bool { return slices.Contains(ids, id) }
	var out plan
	var old []link.Link
	defer func() {
		if err != nil { // what has lost its links by then, is out
			err = errors.Join(err, s.switchOver(out, paused, bpf.ControlEpoch))
		}
		s.discard(old)
	}()
	for _, f := range s.attachedFiles() {
		defer func() { f.groups = slices.DeleteFunc(f.groups, func(g *group) bool { return g.plan.empty() }) }()
		for _, g := range f.groups {
			part, rest := g.plan.only(wanted), g.plan.only(func(id uint32) bool { return !wanted(id) })
			if part.empty() {
				continue
			}
			if !rest.empty() {
				// The others get new links before they lose the old ones.
				kept, err := s.linkGroup(f, rest)
				if err != nil {
					return m, err
				}
				if err := s.switchOver(kept.plan, kept.number, 0); err != nil {
					return m, errors.Join(err, closeLinks(kept.links))
				}
				f.groups = append(f.groups, kept)
			}
			out.join(part)
			old = append(old, g.links...)
			g.links, g.plan = nil, plan{}
		}
	}
	return s.moment(func() error { return s.switchOver(out, paused, bpf.ControlEpoch) })
}

// Resume puts the probes of functions in again that Pause has taken out. It gives when hits counted.
func (s *Session) Resume(ids []uint32) (m Moment, err error) {
	s.attaching.Lock()
	defer s.attaching.Unlock()
	if s.isDetached() {
		return m, nil
	}
	ids = s.allMembers(ids)
	made := map[*group]*attachedFile{}
	defer func() {
		if err == nil {
			return
		}
		for g, f := range made {
			s.discard(g.links)
			f.groups = slices.DeleteFunc(f.groups, func(other *group) bool { return other == g })
		}
	}()
	for _, f := range s.attachedFiles() {
		p := f.sites.only(func(id uint32) bool {
			return slices.Contains(ids, id) && s.controlState(id)&bpf.ControlLink == paused
		})
		if p.empty() {
			continue
		}
		g, err := s.linkGroup(f, p)
		if err != nil {
			return m, err
		}
		f.groups, made[g] = append(f.groups, g), f
	}
	return s.moment(func() error {
		for g := range made {
			if err := s.switchOver(g.plan, g.number, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// discard takes out links whose hits don't count, while others go on: it takes a grace period.
func (s *Session) discard(links []link.Link) {
	if len(links) == 0 {
		return
	}
	s.wait.Go(func() {
		if err := closeLinks(links); err != nil {
			s.opts.Warn(err)
		}
	})
}

func (s *Session) isDetached() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.detached
}

func (s *Session) controlState(id uint32) uint32 {
	s.governing.Lock()
	defer s.governing.Unlock()
	return s.control(id).State
}

// attachedFiles lists the files that have probes.
func (s *Session) attachedFiles() (files []*attachedFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.files {
		if f.handle != nil {
			files = append(files, f)
		}
	}
	return files
}

// linkGroup makes links of a number that none of the file's has. Their hits don't count before switchOver.
func (s *Session) linkGroup(f *attachedFile, p plan) (*group, error) {
	for f.next++; f.next == paused || slices.ContainsFunc(f.groups, func(g *group) bool { return g.number == f.next }); f.next++ {
		if len(f.groups) >= paused {
			return nil, fmt.Errorf("attach to %s: too many groups of probes", f.handle.Name())
		}
	}
	links, err := s.linker.link(fmt.Sprintf("/proc/self/fd/%d", f.handle.Fd()), p, f.next)
	return &group{plan: p, links: links, number: f.next}, err
}

// switchOver has the hits of a plan's functions count that come through the links of a number.
func (s *Session) switchOver(p plan, number uint8, epoch uint32) error {
	s.governing.Lock()
	defer s.governing.Unlock()
	var ids []uint32
	var controls []bpf.Control
	for _, id := range p.functions() {
		c := s.control(id)
		c.State = (c.State&^bpf.ControlLink | uint32(number)) + epoch
		ids, controls = append(ids, id), append(controls, *c)
	}
	return s.objs.SetControls(ids, controls)
}

// TargetTime is the CPU time that the targets, also those that have ended, have used so far.
func (s *Session) TargetTime() time.Duration {
	live := s.liveProcesses()
	s.clocks.Lock()
	defer s.clocks.Unlock()
	for _, pid := range live {
		if s.done[pid] {
			continue // its end was read, and it is about to be forgotten
		}
		if t, err := processorTime(pid); err == nil {
			s.times[pid] = max(t, s.times[pid]) // else it has ended, and its end says the rest
		}
	}
	sum := s.over
	for _, t := range s.times {
		sum += t
	}
	return sum
}

// Begun is how many calls began so far while their probes were in place, about. It costs little to ask.
func (s *Session) Begun() (uint64, error) { return s.objs.Begun() }

// Target is what a process that is alive has done so far.
type Target struct {
	PID   int
	CPU   time.Duration
	Calls map[uint32]uint64 // about one of bpf.ShareEvery, by function, while their probes were in place
}

// Targets tells what each process does.
func (s *Session) Targets() ([]Target, error) {
	s.TargetTime()
	byPID := map[uint32]int{}
	var targets []Target
	s.clocks.Lock()
	for _, pid := range s.liveProcesses() {
		byPID[uint32(pid)] = len(targets)
		targets = append(targets, Target{pid, s.times[pid], map[uint32]uint64{}})
	}
	s.clocks.Unlock()
	shares, err := s.objs.Shares(func(tgid uint32) bool {
		_, ok := byPID[tgid]
		return ok
	})
	for _, share := range shares {
		if i, ok := byPID[share.TGID]; ok {
			targets[i].Calls[s.leadOf(share.Func)] += share.Calls
		}
	}
	return targets, err
}

// ended takes note of what CPU time a process has used in all.
func (s *Session) ended(pid int, total time.Duration) {
	s.clocks.Lock()
	defer s.clocks.Unlock()
	s.over += max(total, s.times[pid])
	delete(s.times, pid)
	s.done[pid] = true
}

// processorTime is the CPU time that a process, with all its threads, has used.
func processorTime(pid int) (time.Duration, error) {
	// See CPUCLOCK_SCHED in include/linux/posix-timers_types.h: the clock of another process.
	const scheduler = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduler), &t); err != nil {
		return 0, fmt.Errorf("read CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// liveProcesses lists the traced processes whose end was not read.
func (s *Session) liveProcesses() (pids []int) {
	s.pmu.RLock()
	defer s.pmu.RUnlock()
	for tgid := range s.processes {
		pids = append(pids, int(tgid))
	}
	return pids
}

// Base is the function that is traced where one is counted under the name that it has with its
// real types; others are their own.
func (s *Session) Base(f *trace.Function) *trace.Function {
	if base := s.cat.function(s.cat.baseOf(f.ID)); base != nil {
		return base
	}
	return f
}

// Warn tells of what went wrong without ending the session.
func (s *Session) Warn(err error) { s.opts.Warn(err) }
