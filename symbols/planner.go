package symbols

import (
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/observatory-trace/observatory-trace/symbols/sites"
	"github.com/observatory-trace/observatory-trace/symbols/types"
	"github.com/observatory-trace/observatory-trace/symbols/units"
	"github.com/observatory-trace/observatory-trace/trace"
)

// planner fills in what is known of chosen functions: language, source,
// signature, capture plans and probe sites.
type planner struct {
	f         *File
	t         *table
	locations bool // some function's parameters need location lists
	golang    *goABI
	morestack []uint64
	graph     *callGraph
	waiting   []unfinished
	budget    int64 // bytes of code that may still be looked at
}

func newPlanner(f *File, t *table, chosen []int) *planner {
	p := &planner{f: f, t: t, budget: 16 << 20}
	for _, s := range f.Segments() {
		if s.Exec {
			p.budget += 4 * int64(min(s.Filesz, f.img.size))
		}
	}
	for _, i := range chosen {
		if !t.isGo(t.entries[i]) {
			p.locations = true
			break
		}
	}
	if t.pcln != nil {
		p.golang = f.goABI()
		p.morestack = t.morestack()
	}
	p.graph = newCallGraph(p)
	return p
}

// body is one function's code and what is known of it beforehand.
type body struct {
	addr, size uint64
	lang       trace.Language
	asm        bool // not made by a compiler, or that isn't known
	unwinder   bool // see sites.Input
	abi0       bool // Go's assembly
	dwarf      units.Function
	described  bool // dwarf is set
	parts      []units.Range
	stray      bool // Go by its debug information, but not in the program's Go function table
}

// body finds out what an entry's code consists of.
func (p *planner) body(e entry) body {
	b := body{addr: p.t.addr(e), size: p.t.size(e)}
	b.dwarf, b.described = p.f.described(b.addr)
	if fn, ok := p.t.goFunc(e); ok {
		b.lang, b.asm, b.abi0 = trace.LangGo, fn.Asm, fn.Asm
		return b
	}
	raw := p.t.name(e)
	if b.described {
		b.lang = language(b.dwarf.Language)
	}
	if b.lang == trace.LangGo {
		b.lang = trace.LangUnknown // another compiler than Go's own, with other conventions
		b.stray = p.t.pcln != nil
	}
	if b.lang == trace.LangUnknown || b.lang == trace.LangCPP {
		// Rust's own name counts more than the unit of a mixed program.
		if l := languageOfName(raw); l != trace.LangUnknown {
			b.lang = l
		}
	}
	b.parts = p.parts(e, &b)
	b.asm = b.lang == trace.LangAsm || b.lang == trace.LangUnknown && !p.compiled(b)
	return b
}

// compiled reports whether code of an unknown language was made by a compiler:
// it has unwind information and one of the jump tables that compilers make for
// switch statements, whose targets nothing else leads to. Such tables lie elsewhere; in
// hand-written code, what nothing leads to may be data.
func (p *planner) compiled(b body) bool {
	piece, ok := p.f.frames().Find(b.addr)
	if !ok || !piece.Called || piece.Low != b.addr {
		return false
	}
	code, err := p.code(units.Range{Low: b.addr, High: b.addr + b.size})
	return err == nil && p.f.img.elf.Machine == elf.EM_X86_64 && jumpTable(code.Code)
}

// jumpTable finds gcc's and LLVM's jumps through a table: movslq
// (%base,%index,4),%to; add %base,%to; jmp *%to; or jmp *table(,%index,8).
func jumpTable(code []byte) bool {
	for i := 12; i+1 < len(code); i++ {
		if code[i] != 0xff {
			continue
		}
		if code[i+1] == 0x24 && i+2 < len(code) && code[i+2]&0xc7 == 0xc5 {
			return true
		}
		if code[i+1]&0xf8 != 0xe0 {
			continue
		}
		before := code[:i]
		for len(before) > 0 && (before[len(before)-1] == 0x41 || before[len(before)-1] == 0x3e) { // REX.B, notrack
			before = before[:len(before)-1]
		}
		n := len(before)
		if n < 8 || before[n-3]&0xf0 != 0x40 || before[n-2] != 0x01 {
			continue
		}
		for at := n - 7; at >= max(n-12, 0); at-- {
			if before[at]&0xf8 == 0x48 && before[at+1] == 0x63 && before[at+2]&0xc7 == 0x04 && before[at+3]&0xc0 == 0x80 {
				return true
			}
		}
	}
	return false
}

