package symbols

import (
	"strings"

	"github.com/ianlancetaylor/demangle"
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

// demangled returns a symbol's name as its source has it, without parameters
// and without Rust's hash; the raw name when it isn't mangled.
func demangled(raw string) string {
	base := withoutClone(raw)
	if !strings.HasPrefix(base, "_Z") && !strings.HasPrefix(base, "_R") || len(base) > maxMangledLength {
		return base
	}
	name, err := demangle.ToString(base, demangle.NoParams, demangle.NoClones, demangle.MaxLength(maxDemangledPower))
	if err != nil {
		return base
	}
	return name
}

// withParameters returns a mangled symbol's full name, parameters included;
// empty when it isn't mangled.
func withParameters(raw string) string {
	base := withoutClone(raw)
	if !strings.HasPrefix(base, "_Z") || len(base) > maxMangledLength {
		return ""
	}
	name, err := demangle.ToString(base, demangle.NoClones, demangle.MaxLength(maxDemangledPower))
	if err != nil {
		return ""
	}
	return name
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
