package symbols

import (
	"debug/elf"
	"encoding/binary"
	"strings"
)

// stubs are the entries of a file's procedure linkage table.
type stubs struct {
	m     *image
	t     *table
	slots map[uint64]string // symbol that a slot of the global offset table is bound to
}

// readStubs reads which symbols the file's offset table is bound to.
func readStubs(f *File, t *table) *stubs {
	s := &stubs{m: f.img, t: t, slots: map[uint64]string{}}
	syms, names := dynamicSymbols(f.img)
	f.img.relocations(func(r elf.Rela64) {
		i := uint64(elf.R_SYM64(r.Info)) * symSize
		if i == 0 { // an indirect function of this file, known by its resolver
			if e := t.find(uint64(r.Addend)); r.Addend != 0 && e >= 0 {
				s.slots[r.Off] = t.name(t.entries[e])
			}
			return
		}
		if i+symSize <= uint64(len(syms)) {
			s.slots[r.Off] = cstringAt(names, uint64(binary.LittleEndian.Uint32(syms[i:])))
		}
	})
	return s
}

// dynamicSymbols returns the bytes of the dynamic symbol table and its strings.
func dynamicSymbols(m *image) (syms, names []byte) {
	for _, s := range m.elf.Sections {
		if s.Type != elf.SHT_DYNSYM || int(s.Link) >= len(m.elf.Sections) {
			continue
		}
		syms, _ = m.raw(s)
		names, _ = m.raw(m.elf.Sections[s.Link])
		return syms, names
	}
	return nil, nil
}

// name is the symbol that the stub at an address jumps to, empty when there is
// no stub.
func (s *stubs) name(addr uint64) string {
	if !s.m.inStubs(addr) {
		return ""
	}
	slot, ok := slotOfStub(s.m.elf.Machine, s.m.bytesAt(addr), addr)
	if !ok {
		return ""
	}
	return s.slots[slot]
}

// inStubs reports whether an address lies in the procedure linkage table.
func (m *image) inStubs(addr uint64) bool {
	for _, sec := range m.elf.Sections {
		if stubSection(sec.Name) && addr >= sec.Addr && addr-sec.Addr < sec.Size {
			return true
		}
	}
	return false
}

func stubSection(name string) bool {
	return name == ".plt" || name == ".iplt" || strings.HasPrefix(name, ".plt.")
}

// slotOfStub decodes a stub as far as the address of the slot it jumps through.
func slotOfStub(machine elf.Machine, code []byte, addr uint64) (uint64, bool) {
	if machine == elf.EM_AARCH64 {
		return slotOfStubARM64(code, addr)
	}
	// [endbr64] [bnd] jmp *disp32(%rip)
	at := 0
	if len(code) >= 4 && binary.LittleEndian.Uint32(code) == 0xfa1e0ff3 {
		at = 4
	}
	if at < len(code) && code[at] == 0xf2 {
		at++
	}
	if len(code) < at+6 || code[at] != 0xff || code[at+1] != 0x25 {
		return 0, false
	}
	disp := int32(binary.LittleEndian.Uint32(code[at+2:]))
	return addr + uint64(at) + 6 + uint64(int64(disp)), true
}

// slotOfStubARM64 decodes [bti c] adrp x16, page; ldr x17, [x16, #offset].
func slotOfStubARM64(code []byte, addr uint64) (uint64, bool) {
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(code[4*i:]) }
	if len(code) < 12 {
		return 0, false
	}
	i := 0
	if word(0) == 0xd503245f {
		i = 1
	}
	adrp, ldr := word(i), word(i+1)
	if adrp&0x9f00001f != 0x90000010 || ldr&0xffc003ff != 0xf9400211 {
		return 0, false
	}
	page := int64(int32(adrp<<8)>>13)<<2 | int64(adrp>>29&3)
	return (addr+uint64(4*i))&^0xfff + uint64(page<<12) + uint64(ldr>>10&0xfff)*8, true
}
