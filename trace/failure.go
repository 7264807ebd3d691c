package trace

import "encoding/binary"

// Failure says how the results of a call tell that it failed: a word of them is one of
// Span + 1 values from Low on, modulo its size. The probes test it, and so does Holds.
type Failure struct {
	Rule   string // the rule that it is made from, empty for the language's own
	Offset uint32 // of the word in the root of the exit plan, bytes
	Size   uint8  // of the word: 1, 2, 4 or 8 bytes
	// Int: the word is a whole register, of which nobody knows whether it holds an int: one
	// with bit 31 and nothing above it is taken for a negative one.
	Int       bool
	Low, Span uint64
}

// Holds says whether a root block tells that the call failed.
func (f *Failure) Holds(root []byte) bool {
	if uint64(f.Offset)+uint64(f.Size) > uint64(len(root)) {
		return false
	}
	var b [8]byte
	copy(b[:f.Size], root[f.Offset:])
	word := binary.LittleEndian.Uint64(b[:])
	if f.Int && word>>31 == 1 {
		word |= 0xffff_ffff << 32
	}
	return (word-f.Low)&(^uint64(0)>>(64-8*f.Size)) <= f.Span
}

// ErrnoPlace is where the C library of a file keeps errno: so many bytes from the thread
// pointer, or as many as a word of its running process says.
type ErrnoPlace struct {
	Offset int32  // bytes
	Slot   uint64 // virtual address of that word in the file; 0: it is Offset
}
