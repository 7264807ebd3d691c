package decode

import (
	"bytes"

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

// secretFields gives the rules by which fields of a struct or union, or the variants of a
// Rust enum, are secret, by their place, nil when none is. Names are looked at once for
// each type.
func (p *printer) secretFields(t *trace.Type) []string {
	if rules, ok := p.secrets[t]; ok {
		return rules
	}
	names := make([]string, 0, len(t.Fields)+len(t.Variants))
	for i := range t.Fields {
		names = append(names, t.Fields[i].Name)
	}
	for i := range t.Variants {
		names = append(names, t.Variants[i].Name)
	}
	var rules []string
	for i, name := range names {
		rule := p.config.secretName(name)
		if rule == "" {
			continue
		}
		if rules == nil {
			rules = make([]string, len(names))
		}
		rules[i] = rule
	}
	if p.secrets == nil || len(p.secrets) >= maxSecretTypes {
		p.secrets = make(map[*trace.Type][]string)
	}
	p.secrets[t] = rules
	return rules
}

// secretVariant gives the rule by which what a variant of a Rust enum holds is secret.
func (p *printer) secretVariant(t *trace.Type, v *trace.Variant) string {
	rules := p.secretFields(t)
	for i := range rules {
		if v == &t.Variants[i] {
			return rules[i]
		}
	}
	return ""
}

// secretKey gives the rule by which a map's value is secret, by its key's JSON, or "": text,
// which may be cut or in a Go interface.
func (p *printer) secretKey(key []byte) string {
	for _, form := range []string{`"`, `{"$string":"`, `{"$type":"string","$value":"`} {
		if rest, ok := bytes.CutPrefix(key, []byte(form)); ok {
			end := bytes.LastIndexByte(rest, '"')
			if cut := bytes.LastIndex(rest, []byte(`","$len":`)); cut >= 0 {
				end = cut
			}
			return p.config.secretName(string(rest[:max(end, 0)]))
		}
	}
	return ""
}

// withhold looks for a secret in text that is to be printed. It gives the rule when the
// text must not be shown, else what to show of it. cut says that the text goes on.
func (p *printer) withhold(text []byte, cut bool) (show []byte, rule string) {
	switch {
	case p.config.ShowSecrets:
		return text, ""
	case p.inMessage:
		return p.replaceSecrets(text, cut), ""
	}
	m, ok := p.config.Redact.Find(text, cut)
	if !ok {
		return text, ""
	}
	return nil, m.Rule
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
