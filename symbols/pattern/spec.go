package pattern

import "strings"

// Spec is a bpftrace-style probe specification: what to choose, and in which file.
type Spec struct {
	Path    string // executable or shared object, by path or library name; empty when only a pattern was given
	Pattern string
}

var specKinds = []string{"uprobe:", "uretprobe:", "u:", "ur:"}

// ParseSpec splits "uprobe:/path:pattern" (also u:, uretprobe:, ur:), taking
// anything else as a bare pattern: entries and returns are always both probed,
// so the kinds don't differ. The error is a *SyntaxError.
func ParseSpec(text string) (Spec, error) {
	for _, kind := range specKinds {
		rest, ok := strings.CutPrefix(text, kind)
		// "u::f" is a C++ name in a namespace u, not a specification.
		if !ok || kind == "u:" && strings.HasPrefix(rest, ":") || kind == "ur:" && strings.HasPrefix(rest, ":") {
			continue
		}
		colon := separator(rest)
		path, name := "", ""
		if colon >= 0 {
			path, name = rest[:colon], rest[colon+1:]
		}
		// bpftrace allows "cpp:" before a demangled name; all names are demangled here.
		name = strings.TrimPrefix(name, "cpp:")
		name = unquote(name)
		switch {
		case colon < 0:
			return Spec{}, &SyntaxError{text, len(text), "a colon and the function are missing (write " + kind + "/path/of/file:function)"}
		case path == "":
			return Spec{}, &SyntaxError{text, len(kind), "the path is missing"}
		case name == "":
			return Spec{}, &SyntaxError{text, len(kind) + colon + 1, "the function is missing"}
		}
		return Spec{Path: path, Pattern: name}, nil
	}
	return Spec{Pattern: text}, nil
}

// separator finds the colon that ends the path: the first that is not half of "::".
func separator(s string) int {
	for i := 0; i < len(s); i++ {
		if s[i] != ':' {
			continue
		}
		if i+1 < len(s) && s[i+1] == ':' {
			i++
			continue
		}
		return i
	}
	return -1
}

func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}
