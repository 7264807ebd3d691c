package attach

import (
	"path/filepath"
	"slices"

	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
)

// Unmatched is a pattern of Options that has matched nothing in the files that were looked at: Selection.Include and
// Exclude no function, Files no function's source file, Libs no shared object.
type Unmatched struct {
	Pattern *pattern.Pattern
	Nearest []string // names of functions, or of source files, that resemble it, the best first
}

// matching keeps account of which patterns have matched nothing yet.
type matching struct {
	functions, sources []Unmatched
	libs               []*pattern.Pattern
}

func newMatching(o *Options) *matching {
	m := &matching{libs: slices.Clone(o.Libs)}
	for _, p := range slices.Concat(o.Selection.Include, o.Selection.Exclude) {
		m.functions = append(m.functions, Unmatched{Pattern: p})
	}
	for _, p := range o.Selection.Files {
		m.sources = append(m.sources, Unmatched{Pattern: p})
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
	var err error
	if m.functions, err = left(m.functions, f.Unmatched, f.Nearest); err != nil {
		return err
	}
	m.sources, err = left(m.sources, f.UnmatchedFiles, f.NearestFiles)
	return err
}

// left gives those that match nothing in a file either, with what resembles them there, too.
func left(all []Unmatched, unmatched func([]*pattern.Pattern) ([]*pattern.Pattern, error), nearest func(string, int) ([]string, error)) ([]Unmatched, error) {
	if len(all) == 0 {
		return nil, nil
	}
	patterns := make([]*pattern.Pattern, len(all))
	for i, u := range all {
		patterns[i] = u.Pattern
	}
	patterns, err := unmatched(patterns)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(u Unmatched) bool { return !slices.Contains(patterns, u.Pattern) })
	for i := range all {
		u := &all[i]
		names, err := nearest(u.Pattern.String(), nearestNames)
		if err != nil {
			return nil, err
		}
		u.Nearest = pattern.Nearest(u.Pattern.String(), slices.Values(append(names, u.Nearest...)), nearestNames)
	}
	return all, nil
}

// unmatched gives the patterns that have matched nothing.
func (m *matching) unmatched() []Unmatched {
	all := slices.Concat(m.functions, m.sources)
	for _, p := range m.libs {
		all = append(all, Unmatched{Pattern: p})
	}
	return all
}
