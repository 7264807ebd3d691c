package sample

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// Rates say which share of whose calls is recorded at most.
type Rates struct {
	rules        []rule
	conservative bool
}

type rule struct {
	match func(name string) bool // nil: all
	share float64
	auto  bool
}

// Auto is how rates are written that only the budgets limit; Conservative how those are that fall with the load.
const (
	Auto         = "auto"
	Conservative = "conservative"
)

// ParseRates reads rates, of which the first with a pattern that matches a function holds, else that without one: a share of 0 to 1
// for all functions; "auto"; "conservative": 0.001 of a function with more than 10,000 calls a
// second, 0.01 of one with more than 1,000, else all; or any of the former with a pattern
// before it, PATTERN=RATE. compile makes a pattern. No text stands for "auto".
func ParseRates(texts []string, compile func(text string) (func(name string) bool, error)) (r Rates, err error) {
	for _, text := range texts {
		one, share := rule{}, text
		if i := strings.LastIndexByte(text, '='); i >= 0 {
			share = text[i+1:]
			if one.match, err = compile(text[:i]); err != nil {
				return Rates{}, fmt.Errorf("%q: %w", text, err)
			}
		}
		switch share {
		case Auto:
			one.auto = true
		case Conservative:
			if one.match != nil {
				return Rates{}, fmt.Errorf("%q: %s is for all functions: leave out the pattern", text, Conservative)
			}
			r.conservative = true
			continue
		default:
			if one.share, err = strconv.ParseFloat(share, 64); err != nil || !(one.share >= 0 && one.share <= 1) {
				return Rates{}, fmt.Errorf("%q: write a share from 0 to 1, %s, %s, or PATTERN=SHARE", text, Auto, Conservative)
			}
		}
		r.rules = append(r.rules, one)
	}
	// One for all functions says how it is with those that no pattern names.
	slices.SortStableFunc(r.rules, func(a, b rule) int { return cmp.Compare(boolean(a.match == nil), boolean(b.match == nil)) })
	return r, nil
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Most is the share of a function's calls that is recorded at most, when there are so many in a second.
func (r *Rates) Most(f *trace.Function, calls float64) float64 {
	for i := range r.rules {
		one := &r.rules[i]
		if one.match != nil && !one.match(f.Name) && !one.match(f.RawName) {
			continue
		}
		if one.auto {
			return 1
		}
		return one.share
	}
	switch {
	case !r.conservative || calls <= 1000:
		return 1
	case calls <= 10_000:
		return 0.01
	default:
		return 0.001
	}
}
