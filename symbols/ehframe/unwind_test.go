package ehframe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	delve "github.com/go-delve/delve/pkg/dwarf/frame"
	"github.com/go-delve/delve/pkg/dwarf/regnum"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/internal/testenv/damaged"
)

// TestCallerAgainstDelve compares the callers of frames at every instruction
// boundary that the tables tell with what Delve's reader makes of the same rules.
func TestCallerAgainstDelve(t *testing.T) {
	for _, target := range targets {
		t.Run(target.String(), func(t *testing.T) {
			_, s, data := load(t, testenv.Build(t, target))
			table := New(data, s.Addr, AMD64)
			entries, err := delve.Parse(data, binary.LittleEndian, 0, 8, s.Addr)
			if err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			compared := 0
			for _, e := range entries {
				if e.Begin() == 0 || e.End() == e.Begin() {
					continue
				}
				for range 4 {
					at := e.Begin() + rng.Uint64N(e.End()-e.Begin())
					if compareCaller(t, table, e, at) {
						compared++
					}
				}
			}
			if compared < 20 {
				t.Errorf("only %d frames were compared", compared)
			}
		})
	}
}

// compareCaller is false for rules that Delve's reader leaves to expressions.
func compareCaller(t *testing.T, table *Table, e *delve.FrameDescriptionEntry, at uint64) bool {
	t.Helper()
	c, err := e.EstablishFrame(at)
	if err != nil || c.CFA.Rule != delve.RuleCFA {
		return false
	}
	r := Registers{PC: at}
	for i := range r.Value {
		r.Value[i] = 0x10000 * uint64(i+1)
	}
	memory := func(addr uint64) (uint64, bool) { return addr ^ 0xabcdef, true }
	got, err := table.Caller(at, &r, memory)
	if errors.Is(err, ErrOutermost) {
		if rule := c.Regs[regnum.AMD64_Rip].Rule; rule != delve.RuleUndefined {
			t.Errorf("%#x: outermost, but there is a rule %v for the caller", at, rule)
		}
		return true
	}
	if err != nil {
		t.Errorf("%#x: %v", at, err)
		return false
	}
	cfa := r.Value[c.CFA.Reg] + uint64(c.CFA.Offset)
	want := r.Value
	want[regnum.AMD64_Rsp] = cfa
	for reg, rule := range c.Regs {
		switch {
		case reg >= NumRegisters:
		case rule.Rule == delve.RuleOffset:
			want[reg], _ = memory(cfa + uint64(rule.Offset))
		case rule.Rule == delve.RuleValOffset:
			want[reg] = cfa + uint64(rule.Offset)
		case rule.Rule == delve.RuleRegister:
			want[reg] = r.Value[rule.Reg]
		}
	}
	if got.Value != want || got.PC != want[regnum.AMD64_Rip] {
		t.Errorf("%#x: caller %#x from %#x, want %#x", at, got.Value, got.PC, want)
	}
	return true
}

// TestPLT computes the expression that linkers write for their jump table: the
// return address is one word further up behind its first push.
func TestPLT(t *testing.T) {
	plt := []byte{0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22}
	for _, c := range []struct{ pc, want uint64 }{{0x1020, 0x5008}, {0x102a, 0x5008}, {0x102b, 0x5010}, {0x102f, 0x5010}} {
		r := Registers{PC: c.pc}
		r.Value[7], r.Value[16] = 0x5000, c.pc
		e := evaluator{registers: &r}
		if got, err := e.run(plt); err != nil || got != c.want {
			t.Errorf("at %#x: %#x, %v; want %#x", c.pc, got, err, c.want)
		}
	}
}

// TestDamagedRules holds that what contradicts itself is an error, and nothing worse.
func TestDamagedRules(t *testing.T) {
	for name, instructions := range map[string][]byte{
		"restore without remember": {cfaRestoreState},
		"remember for ever":        bytes.Repeat([]byte{cfaRemember}, 100),
		"unknown instruction":      {0x3f},
		"far register":             {cfaDefCFA, 0xff, 0x7f, 0},
		"empty expression":         {cfaDefExpression, 0},
		"expression lacks values":  {cfaDefExpression, 1, opPlus},
		"unknown operation":        {cfaDefExpression, 2, 0x31, 0xff},
		"expression of many":       append([]byte{cfaDefExpression, 40}, bytes.Repeat([]byte{opLit0}, 40)...),
		"cut":                      {cfaAdvance4, 1},
		"far rule":                 {cfaRegister, 3, 0xff, 0x7f},
	} {
		table := synthetic(instructions)
		var r Registers
		_, err := table.Caller(0x2008, &r, func(uint64) (uint64, bool) { return 1, true })
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var r Registers
	if _, err := synthetic(nil).Caller(0x2008, &r, func(uint64) (uint64, bool) { return 0, false }); !errors.Is(err, ErrMemory) {
		t.Errorf("without memory: %v", err)
	}
	if _, err := synthetic(nil).Caller(0x3000, &r, nil); !errors.Is(err, ErrNoInformation) {
		t.Errorf("elsewhere: %v", err)
	}
	if _, err := synthetic([]byte{cfaUndefined, 16}).Caller(0x2008, &r, func(uint64) (uint64, bool) { return 1, true }); !errors.Is(err, ErrOutermost) {
		t.Errorf("the outermost: %v", err)
	}
}

// synthetic is a table of one piece from 0x2000 to 0x2010 with these instructions.
func synthetic(instructions []byte) *Table {
	var b []byte
	record := func(body []byte) {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(body))), body...)
	}
	record([]byte{0, 0, 0, 0, 1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x80 | 16, 1})
	at := len(b) + 4
	body := binary.LittleEndian.AppendUint32(nil, uint32(at))
	body = binary.LittleEndian.AppendUint32(body, uint32(0x2000-uint64(0x1000+at+4)))
	record(append(append(binary.LittleEndian.AppendUint32(body, 16), 0), instructions...))
	return New(b, 0x1000, AMD64)
}

// FuzzCaller holds that no table and no memory makes unwinding panic or go on for ever.
func FuzzCaller(f *testing.F) {
	_, s, data := load(f, testenv.Build(f, targets[1]))
	f.Add(data[:min(len(data), 1<<12)], s.Addr, uint64(0), uint64(0x7ffe0000))
	f.Add(synthetic([]byte{cfaDefExpression, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22}).section, uint64(0x1000), uint64(8), uint64(1))
	for _, seed := range damaged.Sections(f) {
		f.Add(seed[".eh_frame"], uint64(0x400000), uint64(1), uint64(0x7ffe0000))
	}
	f.Fuzz(func(t *testing.T, data []byte, addr, at, word uint64) {
		table := New(data, addr, AMD64)
		for _, p := range table.pieces {
			r := Registers{PC: p.Low + at%(p.High-p.Low)}
			for i := range r.Value {
				r.Value[i] = word + uint64(i)
			}
			_, _ = table.Caller(r.PC, &r, func(addr uint64) (uint64, bool) { return addr + word, addr&1 == 0 })
		}
	})
}
