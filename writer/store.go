package writer

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/retention"
	"github.com/observatory-trace/observatory-trace/trace"
	"github.com/observatory-trace/observatory-trace/writer/spill"
)

// Session says who traces what, for the sessions view.
type Session struct {
	Version  string          // of this program
	Host     string          // empty: this machine's name
	Kernel   string          // empty: the running kernel's release
	Command  json.RawMessage // JSON array: the command line
	Settings json.RawMessage // JSON object: what was chosen, flags and configuration together
}

// Options tune a Store; zero values stand for the defaults given.
type Options struct {
	Session    Session
	Retention  retention.Policy // what is kept: everything
	BatchCalls int              // calls a transaction holds at most: 10,000, fewer where the database is to be small
	BatchDelay time.Duration    // how long a call waits for its transaction: 100 ms
	QueueCalls int              // calls that wait in memory before Write blocks: 100,000; as many again may be on their way, and five times as many wait for a lock
	Patience   time.Duration    // how long opening and, at most 10 s, closing wait for another program's lock: 60 s
	SpillDir   string           // where errors go while the database is away: its own folder
	Notice     func(Notice)     // is told when the database goes away and comes back, once each; nobody. It must not call the store, and be safe for concurrent use

	now       func() retention.Moment // for tests, as the next
	excuse    time.Duration           // how long a lock doesn't count as the database's being away: 3 s, or Patience if that is less
	heldBytes int                     // how much of errors is kept in memory when the spill file has no room: 64 MiB
}

// Notice is what the operator should know.
type Notice struct {
	Trouble bool   // something is wrong, or was damaged; else all is well again
	Text    string // one line
}

func (o Options) withDefaults() Options {
	if o.BatchCalls <= 0 {
		o.BatchCalls = o.Retention.BatchCalls()
	}
	if o.BatchDelay <= 0 {
		o.BatchDelay = 100 * time.Millisecond
	}
	if o.QueueCalls <= 0 {
		o.QueueCalls = 100_000
	}
	if o.Patience <= 0 {
		o.Patience = time.Minute
	}
	if o.excuse <= 0 {
		o.excuse = min(o.Patience, lockExcuse)
	}
	if o.Notice == nil {
		o.Notice = func(Notice) {}
	}
	if o.heldBytes <= 0 {
		o.heldBytes = maxHeld
	}
	if o.now == nil {
		o.now = machineNow
	}
	if o.Session.Host == "" {
		o.Session.Host, _ = os.Hostname() // an unnamed host is not worth failing for
	}
	if o.Session.Kernel == "" {
		o.Session.Kernel = kernelRelease()
	}
	return o
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return strings.TrimRight(string(u.Release[:]), "\x00")
}

// Counters tell what a Store has done so far.
type Counters struct {
	Calls   uint64 // calls committed, those of spill files included
	Dropped uint64 // calls that were accepted and are in no file; Health has the reasons
	// Elsewhere is how many of Calls are in files that were deleted, moved or set aside while they were written.
	Elsewhere uint64
	Commits   uint64 // transactions
	Expired   uint64 // calls deleted, because of their age, the database's size or a full disk
	Early     uint64 // of Expired, those that were younger than what is to be kept, for the size
	Cleared   uint64 // of Expired, those that made room for errors on a full disk
	// OverBytes is by how much the file is larger than it may be though no calls are left, LogBytes what its log had lately.
	OverBytes, LogBytes int64
	Retries             uint64        // how often a try to lock the database failed, as another program had it: about five a second
	Waits               uint64        // writes that had to wait for room in the queue
	Waited              time.Duration // for how long altogether
}

