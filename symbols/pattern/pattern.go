// Package pattern is the language in which functions and source files are
// chosen: globs, regular expressions and bpftrace-style probe specifications.
//
// It is pure matching of text: it knows nothing of files, and must not import
// anything of this module.
package pattern

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode"
	"unicode/utf8"
)

// SyntaxError says where a pattern is wrong.
type SyntaxError struct {
	Pattern string
	Pos     int // byte offset
	Msg     string
}

// Error shows the pattern and a caret under the place.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("pattern %q, position %d: %s", e.Pattern, e.Pos+1, e.Msg)
}

// Pattern is a compiled pattern. It is immutable and safe for concurrent use.
//
// A glob must match the whole name: * is any text (also . / and ::), ? one
// character, [a-z] and [!a-z] one of (not of) a set, {a,b} one of several, and
// a backslash takes the next character as it is. Braces without a comma and
// the text "[...]" stand for themselves, as in {{closure}} and main.Map[...].
// Text between slashes is a regular expression (RE2) that matches anywhere.
type Pattern struct {
	text  string
	re    *regexp.Regexp
	globs []glob
}

// maxAlternatives bounds what braces multiply to.
const maxAlternatives = 1024

// Compile compiles a pattern. The error is a *SyntaxError.
func Compile(text string) (*Pattern, error) {
	if text == "" {
		return nil, &SyntaxError{text, 0, "empty pattern"}
	}
	if len(text) >= 2 && text[0] == '/' && text[len(text)-1] == '/' {
		return compileRegexp(text)
	}
	c := compiler{text: text}
	globs, err := c.sequence(0, false)
	if err != nil {
		return nil, err
	}
	p := &Pattern{text: text, globs: make([]glob, len(globs))}
	for i, tokens := range globs {
		p.globs[i] = newGlob(tokens)
	}
	return p, nil
}

// MustCompile is Compile for patterns that are part of the program.
func MustCompile(text string) *Pattern {
	p, err := Compile(text)
	if err != nil {
		panic(err)
	}
	return p
}

func compileRegexp(text string) (*Pattern, error) {
	re, err := regexp.Compile(text[1 : len(text)-1])
	if err == nil {
		return &Pattern{text: text, re: re}, nil
	}
	e := &SyntaxError{text, 1, err.Error()}
	if se, ok := err.(*syntax.Error); ok { //nolint:errorlint // regexp returns it unwrapped
		e.Msg = se.Code.String()
		if i := strings.Index(text[1:], se.Expr); se.Expr != "" && i >= 0 {
			e.Pos = i + 1
			e.Msg += ": " + se.Expr
		}
	}
	return nil, e
}

// String returns the pattern as it was written.
func (p *Pattern) String() string { return p.text }

// Literal reports whether the pattern stands for exactly one name, and which.
func (p *Pattern) Literal() (string, bool) {
	if p.re != nil || len(p.globs) != 1 {
		return "", false
	}
	return p.globs[0].literal()
}

// Match reports whether the pattern matches the name.
func (p *Pattern) Match(name string) bool {
	if p.re != nil {
		return p.re.MatchString(name)
	}
	for i := range p.globs {
		if p.globs[i].match(name) {
			return true
		}
	}
	return false
}

// Words returns, for each alternative of a glob, the longest run of letters,
// digits and underscores that every name it matches contains. It is nil for a
// regular expression, or when some alternative has none: then nothing can be
// told without matching.
func (p *Pattern) Words() []string {
	words := make([]string, 0, len(p.globs))
	for i := range p.globs {
		word := p.globs[i].word()
		if word == "" {
			return nil
		}
		words = append(words, word)
	}
	return words
}

// Any reports whether one of the patterns matches one of the names.
func Any(patterns []*Pattern, names ...string) bool {
	for _, p := range patterns {
		for _, name := range names {
			if p.Match(name) {
				return true
			}
		}
	}
	return false
}

// token is one element of a glob.
type token struct {
	kind kind
	lit  rune
	set  []span
	not  bool
}

type kind uint8

const (
	literal kind = iota
	one          // ?
	many         // *
	class        // [...]
)

type span struct{ lo, hi rune }

func (t *token) match(r rune) bool {
	switch t.kind {
	case literal:
		return t.lit == r
	case class:
		for _, s := range t.set {
			if s.lo <= r && r <= s.hi {
				return !t.not
			}
		}
		return t.not
	default:
		return true
	}
}

// compiler turns a glob's text into token sequences, one per alternative.
type compiler struct {
	text  string
	pos   int
	depth int
}

