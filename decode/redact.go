package decode

import (
	"bytes"
	"cmp"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// secretName gives the rule by which a value of this name is secret, or "".
func (c *Config) secretName(name string) string {
	if c.ShowSecrets {
		return ""
	}
	return c.Redact.Name(name)
}

func (p *printer) redacted(dst []byte, rule string) []byte {
	p.flags |= trace.FlagRedacted
	return appendRedacted(dst, rule)
}

// maxSecretTypes bounds how many types' answers are kept: types may be met for as long
// as a session lasts.
const maxSecretTypes = 1 << 16

// secretFields says which fields of a struct or union, or variants of a Rust enum, are secret,
// and how the fields are printed.
type secretFields struct {
	fields []fieldForm
	rules  []string // by the fields' place; nil when none is
	// The places of a name and of its value in a struct that is such a pair, else -1.
	name, value int
}

func (s *secretFields) rule(i int) string {
	if s.rules == nil {
		return ""
	}
	return s.rules[i]
}

// secretFields finds what is secret in a type. Names are looked at once for each.
func (p *printer) secretFields(t *trace.Type) *secretFields {
	if known, ok := p.secrets[t]; ok {
		return known
	}
	names := make([]string, 0, len(t.Fields)+len(t.Variants))
	for i := range t.Fields {
		names = append(names, t.Fields[i].Name)
	}
	for i := range t.Variants {
		names = append(names, t.Variants[i].Name)
	}
	s := &secretFields{name: -1, value: -1, fields: make([]fieldForm, len(t.Fields))}
	for i := range t.Fields {
		s.fields[i] = fieldFormOf(&t.Fields[i])
	}
	for i, name := range names {
		if rule := p.config.secretName(name); rule != "" {
			if s.rules == nil {
				s.rules = make([]string, len(names))
			}
			s.rules[i] = rule
		}
		switch strings.ToLower(name) {
		case "name", "key", "header", "first":
			s.name = i
		case "value", "values", "val", "second":
			s.value = i
		}
	}
	if t.Kind == trace.KindUnion && s.rules != nil {
		// The others are other readings of the same bytes.
		for i := range s.rules {
			s.rules[i] = cmp.Or(s.rules[i], cmp.Or(s.rules...))
		}
	}
	if p.secrets == nil || len(p.secrets) >= maxSecretTypes {
		p.secrets = make(map[*trace.Type]*secretFields)
	}
	p.secrets[t] = s
	return s
}

// secretVariant gives the rule by which what a variant of a Rust enum holds is secret.
func (p *printer) secretVariant(t *trace.Type, v *trace.Variant) string {
	secrets := p.secretFields(t)
	for i := range t.Variants {
		if v == &t.Variants[i] {
			return secrets.rule(len(t.Fields) + i)
		}
	}
	return ""
}

// namesNext gives the rule by which an element of a list, printed as JSON, is the name of
// a secret that comes next: one word of a list of any, as loggers take them, or a flag on a
// command line. Words in other lists of texts mean nothing for the next.
func (p *printer) namesNext(t *trace.Type, element []byte) string {
	flag := t.Kind == trace.KindString && bytes.HasPrefix(element, []byte(`"-`))
	if !flag && (t.Kind != trace.KindInterface || !t.Empty) || bytes.ContainsAny(element, " =") {
		return ""
	}
	return p.secretKey(element)
}

// secretKey gives the rule by which a map's value is secret, by its key's JSON, or "": text,
// which may be cut or in a Go interface.
func (p *printer) secretKey(key []byte) string {
	if held, ok := bytes.CutPrefix(key, []byte(`{"$type":"`)); ok {
		_, key, _ = bytes.Cut(held, []byte(`","$value":`))
	}
	text, ok := bytes.CutPrefix(key, []byte(`{"$string":"`))
	if !ok {
		text, ok = bytes.CutPrefix(key, []byte(`"`))
	}
	if !ok {
		return ""
	}
	end := bytes.LastIndexByte(text, '"')
	if cut := bytes.LastIndex(text, []byte(`","$len":`)); cut >= 0 {
		end = cut
	}
	return p.config.secretName(string(text[:max(end, 0)]))
}

// withhold looks for a secret in text that is to be printed. It gives the rule when the
// text must not be shown, else what to show of it. cut says that the text goes on.
func (p *printer) withhold(text []byte, cut bool) (show []byte, rule string) {
	if p.inMessage {
		return p.replaceSecrets(text, cut), ""
	}
	if rule, found := p.secretIn(text, cut); found {
		return nil, rule
	}
	return text, ""
}

func (p *printer) secretIn(text []byte, cut bool) (rule string, found bool) {
	if p.config.ShowSecrets {
		return "", false
	}
	m, found := p.config.Redact.Find(text, cut)
	return m.Rule, found
}

// replaceSecrets replaces the secrets in a text that becomes part of a message.
func (p *printer) replaceSecrets(text []byte, cut bool) []byte {
	if p.config.ShowSecrets {
		return text
	}
	text, found := p.config.Redact.Replace(text, cut)
	if found {
		p.flags |= trace.FlagRedacted
	}
	return text
}
