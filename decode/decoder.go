package decode

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/observatory-trace/observatory-trace/decode/secret"
	"github.com/observatory-trace/observatory-trace/trace"
)

// Config is what a Decoder asks of the session around it, and its limits.
// Its functions are called from within the Decoder's methods, on the same
// goroutine; they must not call back. Function, NextID and Emit are needed,
// the others may be nil.
type Config struct {
	// Function gives a function by its id, nil when there is none. It is asked once for each id.
	Function func(id uint32) *trace.Function
	// Dynamic says what a Go interface holds, by its first word: the address of a runtime type
	// when the interface is empty, else of an itab. False when that isn't known. Asked for every
	// interface value, and, by the address of its code, for what a Go closure has captured.
	Dynamic func(tgid uint32, word uint64, empty bool) (Dynamic, bool)
	// Vtable says of what type the objects are that have the address of a vtable: of a C++ class
	// whose layout isn't known the name alone. Asked for every pointer to a class with virtual
	// functions, and every Rust trait object.
	Vtable func(tgid uint32, address uint64) (Dynamic, bool)
	// Generic says what a word of a generic Go function's dictionary stands for; TypeArguments is how
	// the types are written that the function runs with, "[int]", "" when unknown.
	Generic       func(tgid uint32, dictionary uint64, index uint32) (Dynamic, bool)
	TypeArguments func(tgid uint32, dictionary uint64) string
	// Process describes a process. It is asked when a process is first seen and after it executed
	// a new image; while it answers nil, it is asked again.
	Process func(tgid uint32) *trace.Process
	// Thread names a thread. It is asked at most about once a second for each thread.
	Thread func(tgid, tid uint32) string
	// NextID gives the calls' ids, in order of entry.
	NextID func() uint64
	// Wall converts CLOCK_MONOTONIC to nanoseconds since 1970, UTC.
	Wall func(monotonicNS uint64) int64
	// Raw converts CLOCK_MONOTONIC to CLOCK_MONOTONIC_RAW, both in nanoseconds: at its rate the
	// scheduler counts CPU time, while NTP slews the former. It is asked as soon as an entry or exit is taken.
	Raw func(monotonicNS uint64) int64
	// SameStack says whether two frame addresses lie in one memory mapping. It is asked rarely:
	// when a thread's events stop nesting. Nil means that every thread has one stack.
	SameStack func(tgid uint32, a, b uint64) bool
	// Symbol names the code or data at an address, "" when unknown. Asked for function values
	// and itabs.
	Symbol func(tgid uint32, addr uint64) string
	// Stack finds the frames of a stack and names them: a frame a line, the innermost first. What
	// it is given is valid until it returns. Asked for every error while calls are open.
	Stack func(tgid uint32, raw trace.RawStack) string
	// Rate is the share of a function's calls that are recorded now, by the function's id, but for those that are recorded
	// since a caller was chosen. Asked for those. Nil: all.
	Rate func(id uint32) float64
	// Emit takes a finished call. When it gives true, the call is the receiver's, else its memory
	// is used for the next one. When it is done with it, it may give it back: see Recycle.
	Emit func(*trace.Call) (kept bool)
	// Gap takes note of calls that are missing. Losses that were told to Lost are not repeated.
	Gap func(trace.Gap)
	// Workers is how many goroutines print values and have stacks named, of calls of which that
	// takes longer than to hand it over; 0: all is done on the goroutine that calls the Decoder.
	// With them, Dynamic, Vtable, Generic, Symbol, Stack and Errno are called by several goroutines
	// at a time; of these functions none may call back. See [Decoder.Poll] and [Decoder.Flush].
	Workers int

	// Errno says why errno is not to be had of a call of a process: the probes didn't know
	// where it is, or (known) what they have read may be another one. Empty: it is right. Asked
	// for calls that failed by a rule.
	Errno func(tgid uint32, known bool) (why string)

	// Redact says what is secret, and is withheld from all that a Decoder gives; the zero
	// value has the built-in rules. ShowSecrets turns it off.
	Redact      secret.Rules
	ShowSecrets bool

	MaxString int // bytes of a string that are shown; default 4096
	MaxItems  int // elements of an array that are shown; default 1024
	MaxValue  int // bytes of JSON of one call's arguments, or result, about; default 65536
	// MaxOpen is how many open calls are kept in all, MaxOpenBytes how many bytes of their
	// arguments, MaxOpenPerOwner how many of one thread or goroutine. Beyond, the oldest are
	// recorded as OPEN. Defaults: 262144, 64 MiB, 8192.
	MaxOpen, MaxOpenBytes, MaxOpenPerOwner int
}