func (c *compiler) fail(pos int, msg string) error { return &SyntaxError{c.text, pos, msg} }

// sequence reads up to the end, or within braces up to the comma or brace that ends it.
func (c *compiler) sequence(open int, inBraces bool) ([][]token, error) {
	out := [][]token{nil}
	add := func(t token) {
		for i := range out {
			out[i] = append(out[i], t)
		}
	}
	for c.pos < len(c.text) {
		r, n := utf8.DecodeRuneInString(c.text[c.pos:])
		at := c.pos
		c.pos += n
		switch {
		case r == utf8.RuneError && n == 1:
			return nil, c.fail(at, "not UTF-8")
		case unicode.IsControl(r):
			return nil, c.fail(at, "control character")
		case inBraces && (r == ',' || r == '}'):
			c.pos = at
			return out, nil
		case r == '*':
			add(token{kind: many})
		case r == '?':
			add(token{kind: one})
		case r == '\\':
			if c.pos == len(c.text) {
				return nil, c.fail(at, "nothing after the backslash")
			}
			e, n := utf8.DecodeRuneInString(c.text[c.pos:])
			c.pos += n
			add(token{lit: e})
		case r == '[' && !strings.HasPrefix(c.text[at:], "[...]"):
			t, err := c.class(at)
			if err != nil {
				return nil, err
			}
			add(t)
		case r == '{' && c.alternatives(at):
			alts, err := c.braces(at)
			if err != nil {
				return nil, err
			}
			if len(out)*len(alts) > maxAlternatives {
				return nil, c.fail(at, fmt.Sprintf("more than %d alternatives", maxAlternatives))
			}
			out = product(out, alts)
		default:
			add(token{lit: r})
		}
	}
	if inBraces {
		return nil, c.fail(open, "brace without its closing one")
	}
	return out, nil
}

// alternatives reports whether the brace at a position has a comma of its own:
// otherwise it is part of a name.
func (c *compiler) alternatives(at int) bool {
	depth := 0
	for i := at; i < len(c.text); i++ {
		switch c.text[i] {
		case '\\':
			i++
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return false
			}
		case ',':
			if depth == 1 {
				return true
			}
		}
	}
	return false
}

// maxNesting bounds the recursion over nested braces.
const maxNesting = 16

func (c *compiler) braces(at int) ([][]token, error) {
	if c.depth++; c.depth > maxNesting {
		return nil, c.fail(at, "braces nested too deeply")
	}
	defer func() { c.depth-- }()
	var out [][]token
	for {
		alts, err := c.sequence(at, true)
		if err != nil {
			return nil, err
		}
		if out = append(out, alts...); len(out) > maxAlternatives {
			return nil, c.fail(at, fmt.Sprintf("more than %d alternatives", maxAlternatives))
		}
		end := c.text[c.pos]
		c.pos++
		if end == '}' {
			return out, nil
		}
	}
}

func product(heads, tails [][]token) [][]token {
	out := make([][]token, 0, len(heads)*len(tails))
	for _, h := range heads {
		for _, t := range tails {
			out = append(out, append(h[:len(h):len(h)], t...))
		}
	}
	return out
}

// class reads a character set whose bracket, at a position, has been read.
func (c *compiler) class(at int) (token, error) {
	t := token{kind: class}
	if c.pos < len(c.text) && (c.text[c.pos] == '!' || c.text[c.pos] == '^') {
		t.not = true
		c.pos++
	}
	next := func() (rune, error) {
		if c.pos >= len(c.text) {
			return 0, c.fail(at, `bracket without its closing one (write \[ for a bracket)`)
		}
		r, n := utf8.DecodeRuneInString(c.text[c.pos:])
		c.pos += n
		if r == '\\' && c.pos < len(c.text) {
			r, n = utf8.DecodeRuneInString(c.text[c.pos:])
			c.pos += n
		}
		return r, nil
	}
	for {
		if c.pos < len(c.text) && c.text[c.pos] == ']' {
			if t.set == nil {
				return t, c.fail(at, `empty character set (write \[\] for a pair of brackets)`)
			}
			c.pos++
			return t, nil
		}
		start := c.pos
		lo, err := next()
		if err != nil {
			return t, err
		}
		hi := lo
		if c.pos+1 < len(c.text) && c.text[c.pos] == '-' && c.text[c.pos+1] != ']' {
			c.pos++
			if hi, err = next(); err != nil {
				return t, err
			}
			if hi < lo {
				return t, c.fail(start, fmt.Sprintf("range %q runs backwards", c.text[start:c.pos]))
			}
		}
		t.set = append(t.set, span{lo, hi})
	}
}
