package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/observatory-trace/observatory-trace/query"
)

func newErrorsCommand() *cobra.Command {
	var f readFlags
	var count int
	cmd := &cobra.Command{
		Use:   "errors",
		Short: "Show the latest errors with their arguments and stacks",
		Example: `  observatory-trace errors
  observatory-trace errors -n 100 --since 1h --process 'main.*' -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if count < 1 {
				return usageError{fmt.Errorf("--count %d: give a number of errors", count)}
			}
			defer f.sayWaiting(cmd.ErrOrStderr())
			return f.withDatabase(func(db *query.Database) error {
				calls, err := db.Errors(cmd.Context(), f.selection(), count)
				if err != nil {
					return err
				}
				if f.output == "json" {
					return writeJSON(cmd.OutOrStdout(), append([]query.Call{}, calls...))
				}
				return writeErrors(newScreen(cmd.OutOrStdout()), calls)
			})
		},
	}
	f.register(cmd, "table", "json")
	f.registerRange(cmd)
	cmd.Flags().IntVarP(&count, "count", "n", 10, "how many errors to show, the latest first")
	return cmd
}

// writeErrors prints a block for every error.
func writeErrors(s screen, calls []query.Call) error {
	out := bufio.NewWriter(s.w)
	if len(calls) == 0 {
		fmt.Fprint(out, "no errors were recorded\n")
	}
	for i := range calls {
		if i > 0 {
			fmt.Fprintln(out)
		}
		writeError(out, s, &calls[i])
	}
	return out.Flush()
}

func writeError(out *bufio.Writer, s screen, c *query.Call) {
	fmt.Fprintf(out, "%s  %s  %s\n", s.paint(c.TS, text.Faint), s.paint(oneLine(c.Process), text.Bold), formatMS(c.DurationMS))
	fmt.Fprintf(out, "  %s\n", s.paint(indent(printable(errorText(c)), "  "), text.FgRed))
	fmt.Fprintf(out, "  call %d, pid %d%s\n", c.ID, c.PID, where(c))
	if len(c.Args) > 0 {
		fmt.Fprintf(out, "  %s\n", s.cut(formatArgs(c.Args)))
	}
	writeStack(out, s, c.Stack, "    ")
}

// where names the goroutine, or the thread where there is none.
func where(c *query.Call) string {
	switch {
	case c.Goroutine != 0:
		return fmt.Sprintf(", goroutine %d", c.Goroutine)
	case c.Thread != "":
		return fmt.Sprintf(", thread %d (%s)", c.TID, oneLine(c.Thread))
	case c.TID != 0:
		return fmt.Sprintf(", thread %d", c.TID)
	}
	return ""
}

// writeStack prints a frame a line, its place faint. Where there is no room, the
// function's name is shortened: the place is what one looks for.
func writeStack(out *bufio.Writer, s screen, stack, margin string) {
	for frame := range strings.Lines(stack) {
		frame = oneLine(strings.TrimRight(frame, "\n"))
		if function, place, ok := cutLast(frame, " "); ok && !strings.HasPrefix(frame, "(") {
			if s.width > 0 {
				function = cutLeft(function, max(s.width-len(margin)-2-text.StringWidth(place), leastName))
			}
			frame = function + "  " + s.paint(place, text.Faint)
		}
		fmt.Fprintf(out, "%s%s\n", margin, s.cutTo(frame, s.width-len(margin)))
	}
}

// cutLast splits at the last separator: C++ names have spaces of their own.
func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}

// indent puts a margin before every line but the first.
func indent(s, margin string) string {
	return strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n"+margin)
}