// Dynamic is a type that a value has at run time.
type Dynamic struct {
	Name string // "*errors.errorString", "syscall.Errno"
	// Type is what lies behind the data word: a pointer's target for a pointer type, else the
	// value itself. Its ID is the capture program of the blocks that hold it. Nil when unknown.
	Type *trace.Type
	// Direct says that the data word is the value itself.
	Direct bool
	// Adjust is where a C++ object begins, in bytes from where the address of its vtable was found.
	Adjust int32
	// Align is a Rust value's alignment, bytes.
	Align uint32
}

func (c *Config) setDefaults() {
	for _, d := range []struct {
		limit *int
		value int
	}{
		{&c.MaxString, 4096},
		{&c.MaxItems, 1024},
		{&c.MaxValue, 64 << 10},
		{&c.MaxOpen, 1 << 18},
		{&c.MaxOpenBytes, 64 << 20},
		{&c.MaxOpenPerOwner, 1 << 13},
	} {
		if *d.limit <= 0 {
			*d.limit = d.value
		}
	}
	if c.Wall == nil {
		c.Wall = func(ns uint64) int64 { return int64(ns) }
	}
	if c.Raw == nil {
		c.Raw = func(ns uint64) int64 { return int64(ns) }
	}
	if c.Gap == nil {
		c.Gap = func(trace.Gap) {}
	}
}

// Decoder turns records into calls. Records must come in the order in which
// the kernel wrote them. It is not safe for concurrent use. Its memory is
// bounded by the limits of its Config.
type Decoder struct {
	config    Config
	functions []*function // by id; nil: not asked yet
	seen      ownerKey    // the goroutine that schedule last saw, and
	seenTID   uint32      // its thread
	owners    map[ownerKey]*owner
	recent    [recentOwners]*owner // of owners, some that had records lately
	processes map[uint32]*process
	busy      ownerList // with calls yet to be emitted, the least recently active first
	idle      ownerList // without
	idleCount int
	spare     []*owner
	frames    int // of all owners
	bytes     int // of the arguments that open calls hold
	seq       uint64
	now       uint64 // the latest timestamp, monotonic ns
	limbo     []limboCall
	limboHead int
	blind     blindness
	gaps      []*function // with gaps not yet reported
	gapsAt    uint64      // when the first of them came, monotonic ns
	printer   printer
	event     Event // the one that is being taken

	free         freeCalls
	pipeline     *pipeline // nil without Workers
	sparePending []*pending
}

// process is one process: the calls of its owners end with it.
type process struct {
	tgid   uint32
	info   *trace.Process
	owners ownerList
	names  map[uint32]threadName // by tid
	// running are the goroutines last seen on the threads, by tid.
	running map[uint32]uint64
	killer  signal
}

type threadName struct {
	name string
	at   uint64 // when it was asked for, monotonic ns
}

// New makes a Decoder.
func New(config Config) *Decoder {
	config.setDefaults()
	d := &Decoder{
		config:    config,
		owners:    make(map[ownerKey]*owner),
		processes: make(map[uint32]*process),
	}
	d.printer.config = &d.config
	if config.Workers > 0 {
		d.pipeline = newPipeline(d, config.Workers)
	}
	return d
}

