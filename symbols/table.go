package symbols

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/observatory-trace/observatory-trace/symbols/pclntab"
)

// table is the functions of a file, before anything is known of them but their
// names and extents. Strings that it gives out refer to the mapped files.
type table struct {
	names   []byte           // string table of syms
	syms    []symbol         // by address, best name first
	entries []entry          // by address
	pieces  map[uint64][]int // entries that are pieces of the function at an address
	pcln    *pclntab.Table
	// assembly holds the names of Go's functions that are written in assembly:
	// those that are called from Go have a wrapper of the same name.
	assembly map[string]bool
}

// symbol is one name of a function.
type symbol struct {
	addr, size uint64
	name       uint32 // offset in table.names; an index into pcln when fromPcln is set
	file       uint32 // which STT_FILE symbol it follows: tells static functions of one name apart
	bind       uint8  // elf.SymBind
	flags      symFlags
}

type symFlags uint8

const (
	symIFunc symFlags = 1 << iota
	symPcln           // the name is that of pcln's function of this index
	symPart           // a piece of another function, split off by the compiler
)

// entry is one function: the symbols first to first+count of the table.
type entry struct {
	first, count uint32
	parent       int32 // entry of the function that this is a piece of, or -1
}

const symSize = 24 // elf.Sym64

// readSymbols appends the functions that a symbol table section defines.
func readSymbols(m *image, kind elf.SectionType, executable func(addr uint64) bool) (syms []symbol, names []byte, err error) {
	var sec *elf.Section
	for _, s := range m.elf.Sections {
		if s.Type == kind {
			sec = s
			break
		}
	}
	if sec == nil {
		return nil, nil, nil
	}
	b, err := m.raw(sec)
	if err != nil || b == nil {
		return nil, nil, err
	}
	if int(sec.Link) >= len(m.elf.Sections) {
		return nil, nil, fmt.Errorf("read section %s: its string table does not exist", sec.Name)
	}
	if names, err = m.raw(m.elf.Sections[sec.Link]); err != nil {
		return nil, nil, err
	}
	stubs := map[uint16]bool{}
	for i, s := range m.elf.Sections {
		stubs[uint16(i)] = stubSection(s.Name)
	}
	syms = make([]symbol, 0, len(b)/symSize)
	file := uint32(0)
	for ; len(b) >= symSize; b = b[symSize:] {
		info := b[4]
		typ, bind := elf.ST_TYPE(info), elf.ST_BIND(info)
		if typ == elf.STT_FILE {
			file++
			continue
		}
		if typ != elf.STT_FUNC && typ != elf.STT_GNU_IFUNC {
			continue
		}
		shndx := binary.LittleEndian.Uint16(b[6:])
		s := symbol{
			name: binary.LittleEndian.Uint32(b), bind: uint8(bind),
			addr: binary.LittleEndian.Uint64(b[8:]), size: binary.LittleEndian.Uint64(b[16:]),
		}
		if shndx == uint16(elf.SHN_UNDEF) || shndx == uint16(elf.SHN_ABS) || stubs[shndx] || !executable(s.addr) {
			continue
		}
		if bind == elf.STB_LOCAL {
			s.file = file
		}
		if typ == elf.STT_GNU_IFUNC {
			s.flags |= symIFunc
		}
		syms = append(syms, s)
	}
	return syms, names, nil
}

// functions reads the file's function table, once.
func (f *File) functions() (*table, error) {
	if f.table != nil {
		return f.table, nil
	}
	t := &table{assembly: map[string]bool{}}
	var err error
	if t.syms, t.names, err = f.symbolTable(); err == nil && f.goInfo() != nil {
		err = f.addPclntab(t)
	}
	if err != nil {
		return nil, fmt.Errorf("read functions of %s: %w", f.path, err)
	}
	t.group()
	f.table = t
	return t, nil
}

// symbolTable reads the most telling symbol table: the file's own, its debug
// file's, else the dynamic one.
func (f *File) symbolTable() ([]symbol, []byte, error) {
	executable := func(addr uint64) bool {
		_, ok := f.FileOffset(addr)
		return ok
	}
	syms, names, err := readSymbols(f.img, elf.SHT_SYMTAB, executable)
	if err != nil || len(syms) > 0 {
		return syms, names, err
	}
	if d := f.debugInfo(); d.img != nil && d.img != f.img {
		if syms, names, err = readSymbols(d.img, elf.SHT_SYMTAB, executable); err == nil && len(syms) > 0 {
			return syms, names, nil
		}
	}
	return readSymbols(f.img, elf.SHT_DYNSYM, executable)
}

// addPclntab adds the functions of Go's own table that no symbol names.
func (f *File) addPclntab(t *table) error {
	start, err := f.goTextStart(t)
	if err != nil {
		return err
	}
	if t.pcln, err = pclntab.New(f.golang.pclntab, start); err != nil {
		return err
	}
	t.syms = slices.DeleteFunc(t.syms, func(s symbol) bool { return goMarker(t.symName(s)) })
	named := make(map[uint64]struct{}, len(t.syms))
	for i := range t.syms {
		named[t.syms[i].addr] = struct{}{}
	}
	for i := range t.pcln.Len() {
		fn, ok := t.pcln.Func(i)
		if !ok {
			continue
		}
		if fn.Asm {
			t.assembly[fn.Name] = true
		}
		if _, ok := named[fn.Addr]; ok {
			continue
		}
		if _, ok := f.FileOffset(fn.Addr); !ok || goMarker(fn.Name) {
			continue
		}
		t.syms = append(t.syms, symbol{addr: fn.Addr, size: fn.Size, name: uint32(i), bind: uint8(elf.STB_GLOBAL), flags: symPcln})
	}
	return nil
}

