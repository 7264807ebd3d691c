package types

import (
	"debug/dwarf"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// wrappers are types of Rust's library that are nothing to their reader but what
// one of their members holds: by the beginning of their names, the member's.
var wrappers = []struct{ prefix, member string }{
	{"core::cell::Cell<", "value"},
	{"core::cell::UnsafeCell<", "value"},
	{"core::cell::RefCell<", "value"},
	{"core::cell::once::OnceCell<", "inner"},
	{"std::sync::mutex::Mutex<", "data"},
	{"std::sync::poison::mutex::Mutex<", "data"},
	{"std::sync::rwlock::RwLock<", "data"},
	{"std::sync::poison::rwlock::RwLock<", "data"},
	{"core::sync::atomic::Atomic", "v"},
	{"alloc::rc::Rc<", "ptr"},
	{"alloc::sync::Arc<", "ptr"},
	{"alloc::rc::RcBox<", "value"},
	{"alloc::rc::RcInner<", "value"},
	{"alloc::sync::ArcInner<", "data"},
	{"core::ptr::non_null::NonNull<", "pointer"},
	{"core::ptr::unique::Unique<", "pointer"},
	{"core::mem::manually_drop::ManuallyDrop<", "value"},
	{"core::pin::Pin<", "__pointer"},
	{"core::pin::Pin<", "pointer"},
	{"std::collections::hash::map::HashMap<", "base"},
	{"std::collections::hash::set::HashSet<", "base"},
	{"hashbrown::map::HashMap<", "table"},
	{"hashbrown::set::HashSet<", "map"},
	{"alloc::collections::btree::set::BTreeSet<", "map"},
	{"core::mem::maybe_uninit::MaybeUninit<", "value"},
	{"alloc::collections::binary_heap::BinaryHeap<", "data"},
	{"std::ffi::os_str::OsString", "inner"},
	{"std::path::PathBuf", "inner"},
	{"std::sys::os_str::bytes::Buf", "inner"},
	{"std::sys::unix::os_str::Buf", "inner"},
	{"std::sys_common::os_str_bytes::Buf", "inner"},
}

// recogniseWrapper leaves of a wrapper what it wraps, under the name that
// tuples of one have, so that it is shown as that.
func (r *Reader) recogniseWrapper(n *node, t *trace.Type) bool {
	for _, w := range wrappers {
		if !strings.HasPrefix(t.Name, w.prefix) {
			continue
		}
		if _, ok := n.part(t, w.member); !ok {
			continue
		}
		keep(n, t, w.member)
		t.Fields[0].Name = "__0"
		t.Kind = trace.KindStruct // MaybeUninit is a union with nothing
		return true
	}
	return false
}

// pointerIn finds the one pointer in wrappers.
func (n *node) pointerIn() (part, bool) {
	if n.target != 0 && n.t.Kind == trace.KindPointer {
		return part{0, n}, true
	}
	if n.t.Kind != trace.KindStruct {
		return part{}, false
	}
	return n.firstPointer(n.t)
}

// rawTable reads hashbrown's table: buckets that end where the control bytes
// begin, the first one last.
func (r *Reader) rawTable(n *node, t *trace.Type, parts []*dwarf.Entry) {
	mask, ok := n.deep(t, "bucket_mask")
	items, ok2 := n.deep(t, "items")
	ctrl, ok3 := n.deep(t, "ctrl")
	entry := r.templateType(parts, "T")
	if !ok || !ok2 || !ok3 || entry == 0 {
		return
	}
	p, ok := ctrl.node.pointerIn()
	if !ok {
		return
	}
	at := ctrl.offset + p.offset
	buckets := trace.Link{Offset: at, Count: trace.CountMask, LenOffset: mask.offset, Back: true}
	control := trace.Link{Offset: at, Count: trace.CountMask, LenOffset: mask.offset}
	t.Kind, t.Form, t.LenOff, t.Fields = trace.KindMap, trace.FormTable, items.offset, nil
	n.inline = nil
	n.links = []link{{Link: buckets, target: entry}, {Link: control, target: p.node.target}}
}

// deque reads a VecDeque: a ring of so much capacity, of which the values begin at head.
func (r *Reader) deque(n *node, t *trace.Type, parts []*dwarf.Entry) {
	head, ok := n.part(t, "head")
	length, ok2 := n.part(t, "len")
	buf, ok3 := n.part(t, "buf")
	value := r.templateType(parts, "T")
	if !ok || !ok2 || !ok3 || value == 0 {
		return
	}
	capacity, ok := buf.node.deep(buf.node.t, "cap")
	at, ok2 := firstPointer(buf.node.t, 0)
	if !ok || !ok2 {
		return
	}
	t.Kind, t.Form, t.LenOff, t.PtrOff, t.Fields = trace.KindSlice, trace.FormRing, length.offset, buf.offset+at, nil
	t.Tag = &trace.Field{Name: "head", Offset: head.offset, Type: head.node.t}
	n.inline = nil
	n.links = []link{{Link: trace.Link{Offset: t.PtrOff, LenOffset: buf.offset + capacity.offset}, target: value}}
}

// maxHeight is how high a B-tree is followed: four levels of eleven keys each
// have more than any call's budget has room for.
const maxHeight = 3

// btree reads a BTreeMap: its root is a leaf when its height is 0, else an inner
// node, which begins with a leaf's members and ends with pointers to its children.
func (r *Reader) btree(n *node, t *trace.Type) {
	length, ok := n.part(t, "length")
	root, ok2 := n.part(t, "root")
	if !ok || !ok2 || root.node.t.Kind != trace.KindVariant {
		return
	}
	for _, some := range root.node.inline {
		height, ok := some.deep(some.t, "height")
		at, ok2 := some.deep(some.t, "node")
		if !ok || !ok2 {
			continue
		}
		p, ok := at.node.pointerIn()
		if !ok {
			return
		}
		t.Kind, t.Form, t.LenOff, t.Fields = trace.KindMap, trace.FormBTree, length.offset, nil
		t.PtrOff = root.offset + at.offset + p.offset
		n.inline = nil
		for h := range uint32(maxHeight + 1) {
			l := trace.Link{Offset: t.PtrOff, Count: trace.CountOne, When: trace.Equal, WhenOffset: root.offset + height.offset, WhenValue: h}
			n.links = append(n.links, link{Link: l, target: p.node.target, height: h})
		}
		return
	}
}

// innerNode is the type of a B-tree's node at a height above 0. Its own type in
// the debug information is reached by the leaf's pointer to its parent.
func (r *Reader) innerNode(leaf *node, height uint32, level int) (*trace.Type, error) {
	parent, ok := leaf.part(leaf.t, "parent")
	if !ok || height == 0 {
		return leaf.t, nil
	}
	if t := leaf.inner[height]; t != nil {
		return t, nil
	}
	for _, some := range parent.node.inline {
		p, ok := some.firstPointer(some.t)
		if !ok {
			continue
		}
		inner, err := r.canonical(p.node.target)
		if err != nil {
			return nil, err
		}
		edges, ok := inner.part(inner.t, "edges")
		body, ok2 := inner.part(inner.t, "data")
		if !ok || !ok2 || body.node.t.Size != leaf.t.Size || edges.node.t.Kind != trace.KindArray {
			return nil, nil
		}
		child, err := r.innerNode(leaf, height-1, level)
		if err != nil || child == nil {
			return nil, err
		}
		t := &trace.Type{
			Name: inner.t.Name, Kind: trace.KindStruct, Size: inner.t.Size, Lang: trace.LangRust,
			Fields: []trace.Field{{Name: "data", Offset: body.offset, Type: leaf.t}},
		}
		for i := range uint32(edges.node.t.Count) {
			t.Links = append(t.Links, trace.Link{Offset: edges.offset + 8*i, Count: trace.CountOne, Target: child})
		}
		if leaf.inner == nil {
			leaf.inner = map[uint32]*trace.Type{}
		}
		leaf.inner[height] = t
		return t, nil
	}
	return nil, nil
}

// recogniseStd finds types of Rust's library that stand for something else than their members.
func (r *Reader) recogniseStd(n *node, t *trace.Type) bool {
	switch {
	case strings.HasPrefix(t.Name, "alloc::rc::Weak<"), strings.HasPrefix(t.Name, "alloc::sync::Weak<"):
		p, ok := n.firstPointer(t)
		if !ok || p.offset != 0 || t.Size != 8 {
			return false
		}
		asPointer(n, t, p)
		t.Form = trace.FormWeak
	case strings.HasPrefix(t.Name, "std::sync::once_lock::OnceLock<"):
		return onceLock(n, t)
	case t.Name == "alloc::ffi::c_str::CString":
		inner, ok := n.part(t, "inner")
		if !ok || inner.node.t.Kind != trace.KindSlice {
			return false
		}
		asText(t, t.Name, inner.offset+inner.node.t.PtrOff, inner.offset+inner.node.t.LenOff)
		t.Form, n.inline = trace.FormNUL, nil
	case t.Name == "std::time::SystemTime", t.Name == "std::time::Instant":
		secs, ok := n.deep(t, "tv_sec")
		nanos, ok2 := n.deep(t, "tv_nsec")
		if !ok || !ok2 {
			return false
		}
		t.Fields = []trace.Field{
			{Name: "secs", Offset: secs.offset, Type: &trace.Type{Name: "i64", Kind: trace.KindInt, Size: 8, Lang: t.Lang}},
			{Name: "nanos", Offset: nanos.offset, Type: &trace.Type{Name: "u32", Kind: trace.KindUint, Size: 4, Lang: t.Lang}},
		}
		n.inline = []*node{secs.node, nanos.node}
	case t.Name == "std::io::error::Error" && t.Size == 8:
		repr, ok := n.part(t, "repr")
		if !ok || !strings.HasPrefix(repr.node.t.Name, "std::io::error::repr_bitpacked::") {
			return false
		}
		t.Kind, t.Fields, n.inline = trace.KindIOError, nil, nil
		t.Links = []trace.Link{{Count: trace.CountOne, Untag: true, Target: ioErrorTarget()}}
	default:
		return false
	}
	return true
}

// ioErrorTarget is what a std::io::Error leads to: a text (pointer and length) or another
// error (pointer and table of virtual functions), and the kind. Reading the one as the other
// leads nowhere. Of other errors only a String behind its capacity is looked at.
func ioErrorTarget() *trace.Type {
	text := func(at uint32) *trace.Type {
		return &trace.Type{Name: "str", Kind: trace.KindString, Size: at + 16, PtrOff: at, LenOff: at + 8, Lang: trace.LangRust}
	}
	owned := &trace.Type{Name: "String", Kind: trace.KindStruct, Size: 24, Lang: trace.LangRust, Fields: []trace.Field{{Name: "text", Type: text(8)}}}
	table := &trace.Type{Name: "table", Kind: trace.KindStruct, Size: 64, Lang: trace.LangRust}
	other := &trace.Type{Name: "Box<dyn Error>", Kind: trace.KindStruct, Size: 16, Lang: trace.LangRust, Links: []trace.Link{
		{Count: trace.CountOne, Target: owned}, {Offset: 8, Count: trace.CountOne, Target: table},
	}}
	kind := &trace.Type{Name: "u8", Kind: trace.KindUint, Size: 1, Lang: trace.LangRust}
	return &trace.Type{Name: "std::io::error", Kind: trace.KindStruct, Size: 24, Lang: trace.LangRust, Fields: []trace.Field{
		{Name: "message", Type: text(0)}, {Name: "error", Type: other}, {Name: "kind", Offset: 16, Type: kind},
	}}
}

// onceLock reads a OnceLock: its value is there when its Once is complete, which
// is 0 since that has its state and who waits in one word, 4 before (std::sys::sync::once::futex).
func onceLock(n *node, t *trace.Type) bool {
	value, ok := n.part(t, "value")
	complete := uint64(0)
	state, ok2 := n.deep(t, "state_and_queued")
	if !ok2 {
		complete = 4
		state, ok2 = n.deep(t, "state")
	}
	if !ok || !ok2 || state.node.t.Size != 4 {
		return false
	}
	some := &trace.Type{Kind: trace.KindStruct, Size: t.Size, Lang: t.Lang, Fields: []trace.Field{{Name: "__0", Offset: value.offset, Type: value.node.t}}}
	t.Kind, t.Fields, n.inline = trace.KindVariant, nil, []*node{value.node}
	t.Tag = &trace.Field{Offset: state.offset, Type: &trace.Type{Name: "u32", Kind: trace.KindUint, Size: 4, Lang: t.Lang}}
	t.Variants = []trace.Variant{{Name: "Some", Value: complete, Type: some}, {Name: "None", Default: true}}
	return true
}

// fat reads a pointer with a length: to a str, to a slice, to a struct that is nothing
// but one of those, or to one that ends in one.
func (r *Reader) fat(n *node, t *trace.Type, ptr, length uint32) {
	name := strings.TrimSuffix(t.Name, ", alloc::alloc::Global>")
	for _, prefix := range []string{"&mut ", "&", "*const ", "*mut ", "alloc::boxed::Box<"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			name = rest
			break
		}
	}
	target := pointee(n, t, "data_ptr")
	shared := false
	for _, prefix := range []string{"alloc::sync::ArcInner<", "alloc::rc::RcInner<", "alloc::rc::RcBox<"} {
		shared = shared || strings.HasPrefix(name, prefix)
	}
	switch {
	case name == "str", name == "std::path::Path", name == "std::ffi::os_str::OsStr":
		asText(t, t.Name, ptr, length)
	case name == "core::ffi::c_str::CStr":
		asText(t, t.Name, ptr, length)
		t.Form = trace.FormNUL
	case shared && strings.HasSuffix(name, "<str>"):
		asText(t, t.Name, ptr, length)
		t.Form = trace.FormShared
	case strings.HasPrefix(name, "["):
		asSlice(n, t, ptr, length, target)
		return
	default:
		t.Kind, t.Form, t.Fields = trace.KindPointer, trace.FormUnsized, nil
	}
	n.target, n.inline = 0, nil
}
