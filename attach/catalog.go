package attach

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/symbols/types"
	"github.com/observatory-trace/observatory-trace/trace"
)

// catalog numbers the session's functions and writes what the probes must know
// of them. One goroutine adds; any may look up.
type catalog struct {
	objs      *bpf.Objects
	compiler  *types.Compiler
	functions atomic.Pointer[[]*trace.Function] // by id; 0 is unused
	moves     uint32                            // written so far, like the next two
	programs  uint32
	edges     uint32
	files     uint32
	images    atomic.Pointer[[]*image] // by function id, like functions
	basic     map[uint64]*trace.Type   // Go's predeclared kinds
}

func newCatalog(objs *bpf.Objects, compiler *types.Compiler) *catalog {
	c := &catalog{objs: objs, compiler: compiler, basic: types.Basic()}
	for _, t := range c.basic {
		compiler.AddType(t)
	}
	c.functions.Store(&[]*trace.Function{nil})
	c.images.Store(&[]*image{nil})
	return c
}

// function finds a function by its id; nil when there is none.
func (c *catalog) function(id uint32) *trace.Function {
	all := *c.functions.Load()
	if int(id) >= len(all) {
		return nil
	}
	return all[id]
}

// image finds the file of a function by its id; nil when there is none.
func (c *catalog) image(id uint32) *image {
	all := *c.images.Load()
	if int(id) >= len(all) {
		return nil
	}
	return all[id]
}

// len is the number of ids given out, the unused 0 included.
func (c *catalog) len() int { return len(*c.functions.Load()) }

// add gives the functions of one more file their ids and fills the BPF maps.
// Nothing is visible to probes before their links exist.
func (c *catalog) add(functions []*trace.Function, of *image, dynamic []types.Dynamic) error {
	old := *c.functions.Load()
	all := append(old[:len(old):len(old)], functions...)
	file := c.files + 1
	t := bpf.Tables{FirstFunc: uint32(len(old)), FirstMove: c.moves, Dynamic: map[bpf.DynamicKey]bpf.DynamicType{}}
	for i, f := range functions {
		f.ID = uint32(len(old) + i)
		t.Functions = append(t.Functions, c.record(f, file, &t))
	}
	for kind, known := range c.basic {
		t.Dynamic[bpf.DynamicKey{Address: kind}] = bpf.DynamicType{Type: known.ID}
	}
	for _, d := range dynamic {
		if target := d.Followed(); target != nil {
			t.Dynamic[bpf.DynamicKey{File: file, Address: d.Address}] = bpf.DynamicType{Type: c.compiler.AddType(target)}
		}
	}
	programs, edges := c.compiler.Programs()
	for _, p := range programs[c.programs:] {
		t.Programs = append(t.Programs, bpf.Program{Size: p.Size, Edges: p.Edges, Nedges: p.N})
	}
	for _, e := range edges[c.edges:] {
		t.Edges = append(t.Edges, bpf.Edge{
			Off: e.Off, LenOff: e.LenOff, Kind: uint8(e.Kind), LenSize: e.LenSize, Depth: e.Depth, Type: e.Type, Stride: e.Stride,
			Count: uint8(e.Count), Flags: bpf.EdgeFlags(e.Inner, e.Back, e.Slice), Per: e.Per, When: uint8(e.When), WhenOff: e.WhenOff, WhenValue: e.WhenValue,
		})
	}
	t.FirstProgram, t.FirstEdge = c.programs, c.edges
	if err := c.objs.Fill(t); err != nil {
		return fmt.Errorf("hand %d functions to the probes: %w", len(functions), err)
	}
	c.files = file
	c.moves += uint32(len(t.Moves))
	c.programs, c.edges = uint32(len(programs)), uint32(len(edges))
	before := *c.images.Load()
	images := append(before[:len(before):len(before)], slices.Repeat([]*image{of}, len(functions))...)
	c.images.Store(&images)
	c.functions.Store(&all)
	return nil
}

// dynamicType is the type at an address of a file that is a runtime type's, or a closure's code.
// Of a type that the debug information lacks, the file tells name and kind.
func (c *catalog) dynamicType(i *image, address uint64) (d types.Dynamic, ok bool) {
	if d, ok = i.dynamic[address]; ok {
		return d, d.Name != "" || d.Type != nil
	}
	if i.code(address) || len(i.dynamic) >= maxNames {
		return d, false
	}
	d.Address = address
	if f := i.open(); f != nil {
		var kind uint64
		if d.Name, kind, ok = f.RuntimeType(address); ok && c.basic[kind] != nil {
			t := *c.basic[kind]
			t.Name = d.Name
			d.Type = &t
		}
	}
	i.dynamic[address] = d
	return d, ok
}

