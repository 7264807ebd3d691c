package types

import "golang.org/x/arch/x86/x86asm"

// returnsAddress says whether AMD64 code returns in rax what it got in rdi,
// whichever way it takes. System V has functions do so with the address of a
// result in memory; LLVM spares local ones the trouble. It answers no when the
// code can't be followed.
func returnsAddress(code []byte) bool {
	k := keeper{code: code, states: map[int]frame{}}
	k.reach(0, frame{regs: 1 << 7}) // rdi
	for steps := 0; len(k.work) > 0; steps++ {
		at := k.work[len(k.work)-1]
		k.work = k.work[:len(k.work)-1]
		if steps > 1<<14 || !k.block(at) {
			return false
		}
	}
	return k.returns > 0
}

// keeper follows the address through registers and stack slots.
type keeper struct {
	code    []byte
	states  map[int]frame // by offset of an instruction that something leads to
	work    []int
	returns int
}

// frame is where the address is known to be.
type frame struct {
	regs  uint16   // by x86 register number
	slots [4]int32 // stack slots, from the stack pointer at entry; 0 is none (the return address lies there)
	depth int32    // the stack pointer, from where it was at entry
	base  int32    // rbp likewise
	based bool     // base is known
	lost  bool     // depth isn't known
}

// reach notes that a frame leads to an instruction.
func (k *keeper) reach(at int, f frame) {
	old, seen := k.states[at]
	if seen {
		f = old.meet(f)
		if f == old {
			return
		}
	}
	k.states[at] = f
	k.work = append(k.work, at)
}

// meet is what is true of both.
func (f frame) meet(g frame) frame {
	f.regs &= g.regs
	if f.based != g.based || f.base != g.base {
		f.based, f.base = false, 0
	}
	if f.lost || g.lost || f.depth != g.depth {
		return frame{regs: f.regs, based: f.based, base: f.base, lost: true}
	}
	for i, s := range f.slots {
		if s != 0 && !g.holds(s) {
			f.slots[i] = 0
		}
	}
	return f
}

func (f *frame) holds(slot int32) bool {
	for _, s := range f.slots {
		if s == slot && s != 0 {
			return true
		}
	}
	return false
}

// block follows the instructions from at up to one that doesn't lead to the next.
func (k *keeper) block(at int) bool {
	f := k.states[at]
	for at < len(k.code) {
		inst, err := x86asm.Decode(k.code[at:], 64)
		if err != nil {
			return false
		}
		next := at + inst.Len
		switch {
		case inst.Op == x86asm.RET:
			k.returns++
			return f.regs&1 != 0
		case inst.Op == x86asm.UD2 || inst.Op == x86asm.HLT:
			return true
		case isJump(inst.Op):
			return k.jump(inst, next, f)
		}
		f.step(inst)
		if _, seen := k.states[next]; seen {
			k.reach(next, f)
			return true
		}
		at = next
	}
	return true // behind a call that doesn't return
}

func isJump(op x86asm.Op) bool {
	switch op {
	case x86asm.JMP, x86asm.JA, x86asm.JAE, x86asm.JB, x86asm.JBE, x86asm.JCXZ, x86asm.JE, x86asm.JECXZ,
		x86asm.JG, x86asm.JGE, x86asm.JL, x86asm.JLE, x86asm.JNE, x86asm.JNO, x86asm.JNP, x86asm.JNS,
		x86asm.JO, x86asm.JP, x86asm.JRCXZ, x86asm.JS, x86asm.LOOP, x86asm.LOOPE, x86asm.LOOPNE:
		return true
	}
	return false
}

// jump follows a jump, and what lies behind it when it is conditional. A jump
// out of the function is a tail call, another function's return.
func (k *keeper) jump(inst x86asm.Inst, next int, f frame) bool {
	rel, direct := inst.Args[0].(x86asm.Rel)
	if !direct {
		return false // a jump table
	}
	target := next + int(rel)
	inside := target >= 0 && target < len(k.code)
	if inst.Op != x86asm.JMP {
		k.reach(next, f)
		if !inside {
			return false
		}
	}
	if inside {
		k.reach(target, f)
	}
	return true
}

// x86 register numbers.
const (
	numAX = 0
	numCX = 1
	numDX = 2
	numSP = 4
	numBP = 5
)

// scratch are the registers that a call may change.
const scratch = 1<<numAX | 1<<numCX | 1<<numDX | 1<<6 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11

// step applies one instruction that isn't a jump.
func (f *frame) step(inst x86asm.Inst) {
	switch inst.Op {
	case x86asm.CMP, x86asm.TEST, x86asm.NOP, x86asm.BT:
	case x86asm.CALL, x86asm.SYSCALL, x86asm.CPUID, x86asm.RDTSC:
		f.regs &^= scratch
	case x86asm.PUSH:
		f.depth -= 8
		f.store(f.depth, f.has(inst.Args[0]))
	case x86asm.POP:
		f.load(inst.Args[0], f.holds(f.depth))
		f.depth += 8
	case x86asm.LEAVE:
		f.regs &^= 1 << numBP
		f.depth, f.lost = f.base+8, !f.based
		f.based = false
	case x86asm.MOV:
		f.move(inst)
	case x86asm.ADD, x86asm.SUB, x86asm.LEA:
		f.adjust(inst)
	default:
		f.clobber(inst)
	}
}

