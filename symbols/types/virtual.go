package types

import (
	"debug/dwarf"
	"fmt"
	"slices"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// RustError is the trait of Rust's errors.
const RustError = "core::error::Error"

// counted are the types that Rust's shared pointers lead to: two counts, then the value.
var counted = []string{"alloc::rc::RcInner<", "alloc::rc::RcBox<", "alloc::sync::ArcInner<"}

// countsSize is the size in bytes of those counts.
const countsSize = 16

// traitObject reads a pointer to a dyn type: the value's address and that of a vtable.
func (r *Reader) traitObject(n *node, t *trace.Type) bool {
	data, ok := n.part(t, "pointer")
	vtable, ok2 := n.part(t, "vtable")
	if !ok || !ok2 || t.Size != 16 || len(t.Fields) != 2 || data.node.t.Size != 8 || vtable.node.t.Size != 8 || data.node.target == 0 {
		return false
	}
	name, err := r.name(data.node.target, 0)
	if err != nil {
		return false
	}
	head := uint32(0)
	for _, prefix := range counted {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			name, head = rest, countsSize
		}
	}
	trait, ok := principal(name)
	if !ok {
		return false
	}
	t.Kind, t.PtrOff, t.LenOff, t.Trait, t.Head, t.Fields = trace.KindInterface, data.offset, vtable.offset, trait, head, nil
	n.inline = nil
	return true
}

// principal is the first trait of a dyn type, without its generic arguments:
// of "(dyn core::error::Error + core::marker::Send)" it is "core::error::Error".
func principal(name string) (trait string, ok bool) {
	name, ok = strings.CutPrefix(strings.TrimPrefix(name, "("), "dyn ")
	if i := strings.IndexAny(name, "<>(), "); i >= 0 {
		name = name[:i]
	}
	return name, ok && name != ""
}

// VtableSuffix ends the names of the variables that rustc describes vtables as.
const VtableSuffix = ">::{vtable}"

// VtableTrait takes such a name apart, "<shop::Circle as shop::Shape>::{vtable}",
// and gives its trait, without generic arguments.
func VtableTrait(name string) (trait string, ok bool) {
	name, ok = strings.CutSuffix(name, VtableSuffix)
	if !ok {
		return "", false
	}
	depth := 0
	for i := len(name) - 1; i > 0; i-- {
		switch name[i] {
		case '>':
			if name[i-1] != '-' {
				depth++
			}
		case '<':
			depth--
		case ' ':
			if depth == 0 && strings.HasSuffix(name[:i], " as") {
				name = name[i+1:]
				return name[:strings.IndexByte(name+"<", '<')], true
			}
		}
	}
	return "", false
}

// Reached is what pointers lead to whose type only the running program knows.
type Reached struct {
	Traits  map[string]bool  // Rust's, without generic arguments
	Classes map[string]Class // C++ classes with a vtable, by their name
}

// Class is a C++ class with a vtable.
type Class struct {
	Offset dwarf.Offset // of an entry that leads to it
	// Scattered says that it has virtual bases: where they lie only a vtable tells.
	Scattered bool
}

// Reached tells what the signatures and dynamic types read so far lead to. The
// caller must not change it.
func (r *Reader) Reached() Reached { return r.reach }

// reachedClass takes note of a class that a pointer leads to.
func (r *Reader) reachedClass(off dwarf.Offset, n *node) {
	if r.reach.Classes == nil {
		r.reach.Classes = map[string]Class{}
	}
	if _, ok := r.reach.Classes[n.t.Name]; !ok {
		r.reach.Classes[n.t.Name] = Class{off, n.scattered}
	}
}

