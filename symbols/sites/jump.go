package sites

import (
	"cmp"
	"slices"
)

// jump is an indirect jump, or a direct one that leads out of all pieces.
type jump struct {
	at   place
	kind jumpKind
}

// edge is a direct branch.
type edge struct {
	target uint64
	from   place
}

type jumpKind uint8

const (
	jumpTail      jumpKind = iota // leaves the function
	jumpTable                     // stays in it
	jumpNever                     // isn't executed
	jumpAmbiguous                 // may leave or stay
)

// classifyJumps decides for each of f.jumps whether it leaves the function. A
// direct jump out does, unless it is one that compilers leave behind a call that
// never returns: to the end of the function, with the stack pointer moved.
func (f *function) classifyJumps() {
	for i := range f.jumps {
		j := &f.jumps[i]
		switch {
		case f.at(j.at).flow == flowJumpPtr:
			j.kind = f.indirectJump(j.at)
		case f.toEnd(j.at):
			j.kind = jumpNever
		}
	}
}

// toEnd reports whether a direct jump leads to the end of a piece, and can't be
// a tail call.
func (f *function) toEnd(pl place) bool {
	if f.in.Asm || f.pieces[pl.p].state == nil || !nonZero(f.state(pl).depth) {
		return false
	}
	for p := range f.pieces {
		if f.at(pl).target == f.pieces[p].addr+uint64(len(f.pieces[p].code)) {
			return true
		}
	}
	return false
}

// indirectJump tells a jump table from a tail call. A tail call needs the stack
// as it was at entry, so any other depth means a table; at depth zero the way
// the target is computed decides.
func (f *function) indirectJump(pl place) jumpKind {
	depth := f.state(pl).depth
	if nonZero(depth) && !f.in.Asm {
		return jumpTable
	}
	shape := f.amd64JumpShape
	if f.in.Arch == ARM64 {
		shape = f.arm64JumpShape
	}
	k := shape(pl)
	switch {
	case k == jumpTail && depth != 0:
		return jumpAmbiguous
	case k == jumpAmbiguous && depth == 0 && !f.in.Asm && f.tearsDown(pl):
		return jumpTail
	}
	return k
}

// backSteps is how many instructions before a jump are searched for the one
// that computes its target.
const backSteps = 32

// previous is the one instruction that can be executed before pl, if there is
// just one and it is no call.
func (f *function) previous(pl place) (place, bool) {
	prev := place{pl.p, pl.i - 1}
	falls := pl.i > 0 && f.at(prev).falls() && (f.pieces[prev.p].seen == nil || f.pieces[prev.p].seen[prev.i] || !f.effect(prev).pad)
	if f.at(pl).is(markLabel) {
		from, n := f.branchesTo(pl)
		if falls || n != 1 {
			return place{}, false
		}
		return from, true
	}
	return prev, falls && f.at(prev).flow <= flowCond
}

// branchesTo counts the direct branches that lead to pl, and gives one.
func (f *function) branchesTo(pl place) (from place, n int) {
	if f.branches == nil {
		for p := range f.pieces {
			for i := range f.pieces[p].insts {
				in := &f.pieces[p].insts[i]
				if in.flow == flowJump || in.flow == flowCond {
					f.branches = append(f.branches, edge{in.target, place{int32(p), int32(i)}})
				}
			}
		}
		slices.SortFunc(f.branches, func(a, b edge) int { return cmp.Compare(a.target, b.target) })
	}
	target := f.pieces[pl.p].addr + uint64(f.at(pl).off)
	i, _ := slices.BinarySearchFunc(f.branches, target, func(e edge, t uint64) int { return cmp.Compare(e.target, t) })
	for ; i+n < len(f.branches) && n < 2 && f.branches[i+n].target == target; n++ {
		from = f.branches[i+n].from
	}
	return from, n
}

// definition finds the nearest instruction before pl, on the only path to it,
// for which match is true. Failing that it gives the first of that path.
func (f *function) definition(pl place, match func(code []byte) bool) (place, bool) {
	for n := 0; n < backSteps; n++ {
		prev, ok := f.previous(pl)
		if !ok {
			break
		}
		pl = prev
		if match(f.code(pl)) {
			return pl, true
		}
	}
	return pl, false
}

