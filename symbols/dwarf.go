package symbols

import (
	"cmp"
	"debug/dwarf"
	"debug/elf"
	"errors"
	"slices"
	"strings"

	"github.com/observatory-trace/observatory-trace/symbols/types"
	"github.com/observatory-trace/observatory-trace/symbols/units"
	"github.com/observatory-trace/observatory-trace/trace"
)

// program is a file's DWARF, read as far as it was needed.
type program struct {
	img     *image
	index   *units.Index // nil when there is no debug information that can be read
	scanned map[*units.Unit][]units.Function
	data    *dwarf.Data
	reader  *types.Reader
	located bool                    // reader has location lists
	classes *classes                // once they were needed
	destroy map[string]uint64       // destructors, likewise
	defined map[string]dwarf.Offset // classes whose definition was looked for; 0: not found
}

// dwarf opens the index of the file's debug information, once. Damage is
// noted, and treated as if there were none.
func (f *File) dwarf() *program {
	if f.prog != nil {
		return f.prog
	}
	f.prog = &program{img: f.debugInfo().img, scanned: map[*units.Unit][]units.Function{}}
	if f.debug.why != nil {
		f.warn(f.debug.why)
	}
	if f.prog.img == nil {
		return f.prog
	}
	index, err := f.prog.open(f.codeRange())
	if err != nil {
		f.warnDebug(err)
	}
	f.prog.index = index
	return f.prog
}

func (p *program) open(code units.Range) (*units.Index, error) {
	var sec units.Sections
	for name, to := range map[string]*[]byte{
		".debug_info": &sec.Info, ".debug_abbrev": &sec.Abbrev, ".debug_str": &sec.Str, ".debug_line_str": &sec.LineStr,
		".debug_ranges": &sec.Ranges, ".debug_rnglists": &sec.RngLists,
		".debug_addr": &sec.Addr, ".debug_str_offsets": &sec.StrOffsets,
	} {
		b, err := p.img.section(name)
		if err != nil {
			return nil, err
		}
		*to = b
	}
	sec.Line = func() []byte {
		b, _ := p.img.section(".debug_line") // without it, files are unknown
		return b
	}
	if len(sec.Info) == 0 || len(sec.Abbrev) == 0 {
		return nil, errors.New(".debug_info or .debug_abbrev is empty")
	}
	return units.New(sec, code)
}

// codeRange is where the file's code lies.
func (f *File) codeRange() units.Range {
	r := units.Range{Low: ^uint64(0)}
	for _, s := range f.Segments() {
		if s.Exec {
			// Discarded functions are left at address 0 and shortly behind.
			r.Low, r.High = min(r.Low, max(s.Vaddr, 1)), max(r.High, s.Vaddr+s.Memsz)
		}
	}
	return r
}

// unitFunctions returns the functions of a unit by address, scanning it once.
func (f *File) unitFunctions(u *units.Unit) []units.Function {
	p := f.dwarf()
	if list, ok := p.scanned[u]; ok {
		return list
	}
	list, err := p.index.Functions(u)
	if err != nil {
		f.warnDebug(err)
	}
	slices.SortStableFunc(list, func(a, b units.Function) int { return cmp.Compare(a.Low, b.Low) })
	p.scanned[u] = list
	return list
}

// described finds the debug information of the function at an address.
func (f *File) described(addr uint64) (units.Function, bool) {
	p := f.dwarf()
	if p.index == nil {
		return units.Function{}, false
	}
	u := p.index.Find(addr)
	if u == nil {
		return units.Function{}, false
	}
	list := f.unitFunctions(u)
	i, ok := slices.BinarySearchFunc(list, addr, func(fn units.Function, addr uint64) int { return cmp.Compare(fn.Low, addr) })
	if !ok {
		return units.Function{}, false
	}
	return list[i], true
}

// signatures returns the reader of parameters and types; nil when there is no
// debug information. Location lists are read only if they will be needed.
func (f *File) signatures(locations bool) *types.Reader {
	p := f.dwarf()
	if p.index == nil || p.reader != nil && (p.located || !locations) {
		return p.reader
	}
	if err := p.read(locations, f.typesArch()); err != nil {
		f.warnDebug(err)
		p.index = nil
	} else {
		p.reader.SetClasses(f.definition, func(class string) bool { return f.classes().hasHeirs(class) })
		if f.opts.Depth > 0 {
			p.reader.SetDepth(f.opts.Depth)
		}
	}
	return p.reader
}

func (p *program) read(locations bool, arch types.Arch) error {
	get := func(name string) (b []byte) {
		// Those that can't be read have been reported by open, or aren't vital.
		b, _ = p.img.section(name)
		return b
	}
	info := get(".debug_info")
	if p.data == nil {
		data, err := dwarf.New(get(".debug_abbrev"), nil, nil, info, nil, nil, get(".debug_ranges"), get(".debug_str"))
		if err != nil {
			return err
		}
		for _, name := range []string{".debug_addr", ".debug_line_str", ".debug_str_offsets", ".debug_rnglists"} {
			if b := get(name); b != nil {
				if err := data.AddSection(name, b); err != nil {
					return err
				}
			}
		}
		p.data = data
	}
	sec := types.Sections{Info: info, Addr: get(".debug_addr")}
	if locations {
		sec.Loc, sec.LocLists = get(".debug_loc"), get(".debug_loclists")
	}
	p.located = locations
	p.reader = types.NewReader(p.data, arch, sec)
	return nil
}

func (f *File) typesArch() types.Arch {
	if f.img.elf.Machine == elf.EM_AARCH64 {
		return types.ARM64
	}
	return types.AMD64
}

// language translates DW_LANG_… (DWARF 5, section 7.12, and later additions).
func language(code uint16) trace.Language {
	switch code {
	case 0x0001, 0x0002, 0x000c, 0x001d, 0x002c, 0x003e: // C89, C, C99, C11, C17, C23
		return trace.LangC
	case 0x0004, 0x0019, 0x001a, 0x0021, 0x002a, 0x002b, 0x003a: // C++, 03, 11, 14, 17, 20, 23
		return trace.LangCPP
	case 0x0016:
		return trace.LangGo
	case 0x001c:
		return trace.LangRust
	case 0x8001: // Mips_Assembler, which everyone uses
		return trace.LangAsm
	default:
		return trace.LangUnknown
	}
}

// languageOfName tells a language by how a name is mangled.
func languageOfName(raw string) trace.Language {
	switch {
	case strings.HasPrefix(raw, "_R"), rustHash(raw):
		return trace.LangRust
	case strings.HasPrefix(raw, "_Z"):
		return trace.LangCPP
	default:
		return trace.LangUnknown
	}
}

// rustHash reports whether a name is mangled in Rust's older way: C++'s, with
// a hash as its last part ("17h", 16 digits, "E").
func rustHash(raw string) bool {
	raw = withoutClone(raw)
	n := len(raw)
	if !strings.HasPrefix(raw, "_ZN") || n < 23 || raw[n-1] != 'E' || raw[n-20:n-17] != "17h" {
		return false
	}
	return strings.Trim(raw[n-17:n-1], "0123456789abcdef") == ""
}
