package types

import "github.com/observatory-trace/observatory-trace/trace"

// placed is where a value lies at a function's entry or return.
type placed struct {
	pieces []piece
	// reference says that the pieces are the value's address.
	reference bool
	reason    string // why the whole value can't be had
}

// allocator hands out the registers and stack words of one call.
type allocator struct {
	arch  Arch
	conv  convention
	ints  int    // integer registers taken
	fl    int    // vector registers taken
	stack uint32 // bytes of arguments in memory
	// astray: it isn't known any more which registers are taken.
	astray bool
}

func (r *Reader) allocate(conv convention) *allocator {
	return &allocator{arch: r.arch, conv: conv}
}

func alignUp(n, align uint32) uint32 {
	if align <= 1 {
		return n
	}
	return (n + align - 1) / align * align
}

// integer takes the next integer register.
func (a *allocator) integer() (uint8, bool) {
	if a.ints >= len(a.conv.ints) {
		return 0, false
	}
	a.ints++
	return a.conv.ints[a.ints-1], true
}

// memory takes size bytes of the argument area.
func (a *allocator) memory(size, align uint32) placed {
	a.stack = alignUp(a.stack, align)
	at := a.stack
	a.stack += size
	if a.stack > 1<<24 {
		return placed{reason: "too large"}
	}
	return placed{pieces: []piece{{size: size, source: trace.SourceCFA, at: a.conv.stack + int32(at)}}}
}

// lost is a piece that no probe can read.
func (a *allocator) lost(l leaf) piece {
	return piece{off: l.off, size: l.size, source: trace.SourceRegister, reason: a.arch.vectorReason()}
}

// goValue assigns one parameter or result of Go (cmd/compile/abi-internal.md,
// "Argument and result assignment algorithm"): registers for all of it, or memory.
func (a *allocator) goValue(n *node) placed {
	ints, fl := a.ints, a.fl
	if n.t.Size == 0 {
		a.stack = alignUp(a.stack, n.align)
		return placed{}
	}
	pieces, ok := a.goRegisters(n)
	if ok {
		return placed{pieces: pieces}
	}
	a.ints, a.fl = ints, fl
	return a.memory(n.t.Size, n.align)
}

func (a *allocator) goRegisters(n *node) ([]piece, bool) {
	if n.array || n.many || n.union {
		return nil, false
	}
	var pieces []piece
	for _, l := range n.leaves {
		if l.class == classFloat {
			if a.fl++; a.fl > a.conv.floats {
				return nil, false
			}
			pieces = append(pieces, a.lost(l))
			continue
		}
		reg, ok := a.integer()
		if !ok || l.size > 8 {
			return nil, false
		}
		pieces = append(pieces, piece{off: l.off, size: l.size, source: trace.SourceRegister, reg: reg})
	}
	return pieces, true
}

// eightbytes classifies a value as System V AMD64 section 3.2.3 does. ok is
// false for class MEMORY.
func eightbytes(n *node) (classes []class, ok bool) {
	size := n.t.Size
	vector := len(n.leaves) == 1 && n.leaves[0].class == classVector && size <= 64
	if n.many || size > 16 && !vector {
		return nil, false
	}
	classes = make([]class, (size+7)/8)
	for i := range classes {
		classes[i] = noClass
	}
	for _, l := range n.leaves {
		if !l.bits && l.class != classVector && l.off%min(l.size, 16) != 0 {
			return nil, false // unaligned
		}
		for i := l.off / 8; i <= (l.off+l.size-1)/8 && int(i) < len(classes); i++ {
			classes[i] = merge(classes[i], l.class)
		}
	}
	return classes, true
}

// noClass is the class of padding.
const noClass class = 0xff

func merge(a, b class) class {
	switch {
	case a == noClass:
		return b
	case a == classInt || b == classInt:
		return classInt
	case a == classX87 || b == classX87:
		return classX87
	case a == classVector:
		return a
	default:
		return b
	}
}

// sysvArgument places one argument of a C or C++ function on AMD64.
func (a *allocator) sysvArgument(n *node) placed {
	if n.byRef {
		return a.pointer()
	}
	if n.t.Size == 0 || len(n.leaves) == 0 && !n.many {
		return placed{} // an empty class takes no place
	}
	classes, ok := eightbytes(n)
	if !ok || has(classes, classX87) {
		p := a.memory(alignUp(n.t.Size, 8), max(8, n.align))
		if len(p.pieces) > 0 {
			p.pieces[0].size = n.t.Size
		}
		return p
	}
	ints, fl := a.ints, a.fl
	pieces, ok := a.sysvRegisters(n, classes)
	if ok {
		return placed{pieces: pieces}
	}
	a.ints, a.fl = ints, fl
	p := a.memory(alignUp(n.t.Size, 8), max(8, n.align))
	if len(p.pieces) > 0 {
		p.pieces[0].size = n.t.Size
	}
	return p
}

func has(classes []class, c class) bool {
	for _, x := range classes {
		if x == c {
			return true
		}
	}
	return false
}

