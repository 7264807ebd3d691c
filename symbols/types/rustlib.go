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
	{"alloc::rc::Weak<", "ptr"},
	{"alloc::sync::Arc<", "ptr"},
	{"alloc::sync::Weak<", "ptr"},
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
