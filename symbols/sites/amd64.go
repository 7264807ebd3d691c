package sites

// The general registers of amd64, in its own numbering.
const (
	rax = iota
	rcx
	rdx
	rbx
	rsp
	rbp
	rsi
	rdi
	r8
	r9
	r10
	r11
	r12
	r13
	r14
	r15
)

// Registers that may carry an argument: System V's six. rax (how many vector
// registers a variadic call uses) and r10 (static chain) hold none that a caller wrote.
const amd64SysVArgs = 1<<rdi | 1<<rsi | 1<<rdx | 1<<rcx | 1<<r8 | 1<<r9

// Go's ABIInternal: nine integer registers, rdx (closure context), r14 (g), r15 (GOT).
const amd64GoArgs = 1<<rax | 1<<rbx | 1<<rcx | 1<<rdi | 1<<rsi | 1<<r8 | 1<<r9 | 1<<r10 | 1<<r11 |
	1<<rdx | 1<<r14 | 1<<r15

// amd64FromDWARF maps DWARF register numbers (System V ABI, figure 3.36) to the
// instruction set's.
var amd64FromDWARF = [16]uint8{rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, 8, 9, 10, 11, 12, 13, 14, 15}

// amd64Inst decodes the instruction at the start of code, which lies at addr.
func amd64Inst(code []byte, addr uint64) (inst, bool) {
	if n := plainSize(code); n != 0 {
		return inst{size: uint8(n), cond: Always}, true
	}
	var x x86
	if !x.decode(code) {
		return inst{}, false
	}
	in := inst{size: x.size, cond: Always}
	if x.odd {
		in.marks = markOdd
	}
	x.setFlow(&in, addr)
	return in, true
}

// amd64Effect decodes the rest of what amd64Inst accepted as in. With isGo,
// reads that Go's conventions make safe count as such.
func amd64Effect(code []byte, in inst, isGo bool) effect {
	var x x86
	x.decode(code)
	e := effect{site: x.siteClass(), pad: x.padding()}
	e.syscall = x.enc == encLegacy && x.opmap == 1 && x.op == 0x05
	x.setStack(&e)
	x.setEffects(&e, in.flow, isGo)
	return e
}

// siteClass says what the kernel does with a probe on the instruction.
//
// Beyond what it refuses, these are accepted and executed wrongly (tried on 6.18):
//   - VEX and EVEX: branch_setup_xol_ops looks at the opcode byte without regard
//     to the prefix, so that a vpor is taken for a jump and skipped;
//   - nop with REX.B, which is xchg, and is skipped as well;
//   - repeated string instructions: single-stepping stops after each repetition,
//     and the probe is hit again;
//   - pushf, which pushes the trap flag;
//   - syscall, and transactions.
//
// Longer nops are emulated only since 6.18 and count as single-stepped.
func (x *x86) siteClass() siteClass {
	if x.enc != encLegacy || x.odd || x.prefix&(prefixSeg|prefixLock|prefix67) != 0 {
		return siteRefused
	}
	switch x.opmap {
	case 0:
		return x.siteOneByte()
	case 1:
		return x.siteTwoByte()
	case 2:
		if x.op > 0xf6 || x.op == 0xf5 || x.op == 0xd8 { // unknown to the kernel's decoder before 6.x
			return siteRefused
		}
	}
	return siteStep
}

func (x *x86) siteOneByte() siteClass {
	const rep = prefixF2 | prefixF3
	switch op := x.op; {
	case op >= 0x50 && op <= 0x57: // push
		if x.prefix == 0 && (x.rex == 0 || x.rex == 0x41) {
			return siteEmulated
		}
	case op >= 0x70 && op <= 0x7f, op == 0xe8, op == 0xe9, op == 0xeb:
		if x.prefix&prefix66 != 0 {
			return siteRefused
		}
		return siteEmulated
	case op == 0x90:
		switch {
		case x.rex&1 != 0:
			return siteRefused
		case x.prefix == 0 && x.rex == 0:
			return siteEmulated
		}
	case op == 0x8e, op == 0x9c, op == 0x9d, op == 0xcc, op == 0xf4:
		return siteRefused // segment loads, pushf, popf, int3, hlt
	case op >= 0xa4 && op <= 0xa7, op >= 0xaa && op <= 0xaf:
		if x.prefix&rep != 0 {
			return siteRefused
		}
	case op == 0xc6 || op == 0xc7:
		if x.mod == 3 && x.reg&7 == 7 { // xabort, xbegin
			return siteRefused
		}
	}
	return siteStep
}

