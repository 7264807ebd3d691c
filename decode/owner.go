package decode

import (
	"slices"

	"github.com/observatory-trace/observatory-trace/trace"
)

// space tells apart what an owner's id is, and how its positions compare.
type space uint32

const (
	// spaceThread: C, C++ and Rust, by thread. Positions are ~CFA. A thread can
	// run on several stacks, whose positions say nothing of each other.
	spaceThread space = iota
	// spaceGoroutine: by goid. One stack, which may move: positions decide.
	spaceGoroutine
	// spaceSystem: Go code on a thread's own stacks (g0 and gsignal, whose
	// goid is 0), by thread. The stack is known by its upper end: pos + CFA.
	// The scheduler leaves such frames without returning.
	spaceSystem
	// spaceNoG: Go code whose goroutine could not be read, by thread. Positions are ~CFA.
	spaceNoG
)

// ownerKey is whose calls nest: a goroutine's or a thread's.
type ownerKey struct {
	tgid  uint32
	space space
	id    uint64 // tid or goid
}

// owner is one goroutine or thread with its open calls.
type owner struct {
	key     ownerKey
	process *process
	// open are the frames in order of entry. Unless mixed, their positions ascend.
	open   []frame
	mixed  bool
	live   int     // frames whose call is yet to be emitted
	raises []raise // in order of time
	past   []raise // dealt with: for calls that are told late
	spans  []span

	lastTS   uint64 // of its last event, monotonic ns
	lastTID  uint32
	moved    uint64     // a frame whose seq is not above it has seen another thread
	thread   threadName // of the thread named, which is 0 at first
	named    uint32
	list     *ownerList
	next     [linkKinds]*owner
	previous [linkKinds]*owner
}

// frame is a call on an owner's stack.
type frame struct {
	seq   uint64 // order of entry among this Decoder's frames and raises
	pos   uint64
	cfa   uint64
	ts    uint64 // of entry, monotonic ns
	id    uint64 // the call's, for its children
	root  uint64
	depth int
	below float64 // how likely it was that what it calls is recorded only since it, or a caller of it, was chosen
	flags EventFlags
	late  bool   // what its thread had used at entry is not known
	raw   int64  // of entry, CLOCK_MONOTONIC_RAW, ns
	usage Usage  // at entry
	dict  uint64 // where the types are that a generic function was called with, or 0
	code  uint64 // address of the function's first byte
	fn    *function
	// call is nil when it has been emitted, or is another process's: its exit
	// is then expected but of no interest.
	call *pending
	// passed: a call above it at the same position has returned, so that its
	// own return, seen by a uretprobe, must come next.
	passed bool
}

type linkKind uint8

const (
	linkActivity linkKind = iota
	linkProcess
	linkKinds
)

// ownerList is a doubly linked list through owners. The zero value is empty.
type ownerList struct {
	head, tail *owner
	kind       linkKind
}

func (l *ownerList) add(o *owner) {
	o.previous[l.kind], o.next[l.kind] = l.tail, nil
	if l.tail == nil {
		l.head = o
	} else {
		l.tail.next[l.kind] = o
	}
	l.tail = o
}

func (l *ownerList) remove(o *owner) {
	before, after := o.previous[l.kind], o.next[l.kind]
	if before == nil {
		l.head = after
	} else {
		before.next[l.kind] = after
	}
	if after == nil {
		l.tail = before
	} else {
		after.previous[l.kind] = before
	}
	o.previous[l.kind], o.next[l.kind] = nil, nil
}

// maxIdle is how many owners without calls are kept for their next one.
const maxIdle = 4096

// rank puts an owner at the end of the list that it belongs to.
func (d *Decoder) rank(o *owner) {
	to := &d.idle
	if o.live > 0 {
		to = &d.busy
	}
	if o.list == to && to.tail == o {
		return
	}
	if o.list != nil {
		o.list.remove(o)
	}
	if o.list != to {
		switch {
		case to == &d.idle:
			d.idleCount++
		case o.list == &d.idle:
			d.idleCount--
		}
	}
	to.add(o)
	o.list = to
}

// ownerOf finds the owner of an event of a function.
func (d *Decoder) ownerOf(e *Event, fn *function) *owner {
	key := ownerKey{tgid: e.TGID, id: uint64(e.TID)}
	switch {
	case !fn.isGo:
	case e.Flags&EventNoG != 0:
		key.space = spaceNoG
	case e.Goid == 0:
		key.space = spaceSystem
	default:
		key.space, key.id = spaceGoroutine, e.Goid
	}
	return d.owner(key)
}

