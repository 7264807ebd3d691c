package attach

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf/link"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/trace"
)

// Glimpse is how often a function was called, of which for a time nothing else was looked at.
type Glimpse struct {
	Func    *trace.Function
	Calls   uint64
	Callers []Caller // by a sample of the calls; not of what is seen before probes are put in
}

// Caller is a function from which another was called.
type Caller struct {
	Func  *trace.Function // nil: one that is not traced, or not known
	Share float64         // of the calls: 0 to 1
}

// Glance is glimpses at functions for the same time.
type Glance struct {
	Glimpses []Glimpse
	Elapsed  time.Duration
	CPU, Off time.Duration // that all targets have used, give or take
}

// Begin is how a function is traced from the start.
type Begin struct {
	Share float64 // of its calls that are recorded, 0 to 1
	Alone bool    // see SetRate
	Out   bool    // its probes are not put in before Resume
}

// firstGlance is how long is looked at functions before probes are put into them.
const firstGlance = 25 * time.Millisecond

// Glimpse counts for a time how often functions are called, and finds out from where, with the least that probes can
// take, whether or not their own are in place.
func (s *Session) Glimpse(ids []uint32, d time.Duration) (g Glance, err error) {
	if s.linker.perfEvents {
		return g, ErrNoPause
	}
	s.attaching.Lock()
	defer s.attaching.Unlock()
	if s.isDetached() {
		return g, nil
	}
	members := s.allMembers(ids)
	wanted := func(id uint32) bool { return slices.Contains(members, id) }
	var links []link.Link
	defer func() { s.discard(links) }()
	for _, f := range s.attachedFiles() {
		p := f.sites.only(wanted)
		if p.empty() {
			continue
		}
		made, err := s.linkGlimpse(fmt.Sprintf("/proc/self/fd/%d", f.handle.Fd()), p)
		if err != nil {
			return g, err
		}
		links = append(links, made...)
	}
	if _, err := s.objs.TakeCallers(); err != nil { // of an earlier glance
		return g, err
	}
	if g, err = s.glance(ids, d); err != nil {
		return g, err
	}
	callers, err := s.objs.TakeCallers()
	s.addCallers(g.Glimpses, callers)
	return g, err
}

// addCallers tells of glimpses from which functions they were.
func (s *Session) addCallers(glimpses []Glimpse, seen []bpf.Caller) {
	for i := range glimpses {
		g := &glimpses[i]
		calls, all := map[*trace.Function]uint64{}, uint64(0)
		for _, c := range seen {
			if s.leadOf(c.Func) == g.Func.ID {
				calls[s.caller(c.TGID, c.Address)] += c.Calls
				all += c.Calls
			}
		}
		for f, n := range calls {
			g.Callers = append(g.Callers, Caller{f, float64(n) / float64(all)})
		}
	}
}

// caller is the traced function from which a call returns to an address of a process; nil where there is none.
func (s *Session) caller(tgid uint32, address uint64) *trace.Function {
	i, inFile, _ := s.image(tgid, address)
	if i == nil {
		return nil
	}
	return s.cat.at(i, inFile-1) // the call may be a function's last instruction
}

// linkGlimpse has the program that only counts see the functions of a plan.
func (s *Session) linkGlimpse(path string, p plan) ([]link.Link, error) {
	return linker{prog: s.objs.Glimpse()}.link(path, plan{enter: p.enter}, 0)
}

// glance counts what glimpses see for a time.
func (s *Session) glance(ids []uint32, d time.Duration) (g Glance, err error) {
	var before, after []uint64
	members := s.allMembers(ids)
	read := func(into *[]uint64) (Moment, error) {
		return s.moment(func() (err error) {
			*into, err = s.objs.Glimpsed(members)
			return err
		})
	}
	start := time.Now()
	from, err := read(&before)
	if err != nil {
		return g, err
	}
	time.Sleep(d)
	to, err := read(&after)
	g.Elapsed, g.CPU, g.Off = time.Since(start), to.CPU-from.CPU, from.Off+to.Off
	if err != nil {
		return g, err
	}
	calls := map[uint32]uint64{}
	for i, id := range members {
		calls[s.leadOf(id)] += after[i] - before[i]
	}
	for _, id := range ids {
		g.Glimpses = append(g.Glimpses, Glimpse{Func: s.cat.function(id), Calls: calls[id]})
	}
	return g, nil
}

