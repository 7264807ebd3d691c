package sites

// x86 is a decoded amd64 instruction. Sources: Intel SDM volume 2 (chapter 2
// and appendix A), AMD64 APM volume 3.
type x86 struct {
	imm    int64 // immediate or relative displacement, sign-extended
	disp   int32
	prefix prefixes
	size   uint8
	enc    encoding
	opmap  uint8 // 0: one byte, 1: 0F, 2: 0F 38, 3: 0F 3A; EVEX also 5 and 6
	op     uint8
	rex    uint8 // 0 or 0x40 to 0x4f
	modrm  bool
	mod    uint8
	reg    uint8 // extended to 4 bits
	rm     uint8 // extended to 4 bits; names a register when mod is 3
	base   int8  // memory operand: 0 to 15, regRIP or regNone
	index  int8  // memory operand: 0 to 15 or regNone
	scale  uint8 // 1, 2, 4, 8
	odd    bool
}

type prefixes uint8

const (
	prefix66 prefixes = 1 << iota
	prefix67
	prefixF2
	prefixF3
	prefixLock
	prefixSeg // ES, CS, SS, DS: without effect, but for notrack and branch hints
	prefixFS
	prefixGS
)

type encoding uint8

const (
	encLegacy encoding = iota
	encVEX
	encEVEX
)

const (
	regNone int8 = -1
	regRIP  int8 = 16
)

// x86MaxSize is the architecture's limit on an instruction's length, in bytes.
const x86MaxSize = 15

// What follows an opcode, one character an opcode, a line of 16 each:
//
//	. nothing     m ModRM       n ModRM, odd
//	b imm8        z imm16/32    w imm16   W imm16, odd   v imm16/32/64
//	B ModRM imm8  Z ModRM imm16/32        g ModRM, an immediate when reg < 2
//	j rel8        J rel32       e imm16 imm8             a absolute address
//	o odd         O imm8, odd   x invalid                p prefix or escape
const x86OneByte = "" +
	"mmmmbzxxmmmmbzxp" + // 00
	"mmmmbzxxmmmmbzxx" + // 10
	"mmmmbzpxmmmmbzpx" + // 20
	"mmmmbzpxmmmmbzpx" + // 30
	"pppppppppppppppp" + // 40
	"................" + // 50
	"xxpmppppzZbBoooo" + // 60
	"jjjjjjjjjjjjjjjj" + // 70
	"BZxBmmmmmmmmmmmm" + // 80
	"..........x....." + // 90
	"aaaa....bz......" + // a0
	"bbbbbbbbvvvvvvvv" + // b0
	"BBw.ppBZe.Wo.Oxo" + // c0
	"mmmmxxx.mmmmmmmm" + // d0
	"jjjjOOOOJJxjoooo" + // e0
	"popp..gg..oo..mm" //   f0

const x86TwoByte = "" +
	"nmmmx.oooox.xmxx" + // 00
	"mmmmmmmmmmmmmmmm" + // 10
	"xxxxxxxxmmmmmmmm" + // 20: moves to and from control registers are privileged
	"o.o.ooxopxpxxxxx" + // 30
	"mmmmmmmmmmmmmmmm" + // 40
	"mmmmmmmmmmmmmmmm" + // 50
	"mmmmmmmmmmmmmmmm" + // 60
	"BBBBmmm.xxxxmmmm" + // 70
	"JJJJJJJJJJJJJJJJ" + // 80
	"mmmmmmmmmmmmmmmm" + // 90
	"...mBmmm..omBmmm" + // a0
	"mmmmmmmmmmBmmmmm" + // b0
	"mmBmBBBm........" + // c0
	"mmmmmmmmmmmmmmmm" + // d0
	"mmmmmmmmmmmmmmmm" + // e0
	"mmmmmmmmmmmmmmmx" //   f0

