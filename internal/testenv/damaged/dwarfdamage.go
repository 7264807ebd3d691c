package damaged

import (
	"bytes"
	"debug/dwarf"
	"fmt"
)

func dwarfDamages() []Damage {
	return []Damage{
		{"abbreviations-without-end", "c", replace(".debug_abbrev", func(b []byte) []byte { return bytes.TrimRight(b, "\x00") })},
		{"abbreviation-number-without-end", "c", replace(".debug_abbrev", func(b []byte) []byte { return bytes.Repeat([]byte{0x80}, 3000) })},
		{"abbreviation-of-2^63", "c", replace(".debug_abbrev", func(b []byte) []byte { return append(uleb(1<<63), b[1:]...) })},
		{"abbreviations-elsewhere", "c", replace(".debug_info", func(b []byte) []byte { le.PutUint32(b[8:], 0xfffffff0); return b })},
		{"abbreviations-that-overlap", "c", made(func(p *program, i *info) {
			for range 300 {
				i.compile(p, 4, langC99)
				i.end()
				i.close()
			}
		}, func(sections map[string][]byte) {
			table := bytes.Repeat([]byte{1, 0x11, 1, 3, 8, 0x13, 0x0b, 0x11, 1, 0x12, 7, 0, 0}, 100)
			sections[".debug_abbrev"] = append(table, 0)
			b := sections[".debug_info"]
			for unit, n := 0, 0; unit < len(b); unit, n = unit+4+int(le.Uint32(b[unit:])), n+1 {
				le.PutUint32(b[unit+6:], uint32(n*13%len(table)))
			}
		})},
		{"unit-of-version-77", "c", replace(".debug_info", func(b []byte) []byte { le.PutUint16(b[4:], 77); return b })},
		{"unit-longer-than-its-section", "c", replace(".debug_info", func(b []byte) []byte { le.PutUint32(b, 0x7ffffff0); return b })},
		{"unit-of-64-bits-that-wraps", "c", replace(".debug_info", func(b []byte) []byte {
			le.PutUint32(b, 0xffffffff)
			le.PutUint64(b[4:], ^uint64(0)-3)
			return b
		})},
		{"units-of-nothing", "c", replace(".debug_info", func([]byte) []byte { return make([]byte, 4000) })},
		{"unit-with-addresses-of-3-bytes", "c", replace(".debug_info", func(b []byte) []byte { b[7] = 3; return b })},
		{"unit-cut", "c", replace(".debug_info", func(b []byte) []byte {
			b = b[:len(b)/2]
			le.PutUint32(b, uint32(len(b)-4))
			return b
		})},
		{"entries-of-undeclared-shapes", "c", replace(".debug_info", func(b []byte) []byte {
			for i := 60; i < len(b); i += 40 {
				b[i] = 0x7f
			}
			return b
		})},
		{"strings-elsewhere", "c", replace(".debug_str", func(b []byte) []byte { return b[:3] })},
		{"strings-without-end", "c", replace(".debug_str", func(b []byte) []byte { return bytes.ReplaceAll(b, []byte{0}, []byte{'x'}) })},
		{"versions-2-to-5-in-one-program", "c", made(func(p *program, i *info) {
			for n, symbol := range []string{"twice", "visit", "choose", "_start"} {
				addr, size := p.symbol(symbol)
				i.begin(2 + n)
				high := attr{dwarf.AttrHighpc, formAddr, addr + size}
				if i.version >= 4 {
					high = attr{dwarf.AttrHighpc, formData8, size}
				}
				i.entry(dwarf.TagCompileUnit, true, attr{dwarf.AttrName, formString, symbol + ".c"}, attr{dwarf.AttrLanguage, formData1, langC99},
					attr{dwarf.AttrLowpc, formAddr, addr}, high)
				i.integer(label(symbol))
				if i.version == 2 { // DW_FORM_ref_addr is as long as an address there
					i.entry(dwarf.TagSubprogram, false, attr{dwarf.AttrName, formString, symbol}, attr{dwarf.AttrLowpc, formAddr, addr}, high)
				} else {
					i.function(p, symbol, label(symbol))
				}
				i.end()
				i.close()
			}
		}, nil)},
		typed("typedef-of-itself", func(i *info) {
			i.label("T")
			i.entry(dwarf.TagTypedef, false, attr{dwarf.AttrName, formString, "T"}, ref("T"))
		}),
		typed("typedefs-in-a-circle", func(i *info) {
			for n := range 3 {
				i.label(nth("T", n))
				i.entry(dwarf.TagTypedef, false, attr{dwarf.AttrName, formString, "T"}, ref(nth("T", (n+1)%3)))
			}
		}),
		typed("const-of-itself", func(i *info) {
			i.label("T")
			i.entry(dwarf.TagConstType, false, ref("T"))
		}),
		typed("array-of-itself", func(i *info) {
			i.label("T")
			i.entry(dwarf.TagArrayType, true, ref("T"))
			i.entry(dwarf.TagSubrangeType, false, attr{dwarf.AttrCount, formData1, 4})
			i.end()
		}),
		typed("struct-that-contains-itself", func(i *info) {
			i.label("T")
			i.structure("T", 16)
			i.member("inner", "T", 0)
			i.end()
		}),
		typed("enumeration-of-itself", func(i *info) {
			i.label("T")
			i.entry(dwarf.TagEnumerationType, true, attr{dwarf.AttrName, formString, "T"}, ref("T"), attr{dwarf.AttrByteSize, formData4, 1 << 20})
			i.end()
		}),
		typed("pointer-to-itself", func(i *info) {
			i.label("T")
			i.entry(dwarf.TagPointerType, false, attr{dwarf.AttrByteSize, formData1, 8}, ref("T"))
		}),
		typed("type-that-is-a-function", func(i *info) {
			i.label("T")
			i.entry(dwarf.TagSubprogram, false, attr{dwarf.AttrName, formString, "T"}, ref("T"))
		}),
		typed("type-beyond-the-section", func(i *info) {
			i.label("T")
			i.entry(dwarf.TagTypedef, false, attr{dwarf.AttrName, formString, "T"}, attr{dwarf.AttrType, formRefAddr, 0xfffffff0})
		}),
		typed("type-in-the-middle-of-an-entry", func(i *info) {
			i.label("T")
			i.entry(dwarf.TagTypedef, false, attr{dwarf.AttrName, formString, "T"}, attr{dwarf.AttrType, formRefAddr, 13})
		}),
		typed("type-of-no-type-unit", func(i *info) {
			i.label("T")
			i.entry(dwarf.TagTypedef, false, attr{dwarf.AttrName, formString, "T"}, attr{dwarf.AttrType, formRefSig8, uint64(0x123456789abcdef)})
		}),
		typed("3000-typedefs-in-a-row", func(i *info) {
			for n := range 3000 {
				i.label(nth("T", n))
				i.entry(dwarf.TagTypedef, false, ref(nth("T", n+1)))
			}
			i.integer(nth("T", 3000))
		}),
		typed("3000-pointers-in-a-row", func(i *info) {
			for n := range 3000 {
				i.label(nth("T", n))
				i.entry(dwarf.TagPointerType, false, ref(nth("T", n+1)))
			}
			i.integer(nth("T", 3000))
		}),
		typed("2^40-members-by-doubling", func(i *info) {
			i.integer(nth("T", 40))
			for n := 39; n >= 0; n-- {
				i.label(nth("T", n))
				i.structure("T", 1<<20)
				i.member("a", nth("T", n+1), 0)
				i.member("b", nth("T", n+1), 8)
				i.end()
			}
		}),
		typed("3000-members-at-one-place", func(i *info) {
			i.integer("I")
			i.label("T")
			i.structure("T", 8)
			for range 3000 {
				i.member("", "I", 0)
			}
			i.end()
		}),
		typed("members-outside-of-their-struct", func(i *info) {
			i.integer("I")
			i.label("T")
			i.structure("T", 8)
			i.member("far", "I", 1<<31)
			i.entry(dwarf.TagMember, false, attr{dwarf.AttrName, formString, "before"}, ref("I"), attr{dwarf.AttrDataMemberLoc, formSdata, -8})
			i.entry(dwarf.TagMember, false, attr{dwarf.AttrName, formString, "bits"}, ref("I"),
				attr{dwarf.AttrBitSize, formUdata, 1 << 20}, attr{dwarf.AttrDataBitOffset, formUdata, 1 << 40})
			i.entry(dwarf.TagMember, false, attr{dwarf.AttrName, formString, "computed"}, ref("I"),
				attr{dwarf.AttrDataMemberLoc, formExprloc, []byte{0x23, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}})
			i.end()
		}),
		typed("struct-of-eight-exbibytes", func(i *info) {
			i.integer("I")
			i.label("T")
			i.structure("T", 1<<63)
			i.member("a", "I", 0)
			i.end()
		}),
		typed("struct-of-two-gibibytes", func(i *info) {
			i.integer("I")
			i.label("T")
			i.structure("T", 1<<31-1)
			i.member("a", "I", 1<<31-9)
			i.end()
		}),
		typed("arrays-of-2^64-elements", func(i *info) {
			i.integer("I")
			i.label("T")
			i.entry(dwarf.TagArrayType, true, ref("I"))
			for _, bound := range []any{^uint64(0), ^uint64(0) - 1, uint64(1) << 62} {
				i.entry(dwarf.TagSubrangeType, false, attr{dwarf.AttrUpperBound, formData8, bound})
			}
			i.end()
		}),
		typed("array-of-2^31-structs", func(i *info) {
			i.integer("I")
			i.label("S")
			i.structure("S", 0)
			i.member("a", "I", 0)
			i.end()
			i.label("T")
			i.entry(dwarf.TagArrayType, true, ref("S"))
			i.entry(dwarf.TagSubrangeType, false, attr{dwarf.AttrCount, formUdata, 1<<31 - 1})
			i.end()
		}),
		typed("array-of-2000-dimensions", func(i *info) {
			i.integer("I")
			i.label("T")
			i.entry(dwarf.TagArrayType, true, ref("I"))
			for range 2000 {
				i.entry(dwarf.TagSubrangeType, false, attr{dwarf.AttrCount, formUdata, 2})
			}
			i.end()
		}),
		typed("scalar-of-a-kibibyte", func(i *info) {
			i.label("T")
			i.entry(dwarf.TagBaseType, false, attr{dwarf.AttrName, formString, "long"}, attr{dwarf.AttrByteSize, formUdata, 1024}, attr{dwarf.AttrEncoding, formData1, 5})
		}),
		typed("children-without-end", func(i *info) {
			i.integer("I")
			i.label("T")
			i.structure("T", 8)
			for range 200 {
				i.structure("S", 8)
			}
		}),
		typed("4000-structs-one-in-the-other", func(i *info) {
			i.label("T")
			for range 4000 {
				i.structure("T", 8)
			}
			for range 4000 {
				i.end()
			}
		}),
		typed("siblings-that-lead-back", func(i *info) {
			i.integer("I")
			i.label("T")
			i.structure("T", 8)
			i.label("S")
			i.entry(dwarf.TagStructType, true, attr{dwarf.AttrSibling, formRefAddr, label("S")})
			i.end()
			i.entry(dwarf.TagStructType, true, attr{dwarf.AttrSibling, formRefAddr, label("T")})
			i.member("a", "I", 0)
			i.end()
			i.end()
		}),
		typed("variants-of-themselves", func(i *info) {
			i.label("T")
			i.structure("T", 16)
			i.label("V")
			i.entry(dwarf.TagVariantPart, true, attr{dwarf.AttrDiscr, formRefAddr, label("V")})
			for range 3 {
				i.entry(dwarf.TagVariant, true, attr{dwarf.AttrDiscrValue, formData1, 1})
				i.member("a", "T", 0)
				i.end()
			}
			i.end()
			i.end()
		}),
		typed("inheritance-from-itself", func(i *info) {
			i.label("T")
			i.structure("T", 8)
			i.entry(dwarf.TagInheritance, false, ref("T"), attr{dwarf.AttrDataMemberLoc, formData1, 0})
			i.end()
		}),
		made1("indirect-forms-without-end", func(p *program, i *info) {
			i.function(p, "visit", "I", attr{dwarf.AttrDeclLine, formIndirect, bytes.Repeat([]byte{formIndirect}, 200)})
		}),
		made1("indirect-form-of-an-implicit-constant", func(p *program, i *info) {
			i.function(p, "visit", "I", attr{dwarf.AttrDeclLine, formIndirect, []byte{0x21, 0x21, 0x21}})
		}),
		made1("unknown-form", func(p *program, i *info) {
			i.function(p, "visit", "I", attr{dwarf.AttrDeclLine, 0x7777, []byte{1, 2, 3}})
		}),
		made1("function-that-is-its-own-origin", func(p *program, i *info) {
			i.label("F")
			i.function(p, "visit", "I", attr{dwarf.AttrAbstractOrigin, formRefAddr, label("F")})
		}),
		made1("declarations-in-a-circle", func(p *program, i *info) {
			for n := range 3 {
				i.label(nth("F", n))
				i.entry(dwarf.TagSubprogram, false, attr{dwarf.AttrSpecification, formRefAddr, nth("F", (n+1)%3)})
			}
			i.function(p, "visit", "I", attr{dwarf.AttrSpecification, formRefAddr, label("F0")})
		}),
		made1("parameter-that-is-its-own-origin", func(p *program, i *info) {
			addr, size := p.symbol("visit")
			i.entry(dwarf.TagSubprogram, true, attr{dwarf.AttrName, formString, "visit"}, attr{dwarf.AttrLowpc, formAddr, addr}, attr{dwarf.AttrHighpc, formData8, size})
			i.label("P")
			i.entry(dwarf.TagFormalParameter, false, attr{dwarf.AttrAbstractOrigin, formRefAddr, label("P")})
			i.end()
		}),
		made1("2000-parameters", func(p *program, i *info) {
			addr, size := p.symbol("visit")
			i.entry(dwarf.TagSubprogram, true, attr{dwarf.AttrName, formString, "visit"}, attr{dwarf.AttrLowpc, formAddr, addr}, attr{dwarf.AttrHighpc, formData8, size})
			for range 2000 {
				i.entry(dwarf.TagFormalParameter, false, attr{dwarf.AttrName, formString, "p"}, ref("I"))
			}
			i.end()
		}),
		made1("2000-blocks-one-in-the-other", func(p *program, i *info) {
			addr, size := p.symbol("visit")
			i.entry(dwarf.TagSubprogram, true, attr{dwarf.AttrName, formString, "visit"}, attr{dwarf.AttrLowpc, formAddr, addr}, attr{dwarf.AttrHighpc, formData8, size})
			for range 2000 {
				i.entry(dwarf.TagLexDwarfBlock, true)
			}
			for range 2001 {
				i.end()
			}
		}),
		made1("function-inlined-into-itself-1000-times", func(p *program, i *info) {
			addr, size := p.symbol("visit")
			i.label("F")
			i.entry(dwarf.TagSubprogram, true, attr{dwarf.AttrName, formString, "visit"}, attr{dwarf.AttrLowpc, formAddr, addr}, attr{dwarf.AttrHighpc, formData8, size})
			for range 1000 {
				i.entry(dwarf.TagInlinedSubroutine, true, attr{dwarf.AttrAbstractOrigin, formRefAddr, label("F")},
					attr{dwarf.AttrLowpc, formAddr, addr}, attr{dwarf.AttrHighpc, formData8, size}, attr{dwarf.AttrCallLine, formData8, ^uint64(0)})
			}
			for range 1001 {
				i.end()
			}
		}),
		made1("function-of-all-addresses", func(p *program, i *info) {
			addr, _ := p.symbol("visit")
			i.entry(dwarf.TagSubprogram, false, attr{dwarf.AttrName, formString, "visit"}, attr{dwarf.AttrLowpc, formAddr, addr}, attr{dwarf.AttrHighpc, formData8, ^uint64(0) - 1})
		}),
		made1("800-functions-at-one-address", func(p *program, i *info) {
			for range 800 {
				i.function(p, "visit", "I")
			}
		}),
		made1("unit-imported-into-itself", func(p *program, i *info) {
			i.entry(dwarf.TagImportedUnit, false, attr{dwarf.AttrImport, formRefAddr, 11})
			i.function(p, "visit", "I")
		}),
		{"ranges-elsewhere", "c", made(func(p *program, i *info) {
			i.compile(p, 4, langC99)
			i.integer("I")
			addr, _ := p.symbol("visit")
			i.entry(dwarf.TagSubprogram, false, attr{dwarf.AttrName, formString, "visit"}, attr{dwarf.AttrLowpc, formAddr, addr}, attr{dwarf.AttrRanges, formSecOffset, 0xfffffff0})
			i.end()
			i.close()
		}, nil)},
		{"ranges-that-never-end", "c", made(func(p *program, i *info) {
			for range 100 {
				text := p.section(".text")
				i.begin(4)
				i.entry(dwarf.TagCompileUnit, true, attr{dwarf.AttrName, formString, "made.c"}, attr{dwarf.AttrLanguage, formData1, langC99},
					attr{dwarf.AttrLowpc, formAddr, text.Addr}, attr{dwarf.AttrRanges, formSecOffset, 0})
				i.entry(dwarf.TagSubprogram, false, attr{dwarf.AttrName, formString, "visit"}, attr{dwarf.AttrRanges, formSecOffset, 0})
				i.end()
				i.close()
			}
		}, func(sections map[string][]byte) {
			sections[".debug_ranges"] = bytes.Repeat([]byte{1, 0, 0, 0, 0, 0, 0, 0}, 1000)
		})},
		{"range-lists-of-wild-indexes", "c", made(func(p *program, i *info) {
			i.compile(p, 5, langC99, attr{dwarf.AttrAddrBase, formSecOffset, 0xfffffff0}, attr{dwarf.AttrRnglistsBase, formSecOffset, 4})
			i.entry(dwarf.TagSubprogram, false, attr{dwarf.AttrName, formString, "visit"}, attr{dwarf.AttrRanges, formRnglistx, 1 << 61})
			i.entry(dwarf.TagSubprogram, false, attr{dwarf.AttrName, formString, "choose"}, attr{dwarf.AttrRanges, formSecOffset, 0})
			i.entry(dwarf.TagSubprogram, false, attr{dwarf.AttrName, formString, "twice"}, attr{dwarf.AttrLowpc, formAddrx, 1 << 60}, attr{dwarf.AttrHighpc, formData8, 9})
			i.entry(dwarf.TagSubprogram, false, attr{dwarf.AttrName, formStrx, 1 << 60})
			i.end()
			i.close()
		}, func(sections map[string][]byte) {
			list := []byte{2, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 1, 0xff, 0x7f, 4}
			sections[".debug_rnglists"] = append(list, bytes.Repeat([]byte{0xff}, 30)...)
			sections[".debug_addr"] = []byte{1, 2, 3}
			sections[".debug_str_offsets"] = []byte{1}
		})},
		{"location-expressions-that-never-end", "c", made(func(p *program, i *info) {
			i.compile(p, 5, langC99)
			i.integer("I")
			addr, size := p.symbol("visit")
			i.entry(dwarf.TagSubprogram, true, attr{dwarf.AttrName, formString, "visit"}, attr{dwarf.AttrLowpc, formAddr, addr}, attr{dwarf.AttrHighpc, formData8, size},
				attr{dwarf.AttrFrameBase, formExprloc, []byte{0x2f, 0xfd, 0xff}})
			for _, expression := range [][]byte{
				{0x2f, 0xfd, 0xff},                            // DW_OP_skip -3
				{0x31, 0x28, 0xfc, 0xff},                      // DW_OP_lit1, DW_OP_bra -4
				bytes.Repeat([]byte{0x12}, 500),               // DW_OP_dup
				bytes.Repeat([]byte{0xa3, 0x7f}, 40),          // DW_OP_entry_value of more than there is
				{0x9a, 0, 0, 0, 0},                            // DW_OP_call_ref
				{0x93, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},    // DW_OP_piece of 4 TiB
				bytes.Repeat([]byte{0x50, 0x93, 1}, 300),      // pieces of a byte
				{0x90, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},    // DW_OP_regx, a wild register
				{0x9e, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3}, // DW_OP_implicit_value
				{0xa0, 0xff, 0xff, 0xff, 0xff, 0x80},          // DW_OP_implicit_pointer
				{0x91}, {0x10, 0x80}, {0xff},
			} {
				i.entry(dwarf.TagFormalParameter, false, attr{dwarf.AttrName, formString, "p"}, ref("I"), attr{dwarf.AttrLocation, formExprloc, expression})
			}
			i.end()
			i.end()
			i.close()
		}, nil)},
		{"location-lists-that-never-end", "c", made(func(p *program, i *info) {
			i.compile(p, 5, langC99)
			i.integer("I")
			addr, size := p.symbol("visit")
			i.entry(dwarf.TagSubprogram, true, attr{dwarf.AttrName, formString, "visit"}, attr{dwarf.AttrLowpc, formAddr, addr}, attr{dwarf.AttrHighpc, formData8, size})
			for _, at := range []int{0, 1, 2000, 0xffffff0} {
				i.entry(dwarf.TagFormalParameter, false, attr{dwarf.AttrName, formString, "p"}, ref("I"), attr{dwarf.AttrLocation, formSecOffset, at})
			}
			i.end()
			i.end()
			i.close()
		}, func(sections map[string][]byte) {
			// DW_LLE_offset_pair 0, 100 with an expression of a byte, again and again.
			sections[".debug_loclists"] = bytes.Repeat([]byte{4, 0, 100, 1, 0x55}, 500)
		})},
		lined("line-table-longer-than-its-section", func(b []byte) []byte { le.PutUint32(b, 0x7fffffff); return b }),
		lined("line-header-longer-than-the-table", func(b []byte) []byte { le.PutUint32(b[8:], 0x7fffffff); return b }),
		lined("line-table-of-version-9", func(b []byte) []byte { b[4] = 9; return b }),
		lined("line-range-0", func(b []byte) []byte { b[16] = 0; return b }),
		lined("line-opcodes-from-0", func(b []byte) []byte { b[17] = 0; return b }),
		lined("line-opcodes-from-255", func(b []byte) []byte { b[17] = 255; return b }),
		lined("line-directories-of-255-attributes", func(b []byte) []byte { b[30] = 255; return b }),
		lined("line-table-cut", func(b []byte) []byte { b = b[:60]; le.PutUint32(b, uint32(len(b)-4)); return b }),
		lined("line-program-of-advances", func(b []byte) []byte {
			at := 12 + int(le.Uint32(b[8:]))
			b = append(b[:at], bytes.Repeat([]byte{2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 3, 0x80, 0x80, 0x80, 0x80, 0x78, 1}, 200)...)
			le.PutUint32(b, uint32(len(b)-4))
			return b
		}),
		{"two-billion-line-files", "c", made(func(p *program, i *info) {
			i.compile(p, 5, langC99, attr{dwarf.AttrStmtList, formSecOffset, 0})
			i.integer("I")
			i.function(p, "visit", "I", attr{dwarf.AttrDeclFile, formUdata, 1 << 62}, attr{dwarf.AttrDeclLine, formUdata, 1 << 62})
			i.end()
			i.close()
		}, func(sections map[string][]byte) {
			header := []byte{1, 1, 1, 0xfb, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 0, 1, 1, 8}
			header = append(append(header, uleb(1<<31)...), bytes.Repeat([]byte("/\x00"), 600)...)
			b := []byte{0, 0, 0, 0, 5, 0, 8, 0}
			b = append(le.AppendUint32(b, uint32(len(header))), header...)
			le.PutUint32(b, uint32(len(b)-4))
			sections[".debug_line"] = b
		})},
	}
}

