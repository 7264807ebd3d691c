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
	"strconv"
	"strings"
	"time"

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

// maxCell is the width that a value is cut to on a terminal.
const maxCell = 60

func (t *tableRows) row(values []any) error {
	t.rows = append(t.rows, append([]any(nil), values...))
	return nil
}

func (t *tableRows) end() error {
	if len(t.columns) == 0 {
		return nil
	}
	g := &grid{}
	for i, name := range t.columns {
		g.columns = append(g.columns, column{title: oneLine(name), right: t.numeric(i)})
	}
	for _, values := range t.rows {
		row := make([]string, len(values))
		for i, v := range values {
			row[i] = oneLine(cellText(v))
			if runes := []rune(row[i]); t.s.width > 0 && len(runes) > maxCell {
				row[i] = string(runes[:maxCell-1]) + "…"
			}
		}
		g.rows = append(g.rows, row)
	}
	if err := g.write(t.s); err != nil {
		return err
	}
	if t.s.width == 0 {
		return nil
	}
	_, err := fmt.Fprintf(t.s.w, "\n%s\n", plural(uint64(len(t.rows)), "row"))
	return err
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
	j.w.WriteString(separator)
	for i, v := range values {
		if i > 0 {
			j.w.WriteString(", ")
		}
		j.w.WriteString(j.names[i])
		j.w.WriteString(": ")
		j.w.WriteString(jsonValue(v))
	}
	_, err := j.w.WriteString("}")
	return err
}

func (j *jsonRows) end() error {
	end := "\n]\n"
	if j.count == 0 {
		end = "[]\n"
	}
	j.w.WriteString(end)
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
