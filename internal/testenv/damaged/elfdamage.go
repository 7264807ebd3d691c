package damaged

import (
	"bytes"
	"compress/zlib"
	"debug/elf"
)

func elfDamages() []Damage {
	onAll := func(name string, do func(p *program)) (list []Damage) {
		for _, of := range []string{"c", "cpp", "rust"} {
			list = append(list, Damage{of + "-" + name, of, do})
		}
		return list
	}
	// header changes the header of one section.
	header := func(name string, change func(h *elf.Section64)) func(p *program) {
		return func(p *program) { p.section(name).header = change }
	}
	last := func(change func(b []byte) []byte) func(p *program) {
		return func(p *program) { p.last = change }
	}
	list := onAll("sound", func(*program) {})
	list = append(list, []Damage{
		{"cut-in-header", "c", last(func(b []byte) []byte { return b[:20] })},
		{"cut-after-header", "c", last(func(b []byte) []byte { return b[:64] })},
		{"cut-in-text", "c", last(func(b []byte) []byte { return b[:0x1a0] })},
		{"cut-in-section-headers", "c", last(func(b []byte) []byte { return b[:len(b)-100] })},
		{"section-runs-past-the-file", "c", header(".debug_info", func(h *elf.Section64) { h.Size += 1 << 20 })},
		{"section-size-wraps", "c", header(".debug_info", func(h *elf.Section64) { h.Size = -h.Off + 8 })},
		{"section-of-an-exbibyte", "c", header(".debug_str", func(h *elf.Section64) { h.Size = 1 << 60 })},
		{"sections-overlap", "c", func(p *program) {
			to := p.section(".debug_info")
			for _, name := range []string{".debug_abbrev", ".debug_str", ".debug_line", ".symtab", ".strtab"} {
				p.section(name).header = func(h *elf.Section64) { h.Off, h.Size = uint64(len(p.loaded)), uint64(len(to.data)) }
			}
		}},
		{"sections-on-the-elf-header", "c", func(p *program) {
			for _, s := range p.sections[1:] {
				if s.name != ".shstrtab" {
					s.header = func(h *elf.Section64) { h.Off = 0 }
				}
			}
		}},
		{"section-names-elsewhere", "c", last(func(b []byte) []byte { le.PutUint16(b[62:], 0xfff0); return b })},
		{"section-names-extended-to-themselves", "c", last(func(b []byte) []byte {
			le.PutUint16(b[62:], uint16(elf.SHN_XINDEX))
			le.PutUint32(b[le.Uint64(b[40:])+40:], 0xffffffff) // sh_link of section 0
			return b
		})},
		{"four-billion-sections", "c", last(func(b []byte) []byte {
			le.PutUint16(b[60:], 0)
			le.PutUint64(b[le.Uint64(b[40:])+32:], 1<<32-1) // sh_size of section 0
			return b
		})},
		{"65535-program-headers", "c", last(func(b []byte) []byte { le.PutUint16(b[56:], 0xffff); return b })},
		{"program-headers-of-1-byte", "c", last(func(b []byte) []byte { le.PutUint16(b[54:], 1); return b })},
		{"segments-wrap", "c", segments(func(p []byte) {
			le.PutUint64(p[16:], ^uint64(0)-100) // p_vaddr
			le.PutUint64(p[40:], ^uint64(0)-1)   // p_memsz
		})},
		{"segments-past-the-file", "c", segments(func(p []byte) {
			le.PutUint64(p[32:], 1<<40)
			le.PutUint64(p[40:], 1<<40)
		})},
		{"segments-at-negative-offsets", "c", segments(func(p []byte) { le.PutUint64(p[8:], 1<<63) })},
		{"no-executable-segment", "c", segments(func(p []byte) { p[4] &^= 1 })},
		{"machine-unknown", "c", last(func(b []byte) []byte { le.PutUint16(b[18:], 0x4242); return b })},
		{"arm64-that-is-not", "c", last(func(b []byte) []byte { le.PutUint16(b[18:], uint16(elf.EM_AARCH64)); return b })},
		{"symbols-wild", "c", symbols(func(i int, s []byte) {
			le.PutUint32(s, uint32(i)*0x1234567)
			le.PutUint64(s[16:], ^uint64(0)>>uint(i%8))
		})},
		{"symbols-everywhere", "c", symbols(func(i int, s []byte) { le.PutUint64(s[8:], uint64(i)*0x123456789abcdef) })},
		{"symbols-of-section-xindex", "c", symbols(func(_ int, s []byte) { le.PutUint16(s[6:], uint16(elf.SHN_XINDEX)) })},
		{"symbols-without-size", "c", symbols(func(_ int, s []byte) { le.PutUint64(s[16:], 0) })},
		{"symbols-that-overlap", "c", func(p *program) {
			text := p.section(".text")
			table := p.section(".symtab")
			_, size := p.symbol("visit")
			for i := range uint64(2000) {
				s := make([]byte, 24)
				le.PutUint32(s, uint32(i)%64)
				s[4] = byte(elf.STT_FUNC) | byte(elf.STB_GLOBAL)<<4
				le.PutUint16(s[6:], 1)
				le.PutUint64(s[8:], text.Addr+i%size)
				le.PutUint64(s[16:], text.Size-i%size)
				table.data = append(table.data, s...)
			}
		}},
		{"symbol-names-elsewhere", "c", header(".symtab", func(h *elf.Section64) { h.Link = 0xffffff })},
		{"symbol-names-in-the-symbols", "c", func(p *program) {
			for i, s := range p.sections {
				if s.name == ".symtab" {
					s.header = func(h *elf.Section64) { h.Link = uint32(i) }
				}
			}
		}},
		{"symbol-names-without-end", "c", func(p *program) {
			for i := range p.section(".strtab").data {
				p.section(".strtab").data[i] = 'x'
			}
		}},
		{"symbol-names-that-demangle-long", "cpp", func(p *program) {
			// Each substitution doubles the name.
			name := "_Z1fI" + string(bytes.Repeat([]byte("St4pairI"), 40))
			for range 40 {
				name += "S_S_E"
			}
			table := p.section(".strtab")
			at := len(table.data)
			table.data = append(table.data, name+"EvT_\x00_ZN"+string(bytes.Repeat([]byte("1aI"), 4000))+"\x00"...)
			symbols(func(i int, s []byte) { le.PutUint32(s, uint32(at+i%2*(len(name)+5))) })(p)
		}},
		{"note-longer-than-its-section", "c", func(p *program) { le.PutUint32(p.at(".note.gnu.build-id")[4:], ^uint32(0)) }},
		{"note-names-wrap", "c", func(p *program) { le.PutUint32(p.at(".note.gnu.build-id"), ^uint32(0)-2) }},
		{"debug-link-without-name", "c", func(p *program) { p.remove(".debug_info"); p.set(".gnu_debuglink", []byte{0, 0, 0, 0}) }},
		{"debug-link-to-itself", "c", func(p *program) {
			p.remove(".debug_info")
			p.set(".gnu_debuglink", append([]byte("debug-link-to-itself.elf\x00\x00\x00\x00"), 1, 2, 3, 4))
		}},
		{"relocations-of-a-byte", "c", func(p *program) {
			s := p.set(".rela.plt", bytes.Repeat([]byte{0xff}, 25))
			s.Type, s.Flags, s.Entsize, s.Link = uint32(elf.SHT_RELA), uint64(elf.SHF_ALLOC), 1, 0xffff //nolint:misspell // the name of the section type
		}},
		{"bomb-of-a-tebibyte", "c", compressed(1, 1<<40, func(b []byte) []byte { return deflate(b) })},
		{"bomb-of-zeros", "c", compressed(1, 40<<20, func([]byte) []byte { return deflate(make([]byte, 40<<20)) })},
		{"compressed-shorter-than-said", "c", compressed(1, 60000, deflate)},
		{"compressed-longer-than-said", "c", compressed(1, 10, deflate)},
		{"compressed-damaged", "c", compressed(1, 0, func(b []byte) []byte {
			z := deflate(b)
			for i := 20; i < len(z); i += 7 {
				z[i] ^= 0x55
			}
			return z
		})},
		{"compressed-in-an-unknown-way", "c", compressed(77, 0, deflate)},
		{"compressed-zstd-that-is-not", "c", compressed(2, 0, func(b []byte) []byte { return append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xff}, b...) })},
		{"compressed-without-header", "c", func(p *program) {
			s := p.set(".debug_info", []byte{1, 0, 0})
			s.Flags = uint64(elf.SHF_COMPRESSED)
		}},
		{"old-bomb-of-a-tebibyte", "c", func(p *program) {
			z := append([]byte("ZLIB\x00\x00\x01\x00\x00\x00\x00\x00"), deflate(p.section(".debug_info").data)...)
			p.remove(".debug_info")
			p.set(".zdebug_info", z)
		}},
	}...)
	return list
}

