package types

import (
	"slices"

	"github.com/observatory-trace/observatory-trace/trace"
)

// TypeBytes is the capture program of plain bytes (TYPE_BYTES in bpf/event.h).
const TypeBytes = 1

// Limits of one block (bpf/event.h).
const (
	maxEdges = 64
	maxBlock = 4096
)

// EdgeKind is how a pointer is followed; the numbers are those of enum edge_kind in bpf/event.h.
type EdgeKind uint8

// The edge kinds.
const (
	EdgePointer EdgeKind = iota + 1 // one value behind the pointer
	EdgeCounted                     // as many values as an integer beside the pointer says
	EdgeCString                     // bytes up to a NUL
	EdgeIface                       // Go interface with methods: the dynamic type is looked up
	EdgeEface                       // Go empty interface
	EdgeWide                        // a string of wide characters, up to its page's end
	EdgeClass                       // a C++ object, whose class its vtable tells
	EdgeTrait                       // Rust's trait object: Stride is what lies before the value
	EdgeClosure                     // Go function value: what is captured is looked up by the code's address
	EdgeDict                        // Go type parameter's pointer: the real type is in a dictionary, whose address is at LenOff
)

// Prog is a capture program: struct type_prog of bpf/event.h.
type Prog struct {
	Size  uint32 // bytes of one value
	Edges uint32 // index of the first edge
	N     uint32 // how many
}

// Edge is a pointer in a value: struct edge of bpf/event.h.
type Edge struct {
	Count     trace.Count // EdgeCounted
	When      trace.When
	Inner     bool // from a container to its contents: no step deeper
	Back      bool
	Untag     bool // the pointer's lowest two bits are cleared
	Slice     bool // EdgeDict: what lies there is a slice
	Per       uint8
	WhenOff   uint16
	WhenValue uint32

	Off     uint16 // bytes, of the pointer
	LenOff  uint16 // EdgeCounted: bytes, of the length
	Kind    EdgeKind
	LenSize uint8  // EdgeCounted: bytes of the length
	Depth   uint16 // followed when at most this many pointers led here; 0: always
	Type    uint32 // the target's program
	Stride  uint32 // EdgeCounted: bytes of one element; EdgeDict: offset of the type in the dictionary
}

// Compiler gives the types of a session's plans their capture programs. It
// sets trace.Type.ID, so a type belongs to one Compiler. Not safe for concurrent use.
type Compiler struct {
	depth   int
	progs   []Prog
	edges   []Edge
	plain   map[uint32]uint32 // size to program, of values without pointers
	queue   []pending
	dropped int
}

// pending is a program whose edges still lack their targets.
type pending struct {
	prog  uint32
	edges []draft
}

// draft is an edge by its target's type; nil for bytes, interfaces and trait objects.
type draft struct {
	Edge
	target *trace.Type
}

// NewCompiler makes a Compiler whose programs follow depth pointers one behind
// the other. Text, and errors in Go's and Rust's interfaces, are followed however deep.
func NewCompiler(depth int) *Compiler {
	return &Compiler{
		depth: depth,
		progs: []Prog{{}, {Size: 1}},
		plain: map[uint32]uint32{1: TypeBytes},
	}
}

// Add compiles what a plan's pointers need and sets the IDs of all types that
// blocks can have. A root without pointers keeps ID 0. nil is allowed.
func (c *Compiler) Add(p *trace.Plan) {
	if p == nil || p.Root.ID != 0 {
		return
	}
	if edges := c.scan(p.Root, true); len(edges) > 0 {
		p.Root.ID = c.program(p.Root.Size, edges)
	}
	c.finish()
}

// AddType compiles a type that blocks can have and returns its ID.
func (c *Compiler) AddType(t *trace.Type) uint32 {
	id := c.target(t)
	c.finish()
	return id
}

// Programs returns the tables for the BPF maps, by ID. They are valid until the next Add.
func (c *Compiler) Programs() ([]Prog, []Edge) { return c.progs, c.edges }

// Dropped is how many pointers no program follows, because their block has
// more than the probes follow or they lie too far inside it.
func (c *Compiler) Dropped() int { return c.dropped }

// target returns the program of a type behind a pointer.
func (c *Compiler) target(t *trace.Type) uint32 {
	if t.ID != 0 {
		return t.ID
	}
	edges := c.scan(t, false)
	if len(edges) > 0 {
		t.ID = c.program(t.Size, edges)
		return t.ID
	}
	if id, ok := c.plain[t.Size]; ok {
		t.ID = id
		return id
	}
	t.ID = c.program(t.Size, nil)
	c.plain[t.Size] = t.ID
	return t.ID
}