// record is the BPF side of a function; its moves are appended to t.
func (c *catalog) record(f *trace.Function, file uint32, t *bpf.Tables) bpf.Func {
	r := bpf.Func{Role: uint32(f.Role), File: file, Address: f.Address}
	if f.Go != nil {
		r.Flags = bpf.FuncGo
		if f.Go.ABI0 {
			r.Flags |= bpf.FuncABI0
		}
		r.GoidOffset, r.TlsOffset = f.Go.GoidOffset, f.Go.TLSOffset
	}
	side := func(p *trace.Plan) (program, first uint32, n, root uint16) {
		if p == nil {
			return 0, 0, 0, 0
		}
		first = c.moves + uint32(len(t.Moves))
		for _, m := range p.Moves {
			t.Moves = append(t.Moves, bpf.Move{Dst: m.Dst, Size: m.Size, Source: uint8(m.Source), Reg: m.Register, Off: m.Offset})
		}
		c.compiler.Add(p)
		return p.Root.ID, first, uint16(len(p.Moves)), uint16((p.Root.Size + 7) &^ 7)
	}
	r.Entry.Type, r.Entry.Moves, r.Entry.Nmoves, r.Entry.Root = side(f.EntryPlan)
	r.Exit.Type, r.Exit.Moves, r.Exit.Nmoves, r.Exit.Root = side(f.ExitPlan)
	if f.ExitPlan != nil {
		for _, m := range f.ExitPlan.Moves {
			if m.Source == trace.SourceSaved {
				r.Flags |= bpf.FuncSaves
				r.Saved = uint32(m.Register)
			}
		}
	}
	switch f.Role {
	case trace.RoleGoPanic, trace.RoleGoexit, trace.RoleThrow, trace.RoleRethrow, trace.RoleUnwind, trace.RoleForced, trace.RoleLongjmp, trace.RoleRustPanic:
		r.Flags |= bpf.FuncRaises
	case trace.RoleLibraryMap:
		// What is mapped then must be known before the process ends.
		r.Flags |= bpf.FuncUrgent
	}
	if t, ok := failTest(f); ok {
		r.Exit.FailOff, r.Exit.FailSize, r.Exit.FailTest, r.Exit.FailValue = t.offset, t.size, t.test, t.value
	}
	if isFlat(f.EntryPlan) && r.Flags&bpf.FuncRaises == 0 {
		r.Flags |= bpf.FuncFlatEntry
	}
	if isFlat(f.ExitPlan) {
		r.Flags |= bpf.FuncFlatExit
	}
	return r
}

// fail is how a word of an exit's root block tells that the call failed.
type fail struct {
	offset     uint16
	size, test uint8
	value      uint64
}

// failTest finds what tells of a returned error, which is in the last result:
// the first word of Go's error interface, the tag of Rust's Result.
func failTest(f *trace.Function) (fail, bool) {
	if f.ExitPlan == nil || f.ExitPlan.Root == nil || len(f.ExitPlan.Root.Fields) == 0 {
		return fail{}, false
	}
	last := f.ExitPlan.Root.Fields[len(f.ExitPlan.Root.Fields)-1]
	t := last.Type
	switch {
	case last.Unavailable != "" || t == nil:
	case f.Language == trace.LangGo && t.Kind == trace.KindError:
		return fail{uint16(last.Offset), 8, bpf.FailDiffers, 0}, true
	case t.IsResult() && t.Tag != nil && len(t.Variants) == 2:
		test := fail{offset: uint16(last.Offset + t.Tag.Offset), size: uint8(t.Tag.Type.Size)}
		if s := test.size; s != 1 && s != 2 && s != 4 && s != 8 {
			break
		}
		mask := ^uint64(0) >> (64 - 8*uint(test.size))
		for _, v := range t.Variants {
			// The one that has a tag of its own decides; the other one may have many.
			if v.Default {
				continue
			}
			test.value, test.test = v.Value&mask, bpf.FailEqual
			if v.Name != "Err" {
				test.test = bpf.FailDiffers
			}
		}
		return test, test.test != 0
	}
	return fail{}, false
}

// isFlat says whether all that a compiled plan copies is words in registers, each
// to a word of its own (FLAT_WORDS in bpf/event.h).
func isFlat(p *trace.Plan) bool {
	if p == nil {
		return true
	}
	var used uint32
	for _, m := range p.Moves {
		word := uint32(1) << (m.Dst / 8)
		if m.Source != trace.SourceRegister || m.Dst%8 != 0 || used&word != 0 {
			return false
		}
		used |= word
	}
	return p.Root.ID == 0 && p.Root.Size <= 8*bpf.FlatWords
}
