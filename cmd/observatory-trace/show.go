package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/observatory-trace/observatory-trace/query"
)

func newShowCommand() *cobra.Command {
	var f readFlags
	var limit int
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one call: its values, its callers and what it called",
		Example: `  observatory-trace show 1234
  observatory-trace show 1234 -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("show takes the id of one call, got %d arguments", len(args))}
			}
			id, err := strconv.ParseUint(strings.TrimPrefix(args[0], "#"), 10, 63)
			if err != nil {
				return usageError{fmt.Errorf("%q is not the id of a call: ids are numbers, as tail -o json, errors and process_trace show them", args[0])}
			}
			if limit < 0 {
				return usageError{fmt.Errorf("--limit %d: give a number of calls, or 0", limit)}
			}
			return f.withDatabase(func(db *query.Database) error {
				tree, err := db.Tree(cmd.Context(), id, limit)
				if errors.Is(err, query.ErrNoCall) {
					return nothingMatchedError{err}
				}
				if err != nil {
					return err
				}
				if f.output == "json" {
					return writeJSON(cmd.OutOrStdout(), showJSON(tree))
				}
				return writeCall(newScreen(cmd.OutOrStdout()), tree)
			})
		},
	}
	f.register(cmd, "table", "json")
	cmd.Flags().IntVar(&limit, "limit", 200, "how many of the calls within it to show")
	return cmd
}

// nodeJSON is a call with what it called.
type nodeJSON struct {
	query.Call
	Callees []nodeJSON `json:"callees"`
}

// shownJSON is show's JSON.
type shownJSON struct {
	nodeJSON
	Callers       []query.Call `json:"callers"`                  // the outermost first
	UnknownCaller uint64       `json:"unknown_caller,omitempty"` // not recorded: the id of who called the outermost
	Cut           bool         `json:"cut"`                      // there are more callees
}

func showJSON(t *query.Tree) shownJSON {
	return shownJSON{nodeJSON: nodeOf(t.Node), Callers: append([]query.Call{}, t.Callers...), UnknownCaller: t.Unknown, Cut: t.Cut}
}

func nodeOf(n *query.Node) nodeJSON {
	node := nodeJSON{Call: n.Call, Callees: []nodeJSON{}}
	for _, c := range n.Callees {
		node.Callees = append(node.Callees, nodeOf(c))
	}
	return node
}

// writeCall prints a call in full, then the tree that it is in.
func writeCall(s screen, t *query.Tree) error {
	out := bufio.NewWriter(s.w)
	c := &t.Node.Call
	fmt.Fprintf(out, "%s  %s  %s\n", s.paint(oneLine(c.Process), text.Bold), s.status(c.Status), formatMS(c.DurationMS))
	for _, f := range callFacts(c) {
		fmt.Fprintf(out, "  %s  %s\n", s.paint(fmt.Sprintf("%-9s", f[0]), text.Faint), f[1])
	}
	writeValue(out, s, "arguments", c.Args)
	writeValue(out, s, "result", c.Result)
	if c.Status == "ERR" {
		fmt.Fprintf(out, "\n%s\n  %s\n", s.paint("error", text.Bold), s.paint(indent(printable(errorText(c)), "  "), text.FgRed))
		writeStack(out, s, c.Stack, "    ")
	}
	fmt.Fprintf(out, "\n%s\n", s.paint("calls", text.Bold))
	writeTree(out, s, t)
	return out.Flush()
}

// callFacts lists what is known of a call, without what is not.
func callFacts(c *query.Call) (facts [][2]string) {
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, [2]string{name, oneLine(value)})
		}
	}
	add("call", strconv.FormatUint(c.ID, 10))
	add("started", c.TS+" UTC")
	if c.File != "" {
		add("declared", c.File+":"+strconv.Itoa(c.Line))
	}
	if c.PID != 0 {
		add("process", strings.TrimSpace(fmt.Sprintf("%d %s", c.PID, c.Exe))+where(c))
	}
	if c.Module != c.Exe {
		add("module", c.Module)
	}
	add("group", c.Group)
	add("pod", strings.TrimPrefix(c.Namespace+"/"+c.Pod, "/"))
	add("container", c.Container)
	add("resources", resources(c))
	if c.OverheadMS > 0 {
		add("tracing", fmt.Sprintf("about %s of the duration", formatMS(c.OverheadMS)))
	}
	if c.SampleRate < 1 {
		add("sampled", fmt.Sprintf("one of about %.3g", 1/c.SampleRate))
	}
	add("values", strings.ReplaceAll(c.Flags, ",", ", "))
	if c.TraceID != "" {
		add("trace", c.TraceID+", span "+c.SpanID)
	}
	return facts
}

func resources(c *query.Call) string {
	var parts []string
	if c.CPUMS != nil {
		parts = append(parts, "CPU "+formatMS(*c.CPUMS))
	}
	count := func(n *int64, noun string) {
		if n != nil && *n > 0 {
			parts = append(parts, plural(uint64(*n), noun))
		}
	}
	count(c.MinorFaults, "minor fault")
	count(c.MajorFaults, "major fault")
	count(c.Switches, "context switch")
	if c.RSSDeltaKB != nil && *c.RSSDeltaKB != 0 {
		parts = append(parts, fmt.Sprintf("memory %+d KiB", *c.RSSDeltaKB))
	}
	return strings.Join(parts, ", ")
}

func writeValue(out *bufio.Writer, s screen, title string, value json.RawMessage) {
	if len(value) == 0 {
		return
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, value, "  ", "  "); err != nil {
		pretty.Reset()
		pretty.Write(value)
	}
	fmt.Fprintf(out, "\n%s\n  %s\n", s.paint(title, text.Bold), printable(pretty.String()))
}

// writeTree prints a line for every call, what is as wide in all of them first.
func writeTree(out *bufio.Writer, s screen, t *query.Tree) {
	margin, first := "", ""
	if t.Unknown != 0 {
		fmt.Fprintf(out, "  %s\n", s.paint(fmt.Sprintf("%8s        (call %d is not recorded)", "", t.Unknown), text.Faint))
		first = "└─ "
	}
	line := func(c *query.Call, branch string) {
		fmt.Fprintf(out, "  %s\n", strings.TrimRight(treeLine(s, c, branch, c == &t.Node.Call), " "))
	}
	// The callers are a line, each the only callee shown of the one before.
	only := func(c *query.Call) {
		line(c, margin+first)
		margin += strings.Repeat(" ", text.StringWidth(first))
		first = "└─ "
	}
	for i := range t.Callers {
		only(&t.Callers[i])
	}
	only(&t.Node.Call)
	var below func(n *query.Node, margin string)
	below = func(n *query.Node, margin string) {
		for i, c := range n.Callees {
			turn, rest := "├─ ", "│  "
			if i == len(n.Callees)-1 {
				turn, rest = "└─ ", "   "
			}
			line(&c.Call, margin+turn)
			below(c, margin+rest)
		}
	}
	below(t.Node, margin)
	if t.Cut {
		fmt.Fprintln(out, "  … and more calls, deeper down: raise --limit")
	}
}

func treeLine(s screen, c *query.Call, branch string, here bool) string {
	name := oneLine(c.Process)
	if s.width > 0 {
		name = cutLeft(name, max(s.width-text.StringWidth(branch)-30, leastName))
	}
	if here {
		name = s.paint(name, text.Bold)
	}
	line := fmt.Sprintf("%8s  %s%s  %s  %s%s", formatMS(c.DurationMS), s.status(c.Status), strings.Repeat(" ", max(4-len(c.Status), 0)),
		s.paint(fmt.Sprintf("%-8d", c.ID), text.Faint), s.paint(branch, text.Faint), name)
	if c.Status == "ERR" {
		line += "  " + s.paint(oneLine(errorText(c)), text.FgRed)
	}
	return s.cutTo(line, s.width-2)
}
