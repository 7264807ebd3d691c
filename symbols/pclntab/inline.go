package pclntab

import "encoding/binary"

// Frame is a function's place in a stack. Its strings refer to the table's bytes.
type Frame struct {
	Name string
	File string
	Line int // 0 when unknown
}

// Of package runtime (symtab.go, symtabinl.go) and internal/abi (symtab.go).
const (
	pcdataInlTreeIndex = 2
	funcdataInlTree    = 3
	inlinedCallSize    = 16 // runtime.inlinedCall
)

// maxInlined bounds how deep calls are inlined.
const maxInlined = 64

// maxTable bounds the bytes of one pc-value table.
const maxTable = 1 << 18

// Frames lists the functions that an instruction of f belongs to, the innermost
// first: those that were inlined, and at last f itself. data reads memory from
// an offset of go:func.* on; nil where that isn't known: then only what the
// instruction belongs to at first hand is told, under f's name.
func (t *Table) Frames(f Func, addr uint64, data func(offset uint32) []byte) []Frame {
	var out []Frame
	tree, known := f.word(f.funcdata, funcdataInlTree)
	known = known && tree != 1<<32-1 && data != nil
	for len(out) < maxInlined {
		place := Frame{Name: f.Name, File: t.file(f, t.value(f.pcfile, f, addr)), Line: int(max(t.value(f.pcln, f, addr), 0))}
		var call []byte
		if table, ok := f.word(f.pcdata, pcdataInlTreeIndex); known && ok {
			if i := t.value(table, f, addr); i >= 0 && i < 1<<20 {
				call = data(tree + uint32(i)*inlinedCallSize)
			}
		}
		if len(call) < inlinedCallSize {
			return append(out, place)
		}
		place.Name, _ = cstring(t.names, uint64(binary.LittleEndian.Uint32(call[4:])))
		out = append(out, place)
		addr = f.Addr + uint64(binary.LittleEndian.Uint32(call[8:]))
	}
	return out
}

// word is the i-th of a function's offsets.
func (Func) word(list []byte, i int) (uint32, bool) {
	if 4*i+4 > len(list) {
		return 0, false
	}
	return binary.LittleEndian.Uint32(list[4*i:]), true
}

// value looks an address of a function up in a pc-value table (runtime.pcvalue):
// -1 when it has none there.
func (t *Table) value(table uint32, f Func, addr uint64) int64 {
	if table == 0 || uint64(table) >= uint64(len(t.pcs)) || addr < f.Addr {
		return -1
	}
	b := t.pcs[table:]
	end := len(b) - maxTable
	value, pc := int64(-1), f.Addr
	for first := true; pc-f.Addr <= f.Size && len(b) > end; first = false {
		delta, n := binary.Uvarint(b)
		if n <= 0 || delta == 0 && !first {
			return -1
		}
		step, m := binary.Uvarint(b[n:])
		if m <= 0 {
			return -1
		}
		b = b[n+m:]
		value += int64(delta>>1) ^ -int64(delta&1)
		pc += step * t.quantum
		if addr < pc {
			return value
		}
		if step == 0 {
			return -1
		}
	}
	return -1
}