// Record takes one record of the ring buffer. The bytes are not kept. An
// error is about this record only; it wraps [ErrRecord] when the record breaks
// the format, else its function is not known.
func (d *Decoder) Record(raw []byte) error {
	e := &d.event
	if err := e.parse(raw); err != nil {
		return err
	}
	d.now = max(d.now, e.TS)
	d.settle(false)
	switch e.Kind {
	case EventFork:
		d.fork(e)
		return nil
	case EventExec:
		d.endProcess(e.TGID, e.TS, reasonExec)
		return nil
	case EventDeath:
		d.death(e)
		return nil
	case EventSignal:
		d.signalled(e)
		return nil
	}
	fn := d.function(e.Func)
	if fn == nil {
		return fmt.Errorf("decode record: function %d is not known", e.Func)
	}
	if fn.Role == trace.RoleLibraryMap || fn.Role != trace.RoleCall && e.Kind != EventEntry {
		return nil
	}
	o := d.ownerOf(e, fn)
	if o.lastTID != e.TID {
		o.moved = d.seq
	}
	if o.key.space == spaceGoroutine {
		d.schedule(o, e.TID)
	}
	switch {
	case fn.Role != trace.RoleCall:
		d.printer.load(e)
		d.evidence(o, e, fn)
	case e.Flags&EventLate != 0:
		d.late(o, e, fn)
		return nil
	case e.Kind == EventEntry:
		d.enter(o, e, fn)
	default:
		d.exit(o, e, fn)
	}
	o.lastTS = e.TS
	o.lastTID = e.TID
	return nil
}

// Lost tells that there was no room for so many exits of a function since the
// last time: calls that vanished are then not taken for unwound ones. (Where an
// entry was lost, its exit does not come.) It reports no gap: whoever reads the
// counters does.
func (d *Decoder) Lost(id uint32, exits uint64) {
	fn := d.function(id)
	if fn == nil || exits == 0 {
		return
	}
	fn.lostExits += exits
}

// Seen tells that the probes of a function that tells of unwinding are in place again, since a time (monotonic, ns).
func (d *Decoder) Seen(id uint32, at uint64) {
	if fn := d.function(id); fn != nil {
		d.blind.end(fn.Role.Unwinding(), at)
	}
}

// Unseen tells that a function's probes were taken out at a time (monotonic, ns): nobody has seen how
// the calls ended that were open then, even when its probes are in place again.
func (d *Decoder) Unseen(id uint32, at uint64) {
	if fn := d.function(id); fn != nil {
		if len(fn.unseen) == maxUnseen {
			fn.unseen = slices.Delete(fn.unseen, 0, 1)
		}
		fn.unseen = append(fn.unseen, at)
		if fn.Role != trace.RoleCall {
			d.blind.begin(fn.Role.Unwinding(), at)
		}
	}
}

// ProcessGone ends a process whose death was not seen as an event: its calls
// are OPEN. now is monotonic, in ns.
func (d *Decoder) ProcessGone(tgid uint32, now uint64) {
	d.endProcess(tgid, max(now, d.now), reasonStopped)
}

// Close ends the recording: what is still open is emitted as OPEN. now is
// monotonic, in ns. The last losses should have been told to Lost before. The
// Decoder can be used on.
func (d *Decoder) Close(now uint64) {
	d.now = max(d.now, now)
	d.settle(true)
	tgids := make([]uint32, 0, len(d.processes))
	for tgid := range d.processes {
		tgids = append(tgids, tgid)
	}
	slices.Sort(tgids)
	for _, tgid := range tgids {
		d.endProcess(tgid, d.now, reasonStopped)
	}
	if d.pipeline != nil {
		d.pipeline.flush()
		d.pipeline.stop()
	}
}

// maxFunctionID bounds the table of functions: ids are indexes into BPF maps.
const maxFunctionID = 1 << 24

// function gives what is kept of a function, nil when the session has none of
// that id.
func (d *Decoder) function(id uint32) *function {
	if int(id) < len(d.functions) {
		if fn := d.functions[id]; fn != nil {
			return fn
		}
	}
	if id >= maxFunctionID {
		return nil
	}
	f := d.config.Function(id)
	if f == nil {
		return nil
	}
	if n := int(id) + 1; n > len(d.functions) {
		d.functions = slices.Grow(d.functions, n-len(d.functions))[:n]
	}
	d.functions[id] = newFunction(f, &d.config)
	return d.functions[id]
}

func (d *Decoder) process(tgid uint32) *process {
	p := d.processes[tgid]
	if p == nil {
		p = &process{tgid: tgid}
		p.owners.kind = linkProcess
		d.processes[tgid] = p
	}
	return p
}

// describe gives the process's description, asking until there is one.
func (d *Decoder) describe(p *process) *trace.Process {
	if p.info == nil && d.config.Process != nil {
		p.info = d.config.Process(p.tgid)
	}
	return p.info
}

// endReason is why all calls of a process or thread end.
type endReason uint8

const (
	reasonDeath   endReason = iota // it died
	reasonExec                     // it executed a new image
	reasonStopped                  // tracing ended
)

