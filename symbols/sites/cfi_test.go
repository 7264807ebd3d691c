package sites

import (
	encbinary "encoding/binary"
	"testing"
)

// cfiRow says where the canonical frame address is from addr on, where that is
// the stack pointer plus a constant.
type cfiRow struct {
	addr  uint64
	bySP  bool
	depth int32 // bytes from the stack pointer at entry
}

// cfi interprets an .eh_frame section (LSB, Exception Frames; DWARF 5, section
// 6.4) as far as the canonical frame address goes. It returns the rows of each
// function by its start.
func cfi(data []byte, addr uint64) map[uint64][]cfiRow {
	rows := map[uint64][]cfiRow{}
	le := encbinary.LittleEndian
	for off := 0; off+12 <= len(data); {
		size := int(le.Uint32(data[off:]))
		if size == 0 || off+4+size > len(data) {
			break
		}
		back := int(le.Uint32(data[off+4:]))
		if back != 0 {
			cie := off + 4 - back
			initial, augmented := cieProgram(data[cie:])
			start := addr + uint64(off) + 8 + uint64(int64(int32(le.Uint32(data[off+8:]))))
			program := data[off+16 : off+4+size]
			if augmented {
				n, k := uleb(program)
				program = program[k+int(n):]
			}
			m := machine{addr: start}
			m.run(initial)
			m.initial = m.rule
			m.rows = nil
			m.emit()
			m.run(program)
			rows[start] = m.rows
		}
		off += 4 + size
	}
	return rows
}

// cieProgram finds a CIE's initial instructions, and whether its FDEs have
// augmentation data.
func cieProgram(cie []byte) (program []byte, augmented bool) {
	size := int(encbinary.LittleEndian.Uint32(cie))
	end := 4 + size
	i := 9 // length, id, version
	augmented = cie[i] == 'z'
	for cie[i] != 0 {
		i++
	}
	i++
	for range 2 { // code and data alignment
		_, n := uleb(cie[i:])
		i += n
	}
	i++ // return address register
	if augmented {
		n, k := uleb(cie[i:])
		i += k + int(n)
	}
	return cie[i:end], augmented
}

type rule struct {
	reg, off uint64
	expr     bool
}

type machine struct {
	addr          uint64
	rule, initial rule
	stack         []rule
	rows          []cfiRow
}

func (m *machine) emit() {
	row := cfiRow{addr: m.addr, bySP: m.rule.reg == 7 && !m.rule.expr, depth: int32(m.rule.off) - 8}
	if n := len(m.rows); n > 0 && m.rows[n-1].addr == m.addr {
		m.rows[n-1] = row
		return
	}
	m.rows = append(m.rows, row)
}

func (m *machine) run(p []byte) {
	arg := func() uint64 {
		v, n := uleb(p)
		p = p[n:]
		return v
	}
	advance := func(n int, delta uint64) {
		p = p[n:]
		m.addr += delta
	}
	for len(p) > 0 {
		op := p[0]
		p = p[1:]
		switch {
		case op>>6 == 1:
			m.addr += uint64(op & 63)
		case op>>6 == 2: // offset
			arg()
		case op>>6 == 3: // restore
		case op == 2:
			advance(1, uint64(p[0]))
		case op == 3:
			advance(2, uint64(encbinary.LittleEndian.Uint16(p)))
		case op == 4:
			advance(4, uint64(encbinary.LittleEndian.Uint32(p)))
		case op == 0x0a:
			m.stack = append(m.stack, m.rule)
		case op == 0x0b:
			m.rule = m.stack[len(m.stack)-1]
			m.stack = m.stack[:len(m.stack)-1]
		case op == 0x0c:
			m.rule = rule{reg: arg(), off: arg()}
		case op == 0x0d:
			m.rule.reg, m.rule.expr = arg(), false
		case op == 0x0e:
			m.rule.off = arg()
		case op == 0x0f:
			n := arg()
			p = p[n:]
			m.rule.expr = true
		case op == 0x10, op == 0x16: // expression
			arg()
			n := arg()
			p = p[n:]
		case op == 0x2e: // args size
			arg()
		case op == 0x05, op == 0x09, op == 0x11, op == 0x14, op == 0x15:
			arg()
			arg()
		case op == 0x06, op == 0x07, op == 0x08:
			arg()
		}
		m.emit()
	}
}

func uleb(b []byte) (v uint64, n int) {
	for shift := uint(0); ; shift += 7 {
		v |= uint64(b[n]&0x7f) << shift
		n++
		if b[n-1] < 0x80 {
			return v, n
		}
	}
}

// TestStackDepth compares the tracked stack depth with what the compilers wrote
// into the unwind information. Tail calls are told from jump tables by it.
func TestStackDepth(t *testing.T) {
	for _, rb := range realBinaries(t) {
		if rb.isGo {
			continue
		}
		t.Run(rb.name, func(t *testing.T) {
			b := openBinary(t, rb.path)
			rows := b.rows
			same, unknown, wrong := 0, 0, 0
			for _, s := range b.funcs {
				in := b.input(s, false, nil)
				f, err := flowOf(&in)
				if err != nil {
					continue
				}
				for _, p := range f.pieces {
					table := rows[p.addr]
					for i := range p.insts {
						want, ok := rowAt(table, p.addr+uint64(p.insts[i].off))
						switch got := p.state[i].depth; {
						case !ok || p.effects[i].pad: // the unwind information has gaps between blocks wrong
						case !known(got):
							unknown++
						case got != want:
							if wrong++; s.name != "_start" && s.name != "__clone" { // hand-written: the bottom of the stack
								t.Errorf("%s at %#x: depth %d, unwind information has %d", s.name, p.addr+uint64(p.insts[i].off), got, want)
							}
						default:
							same++
						}
					}
				}
			}
			t.Logf("%d instructions agree, %d are not known, %d differ", same, unknown, wrong)
			if unknown > same/15 {
				t.Error("too many are not known")
			}
		})
	}
}

// rowAt is the depth at addr, where the unwind information has it by the stack pointer.
func rowAt(rows []cfiRow, addr uint64) (int32, bool) {
	for i := len(rows) - 1; i >= 0; i-- {
		if rows[i].addr <= addr {
			return rows[i].depth, rows[i].bySP
		}
	}
	return 0, false
}
