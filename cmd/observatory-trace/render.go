package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// screen is where people read: a terminal, or a file that is to hold plain text.
type screen struct {
	w     io.Writer
	width int  // columns; 0: no terminal, nothing is cut
	color bool // a terminal, and the user hasn't asked for none (NO_COLOR)
}

func newScreen(w io.Writer) screen {
	s := screen{w: w}
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return s
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil || width <= 0 {
		width = 80
	}
	s.width = width
	s.color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return s
}

// paint puts text in colours where there are any.
func (s screen) paint(t string, colors ...text.Color) string {
	if !s.color || t == "" {
		return t
	}
	// Sprint asks a package-wide switch of its library, which guesses at the terminal anew.
	return text.Colors(colors).EscapeSeq() + t + text.Reset.EscapeSeq()
}

func (s screen) status(status string) string {
	switch status {
	case "ERR":
		return s.paint(status, text.FgRed)
	case "OPEN":
		return s.paint(status, text.FgYellow)
	}
	return s.paint(status, text.FgGreen)
}

// cut shortens a line to the terminal's width.
func (s screen) cut(line string) string { return s.cutTo(line, s.width) }

// cutTo shortens a line on a terminal to a width.
func (s screen) cutTo(line string, width int) string {
	if s.width == 0 || text.StringWidthWithoutEscSequences(line) <= width {
		return line
	}
	line = text.Trim(line, max(width-1, 0)) + "…"
	if s.color {
		line += text.Reset.EscapeSeq()
	}
	return line
}

// wrapMargin is before what is not a line's first part.
const wrapMargin = "  "

// unbroken stands, while lines are wrapped, for the space before what belongs to the word before: 5 %.
const unbroken = "\ue000"

// wrap breaks a text's lines between words, where they are longer than the terminal is wide.
func (s screen) wrap(lines string) string {
	if s.width <= 2*len(wrapMargin) {
		return lines
	}
	var out []string
	for _, line := range strings.Split(lines, "\n") {
		line = strings.ReplaceAll(line, " %", unbroken+"%")
		for i, part := range strings.Split(text.WrapSoft(line, s.width-len(wrapMargin)), "\n") {
			part = strings.ReplaceAll(part, unbroken, " ")
			if i > 0 {
				part = wrapMargin + part
			}
			out = append(out, strings.TrimRight(part, " "))
		}
	}
	return strings.Join(out, "\n")
}

// column is a column of a grid.
type column struct {
	title string
	right bool // numbers
	name  bool // function names: shortened from the left when there is no room
	drop  int  // when there is no room even so, the highest is left out first; 0: never
}

// grid is a table without lines, like those of ps and kubectl.
type grid struct {
	columns []column
	rows    [][]string
}

// leastName is the width of a name that columns are left out for, shortName the one that even those are that matter most, the last first.
const (
	leastName = 28
	shortName = 14
)

// write renders the grid for the screen.
func (g *grid) write(s screen) error {
	widths := g.widths()
	keep := g.fit(s.width, widths)
	tw := table.NewWriter()
	style := table.StyleDefault
	style.Box = table.BoxStyle{PaddingRight: "  "}
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format = table.FormatOptions{}
	tw.SetStyle(style)
	var header table.Row
	var configs []table.ColumnConfig
	for n, i := range keep {
		c := g.columns[i]
		config := table.ColumnConfig{Number: n + 1}
		if c.right {
			config.Align, config.AlignHeader = text.AlignRight, text.AlignRight
		}
		if c.name && s.width > 0 {
			config.WidthMax, config.WidthMaxEnforcer = max(s.width-g.rest(keep, widths), shortName), cutLeft
		}
		configs = append(configs, config)
		header = append(header, s.paint(c.title, text.Bold))
	}
	tw.SetColumnConfigs(configs)
	tw.AppendHeader(header)
	for _, row := range g.rows {
		var cells table.Row
		for _, i := range keep {
			cells = append(cells, row[i])
		}
		tw.AppendRow(cells)
	}
	return writeLines(s.w, tw.Render())
}

func (g *grid) widths() []int {
	widths := make([]int, len(g.columns))
	for i, c := range g.columns {
		widths[i] = text.StringWidth(c.title)
		for _, row := range g.rows {
			widths[i] = max(widths[i], text.StringWidthWithoutEscSequences(row[i]))
		}
	}
	return widths
}

// width is what the whole grid takes.
func (g *grid) width() int {
	width := 2*len(g.columns) - 2
	for _, w := range g.widths() {
		width += w
	}
	return width
}

