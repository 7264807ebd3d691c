package symbols

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"iter"
	"slices"
	"strings"

	"github.com/observatory-trace/observatory-trace/symbols/types"
)

// classes is a file's classes with virtual functions: by their vtables, and by their
// typeinfo, which -fno-rtti leaves out. Classes are named as their symbols are, without
// what those begin with.
type classes struct {
	img     *image
	vtables map[string][]dataSymbol // several where units have classes of their own of one name
	infos   map[uint64]string       // the class of typeinfo, by its address
	typed   map[string]bool         // there is typeinfo, perhaps in another file
	heirs   map[string][]string     // classes directly derived from one
	index   map[string][]string     // classes by the identifiers in their names; short names by ""
	spelled map[string]string       // classes' names in the source, without spaces; those that were asked for
	refs    map[uint64]symbolicWord // words within vtables and typeinfo that the dynamic linker writes
	left    int                     // words and names that may still be looked at: forged symbols can overlap
}

// symbolicWord is an address to be: a symbol's, or where there is none value.
type symbolicWord struct {
	value  uint64
	symbol string
}

const (
	maxClasses = 1 << 18   // symbols of a file that are looked at
	maxVtable  = 1 << 16   // bytes of a vtable, or of typeinfo
	maxAddress = 1<<56 - 1 // above any that a symbol can have
)

// mangledClass is the class that the name of a vtable or typeinfo tells, as it is there.
func mangledClass(symbol string) string { return symbol[min(len(symbol), len(vtablePrefix)):] }

// classes reads them, once.
func (f *File) classes() *classes {
	if f.prog.classes != nil {
		return f.prog.classes
	}
	c := &classes{
		img: f.img, vtables: map[string][]dataSymbol{}, infos: map[uint64]string{}, typed: map[string]bool{}, heirs: map[string][]string{},
		index: map[string][]string{}, spelled: map[string]string{}, refs: map[uint64]symbolicWord{}, left: len(f.img.data),
	}
	f.prog.classes = c
	var vtables, infos []dataSymbol
	f.eachSymbol(func(s dataSymbol) bool {
		switch {
		case !s.defined || s.size == 0 || s.value > maxAddress || len(s.name) > maxMangledLength:
		case strings.HasPrefix(s.name, vtablePrefix):
			vtables = append(vtables, s)
		case strings.HasPrefix(s.name, typeinfoPrefix):
			infos = append(infos, s)
		}
		return len(vtables)+len(infos) < maxClasses
	})
	c.relocate(append(slices.Clone(vtables), infos...))
	for _, s := range vtables {
		c.note(s.name)
		c.vtables[mangledClass(s.name)] = append(c.vtables[mangledClass(s.name)], s)
	}
	for _, s := range infos {
		c.note(s.name)
		c.infos[s.value] = mangledClass(s.name)
	}
	for _, s := range infos {
		c.inherit(s)
	}
	return c
}

// note takes a class up, by the name of its vtable or typeinfo.
func (c *classes) note(symbol string) {
	class := mangledClass(symbol)
	if _, known := c.typed[class]; !known {
		c.typed[class] = false
		if len(class) < 8 { // the library's, which are abbreviated
			c.index[""] = append(c.index[""], class)
		}
		for name := range identifiers(class) {
			c.index[name] = append(c.index[name], class)
		}
	}
	if strings.HasPrefix(symbol, typeinfoPrefix) {
		c.typed[class] = true
	}
}

// identifiers are what follows a mangled name's numbers, as long as those say: the
// identifiers in it, and perhaps more. A number may begin within another: an identifier may
// end in digits.
func identifiers(mangled string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range len(mangled) {
			n, at := 0, i
			for at < len(mangled) && mangled[at] >= '0' && mangled[at] <= '9' && n < maxMangledLength {
				n = 10*n + int(mangled[at]-'0')
				at++
			}
			if n > 0 && n <= len(mangled)-at && !yield(mangled[at:at+n]) {
				return
			}
		}
	}
}