// stranger is the type of a C++ class that is described nowhere (in another file, as
// std::exception is), and that classes of this file are derived from: of its objects only
// the vtable is read. nil for others.
func (r *Reader) stranger(off dwarf.Offset, name string) *trace.Type {
	if r.lang != trace.LangCPP || r.derived == nil {
		return nil
	}
	t, ok := r.strangers[name]
	if !ok {
		if r.derived(name) {
			t = &trace.Type{Name: name, Kind: trace.KindUnknown, Size: 8, Virtual: true, Lang: trace.LangCPP}
			r.reachedClass(off, &node{t: t})
		}
		if r.strangers == nil {
			r.strangers = map[string]*trace.Type{}
		}
		r.strangers[name] = t
	}
	return t
}

// reachedTrait takes note of a trait whose objects are seen.
func (r *Reader) reachedTrait(name string) {
	if r.reach.Traits == nil {
		r.reach.Traits = map[string]bool{}
	}
	r.reach.Traits[name] = true
}

// Vtable says of what type the objects are that have the address of a vtable.
type Vtable struct {
	Address uint64       // as objects have it, in the file
	Offset  dwarf.Offset // of the type's entry
	// Adjust is where the whole object begins, in bytes from where the address is (offset-to-top).
	Adjust int32
	// Word reads what a vtable of the class has, so many bytes from where its address
	// points: of the vtable for the part that lies so many bytes from the object's beginning.
	// Nil for Rust's.
	Word func(part uint32, from int64) (int64, bool)
}

// attempt runs what reads entries, with a budget of its own. It may be called from
// within another reading.
func (r *Reader) attempt(off dwarf.Offset, language trace.Language, do func() error) (err error) {
	left, nest, lang := r.left, r.nest, r.lang
	r.left, r.nest, r.lang = maxDIEs, 0, language
	defer func() {
		r.left, r.nest, r.lang = left, nest, lang
		if p := recover(); p != nil {
			err = damaged(off, "%v", p)
		}
	}()
	return do()
}

// Contained is the type that the type of a Rust vtable's variable says it is of.
func (r *Reader) Contained(off dwarf.Offset) (concrete dwarf.Offset, ok bool) {
	_ = r.attempt(off, trace.LangRust, func() error {
		e, err := r.entry(off)
		if err == nil {
			concrete, ok = r.reference(e, dwarf.AttrContainingType)
		}
		return err
	})
	return concrete, ok && concrete != elsewhere
}

// Class is the class that a virtual C++ function is a member of, by its concrete
// entry; ok is false where that is only declared in the function's unit.
func (r *Reader) Class(function dwarf.Offset) (class dwarf.Offset, ok bool) {
	_ = r.attempt(function, trace.LangCPP, func() error {
		off := function
		for range maxChain {
			e, err := r.entry(off)
			if err != nil {
				return err
			}
			if class, ok = r.reference(e, dwarf.AttrContainingType); ok {
				e, err := r.entry(class)
				ok = err == nil && !flag(e, dwarf.AttrDeclaration)
				return err
			}
			next, more := r.reference(e, dwarf.AttrAbstractOrigin)
			if !more {
				next, more = r.reference(e, dwarf.AttrSpecification)
			}
			if !more {
				return nil
			}
			off = next
		}
		return nil
	})
	return class, ok && class != elsewhere
}

// Member is the symbol of some member function of a C++ class, empty when none is told.
func (r *Reader) Member(class dwarf.Offset) (symbol string) {
	_ = r.attempt(class, trace.LangCPP, func() error {
		e, err := r.peel(class)
		if err != nil || e == nil {
			return err
		}
		members, err := r.children(e, dwarf.TagSubprogram)
		for _, m := range members {
			if symbol = text(m, dwarf.AttrLinkageName); symbol != "" {
				break
			}
		}
		return err
	})
	return symbol
}