func (c *Compiler) program(size uint32, edges []draft) uint32 {
	id := uint32(len(c.progs))
	c.progs = append(c.progs, Prog{Size: size})
	if len(edges) > 0 {
		c.queue = append(c.queue, pending{id, edges})
	}
	return id
}

// finish gives the queued programs their edges, which may queue more.
func (c *Compiler) finish() {
	for len(c.queue) > 0 {
		p := c.queue[0]
		c.queue = c.queue[1:]
		for i := range p.edges {
			if d := &p.edges[i]; d.target != nil {
				d.Type = c.target(d.target)
			}
		}
		prog := &c.progs[p.prog]
		prog.Edges, prog.N = uint32(len(c.edges)), uint32(len(p.edges))
		for _, d := range p.edges {
			c.edges = append(c.edges, d.Edge)
		}
	}
}

// scan lists the pointers in a value.
func (c *Compiler) scan(t *trace.Type, root bool) []draft {
	s := scanner{compiler: c, root: root}
	if root {
		s.dict = dictionary(t)
	}
	s.value(t, 0, 0)
	return s.edges
}

type scanner struct {
	compiler *Compiler
	root     bool
	inner    bool         // what the value leads to is no step deeper
	dict     *trace.Field // of the root: the dictionary's address; nil: there is none
	edges    []draft
}

func (s *scanner) value(t *trace.Type, at uint32, nesting int) {
	if nesting > maxNesting || t == nil {
		return
	}
	for _, l := range t.Links {
		s.link(l, at)
	}
	switch t.Kind {
	case trace.KindStruct:
		for _, f := range t.Fields {
			linked := f.Type.Kind != trace.KindInterface && slices.ContainsFunc(t.Links, func(l trace.Link) bool { return l.Offset == f.Offset })
			if f.Unavailable == "" && f.BitSize == 0 && !linked {
				s.inner = chained(t, f)
				s.value(f.Type, at+f.Offset, nesting+1)
				s.inner = false
			}
		}
	case trace.KindArray:
		for i := uint64(0); i < t.Count && s.room(); i++ {
			before := len(s.edges)
			s.value(t.Elem, at+uint32(i)*t.Elem.Size, nesting+1)
			if len(s.edges) == before {
				return
			}
		}
	case trace.KindVariant:
		// Which one it is the probes don't know: what is no pointer leads nowhere.
		for _, v := range t.Variants {
			s.value(v.Type, at, nesting+1)
		}
	case trace.KindPointer, trace.KindChan, trace.KindFunc:
		s.pointer(t, at)
	case trace.KindMap:
		if len(t.Links) == 0 {
			s.pointer(t, at)
		}
	case trace.KindCString:
		kind := EdgeCString
		if t.Count > 1 {
			kind = EdgeWide
		}
		s.add(at, draft{Edge: Edge{Kind: kind, Type: TypeBytes}})
	case trace.KindString:
		switch t.Form {
		case trace.FormBits:
		case trace.FormShared: // the counts before it are copied, too
			s.add(at+t.PtrOff, draft{Edge: Edge{Kind: EdgeWide, Type: TypeBytes}})
		default:
			s.counted(t, at, nil)
		}
	case trace.KindSlice:
		if t.Form <= trace.FormEnd {
			s.counted(t, at, t.Elem)
		}
	case trace.KindError, trace.KindInterface:
		s.iface(t, at)
	}
}

func (s *scanner) room() bool { return len(s.edges) < maxEdges }

func (s *scanner) add(at uint32, d draft) {
	d.Off = uint16(at)
	switch {
	case slices.Contains(s.edges, d): // variants may share it
		return
	case !s.room() || at > maxBlock-8:
		s.compiler.dropped++
		return
	}
	s.edges = append(s.edges, d)
}

// limit is the Depth of an edge that counts towards the depth limit; ok is
// false when it is never followed.
func (s *scanner) limit() (depth uint16, ok bool) {
	switch {
	case s.root:
		return 0, s.compiler.depth > 0
	case s.compiler.depth < 2:
		return 0, false
	default:
		return uint16(s.compiler.depth - 1), true
	}
}

