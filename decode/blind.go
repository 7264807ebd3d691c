package decode

import (
	"math"

	"github.com/observatory-trace/observatory-trace/trace"
)

// blindness is when probes that tell of unwinding were not in place: who was unwound then may be taken for open, and what
// is raised later be taken for the cause.
type blindness struct {
	periods []blindPeriod // by their beginning; the oldest are forgotten
}

type blindPeriod struct {
	way      trace.Unwinding
	from, to uint64 // monotonic ns
}

// maxBlind is how many periods are remembered.
const maxBlind = 256

// begin tells that what tells of a way of unwinding is out from a time on.
func (b *blindness) begin(way trace.Unwinding, at uint64) {
	if len(b.periods) == maxBlind {
		b.periods[1].from = 0 // long ago may be any time
		b.periods = append(b.periods[:0], b.periods[1:]...)
	}
	b.periods = append(b.periods, blindPeriod{way, at, math.MaxUint64})
}

// end tells that it is in place again from a time on.
func (b *blindness) end(way trace.Unwinding, at uint64) {
	for i := range b.periods {
		if p := &b.periods[i]; p.way == way && p.to == math.MaxUint64 {
			p.to = at
		}
	}
}

// anyWay asks for periods of all ways of unwinding.
const anyWay = trace.UnwindingNone

// during says whether there was such a period, of a way of unwinding, at some time between two.
func (b *blindness) during(way trace.Unwinding, from, to uint64) bool {
	for i := len(b.periods) - 1; i >= 0; i-- {
		if p := &b.periods[i]; p.from < to && p.to > from && (way == anyWay || p.way == way) {
			return true
		}
	}
	return false
}

// unwoundError is that of a call that was left without a return, by an end, and nobody knows why.
func (d *Decoder) unwoundError(end uint64) *trace.Error {
	message := "its frame was left without a return"
	if len(d.blind.periods) > 0 && d.blind.periods[0].from < end {
		message += "; nobody saw by what: see --max-overhead"
	}
	return &trace.Error{Type: "unwound", Message: message}
}