// relocate takes note of the relocated words of symbols.
func (c *classes) relocate(all []dataSymbol) {
	slices.SortFunc(all, func(a, b dataSymbol) int { return cmp.Compare(a.value, b.value) })
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

// words are the addresses of the words of a vtable or typeinfo.
func (c *classes) words(s dataSymbol) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for i := uint64(0); i+8 <= min(s.size, maxVtable) && c.left > 0; i += 8 {
			c.left--
			if !yield(s.value + i) {
				return
			}
		}
	}
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

// info is the class of the typeinfo whose address is in a word.
func (c *classes) info(at uint64) (class string, ok bool) {
	value, symbol := c.word(at)
	if strings.HasPrefix(symbol, typeinfoPrefix) {
		return mangledClass(symbol), true
	}
	class, ok = c.infos[value]
	return class, ok
}

// inherit reads which classes a class is derived from. Typeinfo begins with the addresses of
// its own vtable and of its name; what further addresses of typeinfo it has are those of
// direct bases (Itanium C++ ABI, section 2.9.5).
func (c *classes) inherit(s dataSymbol) {
	class := mangledClass(s.name)
	for at := range c.words(s) {
		if base, ok := c.info(at); ok && at >= s.value+16 && base != class {
			c.note(typeinfoPrefix + base)
			c.heirs[base] = append(c.heirs[base], class)
		}
	}
}

// maxUntyped is how many classes without typeinfo are looked at.
const maxUntyped = 512

// derived lists the vtables of the classes derived from a class, directly or not, and
// (itself) its own, but for those below classes that are done, which it adds to. Of one
// without typeinfo nobody knows which those are: then it is all others without, if they are few.
func (c *classes) derived(name string, itself bool, done map[string]bool) (list []dataSymbol) {
	var queue []string
	for _, class := range c.named(name) {
		if c.typed[class] {
			queue = append(queue, class)
		}
	}
	if len(queue) == 0 {
		if done[""] {
			return nil
		}
		done[""] = true
		return c.untyped()
	}
	if itself {
		for _, class := range queue {
			list = append(list, c.vtables[class]...)
		}
	}
	for len(queue) > 0 {
		base := queue[0]
		queue = queue[1:]
		if done[base] {
			continue
		}
		done[base] = true
		for _, heir := range c.heirs[base] {
			list = append(list, c.vtables[heir]...)
			queue = append(queue, heir)
		}
	}
	return list
}

// hasHeirs says whether classes are derived from a class.
func (c *classes) hasHeirs(name string) bool {
	return slices.ContainsFunc(c.named(name), func(class string) bool { return len(c.heirs[class]) > 0 })
}

// untyped lists the vtables of the classes without typeinfo, nil when they are many.
func (c *classes) untyped() (list []dataSymbol) {
	for class, all := range c.vtables {
		if !c.typed[class] {
			list = append(list, all...)
		}
		if len(list) > maxUntyped {
			return nil
		}
	}
	slices.SortFunc(list, func(a, b dataSymbol) int { return cmp.Compare(a.value, b.value) })
	return list
}

// named lists the classes that a source's name can mean.
func (c *classes) named(name string) (list []string) {
	last := strings.TrimLeft(name[lastScope(name)+1:], ":")
	last = last[:strings.IndexByte(last+"<", '<')]
	if strings.HasPrefix(name, "std::basic_") {
		last = ""
	}
	for _, class := range c.index[last] {
		if c.left--; c.left < 0 {
			break
		}
		spelled, ok := c.spelled[class]
		if !ok {
			spelled = plain(className(vtablePrefix + class))
			c.spelled[class] = spelled
		}
		if spelled == plain(name) && !slices.Contains(list, class) {
			list = append(list, class)
		}
	}
	return list
}

// plain is a name without spaces, which compilers and demanglers set differently.
func plain(name string) string { return strings.ReplaceAll(name, " ", "") }

// addressPoints lists the places in a vtable whose address objects have, the
// primary one first: behind each the class's typeinfo, and before that the distance
// to the whole object's beginning (Itanium C++ ABI, section 2.5.2). Without typeinfo
// only a primary one can be told, in a vtable that begins with it.
func (c *classes) addressPoints(t dataSymbol) (points []types.Vtable) {
	own := mangledClass(t.name)
	for at := range c.words(t) {
		top, _ := c.word(at - 8)
		if class, ok := c.info(at); ok && class == own && at > t.value && int64(top) <= 0 && int64(top) >= -1<<31 {
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
