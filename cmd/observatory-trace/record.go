package main

import (
	"context"
	"errors"
	"runtime"
	"syscall"
	"time"

	"github.com/observatory-trace/observatory-trace/attach"
	"github.com/observatory-trace/observatory-trace/decode"
	"github.com/observatory-trace/observatory-trace/node"
	"github.com/observatory-trace/observatory-trace/trace"
	"github.com/observatory-trace/observatory-trace/writer"
)

// recorder carries records from a session through the decoder to the store, on one goroutine.
// What the decoder has printed by others comes back in order.
type recorder struct {
	session *attach.Session
	store   *writer.Store
	decoder *decode.Decoder
	show    func(*trace.Call) error // -o json and tree; nil for none
	unread  bool                    // nobody reads any more what is shown, which ends the run and is no failure
	limit   uint64                  // calls, 0 for no limit

	stats     writer.Accumulator
	batch     []*trace.Call
	rules     rules
	warden    *warden
	recorded  uint64
	unwanted  uint64 // calls that are only counted
	lostCalls uint64 // entries that the ring buffer had no room for
	crowded   uint64 // entries that the probes had no memory for
	ids       idBlock
	err       error         // of a callback; ends the run
	metrics   *node.Metrics // nil for none
}

// idBlock is ids reserved in the store and not yet given to calls.
type idBlock struct{ next, end uint64 }

const (
	batchCalls = 512
	maxWorkers = 4 // goroutines that print values beside the one that reads
	idsAtOnce  = 4096
)

func newRecorder(session *attach.Session, store *writer.Store, capture captureFlags, rules rules, show func(*trace.Call) error, limit uint64) *recorder {
	r := &recorder{session: session, store: store, rules: rules, show: show, limit: limit}
	config := decoding(session, capture, rules)
	config.NextID, config.Emit, config.Gap = r.nextID, r.emit, r.gap
	r.decoder = decode.New(config)
	session.BeforeForget = r.decoder.Flush
	store.ReleaseTo(r.decoder.Recycle)
	return r
}

// decoding has what a decoder asks of a session, and the limits of what it shows.
func decoding(session *attach.Session, capture captureFlags, rules rules) decode.Config {
	return decode.Config{
		Function:  session.Function,
		Process:   session.Process,
		Thread:    attach.Thread,
		Wall:      session.Clock.Wall,
		Raw:       session.Clock.Raw,
		SameStack: session.SameMapping,
		Symbol:    session.Symbol,
		Dynamic: func(tgid uint32, word uint64, empty bool) (decode.Dynamic, bool) {
			d, ok := session.Dynamic(tgid, word, !empty)
			return decode.Dynamic{Name: d.Name, Type: d.Type, Direct: d.Direct}, ok
		},
		Vtable: func(tgid uint32, address uint64) (decode.Dynamic, bool) {
			d, ok := session.Vtable(tgid, address)
			return decode.Dynamic{Name: d.Name, Type: d.Type, Adjust: d.Adjust, Align: d.Align}, ok
		},
		Generic: func(tgid uint32, dictionary uint64, index uint32) (decode.Dynamic, bool) {
			d, ok := session.Generic(tgid, dictionary, index)
			return decode.Dynamic{Name: d.Name, Type: d.Type, Direct: d.Direct}, ok
		},
		TypeArguments: session.TypeArguments,
		Stack:         session.Stack,
		Errno:         session.Errno,
		Rate:          session.Rate,
		Redact:        rules.redact,
		ShowSecrets:   rules.showSecrets,
		MaxString:     int(capture.maxString),
		MaxItems:      int(capture.maxItems),
		Workers:       min(runtime.GOMAXPROCS(0)-1, maxWorkers),
	}
}

// run records until the context ends, every target has ended (unless more may
// come), the limit is reached, or nobody reads what is shown. Then what was delivered by then is read, unless
// hurry ends, and what is still open is recorded so.
func (r *recorder) run(ctx, hurry context.Context, more bool) error {
	for n := 0; r.err == nil && !r.full() && !r.unread; n++ {
		record, err := r.session.Next()
		idle := errors.Is(err, attach.ErrIdle)
		if err != nil && !idle {
			return err
		}
		if !idle {
			r.decode(record)
		}
		if !idle && n%32 != 0 {
			continue
		}
		if ctx.Err() != nil || idle && !more && r.session.Live() == 0 {
			break
		}
		r.housekeep(idle)
	}
	return r.finish(hurry)
}

func (r *recorder) full() bool { return r.limit > 0 && r.recorded >= r.limit }

// housekeep hands over what has waited long enough, and counts losses once a second.
func (r *recorder) housekeep(idle bool) {
	if idle {
		r.decoder.Poll()
		r.flush()
	}
	if now := time.Now(); r.warden.due(now) {
		r.sweep(now, true)
	}
}

