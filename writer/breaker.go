package writer

import (
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// breaker keeps a store from trying a database that is away with every batch,
// and an account of why it was away. One goroutine tries; the account is safe
// for concurrent use.
type breaker struct {
	circuit  *gobreaker.CircuitBreaker[struct{}]
	patience time.Duration // how long another program's lock is no fault

	locked  time.Time // since when the lock has been waited for; zero when it is not
	began   time.Time // the try under way, or the last one
	excused bool      // the last failure was such a lock
	pause   time.Duration
	due     time.Time // when the database is tried again

	mu      sync.Mutex
	account account
}

// account is what a breaker did.
type account struct {
	state   gobreaker.State
	since   time.Time         // when the state was entered, half-open ones apart
	cause   error             // what opened it last, and what the last try gave; nil when there was none
	opened  map[string]uint64 // how often it was opened, by cause
	tries   uint64            // while it was open
	changes map[Change]uint64 // how often the state changed
}

// Change is one of a breaker's state, in the words of Health.State.
type Change struct{ From, To string }

// Pauses between two tries grow from the first to the last of these, and are
// drawn within a quarter, so that not all sessions of a database try at once.
const (
	firstPause = 200 * time.Millisecond
	lastPause  = 10 * time.Second
)

func newBreaker(patience time.Duration) *breaker {
	k := &breaker{patience: patience}
	k.account.since, k.account.opened = time.Now(), make(map[string]uint64)
	k.account.changes = map[Change]uint64{{"closed", "open"}: 0, {"open", "half-open"}: 0, {"half-open", "open"}: 0, {"half-open", "closed"}: 0}
	k.circuit = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		// One failed transaction is enough: what would pass by itself is excused.
		ReadyToTrip:   func(c gobreaker.Counts) bool { return c.ConsecutiveFailures > 0 },
		IsExcluded:    func(err error) bool { return err != nil && k.excused },
		Timeout:       1, // ns: pauses grow, which only due knows
		OnStateChange: func(_ string, from, to gobreaker.State) { k.changed(from, to) },
	})
	return k
}

// closed tells whether the database was there when it was last tried.
func (k *breaker) closed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.account.state == gobreaker.StateClosed
}

// try runs f, unless the breaker is open and the next try is not due yet; force
// doesn't wait for that. It gives f's error, or the one that it is open for. For
// another program's lock it opens when patience is over, or when pressed says
// that what is to be written can't wait.
func (k *breaker) try(force bool, f func() error, pressed func() bool) error {
	closed := k.closed()
	if !closed {
		if !force && time.Now().Before(k.due) {
			return k.cause()
		}
		k.mu.Lock()
		k.account.tries++
		k.mu.Unlock()
	}
	k.began = time.Now()
	_, err := k.circuit.Execute(func() (struct{}, error) {
		err := f()
		k.judge(closed, err, pressed)
		return struct{}{}, err
	})
	switch {
	case err == nil:
		k.pause = 0
	case !k.closed():
		if k.pause = min(max(2*k.pause, firstPause), lastPause); busy(err) {
			k.pause = firstPause // a try waits for the lock, and what waits for the try may have to be dropped
		}
		k.due = time.Now().Add(k.pause - time.Duration(rand.Int64N(int64(k.pause/4))))
	}
	return err
}

// judge takes note of how a try went, before the circuit does.
func (k *breaker) judge(closed bool, err error, pressed func() bool) {
	k.excused = false
	if !busy(err) {
		k.locked = time.Time{}
	} else if closed {
		if k.locked.IsZero() {
			k.locked = k.began
		}
		k.excused = time.Since(k.locked) < k.patience && !pressed()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil && !k.excused {
		k.account.cause = err
	}
}

func (k *breaker) changed(from, to gobreaker.State) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.account.state = to
	k.account.changes[Change{from.String(), to.String()}]++
	switch {
	case to == gobreaker.StateClosed:
		k.account.since = time.Now()
	case from == gobreaker.StateClosed:
		k.account.since = time.Now()
		k.account.opened[causeOf(k.account.cause)]++
	}
}

func (k *breaker) cause() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.account.cause
}

func (k *breaker) read() account {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.account
	a.opened, a.changes = maps.Clone(a.opened), maps.Clone(a.changes)
	return a
}

// Health is how a Store's database is, and what became of calls when it was away.
type Health struct {
	State    string            // of the breaker: "closed" (all is well), "open" (the database is away) or "half-open" (it is being tried)
	Since    time.Time         // when the database went away, or came back
	Err      error             // why it is away; nil when it is not
	Opened   map[string]uint64 // how often it went away, by cause
	Tries    uint64            // how often it was tried while it was away
	Changes  map[Change]uint64 // how often the state changed, all that can be
	Cause    string            // of the last failure, in the words of Opened; empty when there was none
	Spilled  uint64            // records that went to the spill file
	Replayed uint64            // records that came into the database from spill files, those of dead sessions included
	Spill    SpillState
	Dropped  map[string]uint64 // calls that were accepted and are in no file, by reason
}

// SpillState is what a store's own spill file holds.
type SpillState struct {
	Path    string
	Records uint64 // that are not in the database yet
	Bytes   int64
	Held    uint64 // records for which it has no room: they are in memory
}

// QueueLevel is how full a Store's queue is.
type QueueLevel struct {
	Calls    int           // that wait, those of the transaction under way included: up to twice the capacity; while the database is away errors that are on their way to the spill file, too
	Capacity int           // from when on Write blocks, or drops while the database is away
	Oldest   time.Duration // how long the first of what waits, calls or other, has waited; also in the transaction under way
}
