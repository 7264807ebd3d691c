package decode

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// raise is evidence that frames end without returning: something was raised
// below them.
type raise struct {
	kind raiseKind
	pos  uint64 // of the function that raised it: the frames that may die are shallower
	cfa  uint64
	seq  uint64 // when: frames of a smaller seq were open
	ts   uint64 // the same, monotonic ns
	by   uint64 // seq of the innermost open call: it raised it
	from uint64 // the address behind the call that raised it; 0 when unknown
	*raised
	// flags tell that something was withheld from its error.
	flags trace.CallFlags
	// object is the address of the exception's unwinding header, 0 when unknown.
	object uint64
	// record is the event, while its stack is not known: nobody that is known to be open may die of it.
	record []byte
	// unwinding: its _Unwind_RaiseException has been seen.
	unwinding bool
	// final: the process ends by it.
	final bool
	// caught: a handler runs; its frames have been closed.
	caught bool
	// over: what raised it is gone from the stack. Frames yet to be found dead
	// still died of it, but nothing dies of it any more.
	over bool
}

type raiseKind uint8

const (
	raisePanic     raiseKind = iota // Go
	raiseException                  // C++, or of an unknown language
	raiseRust
	raiseForced // pthread_exit, cancellation
	raiseJump   // longjmp
)

func (k raiseKind) way() trace.Unwinding {
	return [...]trace.Unwinding{trace.UnwindingPanics, trace.UnwindingExceptions, trace.UnwindingExceptions, trace.UnwindingThreads, trace.UnwindingJumps}[k]
}

// raised is what calls that die of a raise have failed by.
type raised struct {
	err   trace.Error
	stack bool // whether it has one
}

func raisedError(typ, message string) *raised {
	return &raised{err: trace.Error{Type: typ, Message: message}}
}

// diedOf takes note of what a call died of.
func (d *Decoder) diedOf(call *pending, r *raise) {
	if r.record != nil {
		if e, err := ParseEvent(r.record); err == nil && !r.stack {
			d.nameStack(r.raised, &e)
		}
		r.record = nil
	}
	call.cause = r.raised
	call.Flags |= r.flags
}

// remember keeps what is dealt with for calls that died of it and are told later.
func (o *owner) remember(r raise) {
	if len(o.past) == maxRaises {
		o.past = slices.Delete(o.past, 0, 1)
	}
	o.past = append(o.past, r)
}

// lateCause is what a frame died of that is told late and was gone by a time, nil when that isn't known.
func (d *Decoder) lateCause(o *owner, f *frame, gone uint64) *raise {
	if jump := d.jumped(o, f); jump != nil && jump.ts <= gone {
		return jump
	}
	latest := d.cause(o, f)
	if latest != nil && latest.ts > gone {
		latest = nil
	}
	for i := range o.past {
		if r := &o.past[i]; r.ts > f.ts && r.ts <= gone && r.pos > f.pos && !d.blind.during(anyWay, f.ts, r.ts) && (latest == nil || latest.ts < r.ts) {
			latest = r
		}
	}
	return latest
}

// maxRaises is how many are remembered of one owner.
const maxRaises = 16

// raise notes evidence; all frames that are now open and shallower may die of it,
// and have its stack. An exception that is thrown again has that of the first time.
func (d *Decoder) raise(o *owner, e *Event, r raise) *raise {
	if len(o.raises) == maxRaises {
		// One that is over is needed the least.
		i := max(slices.IndexFunc(o.raises, func(r raise) bool { return r.over || r.caught }), 0)
		o.raises = slices.Delete(o.raises, i, i+1)
	}
	d.seq++
	r.seq, r.pos, r.cfa, r.ts, r.from = d.seq, e.Pos, e.CFA, e.TS, e.Arg
	r.flags |= d.printer.flags & trace.FlagRedacted
	if n := len(o.open); n > 0 {
		r.by = o.open[n-1].seq
		if !r.stack {
			d.nameStack(r.raised, e)
		}
	} else if !r.stack {
		r.record = bytes.Clone(e.raw)
	}
	o.raises = append(o.raises, r)
	return &o.raises[len(o.raises)-1]
}