// Store writes calls to a database in the background. It is safe for
// concurrent use.
//
// When the database can't be written, it is away until a later try succeeds:
// errors (calls whose status is ERR) go to a spill file, other calls wait in
// the queue as far as there is room, and what comes then is counted as
// dropped. Nobody has to wait meanwhile. docs/architecture.md says more.
type Store struct {
	options Options
	path    string
	hurry   chan struct{} // closed by Close: don't wait for locks much longer
	wake    chan struct{} // capacity 1: there is a reason to commit before the delay is over
	done    chan struct{} // closed when the run goroutine has ended
	breaker *breaker
	retries atomic.Uint64 // Counters.Retries

	// The run goroutine's, once it has started.
	db          *database   // nil while it can't be opened
	wal         os.FileInfo // the log that db writes; nil when that is not known
	size        int64       // of the file, bytes, when it was last looked at
	verified    time.Time   // when it was last checked for damage, because it had become shorter
	row         sessionRow
	number      uint64 // of the last transaction
	doubt       *doubt // nil: nothing is in doubt
	spill       *spill.Log
	replays     []*replay // what is to come into the database from spill files; the last is that of spill
	held        [][]byte  // records that the spill file has no room for
	heldBytes   int
	spillDue    time.Time // when the spill file is tried again
	spillFailed bool      // that it has no room has been said
	told        bool      // that the database is away has been said
	here        uint64    // calls committed when the present file was opened
	room        *reserve  // on the database's file system
	growth      int64     // of the file, when the log is folded into it, bytes
	stride      int64     // by how much a transaction has added to that, bytes
	short       error     // why there is no room for another transaction's; nil when there is
	roomDue     time.Time // when room is made next
	cleared     bool      // that calls go for errors has been said
	losing      bool      // that errors are lost has been said

	mu       sync.Mutex
	changed  *sync.Cond // room in the queue, a commit, a change of away
	queue    batch
	since    time.Time // when the first of the queue came
	flight   time.Time // when the first of what is under way came; zero when nothing is
	flying   int       // calls that are
	queued   uint64    // batches of any kind that were handed in
	written  uint64    // of those, how many are committed or given up
	seen     uint64    // of those, how many the run goroutine has seen: their errors are in a file
	closing  bool
	closed   bool
	err      error    // what Close gives
	away     error    // why the database can't be written; nil when it can
	before   progress // when it went away
	counters Counters
	ids      idRange // reserved and not yet handed out
	slot     slot    // for ids while the database is away
	raised   uint64  // up to where the database knows of ids
	idsWant  int     // more than usual, when NextIDs waits for them
	release  func([]*trace.Call)
	drops    drops
	spilled  uint64
	replayed uint64
	pending  SpillState
	attached *attached // what Attached was told last
}

// idRange is ids from next up to but not including end.
type idRange struct{ next, end uint64 }