func (s *scanner) pointer(t *trace.Type, at uint32) {
	depth, ok := s.limit()
	if t.Inner {
		depth, ok = 0, true
	}
	if t.Dict > 0 && s.dict != nil && ok && t.Kind != trace.KindFunc {
		s.add(at, draft{Edge: Edge{Kind: EdgeDict, LenOff: uint16(s.dict.Offset), LenSize: 8, Stride: 8 * (t.Dict - 1)}, target: t.Elem})
		return
	}
	if t.Elem == nil || t.Elem.Size == 0 || !ok {
		return
	}
	kind := EdgePointer
	switch {
	case t.Elem.Virtual && !t.Exact:
		kind = EdgeClass
	case t.Kind == trace.KindFunc && t.Lang == trace.LangGo:
		kind = EdgeClosure
	}
	s.add(at, draft{Edge: Edge{Kind: kind, Depth: depth, Inner: t.Inner}, target: t.Elem})
}

// counted adds text (elem is nil) or a sequence.
func (s *scanner) counted(t *trace.Type, at uint32, elem *trace.Type) {
	d := draft{Edge: Edge{Kind: EdgeCounted, LenOff: uint16(at + t.LenOff), LenSize: 8, Type: TypeBytes, Stride: 1}}
	if t.Form == trace.FormEnd {
		d.Count = trace.CountEnd
	}
	if t.Kind == trace.KindString && t.Count > 1 && t.Form != trace.FormBits {
		d.Stride = uint32(t.Count)
	}
	if at+t.LenOff > maxBlock-8 {
		s.compiler.dropped++
		return
	}
	switch {
	case t.Kind == trace.KindString, elem != nil && elem.Size == 1 && (elem.Kind == trace.KindUint || elem.Kind == trace.KindChar):
	case elem == nil || elem.Size == 0:
		return
	default:
		depth, ok := s.limit()
		if s.inner {
			depth, ok, d.Inner = 0, true, true
		}
		if !ok {
			return
		}
		d.Depth, d.Stride, d.target = depth, elem.Size, elem
	}
	if elem != nil && d.target == nil {
		elem.ID = TypeBytes
	}
	s.add(at+t.PtrOff, d)
	if t.Dict > 0 && s.dict != nil && t.Kind == trace.KindSlice {
		s.add(at+t.PtrOff, draft{Edge: Edge{Kind: EdgeDict, LenOff: uint16(s.dict.Offset), LenSize: 8, Stride: 8 * (t.Dict - 1), Slice: true}})
	}
}

// link adds the way from a container to its contents.
func (s *scanner) link(l trace.Link, at uint32) {
	if l.Target == nil || l.Target.Size == 0 {
		return
	}
	e := Edge{
		Kind: EdgePointer, Inner: true, Count: l.Count, LenOff: uint16(at + l.LenOffset), LenSize: 8, Stride: l.Target.Size, Back: l.Back, Untag: l.Untag, Per: l.Per,
		When: l.When, WhenOff: uint16(at + l.WhenOffset), WhenValue: l.WhenValue,
	}
	if l.Count != trace.CountOne {
		e.Kind = EdgeCounted
	} else {
		e.Count = trace.CountPlain
	}
	if max(at+l.LenOffset, at+l.WhenOffset) > maxBlock-8 {
		s.compiler.dropped++
		return
	}
	s.add(at+l.Offset, draft{Edge: e, target: l.Target})
}

func (s *scanner) iface(t *trace.Type, at uint32) {
	if t.Lang == trace.LangRust {
		s.trait(t, at)
		return
	}
	kind := EdgeIface
	if t.Empty {
		kind = EdgeEface
	}
	if t.Kind == trace.KindError || s.inner {
		s.add(at, draft{Edge: Edge{Kind: kind, Inner: s.inner}})
		return
	}
	if depth, ok := s.limit(); ok {
		s.add(at, draft{Edge: Edge{Kind: kind, Depth: depth}})
	}
}

// trait adds a trait object. Like Go's, errors are followed however deep.
func (s *scanner) trait(t *trace.Type, at uint32) {
	depth, ok := s.limit()
	switch {
	case t.Trait == RustError:
		depth = 0
	case !ok:
		return
	}
	if at+t.LenOff > maxBlock-8 {
		s.compiler.dropped++
		return
	}
	s.add(at+t.PtrOff, draft{Edge: Edge{Kind: EdgeTrait, LenOff: uint16(at + t.LenOff), Stride: t.Head, Depth: depth}})
}
