package decode

import "github.com/observatory-trace/observatory-trace/trace"

// generic prints a parameter or result of a type that only the caller of a generic Go function
// knows. The body that runs knows its shape: the layout, but neither the name nor, of a pointer, what it leads to.
func (p *printer) generic(dst []byte, f *trace.Field, data []byte) []byte {
	var of Dynamic
	ok := false
	if p.dict != 0 && p.config.Generic != nil {
		of, ok = p.config.Generic(p.tgid, p.dict, f.Type.Dict-1)
	}
	if !ok {
		return p.field(dst, f, data)
	}
	as, named := *f.Type, *f
	as.Name, named.Type = of.Name, &as
	switch {
	case as.Kind == trace.KindInterface && of.Type != nil && of.Type.Kind == trace.KindError:
		as.Kind = trace.KindError
	case as.Kind == trace.KindSlice && of.Type != nil && of.Type.Elem != nil && of.Type.Elem.Size == elemSize(&as):
		if ptr, _, ok := header(&as, data[min(uint64(f.Offset), uint64(len(data))):]); ok && p.find(ptr, of.Type.Elem.ID) != nil {
			as.Elem = of.Type.Elem
		}
	case (as.Kind == trace.KindMap || as.Kind == trace.KindChan) && of.Type != nil && of.Type.Kind == as.Kind && of.Type.Elem != nil:
		if addr, ok := word(data, f.Offset); ok && p.find(addr, of.Type.Elem.ID) != nil {
			as = *of.Type
		}
	case as.Kind == trace.KindPointer && of.Type != nil:
		// A result was followed without knowing more than the shape.
		if addr, ok := word(data, f.Offset); !ok || as.Elem == nil || p.find(addr, of.Type.ID) != nil {
			as.Elem = of.Type
		}
	}
	return p.field(dst, &named, data)
}

func elemSize(t *trace.Type) uint32 {
	if t.Elem == nil {
		return 0
	}
	return t.Elem.Size
}
