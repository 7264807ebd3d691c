package pattern

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"main.main", []string{"main.main"}, []string{"main.main2", "xmain.main", "main_main", "Main.main"}},
		{"main.*", []string{"main.main", "main.(*T).M", "main."}, []string{"main", "domain.x"}},
		{"*", []string{"", "a", "a.b/c::d"}, nil},
		{"shop::*", []string{"shop::Order::total", "shop::f"}, []string{"workshop::f"}},
		{"*::total", []string{"shop::Order::total"}, []string{"shop::Order::totals"}},
		{"*total*", []string{"total", "subtotals"}, []string{"tota"}},
		{"a*b*c", []string{"abc", "aXbYc", "abbcc", "abcbc"}, []string{"acb", "ab", "abcd"}},
		{"a*bc*bc", []string{"abcbc", "aXbcXbc"}, []string{"abc"}},
		{"f?o", []string{"foo", "féo", "f.o"}, []string{"fo", "fooo"}},
		{"f[a-c]o", []string{"fao", "fco"}, []string{"fdo", "fo"}},
		{"f[!a-c]o", []string{"fdo"}, []string{"fao", "fo"}},
		{"f[^abc]o", []string{"fdo"}, []string{"fao"}},
		{"[]a]*", nil, nil},
		{"f[a-]", []string{"fa", "f-"}, []string{"fb"}},
		{`f[\]]`, []string{"f]"}, []string{"f"}},
		{"{get,set}_*", []string{"get_x", "set_"}, []string{"let_x"}},
		{"a{b,c{d,e}}f", []string{"abf", "acdf", "acef"}, []string{"acf"}},
		{"a{,b}", []string{"a", "ab"}, []string{"abb"}},
		{"main::{{closure}}", []string{"main::{{closure}}"}, []string{"main::closure"}},
		{"f{x}", []string{"f{x}"}, []string{"fx"}},
		{"main.Map[...]", []string{"main.Map[...]"}, []string{"main.Map."}},
		{`operator\[\]`, []string{"operator[]"}, []string{"operator"}},
		{`a\*`, []string{"a*"}, []string{"ab"}},
		{"(anonymous namespace)::f", []string{"(anonymous namespace)::f"}, nil},
		{"/^main\\..*Order/", []string{"main.ProcessOrder", "main.Order.x"}, []string{"xmain.Order"}},
		{"/total/", []string{"subtotals"}, []string{"Total"}},
		{"/a|b/", []string{"xay", "b"}, []string{"c"}},
		{"??", []string{"ab", "éé"}, []string{"a", "abc"}},
		{"*?x", []string{"ax", "aax"}, []string{"x"}},
		{"*[ab]?", []string{"xay", "by"}, []string{"a", "xyz"}},
	} {
		p, err := Compile(c.pattern)
		if c.yes == nil && c.no == nil {
			if err == nil {
				t.Errorf("%q compiles", c.pattern)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.pattern, err)
			continue
		}
		for _, name := range c.yes {
			if !p.Match(name) {
				t.Errorf("%q does not match %q", c.pattern, name)
			}
		}
		for _, name := range c.no {
			if p.Match(name) {
				t.Errorf("%q matches %q", c.pattern, name)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		pattern string
		pos     int
		msg     string
	}{
		{"", 0, "empty"},
		{"main.[a-", 5, "closing"},
		{"main.[", 5, "closing"},
		{"x[]y", 1, "empty"},
		{"x[z-a]", 2, "backwards"},
		{`abc\`, 3, "backslash"},
		{"a{b,c", 1, "closing"},
		{"a{b,{c,d}", 1, "closing"},
		{"a\x00b", 1, "control"},
		{"a\xffb", 1, "UTF-8"},
		{"/a(b/", 1, "missing closing )"},
		{"/a[z-a]/", 3, "z-a"},
		{strings.Repeat("{a,b}", 11), 50, "alternatives"},
		{strings.Repeat("{a,", 20) + strings.Repeat("}", 20), 48, "nested"},
	} {
		_, err := Compile(c.pattern)
		var e *SyntaxError
		if !errors.As(err, &e) {
			t.Errorf("%q: error %v, want a SyntaxError", c.pattern, err)
			continue
		}
		if e.Pos != c.pos || !strings.Contains(e.Msg, c.msg) {
			t.Errorf("%q: position %d, %q; want %d, %q", c.pattern, e.Pos, e.Msg, c.pos, c.msg)
		}
	}
}

func TestLiteral(t *testing.T) {
	for pattern, want := range map[string]string{"main.main": "main.main", `a\*b`: "a*b", "{{x}}": "{{x}}", "a*": "", "{a,b}": "", "/a/": "", "[a]": ""} {
		got, ok := MustCompile(pattern).Literal()
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v; want %q", pattern, got, ok, want)
		}
	}
}

func TestWords(t *testing.T) {
	for pattern, want := range map[string][]string{
		"shop::Order::tot*": {"Order"},
		"*Handl*":           {"Handl"},
		"{get,set_all}_*":   {"get_", "set_all_"},
		"*":                 nil,
		"{a,*}":             nil,
		"/main/":            nil,
		"a?bcd[xyz]e":       {"bcd"},
	} {
		if got := MustCompile(pattern).Words(); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", pattern, got, want)
		}
	}
}

func TestParseSpec(t *testing.T) {
	for _, c := range []struct {
		text, path, pattern string
		pos                 int // of the error, or -1
	}{
		{"main.*", "", "main.*", -1},
		{"shop::Order::total", "", "shop::Order::total", -1},
		{"u::f", "", "u::f", -1},
		{"uprobe:/bin/bash:readline", "/bin/bash", "readline", -1},
		{"u:/bin/bash:readline", "/bin/bash", "readline", -1},
		{"uretprobe:libc:malloc", "libc", "malloc", -1},
		{"ur:libc:mal*", "libc", "mal*", -1},
		{"uprobe:/opt/a:shop::Order::total", "/opt/a", "shop::Order::total", -1},
		{`uprobe:/opt/a:cpp:"shop::Order::total"`, "/opt/a", "shop::Order::total", -1},
		{`uprobe:./srv:"main.(*Server).Serve"`, "./srv", "main.(*Server).Serve", -1},
		{"uprobe:/bin/bash", "", "", 16},
		{"uprobe::f", "", "", 7},
		{"uprobe:/bin/bash:", "", "", 17},
	} {
		spec, err := ParseSpec(c.text)
		var e *SyntaxError
		if c.pos >= 0 {
			if !errors.As(err, &e) || e.Pos != c.pos {
				t.Errorf("%q: error %v, want one at %d", c.text, err, c.pos)
			}
			continue
		}
		if err != nil || spec.Path != c.path || spec.Pattern != c.pattern {
			t.Errorf("%q: %+v, %v", c.text, spec, err)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"main.main", "main.processOrder", "main.(*Store).Save", "main.(*Store).Load", "shop::Order::total", "runtime.gopanic", "a"}
	for _, c := range []struct{ pattern, first string }{
		{"main.processOder", "main.processOrder"},
		{"ProcessOrder", "main.processOrder"},
		{"main.Save", "main.(*Store).Save"},
		{"shop::Ordr::total", "shop::Order::total"},
		{"*prozessOrder*", "main.processOrder"},
		{"main.mian", "main.main"},
	} {
		got := Nearest(c.pattern, slices.Values(names), 3)
		if len(got) == 0 || got[0] != c.first {
			t.Errorf("%q: %q, want %q first", c.pattern, got, c.first)
		}
	}
	if got := Nearest("shop::Ordr*", slices.Values([]string{"_fini", "_init", "shop::Order::Order", "main"}), 5); !slices.Equal(got, []string{"shop::Order::Order"}) {
		t.Errorf("%q", got)
	}
	if got := Nearest("zzzzzzzzzzzz", slices.Values(names), 3); len(got) != 0 {
		t.Errorf("nothing resembles it, yet: %q", got)
	}
	if got := Nearest("main.x", slices.Values(names), 2); len(got) > 2 {
		t.Errorf("more than asked for: %q", got)
	}
}

// FuzzMatch compares globs with the regular expressions that mean the same,
// and checks that a matching name contains one of the words.
func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{
		{"a*b?c", "axxbyc"}, {"{a,b*}[c-e]!", "bxd!"}, {"f{x}[...]", "f{x}[...]"}, {`\*\?`, "*?"}, {"*a*aa", "aaaa"}, {"[!a]é*", "béx"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		p, err := Compile(pattern)
		if err != nil || p.re != nil || !utf8Valid(name) {
			return
		}
		re := regexp.MustCompile(`(?s)\A(?:` + p.expression() + `)\z`)
		got := p.Match(name)
		if got != re.MatchString(name) {
			t.Fatalf("%q matches %q: %v, but %v does not agree", pattern, name, got, re)
		}
		words := p.Words()
		if got && words != nil && !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(name, w) }) {
			t.Fatalf("%q matches %q, which has none of %q", pattern, name, words)
		}
	})
}

func utf8Valid(s string) bool { return strings.ToValidUTF8(s, "") == s }

// expression writes the pattern's alternatives as a regular expression.
func (p *Pattern) expression() string {
	c := compiler{text: p.text}
	globs, _ := c.sequence(0, false)
	var alternatives []string
	for _, tokens := range globs {
		var b strings.Builder
		for _, t := range tokens {
			switch t.kind {
			case literal:
				b.WriteString(regexp.QuoteMeta(string(t.lit)))
			case one:
				b.WriteString(".")
			case many:
				b.WriteString(".*")
			case class:
				b.WriteString("[")
				if t.not {
					b.WriteString("^")
				}
				for _, s := range t.set {
					b.WriteString(`\x{` + hex(s.lo) + `}-\x{` + hex(s.hi) + `}`)
				}
				b.WriteString("]")
			}
		}
		alternatives = append(alternatives, b.String())
	}
	return strings.Join(alternatives, "|")
}

func hex(r rune) string {
	const digits = "0123456789abcdef"
	s := ""
	for shift := 20; shift >= 0; shift -= 4 {
		s += string(digits[r>>shift&15])
	}
	return s
}

func BenchmarkMatch(b *testing.B) {
	p := MustCompile("*Order*::{get,set}_*")
	for b.Loop() {
		p.Match("shop::backend::OrderBook<int>::set_price")
	}
}
