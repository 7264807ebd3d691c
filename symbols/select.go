package symbols

import (
	"fmt"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// Select returns the functions that a selection matches, by address. Those
// that can't be traced without harm are among them, with their reason.
func (f *File) Select(sel Selection) (matched []*trace.Function, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer faults()()
	defer guard(&err)
	t, err := f.functions()
	if err != nil {
		return nil, fmt.Errorf("read functions of %s: %w", f.path, err)
	}
	for _, i := range f.choose(t, sel) {
		matched = append(matched, f.describe(t, i))
	}
	return matched, nil
}

// choose returns the indexes of the entries that a selection matches.
func (f *File) choose(t *table, sel Selection) []int {
	include, exclude := newMatcher(sel.Include), newMatcher(sel.Exclude)
	var chosen []int
	for i, e := range t.entries {
		if e.parent >= 0 {
			continue
		}
		if sel.zero() && !f.ownCode(t, e) {
			continue
		}
		if len(sel.Include) > 0 && !t.matches(include, e) || t.matches(exclude, e) {
			continue
		}
		chosen = append(chosen, i)
	}
	return chosen
}

func (t *table) matches(m *matcher, e entry) bool {
	golang := t.isGo(e)
	for _, s := range t.symbols(e) {
		if m.match(t.symName(s), golang) {
			return true
		}
	}
	return false
}

// isGo reports whether Go's own table knows the entry.
func (t *table) isGo(e entry) bool {
	if t.pcln == nil {
		return false
	}
	i := t.pcln.Find(t.addr(e))
	if i < 0 {
		return false
	}
	fn, ok := t.pcln.Func(i)
	return ok && fn.Addr == t.addr(e)
}

func (f *File) ownCode(t *table, e entry) bool {
	if t.isGo(e) {
		return strings.HasPrefix(t.name(e), "main.")
	}
	return true
}

// describe makes the domain's form of an entry.
func (f *File) describe(t *table, i int) *trace.Function {
	e := t.entries[i]
	raw := t.name(e)
	fn := &trace.Function{
		Name: strings.Clone(demangled(raw)), RawName: strings.Clone(raw), Module: f.module,
		Address: t.addr(e), Size: t.size(e), Traceable: true,
	}
	if fn.Size == 0 {
		fn.Traceable, fn.Reason = false, "its size is unknown: the symbol table does not state it"
	}
	return fn
}
