package types

import "github.com/observatory-trace/observatory-trace/trace"

// maxExpression bounds the bytes of a location expression.
const maxExpression = 4096

// Operations of location expressions (DWARF 5, section 7.7.1).
const (
	opAddr          = 0x03
	opDeref         = 0x06
	opConst1u       = 0x08
	opConst2u       = 0x0a
	opConstu        = 0x10
	opConsts        = 0x11
	opDup           = 0x12
	opMinus         = 0x1c
	opPlus          = 0x22
	opPlusUconst    = 0x23
	opShr           = 0x25
	opLit0          = 0x30
	opReg0          = 0x50
	opBreg0         = 0x70
	opRegx          = 0x90
	opFbreg         = 0x91
	opBregx         = 0x92
	opPiece         = 0x93
	opBitPiece      = 0x9d
	opCallFrameCFA  = 0x9c
	opImplicitValue = 0x9e
	opStackValue    = 0x9f
	opEntryValue    = 0xa3
	opGNUEntryValue = 0xf3
)

// plusConst reads a member's location given as an expression.
func plusConst(expr []byte) (uint64, bool) {
	if len(expr) < 2 || expr[0] != opPlusUconst {
		return 0, false
	}
	d := data{expr[1:], false}
	v := d.uleb()
	return v, !d.bad && len(d.b) == 0
}

// expression reads where the pieces of a value are. What has to be computed
// counts as optimised out; ok is false when the expression can't be read.
func (r *Reader) expression(expr []byte, size uint32) (pieces []piece, ok bool) {
	if len(expr) > maxExpression {
		return nil, false
	}
	d := data{expr, false}
	for at := uint32(0); len(d.b) > 0; {
		body := segment(&d)
		p := r.segmentPiece(body)
		p.off, p.size = at, size-min(at, size)
		if len(d.b) > 0 {
			d.u8()
			n := d.uleb()
			if n > uint64(p.size) {
				return nil, false
			}
			p.size = uint32(n)
		}
		if d.bad || len(pieces) >= 64 {
			return nil, false
		}
		if p.source == trace.SourceRegister && p.reason == "" && p.size > 8-min(uint32(p.at), 8) {
			return nil, false
		}
		at += p.size
		pieces = append(pieces, p)
	}
	if n := len(pieces); n > 0 && pieces[n-1].off+pieces[n-1].size < size { // what is left has no place
		end := pieces[n-1].off + pieces[n-1].size
		pieces = append(pieces, piece{off: end, size: size - end, reason: optimisedOut})
	}
	return pieces, len(pieces) > 0
}

// segment cuts off what comes before the next DW_OP_piece.
func segment(d *data) []byte {
	whole := d.b
	for len(d.b) > 0 && d.b[0] != opPiece && !d.bad {
		d.skip()
	}
	if d.bad {
		return nil
	}
	return whole[:len(whole)-len(d.b)]
}

// segmentPiece reads one piece's location.
func (r *Reader) segmentPiece(body []byte) piece {
	if len(body) > 0 {
		d := data{body, false}
		if p, ok := r.simple(&d); ok && len(d.b) == 0 {
			return p
		}
	}
	return piece{reason: optimisedOut, uses: registersIn(body)}
}

// usesFrame stands for the frame base, and registers beyond the general ones.
const usesFrame = 1 << 31

// registersIn is the set of registers that an expression reads.
func registersIn(expr []byte) (set uint32) {
	d := data{expr, false}
	for len(d.b) > 0 && !d.bad {
		op := d.b[0]
		switch {
		case op >= opBreg0 && op < opBreg0+32:
			set |= 1 << (op - opBreg0)
		case op >= opReg0 && op < opReg0+32:
			set |= 1 << (op - opReg0)
		case op == opFbreg, op == opCallFrameCFA, op == opBregx, op == opRegx:
			set |= usesFrame
		case op == opEntryValue || op == opGNUEntryValue:
			inner := data{d.b[1:], false}
			set |= registersIn(inner.bytes(inner.uleb()))
		}
		d.skip()
	}
	return set
}