// fit gives the columns that there is room for.
func (g *grid) fit(width int, widths []int) []int {
	var keep []int
	for i := range g.columns {
		keep = append(keep, i)
	}
	for width > 0 && width-g.rest(keep, widths) < g.least(widths) {
		last := -1
		for n, i := range keep {
			if g.columns[i].drop > 0 && (last < 0 || g.columns[i].drop > g.columns[keep[last]].drop) {
				last = n
			}
		}
		if last < 0 && (len(keep) == 1 || width-g.rest(keep, widths) >= min(shortName, g.least(widths))) {
			break
		}
		if last < 0 {
			last = len(keep) - 1
		}
		keep = append(keep[:last], keep[last+1:]...)
	}
	return keep
}

// rest is what the columns take beside the name.
func (g *grid) rest(keep, widths []int) (width int) {
	for _, i := range keep {
		width += 2
		if !g.columns[i].name {
			width += widths[i]
		}
	}
	return width - 2 // the last has nothing to its right
}

func (g *grid) least(widths []int) int {
	for i, c := range g.columns {
		if c.name {
			return min(widths[i], leastName)
		}
	}
	return 0
}

// cutLeft keeps the end of a name, which says more than the path before it.
func cutLeft(name string, width int) string {
	runes := []rune(name)
	if text.StringWidthWithoutEscSequences(name) <= width || len(runes) <= width {
		return name
	}
	return "…" + string(runes[len(runes)-width+1:])
}

// writeLines writes text without what is blank at the ends of its lines.
func writeLines(w io.Writer, lines string) error {
	out := bufio.NewWriter(w)
	for line := range strings.Lines(lines) {
		fmt.Fprint(out, strings.TrimRight(line, " \n"))
		fmt.Fprintln(out)
	}
	return out.Flush()
}

// formatMS shows milliseconds with three digits, in the unit that suits them.
func formatMS(ms float64) string {
	d := time.Duration(ms * 1e6)
	switch {
	case d < 0:
		return "-" + formatMS(-ms)
	case d < time.Microsecond:
		return strconv.FormatInt(int64(d), 10) + "ns"
	case ms < 0.9995:
		return threeDigits(ms*1e3) + "µs"
	case ms < 999.5:
		return threeDigits(ms) + "ms"
	case d < 10*time.Minute:
		return threeDigits(ms/1e3) + "s"
	}
	return d.Round(time.Second).String()
}

func threeDigits(v float64) string {
	switch {
	case v < 9.995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case v < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

// formatOptionalMS shows what was not measured as a dash.
func formatOptionalMS(ms *float64) string {
	if ms == nil {
		return "–"
	}
	return formatMS(*ms)
}

// formatCount groups a number's digits by thousands.
func formatCount(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// plural gives a counted noun.
func plural(n uint64, noun string) string { return formatCount(n) + " " + nounOf(n, noun) }

// pluralDigits is plural for lines that scripts read: its number is digits alone.
func pluralDigits[N int | uint64](n N, noun string) string {
	return fmt.Sprintf("%d %s", n, nounOf(uint64(n), noun))
}

// nounOf gives a noun that so many are counted of.
func nounOf(n uint64, noun string) string {
	switch {
	case n == 1:
		return noun
	case strings.HasSuffix(noun, "ch"), strings.HasSuffix(noun, "ss"):
		return noun + "es"
	}
	return noun + "s"
}

// printable keeps a traced program's text from steering the terminal.
func printable(s string) string {
	clean := func(r rune) rune {
		if r == '\n' || r == '\t' || strconv.IsPrint(r) {
			return r
		}
		return '�'
	}
	return strings.Map(clean, s)
}

// oneLine is printable text without line ends.
func oneLine(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(printable(s), "\n", " "), "\t", " ")
}

// formatArgs shows an args object as a call's parentheses.
func formatArgs(args json.RawMessage) string {
	if len(args) == 0 {
		return "()"
	}
	dec := json.NewDecoder(strings.NewReader(string(args)))
	if first, err := dec.Token(); err != nil || first != json.Delim('{') {
		return "(" + oneLine(string(args)) + ")"
	}
	var b strings.Builder
	for dec.More() {
		name, err := dec.Token()
		var value json.RawMessage
		if err == nil {
			err = dec.Decode(&value)
		}
		if err != nil {
			return "(" + oneLine(string(args)) + ")"
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%v: %s", name, value)
	}
	return "(" + oneLine(b.String()) + ")"
}

// writeJSON prints a value, indented.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}
