package types

import (
	"debug/dwarf"
	"fmt"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// Signature is a function's parameters and results, and what the probes copy of them.
type Signature struct {
	Params, Results []trace.Param
	Entry, Exit     *trace.Plan // nil when there is nothing to copy
}

// Subprogram says which function to read.
type Subprogram struct {
	Offset   dwarf.Offset // of its concrete, out-of-line DW_TAG_subprogram
	Language trace.Language
	LowPC    uint64 // virtual address of its first instruction, in the file
	Symbol   string // as in the symbol table: tells clones and manglings apart
	Local    bool   // its symbol is local to the file: the optimiser knew all its callers
	ABI0     bool   // Go: assembly's convention, everything in memory
	// Code is the function's machine code, all in one piece, or nil. It shows
	// whether an optimised function still returns the address of its result.
	Code []byte
}

// Signature reads a function's parameters and results and plans their capture.
// A value that can't be had is in the plan with its reason; an error means
// that the debug information is damaged.
func (r *Reader) Signature(f Subprogram) (sig Signature, err error) {
	r.left, r.nest, r.lang = maxDIEs, 0, f.Language
	defer func() {
		// debug/dwarf checks most, not all, of what it reads.
		if p := recover(); p != nil {
			sig, err = Signature{}, damaged(f.Offset, "%v", p)
		}
	}()
	fn, err := r.function(f)
	if err == nil {
		err = r.signature(fn, &sig)
	}
	if err != nil {
		return Signature{}, fmt.Errorf("read signature: %w", err)
	}
	return sig, nil
}

// function is a subprogram's entries brought together.
type function struct {
	Subprogram
	params    []*parameter
	result    dwarf.Offset // C, C++, Rust: 0 for none
	unit      *unit        // nil when it isn't known
	external  bool
	altered   bool // said not to follow the calling convention
	specified bool // declared elsewhere
	name      string
	linkage   string
	base      byte // the operation that is its frame base
}

// parameter is one parameter, or (Go) one result.
type parameter struct {
	name     string
	node     *node
	result   bool
	declared *dwarf.Entry // that has name and type
	entry    *dwarf.Entry // that has the location
	at       []piece
	known    known
}

// noCall is DW_CC_nocall (DWARF 5, section 3.3.1.1): LLVM 17 and later mark
// functions with it whose parameters or result they have removed or split.
const noCall = 3

// maxChain bounds how many origins and specifications refer to one another.
const maxChain = 8

// function reads a subprogram and the entries that it refers to.
func (r *Reader) function(f Subprogram) (*function, error) {
	fn := &function{Subprogram: f, unit: r.unit(f.Offset)}
	var declared, own []*dwarf.Entry
	off := f.Offset
	for i := 0; ; i++ {
		if i == maxChain {
			return nil, damaged(f.Offset, "origins without end")
		}
		e, err := r.entry(off)
		if err != nil {
			return nil, err
		}
		if e.Tag != dwarf.TagSubprogram {
			return nil, damaged(off, "not a function")
		}
		r.take(fn, e)
		params, err := r.children(e, dwarf.TagFormalParameter)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			own = params
		}
		if len(params) > 0 && len(declared) == 0 {
			declared = params
		}
		next, ok := r.reference(e, dwarf.AttrAbstractOrigin)
		if ok {
			declared = nil // the abstract instance has them all, in order
		} else {
			next, ok = r.reference(e, dwarf.AttrSpecification)
			fn.specified = fn.specified || ok
		}
		if !ok || next == elsewhere {
			break
		}
		off = next
	}
	if len(declared) == 0 || f.Language == trace.LangGo { // Go's abstract instances lack the unnamed ones
		declared = own
	}
	return fn, r.parameters(fn, declared, own)
}