// plainTails has what follows those one-byte opcodes that are neither jumps nor
// in need of a look at their operands, and zero for the others.
var plainTails = func() (t [256]byte) {
	for op := range t {
		switch tail := x86OneByte[op]; {
		case tail != 'm' && tail != 'B' && tail != 'Z':
		case op >= 0x8c && op <= 0x8f, op == 0xc6, op == 0xc7, op >= 0xfe: // see validOneByte
		default:
			t[op] = tail
		}
	}
	return t
}()

// plainSize is the size of the instruction at the start of code when it is one
// of the most frequent kind: an opcode of plainTails with no prefix but REX. It
// is zero for any other. It only saves time: decode says the same of these.
func plainSize(code []byte) int {
	if len(code) < x86MaxSize {
		return 0
	}
	n := 0
	if code[0]&0xf0 == 0x40 {
		n = 1
	}
	tail, mod, rm := plainTails[code[n]], code[n+1]>>6, code[n+1]&7
	if tail == 0 {
		return 0
	}
	n += 2
	if mod != 3 && rm == 4 {
		rm = code[n] & 7 // the base in the SIB byte
		n++
	}
	switch {
	case mod == 1:
		n++
	case mod == 2, mod == 0 && rm == 5:
		n += 4
	}
	switch tail {
	case 'B':
		n++
	case 'Z':
		n += 4
	}
	return n
}

// decode reads the instruction at the start of code. It is false when the bytes
// are no instruction, or one that isn't known.
func (x *x86) decode(code []byte) bool {
	*x = x86{base: regNone, index: regNone}
	if len(code) > x86MaxSize {
		code = code[:x86MaxSize]
	}
	i, ok := x.decodePrefixes(code)
	if !ok || i >= len(code) {
		return false
	}
	switch code[i] {
	case 0xc4, 0xc5:
		i, ok = x.decodeVEX(code, i)
	case 0x62:
		i, ok = x.decodeEVEX(code, i)
	case 0x0f:
		i, ok = x.decodeEscape(code, i+1)
	default:
		x.op = code[i]
		i++
	}
	if !ok {
		return false
	}
	tail := x.tail()
	if tail == 'x' {
		return false
	}
	if hasModRM(tail) {
		if i, ok = x.decodeModRM(code, i); !ok {
			return false
		}
	}
	n := x.immSize(tail)
	if i+n > len(code) || !x.valid() {
		return false
	}
	x.readImm(code[i : i+n])
	x.odd = x.odd || tail == 'o' || tail == 'O' || tail == 'W' || tail == 'n'
	x.size = uint8(i + n)
	return true
}

func (x *x86) decodePrefixes(code []byte) (next int, ok bool) {
	for i, b := range code {
		switch b {
		case 0x66:
			x.prefix |= prefix66
		case 0x67:
			x.prefix |= prefix67
		case 0xf2:
			x.prefix |= prefixF2
		case 0xf3:
			x.prefix |= prefixF3
		case 0xf0:
			x.prefix |= prefixLock
		case 0x26, 0x2e, 0x36, 0x3e:
			x.prefix |= prefixSeg
		case 0x64:
			x.prefix |= prefixFS
		case 0x65:
			x.prefix |= prefixGS
		default:
			if b&0xf0 != 0x40 {
				return i, true
			}
			// A REX prefix counts only right before the opcode; nobody emits it elsewhere.
			x.rex = b
			return i + 1, i+1 < len(code) && x86OneByte[code[i+1]] != 'p' ||
				i+1 < len(code) && code[i+1] == 0x0f
		}
	}
	return 0, false
}

// vexable reports whether the prefixes allow a VEX or EVEX prefix to follow.
func (x *x86) vexable() bool {
	return x.rex == 0 && x.prefix&(prefix66|prefixF2|prefixF3|prefixLock) == 0
}

// setPP translates the compressed mandatory prefix of VEX and EVEX.
func (x *x86) setPP(b byte) {
	x.prefix |= [4]prefixes{0, prefix66, prefixF3, prefixF2}[b&3]
}