func (d *Decoder) owner(key ownerKey) *owner {
	recent := &d.recent[(key.id^uint64(key.tgid))%recentOwners]
	if *recent != nil && (*recent).key == key {
		return *recent
	}
	o := d.owners[key]
	if o == nil {
		o = d.newOwner(key)
	}
	*recent = o
	return o
}

// recentOwners are more than have records by turns, as a rule: threads that run.
const recentOwners = 64

func (d *Decoder) newOwner(key ownerKey) *owner {
	if d.idleCount >= maxIdle {
		d.drop(d.idle.head)
	}
	var o *owner
	if n := len(d.spare); n > 0 {
		o, d.spare = d.spare[n-1], d.spare[:n-1]
	} else {
		o = new(owner)
	}
	o.key = key
	o.process = d.process(key.tgid)
	o.process.owners.add(o)
	d.owners[key] = o
	d.rank(o)
	return o
}

// maxSpare is how many owners' memory is kept for new ones.
const maxSpare = 256

// drop forgets an owner whose calls have all been emitted. A process without
// owners is forgotten, too.
func (d *Decoder) drop(o *owner) {
	delete(d.owners, o.key)
	if recent := &d.recent[(o.key.id^uint64(o.key.tgid))%recentOwners]; *recent == o {
		*recent = nil
	}
	d.frames -= len(o.open)
	if o.list == &d.idle {
		d.idleCount--
	}
	o.list.remove(o)
	o.process.owners.remove(o)
	if o.process.owners.head == nil && d.processes[o.process.tgid] == o.process {
		delete(d.processes, o.process.tgid)
	}
	clear(o.open[:cap(o.open)])
	if len(d.spare) < maxSpare && cap(o.open) <= 64 {
		*o = owner{open: o.open[:0], raises: o.raises[:0], past: o.past[:0], spans: o.spans[:0]}
		d.spare = append(d.spare, o)
	}
}

// endOwner emits an owner's open calls, as its end makes them, and forgets it.
func (d *Decoder) endOwner(o *owner, ts uint64, why endReason) {
	for i := len(o.open) - 1; i >= 0; i-- {
		f := &o.open[i]
		if f.call == nil {
			continue
		}
		if r := d.fatal(o, f, why, ts); r != nil {
			d.unwound(o, f, ts, r)
		} else if err := o.process.killer.error(o, false); err != nil && why == reasonDeath {
			d.finish(o, f, ts, trace.StatusErr, err)
		} else {
			d.finish(o, f, ts, trace.StatusOpen, nil)
		}
	}
	d.drop(o)
}

// enter begins a call.
func (d *Decoder) enter(o *owner, e *Event, fn *function) {
	d.miss(o, uint32(e.More>>insideShift), e.Pos)
	d.clear(o, e, fn)
	n := len(o.open)
	o.mixed = o.mixed || n > 0 && o.open[n-1].pos > e.Pos
	d.seq++
	d.insert(o, n, d.begin(o, e, fn, d.parent(o, n, e), d.seq))
}

// begin makes the frame of a call, below its parent, which is nil for a root.
func (d *Decoder) begin(o *owner, e *Event, fn *function, parent *frame, seq uint64) frame {
	dict := fn.dictionary(e)
	p := d.newPending()
	p.Call = trace.Call{
		ID:        d.config.NextID(),
		Func:      d.instance(fn, e.TGID, dict),
		Process:   d.describe(o.process),
		TID:       int(e.TID),
		Goroutine: e.Goid,
		Thread:    d.threadName(o, e),
		StartNS:   d.config.Wall(e.TS),
	}
	call := &p.Call
	rate, below := d.rates(e, parent)
	call.SampleRate = rate
	call.RootID = call.ID
	if parent != nil {
		call.ParentID, call.RootID, call.Depth = parent.id, parent.root, parent.depth+1
	}
	if d.later(e) && len(fn.args) > 0 {
		p.size = len(e.Root) + len(e.blocks)
		d.pipeline.add(job{kind: jobArgs, call: p, fn: fn, dict: dict}, e)
	} else {
		d.printer.load(e)
		d.printer.dict = dict
		d.printer.printArgs(p, e, fn)
		p.size = len(p.args)
	}
	return frame{
		seq: seq, pos: e.Pos, cfa: e.CFA, ts: e.TS, flags: e.Flags, raw: d.config.Raw(e.TS), usage: e.Usage, fn: fn, call: p,
		id: call.ID, root: call.RootID, depth: call.Depth, below: below, dict: dict,
		code: e.IP - fn.Entry.Offset,
	}
}

