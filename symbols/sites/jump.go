package sites

// jump is an indirect jump, or a direct one that leads out of all pieces.
type jump struct {
	at     place
	kind   jumpKind
	reason string // of an ambiguous jump
}

type jumpKind uint8

const (
	jumpTail      jumpKind = iota // leaves the function
	jumpTable                     // stays in it
	jumpAmbiguous                 // may do either
)

// findJumps lists the jumps that may leave the function.
func (f *function) findJumps() {
	for p := range f.pieces {
		insts := f.pieces[p].insts
		for i := range insts {
			in := &insts[i]
			switch in.flow {
			case flowJump, flowCond:
				if _, inside, _ := f.find(in.target); inside {
					continue
				}
			case flowJumpPtr:
			default:
				continue
			}
			f.jumps = append(f.jumps, jump{at: place{int32(p), int32(i)}})
		}
	}
}

// classifyJumps decides for each of f.jumps whether it leaves the function. A
// direct jump out always does.
func (f *function) classifyJumps() {
	for i := range f.jumps {
		j := &f.jumps[i]
		if f.at(j.at).flow == flowJumpPtr {
			j.kind = f.indirectJump(j.at)
			j.reason = "may go to another function or to a part of this one"
		}
	}
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
	if k == jumpTail && depth != 0 {
		return jumpAmbiguous
	}
	return k
}

// backSteps is how many instructions before a jump are searched for the one
// that computes its target.
const backSteps = 24

// definition finds the nearest instruction before pl, in straight line, for
// which match is true.
func (f *function) definition(pl place, match func(code []byte) bool) (place, bool) {
	for n := 0; n < backSteps && pl.i > 0; n++ {
		pl.i--
		in := f.at(pl)
		if in.flow != flowNext && in.flow != flowCond {
			break
		}
		if match(f.pieces[pl.p].code[in.off:in.end()]) {
			return pl, true
		}
	}
	return pl, false
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
			if def == (place{}) && amd64SysVArgs&(1<<r) != 0 && f.lowest > f.at(pl).off {
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
