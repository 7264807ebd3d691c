package secret

import (
	"bytes"
	"strings"
)

// Match is a secret in a text.
type Match struct {
	Start, End int
	Rule       string // what it looks like: "jwt", "private key", or the rule of the name before it
}

// shortest is the length of the shortest text that could hold a secret: "pwd=x".
const shortest = 5

// Find finds the first secret in a text. Of a text that was cut, and goes on behind its
// end, what begins like a secret there is taken for one.
func (r *Rules) Find(text []byte, cut bool) (Match, bool) {
	if len(text) < shortest && !cut {
		return Match{}, false
	}
	best := Match{Start: len(text) + 1}
	first := func(m Match, ok bool) {
		if ok && m.Start < best.Start {
			best = m
		}
	}
	first(findJWT(text, cut))
	first(findPEM(text))
	m, digits, ok := r.findByWords(text, cut)
	first(m, ok)
	if digits >= minCard || cut && digits >= minCutCard {
		first(findCard(text, cut))
	}
	return best, best.Start <= len(text)
}

// Replace gives a text with its secrets replaced by [redacted: RULE], and whether there
// were any. A text without is given back as it is.
func (r *Rules) Replace(text []byte, cut bool) ([]byte, bool) {
	m, ok := r.Find(text, cut)
	if !ok {
		return text, false
	}
	var out []byte
	for ok {
		out = append(out, text[:m.Start]...)
		out = append(out, "[redacted: "...)
		out = append(out, m.Rule...)
		out = append(out, ']')
		text = text[m.End:]
		m, ok = r.Find(text, cut)
	}
	return append(out, text...), true
}

// CommandLine gives a command line with its secrets replaced: the values of flags like
// --token VALUE and --token=VALUE, and what looks like one.
func (r *Rules) CommandLine(args []string) []string {
	out := make([]string, len(args))
	named := "" // the rule of the flag before, whose value comes now
	for i, arg := range args {
		text, _ := r.Replace([]byte(arg), false)
		flag := strings.HasPrefix(arg, "-")
		if named != "" && !strings.HasPrefix(arg, "--") {
			text = []byte("[redacted: " + named + "]")
		}
		out[i], named = string(text), ""
		if flag && !strings.Contains(arg, "=") {
			named = r.Name(arg)
		}
	}
	return out
}

func run(text []byte, i int, in *[256]bool) int {
	for i < len(text) && in[text[i]] {
		i++
	}
	return i
}

func set(chars string) *[256]bool {
	var t [256]bool
	for i := range len(chars) {
		t[chars[i]] = true
	}
	return &t
}

const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

var (
	base64url  = set(alphanumeric + "-_")
	jwtChars   = set(alphanumeric + "-_.")
	keyChars   = set(alphanumeric + "-_.")
	token68    = set(alphanumeric + "-_.~+/=%:")
	nameChars  = set(alphanumeric + "-_.$[]")
	digitChars = set("0123456789")
)

// findJWT finds a JSON Web Token: base64url of a JSON object, a dot, and more. The first
// part alone is one when it begins as a token's header does.
func findJWT(text []byte, cut bool) (Match, bool) {
	for at := 0; ; {
		i := bytes.IndexByte(text[at:], 'J') // rarer than the letters before it
		if i < 0 {
			return Match{}, false
		}
		start := at + i - 2
		at += i + 1
		if start < 0 || string(text[start:start+2]) != "ey" {
			continue
		}
		head := run(text, start, base64url)
		switch {
		case head == len(text) && cut, jwtHeader(text[start:head]),
			head-start >= 10 && head < len(text) && text[head] == '.':
			return Match{start, run(text, head, jwtChars), "jwt"}, true
		}
		at = head
	}
}

// jwtHeader tells whether base64 begins with {"alg, {"typ, {"kid, {"enc, {"jku or {"x5.
func jwtHeader(text []byte) bool {
	for _, head := range []string{"eyJhbGci", "eyJ0eXAi", "eyJraWQi", "eyJlbmMi", "eyJqa3Ui", "eyJ4NX"} {
		if len(text) > len(head) && string(text[:len(head)]) == head {
			return true
		}
	}
	return false
}

