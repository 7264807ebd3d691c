package types

import (
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// Raw is the signature of a function without debug information: the registers
// that may carry its arguments, named after themselves.
func Raw(lang trace.Language, arch Arch) Signature {
	conv := arch.cConvention()
	if lang == trace.LangGo {
		conv = arch.goConvention(false)
	}
	word := &trace.Type{Name: "uint64", Kind: trace.KindUint, Size: 8, Lang: lang}
	side := func(registers []uint8) *plan {
		p := &plan{arch: arch}
		for _, reg := range registers {
			p.add(rawName(lang, arch, reg), &node{t: word}, placed{pieces: []piece{{size: 8, source: trace.SourceRegister, reg: reg}}})
		}
		return p
	}
	entry, exit := side(conv.ints), side(conv.results[:1])
	return Signature{Params: entry.params, Results: exit.params, Entry: entry.result(), Exit: exit.result()}
}

// rawName spells a register as the language's own tools do.
func rawName(lang trace.Language, arch Arch, reg uint8) string {
	name := arch.registerName(reg)
	if lang != trace.LangGo {
		return name
	}
	if arch == ARM64 {
		return "R" + name[1:]
	}
	name = strings.ToUpper(name)
	if name[1] < '0' || name[1] > '9' { // AX, but R8
		return name[1:]
	}
	return name
}
