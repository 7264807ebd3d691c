package sites

import (
	"debug/elf"
	encbinary "encoding/binary"
	"sort"
	"strings"
	"testing"
)

// binary is a real program whose functions are analysed.
type binary struct {
	path  string
	arch  Arch
	text  []byte // .text
	base  uint64 // its address
	funcs []symbol
	parts map[string][]symbol // .cold parts by their function's name
	addr  map[string]uint64   // symbols by name
	fdes  []symbol            // ranges of .eh_frame, sorted
	named map[uint64]bool     // addresses of b.funcs
	rows  map[uint64][]cfiRow // of .eh_frame
}

type symbol struct {
	name string
	addr uint64
	size uint64
}

// openBinary reads the .text section and the functions of the symbol tables.
func openBinary(t testing.TB, path string) *binary {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatalf("open %s: %v (apt-get install binutils gcc g++ postgresql libpython3.11)", path, err)
	}
	defer f.Close()
	text := f.Section(".text")
	if text == nil {
		t.Fatalf("%s has no .text", path)
	}
	b := &binary{path: path, base: text.Addr, parts: map[string][]symbol{}, addr: map[string]uint64{}}
	if f.Machine == elf.EM_AARCH64 {
		b.arch = ARM64
	}
	if b.text, err = text.Data(); err != nil {
		t.Fatal(err)
	}
	syms, _ := f.Symbols()
	dyn, _ := f.DynamicSymbols()
	seen := map[uint64]bool{}
	for _, s := range append(syms, dyn...) {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Size == 0 || s.Value < b.base || s.Value+s.Size > b.base+uint64(len(b.text)) {
			continue
		}
		b.addr[s.Name] = s.Value
		if i := strings.Index(s.Name, ".cold"); i > 0 {
			b.parts[s.Name[:i]] = append(b.parts[s.Name[:i]], symbol{s.Name, s.Value, s.Size})
			continue
		}
		if seen[s.Value] {
			continue
		}
		seen[s.Value] = true
		b.funcs = append(b.funcs, symbol{s.Name, s.Value, s.Size})
	}
	b.named = seen
	if eh := f.Section(".eh_frame"); eh != nil {
		data, err := eh.Data()
		if err != nil {
			t.Fatal(err)
		}
		b.fdes = parseFDEs(data, eh.Addr)
		b.rows = cfi(data, eh.Addr)
	}
	sort.Slice(b.funcs, func(i, j int) bool { return b.funcs[i].addr < b.funcs[j].addr })
	if len(b.funcs) == 0 {
		t.Fatalf("%s has no function symbols", path)
	}
	return b
}

func (b *binary) code(s symbol) Range {
	return Range{Addr: s.addr, Code: b.text[s.addr-b.base:][:s.size]}
}

func (b *binary) input(s symbol, isGo bool, morestack func(uint64) bool) Input {
	in := Input{Arch: b.arch, Body: b.code(s), Go: isGo, Morestack: morestack}
	for _, p := range b.parts[s.name] {
		in.Parts = append(in.Parts, b.code(p))
	}
	if len(b.fdes) > 0 {
		in.Part = b.part
	}
	return in
}

// part is an Input.Part by unwind information. A piece that is entered with
// something on the stack is no function.
func (b *binary) part(target uint64, moved bool) (Range, bool) {
	i := sort.Search(len(b.fdes), func(i int) bool { return b.fdes[i].addr > target }) - 1
	if i < 0 || target >= b.fdes[i].addr+b.fdes[i].size || b.named[b.fdes[i].addr] {
		return Range{}, false
	}
	s := b.fdes[i]
	rows := b.rows[s.addr]
	called := len(rows) > 0 && rows[0].bySP && rows[0].depth == 0
	if !moved && called && target == s.addr || s.addr < b.base || s.addr+s.size > b.base+uint64(len(b.text)) {
		return Range{}, false
	}
	return b.code(s), true
}

// parseFDEs reads the ranges of an .eh_frame section (LSB, Exception Frames),
// for the pointer encoding that gcc, clang and rustc use: pcrel | sdata4.
func parseFDEs(data []byte, addr uint64) []symbol {
	var fdes []symbol
	le := encbinary.LittleEndian
	for off := 0; off+12 <= len(data); {
		size := int(le.Uint32(data[off:]))
		if size == 0 || off+4+size > len(data) {
			break
		}
		if le.Uint32(data[off+4:]) != 0 && size >= 12 { // not a CIE
			at := addr + uint64(off) + 8
			start := at + uint64(int64(int32(le.Uint32(data[off+8:]))))
			fdes = append(fdes, symbol{addr: start, size: uint64(le.Uint32(data[off+12:]))})
		}
		off += 4 + size
	}
	sort.Slice(fdes, func(i, j int) bool { return fdes[i].addr < fdes[j].addr })
	return fdes
}

// morestack is the Input.Morestack of a Go program.
func (b *binary) morestack() func(uint64) bool {
	m := map[uint64]bool{}
	for name, addr := range b.addr {
		if strings.HasPrefix(name, "runtime.morestack") {
			m[addr] = true
		}
	}
	return func(a uint64) bool { return m[a] }
}