// findPEM finds a private key in PEM form, from its header on.
func findPEM(text []byte) (Match, bool) {
	const begin, end, dashes = "-----BEGIN ", "-----END ", "-----"
	for at := 0; ; {
		i := bytes.Index(text[at:], []byte(begin))
		if i < 0 {
			return Match{}, false
		}
		start := at + i
		at = start + len(begin)
		label := text[at:]
		if n := bytes.Index(label, []byte(dashes)); n >= 0 {
			label = label[:n]
		}
		if len(label) > 64 || !bytes.Contains(label, []byte("PRIVATE KEY")) {
			continue
		}
		m := Match{start, len(text), "private key"}
		if n := bytes.Index(text[start:], []byte(end)); n >= 0 {
			rest := start + n + len(end)
			if n := bytes.Index(text[rest:], []byte(dashes)); n >= 0 {
				m.End = rest + n + len(dashes)
			}
		}
		return m, true
	}
}

// keyPrefix is how a well-known service's keys begin, and how many characters follow at least.
type keyPrefix struct {
	text string
	more int
}

// keyPrefixes are the known ones by their first byte.
var keyPrefixes = func() (table [256][]keyPrefix) {
	for more, prefixes := range map[int]string{
		10: "sk_live_ sk_test_ rk_live_ rk_test_ whsec_ xoxa- xoxb- xoxp- xoxr- xoxs- xapp-", // Stripe, Slack
		16: "AKIA ASIA glpat- gldt- glrt- sk-ant- sk-proj-",                                  // Amazon, GitLab, Anthropic, OpenAI
		20: "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ ya29. GOCSPX- hvs. AGE-SECRET-KEY-1",       // GitHub, Google, Vault, age
		30: "AIza npm_ pypi- hf_ dop_v1_ shpat_ SG.",                                         // Google and others
		32: "sk-",
	} {
		for _, text := range strings.Fields(prefixes) {
			table[text[0]] = append(table[text[0]], keyPrefix{text, more})
		}
	}
	return table
}()

// longKey is the length of the shortest well-known key that may be one word.
const longKey = len("AKIA") + 16

// findByWords finds the first secret that begins with a word: a well-known key, what
// follows "Bearer", and values behind their names. It counts the digits on the way,
// those behind its match not.
func (r *Rules) findByWords(text []byte, cut bool) (m Match, digits int, ok bool) {
	for i := 0; i < len(text); {
		c := text[i]
		if classes[c] == classOther {
			if c == '=' || c == ':' {
				if m, ok := r.assigned(text, i, cut); ok {
					return m, digits, true
				}
			}
			i++
			continue
		}
		start := i
		for ; i < len(text); i++ {
			class := classes[text[i]]
			if class == classOther {
				break
			}
			if class == classDigit {
				digits++
			}
		}
		if len(keyPrefixes[c]) > 0 && (i-start >= longKey || i == len(text) && cut || i < len(text) && (text[i] == '_' || text[i] == '-' || text[i] == '.')) {
			if m, ok := wellKnown(text, start, cut); ok {
				return m, digits, true
			}
		}
		if i-start == len("bearer") && (c == 'B' || c == 'b') {
			if m, ok := bearer(text, start, i); ok {
				return m, digits, true
			}
		}
	}
	return Match{}, digits, false
}

func wellKnown(text []byte, start int, cut bool) (Match, bool) {
	for _, p := range keyPrefixes[text[start]] {
		if len(text)-start <= len(p.text) || string(text[start:start+len(p.text)]) != p.text {
			continue
		}
		from := start + len(p.text)
		end := run(text, from, keyChars)
		if end-from >= p.more || cut && end == len(text) {
			return Match{start, end, "api key"}, true
		}
	}
	return Match{}, false
}

// bearerWords follow "bearer" where it is spoken of: "bearer token expired".
var bearerWords = map[string]bool{
	"token": true, "tokens": true, "auth": true, "authentication": true, "authorization": true, "scheme": true, "header": true,
	"credentials": true, "error": true, "realm": true, "is": true, "was": true, "not": true, "of": true, "in": true, "and": true, "or": true,
}

