package main

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/observatory-trace/observatory-trace/attach"
	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
	"github.com/observatory-trace/observatory-trace/trace"
)

// targetFlags are the flags that say which processes and which functions.
type targetFlags struct {
	pids             []int
	names, exes      []string
	symbols, exclude []string
	libs, files      []string
	groups           []string
	noFollow         bool
}

func (f *targetFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.IntSliceVarP(&f.pids, "pid", "p", nil, "trace this running process (repeatable)")
	fl.StringArrayVar(&f.names, "name", nil, "trace processes, running and future, whose command name matches this `GLOB`")
	fl.StringArrayVar(&f.exes, "exe", nil, "trace processes, running and future, whose executable's path matches this `GLOB`")
	fl.StringArrayVarP(&f.symbols, "symbol", "s", nil, "trace functions whose name matches this `PATTERN`: a glob, /regex/ or uprobe:/path:pattern (default: the application's own)")
	fl.StringArrayVarP(&f.exclude, "exclude", "x", nil, "but not those that match this `PATTERN`")
	fl.StringArrayVarP(&f.libs, "lib", "l", nil, "trace shared objects whose path or name matches this `GLOB`, also those loaded later")
	fl.StringArrayVar(&f.files, "file", nil, "trace functions whose source file matches this `GLOB`")
}

// registerTracing adds the flags that only say something of what is traced.
func (f *targetFlags) registerTracing(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayVar(&f.groups, "group", nil, "name a group of functions: `NAME=PATTERN`")
	fl.BoolVar(&f.noFollow, "no-follow", false, "do not trace the children of traced processes")
}

// options translates the flags. Patterns are compiled: a bad one is a usage error.
func (f *targetFlags) options() (attach.Options, error) {
	o := attach.Options{PIDs: f.pids, FollowChildren: !f.noFollow}
	var errs []error
	for _, pid := range f.pids {
		if pid <= 0 {
			errs = append(errs, fmt.Errorf("--pid %d: process ids are above 0; pgrep -l NAME finds them, or trace by --name", pid))
		}
	}
	compile := func(texts []string) (out []*pattern.Pattern) {
		for _, t := range texts {
			p, err := pattern.Compile(t)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			out = append(out, p)
		}
		return out
	}
	o.Names, o.Exes, o.Libs = compile(f.names), compile(f.exes), compile(f.libs)
	targeted := len(f.pids)+len(f.names)+len(f.exes) > 0
	var include []string
	for _, text := range f.symbols {
		spec, err := pattern.ParseSpec(text)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		include = append(include, spec.Pattern)
		if spec.Path != "" {
			path := compile([]string{spec.Path})
			o.Libs = append(o.Libs, path...)
			if !targeted {
				o.Exes = append(o.Exes, path...)
			}
		}
	}
	o.Selection = symbols.Selection{Include: compile(include), Exclude: compile(f.exclude), Files: compile(f.files)}
	group, err := groupsOf(f.groups)
	o.Group = group
	if err := errors.Join(append(errs, err)...); err != nil {
		return o, usageError{err}
	}
	return o, nil
}

// groupsOf compiles NAME=PATTERN flags to a function from a function's name to its group.
func groupsOf(texts []string) (func(string) string, error) {
	type group struct {
		name string
		p    *pattern.Pattern
	}
	var groups []group
	for _, t := range texts {
		name, text, ok := strings.Cut(t, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--group %q: write NAME=PATTERN", t)
		}
		p, err := pattern.Compile(text)
		if err != nil {
			return nil, err
		}
		groups = append(groups, group{name, p})
	}
	return func(function string) string {
		for _, g := range groups {
			if g.p.Match(function) {
				return g.name
			}
		}
		return ""
	}, nil
}

// idle says which --group flags none of the functions is in.
func (f *targetFlags) idle(functions []*trace.Function) (texts []string) {
	for _, text := range f.groups {
		name, function, _ := strings.Cut(text, "=")
		if !slices.ContainsFunc(functions, func(f *trace.Function) bool { return f.Traceable && f.Group == name }) {
			texts = append(texts, fmt.Sprintf("--group %s: matches no traced function, or only what an earlier --group has", text)+nearest(function, namesOfTraced(functions)))
		}
	}
	return texts
}

// traceable gives those of the functions that are traced.
func traceable(functions []*trace.Function) iter.Seq[*trace.Function] {
	return func(yield func(*trace.Function) bool) {
		for _, f := range functions {
			if f.Traceable && !yield(f) {
				return
			}
		}
	}
}

