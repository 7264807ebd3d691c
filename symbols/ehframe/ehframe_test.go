package ehframe

import (
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"

	delve "github.com/go-delve/delve/pkg/dwarf/frame"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/internal/testenv/damaged"
)

func load(tb testing.TB, path string) (*elf.File, *elf.Section, []byte) {
	tb.Helper()
	f, err := elf.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	s := f.Section(".eh_frame")
	if s == nil {
		tb.Fatalf("%s has no .eh_frame", path)
	}
	b, err := s.Data()
	if err != nil {
		tb.Fatal(err)
	}
	return f, s, b
}

var targets = []testenv.Target{
	{Source: "c/counts"},
	{Source: "cpp/counts"},
	{Source: "cpp/counts", Opt: "-O0"},
	{Source: "c/counts", Compiler: "clang-14"},
	{Source: "rust/counts"},
	{Source: "c/counts", Static: true, NoPIE: true},
}

// TestAgainstDelve compares the pieces with those that Delve's reader finds.
func TestAgainstDelve(t *testing.T) {
	for _, target := range targets {
		t.Run(target.String(), func(t *testing.T) {
			_, s, data := load(t, testenv.Build(t, target))
			table := New(data, s.Addr, AMD64)
			want, err := delve.Parse(data, binary.LittleEndian, 0, 8, s.Addr)
			if err != nil {
				t.Fatal(err)
			}
			known := map[uint64]bool{}
			for _, w := range want {
				if w.End() == w.Begin() || w.Begin() == 0 {
					continue
				}
				known[w.Begin()] = true
				for _, addr := range []uint64{w.Begin(), w.End() - 1} {
					if p, ok := table.Find(addr); !ok || p.Low != w.Begin() || p.High != w.End() {
						t.Errorf("at %#x: %#x to %#x, %v; want %#x to %#x", addr, p.Low, p.High, ok, w.Begin(), w.End())
					}
				}
			}
			if table.Len() != len(known) || len(known) < 20 {
				t.Errorf("%d pieces, want %d", table.Len(), len(known))
			}
		})
	}
}

// TestCalled compares with the symbol table: functions are entered by calls,
// their cold parts are not.
func TestCalled(t *testing.T) {
	parts := 0
	for _, target := range targets {
		f, s, data := load(t, testenv.Build(t, target))
		table := New(data, s.Addr, AMD64)
		symbols, err := f.Symbols()
		if err != nil {
			t.Fatal(err)
		}
		for _, sym := range symbols {
			if elf.ST_TYPE(sym.Info) != elf.STT_FUNC || sym.Section == elf.SHN_UNDEF || sym.Size == 0 {
				continue
			}
			p, ok := table.Find(sym.Value)
			switch {
			case strings.Contains(sym.Name, ".cold"):
				parts++
				if !ok || p.Low != sym.Value {
					t.Errorf("%s: the part %s has no piece of its own", target, sym.Name)
				}
			case ok && p.Low == sym.Value && !p.Called && !target.Static: // the static C library has hand-written exceptions
				t.Errorf("%s: %s is not entered by calls", target, sym.Name)
			}
		}
	}
	if parts == 0 {
		t.Error("no target has a cold part")
	}
}

// TestColdPart is a part that is entered with a frame set up: its record says
// so before its first instruction.
func TestColdPart(t *testing.T) {
	var b []byte
	record := func(body ...byte) {
		for len(body)%8 != 4 {
			body = append(body, 0)
		}
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(body))), body...)
	}
	// A common entry "zR": pc-relative addresses, CFA = rsp+8.
	record(0, 0, 0, 0, 1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x80|16, 1)
	entry := func(low uint64, instructions ...byte) {
		at := len(b) + 4
		body := binary.LittleEndian.AppendUint32(nil, uint32(at))
		body = binary.LittleEndian.AppendUint32(body, uint32(low-uint64(0x1000+at+4)))
		body = binary.LittleEndian.AppendUint32(body, 16)
		record(append(append(body, 0), instructions...)...)
	}
	entry(0x2000)
	entry(0x2010, cfaDefCFAOffset, 48, 0x80|3, 3)
	entry(0x2020, cfaAdvance|1, cfaDefCFAOffset, 16)
	entry(0x2030, cfaDefExpression, 2, 0x77, 8)
	entry(0x2040, cfaDefCFAReg, 6)
	table := New(b, 0x1000, AMD64)
	for low, called := range map[uint64]bool{0x2000: true, 0x2010: false, 0x2020: true, 0x2030: false, 0x2040: false} {
		p, ok := table.Find(low + 8)
		if !ok || p.Low != low || p.High != low+16 || p.Called != called {
			t.Errorf("%#x: %+v, %v; want called %v", low, p, ok, called)
		}
	}
	if _, ok := table.Find(0x2050); ok {
		t.Error("code without a record is found")
	}
}

func FuzzNew(f *testing.F) {
	_, s, data := load(f, testenv.Build(f, targets[1]))
	f.Add(data[:min(len(data), 1<<12)], s.Addr)
	for _, seed := range damaged.Sections(f) {
		f.Add(seed[".eh_frame"], uint64(0x400000))
	}
	f.Fuzz(func(t *testing.T, data []byte, addr uint64) {
		table := New(data, addr, AMD64)
		for _, p := range table.pieces {
			if p.High <= p.Low {
				t.Fatalf("empty piece %+v", p)
			}
			table.Find(p.Low)
		}
	})
}