func (x *x86) siteTwoByte() siteClass {
	switch op := x.op; {
	case op >= 0x80 && op <= 0x8f:
		return siteEmulated
	case op == 0x1f && x.size == 5 && x.prefix == 0 && x.mod == 1 && x.reg == 0 && x.rm == 4 &&
		x.base == rax && x.index == rax && x.scale == 1 && x.disp == 0 && x.rex == 0:
		return siteNop5
	case op <= 0x01, op >= 0x05 && op <= 0x09, op == 0x0b, op == 0x0c, op == 0x30, op == 0x34,
		op == 0x35, op == 0x37, op == 0xae, op == 0xb9, op == 0xa0, op == 0xa1, op == 0xa8, op == 0xa9,
		op == 0xa6, op == 0xa7, op == 0xb2, op == 0xb4, op == 0xb5:
		return siteRefused
	}
	return siteStep
}

// padding reports whether the instruction only fills a gap.
func (x *x86) padding() bool {
	if x.enc != encLegacy {
		return false
	}
	switch {
	case x.opmap == 0 && x.op == 0x90:
		return x.rex&1 == 0 && x.prefix&prefixF3 == 0
	case x.opmap == 0 && x.op == 0xcc:
		return true
	case x.opmap == 1 && x.op == 0x1f:
		return x.reg&7 == 0
	case x.opmap == 0 && x.op == 0x8d: // lea 0(%rsi),%rsi
		return x.disp == 0 && x.index == regNone && x.base == int8(x.reg) && x.rex&8 != 0
	case x.opmap == 0 && x.op == 0x89: // xchg %ax,%ax of old assemblers: mov %rsi,%rsi
		return x.mod == 3 && x.rm == x.reg && x.rex&8 != 0
	}
	return false
}

// endbr reports endbr64.
func (x *x86) endbr() bool {
	return x.enc == encLegacy && x.opmap == 1 && x.op == 0x1e && x.prefix == prefixF3 &&
		x.mod == 3 && x.reg == 7 && x.rm == 2
}

func (x *x86) setFlow(in *inst, addr uint64) {
	if x.enc != encLegacy {
		return
	}
	to := addr + uint64(x.size) + uint64(x.imm)
	branch := func(f flow, cond int8) { in.flow, in.cond, in.target = f, cond, to }
	switch x.opmap {
	case 0:
		switch op := x.op; {
		case op >= 0x70 && op <= 0x7f:
			branch(flowCond, int8(op&15))
		case op >= 0xe0 && op <= 0xe3: // loop, jrcxz
			branch(flowCond, condRegister)
		case op == 0xe8:
			branch(flowCall, Always)
		case op == 0xe9, op == 0xeb:
			branch(flowJump, Always)
		case op == 0xc2, op == 0xc3:
			in.flow = flowRet
		case op == 0xcc, op == 0xf4:
			in.flow = flowStop
		case op == 0xff && x.reg&7 == 2:
			in.flow = flowCallPtr
		case op == 0xff && x.reg&7 == 4:
			in.flow = flowJumpPtr
		case op == 0xc7 && x.mod == 3 && x.reg&7 == 7: // xbegin
			branch(flowCond, condRegister)
		}
	case 1:
		switch op := x.op; {
		case op >= 0x80 && op <= 0x8f:
			branch(flowCond, int8(op&15))
		case op == 0x0b, op == 0xb9: // ud2, ud1
			in.flow = flowStop
		}
	}
}

// setStack finds what the instruction does to rsp and rbp.
func (x *x86) setStack(e *effect) {
	if x.modrm && x.mod != 3 && x.index == regNone {
		switch x.base {
		case rsp:
			e.base, e.slot = slotSP, x.disp
		case rbp:
			e.base, e.slot = slotFP, x.disp
		}
	}
	if x.enc != encLegacy {
		return
	}
	if n := x.pushed(); n != 0 {
		e.sp, e.delta = spPush, n
		if x.prefix&prefix66 != 0 {
			e.sp = spLost
		}
	}
	w, _ := x.written()
	if w&(1<<rsp) != 0 {
		x.setSP(e)
	}
	if w&(1<<rbp) != 0 {
		x.setFP(e)
	}
	if x.opmap == 0 && x.op == 0xc9 { // leave
		e.sp, e.delta, e.fp = spFrame, 8, fpLost
	}
}

