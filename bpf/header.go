package bpf

import "encoding/binary"

// The kinds of events (enum event_kind in event.h).
const (
	EventEntry  = 1
	EventExit   = 2
	EventFork   = 3
	EventExec   = 4
	EventDeath  = 5
	EventSignal = 6
)

// Header is what concerns processes in an event's header; values are decode's business.
type Header struct {
	Kind      uint8
	Flags     uint8 // enum event_flag
	Func      uint32
	TGID, TID uint32
	TS        uint64 // CLOCK_MONOTONIC, ns
	IP        uint64 // of the probed instruction
	Arg       uint64
	More      uint64
}

// headerSize is sizeof(struct event), bytes.
const headerSize = 96

// ParseHeader reads an event's header; false when the record is shorter than one.
func ParseHeader(record []byte) (Header, bool) {
	if len(record) < headerSize {
		return Header{}, false
	}
	le := binary.LittleEndian
	return Header{
		Kind: record[4], Flags: record[5],
		Func: le.Uint32(record[8:]),
		TGID: le.Uint32(record[16:]),
		TID:  le.Uint32(record[20:]),
		TS:   le.Uint64(record[24:]),
		IP:   le.Uint64(record[48:]),
		Arg:  le.Uint64(record[64:]),
		More: le.Uint64(record[88:]),
	}, true
}

// LateEntry makes the record of the entry of a call that has failed, left since a time (CLOCK_MONOTONIC,
// ns) without a return; ip is where its entry is probed. What its pointers lead to is not had.
func (o *Open) LateEntry(ip, died uint64) []byte {
	if o.Held != nil {
		o.Held[5] |= eventLate | eventDead
		binary.LittleEndian.PutUint64(o.Held[64:], died)
		return o.Held
	}
	le, missed := binary.LittleEndian, o.Missed
	if o.Words == nil {
		missed = 1<<32 - 1
	}
	b := make([]byte, 0, headerSize+len(o.Words))
	b = le.AppendUint32(b, uint32(cap(b)))
	b = append(b, EventEntry, eventLate|eventDead|eventNoCPU|eventNoRSS)
	b = le.AppendUint16(b, uint16(len(o.Words)))
	for _, v := range []uint32{o.Func, missed, o.TGID, o.TGID} { // its goroutine's last thread is not known
		b = le.AppendUint32(b, v)
	}
	for _, v := range []uint64{o.TS, o.Goid, o.Pos, ip, 0, died, 0, 0, RateAll | moreReadLate} {
		b = le.AppendUint64(b, v)
	}
	return append(b, o.Words...)
}

// See enum event_flag, and MORE_READ_LATE.
const (
	eventNoCPU   = 16
	eventNoRSS   = 32
	eventLate    = 64
	eventDead    = 128
	moreReadLate = 1 << 32
)