// cause is what a frame that is gone died of, as far as is known: it may have been gone before, while nobody saw what
// was raised.
func (d *Decoder) cause(o *owner, f *frame) *raise {
	if r := d.jumped(o, f); r != nil {
		return r
	}
	if r := o.suspect(f); r != nil && (!d.blind.during(anyWay, f.ts, r.ts) || d.raisedIn(o, f, r)) {
		return r
	}
	return nil
}

// jumped is the jump that a frame's own code made: whatever is raised after it goes through others; nil when it made none.
func (d *Decoder) jumped(o *owner, f *frame) *raise {
	for i := range o.raises {
		if r := &o.raises[i]; r.kind == raiseJump && r.ts > f.ts && d.raisedIn(o, f, r) {
			return r
		}
	}
	return nil
}

// raisedIn says whether it was a frame's own code that raised something.
func (d *Decoder) raisedIn(o *owner, f *frame, r *raise) bool {
	if r.from > f.code && r.from-f.code <= f.fn.Size {
		return true
	}
	// Compilers put what throws apart: "f(int) [clone .cold]".
	return r.from != 0 && r.by == f.seq && d.config.Symbol != nil && strings.HasPrefix(d.config.Symbol(o.key.tgid, r.from-1), f.fn.Name)
}

// suspect is what a frame that is gone died of, if all was seen: what it raised itself, else the
// latest that was raised below it; nil when nothing was. A forced unwinding
// goes on to the thread's end, with jumps to its cleanup handlers on the way.
func (o *owner) suspect(f *frame) *raise {
	var own, latest *raise
	for i := len(o.raises) - 1; i >= 0; i-- {
		r := &o.raises[i]
		if r.seq < f.seq {
			break
		}
		// A jump may come from another stack, of a signal's handler.
		if r.caught || r.pos <= f.pos && r.kind != raiseJump {
			continue
		}
		if r.kind == raiseForced {
			return r
		}
		if r.by == f.seq && own == nil {
			own = r
		}
		if latest == nil {
			latest = r
		}
	}
	return cmp.Or(own, latest)
}

// fatal is what an open call of an owner that ends at a time died of, or nil: when tracing stops, what is in flight may
// yet be recovered from, and a process that is killed died of that, unless it has given up by itself.
func (d *Decoder) fatal(o *owner, f *frame, why endReason, at uint64) *raise {
	if k := &o.process.killer; why != reasonDeath || k.fatal && signalName(k.number) != "SIGABRT" {
		return nil
	}
	for i := len(o.raises) - 1; i >= 0; i-- {
		r := &o.raises[i]
		if r.seq < f.seq {
			break
		}
		// Nobody may have seen that it was caught.
		if r.caught || r.over || r.kind == raiseJump || r.pos <= f.pos || !r.final && d.blind.during(r.kind.way(), r.ts, at) {
			continue
		}
		return r
	}
	return nil
}

// goneOn marks the panics that are over when a goroutine's event is at pos:
// deferred functions run deeper than the panic that runs them.
func (o *owner) goneOn(pos uint64) {
	for i := range o.raises {
		if pos <= o.raises[i].pos {
			o.raises[i].over = true
		}
	}
}

// outlived forgets what was raised below a call that returned: it was dealt
// with below it. A destructor that returns was entered after the raise, and
// shows nothing.
func (o *owner) outlived(seq, pos uint64) {
	for i := len(o.raises) - 1; i >= 0 && o.raises[i].seq > seq; i-- {
		o.raises = o.raises[:i]
	}
	if o.key.space == spaceGoroutine {
		o.goneOn(pos)
	}
}