// pushed is how many bytes are pushed; negative: popped.
func (x *x86) pushed() int32 {
	switch x.opmap {
	case 0:
		switch op := x.op; {
		case op >= 0x50 && op <= 0x57, op == 0x68, op == 0x6a, op == 0x9c, op == 0xff && x.reg&7 == 6:
			return 8
		case op >= 0x58 && op <= 0x5f, op == 0x8f, op == 0x9d:
			return -8
		case op == 0xe8 && x.imm == 0: // call to the next instruction, to learn its address
			return 8
		}
	case 1:
		switch x.op {
		case 0xa0, 0xa8:
			return 8
		case 0xa1, 0xa9:
			return -8
		}
	}
	return 0
}

// setSP finds how an instruction that writes rsp, other than by pushing, changes it.
func (x *x86) setSP(e *effect) {
	e.sp = spLost
	if x.opmap != 0 || x.rex&8 == 0 {
		return
	}
	r := x.reg & 7
	switch {
	case x.op == 0x81 || x.op == 0x83:
		switch r {
		case 0:
			e.sp, e.delta = spPush, int32(-x.imm)
		case 5:
			e.sp, e.delta = spPush, int32(x.imm)
		case 4:
			e.sp = spDrop
		}
	case x.op == 0x2b || x.op == 0x29 && x.mod == 3:
		e.sp = spDrop
	case x.op == 0x8d && x.index == regNone && x.base == rsp:
		e.sp, e.delta = spPush, -x.disp
	case x.op == 0x8d && x.index == regNone && x.base == rbp:
		e.sp, e.delta = spFrame, x.disp
	case x.op == 0x89 && x.reg == rbp, x.op == 0x8b && x.mod == 3 && x.rm == rbp:
		e.sp, e.delta = spFrame, 0
	}
}

func (x *x86) setFP(e *effect) {
	e.fp = fpLost
	if x.opmap != 0 || x.rex&8 == 0 || e.sp != spKeep {
		return
	}
	switch {
	case x.op == 0x89 && x.reg == rsp, x.op == 0x8b && x.mod == 3 && x.rm == rsp:
		e.fp, e.delta = fpSet, 0
	case x.op == 0x8d && x.index == regNone && x.base == rsp:
		e.fp, e.delta = fpSet, x.disp
	}
}

// setEffects fills in known and writes.
func (x *x86) setEffects(e *effect, f flow, isGo bool) {
	if x.padding() && f == flowNext || x.endbr() {
		e.known = true
		return
	}
	if x.enc != encLegacy || x.odd || e.sp != spKeep || f != flowNext || x.prefix&(prefixLock|prefixGS) != 0 {
		return
	}
	w, known := x.written()
	e.writes = w
	e.known = known && (!x.modrm || x.mod == 3 || x.op == 0x8d && x.opmap == 0 || x.memoryHarmless(isGo))
}

// memoryHarmless reports whether the memory operand can't fault and, if it is
// written, belongs to nobody else.
func (x *x86) memoryHarmless(isGo bool) bool {
	stack := x.base == rsp && x.index == regNone && x.prefix&prefixFS == 0
	if x.writesMemory() {
		return stack && x.disp < 0 && x.disp >= -128 // red zone
	}
	if x.prefix&prefixFS != 0 {
		// Thread-local storage: at a constant offset, or (Go, PIE) one that r14 holds.
		return x.index == regNone && (x.base == regNone || isGo && x.base == r14)
	}
	return stack || x.base == regRIP || isGo && x.base == r14 && x.index == regNone && x.disp >= 0 && x.disp < 64
}

// writesMemory reports whether a memory operand is written, for instructions
// that written knows.
func (x *x86) writesMemory() bool {
	d, _ := x.dest()
	return d == destRM || d == destBoth
}

// destination is the operand that an instruction writes.
type destination uint8

const (
	destNone  destination = iota
	destReg               // the ModRM reg field's
	destRM                // the ModRM r/m field's
	destBoth              // both
	destFixed             // the registers that fixed names
	destOther             // not known
)

