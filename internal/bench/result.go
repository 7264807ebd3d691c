package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// Result is what a part has found.
type Result struct {
	Part    string   `json:"part"`
	About   string   `json:"about"`
	Date    string   `json:"date"` // of the measurement, UTC
	Command string   `json:"command"`
	Took    string   `json:"took"`
	Rounds  int      `json:"rounds"`
	Machine Machine  `json:"machine"`
	Tables  []*Table `json:"tables"`
}

// Table is figures that were measured beside one another.
type Table struct {
	Title   string   `json:"title"`
	About   string   `json:"about,omitempty"` // one or more sentences
	First   string   `json:"first"`           // what the rows are
	Columns []string `json:"columns"`         // with their units
	Rows    []*Row   `json:"rows"`
}

// Row is one way of doing something.
type Row struct {
	Name    string   `json:"name"`
	Command string   `json:"command,omitempty"`
	Notes   []string `json:"notes,omitempty"` // what has to be known of it
	Cells   []Cell   `json:"cells"`
}

// Cell is a figure: the median of what was measured, and the least and the most where there
// was more than one.
type Cell struct {
	Value   float64 `json:"value"`
	Low     float64 `json:"low"`
	High    float64 `json:"high"`
	Missing bool    `json:"missing,omitempty"`
}

var missing = Cell{Missing: true}

// figure is the cell of measurements; none is missing.
func figure(v []float64) Cell {
	if len(v) == 0 {
		return missing
	}
	return Cell{Value: median(v), Low: slices.Min(v), High: slices.Max(v)}
}

func single(v float64) Cell { return Cell{Value: v, Low: v, High: v} }

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// String is the median, and in parentheses the least and the most where they differ visibly.
func (c Cell) String() string {
	if c.Missing {
		return "–"
	}
	low, high := digits(c.Low), digits(c.High)
	if low == high {
		return digits(c.Value)
	}
	return fmt.Sprintf("%s (%s to %s)", digits(c.Value), low, high)
}

// digits gives three of them, and thousands their commas.
func digits(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1000:
		return count(v)
	case a >= 99.95 || v == 0:
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.0995:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

func count(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func (r *Result) printText(out io.Writer) error {
	fmt.Fprintf(out, "%s (%s; %d rounds; %s)\n%s\n\n", r.About, r.Command, r.Rounds, r.Took, r.Machine.line())
	for _, t := range r.Tables {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "%s\n%s\t%s\n", t.Title, t.First, strings.Join(t.Columns, "\t"))
		for _, row := range t.Rows {
			fmt.Fprint(w, t.noted(row))
			for _, c := range row.Cells {
				fmt.Fprintf(w, "\t%s", c)
			}
			fmt.Fprintln(w)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		for i, note := range t.notes() {
			fmt.Fprintf(out, "[%d] %s\n", i+1, note)
		}
		fmt.Fprintln(out)
	}
	return nil
}

func (r *Result) write(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// writeDocument makes the document of all figures that lie in the folder.
func writeDocument(results, document string) error {
	files, err := filepath.Glob(filepath.Join(results, "*.json"))
	if err != nil {
		return err
	}
	var all []*Result
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		r := &Result{}
		if err := json.Unmarshal(raw, r); err != nil {
			return fmt.Errorf("read figures %s: %w", name, err)
		}
		all = append(all, r)
	}
	order := func(r *Result) int { return slices.IndexFunc(parts, func(p part) bool { return p.name == r.Part }) }
	slices.SortStableFunc(all, func(a, b *Result) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(len(a.Command), len(b.Command)), cmp.Compare(a.Command, b.Command))
	})
	var b strings.Builder
	b.WriteString(preface)
	for _, r := range all {
		r.markdown(&b)
	}
	return os.WriteFile(document, []byte(b.String()), 0o644)
}

const preface = `# Benchmarks

Made by ` + "`make bench`" + ` from the figures in [benchmarks/](benchmarks), not by hand; ` + "`make bench WHAT=cost`" + ` measures one part anew, ` + "`make bench-query CALLS=50000000`" + `
a large database. What is compared took turns in one run. A figure is the median of the rounds, with the least and the most in parentheses. Times are of one machine: compare ratios.
A dash: it was not measured, or can't be; the note below the table says why.
`

func (r *Result) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n`%s`, %s, %d rounds, %s.\n%s.\n", r.About, r.Command, r.Date, r.Rounds, r.Took, r.Machine.line())
	for _, t := range r.Tables {
		fmt.Fprintf(b, "\n### %s\n\n", t.Title)
		if t.About != "" {
			fmt.Fprintf(b, "%s\n\n", t.About)
		}
		fmt.Fprintf(b, "| %s | %s |\n|---|%s\n", t.First, strings.Join(t.Columns, " | "), strings.Repeat("---|", len(t.Columns)))
		for _, row := range t.Rows {
			fmt.Fprintf(b, "| %s |", t.noted(row))
			for _, c := range row.Cells {
				fmt.Fprintf(b, " %s |", c)
			}
			b.WriteString("\n")
		}
		for i, note := range t.notes() {
			fmt.Fprintf(b, "\n[%d] %s\n", i+1, note)
		}
		t.commands(b)
	}
}

// notes are those of all rows, each once.
func (t *Table) notes() (all []string) {
	for _, row := range t.Rows {
		for _, note := range row.Notes {
			if !slices.Contains(all, note) {
				all = append(all, note)
			}
		}
	}
	return all
}

// noted is a row's name with the numbers of its notes.
func (t *Table) noted(row *Row) string {
	name, all := row.Name, t.notes()
	for _, note := range row.Notes {
		name += fmt.Sprintf(" [%d]", slices.Index(all, note)+1)
	}
	return name
}

// commands lists what was run, each once.
func (t *Table) commands(b *strings.Builder) {
	said := map[string]bool{}
	for _, row := range t.Rows {
		if row.Command == "" || said[row.Command] {
			continue
		}
		if len(said) == 0 {
			b.WriteString("\nThe commands:\n\n")
		}
		said[row.Command] = true
		fmt.Fprintf(b, "- %s: `%s`\n", row.Name, row.Command)
	}
}
