package decode

import (
	"github.com/observatory-trace/observatory-trace/trace"
)

// pending is a call that is yet to be emitted. Its memory is used again for another one.
type pending struct {
	call         trace.Call      // but for what follows
	resources    trace.Resources // when measured
	measured     bool
	args, result []byte // JSON, empty for none
	cause        *raised
	failure      *trace.Error
	size         int // bytes that the Decoder's account has for its arguments
}

const (
	maxSparePending = 4096
	maxSpareBytes   = 1 << 10 // of JSON, beyond which its memory is not kept for other calls
)

func (d *Decoder) newPending() *pending {
	if n := len(d.sparePending); n > 0 {
		p := d.sparePending[n-1]
		d.sparePending = d.sparePending[:n-1]
		return p
	}
	return new(pending)
}

// recycle takes a call's memory back.
func (d *Decoder) recycle(p *pending) {
	if len(d.sparePending) >= maxSparePending {
		return
	}
	p.measured, p.cause, p.failure = false, nil, nil
	for _, b := range []*[]byte{&p.args, &p.result} {
		if *b = (*b)[:0]; cap(*b) > maxSpareBytes {
			*b = nil
		}
	}
	d.sparePending = append(d.sparePending, p)
}

// deliver emits a call that is complete.
func (d *Decoder) deliver(p *pending) {
	size := len(p.args) + len(p.result)
	shared := p.failure == nil && p.cause == nil // failed calls may be kept for long: none of them holds the memory of others
	var s *slot
	if shared {
		s = d.calls.slot()
	} else {
		s = new(slot)
	}
	var own []byte
	text := &own
	switch {
	case shared && size <= textAtOnce/4:
		text = d.calls.room(size)
	case size > 0:
		own = make([]byte, 0, size)
	}
	before := len(*text)
	s.call = p.call
	c := &s.call
	if p.measured {
		s.resources = p.resources
		c.Resources = &s.resources
	}
	c.Args, c.Result = store(text, p.args), store(text, p.result)
	switch {
	case p.cause != nil:
		err := p.cause.err
		c.Err = &err
	case p.failure != nil:
		c.Err = p.failure
	}
	d.recycle(p)
	switch kept := d.config.Emit(c); {
	case !kept:
		*text = (*text)[:before]
	case shared:
		d.calls.used++
	}
}

// store appends a copy of b, and gives it; nil when b is empty.
func store(text *[]byte, b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	start := len(*text)
	*text = append(*text, b...)
	return (*text)[start:len(*text):len(*text)]
}

// slot is a call with what every call has.
type slot struct {
	call      trace.Call
	resources trace.Resources
}

const (
	slotsAtOnce = 64
	textAtOnce  = 16 << 10 // bytes
)

// allocator gives the memory of the calls that are emitted, of many at a time: those that
// lie together are emitted, and most likely forgotten, one after the other.
type allocator struct {
	slots []slot
	used  int // of slots
	text  []byte
}

// slot gives the memory for a call, which is the same again until it is taken note that it
// is used.
func (a *allocator) slot() *slot {
	if a.used == len(a.slots) {
		a.slots, a.used = make([]slot, slotsAtOnce), 0
	}
	return &a.slots[a.used]
}

// room gives the text that so many bytes can be appended to.
func (a *allocator) room(size int) *[]byte {
	if cap(a.text)-len(a.text) < size {
		a.text = make([]byte, 0, textAtOnce)
	}
	return &a.text
}
