package sites

import (
	"strings"
	"testing"
)

// words assembles arm64 instructions.
func words(w ...uint32) []byte {
	var b []byte
	for _, v := range w {
		b = le32(b, int(v))
	}
	return b
}

// Instructions of arm64.
const (
	aRet     = 0xd65f03c0
	aNop     = 0xd503201f
	aPush    = 0xa9bf7bfd // stp x29, x30, [sp, #-16]!
	aPop     = 0xa8c17bfd // ldp x29, x30, [sp], #16
	aMovFP   = 0x910003fd // mov x29, sp
	aLoad    = 0xf9400008 // ldr x8, [x0]
	aBranch  = 0x14000000
	aCall    = 0x94000000
	aCond    = 0x54000000
	aZero    = 0xb4000000 // cbz x0
	aBrX16   = 0xd61f0200
	aBrX0    = 0xd61f0000
	aLiteral = 0x58000009 // ldr x9, literal
	aMovX9   = 0xaa0103e9 // mov x9, x1
	aMovX1   = 0xaa0203e1 // mov x1, x2
)

// TestSiteClassARM64 checks what the kernel does with probes on arm64.
func TestSiteClassARM64(t *testing.T) {
	for _, c := range []struct {
		name string
		w    uint32
		want siteClass
	}{
		{"b", aBranch, siteEmulated},
		{"bl", aCall, siteEmulated},
		{"b.eq", aCond, siteEmulated},
		{"bc.eq", aCond | 16, siteRefused},
		{"cbz", aZero, siteEmulated},
		{"cbnz w1", 0x35000001, siteEmulated},
		{"tbz", 0x36000000, siteEmulated},
		{"tbnz", 0xb7000000, siteEmulated},
		{"br", aBrX16, siteEmulated},
		{"blr", 0xd63f0020, siteEmulated},
		{"ret", aRet, siteEmulated},
		{"retaa", 0xd65f0bff, siteRefused},
		{"braa", 0xd71f0801, siteRefused},
		{"blraaz", 0xd63f081f, siteRefused},
		{"adr", 0x10000000, siteEmulated},
		{"adrp", 0x90000000, siteEmulated},
		{"ldr literal", aLiteral, siteRefused},
		{"ldrsw literal", 0x98000000, siteRefused},
		{"ldr q literal", 0x9c000000, siteRefused},
		{"prfm literal", 0xd8000000, siteRefused},
		{"nop", aNop, siteEmulated},
		{"bti c", 0xd503245f, siteStep},
		{"paciasp", 0xd503233f, siteStep},
		{"autiasp", 0xd50323bf, siteRefused},
		{"yield", 0xd503203f, siteRefused},
		{"wfi", 0xd503207f, siteRefused},
		{"svc", 0xd4000001, siteRefused},
		{"brk", 0xd4200000, siteRefused},
		{"mrs", 0xd53bd040, siteStep},
		{"msr", 0xd51bd040, siteRefused},
		{"dmb ish", 0xd5033bbf, siteStep},
		{"ldxr", 0xc85f7c20, siteRefused},
		{"stxr", 0xc8027c20, siteRefused},
		{"ldaxr", 0xc85ffc20, siteRefused},
		{"cas", 0xc8a07c41, siteStep},
		{"ldadd", 0xf8200041, siteStep},
		{"cpyfp", 0x19010440, siteRefused},
		{"stp", aPush, siteStep},
		{"add", 0x8b020020, siteStep},
		{"fadd", 0x1e622820, siteStep},
	} {
		in, ok := arm64Inst(c.w, at, false)
		if !ok || in.site != c.want {
			t.Errorf("%s: %d, want %d", c.name, in.site, c.want)
		}
	}
	for _, w := range []uint32{0x02000000, 0x06123456, 0x55000000, 0xd6ff03c0, 0xd5800000} {
		if _, ok := arm64Inst(w, at, false); ok {
			t.Errorf("%#x is known", w)
		}
	}
}