// beginnings takes glances at functions, until it is known how they begin. It gives how often each was called at most, too.
func (s *Session) beginnings(path string, functions []*trace.Function, offset offsetOf) (begins map[uint32]Begin, called map[uint32]uint64, err error) {
	all, err := probes(functions, offset)
	if err != nil {
		return nil, nil, err
	}
	called = map[uint32]uint64{}
	var glances []Glance
	at := all.functions()
	for i, id := range at {
		at[i] = s.leadOf(id)
	}
	slices.Sort(at)
	for at = slices.Compact(at); len(at) > 0; {
		wanted := map[uint32]bool{}
		for _, id := range s.allMembers(at) {
			wanted[id] = true
		}
		links, err := s.linkGlimpse(path, all.only(func(id uint32) bool { return wanted[id] }))
		if err != nil {
			return nil, nil, err
		}
		g, err := s.glance(at, firstGlance)
		if err := errors.Join(err, closeLinks(links)); err != nil {
			return nil, nil, err
		}
		for _, of := range g.Glimpses {
			called[of.Func.ID] = max(called[of.Func.ID], of.Calls)
		}
		glances = append(glances, g)
		begins, at = s.opts.Begin(glances)
	}
	return begins, called, nil
}

// begin takes a glance at functions before probes are put into them, where processes run already, and tells
// those that get probes now from those that get them later. The former come in parts, those that were called most in
// small ones: when probes of some are taken out, those of others that came with them are put in anew.
func (s *Session) begin(path string, functions []*trace.Function, offset offsetOf) (now [][]*trace.Function, later []*trace.Function, err error) {
	functions, later = s.follow(functions)
	whole := [][]*trace.Function{functions}
	if s.opts.Begin == nil || s.linker.perfEvents || !s.glances {
		return whole, later, nil
	}
	var unknown []*trace.Function
	for _, f := range functions {
		if lead := s.unwindings.lead(f); f.Role == trace.RoleCall || f.Role.Unwinding() != trace.UnwindingNone && slices.Contains(functions, lead) {
			unknown = append(unknown, f)
		}
	}
	if len(unknown) == 0 {
		return whole, later, nil
	}
	begins, called, err := s.beginnings(path, unknown, offset)
	if refused(err) {
		return whole, later, nil // linkAll finds which is to blame
	}
	if err != nil {
		return nil, nil, err
	}
	s.governing.Lock()
	defer s.governing.Unlock()
	var hot, rest []*trace.Function
	for _, f := range functions {
		lead := s.unwindings.lead(f).ID
		b, ok := begins[lead]
		if ok {
			setRate(s.control(f.ID), b.Share, b.Alone)
		}
		switch {
		case b.Out:
			s.control(f.ID).State |= paused
			later = append(later, f)
		case called[lead] > 0:
			hot = append(hot, f)
		default:
			rest = append(rest, f)
		}
	}
	slices.SortStableFunc(hot, func(a, b *trace.Function) int { return cmp.Compare(called[b.ID], called[a.ID]) })
	for n := leastPart; len(hot) > 0; n *= 2 {
		n = min(n, len(hot))
		now, hot = append(now, hot[:n]), hot[n:]
	}
	return append(now, rest), later, nil
}

// follow has those that tell of unwinding, of a way that others do already, be as these are: it gives the functions that
// are not to wait, and those that are.
func (s *Session) follow(functions []*trace.Function) (now, later []*trace.Function) {
	s.governing.Lock()
	defer s.governing.Unlock()
	for _, f := range functions {
		lead := s.unwindings.lead(f)
		if lead == f {
			now = append(now, f)
			continue
		}
		c := *s.control(lead.ID)
		s.control(f.ID).Keep = c.Keep
		if c.State&bpf.ControlLink != paused {
			now = append(now, f)
			continue
		}
		s.control(f.ID).State |= paused
		later = append(later, f)
	}
	return now, later
}

// leastPart is how many functions are in the first part, the next ones have twice as many each.
const leastPart = 8