// namesOfTraced gives the names of those of the functions that are traced.
func namesOfTraced(functions []*trace.Function) iter.Seq[string] {
	return func(yield func(string) bool) {
		for f := range traceable(functions) {
			if !yield(f.Name) {
				return
			}
		}
	}
}

// nearest ends a sentence about a pattern that matched nothing with the names that it may have meant.
func nearest(text string, names iter.Seq[string]) string {
	return nearestNames(pattern.Nearest(text, names, 3))
}

// nearestNames ends such a sentence with names, if there are some.
func nearestNames(names []string) string {
	switch len(names) {
	case 0:
		return "; list shows what there is"
	case 1:
		return "; the nearest is " + names[0]
	}
	return "; the nearest are " + strings.Join(names, ", ")
}

// captureFlags bound what is copied of each call.
type captureFlags struct {
	depth, maxString, maxItems, maxBytes uint32
	ring                                 string
	ringBytes                            uint64 // of ring, as apply reads it
	statsOnly                            bool
}

func (f *captureFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.Uint32Var(&f.depth, "depth", 3, "follow pointers this deep, 1 to 16")
	fl.Uint32Var(&f.maxString, "max-string", 256, "copy at most so many bytes of a string, 1 to 4096")
	fl.Uint32Var(&f.maxItems, "max-items", 64, "copy at most so many elements of a slice, 1 to 4096")
	fl.Uint32Var(&f.maxBytes, "max-bytes", 4096, "copy at most so many bytes on each side of a call, 256 to 8192")
	fl.BoolVar(&f.statsOnly, "stats-only", false, "only count calls, errors and times of every function, and record no call by itself; the cheapest way")
	fl.StringVar(&f.ring, "ring-buffer", "16MiB", "size of the buffer between the probes and the reader, rounded up to a power of two (errors have one of half of that, at least 8 MiB)")
}

const (
	maxStringLimit = 4096 // MAX_BLOCK of the probes
	maxBytesLimit  = 8192 // MAX_DATA of the probes
)

func (f *captureFlags) apply(o *attach.Options) error {
	ring, err := parseSize(f.ring)
	switch {
	case err != nil:
		return usageError{fmt.Errorf("--ring-buffer: %w", err)}
	case ring < 4096 || ring > 1<<30:
		return usageError{fmt.Errorf("--ring-buffer %s: between 4KiB and 1GiB", f.ring)}
	case f.maxString < 1 || f.maxString > maxStringLimit:
		return usageError{fmt.Errorf("--max-string %d: between 1 and %d", f.maxString, maxStringLimit)}
	case f.maxBytes < 256 || f.maxBytes > maxBytesLimit:
		return usageError{fmt.Errorf("--max-bytes %d: between 256 and %d", f.maxBytes, maxBytesLimit)}
	case f.depth < 1 || f.depth > 16:
		return usageError{fmt.Errorf("--depth %d: between 1 and 16", f.depth)}
	case f.maxItems < 1 || f.maxItems > 4096:
		return usageError{fmt.Errorf("--max-items %d: between 1 and 4096", f.maxItems)}
	}
	o.StatsOnly = f.statsOnly
	f.ringBytes = 1 << bits.Len64(ring-1)
	o.RingBytes = uint32(f.ringBytes)
	o.MaxDepth, o.MaxString, o.MaxItems, o.MaxBytes = f.depth, f.maxString, f.maxItems, f.maxBytes
	return nil
}

// parseSize reads a number of bytes: 4096, 512KiB, 32MiB, 1GiB, 2TiB (also K, M, G, T, and KB, MB, GB, TB, which are the same).
func parseSize(s string) (uint64, error) {
	number := strings.TrimRight(s, "KMGTiB")
	n, err := strconv.ParseUint(number, 10, 64)
	shift, known := sizeUnits[s[len(number):]]
	if err != nil || !known || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is no size: write a whole number of bytes, or of KiB, MiB, GiB or TiB, for example 64MiB", s)
	}
	return n << shift, nil
}

// sizeUnits are the powers of two that units stand for.
var sizeUnits = map[string]uint{
	"": 0, "B": 0,
	"K": 10, "KB": 10, "KiB": 10,
	"M": 20, "MB": 20, "MiB": 20,
	"G": 30, "GB": 30, "GiB": 30,
	"T": 40, "TB": 40, "TiB": 40,
}
