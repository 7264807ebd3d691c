// Package retention decides what of a database is over: which calls are to be deleted, which
// statistics to be merged into longer spans, how many pages to be given back, and how much of it in
// one step. All of it are pure functions of what exists, the policy and now: it reads no clock and
// no file, and must not depend on any package of this module but trace. The writer carries it out.
package retention

import "time"

// Policy says what is kept. Its zero value keeps everything.
type Policy struct {
	Calls time.Duration // calls, from when they were written on; 0: whatever their age
	Bytes int64         // what the database and its log may take; 0: any size

	// Statistics of a second are merged into those of its minute, and these into those of their hour, when
	// they are so old; hours are deleted. 0: never.
	BySecond, ByMinute, ByHour time.Duration
}

// What is kept unless something else is asked for.
const (
	DefaultCalls    = 6 * time.Hour
	DefaultBySecond = 6 * time.Hour
	DefaultByMinute = 7 * 24 * time.Hour
	DefaultByHour   = 90 * 24 * time.Hour
	DefaultBytes    = 10 << 30 // 300,000 calls a second for six hours are more than a terabyte
)

// LeastBytes is the smallest limit of size that can be held: an empty database's, and room for short
// transactions.
const LeastBytes = 2 << 20

// For gives the policy that keeps calls for a time (0: whatever their age) and the files below a
// size (0: any). Statistics are never kept for a shorter time than calls; where those are kept
// whatever their age, so are statistics of seconds.
func For(calls time.Duration, bytes int64) Policy {
	p := Policy{Calls: calls, Bytes: bytes}
	if calls > 0 {
		p.BySecond, p.ByMinute, p.ByHour = max(calls, DefaultBySecond), max(calls, DefaultByMinute), max(calls, DefaultByHour)
	}
	return p
}

// LogBytes is what the write-ahead log takes at most, in bytes, while no reader stands in the way.
func (p Policy) LogBytes() int64 {
	if p.Bytes <= 0 {
		return mostLog
	}
	return min(p.Bytes/4, mostLog)
}

const mostLog = 96 << 20

// CheckpointBytes is the size of the log, in bytes, at which it is folded into the file. The transaction
// that comes upon it is still added to it.
func (p Policy) CheckpointBytes() int64 { return p.LogBytes() / 3 * 2 }

// room is what may be in use of the file, in bytes: below the limit there have to be the log, and
// what transactions add to the file until what they have deleted is used again.
func (p Policy) room() int64 { return p.Bytes - p.LogBytes() - min(p.Bytes/8, 64<<20) }

// BatchCalls is how many calls a transaction may hold, of such as are usual, so that the limit of size is held.
func (p Policy) BatchCalls() int {
	if p.Bytes <= 0 {
		return mostBatch
	}
	return int(min(p.Bytes/8/usualCall, mostBatch))
}

const (
	mostBatch = 10_000
	usualCall = 640 // bytes that a call takes in the log, more or less
)

// MarkInterval is how often the writer notes where it is (Mark): so much later than they could,
// calls are deleted.
func (p Policy) MarkInterval() time.Duration {
	keep := p.Calls
	if keep <= 0 {
		keep = DefaultCalls
	}
	return min(max(keep/360, 100*time.Millisecond), 5*time.Minute)
}
