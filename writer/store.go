package writer

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/retention"
	"github.com/observatory-trace/observatory-trace/trace"
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
	BatchCalls int              // calls a transaction holds at most: 10,000
	BatchDelay time.Duration    // how long a call waits for its transaction: 100 ms
	QueueCalls int              // calls that wait in memory before Write blocks: 100,000; as many again may be on their way
	Patience   time.Duration    // how long a transaction waits for a lock that another program holds: 60 s

	now func() retention.Moment // for tests
}

func (o Options) withDefaults() Options {
	if o.BatchCalls <= 0 {
		o.BatchCalls = 10_000
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
	Calls   uint64 // calls committed
	Lost    uint64 // calls that were accepted and could not be written, because the store failed
	Commits uint64 // transactions
	Expired uint64 // calls deleted, because of their age or the database's size
	Early   uint64 // of Expired, those that were younger than what is to be kept
	// OverBytes is by how much the file is larger than it may be though no calls are left, LogBytes what its log had lately.
	OverBytes, LogBytes int64
	Retries             uint64        // how often another program's lock had to be waited for
	Waits               uint64        // writes that had to wait for room in the queue
	Waited              time.Duration // for how long altogether
}

// Store writes calls to a database in the background. It is safe for
// concurrent use. Once it has failed, it stays failed: every method gives the
// error that it failed with.
type Store struct {
	options Options
	db      *database // the run goroutine's, once it has started
	path    string
	hurry   chan struct{} // closed by Close: don't wait for locks much longer
	wake    chan struct{} // capacity 1: there is a reason to commit before the delay is over
	done    chan struct{} // closed when the run goroutine has ended

	mu       sync.Mutex
	changed  *sync.Cond // room in the queue, a commit, a failure
	queue    batch
	queued   uint64 // batches of any kind that were handed in
	written  uint64 // of those, how many are committed or given up
	closing  bool
	err      error
	counters Counters
	ids      idRange // reserved and not yet handed out
	idsWant  int     // more than usual, when NextIDs waits for them
	release  func([]*trace.Call)
}

// idRange is ids from next up to but not including end.
type idRange struct{ next, end uint64 }

// Open opens or creates the database at path, its directory included, brings
// its schema up to date, and starts a session in it. The caller closes it.
// Errors wrap ErrNewer, ErrForeign, ErrCorrupt, ErrFull, ErrLocked or
// ErrReadOnly where they fit, and are of type *Error.
func Open(path string, options Options) (*Store, error) {
	s := &Store{
		options: options.withDefaults(),
		path:    path,
		hurry:   make(chan struct{}),
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	s.changed = sync.NewCond(&s.mu)
	db, err := openDatabase(path, s.options.Patience, s.hurry)
	if err != nil {
		return nil, wrap("open database", path, err)
	}
	if err := db.retain(s.options.Retention, s.options.now); err != nil {
		db.abandon()
		return nil, wrap("open database", path, err)
	}
	if err := db.beginSession(s.options.Session, time.Now()); err != nil {
		db.abandon()
		return nil, wrap("begin session in database", path, err)
	}
	first, err := db.commit(batch{}, idWindow)
	if err != nil {
		db.abandon()
		return nil, wrap("reserve call ids in database", path, err)
	}
	s.db, s.ids = db, idRange{uint64(first), uint64(first) + idWindow}
	go s.run()
	return s, nil
}

// NextIDs reserves n call ids, consecutive and greater than all that it gave
// before. No other session, past, present or future, gets them: the
// reservation is in the file before it is here. It rarely has to wait.
func (s *Store) NextIDs(n int) (first uint64, err error) {
	if n <= 0 {
		return 0, fmt.Errorf("reserve call ids: %d is not a positive number", n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.ids.end-s.ids.next < uint64(n) {
		if s.err != nil {
			return 0, s.err
		}
		if s.closing {
			return 0, fmt.Errorf("reserve call ids: %w", ErrClosed)
		}
		s.idsWant = max(s.idsWant, n)
		s.nudge()
		s.changed.Wait()
	}
	first = s.ids.next
	s.ids.next += uint64(n)
	if s.ids.end-s.ids.next < idWindow/2 {
		s.nudge()
	}
	return first, nil
}

// Write hands calls over: the store owns them from here on, but not the slice.
// It blocks while the queue is full, which Counters tells. A call without a
// function is refused, and the batch with it. It gives an error when the store
// has failed or is closed; the calls are not written then.
func (s *Store) Write(calls []*trace.Call) error {
	for _, c := range calls {
		if c == nil || c.Func == nil {
			return errors.New("write calls: a call has no function")
		}
	}
	return s.put(len(calls), func(b *batch) { b.calls = append(b.calls, calls...) })
}

// Stats hands statistics over, each with its function. A second that was
// written before is added to.
func (s *Store) Stats(seconds []FunctionSecond) error {
	for i := range seconds {
		if seconds[i].Func == nil {
			return errors.New("write statistics: a second has no function")
		}
	}
	return s.put(0, func(b *batch) { b.stats = append(b.stats, seconds...) })
}

// Gap hands over what is missing, and why.
func (s *Store) Gap(g trace.Gap) error {
	return s.put(0, func(b *batch) { b.gaps = append(b.gaps, g) })
}

func (s *Store) put(calls int, add func(*batch)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && !s.closing && s.full(calls) {
		start := time.Now()
		for s.err == nil && !s.closing && s.full(calls) {
			s.changed.Wait()
		}
		s.counters.Waits++
		s.counters.Waited += time.Since(start)
	}
	switch {
	case s.err != nil:
		return s.err
	case s.closing:
		return fmt.Errorf("write to database %s: %w", s.path, ErrClosed)
	}
	add(&s.queue)
	s.queued++
	if len(s.queue.calls) >= s.options.BatchCalls {
		s.nudge()
	}
	return nil
}

func (s *Store) full(calls int) bool {
	return len(s.queue.calls) > 0 && len(s.queue.calls)+calls > s.options.QueueCalls
}

// nudge makes the run goroutine look at the queue without delay.
func (s *Store) nudge() {
	select {
	case s.wake <- struct{}{}:
	default: // it is on its way
	}
}

// Flush returns when all that was handed in before is committed.
func (s *Store) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for target := s.queued; s.written < target && s.err == nil; {
		s.nudge()
		s.changed.Wait()
	}
	return s.err
}

// Counters gives what was done until now.
func (s *Store) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counters
}

// Attached notes in the session how much is being traced.
func (s *Store) Attached(functions, processes int) error {
	return s.put(0, func(b *batch) { b.attached = &attached{functions, processes} })
}

// Close writes what is in the queue, ends the session and closes the file. It
// gives the error that the store failed with, if it did. Writers must have
// stopped; Close may be called again.
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
		s.drain()
	}
	err := s.failure()
	if err == nil {
		err = s.db.endSession(time.Now(), s.retireIDs())
	}
	if closing := s.db.close(); err == nil {
		err = closing
	}
	s.settle(0, s.queued, wrap("close database", s.path, err))
}

