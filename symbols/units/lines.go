package units

import (
	"cmp"
	"slices"
)

// lineHeader is the header of a unit's line table (section 6.2.4).
type lineHeader struct {
	version    uint16
	dwarf64    bool
	minLength  uint64 // bytes of an instruction, at least
	lineBase   int64
	lineRange  uint64
	opcodeBase uint8
	lengths    []byte // operands of the standard opcodes, from 1 on
	names      buf    // directories and files
	program    buf    // what follows the header
}

func (x *Index) lineHeader(u *Unit) (h lineHeader, ok bool) {
	if x.lines == nil && x.sec.Line != nil {
		x.lines = x.sec.Line()
	}
	b := buf{data: x.lines}
	b.skip64(u.stmtList)
	length := uint64(b.u32())
	if length == 0xffffffff {
		h.dwarf64 = true
		length = b.u64()
	}
	if b.bad || length > uint64(len(b.data)-b.off) {
		return h, false
	}
	b.data = b.data[:b.off+int(length)]
	h.version = b.u16()
	if h.version < 2 || h.version > 5 {
		return h, false
	}
	if h.version == 5 {
		b.skip(2) // address_size, segment_selector_size
	}
	headerLength := b.offset(h.dwarf64)
	if b.bad || headerLength > uint64(len(b.data)-b.off) {
		return h, false
	}
	h.program = buf{data: b.data, off: b.off + int(headerLength)}
	b.data = b.data[:h.program.off]
	h.minLength = uint64(b.u8())
	if h.version >= 4 {
		b.skip(1) // maximum_operations_per_instruction
	}
	b.skip(1) // default_is_stmt
	h.lineBase, h.lineRange, h.opcodeBase = int64(int8(b.u8())), uint64(b.u8()), b.u8()
	h.lengths = b.take(max(int(h.opcodeBase)-1, 0))
	h.names = b
	return h, !b.bad
}

// row says where the code from an address on comes from.
type row struct {
	addr       uint64
	file, line uint32
}

// sequence is rows of contiguous code, by address.
type sequence struct {
	Range
	rows []row
}

// rowCache keeps the line tables of a few units.
type rowCache struct {
	units map[*Unit][]sequence
	n     int // rows of all
}

// maxRows bounds the rows that are kept, and those of one unit.
const maxRows = 1 << 20

// Line tells the source file and line of an instruction of a unit; the line is
// 0 when it isn't known.
func (x *Index) Line(u *Unit, addr uint64) (file string, line int) {
	if !u.hasLines {
		return "", 0
	}
	list, ok := x.rows.units[u]
	if !ok {
		var n int
		list, n = x.readRows(u)
		if x.rows.n += n; x.rows.units == nil || x.rows.n > maxRows {
			x.rows = rowCache{units: map[*Unit][]sequence{}, n: n}
		}
		x.rows.units[u] = list
	}
	for i := range list {
		s := &list[i]
		if addr < s.Low || addr >= s.High {
			continue
		}
		j, exact := slices.BinarySearchFunc(s.rows, addr, func(r row, addr uint64) int { return cmp.Compare(r.addr, addr) })
		// Of several rows of one address the last one holds.
		for exact && j+1 < len(s.rows) && s.rows[j+1].addr == addr {
			j++
		}
		if !exact {
			j--
		}
		if j < 0 {
			return "", 0
		}
		return x.file(u, uint64(s.rows[j].file)), int(s.rows[j].line)
	}
	return "", 0
}

// Opcodes of line programs (section 7.22).
const (
	lnsCopy           = 0x01
	lnsAdvancePC      = 0x02
	lnsAdvanceLine    = 0x03
	lnsSetFile        = 0x04
	lnsConstAddPC     = 0x08
	lnsFixedAdvancePC = 0x09
	lneEndSequence    = 0x01
	lneSetAddress     = 0x02
)

// lineMachine executes a line program (section 6.2.5).
type lineMachine struct {
	lineHeader
	row  row
	line int64
	seq  []row
	out  []sequence
	n    int
}

// readRows executes a unit's line program.
func (x *Index) readRows(u *Unit) ([]sequence, int) {
	h, ok := x.lineHeader(u)
	if !ok || h.lineRange == 0 {
		return nil, 0
	}
	m := lineMachine{lineHeader: h}
	m.reset()
	for b := &m.program; b.off < len(b.data) && !b.bad && m.n < maxRows; {
		switch op := b.u8(); {
		case op >= m.opcodeBase:
			m.advance(uint64(op-m.opcodeBase) / m.lineRange)
			m.line += m.lineBase + int64(uint64(op-m.opcodeBase)%m.lineRange)
			m.add()
		case op == 0:
			m.extended(b, u)
		default:
			m.standard(op, b)
		}
	}
	return m.out, m.n
}

func (m *lineMachine) reset() { m.row, m.line, m.seq = row{file: 1}, 1, nil }

func (m *lineMachine) advance(n uint64) { m.row.addr += n * m.minLength }

// add appends a row. Code that no line is given for counts to the row before.
func (m *lineMachine) add() {
	if m.line <= 0 || m.line >= 1<<31 {
		return
	}
	m.row.line = uint32(m.line)
	if n := len(m.seq); n > 0 && m.seq[n-1].addr > m.row.addr {
		return // damage: addresses only grow
	}
	m.seq = append(m.seq, m.row)
	m.n++
}

func (m *lineMachine) standard(op uint8, b *buf) {
	switch op {
	case lnsCopy:
		m.add()
	case lnsAdvancePC:
		m.advance(b.uleb())
	case lnsAdvanceLine:
		m.line += b.sleb()
	case lnsSetFile:
		m.row.file = uint32(b.uleb())
	case lnsConstAddPC:
		m.advance(uint64(255-m.opcodeBase) / m.lineRange)
	case lnsFixedAdvancePC:
		m.row.addr += uint64(b.u16())
	default: // of no matter here, or unknown
		for range m.lengths[op-1] {
			b.uleb()
		}
	}
}

func (m *lineMachine) extended(b *buf, u *Unit) {
	n := b.uleb()
	if n == 0 || n > uint64(len(b.data)-b.off) {
		b.bad = true
		return
	}
	end := b.off + int(n)
	switch b.u8() {
	case lneEndSequence:
		if len(m.seq) > 0 {
			m.out = append(m.out, sequence{Range{m.seq[0].addr, m.row.addr}, m.seq})
		}
		m.reset()
	case lneSetAddress:
		m.row.addr = b.addr(int(n) - 1)
	}
	b.off = end
}
