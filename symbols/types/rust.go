package types

import (
	"debug/dwarf"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// variants is what a Rust enum with payloads is made of.
type variants struct {
	tag      *leaf // where it is told which variant it is
	payloads []*node
}

// variants reads a DW_TAG_variant_part.
func (m *record) variants(part *dwarf.Entry) error {
	m.enum = &variants{}
	list, err := m.r.children(part, dwarf.TagMember, dwarf.TagVariant)
	if err != nil {
		return err
	}
	for _, v := range list {
		if v.Tag == dwarf.TagMember {
			off, _ := number(v, dwarf.AttrDataMemberLoc)
			n, err := m.memberType(v)
			if err != nil {
				return err
			}
			if off <= uint64(m.t.Size) && n.t.Size > 0 {
				m.enum.tag = &leaf{off: uint32(off), size: n.t.Size}
				m.t.Tag = &trace.Field{Name: "tag", Offset: uint32(off), Type: n.t}
			}
			continue
		}
		members, err := m.r.children(v, dwarf.TagMember)
		if err != nil {
			return err
		}
		for _, p := range members {
			n, err := m.memberType(p)
			if err != nil {
				return err
			}
			if len(n.leaves) > 0 || n.many {
				m.enum.payloads = append(m.enum.payloads, n)
			}
			m.n.align = max(m.n.align, n.align)
			m.n.inline = append(m.n.inline, n)
			form := trace.Variant{Name: text(p, dwarf.AttrName), Type: n.t}
			form.Value, form.Default = discriminant(v)
			m.t.Variants = append(m.t.Variants, form)
		}
	}
	return nil
}

// discriminant is the value of the tag that means this variant; other is true
// for the variant that all values without one of their own mean (DWARF 5,
// section 5.7.10).
func discriminant(v *dwarf.Entry) (value uint64, other bool) {
	switch c := v.Val(dwarf.AttrDiscrValue).(type) {
	case int64:
		return uint64(c), false
	case uint64:
		return c, false
	case []byte: // wider than 64 bits, which no tag is: its low bytes
		for i := min(len(c), 8); i > 0; i-- {
			value = value<<8 | uint64(c[i-1])
		}
		return value, false
	}
	return 0, true
}

func (m *record) memberType(e *dwarf.Entry) (*node, error) {
	off, ok := m.r.reference(e, dwarf.AttrType)
	if !ok {
		return nil, damaged(e.Offset, "a member without a type")
	}
	return m.r.node(off)
}

// classify decides how Rust passes the type: as one scalar, as two, or as an
// aggregate (rustc_abi::BackendRepr). A struct marked repr(C) is always an
// aggregate, which the debug information doesn't tell; it is taken for Rust's own.
func (m *record) classify() {
	n := m.n
	switch {
	case m.enum != nil:
		m.classifyEnum()
	case m.t.Kind == trace.KindUnion:
		m.classifyUnion()
	default:
		n.aggregate = len(m.fields) > 2
		for _, f := range m.fields {
			n.aggregate = n.aggregate || f.aggregate || f.sparse || len(m.fields) > 1 && len(f.leaves) != 1
		}
	}
	n.aggregate, n.sparse = n.aggregate || n.many, !m.dense()
	if m.enum != nil && n.aggregate {
		n.leaves, n.many = nil, true
	}
}

func (m *record) classifyUnion() {
	for i, f := range m.fields {
		if f.aggregate || f.sparse || i > 0 && !sameLeaves(f.leaves, m.fields[0].leaves) {
			m.n.aggregate = true
		}
	}
	if len(m.fields) > 0 && !m.n.aggregate {
		m.n.leaves = m.fields[0].leaves
	}
}

// classifyEnum: the tag and, where all variants have it in one place, the
// scalar beside it; or, where the tag is kept in an impossible value of the one
// payload, that payload.
func (m *record) classifyEnum() {
	e, n := m.enum, m.n
	n.many, n.leaves = false, nil
	if e.tag == nil { // one variant
		for _, p := range e.payloads {
			n.leaves, n.aggregate = p.leaves, p.aggregate || p.many
		}
		return
	}
	for _, p := range e.payloads {
		if p.many || p.aggregate {
			n.aggregate = true
			return
		}
	}
	if len(e.payloads) == 0 {
		n.leaves = []leaf{*e.tag}
		return
	}
	first := e.payloads[0].leaves
	if overlaps(first, *e.tag) {
		n.leaves, n.aggregate = first, len(e.payloads) > 1
		return
	}
	for _, p := range e.payloads {
		n.aggregate = n.aggregate || len(p.leaves) != 1 || !sameLeaves(p.leaves, first)
	}
	n.leaves = []leaf{*e.tag, first[0]}
	if first[0].off < e.tag.off {
		n.leaves[0], n.leaves[1] = n.leaves[1], n.leaves[0]
	}
}

func overlaps(leaves []leaf, with leaf) bool {
	for _, l := range leaves {
		if l.off < with.off+with.size && with.off < l.off+l.size {
			return true
		}
	}
	return false
}

func sameLeaves(a, b []leaf) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// dense says whether the scalars alone, one behind the other, have the type's size.
func (m *record) dense() bool {
	end, align := uint32(0), uint32(1)
	for _, l := range m.n.leaves {
		a := min(l.size, 16)
		if l.off != alignUp(end, a) {
			return false
		}
		end, align = l.off+l.size, max(align, a)
	}
	return alignUp(end, align) == m.t.Size
}

// recogniseRust finds text and sequences by their members: Rust's layout isn't
// fixed, but its names are.
func (r *Reader) recogniseRust(n *node, t *trace.Type, parts []*dwarf.Entry) {
	if r.recogniseWrapper(n, t) || r.recogniseStd(n, t) || r.traitObject(n, t) {
		return
	}
	length, hasLen := fieldOffset(t, "length")
	if ptr, ok := fieldOffset(t, "data_ptr"); ok && hasLen && t.Size == 16 {
		r.fat(n, t, ptr, length)
		return
	}
	switch {
	case t.Name == "alloc::string::String":
		if vec, ok := fieldOffset(t, "vec"); ok {
			v := fieldType(t, "vec")
			if v != nil && v.Kind == trace.KindSlice {
				asText(t, t.Name, vec+v.PtrOff, vec+v.LenOff)
			}
		}
	case strings.HasPrefix(t.Name, "hashbrown::raw::RawTable<"):
		r.rawTable(n, t, parts)
	case strings.HasPrefix(t.Name, "alloc::collections::vec_deque::VecDeque<"):
		r.deque(n, t, parts)
	case strings.HasPrefix(t.Name, "alloc::collections::btree::map::BTreeMap<"):
		r.btree(n, t)
	case strings.HasPrefix(t.Name, "alloc::vec::Vec<"):
		length, ok := fieldOffset(t, "len")
		buf, isVec := fieldOffset(t, "buf")
		inner := fieldType(t, "buf")
		if !ok || !isVec || inner == nil {
			return
		}
		if ptr, ok := firstPointer(inner, 0); ok {
			asSlice(n, t, buf+ptr, length, r.templateType(parts, "T"))
		}
	}
}

func asSlice(n *node, t *trace.Type, ptr, length uint32, elem dwarf.Offset) {
	t.Kind, t.PtrOff, t.LenOff, t.Fields = trace.KindSlice, ptr, length, nil
	n.target, n.inline = elem, nil
}

func fieldType(t *trace.Type, name string) *trace.Type {
	for _, f := range t.Fields {
		if f.Name == name {
			return f.Type
		}
	}
	return nil
}

// pointee is the offset of the type behind a pointer member.
func pointee(n *node, t *trace.Type, name string) dwarf.Offset {
	for i, f := range t.Fields {
		if f.Name == name && i < len(n.inline) {
			return n.inline[i].target
		}
	}
	return 0
}

// firstPointer finds the pointer in nested one-member wrappers (RawVec, Unique, NonNull).
func firstPointer(t *trace.Type, nesting int) (uint32, bool) {
	if t.Kind == trace.KindPointer {
		return 0, true
	}
	if nesting > maxNesting || t.Kind != trace.KindStruct {
		return 0, false
	}
	for _, f := range t.Fields {
		if off, ok := firstPointer(f.Type, nesting+1); ok {
			return f.Offset + off, true
		}
	}
	return 0, false
}

// templateType is the type that a generic's parameter stands for.
func (r *Reader) templateType(parts []*dwarf.Entry, name string) dwarf.Offset {
	for _, p := range parts {
		if p.Tag == dwarf.TagTemplateTypeParameter && text(p, dwarf.AttrName) == name {
			off, _ := r.reference(p, dwarf.AttrType)
			return off
		}
	}
	return 0
}

// rustLimit is the size in bytes up to which aggregates travel as an integer
// (rustc_ty_utils::abi): one pointer since Rust 1.62; two in some versions before.
const rustLimit = 8

// rustValue splits a value into what Rust passes separately; ok is false when
// it is passed by address.
func rustValue(n *node) ([]leaf, bool) {
	if !n.aggregate && !n.sparse && !n.many && len(n.leaves) <= 2 && len(n.leaves) > 0 {
		return n.leaves, true
	}
	if n.t.Size > rustLimit {
		return nil, false
	}
	return []leaf{{size: n.t.Size}}, true
}

// rustArgument places one argument of Rust's own convention.
func (a *allocator) rustArgument(n *node) placed {
	if n.t.Size == 0 {
		return placed{}
	}
	parts, ok := rustValue(n)
	if !ok {
		return a.pointer()
	}
	var pieces []piece
	for _, l := range parts {
		pieces = append(pieces, a.rustScalar(l)...)
	}
	return placed{pieces: pieces}
}

// rustScalar places one scalar: in registers while there are any, else in memory.
// 128-bit integers are never split between the two (LLVM's X86CallingConv.td).
func (a *allocator) rustScalar(l leaf) []piece {
	if l.class != classInt {
		if a.fl++; a.fl <= a.conv.floats {
			return []piece{a.lost(l)}
		}
		return a.rustMemory(l)
	}
	words := int(alignUp(l.size, 8) / 8)
	if a.ints+words > len(a.conv.ints) {
		return a.rustMemory(l)
	}
	pieces := a.words(l.size)
	for i := range pieces {
		pieces[i].off += l.off
	}
	return pieces
}

func (a *allocator) rustMemory(l leaf) []piece {
	p := a.memory(alignUp(l.size, 8), max(8, min(l.size, 16)))
	for i := range p.pieces {
		p.pieces[i].off, p.pieces[i].size = l.off, l.size
	}
	return p.pieces
}

// rustResult places a result of Rust's own convention.
func (a *allocator) rustResult(n *node) (p placed, hidden bool) {
	if n.t.Size == 0 {
		return placed{}, false
	}
	parts, ok := rustValue(n)
	words := 0
	for _, l := range parts {
		if l.class == classInt {
			words += int(alignUp(l.size, 8) / 8)
		}
	}
	if !ok || words > 2 { // since Rust 1.84; LLVM itself would use a third register
		if a.arch == ARM64 {
			return savedResult(n, x8), true
		}
		return placed{reference: true, pieces: []piece{{size: 8, source: trace.SourceRegister, reg: rax}}}, true
	}
	back := allocator{arch: a.arch, conv: convention{ints: a.conv.results, floats: a.conv.fout}}
	var pieces []piece
	for _, l := range parts {
		pieces = append(pieces, back.rustScalar(l)...)
	}
	return placed{pieces: pieces}, false
}