// sweep stores the statistics and the losses since the last one, and, going on, has the budgets kept.
func (r *recorder) sweep(now time.Time, goingOn bool) {
	counts, err := r.session.Counts()
	r.fail(err)
	for i := range counts.Tallies {
		r.stats.Tally(&counts.Tallies[i])
		r.unwanted += counts.Tallies[i].LeftOut
	}
	for _, g := range counts.Losses {
		switch g.Reason {
		case attach.GapEntriesLost:
			r.lostCalls += g.Count
		case attach.GapEntriesCrowded:
			r.crowded += g.Count
		case attach.GapExitsLost, attach.GapExitsCrowded:
			r.decoder.Lost(g.Func.ID, g.Count)
		}
		r.gap(g)
	}
	r.decoder.Poll()
	covered := r.warden.observe(&counts, r.session.Fill(), now, goingOn)
	r.stats.Cover(func(f *trace.Function) (share, off float64) {
		e := covered[r.session.Base(f)]
		return e.Coverage, e.Error
	})
	r.flush()
	take := r.stats.Take
	if goingOn {
		take = r.stats.TakeSettled
	}
	seconds := take(now)
	r.fail(r.store.Stats(seconds))
	if r.metrics != nil {
		r.tell(counts, seconds, now)
	}
}

// finish stops the probes, reads what they delivered, and stores the rest.
func (r *recorder) finish(hurry context.Context) error {
	r.warden.slicer.close()
	if hurry.Err() == nil {
		r.warden.lastLook()
	}
	stopped := attach.Monotonic() // until here, calls that have not ended are known to be open
	r.fail(r.session.Stop())
	r.warden.stopped()
	for r.err == nil && !r.full() {
		if hurry.Err() != nil {
			r.gap(trace.Gap{TimeNS: time.Now().UnixNano(), Count: 1, Reason: "stopped twice: what was delivered last was not read", Hint: "wait for the first Ctrl-C to end it"})
			break
		}
		record, err := r.session.Next()
		if errors.Is(err, attach.ErrIdle) {
			break
		}
		if r.fail(err); err == nil {
			r.decode(record)
		}
	}
	r.fail(r.session.Finish(r.decode))
	// First the losses: they tell a lost exit from an unwound frame.
	r.sweep(time.Now(), false)
	r.decoder.Close(stopped)
	r.sweep(time.Now(), false)
	r.unseen()
	return r.err
}

// unseen tells how many calls there may have been of which no estimate tells yet: since probes were last in place.
func (r *recorder) unseen() {
	var seconds []writer.FunctionSecond
	r.warden.governor.Unseen(func(f *trace.Function, calls, off float64) {
		if f.Role != trace.RoleCall {
			r.warden.miss(f, calls, off)
			return
		}
		if s, ok := r.stats.Extend(f, calls, off); ok {
			seconds = append(seconds, s)
			return
		}
		r.gap(trace.Gap{TimeNS: time.Now().UnixNano(), Func: f, Count: uint64(calls), Reason: "its probes were never in place: calls, by a glance at it before", Hint: "trace for longer, or raise --max-overhead"})
	})
	r.warden.tellMissed(time.Now())
	r.fail(r.store.Stats(seconds))
}

// decode takes a record. One that can't be read is a gap, and not the end.
func (r *recorder) decode(record []byte) {
	for _, t := range r.warden.slicer.turned() {
		if t.in {
			r.decoder.Seen(t.id, t.at)
		} else {
			r.decoder.Unseen(t.id, t.at)
		}
	}
	if err := r.decoder.Record(record); err != nil {
		r.gap(trace.Gap{TimeNS: time.Now().UnixNano(), Count: 1, Reason: "record not readable: " + err.Error()})
	}
}

func (r *recorder) emit(c *trace.Call) (kept bool) {
	if r.full() {
		return false
	}
	if !r.rules.wants(c) {
		r.unwanted++
		r.stats.LeftOut(c)
		return false
	}
	r.recorded++
	r.stats.Recorded(c)
	if r.show != nil && !r.unread {
		err := r.show(c)
		if r.unread = errors.Is(err, syscall.EPIPE); !r.unread {
			r.fail(err)
		}
	}
	r.batch = append(r.batch, c)
	if len(r.batch) >= batchCalls {
		r.flush()
	}
	return true
}

// flush hands over to the store what came through.
func (r *recorder) flush() {
	if len(r.batch) == 0 {
		return
	}
	r.fail(r.store.Write(r.batch))
	r.batch = r.batch[:0]
}

func (r *recorder) gap(g trace.Gap) { r.fail(r.store.Gap(g)) }

func (r *recorder) nextID() uint64 {
	if r.ids.next == r.ids.end {
		first, err := r.store.NextIDs(idsAtOnce)
		r.fail(err)
		r.ids = idBlock{first, first + idsAtOnce}
	}
	r.ids.next++
	return r.ids.next - 1
}

// fail keeps the first error.
func (r *recorder) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}