func TestEntryARM64(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   []byte
		in     Input
		want   Site
		reason string
	}{
		{"push first", words(aPush, aPop, aRet), Input{}, Site{0, SingleStep}, "stack pointer moves"},
		{"adrp first", words(0x90000000, aRet), Input{}, Site{0, Emulated}, "adr"},
		{"nop first", words(aNop, aRet), Input{}, Site{0, Emulated}, "nop"},
		{"bti is passed", words(0xd503245f, aZero|2<<5, aNop, aRet), Input{}, Site{4, Emulated}, "conditional jump"},
		{"nothing behind paciasp", words(0xd503233f, aZero|2<<5, aNop, aRet), Input{}, Site{0, SingleStep}, "with effects"},
		{"a scratch register", words(aMovX9, aBranch|1, aRet), Input{}, Site{4, Emulated}, "jump"},
		{"an argument is overwritten", words(aMovX1, aBranch|1, aRet), Input{}, Site{0, SingleStep}, "overwritten"},
		{"none that counts", words(aMovX1, aBranch|1, aRet), Input{ArgsKnown: true, Args: 1}, Site{4, Emulated}, "jump"},
		{"the return address is overwritten", words(0xaa0103fe, aBranch|1, aRet), Input{ArgsKnown: true}, Site{0, SingleStep}, "overwritten"},
		{"load through a pointer", words(aLoad, aBranch|1, aRet), Input{}, Site{0, SingleStep}, "with effects"},
		{"load of a stack argument", words(0xf94003e9, aBranch|1, aRet), Input{}, Site{4, Emulated}, "jump"},
		{"store", words(0xf90003e9, aBranch|1, aRet), Input{}, Site{0, SingleStep}, "with effects"},
		{"return first", words(aRet), Input{}, Site{0, Emulated}, "return"},
		{"comparison", words(0xeb01001f, aCond|2<<5, aNop, aRet), Input{}, Site{4, Emulated}, "conditional jump"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := c.in
			in.Arch, in.Body = ARM64, Range{at, c.code}
			r, err := Analyze(in)
			if err != nil {
				t.Fatal(err)
			}
			if r.Entry != c.want || !strings.Contains(r.EntryReason, c.reason) {
				t.Errorf("got %+v, %q, want %+v, %q", r.Entry, r.EntryReason, c.want, c.reason)
			}
		})
	}
}

