package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/observatory-trace/observatory-trace/query"
)

func newQueryCommand() *cobra.Command {
	var f readFlags
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "query SQL",
		Short: "Run an SQL query over what was recorded",
		Long: `Run an SQL query over what was recorded. Only statements that read are run.

The views: process_trace (a row for every call), data_trace (its arguments, result and
stack, by the same id), function_stats (exact counts and percentiles per second), gaps
and sessions. Times (ts) are UTC text and compare with datetime('now', '-1 hour').`,
		Example: `  observatory-trace query "SELECT process, AVG(duration_ms) AS avg_ms, COUNT(*) AS calls FROM process_trace
    WHERE ts > datetime('now','-1 hour') GROUP BY process ORDER BY avg_ms DESC"
  observatory-trace query -o csv "SELECT ts, json_extract(args, '$.order_id') AS order_id FROM data_trace LIMIT 10"`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("query takes one statement, quoted, got %d arguments", len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			return f.withDatabase(func(db *query.Database) error {
				return runQuery(ctx, cmd.OutOrStdout(), db, args[0], f.output)
			})
		},
	}
	f.register(cmd, "table", "csv", "json")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "stop after this time; 0: never. A query that runs on keeps the database's log from being shortened")
	return cmd
}

// rowWriter prints the rows of a query's result.
type rowWriter interface {
	row(values []any) error
	end() error
}

func runQuery(ctx context.Context, out io.Writer, db *query.Database, statement, form string) (err error) {
	rows, err := db.SQL(ctx, statement)
	if err != nil {
		return err
	}
	defer func() {
		if closing := rows.Close(); err == nil {
			err = closing
		}
	}()
	w := newRowWriter(out, rows.Columns, form)
	for {
		values, err := rows.Next(ctx)
		if err != nil {
			return err
		}
		if values == nil {
			return w.end()
		}
		if err := w.row(values); err != nil {
			return fmt.Errorf("print row: %w", err)
		}
	}
}

func newRowWriter(out io.Writer, columns []string, form string) rowWriter {
	switch form {
	case "csv":
		return newCSVRows(out, columns)
	case "json":
		return &jsonRows{w: bufio.NewWriter(out), names: jsonNames(columns)}
	}
	return &tableRows{s: newScreen(out), columns: columns}
}

// tableRows collects rows: a column is as wide as its widest value.
type tableRows struct {
	s       screen
	columns []string
	rows    [][]any
}

func (t *tableRows) row(values []any) error {
	t.rows = append(t.rows, append([]any(nil), values...))
	return nil
}

