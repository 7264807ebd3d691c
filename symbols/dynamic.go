package symbols

import (
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"strings"

	"github.com/observatory-trace/observatory-trace/symbols/types"
)

// maxDynamic is how many dynamic types are described. Programs with more have
// those left out that no conversion to an interface with methods mentions.
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
	mentioned := map[uint64]bool{}
	for _, t := range f.itabs() {
		mentioned[t] = true
	}
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
		if strings.HasPrefix(s.name, "go:itab.") {
			if t, ok := f.img.uint64At(s.value + types.ITabType); ok {
				itabs[s.value] = t
			}
		}
		return true
	})
	return itabs
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
