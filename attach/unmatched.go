package attach

import (
	"path/filepath"
	"slices"

	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
)

// Unmatched is a pattern of Options that has matched nothing in the files that were looked at: Selection.Include and
// Exclude no function, Libs no shared object.
type Unmatched struct {
	Pattern *pattern.Pattern
	Nearest []string // names of functions that resemble it, the best first
}

// matching keeps account of which patterns have matched nothing yet.
type matching struct {
	functions []Unmatched
	libs      []*pattern.Pattern
}

func newMatching(o *Options) *matching {
	m := &matching{libs: slices.Clone(o.Libs)}
	for _, p := range slices.Concat(o.Selection.Include, o.Selection.Exclude) {
		m.functions = append(m.functions, Unmatched{Pattern: p})
	}
	return m
}

// nearestNames is how many names are given that a pattern resembles.
const nearestNames = 3

// look takes note of what matches in a file that functions are selected from.
func (m *matching) look(f *symbols.File) error {
	m.libs = slices.DeleteFunc(m.libs, func(p *pattern.Pattern) bool {
		return p.Match(f.Module()) || p.Match(filepath.Base(f.Module()))
	})
	if len(m.functions) == 0 {
		return nil
	}
	patterns := make([]*pattern.Pattern, len(m.functions))
	for i, u := range m.functions {
		patterns[i] = u.Pattern
	}
	left, err := f.Unmatched(patterns)
	if err != nil {
		return err
	}
	m.functions = slices.DeleteFunc(m.functions, func(u Unmatched) bool { return !slices.Contains(left, u.Pattern) })
	for i := range m.functions {
		u := &m.functions[i]
		names, err := f.Nearest(u.Pattern.String(), nearestNames)
		if err != nil {
			return err
		}
		u.Nearest = pattern.Nearest(u.Pattern.String(), slices.Values(append(names, u.Nearest...)), nearestNames)
	}
	return nil
}

// unmatched gives the patterns that have matched nothing.
func (m *matching) unmatched() []Unmatched {
	all := slices.Clone(m.functions)
	for _, p := range m.libs {
		all = append(all, Unmatched{Pattern: p})
	}
	return all
}
