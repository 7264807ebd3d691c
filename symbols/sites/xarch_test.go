package sites

import (
	"testing"

	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"
)

// goProgram builds testdata/goprogram for an architecture.
func goProgram(t testing.TB, goarch string) *binary {
	t.Helper()
	t.Setenv("GOARCH", goarch)
	return openBinary(t, compile(t, "go", "build", "-o", "$OUT", "./testdata/goprogram"))
}

// TestAgainstX86asm compares sizes, branches and effects with those that
// golang.org/x/arch finds, in every function of a Go program and of a C library.
func TestAgainstX86asm(t *testing.T) {
	for _, b := range []*binary{goProgram(t, "amd64"), openBinary(t, libraries+"/libssl.so.3")} {
		compared, skipped := 0, 0
		for _, s := range b.funcs {
			r := b.code(s)
			for off := 0; off < len(r.Code); {
				addr := r.Addr + uint64(off)
				in, ok := amd64Inst(r.Code[off:], addr)
				if !ok {
					break
				}
				x, err := x86asm.Decode(r.Code[off:], 64)
				switch {
				case err != nil || x.Op == 0 || in.size != uint8(x.Len) && vexByte(r.Code[off]):
					skipped++ // VEX, EVEX, newer instructions
				case x.Len != int(in.size):
					t.Errorf("%s+%#x: % x: size %d, x86asm has %d", s.name, off, r.Code[off:][:in.size], in.size, x.Len)
				default:
					compareX86(t, s, off, addr, in, amd64Effect(r.Code[off:], in, false), x)
					compared++
				}
				off += int(in.size)
			}
		}
		t.Logf("%s: %d instructions compared, %d unknown to x86asm", b.path, compared, skipped)
		if compared < 10*skipped {
			t.Error("too few are compared")
		}
	}
}

func vexByte(b byte) bool { return b == 0xc4 || b == 0xc5 || b == 0x62 }

func compareX86(t *testing.T, s symbol, off int, addr uint64, in inst, e effect, x x86asm.Inst) {
	if rel, ok := x.Args[0].(x86asm.Rel); ok && x.Op != x86asm.XBEGIN {
		if want := addr + uint64(x.Len) + uint64(int64(rel)); !in.branches() || in.target != want {
			t.Errorf("%s+%#x: %v: target %#x, want %#x", s.name, off, x, in.target, want)
		}
	} else if in.branches() {
		t.Errorf("%s+%#x: %v is no branch", s.name, off, x)
	}
	if (x.Op == x86asm.RET) != (in.flow == flowRet) {
		t.Errorf("%s+%#x: %v: return is %v", s.name, off, x, in.flow == flowRet)
	}
	if !e.known || in.flow != flowNext {
		return
	}
	if x.Op == x86asm.IMUL && x.Args[1] == nil {
		return
	}
	switch x.Op {
	case x86asm.CMP, x86asm.TEST, x86asm.BT, x86asm.NOP, x86asm.PUSH, x86asm.MUL, x86asm.PREFETCHT0, x86asm.PREFETCHNTA:
		return
	}
	switch a := x.Args[0].(type) {
	case x86asm.Reg:
		n, ok := x86Number(a)
		if !ok || e.writes&(1<<n) == 0 && !e.pad {
			t.Errorf("%s+%#x: %v: writes %#x, not %v", s.name, off, x, e.writes, a)
		}
	case x86asm.Mem:
		if a.Base != x86asm.RSP || a.Index != 0 || a.Disp >= 0 {
			t.Errorf("%s+%#x: %v counts as harmless", s.name, off, x)
		}
	}
}

