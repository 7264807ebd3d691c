package types

import (
	"debug/dwarf"
	"fmt"

	"github.com/observatory-trace/observatory-trace/trace"
)

// ITabType is the offset in bytes of the dynamic type's address in an itab
// (internal/abi.ITab: Inter, Type, …), the same in Go 1.5 to 1.26.
const ITabType = 8

// Dynamic is a type that a value can have at run time: of what a Go interface
// or a Rust trait object holds, or of a C++ object.
type Dynamic struct {
	Address uint64 // of the runtime's description of the type, or of a vtable, in the file: the key of the dynamic map
	Name    string // "*errors.errorString", "syscall.Errno"
	// Type is what lies behind the data word: the pointer's target for a
	// pointer type, else the value itself. nil when it isn't known.
	Type *trace.Type
	// Pointer says that the dynamic type is a pointer to Type.
	Pointer bool
	// Direct says that the data word is the value itself, and not a pointer to be followed.
	Direct bool
	Adjust int32  // C++: where the whole object begins, in bytes from where the vtable's address is; at most 0
	Align  uint32 // Rust: bytes
}

// Followed is the type of what the data word points to; nil when that isn't known.
func (d Dynamic) Followed() *trace.Type {
	t := d.Type
	for i := 0; d.Direct && t != nil; i++ {
		switch {
		case i > maxNesting:
			return nil
		case t.Kind == trace.KindStruct && len(t.Fields) == 1:
			t = t.Fields[0].Type
		case t.Kind == trace.KindArray:
			t = t.Elem
		case t.Elem == nil || t.Elem.Size == 0:
			return nil
		default:
			return t.Elem
		}
	}
	return t
}

// RuntimeType is a type entry that says where the runtime describes the type
// (DW_AT_go_runtime_type, counted from the symbol runtime.types).
type RuntimeType struct {
	Offset  dwarf.Offset // of the entry
	Address uint64       // of the description, in the file
}

// Dynamic reads one runtime type, with what lies behind its pointers.
func (r *Reader) Dynamic(rt RuntimeType) (dyn Dynamic, err error) {
	r.left, r.nest, r.lang = maxDIEs, 0, trace.LangGo
	defer func() {
		if p := recover(); p != nil {
			dyn, err = Dynamic{}, damaged(rt.Offset, "%v", p)
		}
	}()
	n, err := r.node(rt.Offset)
	if err != nil {
		return Dynamic{}, fmt.Errorf("read runtime type: %w", err)
	}
	dyn = Dynamic{Address: rt.Address, Name: n.t.Name, Type: n.t, Direct: pointerShaped(n)}
	if n.t.Kind == trace.KindPointer {
		dyn.Pointer, dyn.Direct, dyn.Type = true, false, nil
		if n.target != 0 {
			if n, err = r.canonical(n.target); err != nil {
				return Dynamic{}, fmt.Errorf("read runtime type: %w", err)
			}
			dyn.Type = n.t
		}
	}
	if err := r.expand(n, r.depth); err != nil {
		return Dynamic{}, fmt.Errorf("read runtime type: %w", err)
	}
	return dyn, nil
}

// pointerShaped says whether an interface's data word holds the value itself
// (cmd/compile: types.IsDirectIface).
func pointerShaped(n *node) bool {
	if n.t.Size != 8 {
		return false
	}
	switch n.t.Kind {
	case trace.KindPointer, trace.KindMap, trace.KindChan, trace.KindFunc:
		return true
	case trace.KindStruct:
		return len(n.inline) == 1 && pointerShaped(n.inline[0])
	case trace.KindArray:
		return n.t.Count == 1 && len(n.inline) == 1 && pointerShaped(n.inline[0])
	}
	return false
}
