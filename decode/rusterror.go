package decode

import (
	"encoding/json"

	"github.com/observatory-trace/observatory-trace/trace"
)

// maxErrorValue bounds the value, bytes of JSON, that stands for the message of
// a Rust error, or of one of Go whose Error method isn't known: neither can be called.
const maxErrorValue = 1024

// resultError gives the error that a Rust Result holds, nil when it is Ok. The
// message is the error itself where that is text, else its value as JSON.
func (p *printer) resultError(t *trace.Type, data []byte) *trace.Error {
	v := t.Variant(data)
	if v == nil || v.Name != "Err" || v.Type == nil {
		return nil
	}
	if len(v.Type.Fields) != 1 || v.Type.Fields[0].Type == nil {
		return &trace.Error{Type: "Err"}
	}
	f := &v.Type.Fields[0]
	err := &trace.Error{Type: f.Type.Name}
	if f.Type.Kind == trace.KindIOError && uint64(f.Offset) <= uint64(len(data)) {
		err.Message = p.ioErrorText(f.Type, data[f.Offset:])
		return err
	}
	value := p.asMessage(func() []byte { return p.errorValue(err, f, data) })
	if json.Unmarshal([]byte(value), &err.Message) != nil {
		err.Message = value
	}
	return err
}

// asMessage gives what print prints, as far as a message may be long.
func (p *printer) asMessage(print func() []byte) string {
	flags := p.flags
	p.begin(nil)
	p.limit = maxErrorValue
	p.inMessage = true
	value := print()
	p.inMessage = false
	p.flags = flags | p.flags&trace.FlagRedacted // the result tells of what else is missing
	return string(value)
}

// errorValue prints what an Err holds, and gives err the type of what a dyn Error is.
func (p *printer) errorValue(err *trace.Error, f *trace.Field, data []byte) []byte {
	if f.Type.Kind == trace.KindInterface && f.Unavailable == "" && uint64(f.Offset) <= uint64(len(data)) {
		if d, ok := p.implementor(f.Type, data[f.Offset:]); ok && d.name != "" {
			err.Type = d.name
			return p.dynamicValue(nil, d)
		}
	}
	return p.field(nil, f, data)
}

// maxRustPanic is above the length of any message, and below the addresses that
// other payloads have in its place.
const maxRustPanic = 1 << 32

// panicText gives the message of a panic: the payload is a text or a String behind
// its capacity. Others are passed on by resume_unwind: an address and a table of
// virtual functions, of which nothing is known.
func (p *printer) panicText(t *trace.Type, data []byte) (string, bool) {
	addr, ok := word(data, 0)
	if !ok || t.Kind != trace.KindPointer || t.Elem == nil {
		return p.firstText(t, data, 0)
	}
	b := p.find(addr, t.Elem.ID)
	if b == nil {
		return "", false
	}
	for i := range t.Elem.Fields {
		f := &t.Elem.Fields[i]
		if f.Type == nil || f.Type.Kind != trace.KindString || uint64(f.Offset) > uint64(len(b.Data)) {
			continue
		}
		n, ok := word(b.Data, f.Offset+f.Type.LenOff)
		if !ok || n >= maxRustPanic {
			continue
		}
		if capacity, _ := word(b.Data, 0); f.Offset > 0 && (capacity >= maxRustPanic || capacity < n) {
			continue
		}
		if s, ok := p.goString(f.Type, b.Data[f.Offset:]); ok && s != "" {
			return s, true
		}
	}
	return "", false
}