// x86Number is the number of the general register that r is part of.
func x86Number(r x86asm.Reg) (uint8, bool) {
	switch {
	case r >= x86asm.AL && r <= x86asm.BL:
		return uint8(r - x86asm.AL), true
	case r >= x86asm.AH && r <= x86asm.BH:
		return uint8(r - x86asm.AH), true
	case r >= x86asm.SPB && r <= x86asm.R15B:
		return uint8(r-x86asm.SPB) + 4, true
	case r >= x86asm.AX && r <= x86asm.R15W:
		return uint8(r - x86asm.AX), true
	case r >= x86asm.EAX && r <= x86asm.R15L:
		return uint8(r - x86asm.EAX), true
	case r >= x86asm.RAX && r <= x86asm.R15:
		return uint8(r - x86asm.RAX), true
	}
	return 0, false
}

// TestAgainstArm64asm compares branches and stack effects with those that
// golang.org/x/arch finds, in every function of a Go program for arm64.
func TestAgainstArm64asm(t *testing.T) {
	b := goProgram(t, "arm64")
	compared, skipped := 0, 0
	for _, s := range b.funcs {
		r := b.code(s)
		for off := 0; off+4 <= len(r.Code); off += 4 {
			addr := r.Addr + uint64(off)
			in, ok := arm64Inst(leWord(r.Code[off:]), addr, true)
			a, err := arm64asm.Decode(r.Code[off:])
			if err != nil {
				skipped++
				continue
			}
			compared++
			if !ok {
				t.Errorf("%s+%#x: %v is not known", s.name, off, a)
				continue
			}
			compareARM(t, s, off, addr, in, a)
		}
	}
	t.Logf("%d instructions compared, %d unknown to arm64asm", compared, skipped)
	if compared < 20*skipped {
		t.Error("too few are compared")
	}
}

func compareARM(t *testing.T, s symbol, off int, addr uint64, in armInst, a arm64asm.Inst) {
	want := flowNext
	switch a.Op {
	case arm64asm.B:
		want = flowJump
		if _, ok := a.Args[0].(arm64asm.Cond); ok {
			want = flowCond
		}
	case arm64asm.CBZ, arm64asm.CBNZ, arm64asm.TBZ, arm64asm.TBNZ:
		want = flowCond
	case arm64asm.BL:
		want = flowCall
	case arm64asm.BLR:
		want = flowCallPtr
	case arm64asm.BR:
		want = flowJumpPtr
	case arm64asm.RET:
		want = flowRet
	case arm64asm.BRK, arm64asm.HLT:
		want = flowStop
	}
	if in.flow != want {
		t.Errorf("%s+%#x: %v: flow %d, want %d", s.name, off, a, in.flow, want)
	}
	if in.branches() {
		for _, arg := range a.Args {
			if rel, ok := arg.(arm64asm.PCRel); ok && in.target != addr+uint64(int64(rel)) {
				t.Errorf("%s+%#x: %v: target %#x", s.name, off, a, in.target)
			}
		}
	}
	moves := false
	switch a.Op {
	case arm64asm.ADD, arm64asm.SUB, arm64asm.MOV, arm64asm.AND:
		moves = a.Args[0] == arm64asm.RegSP(arm64asm.SP)
	}
	for _, arg := range a.Args {
		m, ok := arg.(arm64asm.MemImmediate)
		if ok && m.Base == arm64asm.RegSP(arm64asm.SP) && (m.Mode == arm64asm.AddrPreIndex || m.Mode == arm64asm.AddrPostIndex) {
			moves = true
		}
	}
	if moves != (in.sp != spKeep) {
		t.Errorf("%s+%#x: %v: stack effect %d", s.name, off, a, in.sp)
	}
	if in.known && in.flow == flowNext {
		if r, ok := a.Args[0].(arm64asm.Reg); ok && armNumber(r) < 31 && in.writes&(1<<armNumber(r)) == 0 && !comparesOnly(a.Op) {
			t.Errorf("%s+%#x: %v: writes %#x", s.name, off, a, in.writes)
		}
	}
}

func armNumber(r arm64asm.Reg) uint {
	switch {
	case r >= arm64asm.X0 && r <= arm64asm.X30:
		return uint(r - arm64asm.X0)
	case r >= arm64asm.W0 && r <= arm64asm.W30:
		return uint(r - arm64asm.W0)
	}
	return 31
}

