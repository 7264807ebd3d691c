package symbols

import (
	"cmp"
	"debug/dwarf"
	"fmt"
	"slices"
	"strings"

	"github.com/ianlancetaylor/demangle"

	"github.com/observatory-trace/observatory-trace/symbols/types"
	"github.com/observatory-trace/observatory-trace/symbols/units"
	"github.com/observatory-trace/observatory-trace/trace"
)

// vtables finds the types of objects that are known by their vtables: of C++
// classes derived from those that pointers lead to, and of Rust's trait objects.
type vtables struct {
	f       *File
	reader  *types.Reader
	list    []types.Dynamic
	at      map[uint64]int            // index in list by address, -1 where it isn't clear which type it is
	traits  map[string][]types.Vtable // once needed
	seen    map[string]bool           // classes and traits that were looked for
	derived map[string]bool           // classes, as symbols have them, whose derived ones were looked for
}

// virtual lists the types of the vtables that what was read so far leads to.
// Reading those may lead to more.
func (f *File) virtual() []types.Dynamic {
	if f.prog == nil || f.prog.reader == nil {
		return nil
	}
	v := &vtables{f: f, reader: f.prog.reader, at: map[uint64]int{}, seen: map[string]bool{}, derived: map[string]bool{}}
	for more := true; more && len(v.list) < maxDynamic; {
		more = false
		reached := v.reader.Reached()
		for _, name := range sorted(reached.Traits) {
			if !v.seen[name] {
				v.seen[name], more = true, true
				v.addTrait(name)
			}
		}
		for _, name := range sorted(reached.Classes) {
			if !v.seen[name] {
				v.seen[name], more = true, true
				v.addClass(name, reached.Classes[name])
			}
		}
	}
	return slices.DeleteFunc(v.list, func(d types.Dynamic) bool { return v.at[d.Address] < 0 })
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// add describes one vtable.
func (v *vtables) add(t types.Vtable, language trace.Language) { v.addNamed(t, language, "") }

// addNamed does so by another name than the type that is described has.
func (v *vtables) addNamed(t types.Vtable, language trace.Language, name string) {
	if len(v.list) >= maxDynamic {
		return
	}
	d, err := v.reader.Virtual(t, language)
	if err != nil {
		v.f.warn(fmt.Errorf("read types of %s: %w", v.f.path, err))
		return
	}
	d.Name = cmp.Or(name, d.Name)
	// The linker may have folded vtables whose bytes are the same.
	if i, ok := v.at[t.Address]; ok {
		if i >= 0 && v.list[i].Name != d.Name {
			v.at[t.Address] = -1
		}
		return
	}
	v.at[t.Address] = len(v.list)
	v.list = append(v.list, d)
}

// addTrait adds the types that implement a trait and have a vtable for it. rustc
// describes those as variables.
func (v *vtables) addTrait(trait string) {
	if v.traits == nil {
		v.traits = map[string][]types.Vtable{}
		x := v.f.dwarf().index
		for _, u := range x.Units() {
			if language(u.Language) != trace.LangRust {
				continue
			}
			for _, t := range x.Vtables(u, types.VtableSuffix) {
				if name, ok := types.VtableTrait(t.Name); ok {
					v.traits[name] = append(v.traits[name], types.Vtable{Address: t.Address, Offset: dwarf.Offset(t.Type)})
				}
			}
		}
	}
	for _, t := range v.traits[trait] {
		if concrete, ok := v.reader.Contained(t.Offset); ok {
			t.Offset = concrete
			v.add(t, trace.LangRust)
		}
	}
	if trait == types.RustError {
		v.addStringErrors()
	}
}

// addStringErrors adds the type of the errors that Rust's library makes of texts
// (`"text".into()`): a struct with one String. Toolchains without the library's types don't
// describe its vtable; then that is known by the functions in it and by its layout: drop, size,
// alignment, those of Debug, those of Display.
func (v *vtables) addStringErrors() {
	debug, display, name := v.stringErrorMethods()
	if len(debug) == 0 || len(display) == 0 {
		return
	}
	for _, s := range v.f.img.elf.Sections {
		if s.Name != ".data.rel.ro" && s.Name != ".rodata" {
			continue
		}
		for i := uint64(0); i+8 <= min(s.Size, maxTables); i += 8 {
			at := s.Addr + i
			if method, _ := v.f.img.uint64At(at); !debug[method] {
				continue
			}
			size, _ := v.f.img.uint64At(at - 16)
			align, _ := v.f.img.uint64At(at - 8)
			method, _ := v.f.img.uint64At(at + 8)
			if size != stringSize || align != 8 || !display[method] || v.known(at-24) {
				continue
			}
			if off, ok := v.rustString(); ok {
				v.addNamed(types.Vtable{Address: at - 24, Offset: off}, trace.LangRust, name)
			}
		}
	}
}

// maxTables bounds the bytes of a section that are searched for vtables.
const maxTables = 64 << 20

// stringSize is the size in bytes of Rust's String.
const stringSize = 24

// stringErrorMethods finds the functions of that type by their symbols.
func (v *vtables) stringErrorMethods() (debug, display map[uint64]bool, name string) {
	debug, display = map[uint64]bool{}, map[uint64]bool{}
	t, err := v.f.functions()
	if err != nil {
		return nil, nil, ""
	}
	for _, s := range t.syms {
		raw := t.symName(s)
		if !strings.Contains(raw, "StringError") || !strings.Contains(raw, "3fmt") {
			continue
		}
		full := demangled(raw)
		if of, ok := strings.CutSuffix(full, "::StringError as core::fmt::Debug>::fmt"); ok {
			debug[s.addr], name = true, strings.Clone(strings.TrimPrefix(of, "<"))+"::StringError"
		} else if strings.HasSuffix(full, "::StringError as core::fmt::Display>::fmt") {
			display[s.addr] = true
		}
	}
	return debug, display, name
}

// rustString finds the description of alloc::string::String.
func (v *vtables) rustString() (dwarf.Offset, bool) {
	x := v.f.dwarf().index
	for _, u := range x.Units() {
		if language(u.Language) != trace.LangRust {
			continue
		}
		for _, off := range x.Structures(u, "String") {
			d, err := v.reader.Virtual(types.Vtable{Offset: dwarf.Offset(off)}, trace.LangRust)
			if err == nil && d.Name == "alloc::string::String" && d.Type != nil && d.Type.Kind == trace.KindString && d.Type.Size == stringSize {
				return dwarf.Offset(off), true
			}
		}
	}
	return 0, false
}

// addClass adds the classes that are derived from a class.
func (v *vtables) addClass(name string, class types.Class) {
	c := v.f.classes()
	if i := lastScope(demangled(v.reader.Member(class.Offset))); i > 0 {
		name = demangled(v.reader.Member(class.Offset))[:i] // as symbols spell it
	}
	for _, t := range c.derived(name, class.Scattered, v.derived) {
		if len(v.list) >= maxDynamic {
			return
		}
		points := c.addressPoints(t)
		if len(points) == 0 || v.known(points[0].Address) {
			continue
		}
		off, ok := v.f.classEntry(t)
		if !ok {
			continue
		}
		word := func(part uint32, from int64) (int64, bool) {
			for _, p := range points {
				if int64(p.Adjust) == -int64(part) {
					distance, _ := c.word(p.Address + uint64(from))
					return int64(distance), true
				}
			}
			return 0, false
		}
		for _, p := range points {
			p.Offset, p.Word = off, word
			v.add(p, trace.LangCPP)
		}
	}
}

func (v *vtables) known(address uint64) bool {
	_, ok := v.at[address]
	return ok
}

// definition finds the entry that describes a C++ class which others only
// declare. Compilers describe a class with virtual functions just where its first one
// that isn't inline is defined, which is also where its vtable is.
func (f *File) definition(class string) (dwarf.Offset, bool) {
	p := f.dwarf()
	off, ok := p.defined[class]
	if ok || len(p.defined) >= maxDynamic {
		return off, off != 0
	}
	if p.defined == nil {
		p.defined = map[string]dwarf.Offset{}
	}
	p.defined[class] = 0
	// Of those that only one unit knows, others may have the same name.
	if strings.Contains(class, "(anonymous namespace)") {
		return 0, false
	}
	c := f.classes()
	for _, symbol := range c.named(class) {
		for _, t := range c.vtables[symbol] {
			if off, ok = f.classEntry(t); ok {
				p.defined[class] = off
				return off, true
			}
		}
	}
	return 0, false
}

// classEntry finds the entry of a vtable's class: one of its functions is the class's
// own, and the function's declaration tells whose it is (DW_AT_containing_type).
func (f *File) classEntry(t dataSymbol) (dwarf.Offset, bool) {
	name := className(t.name)
	c := f.classes()
	for at := range c.words(t) {
		code, _ := c.word(at)
		if _, ok := f.FileOffset(code); !ok {
			continue
		}
		fn, ok := f.described(code)
		if !ok {
			continue
		}
		if !slices.ContainsFunc(f.symbolsOf(fn), func(symbol string) bool {
			member := demangled(symbol)
			i := lastScope(member)
			return i > 0 && member[:i] == name
		}) {
			continue
		}
		if off, ok := f.prog.reader.Class(dwarf.Offset(fn.Offset)); ok {
			return off, true
		}
	}
	return f.destroyed(t)
}

// destroyed finds the entry of a vtable's class by its destructor, which gcc leaves out of
// the vtable when the class is abstract.
func (f *File) destroyed(t dataSymbol) (dwarf.Offset, bool) {
	class := mangledClass(t.name)
	if strings.HasPrefix(class, "N") {
		class = strings.TrimSuffix(class[1:], "E")
	}
	addr, ok := f.destructors()["_ZN"+class+destructorSuffix]
	if !ok {
		return 0, false
	}
	fn, ok := f.described(addr)
	if !ok {
		return 0, false
	}
	return f.prog.reader.Class(dwarf.Offset(fn.Offset))
}

// destructorSuffix ends the symbol of a base object's destructor (Itanium C++ ABI, section 5.1.4.3).
const destructorSuffix = "D2Ev"

// destructors are the addresses of those, by their symbols.
func (f *File) destructors() map[string]uint64 {
	p := f.dwarf()
	if p.destroy != nil {
		return p.destroy
	}
	p.destroy = map[string]uint64{}
	if t, err := f.functions(); err == nil {
		for _, s := range t.syms {
			if name := t.symName(s); strings.HasSuffix(name, destructorSuffix) {
				p.destroy[name] = s.addr
			}
		}
	}
	return p.destroy
}

// symbolsOf lists the symbols of a described function. gcc tells none of functions
// that other units can't see.
func (f *File) symbolsOf(fn units.Function) (list []string) {
	if fn.LinkageName != "" {
		return []string{fn.LinkageName}
	}
	t, err := f.functions()
	if err != nil {
		return nil
	}
	if i := t.find(fn.Low); i >= 0 {
		for _, s := range t.symbols(t.entries[i]) {
			list = append(list, t.symName(s))
		}
	}
	return list
}

// lastScope is where the name of a member begins its last part: at the last
// "::" outside of brackets, -1 when there is none.
func lastScope(name string) int {
	depth := 0
	for i := len(name) - 1; i > 0; i-- {
		switch name[i] {
		case '>', ')', ']', '}':
			depth++
		case '<', '(', '[', '{':
			depth--
		case ':':
			if depth == 0 && name[i-1] == ':' {
				return i - 1
			}
		}
	}
	return -1
}

// The beginnings of the names of what C++ compilers make for a class with
// virtual functions (Itanium C++ ABI, section 5.1.4.1).
const (
	vtablePrefix   = "_ZTV"
	typeinfoPrefix = "_ZTI"
)

// className is the class that the name of a vtable or typeinfo tells.
func className(symbol string) string {
	if len(symbol) > maxMangledLength {
		return ""
	}
	name, err := demangle.ToString(symbol, demangle.NoClones, demangle.NoABITags, demangle.MaxLength(maxDemangledPower))
	if err != nil {
		return ""
	}
	for _, prefix := range []string{"vtable for ", "typeinfo for "} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			return rest
		}
	}
	return ""
}

// ClassAt names the class whose vtable an address of the file is in; empty when
// it is in none.
func (f *File) ClassAt(addr uint64) (name string, err error) {
	err = f.read(func() error {
		f.eachSymbol(func(s dataSymbol) bool {
			if addr < s.value || addr-s.value >= s.size || !s.defined || !strings.HasPrefix(s.name, vtablePrefix) {
				return true
			}
			name = strings.Clone(className(s.name))
			return false
		})
		return nil
	})
	return name, err
}
