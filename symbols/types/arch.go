package types

import "strconv"

// Arch is a processor architecture: it decides which registers carry values.
type Arch uint8

// The architectures.
const (
	AMD64 Arch = iota + 1
	ARM64
)

// DWARF register numbers of AMD64 (System V ABI AMD64, figure 3.36).
const (
	rax = 0
	rdx = 1
	rcx = 2
	rbx = 3
	rsi = 4
	rdi = 5
	r8  = 8
	r9  = 9
	r10 = 10
	r11 = 11
)

// firstVector is the DWARF number of xmm0 or v0: from there on, registers
// can't be read from a probe.
func (a Arch) firstVector() uint64 {
	if a == ARM64 {
		return 64
	}
	return 17
}

// vectorReason says why a value in a floating-point register is not to be had.
func (a Arch) vectorReason() string {
	if a == ARM64 {
		return "in SIMD register"
	}
	return "in SSE register"
}

var amd64Names = [16]string{
	"rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
}

// registerName is the name of a general register by its DWARF number.
func (a Arch) registerName(n uint8) string {
	switch {
	case a == ARM64 && n == 31:
		return "sp"
	case a == ARM64 && n < 31:
		return "x" + strconv.Itoa(int(n))
	case a == AMD64 && int(n) < len(amd64Names):
		return amd64Names[n]
	default:
		return "reg" + strconv.Itoa(int(n))
	}
}

// convention is the registers of one calling convention.
type convention struct {
	ints    []uint8 // carry integers and pointers in, in order
	floats  int     // how many vector registers carry floats in
	results []uint8 // carry integers and pointers out
	fout    int     // how many vector registers carry floats out
	stack   int32   // bytes from the CFA to the first argument in memory
}

func sequence(n int) []uint8 {
	s := make([]uint8, n)
	for i := range s {
		s[i] = uint8(i)
	}
	return s
}

// cConvention: System V AMD64 section 3.2.3; AAPCS64 section 6.8.
func (a Arch) cConvention() convention {
	if a == ARM64 {
		return convention{ints: sequence(8), floats: 8, results: sequence(8), fout: 8}
	}
	return convention{ints: []uint8{rdi, rsi, rdx, rcx, r8, r9}, floats: 8, results: []uint8{rax, rdx}, fout: 2}
}

// goConvention is ABIInternal (cmd/compile/abi-internal.md), or ABI0, which
// has no registers. On ARM64 the caller keeps the word at its stack pointer for the link register.
func (a Arch) goConvention(abi0 bool) convention {
	var c convention
	if a == ARM64 {
		c.stack = 8
	}
	if abi0 {
		return c
	}
	if a == ARM64 {
		c.ints, c.floats = sequence(16), 16
	} else {
		c.ints, c.floats = []uint8{rax, rbx, rcx, rdi, rsi, r8, r9, r10, r11}, 15
	}
	c.results, c.fout = c.ints, c.floats
	return c
}