// segments changes the program headers of what is loaded.
func segments(change func(p []byte)) func(p *program) {
	return func(p *program) {
		p.last = func(b []byte) []byte {
			for i := range int(le.Uint16(b[56:])) {
				if h := b[int(le.Uint64(b[32:]))+i*progSize:]; elf.ProgType(le.Uint32(h)) == elf.PT_LOAD {
					change(h)
				}
			}
			return b
		}
	}
}

// symbols changes the functions of the symbol table.
func symbols(change func(i int, s []byte)) func(p *program) {
	return func(p *program) {
		b := p.section(".symtab").data
		for i := 0; i+24 <= len(b); i += 24 {
			if elf.ST_TYPE(b[i+4]) == elf.STT_FUNC {
				change(i/24, b[i:])
			}
		}
	}
}

// compressed replaces the debug information by bytes that are said to be so
// many, 0 for what they are.
func compressed(kind uint32, size uint64, make func([]byte) []byte) func(p *program) {
	return func(p *program) {
		info := p.section(".debug_info").data
		if size == 0 {
			size = uint64(len(info))
		}
		header := le.AppendUint32(nil, kind)
		header = le.AppendUint64(le.AppendUint64(le.AppendUint32(header, 0), size), 1)
		p.set(".debug_info", append(header, make(info)...)).Flags = uint64(elf.SHF_COMPRESSED)
	}
}

func deflate(b []byte) []byte {
	var out bytes.Buffer
	w, _ := zlib.NewWriterLevel(&out, 9)
	_, _ = w.Write(b) // into memory
	_ = w.Close()
	return out.Bytes()
}