func comparesOnly(op arm64asm.Op) bool {
	switch op {
	case arm64asm.CMP, arm64asm.CMN, arm64asm.TST, arm64asm.CCMP, arm64asm.CCMN:
		return true
	}
	return false
}

// TestStackCheckOfRealGo finds the stack check of every function of Go programs
// by golang.org/x/arch, and requires the entry site to lie right behind it.
func TestStackCheckOfRealGo(t *testing.T) {
	for _, goarch := range []string{"amd64", "arm64"} {
		t.Run(goarch, func(t *testing.T) {
			b := goProgram(t, goarch)
			find := checkEndX86
			if goarch == "arm64" {
				find = checkEndARM
			}
			morestack := b.morestack()
			checked := 0
			for _, s := range b.funcs {
				end := find(b.code(s), morestack)
				if end == 0 {
					continue
				}
				checked++
				r, err := Analyze(b.input(s, true, morestack))
				if err != nil {
					t.Errorf("%s: %v", s.name, err)
				} else if r.Entry.Offset < end || r.Entry.Offset > end+16 {
					t.Errorf("%s: entry at +%#x, the check ends at +%#x", s.name, r.Entry.Offset, end)
				}
			}
			t.Logf("%d of %d functions have a stack check", checked, len(b.funcs))
			if checked < len(b.funcs)/2 {
				t.Error("too few stack checks are found")
			}
		})
	}
}

// checkEndX86 is the offset behind the last of a function's first conditional
// jumps that leads to a call of morestack, 0 when there is none.
func checkEndX86(r Range, morestack func(uint64) bool) (end int64) {
	callsMorestack := func(off int) bool {
		for n := 0; n < 64 && off >= 0 && off < len(r.Code); n++ {
			x, err := x86asm.Decode(r.Code[off:], 64)
			if err != nil {
				return false
			}
			off += x.Len
			if x.Op == x86asm.CALL {
				rel, _ := x.Args[0].(x86asm.Rel)
				return morestack(r.Addr + uint64(off) + uint64(int64(rel)))
			}
			if x.Op == x86asm.JMP || x.Op == x86asm.RET {
				return false
			}
		}
		return false
	}
	for off, n := 0, 0; off < len(r.Code) && n < 12; n++ {
		x, err := x86asm.Decode(r.Code[off:], 64)
		if err != nil || x.Op == x86asm.PUSH || x.Op == x86asm.CALL {
			break
		}
		off += x.Len
		if rel, ok := x.Args[0].(x86asm.Rel); ok {
			if !callsMorestack(off + int(rel)) {
				break
			}
			end = int64(off)
		}
	}
	return end
}

// checkEndARM is checkEndX86 for arm64.
func checkEndARM(r Range, morestack func(uint64) bool) (end int64) {
	callsMorestack := func(off int) bool {
		for n := 0; n < 64 && off >= 0 && off+4 <= len(r.Code); n++ {
			a, err := arm64asm.Decode(r.Code[off:])
			if err != nil || a.Op == arm64asm.B || a.Op == arm64asm.RET {
				return false
			}
			if a.Op == arm64asm.BL {
				return morestack(r.Addr + uint64(off) + uint64(int64(a.Args[0].(arm64asm.PCRel))))
			}
			off += 4
		}
		return false
	}
	for off, n := 0, 0; off+4 <= len(r.Code) && n < 12; off, n = off+4, n+1 {
		a, err := arm64asm.Decode(r.Code[off:])
		if err != nil {
			break
		}
		if rel, ok := a.Args[1].(arm64asm.PCRel); ok && a.Op == arm64asm.B {
			if !callsMorestack(off + int(rel)) {
				break
			}
			end = int64(off) + 4
		} else if a.Op == arm64asm.BL || a.Op == arm64asm.B {
			break
		}
	}
	return end
}
