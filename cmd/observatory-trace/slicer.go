package main

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/observatory-trace/observatory-trace/attach"
	"github.com/observatory-trace/observatory-trace/sample"
	"github.com/observatory-trace/observatory-trace/trace"
)

// slicer has the probes of some functions in place for a part of the time only. It is safe
// for concurrent use.
type slicer struct {
	session  *attach.Session
	mu       sync.Mutex
	slices   map[uint32]*slice
	wake     chan struct{}
	stop     chan struct{}
	stopping sync.Once
	done     chan struct{}
	// glimpsing is the function that is glimpsed at, or will be in a moment; 0 for none.
	glimpsing uint32
	turns     []turn      // what turned has not given yet
	turning   atomic.Bool // there are some
}

// turn is that a function's probes were put in or taken out; those of one that tells of unwinding are said to be out
// before they are.
type turn struct {
	id uint32
	in bool
	at uint64 // CLOCK_MONOTONIC, ns
}

// turned gives the turns since it was last asked. It costs nothing when there are none.
func (s *slicer) turned() []turn {
	if !s.turning.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	turns := s.turns
	s.turns = nil
	s.turning.Store(false)
	return turns
}

// turn takes note of one. The caller has locked mu.
func (s *slicer) turn(id uint32, in bool) {
	s.turns = append(s.turns, turn{id, in, attach.Monotonic()})
	s.turning.Store(true)
}

// slice is how one function is.
type slice struct {
	setting sample.Setting
	due     time.Time     // when its probes go in next
	in      bool          // they are in place
	until   time.Time     // when they go out
	from    time.Duration // CPU time of the targets when they went in, or when it was last asked for
	since   time.Time     // when that was
	seen    time.Duration // what they have used while they were in place, as long as it was not asked for
	elapsed time.Duration // and how long that was
	off     time.Duration // how far off seen may be

	unwinding bool      // it tells of unwinding
	failed    time.Time // when calls of it have failed last, as far as is known
	// with is what tells of unwinding and was put in for this turn, too; 0 for nothing. It had taken withFrom by then;
	// beside is what it took of the turns, as long as it was not asked for.
	with             uint32
	withFrom, beside time.Duration

	next     time.Time       // when a glimpse is due
	glimpsed bool            // there was one
	hidden   bool            // see sample.Governor.Hidden
	callers  []uint32        // by the latest glimpse
	glances  []attach.Glance // what was seen, as long as it was not asked for; first the function itself
}

// How long it is between two glimpses at a function, since what they tell of changes slowly, and how long one is.
const (
	betweenGlimpses = 5 * time.Second
	leastGlimpse    = 20 * time.Millisecond
)

