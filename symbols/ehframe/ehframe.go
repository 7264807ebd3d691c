// Package ehframe reads from a program's unwind information (.eh_frame), which
// survives stripping, where its pieces of code begin and end, which of them
// are entered by calls, and how a frame's caller is found.
//
// It is pure: bytes in, ranges and registers out. It must not import anything of this module,
// and it must not trust a byte of its input.
//
// The format is that of the Linux Standard Base Core Specification 5.0,
// section 10.6, and DWARF 5, section 6.4.
package ehframe

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// Piece is a run of code with unwind information of its own: a function, or a
// part of one that the compiler moved away.
type Piece struct {
	Low, High uint64 // High is the first address beyond
	// Called says that at Low the frame is as a call leaves it. A part of a
	// function is entered by jumps, mostly with a frame set up.
	Called bool

	cie, start, end uint32 // offsets in the section: of the common entry, of the instructions
}

// Table knows the pieces of a program. It refers to the section it was made
// from. It is immutable and safe for concurrent use.
type Table struct {
	section []byte
	pieces  []Piece // by Low
	cies    map[int]cie
	machine Machine
}

// Machine says what a frame looks like when a call has just been made: the
// DWARF register and the offset by which the canonical frame address is known.
type Machine struct {
	Register uint64
	Offset   uint64
}

// The machines.
var (
	AMD64 = Machine{Register: 7, Offset: 8}
	ARM64 = Machine{Register: 31, Offset: 0}
)

// New reads a .eh_frame section that lies at an address. Records that are
// damaged are left out.
func New(section []byte, addr uint64, m Machine) *Table {
	p := parser{section: section, addr: addr, machine: m, cies: map[int]cie{}}
	t := &Table{section: section, pieces: p.pieces(), cies: p.cies, machine: m}
	slices.SortFunc(t.pieces, func(a, b Piece) int { return cmp.Compare(a.Low, b.Low) })
	return t
}

// Find returns the piece that contains an address.
func (t *Table) Find(addr uint64) (Piece, bool) {
	i, ok := slices.BinarySearchFunc(t.pieces, addr, func(p Piece, addr uint64) int { return cmp.Compare(p.Low, addr) })
	if !ok {
		i--
	}
	if i < 0 || addr >= t.pieces[i].High {
		return Piece{}, false
	}
	return t.pieces[i], true
}

// Len is the number of pieces.
func (t *Table) Len() int { return len(t.pieces) }

type parser struct {
	section []byte
	addr    uint64
	machine Machine
	cies    map[int]cie
}

// cie is what a common information entry says for all that refer to it.
type cie struct {
	ok        bool
	augmented bool  // its entries have augmentation data
	encoding  uint8 // of addresses
	frame     frame

	codeAlign  uint64
	dataAlign  int64
	column     uint64 // of the return address
	signal     bool   // its frames were interrupted, not called from
	start, end int    // offsets of its instructions
}

// frame is the rule for the canonical frame address.
type frame struct {
	register, offset uint64
	known            bool
}

func (p *parser) pieces() (out []Piece) {
	for off := 0; off+4 <= len(p.section); {
		b := reader{data: p.section, off: off}
		length := uint64(b.u32())
		if length == 0xffffffff {
			length = b.u64()
		}
		if length == 0 { // a terminator; another object's records may follow
			off = b.off
			continue
		}
		if b.bad || length > uint64(len(p.section)-b.off) {
			return out
		}
		start := b.off
		off = start + int(length)
		b.data = b.data[:off]
		if id := b.u32(); id != 0 && !b.bad {
			if piece, ok := p.entry(&b, start-int(id)); ok {
				out = append(out, piece)
			}
		}
	}
	return out
}