// take keeps what an entry says of the function, unless a more concrete one said it.
func (r *Reader) take(fn *function, e *dwarf.Entry) {
	if fn.name == "" {
		fn.name = text(e, dwarf.AttrName)
	}
	if fn.linkage == "" {
		fn.linkage = text(e, dwarf.AttrLinkageName)
	}
	if off, ok := r.reference(e, dwarf.AttrType); ok && fn.result == 0 {
		fn.result = off
	}
	fn.external = fn.external || flag(e, dwarf.AttrExternal)
	if cc, ok := number(e, dwarf.AttrCalling); ok && cc == noCall {
		fn.altered = true
	}
	if base, ok := e.Val(dwarf.AttrFrameBase).([]byte); ok && len(base) == 1 && fn.base == 0 {
		fn.base = base[0]
	}
}

// parameters reads the declared parameters' types, and finds their locations
// in the concrete function's own entries.
func (r *Reader) parameters(fn *function, declared, own []*dwarf.Entry) error {
	concrete := map[dwarf.Offset]*dwarf.Entry{}
	for _, e := range own {
		if origin, ok := r.reference(e, dwarf.AttrAbstractOrigin); ok {
			concrete[origin] = e
		}
	}
	for _, e := range declared {
		p, err := r.parameter(fn, e)
		if err != nil {
			return err
		}
		p.entry = e
		if c := concrete[e.Offset]; c != nil {
			p.entry = c
		} else if hiddenParameters[p.name] && len(concrete) > 0 {
			continue // only some of a constructor's bodies have it
		}
		fn.params = append(fn.params, p)
	}
	return nil
}

// hiddenParameters are those that C++ compilers add to constructors and
// destructors of classes with virtual bases. They take registers, but nobody wrote them.
var hiddenParameters = map[string]bool{"__in_chrg": true, "__vtt_parm": true, "vtt": true}

func (r *Reader) parameter(fn *function, e *dwarf.Entry) (*parameter, error) {
	p := &parameter{}
	var err error
	off, typed := dwarf.Offset(0), false
	for i := 0; i < maxChain; i++ {
		if p.name == "" {
			p.name = text(e, dwarf.AttrName)
		}
		p.result = p.result || flag(e, dwarf.AttrVarParam)
		if off, typed = r.reference(e, dwarf.AttrType); typed {
			break
		}
		origin, ok := r.reference(e, dwarf.AttrAbstractOrigin)
		if !ok {
			break
		}
		if e, err = r.entry(origin); err != nil {
			return nil, err
		}
	}
	if !typed && e.Offset == elsewhere {
		off, typed = elsewhere, true
	}
	if !typed {
		return nil, damaged(e.Offset, "a parameter without a type")
	}
	if p.name == "this" { // const as every parameter is to its callers
		if off, err = r.unqualified(off); err != nil {
			return nil, err
		}
	}
	n, err := r.node(off)
	if err != nil {
		return nil, err
	}
	if p.name == "this" && fn.Language == trace.LangCPP && fn.makes(n) {
		n = n.exact()
	}
	p.node, p.declared = n, e
	return p, r.expand(n, r.depth)
}

// makes says whether the function, whose this is n, is a constructor or a
// destructor: those have their class's name.
func (fn *function) makes(this *node) bool {
	class, ok := strings.CutSuffix(this.t.Name, " *")
	name := strings.TrimPrefix(fn.name[:strings.IndexByte(fn.name+"<", '<')], "~")
	return ok && name != "" && strings.TrimPrefix(templateName(class), ":") == name
}

// exact is a pointer whose object's vtable is not asked of what class the object
// is. When a constructor begins, the address of another one may be there, or none; when
// a destructor does, what derived classes added may be destroyed already.
func (n *node) exact() *node {
	c, t := *n, *n.t
	t.Exact = true
	c.t, c.level = &t, -1
	return &c
}

