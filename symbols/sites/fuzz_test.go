package sites

import (
	"errors"
	"testing"
)

// FuzzAnalyze feeds hostile code: Analyze must not panic, and whatever it
// accepts has its sites on instructions that decode there.
func FuzzAnalyze(f *testing.F) {
	seed := func(s string, flags byte) { f.Add(code(f, s), flags, uint16(0)) }
	seed(`55 48 89 e5 5d c3`, 0)
	seed(`f3 0f 1e fa 0f 1f 44 00 00 c3`, 0)
	seed(`48 85 ff 74 01 c3 c3`, 2)
	seed(`53 ff 24 fd 00 00 40 00 5b c3`, 0)
	seed(`3e ff e0 c3`, 1)
	seed(`0f 84 fa 0f 00 00 c3`, 0)
	for _, check := range checks {
		b, _ := goFunction(f, check, `55 48 89 e5 5d c3`)
		f.Add(b, byte(1), uint16(0))
	}
	f.Add(words(aPush, aMovFP, aPop, aRet), byte(4), uint16(0))
	f.Add(words(aLiteral|2<<5, aRet, 1, 2), byte(4), uint16(8))
	f.Fuzz(func(t *testing.T, raw []byte, flags byte, cut uint16) {
		in := Input{Body: Range{at, raw}, Go: flags&1 != 0, Asm: flags&2 != 0, Arch: Arch(flags >> 2 & 1), ArgsKnown: flags&8 != 0}
		if n := int(cut); n > 0 && n < len(raw) {
			in.Body.Code = raw[:n]
			part := Range{at + 0x1000, raw[n:]}
			if flags&16 != 0 {
				in.Parts = []Range{part}
			} else {
				in.Part = func(uint64, bool) (Range, bool) { return part, true }
			}
		}
		r, err := Analyze(in)
		if err != nil {
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Reason == "" {
				t.Fatalf("no reason: %v", err)
			}
			return
		}
		boundaries := map[int64]bool{}
		fn, err := flowOf(&in)
		if err != nil {
			t.Fatal(err)
		}
		for p := range fn.pieces {
			for i := range fn.pieces[p].insts {
				if !fn.pieces[p].insts[i].is(markData) {
					boundaries[fn.offset(place{int32(p), int32(i)})] = true
				}
			}
		}
		if !boundaries[r.Entry.Offset] || r.Entry.Offset < 0 || r.EntryReason == "" {
			t.Errorf("entry %+v, %q", r.Entry, r.EntryReason)
		}
		for i, e := range r.Exits {
			if !boundaries[e.Offset] || e.Kind == Nop5 || i > 0 && e.Offset <= r.Exits[i-1].Offset {
				t.Errorf("exits %+v", r.Exits)
			}
		}
		if r.NoReturn && r.ExitReason != "" || !r.NoReturn && r.ExitReason == "" && len(r.Exits) == 0 {
			t.Errorf("no return %v, reason %q, exits %+v", r.NoReturn, r.ExitReason, r.Exits)
		}
		for i := 1; i < len(r.Calls); i++ {
			if r.Calls[i] <= r.Calls[i-1] {
				t.Errorf("calls %#x", r.Calls)
			}
		}
	})
}