// rates gives how likely it was that a call is recorded, so that the sum of 1 / rate over what was recorded is
// about the number of calls, and the same of calls that it makes of functions that are recorded only there.
func (d *Decoder) rates(e *Event, parent *frame) (rate, below float64) {
	rate = e.rate()
	if rate < 1 || parent == nil || parent.below == 1 || d.config.Rate == nil {
		return rate, rate
	}
	switch d.config.Rate(e.Func) {
	case 0: // it is recorded where its caller was chosen, and nowhere else
		return parent.below, parent.below
	case 1: // it is recorded everywhere, which chooses nothing
		return 1, parent.below
	}
	return 1, 1 // it may be chosen where no caller was: the rows of these count for the others
}

// insert makes a frame the one of that index.
func (d *Decoder) insert(o *owner, i int, f frame) {
	o.open = slices.Insert(o.open, i, f)
	d.frames++
	o.live++
	d.bytes += f.call.size
	f.call.held = true
	d.rank(o)
	if len(o.open) > d.config.MaxOpenPerOwner || d.frames > d.config.MaxOpen || d.bytes > d.config.MaxOpenBytes {
		d.evict(o)
	}
}

// late takes the entry of a call that is only told because the call has failed. It has been left
// without a return, or its exit comes next.
func (d *Decoder) late(o *owner, e *Event, fn *function) {
	n := len(o.open)
	for n > 0 && o.open[n-1].ts > e.TS {
		n--
	}
	// What was raised while it was open comes after it.
	seq := d.seq + 1
	for i := len(o.raises) - 1; i >= 0 && o.raises[i].ts > e.TS; i-- {
		seq = o.raises[i].seq
	}
	f := d.begin(o, e, fn, d.parent(o, n, e), seq)
	if e.More&readLate != 0 {
		f.late = true
		f.call.Flags |= trace.FlagLate
	}
	if e.Flags&EventDead == 0 {
		d.insert(o, n, f)
		return
	}
	err := d.unwoundError(e.Arg)
	if r := d.lateCause(o, &f, e.Arg); r != nil {
		err = nil
		d.diedOf(f.call, r)
	} else if killed := o.process.killer.error(o, true); killed != nil {
		err = killed
	}
	d.emit(&f, e.Arg, trace.StatusErr, err)
	d.rank(o)
}

const (
	nameTime = 1_000_000_000 // ns for which a thread's name is taken to stay the same
	maxNames = 4096          // threads of one process whose names are kept
)

func (d *Decoder) threadName(o *owner, e *Event) string {
	if d.config.Thread == nil {
		return ""
	}
	if o.named == e.TID && e.TS-o.thread.at <= nameTime {
		return o.thread.name
	}
	p := o.process
	t, ok := p.names[e.TID]
	if !ok || e.TS-t.at > nameTime {
		t = threadName{d.config.Thread(e.TGID, e.TID), e.TS}
		if p.names == nil || len(p.names) >= maxNames {
			p.names = make(map[uint32]threadName)
		}
		p.names[e.TID] = t
	}
	o.thread, o.named = t, e.TID
	return t.name
}

// parent is which of the first n frames a call is made from: the innermost one of its stack; on a
// stack with none, the innermost of all. It is nil for a root.
func (d *Decoder) parent(o *owner, n int, e *Event) *frame {
	if o.mixed {
		for i := n - 1; i >= 0; i-- {
			if f := &o.open[i]; f.pos <= e.Pos && d.sameStack(o, f, e) {
				return f
			}
		}
	}
	if n == 0 {
		return nil
	}
	return &o.open[n-1]
}

// miss gives up the calls that are not open when a function is entered at a position, or a thread ends, by the
// mark that the probes give, though nothing is at their position: they have returned, and there was no room to
// say so. What is raised from now on, or kills, they have not died of.
func (d *Decoder) miss(o *owner, inside uint32, pos uint64) {
	from := 0
	if inside == 0 || len(o.open) == 0 {
		return
	}
	if inside != markNone {
		for from = len(o.open); from > 0 && markOf(o.open[from-1].ts) != inside; from-- {
		}
		if from == 0 {
			return // the entry of that one was not seen here
		}
	}
	n := len(o.open)
	for i := n - 1; i >= from; i-- {
		f := &o.open[i]
		if f.call == nil || f.pos >= pos {
			continue
		}
		d.die(o, f, o.lastTS, nil)
		f.fn = nil
	}
	o.open = slices.DeleteFunc(o.open, func(f frame) bool { return f.fn == nil })
	d.frames -= n - len(o.open)
	o.emptied()
	d.rank(o)
}