// parts lists the pieces of an entry that lie elsewhere: by its debug
// information, else by its symbols.
func (p *planner) parts(e entry, b *body) (parts []units.Range) {
	if b.described && len(b.dwarf.Ranges) > 1 {
		for _, r := range b.dwarf.Ranges {
			if b.addr < r.Low || b.addr >= r.High {
				parts = append(parts, r)
			}
		}
	}
	for _, i := range p.t.pieces[p.t.addr(e)] {
		piece := p.t.entries[i]
		r := units.Range{Low: p.t.addr(piece), High: p.t.addr(piece) + p.t.size(piece)}
		if r.High > r.Low && !slices.ContainsFunc(parts, func(q units.Range) bool { return q.Low < r.High && r.Low < q.High }) {
			parts = append(parts, r)
		}
	}
	if b.size == 0 && b.described && len(b.dwarf.Ranges) > 0 {
		b.size = b.dwarf.Ranges[0].High - b.addr
	}
	return parts
}

// function describes one entry in full.
func (p *planner) function(index int) *trace.Function {
	e := p.t.entries[index]
	b := p.body(e)
	raw := p.rawName(e, b)
	fn := &trace.Function{
		RawName: strings.Clone(raw), Module: p.f.module, Language: b.lang, Address: b.addr, Size: b.size,
	}
	p.name(fn, e, b)
	if err := p.plan(fn, e, b); err != nil {
		fn.Reason = reasonOf(err)
		return fn
	}
	fn.Traceable = true
	return fn
}

// rawName picks the symbol that a function is shown by: the one that its debug
// information knows, else the best.
func (p *planner) rawName(e entry, b body) string {
	if b.described {
		for _, s := range p.t.symbols(e) {
			if name := p.t.symName(s); name == b.dwarf.LinkageName || b.dwarf.LinkageName == "" && name == b.dwarf.Name {
				return name
			}
		}
	}
	return p.t.name(e)
}

// name fills in the names and the source position.
func (p *planner) name(fn *trace.Function, e entry, b body) {
	if gofn, ok := p.t.goFunc(e); ok {
		fn.Name = strings.Clone(goName(fn.RawName))
		fn.File, fn.Line = strings.Clone(p.t.pcln.File(gofn)), gofn.Line
		return
	}
	fn.Name = strings.Clone(demangled(fn.RawName))
	if b.described {
		fn.File, fn.Line = strings.Clone(p.f.dwarf().index.File(b.dwarf)), b.dwarf.Line
	}
}

// plan fills in signature, plans and sites, or says why the function can't be traced.
func (p *planner) plan(fn *trace.Function, e entry, b body) error {
	p.signature(fn, e, b)
	if err := p.t.precheck(e, b.size); err != nil {
		return err
	}
	if b.stray {
		return errStray
	}
	if b.lang == trace.LangGo {
		if err := p.golang.apply(fn, b); err != nil {
			return err
		}
	}
	result, err := p.analyze(b, argumentRegisters(fn.EntryPlan)|savedRegisters(fn.ExitPlan))
	if err != nil {
		return err
	}
	fn.Entry = trace.Entry{Offset: uint64(result.Entry.Offset), Site: siteKind(result.Entry.Kind), Reason: result.EntryReason}
	return p.exit(fn, result)
}

