package decode

import (
	"sync"

	"github.com/observatory-trace/observatory-trace/trace"
)

// pending is a call that is yet to be emitted. Its memory is used again for another one.
type pending struct {
	trace.Call                   // but for what follows
	resources    trace.Resources // when measured
	measured     bool
	args, result []byte // JSON, empty for none
	cause        *raised
	failure      *trace.Error
	// What was missing from them.
	argsFlags, resultFlags trace.CallFlags

	size int  // bytes that the Decoder's account has for its arguments
	held bool // it has them: the call is open
}

const (
	maxSparePending = 1024
	maxPendingBytes = 4 << 10 // of JSON, beyond which its memory is not kept for other calls
	maxSpareBytes   = 1 << 10 // the same, of calls that were emitted
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
	p.measured, p.cause, p.failure, p.resultFlags = false, nil, nil, 0
	for _, b := range []*[]byte{&p.args, &p.result} {
		if *b = (*b)[:0]; cap(*b) > maxPendingBytes {
			*b = nil
		}
	}
	d.sparePending = append(d.sparePending, p)
}

// deliver emits a call that is complete.
func (d *Decoder) deliver(p *pending) {
	failed := p.cause != nil || p.failure != nil
	var c *trace.Call
	if failed { // they may be kept for long, and the calls that lie beside them with them
		c = &trace.Call{Resources: new(trace.Resources)}
	} else {
		c = d.free.next()
	}
	resources, text := c.Resources, textOf(c)
	*c = p.Call
	c.Flags |= p.argsFlags | p.resultFlags
	if p.measured {
		*resources = p.resources
		c.Resources = resources
	}
	if size := len(p.args) + len(p.result); size > cap(text) {
		text = make([]byte, 0, (size+textStep-1)/textStep*textStep)
	}
	n := len(p.args)
	text = append(append(text, p.args...), p.result...)
	if n > 0 {
		c.Args = text[:n]
	}
	if n < len(text) {
		c.Result = text[n:]
	}
	switch {
	case p.cause != nil:
		err := p.cause.err
		c.Err = &err
	case p.failure != nil:
		c.Status, c.Err = trace.StatusErr, p.failure
	}
	if c.Status == trace.StatusErr {
		c.SampleRate = 1 // whatever it is of others, a failed call is recorded
	}
	d.recycle(p)
	if d.config.Emit(c) && !failed {
		d.free.taken()
	}
}

// textStep is what the room for a call's JSON is a multiple of, in bytes.
const textStep = 64

// textOf gives the room for JSON that a call had.
func textOf(c *trace.Call) []byte {
	switch {
	case cap(c.Args) > maxSpareBytes || cap(c.Result) > maxSpareBytes:
		return nil
	case c.Args != nil:
		return c.Args[:0]
	}
	return c.Result[:0]
}

// freeCalls are calls to be emitted, as the receiver has given them back, or new.
type freeCalls struct {
	calls []*trace.Call // with room for their resources

	mu    sync.Mutex
	given []*trace.Call
}

// maxFree is how many calls are kept for being emitted again.
const maxFree = 1 << 15

// next gives the call to be emitted next, the same one until it is taken.
func (f *freeCalls) next() *trace.Call {
	if len(f.calls) == 0 {
		f.mu.Lock()
		f.calls, f.given = f.given, f.calls
		f.mu.Unlock()
	}
	if len(f.calls) == 0 {
		f.calls = newCalls(f.calls)
	}
	return f.calls[len(f.calls)-1]
}

func (f *freeCalls) taken() { f.calls = f.calls[:len(f.calls)-1] }

// newCalls makes some calls.
func newCalls(dst []*trace.Call) []*trace.Call {
	made := make([]struct {
		call      trace.Call
		resources trace.Resources
	}, 64)
	for i := range made {
		made[i].call.Resources = &made[i].resources
		dst = append(dst, &made[i].call)
	}
	return dst
}

// Recycle takes calls back that were emitted: they, their JSON and their resources are used for
// other calls. It is safe for concurrent use.
func (d *Decoder) Recycle(calls []*trace.Call) {
	d.free.mu.Lock()
	defer d.free.mu.Unlock()
	for _, c := range calls {
		if c.Resources != nil && c.Err == nil && len(d.free.given) < maxFree {
			d.free.given = append(d.free.given, c)
		}
	}
}
