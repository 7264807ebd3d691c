package bpf

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Ring reads the ring buffer (kernel/bpf/ringbuf.c). It hands out records where they lie,
// and gives their room back in steps, not for each: probes read that position with every
// hit, and each change of it costs them a cache miss. For the same reason it waits for the
// probes to wake it, or for a while, rather than for any record. It is not safe for
// concurrent use.
type Ring struct {
	positions []byte // the page that holds consumed, and
	data      []byte // that of produced, followed by the buffer, twice
	consumed  *atomic.Uint64
	produced  *atomic.Uint64
	page      uint64 // where the buffer begins in data, bytes
	mask      uint64
	epoll     int

	at    uint64 // of the next record
	end   uint64 // produced, as last read
	given uint64 // consumed, as last written
	step  uint64 // bytes after which room is given back
	busy  bool   // the next record was still being written
}

// Flags in the length of a record (uapi/linux/bpf.h).
const (
	ringBusy    = unix.BPF_RINGBUF_BUSY_BIT
	ringDiscard = unix.BPF_RINGBUF_DISCARD_BIT
	ringHeader  = unix.BPF_RINGBUF_HDR_SZ
)

// OpenRing opens the ring buffer for reading. The caller closes it.
func (o *Objects) OpenRing() (*Ring, error) {
	r, err := openRing(o.probes.Events)
	if err != nil {
		return nil, fmt.Errorf("open ring buffer: %w", err)
	}
	return r, nil
}

func openRing(m *ebpf.Map) (_ *Ring, err error) {
	size, page := uint64(m.MaxEntries()), os.Getpagesize()
	r := &Ring{page: uint64(page), mask: size - 1, step: min(wakeBytes, size/8), epoll: -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.positions, err = unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map its consumer's page: %w", err)
	}
	if r.data, err = unix.Mmap(m.FD(), int64(page), page+2*int(size), unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map its data: %w", err)
	}
	r.consumed = (*atomic.Uint64)(unsafe.Pointer(&r.positions[0]))
	r.produced = (*atomic.Uint64)(unsafe.Pointer(&r.data[0]))
	r.at = r.consumed.Load()
	r.given = r.at
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	// Edge-triggered: what counts is that somebody wakes us, not that something is there.
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}
	if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, m.FD(), &event); err != nil {
		return nil, fmt.Errorf("poll it: %w", err)
	}
	return r, nil
}

// Next gives the next record, or nil when there is none yet. It is valid until
// the next call.
func (r *Ring) Next() []byte {
	if r.at-r.given >= r.step {
		r.give()
	}
	for {
		if r.at == r.end {
			if r.end = r.produced.Load(); r.at == r.end {
				return nil
			}
		}
		start := r.page + r.at&r.mask
		// Loaded atomically, so that what is not busy is seen whole.
		head := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[start])))
		if r.busy = head&ringBusy != 0; r.busy {
			return nil
		}
		n := uint64(head &^ (ringBusy | ringDiscard))
		r.at += ringHeader + (n+7)&^7
		if head&ringDiscard == 0 {
			return r.data[start+ringHeader : start+ringHeader+n : start+ringHeader+n]
		}
	}
}

// give lets the probes have the room of the records that were read.
func (r *Ring) give() {
	r.consumed.Store(r.at)
	r.given = r.at
}

// Wait waits until the probes have written much, or for at most so long.
func (r *Ring) Wait(most time.Duration) error {
	r.give()
	if r.busy {
		most = min(most, time.Millisecond)
	}
	var events [1]unix.EpollEvent
	if _, err := unix.EpollWait(r.epoll, events[:], int(most.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for ring buffer: %w", err)
	}
	return nil
}

// Close releases the buffer's memory, and with it every record.
func (r *Ring) Close() error {
	var errs []error
	if r.epoll >= 0 {
		errs = append(errs, unix.Close(r.epoll))
	}
	for _, m := range [][]byte{r.positions, r.data} {
		if m != nil {
			errs = append(errs, unix.Munmap(m))
		}
	}
	r.epoll, r.positions, r.data = -1, nil, nil
	return errors.Join(errs...)
}