// signature fills in parameters, results and capture plans.
func (p *planner) signature(fn *trace.Function, e entry, b body) {
	if b.described && b.lang != trace.LangAsm && b.lang != trace.LangUnknown && !b.abi0 {
		if r := p.f.signatures(p.locations); r != nil {
			// Without its code, less is known of its results.
			code, _ := p.code(units.Range{Low: b.addr, High: b.addr + b.size})
			sig, err := r.Signature(types.Subprogram{
				Offset: dwarf.Offset(b.dwarf.Offset), Language: b.lang, LowPC: b.addr, Symbol: fn.RawName,
				Local: p.t.syms[e.first].bind == uint8(elf.STB_LOCAL), Code: code.Code,
			})
			if err == nil {
				p.sign(fn, sig)
				return
			}
			p.f.warn(fmt.Errorf("%s is traced without its parameters: %w", fn.Name, err))
		}
	}
	if b.abi0 {
		return // assembly's arguments are in memory, and described nowhere
	}
	fn.Undescribed = true
	p.sign(fn, types.Raw(b.lang, p.f.typesArch()))
}

func (p *planner) sign(fn *trace.Function, sig types.Signature) {
	fn.Params, fn.Results = sig.Params, sig.Results
	fn.EntryPlan, fn.ExitPlan = sig.Entry, sig.Exit
}

// argumentRegisters is the set of DWARF registers that a plan reads.
func argumentRegisters(plan *trace.Plan) uint32 {
	var set uint32
	if plan == nil {
		return 0
	}
	for _, m := range plan.Moves {
		if (m.Source == trace.SourceRegister || m.Source == trace.SourceMemory) && m.Register < 32 {
			set |= 1 << m.Register
		}
	}
	return set
}

// savedRegisters is the set of DWARF registers whose values at entry a plan of exits needs.
func savedRegisters(plan *trace.Plan) uint32 {
	var set uint32
	if plan == nil {
		return 0
	}
	for _, m := range plan.Moves {
		if m.Source == trace.SourceSaved && m.Register < 32 {
			set |= 1 << m.Register
		}
	}
	return set
}

func (p *planner) sitesArch() sites.Arch {
	if p.f.img.elf.Machine == elf.EM_AARCH64 {
		return sites.ARM64
	}
	return sites.AMD64
}

// spend keeps account of the code that is looked at. Forged symbols can
// overlap, and be as long as the file each.
func (p *planner) spend(b body) {
	p.budget -= int64(min(b.size, 1<<40))
	for _, r := range b.parts {
		p.budget -= int64(min(r.High-r.Low, 1<<40))
	}
}

// analyze chooses the probe sites of a function whose plan reads these registers.
func (p *planner) analyze(b body, args uint32) (sites.Result, error) {
	if p.spend(b); p.budget < 0 {
		return sites.Result{}, errOverlap
	}
	in := sites.Input{
		Arch: p.sitesArch(), Go: b.lang == trace.LangGo, Asm: b.asm, Unwinder: b.unwinder, Args: args, ArgsKnown: true,
	}
	var err error
	if in.Body, err = p.code(units.Range{Low: b.addr, High: b.addr + b.size}); err != nil {
		return sites.Result{}, err
	}
	for _, r := range b.parts {
		part, err := p.code(r)
		if err != nil {
			return sites.Result{}, err
		}
		in.Parts = append(in.Parts, part)
	}
	if !in.Go {
		in.Part = p.part
	} else {
		in.Morestack = func(addr uint64) bool { return slices.Contains(p.morestack, addr) }
	}
	result, err := sites.Analyze(in)
	if err != nil {
		return result, err
	}
	return result, p.checkTails(b, result)
}

// part says which piece of a function a jump out of it leads to; false when it
// leads to another function. moved: the stack pointer is not as at entry.
func (p *planner) part(target uint64, moved bool) (sites.Range, bool) {
	if i := p.t.containing(target); i >= 0 {
		e := p.t.entries[i]
		if p.t.syms[e.first].flags&symPart == 0 {
			return sites.Range{}, false
		}
		r, err := p.code(units.Range{Low: p.t.addr(e), High: p.t.addr(e) + p.t.size(e)})
		return r, err == nil
	}
	// The stubs of the linkage table have one record together, and are no function's part.
	piece, ok := p.f.frames().Find(target)
	if !ok || p.f.img.inStubs(target) || !moved && piece.Called && piece.Low == target {
		return sites.Range{}, false
	}
	r, err := p.code(units.Range{Low: piece.Low, High: piece.High})
	return r, err == nil
}