// evidence takes the entry of a function that has a role.
func (d *Decoder) evidence(o *owner, e *Event, fn *function) {
	d.miss(o, uint32(e.More>>insideShift), e.Pos)
	if fn.Role == trace.RoleCatch {
		d.caught(o, e, fn)
		return
	}
	d.clear(o, e, fn)
	switch fn.Role {
	case trace.RoleGoPanic, trace.RoleGoFatal, trace.RoleGoUncaught:
		d.panics(o, e, fn)
	case trace.RoleGoRecovery:
		d.recovered(e, fn)
	case trace.RoleGoexit:
		d.goexit(o, e)
	case trace.RoleThrow:
		d.raise(o, e, raise{kind: raiseException, raised: &raised{err: d.exception(e, fn)}, object: d.thrownHeader(e, fn)})
	case trace.RoleRethrow:
		d.rethrown(o, e)
	case trace.RoleUnwind:
		d.unwinding(o, e, fn)
	case trace.RoleForced:
		d.raise(o, e, raise{kind: raiseForced, raised: raisedError("forced unwind", "pthread_exit or thread cancellation")})
	case trace.RoleLongjmp:
		d.raise(o, e, raise{kind: raiseJump, raised: raisedError("longjmp", "left by longjmp")})
	case trace.RoleRustPanic:
		d.rustPanic(o, e, fn)
	}
}

// stack names the frames of an event's stack; ip is an instruction of the
// innermost function, 0 to leave that one out.
func (p *printer) stack(e *Event, ip uint64) (lines string, ok bool) {
	raw, lack, ok := e.stack()
	if !ok || p.config.Stack == nil {
		return "", false
	}
	if len(raw.Registers)+len(raw.Returns) == 0 {
		if lack == stackBudget {
			return noBudget, true
		}
		return noRoom, true
	}
	raw.IP, raw.Interrupted = ip, e.Kind == EventSignal
	return p.config.Stack(e.TGID, raw), true
}

// nameStack names the frames of what was raised, now or later.
func (d *Decoder) nameStack(r *raised, e *Event) {
	if d.later(e) {
		_, _, r.stack = e.stack()
		d.pipeline.add(job{kind: jobStack, raised: r}, e)
		return
	}
	r.err.Stack, r.stack = d.printer.stack(e, 0)
}

// What stands for a stack that the probe left out.
const (
	noRoom   = "(not copied: the ring buffer of errors was nearly full)"
	noBudget = "(not copied: stacks like this take more than --max-overhead allows)"
)

// returnStack is the stack of a call that returns.
func (p *printer) returnStack(e *Event, fn *function) string {
	if e.Flags&EventUretprobe == 0 {
		lines, _ := p.stack(e, e.IP)
		return lines
	}
	callers, _ := p.stack(e, 0)
	if callers == "" {
		return ""
	}
	return place(fn) + "\n" + callers // which of its instructions was the last isn't known
}

// place is a function as a line of a stack.
func place(fn *function) string {
	if fn.File == "" {
		return fn.Name + " " + fn.Module
	}
	return fn.Name + " " + fn.File + ":" + strconv.Itoa(fn.Line)
}

func (d *Decoder) panicValue(e *Event, fn *function) trace.Error {
	for i := range fn.args {
		p := &fn.args[i]
		if !p.readable(e) {
			continue
		}
		data := e.Root[p.field.Offset:]
		switch p.field.Type.Kind {
		case trace.KindInterface:
			return *d.printer.panicOf(p.field.Type, data)
		case trace.KindString: // the runtime's own errors, which end the process
			message, _ := d.printer.goString(p.field.Type, data)
			return trace.Error{Type: "fatal error", Message: message}
		}
	}
	return trace.Error{Type: "panic"}
}

// goexit ends all calls of a goroutine: their deferred functions are run,
// nothing returns. Its frames stay as the callers of those functions.
func (d *Decoder) goexit(o *owner, e *Event) {
	r := raise{pos: e.Pos, ts: e.TS, record: bytes.Clone(e.raw), raised: raisedError("runtime.Goexit", "the goroutine ended")}
	for i := len(o.open) - 1; i >= 0; i-- {
		if f := &o.open[i]; f.call != nil {
			d.unwound(o, f, e.TS, &r)
		}
	}
	o.remember(r)
	d.rank(o)
}

