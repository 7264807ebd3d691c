package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/observatory-trace/observatory-trace/attach"
	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/trace"
)

func newListCommand() *cobra.Command {
	var target targetFlags
	var output string
	cmd := &cobra.Command{
		Use:   "list TARGET|FILE [flags]",
		Short: "Show which functions match, and how they would be traced",
		Long: `Show which functions match, with their signatures, where the probes would sit and why,
and why some can't be traced. Nothing is attached. FILE is an executable or a shared object.`,
		Example: `  observatory-trace list ./server
  observatory-trace list -p 1234 -s 'main.(*Store).*'
  observatory-trace list /lib/x86_64-linux-gnu/libssl.so.3 -s 'SSL_*' -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return usageError{fmt.Errorf("--output %q: table or json", output)}
			}
			opts, err := target.options()
			if err != nil {
				return err
			}
			notes := &notes{w: cmd.ErrOrStderr()}
			opts.Warn = notes.warn
			var file string
			switch {
			case len(args) > 1:
				return usageError{fmt.Errorf("unexpected argument %q: list takes one file", args[1])}
			case len(args) == 1:
				// A shared object by its path is meant itself, not what it loads.
				file = args[0]
			case len(opts.PIDs)+len(opts.Names)+len(opts.Exes) == 0:
				return usageError{errors.New("nothing to list: name a file, or a target with -p PID, --name GLOB or --exe PATH")}
			}
			found, unmatched, err := attach.Survey(opts, file)
			if err != nil {
				return err
			}
			if len(found) == 0 {
				return noMatch(opts, file)
			}
			notes.warnAll(saidOf(unmatched, opts))
			if output == "json" {
				return listJSON(cmd.OutOrStdout(), found)
			}
			if err := listTable(cmd.OutOrStdout(), found); err != nil {
				return err
			}
			if hint := undescribedHint(found); hint != "" {
				notes.say("%s", hint)
			}
			return nil
		},
	}
	target.register(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// noMatch says that nothing matched, why, and with the nearest names.
func noMatch(opts attach.Options, command string) error {
	text := "no function matched"
	files := attach.Names(opts, command)
	if len(files) == 0 {
		text += ": there is no file to select from; --name, --exe and -l match what runs, or is on disk, and -l shared objects by their path or its last element"
	}
	const most = 3
	for i, f := range files {
		if i == most {
			text += "; and " + pluralDigits(len(files)-most, "more file")
			break
		}
		text += "; " + unmatched(f, opts.Selection)
	}
	excluded := slices.ContainsFunc(files, func(f attach.Named) bool { return f.Excluded > 0 })
	if names := attach.Nearest(opts, command, 5); len(names) > 0 && !excluded {
		text += "; the nearest names are:\n  " + strings.Join(names, "\n  ")
	}
	return nothingMatchedError{errors.New(text)}
}

// saidOf says of each pattern that matched nothing which flag's it is, and the way out.
func saidOf(unmatched []attach.Unmatched, opts attach.Options) (texts []string) {
	for _, u := range unmatched {
		switch {
		case slices.Contains(opts.Libs, u.Pattern):
			texts = append(texts, fmt.Sprintf("-l %s: matches no shared object that a target has mapped yet; -l goes by the path, or its last element", u.Pattern))
		case slices.Contains(opts.Selection.Exclude, u.Pattern):
			texts = append(texts, fmt.Sprintf("-x %s: matches no function", u.Pattern)+nearestNames(u.Nearest))
		case slices.Contains(opts.Selection.Files, u.Pattern):
			texts = append(texts, fmt.Sprintf("--file %s: matches no source file of a function", u.Pattern)+nearestNames(u.Nearest))
		default:
			texts = append(texts, fmt.Sprintf("-s %s: matches no function", u.Pattern)+nearestNames(u.Nearest))
		}
	}
	return texts
}

// unmatched says why nothing of a file matched, and the way out.
func unmatched(f attach.Named, selection symbols.Selection) string {
	switch {
	case f.Excluded > 0:
		return fmt.Sprintf("-x excludes all that was chosen of %s, %s: leave it out, or have it match fewer", f.Module, plural(uint64(f.Excluded), "function"))
	case f.Stripped && f.Functions == 0:
		return f.Module + " is stripped, and its functions have no names: " + symbolsHint(f)
	case f.Stripped:
		return fmt.Sprintf("%s is stripped, and only those of its functions have names that it exports, %d: %s", f.Module, f.Functions, symbolsHint(f))
	case f.Functions == 0:
		return f.Module + " has no functions with names, its symbol table may be damaged: use the program as it was built"
	case len(selection.Files) > 0 && !f.Sources:
		return fmt.Sprintf("--file goes by debug information, and %s has none: %s", f.Module, symbolsHint(f))
	case len(selection.Include)+len(selection.Files) == 0:
		return fmt.Sprintf("of %s, which has %s, none is known to be the application's own: choose some with -s", f.Module, pluralDigits(f.Functions, "function"))
	}
	return fmt.Sprintf("see the %s of %s with: observatory-trace list %[2]s -s '*'", pluralDigits(f.Functions, "function"), f.Module)
}

// symbolsHint says how to have the symbols of a stripped file.
func symbolsHint(f attach.Named) string {
	if f.DebugFile == "" {
		return "use the program as it was built, before it was stripped"
	}
	return fmt.Sprintf("install its debug symbols (which would be %s), or use the program as it was built", f.DebugFile)
}

// undescribedHint says what is missing where there is no debug information; empty where there is.
func undescribedHint(functions []*trace.Function) string {
	n := 0
	for _, f := range functions {
		if f.Traceable && f.Undescribed {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("of %s there is no debug information: their values are registers, and errors that they return are not seen; install debug symbols, or build without stripping", plural(uint64(n), "function"))
}

// listed is a function as list -o json prints it.
type listed struct {
	Name      string        `json:"name"`
	RawName   string        `json:"raw_name"`
	Language  string        `json:"language"`
	Module    string        `json:"module"`
	File      string        `json:"file"`
	Line      int           `json:"line"`
	Address   uint64        `json:"address"`
	Size      uint64        `json:"size"`
	Params    []listedParam `json:"params"`
	Results   []listedParam `json:"results"`
	Entry     *listedEntry  `json:"entry"`
	Exit      *listedExit   `json:"exit"`
	Traceable bool          `json:"traceable"`
	Reason    string        `json:"reason"`
}

type listedParam struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Location string `json:"location"`
}

type listedEntry struct {
	Offset uint64 `json:"offset"`
	Site   string `json:"site"`
	Reason string `json:"reason"`
}

type listedExit struct {
	Kind    string  `json:"kind"`
	Offsets []int64 `json:"offsets"`
	Reason  string  `json:"reason"`
}

func listedOf(f *trace.Function) listed {
	l := listed{
		Name: f.Name, RawName: f.RawName, Language: f.Language.String(), Module: f.Module, File: f.File, Line: f.Line,
		Address: f.Address, Size: f.Size, Params: listedParams(f.Params), Results: listedParams(f.Results),
		Traceable: f.Traceable, Reason: f.Reason,
	}
	if !f.Traceable {
		return l
	}
	l.Entry = &listedEntry{f.Entry.Offset, f.Entry.Site.String(), f.Entry.Reason}
	l.Exit = &listedExit{Kind: f.Exit.Kind.String(), Offsets: []int64{}, Reason: f.Exit.Reason}
	for _, s := range f.Exit.Sites {
		l.Exit.Offsets = append(l.Exit.Offsets, int64(s.Offset))
	}
	return l
}

func listedParams(params []trace.Param) []listedParam {
	out := []listedParam{}
	for _, p := range params {
		out = append(out, listedParam{p.Name, typeName(p.Type), p.Location})
	}
	return out
}

func typeName(t *trace.Type) string {
	if t == nil {
		return ""
	}
	return t.Name
}

func listJSON(w io.Writer, found []*trace.Function) error {
	all := make([]listed, 0, len(found))
	for _, f := range found {
		all = append(all, listedOf(f))
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(all); err != nil {
		return fmt.Errorf("print list: %w", err)
	}
	return nil
}

// listTable prints, for each function, its signature and where it is, and below
// where its probes would sit.
func listTable(w io.Writer, found []*trace.Function) error {
	var b strings.Builder
	traceable := 0
	for _, f := range found {
		fmt.Fprintf(&b, "%s\n", signature(f))
		fmt.Fprintf(&b, "    %-8s %s\n", f.Language, place(f))
		if !f.Traceable {
			fmt.Fprintf(&b, "    not traceable: %s\n", f.Reason)
			continue
		}
		traceable++
		fmt.Fprintf(&b, "    entry    +%d %s: %s\n", f.Entry.Offset, f.Entry.Site, f.Entry.Reason)
		fmt.Fprintf(&b, "    exit     %s\n", exitText(f.Exit))
	}
	fmt.Fprintf(&b, "\n%s, %d traceable\n", pluralDigits(len(found), "function"), traceable)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print list: %w", err)
	}
	return nil
}

func place(f *trace.Function) string {
	if f.File == "" {
		return fmt.Sprintf("%s+%#x", f.Module, f.Address)
	}
	return fmt.Sprintf("%s:%d", f.File, f.Line)
}

// signature is a function as its language declares it.
func signature(f *trace.Function) string {
	switch f.Language {
	case trace.LangGo:
		return f.Name + "(" + declare(f.Params, " %[1]s %[2]s") + ")" + goResults(f.Results)
	case trace.LangRust:
		s := f.Name + "(" + declare(f.Params, " %[1]s: %[2]s") + ")"
		if len(f.Results) > 0 {
			s += " -> " + typeName(f.Results[0].Type)
		}
		return s
	default:
		s := f.Name + "(" + declare(f.Params, " %[2]s %[1]s") + ")"
		if len(f.Results) > 0 {
			s = typeName(f.Results[0].Type) + " " + s
		}
		return s
	}
}

// declare lists parameters, each in a form of its name and its type.
func declare(params []trace.Param, form string) string {
	parts := make([]string, len(params))
	for i, p := range params {
		parts[i] = strings.TrimSpace(fmt.Sprintf(form, p.Name, typeName(p.Type)))
	}
	return strings.Join(parts, ", ")
}

func goResults(results []trace.Param) string {
	switch len(results) {
	case 0:
		return ""
	case 1:
		return " " + typeName(results[0].Type)
	default:
		return " (" + declare(results, " %[1]s %[2]s") + ")"
	}
}

func exitText(e trace.Exit) string {
	s := e.Kind.String()
	if len(e.Sites) > 0 {
		var at []string
		for _, site := range e.Sites {
			kind := ""
			if site.Tail {
				kind = " tail jump"
			}
			at = append(at, fmt.Sprintf("%+d%s (%s)", int64(site.Offset), kind, site.Site))
		}
		const most = 6
		if len(at) > most {
			at = append(at[:most], fmt.Sprintf("and %d more", len(at)-most))
		}
		s += ": " + strings.Join(at, ", ")
	}
	if e.Reason != "" {
		s += "; " + e.Reason
	}
	return s
}

// dryRun says what attach would do, and what each call of it would cost here.
func dryRun(w io.Writer, notes *notes, opts attach.Options, command []string) error {
	var file string
	if len(command) > 0 {
		path, err := exec.LookPath(command[0])
		if err != nil {
			return fmt.Errorf("start command: %w", err)
		}
		file = path
	}
	found, unmatched, err := attach.Survey(opts, file)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return noMatch(opts, file)
	}
	notes.warnAll(saidOf(unmatched, opts))
	costs, err := attach.Calibrate(context.Background())
	if err != nil {
		return err
	}
	if err := listTable(w, found); err != nil {
		return err
	}
	var sites int
	var sum, most time.Duration
	var dearest *trace.Function
	n := 0
	for _, f := range found {
		if !f.Traceable {
			continue
		}
		n++
		sites += 1 + len(f.Exit.Sites)
		c := costs.Of(f).Told
		sum += c
		if c > most {
			most, dearest = c, f
		}
	}
	fmt.Fprintf(w, "would place %s in %s; nothing was attached\n", pluralDigits(sites, "probe"), pluralDigits(n, "function"))
	if dearest != nil {
		fmt.Fprintf(w, "a call costs its thread about %s here on average over the functions, at most %s (%s)\n",
			round(sum/time.Duration(n)), round(most), dearest.Name)
	}
	return nil
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Nanosecond) }
