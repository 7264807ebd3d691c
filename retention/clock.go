package retention

import (
	"math"
	"time"
)

// Moment is one moment, by two clocks. What a file's age is reckoned by is time since the machine
// booted: unlike the wall clock it can't be set.
type Moment struct {
	Wall int64 // ns since 1970, as this machine had it then
	Boot int64 // which boot of which machine; 0: not known
	Up   int64 // ns since that boot, sleep included (CLOCK_BOOTTIME)
}

// Mark is a note of the writer: when it was where. Marks are in the order of writing.
type Mark struct {
	ID    int64
	Calls int64 // calls with a lower number were written before
	Moment
}

// since gives the time from a to b, which was later. Between boots, which may be of different machines, only
// the wall clock tells it; one that runs back tells nothing.
func since(a, b Moment) time.Duration {
	if a.Boot != 0 && a.Boot == b.Boot {
		return time.Duration(max(b.Up-a.Up, 0))
	}
	return time.Duration(max(b.Wall-a.Wall, 0))
}

// Stepped tells whether the wall clock was set between two moments of one boot, by more than a second.
func Stepped(a, b Moment) bool {
	shift := (b.Wall - b.Up) - (a.Wall - a.Up)
	return a.Boot == b.Boot && (shift > int64(time.Second) || shift < -int64(time.Second))
}

// trusted is how long a wall clock has to be what it is before statistics are merged or deleted by
// it: for so long marks show what it was.
const trusted = 6 * time.Hour

// Horizon is what a policy's times mean for a file at a moment.
type Horizon struct {
	Calls int64   // calls with a lower number are over
	Marks int64   // marks with a lower id are of no use any more
	Dense []int64 // ids of other marks that aren't: they are closer to one another than matters for statistics
	// Statistics with times outside of these, at that resolution, are over.
	Seconds, Minutes, Hours Span
	// Single gaps with times outside of these are to be merged into one of their hour, and deleted with Hours.
	Gaps Span
}

// Span is a time of the wall clock from its beginning to before its end, both Unix time in s.
type Span struct{ From, To int64 }

// always is a span that everything lies in.
var always = Span{math.MinInt64, math.MaxInt64}

// Look gives the horizon of a file with these marks, in their order. What is younger, by the
// time since boot, than the policy keeps never lies beyond it, whatever the wall clock was set to
// in between. A wall clock that was wrong for longer than six hours is believed.
func Look(marks []Mark, now Moment, p Policy) Horizon {
	ages := make([]time.Duration, len(marks))
	age, later := time.Duration(0), now
	for i := len(marks) - 1; i >= 0; i-- {
		age += since(marks[i].Moment, later)
		ages[i], later = age, marks[i].Moment
	}
	// latest gives the last mark that is as old as that, or -1.
	latest := func(keep time.Duration) int {
		i := len(marks) - 1
		for i >= 0 && ages[i] < keep {
			i--
		}
		return i
	}
	// kept gives the times that the wall clock showed since then.
	kept := func(keep time.Duration) Span {
		direct := min(keep, trusted)
		i := latest(direct)
		if keep <= 0 || i < 0 {
			return always
		}
		low, high := now.Wall, now.Wall
		for _, m := range marks[i:] {
			low, high = min(low, m.Wall), max(high, m.Wall)
		}
		// Rows are a moment older than the mark that they are written behind, and clocks may be set twice.
		low -= int64(keep-direct) + int64(time.Minute)
		high += int64(time.Hour)
		return Span{low / int64(time.Second), high / int64(time.Second)}
	}
	h := Horizon{
		Seconds: kept(p.BySecond).whole(60), Minutes: kept(p.ByMinute).whole(3600), Hours: kept(p.ByHour),
		Gaps: kept(p.BySecond).whole(3600),
	}
	// What seems to come from the future is merged, and deleted when that time has passed.
	h.Hours.To = math.MaxInt64
	if i := latest(p.Calls); p.Calls > 0 && i >= 0 {
		h.Calls = marks[i].Calls
	}
	if i := latest(max(p.Calls, trusted)); i >= 0 {
		h.Marks = marks[i].ID
	}
	h.Dense = dense(marks[:latest(p.Calls)+1])
	return h
}

// dense gives the ids of marks without which those that are left are still no more than a minute apart, and
// tell when the wall clock was set.
func dense(marks []Mark) (ids []int64) {
	for last, i := 0, 1; i < len(marks)-1; i++ {
		before, at, after := marks[last].Moment, marks[i].Moment, marks[i+1].Moment
		if before.Boot == after.Boot && since(before, after) <= time.Minute && !Stepped(before, at) && !Stepped(at, after) {
			ids = append(ids, marks[i].ID)
			continue
		}
		last = i
	}
	return ids
}

// whole widens the span to whole pieces of so many seconds: only such may be merged as are over entirely.
func (s Span) whole(seconds int64) Span {
	if s == always {
		return s
	}
	return Span{Start(s.From, seconds), Start(s.To+seconds-1, seconds)}
}

// Start gives the beginning of the piece of so many seconds that a time lies in; all are Unix time in s.
func Start(at, seconds int64) int64 {
	start := at - at%seconds
	if start > at { // before 1970
		start -= seconds
	}
	return start
}
