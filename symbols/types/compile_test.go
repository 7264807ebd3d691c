package types

import (
	"slices"
	"testing"

	"github.com/observatory-trace/observatory-trace/trace"
)

func number8() *trace.Type { return &trace.Type{Name: "long", Kind: trace.KindInt, Size: 8} }

func pointerTo(t *trace.Type) *trace.Type {
	return &trace.Type{Name: t.Name + " *", Kind: trace.KindPointer, Size: 8, Elem: t}
}

func structOf(fields ...*trace.Type) *trace.Type {
	t := &trace.Type{Name: "struct", Kind: trace.KindStruct}
	for _, f := range fields {
		t.Fields = append(t.Fields, trace.Field{Type: f, Offset: t.Size})
		t.Size += f.Size
	}
	return t
}

func planOf(fields ...*trace.Type) *trace.Plan { return &trace.Plan{Root: structOf(fields...)} }

var (
	cstring = &trace.Type{Kind: trace.KindCString, Size: 8}
	sized   = &trace.Type{Kind: trace.KindString, Size: 16, PtrOff: 0, LenOff: 8}
)

// program returns the edges of a type's program.
func program(t *testing.T, c *Compiler, id uint32) []Edge {
	t.Helper()
	progs, edges := c.Programs()
	if id == 0 || int(id) >= len(progs) {
		t.Fatalf("no program %d", id)
	}
	return edges[progs[id].Edges : progs[id].Edges+progs[id].N]
}

func TestCompileRoot(t *testing.T) {
	c := NewCompiler(2)
	plain := planOf(number8())
	c.Add(plain)
	if plain.Root.ID != 0 {
		t.Errorf("a root without pointers has program %d", plain.Root.ID)
	}
	c.Add(nil)
	p := planOf(number8(), cstring, sized, &trace.Type{Kind: trace.KindError, Size: 16})
	c.Add(p)
	want := []Edge{
		{Off: 8, Kind: EdgeCString, Type: TypeBytes},
		{Off: 16, LenOff: 24, LenSize: 8, Kind: EdgeCounted, Type: TypeBytes, Stride: 1},
		{Off: 32, Kind: EdgeIface},
	}
	got := program(t, c, p.Root.ID)
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("edge %d: %+v, want %+v", i, got[i], want[i])
		}
	}
	if progs, _ := c.Programs(); progs[0] != (Prog{}) || progs[TypeBytes] != (Prog{Size: 1}) {
		t.Errorf("reserved programs: %+v", progs[:2])
	}
}

// A list node points to its like: one program, whose edge leads back to it.
func TestCompileCycle(t *testing.T) {
	node := structOf(number8())
	node.Fields = append(node.Fields, trace.Field{Type: pointerTo(node), Offset: 8}, trace.Field{Type: cstring, Offset: 16})
	node.Size = 24
	c := NewCompiler(3)
	p := planOf(pointerTo(node))
	c.Add(p)
	root := program(t, c, p.Root.ID)
	if len(root) != 1 || root[0] != (Edge{Kind: EdgePointer, Type: node.ID}) {
		t.Fatalf("root: %+v", root)
	}
	inside := program(t, c, node.ID)
	want := []Edge{{Off: 8, Kind: EdgePointer, Type: node.ID, Depth: 2}, {Off: 16, Kind: EdgeCString, Type: TypeBytes}}
	if len(inside) != 2 || inside[0] != want[0] || inside[1] != want[1] {
		t.Errorf("node: %+v, want %+v", inside, want)
	}
}

// With a depth of one only the root's pointers are followed, but text always.
func TestCompileDepth(t *testing.T) {
	for depth, want := range map[int][2]int{0: {1, 0}, 1: {2, 1}, 2: {2, 2}} {
		inner := structOf(pointerTo(number8()), cstring)
		p := planOf(pointerTo(inner), sized)
		c := NewCompiler(depth)
		c.Add(p)
		if got := len(program(t, c, p.Root.ID)); got != want[0] {
			t.Errorf("depth %d: %d edges of the root", depth, got)
		}
		got := 0
		if inner.ID != 0 {
			got = len(program(t, c, inner.ID))
		}
		if got != want[1] {
			t.Errorf("depth %d: %d edges behind it", depth, got)
		}
	}
}

func TestCompileSequences(t *testing.T) {
	slice := func(elem *trace.Type) *trace.Type {
		return &trace.Type{Kind: trace.KindSlice, Size: 24, PtrOff: 0, LenOff: 8, Elem: elem}
	}
	bytes := &trace.Type{Kind: trace.KindUint, Size: 1}
	elem := structOf(number8(), sized)
	c := NewCompiler(2)
	p := planOf(slice(bytes), slice(elem), slice(nil), slice(structOf()))
	c.Add(p)
	got := program(t, c, p.Root.ID)
	want := []Edge{
		{Off: 0, LenOff: 8, LenSize: 8, Kind: EdgeCounted, Type: TypeBytes, Stride: 1},
		{Off: 24, LenOff: 32, LenSize: 8, Kind: EdgeCounted, Type: elem.ID, Stride: 24},
	}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%+v, want %+v", got, want)
	}
	if bytes.ID != TypeBytes {
		t.Errorf("a byte's program is %d", bytes.ID)
	}
}

