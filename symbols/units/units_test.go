package units

import (
	"debug/dwarf"
	"debug/elf"
	"errors"
	"path"
	"slices"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
	"github.com/observatory-trace/observatory-trace/internal/testenv/damaged"
)

func sections(tb testing.TB, file string) (Sections, *dwarf.Data) {
	tb.Helper()
	f, err := elf.Open(file)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	get := func(name string) []byte {
		s := f.Section(name)
		if s == nil {
			return nil
		}
		b, err := s.Data()
		if err != nil {
			tb.Fatal(err)
		}
		return b
	}
	data, err := f.DWARF()
	if err != nil {
		tb.Fatal(err)
	}
	line := get(".debug_line")
	return Sections{
		Info: get(".debug_info"), Abbrev: get(".debug_abbrev"), Str: get(".debug_str"), LineStr: get(".debug_line_str"),
		Ranges: get(".debug_ranges"), RngLists: get(".debug_rnglists"), Addr: get(".debug_addr"), StrOffsets: get(".debug_str_offsets"),
		Line: func() []byte { return line },
	}, data
}

var text = Range{Low: 0x1000, High: 1 << 40}

// targets cover the producers and versions of DWARF.
var targets = []testenv.Target{
	{Source: "c/counts", DWARF: 4},
	{Source: "c/counts", DWARF: 5, Opt: "-O0", Flags: []string{"-gz"}},
	{Source: "c/counts", Compiler: "clang-14", DWARF: 5},
	{Source: "c/counts", Flags: []string{"-flto"}},
	{Source: "cpp/counts", DWARF: 4, Opt: "-O0"},
	{Source: "cpp/counts", DWARF: 5},
	{Source: "cpp/counts", Compiler: "clang++-14", DWARF: 4},
	{Source: "cpp/counts", Compiler: "clang++-14", DWARF: 5, Flags: []string{"-ffunction-sections"}},
	{Source: "rust/counts"},
	{Source: "go/counts"},
	{Source: "go/counts", Compiler: "go1.24.6", Opt: "-O0"},
	{Source: "go/counts", Compiler: "go1.22.12"},
}

// TestAgainstStandardLibrary compares every function with code, and what its
// entries say of it, with what debug/dwarf reads.
func TestAgainstStandardLibrary(t *testing.T) {
	for _, target := range targets {
		t.Run(target.String(), func(t *testing.T) {
			sec, data := sections(t, testenv.Build(t, target))
			x, err := New(sec, text)
			if err != nil {
				t.Fatal(err)
			}
			got := map[dwarf.Offset]Function{}
			for _, u := range x.Units() {
				functions, err := x.Functions(u)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range functions {
					got[dwarf.Offset(f.Offset)] = f
				}
			}
			r := reference{t: t, x: x, data: data, got: got}
			r.walk()
			if len(got) != r.seen || r.seen == 0 {
				t.Errorf("%d functions, want %d", len(got), r.seen)
			}
		})
	}
}

type reference struct {
	t     *testing.T
	x     *Index
	data  *dwarf.Data
	got   map[dwarf.Offset]Function
	seen  int
	files []*dwarf.LineFile
	lang  int64
}

func (r *reference) walk() {
	entries := r.data.Reader()
	for {
		e, err := entries.Next()
		if err != nil {
			r.t.Fatal(err)
		}
		switch {
		case e == nil:
			return
		case e.Tag == dwarf.TagCompileUnit:
			r.files = nil
			r.lang, _ = e.Val(dwarf.AttrLanguage).(int64)
			if lines, err := r.data.LineReader(e); err == nil && lines != nil {
				r.files = lines.Files()
			}
		case e.Tag == dwarf.TagSubprogram:
			r.compare(e)
		}
	}
}

func (r *reference) compare(e *dwarf.Entry) {
	t := r.t
	ranges, err := r.data.Ranges(e)
	if err != nil {
		t.Fatal(err)
	}
	if len(ranges) == 0 {
		return
	}
	r.seen++
	f, ok := r.got[e.Offset]
	if !ok {
		t.Errorf("the function at %#x is missing", e.Offset)
		return
	}
	if !slices.EqualFunc(f.Ranges, ranges, func(a Range, b [2]uint64) bool { return a.Low == b[0] && a.High == b[1] }) {
		t.Errorf("%s: ranges %x, want %x", f.Name, f.Ranges, ranges)
	}
	if u := r.x.Find(f.Low); f.Low >= text.Low && u != f.Unit {
		t.Errorf("%s at %#x: found in unit %+v", f.Name, f.Low, u)
	}
	name, linkage, line, file := r.resolve(e)
	if f.Name != name || f.LinkageName != linkage || f.Line != line {
		t.Errorf("at %#x: %q %q line %d, want %q %q line %d", e.Offset, f.Name, f.LinkageName, f.Line, name, linkage, line)
	}
	if got := r.x.File(f); file != "" && path.Clean(file) != got {
		t.Errorf("%s: file %q, want %q", name, got, path.Clean(file))
	}
}