// entry reads a frame description entry whose common part lies at an offset.
func (p *parser) entry(b *reader, at int) (Piece, bool) {
	c, ok := p.cies[at]
	if !ok {
		c = p.common(at)
		p.cies[at] = c
	}
	if !c.ok {
		return Piece{}, false
	}
	low := b.encoded(c.encoding, p.addr)
	size := b.encoded(c.encoding&0x0f, 0)
	if c.augmented {
		b.skip(b.uleb())
	}
	if b.bad || low == 0 || size == 0 || low+size < low {
		return Piece{}, false
	}
	f, start := c.frame, b.off
	f.run(b)
	called := f.known && f.register == p.machine.Register && f.offset == p.machine.Offset
	return Piece{Low: low, High: low + size, Called: called, cie: uint32(at), start: uint32(start), end: uint32(len(b.data))}, true
}

// maxCommon bounds the bytes of a common information entry; real ones have some
// thirty. A forged one could be read again for every entry.
const maxCommon = 1 << 10

// common reads a common information entry.
func (p *parser) common(at int) (c cie) {
	if at < 0 || at+4 > len(p.section) {
		return c
	}
	b := reader{data: p.section, off: at}
	length := uint64(b.u32())
	if length == 0xffffffff {
		length = b.u64()
	}
	if b.bad || length > maxCommon || length > uint64(len(p.section)-b.off) {
		return c
	}
	b.data = b.data[:b.off+int(length)]
	if b.u32() != 0 {
		return c
	}
	version := b.u8()
	end := bytes.IndexByte(b.data[b.off:], 0)
	if end < 0 || version != 1 && version != 3 {
		return c
	}
	augmentation := string(b.data[b.off:][:end])
	b.off += end + 1
	c.codeAlign, c.dataAlign = b.uleb(), b.sleb()
	if version == 1 {
		c.column = uint64(b.u8())
	} else {
		c.column = b.uleb()
	}
	if !p.augmentation(&b, augmentation, &c) {
		return c
	}
	c.start, c.end = b.off, len(b.data)
	c.frame.run(&b)
	c.ok = !b.bad
	return c
}

// augmentation reads what the letters of an augmentation string announce.
func (p *parser) augmentation(b *reader, letters string, c *cie) bool {
	if letters == "" {
		return true
	}
	if letters[0] != 'z' {
		return false
	}
	c.augmented = true
	n := b.uleb()
	if b.bad || n > uint64(len(b.data)-b.off) {
		return false
	}
	end := b.off + int(n)
	for _, l := range letters[1:] {
		switch l {
		case 'R':
			c.encoding = b.u8()
		case 'P':
			b.encoded(b.u8()&0x7f, 0)
		case 'L':
			b.u8()
		case 'S':
			c.signal = true
		}
	}
	b.off = end
	return !b.bad
}

// Call frame instructions (DWARF 5, section 7.24).
const (
	cfaAdvance       = 0x40 // in the two high bits
	cfaOffset        = 0x80
	cfaRestore       = 0xc0
	cfaSetLoc        = 0x01
	cfaAdvance1      = 0x02
	cfaAdvance2      = 0x03
	cfaAdvance4      = 0x04
	cfaOffsetLong    = 0x05
	cfaRestoreLong   = 0x06
	cfaUndefined     = 0x07
	cfaSame          = 0x08
	cfaRegister      = 0x09
	cfaRemember      = 0x0a
	cfaRestoreState  = 0x0b
	cfaDefCFA        = 0x0c
	cfaDefCFAReg     = 0x0d
	cfaDefCFAOffset  = 0x0e
	cfaDefExpression = 0x0f
	cfaExpression    = 0x10
	cfaOffsetSigned  = 0x11
	cfaDefCFASigned  = 0x12
	cfaDefOffsetSgnd = 0x13
	cfaValOffset     = 0x14
	cfaValOffsetSgnd = 0x15
	cfaValExpression = 0x16
	cfaGNUWindowSave = 0x2d // arm64: the return address is signed, or not any more
	cfaGNUArgsSize   = 0x2e
)

