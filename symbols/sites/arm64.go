package sites

// The registers of arm64 that have a role here. 31 is the stack pointer or the
// zero register, as the instruction has it.
const (
	armFP = 29
	armLR = 30
	armSP = 31
)

// Registers that may carry an argument (AAPCS64: x0 to x7, x8 for an indirect
// result, x18 platform), and the return address.
const arm64CArgs = 1<<9 - 1 | 1<<18 | 1<<armLR

// Go's ABIInternal: x0 to x15, x26 (closure context), x28 (g); and x18, the return address.
const arm64GoArgs = 1<<16 - 1 | 1<<18 | 1<<26 | 1<<28 | 1<<armLR

// armInst is a decoded instruction. A literal load has the literal's address in
// target and its size in slot.
type armInst struct {
	inst
	effect
}

// arm64Inst decodes the instruction w at addr. It is false for encodings that
// are not allocated. Source: Arm ARM (DDI 0487), section C4.1.
func arm64Inst(w uint32, addr uint64, isGo bool) (armInst, bool) {
	in := armInst{inst: inst{size: 4, cond: Always}}
	switch w >> 25 & 15 {
	case 0:
		switch {
		case w>>16 == 0: // udf
			in.flow, in.site, in.pad = flowStop, siteRefused, w == 0
		case w>>31 == 0:
			return armInst{}, false
		}
	case 1, 3:
		return armInst{}, false
	case 8, 9:
		armImmediate(&in, w)
	case 10, 11:
		return in, armBranch(&in, w, addr)
	case 4, 6, 12, 14:
		armMemory(&in, w, addr, isGo)
	case 5, 13:
		armRegister(&in, w)
	}
	return in, true
}

// armBranch decodes branches, exceptions, hints and system instructions.
func armBranch(in *armInst, w uint32, addr uint64) bool {
	rel := func(shift, bits uint) uint64 {
		return addr + uint64(int64(uint64(w)>>shift<<(64-bits))>>(64-bits)<<2)
	}
	branch := func(f flow, cond int8, to uint64) bool {
		in.flow, in.cond, in.target, in.site = f, cond, to, siteEmulated
		return true
	}
	switch {
	case w>>26 == 0x05:
		return branch(flowJump, Always, rel(0, 26))
	case w>>26 == 0x25:
		in.writes = 1 << armLR
		return branch(flowCall, Always, rel(0, 26))
	case w>>24 == 0x54: // B.cond; with bit 4 BC.cond, which the kernel doesn't know
		branch(flowCond, int8(w&15), rel(5, 19))
		if w&15 >= 14 { // always
			in.flow, in.cond = flowJump, Always
		}
		if w&16 != 0 {
			in.site = siteRefused
		}
		return true
	case w>>25&0x3f == 0x1a: // CBZ, CBNZ
		return branch(flowCond, condRegister, rel(5, 19))
	case w>>25&0x3f == 0x1b: // TBZ, TBNZ
		return branch(flowCond, condRegister, rel(5, 14))
	case w>>25 == 0x6b:
		return armBranchRegister(in, w)
	case w>>24 == 0xd4:
		armException(in, w)
		return true
	case w>>22 == 0x354:
		armSystem(in, w)
		return true
	}
	return false
}

// armBranchRegister decodes BR, BLR, RET, ERET and their authenticating forms,
// which the kernel refuses.
func armBranchRegister(in *armInst, w uint32) bool {
	if w>>16&0x1f != 0x1f {
		return false
	}
	if w&0xfc1f != 0 {
		in.site = siteRefused
	} else {
		in.site = siteEmulated
	}
	switch w >> 21 & 15 {
	case 0, 8:
		in.flow = flowJumpPtr
	case 1, 9:
		in.flow = flowCallPtr
	case 2:
		in.flow = flowRet
	case 4, 5: // ERET, DRPS
		in.flow, in.marks, in.site = flowStop, markOdd, siteRefused
	default:
		return false
	}
	return true
}

func armException(in *armInst, w uint32) {
	in.site = siteRefused
	switch w & 0xffe0001f {
	case 0xd4000001: // SVC
		in.syscall = true
	case 0xd4200000, 0xd4400000: // BRK, HLT
		in.flow = flowStop
	default: // HVC, SMC, DCPS
		in.marks = markOdd
	}
}

