package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/sample"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
	"github.com/observatory-trace/observatory-trace/trace"
)

// budgetFlags say how much is recorded, and what that may take.
type budgetFlags struct {
	sample    []string
	overhead  string
	cpu       string
	memory    string
	unlimited bool
}

const unlimited = "unlimited"

func (f *budgetFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayVar(&f.sample, "sample", nil, "record this share of calls, chosen by chance, whole traces together: `RATE` from 0 to 1, PATTERN=RATE, auto (all that the budgets allow; the default) or conservative (above 10,000 calls a second 0.001, above 1,000 0.01); all calls are counted, failed ones always recorded (repeatable)")
	fl.StringVar(&f.overhead, "max-overhead", "5", "`PERCENT` of each target's CPU time, of its time in traced calls (up to that of all processors), or of a fifth of a processor, whichever is the most, that probes may take: beyond, calls are sampled, then probes are in place for a part of each second, then they are taken out; 100 is as much again, 1000 the most; or unlimited")
	fl.StringVar(&f.cpu, "max-cpu", "100", "`PERCENT` of one processor that observatory-trace itself may take; or unlimited")
	fl.StringVar(&f.memory, "max-memory", "1GiB", "`SIZE` of the memory that it may take; or unlimited")
	fl.BoolVar(&f.unlimited, "unlimited", false, "record every call, whatever that takes: no budgets, no sampling but by --sample")
}

// budgets are budgetFlags, compiled.
type budgets struct {
	rates    sample.Rates
	patterns []ratePattern
	limits   sample.Limits
}

// compile reads the flags, of which given says whether they were written, for a ring buffer of so many bytes.
func (f *budgetFlags) compile(given func(flag string) bool, ring uint64) (b budgets, err error) {
	b.rates, err = sample.ParseRates(f.sample, func(text string) (func(string) bool, error) {
		p, err := pattern.Compile(text)
		if err != nil {
			return nil, err
		}
		return p.Match, nil
	})
	if err != nil {
		return b, fmt.Errorf("--sample %w", err)
	}
	b.patterns, err = ratePatterns(f.sample)
	if err != nil {
		return b, fmt.Errorf("--sample %w", err)
	}
	if f.unlimited {
		for _, budget := range [][2]string{{"max-overhead", f.overhead}, {"max-cpu", f.cpu}, {"max-memory", f.memory}} {
			if given(budget[0]) && budget[1] != unlimited {
				return b, fmt.Errorf("--unlimited and --%s %s: --unlimited is without any budget; leave out one of them", budget[0], budget[1])
			}
		}
		return b, nil
	}
	b.limits.Pressure = true
	if b.limits.Overhead, err = parsePercent(f.overhead, mostOverhead); err != nil {
		return b, fmt.Errorf("--max-overhead %w", err)
	}
	if b.limits.CPU, err = parsePercent(f.cpu, mostCPU); err != nil {
		return b, fmt.Errorf("--max-cpu %w", err)
	}
	if f.memory != unlimited {
		if b.limits.Memory, err = parseSize(f.memory); err != nil {
			return b, fmt.Errorf("--max-memory: %w, or %s", err, unlimited)
		}
		// Ring buffers are mapped twice, one behind the other; that of errors is in ownMemory as long as it is the least one.
		if least := ownMemory + 2*(ring+uint64(bpf.ErrorBytes(uint32(ring))-bpf.ErrorBytes(0))); b.limits.Memory < least {
			return b, fmt.Errorf("--max-memory %s: the program by itself and its --ring-buffer take %s; give at least that, or %s", f.memory, formatBytes(int64(least)), unlimited)
		}
	}
	return b, nil
}

const (
	mostOverhead = 1000    // percent: ten times what the targets do themselves
	mostCPU      = 100_000 // percent of one processor
	// ownMemory is what the program takes beside its ring buffer when it traces some hundred functions (bytes; measured: 75 MiB to 115 MiB).
	ownMemory = 128 << 20
)

// ratePattern is the pattern of a --sample flag.
type ratePattern struct {
	text     string // of the flag
	function *pattern.Pattern
}

// ratePatterns gives the patterns of rates that have one, and refuses rates of which one keeps another from ever holding.
func ratePatterns(texts []string) (patterns []ratePattern, err error) {
	before := map[string]string{}
	for _, text := range texts {
		function, share, some := cutLast(text, "=")
		if !some {
			function = ""
		}
		if other, twice := before[function]; twice {
			return nil, fmt.Errorf("%q and %q are for the same functions: leave out one of them", other, text)
		}
		before[function] = text
		switch function {
		case "":
			continue
		case sample.Auto, sample.Conservative:
			return nil, fmt.Errorf("%q: %s is a way to sample, and no pattern: write --sample %[2]s, or, if there is a function of that name, '/^%[2]s$/=%s'", text, function, share)
		}
		p, err := pattern.Compile(function)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		patterns = append(patterns, ratePattern{text, p})
	}
	return patterns, nil
}

// idle says which --sample flags are of none of the functions.
func (b *budgets) idle(functions []*trace.Function) (texts []string) {
	for _, r := range b.patterns {
		if !slices.ContainsFunc(functions, func(f *trace.Function) bool {
			return f.Traceable && (r.function.Match(f.Name) || r.function.Match(f.RawName))
		}) {
			texts = append(texts, fmt.Sprintf("--sample %s: matches no traced function", r.text)+nearest(r.function.String(), namesOfTraced(functions)))
		}
	}
	return texts
}

// parsePercent gives a share, 0 for no limit.
func parsePercent(text string, most float64) (float64, error) {
	if text == unlimited {
		return 0, nil
	}
	p, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || !(p > 0 && p <= most) {
		return 0, fmt.Errorf("%q: write a percentage above 0 and up to %.0f, or %s", text, most, unlimited)
	}
	return p / 100, nil
}
