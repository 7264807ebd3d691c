package symbols

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"slices"
	"strings"
)

// object is a data symbol: a variable, a table of virtual functions.
type object struct {
	addr, size uint64
	name       uint32 // offset in objects.names
}

// objects are a file's data symbols, by address. The names refer to the mapped file.
type objects struct {
	list  []object
	names []byte
}

const (
	// maxObjects bounds how many data symbols are kept of a file.
	maxObjects = 1 << 18
	// maxOverlap bounds how many symbols that begin before an address are looked at: few lie in one another.
	maxOverlap = 8
)

// ObjectAt is the demangled name of the data object (STT_OBJECT) that a virtual
// address of the file lies in, and how far behind its beginning; the name is empty
// when it lies in none. The symbols are read when first asked for.
func (f *File) ObjectAt(addr uint64) (name string, offset uint64, err error) {
	err = f.read(func() error {
		if f.objects == nil {
			f.objects = f.readObjects()
		}
		list := f.objects.list
		i, _ := slices.BinarySearchFunc(list, addr, func(o object, addr uint64) int {
			if o.addr > addr {
				return 1
			}
			return -1
		})
		for n := 0; i > 0 && n < maxOverlap; n++ {
			i--
			if o := list[i]; addr-o.addr < o.size {
				name, offset = strings.Clone(demangled(cstringAt(f.objects.names, uint64(o.name)))), addr-o.addr
				return nil
			}
		}
		return nil
	})
	return name, offset, err
}

// readObjects reads the data symbols of the first symbol table that there is: the
// file's own, its debug file's, the dynamic one.
func (f *File) readObjects() *objects {
	tables := []struct {
		img  *image
		kind elf.SectionType
	}{{f.img, elf.SHT_SYMTAB}, {f.debugInfo().img, elf.SHT_SYMTAB}, {f.img, elf.SHT_DYNSYM}}
	for _, t := range tables {
		if t.img == nil {
			continue
		}
		for _, s := range t.img.elf.Sections {
			if s.Type != t.kind || int(s.Link) >= len(t.img.elf.Sections) {
				continue
			}
			syms, err := t.img.raw(s)
			names, err2 := t.img.raw(t.img.elf.Sections[s.Link])
			if err == nil && err2 == nil && len(syms) > 0 {
				return objectsOf(syms, names)
			}
		}
	}
	return &objects{}
}

func objectsOf(syms, names []byte) *objects {
	o := &objects{names: names}
	for ; len(syms) >= symSize && len(o.list) < maxObjects; syms = syms[symSize:] {
		section := elf.SectionIndex(binary.LittleEndian.Uint16(syms[6:]))
		size := binary.LittleEndian.Uint64(syms[16:])
		if elf.ST_TYPE(syms[4]) != elf.STT_OBJECT || section == elf.SHN_UNDEF || section == elf.SHN_ABS || size == 0 {
			continue
		}
		o.list = append(o.list, object{binary.LittleEndian.Uint64(syms[8:]), size, binary.LittleEndian.Uint32(syms)})
	}
	slices.SortStableFunc(o.list, func(a, b object) int { return cmp.Compare(a.addr, b.addr) })
	return o
}