func (d *Decoder) death(e *Event) {
	if p := d.processes[e.TGID]; p != nil {
		p.killed(uint8(e.Arg >> 8 & 0x7f))
	}
	last := e.Arg&1 != 0
	for _, space := range []space{spaceThread, spaceSystem, spaceNoG} {
		o := d.owners[ownerKey{e.TGID, space, uint64(e.TID)}]
		if o == nil {
			continue
		}
		d.miss(o, uint32(e.Arg>>deathInside), math.MaxUint64)
		if !last {
			d.endOwner(o, e.TS, reasonDeath)
		}
	}
	if last {
		d.endProcess(e.TGID, e.TS, reasonDeath)
	} else if p := d.processes[e.TGID]; p != nil {
		delete(p.names, e.TID)
		delete(p.running, e.TID)
	}
}

func (d *Decoder) endProcess(tgid uint32, ts uint64, why endReason) {
	p := d.processes[tgid]
	if p == nil {
		return
	}
	for o := p.owners.head; o != nil; o = p.owners.head {
		d.endOwner(o, ts, why)
	}
	delete(d.processes, tgid)
}

// fork copies the forking thread's open calls to the child: it goes on inside
// of the same frames, whose exits are then not calls of which the entry was
// missed. They remain the parent's calls and are emitted once, there.
func (d *Decoder) fork(e *Event) {
	p := d.processes[e.TGID]
	if p == nil || uint64(uint32(e.Arg)) != e.Arg || uint32(e.Arg) == e.TGID {
		return
	}
	child := uint32(e.Arg)
	d.endProcess(child, e.TS, reasonStopped) // its id was used before
	// The goroutine that forks is the last one seen on the thread.
	var goroutine *owner
	var copied []*owner
	for o := p.owners.head; o != nil; o = o.next[linkProcess] {
		switch {
		case len(o.open) == 0:
		case o.key.space != spaceGoroutine && o.key.id == uint64(e.TID):
			copied = append(copied, o)
		case o.key.space == spaceGoroutine && o.lastTID == e.TID && (goroutine == nil || o.lastTS > goroutine.lastTS):
			goroutine = o
		}
	}
	if goroutine != nil {
		copied = append(copied, goroutine)
	}
	for _, from := range copied {
		if from.key.tgid != e.TGID {
			continue // it had to make room for the child's
		}
		key := ownerKey{child, from.key.space, from.key.id}
		if key.space != spaceGoroutine {
			key.id = uint64(child)
		}
		d.inherit(from, d.owner(key))
	}
}

func (d *Decoder) inherit(from, to *owner) {
	for _, f := range from.open {
		f.call = nil
		to.open = append(to.open, f)
		d.frames++
	}
	to.mixed = from.mixed
	d.evict(to)
}

// limboCall is a call that died without evidence: its exit was lost, or its
// frame was left in a way that nothing saw. Which of them is known when the
// loss counters have been read, or its exit comes after all.
type limboCall struct {
	frame frame
	key   ownerKey
	end   uint64 // when it was found dead
	last  uint64 // the last sign of life before
}

const (
	limboTime = 2_000_000_000 // ns; the loss counters are read every second
	maxLimbo  = 1024
)

// toLimbo keeps a dead call until its fate is known.
func (d *Decoder) toLimbo(o *owner, f frame, end uint64) {
	if len(d.limbo)-d.limboHead >= maxLimbo {
		d.judge(&d.limbo[d.limboHead])
		d.limboHead++
	}
	if d.limboHead > maxLimbo {
		d.limbo = slices.Delete(d.limbo, 0, d.limboHead)
		d.limboHead = 0
	}
	d.limbo = append(d.limbo, limboCall{f, o.key, end, max(o.lastTS, f.ts)})
}

// settle judges what has waited long enough.
func (d *Decoder) settle(all bool) {
	for d.limboHead < len(d.limbo) {
		c := &d.limbo[d.limboHead]
		if !all && d.now < c.end+limboTime {
			break
		}
		d.judge(c)
		d.limboHead++
	}
	if d.limboHead == len(d.limbo) {
		d.limbo, d.limboHead = d.limbo[:0], 0
	}
	if len(d.gaps) > 0 && (all || d.now >= d.gapsAt+limboTime) {
		d.reportGaps()
	}
}

