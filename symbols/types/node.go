package types

import (
	"debug/dwarf"
	"fmt"
	"math"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// class is how a scalar part of a value is passed.
type class uint8

const (
	classInt class = iota
	classFloat
	classX87
	classVector
)

// leaf is one scalar part of a value: calling conventions look at nothing else.
type leaf struct {
	off, size uint32 // bytes
	class     class
	bits      bool // a bit-field: its alignment says nothing
}

// maxLeaves is above what any convention passes in registers (9 + 15 of Go's, 16 + 16 on ARM64).
const maxLeaves = 40

// node is a type with what calling conventions and further reading need of it.
type node struct {
	t       *trace.Type
	err     error
	align   uint32
	leaves  []leaf
	many    bool // more than maxLeaves scalar parts
	array   bool // an array of two or more lies inside: Go passes it in memory
	union   bool // a union or variant lies inside
	byRef   bool // C++: not trivial for the purpose of calls
	incomp  bool // only declared here
	partial bool // not all of its parts are known
	virtual bool // C++: it has a vtable
	// shared are the fields that are virtual bases: where the distance to each is told, in
	// bytes from where the vtable's address points. scattered: it, or a base, has some.
	shared    map[int]int64
	scattered bool
	// aggregate: Rust passes the value neither as one scalar nor as two.
	aggregate bool
	// sparse: so too, because there is room beside the scalars.
	sparse bool
	// inline are the types whose values lie within this one's.
	inline []*node
	// target is the type behind the pointer (or the slice's element), read by expand; 0 for none.
	target dwarf.Offset
	links  []link
	inner  map[uint32]*trace.Type // of a B-tree's leaf: the nodes above it, by height
	level  int                    // pointers behind this type whose targets have been read; -1 before any
	weight int                    // types that a walk through the value passes
}

// node reads the type at off, without what lies behind its pointers.
func (r *Reader) node(off dwarf.Offset) (*node, error) {
	if n, ok := r.nodes[off]; ok {
		if n.t == nil && n.err == nil {
			return nil, damaged(off, "a type that contains itself")
		}
		return n, n.err
	}
	if r.nest >= maxNesting {
		return nil, damaged(off, "types nested more than %d deep", maxNesting)
	}
	if len(r.nodes) >= maxTypes {
		return nil, damaged(off, "more than %d types", maxTypes)
	}
	n := &node{level: -1}
	r.nodes[off] = n
	r.nest++
	t, err := r.build(n, off)
	r.nest--
	if err != nil {
		if r.left < 0 { // this call's budget, not the type, is at fault
			delete(r.nodes, off)
		}
		n.err = err
		return nil, err
	}
	if n.weigh() > maxWeight {
		n.err = damaged(off, "more than %d members in all", maxWeight)
		return nil, n.err
	}
	n.t = t
	return n, nil
}

// weigh adds up how many types a walk through the value passes, so that none
// takes forever: types that lie twice in one another soon lie a million times in a third.
func (n *node) weigh() int {
	n.weight = 1
	for _, in := range n.inline {
		n.weight += in.weight
	}
	return n.weight
}

// expand reads the types behind n's pointers, level of them one behind the other.
func (r *Reader) expand(n *node, level int) error {
	if n.level >= level {
		return nil
	}
	n.level = level
	for _, in := range n.inline {
		if err := r.expand(in, level); err != nil {
			return err
		}
	}
	if err := r.expandLinks(n, level); err != nil {
		return err
	}
	if n.t.Trait != "" && (level > 0 || n.t.Trait == RustError) {
		r.reachedTrait(n.t.Trait)
	}
	if n.target == 0 || level <= 0 {
		return nil
	}
	target, err := r.canonical(n.target)
	if err != nil {
		return err
	}
	if target.incomp || target.t.Size == 0 || target.t.Kind == trace.KindUnknown {
		n.t.Elem = r.stranger(n.target, target.t.Name)
		n.target = 0
		if !target.incomp && target.t.Kind == trace.KindStruct && n.t.Lang == trace.LangRust && strings.HasPrefix(n.t.Name, "&") {
			n.t.Elem = target.t // nothing is to be read of it
		}
		if target.incomp && n.t.Kind == trace.KindPointer && n.t.Form == trace.FormPlain && target.t.Kind == trace.KindUnknown {
			n.t.Form = trace.FormOpaque
		}
		return nil
	}
	n.t.Elem = target.t
	if target.t.Virtual && !n.t.Exact {
		r.reachedClass(n.target, target)
	}
	if n.t.Kind == trace.KindMap && n.t.Lang == trace.LangGo {
		n.t.Form = mapForm(target.t)
	}
	if n.t.Inner {
		return r.expand(target, level)
	}
	return r.expand(target, level-1)
}

// canonical reads the type at off without its qualifiers and aliases, so that
// all pointers to a struct share one Type whatever they call it.
func (r *Reader) canonical(off dwarf.Offset) (*node, error) {
	alias := ""
	for i := 0; i < maxNesting; i++ {
		if n, ok := r.nodes[off]; ok && n.t != nil && n.t.Lang == trace.LangGo {
			return n, nil
		}
		e, err := r.entry(off)
		if err != nil {
			return nil, err
		}
		next, ok := r.reference(e, dwarf.AttrType)
		if !ok || !transparent(e) {
			if whole, ok := r.definition(e); ok {
				off = whole
			}
			n, err := r.node(off)
			if err == nil && alias != "" && strings.HasSuffix(n.t.Name, anonymous) {
				n.t.Name = alias
			}
			return n, err
		}
		if e.Tag == dwarf.TagTypedef {
			alias = text(e, dwarf.AttrName)
		}
		off = next
	}
	return nil, damaged(off, "aliases without end")
}

// transparent says whether the entry only renames or qualifies another type.
func transparent(e *dwarf.Entry) bool {
	switch e.Tag {
	case dwarf.TagTypedef:
		return e.Val(attrGoKind) == nil
	case dwarf.TagConstType, dwarf.TagVolatileType, dwarf.TagRestrictType, dwarf.TagAtomicType:
		return true
	}
	return false
}

// build reads one type.
func (r *Reader) build(n *node, off dwarf.Offset) (*trace.Type, error) {
	e, err := r.entry(off)
	if err != nil {
		return nil, err
	}
	if transparent(e) {
		return r.alias(n, e)
	}
	name, err := r.name(off, 0)
	if err != nil {
		return nil, err
	}
	t := &trace.Type{Name: name, Lang: r.lang}
	if size, ok := number(e, dwarf.AttrByteSize); ok {
		if size > math.MaxInt32 { // Go's runtime has such, only ever behind pointers
			n.incomp, n.align = true, 1
			return t, nil
		}
		t.Size = uint32(size)
	}
	if align, ok := number(e, attrAlignment); ok && align > 0 && align <= 4096 {
		n.align = uint32(align)
	}
	if err := r.fill(n, t, e); err != nil {
		return nil, err
	}
	if n.align == 0 {
		n.align = 1
	}
	return t, nil
}

func (r *Reader) fill(n *node, t *trace.Type, e *dwarf.Entry) error {
	if kind, ok := number(e, attrGoKind); ok {
		done, err := r.fillGo(n, t, e, kind)
		if done || err != nil {
			return err
		}
	}
	switch e.Tag {
	case dwarf.TagBaseType:
		r.fillBase(n, t, e)
		return nil
	case dwarf.TagPointerType, dwarf.TagReferenceType, dwarf.TagRvalueReferenceType:
		return r.fillPointer(n, t, e)
	case dwarf.TagStructType, dwarf.TagClassType, dwarf.TagUnionType, dwarf.TagInterfaceType:
		return r.fillStruct(n, t, e)
	case dwarf.TagEnumerationType:
		return r.fillEnum(n, t, e)
	case dwarf.TagArrayType:
		return r.fillArray(n, t, e)
	case dwarf.TagSubroutineType:
		t.Kind = trace.KindFunc
		r.word(n, t)
	case dwarf.TagPtrToMemberType:
		return r.fillMemberPointer(n, t, e)
	case dwarf.TagUnspecifiedType:
		t.Kind, n.incomp = trace.KindUnknown, true
		if t.Name == "decltype(nullptr)" {
			t.Kind, n.incomp = trace.KindPointer, false
			r.word(n, t)
		}
	default:
		t.Kind, n.incomp = trace.KindUnknown, true
	}
	return nil
}

// word makes n a value of one machine word, passed like an integer.
func (r *Reader) word(n *node, t *trace.Type) {
	t.Size, n.align = 8, 8
	n.leaves = []leaf{{size: 8}}
}

// alias reads a typedef or qualified type: the same layout under another name.
func (r *Reader) alias(n *node, e *dwarf.Entry) (*trace.Type, error) {
	off, ok := r.reference(e, dwarf.AttrType)
	if !ok { // const void
		n.incomp = true
		return &trace.Type{Name: "void", Lang: r.lang}, nil
	}
	under, err := r.node(off)
	if err != nil {
		return nil, err
	}
	name, err := r.name(e.Offset, 0)
	if err != nil {
		return nil, err
	}
	*n = *under
	n.level = -1
	t := *under.t
	// What lies behind a pointer is read for each alias by itself.
	switch t.Kind {
	case trace.KindPointer, trace.KindSlice, trace.KindMap, trace.KindChan:
		t.Elem = nil
	}
	t.Name = name
	if index, ok := number(e, attrGoDictIndex); ok && index < 1<<16 {
		t.Dict = uint32(index) + 1
	}
	if align, ok := number(e, attrAlignment); ok && align > 0 && align <= 4096 {
		n.align = uint32(align)
	}
	return &t, nil
}

// DWARF base type encodings (DWARF 5, section 7.8).
const (
	encAddress      = 0x01
	encBoolean      = 0x02
	encComplex      = 0x03
	encFloat        = 0x04
	encSigned       = 0x05
	encSignedChar   = 0x06
	encUnsigned     = 0x07
	encUnsignedChar = 0x08
	encUTF          = 0x10
)

func (r *Reader) fillBase(n *node, t *trace.Type, e *dwarf.Entry) {
	enc, _ := number(e, dwarf.AttrEncoding)
	class := classInt
	switch enc {
	case encBoolean:
		t.Kind = trace.KindBool
	case encSigned, encSignedChar:
		t.Kind = trace.KindInt
	case encUnsigned, encUnsignedChar, encAddress:
		t.Kind = trace.KindUint
	case encFloat:
		t.Kind, class = trace.KindFloat, classFloat
	case encComplex:
		t.Kind, class = trace.KindComplex, classFloat
	case encUTF:
		t.Kind = trace.KindUint
		if t.Size == 4 {
			t.Kind = trace.KindRune
		}
	default:
		t.Kind = trace.KindUnknown
	}
	if (enc == encSignedChar || enc == encUnsignedChar) && strings.TrimPrefix(text(e, dwarf.AttrName), "const ") == "char" {
		t.Kind = trace.KindChar
	}
	if t.Size == 0 { // Rust's ()
		t.Kind = trace.KindStruct
		return
	}
	n.align = min(t.Size, 16)
	part := t.Size
	if enc == encComplex {
		part /= 2
		n.align = max(min(part, 16), 1)
	}
	if class == classFloat && part == 16 && r.arch == AMD64 && !strings.Contains(t.Name, "128") {
		class = classX87
	}
	n.leaves = append(n.leaves, leaf{size: part, class: class})
	if enc == encComplex {
		n.leaves = append(n.leaves, leaf{off: part, size: part, class: class})
	}
}

func (r *Reader) fillPointer(n *node, t *trace.Type, e *dwarf.Entry) error {
	r.word(n, t)
	t.Kind = trace.KindPointer
	off, ok := r.reference(e, dwarf.AttrType)
	if !ok {
		return nil
	}
	target, err := r.peel(off)
	if err != nil || target == nil {
		return err
	}
	switch {
	case target.Tag == dwarf.TagSubroutineType:
		t.Kind = trace.KindFunc
	case isChar(target) && r.lang != trace.LangRust && e.Tag == dwarf.TagPointerType:
		t.Kind = trace.KindCString
	default:
		n.target = off
		if width := r.wide(off); width > 0 && e.Tag == dwarf.TagPointerType {
			t.Kind, t.Count, n.target = trace.KindCString, width, 0
		}
	}
	return nil
}

// wide is the size in bytes of C's wide characters, by their names; 0 for all other types.
func (r *Reader) wide(off dwarf.Offset) uint64 {
	if r.lang != trace.LangC && r.lang != trace.LangCPP {
		return 0
	}
	for i := 0; i < maxNesting; i++ {
		e, err := r.entry(off)
		if err != nil {
			return 0
		}
		switch text(e, dwarf.AttrName) {
		case "wchar_t", "char32_t":
			return 4
		case "char16_t":
			return 2
		}
		next, ok := r.reference(e, dwarf.AttrType)
		if !ok || !transparent(e) {
			return 0
		}
		off = next
	}
	return 0
}

func isChar(e *dwarf.Entry) bool {
	size, _ := number(e, dwarf.AttrByteSize)
	return e.Tag == dwarf.TagBaseType && size == 1 && text(e, dwarf.AttrName) == "char"
}

// peel returns the entry behind qualifiers and aliases, nil for void.
func (r *Reader) peel(off dwarf.Offset) (*dwarf.Entry, error) {
	for i := 0; i < maxNesting; i++ {
		e, err := r.entry(off)
		if err != nil {
			return nil, err
		}
		if !transparent(e) {
			return e, nil
		}
		next, ok := r.reference(e, dwarf.AttrType)
		if !ok {
			return nil, nil
		}
		off = next
	}
	return nil, damaged(off, "aliases without end")
}

// unqualified returns the type behind a const.
func (r *Reader) unqualified(off dwarf.Offset) (dwarf.Offset, error) {
	e, err := r.entry(off)
	if err != nil {
		return 0, err
	}
	if next, ok := r.reference(e, dwarf.AttrType); ok && e.Tag == dwarf.TagConstType {
		return next, nil
	}
	return off, nil
}

// fillMemberPointer: a data member's is an offset, a function's two words
// (Itanium C++ ABI, section 2.3).
func (r *Reader) fillMemberPointer(n *node, t *trace.Type, e *dwarf.Entry) error {
	r.word(n, t)
	t.Kind = trace.KindInt
	off, ok := r.reference(e, dwarf.AttrType)
	if !ok {
		return nil
	}
	target, err := r.peel(off)
	if err != nil {
		return err
	}
	if target != nil && target.Tag == dwarf.TagSubroutineType {
		t.Size, t.Kind = 16, trace.KindUnknown
		n.leaves = []leaf{{size: 8}, {off: 8, size: 8}}
	}
	return nil
}

func (r *Reader) fillEnum(n *node, t *trace.Type, e *dwarf.Entry) error {
	t.Kind = trace.KindEnum
	if off, ok := r.reference(e, dwarf.AttrType); ok {
		under, err := r.node(off)
		if err != nil {
			return err
		}
		t.Signed = under.t.Kind == trace.KindInt
		if t.Size == 0 {
			t.Size = under.t.Size
		}
	}
	if t.Size == 0 { // only declared: an enum's values are ints
		t.Size = 4
	}
	if t.Size > 16 {
		return damaged(e.Offset, "an enumeration of %d bytes", t.Size)
	}
	n.align = t.Size
	n.leaves = []leaf{{size: t.Size}}
	values, err := r.children(e, dwarf.TagEnumerator)
	if err != nil {
		return err
	}
	for _, v := range values {
		var value int64
		switch c := v.Val(dwarf.AttrConstValue).(type) {
		case int64:
			value = c
		case uint64:
			value = int64(c)
		}
		t.Signed = t.Signed || value < 0 && t.Size < 8
		t.Enum = append(t.Enum, trace.Enumerator{Name: text(v, dwarf.AttrName), Value: value})
	}
	return nil
}

func (r *Reader) fillArray(n *node, t *trace.Type, e *dwarf.Entry) error {
	off, ok := r.reference(e, dwarf.AttrType)
	if !ok {
		return damaged(e.Offset, "an array of nothing")
	}
	elem, err := r.node(off)
	if err != nil {
		return err
	}
	dims, err := r.children(e, dwarf.TagSubrangeType)
	if err != nil {
		return err
	}
	if len(dims) > 8 {
		return damaged(e.Offset, "an array of %d dimensions", len(dims))
	}
	declared := t.Size
	if flag(e, attrGNUVector) {
		return r.fillVector(n, t, elem, dims)
	}
	if len(dims) == 0 {
		dims = []*dwarf.Entry{{}}
	}
	inner, in := elem.t, elem
	for i := len(dims) - 1; i >= 0; i-- {
		count := extent(dims[i])
		if size := uint64(inner.Size) * count; count > math.MaxInt32 || size > math.MaxInt32 {
			t.Kind, t.Elem, t.Size, n.incomp, n.align = trace.KindUnknown, nil, 0, true, 1
			return nil
		}
		this := t
		if i > 0 {
			this = &trace.Type{Name: t.Name, Lang: t.Lang}
		}
		this.Kind, this.Elem, this.Count, this.Size = trace.KindArray, inner, count, inner.Size*uint32(count)
		if declared > this.Size && i == 0 && count == 0 && inner.Size > 0 {
			this.Count, this.Size = uint64(declared/inner.Size), declared
		}
		repeat(n, in, inner.Size, this.Count)
		inner, in = this, &node{leaves: n.leaves, many: n.many}
	}
	n.align, n.inline = max(n.align, elem.align), []*node{elem}
	n.array = elem.array || t.Count > 1
	n.union = elem.union
	n.aggregate = true
	n.byRef = elem.byRef
	n.incomp, n.partial = elem.incomp, elem.partial
	return nil
}

// repeat makes n's leaves those of count elements.
func repeat(n *node, elem *node, size uint32, count uint64) {
	n.leaves, n.many = nil, elem.many && count > 0
	if len(elem.leaves) == 0 {
		return
	}
	if count*uint64(len(elem.leaves)) > maxLeaves {
		n.many = true
		return
	}
	var leaves []leaf
	for i := uint64(0); i < count; i++ {
		for _, l := range elem.leaves {
			l.off += uint32(i) * size
			leaves = append(leaves, l)
		}
	}
	n.leaves = leaves
}

// extent is the number of elements of one dimension, 0 when it isn't known.
func extent(dim *dwarf.Entry) uint64 {
	if count, ok := number(dim, dwarf.AttrCount); ok {
		return count
	}
	if _, isExpr := dim.Val(dwarf.AttrUpperBound).([]byte); isExpr {
		return 0
	}
	if upper, ok := number(dim, dwarf.AttrUpperBound); ok && upper < math.MaxUint32 {
		return upper + 1
	}
	return 0
}

// fillVector reads a SIMD vector (GCC's vector_size): one register holds it whole.
func (r *Reader) fillVector(n *node, t *trace.Type, elem *node, dims []*dwarf.Entry) error {
	t.Kind, t.Elem = trace.KindArray, elem.t
	if len(dims) > 0 {
		t.Count = extent(dims[0])
	}
	if t.Count > 64 || elem.t.Size > 64 {
		return fmt.Errorf("%w: a vector of %d times %d bytes", ErrDWARF, t.Count, elem.t.Size)
	}
	t.Size = elem.t.Size * uint32(t.Count)
	n.align = max(t.Size, 1)
	n.inline = []*node{elem}
	n.leaves = []leaf{{size: t.Size, class: classVector}}
	return nil
}