// recovered takes runtime.recovery(gp), which unwinds a goroutine to the frame
// that recovers a panic. It runs on g0; what was captured from gp says which
// goroutine (goid), the upper end of its stack (hi) and the canonical frame
// address of the recovering frame (panic.fp).
func (d *Decoder) recovered(e *Event, fn *function) {
	goid, ok := d.capturedWord(e, fn.args, "goid")
	hi, ok2 := d.capturedWord(e, fn.args, "hi")
	fp, ok3 := d.capturedWord(e, fn.args, "fp")
	if !ok || !ok2 || !ok3 || fp > hi {
		return
	}
	o := d.owners[ownerKey{e.TGID, spaceGoroutine, goid}]
	if o == nil {
		return
	}
	pos := hi - fp
	n := len(o.open)
	for ; n > 0 && o.open[n-1].pos > pos; n-- {
		d.die(o, &o.open[n-1], e.TS, nil)
		o.open[n-1] = frame{}
		d.frames--
	}
	o.open = o.open[:n]
	o.raises = slices.DeleteFunc(o.raises, func(r raise) bool {
		if r.pos > pos {
			o.remember(r)
		}
		return r.pos > pos
	})
	o.emptied()
	d.rank(o)
}

// capturedWord finds an 8-byte field of a name in an event's root, or in a
// structure that the root points to.
func (d *Decoder) capturedWord(e *Event, params []param, name string) (uint64, bool) {
	for i := range params {
		p := &params[i]
		if !p.readable(e) {
			continue
		}
		data := e.Root[p.field.Offset:]
		if p.field.Name == name {
			return word(data, 0)
		}
		if v, ok := d.wordBehind(p.field.Type, data, name); ok {
			return v, true
		}
	}
	return 0, false
}

func (d *Decoder) wordBehind(t *trace.Type, data []byte, name string) (uint64, bool) {
	for range 3 {
		addr, ok := word(data, 0)
		if !ok || t.Kind != trace.KindPointer || t.Elem == nil {
			return 0, false
		}
		b := d.printer.find(addr, t.Elem.ID)
		if b == nil {
			return 0, false
		}
		t, data = t.Elem, b.Data
		next := -1
		for i := range t.Fields {
			f := &t.Fields[i]
			if f.Name == name {
				return word(data, f.Offset)
			}
			if f.Type != nil && f.Type.Kind == trace.KindPointer && f.Type.Elem != nil && next < 0 {
				next = i
			}
		}
		if next < 0 || uint64(t.Fields[next].Offset) > uint64(len(data)) {
			return 0, false
		}
		t, data = t.Fields[next].Type, data[t.Fields[next].Offset:]
	}
	return 0, false
}

// panics takes what tells of a Go panic. One that nothing recovers was told when it began, if that was seen.
func (d *Decoder) panics(o *owner, e *Event, fn *function) {
	if fn.Role == trace.RoleGoUncaught {
		for i := len(o.raises) - 1; i >= 0; i-- {
			if r := &o.raises[i]; r.kind == raisePanic && !r.over && !d.blind.during(trace.UnwindingPanics, r.ts, e.TS) {
				r.final = true
				return
			}
		}
	}
	d.raise(o, e, raise{kind: raisePanic, final: fn.Role != trace.RoleGoPanic, raised: &raised{err: d.panicValue(e, fn)}})
}

// inFlight is the latest exception that no handler has caught, or nil.
func (o *owner) inFlight() *raise {
	for i := len(o.raises) - 1; i >= 0; i-- {
		r := &o.raises[i]
		if !r.caught && !r.over && (r.kind == raiseException || r.kind == raiseRust) {
			return r
		}
	}
	return nil
}

