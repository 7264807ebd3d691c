package decode

import (
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// virtual prints what a pointer to a C++ class with virtual functions leads to: the
// whole object, with the name of its class where that is another one. Where that
// is known by name alone, what the pointer's type shows of it.
func (p *printer) virtual(dst []byte, t *trace.Type, data []byte) []byte {
	addr, ok := word(data, 0)
	if !ok || p.config.Vtable == nil {
		return p.staticObject(dst, t, data)
	}
	b, d := p.whole(addr)
	if b == nil {
		return p.staticObject(dst, t, data)
	}
	return p.typed(dst, t.Elem, d.Name, func(dst []byte) []byte { return p.pointed(dst, b, d.Type) })
}

// staticObject prints an object as the class that the pointer to it has.
func (p *printer) staticObject(dst []byte, t *trace.Type, data []byte) []byte {
	b, out := p.target(dst, t, data)
	if b == nil {
		return out
	}
	name := ""
	if vtable, ok := word(b.Data, 0); ok && p.config.Vtable != nil {
		if d, ok := p.config.Vtable(p.tgid, vtable); ok {
			name = d.Name
		}
	}
	return p.typed(dst, t.Elem, name, func(dst []byte) []byte {
		if t.Elem.Kind == trace.KindUnknown {
			return p.pointer(dst, b.Addr)
		}
		return p.pointed(dst, b, t.Elem)
	})
}

// typed prints a value with the name of its type, unless that is what is expected.
func (p *printer) typed(dst []byte, expected *trace.Type, name string, value func([]byte) []byte) []byte {
	// Compilers and demanglers set spaces differently.
	if name == "" || strings.ReplaceAll(name, " ", "") == strings.ReplaceAll(expected.Name, " ", "") {
		return value(dst)
	}
	dst = append(dst, `{"$type":`...)
	dst = appendString(dst, name)
	dst = append(dst, `,"$value":`...)
	return append(value(dst), '}')
}

// whole finds the object that has the address of a vtable at addr: its block, which
// may begin before, is where that vtable says, and of the type that it says.
func (p *printer) whole(addr uint64) (*Block, Dynamic) {
	for i := range p.blocks {
		b := &p.blocks[i]
		if addr < b.Addr || addr-b.Addr >= uint64(len(b.Data)) {
			continue
		}
		vtable, ok := word(b.Data[addr-b.Addr:], 0)
		if !ok {
			continue
		}
		d, ok := p.config.Vtable(p.tgid, vtable)
		if ok && d.Type != nil && d.Type.ID == b.Type && addr+uint64(int64(d.Adjust)) == b.Addr {
			return b, d
		}
	}
	return nil, Dynamic{}
}

// traitObject prints a Rust trait object: the concrete type, and its value.
func (p *printer) traitObject(dst []byte, t *trace.Type, data []byte) []byte {
	d, ok := p.implementor(t, data)
	if !ok {
		return p.unavailable(dst, "trait object layout not known")
	}
	dst = append(dst, '{')
	if d.name != "" {
		dst = append(dst, `"$type":`...)
		dst = appendString(dst, d.name)
		dst = append(dst, ',')
	}
	dst = append(dst, `"$value":`...)
	return append(p.dynamicValue(dst, d), '}')
}

// implementor finds the value behind a Rust trait object; ok is false when its
// bytes are too few.
func (p *printer) implementor(t *trace.Type, data []byte) (d dynamic, ok bool) {
	addr, ok := word(data, t.PtrOff)
	vtable, ok2 := word(data, t.LenOff)
	if !ok || !ok2 {
		return dynamic{}, false
	}
	d.word = addr
	if p.config.Vtable == nil {
		return d, true
	}
	known, ok := p.config.Vtable(p.tgid, vtable)
	if !ok {
		return d, true
	}
	d.name = known.Name
	if addr != 0 {
		d.word += behind(t.Head, known.Align)
	}
	p.capture(&d, known, nil)
	return d, true
}

// behind is where a value of an alignment lies behind so many bytes.
func behind(head, align uint32) uint64 {
	mask := uint64(align) - 1
	if align&(align-1) != 0 || align == 0 {
		return uint64(head)
	}
	return (uint64(head) + mask) &^ mask
}