// clobber forgets what an instruction may write: its first operand, for some
// also the second, and the registers that some use without naming them.
func (f *frame) clobber(inst x86asm.Inst) {
	switch inst.Op {
	case x86asm.XCHG, x86asm.XADD, x86asm.CMPXCHG:
		f.load(inst.Args[1], false)
		f.regs &^= 1 << numAX
	case x86asm.IMUL, x86asm.MUL, x86asm.DIV, x86asm.IDIV, x86asm.CDQ, x86asm.CQO, x86asm.CWD, x86asm.CWDE, x86asm.CDQE, x86asm.CBW:
		f.regs &^= 1<<numAX | 1<<numDX
	}
	if inst.Args[0] == nil || isString(inst.Op) {
		f.regs &^= scratch
	}
	f.load(inst.Args[0], false)
	if m, ok := inst.Args[0].(x86asm.Mem); ok {
		f.writeMemory(m, inst.MemBytes, false)
	}
}

// isString tells the operations that step through memory with rsi and rdi.
func isString(op x86asm.Op) bool {
	switch op {
	case x86asm.MOVSB, x86asm.MOVSW, x86asm.MOVSD, x86asm.MOVSQ, x86asm.STOSB, x86asm.STOSW, x86asm.STOSD, x86asm.STOSQ,
		x86asm.LODSB, x86asm.LODSW, x86asm.LODSD, x86asm.LODSQ, x86asm.CMPSB, x86asm.CMPSW, x86asm.CMPSD, x86asm.CMPSQ,
		x86asm.SCASB, x86asm.SCASW, x86asm.SCASD, x86asm.SCASQ:
		return true
	}
	return false
}

// move handles MOV, the one instruction that carries the address on.
func (f *frame) move(inst x86asm.Inst) {
	switch dst := inst.Args[0].(type) {
	case x86asm.Mem:
		f.writeMemory(dst, inst.MemBytes, inst.MemBytes == 8 && f.has(inst.Args[1]))
	case x86asm.Reg:
		if dst == x86asm.RBP && inst.Args[1] == x86asm.RSP {
			f.regs &^= 1 << numBP
			f.base, f.based = f.depth, !f.lost
			return
		}
		if dst == x86asm.RSP {
			f.lost = f.lost || !f.based || inst.Args[1] != x86asm.RBP
			f.depth = f.base
			return
		}
		known := f.has(inst.Args[1])
		if m, ok := inst.Args[1].(x86asm.Mem); ok {
			slot, ok := f.slot(m)
			known = ok && inst.MemBytes == 8 && f.holds(slot)
		}
		f.load(dst, known)
	}
}

// adjust handles the arithmetic that moves the stack pointer.
func (f *frame) adjust(inst x86asm.Inst) {
	if inst.Args[0] != x86asm.RSP {
		f.clobber(inst)
		return
	}
	switch arg := inst.Args[1].(type) {
	case x86asm.Imm:
		if inst.Op == x86asm.SUB {
			arg = -arg
		}
		f.depth += int32(arg)
	case x86asm.Mem:
		slot, ok := f.slot(arg)
		f.depth, f.lost = slot, f.lost || !ok
	default:
		f.lost = true
	}
}

// has says whether an operand is a whole register that holds the address.
func (f *frame) has(arg x86asm.Arg) bool {
	r, ok := arg.(x86asm.Reg)
	return ok && r >= x86asm.RAX && r <= x86asm.R15 && f.regs&(1<<(r-x86asm.RAX)) != 0
}

// load notes what a register holds from now on; other operands are left alone.
func (f *frame) load(arg x86asm.Arg, known bool) {
	r, ok := arg.(x86asm.Reg)
	if !ok {
		return
	}
	n, ok := number32(r)
	if !ok {
		return
	}
	f.regs &^= 1 << n
	if known && r >= x86asm.RAX {
		f.regs |= 1 << n
	}
	switch n {
	case numSP:
		f.lost = true
	case numBP:
		f.based = false
	}
}

// number32 is the number of a general register of any width.
func number32(r x86asm.Reg) (uint, bool) {
	switch {
	case r >= x86asm.AL && r <= x86asm.BL:
		return uint(r - x86asm.AL), true
	case r >= x86asm.AH && r <= x86asm.BH:
		return uint(r - x86asm.AH), true
	case r >= x86asm.SPB && r <= x86asm.R15B:
		return uint(r-x86asm.SPB) + 4, true
	case r >= x86asm.AX && r <= x86asm.R15W:
		return uint(r - x86asm.AX), true
	case r >= x86asm.EAX && r <= x86asm.R15L:
		return uint(r - x86asm.EAX), true
	case r >= x86asm.RAX && r <= x86asm.R15:
		return uint(r - x86asm.RAX), true
	}
	return 0, false
}

// slot is where an operand lies on the stack, from the stack pointer at entry.
func (f *frame) slot(m x86asm.Mem) (int32, bool) {
	switch {
	case m.Index != 0 || m.Disp != int64(int32(m.Disp)):
	case m.Base == x86asm.RSP && !f.lost:
		return f.depth + int32(m.Disp), true
	case m.Base == x86asm.RBP && f.based:
		return f.base + int32(m.Disp), true
	}
	return 0, false
}

// writeMemory notes a store. Stores elsewhere are taken not to reach the slots
// that the compiler keeps registers in.
func (f *frame) writeMemory(m x86asm.Mem, size int, known bool) {
	if slot, ok := f.slot(m); ok {
		f.forget(slot, int32(max(size, 8)))
		if known {
			f.store(slot, true)
		}
	}
}

func (f *frame) forget(slot, size int32) {
	for i, s := range f.slots {
		if s != 0 && s < slot+size && slot < s+8 {
			f.slots[i] = 0
		}
	}
}

func (f *frame) store(slot int32, known bool) {
	f.forget(slot, 8)
	if !known || f.lost {
		return
	}
	for i, s := range f.slots {
		if s == 0 {
			f.slots[i] = slot
			return
		}
	}
}