func (a *allocator) sysvRegisters(n *node, classes []class) ([]piece, bool) {
	var pieces []piece
	for i := 0; i < len(classes); i++ {
		l := leaf{off: uint32(i) * 8, size: min(8, n.t.Size-uint32(i)*8)}
		switch classes[i] {
		case classInt:
			reg, ok := a.integer()
			if !ok {
				return nil, false
			}
			pieces = append(pieces, piece{off: l.off, size: l.size, source: trace.SourceRegister, reg: reg})
		case classFloat, classVector:
			if a.fl++; a.fl > a.conv.floats {
				return nil, false
			}
			if classes[i] == classVector || n.leaves[0].size == 16 { // one register for the whole
				l.size, i = n.t.Size-l.off, len(classes)
			}
			pieces = append(pieces, a.lost(l))
		}
	}
	return pieces, true
}

// pointer places the address of a value passed by invisible reference.
func (a *allocator) pointer() placed {
	if reg, ok := a.integer(); ok {
		return placed{reference: true, pieces: []piece{{size: 8, source: trace.SourceRegister, reg: reg}}}
	}
	p := a.memory(8, 8)
	p.reference = true
	return p
}

// sysvResult places a result at RET. hidden says that the caller passed the
// result's address as a first argument.
func (a *allocator) sysvResult(n *node) (p placed, hidden bool) {
	if !n.byRef && (n.t.Size == 0 || len(n.leaves) == 0 && !n.many) {
		return placed{}, false
	}
	classes, ok := eightbytes(n)
	if n.byRef || !ok || has(classes, classX87) && len(n.leaves) > 2 {
		return placed{reference: true, pieces: []piece{{size: 8, source: trace.SourceRegister, reg: rax}}}, true
	}
	if has(classes, classX87) {
		if classes[0] != classX87 {
			return placed{reference: true, pieces: []piece{{size: 8, source: trace.SourceRegister, reg: rax}}}, true
		}
		return placed{reason: "in x87 register"}, false
	}
	back := allocator{arch: a.arch, conv: convention{ints: a.conv.results, floats: a.conv.fout}}
	pieces, _ := back.sysvRegisters(n, classes)
	return placed{pieces: pieces}, false
}

// hidden takes the register in which the caller passes the result's address.
func (a *allocator) hidden() {
	if a.arch == AMD64 {
		a.integer()
	}
	// On ARM64 it is x8, which carries no arguments.
}

// aapcsArgument places one argument on ARM64 (AAPCS64 section 6.8.2).
func (a *allocator) aapcsArgument(n *node) placed {
	size := n.t.Size
	switch {
	case n.byRef:
		return a.pointer()
	case size == 0 || len(n.leaves) == 0 && !n.many:
		return placed{}
	}
	if count := homogeneous(n); count > 0 {
		if a.fl+count <= a.conv.floats {
			a.fl += count
			return placed{reason: a.arch.vectorReason()}
		}
		a.fl = a.conv.floats
		return a.aapcsMemory(n)
	}
	if size > 16 {
		return a.pointer()
	}
	words := int(alignUp(size, 8) / 8)
	if n.align >= 16 {
		a.ints += a.ints & 1
	}
	if a.ints+words > len(a.conv.ints) {
		a.ints = len(a.conv.ints)
		return a.aapcsMemory(n)
	}
	return placed{pieces: a.words(size)}
}

func (a *allocator) aapcsMemory(n *node) placed {
	p := a.memory(alignUp(n.t.Size, 8), max(8, min(n.align, 16)))
	if len(p.pieces) > 0 {
		p.pieces[0].size = n.t.Size
	}
	return p
}

// words takes as many integer registers as size bytes need.
func (a *allocator) words(size uint32) []piece {
	var pieces []piece
	for off := uint32(0); off < size; off += 8 {
		reg, ok := a.integer()
		if !ok {
			break
		}
		pieces = append(pieces, piece{off: off, size: min(8, size-off), source: trace.SourceRegister, reg: reg})
	}
	return pieces
}

// homogeneous returns how many vector registers a homogeneous floating-point
// (or short-vector) aggregate takes, 0 when the value isn't one.
func homogeneous(n *node) int {
	if n.many || len(n.leaves) == 0 || len(n.leaves) > 4 {
		return 0
	}
	for _, l := range n.leaves {
		if l.class == classInt || l.size != n.leaves[0].size {
			return 0
		}
	}
	return len(n.leaves)
}

// aapcsResult places a result on ARM64. The address of one in memory comes in
// x8, which isn't kept until the return.
func (a *allocator) aapcsResult(n *node) (placed, bool) {
	switch {
	case n.byRef:
		return savedResult(n, x8), true
	case n.t.Size == 0 || len(n.leaves) == 0 && !n.many:
		return placed{}, false
	case homogeneous(n) > 0:
		return placed{reason: a.arch.vectorReason()}, false
	case n.t.Size > 16:
		return savedResult(n, x8), true
	}
	back := allocator{arch: a.arch, conv: convention{ints: a.conv.results}}
	return placed{pieces: back.words(n.t.Size)}, false
}