// clear closes what must be dead when a function is entered: whatever is at
// its position or deeper, on the same stack.
func (d *Decoder) clear(o *owner, e *Event, fn *function) {
	if o.key.space == spaceGoroutine {
		o.goneOn(e.Pos)
	}
	n := len(o.open)
	if n == 0 || !o.mixed && o.open[n-1].pos < e.Pos {
		return
	}
	// A function that left by a tail jump, and whose exit a uretprobe sees, is
	// still to return, behind its callee at the same position. The probes know whether it is.
	tail := n
	inside := uint32(e.More >> insideShift)
	for tail > 0 {
		f := &o.open[tail-1]
		if f.pos != e.Pos || !f.fn.uretprobe || f.passed || d.cause(o, f) != nil || tail == n && inside != 0 && inside != markOf(f.ts) {
			break
		}
		tail--
	}
	d.sweep(o, e, fn, func(i int, f *frame) bool { return f.pos >= e.Pos && i < tail })
}

// sweep closes the frames that are dead by position, if they are on the
// event's stack; others stay open: they may be a coroutine's, or those below
// a signal's handler. entered is the function whose entry shows it, or nil.
func (d *Decoder) sweep(o *owner, e *Event, entered *function, dead func(i int, f *frame) bool) {
	kept := len(o.open)
	for i := len(o.open) - 1; i >= 0; i-- {
		f := &o.open[i]
		if !o.mixed && f.pos < e.Pos {
			break
		}
		if !dead(i, f) || !d.sameStack(o, f, e) {
			continue
		}
		if r := d.cause(o, f); r != nil && f.fn == entered && f.pos == e.Pos {
			// Its caller calls it again: whatever it died of has been dealt with.
			r.over = true
		}
		d.die(o, f, o.lastTS, nil)
		f.fn = nil // marks it
		kept--
	}
	if kept < len(o.open) {
		d.frames -= len(o.open) - kept
		o.open = slices.DeleteFunc(o.open, func(f frame) bool { return f.fn == nil })
		o.emptied()
		d.rank(o)
	}
}

// emptied forgets what was known of the stacks once nothing is open on them.
func (o *owner) emptied() {
	if len(o.open) == 0 {
		o.mixed = false
		o.spans = o.spans[:0]
	}
}

// die ends a call whose frame is gone without a return. Without evidence of
// why, what to say of it waits until the losses are known.
func (d *Decoder) die(o *owner, f *frame, end uint64, r *raise) {
	if f.call == nil {
		return
	}
	if r == nil {
		r = d.cause(o, f)
	}
	switch {
	case r != nil:
		d.unwound(o, f, max(end, f.ts), r)
	case o.key.space == spaceSystem:
		// Left by a switch of goroutines, which is no failure.
		f.call.Flags |= trace.FlagLostExit
		d.finish(o, f, max(end, f.ts), trace.StatusOpen, nil)
	default:
		d.release(o, f)
		d.toLimbo(o, *f, d.now)
		f.call = nil
	}
}

// exit ends a call by a return or a tail jump.
func (d *Decoder) exit(o *owner, e *Event, fn *function) {
	i := o.find(fn, e.Pos)
	if i < 0 {
		d.exitAlone(o, e, fn)
		return
	}
	if o.mixed || i != len(o.open)-1 {
		// What was entered later and is deeper is gone.
		d.sweep(o, e, nil, func(j int, f *frame) bool { return f.pos > e.Pos || j > i && f.pos == e.Pos })
		i = o.find(fn, e.Pos)
	}
	f := &o.open[i]
	seq := f.seq
	if at, unseen := fn.wasUnseen(f.ts, e.TS); f.call != nil && unseen {
		// It may have returned unseen, and this be the end of another call of its function.
		f.call.Flags |= trace.FlagLostExit
		d.finish(o, f, at, trace.StatusOpen, nil)
	} else if f.call != nil {
		d.returned(o, f, e)
	}
	if i == len(o.open)-1 {
		f.fn, f.call = nil, nil
		o.open = o.open[:i]
	} else {
		o.open = slices.Delete(o.open, i, i+1)
	}
	d.frames--
	for j := i - 1; j >= 0 && o.open[j].pos == e.Pos; j-- {
		o.open[j].passed = true
	}
	if len(o.raises) > 0 {
		o.outlived(seq, e.Pos)
	}
	o.emptied()
	d.rank(o)
}

// find gives the innermost open call of a function at a position, -1 if none.
func (o *owner) find(fn *function, pos uint64) int {
	for i := len(o.open) - 1; i >= 0; i-- {
		f := &o.open[i]
		if f.pos == pos && f.fn == fn {
			return i
		}
		if f.pos < pos && !o.mixed {
			break
		}
	}
	return -1
}

