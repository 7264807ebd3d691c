package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/observatory-trace/observatory-trace/query"
	"github.com/observatory-trace/observatory-trace/writer"
)

// readFlags are the flags that the commands that read a database share.
type readFlags struct {
	db      string
	since   time.Duration
	process string
	output  string
}

func (f *readFlags) register(cmd *cobra.Command, forms ...string) {
	fl := cmd.Flags()
	fl.StringVar(&f.db, "db", defaultDB, "read this database")
	fl.StringVarP(&f.output, "output", "o", forms[0], "one of "+strings.Join(forms, ", "))
	check := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(forms, f.output) {
			return usageError{fmt.Errorf("--output %q: one of %s", f.output, strings.Join(forms, ", "))}
		}
		if f.since < 0 {
			return usageError{fmt.Errorf("--since %s: give how long ago, for instance 10m", f.since)}
		}
		if check != nil {
			return check(cmd, args)
		}
		return nil
	}
}

// registerRange adds the flags that select what is read.
func (f *readFlags) registerRange(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.DurationVar(&f.since, "since", 0, "only what began in the last such time, for instance 10m (default: all)")
	fl.StringVar(&f.process, "process", "", "only functions whose name matches this glob (* ? [a-z] {a,b})")
}

func (f *readFlags) selection() query.Range {
	r := query.Range{Process: f.process}
	if f.since > 0 {
		r.Since = time.Now().Add(-f.since)
	}
	return r
}

// withDatabase opens the database for the time of a function.
func (f *readFlags) withDatabase(read func(*query.Database) error) (err error) {
	db, err := query.Open(f.db)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return read(db)
}

// sayWaiting tells, a line for each file, what has yet to come into the database, and so is not among what was shown of it.
func (f *readFlags) sayWaiting(w io.Writer) {
	notes := notes{w: w}
	for _, p := range writer.Waiting(f.db) {
		way := "the next attach or retain with this --db brings them in"
		if p.Live {
			way = fmt.Sprintf("process %d, which records into it, brings them in when it can", p.PID)
		}
		notes.warn(fmt.Errorf("%s (%s) not yet in the database, and not shown: in %s; %s", plural(p.Records, "record"), plural(p.Errors, "error"), p.Path, way))
	}
}

