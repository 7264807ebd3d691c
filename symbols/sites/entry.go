package sites

// walkLimit is how many instructions from the entry are searched for a site.
const walkLimit = 64

// chooseEntry picks the instruction at which the function's calls are seen to
// begin: executed exactly once a call, with the arguments still where they were
// passed and the stack pointer where it was.
func (f *function) chooseEntry(r *Result) error {
	start, err := f.stackCheck()
	if err != nil {
		return err
	}
	if err := f.checkLoops(); err != nil {
		return err
	}
	emulated, step, end := f.walk(start)
	switch {
	case emulated >= 0:
		f.setEntry(r, emulated, start)
	case step >= 0:
		f.setEntry(r, step, start)
		r.EntryReason += ": " + end
	default:
		return refuse("%s", end)
	}
	return nil
}

// walk goes on from instruction start for as long as every instruction leaves
// arguments and stack alone. It returns the first that the kernel emulates, and
// the first that can be single-stepped, or -1; and what ended the walk.
func (f *function) walk(start int32) (emulated, step int32, end string) {
	insts := f.pieces[0].insts
	args := f.argumentRegisters()
	safe := f.tableSafe()
	step = -1
	for i := start; i < int32(len(insts)) && i < start+walkLimit; i++ {
		in, e := &insts[i], f.effect(place{0, i})
		if in.off > 0 && in.off >= f.lowest {
			return -1, step, "a loop leads back before any emulated instruction"
		}
		if in.off > 0 && !safe && step >= 0 {
			return -1, step, "a computed jump might lead behind it"
		}
		switch {
		case e.site == siteEmulated, e.site == siteNop5 && in.off == 0:
			return i, step, ""
		case step < 0 && e.site == siteStep:
			step = i
		case step < 0 && e.sp == spKeep && f.lockedUpdate(place{0, i}, args):
			continue
		}
		if end = f.walkEnd(in, e, args); end != "" {
			break
		}
	}
	switch {
	case step < 0:
		end = "the kernel can't probe its first instruction"
	case end == "":
		end = "no emulated instruction nearby"
	}
	return -1, step, end
}

// walkEnd is why a walk can't go on behind an instruction, or empty.
func (f *function) walkEnd(in *inst, e effect, args uint32) string {
	switch {
	case in.flow != flowNext:
		return "the function leaves its straight line first"
	case e.sp != spKeep:
		return "the stack pointer moves first"
	case !e.known:
		return "no emulated instruction before one with effects"
	case e.writes&args != 0:
		return "no emulated instruction before the arguments are overwritten"
	}
	return ""
}

// lockedUpdate reports whether an instruction is a locked update of memory that
// changes no argument. The kernel refuses to probe those; where a function
// begins with one, the site is behind it. It sees every call but one that the
// update itself faults in.
func (f *function) lockedUpdate(pl place, args uint32) bool {
	var x x86
	if f.in.Arch != AMD64 || !x.decode(f.code(pl)) || x.prefix&prefixLock == 0 {
		return false
	}
	written, known := x.written()
	return known && written&args == 0
}

// argumentRegisters are those that a site's predecessors must not write.
func (f *function) argumentRegisters() uint32 {
	in := f.in
	switch {
	case in.Arch == ARM64 && in.Go:
		return arm64GoArgs
	case in.Arch == ARM64 && in.ArgsKnown:
		return in.Args&(1<<31-1) | 1<<armLR | 1<<18
	case in.Arch == ARM64:
		return arm64CArgs
	case in.Go:
		return amd64GoArgs
	case !in.ArgsKnown:
		return amd64SysVArgs
	}
	var regs uint32
	for dwarf, r := range amd64FromDWARF {
		regs |= in.Args >> dwarf & 1 << r
	}
	return regs
}

// tableSafe reports that no computed jump can lead near the entry: each has the
// stack at a depth that it doesn't have there, or leaves the function.
func (f *function) tableSafe() bool {
	if f.in.Unwinder {
		return true
	}
	for _, j := range f.jumps {
		if j.kind > jumpTail && !nonZero(f.state(j.at).depth) {
			return false
		}
	}
	return true
}

