package types

import (
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/trace"
)

// file is a compiled program and its functions, as the symbols package would find them.
type file struct {
	elf    *elf.File
	data   *dwarf.Data
	reader *Reader
	funcs  map[string]Subprogram // by symbol
}

func openFile(t testing.TB, path string) *file {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	d, err := f.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	arch := AMD64
	if f.Machine == elf.EM_AARCH64 {
		arch = ARM64
	}
	out := &file{elf: f, data: d, reader: NewReader(d, arch, sectionsOf(f)), funcs: map[string]Subprogram{}}
	out.index(t)
	return out
}

func sectionsOf(f *elf.File) Sections {
	section := func(name string) []byte {
		if s := f.Section(name); s != nil {
			b, err := s.Data()
			if err == nil {
				return b
			}
		}
		return nil
	}
	return Sections{Info: section(".debug_info"), Loc: section(".debug_loc"), LocLists: section(".debug_loclists"), Addr: section(".debug_addr")}
}

// index joins the symbol table and the debug information by address.
func (f *file) index(t testing.TB) {
	t.Helper()
	byPC := map[uint64]Subprogram{}
	r := f.data.Reader()
	lang := trace.LangUnknown
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) || e == nil {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e.Tag {
		case dwarf.TagCompileUnit:
			lang = language(e)
		case dwarf.TagSubprogram:
			ranges, err := f.data.Ranges(e)
			if err != nil {
				t.Fatal(err)
			}
			if len(ranges) > 0 {
				pc := ranges[0][0]
				byPC[pc] = Subprogram{Offset: e.Offset, Language: lang, LowPC: pc}
			}
		}
	}
	symbols, err := f.elf.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if sp, ok := byPC[s.Value]; ok && elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			sp.Symbol, sp.Local = s.Name, elf.ST_BIND(s.Info) == elf.STB_LOCAL
			sp.Code = f.code(s)
			f.funcs[s.Name] = sp
		}
	}
}

// code is a function's machine code.
func (f *file) code(s elf.Symbol) []byte {
	if int(s.Section) >= len(f.elf.Sections) {
		return nil
	}
	section := f.elf.Sections[s.Section]
	code := make([]byte, min(s.Size, 1<<16))
	if _, err := section.ReadAt(code, int64(s.Value-section.Addr)); err != nil {
		return nil
	}
	return code
}

func language(e *dwarf.Entry) trace.Language {
	code, _ := e.Val(dwarf.AttrLanguage).(int64)
	switch code {
	case 0x1, 0x2, 0xc, 0x1d, 0x2c:
		return trace.LangC
	case 0x4, 0x1a, 0x21, 0x2b:
		return trace.LangCPP
	case 0x1c:
		return trace.LangRust
	case 0x16:
		return trace.LangGo
	case 0x8001:
		return trace.LangAsm
	}
	return trace.LangUnknown
}

// function finds a function by its symbol, or by the only symbol that contains the name.
func (f *file) function(t testing.TB, name string) Subprogram {
	t.Helper()
	if sp, ok := f.funcs[name]; ok {
		return sp
	}
	var found []string
	for symbol := range f.funcs {
		if strings.Contains(symbol, name) {
			found = append(found, symbol)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d functions are called like %q: %v", len(found), name, found)
	}
	return f.funcs[found[0]]
}

// describe writes a signature on one line.
func describe(s Signature) string {
	list := func(params []trace.Param) string {
		var parts []string
		for _, p := range params {
			parts = append(parts, fmt.Sprintf("%s %s@%s", p.Name, p.Type.Name, p.Location))
		}
		return strings.Join(parts, ", ")
	}
	return "(" + list(s.Params) + ") -> (" + list(s.Results) + ")"
}

func sortedSymbols(f *file) []string {
	var names []string
	for name := range f.funcs {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
