package types

import (
	"debug/dwarf"
	"fmt"
	"slices"
	"strconv"
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
		p, err := r.parameter(e)
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

func (r *Reader) parameter(e *dwarf.Entry) (*parameter, error) {
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
	p.node, p.declared = n, e
	return p, r.expand(n, r.depth)
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

// planGo places the parameters and results of a Go function. Location lists
// are not needed: the compiler never deviates from its convention.
func (r *Reader) planGo(fn *function, entry, exit *plan) {
	a := r.allocate(r.arch.goConvention(fn.ABI0))
	hidden := hasDictionary(fn.name)
	receiver := hidden && isMethod(fn.name)
	index := 0
	for _, p := range fn.params {
		if p.result || p.name == ".dict" || p.name == ".closureptr" {
			continue
		}
		if hidden && (!receiver || index == 1) {
			a.dictionary()
			hidden = false
		}
		entry.add(argumentName(p.name, index), p.node, a.goValue(p.node))
		index++
	}
	if hidden {
		a.dictionary()
	}
	a.ints, a.fl = 0, 0
	a.stack = alignUp(a.stack, 8)
	index = 0
	last := ""
	for _, p := range fn.params {
		if !p.result || p.name != "" && p.name == last { // the compiler lists some unnamed results twice
			continue
		}
		last = p.name
		name := p.name
		if name == "" || name == "_" || strings.HasPrefix(name, "~") {
			name = "r" + strconv.Itoa(index)
		}
		exit.add(name, p.node, a.goValue(p.node))
		index++
	}
}

// argumentName names a parameter that the source leaves unnamed.
func argumentName(name string, index int) string {
	if name == "" || name == "_" || strings.HasPrefix(name, "~") {
		return "arg" + strconv.Itoa(index)
	}
	return name
}

// dictionary takes the place of a generic function's hidden first parameter:
// the types it was called with.
func (a *allocator) dictionary() {
	if _, ok := a.integer(); !ok {
		a.memory(8, 8)
	}
}

// hasDictionary says whether a Go function takes a dictionary: the shared body
// of a generic function or method does, its closures have it captured.
func hasDictionary(name string) bool {
	i := strings.Index(name, "[go.shape.")
	if i < 0 {
		return false
	}
	rest := afterBrackets(name)
	rest = strings.TrimPrefix(strings.TrimPrefix(rest, ")"), ".")
	return !isClosure(rest)
}

// afterBrackets is what follows a name's type arguments.
func afterBrackets(name string) string {
	return name[strings.LastIndexByte(name, ']')+1:]
}

// isMethod says whether something follows the type arguments: they are the receiver's.
func isMethod(name string) bool {
	return afterBrackets(name) != ""
}

// isClosure tells the names that the compiler gives to functions in functions.
func isClosure(name string) bool {
	if strings.ContainsAny(name, ".-") { // Method.func1, Method-range1, Method-fm
		return true
	}
	for _, prefix := range []string{"func", "gowrap", "deferwrap"} {
		if digits, ok := strings.CutPrefix(name, prefix); ok && digits != "" && strings.Trim(digits, "0123456789") == "" {
			return true
		}
	}
	return false
}

// optimisedOut is the reason of values that the optimiser has removed or moved.
const optimisedOut = "optimised out"

// planC places the parameters and the result of a C, C++ or Rust function.
func (r *Reader) planC(fn *function, entry, exit *plan) error {
	rust := fn.Language == trace.LangRust && isRustMangled(fn)
	a := r.allocate(r.arch.cConvention())
	var result *node
	var back placed
	if fn.result != 0 {
		n, err := r.node(fn.result)
		if err != nil {
			return err
		}
		if err := r.expand(n, r.depth); err != nil {
			return err
		}
		if n.t.Size > 0 || n.incomp {
			result = n
		}
	}
	if result != nil {
		back = r.placeResult(a, result, rust)
	}
	places := make([]placed, len(fn.params))
	for i, p := range fn.params {
		places[i] = r.placeArgument(a, p.node, rust)
	}
	reason := r.correct(fn, places, rust && fn.old(result))
	for i, p := range fn.params {
		if !(hiddenParameters[p.name] && flag(p.declared, dwarf.AttrArtificial)) {
			entry.add(argumentName(p.name, i), p.node, places[i])
		}
	}
	if result != nil {
		exit.add("", result, r.settle(fn, a, back, reason))
	}
	return nil
}

// old says whether a value of the function was passed differently by some
// versions of Rust before 1.62, and its compiler is one of those.
func (fn *function) old(result *node) bool {
	between := func(n *node) bool {
		_, scalars := rustValue(n)
		return !scalars && n.t.Size <= 16
	}
	return fn.unit != nil && fn.unit.old && (result != nil && between(result) ||
		slices.ContainsFunc(fn.params, func(p *parameter) bool { return between(p.node) }))
}

// settle decides whether a result is where the convention has it. reason says
// why the convention may not hold, or is empty.
func (r *Reader) settle(fn *function, a *allocator, back placed, reason string) placed {
	switch {
	case back.reason != "":
	case back.reference && (reason != "" || fn.forgets()):
		if !fn.spares(a.conv.ints[0]) || r.arch != AMD64 || !returnsAddress(fn.Code) {
			return placed{reason: "address not kept until the return"}
		}
	case reason != "":
		return placed{reason: reason}
	}
	return back
}

// forgets says whether the function may not return the address of its result:
// LLVM spares local functions that, and in Rust nearly all are local.
func (fn *function) forgets() bool {
	u := fn.unit
	return u != nil && u.llvm && u.optimised && (fn.local() || fn.Language == trace.LangRust)
}

// spares says whether no parameter is described as coming in the register.
func (fn *function) spares(reg uint8) bool {
	for _, p := range fn.params {
		for _, c := range p.at {
			if c.reason == "" && c.source != trace.SourceCFA && c.reg == reg {
				return false
			}
		}
	}
	return true
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
	case n.incomp || n.partial:
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
	if n.incomp || n.partial {
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

// correct compares the computed places with the debug information's. Where an
// optimiser has changed the function's convention, or may have and doesn't
// tell, or where the convention itself isn't sure, only what is described is
// believed; the reason for that is returned.
func (r *Reader) correct(fn *function, places []placed, unsure bool) (reason string) {
	switch {
	case fn.doubtful():
		reason = "may have been optimised out"
	case unsure:
		reason = "passed differently by versions of Rust"
	}
	altered := fn.altered || isClone(fn.Symbol)
	for i, p := range fn.params {
		p.at, p.known = r.entryLocation(fn, p)
		if p.known == located && !agrees(places[i], p.at) {
			altered = true
		}
	}
	if altered {
		reason = "calling convention changed by the optimiser"
	}
	for i, p := range fn.params {
		switch {
		case reason != "" && p.known == located:
			places[i] = placed{pieces: p.at}
		case unsure && places[i].reason == "":
			places[i] = placed{reason: reason}
		case reason != "" && places[i].reason == "", fn.dropped(p, places[i]):
			places[i] = placed{reason: optimisedOut}
		case p.known >= computed && fn.unit != nil && fn.unit.llvm:
			places[i] = described(places[i], p.at)
		}
	}
	return reason
}

// doubtful says whether LLVM may have removed parameters, or the result, without
// a trace: it does so in local functions, and the mark is missing from methods,
// whose concrete entry leaves everything but the code to their declaration.
func (fn *function) doubtful() bool {
	u := fn.unit
	return u != nil && u.llvm && u.optimised && fn.local() && (!u.marks || fn.specified)
}

// local says whether the optimiser knew all of the function's callers.
func (fn *function) local() bool { return fn.Local || !fn.external }

// dropped says whether callers may pass anything at all: LLVM leaves a parameter
// that isn't used without a location, and its callers' registers as they are;
// what it knows to be constant in a local function isn't passed either.
func (fn *function) dropped(p *parameter, at placed) bool {
	if fn.unit == nil || !fn.unit.llvm || at.reason != "" {
		return false
	}
	if p.entry.Val(dwarf.AttrLocation) != nil && (p.known != computed || !fn.local()) {
		return false
	}
	for _, c := range at.pieces {
		if c.reason == "" && !(c.source == trace.SourceCFA && c.size > 8) {
			return true
		}
	}
	return false
}

// described leaves out the registers of which no part is described: LLVM's
// callers need not fill them.
func described(p placed, at []piece) placed {
	if p.reference || p.reason != "" || len(at) == 0 {
		return p
	}
	pieces := slices.Clone(p.pieces)
	for i, c := range pieces {
		if c.reason != "" || c.source != trace.SourceRegister {
			continue
		}
		if !slices.ContainsFunc(at, func(d piece) bool {
			return (d.reason == "" || d.uses&(1<<c.reg) != 0) && c.off < d.off+d.size && d.off < c.off+c.size
		}) {
			pieces[i].reason = optimisedOut
		}
	}
	return placed{pieces: pieces}
}

// isClone tells gcc's copies of functions with other parameters than the source's.
func isClone(symbol string) bool {
	return strings.Contains(symbol, ".constprop.") || strings.Contains(symbol, ".isra.")
}

// agrees says whether a described place is where the convention puts the value.
// Parts that are optimised out agree with anything.
func agrees(p placed, described []piece) bool {
	if p.reason != "" {
		return true
	}
	if p.reference {
		// Either the address's register or the memory that it leads to is described.
		return len(described) != 1 || described[0].reason != "" ||
			described[0].reg == p.pieces[0].reg && described[0].source != trace.SourceCFA ||
			p.pieces[0].source == trace.SourceCFA
	}
	for _, d := range described {
		if d.reason != "" {
			continue
		}
		for _, c := range p.pieces {
			if c.off < d.off+d.size && d.off < c.off+c.size && !same(c, d) {
				return false
			}
		}
	}
	return true
}

func same(c, d piece) bool {
	if c.reason != "" || c.source != d.source {
		return false
	}
	if c.source == trace.SourceCFA {
		return c.at-int32(c.off) == d.at-int32(d.off)
	}
	return c.reg == d.reg && c.at-int32(c.off) == d.at-int32(d.off)
}
