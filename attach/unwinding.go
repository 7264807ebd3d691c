package attach

import (
	"slices"
	"sync"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

// unwindings are the functions that tell of unwinding, in all files: those of one way are put in and taken out together,
// and one stands for them.
type unwindings struct {
	mu      sync.RWMutex
	members map[trace.Unwinding][]*trace.Function // the first one stands for all
	paused  map[trace.Unwinding]uint64            // when they were taken out last, CLOCK_MONOTONIC, ns
}

// pause notes that those of some ids are about to be taken out.
func (u *unwindings) pause(ids []uint32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for way, m := range u.members {
		if slices.Contains(ids, m[0].ID) {
			if u.paused == nil {
				u.paused = map[trace.Unwinding]uint64{}
			}
			u.paused[way] = Monotonic()
		}
	}
}

// pausedAt is when they were taken out last that tell of one way; 0 for never.
func (u *unwindings) pausedAt(way trace.Unwinding) uint64 {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.paused[way]
}

// add takes in functions of a file, of which those count that tell of unwinding.
func (u *unwindings) add(functions []*trace.Function) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, f := range functions {
		if way := f.Role.Unwinding(); way != trace.UnwindingNone {
			if u.members == nil {
				u.members = map[trace.Unwinding][]*trace.Function{}
			}
			u.members[way] = append(u.members[way], f)
		}
	}
}

// lead is the function that stands for one: for most that itself.
func (u *unwindings) lead(f *trace.Function) *trace.Function {
	if way := f.Role.Unwinding(); way != trace.UnwindingNone {
		u.mu.RLock()
		defer u.mu.RUnlock()
		if m := u.members[way]; len(m) > 0 {
			return m[0]
		}
	}
	return f
}

// of is a function of a role; nil when there is none.
func (u *unwindings) of(r trace.Role) *trace.Function {
	u.mu.RLock()
	defer u.mu.RUnlock()
	m := u.members[r.Unwinding()]
	if i := slices.IndexFunc(m, func(f *trace.Function) bool { return f.Role == r }); i >= 0 {
		return m[i]
	}
	return nil
}

// leadOf is the id of the function that stands for the one of an id.
func (s *Session) leadOf(id uint32) uint32 {
	if f := s.cat.function(id); f != nil {
		return s.unwindings.lead(f).ID
	}
	return id
}

// Lead is the function that stands for one that tells of unwinding (see Unwound); others are their own.
func (s *Session) Lead(f *trace.Function) *trace.Function { return s.unwindings.lead(f) }

// members are the ids of the functions that the one of an id stands for.
func (s *Session) members(id uint32) []uint32 {
	f := s.cat.function(id)
	if f == nil || f.Role.Unwinding() == trace.UnwindingNone {
		return []uint32{id}
	}
	s.unwindings.mu.RLock()
	defer s.unwindings.mu.RUnlock()
	var ids []uint32
	for _, m := range s.unwindings.members[f.Role.Unwinding()] {
		ids = append(ids, m.ID)
	}
	return ids
}

// allMembers are the ids of the functions that those of some ids stand for.
func (s *Session) allMembers(ids []uint32) (all []uint32) {
	for _, id := range ids {
		all = append(all, s.members(id)...)
	}
	return all
}

// Unwound is what the functions of one role did that tell of unwinding.
type Unwound struct {
	Func *trace.Function // one of them
	Lead *trace.Function // which stands for all that tell of the same way: see Pause, Resume, SetRate and Glimpse
	Hits uint64
	// Stacks of them came with the stack, Stackless did not, by choice.
	Stacks, Stackless uint64
	// Took is the time that the probes took, but for getting there and back; Stacking of that those that came with the stack.
	Took, Stacking time.Duration
}

// UnwindingTook is the time that the probes took so far of all functions that one stands for that tells of unwinding.
func (s *Session) UnwindingTook(lead uint32) (took time.Duration, err error) {
	notes, err := s.objs.Notes()
	if err != nil {
		return 0, err
	}
	s.governing.Lock()
	costs := s.costs
	s.governing.Unlock()
	for role := range notes {
		if f := s.unwindings.of(trace.Role(role)); f != nil && s.unwindings.lead(f).ID == lead {
			took += time.Duration(notes[role].Took) + time.Duration(notes[role].Hits)*costs.Of(f).Glimpsed
		}
	}
	return took, nil
}

// unwound is what was noted since the last time.
func (s *Session) unwound() (all []Unwound, err error) {
	notes, err := s.objs.Notes()
	if err != nil {
		return nil, err
	}
	before := s.counted.notes
	s.counted.notes = notes
	for role := range notes {
		n := notes[role]
		if before != nil {
			b := before[role]
			n.Hits, n.Stacks, n.Stackless, n.Took, n.Stacking = n.Hits-b.Hits, n.Stacks-b.Stacks, n.Stackless-b.Stackless, n.Took-b.Took, n.Stacking-b.Stacking
		}
		if f := s.unwindings.of(trace.Role(role)); f != nil && n.Hits > 0 {
			all = append(all, Unwound{f, s.unwindings.lead(f), n.Hits, n.Stacks, n.Stackless, time.Duration(n.Took), time.Duration(n.Stacking)})
		}
	}
	return all, nil
}
