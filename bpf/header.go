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
	Func      uint32
	TGID, TID uint32
	TS        uint64 // CLOCK_MONOTONIC, ns
	IP        uint64 // of the probed instruction
	Arg       uint64
}

// headerSize is sizeof(struct event), bytes.
const headerSize = 88

// ParseHeader reads an event's header; false when the record is shorter than one.
func ParseHeader(record []byte) (Header, bool) {
	if len(record) < headerSize {
		return Header{}, false
	}
	le := binary.LittleEndian
	return Header{
		Kind: record[4],
		Func: le.Uint32(record[8:]),
		TGID: le.Uint32(record[16:]),
		TID:  le.Uint32(record[20:]),
		TS:   le.Uint64(record[24:]),
		IP:   le.Uint64(record[48:]),
		Arg:  le.Uint64(record[64:]),
	}, true
}