func (x *x86) decodeVEX(code []byte, i int) (next int, ok bool) {
	x.enc, x.opmap = encVEX, 1
	last := i + 1
	if code[i] == 0xc4 {
		last++
	}
	if last+1 >= len(code) || !x.vexable() {
		return 0, false
	}
	r := code[i+1]
	x.rex = 0x40 | ^r>>5&4 // R, inverted
	if code[i] == 0xc4 {
		x.rex = 0x40 | ^r>>5&7 | code[last]>>4&8 // R, X, B, inverted; W
		x.opmap = r & 0x1f
	}
	x.setPP(code[last])
	x.op = code[last+1]
	return last + 2, vexOpcode(x.opmap, x.op)
}

func (x *x86) decodeEVEX(code []byte, i int) (next int, ok bool) {
	if i+4 >= len(code) || !x.vexable() || code[i+1]&8 != 0 || code[i+2]&4 == 0 {
		return 0, false
	}
	x.enc, x.opmap = encEVEX, code[i+1]&7
	x.rex = 0x40 | ^code[i+1]>>5&7 | code[i+2]>>4&8
	x.setPP(code[i+2])
	x.op = code[i+4]
	switch x.opmap {
	case 1, 2, 3, 5, 6:
		return i + 5, true
	}
	return 0, false
}

func (x *x86) decodeEscape(code []byte, i int) (next int, ok bool) {
	if i >= len(code) {
		return 0, false
	}
	x.opmap, x.op = 1, code[i]
	if x.op != 0x38 && x.op != 0x3a {
		return i + 1, true
	}
	x.opmap = 2
	if x.op == 0x3a {
		x.opmap = 3
	}
	if i+1 >= len(code) {
		return 0, false
	}
	x.op = code[i+1]
	return i + 2, escapeOpcode(x.opmap, x.op)
}

// tail says what follows the opcode, by the tables' characters.
func (x *x86) tail() byte {
	switch {
	case x.enc != encLegacy && x.opmap == 1:
		switch x.op {
		case 0x77:
			if x.enc == encVEX {
				return '.' // vzeroupper, vzeroall
			}
		case 0x70, 0x71, 0x72, 0x73, 0xc2, 0xc4, 0xc5, 0xc6:
			return 'B'
		}
		return 'm'
	case x.opmap == 0:
		return x86OneByte[x.op]
	case x.opmap == 1:
		return x86TwoByte[x.op]
	case x.opmap == 3:
		return 'B'
	}
	return 'm'
}

func hasModRM(tail byte) bool {
	switch tail {
	case 'm', 'n', 'B', 'Z', 'g':
		return true
	}
	return false
}

func (x *x86) decodeModRM(code []byte, i int) (next int, ok bool) {
	if i >= len(code) {
		return 0, false
	}
	m := code[i]
	i++
	x.modrm = true
	x.mod, x.reg, x.rm = m>>6, m>>3&7|x.rex<<1&8, m&7|x.rex<<3&8
	if x.mod == 3 {
		return i, true
	}
	x.base = int8(x.rm)
	if m&7 == 4 {
		if i >= len(code) {
			return 0, false
		}
		sib := code[i]
		i++
		x.base = int8(sib&7 | x.rex<<3&8)
		x.scale = 1 << (sib >> 6)
		if index := int8(sib>>3&7 | x.rex<<2&8); index != 4 {
			x.index = index
		}
	}
	n := [3]int{0, 1, 4}[x.mod]
	if x.mod == 0 && x.base&7 == 5 {
		n = 4
		x.base = regNone
		if m&7 == 5 {
			x.base = regRIP
		}
	}
	if i+n > len(code) {
		return 0, false
	}
	x.disp = int32(signed(code[i : i+n]))
	return i + n, true
}

// signed reads a little-endian number of at most 8 bytes.
func signed(b []byte) int64 {
	var v uint64
	for i, c := range b {
		v |= uint64(c) << (8 * i)
	}
	shift := 64 - 8*len(b)
	return int64(v<<shift) >> shift
}

