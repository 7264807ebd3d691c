package symbols

import (
	"debug/elf"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/observatory-trace/observatory-trace/symbols/pattern"
	"github.com/observatory-trace/observatory-trace/trace"
)

// Select returns the functions that a selection matches, by address. Those
// that can't be traced without harm are among them, with their reason.
func (f *File) Select(sel Selection) (matched []*trace.Function, err error) {
	err = f.read(func() error {
		t, err := f.functions()
		if err == nil {
			matched = f.describe(t, f.choose(t, sel))
		}
		return err
	})
	return matched, err
}

// Unmatched returns those of the patterns that match no function's name.
func (f *File) Unmatched(patterns []*pattern.Pattern) (unmatched []*pattern.Pattern, err error) {
	err = f.read(func() error {
		t, err := f.functions()
		if err != nil {
			return err
		}
		for _, p := range patterns {
			m := newMatcher([]*pattern.Pattern{p})
			if !slices.ContainsFunc(t.entries, func(e entry) bool { return e.parent < 0 && t.matches(m, e) }) {
				unmatched = append(unmatched, p)
			}
		}
		return nil
	})
	return unmatched, err
}

// UnmatchedFiles returns those of the patterns that match no function's source file.
func (f *File) UnmatchedFiles(patterns []*pattern.Pattern) (unmatched []*pattern.Pattern, err error) {
	err = f.read(func() error {
		t, err := f.functions()
		unmatched = slices.Clone(patterns)
		for i := 0; err == nil && i < len(t.entries) && len(unmatched) > 0; i++ {
			if t.entries[i].parent >= 0 {
				continue
			}
			source := f.source(t, t.entries[i])
			unmatched = slices.DeleteFunc(unmatched, func(p *pattern.Pattern) bool { return matchFile([]*pattern.Pattern{p}, source) })
		}
		return err
	})
	return unmatched, err
}

// Selected returns how many functions a selection matches.
func (f *File) Selected(sel Selection) (n int, err error) {
	err = f.read(func() error {
		t, err := f.functions()
		if err == nil {
			n = len(f.choose(t, sel))
		}
		return err
	})
	return n, err
}

// Nearest returns up to n names of functions that resemble a pattern which
// matched nothing.
func (f *File) Nearest(p string, n int) (names []string, err error) {
	err = f.read(func() error {
		t, err := f.functions()
		if err == nil {
			names = pattern.Nearest(p, t.displayed, n)
		}
		return err
	})
	return names, err
}

// NearestFiles returns up to n names of source files, without their directories, that resemble a pattern which matched nothing.
func (f *File) NearestFiles(p string, n int) (names []string, err error) {
	err = f.read(func() error {
		t, err := f.functions()
		if err == nil {
			names = pattern.Nearest(p, func(yield func(string) bool) {
				for _, e := range t.entries {
					if source := f.source(t, e); e.parent < 0 && source != "" && !yield(path.Base(source)) {
						return
					}
				}
			}, n)
		}
		return err
	})
	return names, err
}

// Naming says what is known of the names of a file's functions.
type Naming struct {
	Functions int // that have one
	// Stripped says that there is no symbol table of all of them, in the file or in a debug file: of what is no
	// Go program only exported ones have names then.
	Stripped bool
	// Sources says that it is known from which source files functions are.
	Sources bool
	// DebugFile is where the file's debug file would be, below Options.Root; empty where there is one, or
	// the file doesn't tell.
	DebugFile string
}

// Naming says what is known of the names of the file's functions.
func (f *File) Naming() (n Naming, err error) {
	err = f.read(func() error {
		t, err := f.functions()
		if err != nil {
			return err
		}
		debug := f.debugInfo()
		n.Functions = len(t.entries)
		n.Stripped = t.pcln == nil && !f.img.has(elf.SHT_SYMTAB) && (debug.img == nil || !debug.img.has(elf.SHT_SYMTAB))
		n.Sources = t.pcln != nil || debug.img != nil
		if paths := f.debugPaths(); debug.img == nil && len(paths) > 0 {
			n.DebugFile = paths[0]
		}
		return nil
	})
	return n, err
}

// has reports whether the file has a section of a kind.
func (m *image) has(kind elf.SectionType) bool {
	return slices.ContainsFunc(m.elf.Sections, func(s *elf.Section) bool { return s.Type == kind })
}

// NameAt is the name, as list shows it, of the function that a virtual address
// of the file lies in; empty when it lies in none.
func (f *File) NameAt(addr uint64) (name string, err error) {
	err = f.read(func() error {
		t, err := f.functions()
		if err != nil {
			return err
		}
		if i := t.containing(addr); i >= 0 {
			e := t.entries[i]
			if e.parent >= 0 {
				e = t.entries[e.parent]
			}
			name = strings.Clone(t.display(e))
		}
		return nil
	})
	return name, err
}