// code returns the bytes of a range.
func (p *planner) code(r units.Range) (sites.Range, error) {
	if _, ok := p.f.FileOffset(r.Low); !ok || r.High < r.Low {
		return sites.Range{}, errOutside
	}
	bytes := p.f.img.bytesAt(r.Low)
	if uint64(len(bytes)) < r.High-r.Low {
		return sites.Range{}, errOutside
	}
	return sites.Range{Addr: r.Low, Code: bytes[:r.High-r.Low]}, nil
}

// checkTails refuses functions whose jumps out of themselves lead into the
// middle of something: they are no tail calls, and no ways out.
func (p *planner) checkTails(b body, result sites.Result) error {
	for _, x := range result.Exits {
		if !x.Tail || x.Target == 0 || x.Target == b.addr {
			continue
		}
		i := p.t.containing(x.Target)
		if i < 0 {
			continue
		}
		into := p.t.entries[i]
		if p.t.syms[into.first].flags&symPart != 0 || p.t.addr(into) != x.Target {
			return fmt.Errorf("it jumps into %s at +%#x, which is no call", strings.Clone(p.t.display(into)), x.Target-p.t.addr(into))
		}
	}
	return nil
}

func siteKind(k sites.Kind) trace.SiteKind {
	switch k {
	case sites.Nop5:
		return trace.SiteNop5
	case sites.Emulated:
		return trace.SiteEmulated
	default:
		return trace.SiteSingleStep
	}
}

// unfinished is a function whose exits wait for the whole call graph.
type unfinished struct {
	fn     *trace.Function
	result sites.Result
}

// exit decides how the function's returns are seen. RET instructions are
// single-stepped: a uretprobe is cheaper where nothing can unwind through it.
func (p *planner) exit(fn *trace.Function, result sites.Result) error {
	if fn.Language != trace.LangGo && !result.NoReturn && (result.ExitReason != "" || singleStepped(result)) {
		p.graph.add(fn.Address, result)
		p.waiting = append(p.waiting, unfinished{fn, result})
		return nil
	}
	return exitSites(fn, result)
}

func singleStepped(result sites.Result) bool {
	return slices.ContainsFunc(result.Exits, func(x sites.ExitSite) bool { return x.Kind == sites.SingleStep })
}

// finish decides about the exits that waited.
func (p *planner) finish() {
	for _, w := range p.waiting {
		p.graph.obstacle(w.fn.Address)
	}
	p.graph.settle()
	for _, w := range p.waiting {
		why := p.graph.unwound(w.fn.Address)
		if why == "" {
			w.fn.Exit = trace.Exit{Kind: trace.ExitReturn, Reason: "nothing can unwind through it"}
			continue
		}
		if err := exitSites(w.fn, w.result); err != nil {
			w.fn.Traceable, w.fn.Reason = false, reasonOf(err)+"; "+why
			continue
		}
		w.fn.Exit.Reason = why
	}
}

// exitSites places probes on the function's RET and tail-jump instructions.
func exitSites(fn *trace.Function, result sites.Result) error {
	switch {
	case len(result.Exits) > 0:
		fn.Exit.Kind = trace.ExitSites
		for _, x := range result.Exits {
			fn.Exit.Sites = append(fn.Exit.Sites, trace.ExitSite{Offset: uint64(x.Offset), Site: siteKind(x.Kind), Tail: x.Tail, Cond: x.Cond})
		}
	case result.NoReturn:
		fn.Exit.Reason = "it never returns"
	default:
		return errors.New(result.ExitReason)
	}
	return nil
}

// reasonOf is an error in list's words.
func reasonOf(err error) string {
	var refusal *sites.Refusal
	if errors.As(err, &refusal) {
		return refusal.Reason
	}
	return err.Error()
}