// drain commits all that is in the queue now, at most BatchCalls calls a transaction.
func (s *Store) drain() {
	b, ids, mark := s.take()
	var err error
	for first := true; err == nil && (first || len(b.calls) > 0); first = false {
		part := batch{calls: b.calls[:min(len(b.calls), s.options.BatchCalls)]}
		if b.calls = b.calls[len(part.calls):]; len(b.calls) == 0 {
			part.stats, part.gaps, part.attached = b.stats, b.gaps, b.attached
		}
		if err = s.commit(part, ids); err != nil {
			b.calls = append(part.calls, b.calls...)
		}
		ids = 0
	}
	s.settle(len(b.calls), mark, err)
}

// take empties the queue. It gives how many ids are to be reserved, and the
// mark that written reaches when all this is committed.
func (s *Store) take() (b batch, ids int, mark uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, s.queue = s.queue, batch{}
	if s.idsWant > 0 || s.ids.end-s.ids.next < idWindow/2 {
		ids = idWindow + s.idsWant
	}
	return b, ids, s.queued
}

// commit writes one transaction, and hands the ids reserved in it out.
func (s *Store) commit(part batch, ids int) error {
	if err := s.failure(); err != nil {
		return err
	}
	if part.empty() && ids == 0 && !s.db.behind() {
		return nil
	}
	first, err := s.db.commit(part, ids)
	if err != nil {
		return err
	}
	if release := s.releaser(); release != nil {
		release(part.calls)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters.Calls += uint64(len(part.calls))
	s.counters.Commits++
	s.counters.Retries = s.db.retries.Load()
	s.db.expire.tell(&s.counters)
	if ids > 0 {
		s.idsWant = 0
		if s.ids.end != uint64(first) { // another session has taken ids in between
			s.ids.next = uint64(first)
		}
		s.ids.end = uint64(first) + uint64(ids)
	}
	s.changed.Broadcast()
	return nil
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

// settle notes that all up to mark is committed, or why it never will be.
func (s *Store) settle(lost int, mark uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = mark
	s.counters.Lost += uint64(lost)
	if err != nil && s.err == nil {
		s.err = wrap("write database", s.path, err)
	}
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

func (s *Store) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
