package types

import (
	"debug/dwarf"
	"slices"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// link is a trace.Link before its target is read by expand.
type link struct {
	trace.Link
	target dwarf.Offset
	// array: the pointer leads to pointers to targets.
	array bool
	// cell: the target lies in a cell of the container's.
	cell *cell
	// height: the target is a leaf of a B-tree, and this is the height of the node.
	height uint32
	// block: the pointer, or each of the array's, leads to so many targets.
	block uint32
}

// cell is what a linked container keeps a value in: pointers to others, then the value.
type cell struct {
	head uint32   // bytes before the value, as far as its alignment needs no more
	next []uint32 // offsets of pointers to further cells
	t    *trace.Type
}

// in is the type of a cell that holds values of a type.
func (c *cell) in(value *node) *trace.Type {
	if c.t != nil {
		return c.t
	}
	off := alignUp(c.head, max(value.align, 1))
	c.t = &trace.Type{
		Kind: trace.KindStruct, Size: alignUp(off+value.t.Size, 8), Lang: value.t.Lang,
		Fields: []trace.Field{{Name: "value", Offset: off, Type: value.t}},
	}
	for _, at := range c.next {
		c.t.Links = append(c.t.Links, trace.Link{Offset: at, Count: trace.CountOne, Target: c.t})
	}
	return c.t
}

// part is the member of that name.
type part struct {
	offset uint32
	node   *node
}

// part finds a member that has one of the names.
func (n *node) part(t *trace.Type, names ...string) (part, bool) {
	for i, f := range t.Fields {
		if f.Unavailable == "" && i < len(n.inline) && slices.Contains(names, f.Name) {
			return part{f.Offset, n.inline[i]}, true
		}
	}
	return part{}, false
}

// deep finds a member by its name, also in the members and bases of members.
func (n *node) deep(t *trace.Type, names ...string) (part, bool) {
	if p, ok := n.part(t, names...); ok {
		return p, true
	}
	for i, f := range t.Fields {
		if i >= len(n.inline) || f.Unavailable != "" {
			continue
		}
		if in := n.inline[i]; in.t != nil && (in.t.Kind == trace.KindStruct || in.t.Kind == trace.KindUnion) {
			if p, ok := in.deep(in.t, names...); ok {
				p.offset += f.Offset
				return p, true
			}
		}
	}
	return part{}, false
}

// recogniseGo finds the runtime's own structures behind maps and channels by
// the names that the linker gives them (cmd/link/internal/ld/dwarf.go).
func (r *Reader) recogniseGo(n *node, t *trace.Type) error {
	i := strings.IndexByte(t.Name, '<')
	if i < 0 {
		return r.recogniseGoType(n, t)
	}
	switch t.Name[:i] {
	case "map":
		return r.swissMap(n, t)
	case "groupReference":
		data, ok := n.part(t, "data")
		mask, ok2 := n.part(t, "lengthMask")
		if ok && ok2 {
			n.links = []link{{Link: trace.Link{Offset: data.offset, Count: trace.CountMask, LenOffset: mask.offset, Per: slotsPerGroup}, target: data.node.target}}
		}
	case "hash":
		shift, ok := n.part(t, "B")
		for name, count := range map[string]trace.Count{"buckets": trace.CountShift, "oldbuckets": trace.CountHalf} {
			if b, ok2 := n.part(t, name); ok && ok2 {
				n.links = append(n.links, link{Link: trace.Link{Offset: b.offset, Count: count, LenOffset: shift.offset, Per: slotsPerGroup}, target: b.node.target})
			}
		}
	case "bucket":
		if next, ok := n.part(t, "overflow"); ok && next.node.target != 0 {
			n.links = []link{{Link: trace.Link{Offset: next.offset, Count: trace.CountOne}, target: next.node.target}}
		}
	case "hchan":
		// Who waits for it is nobody's value.
		keep(n, t, "qcount", "dataqsiz")
	}
	return nil
}

// slotsPerGroup is how many entries a group has, and before Go 1.24 a bucket.
const slotsPerGroup = 8

// keep leaves out all members but these.
func keep(n *node, t *trace.Type, names ...string) {
	fields, inline := t.Fields, n.inline
	t.Fields, n.inline = nil, nil
	for i, f := range fields {
		for _, name := range names {
			if f.Name == name && i < len(inline) {
				t.Fields, n.inline = append(t.Fields, f), append(n.inline, inline[i])
			}
		}
	}
}

// swissMap reads internal/runtime/maps.Map (Go 1.24 to 1.26): a small one has
// a group behind dirPtr and no directory, others have dirLen tables there.
func (r *Reader) swissMap(n *node, t *trace.Type) error {
	dir, ok := n.part(t, "dirPtr")
	length, ok2 := n.part(t, "dirLen")
	if !ok || !ok2 || dir.node.target == 0 {
		return nil
	}
	pointer, err := r.node(dir.node.target)
	if err != nil || pointer.target == 0 {
		return err
	}
	table, err := r.node(pointer.target)
	if err != nil {
		return err
	}
	groups, ok := table.part(table.t, "groups")
	if !ok {
		return nil
	}
	data, ok := groups.node.part(groups.node.t, "data")
	if !ok {
		return nil
	}
	small := trace.Link{Offset: dir.offset, Count: trace.CountOne, When: trace.Equal, WhenOffset: length.offset}
	large := trace.Link{Offset: dir.offset, LenOffset: length.offset, When: trace.Differs, WhenOffset: length.offset}
	n.links = []link{{Link: small, target: data.node.target}, {Link: large, target: pointer.target, array: true}}
	return nil
}

// expandLinks reads the types that n's links lead to. They are n's own, so that
// they are no step deeper.
func (r *Reader) expandLinks(n *node, level int) error {
	if len(n.links) == 0 || n.t == nil {
		return nil
	}
	links := make([]trace.Link, 0, len(n.links))
	for _, l := range n.links {
		if l.target == 0 {
			continue
		}
		target, err := r.canonical(l.target)
		if err != nil {
			return err
		}
		if err := r.expand(target, level); err != nil {
			return err
		}
		l.Target = target.t
		if l.cell != nil {
			l.Target = l.cell.in(target)
		}
		if l.height > 0 {
			if l.Target, err = r.innerNode(target, l.height, level); err != nil {
				return err
			}
		}
		if l.block > 0 {
			l.Target = &trace.Type{Kind: trace.KindArray, Size: l.block * target.t.Size, Count: uint64(l.block), Elem: target.t, Lang: n.t.Lang}
		}
		if l.array {
			l.Target = &trace.Type{Kind: trace.KindStruct, Size: 8, Lang: n.t.Lang, Links: []trace.Link{{Count: trace.CountOne, Target: l.Target}}}
		}
		links = append(links, l.Link)
	}
	n.t.Links = links
	return nil
}

// mapForm is how a Go map is kept, by the structure behind it.
func mapForm(head *trace.Type) trace.Form {
	switch {
	case strings.HasPrefix(head.Name, "map<"):
		return trace.FormSwiss
	case strings.HasPrefix(head.Name, "hash<"):
		return trace.FormBuckets
	}
	return trace.FormPlain
}
