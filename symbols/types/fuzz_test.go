package types

import (
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	"github.com/observatory-trace/observatory-trace/trace"
)

// debugSections are those that make up a program's debug information.
var debugSections = []string{
	".debug_info", ".debug_abbrev", ".debug_str", ".debug_line", ".debug_loclists", ".debug_loc",
	".debug_addr", ".debug_str_offsets", ".debug_line_str", ".debug_rnglists", ".debug_ranges",
}

// specimen is a sound program's debug information, to be damaged.
type specimen struct {
	sections map[string][]byte
	funcs    []Subprogram
}

func newSpecimen(t testing.TB, path string) specimen {
	f := openFile(t, path)
	s := specimen{sections: map[string][]byte{}}
	for _, name := range debugSections {
		if section := f.elf.Section(name); section != nil && section.Type != elf.SHT_NOBITS {
			b, err := section.Data()
			if err != nil {
				t.Fatal(err)
			}
			s.sections[name] = b
		}
	}
	for _, symbol := range sortedSymbols(f) {
		s.funcs = append(s.funcs, f.funcs[symbol])
	}
	return s
}

// damage changes bytes as the patch says: section, place (3 bytes), value.
func (s specimen) damage(patch []byte) map[string][]byte {
	broken := maps.Clone(s.sections)
	copied := map[string]bool{}
	for ; len(patch) >= 5; patch = patch[5:] {
		// Most damage to the two sections where it matters.
		name := debugSections[[]int{0, 0, 0, 0, 1, 1, 1, 2, 4, 5, 6, 7}[patch[0]%12]]
		b := broken[name]
		if len(b) == 0 {
			continue
		}
		if !copied[name] {
			b = slices.Clone(b)
			broken[name], copied[name] = b, true
		}
		at := int(binary.LittleEndian.Uint32([]byte{patch[1], patch[2], patch[3], 0})) % len(b)
		if patch[0] >= 250 { // cut short
			broken[name] = b[:at]
			continue
		}
		b[at] = patch[4]
	}
	return broken
}

// read goes through all functions, as a session would.
func (s specimen) read(t testing.TB, sections map[string][]byte) {
	d, err := dwarf.New(sections[".debug_abbrev"], nil, nil, sections[".debug_info"], sections[".debug_line"], nil, sections[".debug_ranges"], sections[".debug_str"])
	if err != nil {
		return
	}
	for _, name := range []string{".debug_addr", ".debug_str_offsets", ".debug_line_str", ".debug_rnglists"} {
		if d.AddSection(name, sections[name]) != nil {
			return
		}
	}
	r := NewReader(d, AMD64, Sections{Info: sections[".debug_info"], Loc: sections[".debug_loc"], LocLists: sections[".debug_loclists"], Addr: sections[".debug_addr"]})
	c := NewCompiler(2)
	for _, f := range s.funcs {
		sig, err := r.Signature(f)
		if err != nil {
			continue
		}
		for _, p := range []*trace.Plan{sig.Entry, sig.Exit} {
			checkPlan(t, p)
			c.Add(p)
		}
	}
	reached := r.Reached()
	for _, class := range reached.Classes {
		r.Member(class.Offset)
		word := func(part uint32, from int64) (int64, bool) { return from - int64(part), part%3 != 1 }
		d, err := r.Virtual(Vtable{Offset: class.Offset, Word: word}, trace.LangCPP)
		if err == nil && d.Type != nil {
			c.AddType(d.Type)
		}
	}
	for _, f := range s.funcs {
		for _, off := range []dwarf.Offset{f.Offset, f.Offset + 8} {
			r.Class(off)
			if concrete, ok := r.Contained(off); ok {
				_, _ = r.Virtual(Vtable{Offset: concrete}, trace.LangRust)
			}
		}
	}
	checkPrograms(t, c)
	if list, err := runtimeTypes(d, 0); err == nil {
		for _, rt := range list[:min(len(list), 200)] {
			_, _ = r.Dynamic(rt)
		}
	}
}

// checkPlan holds a plan to the wire format's limits, however it came about.
func checkPlan(t testing.TB, p *trace.Plan) {
	if p == nil {
		return
	}
	if p.Root.Size > maxRoot || len(p.Moves) > maxMoves {
		t.Fatalf("a root of %d bytes, %d moves", p.Root.Size, len(p.Moves))
	}
	for _, m := range p.Moves {
		if uint32(m.Dst)+uint32(m.Size) > p.Root.Size || m.Size == 0 || m.Register > 31 || m.Source == trace.SourceRegister && (m.Size > 8 || m.Offset < 0 || m.Offset > 7) {
			t.Fatalf("a move %+v in a root of %d bytes", m, p.Root.Size)
		}
	}
	for _, f := range p.Root.Fields {
		if f.Unavailable == "" && (f.Offset+f.Type.Size > p.Root.Size || f.Offset%8 != 0) {
			t.Fatalf("%s: %d bytes at %d in a root of %d", f.Name, f.Type.Size, f.Offset, p.Root.Size)
		}
		checkType(t, f.Type, 0)
	}
}

