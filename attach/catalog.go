package attach

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/symbols/types"
	"github.com/observatory-trace/observatory-trace/trace"
)

// catalog numbers the session's functions and writes what the probes must know
// of them. One goroutine adds; any may look up.
type catalog struct {
	objs     *bpf.Objects
	compiler *types.Compiler
	// precondition is what Options.Precondition is.
	precondition func(*trace.Function) trace.Precondition
	functions    atomic.Pointer[[]*trace.Function] // by id; 0 is unused
	moves        uint32                            // written so far, like the next three
	checks       uint32
	programs     uint32
	edges        uint32
	files        uint32
	dynamics     int                      // types by their address, of all files
	images       atomic.Pointer[[]*image] // by function id, like functions
	basic        map[uint64]*trace.Type   // Go's predeclared kinds
	bases        sync.Map                 // by the id of an instance of a generic function, that function's id
}

func newCatalog(objs *bpf.Objects, compiler *types.Compiler, precondition func(*trace.Function) trace.Precondition) *catalog {
	c := &catalog{objs: objs, compiler: compiler, precondition: precondition, basic: types.Basic()}
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

// at finds the function that is traced at an address of a file; nil when there is none.
func (c *catalog) at(of *image, address uint64) *trace.Function {
	functions := *c.functions.Load()
	images := *c.images.Load() // of all of these, at least
	for id, f := range functions {
		if f != nil && f.Role == trace.RoleCall && images[id] == of && address-f.Address < f.Size && c.baseOf(f.ID) == f.ID {
			return f
		}
	}
	return nil
}

// baseOf is the id of the generic function that one is an instance of; others are their own.
func (c *catalog) baseOf(id uint32) uint32 {
	if base, ok := c.bases.Load(id); ok {
		return base.(uint32)
	}
	return id
}

// len is the number of ids given out, the unused 0 included.
func (c *catalog) len() int { return len(*c.functions.Load()) }

// add gives the functions of one more file their ids and fills the BPF maps.
// Nothing is visible to probes before their links exist.
func (c *catalog) add(functions []*trace.Function, of *image, dynamic []types.Dynamic) error {
	old := *c.functions.Load()
	all := append(old[:len(old):len(old)], functions...)
	file := c.files + 1
	t := bpf.Tables{FirstFunc: uint32(len(old)), FirstMove: c.moves, FirstCheck: c.checks, Dynamic: map[bpf.DynamicKey]bpf.DynamicType{}, Instances: map[bpf.InstanceKey]uint32{}}
	for i, f := range functions {
		f.ID = uint32(len(old) + i)
		t.Functions = append(t.Functions, c.record(f, file, &t))
	}
	all = c.instantiate(all, len(old), of, &t)
	for kind, known := range c.basic {
		t.Dynamic[bpf.DynamicKey{Address: kind}] = bpf.DynamicType{Type: known.ID}
	}
	for _, d := range dynamic {
		target := d.Followed()
		if target == nil {
			continue
		}
		if !c.room(len(t.Dynamic)) {
			break // values of the others are shown by the type that the pointer to them has
		}
		t.Dynamic[bpf.DynamicKey{File: file, Address: d.Address}] = bpf.DynamicType{
			Type: c.compiler.AddType(target), Adjust: d.Adjust, Align: powerOfTwo(d.Align),
		}
	}
	programs, edges := c.compiler.Programs()
	for _, p := range programs[c.programs:] {
		t.Programs = append(t.Programs, bpf.Program{Size: p.Size, Edges: p.Edges, Nedges: p.N})
	}
	for _, e := range edges[c.edges:] {
		t.Edges = append(t.Edges, bpf.Edge{
			Off: e.Off, LenOff: e.LenOff, Kind: uint8(e.Kind), LenSize: e.LenSize, Depth: e.Depth, Type: e.Type, Stride: e.Stride,
			Count: uint8(e.Count), Flags: bpf.EdgeFlags(e.Inner, e.Back, e.Untag, e.Slice), Per: e.Per, When: uint8(e.When), WhenOff: e.WhenOff, WhenValue: e.WhenValue,
		})
	}
	t.FirstProgram, t.FirstEdge = c.programs, c.edges
	if err := c.objs.Fill(t); err != nil {
		return fmt.Errorf("hand %d functions to the probes: %w", len(functions), err)
	}
	c.files = file
	c.dynamics += len(t.Dynamic)
	c.moves += uint32(len(t.Moves))
	c.checks += uint32(len(t.Checks))
	c.programs, c.edges = uint32(len(programs)), uint32(len(edges))
	before := *c.images.Load()
	images := append(before[:len(before):len(before)], slices.Repeat([]*image{of}, len(all)-len(old))...)
	c.images.Store(&images)
	c.functions.Store(&all)
	return nil
}

// instantiate adds to all functions, which are new from the given id on, those that generic ones are with
// their real types, so that their calls are counted apart.
func (c *catalog) instantiate(all []*trace.Function, first int, of *image, t *bpf.Tables) []*trace.Function {
	named := map[string][]uint64{}
	for address, d := range of.dictionaries {
		named[d.Of] = append(named[d.Of], address)
	}
	for _, f := range all[first:] {
		if f.Role != trace.RoleCall || t.Functions[int(f.ID)-first].Flags&bpf.FuncGeneric == 0 {
			continue
		}
		for _, address := range named[f.Generic()] {
			if len(all)-first >= spareFunctions/2 {
				return all
			}
			instance := f.Instance(of.dictionaries[address].Arguments)
			instance.ID = uint32(len(all))
			all = append(all, instance)
			t.Functions = append(t.Functions, bpf.Func{})
			t.Instances[bpf.InstanceKey{Func: f.ID, Dictionary: address}] = instance.ID
			c.bases.Store(instance.ID, f.ID)
		}
	}
	return all
}

// room says whether the tables have some for one more type beside so many new ones,
// and leave some for functions.
func (c *catalog) room(dynamics int) bool {
	programs, edges := c.compiler.Programs()
	return c.dynamics+dynamics < maxDynamics && len(programs) < programsEach*spareFunctions/2 && len(edges) < edgesEach*spareFunctions/2
}

// powerOfTwo is n if it is one, else 0.
func powerOfTwo(n uint32) uint32 {
	if n&(n-1) != 0 {
		return 0
	}
	return n
}

// dynamicType is the type at an address of a file that is a runtime type's, or a closure's code.
// Of a type that the debug information lacks, the file tells name and kind.
func (c *catalog) dynamicType(i *image, address uint64) (d types.Dynamic, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
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
	side := func(p *trace.Plan) (program, first uint32, n, root uint16, words uint64) {
		if p == nil {
			return 0, 0, 0, 0, bpf.WordsOf(nil)
		}
		first = c.moves + uint32(len(t.Moves))
		for _, m := range p.Moves {
			t.Moves = append(t.Moves, bpf.Move{Dst: m.Dst, Size: m.Size, Source: uint8(m.Source), Reg: m.Register, Off: m.Offset})
		}
		c.compiler.Add(p)
		if isWords(p) {
			words = bpf.WordsOf(t.Moves[first-c.moves:])
		}
		return p.Root.ID, first, uint16(len(p.Moves)), uint16((p.Root.Size + 7) &^ 7), words
	}
	r.Entry.Type, r.Entry.Moves, r.Entry.Nmoves, r.Entry.Root, r.Entry.Words = side(f.EntryPlan)
	r.Exit.Type, r.Exit.Moves, r.Exit.Nmoves, r.Exit.Root, r.Exit.Words = side(f.ExitPlan)
	r.Site = uint32(f.Entry.Offset)
	if f.ExitPlan != nil {
		for _, m := range f.ExitPlan.Moves {
			if m.Source == trace.SourceSaved {
				r.Flags |= bpf.FuncSaves
				r.Saved = uint32(m.Register)
			}
		}
	}
	switch f.Role {
	case trace.RoleGoPanic, trace.RoleGoFatal, trace.RoleGoUncaught, trace.RoleGoexit, trace.RoleThrow, trace.RoleRethrow, trace.RoleUnwind, trace.RoleForced, trace.RoleLongjmp, trace.RoleRustPanic:
		r.Flags |= bpf.FuncRaises
	case trace.RoleCall:
		if f.Exit.Kind == trace.ExitReturn {
			r.Flags |= bpf.FuncReturns
		}
	case trace.RoleLibraryMap:
		// What is mapped then must be known before the process ends.
		r.Flags |= bpf.FuncUrgent
	}
	if p := f.EntryPlan; p != nil && p.Root != nil {
		for i := range p.Root.Fields {
			if d := &p.Root.Fields[i]; d.Name == trace.Dictionary && d.Unavailable == "" {
				if move, _, ok := wordOf(p, uint16(d.Offset), 8); ok {
					r.Flags |= bpf.FuncGeneric
					r.DictMove = r.Entry.Moves + move
				}
			}
		}
	}
	if t := failure(f); t != nil {
		if move, off, ok := wordOf(f.ExitPlan, uint16(t.Offset), t.Size); ok {
			r.Exit.FailOff, r.Exit.FailSize, r.Exit.FailTest, r.Exit.FailLow, r.Exit.FailSpan = off, t.Size, bpf.FailWord, t.Low, t.Span
			if t.Int {
				r.Exit.FailTest = bpf.FailInt
			}
			r.Exit.FailMove = r.Exit.Moves + move
		}
	}
	if f.Failure != nil {
		r.Flags |= bpf.FuncErrno
	}
	if f.Errno != nil {
		r.Flags |= bpf.FuncFindsErrno
		r.TlsOffset, r.ErrnoSlot = f.Errno.Offset, f.Errno.Slot
	}
	if c.precondition != nil && f.Role == trace.RoleCall {
		c.require(&r, f, c.precondition(f), t)
	}
	if isFlat(f.EntryPlan) && r.Flags&bpf.FuncRaises == 0 {
		r.Flags |= bpf.FuncFlatEntry
	}
	if isWords(f.EntryPlan) {
		r.Flags |= bpf.FuncWords
	}
	if isKept(f.EntryPlan) {
		r.Flags |= bpf.FuncKeeps
	}
	if isFlat(f.ExitPlan) {
		r.Flags |= bpf.FuncFlatExit
	}
	return r
}

// require has the probes check what they can of a precondition; what they can't is left to
// who reads the calls.
func (c *catalog) require(r *bpf.Func, f *trace.Function, p trace.Precondition, t *bpf.Tables) {
	if p.LeastNS > 0 {
		r.Flags |= bpf.FuncHold
		r.Least = uint64(p.LeastNS)
	}
	r.Checks = c.checks + uint32(len(t.Checks))
	for _, check := range p.Checks {
		if b, ok := checkOf(f, check); ok {
			b.Move += r.Entry.Moves
			t.Checks = append(t.Checks, b)
			r.Nchecks++
		}
	}
	if p.Failed && r.Nchecks > 0 {
		r.Flags |= bpf.FuncKeepsErrors
	}
}

// checkOf finds the word of an integer parameter that a constant can be compared with.
func checkOf(f *trace.Function, c trace.Check) (b bpf.Check, ok bool) {
	if f.EntryPlan == nil || f.EntryPlan.Root == nil {
		return b, false
	}
	for i := range f.EntryPlan.Root.Fields {
		p := &f.EntryPlan.Root.Fields[i]
		if p.Name != c.Param {
			continue
		}
		if p.Unavailable != "" || p.Type == nil || p.BitSize != 0 || p.Type.Kind != trace.KindInt && p.Type.Kind != trace.KindUint {
			return b, false
		}
		size, signed := p.Type.Size, p.Type.Kind == trace.KindInt
		if size != 1 && size != 2 && size != 4 && size != 8 || !fits(c.Value, size, signed) {
			return b, false
		}
		move, off, found := wordOf(f.EntryPlan, uint16(p.Offset), uint8(size))
		b = bpf.Check{Move: move, Off: uint8(off), Size: uint8(size), Op: uint8(c.Op), Value: uint64(c.Value)}
		if signed {
			b.IsSigned = 1
		}
		return b, found && off < 256
	}
	return b, false
}

// fits says whether a number is one of an integer's of so many bytes.
func fits(v int64, size uint32, signed bool) bool {
	bits := 8 * size
	if signed {
		return bits == 64 || v >= -1<<(bits-1) && v < 1<<(bits-1)
	}
	return v >= 0 && (bits == 64 || v < 1<<bits)
}

// failure finds what tells of a returned error: what the function is given, or what its
// language has for that, in the last result: the first word of Go's error interface, the tag
// of Rust's Result. It is nil where nothing does.
func failure(f *trace.Function) *trace.Failure {
	if f.Failure != nil || f.ExitPlan == nil || f.ExitPlan.Root == nil || len(f.ExitPlan.Root.Fields) == 0 {
		return f.Failure
	}
	last := f.ExitPlan.Root.Fields[len(f.ExitPlan.Root.Fields)-1]
	t := last.Type
	switch {
	case last.Unavailable != "" || t == nil:
	case f.Language == trace.LangGo && t.Kind == trace.KindError: // anything but 0
		return &trace.Failure{Offset: last.Offset, Size: 8, Low: 1, Span: ^uint64(1)}
	case t.IsResult() && t.Tag != nil && len(t.Variants) == 2:
		return resultFailure(last)
	}
	return nil
}

// resultFailure is failure of a Rust Result with a tag.
func resultFailure(f trace.Field) *trace.Failure {
	tag := f.Type.Tag
	switch tag.Type.Size {
	case 1, 2, 4, 8:
	default:
		return nil
	}
	all := ^uint64(0) >> (64 - 8*tag.Type.Size)
	var test *trace.Failure
	for _, v := range f.Type.Variants {
		// The one that has a tag of its own decides; the other one may have many.
		if v.Default {
			continue
		}
		test = &trace.Failure{Offset: f.Offset + tag.Offset, Size: uint8(tag.Type.Size), Low: v.Value & all}
		if v.Name != "Err" {
			test.Low, test.Span = test.Low+1, all-1
		}
	}
	return test
}

// wordOf finds the move that a word of a plan's root block comes with, by its index in the
// plan, and the word's offset in what that move makes.
func wordOf(p *trace.Plan, offset uint16, size uint8) (move uint32, off uint16, ok bool) {
	for i, m := range p.Moves {
		if m.Dst <= offset && uint32(offset)+uint32(size) <= uint32(m.Dst)+uint32(m.Size) {
			return uint32(i), offset - m.Dst, true
		}
	}
	return 0, 0, false
}

// isWords says whether all that a compiled plan copies at first is words in registers, each to a
// word of its own, and few enough (FLAT_WORDS in bpf/event.h).
func isWords(p *trace.Plan) bool {
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
	return p.Root.Size <= 8*bpf.FlatWords
}

// isKept says whether the root block of a compiled plan has room in a frame.
func isKept(p *trace.Plan) bool {
	return p == nil || bpf.Kept(0, uint16(min(p.Root.Size, 1<<15))) && !slices.ContainsFunc(p.Moves, func(m trace.Move) bool { return !bpf.Kept(m.Dst, m.Size) })
}

// isFlat says whether that is all, with no pointers to follow in it.
func isFlat(p *trace.Plan) bool { return p == nil || isWords(p) && p.Root.ID == 0 }
