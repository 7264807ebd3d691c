package decode

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/observatory-trace/observatory-trace/trace"
)

// EventKind is enum event_kind of bpf/event.h.
type EventKind uint8

// The kinds of events.
const (
	EventEntry  EventKind = 1
	EventExit   EventKind = 2
	EventFork   EventKind = 3
	EventExec   EventKind = 4
	EventDeath  EventKind = 5
	EventSignal EventKind = 6
)

// EventFlags is enum event_flag of bpf/event.h.
type EventFlags uint8

// The flags of events.
const (
	EventTail      EventFlags = 1
	EventUretprobe EventFlags = 2
	EventTruncated EventFlags = 4
	EventNoG       EventFlags = 8
	EventNoCPU     EventFlags = 16
	EventNoRSS     EventFlags = 32
	EventLate      EventFlags = 64
	EventDead      EventFlags = 128
)

// Of More: RATE_ALL, MORE_READ_LATE, MORE_INSIDE and MARK_NONE.
const (
	rateAll     = 1<<32 - 1
	readLate    = 1 << 32
	insideShift = 33
	markNone    = 1
	deathInside = 32 // of a death's Arg: DEATH_INSIDE
)

// markOf is MARK_OF: what tells a call by when it was entered.
func markOf(ts uint64) uint32 { return uint32(ts)&0x7fffffff | 2 }

// rate is the share of an entry's like that are recorded, 0 < rate <= 1.
func (e *Event) rate() float64 {
	switch kept := uint32(e.More); kept {
	case 0, rateAll:
		return 1
	default:
		return float64(kept) / (1 << 32)
	}
}

// BlockStatus is enum block_status of bpf/event.h.
type BlockStatus uint32

// The states of blocks.
const (
	BlockOK    BlockStatus = 0
	BlockFault BlockStatus = 1
	BlockCut   BlockStatus = 2
)

// typeBytes is TYPE_BYTES of bpf/event.h: plain bytes.
const typeBytes = 1

// Blocks that tell of the stack: TYPE_REGISTERS, TYPE_STACK and TYPE_FRAMES of bpf/event.h.
const (
	typeRegisters = 2000000001
	typeStack     = 2000000002
	typeFrames    = 2000000003
)

// Why one is left out: enum stack_lack.
const (
	stackRoom   = 1
	stackBudget = 2
)

// typeErrno is TYPE_ERRNO of bpf/event.h: errno when a call that failed returned.
const typeErrno = 2000000004

// Sizes and limits of bpf/event.h, in bytes unless they are counts.
const (
	headerSize      = 96
	blockHeaderSize = 24
	maxData         = 8192
	maxRecord       = 16824
	maxRoot         = 4096
	maxBlocks       = 128
	otherBlocks     = 3 // behind them: errno, and two of the stack
	maxMoves        = 32
)

// Offsets of struct event's fields; a test compares them with bpf/event.h.
const (
	offSize     = 0
	offKind     = 4
	offFlags    = 5
	offRoot     = 6
	offFunc     = 8
	offMissed   = 12
	offTGID     = 16
	offTID      = 20
	offTS       = 24
	offGoid     = 32
	offPos      = 40
	offIP       = 48
	offCFA      = 56
	offArg      = 64
	offMinor    = 72
	offMajor    = 76
	offSwitches = 80
	offRSS      = 84
	offMore     = 88
)

// Offsets of struct block's fields.
const (
	offBlockAddr   = 0
	offBlockType   = 8
	offBlockLen    = 12
	offBlockStatus = 16
	offBlockWant   = 20
)

// Event is one record. Its slices point into the record's bytes.
type Event struct {
	Kind   EventKind
	Flags  EventFlags
	Func   uint32 // function id; 0 for process events
	Missed uint32 // bit i: move i of the plan could not be read
	TGID   uint32 // initial pid namespace
	TID    uint32 // initial pid namespace
	TS     uint64 // CLOCK_MONOTONIC, ns
	Goid   uint64 // 0 when not Go
	Pos    uint64 // frame position: grows with depth
	IP     uint64
	CFA    uint64
	Arg    uint64 // of process events: see enum event_kind
	Usage  Usage  // of entries and exits
	More   uint64 // entries: share of RateAll, readLate, and the mark of the innermost open call; exits: the probes' time, ns
	Root   []byte // the root block
	blocks []byte // what follows it, checked
	raw    []byte // all of it
}

// Usage is what an event's thread and process had used by then. What a call
// used is the difference of two, modulo the width.
type Usage struct {
	CPU          uint64 // the thread's CPU time less the scheduler's clock, ns; not with EventNoCPU
	Minor, Major uint32 // page faults of the thread
	Switches     uint32 // context switches of the thread, voluntary and not
	RSS          uint32 // resident pages of the process; not with EventNoRSS
}

// Block is memory that a captured pointer led to.
type Block struct {
	Addr   uint64
	Type   uint32 // capture program
	Status BlockStatus
	Want   uint32 // bytes the value has; Data may have fewer
	Data   []byte
}

// ErrRecord is wrapped by every error about a record that breaks the format.
var ErrRecord = errors.New("malformed record")

// ParseEvent reads one record and checks all of its bounds, those of its
// blocks included. The event keeps pointing into raw. It does not allocate,
// unless it fails: then the error wraps [ErrRecord].
func ParseEvent(raw []byte) (Event, error) {
	var e Event
	if err := e.parse(raw); err != nil {
		return Event{}, err
	}
	return e, nil
}

