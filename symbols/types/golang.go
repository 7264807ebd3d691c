package types

import (
	"debug/dwarf"
	"strconv"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// The kinds of DW_AT_go_kind: reflect.Kind, which has not changed since Go 1.
const (
	goArray         = 17
	goChan          = 18
	goFunc          = 19
	goInterface     = 20
	goMap           = 21
	goPointer       = 22
	goSlice         = 23
	goString        = 24
	goStruct        = 25
	goUnsafePointer = 26
)

// pointerShape is what the compiler takes all pointers for in the bodies that generic
// functions share (cmd/compile: noder.shapify).
const pointerShape = "go.shape.*uint8"

// fillGo reads a type that the Go compiler has marked with its kind. It
// reports false where the entry's DWARF tag says all there is.
func (r *Reader) fillGo(n *node, t *trace.Type, e *dwarf.Entry, kind uint64) (bool, error) {
	t.Lang = trace.LangGo
	switch kind {
	case goChan, goMap, goFunc:
		t.Kind = map[uint64]trace.Kind{goChan: trace.KindChan, goMap: trace.KindMap, goFunc: trace.KindFunc}[kind]
		r.word(n, t)
		if kind != goFunc { // a pointer to the runtime's structure
			return true, r.fillGoHandle(n, e)
		}
		// A pointer to a closure, which begins with the address of its code.
		t.Elem = &trace.Type{Name: "code", Kind: trace.KindUint, Size: 8, Lang: trace.LangGo}
	case goInterface:
		return true, r.fillGoInterface(n, t, e)
	case goString:
		t.Kind, t.Size, t.PtrOff, t.LenOff = trace.KindString, 16, 0, 8
		n.align, n.leaves = 8, []leaf{{size: 8}, {off: 8, size: 8}}
	case goSlice:
		t.Kind, t.Size, t.PtrOff, t.LenOff = trace.KindSlice, 24, 0, 8
		n.align, n.leaves = 8, []leaf{{size: 8}, {off: 8, size: 8}, {off: 16, size: 8}}
		n.target, _ = r.reference(e, attrGoElem)
	case goPointer, goUnsafePointer:
		t.Kind = trace.KindPointer
		r.word(n, t)
		// One shape stands for all pointers: what it leads to is no uint8.
		if text(e, dwarf.AttrName) != pointerShape {
			n.target, _ = r.reference(e, dwarf.AttrType)
		}
	default:
		return false, nil
	}
	return true, nil
}

// fillGoHandle finds what a map or channel points to.
func (r *Reader) fillGoHandle(n *node, e *dwarf.Entry) error {
	off, ok := r.reference(e, dwarf.AttrType)
	if !ok {
		return nil
	}
	pointer, err := r.entry(off)
	if err != nil {
		return err
	}
	if pointer.Tag == dwarf.TagPointerType {
		n.target, _ = r.reference(pointer, dwarf.AttrType)
	}
	return nil
}

// fillGoInterface reads an interface: two words, of which the first is the
// dynamic type (runtime.eface) or an itab (runtime.iface).
func (r *Reader) fillGoInterface(n *node, t *trace.Type, e *dwarf.Entry) error {
	t.Kind, t.Size = trace.KindInterface, 16
	n.align, n.leaves = 8, []leaf{{size: 8}, {off: 8, size: 8}}
	off := e.Offset
	for i := 0; i < maxNesting; i++ { // interface types name each other before they name runtime's
		d, err := r.entry(off)
		if err != nil {
			return err
		}
		switch text(d, dwarf.AttrName) {
		case "runtime.eface":
			t.Empty = true
			return nil
		case "runtime.iface":
			return nil
		case "error":
			t.Kind = trace.KindError
		}
		next, ok := r.reference(d, dwarf.AttrType)
		if !ok {
			return nil
		}
		off = next
	}
	return damaged(e.Offset, "an interface without end")
}

// goName is a type's name without the mark of the compiler's shapes: the
// generic function that runs for it doesn't know the type itself.
func goName(name string) string {
	if !strings.Contains(name, "go.shape.") {
		return name
	}
	return strings.ReplaceAll(strings.ReplaceAll(name, pointerShape, "unsafe.Pointer"), "go.shape.", "")
}

// planGo places the parameters and results of a Go function. Location lists
// are not needed: the compiler never deviates from its convention.
func (r *Reader) planGo(fn *function, entry, exit *plan) {
	a := r.allocate(r.arch.goConvention(fn.ABI0))
	hidden := hasDictionary(fn.name)
	receiver := hidden && isMethod(fn.name)
	var dict placed
	index := 0
	for _, p := range fn.params {
		if p.result || p.name == ".dict" || p.name == ".closureptr" {
			continue
		}
		if hidden && (!receiver || index == 1) {
			dict, hidden = a.dictionary(), false
		}
		entry.add(argumentName(p.name, index), p.node, a.goValue(p.node))
		index++
	}
	if hidden {
		dict = a.dictionary()
	}
	if len(dict.pieces) > 0 {
		entry.hide(trace.Dictionary, dict)
	}
	a.ints, a.fl = 0, 0
	a.stack = alignUp(a.stack, 8)
	index = 0
	last := ""
	for _, p := range fn.params {
		if !p.result || p.name != "" && p.name == last { // the compiler lists some unnamed results twice
			continue
		}
		last = p.name
		name := p.name
		if name == "" || name == "_" || strings.HasPrefix(name, "~") {
			name = "r" + strconv.Itoa(index)
		}
		exit.add(name, p.node, a.goValue(p.node))
		index++
	}
}

// argumentName names a parameter that the source leaves unnamed.
func argumentName(name string, index int) string {
	if name == "" || name == "_" || strings.HasPrefix(name, "~") {
		return "arg" + strconv.Itoa(index)
	}
	return name
}

// dictionary takes the place of a generic function's hidden first parameter:
// the types it was called with.
func (a *allocator) dictionary() placed {
	if reg, ok := a.integer(); ok {
		return placed{pieces: []piece{{size: 8, source: trace.SourceRegister, reg: reg}}}
	}
	return a.memory(8, 8)
}

// dictionary finds the field of a plan's root that has the dictionary's address.
func dictionary(root *trace.Type) *trace.Field {
	for i := range root.Fields {
		if f := &root.Fields[i]; f.Name == trace.Dictionary && f.Unavailable == "" {
			return f
		}
	}
	return nil
}

// hasDictionary says whether a Go function takes a dictionary: the shared body
// of a generic function or method does, its closures have it captured.
func hasDictionary(name string) bool {
	i := strings.Index(name, "[go.shape.")
	if i < 0 {
		return false
	}
	rest := afterBrackets(name)
	rest = strings.TrimPrefix(strings.TrimPrefix(rest, ")"), ".")
	return !isClosure(rest)
}

// afterBrackets is what follows a name's type arguments.
func afterBrackets(name string) string {
	return name[strings.LastIndexByte(name, ']')+1:]
}

// isMethod says whether something follows the type arguments: they are the receiver's.
func isMethod(name string) bool {
	return afterBrackets(name) != ""
}

// isClosure tells the names that the compiler gives to functions in functions.
func isClosure(name string) bool {
	if strings.ContainsAny(name, ".-") { // Method.func1, Method-range1, Method-fm
		return true
	}
	for _, prefix := range []string{"func", "gowrap", "deferwrap"} {
		if digits, ok := strings.CutPrefix(name, prefix); ok && digits != "" && strings.Trim(digits, "0123456789") == "" {
			return true
		}
	}
	return false
}