func newReportCommand() *cobra.Command {
	var f readFlags
	var by string
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Summarize what was recorded, a row for every function",
		Long: `Summarize what was recorded, a row for every function. Calls, errors and percentiles
are exact: they count also the calls that were left out (by --sample, a budget, --filter,
--min-duration or --stats-only) or dropped. Where a budget had probes taken out for a
time, they are of the time that they were in place, and calls are estimated beside.`,
		Example: `  observatory-trace report
  observatory-trace report --since 10m --sort p99
  observatory-trace report -o json | jq '.[] | select(.errors > 0)'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			order, err := parseSort(by)
			if err != nil {
				return err
			}
			defer f.sayWaiting(cmd.ErrOrStderr())
			return f.withDatabase(func(db *query.Database) error {
				return f.report(cmd.Context(), cmd.OutOrStdout(), db, order)
			})
		},
	}
	f.register(cmd, "table", "json")
	f.registerRange(cmd)
	cmd.Flags().StringVar(&by, "sort", string(query.SortTotal), "order by one of "+sortNames())
	return cmd
}

func parseSort(name string) (query.Sort, error) {
	if !slices.Contains(query.Sorts, query.Sort(name)) {
		return "", usageError{fmt.Errorf("--sort %q: one of %s", name, sortNames())}
	}
	return query.Sort(name), nil
}

func sortNames() string {
	names := make([]string, len(query.Sorts))
	for i, s := range query.Sorts {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

// noArgs refuses arguments as a usage error.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument, got %q", cmd.Name(), args[0])}
	}
	return nil
}

func (f *readFlags) report(ctx context.Context, out io.Writer, db *query.Database, by query.Sort) error {
	summaries, err := db.Summaries(ctx, f.selection())
	if err != nil {
		return err
	}
	query.SortSummaries(summaries, by)
	if f.output == "json" {
		return writeJSON(out, summaries)
	}
	return writeReport(newScreen(out), db, f.selection(), summaries, 0)
}

// reportOf prints the report of a range of a database, ordered; with rates, of one that lasts until now.
func reportOf(s screen, path string, r query.Range, by query.Sort, rates bool) error {
	f := readFlags{db: path}
	return f.withDatabase(func(db *query.Database) error {
		summaries, err := db.Summaries(context.Background(), r)
		if err != nil {
			return err
		}
		traced := time.Duration(0)
		if rates {
			if traced, err = db.Traced(context.Background(), r, time.Now()); err != nil {
				return err
			}
		}
		query.SortSummaries(summaries, by)
		return writeReport(s, db, r, summaries, traced)
	})
}

// writeReport prints the table, its sum, and what is missing and how to have it. Given the time in which the calls
// were counted, it tells how many there were a second.
func writeReport(s screen, db *query.Database, r query.Range, summaries []query.Summary, traced time.Duration) error {
	ahead, err := uncounted(db, r)
	if err != nil {
		return err
	}
	missing, err := db.Missing(context.Background(), r)
	if err != nil {
		return err
	}
	notes := make([]string, 0, len(missing)+len(ahead))
	for _, m := range missing {
		line := fmt.Sprintf("missing: %s: %s", formatCount(m.Count), oneLine(m.Reason))
		if m.Hint != "" {
			line += ": " + oneLine(m.Hint)
		}
		notes = append(notes, line)
	}
	notes = append(notes, ahead...)
	if len(summaries) == 0 {
		if len(ahead) == 0 {
			notes = []string{noCalls}
		}
		_, err := fmt.Fprintln(s.w, s.wrap(strings.Join(notes, "\n")))
		return err
	}
	steps, err := db.Steps(context.Background(), r)
	if err != nil {
		return err
	}
	if err := reportGrid(s, summaries, traced).write(s); err != nil {
		return err
	}
	var calls, failed, left, dropped uint64
	all, about := 0.0, "about"
	for i := range summaries {
		if leastOnly(&summaries[i]) {
			about = "at least"
		}
		calls += summaries[i].Calls
		all += float64(summaries[i].Calls) / summaries[i].Coverage
		failed += summaries[i].Errors
		left += summaries[i].SampledOut
		dropped += summaries[i].Dropped
	}
	line := fmt.Sprintf("\n%s, %s, %s", plural(uint64(len(summaries)), "function"), plural(calls, "call"), plural(failed, "error"))
	if uint64(all) > calls {
		line = fmt.Sprintf("\n%s, %s counted of %s %s, %s", plural(uint64(len(summaries)), "function"), plural(calls, "call"), about, formatCount(uint64(all)), plural(failed, "error"))
	}
	switch {
	case onlyCounted(summaries):
		line += ", none of them recorded"
	case left > 0:
		line += fmt.Sprintf(", %s left out", formatCount(left))
	}
	if dropped > 0 {
		line += ", " + s.paint(formatCount(dropped)+" dropped", text.FgYellow)
	}
	for _, note := range notes {
		line += "\n" + note
	}
	if slices.ContainsFunc(summaries, func(r query.Summary) bool { return r.Coverage < 1 }) {
		line += "\nprobes of some functions were in place for a part of the time: their figures are of the calls that were counted then; ALL, ABOUT estimates how many there were"
		if about == "at least" {
			line += "; at least: the probes took so much of the time that nobody can tell more"
		}
	}
	if steps > 0 {
		line += fmt.Sprintf("\n%s in how functions are traced, to stay within the budgets: SELECT ts, process, reason FROM gaps WHERE count = 0", plural(steps, "change"))
	}
	_, err = fmt.Fprintln(s.w, s.wrap(line))
	return err
}

// noCalls is the report of nothing.
const noCalls = "no calls were recorded"

// uncounted says, a line each, which sessions have calls that the report doesn't count.
func uncounted(db *query.Database, r query.Range) (lines []string, err error) {
	sessions, err := db.Uncounted(context.Background(), r, writer.Running)
	for _, u := range sessions {
		lines = append(lines, fmt.Sprintf("%s of session %d are recorded and not counted here: it was killed, or could not write the database in the end; the next attach or retain with this --db counts them",
			plural(u.Calls, "call"), u.Session))
	}
	return lines, err
}

// formatEstimate tells how many calls there were of which not all were counted.
func formatEstimate(r *query.Summary) string {
	if r.Coverage == 1 || r.Calls == 0 {
		return formatCount(r.Calls)
	}
	all := float64(r.Calls) / r.Coverage
	if leastOnly(r) {
		return "at least " + formatCount(uint64(all))
	}
	return fmt.Sprintf("%s ±%.0f%%", formatCount(uint64(all)), max(1, 100*r.CallsError/all))
}

// leastOnly says that a function's number of calls is only the least that it may be: see sample.AtLeast.
func leastOnly(r *query.Summary) bool {
	const most = 3 // how far off, relative, an estimate may be that is more than that
	return r.CallsError > most*float64(r.Calls)/r.Coverage
}

// onlyCounted says that all calls were left out, as --stats-only has it.
func onlyCounted(summaries []query.Summary) bool {
	return !slices.ContainsFunc(summaries, func(r query.Summary) bool { return r.SampledOut < r.Calls })
}

// formatRate tells how many calls there were a second, about, where not all were counted.
func formatRate(r *query.Summary, traced time.Duration) string {
	rate, about := float64(r.Calls)/r.Coverage/traced.Seconds(), ""
	switch {
	case leastOnly(r):
		about = ">"
	case r.Coverage < 1:
		about = "~"
	}
	if rate < 99.95 {
		return about + threeDigits(rate)
	}
	return about + formatCount(uint64(math.Round(rate)))
}

// reportGrid leaves out the columns that say nothing.
func reportGrid(s screen, summaries []query.Summary, traced time.Duration) *grid {
	type field struct {
		column
		empty func(*query.Summary) bool // nil: always shown
		show  func(*query.Summary) string
	}
	count := func(of func(*query.Summary) uint64, colors ...text.Color) func(*query.Summary) string {
		return func(r *query.Summary) string {
			n := of(r)
			if n == 0 || len(colors) == 0 {
				return formatCount(n)
			}
			return s.paint(formatCount(n), colors...)
		}
	}
	optional := func(of func(*query.Summary) *float64) func(*query.Summary) string {
		return func(r *query.Summary) string { return formatOptionalMS(of(r)) }
	}
	fields := []field{
		{column{title: "PROCESS", name: true}, nil, func(r *query.Summary) string { return oneLine(r.Process) }},
		{column{title: "GROUP", drop: 3}, func(r *query.Summary) bool { return r.Group == "" }, func(r *query.Summary) string { return oneLine(r.Group) }},
		{column{title: "CALLS", right: true}, nil, count(func(r *query.Summary) uint64 { return r.Calls })},
		{column{title: "CALLS/S", right: true}, func(*query.Summary) bool { return traced == 0 }, func(r *query.Summary) string { return formatRate(r, traced) }},
		{column{title: "ALL, ABOUT", right: true}, func(r *query.Summary) bool { return r.Coverage == 1 }, formatEstimate},
		{column{title: "ERRORS", right: true}, nil, count(func(r *query.Summary) uint64 { return r.Errors }, text.FgRed)},
		{column{title: "LEFT OUT", right: true, drop: 7}, func(r *query.Summary) bool { return r.SampledOut == 0 || onlyCounted(summaries) }, count(func(r *query.Summary) uint64 { return r.SampledOut })},
		{column{title: "DROPPED", right: true, drop: 1}, func(r *query.Summary) bool { return r.Dropped == 0 }, count(func(r *query.Summary) uint64 { return r.Dropped }, text.FgYellow)},
		{column{title: "MEAN", right: true, drop: 2}, nil, optional(func(r *query.Summary) *float64 { return r.MeanMS })},
		{column{title: "P50", right: true, drop: 4}, nil, optional(func(r *query.Summary) *float64 { return r.P50MS })},
		{column{title: "P95", right: true, drop: 6}, nil, optional(func(r *query.Summary) *float64 { return r.P95MS })},
		{column{title: "P99", right: true, drop: 1}, nil, optional(func(r *query.Summary) *float64 { return r.P99MS })},
		{column{title: "MAX", right: true, drop: 5}, nil, optional(func(r *query.Summary) *float64 { return r.MaxMS })},
		{column{title: "CPU", right: true, drop: 8}, func(r *query.Summary) bool { return r.CPUMS == nil }, optional(func(r *query.Summary) *float64 { return r.CPUMS })},
		{column{title: "TOTAL", right: true}, nil, func(r *query.Summary) string { return formatMS(r.TotalMS) }},
		{column{title: "OVERHEAD", right: true, drop: 9}, func(r *query.Summary) bool { return r.OverheadMS == 0 }, func(r *query.Summary) string { return formatMS(r.OverheadMS) }},
	}
	fields = slices.DeleteFunc(fields, func(f field) bool {
		return f.empty != nil && !slices.ContainsFunc(summaries, func(r query.Summary) bool { return !f.empty(&r) })
	})
	g := &grid{}
	for _, f := range fields {
		g.columns = append(g.columns, f.column)
	}
	for i := range summaries {
		row := make([]string, len(fields))
		for n, f := range fields {
			row[n] = f.show(&summaries[i])
		}
		g.rows = append(g.rows, row)
	}
	return g
}