func (x *x86) immSize(tail byte) int {
	wide := 4
	if x.prefix&prefix66 != 0 && x.rex&8 == 0 {
		wide = 2
	}
	switch tail {
	case 'b', 'B', 'j', 'O':
		return 1
	case 'w', 'W':
		return 2
	case 'e':
		return 3
	case 'z', 'Z':
		return wide
	case 'J':
		return 4
	case 'v':
		if x.rex&8 != 0 {
			return 8
		}
		return wide
	case 'a':
		if x.prefix&prefix67 != 0 {
			return 4
		}
		return 8
	case 'g':
		if x.reg&7 >= 2 {
			return 0
		}
		if x.op == 0xf6 {
			return 1
		}
		return wide
	}
	return 0
}

func (x *x86) readImm(b []byte) { x.imm = signed(b) }

// valid refuses encodings that are not instructions, or whose meaning or length
// differs between processors.
func (x *x86) valid() bool {
	if x.enc != encLegacy {
		return true
	}
	if x.prefix&prefixLock != 0 && !x.lockable() {
		return false
	}
	r := x.reg & 7
	switch x.opmap {
	case 0:
		return x.validOneByte(r)
	case 1:
		return x.validTwoByte(r)
	}
	return true
}

func (x *x86) validOneByte(r uint8) bool {
	switch x.op {
	case 0xe8, 0xe9, 0xc3, 0xc2, 0xc9:
		// Intel ignores an operand-size prefix here, AMD takes it for 16 bits.
		return x.prefix&prefix66 == 0 || x.rex&8 != 0
	case 0xeb, 0xe0, 0xe1, 0xe2, 0xe3, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77,
		0x78, 0x79, 0x7a, 0x7b, 0x7c, 0x7d, 0x7e, 0x7f:
		return x.prefix&prefix66 == 0
	case 0x8d: // lea needs a memory operand
		return x.mod != 3
	case 0x8c, 0x8e:
		return r < 6 && (x.op == 0x8c || r != 1)
	case 0x8f: // else XOP
		return r == 0
	case 0xc6, 0xc7:
		return r == 0 || x.mod == 3 && x.reg == 7 && x.rm == 0 // xabort, xbegin
	case 0xfe:
		return r < 2
	case 0xff:
		x.odd = x.odd || r == 3 || r == 5 // far
		if (r == 3 || r == 5) && x.mod == 3 {
			return false
		}
		return r != 7 && (x.prefix&prefix66 == 0 || r != 2 && r != 4)
	}
	return true
}

func (x *x86) validTwoByte(r uint8) bool {
	switch x.op {
	case 0x00:
		return r < 6
	case 0x01:
		// System tables; by register operand also xgetbv, rdtscp and the like.
		x.odd = x.mod != 3 && r != 5 || x.mod == 3 && r == 6
		return x.mod == 3 || r != 5 || x.prefix&prefixF3 != 0
	case 0x71, 0x72, 0x73:
		return x.mod == 3 && (r == 2 || r == 4 || r == 6 || x.op == 0x73 && (r == 3 || r == 7))
	case 0xb8: // popcnt
		return x.prefix&prefixF3 != 0
	case 0xba:
		return r >= 4
	case 0xc7:
		return r != 0 && r != 2
	case 0xb2, 0xb4, 0xb5, 0xc3, 0xe7, 0x2b, 0x13, 0x17:
		return x.mod != 3
	case 0x50, 0xc5, 0xd7, 0xf7:
		return x.mod == 3
	case 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f:
		return x.prefix&prefix66 == 0
	}
	return true
}

// lockable reports whether a lock prefix is allowed: on read-modify-write of memory.
func (x *x86) lockable() bool {
	if !x.modrm || x.mod == 3 {
		return false
	}
	r := x.reg & 7
	switch x.opmap {
	case 0:
		switch op := x.op; {
		case op < 0x40:
			return op&7 < 2 && op < 0x38
		case op == 0x80, op == 0x81, op == 0x83:
			return r != 7
		case op == 0x86, op == 0x87:
			return true
		case op == 0xf6, op == 0xf7:
			return r == 2 || r == 3
		case op >= 0xfe:
			return r < 2
		}
	case 1:
		switch x.op {
		case 0xab, 0xb3, 0xbb, 0xb0, 0xb1, 0xc0, 0xc1:
			return true
		case 0xba:
			return r >= 5
		case 0xc7:
			return r == 1
		}
	}
	return false
}