// Open opens or creates the database at path, its directory included, brings
// its schema up to date, and starts a session in it. A damaged one is set
// aside, which Options.Notice is told. What earlier sessions left in spill
// files comes into the database in the background. The caller closes it.
// Errors wrap ErrNewer, ErrForeign, ErrFull, ErrLocked or ErrReadOnly where
// they fit, and are of type *Error.
func Open(path string, options Options) (*Store, error) {
	s := &Store{
		options: options.withDefaults(),
		path:    path,
		hurry:   make(chan struct{}),
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	s.changed = sync.NewCond(&s.mu)
	s.breaker = newBreaker(s.options.excuse)
	waiting := time.AfterFunc(s.options.excuse, s.tellWaiting)
	db, aside, err := openOrSetAside(path, s.options.Patience, s.hurry)
	waiting.Stop()
	if err != nil {
		return nil, wrap("open database", path, err)
	}
	s.db = db
	s.room = newReserve(filepath.Dir(path))
	if err := s.begin(aside); err != nil {
		db.abandon()
		s.room.close()
		return nil, err
	}
	go s.run()
	return s, nil
}

// begin starts the session, with its spill file.
func (s *Store) begin(aside string) error {
	if err := s.db.retain(s.options.Retention, s.options.now); err != nil {
		return wrap("open database", s.path, err)
	}
	if err := s.db.beginSession(s.options.Session, time.Now()); err != nil {
		return wrap("begin session in database", s.path, err)
	}
	first, err := s.db.commit(batch{}, idWindow)
	if err != nil {
		return wrap("reserve call ids in database", s.path, err)
	}
	s.ids, s.slot = idRange{uint64(first), uint64(first) + idWindow}, slotOf(s.db.session)
	if err := s.describe(); err != nil {
		return wrap("begin session in database", s.path, err)
	}
	if err := s.openSpills(); err != nil {
		return err
	}
	s.settleIn()
	if aside != "" {
		s.tellAside(aside)
	}
	return nil
}

// NextIDs reserves n call ids, consecutive and greater than all that it gave
// before. No other session, past, present or future, gets them: the
// reservation is in the file before it is here, or, while the database is
// away, comes from a range that is this session's alone. It rarely has to wait.
func (s *Store) NextIDs(n int) (first uint64, err error) {
	if n <= 0 {
		return 0, fmt.Errorf("reserve call ids: %d is not a positive number", n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.ids.end-s.ids.next < uint64(n) {
		if s.closing {
			return 0, fmt.Errorf("reserve call ids: %w", ErrClosed)
		}
		if s.away != nil {
			if n > slotIDs {
				return 0, s.away
			}
			s.ids = s.slot.extend(s.ids, uint64(n))
			continue
		}
		s.idsWant = max(s.idsWant, n)
		s.nudge()
		s.changed.Wait()
	}
	first = s.ids.next
	s.ids.next += uint64(n)
	if s.ids.end-s.ids.next < idWindow/2 && s.away == nil {
		s.nudge()
	}
	return first, nil
}

// Write hands calls over: the store owns them from here on, but not the slice.
// It blocks while the queue is full, which Counters tells; not while the
// database is away: then what the queue has no room for is dropped and
// counted, errors excepted. A call without a function is refused, and the
// batch with it. It gives an error when the store is closed; the calls are not
// written then.
func (s *Store) Write(calls []*trace.Call) error {
	for _, c := range calls {
		if c == nil || c.Func == nil {
			return errors.New("write calls: a call has no function")
		}
	}
	return s.put(len(calls), func(b *batch) {
		if s.away == nil {
			b.calls = append(b.calls, calls...)
			return
		}
		for _, c := range calls {
			// The newest go: what is kept follows on what was written before.
			if c.Status != trace.StatusErr && len(b.calls)+s.flying >= s.capacity() {
				s.drop(c.Func, 1, awayReason(s.away), hintOf(s.away))
				continue
			}
			b.calls = append(b.calls, c)
		}
	})
}

// Stats hands statistics over, each with its function. A second that was
// written before is added to.
func (s *Store) Stats(seconds []FunctionSecond) error {
	for i := range seconds {
		if seconds[i].Func == nil {
			return errors.New("write statistics: a second has no function")
		}
	}
	return s.put(0, func(b *batch) {
		for i := range seconds {
			s.drops.correct(&seconds[i])
		}
		b.stats = append(b.stats, seconds...)
		if s.away != nil {
			b.compact()
		}
	})
}

// Gap hands over what is missing, and why.
func (s *Store) Gap(g trace.Gap) error {
	return s.put(0, func(b *batch) {
		b.gaps = append(b.gaps, g)
		if s.away != nil {
			b.compact()
		}
	})
}

func (s *Store) put(calls int, add func(*batch)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing && s.full(calls) {
		start := time.Now()
		for !s.closing && s.full(calls) {
			s.changed.Wait()
		}
		s.counters.Waits++
		s.counters.Waited += time.Since(start)
	}
	if s.closing {
		return fmt.Errorf("write to database %s: %w", s.path, ErrClosed)
	}
	if s.queue.empty() {
		s.since = time.Now()
	}
	add(&s.queue)
	s.queued++
	if len(s.queue.calls) >= s.options.BatchCalls && s.away == nil {
		s.nudge()
	}
	return nil
}

// full tells whether so many more calls have to wait. While the database is
// away only errors are taken beyond the queue's length; they wait where the
// spill is too slow for them.
func (s *Store) full(calls int) bool {
	queued, most := len(s.queue.calls), s.options.QueueCalls
	switch {
	case queued+s.flying == 0:
		return false
	case s.away != nil:
		return queued+s.flying+calls > s.capacity()+2*most
	}
	return queued > 0 && queued+calls > most || queued+s.flying+calls > 2*most
}

// lockedQueues is how many times as many calls wait while another program has the database locked, which passes.
const lockedQueues = 5

// capacity is how many calls wait in memory, errors apart, before others are dropped, or, while the database
// is there, before Write blocks. It is called with s.mu held.
func (s *Store) capacity() int {
	if errors.Is(s.away, ErrLocked) {
		return lockedQueues * s.options.QueueCalls
	}
	return s.options.QueueCalls
}

// crowded tells whether as many calls wait as are to: Write would soon block, and errors be lost in
// the probes' buffers.
func (s *Store) crowded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue.calls)+s.flying >= s.options.QueueCalls
}

// drop counts calls that are given up. It is called with s.mu held.
func (s *Store) drop(f *trace.Function, n uint64, reason, hint string) {
	s.counters.Dropped += n
	s.drops.add(f, n, reason, hint)
}

// nudge makes the run goroutine look at the queue without delay.
func (s *Store) nudge() {
	select {
	case s.wake <- struct{}{}:
	default: // it is on its way
	}
}

// Flush returns when all that was handed in before is committed. While the
// database is away it gives the reason, when errors that were handed in before
// are in the spill file.
func (s *Store) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	target := s.queued
	for s.written < target && !s.closed {
		if s.away != nil && s.seen >= target {
			return s.away
		}
		s.nudge()
		s.changed.Wait()
	}
	return s.err
}

