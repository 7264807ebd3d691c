package symbols

import (
	"net/url"
	"strings"

	"github.com/ianlancetaylor/demangle"

	"github.com/observatory-trace/observatory-trace/trace"
)

// coldParent returns the raw name of the function that a symbol's code is the
// unlikely part of, moved away by gcc (-freorder-blocks-and-partition) or LLVM.
func coldParent(raw string) (string, bool) {
	i := strings.LastIndex(raw, ".cold")
	if i <= 0 || !cloneNumber(raw[i+len(".cold"):]) {
		return "", false
	}
	return raw[:i], true
}

// cloneNumber reports whether s is empty or a dot and digits.
func cloneNumber(s string) bool {
	if s == "" {
		return true
	}
	if s[0] != '.' || len(s) == 1 {
		return false
	}
	return strings.Trim(s[1:], "0123456789") == ""
}

// outlinedOf returns the name of the function that a symbol's code was
// outlined from (gcc's .part.N), which makes it no function of its own.
func outlinedOf(raw string) (string, bool) {
	if i := strings.Index(raw, ".part."); i > 0 {
		return raw[:i], true
	}
	return "", false
}

// cloneSuffixes begin what compilers append to the name of a function's
// specialised body: the body of the function nevertheless.
var cloneSuffixes = []string{".constprop.", ".isra.", ".lto_priv.", ".llvm.", ".__uniq.", ".specialized.", ".localalias"}

// withoutClone cuts the suffixes off that compilers append to a function's name.
func withoutClone(raw string) string {
	for _, suffix := range cloneSuffixes {
		if i := strings.Index(raw, suffix); i > 0 {
			raw = raw[:i]
		}
	}
	return raw
}

// Limits of demangling: a hostile name can grow exponentially.
const (
	maxMangledLength  = 8 << 10
	maxDemangledPower = 14 // 16 KiB
)

// demangled returns a symbol's name as its source has it: without parameters,
// ABI tags and Rust's hash, and without the generic arguments that only some
// Rust compilers tell. It is the raw name when that isn't mangled.
func demangled(raw string) string {
	base := withoutClone(raw)
	if !mangled(base) || len(base) > maxMangledLength {
		return base
	}
	options := []demangle.Option{demangle.NoParams, demangle.NoClones, demangle.NoABITags, demangle.MaxLength(maxDemangledPower)}
	rust := languageOfName(base) == trace.LangRust
	if rust {
		options = append(options, demangle.NoTemplateParams)
	}
	name, err := demangle.ToString(base, options...)
	switch {
	case err != nil:
		return base
	case rust:
		return rustName(name)
	default:
		return name
	}
}

func mangled(raw string) bool {
	return strings.HasPrefix(raw, "_Z") || strings.HasPrefix(raw, "_R")
}

// inFull returns a mangled symbol's name with everything: parameters and
// generic arguments. It is empty when the symbol isn't mangled.
func inFull(raw string) string {
	base := withoutClone(raw)
	if !mangled(base) || len(base) > maxMangledLength {
		return ""
	}
	name, err := demangle.ToString(base, demangle.NoClones, demangle.MaxLength(maxDemangledPower))
	if err != nil {
		return ""
	}
	return name
}

// rustName writes a Rust name without generic arguments, and that of a type's
// own method as in its source: "<shop::Stack<T>>::push" is "shop::Stack::push".
// A trait's method stays "<shop::Order as core::fmt::Debug>::fmt".
func rustName(name string) string {
	if !strings.Contains(name, "<") {
		return name
	}
	if name[0] != '<' {
		return withoutGenerics(name)
	}
	end := closing(name, 0)
	if end < 0 {
		return name
	}
	self, rest := name[1:end], name[end+1:]
	as := strings.LastIndex(self, " as ")
	switch {
	case as < 0:
		return rustName(self) + withoutGenerics(rest)
	case strings.Count(self[:as], "<") != strings.Count(self[:as], ">"):
		return name // the trait is further in: leave it
	default:
		return "<" + rustName(self[:as]) + " as " + withoutGenerics(self[as+len(" as "):]) + ">" + withoutGenerics(rest)
	}
}

// withoutGenerics cuts out what stands between angle brackets behind a name.
func withoutGenerics(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] != '<' || i == 0 || !wordByte(name[i-1]) && name[i-1] != ':' {
			b.WriteByte(name[i])
			continue
		}
		end := closing(name, i)
		if end < 0 {
			return name
		}
		i = end
	}
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "::"), "::::", "::")
}

// closing returns where the angle bracket at a position is closed, or -1.
func closing(name string, at int) int {
	depth := 0
	for i := at; i < len(name); i++ {
		switch {
		case name[i] == '<':
			depth++
		case name[i] == '>' && name[i-1] != '-':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func wordByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80
}

// withoutTypeArgs cuts the type arguments out of a Go name:
// "main.Map[go.shape.int].Get" is "main.Map.Get".
func withoutTypeArgs(name string) string { return replaceTypeArgs(name, "") }

// goShort writes the type arguments of a Go name as Go's own tables do:
// "main.Map[...].Get".
func goShort(name string) string { return replaceTypeArgs(name, "[...]") }

func replaceTypeArgs(name, with string) string {
	var b strings.Builder
	depth := 0
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '[':
			if depth == 0 {
				b.WriteString(with)
			}
			depth++
		case c == ']' && depth > 0:
			depth--
		case depth == 0:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// goMarker reports whether a symbol in a Go program's code is the linker's own
// and no function: bounds of the text, the build id, the compiler's comparison
// functions of types.
func goMarker(name string) bool {
	return strings.HasPrefix(name, "go:") || strings.HasPrefix(name, "type:") || name == "runtime.text" || name == "runtime.etext"
}

// goGlue reports whether a Go function was made by the compiler to call another:
// method values, the calls of go and defer statements. Those that are known by
// their file, <autogenerated>, are not among them.
func goGlue(name string) bool {
	if strings.HasSuffix(name, "-fm") {
		return true
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	word := strings.TrimRight(last, "0123456789")
	return len(word) < len(last) && (word == "gowrap" || word == "deferwrap")
}

// goInit reports whether a Go function initialises a package's variables: it is
// the compiler's, unlike the package's own init functions, which have a number.
func goInit(name string) bool {
	if pkg, ok := strings.CutSuffix(name, ".init"); ok {
		// Not a method: dots in the last part of a package's path are escaped.
		return strings.IndexByte(pkg[strings.LastIndexByte(pkg, '/')+1:], '.') < 0
	}
	i := strings.LastIndex(name, ".map.init.")
	return i > 0 && cloneNumber(name[i+len(".map.init"):])
}

// goName undoes the linker's escaping in a Go name: "gopkg.in/yaml%2ev3.Unmarshal".
func goName(raw string) string {
	raw = strings.TrimSuffix(raw, ".abi0")
	if strings.IndexByte(raw, '%') < 0 {
		return raw
	}
	name, err := url.PathUnescape(raw)
	if err != nil {
		return raw
	}
	return name
}
