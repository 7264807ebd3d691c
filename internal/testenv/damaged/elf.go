// Package damaged breaks small programs in known ways: in their ELF tables, their
// debug information, their unwind information, and Go's function table. The
// corpus in testdata/damaged is made of it (make corpus); Go programs, which can't
// be small, are broken when a test runs.
//
// It must not import what it is there to test.
package damaged

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
)

var le = binary.LittleEndian

// Sizes of ELF's structures, 64 bits.
const (
	headerSize = 64
	progSize   = 56
	sectSize   = 64
)

// program is an ELF file that can be changed. Its segments stay where they are;
// sections that aren't loaded are written anew behind them.
type program struct {
	loaded   []byte // the file's bytes that segments have, and before
	sections []*section
	// last changes the finished file.
	last func(b []byte) []byte
}

// section is one section with its header, which written sets but for what is changed by header.
type section struct {
	elf.Section64
	name string
	data []byte // of sections that aren't loaded
	// header changes the finished header.
	header func(h *elf.Section64)
}

func parse(b []byte) (*program, error) {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("parse program: %w", err)
	}
	p := &program{}
	end := uint64(headerSize + progSize*len(f.Progs))
	for _, s := range f.Progs {
		if s.Type == elf.PT_LOAD {
			end = max(end, s.Off+s.Filesz)
		}
	}
	p.loaded = slices.Clone(b[:end])
	for _, s := range f.Sections {
		n := &section{name: s.Name, Section64: elf.Section64{
			Type: uint32(s.Type), Flags: uint64(s.Flags), Addr: s.Addr, Off: s.Offset, Size: s.FileSize, Link: s.Link, Info: s.Info,
			Addralign: s.Addralign, Entsize: s.Entsize,
		}}
		if s.Flags&elf.SHF_ALLOC == 0 && s.Type != elf.SHT_NOBITS && s.Type != elf.SHT_NULL {
			n.data = slices.Clone(b[s.Offset:][:s.FileSize])
		}
		p.sections = append(p.sections, n)
	}
	return p, nil
}

// section finds a section; a damage that needs one which the program lacks is a mistake.
func (p *program) section(name string) *section {
	for _, s := range p.sections {
		if s.name == name {
			return s
		}
	}
	panic("no section " + name)
}

// set replaces a section's bytes, or adds the section.
func (p *program) set(name string, data []byte) *section {
	i := slices.IndexFunc(p.sections, func(s *section) bool { return s.name == name })
	if i < 0 {
		i = len(p.sections)
		p.sections = append(p.sections, &section{name: name, Section64: elf.Section64{Addralign: 1}})
	}
	s := p.sections[i]
	s.Type, s.Flags, s.data = uint32(elf.SHT_PROGBITS), 0, data
	return s
}

// remove takes sections out. Links to what follows break: they are between tables that come last.
func (p *program) remove(names ...string) {
	for _, s := range p.sections {
		if slices.Contains(names, s.name) {
			s.Type, s.data, s.name = uint32(elf.SHT_PROGBITS), nil, ".removed"
			s.Size, s.Flags = 0, 0
		}
	}
}

// at is the bytes of a loaded section, to be changed.
func (p *program) at(name string) []byte {
	s := p.section(name)
	if s.data != nil {
		return s.data
	}
	return p.loaded[s.Off:][:s.Size]
}

// symbol is an address by its name.
func (p *program) symbol(name string) (addr, size uint64) {
	symbols, names := p.section(".symtab").data, p.section(".strtab").data
	for ; len(symbols) >= 24; symbols = symbols[24:] {
		rest := names[le.Uint32(symbols):]
		if string(rest[:bytes.IndexByte(rest, 0)]) == name {
			return le.Uint64(symbols[8:]), le.Uint64(symbols[16:])
		}
	}
	panic("no symbol " + name)
}

// bytes writes the program.
func (p *program) bytes() []byte {
	out := slices.Clone(p.loaded)
	names := []byte{0}
	headers := make([]elf.Section64, len(p.sections))
	for i, s := range p.sections {
		h := s.Section64
		if s.name != "" {
			h.Name = uint32(len(names))
			names = append(append(names, s.name...), 0)
		}
		if s.data != nil && s.name != ".shstrtab" {
			h.Off, h.Size = uint64(len(out)), uint64(len(s.data))
			out = append(out, s.data...)
		}
		headers[i] = h
	}
	for i, s := range p.sections {
		if s.name == ".shstrtab" {
			headers[i].Off, headers[i].Size = uint64(len(out)), uint64(len(names))
			out = append(out, names...)
			le.PutUint16(out[62:], uint16(i)) // e_shstrndx
		}
	}
	le.PutUint64(out[40:], uint64(len(out)))        // e_shoff
	le.PutUint16(out[60:], uint16(len(p.sections))) // e_shnum
	for i, s := range p.sections {
		if s.header != nil {
			s.header(&headers[i])
		}
		out, _ = binary.Append(out, le, headers[i])
	}
	if p.last != nil {
		out = p.last(out)
	}
	return out
}