// returned emits a call at its exit.
func (d *Decoder) returned(o *owner, f *frame, e *Event) {
	p := f.call
	p.measured = d.resources(&p.resources, o, f, e)
	p.OverheadNS = int64(min(e.More, e.TS-f.ts))
	if e.Flags&EventTail != 0 {
		p.Flags |= trace.FlagTailCall
		d.finish(o, f, e.TS, trace.StatusOK, nil)
		return
	}
	if d.later(e) {
		d.pipeline.add(job{kind: jobResult, call: p, fn: f.fn, dict: f.dict}, e)
	} else {
		d.printer.load(e)
		d.printer.dict = f.dict
		d.printer.printResult(p, e, f.fn)
	}
	d.finish(o, f, e.TS, trace.StatusOK, nil)
}

// exitAlone takes an exit without an open call. It still shows which frames
// are gone.
func (d *Decoder) exitAlone(o *owner, e *Event, fn *function) {
	if f, ok := d.fromLimbo(o.key, fn, e.Pos); ok {
		o.live++ // as it was before it was given up
		d.bytes += f.call.size
		f.call.held = true
		d.returned(o, &f, e)
		d.rank(o)
		return
	}
	if n := len(o.open); n > 0 && (o.mixed || o.open[n-1].pos >= e.Pos) {
		d.sweep(o, e, nil, func(_ int, f *frame) bool { return f.pos > e.Pos || f.pos == e.Pos && !f.fn.uretprobe })
	}
	if o.key.space == spaceGoroutine {
		o.goneOn(e.Pos)
	}
	d.straying(o, fn, e.Pos)
}

// release takes a call out of its owner's account.
func (d *Decoder) release(o *owner, f *frame) {
	o.live--
	d.bytes -= f.call.size
	f.call.held = false
}

// unwound emits an owner's call that died of what was raised.
func (d *Decoder) unwound(o *owner, f *frame, end uint64, r *raise) {
	d.diedOf(f.call, r)
	d.finish(o, f, end, trace.StatusErr, nil)
}

// finish emits an owner's call. The frame stays, without its call.
func (d *Decoder) finish(o *owner, f *frame, end uint64, status trace.Status, err *trace.Error) {
	d.release(o, f)
	d.emit(f, end, status, err)
}

func (d *Decoder) emit(f *frame, end uint64, status trace.Status, err *trace.Error) {
	p := f.call
	f.call = nil
	if end > f.ts {
		p.DurationNS = int64(min(end-f.ts, 1<<63-1))
	}
	p.Status = status
	if err != nil {
		p.failure = err
	}
	if d.pipeline != nil && !d.pipeline.empty() {
		d.pipeline.deliver(p)
		return
	}
	d.deliver(p)
}

// span is a part of a stack: the frame addresses that are known to lie in one mapping.
type span struct{ low, high uint64 }

const maxSpans = 64

// guardPage is the least distance in bytes between two stacks' frames: an
// unmapped page lies between stacks that are mappings of their own.
const guardPage = 4096

// sameStack says whether a frame is on the stack of an event.
func (d *Decoder) sameStack(o *owner, f *frame, e *Event) bool {
	switch {
	case o.key.space == spaceGoroutine || f.cfa == e.CFA:
		return true
	case o.key.space == spaceSystem:
		return f.pos+f.cfa == e.Pos+e.CFA
	case d.config.SameStack == nil || max(f.cfa, e.CFA)-min(f.cfa, e.CFA) < guardPage:
		return true
	}
	return d.spanOf(o, f.cfa) == d.spanOf(o, e.CFA)
}

// spanOf gives the index of the span around a frame address, which it widens
// or adds when there is none.
func (d *Decoder) spanOf(o *owner, cfa uint64) int {
	if i := o.spanAround(cfa); i >= 0 {
		return i
	}
	for i := range o.spans {
		if s := &o.spans[i]; d.config.SameStack(o.key.tgid, s.low, cfa) {
			s.low, s.high = min(s.low, cfa), max(s.high, cfa)
			return i
		}
	}
	if len(o.spans) == maxSpans {
		// Its last place is used anew: the two that are compared stay apart.
		o.spans[maxSpans-1] = span{cfa, cfa}
		return maxSpans - 1
	}
	o.spans = append(o.spans, span{cfa, cfa})
	return len(o.spans) - 1
}

func (o *owner) spanAround(cfa uint64) int {
	return slices.IndexFunc(o.spans, func(s span) bool { return s.low <= cfa && cfa <= s.high })
}