func ref(to label) attr { return attr{dwarf.AttrType, formRefAddr, to} }

func nth(name label, n int) label {
	if n == 0 && name == "T" {
		return "T"
	}
	return label(fmt.Sprint(name, n))
}

func (i *info) structure(name string, size uint64) {
	i.entry(dwarf.TagStructType, true, attr{dwarf.AttrName, formString, name}, attr{dwarf.AttrByteSize, formUdata, size})
}

func (i *info) member(name string, typ label, at int) {
	i.entry(dwarf.TagMember, false, attr{dwarf.AttrName, formString, name}, ref(typ), attr{dwarf.AttrDataMemberLoc, formUdata, at})
}

// replace changes the bytes of a section.
func replace(name string, change func(b []byte) []byte) func(p *program) {
	return func(p *program) { p.section(name).data = change(p.section(name).data) }
}

// lined damages the line table.
func lined(name string, change func(b []byte) []byte) Damage {
	return Damage{name, "c", replace(".debug_line", change)}
}

// made replaces the debug information by what write makes; more changes the sections once more.
func made(write func(p *program, i *info), more func(sections map[string][]byte)) func(p *program) {
	return func(p *program) {
		i := newInfo()
		write(p, i)
		sections := i.finish()
		if more != nil {
			more(sections)
		}
		p.remove(".debug_line", ".debug_str", ".debug_line_str", ".debug_aranges", ".debug_loclists", ".debug_rnglists", ".debug_ranges", ".debug_loc")
		for _, name := range sortedNames(sections) {
			p.set(name, sections[name])
		}
	}
}

// made1 is a damage of one unit, with the type long at the label I.
func made1(name string, write func(p *program, i *info)) Damage {
	return Damage{name, "c", made(func(p *program, i *info) {
		i.compile(p, 5, langC99)
		i.integer("I")
		write(p, i)
		i.end()
		i.close()
	}, nil)}
}

// typed is a damage of one unit where the function visit has a parameter of the
// type at the label T, and another a pointer to it.
func typed(name string, write func(i *info)) Damage {
	return Damage{name, "c", made(func(p *program, i *info) {
		i.compile(p, 5, langC99)
		i.function(p, "visit", "T")
		i.label("pointer")
		i.entry(dwarf.TagPointerType, false, attr{dwarf.AttrByteSize, formData1, 8}, ref("T"))
		i.function(p, "twice", "pointer")
		write(i)
		i.end()
		i.close()
	}, nil)}
}