func (t *tableRows) end() error {
	if len(t.columns) == 0 {
		return nil
	}
	if t.s.width == 0 {
		return t.grid(0).write(t.s)
	}
	if err := t.writeTerminal(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(t.s.w, "\n%s\n", plural(uint64(len(t.rows)), "row"))
	return err
}

// cellWidths are what values are cut to, one after the other, for a table to fit the terminal.
var cellWidths = []int{60, 40, 28}

func (t *tableRows) writeTerminal() error {
	for _, width := range cellWidths {
		if g := t.grid(width); g.width() <= t.s.width {
			return g.write(t.s)
		}
	}
	return t.records(t.s)
}

// grid is the table with its values cut to a width; 0: whole.
func (t *tableRows) grid(width int) *grid {
	g := &grid{}
	for i, name := range t.columns {
		g.columns = append(g.columns, column{title: oneLine(name), right: t.numeric(i)})
	}
	for _, values := range t.rows {
		row := make([]string, len(values))
		for i, v := range values {
			row[i] = plainCell(v)
			switch {
			case width == 0:
			case t.columns[i] == "process":
				row[i] = cutLeft(row[i], width)
			case text.StringWidth(row[i]) > width:
				row[i] = text.Trim(row[i], width-1) + "…"
			}
		}
		g.rows = append(g.rows, row)
	}
	return g
}

// plainCell shows a value to people: on one line, and numbers without their noise.
func plainCell(v any) string {
	if f, ok := v.(float64); ok {
		return shortFloat(f)
	}
	return oneLine(cellText(v))
}

// shortFloat leaves out digits that nobody reads.
func shortFloat(f float64) string {
	if a := math.Abs(f); a != 0 && (a < 1e-3 || a >= 1e15) {
		return strconv.FormatFloat(f, 'g', 6, 64)
	}
	return strconv.FormatFloat(math.Round(f*1e6)/1e6, 'f', -1, 64)
}

// records prints every row as lines of names and values, which rows too wide
// for the terminal are read by. Columns that are NULL are left out.
func (t *tableRows) records(s screen) error {
	widest := 0
	for _, name := range t.columns {
		widest = max(widest, text.StringWidth(oneLine(name)))
	}
	out := bufio.NewWriter(s.w)
	for n, values := range t.rows {
		if n > 0 {
			fmt.Fprintln(out)
		}
		for i, v := range values {
			if v == nil {
				continue
			}
			fmt.Fprintln(out, s.cut(s.paint(text.Pad(oneLine(t.columns[i]), widest, ' '), text.Faint)+"  "+plainCell(v)))
		}
	}
	return out.Flush()
}

// numeric tells whether a column holds nothing but numbers.
func (t *tableRows) numeric(column int) bool {
	found := false
	for _, values := range t.rows {
		switch values[column].(type) {
		case nil:
		case int64, float64:
			found = true
		default:
			return false
		}
	}
	return found
}

// cellText shows a value as SQLite's own shell does, blobs in hexadecimal.
func cellText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case []byte:
		return "x'" + hex.EncodeToString(v) + "'"
	default:
		return fmt.Sprint(v)
	}
}

type csvRows struct {
	w      *csv.Writer
	fields []string
	err    error
}

func newCSVRows(out io.Writer, columns []string) *csvRows {
	c := &csvRows{w: csv.NewWriter(out), fields: make([]string, len(columns))}
	c.err = c.w.Write(columns)
	return c
}

func (c *csvRows) row(values []any) error {
	for i, v := range values {
		c.fields[i] = cellText(v)
	}
	if c.err == nil {
		c.err = c.w.Write(c.fields)
	}
	return c.err
}

func (c *csvRows) end() error {
	c.w.Flush()
	if c.err == nil {
		c.err = c.w.Error()
	}
	return c.err
}

// jsonRows prints an array of objects whose members are in the columns' order.
type jsonRows struct {
	w     *bufio.Writer
	names []string // encoded
	count int
}

// jsonNames encodes column names, and tells equal ones apart.
func jsonNames(columns []string) []string {
	names := make([]string, len(columns))
	taken := make(map[string]bool)
	for i, c := range columns {
		name := c
		for n := 2; taken[name]; n++ {
			name = c + "_" + strconv.Itoa(n)
		}
		taken[name] = true
		names[i] = jsonString(name)
	}
	return names
}

func jsonString(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // strings always have a form
	return strings.TrimSuffix(b.String(), "\n")
}

func (j *jsonRows) row(values []any) error {
	separator := "[\n  {"
	if j.count > 0 {
		separator = ",\n  {"
	}
	j.count++
	for i, v := range values {
		fmt.Fprint(j.w, separator, j.names[i], ": ", jsonValue(v))
		separator = ", "
	}
	_, err := j.w.WriteString("}")
	return err
}

func (j *jsonRows) end() error {
	end := "\n]\n"
	if j.count == 0 {
		end = "[]\n"
	}
	fmt.Fprint(j.w, end)
	return j.w.Flush()
}

// jsonValue is a value's JSON; bytes have the form that recorded values give them.
func jsonValue(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return jsonString(v)
	case float64:
		if b, err := json.Marshal(v); err == nil {
			return string(b)
		}
		return "null" // infinity: JSON has no such number
	case []byte:
		return fmt.Sprintf(`{"$bytes": "%s", "$len": %d}`, base64.StdEncoding.EncodeToString(v), len(v))
	default:
		return fmt.Sprint(v)
	}
}
