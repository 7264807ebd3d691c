package symbols

import (
	"strings"

	"github.com/observatory-trace/observatory-trace/symbols/pattern"
)

// Selection says which functions of a file are wanted.
type Selection struct {
	// Include holds patterns of function names. Without any, and without
	// Files, the application's own functions are selected.
	Include []*pattern.Pattern
	// Exclude holds patterns of names that are not wanted.
	Exclude []*pattern.Pattern
	// Files holds patterns of source files; they match the whole path or its
	// last elements. A function is selected if its file matches one of them.
	Files []*pattern.Pattern
}

// zero reports whether nothing was asked for: the application's own functions.
func (s Selection) zero() bool { return len(s.Include) == 0 && len(s.Files) == 0 }

// matchFile matches a path, or what follows any of its slashes.
func matchFile(patterns []*pattern.Pattern, file string) bool {
	for file != "" {
		if pattern.Any(patterns, file) {
			return true
		}
		i := strings.IndexByte(file, '/')
		if i < 0 {
			return false
		}
		file = file[i+1:]
	}
	return false
}

// matcher matches the names of functions, avoiding to demangle what can't match.
type matcher struct {
	patterns []*pattern.Pattern
	words    []string // one of these is in each raw name that can match; nil: no telling
	full     bool     // some pattern may name parameters, generic arguments or tags
}

func newMatcher(patterns []*pattern.Pattern) *matcher {
	m := &matcher{patterns: patterns}
	for i, p := range patterns {
		words := p.Words()
		for _, w := range words {
			if madeUp(w) {
				words = nil
				break
			}
		}
		if i == 0 || m.words != nil {
			m.words = append(m.words, words...)
		}
		if words == nil {
			m.words = nil
		}
		m.full = m.full || strings.ContainsAny(p.String(), "(<[/")
	}
	return m
}

// demanglerWords is the text that demanglers make up: everything else in a
// demangled name stands literally in the mangled one.
const demanglerWords = " (anonymous namespace) operator new delete co_await lambda unnamed type auto decltype decltype(auto)" +
	" std allocator basic_string basic_istream basic_ostream basic_iostream char_traits string istream ostream iostream" +
	" void wchar_t bool char signed unsigned short int long __int128 float double long double __float128 _Float16 char8_t char16_t char32_t" +
	" decimal32 decimal64 decimal128 half nullptr_t const volatile restrict _Complex _Imaginary typename template class enum struct union" +
	" vtable for VTT construction typeinfo name fn covariant return thunk to non virtual guard variable reference temporary TLS init function wrapper" +
	" hidden alias transaction clone java Class resource gcc global constructors keyed destructors sizeof alignof noexcept throw static_cast dynamic_cast" +
	" const_cast reinterpret_cast typeid this true false requires concept friend" +
	" impl dyn mut as extern unsafe closure shim crate str usize isize u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64 instance "

// madeUp reports whether a demangler may write the word, or a part of it, itself.
func madeUp(word string) bool {
	return len(word) < 3 || strings.Contains(demanglerWords, word) || strings.Trim(word, "0123456789") == ""
}

// match reports whether a pattern matches one of the ways to name a symbol.
// Names of Go programs are given as such.
func (m *matcher) match(raw string, golang bool) bool {
	if len(m.patterns) == 0 {
		return false
	}
	if !mangled(raw) {
		return m.matchPlain(raw, golang)
	}
	if m.words != nil && !containsAny(raw, m.words) {
		return false
	}
	if pattern.Any(m.patterns, raw, demangled(raw)) {
		return true
	}
	return m.full && pattern.Any(m.patterns, inFull(raw))
}

func (m *matcher) matchPlain(raw string, golang bool) bool {
	if golang {
		name := goName(raw)
		if pattern.Any(m.patterns, name) || name != raw && pattern.Any(m.patterns, raw) {
			return true
		}
		return strings.Contains(name, "[") && pattern.Any(m.patterns, withoutTypeArgs(name), goShort(name))
	}
	if pattern.Any(m.patterns, raw) {
		return true
	}
	base := withoutClone(raw)
	return base != raw && pattern.Any(m.patterns, base)
}

func containsAny(s string, words []string) bool {
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}
