package units

import (
	"bytes"
	"encoding/binary"
	"unsafe"
)

// buf reads a section. Reading past its end sets bad and yields zeros.
type buf struct {
	data []byte
	off  int
	bad  bool
}

func (b *buf) take(n int) []byte {
	if n < 0 || n > len(b.data)-b.off {
		b.bad = true
		b.off = len(b.data)
		return nil
	}
	p := b.data[b.off:][:n]
	b.off += n
	return p
}

func (b *buf) skip(n int) { b.take(n) }

func (b *buf) skip64(n uint64) {
	if n > uint64(len(b.data)) {
		b.bad = true
		b.off = len(b.data)
		return
	}
	b.take(int(n))
}

func (b *buf) u8() uint8 {
	if p := b.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (b *buf) u16() uint16 {
	if p := b.take(2); p != nil {
		return binary.LittleEndian.Uint16(p)
	}
	return 0
}

func (b *buf) u24() uint32 {
	if p := b.take(3); p != nil {
		return uint32(p[0]) | uint32(p[1])<<8 | uint32(p[2])<<16
	}
	return 0
}

func (b *buf) u32() uint32 {
	if p := b.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (b *buf) u64() uint64 {
	if p := b.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

// offset reads a section offset: eight bytes in the 64-bit format.
func (b *buf) offset(dwarf64 bool) uint64 {
	if dwarf64 {
		return b.u64()
	}
	return uint64(b.u32())
}

func (b *buf) addr(size int) uint64 {
	if size == 4 {
		return uint64(b.u32())
	}
	return b.u64()
}

func (b *buf) uleb() uint64 {
	v, shift := uint64(0), uint(0)
	for {
		if b.off >= len(b.data) {
			b.bad = true
			return 0
		}
		c := b.data[b.off]
		b.off++
		if shift < 64 {
			v |= uint64(c&0x7f) << shift
		}
		shift += 7
		if c < 0x80 {
			return v
		}
	}
}

func (b *buf) sleb() int64 {
	v, shift := int64(0), uint(0)
	for {
		if b.off >= len(b.data) {
			b.bad = true
			return 0
		}
		c := b.data[b.off]
		b.off++
		if shift < 64 {
			v |= int64(c&0x7f) << shift
		}
		shift += 7
		if c < 0x80 {
			if c&0x40 != 0 && shift < 64 {
				v |= -1 << shift
			}
			return v
		}
	}
}

// maxString bounds names: longer ones are damage.
const maxString = 1 << 16

// cstring reads a string in place. It refers to the section.
func (b *buf) cstring() string {
	if b.off >= len(b.data) {
		b.bad = true
		return ""
	}
	rest := b.data[b.off:]
	n := bytes.IndexByte(rest, 0)
	if n < 0 {
		b.bad = true
		b.off = len(b.data)
		return ""
	}
	b.off += n + 1
	if n == 0 || n > maxString {
		return ""
	}
	return unsafe.String(&rest[0], n)
}

// cstringAt reads the string at an offset of a section; empty when there is none.
func cstringAt(section []byte, off uint64) string {
	if off >= uint64(len(section)) {
		return ""
	}
	b := buf{data: section, off: int(off)}
	return b.cstring()
}