// run follows the instructions that hold at the first address.
func (f *frame) run(b *reader) {
	for b.off < len(b.data) && !b.bad {
		op := b.u8()
		switch op & 0xc0 {
		case cfaAdvance:
			return
		case cfaOffset:
			b.uleb()
			continue
		case cfaRestore:
			continue
		}
		switch op {
		case cfaSetLoc, cfaAdvance1, cfaAdvance1 + 1, cfaAdvance4:
			return
		case cfaDefCFA:
			*f = frame{register: b.uleb(), offset: b.uleb(), known: true}
		case cfaDefCFAReg:
			f.register = b.uleb()
		case cfaDefCFAOffset:
			f.offset = b.uleb()
		case cfaDefExpression:
			f.known = false
			b.skip(b.uleb())
		case 0x00, 0x0a, 0x0b, 0x2d: // nop, remember, restore, negate_ra_state
		case 0x06, 0x07, 0x08, 0x2e: // one number
			b.uleb()
		case 0x05, 0x09, 0x11, 0x14, 0x15: // two numbers
			b.uleb()
			b.uleb()
		case 0x10, 0x16: // a number and a block
			b.uleb()
			b.skip(b.uleb())
		default:
			f.known = false
			return
		}
	}
}

// reader reads a record. Reading past its end sets bad and yields zeros.
type reader struct {
	data []byte
	off  int
	bad  bool
}

func (b *reader) take(n int) []byte {
	if n > len(b.data)-b.off {
		b.bad = true
		b.off = len(b.data)
		return make([]byte, 8)
	}
	b.off += n
	return b.data[b.off-n:]
}

func (b *reader) u8() uint8   { return b.take(1)[0] }
func (b *reader) u16() uint16 { return binary.LittleEndian.Uint16(b.take(2)) }
func (b *reader) u32() uint32 { return binary.LittleEndian.Uint32(b.take(4)) }
func (b *reader) u64() uint64 { return binary.LittleEndian.Uint64(b.take(8)) }

func (b *reader) skip(n uint64) {
	if n > uint64(len(b.data)-b.off) {
		b.bad = true
		n = uint64(len(b.data) - b.off)
	}
	b.off += int(n)
}

func (b *reader) uleb() uint64 {
	v := uint64(0)
	for shift := uint(0); b.off < len(b.data); shift += 7 {
		c := b.data[b.off]
		b.off++
		if shift < 64 {
			v |= uint64(c&0x7f) << shift
		}
		if c < 0x80 {
			return v
		}
	}
	b.bad = true
	return 0
}

func (b *reader) sleb() int64 {
	v := int64(0)
	for shift := uint(0); b.off < len(b.data); {
		c := b.data[b.off]
		b.off++
		if shift < 64 {
			v |= int64(c&0x7f) << shift
		}
		if shift += 7; c < 0x80 {
			if c&0x40 != 0 && shift < 64 {
				v |= -1 << shift
			}
			return v
		}
	}
	b.bad = true
	return 0
}

// Pointer encodings (LSB, section 10.5.1).
const (
	encPCRelative = 0x10
	encOmit       = 0xff
)

// encoded reads a pointer. base is the address of the section.
func (b *reader) encoded(encoding uint8, base uint64) uint64 {
	if encoding == encOmit {
		return 0
	}
	at := base + uint64(b.off)
	var v uint64
	switch encoding & 0x0f {
	case 0x00, 0x04, 0x0c:
		v = b.u64()
	case 0x02:
		v = uint64(b.u16())
	case 0x03:
		v = uint64(b.u32())
	case 0x0a:
		v = uint64(int64(int16(b.u16())))
	case 0x0b:
		v = uint64(int64(int32(b.u32())))
	default:
		b.bad = true
	}
	switch encoding & 0x70 {
	case 0:
	case encPCRelative:
		v += at
	default:
		b.bad = true
	}
	return v
}