// judge emits a call that was in limbo.
func (d *Decoder) judge(c *limboCall) {
	f := c.frame
	c.frame = frame{}
	if f.call == nil {
		return
	}
	_, unseen := f.fn.wasUnseen(f.ts, c.end)
	if f.fn.lostExits > 0 || unseen {
		if !unseen {
			f.fn.lostExits--
		}
		f.call.Flags |= trace.FlagLostExit
		d.emit(&f, c.last, trace.StatusOpen, nil)
		return
	}
	d.emit(&f, c.last, trace.StatusErr, d.unwoundError(c.end))
}

// fromLimbo takes back a call whose exit came after all: it was not dead but
// on another stack of its thread (a coroutine's).
func (d *Decoder) fromLimbo(key ownerKey, fn *function, pos uint64) (frame, bool) {
	for i := len(d.limbo) - 1; i >= d.limboHead; i-- {
		c := &d.limbo[i]
		if c.frame.call != nil && c.key == key && c.frame.fn == fn && c.frame.pos == pos {
			f := c.frame
			c.frame = frame{}
			return f, true
		}
	}
	return frame{}, false
}

// straying counts an exit without an entry.
func (d *Decoder) straying(o *owner, fn *function, pos uint64) {
	d.missing(fn, o.key.tgid)
	// Deeper than a call that was seen to begin, it began later than that one.
	if slices.ContainsFunc(o.open, func(f frame) bool { return f.pos < pos }) {
		fn.lost++
	} else {
		fn.early++
	}
}

// missing has a function's gaps reported after a while.
func (d *Decoder) missing(fn *function, tgid uint32) {
	if fn.early+fn.lost+fn.givenUp == 0 {
		if len(d.gaps) == 0 {
			d.gapsAt = d.now
		}
		d.gaps = append(d.gaps, fn)
		fn.gapPID = int(tgid)
	}
	if fn.gapPID != int(tgid) {
		fn.gapPID = 0
	}
}

// reportGaps reports the calls that were given up, and the exits without an
// entry, less those whose call was given up.
func (d *Decoder) reportGaps() {
	for _, fn := range d.gaps {
		fn.explain()
		for _, g := range []struct {
			n            uint64
			reason, hint string
		}{
			{fn.givenUp, "too many open calls", "trace fewer functions"},
			{fn.lost, "pairing lost: a return without its entry", ""},
			{fn.early, "already running when tracing began", ""},
		} {
			if g.n > 0 {
				d.config.Gap(trace.Gap{
					TimeNS: d.config.Wall(d.now), Func: fn.Function, PID: fn.gapPID, Count: g.n, Reason: g.reason, Hint: g.hint,
				})
			}
		}
		fn.givenUp, fn.early, fn.lost, fn.gapPID = 0, 0, 0, 0
	}
	d.gaps = d.gaps[:0]
}

// explain takes the exits of calls that were given up for what they are.
func (fn *function) explain() {
	for _, n := range []*uint64{&fn.lost, &fn.early} {
		k := min(*n, fn.evicted)
		*n -= k
		fn.evicted -= k
	}
}

// evict keeps the open calls within their limits.
func (d *Decoder) evict(o *owner) {
	if len(o.open) > d.config.MaxOpenPerOwner {
		d.evictFrom(o, len(o.open)-d.config.MaxOpenPerOwner*3/4)
	}
	for d.frames > d.config.MaxOpen || d.bytes > d.config.MaxOpenBytes {
		victim := cmp.Or(d.idle.head, d.busy.head)
		if victim == nil {
			return
		}
		if victim.live == 0 {
			d.drop(victim)
			continue
		}
		d.evictFrom(victim, (len(victim.open)+3)/4)
	}
}

// evictFrom gives up an owner's outermost calls.
func (d *Decoder) evictFrom(o *owner, n int) {
	for i := range o.open[:n] {
		f := &o.open[i]
		if f.call == nil {
			continue
		}
		d.missing(f.fn, o.key.tgid)
		f.fn.evicted++
		f.fn.givenUp++
		f.call.Flags |= trace.FlagLostExit
		d.finish(o, f, d.now, trace.StatusOpen, nil)
	}
	d.frames -= n
	o.open = slices.Delete(o.open, 0, n)
	d.rank(o)
}
