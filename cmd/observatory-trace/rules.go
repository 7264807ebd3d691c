package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/observatory-trace/observatory-trace/decode/secret"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
)

// ruleFlags are the flags that say what is made of what was captured.
type ruleFlags struct {
	redact   []string
	noRedact bool
}

func (f *ruleFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayVar(&f.redact, "redact", nil, "also withhold values whose parameter, field or key name matches this `PATTERN`: a glob or /regex/ (repeatable)")
	fl.BoolVar(&f.noRedact, "no-redact", false, "store and show passwords, tokens, keys and card numbers as they are")
}

// rules are ruleFlags, compiled.
type rules struct {
	redact      secret.Rules
	showSecrets bool
}

func (f *ruleFlags) compile() (rules, error) {
	r := rules{showSecrets: f.noRedact}
	if f.noRedact && len(f.redact) > 0 {
		return r, errors.New("--redact and --no-redact: give one of them")
	}
	var err error
	r.redact.Also, err = namesOf(f.redact)
	return r, err
}

// namesOf compiles patterns of names to a function that gives the one that matches, in the
// name's own case or in lower case, or "".
func namesOf(texts []string) (func(name string) string, error) {
	var patterns []*pattern.Pattern
	for _, text := range texts {
		p, err := pattern.Compile(text)
		if err != nil {
			return nil, err
		}
		patterns = append(patterns, p)
	}
	if len(patterns) == 0 {
		return nil, nil
	}
	return func(name string) string {
		lower := strings.ToLower(name)
		for i, p := range patterns {
			if p.Match(name) || p.Match(lower) {
				return texts[i]
			}
		}
		return ""
	}, nil
}

// commandLine gives a command line without the secrets that it names: --token VALUE,
// --token=VALUE and what looks like one.
func (r *rules) commandLine(args []string) []string {
	if r.showSecrets {
		return args
	}
	out := make([]string, len(args))
	named := "" // the rule of the flag before, whose value comes now
	for i, arg := range args {
		text, _ := r.redact.Replace([]byte(arg), false)
		if named != "" && !strings.HasPrefix(arg, "-") {
			text = []byte("[redacted: " + named + "]")
		}
		out[i], named = string(text), ""
		if strings.HasPrefix(arg, "-") && !strings.Contains(arg, "=") {
			named = r.redact.Name(arg)
		}
	}
	return out
}