// parse is ParseEvent, in place. After an error the event means nothing.
func (e *Event) parse(raw []byte) error {
	if len(raw) < headerSize {
		return fmt.Errorf("parse event: %w: %d bytes, a header has %d", ErrRecord, len(raw), headerSize)
	}
	le := binary.LittleEndian
	size, root := int64(le.Uint32(raw[offSize:])), int64(le.Uint16(raw[offRoot:]))
	if size < headerSize || size > maxRecord || size > int64(len(raw)) || int64(len(raw)) >= size+8 {
		return fmt.Errorf("parse event: %w: it says %d bytes and has %d", ErrRecord, size, len(raw))
	}
	if root > maxRoot || root&7 != 0 || headerSize+root > size {
		return fmt.Errorf("parse event: %w: a root block of %d bytes in %d", ErrRecord, root, size)
	}
	h := raw[:headerSize:headerSize]
	e.Kind, e.Flags = EventKind(h[offKind]), EventFlags(h[offFlags])
	e.Func, e.Missed = le.Uint32(h[offFunc:]), le.Uint32(h[offMissed:])
	e.TGID, e.TID = le.Uint32(h[offTGID:]), le.Uint32(h[offTID:])
	e.TS, e.Goid = le.Uint64(h[offTS:]), le.Uint64(h[offGoid:])
	e.Pos, e.IP, e.CFA = le.Uint64(h[offPos:]), le.Uint64(h[offIP:]), le.Uint64(h[offCFA:])
	e.Arg = le.Uint64(h[offArg:])
	e.Usage = Usage{
		CPU:   e.Arg,
		Minor: le.Uint32(h[offMinor:]), Major: le.Uint32(h[offMajor:]), Switches: le.Uint32(h[offSwitches:]),
		RSS: le.Uint32(h[offRSS:]),
	}
	e.More = le.Uint64(h[offMore:])
	e.raw = raw[:size:size]
	e.Root = raw[headerSize : headerSize+root : headerSize+root]
	e.blocks = raw[headerSize+root : size : size]
	if e.Kind < EventEntry || e.Kind > EventSignal {
		return fmt.Errorf("parse event: %w: kind %d", ErrRecord, e.Kind)
	}
	if len(e.blocks) > 0 {
		if err := checkBlocks(e.blocks); err != nil {
			return err
		}
	}
	return nil
}

// checkBlocks makes sure that Next can't leave the record.
func checkBlocks(b []byte) error {
	for n := 0; len(b) > 0; n++ {
		if n == maxBlocks+otherBlocks {
			return fmt.Errorf("parse event: %w: more than %d blocks", ErrRecord, n)
		}
		if len(b) < blockHeaderSize {
			return fmt.Errorf("parse event: %w: block %d is cut after %d bytes", ErrRecord, n, len(b))
		}
		size := uint64(binary.LittleEndian.Uint32(b[offBlockLen:]))
		if size > uint64(len(b)-blockHeaderSize) {
			return fmt.Errorf("parse event: %w: block %d of %d bytes where %d are left", ErrRecord, n, size, len(b)-blockHeaderSize)
		}
		b = b[min(blockHeaderSize+int(size+7)&^7, len(b)):]
	}
	return nil
}

// Blocks gives the event's blocks, in the order in which they were captured.
func (e *Event) Blocks() Blocks { return Blocks{e.blocks} }

// stack gives what the event tells of the stack; false when it has none.
func (e *Event) stack() (raw trace.RawStack, lack uint32, ok bool) {
	it := e.Blocks()
	for b, more := it.Next(); more; b, more = it.Next() {
		switch b.Type {
		case typeRegisters:
			raw.Registers, ok = b.Data, true
		case typeStack:
			if raw.SP, raw.Memory, ok = b.Addr, b.Data, true; b.Status == BlockFault {
				lack = b.Want
			}
		case typeFrames:
			raw.Returns, ok = b.Data, true
		}
	}
	return raw, lack, ok
}

// errnoLack is enum errno_lack of bpf/event.h: why an event doesn't tell errno.
type errnoLack uint32

const (
	errnoTold    errnoLack = iota // it does
	errnoPlace                    // nobody knew where it is
	errnoMemory                   // it could not be read
	errnoSeveral                  // there are several
)

// errno gives what errno was when the call returned.
func (e *Event) errno() (uint32, errnoLack) {
	it := e.Blocks()
	for b, more := it.Next(); more; b, more = it.Next() {
		switch {
		case b.Type != typeErrno:
		case b.Status == BlockOK && len(b.Data) >= 4:
			return binary.LittleEndian.Uint32(b.Data), errnoTold
		case b.Status == BlockFault && b.Want == uint32(errnoSeveral):
			return 0, errnoSeveral
		case b.Status != BlockFault || b.Want != uint32(errnoPlace):
			return 0, errnoMemory
		}
	}
	return 0, errnoPlace
}

// Blocks iterates over an event's blocks.
type Blocks struct{ rest []byte }

// Next gives the next block, or false at the end.
func (s *Blocks) Next() (Block, bool) {
	b := s.rest
	if len(b) < blockHeaderSize {
		return Block{}, false
	}
	le := binary.LittleEndian
	end := blockHeaderSize + int(le.Uint32(b[offBlockLen:]))
	if end < blockHeaderSize || end > len(b) {
		return Block{}, false
	}
	// The padding of the last block may have been cut off at the probe's limit.
	s.rest = b[min((end+7)&^7, len(b)):]
	return Block{
		Addr:   le.Uint64(b[offBlockAddr:]),
		Type:   le.Uint32(b[offBlockType:]),
		Status: BlockStatus(le.Uint32(b[offBlockStatus:])),
		Want:   le.Uint32(b[offBlockWant:]),
		Data:   b[blockHeaderSize:end:end],
	}, true
}