// checkType makes sure that what a value says of its parts lies within it.
func checkType(t testing.TB, typ *trace.Type, nesting int) {
	if nesting > maxNesting+8 {
		t.Fatalf("%s: nested without end", typ.Name)
	}
	if typ.Kind == trace.KindArray && (typ.Elem == nil || typ.Count*uint64(typ.Elem.Size) > uint64(typ.Size)) {
		t.Fatalf("%s: %d elements in %d bytes", typ.Name, typ.Count, typ.Size)
	}
	if (typ.Kind == trace.KindString || typ.Kind == trace.KindSlice) && max(typ.PtrOff, typ.LenOff)+8 > typ.Size {
		t.Fatalf("%s: pointer at %d, length at %d of %d bytes", typ.Name, typ.PtrOff, typ.LenOff, typ.Size)
	}
	for _, f := range typ.Fields {
		if f.Unavailable == "" && f.Offset+f.Type.Size > typ.Size {
			t.Fatalf("%s.%s: %d bytes at %d of %d", typ.Name, f.Name, f.Type.Size, f.Offset, typ.Size)
		}
		checkType(t, f.Type, nesting+1)
	}
}

func checkPrograms(t testing.TB, c *Compiler) {
	progs, edges := c.Programs()
	for i, p := range progs {
		if p.N > maxEdges || int(p.Edges+p.N) > len(edges) {
			t.Fatalf("program %d: %+v of %d edges", i, p, len(edges))
		}
		for _, e := range edges[p.Edges : p.Edges+p.N] {
			if uint32(e.Off)+8 > p.Size || e.Type >= uint32(len(progs)) || e.Kind < EdgePointer || e.Kind > EdgeDict ||
				e.Kind == EdgeCounted && (uint32(e.LenOff)+8 > p.Size || e.Stride == 0) ||
				(e.Kind == EdgeTrait || e.Kind == EdgeDict) && uint32(e.LenOff)+8 > p.Size {
				t.Fatalf("program %d: %+v in a value of %d bytes", i, e, p.Size)
			}
		}
	}
}

// FuzzSignature damages the debug information of real programs.
func FuzzSignature(f *testing.F) {
	specimens := []specimen{
		newSpecimen(f, compile(f, "gcc -w -O2 -gdwarf-5 testdata/values/places.c -lm")),
		newSpecimen(f, compile(f, "clang-14 -w -O2 -gdwarf-4 testdata/values/places.c -lm")),
	}
	for _, s := range specimens {
		s.read(f, s.sections)
	}
	for i := range byte(12) {
		f.Add(i%2, []byte{i, i * 20, i, 0, 0xff})
		f.Add(i%2, []byte{i, i*31 + 7, i * 3, 0, 0, i + 1, 9, 1, 0, 0x80, 250, i, 2, 0, 0})
	}
	f.Fuzz(func(t *testing.T, which byte, patch []byte) {
		s := specimens[int(which)%len(specimens)]
		s.read(t, s.damage(patch))
	})
}

// TestDamaged goes through many kinds of damage to programs of all languages.
func TestDamaged(t *testing.T) {
	programs := map[string]string{
		"c":    compile(t, "gcc -w -O2 -gdwarf-4 testdata/values/places.c -lm"),
		"c++":  compile(t, "g++ -w -O2 -gdwarf-5 testdata/values/values.cc"),
		"rust": compile(t, "rustc -g -C opt-level=1 testdata/rust/main.rs"),
	}
	for name, path := range programs {
		t.Run(name, func(t *testing.T) {
			s := newSpecimen(t, path)
			s.funcs = s.funcs[:min(len(s.funcs), 40)]
			seed := uint64(1)
			random := func() byte { // a fixed sequence: failures repeat
				seed = seed*6364136223846793005 + 1442695040888963407
				return byte(seed >> 56)
			}
			for i := range 60 {
				patch := make([]byte, 5*(1+i%4))
				for i := range patch {
					patch[i] = random()
				}
				s.read(t, s.damage(patch))
			}
		})
	}
}