// What the wire format has no room for is counted.
func TestCompileDropped(t *testing.T) {
	array := func(n uint64, elem *trace.Type) *trace.Type {
		return &trace.Type{Kind: trace.KindArray, Count: n, Size: uint32(n) * elem.Size, Elem: elem}
	}
	c := NewCompiler(2)
	p := planOf(array(80, cstring), cstring)
	c.Add(p)
	if n := len(program(t, c, p.Root.ID)); n != maxEdges || c.Dropped() == 0 {
		t.Errorf("%d edges, %d dropped", n, c.Dropped())
	}
	c = NewCompiler(2)
	far := planOf(array(5000, &trace.Type{Kind: trace.KindUint, Size: 1}), cstring, sized)
	c.Add(far)
	if far.Root.ID != 0 || c.Dropped() != 2 {
		t.Errorf("program %d, %d dropped", far.Root.ID, c.Dropped())
	}
}

// Values that can't be had, bit-fields and unions lead nowhere.
func TestCompileSkips(t *testing.T) {
	gone := structOf(cstring)
	gone.Fields[0].Unavailable = "in SSE register"
	union := &trace.Type{Kind: trace.KindUnion, Size: 8, Fields: []trace.Field{{Type: cstring}}}
	c := NewCompiler(2)
	p := planOf(gone, union, pointerTo(structOf()), &trace.Type{Kind: trace.KindPointer, Size: 8}, &trace.Type{Kind: trace.KindMap, Size: 8})
	c.Add(p)
	if p.Root.ID != 0 {
		t.Errorf("edges: %+v", program(t, c, p.Root.ID))
	}
}

// Values of one size without pointers share a program.
func TestCompilePlain(t *testing.T) {
	c := NewCompiler(2)
	a, b, one := number8(), number8(), &trace.Type{Kind: trace.KindBool, Size: 1}
	if x, y := c.AddType(a), c.AddType(b); x != y || x <= TypeBytes {
		t.Errorf("programs %d and %d", x, y)
	}
	if id := c.AddType(one); id != TypeBytes {
		t.Errorf("a single byte's program is %d", id)
	}
}

// The contexts that one is derived from are no step deeper, what they hold is.
func TestCompileContext(t *testing.T) {
	parent := &trace.Type{Name: "context.Context", Kind: trace.KindInterface, Size: 16, Lang: trace.LangGo}
	anything := &trace.Type{Name: "interface {}", Kind: trace.KindInterface, Size: 16, Empty: true, Lang: trace.LangGo}
	for _, c := range []struct {
		name     string
		embedded bool
		inner    bool
	}{{"context.valueCtx", true, true}, {"context.withoutCancelCtx", false, true}, {"main.own", true, true}, {"main.holder", false, false}} {
		compiler := NewCompiler(4)
		s := &trace.Type{Name: c.name, Kind: trace.KindStruct, Size: 32, Lang: trace.LangGo, Fields: []trace.Field{
			{Name: "Context", Type: parent, Embedded: c.embedded}, {Name: "val", Offset: 16, Type: anything},
		}}
		want := []Edge{{Kind: EdgeIface, Inner: true}, {Off: 16, Kind: EdgeEface, Depth: 3}}
		if !c.inner {
			want[0] = Edge{Kind: EdgeIface, Depth: 3}
		}
		if got := program(t, compiler, compiler.AddType(s)); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("%s: %+v, want %+v", c.name, got, want)
		}
	}
}

// A type parameter's pointer is followed by its dictionary, as long as that is in the root.
func TestCompileDictionary(t *testing.T) {
	shape := &trace.Type{Name: "*uint8", Kind: trace.KindPointer, Size: 8, Dict: 3, Lang: trace.LangGo}
	function := &trace.Type{Name: "func(T)", Kind: trace.KindFunc, Size: 8, Dict: 4, Elem: number8(), Lang: trace.LangGo}
	list := &trace.Type{Name: "[]T", Kind: trace.KindSlice, Size: 24, LenOff: 8, Elem: &trace.Type{Kind: trace.KindPointer, Size: 8}, Dict: 1, Lang: trace.LangGo}
	p := planOf(number8(), shape, function, list)
	p.Root.Fields[0].Name = trace.Dictionary
	c := NewCompiler(4)
	c.Add(p)
	code := c.AddType(function.Elem)
	want := []Edge{
		{Off: 8, LenSize: 8, Kind: EdgeDict, Stride: 16},
		{Off: 16, Kind: EdgeClosure, Type: code},
		{Off: 24, LenOff: 32, LenSize: 8, Kind: EdgeCounted, Type: code, Stride: 8},
		{Off: 24, LenSize: 8, Kind: EdgeDict, Slice: true},
	}
	if got := program(t, c, p.Root.ID); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	alone := planOf(shape)
	c.Add(alone)
	if alone.Root.ID != 0 {
		t.Errorf("without a dictionary it is followed: %+v", program(t, c, alone.Root.ID))
	}
}