func newSlicer(session *attach.Session) *slicer {
	s := &slicer{session: session, slices: map[uint32]*slice{}, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go s.run()
	return s
}

// close ends the turns; what is in place stays, and what is not is not put in any more. It may be called again.
func (s *slicer) close() {
	s.stopping.Do(func() { close(s.stop) })
	<-s.done
}

// soonOver says that some function's turn, or the glimpse after it, ends in a moment.
func (s *slicer) soonOver(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.slices {
		if f.in && f.setting.Sliced() && f.until.Sub(now) < 60*time.Millisecond {
			return true
		}
	}
	return s.glimpsing != 0
}

// out are the functions whose probes are not in place, inPlace those whose probes are.
func (s *slicer) out() []uint32     { return s.those(false) }
func (s *slicer) inPlace() []uint32 { return s.those(true) }

func (s *slicer) those(in bool) (ids []uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, f := range s.slices {
		if f.in == in {
			ids = append(ids, id)
		}
	}
	return ids
}

// set changes how a function is sliced, or, if it no longer is, has its probes put in. Where it was not sliced yet,
// they are in place now, since the targets had used so much CPU time, or not.
func (s *slicer) set(id uint32, setting sample.Setting, in bool, from time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.slices[id]
	if f == nil {
		now := time.Now()
		f = &slice{in: in, until: now, due: now.Add(setting.Period), from: from, since: now}
		if of := s.session.Function(id); of != nil {
			f.unwinding = of.Role != trace.RoleCall
		}
		if !in {
			s.turn(id, false)
		}
		s.slices[id] = f
	}
	f.setting = setting
	// Those that are set together don't have their turns at once.
	switch soon := time.Now().Add(setting.Period/4 + rand.N(setting.Period+1)*3/4); {
	case !setting.Sliced():
		f.due = time.Time{}
	case soon.Before(f.due):
		f.due = soon
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// seen takes note of what was seen of a function until a moment, since it was last asked for: in how much of the targets'
// CPU time its probes were in place. It gives the glances that were taken.
func (s *slicer) seen(id uint32, at attach.Moment, l *sample.Load) []attach.Glance {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.Observed, l.Off, l.InPlace = 0, 0, 0
	f := s.slices[id]
	if f == nil {
		return nil
	}
	if f.in && at.CPU >= f.from {
		f.add(at.CPU)
		f.off += at.Off
	}
	s.settle(f)
	l.Observed, l.Off, l.Busy, l.InPlace, l.Beside = f.seen, f.off, 0, f.elapsed, f.beside
	if f.elapsed > 0 {
		l.Busy = float64(f.seen) / float64(f.elapsed)
	}
	glances := f.glances
	f.seen, f.elapsed, f.off, f.beside, f.glances = 0, 0, 0, 0, nil
	return glances
}

// settle adds what was put in with a function has taken since it was last asked for.
func (s *slicer) settle(f *slice) {
	if f.with == 0 {
		return
	}
	if took, err := s.session.UnwindingTook(f.with); err == nil {
		f.beside += took - f.withFrom
		f.withFrom = took
	}
}

// failing tells that calls of a function have failed.
func (s *slicer) failing(id uint32, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.slices[id]; f != nil {
		f.failed = now
	}
}

func (f *slice) add(cpu time.Duration) {
	now := time.Now()
	f.seen += max(0, cpu-f.from)
	f.elapsed += now.Sub(f.since)
	f.from, f.since = cpu, now
}

// ask has glimpses at a function be at its callers, too, where it is hidden, and the next one be soon.
func (s *slicer) ask(id uint32, hidden, soon bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.slices[id]
	if f == nil {
		return
	}
	if f.hidden = hidden; soon {
		f.next = time.Time{}
	}
}

func (s *slicer) run() {
	defer close(s.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(s.step(time.Now()))
		select {
		case <-timer.C:
		case <-s.wake:
		case <-s.stop:
			return
		}
	}
}

// step puts in and takes out the probes whose time has come, and gives how long it is until the next.
func (s *slicer) step(now time.Time) time.Duration {
	var in, out []uint32
	s.mu.Lock()
	var due uint32
	busy := false // they take turns: probes of one slow others down
	var waits time.Time
	var longest uint32
	for id, f := range s.slices {
		switch {
		case f.in && !f.setting.Sliced():
			delete(s.slices, id)
		case f.in && !now.Before(f.until):
			out = append(out, id)
			if now.After(f.next) {
				due = id
			}
		case f.in:
			busy = true
		case !f.setting.Sliced():
			in = append(in, id)
		case !now.Before(f.due) && (longest == 0 || f.due.Before(waits)):
			longest, waits = id, f.due
		}
	}
	if longest != 0 && (!busy || now.Sub(waits) > s.slices[longest].setting.Period) {
		in = append(in, longest)
		if with := s.companion(longest, now); with != 0 {
			in = append(in, with)
			s.pair(longest, with)
		}
	} else if !busy {
		s.glimpsing = due
	}
	for _, id := range out {
		if s.slices[id].unwinding { // before anything is raised that nobody sees
			s.turn(id, false)
		}
	}
	s.mu.Unlock()
	var errs []error
	for _, change := range []struct {
		ids []uint32
		do  func([]uint32) (attach.Moment, error)
		in  bool
	}{{out, s.session.Pause, false}, {in, s.session.Resume, true}} {
		if len(change.ids) == 0 {
			continue
		}
		at, err := change.do(change.ids)
		if err == nil {
			s.changed(change.ids, change.in, at)
		} else {
			s.putOff(change.ids)
		}
		errs = append(errs, err)
	}
	errs = append(errs, s.glimpse(now))
	if err := errors.Join(errs...); err != nil {
		s.session.Warn(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := time.Hour
	for _, f := range s.slices {
		at := f.due
		switch {
		case f.in:
			at = f.until
		case busy && f.setting.Sliced():
			continue // when the other's turn is over
		}
		next = min(next, max(time.Until(at), time.Millisecond))
	}
	return next
}

// companion is what is to have its turn together with something: what fails, with what tells why. 0 for nothing.
func (s *slicer) companion(id uint32, now time.Time) (with uint32) {
	f := s.slices[id]
	if !f.unwinding && now.Sub(f.failed) > memory {
		return 0
	}
	for other, o := range s.slices {
		if o.in || !o.setting.Sliced() || o.unwinding == f.unwinding || !o.unwinding && now.Sub(o.failed) > memory {
			continue
		}
		if o.unwinding && o.due.Sub(now) > o.setting.Period/2 {
			continue // it would be in place too often
		}
		if with == 0 || o.due.Before(s.slices[with].due) {
			with = other
		}
	}
	return with
}

// memory is for how long a function counts as one that fails.
const memory = time.Minute

// pair has what tells of unwinding be known to be in place in a function's turn.
func (s *slicer) pair(id, with uint32) {
	if s.slices[id].unwinding {
		id, with = with, id
	}
	f := s.slices[id]
	if took, err := s.session.UnwindingTook(with); err == nil {
		f.with, f.withFrom = with, took
	}
}

// putOff has what could not be changed be tried again in a second.
func (s *slicer) putOff(ids []uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if f := s.slices[id]; f != nil {
			f.until = time.Now().Add(time.Second)
			f.due = f.until
		}
	}
}

// glimpse takes a glimpse at the function that is due for one, whose turn is just over: it tells how many calls
// there are when probes take less, and so what they take. The first time, and where that doesn't tell, it takes
// another, at the functions that call it, too.
func (s *slicer) glimpse(now time.Time) error {
	s.mu.Lock()
	id := s.glimpsing
	f := s.slices[id]
	if f == nil {
		s.mu.Unlock()
		return nil
	}
	ids, more := []uint32{id}, f.hidden || !f.glimpsed
	if f.hidden {
		ids = append(ids, f.callers...)
	}
	s.mu.Unlock()
	var glances []attach.Glance
	look := func() error {
		g, err := s.session.Glimpse(ids, leastGlimpse)
		if err == nil && len(g.Glimpses) > 0 { // none where all is detached
			glances = append(glances, g)
		}
		return err
	}
	err := look()
	var by []uint32
	if len(glances) > 0 {
		by = callers(&glances[0].Glimpses[0])
	}
	if more && len(ids) == 1 && len(by) > 0 {
		ids = append(ids, by...)
		err = look()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.glimpsing = 0
	f.glimpsed, f.next = true, now.Add(betweenGlimpses)
	f.glances = append(f.glances, glances...)
	if len(by) > 0 {
		f.callers = by
	}
	return err
}

// callers are the functions from which one was called, those that made the most calls first, but itself.
func callers(g *attach.Glimpse) (ids []uint32) {
	slices.SortFunc(g.Callers, func(a, b attach.Caller) int { return cmp.Compare(b.Share, a.Share) })
	for _, c := range g.Callers {
		if c.Func != nil && c.Func != g.Func && c.Share > leastShare && len(ids) < mostCallers {
			ids = append(ids, c.Func.ID)
		}
	}
	return ids
}

const (
	leastShare  = 1.0 / 64
	mostCallers = 8
)

// changed notes that the probes of functions count from a moment on, or no longer.
func (s *slicer) changed(ids []uint32, in bool, at attach.Moment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, id := range ids {
		f := s.slices[id]
		if f == nil {
			continue
		}
		if in || !f.unwinding {
			s.turn(id, in)
		}
		f.in = in
		f.off += at.Off
		if in {
			f.from, f.since = at.CPU, now
			f.until = now.Add(f.setting.Slice)
			f.due = now.Add(f.setting.Period)
			continue
		}
		f.add(at.CPU)
		s.settle(f)
		f.with = 0
	}
}
