package pattern

import (
	"strings"
	"unicode/utf8"
)

// glob is one alternative: pieces separated by stars.
type glob struct {
	pieces []piece
}

// piece is what lies between two stars: plain text when it has no other wildcard.
type piece struct {
	text   string
	tokens []token // nil for plain text
}

func newGlob(tokens []token) glob {
	g := glob{pieces: []piece{{}}}
	start := 0
	flush := func(end int) {
		p := &g.pieces[len(g.pieces)-1]
		var b strings.Builder
		for _, t := range tokens[start:end] {
			if t.kind != literal {
				p.tokens = tokens[start:end]
				return
			}
			b.WriteRune(t.lit)
		}
		p.text = b.String()
	}
	for i, t := range tokens {
		if t.kind == many {
			flush(i)
			g.pieces = append(g.pieces, piece{})
			start = i + 1
		}
	}
	flush(len(tokens))
	return g
}

func (g *glob) literal() (string, bool) {
	if len(g.pieces) != 1 || g.pieces[0].tokens != nil {
		return "", false
	}
	return g.pieces[0].text, true
}

// match places each piece as early as it fits: the stars between make any
// later choice no better.
func (g *glob) match(s string) bool {
	last := len(g.pieces) - 1
	n, ok := g.pieces[0].prefix(s)
	if !ok {
		return false
	}
	if last == 0 {
		return n == len(s)
	}
	s = s[n:]
	for i := 1; i < last; i++ {
		end := g.pieces[i].index(s)
		if end < 0 {
			return false
		}
		s = s[end:]
	}
	return g.pieces[last].suffix(s)
}

// prefix matches the piece at the start of s and returns the bytes it took.
func (p *piece) prefix(s string) (int, bool) {
	if p.tokens == nil {
		return len(p.text), strings.HasPrefix(s, p.text)
	}
	n := 0
	for i := range p.tokens {
		if n == len(s) {
			return 0, false
		}
		r, size := utf8.DecodeRuneInString(s[n:])
		if !p.tokens[i].match(r) {
			return 0, false
		}
		n += size
	}
	return n, true
}

// index returns where the piece's first occurrence in s ends, or -1.
func (p *piece) index(s string) int {
	if p.tokens == nil {
		i := strings.Index(s, p.text)
		if i < 0 {
			return -1
		}
		return i + len(p.text)
	}
	for i := 0; i < len(s); {
		if n, ok := p.prefix(s[i:]); ok {
			return i + n
		}
		_, size := utf8.DecodeRuneInString(s[i:])
		i += size
	}
	return -1
}

func (p *piece) suffix(s string) bool {
	if p.tokens == nil {
		return strings.HasSuffix(s, p.text)
	}
	i := len(s)
	for range p.tokens {
		if i == 0 {
			return false
		}
		_, size := utf8.DecodeLastRuneInString(s[:i])
		i -= size
	}
	n, ok := p.prefix(s[i:])
	return ok && n == len(s)-i
}

// word returns the longest run of word characters in the glob's plain text.
func (g *glob) word() string {
	best := ""
	for _, p := range g.pieces {
		runs := []string{p.text}
		if p.tokens != nil {
			runs = plainRuns(p.tokens)
		}
		for _, run := range runs {
			for _, w := range strings.FieldsFunc(run, func(r rune) bool { return !wordRune(r) }) {
				if len(w) > len(best) {
					best = w
				}
			}
		}
	}
	return best
}

func plainRuns(tokens []token) []string {
	var runs []string
	var b strings.Builder
	for _, t := range tokens {
		if t.kind == literal {
			b.WriteRune(t.lit)
			continue
		}
		runs = append(runs, b.String())
		b.Reset()
	}
	return append(runs, b.String())
}

func wordRune(r rune) bool {
	return r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}