// resolve follows an entry's origins. The file is told only when the origins
// lie in the same unit, whose line table is at hand.
func (r *reference) resolve(e *dwarf.Entry) (name, linkage string, line int, file string) {
	index := int64(-1)
	same := true
	for range 5 {
		if v, ok := e.Val(dwarf.AttrName).(string); ok && name == "" {
			name = v
		}
		if v, ok := e.Val(dwarf.AttrLinkageName).(string); ok && linkage == "" {
			linkage = v
		}
		if v, ok := e.Val(dwarf.AttrDeclLine).(int64); ok && line == 0 {
			line = int(v)
		}
		if v, ok := e.Val(dwarf.AttrDeclFile).(int64); ok && index < 0 && same {
			index = v
		}
		off, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
		if !ok {
			off, ok = e.Val(dwarf.AttrSpecification).(dwarf.Offset)
		}
		if !ok {
			break
		}
		same = same && r.x.unitAt(uint64(off)) == r.x.unitAt(uint64(e.Offset))
		entries := r.data.Reader()
		entries.Seek(off)
		next, err := entries.Next()
		if err != nil || next == nil {
			break
		}
		e = next
	}
	if index >= 0 && int(index) < len(r.files) && r.files[index] != nil {
		file = r.files[index].Name
	}
	return name, linkage, line, file
}

func TestMemberOffset(t *testing.T) {
	sec, data := sections(t, testenv.Build(t, testenv.Target{Source: "go/counts"}))
	x, err := New(sec, text)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{}
	entries := data.Reader()
	inside := false
	for {
		e, err := entries.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			break
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		switch {
		case e.Tag == dwarf.TagStructType:
			inside = name == "runtime.g"
		case e.Tag == dwarf.TagMember && inside:
			want[name] = e.Val(dwarf.AttrDataMemberLoc).(int64)
		}
	}
	if len(want) < 30 {
		t.Fatalf("runtime.g has %d members", len(want))
	}
	for _, u := range x.Units() {
		if _, ok := x.MemberOffset(u, "runtime.g", "goid"); !ok {
			continue
		}
		for name, offset := range want {
			if got, ok := x.MemberOffset(u, "runtime.g", name); !ok || int64(got) != offset {
				t.Errorf("%s at %d, %v; want %d", name, got, ok, offset)
			}
		}
		if _, ok := x.MemberOffset(u, "runtime.g", "no such member"); ok {
			t.Error("a member that does not exist is found")
		}
		return
	}
	t.Error("runtime.g is in no unit")
}

func TestRuntimeTypes(t *testing.T) {
	sec, data := sections(t, testenv.Build(t, testenv.Target{Source: "go/counts"}))
	x, err := New(sec, text)
	if err != nil {
		t.Fatal(err)
	}
	got := map[dwarf.Offset]uint64{}
	for _, u := range x.Units() {
		for _, r := range x.RuntimeTypes(u) {
			got[dwarf.Offset(r.Offset)] = r.Address
		}
	}
	seen := 0
	for entries := data.Reader(); ; {
		e, err := entries.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			break
		}
		want, ok := e.Val(attrGoRuntimeType).(int64)
		if v, isUint := e.Val(attrGoRuntimeType).(uint64); isUint {
			want, ok = int64(v), true
		}
		if !ok || want == 0 {
			continue
		}
		seen++
		if got[e.Offset] != uint64(want) {
			t.Errorf("entry %#x: %#x, want %#x", e.Offset, got[e.Offset], want)
		}
	}
	if seen != len(got) || seen < 100 {
		t.Errorf("%d types, want %d", len(got), seen)
	}
}

func TestDamaged(t *testing.T) {
	sec, _ := sections(t, testenv.Build(t, testenv.Target{Source: "c/counts"}))
	clone := func() Sections {
		c := sec
		c.Info, c.Abbrev = slices.Clone(sec.Info), slices.Clone(sec.Abbrev)
		return c
	}
	for name, change := range map[string]func(*Sections){
		"length past the end": func(s *Sections) { s.Info[0], s.Info[1], s.Info[2] = 0xff, 0xff, 0xff },
		"version":             func(s *Sections) { s.Info[4] = 9 },
		"address size":        func(s *Sections) { s.Info[7] = 3 },
		"no abbreviations":    func(s *Sections) { s.Abbrev = nil },
		"endless abbreviations": func(s *Sections) {
			for i := range s.Abbrev {
				s.Abbrev[i] = 1
			}
		},
		"cut": func(s *Sections) { s.Info = s.Info[:len(s.Info)/2] },
	} {
		s := clone()
		change(&s)
		if _, err := New(s, text); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: error %v, want ErrDamaged", name, err)
		}
	}
}

// FuzzIndex reads everything in damaged sections.
func FuzzIndex(f *testing.F) {
	for _, target := range targets[:4] {
		sec, _ := sections(f, testenv.Build(f, target))
		n := min(len(sec.Info), 1<<11)
		f.Add(sec.Info[:n], sec.Abbrev, sec.Str[:min(len(sec.Str), 1<<12)], sec.Line()[:min(len(sec.Line()), 1<<12)], sec.Ranges, sec.RngLists, sec.Addr)
	}
	for _, s := range damaged.Sections(f) {
		f.Add(s[".debug_info"], s[".debug_abbrev"], s[".debug_str"], s[".debug_line"], s[".debug_ranges"], s[".debug_rnglists"], s[".debug_addr"])
	}
	f.Fuzz(func(t *testing.T, info, abbrev, str, line, ranges, rnglists, addr []byte) {
		x, err := New(Sections{
			Info: info, Abbrev: abbrev, Str: str, LineStr: str, Ranges: ranges, RngLists: rnglists, Addr: addr, StrOffsets: addr,
			Line: func() []byte { return line },
		}, text)
		if err != nil {
			return
		}
		for _, u := range x.Units() {
			functions, _ := x.Functions(u)
			for _, fn := range functions {
				x.File(fn)
				x.Find(fn.Low)
				for _, call := range x.Inlined(fn, fn.Low) {
					x.File(call.Function)
				}
				x.Line(u, fn.Low)
			}
			x.MemberOffset(u, "runtime.g", "goid")
			x.RuntimeTypes(u)
		}
	})
}
