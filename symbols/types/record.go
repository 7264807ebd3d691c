package types

import (
	"debug/dwarf"
	"sort"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// fillStruct reads a struct, class or union, and recognises the library types
// that mean text or a sequence.
func (r *Reader) fillStruct(n *node, t *trace.Type, e *dwarf.Entry) error {
	t.Kind = trace.KindStruct
	if e.Tag == dwarf.TagUnionType {
		t.Kind, n.union = trace.KindUnion, true
	}
	if flag(e, dwarf.AttrDeclaration) || e.Val(dwarf.AttrSignature) != nil {
		return r.fillDeclared(n, t, e)
	}
	parts, err := r.children(e, dwarf.TagMember, dwarf.TagInheritance, dwarf.TagVariantPart,
		dwarf.TagSubprogram, dwarf.TagTemplateTypeParameter)
	if err != nil {
		return err
	}
	m := record{r: r, n: n, t: t, align: 1}
	for _, p := range parts {
		if err := m.add(p); err != nil {
			return err
		}
	}
	m.finish()
	n.byRef = m.nonTrivial(e, parts)
	switch r.lang {
	case trace.LangRust:
		m.classify()
		r.recogniseRust(n, t, parts)
	case trace.LangCPP:
		r.recogniseCPP(n, t)
		if err := r.recogniseLibrary(n, t, e, parts); err != nil {
			return err
		}
		n.virtual = n.virtual || m.virtual
		t.Virtual = n.virtual && t.Kind == trace.KindStruct && t.Size >= 8
	case trace.LangGo:
		return r.recogniseGo(n, t)
	}
	return nil
}

// record gathers the members of one struct.
type record struct {
	r       *Reader
	n       *node
	t       *trace.Type
	align   uint32
	virtual bool      // has virtual functions or bases
	fields  []*node   // of the members that take room
	enum    *variants // Rust: what an enum with payloads is made of
}

func (m *record) add(p *dwarf.Entry) error {
	switch p.Tag {
	case dwarf.TagVariantPart:
		m.t.Kind, m.n.union = trace.KindVariant, true
		return m.variants(p)
	case dwarf.TagInheritance, dwarf.TagMember:
		return m.member(p)
	case dwarf.TagSubprogram:
		if v, _ := number(p, dwarf.AttrVirtuality); v > 0 {
			m.virtual = true
		}
	}
	return nil
}

func (m *record) member(p *dwarf.Entry) error {
	if flag(p, dwarf.AttrDeclaration) || flag(p, dwarf.AttrExternal) || p.Val(dwarf.AttrConstValue) != nil {
		return nil // a static member lies elsewhere
	}
	off, ok := m.r.reference(p, dwarf.AttrType)
	if !ok {
		return damaged(p.Offset, "a member without a type")
	}
	name := text(p, dwarf.AttrName)
	if strings.HasPrefix(name, "_vptr") {
		m.virtual = true
		return nil
	}
	child, err := m.r.node(off)
	if err != nil {
		return err
	}
	f := trace.Field{Name: name, Type: child.t, Embedded: p.Tag == dwarf.TagInheritance || name == "" || flag(p, attrGoEmbedded)}
	if p.Tag == dwarf.TagInheritance {
		f.Name = child.t.Name
		m.n.virtual = m.n.virtual || child.virtual
		m.n.scattered = m.n.scattered || child.scattered
		if v, _ := number(p, dwarf.AttrVirtuality); v > 0 {
			m.virtual = true
			f.Unavailable = "in a virtual base"
			m.n.share(len(m.t.Fields), p)
		}
	}
	if f.Unavailable == "" {
		if err := place(&f, p, m.t.Size); err != nil {
			return err
		}
	}
	m.t.Fields = append(m.t.Fields, f)
	if child.t.Size > 0 {
		m.fields = append(m.fields, child)
	}
	m.absorb(f, child)
	return nil
}

// place sets where a member lies; size is the whole struct's.
func place(f *trace.Field, p *dwarf.Entry, size uint32) error {
	if raw := p.Val(dwarf.AttrDataMemberLoc); raw != nil {
		at, ok := number(p, dwarf.AttrDataMemberLoc)
		if !ok || at > uint64(size) {
			return damaged(p.Offset, "a member at %v of a struct of %d bytes", raw, size)
		}
		f.Offset = uint32(at)
	}
	bits, isBits := number(p, dwarf.AttrBitSize)
	if !isBits {
		if uint64(f.Offset)+uint64(f.Type.Size) > uint64(size) && f.Type.Size > 0 {
			// Rust says so of unsized values' tails, and of zero-sized captures.
			f.Unavailable = "beyond the end of its struct"
		}
		return nil
	}
	if bits > 64 || f.Type.Size > 16 {
		return damaged(p.Offset, "a bit-field of %d bits", bits)
	}
	first, ok := firstBit(f, p, bits)
	if !ok || first+bits > uint64(size)*8 {
		return damaged(p.Offset, "a bit-field outside its struct")
	}
	return placeBits(f, first, bits, size)
}

// firstBit is the number of a bit-field's lowest bit, counted from the struct's first byte.
func firstBit(f *trace.Field, p *dwarf.Entry, bits uint64) (uint64, bool) {
	if at, ok := number(p, dwarf.AttrDataBitOffset); ok {
		return uint64(f.Offset)*8 + at, at < 1<<35
	}
	// DWARF 2 and 3 count from the most significant bit of the storage unit.
	unit := uint64(f.Type.Size)
	if size, ok := number(p, dwarf.AttrByteSize); ok && size <= 16 {
		unit = size
	}
	skip, isOld := p.Val(dwarf.AttrBitOffset).(int64)
	if !isOld {
		return uint64(f.Offset) * 8, true
	}
	at := int64(f.Offset)*8 + int64(unit*8) - skip - int64(bits)
	return uint64(at), at >= 0 && skip > -64 && skip < 1024
}

// placeBits chooses the bytes that a bit-field is read from.
func placeBits(f *trace.Field, first, bits uint64, size uint32) error {
	unit := f.Type.Size
	if unit == 0 || unit > size {
		f.Unavailable = "a bit-field of no storage unit"
		return nil
	}
	at := uint32(first/8) / unit * unit
	if first+bits > uint64(at+unit)*8 {
		at = uint32(first / 8)
	}
	at = min(at, size-unit)
	shift := first - uint64(at)*8
	if shift+bits > uint64(unit)*8 {
		f.Unavailable = "a bit-field across storage units"
		return nil
	}
	f.Offset, f.BitSize, f.BitShift = at, uint8(bits), uint8(shift)
	return nil
}

// absorb makes a member's scalar parts the struct's.
func (m *record) absorb(f trace.Field, child *node) {
	m.n.inline = append(m.n.inline, child)
	m.n.array = m.n.array || child.array
	m.n.union = m.n.union || child.union
	m.n.byRef = m.n.byRef || child.byRef
	m.n.many = m.n.many || child.many
	m.n.partial = m.n.partial || child.incomp || child.partial
	if f.BitSize == 0 || m.t.Kind == trace.KindUnion {
		m.align = max(m.align, child.align)
	}
	if f.Unavailable != "" {
		m.n.many = true
		return
	}
	if f.BitSize > 0 {
		first, last := f.Offset*8+uint32(f.BitShift), f.Offset*8+uint32(f.BitShift)+uint32(f.BitSize)-1
		m.n.leaves = append(m.n.leaves, leaf{off: first / 8, size: last/8 - first/8 + 1, bits: true})
		m.align = max(m.align, child.align)
		return
	}
	for _, l := range child.leaves {
		l.off += f.Offset
		m.n.leaves = append(m.n.leaves, l)
	}
	if len(m.n.leaves) > maxLeaves {
		m.n.many, m.n.leaves = true, nil
	}
}

func (m *record) finish() {
	if m.n.many {
		m.n.leaves = nil
	}
	sort.SliceStable(m.n.leaves, func(i, j int) bool { return m.n.leaves[i].off < m.n.leaves[j].off })
	if m.n.align == 0 {
		m.n.align = m.alignment()
	}
	if m.virtual { // the hidden pointer to the virtual table
		m.n.align = max(m.n.align, 8)
		m.n.leaves = append(m.n.leaves, leaf{size: 8})
	}
}

// alignment is the struct's, which older DWARF doesn't tell: more than its
// members', when its size was rounded up to more.
func (m *record) alignment() uint32 {
	end := uint32(0)
	for _, f := range m.t.Fields {
		end = max(end, f.Offset+f.Type.Size)
	}
	align := m.align
	for align < 64 && alignUp(end, align) < m.t.Size {
		align *= 2
	}
	if alignUp(end, align) != m.t.Size {
		return m.align
	}
	return align
}

// DW_AT_calling_convention of a class (DWARF 5, section 5.7.1).
const (
	passByReference = 0x04
	passByValue     = 0x05
)

// nonTrivial says whether C++ passes the class by invisible reference
// (Itanium C++ ABI, section 3.1.2.3).
func (m *record) nonTrivial(e *dwarf.Entry, parts []*dwarf.Entry) bool {
	if m.r.lang != trace.LangCPP {
		return false
	}
	if cc, ok := number(e, dwarf.AttrCalling); ok && (cc == passByReference || cc == passByValue) {
		return cc == passByReference
	}
	if m.virtual || m.n.byRef {
		return true
	}
	class := text(e, dwarf.AttrName)
	if i := strings.IndexByte(class, '<'); i > 0 {
		class = class[:i]
	}
	for _, p := range parts {
		if p.Tag != dwarf.TagSubprogram || p.Val(attrDefaulted) != nil || flag(p, dwarf.AttrArtificial) {
			continue
		}
		name := text(p, dwarf.AttrName)
		if strings.HasPrefix(name, "~") || class != "" && name == class && m.copies(p, e.Offset) {
			return true
		}
	}
	return false
}

// copies says whether the constructor takes another object of its class by reference.
func (m *record) copies(ctor *dwarf.Entry, class dwarf.Offset) bool {
	params, err := m.r.children(ctor, dwarf.TagFormalParameter)
	if err != nil || len(params) != 2 {
		return false
	}
	off, ok := m.r.reference(params[1], dwarf.AttrType)
	if !ok {
		return false
	}
	ref, err := m.r.entry(off)
	if err != nil || ref.Tag != dwarf.TagReferenceType && ref.Tag != dwarf.TagRvalueReferenceType {
		return false
	}
	if off, ok = m.r.reference(ref, dwarf.AttrType); !ok {
		return false
	}
	target, err := m.r.peel(off)
	return err == nil && target != nil && target.Offset == class
}

// charOf is the type of a string's characters, as the name of the class template
// std::basic_string (or the one given) has it, and its size in bytes; 0 for all
// other types. libcxx says that it is libc++'s, of inline namespace __1: the alternate
// layout of its strings goes with another one.
func charOf(name, template string) (size uint32, libcxx bool) {
	rest, ok := strings.CutPrefix(name, "std::")
	if !ok {
		return 0, false
	}
	for _, namespace := range []string{"__cxx11::", "__1::"} {
		if cut, ok := strings.CutPrefix(rest, namespace); ok {
			rest, libcxx = cut, namespace == "__1::"
			break
		}
	}
	if rest, ok = strings.CutPrefix(rest, template+"<"); !ok {
		return 0, false
	}
	char, _, _ := strings.Cut(rest, ",")
	switch char {
	case "char", "char8_t":
		return 1, libcxx
	case "char16_t":
		return 2, libcxx
	case "wchar_t", "char32_t":
		return 4, libcxx
	}
	return 0, false
}

// knownString makes a class the library's string when it has that one's size: in libstdc++
// since GCC 5 pointer, length and 16 bytes of room, in libc++ as trace.FormShort
// says. Both are part of the library's ABI.
func (n *node) knownString(t *trace.Type, size uint32) bool {
	width, libcxx := charOf(t.Name, "basic_string")
	switch {
	case width == 0:
		return false
	case libcxx && size == 24:
		asText(t, "std::string", 16, 8)
		t.Form = trace.FormShort
	case !libcxx && size == 32 && strings.HasPrefix(t.Name, "std::__cxx11::"):
		asText(t, "std::string", 0, 8)
	default:
		return false
	}
	if width > 1 {
		t.Name, t.Count = wideNames[width], uint64(width)
	}
	n.words(t, size/8)
	return true
}

// wideNames are strings of wide characters, by their size in bytes.
var wideNames = map[uint32]string{2: "std::u16string", 4: "std::wstring"}

// fillDeclared handles a type that is defined elsewhere. clang leaves out the
// definition of std::string, whose layout is fixed by the library's ABI.
func (r *Reader) fillDeclared(n *node, t *trace.Type, e *dwarf.Entry) error {
	if r.lang == trace.LangCPP && (n.knownString(t, 32) || n.knownString(t, 24)) {
		return nil
	}
	if off, ok := r.definition(e); ok {
		whole, err := r.node(off)
		if err == nil && !whole.incomp {
			*n, *t = *whole, *whole.t
			n.level = -1
			return nil
		}
	}
	t.Kind, t.Size, n.incomp = trace.KindUnknown, 0, true
	n.align = 1
	return nil
}

// definition finds the description of a C++ class that e only declares.
func (r *Reader) definition(e *dwarf.Entry) (dwarf.Offset, bool) {
	if r.define == nil || r.lang != trace.LangCPP || !flag(e, dwarf.AttrDeclaration) || e.Tag != dwarf.TagStructType && e.Tag != dwarf.TagClassType {
		return 0, false
	}
	name, err := r.name(e.Offset, 0)
	if err != nil {
		return 0, false
	}
	off, ok := r.define(name)
	return off, ok && off != e.Offset
}

// words makes a class one of so many words, passed by reference, of which all is known.
func (n *node) words(t *trace.Type, count uint32) {
	t.Size, n.align, n.byRef, n.partial, n.leaves = 8*count, 8, true, false, nil
	for i := range count {
		n.leaves = append(n.leaves, leaf{off: 8 * i, size: 8})
	}
}

// recogniseCPP finds the standard library's strings by their members.
func (r *Reader) recogniseCPP(n *node, t *trace.Type) {
	if n.knownString(t, t.Size) { // clang may leave its pointer undescribed
		return
	}
	if width, _ := charOf(t.Name, "basic_string_view"); width > 0 {
		ptr, ok := n.part(t, "_M_str", "__data_", "__data")
		length, ok2 := n.part(t, "_M_len", "__size_", "__size")
		if ok && ok2 {
			asText(t, "std::string_view", ptr.offset, length.offset)
			if width > 1 {
				t.Count = uint64(width)
			}
		}
		return
	}
	if width, _ := charOf(t.Name, "basic_string"); width != 1 {
		return
	}
	ptr, ok := fieldOffset(t, "_M_dataplus", "_M_p")
	if !ok {
		return
	}
	if length, ok := fieldOffset(t, "_M_string_length"); ok {
		asText(t, "std::string", ptr, length)
	} else if t.Size == 8 { // the reference-counted string of before GCC 5
		t.Kind, t.Name, t.Fields = trace.KindCString, "std::string", nil
	}
}

func asText(t *trace.Type, name string, ptr, length uint32) {
	t.Kind, t.Name, t.PtrOff, t.LenOff, t.Fields = trace.KindString, name, ptr, length, nil
}

// fieldOffset follows the names through nested members.
func fieldOffset(t *trace.Type, path ...string) (uint32, bool) {
	off := uint32(0)
next:
	for _, name := range path {
		for _, f := range t.Fields {
			if f.Name == name && f.Unavailable == "" {
				off, t = off+f.Offset, f.Type
				continue next
			}
		}
		return 0, false
	}
	return off, true
}
