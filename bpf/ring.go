package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Ring reads the two ring buffers of calls and of errors (see struct stamped in event.h) as one
// stream, in which all that a thread wrote is in the order in which it did. What errors have to
// say is taken out as soon as it is there, and waits for its turn in memory: they are not
// lost while calls wait to be read. It is not safe for concurrent use.
type Ring struct {
	calls, errors *buffer
	epoll         int
	// early are what was read from errors, by the position of calls that they come after.
	early []stamped
	taken int // of those, how many were handed out
}

// stamped is a record of errors.
type stamped struct {
	after  uint64
	record []byte
}

// stampBytes is what a record of errors has before its event, bytes.
const stampBytes = 8

// OpenRing opens the ring buffers for reading. The caller closes it.
func (o *Objects) OpenRing() (_ *Ring, err error) {
	r := &Ring{epoll: -1}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open ring buffer: %w", err), r.Close())
		}
	}()
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	if r.calls, err = openBuffer(o.probes.Events, r.epoll); err != nil {
		return nil, err
	}
	r.errors, err = openBuffer(o.probes.Errors, r.epoll)
	return r, err
}

// Next gives the next record, or nil when there is none yet. It is valid until
// the next call.
func (r *Ring) Next() []byte {
	record := r.calls.peek()
	// Only now: what the record's thread wrote to errors before it is there.
	if !r.takeErrors() {
		return nil
	}
	if r.taken < len(r.early) && r.early[r.taken].after <= r.calls.at {
		e := &r.early[r.taken]
		if r.taken++; r.taken == len(r.early) {
			r.early, r.taken = r.early[:0], 0
		}
		return e.record
	}
	if record != nil {
		r.calls.skip(record)
	}
	return record
}

// takeErrors reads all errors that are there: false while one is being written, which
// hides those behind it.
func (r *Ring) takeErrors() bool {
	for {
		record := r.errors.peek()
		if record == nil {
			return !r.errors.busy
		}
		r.errors.skip(record)
		if len(record) < stampBytes {
			continue // not one of ours
		}
		s := stamped{binary.LittleEndian.Uint64(record), bytes.Clone(record[stampBytes:])}
		i := len(r.early)
		for i > r.taken && r.early[i-1].after > s.after {
			i--
		}
		r.early = slices.Insert(r.early, i, s)
	}
}

// Wait waits until the probes have written much, or for at most so long.
func (r *Ring) Wait(most time.Duration) error {
	r.calls.give()
	r.errors.give()
	if r.calls.busy || r.errors.busy {
		most = min(most, time.Millisecond)
	}
	var events [2]unix.EpollEvent
	if _, err := unix.EpollWait(r.epoll, events[:], int(most.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for ring buffer: %w", err)
	}
	return nil
}

// Fill is how full the ring buffer of calls is, from 0 to 1. It is safe for concurrent use, but
// for Close.
func (r *Ring) Fill() float64 { return r.calls.fill() }

// ErrorsFill is the same of that of errors.
func (r *Ring) ErrorsFill() float64 { return r.errors.fill() }

func (b *buffer) fill() float64 {
	return float64(b.produced.Load()-b.consumed.Load()) / float64(b.mask+1)
}

// Close releases the buffers' memory, and with it every record.
func (r *Ring) Close() error {
	errs := []error{r.calls.close(), r.errors.close()}
	if r.epoll >= 0 {
		errs = append(errs, unix.Close(r.epoll))
	}
	r.epoll, r.calls, r.errors = -1, nil, nil
	return errors.Join(errs...)
}

// buffer reads one ring buffer (kernel/bpf/ringbuf.c). It hands out records where they lie,
// and gives their room back in steps, not for each: probes read that position with every
// hit, and each change of it costs them a cache miss. For the same reason its reader waits for
// the probes to wake it, or for a while, rather than for any record.
type buffer struct {
	positions []byte // the page that holds consumed, and
	data      []byte // that of produced, followed by the buffer, twice
	consumed  *atomic.Uint64
	produced  *atomic.Uint64
	page      uint64 // where the buffer begins in data, bytes
	mask      uint64

	at    uint64 // of the next record
	end   uint64 // produced, as last read
	given uint64 // consumed, as last written
	step  uint64 // bytes after which room is given back
	busy  bool   // the next record was still being written
}

// stepBytes is how much room is given back at once.
const stepBytes = 1 << 16

// Flags in the length of a record (uapi/linux/bpf.h).
const (
	ringBusy    = unix.BPF_RINGBUF_BUSY_BIT
	ringDiscard = unix.BPF_RINGBUF_DISCARD_BIT
	ringHeader  = unix.BPF_RINGBUF_HDR_SZ
)

func openBuffer(m *ebpf.Map, epoll int) (_ *buffer, err error) {
	size, page := uint64(m.MaxEntries()), os.Getpagesize()
	b := &buffer{page: uint64(page), mask: size - 1, step: min(stepBytes, size/8)}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if b.positions, err = unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map its consumer's page: %w", err)
	}
	if b.data, err = unix.Mmap(m.FD(), int64(page), page+2*int(size), unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map its data: %w", err)
	}
	b.consumed = (*atomic.Uint64)(unsafe.Pointer(&b.positions[0]))
	b.produced = (*atomic.Uint64)(unsafe.Pointer(&b.data[0]))
	b.at = b.consumed.Load()
	b.given = b.at
	// Edge-triggered: what counts is that somebody wakes us, not that something is there.
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, m.FD(), &event); err != nil {
		return nil, fmt.Errorf("poll it: %w", err)
	}
	return b, nil
}

// peek gives the next record, or nil when there is none yet.
func (b *buffer) peek() []byte {
	if b.at-b.given >= b.step {
		b.give()
	}
	for b.busy = false; ; {
		if b.at == b.end {
			if b.end = b.produced.Load(); b.at == b.end {
				return nil
			}
		}
		start := b.page + b.at&b.mask
		// Loaded atomically, so that what is not busy is seen whole.
		head := atomic.LoadUint32((*uint32)(unsafe.Pointer(&b.data[start])))
		if b.busy = head&ringBusy != 0; b.busy {
			return nil
		}
		n := uint64(head &^ (ringBusy | ringDiscard))
		if head&ringDiscard == 0 {
			return b.data[start+ringHeader : start+ringHeader+n : start+ringHeader+n]
		}
		b.at += ringHeader + (n+7)&^7
	}
}

// skip goes beyond the record that peek gave.
func (b *buffer) skip(record []byte) { b.at += ringHeader + uint64(len(record)+7)&^7 }

// give lets the probes have the room of the records that were read.
func (b *buffer) give() {
	b.consumed.Store(b.at)
	b.given = b.at
}

func (b *buffer) close() error {
	if b == nil {
		return nil
	}
	var errs []error
	for _, m := range [][]byte{b.positions, b.data} {
		if m != nil {
			errs = append(errs, unix.Munmap(m))
		}
	}
	b.positions, b.data = nil, nil
	return errors.Join(errs...)
}
