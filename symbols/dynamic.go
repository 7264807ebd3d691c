package symbols

import (
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/observatory-trace/observatory-trace/symbols/types"
	"github.com/observatory-trace/observatory-trace/symbols/units"
)

// maxDynamic is how many dynamic types are described. Programs with more have
// those left out that neither a conversion to an interface with methods nor a generic
// function's dictionary mentions.
const maxDynamic = 8192

// Dynamic describes the types that only the running program knows: those that a
// Go program's interface values can hold, and those of the objects behind the pointers
// that were planned so far to C++ classes with virtual functions and to Rust's dyn
// types. It is empty without debug information. Their graph is that of the functions
// which Select returned.
func (f *File) Dynamic() (dynamic []types.Dynamic) {
	_ = f.read(func() error {
		dynamic = f.virtual()
		start, ok := f.symbolValue("runtime.types")
		if !ok || f.goInfo() == nil {
			return nil
		}
		reader := f.signatures(false)
		if reader == nil {
			return nil
		}
		list := f.runtimeTypes(start)
		f.img.forget(f.img.data) // the function table has been read
		for _, t := range list {
			d, err := reader.Dynamic(t)
			if err != nil {
				f.warnDebug(err)
				continue
			}
			dynamic = append(dynamic, d)
		}
		return nil
	})
	return dynamic
}

// runtimeTypes lists the types that are worth describing.
func (f *File) runtimeTypes(start uint64) (list []types.RuntimeType) {
	x := f.dwarf().index
	for _, u := range x.Units() {
		if u.Name != "runtime" {
			continue
		}
		for _, t := range x.RuntimeTypes(u) {
			list = append(list, types.RuntimeType{Offset: dwarf.Offset(t.Offset), Address: start + t.Address})
		}
	}
	if len(list) <= maxDynamic {
		return list
	}
	// Those that a value can be told to have: by an itab, or by a generic function's dictionary.
	mentioned := map[uint64]bool{}
	f.eachSymbol(func(s dataSymbol) bool {
		if t, ok := f.itabType(s); ok {
			mentioned[t] = true
		}
		if s.isDictionary() {
			for at := s.value; at < s.value+min(s.size, maxDictionary); at += 8 {
				if word, ok := f.img.uint64At(at); ok {
					mentioned[word] = true
				}
			}
		}
		return true
	})
	kept := list[:0]
	for _, t := range list {
		if mentioned[t.Address] && len(kept) < maxDynamic {
			kept = append(kept, t)
		}
	}
	return kept
}

// ITabs returns the addresses of a Go program's itabs that the linker made, and
// the dynamic type of each as Dynamic has it. Those that the runtime makes are
// not among them; theirs has to be read at types.ITabType.
func (f *File) ITabs() (itabs map[uint64]uint64) {
	_ = f.read(func() error {
		if f.goInfo() != nil {
			itabs = f.itabs()
		}
		return nil
	})
	return itabs
}

func (f *File) itabs() map[uint64]uint64 {
	itabs := map[uint64]uint64{}
	f.eachSymbol(func(s dataSymbol) bool {
		if t, ok := f.itabType(s); ok {
			itabs[s.value] = t
		}
		return true
	})
	return itabs
}

// itabType gives the dynamic type of the itab that a symbol is of.
func (f *File) itabType(s dataSymbol) (uint64, bool) {
	if !strings.HasPrefix(s.name, "go:itab.") {
		return 0, false
	}
	return f.img.uint64At(s.value + types.ITabType)
}

// dataSymbol is a symbol of any kind. Its name refers to the mapped file.
type dataSymbol struct {
	name        string
	value, size uint64
	defined     bool // here, and not in another file
}

