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

// Dynamic describes the types that a Go program's interface values can hold.
// It is empty for other programs, and without debug information. Their graph is
// that of the functions which Select returned.
func (f *File) Dynamic() (dynamic []types.Dynamic) {
	_ = f.read(func() error {
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
	f.eachSymbol(func(name string, addr uint64) bool {
		if strings.HasPrefix(name, "go:itab.") {
			if t, ok := f.img.uint64At(addr + types.ITabType); ok {
				itabs[addr] = t
			}
		}
		return true
	})
	return itabs
}

// eachSymbol visits the symbols of any kind until visit returns false. Names
// refer to the mapped file.
func (f *File) eachSymbol(visit func(name string, value uint64) bool) {
	images := []*image{f.img}
	if d := f.debugInfo().img; d != nil && d != f.img {
		images = append(images, d)
	}
	for _, m := range images {
		for _, s := range m.elf.Sections {
			if s.Type != elf.SHT_SYMTAB || int(s.Link) >= len(m.elf.Sections) {
				continue
			}
			b, err := m.raw(s)
			names, err2 := m.raw(m.elf.Sections[s.Link])
			for ; err == nil && err2 == nil && len(b) >= symSize; b = b[symSize:] {
				if !visit(cstringAt(names, uint64(binary.LittleEndian.Uint32(b))), binary.LittleEndian.Uint64(b[8:])) {
					return
				}
			}
		}
	}
}

// symbolValue looks a symbol of any kind up.
func (f *File) symbolValue(name string) (value uint64, ok bool) {
	f.eachSymbol(func(n string, v uint64) bool {
		if n != name {
			return true
		}
		value, ok = v, true
		return false
	})
	return value, ok
}