func bearer(text []byte, start, end int) (Match, bool) {
	if !strings.EqualFold(string(text[start:end]), "bearer") {
		return Match{}, false
	}
	from := end
	for from < len(text) && (text[from] == ' ' || text[from] == '\t') {
		from++
	}
	to := run(text, from, token68)
	if from == end || to == from {
		return Match{}, false
	}
	word, _, _ := strings.Cut(string(text[from:to]), "=")
	if bearerWords[strings.ToLower(strings.TrimRight(word, ".:"))] {
		return Match{}, false
	}
	return Match{start, to, "bearer"}, true
}

// assigned finds the value behind a "=" or ":" when the name before it is a secret's, as
// in a=b, "a": "b", a:b and a: b; or a password in a URL.
func (r *Rules) assigned(text []byte, at int, cut bool) (Match, bool) {
	if text[at] == ':' && at+2 < len(text) && text[at+1] == '/' && text[at+2] == '/' {
		return inURL(text, at+3, cut)
	}
	end := at
	for end > 0 && text[end-1] == ' ' && text[at] == '=' {
		end--
	}
	quoted := end > 0 && (text[end-1] == '"' || text[end-1] == '\'')
	if quoted {
		if end--; end > 0 && text[end-1] == '\\' {
			end--
		}
	}
	start := end
	for start > 0 && end-start < maxName && nameChars[text[start-1]] {
		start--
	}
	if end-start < 3 {
		return Match{}, false
	}
	rule := ruleOf(r, text[start:end])
	if rule == "" {
		return Match{}, false
	}
	from := at + 1
	for from < len(text) && (text[from] == ' ' || text[from] == '=' || text[from] == '>') {
		from++
	}
	spaced := text[at] == ':' && from > at+1 && !quoted
	to := valueEnd(text, from, spaced)
	if to == from || spaced && prose(rule, text[:start], text[from:to]) {
		return Match{}, false
	}
	return Match{from, to, rule}, true
}

// prose tells whether what follows a name and a colon goes on about it, as errors do
// ("invalid token: unexpected end"), and is not its value. Where a line begins with the
// name, as in headers and settings, it hardly ever does.
func prose(rule string, before, value []byte) bool {
	const digits = "0123456789="
	spokenOf := rule == "token" || rule == "secret" || rule == "credential"
	before = bytes.TrimRight(before, " \t-")
	if len(before) == 0 || before[len(before)-1] == '\n' {
		return spokenOf && !bytes.ContainsAny(value, digits)
	}
	word, _, more := bytes.Cut(bytes.TrimSpace(value), []byte(" "))
	return (more || spokenOf) && !bytes.ContainsAny(word, digits)
}

// valueEnd gives where a value ends: a quoted one at its quote, one behind a colon and
// a space at the end of the line, others at what separates them from the next.
func valueEnd(text []byte, from int, line bool) int {
	rest := text[from:]
	separators := " \t\r\n,;&)]}\"'"
	if line {
		separators = "\r\n"
	}
	quote := 0
	if len(rest) > 1 && rest[0] == '\\' {
		quote = 1
	}
	if len(rest) > quote && (rest[quote] == '"' || rest[quote] == '\'') {
		for i := quote + 1; i < len(rest); i++ {
			switch {
			case rest[i] == rest[quote] && (quote == 0 || rest[i-1] == '\\'):
				return from + i + 1
			case rest[i] == '\\' && quote == 0:
				i++
			}
		}
		return len(text)
	}
	if i := bytes.IndexAny(rest, separators); i >= 0 {
		return from + i
	}
	return len(text)
}

// inURL finds the password of a URL's authority, which begins at start: user:password@host.
func inURL(text []byte, start int, cut bool) (Match, bool) {
	end := start
	for end < len(text) && !strings.ContainsRune("/?# \t\r\n\"'<>", rune(text[end])) {
		end++
	}
	colon := bytes.IndexByte(text[start:end], ':')
	if colon < 0 {
		return Match{}, false
	}
	from := start + colon + 1
	to := bytes.LastIndexByte(text[from:end], '@')
	switch {
	case to > 0:
		return Match{from, from + to, "password"}, true
	case to < 0 && cut && end == len(text) && from < end:
		return Match{from, end, "password"}, true // or a port
	}
	return Match{}, false
}