// tearsDown reports that the only path to pl gives the frame back: what follows
// an epilogue is not a switch.
func (f *function) tearsDown(pl place) bool {
	for n := 0; n < backSteps; n++ {
		prev, ok := f.previous(pl)
		if !ok {
			return false
		}
		pl = prev
		if d := f.state(pl).depth; d != 0 {
			return nonZero(d)
		}
	}
	return false
}

// amd64JumpShape judges a jump by the instructions that lead to it:
//
//	notrack jmp *x                                 table: compilers mark only those
//	jmp *table(,%idx,8)                            either: a switch, or a call through an array of functions
//	jmp *(%base,%idx,8)                            Go: table, which has no such tail calls; else either
//	movslq (%base,%idx,4),%r; add …,%r; jmp *%r    table
//	jmp *x(%rip), jmp *x(%reg)                     tail call, through the GOT or a virtual table
//	mov x(%reg),%r; jmp *%r                        tail call
func (f *function) amd64JumpShape(pl place) jumpKind {
	var x x86
	if !x.decode(f.code(pl)) {
		return jumpAmbiguous
	}
	switch {
	case x.prefix&prefixSeg != 0:
		return jumpTable
	case x.mod == 3:
		return f.amd64JumpRegister(pl, x.rm)
	case x.index == regNone:
		return jumpTail
	case f.in.Go && !f.in.Asm:
		return jumpTable
	}
	return jumpAmbiguous
}

func (f *function) code(pl place) []byte {
	in := f.at(pl)
	return f.pieces[pl.p].code[in.off:in.end()]
}

// amd64JumpRegister judges a jump to the address in register r.
func (f *function) amd64JumpRegister(pl place, r uint8) jumpKind {
	var x x86
	writes := func(code []byte) bool {
		if !x.decode(code) {
			return true
		}
		w, known := x.written()
		return w&(1<<r) != 0 || !known && x.enc == encLegacy && x.opmap == 0
	}
	for n := 0; n < 4; n++ {
		def, ok := f.definition(pl, writes)
		if !ok {
			// Untouched since the entry: an argument.
			if def == (place{}) && amd64SysVArgs&(1<<r) != 0 {
				return jumpTail
			}
			return jumpAmbiguous
		}
		pl = def
		switch {
		case x.opmap != 0:
			return jumpAmbiguous
		case x.op == 0x8b && x.mod != 3 && x.index == regNone: // a pointer is loaded
			return jumpTail
		case x.op == 0x8b && x.mod == 3:
			r = x.rm
		case x.op == 0x89 && x.mod == 3:
			r = x.reg
		case x.op == 0x01 || x.op == 0x03: // table + offset
			if f.amd64RelativeTable(pl) {
				return jumpTable
			}
			return jumpAmbiguous
		default:
			return jumpAmbiguous
		}
	}
	return jumpAmbiguous
}

// amd64RelativeTable reports whether a 32-bit offset is loaded from an array
// shortly before pl, which adds it to the table's address.
func (f *function) amd64RelativeTable(pl place) bool {
	var x x86
	_, ok := f.definition(pl, func(code []byte) bool {
		return x.decode(code) && x.opmap == 0 && x.enc == encLegacy && x.op == 0x63 &&
			x.mod != 3 && x.index != regNone && x.scale == 4
	})
	return ok
}

// arm64JumpShape judges a jump by the instructions that lead to it:
//
//	add x, base, w, sxtw #2; br x    table (also after ldrsw, ldrb, ldrh)
//	ldr x, [base, idx, lsl #3]; br x Go: table; else either
//	ldr x, [reg, #n]; br x           tail call
//	br x16, br x17                   tail call: compilers use them for nothing else
func (f *function) arm64JumpShape(pl place) jumpKind {
	r := leWord(f.code(pl)) >> 5 & 31
	var w uint32
	_, ok := f.definition(pl, func(code []byte) bool {
		w = leWord(code)
		return w&31 == r && (w>>25&7 == 5 || w>>26&7 == 4 || w&0x0a000000 == 0x08000000)
	})
	switch {
	case ok && w>>24&0x1f == 0x0b: // add, shifted or extended register
		return jumpTable
	case ok && w&0x3b200c00 == 0x38200800: // load, register offset
		if f.in.Go && !f.in.Asm {
			return jumpTable
		}
		return jumpAmbiguous
	case ok && w&0x3b000000 == 0x39000000, r == 16, r == 17: // load, unsigned offset
		return jumpTail
	}
	return jumpAmbiguous
}
