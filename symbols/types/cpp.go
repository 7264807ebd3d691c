package types

import (
	"debug/dwarf"
	"strconv"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// sourceName leaves out of a name the inline namespaces that programs don't write.
var sourceName = strings.NewReplacer("std::__1::", "std::", "std::__cxx11::", "std::")

// templateName is a class's own name: without its namespaces and its arguments.
func templateName(name string) string {
	name = name[:strings.IndexByte(name+"<", '<')]
	return name[strings.LastIndex(name, "::")+1:]
}

// recogniseLibrary finds the standard library's types by the names of their
// members, which are part of the ABI of libstdc++ and, in its inline namespace
// __1, of libc++. What isn't as expected stays the struct that it is.
func (r *Reader) recogniseLibrary(n *node, t *trace.Type, e *dwarf.Entry, parts []*dwarf.Entry) error {
	if !strings.HasPrefix(t.Name, "std::") {
		return nil
	}
	switch name := strings.TrimPrefix(templateName(t.Name), ":"); name {
	case "vector":
		r.vector(n, t)
	case "array":
		if count, ok, err := r.extentOf(e); err != nil || ok && count == 0 {
			t.Kind, t.Form, t.Count, t.Fields, n.inline = trace.KindSlice, trace.FormFixed, 0, nil, nil
			return err
		}
		if e, ok := n.part(t, "_M_elems", "__elems_"); ok && e.node.t.Kind == trace.KindArray && len(t.Fields) == 1 {
			t.Kind, t.Elem, t.Count, t.Fields = trace.KindArray, e.node.t.Elem, e.node.t.Count, nil
		}
	case "unique_ptr":
		if p, ok := n.firstPointer(t); ok && p.offset == 0 {
			asPointer(n, t, p)
		}
	case "shared_ptr":
		if p, ok := n.deep(t, "_M_ptr", "__ptr_"); ok && p.offset == 0 {
			asPointer(n, t, p)
		}
	case "weak_ptr":
		weak(n, t)
	case "optional":
		r.optional(n, t)
	case "variant":
		return r.variant(n, t, e)
	case "tuple":
		r.tuple(n, t)
	case "duration":
		r.duration(n, t)
	case "_Rb_tree", "_Hashtable", "list", "__tree", "__hash_table", "forward_list":
		r.cells(n, t, name, parts)
	case "__value_type", "__hash_value_type": // libc++'s of maps: nothing but a pair
		if p, ok := n.part(t, "__cc_", "__cc"); ok && p.offset == 0 && len(t.Fields) == 1 {
			t.Fields, n.inline = p.node.t.Fields, p.node.inline
		}
	case "map", "multimap", "unordered_map", "unordered_multimap", "set", "multiset", "unordered_set", "unordered_multiset":
		r.adapter(n, t, strings.HasSuffix(name, "map"))
	default:
		return r.recogniseSmall(n, t, e, parts, name)
	}
	return nil
}

// cells reads the containers of linked cells. Theirs begin with what the
// container itself has for a cell without a value: of a tree colour (libc++:
// last), parent (here the root), smaller, greater; of a list the next, behind
// the one before in a doubly linked one; of libc++'s hash table next and hash.
func (r *Reader) cells(n *node, t *trace.Type, name string, parts []*dwarf.Entry) {
	var first, length part
	var ok, ok2 bool
	switch name {
	case "_Rb_tree":
		first, ok = n.deep(t, "_M_header")
		length, ok2 = n.deep(t, "_M_node_count")
		if ok && ok2 {
			linked(n, t, trace.FormTree, length.offset, first.offset+8, r.templateType(parts, "_Val"), cell{head: 32, next: []uint32{16, 24}})
		}
	case "__tree":
		first, ok = n.deep(t, "__left_")
		length, ok2 = n.compressed(t, "__pair3_", "__size_")
		if ok && ok2 {
			// A value may lie in what its colour leaves of a word.
			linked(n, t, trace.FormTree, length.offset, first.offset, r.templateType(parts, "_Tp"), cell{head: 25, next: []uint32{0, 8}})
		}
	case "_Hashtable":
		first, ok = n.deep(t, "_M_before_begin")
		length, ok2 = n.deep(t, "_M_element_count")
		if ok && ok2 {
			linked(n, t, trace.FormList, length.offset, first.offset, r.templateType(parts, "_Value"), cell{head: 8, next: []uint32{0}})
		}
	case "__hash_table":
		first, ok = n.deep(t, "__next_")
		length, ok2 = n.compressed(t, "__p2_", "__size_")
		if ok && ok2 {
			linked(n, t, trace.FormList, length.offset, first.offset, r.templateType(parts, "_Tp"), cell{head: 16, next: []uint32{0}})
		}
	case "list":
		first, ok = n.deep(t, "_M_node", "__end_")
		length, ok2 = n.compressed(t, "_M_size", "__size_alloc_", "__size_")
		next, ok3 := first.deep("_M_next", "__next_")
		if ok && ok2 && ok3 {
			linked(n, t, trace.FormList, length.offset, next.offset, r.templateType(parts, "_Tp"), cell{head: 16, next: []uint32{next.offset - first.offset}})
		}
	case "forward_list":
		if first, ok = n.deep(t, "_M_head", "__before_begin_"); !ok {
			return
		}
		if next, ok := first.deep("_M_next", "__next_"); ok {
			linked(n, t, trace.FormChain, 0, next.offset, r.templateType(parts, "_Tp"), cell{head: 8, next: []uint32{0}})
		}
	}
}

// deep finds a member of a member.
func (p part) deep(names ...string) (part, bool) {
	if p.node == nil || p.node.t == nil {
		return part{}, false
	}
	in, ok := p.node.deep(p.node.t, names...)
	in.offset += p.offset
	return in, ok
}

// compressed finds a member that is a number, or the first of libc++'s pairs of
// a number and what mostly has no bytes.
func (n *node) compressed(t *trace.Type, names ...string) (part, bool) {
	p, ok := n.deep(t, names...)
	if ok && p.node.t.Kind == trace.KindStruct {
		p, ok = p.deep("__value_")
	}
	return p, ok && p.node.t.Kind == trace.KindUint && p.node.t.Size == 8
}

// duration reads a std::chrono::duration: a number of ticks, whose length in
// seconds is a fraction in the type's name.
func (r *Reader) duration(n *node, t *trace.Type) {
	ticks, ok := n.part(t, "__r", "__rep_")
	_, ratio, ok2 := strings.Cut(t.Name, "::ratio<")
	if !ok || !ok2 || ticks.node.t.Kind != trace.KindInt || ticks.offset != 0 || ticks.node.t.Size != t.Size {
		return
	}
	num, den, ok := strings.Cut(strings.TrimRight(ratio, "> "), ",")
	a, err := strconv.ParseUint(strings.Trim(num, " lL"), 10, 32)
	b, err2 := strconv.ParseUint(strings.Trim(den, " lL"), 10, 32)
	if !ok || err != nil || err2 != nil || a == 0 || b == 0 {
		return
	}
	t.Kind, t.Tick, t.Fields, n.inline = trace.KindDuration, [2]uint32{uint32(a), uint32(b)}, nil, nil
}

func (r *Reader) vector(n *node, t *trace.Type) {
	begin, ok := n.deep(t, "_M_start", "__begin_")
	end, ok2 := n.deep(t, "_M_finish", "__end_")
	switch {
	case ok && begin.node.t.Size == 8 && ok2 && end.node.t.Size == 8 && (begin.node.target != 0 || begin.node.t.Kind == trace.KindCString):
		asSequence(n, t, begin, end.offset, trace.FormEnd)
	case ok:
		r.bits(n, t, begin, end, ok2)
	}
}

// asSequence makes a class that has a pointer to elements, and their number or
// end, a sequence of them.
func asSequence(n *node, t *trace.Type, begin part, length uint32, form trace.Form) {
	t.Kind, t.Form, t.PtrOff, t.LenOff, t.Fields = trace.KindSlice, form, begin.offset, length, nil
	if begin.node.t.Kind == trace.KindCString { // of char
		t.Elem = &trace.Type{Name: "char", Kind: trace.KindChar, Size: 1, Lang: t.Lang}
	}
	n.target, n.inline = begin.node.target, nil
}

// firstPointer finds the first pointer in a value.
func (n *node) firstPointer(t *trace.Type) (part, bool) {
	for i, f := range t.Fields {
		if i >= len(n.inline) || f.Unavailable != "" {
			continue
		}
		in := n.inline[i]
		if in.target != 0 && in.t.Kind == trace.KindPointer {
			return part{f.Offset, in}, true
		}
		if in.t.Kind == trace.KindStruct {
			if p, ok := in.firstPointer(in.t); ok {
				p.offset += f.Offset
				return p, true
			}
		}
	}
	return part{}, false
}

// asPointer makes a smart pointer a pointer.
func asPointer(n *node, t *trace.Type, p part) {
	t.Kind, t.Fields = trace.KindPointer, nil
	n.target, n.inline = p.node.target, nil
}

func (r *Reader) optional(n *node, t *trace.Type) {
	value, ok := n.deep(t, "_M_value", "__val_")
	engaged, ok2 := n.deep(t, "_M_engaged", "__engaged_")
	if !ok || !ok2 {
		return
	}
	form := &trace.Type{Kind: trace.KindStruct, Size: t.Size, Lang: t.Lang, Fields: []trace.Field{{Name: "__0", Offset: value.offset, Type: value.node.t}}}
	t.Kind, t.Fields = trace.KindVariant, nil
	t.Tag = &trace.Field{Offset: engaged.offset, Type: engaged.node.t}
	t.Variants = []trace.Variant{{Null: true}, {Default: true, Type: form}}
	n.inline = []*node{value.node}
}

// tagPack is DW_TAG_GNU_template_parameter_pack.
const tagPack dwarf.Tag = 0x4107

// variant reads a std::variant: an index, and a union of the first type and of a
// union of the others. Of types with destructors there are only bytes in it.
func (r *Reader) variant(n *node, t *trace.Type, e *dwarf.Entry) error {
	index, ok := n.deep(t, "_M_index", "__index")
	u, ok2 := n.deep(t, "_M_u", "__data")
	packs, err := r.children(e, tagPack)
	if err != nil || !ok || !ok2 || len(packs) == 0 {
		return err
	}
	alternatives, err := r.children(packs[0], dwarf.TagTemplateTypeParameter)
	if err != nil {
		return err
	}
	var variants []trace.Variant
	var inline []*node
	for _, a := range alternatives {
		first, ok := u.node.part(u.node.t, "_M_first", "__head")
		if !ok {
			break
		}
		storage, ok := first.node.deep(first.node.t, "_M_storage", "__value")
		off, ok2 := r.reference(a, dwarf.AttrType)
		if !ok || !ok2 {
			return nil
		}
		value, err := r.node(off)
		if err != nil {
			return err
		}
		field := trace.Field{Name: "__0", Offset: u.offset + first.offset + storage.offset, Type: value.t}
		form := &trace.Type{Kind: trace.KindStruct, Size: t.Size, Lang: t.Lang, Fields: []trace.Field{field}}
		variants = append(variants, trace.Variant{Name: sourceName.Replace(value.t.Name), Value: uint64(len(variants)), Type: form})
		inline = append(inline, value)
		rest, ok := u.node.part(u.node.t, "_M_rest", "__tail")
		if !ok {
			break
		}
		rest.offset += u.offset
		u = rest
	}
	if len(variants) == 0 {
		return nil
	}
	variants = append(variants, trace.Variant{Name: "valueless by exception", Default: true})
	t.Kind, t.Fields, t.Variants = trace.KindVariant, nil, variants
	t.Tag = &trace.Field{Offset: index.offset, Type: index.node.t}
	n.inline = inline
	return nil
}

// tuple reads a std::tuple: in libc++ a base for each element, in libstdc++ a chain
// of bases, of which each holds one element and the others. An element without
// members is a base itself.
func (r *Reader) tuple(n *node, t *trace.Type) {
	if base, ok := n.part(t, "__base_"); ok {
		t.Fields, n.inline = base.node.t.Fields, base.node.inline
		leaves(n, t, base.offset)
		return
	}
	var fields []trace.Field
	var inline []*node
	at, off := n, uint32(0)
	for range maxMembers {
		var rest *part
		for i, f := range at.t0(t, n).Fields {
			if i >= len(at.inline) {
				break
			}
			in := part{off + f.Offset, at.inline[i]}
			switch name := in.node.t.Name; {
			case strings.HasPrefix(name, "std::_Tuple_impl<"):
				rest = &in
			case strings.HasPrefix(name, "std::_Head_base<"):
				if v, ok := in.node.part(in.node.t, "_M_head_impl"); ok {
					fields = append(fields, trace.Field{Offset: in.offset + v.offset, Type: v.node.t})
					inline = append(inline, v.node)
				}
			}
		}
		if rest == nil {
			break
		}
		at, off = rest.node, rest.offset
	}
	if len(fields) == 0 {
		return
	}
	for i := range fields {
		fields[i].Name = "__" + strconv.Itoa(i)
	}
	t.Fields, n.inline = fields, inline
}

// leaves makes libc++'s bases of a tuple, each for one element, the elements.
func leaves(n *node, t *trace.Type, off uint32) {
	var fields []trace.Field
	var inline []*node
	for i, f := range t.Fields {
		if i >= len(n.inline) || f.Unavailable != "" || !strings.Contains(f.Name, "__tuple_leaf<") {
			return
		}
		leaf := n.inline[i]
		if v, ok := leaf.part(leaf.t, "__value_"); ok {
			f.Offset, leaf = f.Offset+v.offset, v.node
		}
		fields = append(fields, trace.Field{Name: "__" + strconv.Itoa(i), Offset: off + f.Offset, Type: leaf.t})
		inline = append(inline, leaf)
	}
	t.Fields, n.inline = fields, inline
}

// t0 is a node's type, while the first one's is being made.
func (n *node) t0(t *trace.Type, first *node) *trace.Type {
	if n == first {
		return t
	}
	return n.t
}

// linked makes a container one of linked cells.
func linked(n *node, t *trace.Type, form trace.Form, length, first uint32, value dwarf.Offset, c cell) {
	if value == 0 {
		return
	}
	t.Kind, t.Form, t.LenOff, t.Fields = trace.KindSlice, form, length, nil
	n.inline = nil
	n.links = []link{{Link: trace.Link{Offset: first, Count: trace.CountOne}, target: value, cell: &c}}
}

// adapter makes a class that has a tree or a hash table, and nothing else, that.
func (r *Reader) adapter(n *node, t *trace.Type, isMap bool) {
	for i, f := range t.Fields {
		if i >= len(n.inline) {
			return
		}
		in := n.inline[i]
		if in.t.Kind != trace.KindSlice || len(in.links) == 0 || f.Offset != 0 {
			continue
		}
		t.Kind, t.Form, t.LenOff, t.Fields = trace.KindSlice, in.t.Form, in.t.LenOff, nil
		if isMap {
			t.Kind = trace.KindMap
		}
		n.links, n.inline = in.links, nil
		return
	}
}