// dest finds the operand that an integer instruction writes, and the registers
// it writes without naming them in its ModRM byte.
func (x *x86) dest() (d destination, fixed uint32) {
	switch {
	case x.enc != encLegacy || x.opmap > 1:
		return destOther, 0
	case x.opmap == 1:
		return x.destTwoByte()
	}
	r := x.reg & 7
	low := uint32(1) << (x.op&7 | x.rex<<3&8)
	switch op := x.op; {
	case op < 0x40:
		if op >= 0x38 {
			return destNone, 0 // cmp
		}
		return [8]destination{destRM, destRM, destReg, destReg, destFixed, destFixed, destOther, destOther}[op&7], 1 << rax
	case op >= 0x50 && op <= 0x57, op == 0x68, op == 0x6a, op == 0x9c,
		op >= 0x70 && op <= 0x7f, op == 0xe9, op == 0xeb: // push, jumps
		return destNone, 0
	case op >= 0x58 && op <= 0x5f, op >= 0xb8 && op <= 0xbf:
		return destFixed, low
	case op == 0x63, op == 0x69, op == 0x6b, op == 0x8a, op == 0x8b, op == 0x8d:
		return destReg, 0
	case op == 0x80, op == 0x81, op == 0x83:
		if r == 7 {
			return destNone, 0
		}
		return destRM, 0
	case op == 0x84, op == 0x85, op == 0xa8, op == 0xa9:
		return destNone, 0 // test
	case op == 0x86, op == 0x87:
		return destBoth, 0
	case op == 0x88, op == 0x89, op == 0x8c, op == 0x8f, op == 0xc0, op == 0xc1, op == 0xc6, op == 0xc7,
		op >= 0xd0 && op <= 0xd3:
		return destRM, 0
	case op >= 0x90 && op <= 0x97:
		return destFixed, low | 1<<rax
	case op == 0x98:
		return destFixed, 1 << rax
	case op == 0x99:
		return destFixed, 1 << rdx
	case op >= 0xb0 && op <= 0xb7:
		return destFixed, 1 << x.byteReg(x.op&7|x.rex<<3&8)
	case op == 0xf5, op == 0xf8, op == 0xf9: // cmc, clc, stc
		return destNone, 0
	case op == 0xf6 || op == 0xf7:
		switch {
		case r < 2:
			return destNone, 0
		case r < 4:
			return destRM, 0
		case r < 6: // mul; div may trap
			return destFixed, 1<<rax | 1<<rdx
		}
	case op == 0xfe, op == 0xff && r < 2:
		return destRM, 0
	}
	return destOther, 0
}

func (x *x86) destTwoByte() (d destination, fixed uint32) {
	switch op := x.op; {
	case op >= 0x18 && op <= 0x1f && op != 0x1a && op != 0x1b && op != 0x1c && op != 0x1e:
		return destNone, 0 // prefetch, nop
	case op >= 0x80 && op <= 0x8f: // jumps
		return destNone, 0
	case op >= 0x40 && op <= 0x4f, op == 0xaf, op >= 0xb6 && op <= 0xb8, op >= 0xbc && op <= 0xbf:
		return destReg, 0
	case op >= 0x90 && op <= 0x9f:
		return destRM, 0
	case op == 0xa3, op == 0xba && x.reg&7 == 4: // bt
		return destNone, 0
	case op == 0xa4, op == 0xa5, op == 0xac, op == 0xad, op == 0xab, op == 0xb3, op == 0xbb, op == 0xba:
		return destRM, 0
	case op == 0xc0, op == 0xc1:
		return destBoth, 0
	case op >= 0xc8 && op <= 0xcf: // bswap
		return destFixed, 1 << (op&7 | x.rex<<3&8)
	}
	return destOther, 0
}

// written is the set of general registers written; it is complete when known.
func (x *x86) written() (w uint32, known bool) {
	d, fixed := x.dest()
	reg := func(n uint8) uint32 {
		if x.byteOperands() {
			n = x.byteReg(n)
		}
		return 1 << n
	}
	switch d {
	case destOther:
		return 0, false
	case destFixed:
		return fixed, true
	case destReg:
		return 1 << x.destRegister(), true
	case destRM, destBoth:
		if d == destBoth {
			w = reg(x.reg)
		}
		if x.mod == 3 {
			w |= reg(x.rm)
		}
	}
	return w, true
}

// destRegister is the register of the reg field as a destination. movzx and
// movsx read bytes but write whole registers.
func (x *x86) destRegister() uint8 {
	if x.opmap == 0 && x.byteOperands() {
		return x.byteReg(x.reg)
	}
	return x.reg
}

// byteOperands reports whether the operands that may be written are bytes.
func (x *x86) byteOperands() bool {
	if x.opmap == 1 {
		return x.op >= 0x90 && x.op <= 0x9f || x.op == 0xb0 || x.op == 0xc0
	}
	switch op := x.op; {
	case op < 0x40:
		return op&1 == 0
	case op == 0x80, op == 0x84, op == 0x86, op == 0x88, op == 0x8a, op == 0xc0, op == 0xc6,
		op == 0xd0, op == 0xd2, op == 0xf6, op == 0xfe:
		return true
	}
	return false
}

// byteReg is the register that byte register n is part of: without REX, 4 to 7
// are ah, ch, dh and bh.
func (x *x86) byteReg(n uint8) uint8 {
	if x.rex == 0 && n >= 4 && n < 8 {
		return n - 4
	}
	return n
}
