package damaged

import (
	"bytes"
	"debug/dwarf"
	"debug/elf"
)

func goDamages() []Damage {
	table := func(name string, change func(b []byte)) Damage {
		return Damage{name, "go", func(p *program) { change(p.at(goTable(p))) }}
	}
	// word changes a word of the table's header (runtime.pcHeader): 1 nfunc, 2 nfiles, 3 textStart,
	// 4 funcnameOffset, 5 cuOffset, 6 filetabOffset, 7 pctabOffset, 8 pclnOffset.
	word := func(name string, n int, v uint64) Damage {
		return table(name, func(b []byte) { le.PutUint64(b[8*n:], v) })
	}
	functions := func(name string, change func(i int, entry []byte)) Damage {
		return table(name, func(b []byte) {
			at := le.Uint64(b[8*8:])
			for i := range min(int(le.Uint64(b[8:])), 4000) {
				change(i, b[at+uint64(i)*8:])
			}
		})
	}
	goTypes := func(name string, write func(i *info)) Damage {
		return Damage{name, "go", made(func(p *program, i *info) {
			i.compile(p, 5, langGo)
			i.function(p, "main.main", "T")
			write(i)
			i.end()
			i.close()
			i.begin(5) // the unit that has the types
			i.entry(dwarf.TagCompileUnit, true, attr{dwarf.AttrName, formString, "runtime"}, attr{dwarf.AttrLanguage, formData1, langGo})
			for n := range 4 {
				i.entry(dwarf.TagTypedef, false, attr{dwarf.AttrName, formString, "main.T"}, ref("T"), attr{goRuntimeType, formData8, uint64(n) << (20 * n)})
			}
			i.end()
			i.close()
		}, nil)}
	}
	return []Damage{
		{"go-sound", "go", func(*program) {}},
		word("go-table-of-another-magic", 0, 0x1020304050607080),
		table("go-table-with-pointers-of-0-bytes", func(b []byte) { b[7] = 0 }),
		table("go-table-with-instructions-of-0-bytes", func(b []byte) { b[6] = 0 }),
		word("go-table-of-2^63-functions", 1, 1<<63),
		word("go-table-of-2^32-functions", 1, 1<<32),
		word("go-table-of-no-functions", 1, 0),
		word("go-table-of-2^63-files", 2, 1<<63),
		word("go-table-names-elsewhere", 4, ^uint64(0)),
		word("go-table-units-elsewhere", 5, ^uint64(0)-4),
		word("go-table-files-elsewhere", 6, 1<<62),
		word("go-table-pcs-elsewhere", 7, 1<<62),
		word("go-table-functions-elsewhere", 8, ^uint64(0)-3),
		word("go-table-functions-in-the-header", 8, 0),
		functions("go-functions-not-in-order", func(i int, e []byte) { le.PutUint32(e, uint32(i)*0x9e3779b1) }),
		functions("go-functions-at-one-address", func(_ int, e []byte) { le.PutUint32(e, 0x40) }),
		functions("go-functions-described-elsewhere", func(i int, e []byte) { le.PutUint32(e[4:], ^uint32(0)-uint32(i)) }),
		functions("go-functions-described-by-one", func(_ int, e []byte) { le.PutUint32(e[4:], 8) }),
		table("go-functions-of-wild-tables", func(b []byte) {
			at := le.Uint64(b[8*8:])
			for i := range le.Uint64(b[8:]) {
				fn := b[at+uint64(le.Uint32(b[at+i*8+4:])):]
				copy(fn[4:40], bytes.Repeat([]byte{0xff}, 36)) // all but the entry
			}
		}),
		table("go-pcs-without-end", func(b []byte) {
			pcs, end := le.Uint64(b[8*7:]), le.Uint64(b[8*8:])
			copy(b[pcs:end], bytes.Repeat([]byte{0x80}, int(end-pcs)))
		}),
		table("go-pcs-of-small-steps", func(b []byte) {
			pcs, end := le.Uint64(b[8*7:]), le.Uint64(b[8*8:])
			copy(b[pcs:end], bytes.Repeat([]byte{2, 1}, int(end-pcs)/2))
		}),
		table("go-names-without-end", func(b []byte) {
			names, end := le.Uint64(b[8*4:]), le.Uint64(b[8*5:])
			copy(b[names:end], bytes.Repeat([]byte{'x'}, int(end-names)))
		}),
		{"go-build-information-wild", "go", func(p *program) {
			b := p.at(".go.buildinfo")
			copy(b[32:], bytes.Repeat([]byte{0xff}, min(16, len(b)-32)))
		}},
		{"go-module-data-wild", "go", func(p *program) {
			b := p.at(".noptrdata")
			copy(b, bytes.Repeat([]byte{0xff, 0x7f}, len(b)/2))
			if i := indexOf(p, ".go.module"); i != nil {
				for n := 8; n+8 <= len(i); n += 8 {
					le.PutUint64(i[n:], le.Uint64(i[n:])*31)
				}
			}
		}},
		{"go-interface-tables-wild", "go", func(p *program) {
			b, names := p.section(".symtab").data, p.section(".strtab").data
			for i := 0; i+24 <= len(b); i += 24 {
				if bytes.HasPrefix(names[le.Uint32(b[i:]):], []byte("go:itab.")) {
					le.PutUint64(b[i+8:], ^uint64(0)-uint64(i))
				}
			}
		}},
		{"go-types-elsewhere", "go", func(p *program) {
			b, names := p.section(".symtab").data, p.section(".strtab").data
			for i := 0; i+24 <= len(b); i += 24 {
				if bytes.HasPrefix(names[le.Uint32(b[i:]):], []byte("runtime.types\x00")) {
					le.PutUint64(b[i+8:], ^uint64(0))
				}
			}
		}},
		{"go-debug-information-a-bomb", "go", func(p *program) {
			s := p.section(".debug_info")
			if elf.SectionFlag(s.Flags)&elf.SHF_COMPRESSED == 0 {
				panic("it isn't compressed")
			}
			le.PutUint64(s.data[8:], 1<<40)
		}},
		goTypes("go-slice-without-members", func(i *info) {
			i.label("T")
			i.entry(dwarf.TagStructType, true, attr{dwarf.AttrName, formString, "[]int"}, attr{dwarf.AttrByteSize, formUdata, 24}, attr{goKind, formData1, 23})
			i.end()
		}),
		goTypes("go-string-of-two-bytes", func(i *info) {
			i.label("T")
			i.entry(dwarf.TagStructType, true, attr{dwarf.AttrName, formString, "string"}, attr{dwarf.AttrByteSize, formUdata, 2}, attr{goKind, formData1, 24})
			i.member("str", "T", 0)
			i.member("len", "T", 1<<30)
			i.end()
		}),
		goTypes("go-map-of-itself", func(i *info) {
			i.label("T")
			i.entry(dwarf.TagTypedef, false, attr{dwarf.AttrName, formString, "map[T]T"}, ref("T"), attr{goKind, formData1, 21})
		}),
		goTypes("go-interface-of-itself", func(i *info) {
			i.label("T")
			i.entry(dwarf.TagTypedef, false, attr{dwarf.AttrName, formString, "main.I"}, ref("T"), attr{goKind, formData1, 20})
		}),
		goTypes("go-struct-that-contains-itself", func(i *info) {
			i.label("T")
			i.entry(dwarf.TagStructType, true, attr{dwarf.AttrName, formString, "main.T"}, attr{dwarf.AttrByteSize, formUdata, 8}, attr{goKind, formData1, 25})
			i.member("T", "T", 0)
			i.end()
		}),
		goTypes("go-kind-99", func(i *info) {
			i.label("T")
			i.entry(dwarf.TagBaseType, false, attr{dwarf.AttrName, formString, "int"}, attr{dwarf.AttrByteSize, formData1, 8}, attr{goKind, formData1, 99})
		}),
	}
}

// goTable is the name of the section that has the function table.
func goTable(p *program) string {
	for _, s := range p.sections {
		if s.name == ".data.rel.ro.gopclntab" {
			return s.name
		}
	}
	return ".gopclntab"
}

// indexOf is a loaded section's bytes, nil when there is none of that name.
func indexOf(p *program, name string) []byte {
	for _, s := range p.sections {
		if s.name == name {
			return p.loaded[s.Off:][:s.Size]
		}
	}
	return nil
}