// unwinding takes _Unwind_RaiseException, which throw and panic call, too.
func (d *Decoder) unwinding(o *owner, e *Event, fn *function) {
	object := d.firstWord(e, fn)
	if r := o.inFlight(); r != nil && !r.unwinding && e.Pos > r.pos {
		r.unwinding = true
		if object != 0 {
			r.object = object
		}
		return
	}
	// std::rethrow_exception and other languages.
	r := raise{kind: raiseException, raised: raisedError("exception", ""), object: object, unwinding: true}
	if i := slices.IndexFunc(o.raises, func(r raise) bool { return r.caught && object != 0 && r.object == object }); i >= 0 {
		r.raised, r.flags = o.raises[i].raised, o.raises[i].flags
	}
	d.raise(o, e, r)
}

func (d *Decoder) firstWord(e *Event, fn *function) uint64 {
	if len(fn.args) == 0 || !fn.args[0].readable(e) {
		return 0
	}
	v, _ := word(e.Root, fn.args[0].field.Offset)
	return v
}

// rethrown takes __cxa_rethrow: the exception of the innermost handler flies again.
func (d *Decoder) rethrown(o *owner, e *Event) {
	r := raise{kind: raiseException, raised: raisedError("exception", "")}
	for i := len(o.raises) - 1; i >= 0; i-- {
		if o.raises[i].caught {
			r.raised, r.object, r.flags = o.raises[i].raised, o.raises[i].object, o.raises[i].flags
			break
		}
	}
	d.raise(o, e, r)
}

// caught takes __cxa_begin_catch or Rust's like, called by the frame that
// catches: at its position there was, before, the call of that frame which was
// unwound, so all at that position or deeper is gone.
func (d *Decoder) caught(o *owner, e *Event, fn *function) {
	r := o.caughtRaise(d.firstWord(e, fn), e.Pos)
	n := len(o.open)
	for i := n - 1; i >= 0; i-- {
		f := &o.open[i]
		if f.pos < e.Pos && !o.mixed {
			break
		}
		if f.pos < e.Pos || !d.sameStack(o, f, e) {
			continue
		}
		why := r
		if r == nil || r.seq < f.seq || d.blind.during(anyWay, f.ts, r.ts) {
			why = nil
		}
		if jump := d.jumped(o, f); jump != nil {
			why = jump
		}
		d.die(o, f, e.TS, why)
		f.fn = nil
	}
	o.open = slices.DeleteFunc(o.open, func(f frame) bool { return f.fn == nil })
	d.frames -= n - len(o.open)
	switch {
	case r == nil:
	case r.kind == raiseRust:
		// Unoptimised, what catches calls this by way of others, whose frames hide that
		// the outermost of those that were unwound are gone.
		r.over = true
	default:
		r.caught = true
	}
	o.emptied()
	d.rank(o)
}

// caughtRaise finds the exception that a handler at pos takes: the one of that
// header, else the latest in flight. std::terminate is called from a handler
// of its own, deeper than the throw: nothing is caught there.
func (o *owner) caughtRaise(object, pos uint64) *raise {
	for i := len(o.raises) - 1; i >= 0; i-- {
		r := &o.raises[i]
		if object != 0 && r.object == object && !r.caught && !r.over && pos <= r.pos {
			return r
		}
	}
	if r := o.inFlight(); r != nil && pos <= r.pos {
		return r
	}
	return nil
}

func (d *Decoder) rustPanic(o *owner, e *Event, fn *function) {
	for i := range o.raises {
		// A panic while panicking aborts: an older one has been caught.
		if o.raises[i].kind == raiseRust {
			o.raises[i].over = true
		}
	}
	err := trace.Error{Type: "panic"}
	for i := range fn.args {
		p := &fn.args[i]
		if !p.readable(e) {
			continue
		}
		if s, ok := d.printer.panicText(p.field.Type, e.Root[p.field.Offset:]); ok {
			err.Message = s
			break
		}
	}
	d.raise(o, e, raise{kind: raiseRust, raised: &raised{err: err}})
}