func (f *function) setEntry(r *Result, i, start int32) {
	e := f.effect(place{0, i})
	r.Entry = Site{Offset: int64(f.pieces[0].insts[i].off), Kind: e.site.kind()}
	switch {
	case i == 0:
		r.EntryReason = "first instruction"
	case start > 0 && i == start:
		r.EntryReason = "right behind the stack check"
	case start > 0:
		r.EntryReason = "behind the stack check"
	case e.site == siteStep:
		r.EntryReason = "first instruction that the kernel can probe"
	default:
		r.EntryReason = "first emulated instruction"
	}
	if e.site != siteStep {
		r.EntryReason += ", " + f.mnemonic(place{0, i})
		if e.sp != spKeep {
			r.EntryReason += ", before the stack pointer moves"
		}
	}
}

var amd64Names = [16]string{
	"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
}

// mnemonic names an emulated instruction.
func (f *function) mnemonic(pl place) string {
	in := f.at(pl)
	switch in.flow {
	case flowJump:
		return "jump"
	case flowCond:
		return "conditional jump"
	case flowCall:
		return "call"
	case flowRet:
		return "return"
	case flowJumpPtr:
		return "indirect jump"
	case flowCallPtr:
		return "indirect call"
	}
	if f.effect(pl).pad {
		return "nop"
	}
	if f.in.Arch == ARM64 {
		return "adr"
	}
	var x x86
	if x.decode(f.code(pl)) {
		return "push %" + amd64Names[x.op&7|x.rex<<3&8]
	}
	return ""
}

// stackCheck returns the index of the first instruction behind Go's stack check,
// or 0 when there is none. On its way there the function may go through
// runtime.morestack and start over: only behind it a call passes exactly once.
//
// The check (cmd/internal/obj/x86 and arm64, stacksplit, Go 1.22 to 1.26) is
// recognised by what it does: conditional jumps, before any argument register
// or memory is written, to a block that calls morestack and jumps back to the
// first byte. That covers small, big and huge frames, and g in a register or in
// thread-local storage.
func (f *function) stackCheck() (int32, error) {
	if !f.in.Go || len(f.toEntry) == 0 {
		return 0, nil
	}
	f.morestack = map[place]bool{}
	insts := f.pieces[0].insts
	args := f.argumentRegisters()
	if f.in.Arch == AMD64 {
		args &^= 1 << r14 // g itself, when it is loaded from thread-local storage
	} else {
		args &^= 1 << 28
	}
	start := int32(0)
	for i := range insts {
		in, e := &insts[i], f.effect(place{0, int32(i)})
		switch {
		case in.flow == flowNext && e.known && e.writes&args == 0 && e.sp == spKeep && i < walkLimit:
			continue
		case in.flow == flowCond && f.morestackBlock(in.target):
			start = int32(i + 1)
			continue
		}
		break
	}
	if start == int32(len(insts)) {
		return 0, refuse("ends in its stack check")
	}
	return start, nil
}

// morestackBlock reports whether the code at addr spills registers, calls
// morestack, reloads them and starts the function over.
func (f *function) morestackBlock(addr uint64) bool {
	pl, _, ok := f.find(addr)
	if !ok || pl.p != 0 {
		return false
	}
	called := false
	insts := f.pieces[0].insts
	for n := 0; n < 2*walkLimit && int(pl.i) < len(insts); n++ {
		in := &insts[pl.i]
		switch {
		case in.flow == flowNext && f.effect(pl).sp == spKeep:
		case in.flow == flowCall && !called && (f.in.Morestack == nil || f.in.Morestack(in.target)):
			called = true
		case in.flow == flowJump && called && in.target == f.in.Body.Addr:
			f.morestack[pl] = true
			return true
		default:
			return false
		}
		pl.i++
	}
	return false
}

// checkLoops refuses branches back to the first byte, other than those behind
// morestack. They close a loop (or are a tail call of the function by itself,
// which looks the same), and its turns can't be told from calls.
func (f *function) checkLoops() error {
	for _, pl := range f.toEntry {
		if !f.morestack[pl] {
			return refuse("a loop leads back to its first byte: its turns can't be told from calls")
		}
	}
	return nil
}
