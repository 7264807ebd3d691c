package types

import (
	"cmp"
	"debug/dwarf"
	"math"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// cppWrappers are types of the C++ library that are nothing to their reader but what
// one of their members holds: by their names, the member's in libstdc++ and in libc++.
var cppWrappers = map[string][]string{
	"stack":          {"c"},
	"queue":          {"c"},
	"priority_queue": {"c"},
	"atomic":         {"_M_i", "_M_p", "__a_value"},
	"atomic_flag":    {"_M_i", "__a_value"},
	"path":           {"_M_pathname", "__pn_"},
}

// recogniseSmall finds the library's types that are no containers of their own.
func (r *Reader) recogniseSmall(n *node, t *trace.Type, e *dwarf.Entry, parts []*dwarf.Entry, name string) error {
	if members, ok := cppWrappers[name]; ok {
		if p, ok := n.deep(t, members...); ok {
			only(n, t, "__0", p)
		}
		return nil
	}
	switch name {
	case "deque":
		r.blocks(n, t, parts)
	case "bitset":
		return r.bitset(n, t, e)
	case "span":
		return r.span(n, t, e)
	case "initializer_list":
		begin, ok := n.part(t, "_M_array", "__begin_")
		length, ok2 := n.part(t, "_M_len", "__size_")
		if ok && ok2 {
			asSequence(n, t, begin, length.offset, trace.FormPlain)
		}
	case "time_point":
		timePoint(n, t)
	case "function":
		callable(n, t)
	case "any":
		anything(n, t)
	case "reference_wrapper":
		if p, ok := n.firstPointer(t); ok && p.offset == 0 && t.Size == 8 {
			asPointer(n, t, p)
		}
	case "mutex", "recursive_mutex":
		if p, ok := n.deep(t, "__lock"); ok {
			only(n, t, "locked", p)
			t.Fields[0].Type = &trace.Type{Name: "bool", Kind: trace.KindBool, Size: p.node.t.Size, Lang: t.Lang}
		}
	case "error_code", "error_condition", "unique_lock":
		for i, f := range t.Fields {
			t.Fields[i].Name = cmp.Or(plainMembers[f.Name], f.Name)
		}
	}
	return nil
}

// plainMembers are the libraries' names of members that are shown by plainer ones.
var plainMembers = map[string]string{
	"_M_value": "value", "__val_": "value", "_M_cat": "category", "__cat_": "category",
	"_M_device": "mutex", "__m_": "mutex", "_M_owns": "owns", "__owns_": "owns",
}

// only makes a struct one of a single member, of that name, wherever it lies.
func only(n *node, t *trace.Type, name string, p part) {
	t.Kind, t.Fields = trace.KindStruct, []trace.Field{{Name: name, Offset: p.offset, Type: p.node.t}}
	n.inline = []*node{p.node}
}

// weak reads a std::weak_ptr: a pointer, and one to what counts the owners: behind
// its table of virtual functions, as int in libstdc++ and less one as long in libc++.
func weak(n *node, t *trace.Type) {
	p, ok := n.deep(t, "_M_ptr", "__ptr_")
	count, ok2 := n.deep(t, "_M_pi", "__cntrl_")
	if !ok || !ok2 || p.offset != 0 {
		return
	}
	_, old := n.deep(t, "_M_pi")
	asPointer(n, t, p)
	owners := &trace.Type{Kind: trace.KindInt, Size: 4, Lang: t.Lang}
	if !old {
		owners.Size, t.Count = 8, math.MaxUint64
	}
	t.Form, t.Tag = trace.FormWeak, &trace.Field{Offset: 8, Type: owners}
	t.Links = []trace.Link{{Offset: count.offset, Count: trace.CountOne, Target: &trace.Type{Name: "owners", Kind: trace.KindStruct, Size: 16, Lang: t.Lang}}}
}

// bits reads a std::vector<bool>: words of bits. In libstdc++ its iterators are
// a word's address and a bit's number, in libc++ it has the number of bits.
func (r *Reader) bits(n *node, t *trace.Type, begin, end part, iterators bool) {
	if !iterators {
		length, ok := n.part(t, "__size_")
		if !ok || begin.node.target == 0 {
			return
		}
		l := trace.Link{Offset: begin.offset, LenOffset: length.offset, Per: 64}
		t.Kind, t.Form, t.PtrOff, t.LenOff, t.Fields = trace.KindSlice, trace.FormBits, begin.offset, length.offset, nil
		n.links, n.inline = []link{{Link: l, target: begin.node.target}}, nil
		return
	}
	first, ok := begin.deep("_M_p")
	last, ok2 := end.deep("_M_p")
	bit, ok3 := end.deep("_M_offset")
	room, ok4 := n.deep(t, "_M_end_of_storage")
	if !ok || !ok2 || !ok3 || !ok4 || first.node.target == 0 || room.node.t.Size != 8 {
		return
	}
	l := trace.Link{Offset: first.offset, Count: trace.CountEnd, LenOffset: room.offset, Per: 64}
	t.Kind, t.Form, t.PtrOff, t.LenOff, t.Fields = trace.KindSlice, trace.FormBits, first.offset, last.offset, nil
	t.Tag = &trace.Field{Offset: bit.offset, Type: bit.node.t}
	n.links, n.inline = []link{{Link: l, target: first.node.target}}, nil
}

// extentOf is the number that a template's parameter stands for.
func (r *Reader) extentOf(e *dwarf.Entry) (uint64, bool, error) {
	values, err := r.children(e, dwarf.TagTemplateValueParameter)
	if err != nil || len(values) == 0 {
		return 0, false, err
	}
	n, ok := number(values[0], dwarf.AttrConstValue)
	return n, ok, nil
}

// maxBits bounds the size of a std::bitset that is one.
const maxBits = 1 << 20

func (r *Reader) bitset(n *node, t *trace.Type, e *dwarf.Entry) error {
	count, ok, err := r.extentOf(e)
	words, ok2 := n.deep(t, "_M_w", "__first_")
	if err != nil || !ok || !ok2 || count > maxBits || uint64(words.offset)*8+count > uint64(t.Size)*8 {
		return err
	}
	t.Kind, t.Form, t.PtrOff, t.Count, t.Fields = trace.KindString, trace.FormBits, words.offset, count, nil
	n.inline = nil
	return nil
}

// maxSpan bounds the extent of a std::span that is part of its type.
const maxSpan = 1 << 20

func (r *Reader) span(n *node, t *trace.Type, e *dwarf.Entry) error {
	begin, ok := n.part(t, "_M_ptr", "__data_", "__data")
	if !ok {
		return nil
	}
	if length, ok := n.deep(t, "_M_extent_value", "__size_", "__size"); ok {
		asSequence(n, t, begin, length.offset, trace.FormPlain)
		return nil
	}
	count, ok, err := r.extentOf(e)
	if err != nil || !ok || count == 0 || count > maxSpan || begin.node.target == 0 {
		return err
	}
	t.Kind, t.Form, t.PtrOff, t.Count, t.Fields = trace.KindSlice, trace.FormFixed, begin.offset, count, nil
	n.links, n.inline = []link{{Link: trace.Link{Offset: begin.offset, Count: trace.CountOne}, target: begin.node.target, block: uint32(count)}}, nil
	return nil
}

// blocks reads a std::deque: blocks of a fixed number of elements, and an array of
// pointers to them. libstdc++ has 512 bytes in a block (_GLIBCXX_DEQUE_BUF_SIZE) and
// iterators to the first element and behind the last: the element, its block's
// beginning and end, the pointer to that block. libc++ has 4096 bytes in a block, or
// 16 elements (__deque_block_size), the number of the first element and how many there are.
func (r *Reader) blocks(n *node, t *trace.Type, parts []*dwarf.Entry) {
	value := r.templateType(parts, "_Tp")
	elem, err := r.node(value)
	if value == 0 || err != nil || elem.t.Size == 0 {
		return
	}
	size := elem.t.Size
	if begin, ok := n.deep(t, "_M_start"); ok {
		end, ok := n.deep(t, "_M_finish")
		node, ok2 := begin.deep("_M_node")
		if !ok || !ok2 || node.offset != begin.offset+24 || begin.node.t.Size != 32 {
			return
		}
		block := max(512/size, 1)
		nodes := trace.Link{Offset: begin.offset + 24, Count: trace.CountEnd, LenOffset: end.offset + 24}
		last := trace.Link{Offset: end.offset + 8, Count: trace.CountEnd, LenOffset: end.offset}
		n.links = []link{{Link: nodes, target: value, array: true, block: block}, {Link: last, target: value}}
		t.PtrOff, t.LenOff, t.Count = begin.offset, end.offset, uint64(block)
	} else {
		array, ok := n.part(t, "__map_")
		start, ok2 := n.part(t, "__start_")
		length, ok3 := n.compressed(t, "__size_")
		begin, ok4 := array.deep("__begin_")
		end, ok5 := array.deep("__end_")
		if !ok || !ok2 || !ok3 || !ok4 || !ok5 {
			return
		}
		block := uint32(16)
		if size < 256 {
			block = 4096 / size
		}
		nodes := trace.Link{Offset: begin.offset, Count: trace.CountEnd, LenOffset: end.offset, When: trace.Differs, WhenOffset: start.offset}
		n.links = []link{{Link: nodes, target: value, array: true, block: block}}
		// Of blocks that are filled from their beginning that is enough.
		nodes.When = trace.Equal
		n.links = append(n.links, link{Link: nodes, target: value, array: true, block: min(block, max(min(1024/size, 128), min(4096/size, 4), 1))})
		t.PtrOff, t.LenOff, t.Count = begin.offset, length.offset, uint64(block)
		t.Tag = &trace.Field{Offset: start.offset, Type: start.node.t}
	}
	t.Kind, t.Form, t.Fields, n.inline = trace.KindSlice, trace.FormBlocks, nil, nil
}

// timePoint reads a std::chrono::time_point: a duration since the beginning of its
// clock, which for the system's is 1970 (and for the steady one when Linux booted).
func timePoint(n *node, t *trace.Type) {
	since, ok := n.part(t, "__d", "__d_")
	if !ok || since.node.t.Kind != trace.KindDuration || since.offset != 0 {
		return
	}
	_, clock, _ := strings.Cut(t.Name, "<")
	clock, _, _ = strings.Cut(clock, ",")
	t.Kind, t.Tick, t.Fields, n.inline = trace.KindDuration, since.node.t.Tick, nil, nil
	if strings.HasSuffix(clock, "::system_clock") {
		t.Kind = trace.KindTime
	}
}

// callable reads a std::function. libstdc++ keeps what is called in two words and
// the function that calls it (its type is in that function's name) behind them;
// libc++ points to an object of virtual functions, whose type says what it calls.
func callable(n *node, t *trace.Type) {
	if invoker, ok := n.part(t, "_M_invoker"); ok {
		if functor, ok := n.deep(t, "_M_functor"); ok {
			t.Kind, t.Form, t.PtrOff, t.LenOff, t.Fields, n.inline = trace.KindFunc, trace.FormInvoker, functor.offset, invoker.offset, nil, nil
		}
		return
	}
	holder, ok := n.part(t, "__f_")
	if !ok {
		return
	}
	object, ok := holder.deep("__f_")
	if !ok || object.node.t.Kind != trace.KindPointer {
		return
	}
	t.Kind, t.Form, t.PtrOff, t.Fields, n.inline = trace.KindFunc, trace.FormObject, object.offset, nil, nil
	t.Links = []trace.Link{{Offset: object.offset, Count: trace.CountOne, Target: &trace.Type{Name: "callable", Kind: trace.KindStruct, Size: 16, Lang: t.Lang}}}
}

// anything reads a std::any: the function that copies and destroys what it holds, whose
// name has the type, and the value itself or its address.
func anything(n *node, t *trace.Type) {
	manager, ok := n.part(t, "_M_manager", "__h_", "__h")
	value, ok2 := n.part(t, "_M_storage", "__s_", "__s")
	if ok && ok2 && manager.node.t.Kind == trace.KindFunc {
		t.Kind, t.PtrOff, t.LenOff, t.Fields, n.inline = trace.KindAny, value.offset, manager.offset, nil, nil
	}
}
