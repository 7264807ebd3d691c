package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/observatory-trace/observatory-trace/decode"
	"github.com/observatory-trace/observatory-trace/decode/secret"
	"github.com/observatory-trace/observatory-trace/filter"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
	"github.com/observatory-trace/observatory-trace/trace"
)

// ruleFlags are the flags that say what is made of what was captured.
type ruleFlags struct {
	redact   []string
	noRedact bool
	errors   []string
	filter   string
	minimum  time.Duration
}

func (f *ruleFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayVar(&f.redact, "redact", nil, "also withhold values whose parameter, field or key name matches this `PATTERN`: a glob or /regex/ (repeatable)")
	fl.BoolVar(&f.noRedact, "no-redact", false, "store and show passwords, tokens, keys and card numbers as they are")
	fl.StringArrayVar(&f.errors, "error", nil, "C and C++: which results are errors, `PATTERN=RULE`: negative, null (NULL, 0, false), nonzero, or errno (-1, NULL; with what errno was); the first whose pattern matches decides (repeatable)")
	fl.StringVar(&f.filter, "filter", "", "record only calls of which this `EXPRESSION` is true: 'amount > 100 && o.Currency == \"EUR\" || status == \"ERR\"'; the others are only counted")
	fl.DurationVar(&f.minimum, "min-duration", 0, "record only calls that took at least this long, and those that failed or have not ended; the others are only counted")
}

// rules are ruleFlags, compiled.
type rules struct {
	redact      secret.Rules
	showSecrets bool
	errors      []errorRule
	filter      *filter.Filter // nil: all calls
	text        string         // of the filter
	minimum     time.Duration
}

// errorRule is an --error flag.
type errorRule struct {
	text     string
	function *pattern.Pattern
	rule     decode.ErrorRule
}

func (f *ruleFlags) compile() (rules, error) {
	r := rules{showSecrets: f.noRedact, minimum: f.minimum}
	if f.noRedact && len(f.redact) > 0 {
		return r, errors.New("--redact and --no-redact: give one of them")
	}
	var err error
	if r.redact.Also, err = namesOf(f.redact); err != nil {
		return r, err
	}
	if r.errors, err = errorRulesOf(f.errors); err != nil {
		return r, err
	}
	if f.minimum < 0 {
		return r, fmt.Errorf("--min-duration %v: give a duration above 0", f.minimum)
	}
	if f.filter != "" {
		r.text = f.filter
		if r.filter, err = filter.Compile(f.filter); err != nil {
			return r, fmt.Errorf("--filter %q: %w", f.filter, err)
		}
	}
	return r, nil
}

// wants tells whether a call is to be recorded. Of one that has not ended nobody knows
// how long it takes.
func (r *rules) wants(c *trace.Call) bool {
	if c.Status == trace.StatusOK && c.DurationNS < int64(r.minimum) {
		return false
	}
	return r.filter == nil || r.filter.Match(c)
}

// precondition is what wants tells of a function's calls before they are decoded; nil when
// it tells nothing.
func (r *rules) precondition() func(*trace.Function) trace.Precondition {
	if r.filter == nil && r.minimum == 0 {
		return nil
	}
	return func(f *trace.Function) trace.Precondition {
		p := trace.Precondition{}
		if r.filter != nil {
			p = r.filter.Precondition()
			for _, c := range p.Checks {
				if !hasParameter(f, c.Param) {
					p.Checks = nil // which is for the filter to see
					break
				}
			}
		}
		p.LeastNS = max(p.LeastNS, int64(r.minimum))
		return p
	}
}

func errorRulesOf(texts []string) ([]errorRule, error) {
	var rules []errorRule
	for _, text := range texts {
		// The last one: names of operators have a "=", too.
		function, name, ok := cutLast(text, "=")
		rule, known := decode.ParseErrorRule(name)
		if !ok || !known {
			return nil, fmt.Errorf("--error %q: write PATTERN=RULE, where RULE is negative, null, nonzero or errno", text)
		}
		p, err := pattern.Compile(function)
		if err != nil {
			return nil, fmt.Errorf("--error %q: %w", text, err)
		}
		rules = append(rules, errorRule{text, p, rule})
	}
	return rules, nil
}

func (r *errorRule) matches(f *trace.Function) bool {
	return r.function.Match(f.Name) || r.function.Match(f.RawName)
}

// failure says which results of a function are errors, by the rule of the first pattern
// that matches it; nil when none are.
func (r *rules) failure(f *trace.Function) *trace.Failure {
	for i := range r.errors {
		if r.errors[i].matches(f) {
			return r.errors[i].rule.Failure(f)
		}
	}
	return nil
}

// hopeless says that the filter can't be true of any call of the functions, and why; empty where it can.
func (r *rules) hopeless(functions []*trace.Function) string {
	traced := slices.Collect(traceable(functions))
	if r.filter == nil || len(traced) == 0 || slices.ContainsFunc(traced, func(f *trace.Function) bool { return r.filter.Possible(f, decode.Arguments(f)) }) {
		return ""
	}
	text := fmt.Sprintf("--filter %q: it can't be true of any call of what is traced", r.text)
	if missing := r.missing(traced); len(missing) > 0 {
		return text + ": " + strings.Join(missing, "; ")
	}
	return text + "; list shows their names and parameters"
}

// missing says which names in the filter none of the functions has a parameter of.
func (r *rules) missing(traced []*trace.Function) (texts []string) {
	arguments := map[string]bool{}
	for _, f := range traced {
		for _, name := range decode.Arguments(f) {
			arguments[name] = true
		}
	}
	for _, name := range r.filter.Names() {
		if !arguments[name] {
			texts = append(texts, fmt.Sprintf("no traced function has a parameter %q", name)+nearest(name, maps.Keys(arguments)))
		}
	}
	return texts
}

// idle says which --error flags say nothing of any of the functions, and which names in
// the filter none of them has.
func (r *rules) idle(functions []*trace.Function) (texts []string) {
	if hopeless := r.hopeless(functions); hopeless != "" {
		texts = append(texts, hopeless)
	} else if r.filter != nil {
		for _, missing := range r.missing(slices.Collect(traceable(functions))) {
			texts = append(texts, "--filter: "+missing)
		}
	}
	for i := range r.errors {
		if !slices.ContainsFunc(functions, func(f *trace.Function) bool { return decode.Ruled(f) && r.errors[i].matches(f) }) {
			text := fmt.Sprintf("--error %s: matches no traced C or C++ function with a number or a pointer as its result", r.errors[i].text)
			if !slices.ContainsFunc(functions, r.errors[i].matches) {
				text += nearest(r.errors[i].function.String(), namesOfTraced(functions))
			}
			texts = append(texts, text)
		}
	}
	for _, f := range functions {
		// What it jumps to returns in its place, to its caller.
		if f.Traceable && r.failure(f) != nil && leavesByJumps(f) {
			texts = append(texts, fmt.Sprintf("--error: %s leaves only by tail jumps: its results are not seen, so none of its calls counts as failed; give a rule for what it calls", f.Name))
		}
	}
	return texts
}

func leavesByJumps(f *trace.Function) bool {
	return f.Exit.Kind == trace.ExitSites && !slices.ContainsFunc(f.Exit.Sites, func(s trace.ExitSite) bool { return !s.Tail })
}

func hasParameter(f *trace.Function, name string) bool {
	return slices.ContainsFunc(f.Params, func(p trace.Param) bool { return p.Name == name })
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

// commandLine gives a command line as it may be stored.
func (r *rules) commandLine(args []string) []string {
	if r.showSecrets {
		return args
	}
	return r.redact.CommandLine(args)
}