// Virtual reads the type of a vtable, with what lies behind its pointers.
func (r *Reader) Virtual(v Vtable, language trace.Language) (dyn Dynamic, err error) {
	err = r.attempt(v.Offset, language, func() error {
		n, err := r.canonical(v.Offset)
		if err == nil {
			err = r.expand(n, r.depth)
		}
		if err != nil {
			return fmt.Errorf("read type of a vtable: %w", err)
		}
		dyn = Dynamic{Address: v.Address, Name: n.t.Name, Adjust: v.Adjust, Align: n.align}
		if !n.incomp && n.t.Kind != trace.KindUnknown && uint64(-int64(v.Adjust)) <= uint64(n.t.Size) {
			dyn.Type = n.t
			if n.scattered && v.Word != nil {
				dyn.Type = gather(n, v.Word)
			}
		}
		return nil
	})
	return dyn, err
}

// share takes note of where a vtable tells the distance to a virtual base. Compilers
// say it by an expression that, given the object's address, adds what is so far before
// where its vtable's address points: dup, deref, a constant, minus, deref, plus.
func (n *node) share(field int, base *dwarf.Entry) {
	n.scattered = true
	code, ok := base.Val(dwarf.AttrDataMemberLoc).([]byte)
	if !ok || len(code) < 6 || code[0] != opDup || code[1] != opDeref {
		return
	}
	rest := code[len(code)-3:]
	if rest[0] != opMinus || rest[1] != opDeref || rest[2] != opPlus {
		return
	}
	var before uint64
	switch d := (data{code[3 : len(code)-3], false}); {
	case code[2] >= opLit0 && code[2] < opLit0+32 && len(d.b) == 0:
		before = uint64(code[2] - opLit0)
	case code[2] == opConst1u && len(d.b) == 1:
		before = uint64(d.u8())
	case code[2] == opConst2u && len(d.b) == 2:
		before = uint64(d.u8()) | uint64(d.u8())<<8
	case code[2] == opConstu:
		if before = d.uleb(); d.bad || len(d.b) > 0 || before > maxVtable {
			return
		}
	default:
		return
	}
	if n.shared == nil {
		n.shared = map[int]int64{}
	}
	n.shared[field] = -int64(before)
}

// maxVtable bounds the bytes of a vtable.
const maxVtable = 1 << 16

// gather lays out a whole object whose class has virtual bases: those are its own
// parts, once each, and no longer parts of its bases.
func gather(n *node, word func(part uint32, from int64) (int64, bool)) *trace.Type {
	g := gatherer{word: word, size: n.t.Size}
	whole := g.part(n, 0, 0)
	for i := 0; i < len(g.found); i++ {
		f := g.found[i]
		whole.Fields = append(whole.Fields, trace.Field{
			Name: f.node.t.Name, Offset: f.offset, Type: g.part(f.node, f.offset, 0), Embedded: true,
		})
	}
	return whole
}

type gatherer struct {
	word  func(part uint32, from int64) (int64, bool)
	size  uint32
	found []part // virtual bases
	steps int
}

// part is a copy of the class of a part without the virtual bases that were found.
func (g *gatherer) part(n *node, at uint32, nesting int) *trace.Type {
	t := *n.t
	t.ID, t.Fields = 0, nil
	for i, f := range n.t.Fields {
		if g.steps++; i >= len(n.inline) || g.steps > maxMembers || nesting > maxNesting {
			t.Fields = append(t.Fields, f)
			continue
		}
		from, isShared := n.shared[i]
		distance, ok := int64(0), false
		if isShared {
			distance, ok = g.word(at, from)
		}
		switch where := int64(at) + distance; {
		case ok && where >= 0 && where < int64(g.size):
			if !slices.ContainsFunc(g.found, func(p part) bool { return p.offset == uint32(where) && p.node.t.Name == n.inline[i].t.Name }) {
				g.found = append(g.found, part{uint32(where), n.inline[i]})
			}
			continue
		case f.Embedded && f.Unavailable == "" && n.inline[i].scattered:
			f.Type = g.part(n.inline[i], at+f.Offset, nesting+1)
		}
		t.Fields = append(t.Fields, f)
	}
	return &t
}