// skip passes one operation with its operands; unknown ones turn the data bad.
func (d *data) skip() {
	switch op := d.u8(); {
	case op >= opLit0 && op < opBreg0: // lit, reg
	case op >= opBreg0 && op < opBreg0+32:
		d.sleb()
	case op == opAddr:
		d.bytes(8)
	case op >= opConst1u && op < opConst1u+8:
		d.bytes(1 << ((op - opConst1u) / 2))
	default:
		d.operands(op)
	}
}

// operands skips those of the operations that come in no ranges.
func (d *data) operands(op byte) {
	switch op {
	case 0x06, 0x12, 0x13, 0x14, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x21, 0x22,
		0x24, 0x25, 0x26, 0x27, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x96, 0x97, 0x9b, opCallFrameCFA, opStackValue, 0xe0, 0xf0:
	case 0x15, 0x94, 0x95: // pick, deref_size, xderef_size
		d.bytes(1)
	case 0x28, 0x2f, 0x98: // bra, skip, call2
		d.bytes(2)
	case 0x99, 0x9a, 0xfa: // call4, call_ref, GNU_parameter_ref
		d.bytes(4)
	case opConstu, opConsts, opPlusUconst, opRegx, opFbreg, 0xa1, 0xa2, 0xa8, 0xa9, 0xf7, 0xf9, 0xfb, 0xfc:
		d.uleb()
	case opBregx, opBitPiece, 0xa5, 0xf5: // regval_type
		d.uleb()
		d.uleb()
	case opImplicitValue, opEntryValue, opGNUEntryValue:
		d.bytes(d.uleb())
	case 0xa0, 0xf2: // implicit_pointer
		d.bytes(4)
		d.uleb()
	case 0xa4, 0xf4: // const_type
		d.uleb()
		d.bytes(uint64(d.u8()))
	case 0xa6, 0xa7, 0xf6: // deref_type
		d.bytes(1)
		d.uleb()
	default:
		d.bad = true
	}
}

// simple reads a location that needs no computing.
func (r *Reader) simple(d *data) (p piece, ok bool) {
	switch op := d.u8(); {
	case op >= opReg0 && op < opReg0+32:
		return r.inRegister(uint64(op - opReg0)), true
	case op == opRegx:
		return r.inRegister(d.uleb()), !d.bad
	case op == opFbreg:
		off := d.sleb()
		return piece{source: trace.SourceCFA, at: int32(off)}, !d.bad && off == int64(int32(off))
	case op == opCallFrameCFA:
		return piece{source: trace.SourceCFA}, true
	case op >= opBreg0 && op < opBreg0+32:
		off := d.sleb()
		if len(d.b) > 0 && d.b[0] == opConstu {
			return r.shifted(op-opBreg0, off, d)
		}
		return piece{source: trace.SourceMemory, reg: op - opBreg0, at: int32(off)}, !d.bad && off == int64(int32(off))
	case op == opEntryValue || op == opGNUEntryValue:
		return r.entryValue(d)
	}
	return p, false
}

// shifted reads "the upper bytes of a register", LLVM's way to tell a small
// struct's second member.
func (r *Reader) shifted(reg byte, off int64, d *data) (p piece, ok bool) {
	d.u8()
	bits := d.uleb()
	ok = off == 0 && bits%8 == 0 && bits < 64 && d.u8() == opShr && d.u8() == opStackValue && !d.bad
	p = r.inRegister(uint64(reg))
	p.at = int32(bits / 8)
	return p, ok
}

// entryValue reads "what the register held at the function's entry".
func (r *Reader) entryValue(d *data) (p piece, ok bool) {
	inner := data{d.bytes(d.uleb()), false}
	if len(inner.b) == 0 || d.u8() != opStackValue {
		return p, false
	}
	p, ok = r.simple(&inner)
	return p, ok && len(inner.b) == 0 && p.source == trace.SourceRegister && !d.bad
}

func (r *Reader) inRegister(reg uint64) piece {
	if reg >= r.arch.firstVector() {
		return piece{source: trace.SourceRegister, reason: r.arch.vectorReason()}
	}
	return piece{source: trace.SourceRegister, reg: uint8(reg)}
}
