package writer

import (
	"slices"

	"github.com/observatory-trace/observatory-trace/trace"
)

// cut takes up to so many calls off, and all else with the last of them.
func (b *batch) cut(calls int) batch {
	n := min(len(b.calls), calls)
	part := batch{calls: b.calls[:n:n]}
	if b.calls = b.calls[n:]; len(b.calls) == 0 {
		part.stats, part.gaps, part.attached, part.marks = b.stats, b.gaps, b.attached, b.marks
		*b = batch{}
	}
	return part
}

// append adds what comes after.
func (b *batch) append(later batch) {
	b.calls = append(b.calls, later.calls...)
	b.stats = append(b.stats, later.stats...)
	b.gaps = append(b.gaps, later.gaps...)
	b.marks = append(b.marks, later.marks...)
	if later.attached != nil {
		b.attached = later.attached
	}
}

// unshift adds what comes before.
func (b *batch) unshift(earlier batch) {
	earlier.append(*b)
	*b = earlier
}

// halves splits a batch of more than one element. What can't fail goes with the first half.
func (b *batch) halves() (one, other batch, ok bool) {
	n := len(b.calls) + len(b.stats) + len(b.gaps)
	if n < 2 {
		return one, other, false
	}
	rest := n / 2
	calls := min(rest, len(b.calls))
	stats := min(rest-calls, len(b.stats))
	gaps := rest - calls - stats
	one = batch{calls: b.calls[:calls:calls], stats: b.stats[:stats:stats], gaps: b.gaps[:gaps:gaps], attached: b.attached, marks: b.marks}
	return one, batch{calls: b.calls[calls:], stats: b.stats[stats:], gaps: b.gaps[gaps:]}, true
}

// failed tells whether there are errors among the calls.
func (b *batch) failed() bool {
	return slices.ContainsFunc(b.calls, func(c *trace.Call) bool { return c.Status == trace.StatusErr })
}

// takeErrors takes the errors off, in their order. The batch must own its calls.
func (b *batch) takeErrors() (errors []*trace.Call) {
	others := b.calls[:0]
	for _, c := range b.calls {
		if c.Status == trace.StatusErr {
			errors = append(errors, c)
		} else {
			others = append(others, c)
		}
	}
	clear(b.calls[len(others):])
	b.calls = others
	return errors
}

// What statistics and gaps wait in memory while the database is away: beyond,
// seconds of one function are put together, and gaps of one reason.
const (
	maxSeconds = 20_000
	maxGaps    = 10_000
)

// compact keeps statistics and gaps within bounds. Sums stay exact; seconds become longer spans.
func (b *batch) compact() {
	if len(b.stats) > maxSeconds {
		// By half at least, so that it isn't done again soon.
		for span := int64(1); len(b.stats) > maxSeconds/2 && span <= 1<<20; span *= 4 {
			b.stats = mergeSeconds(b.stats, span)
		}
	}
	if len(b.gaps) > maxGaps {
		b.gaps = mergeGaps(b.gaps)
	}
}

// mergeSeconds adds up what a function did within each span of so many seconds.
func mergeSeconds(seconds []FunctionSecond, span int64) []FunctionSecond {
	type key struct {
		f      *trace.Function
		second int64
	}
	at := make(map[key]int, len(seconds))
	var merged []FunctionSecond
	for i := range seconds {
		s := seconds[i]
		s.Second -= s.Second % span
		k := key{s.Func, s.Second}
		if j, ok := at[k]; ok {
			merged[j].merge(&s)
			continue
		}
		at[k] = len(merged)
		merged = append(merged, s)
	}
	return merged
}

// mergeGaps adds gaps of the same function, process and reason up, at the time
// of the first. Where there are too many of those as well, processes are no longer told apart.
func mergeGaps(gaps []trace.Gap) []trace.Gap {
	type key struct {
		f            *trace.Function
		pid          int
		reason, hint string
	}
	for _, processes := range []bool{true, false} {
		at := make(map[key]int)
		var merged []trace.Gap
		for _, g := range gaps {
			if !processes {
				g.PID = 0
			}
			k := key{g.Func, g.PID, g.Reason, g.Hint}
			if j, ok := at[k]; ok {
				merged[j].Count += g.Count
				continue
			}
			at[k] = len(merged)
			merged = append(merged, g)
		}
		gaps = merged
		if len(gaps) <= maxGaps/2 {
			break
		}
	}
	return gaps
}

// drops counts calls that are given up, until gaps and statistics have told of
// them. It is guarded by its store.
type drops struct {
	waiting     map[dropKey]uint64         // for their gaps
	uncorrected map[*trace.Function]uint64 // that statistics have, or will have, as recorded
	reasons     map[string]uint64          // of all
	sinceNS     int64                      // when the first of waiting was dropped
}

type dropKey struct {
	f            *trace.Function
	reason, hint string
}

func (d *drops) add(f *trace.Function, n uint64, reason, hint string) {
	if d.uncorrected == nil {
		d.uncorrected, d.reasons = make(map[*trace.Function]uint64), make(map[string]uint64)
	}
	d.uncorrected[f] += n
	d.reasons[reason] += n
	d.wait(dropKey{f, reason, hint}, n)
}

// lost counts something that is no call.
func (d *drops) lost(reason string) { d.wait(dropKey{reason: reason}, 1) }

func (d *drops) wait(k dropKey, n uint64) {
	if len(d.waiting) == 0 {
		d.waiting, d.sinceNS = make(map[dropKey]uint64), nowNS()
	}
	d.waiting[k] += n
}

// gaps gives what no gap has told of yet.
func (d *drops) gaps() []trace.Gap {
	var gaps []trace.Gap
	for k, n := range d.waiting {
		gaps = append(gaps, trace.Gap{TimeNS: d.sinceNS, Func: k.f, Count: n, Reason: k.reason, Hint: k.hint})
	}
	d.waiting = nil
	return gaps
}

// correct has a second say of dropped calls that they are not recorded. Who
// counts a call as recorded hands it over first, and its second after it.
func (d *drops) correct(s *FunctionSecond) {
	n := min(d.uncorrected[s.Func], s.Recorded)
	if n == 0 {
		return
	}
	s.Recorded -= n
	s.Dropped += n
	if d.uncorrected[s.Func] -= n; d.uncorrected[s.Func] == 0 {
		delete(d.uncorrected, s.Func)
	}
}

// corrections gives what no second came for that could be corrected: seconds
// that take dropped calls off what earlier ones counted as recorded.
func (d *drops) corrections() []FunctionSecond {
	var seconds []FunctionSecond
	for f, n := range d.uncorrected {
		s := FunctionSecond{Second: nowNS() / 1e9, Recorded: -n}
		s.Func, s.Dropped = f, n
		seconds = append(seconds, s)
	}
	d.uncorrected = nil
	slices.SortFunc(seconds, func(a, b FunctionSecond) int { return int(a.Func.ID) - int(b.Func.ID) })
	return seconds
}

func (d *drops) byReason() map[string]uint64 {
	all := make(map[string]uint64, len(d.reasons))
	for reason, n := range d.reasons {
		all[reason] = n
	}
	return all
}