// eachSymbol visits the symbols of any kind until visit returns false: those of the
// symbol table or, where that was stripped, those that other files are to see.
func (f *File) eachSymbol(visit func(dataSymbol) bool) {
	images := []*image{f.img}
	if d := f.debugInfo().img; d != nil && d != f.img {
		images = append(images, d)
	}
	for _, kind := range []elf.SectionType{elf.SHT_SYMTAB, elf.SHT_DYNSYM} {
		found := false
		for _, m := range images {
			for _, s := range m.elf.Sections {
				if s.Type != kind || int(s.Link) >= len(m.elf.Sections) {
					continue
				}
				b, err := m.raw(s)
				names, err2 := m.raw(m.elf.Sections[s.Link])
				for ; err == nil && err2 == nil && len(b) >= symSize; b = b[symSize:] {
					found = true
					if !visit(dataSymbol{
						cstringAt(names, uint64(binary.LittleEndian.Uint32(b))), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:]),
						binary.LittleEndian.Uint16(b[6:]) != uint16(elf.SHN_UNDEF),
					}) {
						return
					}
				}
			}
		}
		if found {
			return
		}
	}
}

// symbolValue looks a symbol of any kind up.
func (f *File) symbolValue(name string) (value uint64, ok bool) {
	f.eachSymbol(func(s dataSymbol) bool {
		if s.name != name {
			return true
		}
		value, ok = s.value, true
		return false
	})
	return value, ok
}

// RuntimeType reads from the file how the runtime describes a type: its name, as reflect has
// it, and its reflect.Kind. It is asked of types that Dynamic doesn't have: that are of no variable in
// the debug information. (internal/abi.Type, Go 1.22 to 1.26.)
func (f *File) RuntimeType(addr uint64) (name string, kind uint64, ok bool) {
	const (
		flagAt, kindAt, nameAt = 20, 23, 40
		extraStar              = 1 << 1
	)
	_ = f.read(func() error {
		if f.types == (units.Range{}) {
			low, ok := f.symbolValue("runtime.types")
			high, ok2 := f.symbolValue("runtime.etypes")
			if f.types = (units.Range{Low: 1}); ok && ok2 {
				f.types = units.Range{Low: low, High: high}
			}
		}
		base := f.types.Low
		t := f.img.bytesAt(addr)
		if addr < base || addr >= f.types.High || addr%8 != 0 || len(t) < nameAt+4 {
			return nil
		}
		// A flag, the length as a varint, the text.
		b := f.img.bytesAt(base + uint64(binary.LittleEndian.Uint32(t[nameAt:])))
		if len(b) < 2 {
			return nil
		}
		n, width := binary.Uvarint(b[1:min(len(b), 1+binary.MaxVarintLen16)])
		if width <= 0 || n > maxTypeName || uint64(len(b)) < 1+uint64(width)+n {
			return nil
		}
		text := b[1+width:][:n]
		if t[flagAt]&extraStar != 0 && len(text) > 0 {
			text = text[1:]
		}
		name, kind, ok = string(text), uint64(t[kindAt]&31), len(text) > 0 && utf8.Valid(text)
		return nil
	})
	return name, kind, ok
}

// maxTypeName bounds the name of a runtime type, bytes.
const maxTypeName = 4096

// dictionaryMark is in the names of dictionaries' symbols: main..dict.Max[int].
const dictionaryMark = "..dict."

// maxDictionary bounds how much of a dictionary is read, bytes.
const maxDictionary = 4096

func (s *dataSymbol) isDictionary() bool {
	return s.defined && strings.Contains(s.name, dictionaryMark)
}

// Dictionary is what the symbol of a dictionary tells.
type Dictionary struct {
	Of        string // the generic function, or the type whose methods get it: "main.Max"
	Arguments string // the types that it was instantiated with: "[string,*main.point]"
}

// Dictionaries returns those that a Go program's generic functions are given, by address.
func (f *File) Dictionaries() map[uint64]Dictionary {
	all := map[uint64]Dictionary{}
	_ = f.read(func() error {
		if f.goInfo() == nil {
			return nil
		}
		f.eachSymbol(func(s dataSymbol) bool {
			if pkg, rest, _ := strings.Cut(s.name, dictionaryMark); s.isDictionary() {
				if i := strings.IndexByte(rest, '['); i >= 0 {
					all[s.value] = Dictionary{pkg + "." + rest[:i], strings.Clone(rest[i:])}
				}
			}
			return true
		})
		return nil
	})
	return all
}

// WordAt reads the word that a running program finds at an address of the file, with the load bias
// taken for 0.
func (f *File) WordAt(addr uint64) (word uint64, ok bool) {
	_ = f.read(func() error {
		word, ok = f.img.uint64At(addr)
		return nil
	})
	return word, ok
}