func armSystem(in *armInst, w uint32) {
	switch {
	case w&0xfffff01f == 0xd503201f: // HINT
		armHint(in, w>>5&0x7f)
	case w&0xfff00000 == 0xd5100000, w&0xfff8f01f == 0xd500401f: // MSR
		in.site = siteRefused
	case w&0xfff00000 == 0xd5300000: // MRS
		if w&31 == armFP {
			in.fp = fpLost
		}
	}
}

// armHint applies the kernel's list of hints that can be stepped. A nop is
// simulated since Linux 6.13; signing the return address ends every walk, since
// a uretprobe behind it would leave a return address unsigned.
func armHint(in *armInst, n uint32) {
	switch n {
	case 0:
		in.site, in.known, in.pad = siteEmulated, true, true
	case 0x20, 0x22, 0x24, 0x26: // BTI
		in.known = true
	case 0x07, 0x08, 0x0a, 0x18, 0x19, 0x1a, 0x1b: // XPACLRI, PACI*
	default:
		in.site = siteRefused
	}
}

// armImmediate decodes data processing with an immediate.
func armImmediate(in *armInst, w uint32) {
	rd, rn := w&31, w>>5&31
	in.known, in.writes = true, 1<<rd
	switch w >> 23 & 7 {
	case 0, 1: // ADR, ADRP
		in.site = siteEmulated
	case 2: // ADD, SUB; flag-setting forms can't write sp
		imm := int32(w >> 10 & 0xfff)
		if w>>22&1 != 0 {
			imm <<= 12
		}
		if w>>30&1 == 1 {
			imm = -imm
		}
		if w>>29&1 == 0 {
			armAddImmediate(in, rd, rn, imm, w>>31 != 0)
			return
		}
	case 3: // ADDG, SUBG
		if rd == armSP {
			in.sp = spLost
		}
	case 4: // logical; ANDS can't write sp
		if rd == armSP && w>>29&3 != 3 {
			in.sp = spLost
			if rn == armSP && w>>29&3 == 0 {
				in.sp = spDrop
			}
		}
	}
	armDone(in, rd)
}

// armAddImmediate is rd = rn + imm, where 31 is the stack pointer.
func armAddImmediate(in *armInst, rd, rn uint32, imm int32, wide bool) {
	switch {
	case rd == armSP && rn == armSP && wide:
		in.sp, in.delta = spPush, -imm
	case rd == armSP && rn == armFP && wide:
		in.sp, in.delta = spFrame, imm
	case rd == armSP:
		in.sp = spLost
	case rd == armFP && rn == armSP && wide:
		in.fp, in.delta = fpSet, imm
		in.writes = 1 << armFP
		return
	}
	armDone(in, rd)
}

// armDone completes an instruction that writes rd.
func armDone(in *armInst, rd uint32) {
	switch rd {
	case armSP:
		in.writes = 0
		in.known = in.sp == spKeep
	case armFP:
		in.fp = fpLost
	}
}

// armRegister decodes data processing with registers.
func armRegister(in *armInst, w uint32) {
	rd := w & 31
	in.known, in.writes = true, 1<<rd
	if w>>24&0x1e == 0x0a && w>>16&31 == armLR {
		in.base = slotReturn
	}
	switch {
	case w>>24&0x1f == 0x0b && w>>21&1 == 1: // ADD, SUB, extended register
		if rd == armSP && w>>29&1 == 0 {
			in.sp = spLost
			if w>>5&31 == armSP && w>>30&1 == 1 {
				in.sp = spDrop
			}
		}
	case w>>24&0x1f == 0x1a && (w>>21&7 == 2 || w>>21&7 == 0 && w>>10&15 != 0): // CCMP, CCMN, SETF, RMIF
		in.writes = 0
		return
	case w>>24&0x1f == 0x1a && w>>21&7 == 6 && w>>30&1 == 1 && w>>16&31 != 0: // pointer authentication
		in.known = false
	}
	armDone(in, rd)
}