// Counters gives what was done until now.
func (s *Store) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counters
	c.Retries = s.retries.Load()
	return c
}

// Queue gives how full the queue is now.
func (s *Store) Queue() QueueLevel {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := QueueLevel{Calls: len(s.queue.calls) + s.flying, Capacity: s.capacity()}
	switch {
	case !s.flight.IsZero():
		q.Oldest = time.Since(s.flight)
	case !s.queue.empty():
		q.Oldest = time.Since(s.since)
	}
	return q
}

// Health gives how the database is now.
func (s *Store) Health() Health {
	a := s.breaker.read()
	s.mu.Lock()
	defer s.mu.Unlock()
	h := Health{
		State: a.state.String(), Since: a.since, Opened: a.opened, Tries: a.tries, Changes: a.changes, Err: s.away,
		Spilled: s.spilled, Replayed: s.replayed, Spill: s.pending, Dropped: s.drops.byReason(),
	}
	if a.cause != nil {
		h.Cause = causeOf(a.cause)
	}
	return h
}

// Attached notes in the session how much is being traced.
func (s *Store) Attached(functions, processes int) error {
	a := &attached{functions, processes}
	return s.put(0, func(b *batch) { b.attached, s.attached = a, a })
}

// Close writes what is in the queue, ends the session and closes the file.
// Where the database is away, all goes to the spill file instead, and the error
// says so. Writers must have stopped; Close may be called again.
func (s *Store) Close() error {
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		close(s.hurry)
		s.changed.Broadcast()
	}
	s.mu.Unlock()
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// run commits the queue until the store is closed, then ends the session.
func (s *Store) run() {
	defer close(s.done)
	tick := time.NewTicker(s.options.BatchDelay)
	defer tick.Stop()
	for open := true; open; {
		select {
		case <-tick.C:
		case <-s.wake:
		case <-s.hurry:
			open = false
		}
		if open {
			_ = s.drain(false) // s.away has it
		}
	}
	err := s.finish()
	s.room.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written, s.seen, s.closed, s.err = s.queued, s.queued, true, err
	s.changed.Broadcast()
}

// drain commits all that is in the queue now, or as much of it as can be, and
// keeps the rest. Force tries the database also when it is not yet time to. On a
// full disk it makes room where errors have none.
func (s *Store) drain(force bool) error {
	err := s.drainOnce(force)
	for n := 0; n < 3 && errors.Is(err, ErrFull) && (force || time.Now().After(s.roomDue)) && s.makeRoom(); n++ {
		err = s.drainOnce(true)
	}
	return err
}

func (s *Store) drainOnce(force bool) error {
	b, ids, mark := s.take()
	err := s.breaker.try(force, func() error { return wrap("write database", s.path, s.write(&b, ids)) }, func() bool { return b.failed() || s.crowded() })
	if err == nil {
		s.returned()
	} else {
		if !s.breaker.closed() {
			s.left(err)
		}
		s.keep(b)
	}
	s.settle(mark, err)
	return err
}

// take empties the queue. It gives how many ids are to be reserved, and the
// mark that written reaches when all this is committed.
func (s *Store) take() (b batch, ids int, mark uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, s.queue = s.queue, batch{}
	if !b.empty() {
		s.flight, s.flying = s.since, len(b.calls)
	}
	if s.away == nil {
		b.gaps = append(b.gaps, s.drops.gaps()...)
		if s.closing {
			b.stats = append(b.stats, s.drops.corrections()...)
		}
		if s.idsWant > 0 || s.ids.end-s.ids.next < idWindow/2 {
			ids = idWindow + s.idsWant
		}
	}
	return b, ids, s.queued
}

