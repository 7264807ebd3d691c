package types

import (
	"debug/dwarf"
	"slices"

	"golang.org/x/arch/x86/x86asm"

	"github.com/observatory-trace/observatory-trace/trace"
)

// spill is a part of the stack that holds what came in a register.
type spill struct {
	slot, size int32 // bytes; the slot from the stack pointer at entry
	reg        uint8 // DWARF number
}

// dwarfOf are the DWARF numbers of the first eight AMD64 registers, by their
// number in instructions (System V ABI for AMD64, figure 3.36).
var dwarfOf = [8]uint8{0, 2, 1, 3, 7, 6, 4, 5}

// noOrigin marks a register that holds nothing that came in one.
const noOrigin = 0xff

// spiller follows what came in registers through other registers and the stack.
type spiller struct {
	frame  frame
	origin [16]uint8 // by number in instructions: the DWARF number of the register that it came in
	spills []spill
}

// follow takes AMD64 code up to the first jump or call. An unoptimised function
// has by then put its parameters where the debug information has them.
func (s *spiller) follow(code []byte) {
	for i := range s.origin {
		s.origin[i] = uint8(i)
		if i < len(dwarfOf) {
			s.origin[i] = dwarfOf[i]
		}
	}
	for at := 0; at < len(code); {
		inst, err := x86asm.Decode(code[at:], 64)
		if err != nil || isJump(inst.Op) || inst.Op == x86asm.CALL || inst.Op == x86asm.RET || isString(inst.Op) {
			return
		}
		at += inst.Len
		switch dst := inst.Args[0].(type) {
		case x86asm.Mem:
			s.store(dst, inst)
		case x86asm.Reg:
			s.load(dst, inst)
		}
		s.frame.step(inst)
	}
}

func (s *spiller) store(dst x86asm.Mem, inst x86asm.Inst) {
	slot, ok := s.frame.slot(dst)
	if !ok || inst.Op == x86asm.CMP || inst.Op == x86asm.TEST {
		return
	}
	to := spill{slot, int32(inst.MemBytes), noOrigin}
	if src, ok := inst.Args[1].(x86asm.Reg); ok && inst.Op == x86asm.MOV {
		if n, ok := number32(src); ok {
			to.reg = s.origin[n]
		}
	}
	s.spills = slices.DeleteFunc(s.spills, func(old spill) bool {
		return old.slot < to.slot+to.size && to.slot < old.slot+old.size
	})
	if to.reg != noOrigin {
		s.spills = append(s.spills, to)
	}
}

func (s *spiller) load(dst x86asm.Reg, inst x86asm.Inst) {
	n, ok := number32(dst)
	if !ok || inst.Op == x86asm.CMP || inst.Op == x86asm.TEST || inst.Op == x86asm.PUSH {
		return
	}
	was := s.origin
	s.origin[n] = noOrigin
	if inst.Op != x86asm.MOV {
		return
	}
	switch src := inst.Args[1].(type) {
	case x86asm.Reg:
		if m, ok := number32(src); ok {
			s.origin[n] = was[m]
		}
	case x86asm.Mem:
		if slot, ok := s.frame.slot(src); ok {
			if i := slices.IndexFunc(s.spills, func(p spill) bool { return p.slot == slot }); i >= 0 {
				s.origin[n] = s.spills[i].reg
			}
		}
	}
}

// home is the stack slot that debug information gives a parameter once an
// unoptimised function has set up its frame.
func (r *Reader) home(fn *function, p *parameter, f frame) (slot int32, ok bool) {
	expr, whole := p.entry.Val(dwarf.AttrLocation).([]byte)
	if !whole || len(expr) < 2 || expr[0] != opFbreg {
		return 0, false
	}
	d := data{b: expr[1:]}
	off := d.sleb()
	if d.bad || len(d.b) != 0 || off != int64(int32(off)) {
		return 0, false
	}
	switch {
	case fn.base == opReg0+7 && !f.lost:
		return f.depth + int32(off), true
	case fn.base == opReg0+6 && f.based:
		return f.base + int32(off), true
	case fn.base == opCallFrameCFA:
		return 8 + int32(off), true
	}
	return 0, false
}

// contradicts says whether an unoptimised function puts other registers where
// the parameters belong than the places say. Nothing else tells Rust's
// extern "C" functions from its own.
func (r *Reader) contradicts(fn *function, places []placed) bool {
	if r.arch != AMD64 || fn.unit == nil || fn.unit.optimised {
		return false
	}
	var s spiller
	s.follow(fn.Code)
	for i, p := range fn.params {
		slot, ok := r.home(fn, p, s.frame)
		if !ok || places[i].reason != "" || places[i].reference {
			continue
		}
		for _, c := range places[i].pieces {
			at := slot + int32(c.off)
			if c.reason == "" && c.source == trace.SourceRegister && slices.ContainsFunc(s.spills, func(p spill) bool {
				return p.slot <= at && at < p.slot+p.size && (p.slot != at || p.reg != c.reg)
			}) {
				return true
			}
		}
	}
	return false
}