// armMemory decodes loads and stores.
func armMemory(in *armInst, w uint32, addr uint64, isGo bool) {
	rt, rn := w&31, w>>5&31
	vector := w>>26&1 == 1
	switch {
	case w&0x3f800000 == 0x08000000, w&0x3b200c00 == 0x19000400:
		in.site = siteRefused // exclusive, memory copy and set
	case w&0x3b000000 == 0x18000000: // literal
		in.site = siteRefused
		in.target = addr + uint64(int64(uint64(w)>>5<<45)>>45<<2)
		in.slot = armLiteralSize(w>>30, vector)
	case w&0x3a000000 == 0x28000000:
		armPair(in, w, rn, vector)
	case w&0x3b200400 == 0x38000400: // pre- and post-indexed
		armWriteBack(in, rn, int32(w<<11)>>23)
	case w&0xbf800000 == 0x0c800000, w&0xbf800000 == 0x0d800000: // vector structures, post-indexed
		armWriteBack(in, rn, 0)
		if rn == armSP {
			in.sp = spLost
		}
	case w&0x3b000000 == 0x39000000: // unsigned offset
		load := w>>22&3 != 0 && !vector && w>>22 != 0x3e6 // not prfm
		scale := w >> 30
		armSlot(in, rn, int32(w>>10&0xfff)<<scale)
		if load && (rn == armSP || isGo && rn == 28 && w>>10&0xfff < 8) {
			in.known, in.writes = rt != armSP, 1<<rt
		}
	}
	armLoads(in, w, vector)
}

// armLoads marks the frame pointer lost when it is loaded.
func armLoads(in *armInst, w uint32, vector bool) {
	pair := w&0x3a000000 == 0x28000000
	if vector || pair && w>>22&1 == 0 {
		return
	}
	if w&31 == armFP || pair && w>>10&31 == armFP {
		if w&0x3a000000 != 0x38000000 || w>>22&3 != 0 { // not str
			in.fp = fpLost
		}
	}
}

// armLiteralSize is how many bytes a literal load reads.
func armLiteralSize(opc uint32, vector bool) int32 {
	switch {
	case vector:
		return 4 << opc
	case opc == 1:
		return 8
	}
	return 4 // ldr w, ldrsw; prfm reads nothing
}

func armPair(in *armInst, w, rn uint32, vector bool) {
	scale := int32(4)
	switch opc := w >> 30; {
	case vector:
		scale = 4 << opc
	case opc == 2:
		scale = 8
	}
	imm := int32(w<<10) >> 25 * scale
	if w>>23&1 == 1 { // post- or pre-indexed
		armWriteBack(in, rn, imm)
		return
	}
	armSlot(in, rn, imm)
}

func armSlot(in *armInst, rn uint32, off int32) {
	switch rn {
	case armSP:
		in.base, in.slot = slotSP, off
	case armFP:
		in.base, in.slot = slotFP, off
	}
}

// armWriteBack adds imm to the base register.
func armWriteBack(in *armInst, rn uint32, imm int32) {
	switch rn {
	case armSP:
		in.sp, in.delta = spPush, -imm
	case armFP:
		in.fp = fpLost
	}
}

// decodeARM64 decodes a piece and sets its literals apart: words that a load
// names are data, and words that are data must not be executed.
func (f *function) decodeARM64(p *piece) error {
	n := len(p.code) / 4
	if len(p.code)%4 != 0 || p.addr%4 != 0 {
		return refuse("not a whole number of instructions")
	}
	p.insts = make([]inst, n)
	literals := []Range(nil)
	for i := range p.insts {
		in, ok := arm64Inst(leWord(p.code[4*i:]), p.addr+uint64(4*i), f.in.Go)
		if !ok {
			in.inst = inst{size: 4, flow: flowStop, marks: markOdd}
		}
		if first := in.target - p.addr; in.flow == flowNext && in.target != 0 && first < uint64(len(p.code)) {
			literals = append(literals, Range{Code: p.code[first:min(first+uint64(in.slot)+3, uint64(len(p.code)))], Addr: first})
			in.target = 0
		}
		p.insts[i] = in.inst
		p.insts[i].off = int32(4 * i)
	}
	for _, l := range literals {
		for i := l.Addr / 4; i < (l.Addr+uint64(len(l.Code)))/4; i++ {
			p.insts[i] = inst{size: 4, off: int32(4 * i), flow: flowStop, marks: markData}
		}
	}
	for i := range p.insts {
		if p.insts[i].is(markOdd) {
			return refuse("looks like data: no ordinary instruction at +%#x", p.addr+uint64(4*i)-f.in.Body.Addr)
		}
	}
	return nil
}

func leWord(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}