// write brings the database up to what it missed, and commits a batch, at most
// BatchCalls calls a transaction. What is left of it when that fails is in b.
func (s *Store) write(b *batch, ids int) error {
	if !s.breaker.closed() || s.db == nil {
		if err := s.resume(b); err != nil {
			return err
		}
	}
	if err := s.replay(replayAtOnce); err != nil {
		return err
	}
	if len(s.held) > 0 {
		if err := s.takeHeld(b); err != nil {
			return err
		}
	}
	for first := true; first || !b.empty(); first = false {
		part := b.cut(s.options.BatchCalls)
		if err := s.commit(part, ids, b); err != nil {
			return err
		}
		ids = 0
	}
	return s.comeBack()
}

// commit writes one transaction, and hands the ids reserved in it out. When it
// fails, what isn't committed is put in front of rest, or in doubt.
func (s *Store) commit(part batch, ids int, rest *batch) error {
	if part.empty() && ids == 0 && !s.db.behind() {
		return nil
	}
	first, err := s.transact(part, ids)
	switch {
	case err == nil:
		s.committed(&part, first, ids)
		return nil
	case poison(err):
		return s.isolate(part, ids, rest, err)
	case !busy(err):
		s.doubt = &doubt{number: s.number, part: part, fresh: true}
	default:
		rest.unshift(part)
	}
	return err
}

// transact runs one numbered transaction on the file that is at the path.
func (s *Store) transact(part batch, ids int) (first int64, err error) {
	s.number++ // also of one that is not tried: what is in doubt has a number that no other has
	if err := s.look(); err != nil {
		return 0, err
	}
	if s.short != nil {
		if s.short = s.keepRoom(); s.short != nil {
			return 0, s.short
		}
	}
	part.marks = append(part.marks[:len(part.marks):len(part.marks)], mark{s.row.numberKey(), int64(s.number)})
	first, err = s.db.commit(part, ids)
	if err == nil {
		s.short = s.keepRoom()
		err = s.db.checkIdentity() // what went to an unlinked file is lost
	}
	return first, err
}

// isolate finds what a transaction fails for, and gives that up.
func (s *Store) isolate(part batch, ids int, rest *batch, err error) error {
	one, other, ok := part.halves()
	if !ok {
		s.giveUp(&part, err)
		return s.commit(batch{}, ids, rest)
	}
	if err := s.commit(one, ids, rest); err != nil {
		rest.append(other)
		return err
	}
	return s.commit(other, 0, rest)
}

// giveUp counts what can't be written anywhere.
func (s *Store) giveUp(part *batch, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reason := "the database doesn't take it: " + err.Error()
	for _, c := range part.calls {
		s.drop(c.Func, 1, reason, "")
	}
	for i := range part.stats {
		s.drops.lost("statistics of " + part.stats[i].Func.Name + " are lost: " + reason)
		delete(s.drops.uncorrected, part.stats[i].Func)
	}
	for range part.gaps {
		s.drops.lost("a gap is lost: " + reason)
	}
}

// committed counts a transaction.
func (s *Store) committed(part *batch, first int64, ids int) {
	if release := s.releaser(); release != nil {
		defer release(part.calls)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flying = max(s.flying-len(part.calls), 0)
	s.counters.Calls += uint64(len(part.calls))
	s.counters.Commits++
	s.db.expire.tell(&s.counters)
	if ids > 0 {
		s.idsWant = 0
		if s.ids.end != uint64(first) { // another session has taken ids in between
			s.ids.next = uint64(first)
		}
		s.ids.end = uint64(first) + uint64(ids)
	}
	s.changed.Broadcast()
}

// ReleaseTo has calls given to a function when they are written, so that their memory can be
// used for others. It is called from the goroutine that writes.
func (s *Store) ReleaseTo(release func([]*trace.Call)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release = release
}

func (s *Store) releaser() func([]*trace.Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.release
}

// settle notes that all up to mark is committed, or that it is kept.
func (s *Store) settle(mark uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight, s.flying = time.Time{}, 0
	s.seen = mark
	if err == nil {
		s.written = mark
	}
	s.pending = SpillState{Path: s.spill.Path(), Records: s.replays[len(s.replays)-1].pending(), Bytes: s.spill.Bytes(), Held: uint64(len(s.held))}
	s.changed.Broadcast()
}

// retireIDs gives the ids that were not handed out, and never will be now.
func (s *Store) retireIDs() idRange {
	s.mu.Lock()
	defer s.mu.Unlock()
	unused := s.ids
	s.ids.next = s.ids.end
	return unused
}
