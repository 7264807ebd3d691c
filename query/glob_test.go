package query

import (
	"slices"
	"strings"
	"testing"
)

func TestExpandBraces(t *testing.T) {
	for glob, want := range map[string][]string{
		"plain.*":         {"plain.*"},
		"{a,b}.c":         {"a.c", "b.c"},
		"x{a,b{1,2}}y":    {"xay", "xb1y", "xb2y"},
		"{a,b}{c,}":       {"ac", "a", "bc", "b"},
		"{}":              {""},
		"{open,":          {"{open,"},
		"closed}":         {"closed}"},
		"":                {""},
		"a[{]b":           {"a[{]b"},
		"std::{map,set}*": {"std::map*", "std::set*"},
	} {
		if got := expandBraces(glob); !slices.Equal(got, want) {
			t.Errorf("%q is %q, want %q", glob, got, want)
		}
	}
	if n := len(expandBraces(strings.Repeat("{a,b}", 60))); n == 0 || n > maxGlobs {
		t.Errorf("%d globs of 60 braces", n)
	}
}

// FuzzExpandBraces holds that any text ends in some globs, and not too many.
func FuzzExpandBraces(f *testing.F) {
	f.Add("{a,{b,c}}{d,e}")
	f.Add("{{{{,}}}}")
	f.Fuzz(func(t *testing.T, glob string) {
		if n := len(expandBraces(glob)); n == 0 || n > maxGlobs {
			t.Errorf("%q gives %d globs", glob, n)
		}
	})
}
