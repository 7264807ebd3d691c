// Package secret tells what must not be recorded: values by what they are called,
// and texts by what they look like.
//
// It is pure matching of text and must not import anything of this module. Where in
// doubt it says secret: what is withheld can be had by other means, what was stored
// can't be taken back.
package secret

import (
	"bytes"
	"strings"
)

// Rules say what is secret. The zero value has the rules that are built in. They are
// immutable and safe for concurrent use.
type Rules struct {
	// Also names what more is secret: it gives the rule's name for a name that is, else "".
	Also func(name string) string
}

// The built-in rules for names. A rule of two words matches them one behind the
// other, and as one word (api_key, APIKey, apikey).
var (
	anywhere = ruleSet(
		"password", "passwd", "passphrase", "passcode", "pwd", "secret", "token", "credential", "authorization", "bearer", "jwt",
		"cookie", "cvv", "cvc", "ssn", "otp", "totp", "jsessionid", "phpsessid",
		"pass word", "pass phrase", "user pass", "db pass", "auth pass", "database pass", "admin pass", "root pass",
		"api key", "private key", "priv key", "secret key", "access key", "signing key", "encryption key", "master key", "session key",
		"auth key", "ssh key", "shared key", "account key", "aes key", "hmac key",
		"session id", "auth code", "authorization code", "security code", "pin code", "recovery code", "backup code",
		"card number", "card num", "card no", "card pan", "credit card", "debit card", "cc number", "cc num",
		"social security", "seed phrase", "mnemonic",
	)
	// Words of other meanings, which are secret where they are the whole name.
	alone = ruleSet("pass", "pin", "pan")
	// Words that others run into, as in userpassword and clientsecret.
	within  = []string{"password", "passwd", "passphrase", "credential"}
	endings = []string{"secret", "token", "cookie", "apikey", "pwd"}
)

// firsts and seconds have the pairs of letters that the rules' words begin with, as
// first and as second words: most names are told from all rules by these.
var firsts, seconds = func() (first, second [1 << 16]bool) {
	for rule := range anywhere {
		a, b, two := strings.Cut(rule, " ")
		first[pairOf(a)] = true
		if two {
			second[pairOf(b)] = true
		}
	}
	return first, second
}()

func pairOf[T string | []byte](word T) int { return int(word[0])<<8 | int(word[1]) }

// ruleSet maps what a rule matches to the rule.
func ruleSet(rules ...string) map[string]string {
	set := make(map[string]string)
	for _, rule := range rules {
		joined := strings.ReplaceAll(rule, " ", "")
		if set[joined] == "" {
			set[joined] = rule
		}
		set[rule] = set[joined] // pass word is password
	}
	return set
}

// maxName bounds how much of a name is looked at, in bytes: a map's keys may be anything.
const maxName = 256

// Name gives the rule by which a value of this name is secret, or "". Case, separators
// and the humps of camel case make no difference; words match as a whole: author and
// tokenizer are no secrets.
func (r *Rules) Name(name string) string { return ruleOf(r, name) }

func ruleOf[T string | []byte](r *Rules, name T) string {
	if r.Also != nil {
		if rule := r.Also(string(name)); rule != "" {
			return rule
		}
	}
	if len(name) > maxName {
		name = name[:maxName]
	}
	var buffer [maxName / 2]byte
	text := appendWords(buffer[:0], name)
	if len(text) <= len("pass") {
		if rule := alone[string(text)]; rule != "" {
			return rule
		}
	}
	before := -1 // where the word before begins
	for start := 0; start < len(text); {
		end := start
		for end < len(text) && text[end] != ' ' {
			end++
		}
		word := text[start:end]
		if rule := wordRule(word); rule != "" {
			return rule
		}
		if before >= 0 && len(word) > 1 && seconds[pairOf(word)] {
			if rule := lookUp(text[before:end]); rule != "" {
				return rule
			}
		}
		before, start = start, end+1
	}
	return ""
}

func wordRule(word []byte) string {
	if len(word) > 2 && firsts[pairOf(word)] {
		if rule := lookUp(word); rule != "" {
			return rule
		}
	}
	if len(word) < 6 {
		return ""
	}
	if bytes.Contains(word, []byte("pass")) || bytes.Contains(word, []byte("cred")) {
		for _, w := range within {
			if strings.Contains(string(word), w) {
				return w
			}
		}
	}
	word = bytes.TrimSuffix(word, []byte("s"))
	switch word[len(word)-1] {
	case 't', 'n', 'e', 'y', 'd':
		for _, w := range endings {
			if strings.HasSuffix(string(word), w) {
				return anywhere[w]
			}
		}
	}
	return ""
}

// lookUp finds a rule, or the one of which it is the plural.
func lookUp(words []byte) string {
	rule := anywhere[string(words)]
	if n := len(words) - 1; rule == "" && n > 3 && words[n] == 's' {
		rule = anywhere[string(words[:n])]
	}
	return rule
}

// appendWords appends a name's words in lower case, with a space between them: userAPIKey2
// is "user api key 2".
func appendWords[T string | []byte](dst []byte, name T) []byte {
	start := len(dst)
	before := classOther
	for i := 0; i < len(name); i++ {
		c := name[i]
		class := classes[c]
		if class == classOther {
			before = class
			continue
		}
		boundary := class != before
		switch {
		case before == classUpper && class == classLower:
			boundary = false // Key: its first letter began the word
		case before == classUpper && class == classUpper:
			boundary = i+1 < len(name) && classes[name[i+1]] == classLower
		}
		if boundary && len(dst) > start {
			dst = append(dst, ' ')
		}
		if class == classUpper {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
		before = class
	}
	return dst
}

// class is what a byte is in a name or a text.
type class uint8

const (
	classOther class = iota
	classLower       // bytes of letters beyond ASCII, too
	classUpper
	classDigit
)

var classes = func() (table [256]class) {
	for c := range table {
		switch {
		case c >= 'a' && c <= 'z' || c >= 0x80:
			table[c] = classLower
		case c >= 'A' && c <= 'Z':
			table[c] = classUpper
		case c >= '0' && c <= '9':
			table[c] = classDigit
		}
	}
	return table
}()