// group sorts the symbols and makes one entry of those at one address.
func (t *table) group() {
	slices.SortFunc(t.syms, func(a, b symbol) int {
		if c := cmp.Compare(a.addr, b.addr); c != 0 {
			return c
		}
		return t.rank(a, b)
	})
	for i := 0; i < len(t.syms); {
		j := i + 1
		for j < len(t.syms) && t.syms[j].addr == t.syms[i].addr {
			j++
		}
		t.entries = append(t.entries, entry{first: uint32(i), count: uint32(j - i), parent: -1})
		i = j
	}
	t.adopt()
}

// rank orders the names of one function: global before weak before local, real
// names before those of pieces and clones, then those without reserved
// underscores, then alphabetically.
func (t *table) rank(a, b symbol) int {
	if c := cmp.Compare(bindRank(a.bind), bindRank(b.bind)); c != 0 {
		return c
	}
	if c := cmp.Compare(b.size, a.size); c != 0 {
		return c
	}
	return cmp.Compare(t.symName(a), t.symName(b))
}

func bindRank(bind uint8) int {
	switch elf.SymBind(bind) {
	case elf.STB_LOCAL:
		return 2
	case elf.STB_WEAK:
		return 1
	default:
		return 0
	}
}

func (t *table) symName(s symbol) string {
	if s.flags&symPcln != 0 {
		fn, _ := t.pcln.Func(int(s.name))
		return fn.Name
	}
	return cstringAt(t.names, uint64(s.name))
}

// symbols are all names of an entry, the best first.
func (t *table) symbols(e entry) []symbol { return t.syms[e.first:][:e.count] }

// name is an entry's best name as the symbol table has it.
func (t *table) name(e entry) string { return t.symName(t.syms[e.first]) }

func (t *table) addr(e entry) uint64 { return t.syms[e.first].addr }

// size is an entry's size in bytes, 0 when no symbol states it.
func (t *table) size(e entry) uint64 {
	size := uint64(0)
	for _, s := range t.symbols(e) {
		size = max(size, s.size)
	}
	return size
}

// find returns the index of the entry at an address, or -1.
func (t *table) find(addr uint64) int {
	i, ok := slices.BinarySearchFunc(t.entries, addr, func(e entry, addr uint64) int { return cmp.Compare(t.addr(e), addr) })
	if !ok {
		return -1
	}
	return i
}

// containing returns the index of the entry whose code includes an address, or -1.
func (t *table) containing(addr uint64) int {
	i, ok := slices.BinarySearchFunc(t.entries, addr, func(e entry, addr uint64) int { return cmp.Compare(t.addr(e), addr) })
	if ok {
		return i
	}
	if i--; i < 0 || addr-t.addr(t.entries[i]) >= t.size(t.entries[i]) {
		return -1
	}
	return i
}

// adopt gives the pieces that the compiler split off functions to their parents.
func (t *table) adopt() {
	type piece struct {
		entry  int
		parent string
		file   uint32
	}
	var pieces []piece
	wanted := map[string][]int{} // entries by name, for the parents' names only
	for i, e := range t.entries {
		s := t.syms[e.first]
		if parent, ok := coldParent(t.symName(s)); ok {
			pieces = append(pieces, piece{i, parent, s.file})
			wanted[parent] = nil
		}
	}
	if pieces == nil {
		return
	}
	t.pieces = map[uint64][]int{}
	for i, e := range t.entries {
		for _, s := range t.symbols(e) {
			if list, ok := wanted[t.symName(s)]; ok {
				wanted[t.symName(s)] = append(list, i)
				break
			}
		}
	}
	for _, p := range pieces {
		t.syms[t.entries[p.entry].first].flags |= symPart
		parent := t.chooseParent(wanted[p.parent], p.file)
		t.entries[p.entry].parent = int32(parent)
		if parent >= 0 {
			addr := t.addr(t.entries[parent])
			t.pieces[addr] = append(t.pieces[addr], p.entry)
		}
	}
}

// maxNamesakes bounds the functions of one name that are searched for a part's.
const maxNamesakes = 1 << 10

// chooseParent picks the function that a piece belongs to: the only one of its
// name, or the only one from the same source file; -1 when that can't be told.
func (t *table) chooseParent(candidates []int, file uint32) int {
	if len(candidates) == 1 {
		return candidates[0]
	}
	if len(candidates) > maxNamesakes {
		return -1
	}
	found := -1
	for _, c := range candidates {
		if t.syms[t.entries[c].first].file != file {
			continue
		}
		if found >= 0 {
			return -1
		}
		found = c
	}
	return found
}

// goFunc returns what Go's own table says of an entry; ok is false for
// functions that aren't Go's.
func (t *table) goFunc(e entry) (fn pclntab.Func, ok bool) {
	if t.pcln == nil {
		return fn, false
	}
	i := t.pcln.Find(t.addr(e))
	if i < 0 {
		return fn, false
	}
	fn, ok = t.pcln.Func(i)
	return fn, ok && fn.Addr == t.addr(e)
}

func (t *table) isGo(e entry) bool {
	_, ok := t.goFunc(e)
	return ok
}

// autogenerated reports whether an entry is a Go function that nobody wrote.
func (t *table) autogenerated(e entry) bool {
	fn, ok := t.goFunc(e)
	return ok && (t.pcln.File(fn) == pclntab.Autogenerated && !goInit(t.name(e)) || goGlue(t.name(e)))
}
