package symbols

import (
	"cmp"
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ianlancetaylor/demangle"

	"github.com/observatory-trace/observatory-trace/symbols/types"
	"github.com/observatory-trace/observatory-trace/symbols/units"
	"github.com/observatory-trace/observatory-trace/trace"
)

// vtables finds the types of objects that are known by their vtables: of C++
// classes derived from those that pointers lead to, and of Rust's trait objects.
type vtables struct {
	f      *File
	reader *types.Reader
	list   []types.Dynamic
	at     map[uint64]int            // index in list by address, -1 where it isn't clear which type it is
	traits map[string][]types.Vtable // once needed
	seen   map[string]bool           // classes and traits that were looked for
}

// virtual lists the types of the vtables that what was read so far leads to.
// Reading those may lead to more.
func (f *File) virtual() []types.Dynamic {
	if f.prog == nil || f.prog.reader == nil {
		return nil
	}
	v := &vtables{f: f, reader: f.prog.reader, at: map[uint64]int{}, seen: map[string]bool{}}
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
		for at := s.Addr; s.Size < 1<<30 && at+8 <= s.Addr+s.Size; at += 8 {
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
	member := v.reader.Member(class.Offset)
	if i := lastScope(demangled(member)); i > 0 {
		name = demangled(member)[:i]
	}
	for _, t := range c.derived(name, class.Scattered) {
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
	part := mangledPart(class)
	for _, t := range f.classes().vtables {
		if strings.Contains(t.name, part) && plain(className(t.name)) == plain(class) {
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
	for at := t.value; at+8 <= t.value+min(t.size, maxVtable); at += 8 {
		code, _ := f.classes().word(at)
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
	table, err := f.functions()
	if err != nil {
		return 0, false
	}
	class := t.name[len(vtablePrefix):]
	if strings.HasPrefix(class, "N") {
		class = strings.TrimSuffix(class[1:], "E")
	}
	destructor := "_ZN" + class + "D2Ev"
	for _, s := range table.syms {
		if table.symName(s) != destructor {
			continue
		}
		if fn, ok := f.described(s.addr); ok {
			return f.prog.reader.Class(dwarf.Offset(fn.Offset))
		}
	}
	return 0, false
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

// maxVtable bounds the bytes of a vtable that are looked at.
const maxVtable = 1 << 16

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

// classes is a file's classes with virtual functions, by their vtables and by
// what -frtti has of them.
type classes struct {
	img     *image
	vtables []dataSymbol            // by address
	infos   map[string][]dataSymbol // typeinfo, by symbol
	byAddr  map[uint64]string       // typeinfo's symbol
	refs    map[uint64]symbolicWord // words within vtables and typeinfo that the dynamic linker writes
	known   map[string]bool         // typeinfo symbols, those of other files included
	heirs   map[string][]string     // typeinfo symbols of the classes directly derived from one's
}

// symbolicWord is an address to be: a symbol's, or where there is none value.
type symbolicWord struct {
	value  uint64
	symbol string
}

// classes reads them, once.
func (f *File) classes() *classes {
	if f.prog.classes != nil {
		return f.prog.classes
	}
	c := &classes{img: f.img, infos: map[string][]dataSymbol{}, byAddr: map[uint64]string{}, refs: map[uint64]symbolicWord{}, heirs: map[string][]string{}, known: map[string]bool{}}
	var all []dataSymbol
	f.eachSymbol(func(s dataSymbol) bool {
		switch {
		case !s.defined || s.size == 0:
		case strings.HasPrefix(s.name, vtablePrefix):
			c.vtables = append(c.vtables, s)
			all = append(all, s)
		case strings.HasPrefix(s.name, typeinfoPrefix):
			c.infos[s.name] = append(c.infos[s.name], s)
			c.byAddr[s.value] = s.name
			all = append(all, s)
		}
		return true
	})
	slices.SortFunc(all, func(a, b dataSymbol) int { return cmp.Compare(a.value, b.value) })
	slices.SortFunc(c.vtables, func(a, b dataSymbol) int { return cmp.Compare(a.value, b.value) })
	c.relocate(all)
	c.inherit()
	f.prog.classes = c
	return c
}

// relocate takes note of the relocated words of symbols, which are in order of their addresses.
func (c *classes) relocate(all []dataSymbol) {
	syms, names := dynamicSymbols(c.img)
	c.img.relocations(func(r elf.Rela64) {
		i, exact := slices.BinarySearchFunc(all, r.Off, func(s dataSymbol, addr uint64) int { return cmp.Compare(s.value, addr) })
		if !exact {
			i--
		}
		if i < 0 || r.Off-all[i].value >= all[i].size {
			return
		}
		w := symbolicWord{value: uint64(r.Addend)}
		if at := uint64(elf.R_SYM64(r.Info)) * symSize; at > 0 && at+symSize <= uint64(len(syms)) {
			w.value += binary.LittleEndian.Uint64(syms[at+8:])
			if r.Addend == 0 {
				w.symbol = cstringAt(names, uint64(binary.LittleEndian.Uint32(syms[at:])))
			}
		}
		c.refs[r.Off] = w
	})
}

// word is what a running program has at an address of a vtable or typeinfo, the
// load bias taken for 0, and whose address it is, where the linker was to tell.
func (c *classes) word(at uint64) (uint64, string) {
	if w, ok := c.refs[at]; ok {
		return w.value, w.symbol
	}
	b := c.img.bytesAt(at)
	if len(b) < 8 {
		return 0, ""
	}
	return binary.LittleEndian.Uint64(b), ""
}

// info is the symbol of the typeinfo whose address is in a word.
func (c *classes) info(at uint64) (string, bool) {
	value, symbol := c.word(at)
	if strings.HasPrefix(symbol, typeinfoPrefix) {
		return symbol, true
	}
	symbol, ok := c.byAddr[value]
	return symbol, ok
}

// inherit reads which classes are derived from which. Typeinfo begins with the
// addresses of its own vtable and of its name; what further addresses of typeinfo it
// has are those of direct bases (Itanium C++ ABI, section 2.9.5).
func (c *classes) inherit() {
	for name, list := range c.infos {
		c.known[name] = true
		for _, s := range list {
			for at := s.value + 16; at+8 <= s.value+min(s.size, maxVtable); at += 8 {
				if base, ok := c.info(at); ok && base != name && !slices.Contains(c.heirs[base], name) {
					c.known[base] = true
					c.heirs[base] = append(c.heirs[base], name)
				}
			}
		}
	}
}

// maxUntyped is how many classes of a program without typeinfo are looked at.
const maxUntyped = 512

// derived lists the vtables of the classes derived from a class, directly or not,
// and (itself) its own. Of one without typeinfo (-fno-rtti) nobody knows which those are:
// then it is all others without, if they are few.
func (c *classes) derived(name string, itself bool) (list []dataSymbol) {
	queue := c.symbolsOf(name)
	if len(queue) == 0 {
		for _, s := range c.vtables {
			if !c.known[typeinfoPrefix+s.name[len(vtablePrefix):]] {
				list = append(list, s)
			}
		}
		if len(list) > maxUntyped {
			return nil
		}
		return list
	}
	found := map[string]bool{}
	for _, symbol := range queue {
		found[symbol] = itself
	}
	for len(queue) > 0 {
		for _, heir := range c.heirs[queue[0]] {
			if !found[heir] {
				found[heir] = true
				queue = append(queue, heir)
			}
		}
		queue = queue[1:]
	}
	for _, s := range c.vtables {
		if found[typeinfoPrefix+s.name[len(vtablePrefix):]] {
			list = append(list, s)
		}
	}
	return list
}

// symbolsOf lists the typeinfo symbols that a class of that name can have.
func (c *classes) symbolsOf(name string) (symbols []string) {
	part := mangledPart(name)
	for symbol := range c.known {
		if strings.Contains(symbol, part) && plain(className(symbol)) == plain(name) {
			symbols = append(symbols, symbol)
		}
	}
	slices.Sort(symbols)
	return symbols
}

// mangledPart is what the symbols of a class have of its name; empty where that
// may be abbreviated.
func mangledPart(class string) string {
	last := strings.TrimLeft(class[lastScope(class)+1:], ":")
	last = last[:strings.IndexByte(last+"<", '<')]
	if strings.HasPrefix(class, "std::") {
		return ""
	}
	return strconv.Itoa(len(last)) + last
}

// plain is a name without spaces, which compilers and demanglers set differently.
func plain(name string) string { return strings.ReplaceAll(name, " ", "") }

// addressPoints lists the places in a vtable whose address objects have, the
// primary one first: behind each the class's typeinfo, and before that the distance
// to the whole object's beginning (Itanium C++ ABI, section 2.5.2). Without typeinfo
// only a primary one can be told, in a vtable that begins with it.
func (c *classes) addressPoints(t dataSymbol) (points []types.Vtable) {
	own := typeinfoPrefix + t.name[len(vtablePrefix):]
	for at := t.value + 8; at+8 <= t.value+min(t.size, maxVtable); at += 8 {
		top, _ := c.word(at - 8)
		if symbol, _ := c.info(at); symbol == own && int64(top) <= 0 && int64(top) >= -1<<31 {
			points = append(points, types.Vtable{Address: at + 8, Adjust: int32(int64(top))})
		}
	}
	if len(points) > 0 || t.size < 16 {
		return points
	}
	top, _ := c.word(t.value)
	info, symbol := c.word(t.value + 8)
	if top != 0 || info != 0 || symbol != "" || len(c.img.bytesAt(t.value)) < 16 {
		return nil
	}
	return []types.Vtable{{Address: t.value + 16}}
}