// TestStackCheckARM64 checks the three forms that cmd/internal/obj/arm64 emits.
func TestStackCheckARM64(t *testing.T) {
	const (
		loadGuard = 0xf9400b90 // ldr x16, [x28, #16]
		cmpSP     = 0xeb3063ff // cmp sp, x16
		cmpX17    = 0xeb10023f // cmp x17, x16
		subX17    = 0xd10403f1 // sub x17, sp, #0x100
		subsX17   = 0xf14083f1 // subs x17, sp, #0x20, lsl #12
		bls       = aCond | 9
		blo       = aCond | 3
		body      = 3 // words
	)
	tail := func(start int) []uint32 {
		return []uint32{0xf81e0ffe, 0xf84207fe, aRet, // str x30, [sp, #-32]!; ldr x30, [sp], #32; ret
			0xf90007e0, 0xaa1e03e3, aCall | 0x400, 0xf94007e0, // spill, mov x3, x30, bl morestack, reload
			aBranch | uint32(-(start+7))&0x3ffffff}
	}
	for name, head := range map[string][]uint32{
		"small": {loadGuard, cmpSP, bls | (1+body)<<5},
		"big":   {loadGuard, subX17, cmpX17, bls | (1+body)<<5},
		"huge":  {loadGuard, subsX17, blo | (3+body)<<5, cmpX17, bls | (1+body)<<5},
	} {
		t.Run(name, func(t *testing.T) {
			f := words(append(head, tail(len(head))...)...)
			callee := uint64(at) + uint64(4*(len(head)+5)) + 0x1000
			in := Input{Arch: ARM64, Body: Range{at, f}, Go: true, Morestack: func(a uint64) bool { return a == callee }}
			r, err := Analyze(in)
			if want := (Site{int64(4 * len(head)), SingleStep}); err != nil || r.Entry != want {
				t.Errorf("got %+v, %v, want %+v", r.Entry, err, want)
			}
			in.Morestack = func(uint64) bool { return false }
			if _, err := Analyze(in); !refusedBecause(err, "loop") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestExitsARM64(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   []byte
		in     Input
		want   []int64
		reason string
	}{
		{"return", words(aPush, aMovFP, aPop, aRet), Input{}, []int64{12}, ""},
		{"tail call", words(aPush, aPop, aBranch|0x100), Input{}, []int64{8}, ""},
		{"tail call through x16", words(aPush, aPop, aBrX16), Input{}, []int64{8}, ""},
		{"tail call through a virtual table", words(0xf9400001, 0xf9400021, 0xd61f0020), Input{}, []int64{8}, ""},
		{"a table with the stack moved", words(aPush, aBrX0, aPop, aRet), Input{}, []int64{12}, ""},
		{"a relative table", words(0x8b22c820, aBrX0, aRet), Input{}, []int64{8}, ""},
		{"a table, Go", words(0xf8607820, aBrX0, aRet), Input{Go: true}, []int64{8}, ""},
		{"a table or an array of functions", words(0xf8607820, aBrX0, aRet), Input{}, nil, "may go to another function"},
		{"by the frame pointer", words(aPush, aMovFP, 0xcb2063ff, 0x910003bf, aPop, aRet), Input{}, []int64{20}, ""}, // sub sp, sp, x0; mov sp, x29
		{"with the stack moved", words(aPush, aRet), Input{}, nil, "leaves with the stack pointer moved"},
		{"authenticated return", words(0xd503233f, 0xd65f0bff), Input{}, nil, "can't probe the return at +0x4"},
		{"conditional on flags", words(aMovX9, aCond|0x100<<5|11, aRet), Input{}, []int64{4, 8}, ""},
		{"conditional on a register", words(aMovX9, aZero|0x100<<5, aRet), Input{}, nil, "depends on a register"},
		{"trap", words(aNop, 0xd4200000), Input{}, nil, ""},
		{"none in a literal", words(aNop, aLiteral|2<<5, aRet, aRet, aRet), Input{}, []int64{8}, ""}, // a literal that looks like returns
	} {
		t.Run(c.name, func(t *testing.T) {
			in := c.in
			in.Arch, in.Body = ARM64, Range{at, c.code}
			r, err := Analyze(in)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(r.ExitReason, c.reason) || c.reason == "" && r.ExitReason != "" {
				t.Fatalf("reason %q, want %q", r.ExitReason, c.reason)
			}
			if len(r.Exits) != len(c.want) {
				t.Fatalf("got %+v, want %v", r.Exits, c.want)
			}
			for i, e := range r.Exits {
				if e.Offset != c.want[i] {
					t.Errorf("got %+v, want %v", r.Exits, c.want)
				}
				if c.name == "conditional on flags" && i == 0 && (e.Cond != 11 || !e.Tail) {
					t.Errorf("got %+v", e)
				}
			}
		})
	}
}

func TestRefusalsARM64(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   []byte
		reason string
	}{
		{"half an instruction", []byte{0x1f, 0x20, 0x03}, "not a whole number"},
		{"not allocated", words(aNop, aRet, 0x02000000), "no ordinary instruction at +0x8"},
		{"privileged", words(aNop, 0xd69f03e0), "no ordinary instruction"},
		{"a branch into a literal", words(aNop, aLiteral|3<<5, aZero|2<<5, aRet, 1, 2), "leads into data"},
		{"runs into a literal", words(aNop, aLiteral|2<<5, aNop, 1, 2, aRet), "runs into data"},
		{"runs on past its end", words(aNop, aNop), "runs on past its end"},
		{"a literal load first", words(aLiteral|2<<5, aRet, 1, 2), "can't probe its first instruction"},
		{"exclusive first", words(0xc85f7c20, aRet), "can't probe its first instruction"},
		{"a loop", words(aMovX9, aZero|0x7ffff<<5, aRet), "a loop leads back"},
	} {
		_, err := Analyze(Input{Arch: ARM64, Body: Range{at, c.code}})
		if !refusedBecause(err, c.reason) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.reason)
		}
	}
	if _, err := Analyze(Input{Arch: ARM64, Body: Range{at + 2, words(aRet)}}); !refusedBecause(err, "whole number") {
		t.Errorf("unaligned: %v", err)
	}
}