// signature places the values and makes the plans.
func (r *Reader) signature(fn *function, sig *Signature) error {
	entry, exit := plan{arch: r.arch}, plan{arch: r.arch}
	var err error
	if fn.Language == trace.LangGo {
		r.planGo(fn, &entry, &exit)
	} else {
		err = r.planC(fn, &entry, &exit)
	}
	if err != nil {
		return err
	}
	sig.Params, sig.Entry = entry.params, entry.result()
	sig.Results, sig.Exit = exit.params, exit.result()
	return nil
}

// planC places the parameters and the result of a C, C++ or Rust function.
func (r *Reader) planC(fn *function, entry, exit *plan) error {
	result, err := r.resultNode(fn)
	if err != nil {
		return err
	}
	rust := fn.Language == trace.LangRust && isRustMangled(fn)
	a, back, places := r.placeAll(fn, result, rust)
	if rust && r.contradicts(fn, places) {
		// An extern "C" function, whose name is mangled all the same.
		rust = false
		a, back, places = r.placeAll(fn, result, rust)
		if r.contradicts(fn, places) {
			back, places = r.unplaced(back, places)
		}
	}
	reason := r.correct(fn, places, rust && fn.old(result))
	for i, p := range fn.params {
		if !hiddenParameters[p.name] || !flag(p.declared, dwarf.AttrArtificial) {
			entry.add(argumentName(p.name, i), p.node, places[i])
		}
	}
	if result != nil {
		exit.add("", result, r.settle(fn, a, result, back, reason))
	}
	return nil
}

// resultNode is the type of a function's result, nil when it has none.
func (r *Reader) resultNode(fn *function) (*node, error) {
	if fn.result == 0 {
		return nil, nil
	}
	n, err := r.node(fn.result)
	if err != nil {
		return nil, err
	}
	if err := r.expand(n, r.depth); err != nil {
		return nil, err
	}
	if n.t.Size == 0 && !n.incomp {
		return nil, nil
	}
	return n, nil
}

// placeAll places a function's result and its parameters by a convention.
func (r *Reader) placeAll(fn *function, result *node, rust bool) (a *allocator, back placed, places []placed) {
	a = r.allocate(r.arch.cConvention())
	if result != nil {
		back = r.placeResult(a, result, rust)
	}
	places = make([]placed, len(fn.params))
	for i, p := range fn.params {
		places[i] = r.placeArgument(a, p.node, rust)
	}
	return a, back, places
}

// unplaced gives places up.
func (r *Reader) unplaced(back placed, places []placed) (placed, []placed) {
	none := placed{reason: "calling convention not known"}
	if back.reason == "" {
		back = none
	}
	for i := range places {
		if places[i].reason == "" {
			places[i] = none
		}
	}
	return back, places
}

func isRustMangled(fn *function) bool {
	for _, name := range []string{fn.Symbol, fn.linkage} {
		if strings.HasPrefix(name, "_ZN") || strings.HasPrefix(name, "_R") {
			return true
		}
	}
	return fn.linkage == "" && fn.Symbol == ""
}

// notDescribed is the reason of values whose type isn't in the debug information at hand.
const notDescribed = "type not described"

func (r *Reader) placeArgument(a *allocator, n *node, rust bool) placed {
	switch {
	case n.incomp || n.partial && !n.byRef: // the address is passed whatever the class's parts are
		a.astray = true
		return placed{reason: notDescribed}
	case a.astray:
		return placed{reason: "behind a parameter whose type is not described"}
	case rust:
		return a.rustArgument(n)
	case r.arch == ARM64:
		return a.aapcsArgument(n)
	default:
		return a.sysvArgument(n)
	}
}

func (r *Reader) placeResult(a *allocator, n *node, rust bool) placed {
	if n.incomp || n.partial && !n.byRef {
		a.astray = true // its address may have been passed
		return placed{reason: notDescribed}
	}
	var p placed
	var hidden bool
	switch {
	case rust:
		p, hidden = a.rustResult(n)
	case r.arch == ARM64:
		p, hidden = a.aapcsResult(n)
	default:
		p, hidden = a.sysvResult(n)
	}
	if hidden {
		a.hidden()
	}
	return p
}
