package types

import (
	"debug/dwarf"
	"fmt"
	"slices"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// MethodValue ends the name of the function behind a Go method value: x.M.
const MethodValue = "-fm"

// Closure reads what a Go closure has captured, of a function with a body of its
// own at off; ok is false when it is known of nothing (before Go 1.23 it never is). The type
// is that of the memory that the function's value points to: the code's address, then the
// captured variables. Those that were captured by reference are pointers. method is where the method
// of a method value is described, 0 when that isn't known.
func (r *Reader) Closure(off, method dwarf.Offset) (t *trace.Type, ok bool, err error) {
	r.left, r.nest, r.lang = maxDIEs, 0, trace.LangGo
	defer func() {
		if p := recover(); p != nil {
			t, ok, err = nil, false, damaged(off, "%v", p)
		}
	}()
	if t, err = r.closure(off, method); err != nil {
		return nil, false, fmt.Errorf("read closure: %w", err)
	}
	return t, len(t.Fields) > 0, nil
}

func (r *Reader) closure(off, method dwarf.Offset) (*trace.Type, error) {
	e, err := r.entry(off)
	if err != nil {
		return nil, err
	}
	parts, err := r.children(e, dwarf.TagVariable, dwarf.TagInlinedSubroutine)
	if err != nil {
		return nil, err
	}
	t := &trace.Type{Name: text(e, dwarf.AttrName), Kind: trace.KindStruct, Size: 8, Lang: trace.LangGo}
	for _, p := range parts {
		at, ok := number(p, attrGoClosureOffset)
		if p.Tag != dwarf.TagVariable || !ok || at < 8 {
			continue
		}
		if err := r.captured(t, p, uint32(min(at, maxBlock))); err != nil {
			return nil, err
		}
	}
	if len(t.Fields) == 0 && strings.HasSuffix(t.Name, MethodValue) {
		err = r.receiver(t, parts, method)
	}
	slices.SortFunc(t.Fields, func(a, b trace.Field) int { return int(a.Offset) - int(b.Offset) })
	return t, err
}

// captured adds one captured variable.
func (r *Reader) captured(t *trace.Type, e *dwarf.Entry, at uint32) error {
	name, byReference := strings.CutPrefix(text(e, dwarf.AttrName), "&")
	if name == ".this" {
		name = "receiver"
	}
	off, ok := r.reference(e, dwarf.AttrType)
	if !ok || name == "" || name[0] == '.' || slices.ContainsFunc(t.Fields, func(f trace.Field) bool { return f.Offset == at }) {
		return nil
	}
	n, err := r.node(off)
	if err != nil {
		return err
	}
	if byReference && n.t.Kind != trace.KindPointer || at+n.t.Size > maxBlock {
		return nil
	}
	if err := r.expand(n, r.depth); err != nil {
		return err
	}
	t.Fields = append(t.Fields, trace.Field{Name: name, Offset: at, Type: n.t})
	t.Size = max(t.Size, alignUp(at+n.t.Size, 8))
	return nil
}

// receiver adds what a method value was made of. Optimised code doesn't describe it as captured: its
// type is that of the method's first parameter, where the method is inlined or else described.
func (r *Reader) receiver(t *trace.Type, parts []*dwarf.Entry, method dwarf.Offset) error {
	name := strings.TrimSuffix(t.Name, MethodValue)
	for _, p := range parts {
		if origin, ok := r.reference(p, dwarf.AttrAbstractOrigin); ok && p.Tag == dwarf.TagInlinedSubroutine && method == 0 {
			method = origin
		}
	}
	for range maxChain {
		if method == 0 {
			return nil
		}
		e, err := r.entry(method)
		if err != nil {
			return err
		}
		params, err := r.children(e, dwarf.TagFormalParameter)
		if err != nil {
			return err
		}
		origin, ok := r.reference(e, dwarf.AttrAbstractOrigin)
		if ok && origin != elsewhere {
			method = origin
			continue
		}
		if text(e, dwarf.AttrName) != name || len(params) == 0 {
			return nil
		}
		return r.captured(t, receiverEntry(params[0]), 8)
	}
	return nil
}

// receiverEntry is a parameter under the name that a method value's receiver is shown by.
func receiverEntry(param *dwarf.Entry) *dwarf.Entry {
	e := *param
	e.Field = slices.Clone(param.Field)
	for i := range e.Field {
		if e.Field[i].Attr == dwarf.AttrName {
			e.Field[i].Val = ".this"
		}
	}
	return &e
}