// escapeOpcode lists the instructions behind 0F 38 (map 2) and 0F 3A (map 3).
func escapeOpcode(opmap, op uint8) bool {
	switch opmap {
	case 2:
		switch {
		case op <= 0x0b, op == 0x10, op == 0x14, op == 0x15, op == 0x17,
			op >= 0x1c && op <= 0x1e, op >= 0x20 && op <= 0x25, op >= 0x28 && op <= 0x2b,
			op >= 0x30 && op <= 0x41, op >= 0xc8 && op <= 0xcd, op == 0xcf,
			op == 0xd8, op >= 0xdb && op <= 0xdf, op == 0xf0, op == 0xf1,
			op == 0xf5, op == 0xf6, op == 0xf8, op == 0xf9:
			return true
		}
	case 3:
		switch {
		case op >= 0x08 && op <= 0x0f, op >= 0x14 && op <= 0x17, op >= 0x20 && op <= 0x22,
			op >= 0x40 && op <= 0x42, op == 0x44, op >= 0x60 && op <= 0x63,
			op == 0xcc, op == 0xce, op == 0xcf, op == 0xdf:
			return true
		}
	}
	return false
}

// vexOpcode lists the VEX-encoded instructions by map.
func vexOpcode(opmap, op uint8) bool {
	switch opmap {
	case 1:
		switch {
		case op >= 0x10 && op <= 0x17, op >= 0x28 && op <= 0x2f, op >= 0x41 && op <= 0x47,
			op == 0x4a, op == 0x4b, op >= 0x50 && op <= 0x77, op >= 0x7c && op <= 0x7f,
			op >= 0x90 && op <= 0x93, op == 0x98, op == 0x99, op == 0xae, op == 0xc2,
			op >= 0xc4 && op <= 0xc6, op >= 0xd0 && op <= 0xfe:
			return true
		}
	case 2:
		switch {
		case op <= 0x0f, op == 0x13, op >= 0x16 && op <= 0x1a, op >= 0x1c && op <= 0x1e,
			op >= 0x20 && op <= 0x25, op >= 0x28 && op <= 0x41, op >= 0x45 && op <= 0x47,
			op == 0x49, op == 0x4b, op >= 0x50 && op <= 0x53, op >= 0x58 && op <= 0x5a,
			op == 0x5c, op == 0x5e, op == 0x72, op == 0x78, op == 0x79, op == 0x8c, op == 0x8e,
			op >= 0x90 && op <= 0x93, op >= 0x96 && op <= 0x9f, op >= 0xa6 && op <= 0xaf,
			op >= 0xb0 && op <= 0xb1, op >= 0xb4 && op <= 0xbf, op >= 0xcb && op <= 0xcd, op == 0xcf,
			op >= 0xd2 && op <= 0xd3, op >= 0xda && op <= 0xef, op >= 0xf2 && op <= 0xf7:
			return true
		}
	case 3:
		switch {
		case op <= 0x02, op >= 0x04 && op <= 0x06, op >= 0x08 && op <= 0x0f,
			op >= 0x14 && op <= 0x19, op == 0x1d, op >= 0x20 && op <= 0x22,
			op >= 0x30 && op <= 0x33, op == 0x38, op == 0x39, op >= 0x40 && op <= 0x42,
			op == 0x44, op == 0x46, op >= 0x48 && op <= 0x4c, op >= 0x5c && op <= 0x63,
			op >= 0x68 && op <= 0x6f, op >= 0x78 && op <= 0x7f, op == 0xce, op == 0xcf,
			op == 0xde, op == 0xdf, op == 0xf0:
			return true
		}
	}
	return false
}