// displayed yields the names of all functions.
func (t *table) displayed(yield func(string) bool) {
	for _, e := range t.entries {
		if e.parent < 0 && t.syms[e.first].flags&symPart == 0 && !yield(t.display(e)) {
			return
		}
	}
}

// display is the name of an entry as its source has it.
func (t *table) display(e entry) string {
	if t.isGo(e) {
		return goName(t.name(e))
	}
	return demangled(t.name(e))
}

// choose returns the indexes of the entries that a selection matches.
func (f *File) choose(t *table, sel Selection) []int {
	include, exclude := newMatcher(sel.Include), newMatcher(sel.Exclude)
	var application *own
	if sel.zero() {
		application = f.ownCode(t)
	}
	var chosen []int
	for i, e := range t.entries {
		if e.parent >= 0 || len(sel.Include) > 0 && !t.matches(include, e) {
			continue
		}
		if application != nil && !application.has(e) || t.matches(exclude, e) || f.unwanted(t, e, sel.Include) {
			continue
		}
		if len(sel.Files) > 0 && !matchFile(sel.Files, f.source(t, e)) {
			continue
		}
		chosen = append(chosen, i)
	}
	if chosen == nil && application != nil && len(application.trees) > 0 {
		// The debug information is not about this program's own code: do without.
		application.trees = nil
		for i, e := range t.entries {
			if _, foreign := f.described(t.addr(e)); !foreign && e.parent < 0 && application.has(e) && !t.matches(exclude, e) {
				chosen = append(chosen, i)
			}
		}
	}
	return chosen
}

// unwanted reports whether an entry is no function that anybody wrote: glue
// that the compiler made to get to another function. Who names it exactly gets it.
func (f *File) unwanted(t *table, e entry, include []*pattern.Pattern) bool {
	if !t.autogenerated(e) {
		return false
	}
	if t.assembly[goName(t.name(e))] {
		return true // the function itself has the same name
	}
	for _, p := range include {
		name, ok := p.Literal()
		if !ok {
			name = p.String() // main.(*T).Method names a function exactly, in spite of its star
		}
		if name == t.name(e) || name == goName(t.name(e)) {
			return false
		}
	}
	return true
}

// matches reports whether a pattern matches one of an entry's names.
func (t *table) matches(m *matcher, e entry) bool {
	if len(m.patterns) == 0 {
		return false
	}
	golang := t.isGo(e)
	for _, s := range t.symbols(e) {
		if m.match(t.symName(s), golang) {
			return true
		}
	}
	return false
}

// source is the file that an entry is declared in, empty when unknown.
func (f *File) source(t *table, e entry) string {
	if fn, ok := t.goFunc(e); ok {
		return t.pcln.File(fn)
	}
	if fn, ok := f.described(t.addr(e)); ok {
		return f.dwarf().index.File(fn)
	}
	return ""
}

// describe makes the domain's form of entries.
func (f *File) describe(t *table, chosen []int) []*trace.Function {
	functions := make([]*trace.Function, len(chosen))
	p := newPlanner(f, t, chosen)
	for i, index := range chosen {
		functions[i] = p.function(index)
	}
	p.finish()
	return functions
}

// Reasons why a function can't be traced that are known before its code is looked at.
var (
	errNoSize   = errors.New("size unknown: the symbol table does not state it")
	errIFunc    = errors.New("resolver of an indirect function: it runs once, while the program is linked")
	errOutside  = errors.New("its code lies outside the file")
	errOverlap  = errors.New("the functions of this file overlap many times")
	errOrphan   = errors.New("cold part of a function that can't be told from others of its name")
	errStray    = errors.New("a Go function that the program's Go function table doesn't have: the table is damaged")
	errOutlined = errors.New("outlined part of another function")
)

// precheck returns the reason why an entry can't be traced, if its symbols tell one.
func (t *table) precheck(e entry, size uint64) error {
	if slices.ContainsFunc(t.symbols(e), func(s symbol) bool { return s.flags&symIFunc != 0 }) {
		return errIFunc
	}
	if t.syms[e.first].flags&symPart != 0 {
		return errOrphan
	}
	if parent, ok := outlinedOf(t.name(e)); ok {
		return fmt.Errorf("%w: %s", errOutlined, strings.Clone(demangled(parent)))
	}
	if size == 0 {
		return errNoSize
	}
	return nil
}
