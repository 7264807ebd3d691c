package types

import (
	"debug/dwarf"
	"strconv"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// templateName is a class's own name: without its namespaces and its arguments.
func templateName(name string) string {
	name = name[:strings.IndexByte(name+"<", '<')]
	return name[strings.LastIndex(name, "::")+1:]
}

// recogniseLibrary finds the standard library's containers by the names of
// their members, which are part of libstdc++'s ABI. What isn't as expected
// stays the struct that it is.
func (r *Reader) recogniseLibrary(n *node, t *trace.Type, parts []*dwarf.Entry) {
	if !strings.HasPrefix(t.Name, "std::") {
		return
	}
	name := strings.TrimPrefix(templateName(t.Name), ":")
	switch name {
	case "vector":
		r.vector(n, t)
	case "array":
		if e, ok := n.part(t, "_M_elems"); ok && e.node.t.Kind == trace.KindArray && len(t.Fields) == 1 {
			t.Kind, t.Elem, t.Count, t.Fields = trace.KindArray, e.node.t.Elem, e.node.t.Count, nil
		}
	case "unique_ptr":
		if p, ok := n.firstPointer(t); ok && p.offset == 0 {
			asPointer(n, t, p)
		}
	case "shared_ptr", "weak_ptr":
		if p, ok := n.deep(t, "_M_ptr"); ok && p.offset == 0 {
			asPointer(n, t, p)
		}
	case "optional":
		r.optional(n, t)
	case "variant":
		r.variant(n, t)
	case "tuple":
		r.tuple(n, t)
	case "_Rb_tree":
		head, ok := n.deep(t, "_M_header")
		length, ok2 := n.deep(t, "_M_node_count")
		if ok && ok2 {
			// The header is a cell without a value: colour, parent (here the root), smaller, greater.
			linked(n, t, trace.FormTree, length.offset, head.offset+8, r.templateType(parts, "_Val"), cell{head: 32, next: []uint32{16, 24}})
		}
	case "_Hashtable":
		first, ok := n.deep(t, "_M_before_begin")
		length, ok2 := n.deep(t, "_M_element_count")
		if ok && ok2 {
			linked(n, t, trace.FormList, length.offset, first.offset, r.templateType(parts, "_Value"), cell{head: 8, next: []uint32{0}})
		}
	case "list":
		head, ok := n.deep(t, "_M_node")
		length, ok2 := n.deep(t, "_M_size")
		if ok && ok2 {
			linked(n, t, trace.FormList, length.offset, head.offset, r.templateType(parts, "_Tp"), cell{head: 16, next: []uint32{0}})
		}
	case "map", "multimap", "unordered_map", "unordered_multimap", "set", "multiset", "unordered_set", "unordered_multiset":
		r.adapter(n, t, strings.HasSuffix(name, "map"))
	}
}

func (r *Reader) vector(n *node, t *trace.Type) {
	begin, ok := n.deep(t, "_M_start")
	end, ok2 := n.deep(t, "_M_finish")
	if !ok || !ok2 || begin.node.t.Size != 8 || begin.node.target == 0 && begin.node.t.Kind != trace.KindCString {
		return // vector<bool> counts bits
	}
	t.Kind, t.Form, t.PtrOff, t.LenOff, t.Fields = trace.KindSlice, trace.FormEnd, begin.offset, end.offset, nil
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
	value, ok := n.deep(t, "_M_value")
	engaged, ok2 := n.deep(t, "_M_engaged")
	if !ok || !ok2 {
		return
	}
	form := &trace.Type{Kind: trace.KindStruct, Size: t.Size, Lang: t.Lang, Fields: []trace.Field{{Name: "__0", Offset: value.offset, Type: value.node.t}}}
	t.Kind, t.Fields = trace.KindVariant, nil
	t.Tag = &trace.Field{Offset: engaged.offset, Type: engaged.node.t}
	t.Variants = []trace.Variant{{Null: true}, {Default: true, Type: form}}
	n.inline = []*node{value.node}
}

// variant reads a std::variant: an index, and a union of the first type and of a
// union of the others.
func (r *Reader) variant(n *node, t *trace.Type) {
	index, ok := n.deep(t, "_M_index")
	u, ok2 := n.deep(t, "_M_u")
	if !ok || !ok2 {
		return
	}
	var variants []trace.Variant
	var inline []*node
	for len(variants) < maxMembers {
		first, ok := u.node.part(u.node.t, "_M_first")
		if !ok {
			break
		}
		storage, ok := first.node.deep(first.node.t, "_M_storage")
		if !ok {
			return
		}
		off := u.offset + first.offset + storage.offset
		form := &trace.Type{Kind: trace.KindStruct, Size: t.Size, Lang: t.Lang, Fields: []trace.Field{{Name: "__0", Offset: off, Type: storage.node.t}}}
		variants = append(variants, trace.Variant{Name: storage.node.t.Name, Value: uint64(len(variants)), Type: form})
		inline = append(inline, storage.node)
		rest, ok := u.node.part(u.node.t, "_M_rest")
		if !ok {
			break
		}
		rest.offset += u.offset
		u = rest
	}
	if len(variants) == 0 {
		return
	}
	variants = append(variants, trace.Variant{Name: "valueless by exception", Default: true})
	t.Kind, t.Fields, t.Variants = trace.KindVariant, nil, variants
	t.Tag = &trace.Field{Offset: index.offset, Type: index.node.t}
	n.inline = inline
}

// tuple reads a std::tuple: a chain of bases, of which each holds one element
// and the others. An element without members is a base itself.
func (r *Reader) tuple(n *node, t *trace.Type) {
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
